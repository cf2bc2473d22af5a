package dispatch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-bb4b4d74/dispatch/internal/callcontext"
	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
	"github.com/seed-bb4b4d74/dispatch/internal/course"
)

// abandonAfter is how long a producer may take to return once its call has ended
// before its run counts as abandoned. A producer that watches its context needs
// far less, even on a busy machine.
const abandonAfter = 100 * time.Millisecond

// inheritedSlack is how long a call waits, beyond its deadline, for the end of the
// sender's context that has set it, and for the cause of that end.
const inheritedSlack = 100 * time.Millisecond

// A gathering is a Call without its types. What happens in the call is told to its
// course, which decides; the gathering does what has been decided: it starts runs,
// ends contexts, sets the timer, and writes the log for readers and listeners.
type gathering struct {
	half      half // the Call
	bus       *Bus
	topic     *topicSpec
	policy    *policy // shared with other calls, except for
	timeout   time.Duration
	start     time.Time
	from      *origin
	parent    CallID     // the call on the same bus that it was sent from; 0 if there is none
	followed  bool       // the sender's context can end
	placed    bool       // it has a place under WithMaxInFlight
	readable  bool       // the log is kept from its first page on
	observing *observing // nil in a call without observers
	nesting   *nesting   // nil unless the closures get contexts or labels of their own
	workers   errgroup.Group
	worker    func() error // what a worker runs

	mu        sync.Mutex // guards the fields below
	course    course.Course
	sender    context.Context // kept, for a context may be used for the first time after the end
	route     *route
	generated uint64      // the registry's generation when route was looked up
	producers []*producer // who is asked on this bus, in the order of registration
	local     []run       // their runs, unless they are groups
	groups    []*group    // those that are groups, by index; nil if there are none
	relaying  *relaying   // nil in a call without relays
	claimed   *run        // the one that was claimed last
	spare     bool        // a worker is started and has not yet claimed anything
	launched  bool        // runs may start
	found     bool        // the call does not wait for producers any more
	timed     bool        // something other than the deadline can become due
	closed    bool        // what follows from the end of the course has been done
	bounded   bool        // a feed leads to an inbox that can drop results
	running   int32       // closures that have been called and have not returned
	holds     int32       // goroutines and feeds that keep the call in the ledger
	unhanded  int32       // feeds, and the call itself as long as it goes on, that keep its place
	log       calllog.Log
	feeds     *feed  // one for each listener that had a chance to read
	newest    uint64 // the id of the newest listener with a feed
	seen      uint64 // the registry's generation at which feeds was complete
	cause     error  // of the end, for contexts
	err       error  // the same for outcomes and errors
	shared    *callcontext.Context
	timer     *time.Timer
	due       time.Duration // when timer goes off
	unfollow  func() bool   // stops following the sender's context
	done      chan struct{} // made when asked for; closed at the end
	more      chan struct{} // closed when there is more in the log; nil if no reader waits
}

// half is the typed half of a call: all that touches requests and results. Its
// methods are called without the call's lock, but for those that end in Locked.
type half interface {
	// askRelay calls a relay.
	askRelay(r *relayRun)
	// roomLocked makes room for n members, their runs and answers, and the first entries
	// of the log.
	roomLocked(n int) (members []course.Member, entries []calllog.Entry)
	// adoptLocked makes what a run has returned the result of its member, and returns
	// where that is for the log.
	adoptLocked(r *run) int16
	// late offers what a run has returned to the OnLate hooks, and lets go of it.
	late(r *run, at, by time.Duration)
	// hear calls a listener with a result.
	hear(l *listener, ctx context.Context, b *batch)
	// value returns a result for observers, request the request.
	value(b *batch) any
	request() any
}

// now returns the time since the call's start.
func (c *gathering) now() time.Duration { return time.Since(c.start) }

// onBus returns a time since the call's start as one since the bus was made.
func (c *gathering) onBus(at time.Duration) time.Duration { return c.bus.sinceEpoch(c.start) + at }

// budget is how long the producers have.
func (c *gathering) budget() time.Duration { return c.timeout - c.policy.Grace }

func (c *gathering) deadline() time.Time { return c.start.Add(c.budget()) }

func (c *gathering) id() CallID { return c.from.id }

func (c *gathering) info() CallInfo {
	return CallInfo{Topic: c.topic.Name, ID: c.from.id, Budget: max(0, c.budget()-c.now())}
}

func (c *gathering) over() bool { return c.course.Reason() != course.Underway }

// context returns the context that all members share, and makes it when it is
// needed for the first time.
func (c *gathering) context() context.Context {
	c.mu.Lock()
	shared, sender := c.shared, c.sender
	c.mu.Unlock()
	if shared != nil {
		return shared
	}
	// No lock is held, for the sender's context may be of anybody's making.
	made := callcontext.New(sender, c.deadline())
	c.mu.Lock()
	if c.shared == nil {
		c.shared = made
	}
	shared = c.shared
	over, graced := c.over(), c.course.Graced()
	c.mu.Unlock()
	if over || graced { // its end has come too early to find it
		c.endContext(shared)
	}
	return shared
}

