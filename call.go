package dispatch

import (
	"context"
	"iter"
	"slices"
	"time"
	"unsafe"

	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
	"github.com/seed-bb4b4d74/dispatch/internal/course"
)

// A Call is a request in flight, or one that has ended. It has the results, the end and the
// report. A caller may ignore it: unread results do not leak. A reference to a call, or to
// one of its results, keeps all its results in memory. All methods are safe for concurrent
// use.
type Call[Req, Res any] struct {
	gathering
	req     Req
	answers []Res        // what members have returned, by index
	boxes   []Res        // what the first replicas of groups have returned, likewise
	spare   []Res        // room for results that are not answers, made for several at a time
	first   calllog.Page // of the log, unless only Stream reads it
	one     room[[1]course.Member, [1]run, [1]Res, [1]calllog.Entry]
}

// room is what the slices of a small call point to: one allocation takes the place of four.
type room[Members, Runs, Answers, Entries any] struct {
	members Members
	runs    Runs
	answers Answers
	entries Entries
}

// A Result is a value that a member of a call produced in time.
type Result[Req, Res any] struct {
	Call    *Call[Req, Res] // the call that the result belongs to
	From    Member          // the member that produced it
	Value   Res             // the value that the producer returned
	Seq     int             // its position among the results of the call, from 0; -1 for a late result
	Elapsed time.Duration   // from the call's start to the result

	// Retained is true if the result was recorded before the listener was registered; see
	// [WithRetained].
	Retained bool
}

// A Listener is called with each result of a topic, as it arrives. Its callbacks never
// overlap, and follow the order of the results within a call. It may be slow, and may use
// the dispatcher in any way: undelivered results wait in the listener's mailbox, and nothing
// waits for the listener. It is called with at most 64 results of one call before it is
// called with those of other calls. A panic or [runtime.Goexit] ends only that callback.
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
func (c *Call[Req, Res]) Done() <-chan struct{} { return c.doneChannel() }

