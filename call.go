package dispatch

import (
	"context"
	"iter"
	"slices"
	"strconv"
	"time"
)

// CallID identifies a call within its bus.
type CallID uint64

// String gives the number in decimal.
func (id CallID) String() string { return strconv.FormatUint(uint64(id), 10) }

// A Call is a request in flight, or one that has ended: its results, its end and
// its report. It need not be waited for or looked at; nothing leaks if its
// results are ignored. All methods may be used concurrently.
type Call[Req, Res any] struct {
	call
	req   Req
	head  *page[Res] // where readers begin; nil if only Stream reads
	first page[Res]  // of the log

	listening listenerContext // of the listeners
	asked     *Call[Req, Res] // the call whose member is a group that this one asks

	answers []Res    // what members have answered, by index
	one     struct { // what members and answers point to if there is but one
		members [1]member
		values  [1]Res
	}

	// The call's mu guards the fields below.
	told   int // the first member of the streak that is not recorded
	log    log[Res]
	more   chan struct{}   // closed when there is more in the log; nil if nobody waits
	feeds  *feed[Req, Res] // one for each listener that had a chance to read
	newest uint64          // the id of the newest listener with a feed
	seen   uint64          // the generation of the bus at which feeds was complete
}

// A Result is a value that a member of a call produced in time.
type Result[Req, Res any] struct {
	Call    *Call[Req, Res] // the call it belongs to
	From    Member          // who produced it
	Value   Res             // what the producer returned
	Seq     int             // its place among the results of the call, from 0; -1 for a late one
	Elapsed time.Duration   // from the call's start to the result
}

// ID returns the call's number, which is unique on its bus.
func (c *Call[Req, Res]) ID() CallID { return c.id }

// Topic returns the topic that was asked.
func (c *Call[Req, Res]) Topic() Topic[Req, Res] { return Topic[Req, Res]{spec: c.spec} }

// Request returns the request.
func (c *Call[Req, Res]) Request() Req { return c.req }

// Done returns a channel that is closed when the call ends. It says nothing
// about listeners, which may be behind, or producers, which may still run.
func (c *Call[Req, Res]) Done() <-chan struct{} { return c.call.doneChannel() }

// Wait waits for the end of the call. The error is about the wait alone: nil, or
// that of ctx if it ended before the call did. To end a call early there is
// [Call.Cancel].
func (c *Call[Req, Res]) Wait(ctx context.Context) error {
	if ctx == nil {
		return invalidArgument("Wait: nil context")
	}
	if c.over.Load() {
		return nil
	}
	select {
	case <-c.Done():
		return nil
	case <-ctx.Done():
		if c.over.Load() {
			return nil
		}
		return ctx.Err()
	}
}

// Cancel ends the call as Canceled, unless it has ended already. The contexts
// of its producers end with the cause; nil stands for [context.Canceled].
func (c *Call[Req, Res]) Cancel(cause error) {
	if cause == nil {
		cause = context.Canceled
	}
	c.end(ReasonCanceled, cause)
}

// Report returns how each member ended and why the call did. It is the same
// whenever it is asked for after the end; before that it says how far the call
// has come, with ReasonPending.
func (c *Call[Req, Res]) Report() Report { return c.call.report() }

// Results ranges over the results as they arrive, from the first one to the end
// of the call. Any number of loops may do so, at any time and at any pace: each
// sees all results, in the same order, and nobody waits for it.
func (c *Call[Req, Res]) Results() iter.Seq[Result[Req, Res]] {
	return func(yield func(Result[Req, Res]) bool) { c.readFrom(c.beginning(), yield) }
}

// Outcomes ranges over the outcomes of the members as they end, and at the end of
// the call over those of the members that had not ended: one for each member.
// Any number of loops may do so, as with [Call.Results]. When it yields the
// outcome of a member, all results of that member can be read.
func (c *Call[Req, Res]) Outcomes() iter.Seq[Outcome] {
	return func(yield func(Outcome) bool) {
		whole := c.events(c.beginning(), func(e event[Res], _ int) bool {
			return !e.ended || yield(c.outcome(c.place(e)))
		})
		for i := 0; whole && i < c.size(); i++ {
			whole = c.hasEnded(i) || yield(c.outcome(i))
		}
	}
}

// beginning is where readers begin, which is the present end of the log if nobody
// keeps it.
func (c *Call[Req, Res]) beginning() cursor[Res] {
	if c.head != nil {
		return cursor[Res]{page: c.head}
	}
	c.lockDrained()
	defer c.mu.Unlock()
	return c.log.end()
}

// readFrom yields the results from the cursor on until the end of the call.
func (c *Call[Req, Res]) readFrom(at cursor[Res], yield func(Result[Req, Res]) bool) {
	c.events(at, func(e event[Res], seq int) bool {
		return e.value == nil || yield(c.result(e, seq))
	})
}

// events yields what is in the log from the cursor on until the end of the call,
// each event with the place of its result. It reports whether it got there.
func (c *Call[Req, Res]) events(at cursor[Res], yield func(event[Res], int) bool) bool {
	for {
		over := c.over.Load()
		for e, ok := c.read(&at); ok; e, ok = c.read(&at) {
			if !yield(e, at.seq-1) {
				return false
			}
		}
		if over {
			return true
		}
		if more := c.wake(at); more != nil {
			<-more
		}
	}
}

