// Package course decides how a call goes: which run may start next, when something is
// due, how a member has ended, and when and why the call is over.
//
// A Course is a state machine without goroutine, lock, clock or context. Its inputs
// are events, each with the time since the call's start; what it decides can be read
// from it afterwards. A time that is earlier than that of the event before counts as
// that of the event before, so the order of events is the order of their times. An
// event that comes too late, after the end of its member or of the call, changes nothing.
//
// A member is asked by a run of its producer. A group is a member with several
// candidates, its replicas, which are asked one after the other until one answers. Relays
// can name further members while the call goes on. An expected member stands for members
// that a relay cannot name yet. It is a member like any other until they replace it.
//
// A Course is not safe for concurrent use.
package course

import "time"

// State says how a member has ended.
type State uint8

// The states of a member. All but Pending are final.
const (
	Pending State = iota
	OK
	Failed
	Panicked
	Declined
	Late
	Canceled
	Rejected
	Gone

	// Replaced is the state of an expected member that others have replaced. It has no
	// outcome and is not counted.
	Replaced

	// Expired is never the state of a member. It is how a run ends that returns the error of
	// its context's deadline: Late if the time of the producers is over, otherwise Failed.
	Expired
)

// Failure reports whether a member in this state has failed. To decline, to be late and to be
// gone are no failures.
func (s State) Failure() bool { return s == Failed || s == Panicked || s == Rejected }

// Reason says why a call is over.
type Reason uint8

// The reasons. All but Underway are final.
const (
	Underway Reason = iota
	AllEnded
	Satisfied
	QuorumLost
	Stalled
	Deadline
	Stopped // canceled by the caller
	FailedFast
	Closed
	NoProducers
)

// Policy is what the options of a call say about its course. A zero field stands for
// no such rule, except that there always is a timeout.
type Policy struct {
	Timeout     time.Duration // after which the call ends; see also Within
	Grace       time.Duration // before the timeout, in which producers hand in what they have
	Quorum      int           // how many answers are enough
	Majority    bool          // the answers of more than half of the members are enough
	First       bool          // one result is enough
	FailFast    bool          // one failure is enough
	Parallelism int           // how many members have a run at the same time
	Stagger     time.Duration // between the starts of members
	Hedge       time.Duration // after which the next replica of a group is asked
	Stall       time.Duration // that the call waits for a further result
}

// Course is the course of one call, made by New.
type Course struct {
	policy  *Policy
	timeout time.Duration // that of the policy, or less; see Within
	slack   time.Duration
	members []Member      // the local ones, then those that relays have named
	now     time.Duration // of the last event; not later than the end
	agenda  *agenda       // nil as long as there are no groups and no runs with limits

	local     int           // how many members are local
	next      int           // the first local member that is not claimed
	active    int           // local members that are claimed and have not ended
	nextStart time.Duration // when the stagger lets the next member start
	credits   int           // members that the stagger lets start at once

	relays   int // how many may name further members
	required int // required members that have not ended
	missing  int // how many required members are not named yet
	answered int
	failed   int
	other    int // members that ended without an answer or a failure
	replaced int // expected members that others have replaced

	lastResult time.Duration // when the last one came
	results    bool          // there has been one
	waiting    bool          // Enroll is still to come
	graced     bool          // the grace has begun
	reason     Reason
}

// New returns the course of a call that waits for Enroll. It keeps the policy, which must
// not change any more.
func New(p *Policy) Course { return Course{policy: p, timeout: p.Timeout, waiting: true} }

// Within says that the sender's deadline leaves less time than the policy, and how much
// later the call ends by itself: until then the sender's context may end it.
func (c *Course) Within(timeout, slack time.Duration) { c.timeout, c.slack = timeout, slack }

// Enroll adds the local members, which the course keeps and writes from now on. candidates
// returns how many candidates the member with an index has; nil stands for one each. relays is
// how many relays can name further members. Enroll can end the call.
func (c *Course) Enroll(now time.Duration, members []Member, candidates func(i int) int, relays int) {
	if c.reason != Underway || !c.waiting {
		return
	}
	c.advance(now)
	c.waiting = false
	c.members, c.local, c.relays = members, len(members), relays
	for i := 0; candidates != nil && i < len(members); i++ {
		if n := candidates(i); n > 1 {
			a := c.needAgenda()
			if a.groups == nil {
				a.groups = make([]group, 0, len(members)-i)
			}
			a.groups = append(a.groups, group{replicas: int32(n), hedge: c.policy.Hedge})
			c.members[i].group = int32(len(a.groups))
		}
	}
	c.judge()
}

// Stop ends the call for a reason from outside: Stopped, Closed, or Deadline for the
// deadline of the sender.
func (c *Course) Stop(now time.Duration, reason Reason) {
	if c.reason == Underway {
		c.advance(now)
		c.reason = reason
	}
}

// judge ends the call if one of the reasons holds. If several hold, the first in this order
// counts: success before failure, and the more precise reason before the other. So if the last
// answer also reaches the quorum, the call is satisfied.
func (c *Course) judge() {
	size := len(c.members) - c.replaced
	left := size - c.answered - c.failed - c.other
	switch {
	case c.satisfied():
		c.reason = Satisfied
	case c.policy.FailFast && c.failed > 0:
		c.reason = FailedFast
	case c.relays > 0:
	case size == 0:
		c.reason = NoProducers
	case c.Quorum() > c.answered+left:
		c.reason = QuorumLost
	case left == 0:
		c.reason = AllEnded
	}
}

// satisfied reports whether the answers are enough, and every required member has ended. While
// there are relays, a required member that is missing may yet be named.
func (c *Course) satisfied() bool {
	if c.policy.First && c.results {
		return true
	}
	quorum := c.Quorum()
	return quorum > 0 && c.answered >= quorum && c.required == 0 && (c.missing == 0 || c.relays == 0)
}

// Quorum returns how many answers are enough. It is 0 if there is no quorum, and for a
// majority as long as the call goes on and relays may name further members.
func (c *Course) Quorum() int {
	switch {
	case !c.policy.Majority:
		return c.policy.Quorum
	case c.waiting || c.relays > 0 && c.reason == Underway:
		return 0
	default:
		return (len(c.members)-c.replaced)/2 + 1
	}
}

func (c *Course) advance(now time.Duration) { c.now = max(c.now, now) }

// Reason returns why the call is over, or Underway.
func (c *Course) Reason() Reason { return c.reason }

// Ended returns when the call ended, or the time of the last event.
func (c *Course) Ended() time.Duration { return c.now }

// Succeeded reports whether the call was satisfied, or whether there is a member, every member has answered or
// declined, and the quorum is reached.
func (c *Course) Succeeded() bool {
	if c.reason == Satisfied {
		return true
	}
	for i := range c.members {
		switch c.members[i].State {
		case OK, Declined, Replaced:
		default:
			return false
		}
	}
	return len(c.members) > c.replaced && c.answered >= c.Quorum()
}

// Graced reports whether the grace has begun.
func (c *Course) Graced() bool { return c.graced }

// Waiting reports whether the call waits for Enroll.
func (c *Course) Waiting() bool { return c.waiting && c.reason == Underway }

// Relays returns how many relays may name further members.
func (c *Course) Relays() int { return c.relays }

// Size returns how many members there are, including those that have been replaced.
func (c *Course) Size() int { return len(c.members) }
