// Package course decides how a call goes: which run may start next, when something is
// due, how a member has ended, and when and why the call is over.
//
// A Course is a state machine without goroutine, lock, clock or context. Its inputs
// are events, each with the time since the call's start; what it decides can be read
// from it afterwards. A time that is earlier than that of the event before counts as
// that of the event before, so the order of events is the order of their times.
//
// A member is asked by a run of its producer. A group is a member with several
// candidate runs, its replicas, of which one is asked after the other until one
// answers. Further members can be named by relays while the call goes on.
//
// A Course is not safe for concurrent use.
package course

import (
	"math"
	"time"
)

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

	// Expired is never the state of a member. It is the way a run ends that returns
	// the error of its own context's deadline: Late in the grace, else Failed.
	Expired
)

// failure reports whether a member that has ended so has failed, which to decline, to
// be late and to be gone is not.
func (s State) failure() bool { return s == Failed || s == Panicked || s == Rejected }

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
// no such rule.
type Policy struct {
	Timeout     time.Duration // after which the call ends
	Slack       time.Duration // that the call waits longer for the deadline of the sender to end it
	Grace       time.Duration // before the timeout, in which producers hand in what they have
	Quorum      int           // how many answers are enough
	First       bool          // one result is enough
	FailFast    bool          // one failure is enough
	Parallelism int           // how many members have a run at the same time
	Stagger     time.Duration // between the starts of members
	Hedge       time.Duration // after which the next replica of a group is asked
	Stall       time.Duration // that the call waits for a further result
}

// Member is the record of one member. Only its course writes it.
type Member struct {
	Began   time.Duration // when its first run started
	Ended   time.Duration // when State became final
	Results int32         // results in time
	Tried   int32         // runs started
	group   int32         // one more than the index of its group; 0 for none
	State   State
}

// A Run is one candidate of a member: the only one of a plain member, which is
// number 0, or a replica of a group, numbered in the order in which they are asked.
type Run struct{ Member, Replica int32 }

// group is what a member with several candidates has besides.
type group struct {
	replicas int32 // candidates
	released int32 // how many of them may have been asked by now
	asked    int32 // how many of them have been claimed
	open     int32 // how many of those have not ended
	common   State // how all that have ended did; Failed if not all ended alike
}

// hedge is a time at which another replica is due, if none has been released since.
type hedge struct {
	member   int32
	released int32
	at       time.Duration
}

// Course is the course of one call, made by New.
type Course struct {
	policy  Policy
	members []Member // the local ones, then those that relays have named
	groups  []group
	now     time.Duration // of the last event

	local     int           // how many members are local
	next      int           // the first local member that is not claimed
	active    int           // local members that are claimed and have not ended
	nextStart time.Duration // when the stagger lets the next member start
	credits   int           // members that the stagger lets start at once
	again     []int32       // members with a replica that is released and not claimed
	hedges    []hedge       // in the order of their times; the first has something to do

	waiting  bool // Enroll is still to come
	relays   int  // how many may name further members
	answered int
	failed   int
	other    int // members that ended without an answer or a failure

	results    bool          // there has been one
	lastResult time.Duration // when the last one came
	graced     bool          // the grace has begun
	reason     Reason
	ended      time.Duration // when the reason became final
}

// New returns the course of a call that waits for Enroll.
func New(p Policy) Course { return Course{policy: p, waiting: true} }

// Enroll says who is asked: the local members, which the course keeps and writes from
// now on, how many candidates the member with an index has (nil: one each), and how
// many relays can name further members. It can end the call.
func (c *Course) Enroll(now time.Duration, members []Member, candidates func(i int) int, relays int) {
	if c.reason != Underway || !c.waiting {
		return
	}
	c.advance(now)
	c.waiting = false
	c.members, c.local, c.relays = members, len(members), relays
	for i := 0; candidates != nil && i < len(members); i++ {
		if n := candidates(i); n > 1 {
			c.groups = append(c.groups, group{replicas: int32(n)})
			c.members[i].group = int32(len(c.groups))
		}
	}
	c.judge()
}

// Claimable reports whether Claim would return a run.
func (c *Course) Claimable(now time.Duration) bool {
	return c.reason == Underway && (len(c.again) > 0 || c.mayBegin(max(now, c.now)))
}

// mayBegin reports whether the next member may have its first run now.
func (c *Course) mayBegin(now time.Duration) bool {
	return c.hasRoom() && (c.policy.Stagger == 0 || c.credits > 0 || now >= c.nextStart)
}

// hasRoom reports whether nothing but the stagger keeps the next member back.
func (c *Course) hasRoom() bool {
	return c.next < c.local && (c.policy.Parallelism == 0 || c.active < c.policy.Parallelism)
}

