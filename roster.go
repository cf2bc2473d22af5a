package dispatch

import (
	"context"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
	"github.com/seed-bb4b4d74/dispatch/internal/course"
)

// A Roster is passed to a [Relay]. The relay names the members of one call on it and hands
// in their results. Its methods are safe for concurrent use, also after the relay has
// returned. A method that returns a bool returns false if it changed nothing: the member
// was named already or was never named, or has ended; the call has ended; or the relay has
// returned. All of these cases are misuse, except that the call has ended. The bus counts
// misuse; see [Snapshot].
//
// Before a relay sends a request, it should announce its recipients with [Roster.Expect].
// Then the report names the recipients that never reply.
type Roster[Res any] struct {
	run     *relayRun
	result  func(*relayRun, Member, Res) bool
	answers func(*relayRun, Member, []Answer[Res]) int
}

// An Answer is what a relay has received for one member; see [Roster.Answers].
type Answer[Res any] struct {
	From     Member
	Value    Res   // the result, if HasValue
	HasValue bool  // the member has a result
	Ended    bool  // the member has ended, after the result
	Err      error // the error, as in [Roster.End]
}

// Name adds m to the members of the call. The relay must end m. A member with neither a
// name nor a group is refused. The name may be empty if the relay does not know which
// replica of the group will answer.
func (r *Roster[Res]) Name(m Member) bool { return r.run.join(m, (*course.Course).Name) }

// Expect adds m as a placeholder for members whose names the relay learns later. For
// example, {Node: "cell-7", Name: "*"} stands for all members of a node. [Roster.Accept] or
// [Roster.Answers] replaces it with these members. Until then the placeholder is a member,
// but has no results. [Roster.End] can end it. Otherwise it is Late or Canceled when the
// call ends, or Failed with [ErrLost] when the relay returns before that. Its outcome says
// that it was not started. [WithMajority] counts it as one member.
func (r *Roster[Res]) Expect(m Member) bool { return r.run.join(m, (*course.Course).Expect) }

// Accept replaces an expected member with other members, all at once. The expected member
// then has no outcome. If members is empty, the expected member is only removed. Members
// that the call already has do not change; naming them again is misuse.
func (r *Roster[Res]) Accept(expected Member, members ...Member) bool {
	return r.run.accept(expected, members)
}

// Answers hands in a batch of answers of several members, under one lock. First it names the
// members that the call does not have. Then it does the same as [Roster.Result] and
// [Roster.End], in the order of the batch. A member may have several answers in the batch.
// An answer with neither a value nor an end only names its member. If expected is not the
// zero Member, the batch replaces it, as with [Roster.Accept]. Answers returns the number of
// answers that were taken. Answers after the end of the call are not taken; OnLate receives
// their values. The caller may reuse the batch afterwards.
func (r *Roster[Res]) Answers(expected Member, batch []Answer[Res]) int {
	return r.answers(r.run, expected, batch)
}

// Result hands in a result of m. If the result is too late, OnLate receives it.
func (r *Roster[Res]) Result(m Member, v Res) bool { return r.result(r.run, m, v) }

// End says how m has ended: OK if err is nil, Panicked with a [*PanicError], Declined with
// [ErrDecline], Gone with [ErrGone], Rejected with [ErrOverloaded], Late with [ErrTimeout],
// and otherwise Failed. err counts as one of these errors if it is this error, or wraps it
// through Unwrap methods that return a single error: fmt.Errorf("%w: %v", ErrGone, why) is
// Gone, but errors.Join(ErrGone, why) is Failed.
func (r *Roster[Res]) End(m Member, err error) bool { return r.run.end(m, err) }

// Targets returns the names of [WithTargets], or nil without that option. A name may stand
// for several members of a node; [Member.Matches] says which members a name stands for.
func (r *Roster[Res]) Targets() []string { return slices.Clone(r.run.call.policy.targets) }