// endContext ends the producers' context once the call is over, or its grace has begun.
func (c *gathering) endContext(shared *callcontext.Context) {
	c.mu.Lock()
	cause := c.cause
	reason := c.course.Reason()
	c.mu.Unlock()
	switch {
	case reason == course.Underway:
		shared.End(true, context.DeadlineExceeded)
	case cause == nil:
		shared.End(false, context.Canceled)
	default:
		shared.End(reason == course.Deadline, cause)
	}
}

func (c *gathering) doneChannel() <-chan struct{} {
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

// follow ends the call when the sender's context ends.
func (c *gathering) follow(sender context.Context) {
	unfollow := context.AfterFunc(sender, func() {
		reason, cause := senderEnd(sender)
		c.stop(reason, cause)
	})
	c.mu.Lock()
	over := c.over()
	c.unfollow = unfollow
	c.mu.Unlock()
	if over {
		unfollow()
	}
}

// stop ends the call, unless it has ended, for a reason from outside.
func (c *gathering) stop(reason course.Reason, cause error) {
	err := endError(reason, cause)
	c.mu.Lock()
	if c.over() {
		c.mu.Unlock()
		return
	}
	if reason != course.Deadline || !c.course.Waiting() {
		c.cause, c.err = cause, err
	}
	c.course.Stop(c.now(), reason)
	c.tellAndUnlock()
}

// endError is the error of outcomes for a reason and its cause.
func endError(reason course.Reason, cause error) error {
	switch reason {
	case course.Deadline:
		return withKind(cause, context.DeadlineExceeded)
	case course.Stopped:
		return withKind(cause, context.Canceled)
	default:
		return cause
	}
}

// shut ends the call because the bus is closed.
func (c *gathering) shut() { c.stop(course.Closed, ErrClosed) }

// expire is what the timer calls.
func (c *gathering) expire() {
	now := c.now()
	c.mu.Lock()
	if c.over() {
		c.abandonAndUnlock(now)
	} else {
		c.tickAndUnlock(now)
	}
}

// tick is what the timer does in a call that goes on. A member may be quicker than the timer
// to say that the time is over.
func (c *gathering) tick() {
	now := c.now()
	c.mu.Lock()
	if c.over() {
		c.mu.Unlock()
	} else {
		c.tickAndUnlock(now)
	}
}

func (c *gathering) tickAndUnlock(now time.Duration) {
	c.due = never
	graced := c.course.Graced()
	c.course.Tick(now)
	var overdue []context.CancelCauseFunc
	for _, o := range c.course.Overdue() {
		if cancel := c.overdueLocked(o); cancel != nil {
			overdue = append(overdue, cancel)
		}
	}
	shared := c.shared
	graced = c.course.Graced() && !graced && shared != nil
	c.tellAndUnlock(overdue...)
	if graced {
		c.endContext(shared)
	}
}

// tellAndUnlock does what follows from events that are not the end of a run: it starts
// a worker if something has been released, and tells what has been written. The contexts of
// runs that are overdue end before that of the call.
func (c *gathering) tellAndUnlock(overdue ...context.CancelCauseFunc) {
	c.holds++
	c.afterLocked()
	spare := c.launched && c.wantsSpareLocked(c.now())
	feeds, over := c.publishLocked(), c.over()
	c.mu.Unlock()
	for _, cancel := range overdue {
		cancel(context.DeadlineExceeded)
	}
	if spare {
		c.startSpare()
	}
	if over {
		c.spread()
	}
	put(feeds)
	if over {
		c.recount()
	}
	c.bus.ledger.Changed()
	c.leave()
}

// afterLocked follows each event of the course: it sets the timer, or does what belongs
// to the end of the call if that has come.
func (c *gathering) afterLocked() {
	if c.over() {
		if !c.closed {
			c.closed = true
			c.closeLocked()
		}
		return
	}
	if c.timer == nil || c.due != never && !c.timed {
		return
	}
	if due := c.course.Due(); due < c.due {
		c.due = due
		c.timer.Reset(due - c.now())
	}
}

// closeLocked does what belongs to the end of the call.
func (c *gathering) closeLocked() {
	if c.cause == nil {
		c.cause = c.causeLocked()
	}
	if c.err == nil { // what comes from outside is not looked at under the lock
		c.err = endError(c.course.Reason(), c.cause)
	}
	c.stopWaitingLocked()
	c.findListenersLocked()
	if c.placed {
		c.handLocked()
		for f := c.feeds; f != nil; f = f.next {
			f.handIfHeardLocked()
		}
	}
	if c.done != nil {
		close(c.done)
	}
	switch {
	case c.timer == nil:
	case c.running > 0:
		c.timer.Reset(abandonAfter)
	default:
		c.timer.Stop()
	}
}

// causeLocked is the error that goes with the reason.
func (c *gathering) causeLocked() error {
	switch c.course.Reason() {
	case course.Satisfied:
		return ErrSatisfied
	case course.QuorumLost:
		return ErrQuorumLost
	case course.FailedFast:
		return ErrFailFast
	case course.Stalled:
		return ErrStalled
	case course.NoProducers:
		return ErrNoProducers
	case course.Deadline:
		if c.course.Waiting() || c.course.Size() == 0 && c.policy.minProducers > 0 {
			return tooFewProducers(c.policy.minProducers, c.presentLocked())
		}
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// spread lets the producers know that the call has ended.
func (c *gathering) spread() {
	c.mu.Lock()
	shared, unfollow, nesting := c.shared, c.unfollow, c.nesting
	c.mu.Unlock()
	if shared != nil {
		c.endContext(shared)
	}
	if unfollow != nil {
		unfollow()
	}
	if nesting != nil {
		nesting.endTask()
	}
}

// lateness returns the time, and by how much something is late that comes now.
func (c *gathering) lateness() (now, by time.Duration) {
	now = c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return now, max(0, now-c.course.Ended())
}

// noteFailure counts the failure of a run with its producer, and logs a panic.
func (c *gathering) noteFailure(r *run, how course.State, why string) {
	if how == course.Declined || how == course.Late || how == course.Gone {
		return
	}
	r.producer().fail(why, r.started)
	c.notePanic(r)
}

// notePanic logs the panic of a run, if it has ended with one.
func (c *gathering) notePanic(r *run) {
	if p, ok := r.err().(*PanicError); ok && !r.returned {
		c.bus.unwound(r.producer().entry.Kind, &r.producer().Registration, p.Value, p.Stack)
	}
}

// leave gives up one hold of the call's place in the ledger, and with the last the place.
func (c *gathering) leave() {
	c.mu.Lock()
	left := c.leaveLocked()
	c.mu.Unlock()
	if left {
		c.bus.ledger.Leave(&c.from.place)
	}
}

// leaveLocked reports whether that was the last hold of a call that has ended.
func (c *gathering) leaveLocked() bool {
	c.holds--
	return c.holds == 0 && c.over()
}

// handLocked is called when the call has ended, and when a listener has taken the last
// result. With the last of these the call gives back its place.
func (c *gathering) handLocked() {
	c.unhanded--
	if c.unhanded == 0 && c.placed {
		c.bus.places.free.Release(1)
	}
}

// abandonAndUnlock counts the runs that have outlived the call for too long.
func (c *gathering) abandonAndUnlock(now time.Duration) {
	after := now - c.course.Ended()
	if left := abandonAfter - after; left > 0 {
		if c.running > 0 {
			c.timer.Reset(left) // it had gone off for the deadline when the call ended
		}
		c.mu.Unlock()
		return
	}
	var abandoned []*run
	for r := range c.runsLocked() {
		if r.phase == runGoes {
			r.phase = runAbandoned
			r.producer().abandon()
			abandoned = append(abandoned, r)
		}
	}
	c.mu.Unlock()
	for _, r := range abandoned {
		c.observeAbandoned(r, now, after)
		p := r.producer()
		c.bus.log(slog.LevelWarn, p.entry.Kind+" outlived its call",
			slog.String(p.entry.Kind, p.Name()), slog.String("topic", c.topic.Name), slog.Any("call", c.id()),
			slog.Duration("after", after), slog.String("added_at", p.addedAt()))
	}
}

// occupies reports whether the producer is running for the call or may yet be.
func (c *gathering) occupies(p *producer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.runsLocked() {
		if r.producer() == p && r.phase.goes() {
			return true
		}
	}
	return !c.over() && c.mayAskLocked(p)
}

// underWay returns what a call is still busy with.
func (c *gathering) underWay() (info CallInfo, pending bool, running []Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.runsLocked() {
		if r.phase.goes() {
			running = append(running, r.producer().member())
		}
	}
	return c.info(), !c.over(), running
}

// snapshot returns how far the call is.
func (c *gathering) snapshot() CallSnapshot {
	s := CallSnapshot{Report: c.report(), Left: c.info().Budget, Depth: int(c.from.nesting)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.course.Waiting() {
		s.WaitsFor = c.policy.minProducers - c.presentLocked()
	}
	return s
}

// load is what a producer has to do for the calls in flight.
type load struct{ waiting, running int }

// addTo adds what each producer has to do for the call, and returns the runs that have
// outlived it.
func (c *gathering) addTo(loads map[*producer]load) (abandoned []AbandonedSnapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	age := c.now() - c.course.Ended()
	for r := range c.runsLocked() {
		l := loads[r.producer()]
		switch {
		case r.phase.goes():
			l.running++
		case r.phase == runClaimed && !c.over():
			l.waiting++
		}
		loads[r.producer()] = l
		if r.phase == runAbandoned {
			abandoned = append(abandoned, AbandonedSnapshot{Member: r.producer().member(), Topic: c.topic.Name, Call: c.id(), Age: age})
		}
	}
	return abandoned
}
