package dispatch

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
	"github.com/seed-bb4b4d74/dispatch/internal/course"
)

// A Call is a request in flight, or one that has ended. It has the results and the report.
// A caller may ignore the call: unread results do not leak. A reference to a call, or to
// one of its results, keeps all results of the call in memory. All methods are safe for
// concurrent use.
type Call[Req, Res any] struct {
	gathering
	req     Req
	answers []Res        // what members have returned, by index
	others  *others[Res] // nil unless the call has groups, or results that are not answers
	first   calllog.Page // of the log, unless only Stream reads it
	one     room[[1]course.Member, [1]run, [1]Res, [1]calllog.Entry]
}

// others are results that few calls have: those that are not the answers of plain members.
type others[Res any] struct {
	boxes []Res // what the first replicas of groups have returned, by index
	spare []Res // room for results that are not answers, made for several at a time
}

// room is what the slices of a small call point to: one allocation takes the place of four.
type room[Members, Runs, Answers, Entries any] struct {
	members Members
	runs    Runs
	answers Answers
	entries Entries
}

// A Result is a value that a member of a call returned in time.
type Result[Req, Res any] struct {
	Call    *Call[Req, Res] // the call that the result belongs to
	From    Member          // the member that returned it
	Value   Res             // the value that the producer returned
	Seq     int             // its position among the results of the call, from 0; -1 for a late result
	Elapsed time.Duration   // from the call's start to the result

	// Retained is true if the result was recorded before the listener was registered; see
	// [WithRetained].
	Retained bool
}

// A Listener is called with each result of a topic, as it arrives. Its callbacks never
// overlap, and follow the order of the results within a call. It may be slow, and may use
// the dispatcher in any way: undelivered results wait in the listener's mailbox, and no
// call waits for the listener. It is called with at most 64 results of one call before it
// is called with results of other calls. A panic or [runtime.Goexit] ends only that
// callback.
//
// Its context has the values of the sender's context and never ends.
type Listener[Req, Res any] func(ctx context.Context, r Result[Req, Res])

// ID returns the call's number, which is unique on its bus.
func (c *Call[Req, Res]) ID() CallID { return c.id() }

// Topic returns the topic of the request.
func (c *Call[Req, Res]) Topic() Topic[Req, Res] { return Topic[Req, Res]{spec: c.topic} }

// Request returns the request.
func (c *Call[Req, Res]) Request() Req { return c.req }

// Done returns a channel that is closed when the call ends. Listeners may still be behind
// then, and producers may still run.
func (c *Call[Req, Res]) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.over() {
			close(c.done)
		}
	}
	return c.done
}

// Wait waits for the end of the call. It returns an error only if ctx ends first. The
// outcome of the call is in its [Call.Report]. To end a call early, use [Call.Cancel].
func (c *Call[Req, Res]) Wait(ctx context.Context) error {
	if ctx == nil {
		return invalidArgument("Wait: nil context")
	}
	done := c.Done()
	select {
	case <-done:
	case <-ctx.Done():
	}
	select {
	case <-done: // the end of the call counts, even if ctx ends at the same time
		return nil
	default:
		return ctx.Err()
	}
}

// Cancel ends the call with [ReasonCanceled], unless it has already ended. The contexts of
// its producers end with the cause. A nil cause stands for [context.Canceled].
func (c *Call[Req, Res]) Cancel(cause error) {
	if cause == nil {
		cause = context.Canceled
	}
	c.stop(course.Stopped, cause)
}

// Report says why the call ended and how each member ended. After the end of the call the
// report does not change. Before the end, it has the outcomes so far, and [ReasonPending].
func (c *Call[Req, Res]) Report() Report { return c.report() }

// Results ranges over the results as they arrive, from the first one to the end of the
// call. Any number of loops may read the results, at any time and at any pace. Each loop
// sees all results, in the same order, and the call does not wait for a loop.
func (c *Call[Req, Res]) Results() iter.Seq[Result[Req, Res]] {
	return func(yield func(Result[Req, Res]) bool) { c.readFrom(c.beginningOfLog(), yield) }
}

