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

// A gathering is the untyped part of a Call. It tells its course what happens, and does what
// the course decides: it starts runs, ends contexts, sets the timer, and writes the log for
// readers and listeners.
type gathering struct {
	half      half            // the Call
	sender    context.Context // or what the CallStart hooks have returned; kept after the end, because a producer may use its context for the first time then
	bus       *Bus
	topic     *topicSpec
	policy    *policy       // shared with other calls
	timeout   time.Duration // that of the policy, or less if the sender's deadline is earlier
	start     time.Time
	from      *origin
	parent    CallID    // the call on the same bus that it was sent from; 0 if there is none
	followed  bool      // the sender's context can end
	placed    bool      // it has a place under WithMaxInFlight
	readable  bool      // the call keeps its log from the first page on; false for Stream
	observing observing // by no observers in most calls
	nesting   *nesting  // nil unless the closures get contexts or labels of their own
	workers   errgroup.Group
	worker    func() error // what a worker runs

	mu        sync.Mutex // guards the fields below
	course    course.Course
	route     *route
	generated uint64      // the registry's generation when route was looked up
	producers []*producer // of the local members, in the order of registration
	local     []run       // the runs of these members, unless they are groups
	groups    []group     // by index, empty for members that are none; nil if there are no groups
	relaying  *relaying   // nil in a call without relays
	claimed   *run        // the run that was claimed last
	spare     bool        // a worker has been started and has not begun
	launched  bool        // runs may start
	found     bool        // the call has stopped waiting for producers
	inherits  bool        // its deadline is the sender's, and it has not yet waited for inheritedSlack
	timed     bool        // something other than the deadline can become due
	closed    bool        // closeLocked has been called
	bounded   bool        // a feed leads to an inbox that can drop results
	running   int32       // closures that have been called and have not returned
	holds     int32       // goroutines and feeds that keep the call in the ledger
	unhanded  int32       // feeds that keep its place, and one more while the call goes on
	log       calllog.Log
	feeds     *feed  // of the listeners and observers that read the log
	newest    uint64 // the id of the newest listener with a feed
	seen      uint64 // the registry's generation at which feeds was complete
	cause     error  // why the call ended, for contexts
	err       error  // the same, for outcomes and errors
	shared    *callcontext.Context
	timer     *time.Timer
	due       time.Duration // when timer fires
	unfollow  func() bool   // stops following the sender's context
	done      chan struct{} // made when asked for; closed at the end
	more      chan struct{} // closed when there is more in the log; nil if no reader waits
}

// What the registry returns for a topic: the future members of a call, and all registrations.
type (
	seat  = registry.Seat[*producer]
	route = registry.Route[*producer, *listener]
)

// half is the typed half of a call: all that touches requests and results. Methods whose names
// end in Locked are called under the call's lock, and the others without it.
type half interface {
	// askRelay calls a relay.
	askRelay(r *relayRun)
	// roomLocked makes room for n members, their runs and answers, and the first entries
	// of the log.
	roomLocked(n int) (members []course.Member, entries []calllog.Entry)
	// adoptLocked makes the value of a run the result of its member, and returns the Value of
	// its entry in the log.
	adoptLocked(r *run) int16
	// late offers the value of a run to the OnLate hooks, and lets go of it.
	late(r *run, at, by time.Duration)
	// hear calls a listener with a result.
	hear(l *listener, ctx context.Context, b *batch)
	// value returns a result, and request the request, for observers.
	value(b *batch) any
	request() any
}

// now returns the time since the call's start.
func (c *gathering) now() time.Duration { return time.Since(c.start) }

// onBus returns a time since the call's start as one since the bus was made.
func (c *gathering) onBus(at time.Duration) time.Duration { return c.bus.sinceEpoch(c.start) + at }

// budget is how long the producers have.
func (c *gathering) budget() time.Duration { return max(0, c.timeout-c.policy.Grace) }

func (c *gathering) id() CallID { return c.from.id }

func (c *gathering) info() CallInfo { return c.infoAt(c.now()) }

func (c *gathering) infoAt(at time.Duration) CallInfo {
	return CallInfo{Topic: c.topic.Name, ID: c.from.id, Budget: max(0, c.budget()-at)}
}

func (c *gathering) over() bool { return c.course.Reason() != course.Underway }

// context returns the context that all members share, and makes it when it is
// needed for the first time.
func (c *gathering) context() context.Context {
	c.mu.Lock()
	shared := c.shared
	c.mu.Unlock()
	if shared != nil {
		return shared
	}
	// No lock is held, because the sender's context may be the user's code.
	made := callcontext.New(c.sender, c.start.Add(c.budget()))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shared == nil {
		if c.over() || c.course.Graced() { // from now on, others find the context, so it has to have ended
			made.End(c.endOfContextLocked())
		}
		c.shared = made
	}
	return c.shared
}

// endContext ends the producers' context once the call is over, or its grace has begun.
func (c *gathering) endContext(shared *callcontext.Context) {
	c.mu.Lock()
	exceeded, cause := c.endOfContextLocked()
	c.mu.Unlock()
	shared.End(exceeded, cause)
}

// endOfContextLocked returns how the producers' context ends.
func (c *gathering) endOfContextLocked() (exceeded bool, cause error) {
	switch reason := c.course.Reason(); {
	case reason == course.Underway:
		return true, context.DeadlineExceeded
	case c.cause == nil:
		return false, context.Canceled
	default:
		return reason == course.Deadline, c.cause
	}
}

// leave ends one hold. With the last hold, the call leaves the ledger.
func (c *gathering) leave() {
	c.mu.Lock()
	left := c.leaveLocked()
	c.mu.Unlock()
	if left {
		c.bus.ledger.Leave(&c.from.place)
	}
}

// leaveLocked ends one hold, and reports whether it was the last one of a call that has ended.
func (c *gathering) leaveLocked() bool {
	c.holds--
	return c.holds == 0 && c.over()
}

// handLocked is called when the call has ended, and when a feed stops keeping the place of the
// call. The last of these gives back the place.
func (c *gathering) handLocked() {
	c.unhanded--
	if c.unhanded == 0 && c.placed {
		c.bus.places.free.Release(1)
	}
}

// present returns how many producers count for WithMinProducers.
func (c *gathering) present() int { return countPresent(c.bus.registry.Route(&c.topic.Topic)) }

func countPresent(on *route) int { return len(on.Producers) - len(on.Relays) }

// stopWaitingLocked ends the wait for producers, if the call waits for them.
func (c *gathering) stopWaitingLocked() {
	if c.policy.minProducers > 0 && !c.found {
		c.found = true
		c.bus.waiting.Add(-1)
	}
}