// wake returns a channel that is closed when there is something to read at the
// cursor, or nil if there is already.
func (c *Call[Req, Res]) wake(at cursor[Res]) <-chan struct{} {
	c.lockDrained()
	defer c.mu.Unlock()
	if c.reason != ReasonPending || at.ready() {
		return nil
	}
	if c.more == nil {
		c.more = make(chan struct{})
	}
	return c.more
}

// read returns the event at the cursor and steps over it. It reports whether
// there is one yet.
func (c *Call[Req, Res]) read(at *cursor[Res]) (e event[Res], ok bool) {
	i, page, ok := at.next()
	if !ok {
		return e, false
	}
	if e = c.event(i, page); e.value != nil {
		at.seq++
	}
	return e, true
}

// event returns what an entry on a page of the log stands for.
func (c *Call[Req, Res]) event(i int32, page *page[Res]) event[Res] {
	if i < 0 {
		return page.events[^i]
	}
	m := &c.members[i]
	e := event[Res]{member: m, elapsed: m.ended, ended: true}
	if m.state == StateOK && !m.streams {
		e.value = &c.answers[i]
	}
	return e
}

// values returns the results' values once the call has ended: in the order of
// registration, those of members that relays named after the others.
func (c *Call[Req, Res]) values() []Res {
	events := make([]event[Res], 0, len(c.members))
	at := cursor[Res]{page: c.head}
	for e, ok := c.read(&at); ok; e, ok = c.read(&at) {
		if e.value != nil {
			events = append(events, e)
		}
	}
	byMember := func(a, b event[Res]) int { return c.place(a) - c.place(b) }
	if !slices.IsSortedFunc(events, byMember) {
		slices.SortStableFunc(events, byMember)
	}
	values := make([]Res, len(events))
	for i, e := range events {
		values[i] = *e.value
	}
	return values
}

// place is the place in the report of the member that an event is about.
func (c *Call[Req, Res]) place(e event[Res]) int {
	if e.remote != nil {
		return len(c.members) + e.remote.index
	}
	return int(e.member.index)
}

// from is the member that an event is about.
func (c *Call[Req, Res]) from(e event[Res]) Member {
	if e.remote != nil {
		return e.remote.member
	}
	return c.memberAt(int(e.member.index))
}

// result makes an event that has a value into a result.
func (c *Call[Req, Res]) result(e event[Res], seq int) Result[Req, Res] {
	return Result[Req, Res]{Call: c, From: c.from(e), Value: *e.value, Seq: seq, Elapsed: e.elapsed}
}

// recordLocked notes how a member has ended, and puts it into the log.
func (c *Call[Req, Res]) recordLocked(m *member, state State, err error, at time.Duration) {
	m.state, m.ended = state, at
	if err != nil {
		d := c.detailLocked(m)
		d.err = err
		if p := c.producers[m.index]; state.isFailure() {
			if m.run != runWaits {
				p.failed.Add(1)
			}
			p.lastFailure.Store(d)
		}
	}
	c.tally.Count(state == StateOK, state.isFailure())
	result := state == StateOK && !m.streams
	if result {
		c.resultLocked(at)
	}
	if c.head != nil || !result {
		c.log.append(m.index, result)
		return
	}
	// Stream lets go of what it has yielded, so answers must not hold it.
	value, none := c.answers[m.index], *new(Res)
	c.answers[m.index] = none
	c.log.appendEvent(event[Res]{member: m, value: &value, elapsed: at, ended: true})
}

// publishLocked lets readers and listeners see what has been recorded.
func (c *Call[Req, Res]) publishLocked() {
	c.log.publish()
	if c.more != nil {
		close(c.more)
		c.more = nil
	}
}

// findListenersLocked gives a feed to each listener that has none yet. It begins
// at the present end of the log.
func (c *Call[Req, Res]) findListenersLocked() {
	generation := c.bus.generation.Load()
	if c.seen == generation || c.outer != nil {
		return
	}
	c.seen = generation
	if c.routed != generation {
		c.route = c.bus.route(c.spec)
	}
	route := c.route
	if *route.types != c.spec.types {
		// The name has gone over to others meanwhile, but patterns still match.
		route = c.bus.patterns.Load().matching(c.spec)
	}
	added := route.listenersSince(c.newest)
	if len(added) == 0 {
		return
	}
	c.newest = added[len(added)-1].id
	c.holds.Add(int32(len(added)))
	feeds := make([]feed[Req, Res], len(added))
	for i, l := range added {
		feeds[i].init(c, l, c.feeds)
		c.feeds = &feeds[i]
	}
}

// tell puts the feeds into the mailboxes of their listeners. It starts those
// mailboxes that were idle, but leaves the last of them to the caller.
func tell[Req, Res any](feeds *feed[Req, Res]) (idle *mailbox) {
	for f := feeds; f != nil; f = f.sibling {
		if !f.put() {
			continue
		}
		if idle != nil {
			idle.start()
		}
		idle = &f.listener.mailbox
	}
	return idle
}

// tellEnd brings the end of the call to the listeners that want to know of it.
func (c *Call[Req, Res]) tellEnd() {
	c.mu.Lock()
	c.findListenersLocked()
	c.publishLocked()
	feeds := c.feeds
	c.mu.Unlock()
	if idle := tell(feeds); idle != nil {
		idle.start()
	}
	c.unhold()
}
