package dispatch

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-bb4b4d74/dispatch/internal/callcontext"
	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
	"github.com/seed-bb4b4d74/dispatch/internal/course"
	"github.com/seed-bb4b4d74/dispatch/internal/registry"
)

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
	groups    []group     // those that are groups, by index; nil if there are none
	relaying  *relaying   // nil in a call without relays
	claimed   *run        // the one that was claimed last
	spare     bool        // a worker is started and has not yet claimed anything
	launched  bool        // runs may start
	found     bool        // the call does not wait for producers any more
	inherits  bool        // its deadline is the sender's, whose context has not had its time twice
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

// What the registry leads a call to: the members, and all that is registered on the topic.
type (
	seat  = registry.Seat[*producer]
	route = registry.Route[*producer, *listener]
)

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

// lateness returns the time, and by how much something is late that comes now.
func (c *gathering) lateness() (now, by time.Duration) {
	now = c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return now, max(0, now-c.course.Ended())
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

// presentLocked returns how many producers count for WithMinProducers.
func (c *gathering) presentLocked() int { return len(c.route.Producers) - len(c.route.Relays) }

// stopWaitingLocked ends the wait for producers, if the call is in it.
func (c *gathering) stopWaitingLocked() {
	if c.policy.minProducers > 0 && !c.found {
		c.found = true
		c.bus.waiting.Add(-1)
	}
}
