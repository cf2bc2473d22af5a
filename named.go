package dispatch

import "github.com/seed-bb4b4d74/dispatch/internal/course"

// relaying is the part of a call that only calls with relays, WithTargets or WithRequired
// have. The call's lock guards it.
type relaying struct {
	runs     []*relayRun
	named    []named // the members that follow those of this bus
	byMember map[Member]int32
	missing  []string // names of WithRequired that no member has yet
}

// relayRun is a relay at work for a call.
type relayRun struct{ run }

// named is a member that a relay has named or expects, or one that cannot be asked.
type named struct {
	member Member
	by     *relayRun // nil for a member that cannot be asked
	err    error
}

func (r *relaying) all() []*relayRun {
	if r == nil {
		return nil
	}
	return r.runs
}

func (c *gathering) namedAt(i int32) *named { return &c.relaying.named[int(i)-len(c.producers)] }

// isReplaced reports whether other members have replaced an expected one.
func (c *gathering) isReplaced(i int) bool { return c.course.Member(i).State == course.Replaced }