// Wait waits for the end of the call. It returns an error only if ctx ends first. The
// outcome of the call is in its [Call.Report]. To end a call early, use [Call.Cancel].
func (c *Call[Req, Res]) Wait(ctx context.Context) error {
	if ctx == nil {
		return invalidArgument("Wait: nil context")
	}
	done := c.Done()
	select {
	case <-done:
		return nil
	default:
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done:
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

// Report says why the call ended and how each member ended. After the end of the call every
// Report is the same. Before the end, it is a report so far, with ReasonPending.
func (c *Call[Req, Res]) Report() Report { return c.report() }

// Results ranges over the results as they arrive, from the first one to the end of the call.
// Any number of loops may do so, at any time and at any pace. Each loop sees all results, in
// the same order, and nothing waits for a loop.
func (c *Call[Req, Res]) Results() iter.Seq[Result[Req, Res]] {
	return func(yield func(Result[Req, Res]) bool) { c.readFrom(c.beginningOfLog(), yield) }
}

// Outcomes ranges over the outcomes of the members as they end. At the end of the call it
// yields the outcomes of the members that have not ended, so there is one outcome for each
// member. Any number of loops may do so, as with [Call.Results]. When it yields the outcome
// of a member, all results of that member can be read.
func (c *Call[Req, Res]) Outcomes() iter.Seq[Outcome] {
	return func(yield func(Outcome) bool) {
		whole := c.follows(c.beginningOfLog(), func(e calllog.Entry, _ any, _ int) bool {
			return e.Kind&calllog.End == 0 || yield(c.outcome(int(e.Member)))
		})
		f := feed{call: &c.gathering}
		for i, ok := f.nextUnended(); whole && ok; i, ok = f.nextUnended() {
			whole = yield(c.outcome(i))
		}
	}
}

// beginningOfLog is where readers begin, which is the present end of the log if only Stream
// keeps what is before it.
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

// at returns where the result of an entry is, whose page has these values.
func (c *Call[Req, Res]) at(e calllog.Entry, values any) *Res {
	if e.Value == calllog.Answer {
		return &c.answers[e.Member]
	}
	return values.([]*Res)[e.Value]
}

// values returns the results' values once the call has ended: in the order of
// registration, those of members that relays named after the others.
func (c *Call[Req, Res]) values() []Res {
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

// plain returns the closure of a run if it is a plain producer's and needs nothing else.
func (c *Call[Req, Res]) plain(r *run) Producer[Req, Res] {
	closure, ok := r.producer().fn.(Producer[Req, Res])
	if !ok || c.nesting != nil || !r.isPlain() {
		return nil
	}
	return closure
}

// askOtherwise is ask for all that is more than a plain producer. Its frame would be in
// the way of those.
//
//go:noinline
func (c *Call[Req, Res]) askOtherwise(r *run) {
	if c.nesting != nil && c.nesting.asks {
		c.nesting.around(r, func(ctx context.Context) { c.askWith(ctx, r) })
	} else {
		c.askWith(r, r)
	}
}

// askWith calls the closure of a run with a context.
func (c *Call[Req, Res]) askWith(ctx context.Context, r *run) {
	switch closure := r.producer().fn.(type) {
	case StreamProducer[Req, Res]:
		r.fail(c.pull(closure(ctx, c.req), r))
	case Producer[Req, Res]:
		value, err := closure(ctx, c.req)
		r.fail(err)
		*c.boxOf(r) = value
	}
}

// pull hands in what a stream producer yields, until that ends or the call does.
func (c *Call[Req, Res]) pull(results iter.Seq2[Res, error], r *run) error {
	for value, err := range results {
		if err != nil {
			return err
		}
		if !c.hand(r, r.member, value) {
			return nil
		}
	}
	return nil
}

// hand adds a result of a member that goes on to the log. It returns false if the
// call has ended; then the result is late.
func (c *Call[Req, Res]) hand(r *run, member int32, value Res) bool {
	now := c.now()
	c.mu.Lock()
	if !c.course.Result(now, member) {
		over, ended := c.over(), c.course.Member(int(member)).Ended
		c.mu.Unlock()
		switch from := c.memberAt(int(member)); {
		case r.member >= 0: // it streams, and the call is over or its own time is
			c.offerLate(from, value, now, max(0, now-ended))
		case over:
			c.tooLate(r, from, value)
		default:
			c.bus.misuse.Add(1)
		}
		return false
	}
	e := calllog.Entry{At: c.course.Ended(), Member: member, Kind: calllog.Result}
	e.Value = c.keepLocked(value)
	c.appendLocked(e)
	c.tellAndUnlock()
	c.recount()
	return true
}

// keepLocked keeps a value that is no answer on the log's last page, and returns its
// place there.
func (c *Call[Req, Res]) keepLocked(value Res) int16 {
	page, at := c.log.Room()
	if page.Values == nil {
		page.Values = make([]*Res, page.Cap())
	}
	if len(c.spare) == 0 {
		n := min(max(c.log.Results(), 1), 64)
		if unsafe.Sizeof(value) > 1024 {
			n = 1
		}
		c.spare = make([]Res, n)
	}
	kept := &c.spare[0]
	c.spare = c.spare[1:]
	*kept = value
	page.Values.([]*Res)[at] = kept
	return at
}

// adoptLocked is part of half. Stream lets go of what it has yielded, so answers must
// not hold it.
func (c *Call[Req, Res]) adoptLocked(r *run) int16 {
	if !r.isPlain() {
		c.answers[r.member] = c.takeOut(r)
	}
	if c.readable {
		return calllog.Answer
	}
	value, none := c.answers[r.member], *new(Res)
	c.answers[r.member] = none
	return c.keepLocked(value)
}

// late is part of half.
func (c *Call[Req, Res]) late(r *run, at, by time.Duration) {
	c.offerLate(r.producer().member(), c.takeOut(r), at, by)
}

// boxOf returns where a run leaves what it returns: for a replica that is not the answer
// of its member, for another one may be quicker.
func (c *Call[Req, Res]) boxOf(r *run) *Res {
	switch own := r.replica(); {
	case own == nil:
		return &c.answers[r.member]
	case own.index == 0:
		return &c.boxes[r.member]
	case own.box == nil:
		own.box = new(Res)
		fallthrough
	default:
		return own.box.(*Res)
	}
}

// takeOut returns what a run has returned, and lets go of it.
func (c *Call[Req, Res]) takeOut(r *run) (value Res) {
	var none Res
	box := c.boxOf(r)
	value, *box = *box, none
	return value
}

// hear is part of half.
func (c *Call[Req, Res]) hear(l *listener, ctx context.Context, b *batch) {
	r := Result[Req, Res]{Call: c, Value: *c.at(b.now, b.values), Seq: b.seq - 1, Elapsed: b.now.At, Retained: b.retained}
	c.setMember(&r.From, int(b.now.Member))
	l.fn.(Listener[Req, Res])(ctx, r)
}

// value is part of half.
func (c *Call[Req, Res]) value(b *batch) any { return *c.at(b.now, b.values) }

// request is part of half.
func (c *Call[Req, Res]) request() any { return c.req }

// roomLocked is part of half.
func (c *Call[Req, Res]) roomLocked(n int) (members []course.Member, entries []calllog.Entry) {
	if c.groups != nil {
		c.boxes = make([]Res, n)
	}
	switch {
	case n <= 1:
		r := &c.one
		members, c.local, c.answers, entries = r.members[:n], r.runs[:n], r.answers[:n], r.entries[:]
	case n <= 4:
		r := new(room[[4]course.Member, [4]run, [4]Res, [4]calllog.Entry])
		members, c.local, c.answers, entries = r.members[:n], r.runs[:n], r.answers[:n], r.entries[:]
	case n <= 10:
		r := new(room[[10]course.Member, [10]run, [10]Res, [10]calllog.Entry])
		members, c.local, c.answers, entries = r.members[:n], r.runs[:n], r.answers[:n], r.entries[:]
	default:
		members, c.local, c.answers, entries = make([]course.Member, n), make([]run, n), make([]Res, n), make([]calllog.Entry, min(n, calllog.LargestPage))
	}
	if !c.readable && n <= 10 { // Stream lets go of what it has passed
		entries = make([]calllog.Entry, len(entries))
	}
	return members, entries
}

// tooLate tells observers and hooks of a result that comes after the end of the call.
func (c *Call[Req, Res]) tooLate(r *run, from Member, value Res) {
	at, by := c.lateness()
	c.observeLate(r, from, at, by, nil)
	c.offerLate(from, value, at, by)
}

// offerLate offers a result that came too late to the hooks.
func (c *Call[Req, Res]) offerLate(from Member, value Res, at, by time.Duration) {
	for _, h := range c.bus.hooks.all() {
		if *h.entry.Selection.Types != c.topic.Types {
			continue
		}
		r := Result[Req, Res]{Call: c, From: from, Value: value, Seq: -1, Elapsed: at}
		h.tell(&event{since: c.onBus(at), call: func() {
			if !h.silenced() {
				h.fn.(func(Result[Req, Res], time.Duration))(r, by)
			}
		}})
	}
}