// Claim returns the run that is to start next, if there is one. Whoever claims it says
// with End how it ended, started or not.
func (c *Course) Claim(now time.Duration) (r Run, ok bool) {
	if !c.Claimable(now) {
		return r, false
	}
	c.advance(now)
	if len(c.again) > 0 {
		r.Member = c.again[0]
		c.again = c.again[1:]
	} else {
		r.Member = int32(c.next)
		c.next++
		c.active++
		if c.policy.Stagger > 0 {
			c.credits = max(0, c.credits-1)
			c.nextStart = later(c.now, c.policy.Stagger)
		}
	}
	if at := c.members[r.Member].group; at > 0 {
		r.Replica = c.claimReplica(r.Member, &c.groups[at-1])
	}
	return r, true
}

// claimReplica claims the next replica of a group and notes when the one after it is
// due. Its hedge is not worth it if it would have less time than the one before.
func (c *Course) claimReplica(member int32, g *group) (replica int32) {
	replica = g.asked
	g.asked++
	g.open++
	g.released = max(g.released, g.asked)
	due := later(c.now, c.policy.Hedge)
	if c.policy.Hedge > 0 && g.released < g.replicas && later(due, c.policy.Hedge) <= c.policy.Timeout-c.policy.Grace {
		c.hedges = append(c.hedges, hedge{member, g.released, due})
	}
	return replica
}

// Start says that the closure of a claimed run is about to be called. It returns false
// if it must not be: the call is over, or the member has ended.
func (c *Course) Start(now time.Duration, r Run) bool {
	m := &c.members[r.Member]
	if c.reason != Underway || m.State != Pending {
		return false
	}
	c.advance(now)
	if m.Tried == 0 {
		m.Began = c.now
	}
	m.Tried++
	return true
}

// Effect says what the end of a run, or of a named member, has come to.
type Effect uint8

// The effects.
const (
	TooLate Effect = iota // nothing: the call was over, or the member had ended
	GoesOn                // the member is still owed an answer by other replicas
	Ends                  // the member has ended with it
)

// End says how a claimed run has ended: OK with a result unless the run has given its
// results before, Expired or any other final state.
func (c *Course) End(now time.Duration, r Run, how State, result bool) Effect {
	m := &c.members[r.Member]
	if m.group > 0 {
		c.groups[m.group-1].open--
	}
	if c.reason != Underway || m.State != Pending {
		return TooLate
	}
	c.advance(now)
	how = c.graceful(how)
	if m.group > 0 && how != OK {
		if how = c.failOver(r.Member, &c.groups[m.group-1], how); how == Pending {
			return GoesOn
		}
	}
	if result {
		c.result(m)
	}
	c.active--
	c.finish(m, how)
	if m.group > 0 {
		c.forget(r.Member)
	}
	if how != OK && c.policy.Stagger > 0 {
		c.credits++
	}
	c.judge()
	return Ends
}

// graceful is how a run has ended, or a named member, that may have expired.
func (c *Course) graceful(how State) State {
	switch {
	case how != Expired:
		return how
	case c.graced:
		return Late
	default:
		return Failed
	}
}

// failOver releases the next replica after one has ended without an answer. Once all
// have it returns how the group has ended.
func (c *Course) failOver(member int32, g *group, how State) State {
	if g.common == Pending || g.common == how {
		g.common = how
	} else {
		g.common = Failed
	}
	if g.released < g.replicas {
		c.release(member, g)
		c.prune()
	}
	if g.open > 0 || g.asked < g.released {
		return Pending
	}
	return g.common
}

// release lets one more replica of a group be claimed.
func (c *Course) release(member int32, g *group) {
	g.released++
	c.again = append(c.again, member)
}

// forget drops what is due for a group that has ended.
func (c *Course) forget(member int32) {
	kept := c.again[:0]
	for _, m := range c.again {
		if m != member {
			kept = append(kept, m)
		}
	}
	c.again = kept
	c.prune()
}

// finish makes the state of a member final.
func (c *Course) finish(m *Member, how State) {
	m.State, m.Ended = how, c.now
	switch {
	case how == OK:
		c.answered++
	case how.failure():
		c.failed++
	default:
		c.other++
	}
}

// Result says that a member has a result and goes on. It returns false if that came
// too late.
func (c *Course) Result(now time.Duration, member int32) bool {
	m := &c.members[member]
	if c.reason != Underway || m.State != Pending {
		return false
	}
	c.advance(now)
	c.result(m)
	c.judge()
	return true
}

func (c *Course) result(m *Member) {
	m.Results++
	c.results, c.lastResult = true, c.now
}

// Name adds a member that a relay has named and returns its index, or false if the
// call is over.
func (c *Course) Name(now time.Duration) (member int32, ok bool) {
	if c.reason != Underway {
		return 0, false
	}
	c.advance(now)
	c.members = append(c.members, Member{Began: c.now, Tried: 1})
	return int32(len(c.members) - 1), true
}

// Miss adds a member that cannot be asked and has ended so. It does not end the call:
// Judge does, once all of them are there.
func (c *Course) Miss(now time.Duration, how State) (member int32) {
	c.advance(now)
	c.members = append(c.members, Member{})
	member = int32(len(c.members) - 1)
	c.finish(&c.members[member], how)
	return member
}

