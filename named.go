package dispatch

import (
	"maps"
	"slices"

	"github.com/seed-bb4b4d74/dispatch/internal/course"
)

// relaying is the part of a call that only calls with relays, WithTargets or WithRequired
// have. The call's lock guards it.
type relaying struct {
	runs     []*relayRun
	named    []named // the members that follow those of this bus
	byMember map[Member]int32
	required *nameSet // the names of WithRequired; nil: none
}

// relayRun is a relay at work for a call.
type relayRun struct {
	run
	how  course.State // in which it ends, as its error says
	text string       // of that error
}

// named is a member that a relay has named or expects, or one that has ended as it was added.
type named struct {
	member Member
	by     *relayRun // nil for a member that has ended as it was added
	err    error
}

func (r *relaying) all() []*relayRun {
	if r == nil {
		return nil
	}
	return r.runs
}

// growLocked makes room for n members that replace an expected one, and for as many in the place of each of
// those that are known now: these are expected, too, when the first relay names members.
func (c *gathering) growLocked(n int) {
	r := c.relaying
	if cap(r.named)-len(r.named) >= n {
		return
	}
	n = min(n*max(len(r.byMember), 1), max(n, mostAlike))
	r.named = slices.Grow(r.named, n)
	c.course.Grow(n)
	if n > len(r.byMember) { // otherwise the map grows by itself as quickly
		grown := make(map[Member]int32, len(r.byMember)+n)
		maps.Copy(grown, r.byMember)
		r.byMember = grown
	}
}

// mostAlike bounds the room that is made for members that may never be named.
const mostAlike = 1024

func (c *gathering) namedAt(i int32) *named { return &c.relaying.named[int(i)-len(c.producers)] }

// isReplaced reports whether other members have replaced an expected one.
func (c *gathering) isReplaced(i int) bool { return c.course.Member(i).State == course.Replaced }