// askRelay is part of half.
func (c *Call[Req, Res]) askRelay(r *relayRun) {
	defer func() {
		if !r.returned {
			r.unwinds(recover())
		}
	}()
	relay, roster := r.producer().fn.(Relay[Req, Res]), &Roster[Res]{run: r, result: c.relayed, answers: c.heard}
	if c.nesting != nil && c.nesting.asks {
		c.nesting.labelled(&r.run, "dispatch.producer", r.producer().Name(), func(ctx context.Context) { r.returns(relay(ctx, c.req, roster)) })
	} else {
		r.returns(relay(&r.run, c.req, roster))
	}
}

// relayed is Roster.Result.
func (c *Call[Req, Res]) relayed(r *relayRun, m Member, value Res) bool {
	c.mu.Lock()
	i, ok := c.pendingLocked(r, m)
	over := c.over()
	c.mu.Unlock()
	switch {
	case ok:
		return c.hand(&r.run, i, value)
	case over:
		c.tooLate(&r.run, m, value)
	}
	return false
}

// heard is Roster.Answers.
func (c *Call[Req, Res]) heard(r *relayRun, expected Member, batch []Answer[Res]) (taken int) {
	var few [32]meaning
	means := few[:0]
	for i := range batch { // without the lock, because the methods of errors are the user's code
		means = append(means, meaning{how: stateOf(batch[i].Err)})
	}
	c.mu.Lock()
	now := c.now()
	replaced, ok := int32(0), false
	if expected != (Member{}) {
		replaced, ok = c.expectedLocked(r, expected, len(batch))
	}
	for i := 0; i < len(batch) && !c.over(); i++ {
		m := &means[i]
		if m.member, m.known = c.relaying.byMember[batch[i].From]; !m.known {
			m.member, m.known = r.nameLocked(batch[i].From, now)
		}
	}
	if ok {
		c.course.Accept(now, replaced)
	}
	next := 0
	for ; next < len(batch) && !c.over(); next++ {
		if c.takeLocked(r, &batch[next], means[next], now) {
			taken++
		}
	}
	c.tellAndUnlock()
	c.recount()
	for _, a := range batch[next:] {
		if a.HasValue {
			c.tooLate(&r.run, a.From, a.Value)
		}
	}
	return taken
}

// meaning is what an answer of a relay means to the call.
type meaning struct {
	member int32
	known  bool // false if it must not be named
	how    course.State
}

// takeLocked does what one answer says, in a call that goes on.
func (c *Call[Req, Res]) takeLocked(r *relayRun, a *Answer[Res], m meaning, now time.Duration) bool {
	i := m.member
	switch {
	case !m.known:
		return false
	case c.course.HasEnded(int(i)), c.namedAt(i).by != r, a.HasValue && c.course.Expects(int(i)):
		c.bus.misuse.Add(1)
		return false
	}
	e := calllog.Entry{Member: i}
	switch {
	case a.Ended:
		c.namedAt(i).err = a.Err
		c.course.EndNamed(now, i, m.how, a.HasValue)
		e.Kind = calllog.End
	case a.HasValue:
		c.course.Result(now, i)
	default:
		return true
	}
	e.At = c.course.Ended()
	if a.HasValue {
		e.Kind |= calllog.Result
		e.Value = c.keepLocked(a.Value)
	}
	c.appendLocked(e)
	return true
}

// A Relay answers a call for members outside this process. It names members on the roster,
// hands in their results, and says how each member ended. It must end every member that it
// has named. If the call goes on when the relay returns, a member that has not ended is
// Failed with [ErrLost]. The relay itself is not a member of the call and does not count
// under [WithParallelism]. If it panics, or returns an error other than [ErrDecline], while
// the call goes on, the report lists the relay, with its own name. Then its outcome says that
// it was not started.
//
// A relay is called concurrently, once for each call of its topics, and should return when
// its context ends. If no relay names a member and the call has no other members, the call
// ends with [ReasonNoProducers].
type Relay[Req, Res any] func(ctx context.Context, req Req, to *Roster[Res]) error