// EndNamed says how a member that a relay has named has ended.
func (c *Course) EndNamed(now time.Duration, member int32, how State) Effect {
	m := &c.members[member]
	if c.reason != Underway || m.State != Pending {
		return TooLate
	}
	c.advance(now)
	c.finish(m, c.graceful(how))
	c.judge()
	return Ends
}

// EndRelay says that a relay names nobody else.
func (c *Course) EndRelay(now time.Duration) {
	c.relays--
	if c.reason == Underway {
		c.advance(now)
		c.judge()
	}
}

// Stop ends the call for a reason from outside: Stopped, Closed, or Deadline for the
// deadline of the sender.
func (c *Course) Stop(now time.Duration, reason Reason) {
	if c.reason == Underway {
		c.advance(now)
		c.end(reason)
	}
}

// Tick says that time has passed, and does what has become due.
func (c *Course) Tick(now time.Duration) {
	if c.reason != Underway {
		return
	}
	c.advance(now)
	switch {
	case c.now >= c.expiry():
		c.end(Deadline)
		return
	case c.stalls() && c.now >= later(c.lastResult, c.policy.Stall):
		c.end(Stalled)
		return
	}
	c.graced = c.graced || c.policy.Grace > 0 && c.now >= c.policy.Timeout-c.policy.Grace
	for len(c.hedges) > 0 && c.now >= c.hedges[0].at {
		member := c.hedges[0].member
		c.release(member, &c.groups[c.members[member].group-1])
		c.prune()
	}
}

// prune drops hedges that have nothing to do any more, until the first one has.
func (c *Course) prune() {
	for len(c.hedges) > 0 && !c.worthy(c.hedges[0]) {
		c.hedges = c.hedges[1:]
	}
}

// worthy reports whether the hedge still has something to do.
func (c *Course) worthy(h hedge) bool {
	m := c.members[h.member]
	return m.State == Pending && c.groups[m.group-1].released == h.released
}

// Due returns when Tick has something to do next, or a worker can claim something, if
// no event comes before.
func (c *Course) Due() time.Duration {
	due := c.expiry()
	if c.policy.Grace > 0 && !c.graced {
		due = min(due, c.policy.Timeout-c.policy.Grace)
	}
	if c.stalls() {
		due = min(due, later(c.lastResult, c.policy.Stall))
	}
	if c.policy.Stagger > 0 && c.credits == 0 && c.hasRoom() {
		due = min(due, c.nextStart)
	}
	if len(c.hedges) > 0 {
		due = min(due, c.hedges[0].at)
	}
	return due
}

func (c *Course) expiry() time.Duration { return later(c.policy.Timeout, c.policy.Slack) }

func (c *Course) stalls() bool { return c.policy.Stall > 0 && c.results }

// judge ends the call if enough is known. Where several reasons hold, one that is good
// news comes first: the last answer that also reaches the quorum satisfies the call.
func (c *Course) judge() {
	left := len(c.members) - c.answered - c.failed - c.other
	switch {
	case c.policy.Quorum > 0 && c.answered >= c.policy.Quorum, c.policy.First && c.results:
		c.end(Satisfied)
	case c.policy.FailFast && c.failed > 0:
		c.end(FailedFast)
	case c.waiting || c.relays > 0:
	case len(c.members) == 0:
		c.end(NoProducers)
	case c.policy.Quorum > c.answered+left:
		c.end(QuorumLost)
	case left == 0:
		c.end(AllEnded)
	}
}

func (c *Course) end(reason Reason) {
	c.reason, c.ended = reason, c.now
	c.again, c.hedges = nil, nil
}

func (c *Course) advance(now time.Duration) { c.now = max(c.now, now) }

// Reason returns why the call is over, or Underway.
func (c *Course) Reason() Reason { return c.reason }

// Ended returns when the call ended, or the time of the last event.
func (c *Course) Ended() time.Duration {
	if c.reason != Underway {
		return c.ended
	}
	return c.now
}

// Graced reports whether the grace has begun.
func (c *Course) Graced() bool { return c.graced }

// Waiting reports whether the call waits for Enroll.
func (c *Course) Waiting() bool { return c.waiting && c.reason == Underway }

// Relays returns how many relays may name further members.
func (c *Course) Relays() int { return c.relays }

// Size returns how many members there are.
func (c *Course) Size() int { return len(c.members) }

// Member returns the record of a member. One that has not ended when the call is over
// has ended with it, Late after a deadline and Canceled otherwise.
func (c *Course) Member(i int) Member {
	m := c.members[i]
	if m.State == Pending && c.reason != Underway {
		m.Ended = c.ended
		if m.State = Canceled; c.reason == Deadline {
			m.State = Late
		}
	}
	return m
}

// HasEnded reports whether a member has ended before the call did.
func (c *Course) HasEnded(i int) bool { return c.members[i].State != Pending }

// later returns a time after another one, however large the difference is.
func later(at, by time.Duration) time.Duration {
	if by > math.MaxInt64-at {
		return math.MaxInt64
	}
	return at + by
}
