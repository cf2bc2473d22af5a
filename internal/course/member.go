package course

import (
	"math"
	"slices"
	"time"
)

// Member is the record of one member. Only its course writes it.
type Member struct {
	Began    time.Duration // when its first run started
	Ended    time.Duration // when State became final
	Results  int32         // results in time, or the largest number if there are more
	Tried    int32         // runs started
	group    int32         // one more than the index of its group; 0 for none
	State    State
	required bool // the call is not satisfied before it has ended
	Overdue  bool // it has ended because a run has exceeded its limit
	expects  bool // it stands for members that are not known yet
}

// Effect says what the end of a run, or of a named member, has changed.
type Effect uint8

// The effects.
const (
	TooLate Effect = iota // nothing: the call was over, or the member had ended
	GoesOn                // other replicas may still answer for the member
	Ends                  // the member has ended, too
)

// finish makes the state of a member final.
func (c *Course) finish(m *Member, how State) {
	m.State, m.Ended = how, c.now
	if m.required {
		c.required--
	}
	switch {
	case how == OK:
		c.answered++
	case how.Failure():
		c.failed++
	default:
		c.other++
	}
}

// Result says that a member has a result and goes on. It returns false if that came
// too late, or if the member is an expected one.
func (c *Course) Result(now time.Duration, member int32) bool {
	m := &c.members[member]
	if c.reason != Underway || m.State != Pending || m.expects {
		return false
	}
	c.advance(now)
	c.result(m)
	c.judge()
	return true
}

func (c *Course) result(m *Member) {
	if m.Results < math.MaxInt32 {
		m.Results++
	}
	c.results, c.lastResult = true, c.now
}

// Require says that the call is not satisfied before a member has ended. The member must be
// pending.
func (c *Course) Require(member int32) {
	c.members[member].required = true
	c.required++
}

// Missing says how many required members are not named yet. They are waited for as long as
// there are relays.
func (c *Course) Missing(n int) { c.missing = n }

// Grow makes room for n members that are added.
func (c *Course) Grow(n int) { c.members = slices.Grow(c.members, n) }

// add adds a member and returns its index, or false if the call is over.
func (c *Course) add(now time.Duration, m Member) (member int32, ok bool) {
	if c.reason != Underway {
		return 0, false
	}
	c.advance(now)
	c.members = append(c.members, m)
	return int32(len(c.members) - 1), true
}

// Name adds a member that a relay has named and returns its index, or false if the
// call is over.
func (c *Course) Name(now time.Duration) (member int32, ok bool) {
	return c.add(now, Member{Began: max(now, c.now), Tried: 1})
}

// Expect adds a member that stands for members that a relay cannot name yet, and returns its
// index, or false if the call is over. It ends like a named member, unless Accept removes it
// before.
func (c *Course) Expect(now time.Duration) (member int32, ok bool) {
	return c.add(now, Member{expects: true})
}

// Accept removes an expected member, because the members it stood for are known: they have
// been named before, or there are none. It returns false if that came too late.
func (c *Course) Accept(now time.Duration, member int32) bool {
	m := &c.members[member]
	if c.reason != Underway || m.State != Pending || !m.expects {
		return false
	}
	c.advance(now)
	if m.State, m.Ended = Replaced, c.now; m.required {
		c.required--
	}
	c.replaced++
	c.judge()
	return true
}

// Miss adds a member that cannot be asked and has ended in this state, and returns its
// index, or false if the call is over. It does not end the call, as more may be missing:
// EndRelay does.
func (c *Course) Miss(now time.Duration, how State) (member int32, ok bool) {
	member, ok = c.add(now, Member{})
	if ok {
		c.finish(&c.members[member], how)
	}
	return member, ok
}

// Unnamed adds a member that no relay has named before the call ended. It ends with the call.
func (c *Course) Unnamed() { c.members = append(c.members, Member{}) }

// EndNamed says how a member that a relay has named, or expects, has ended, and whether
// with a result.
func (c *Course) EndNamed(now time.Duration, member int32, how State, result bool) Effect {
	m := &c.members[member]
	if c.reason != Underway || m.State != Pending {
		return TooLate
	}
	c.advance(now)
	if result {
		c.result(m)
	}
	c.finish(m, c.graceful(how))
	c.judge()
	return Ends
}

// EndRelay says that a relay names no further member.
func (c *Course) EndRelay(now time.Duration) {
	c.relays--
	if c.reason == Underway {
		c.advance(now)
		c.judge()
	}
}

// Member returns the record of a member. One that has not ended when the call is over
// has ended with it, Late after a deadline and Canceled otherwise.
func (c *Course) Member(i int) Member {
	m := c.members[i]
	if m.State == Pending && c.reason != Underway {
		m.Ended = c.now
		if m.State = Canceled; c.reason == Deadline {
			m.State = Late
		}
	}
	return m
}

// Began returns when the first run of a member started.
func (c *Course) Began(i int) time.Duration { return c.members[i].Began }

// Expects reports whether a member stands for members that are not known yet.
func (c *Course) Expects(i int) bool { return c.members[i].expects }

// HasEnded reports whether a member has ended before the call did, or was replaced.
func (c *Course) HasEnded(i int) bool { return c.members[i].State != Pending }