// Outcomes ranges over the outcomes of the members as they end. At the end of the call it
// yields the outcomes of the members that have not ended, so there is one outcome for each
// member. Any number of loops may read the outcomes, as with [Call.Results]. When a loop
// gets the outcome of a member, all results of that member can be read. In a call made by
// [Dispatcher.Stream] a loop does not get the outcomes of members that have ended before it.
func (c *Call[Req, Res]) Outcomes() iter.Seq[Outcome] {
	return func(yield func(Outcome) bool) {
		whole := c.follows(c.beginningOfLog(), func(e calllog.Entry, _ any, _ int) bool {
			return e.Kind&calllog.End == 0 || yield(c.outcome(int(e.Member)))
		})
		var passed int32
		for i, ok := c.nextUnended(&passed); whole && ok; i, ok = c.nextUnended(&passed) {
			whole = yield(c.outcome(i))
		}
	}
}

// beginningOfLog returns where readers begin: at the first page, or at the present end of the
// log if the call was made by Stream.
func (c *Call[Req, Res]) beginningOfLog() calllog.Cursor {
	if c.readable {
		return c.first.Start()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.End()
}

// readFrom yields the results from the cursor on until the end of the call.
func (c *Call[Req, Res]) readFrom(at calllog.Cursor, yield func(Result[Req, Res]) bool) {
	c.follows(at, func(e calllog.Entry, values any, seq int) bool {
		return e.Kind&calllog.Result == 0 || yield(Result[Req, Res]{c, c.memberAt(int(e.Member)), *c.at(e, values), seq, e.At, false})
	})
}

// at returns the result of an entry. values are the Values of the entry's page.
func (c *Call[Req, Res]) at(e calllog.Entry, values any) *Res {
	if e.Value == calllog.Answer {
		return &c.answers[e.Member]
	}
	return values.([]*Res)[e.Value]
}

// values returns the results' values once the call has ended: in the order of
// registration, those of members that relays named after the others.
func (c *Call[Req, Res]) values() []Res {
	if c.others == nil { // all results are answers
		values := make([]Res, 0, c.log.Results())
		for i := range c.answers {
			if c.course.Member(i).Results > 0 {
				values = append(values, c.answers[i])
			}
		}
		return values
	}
	type value struct {
		member int32
		res    *Res
	}
	found := make([]value, 0, c.log.Results())
	c.follows(c.beginningOfLog(), func(e calllog.Entry, values any, _ int) bool {
		if e.Kind&calllog.Result != 0 {
			found = append(found, value{e.Member, c.at(e, values)})
		}
		return true
	})
	byMember := func(a, b value) int { return int(a.member) - int(b.member) }
	if !slices.IsSortedFunc(found, byMember) {
		slices.SortStableFunc(found, byMember)
	}
	values := make([]Res, len(found))
	for i, v := range found {
		values[i] = *v.res
	}
	return values
}

// follows yields what is in the log from the cursor on until the end of the call, each
// entry with the Seq of its result. It reports whether it came to the end.
func (c *gathering) follows(at calllog.Cursor, yield func(e calllog.Entry, values any, seq int) bool) bool {
	for {
		entries, values, more := c.readOrWait(&at)
		for _, e := range entries {
			seq := at.Seq
			if e.Kind&calllog.Result != 0 {
				at.Seq++
			}
			if !yield(e, values, seq) {
				return false
			}
		}
		switch {
		case len(entries) > 0:
		case more == nil:
			return true
		default:
			<-more
		}
	}
}

// readOrWait takes entries at the cursor. If there are none it returns a channel that is
// closed when there are, or nil if the call has ended.
func (c *gathering) readOrWait(at *calllog.Cursor) (entries []calllog.Entry, values any, more <-chan struct{}) {
	const atOnce = 64
	c.mu.Lock()
	defer c.mu.Unlock()
	if entries, values = at.Take(atOnce); len(entries) > 0 || c.over() {
		return entries, values, nil
	}
	if c.more == nil {
		c.more = make(chan struct{})
	}
	return nil, nil, c.more
}
