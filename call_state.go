package dispatch

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
	"github.com/seed-bb4b4d74/dispatch/internal/tally"
)

// abandonAfter is how long a producer may take to return once its call has ended
// before its run counts as abandoned. A producer that watches its context needs
// far less, even on a busy machine.
const abandonAfter = 100 * time.Millisecond

// call is what a Call is apart from its types: who is asked, who has ended, and
// whether the whole has.
type call struct {
	bus       *Bus
	spec      *topicSpec
	id        CallID
	depth     int32         // how many calls this one is nested in
	unborn    bool          // it could not go on when it was made; set under mu
	placed    bool          // it has a place under WithMaxInFlight
	followed  bool          // the sender's context can end
	careful   bool          // each result may end the call, so there are no streaks
	inherits  bool          // its deadline is that of the context, which comes from inside another call
	policy    *policy       // shared with other calls, except for
	timeout   time.Duration // which may be cut short by the sender's context
	sender    context.Context
	start     time.Time
	route     *route        // where the topic led when the call was sent; guarded by mu from then on
	routed    uint64        // the bus's generation at that time
	producers []*producer   // the snapshot, in the order of registration
	members   []member      // one for each producer
	groups    *groupMembers // nil if no member is a group
	relaying  *relaying     // nil in a call without relays
	outer     *groupMember  // what the call is made for, if it asks a group
	offset    time.Duration // from the start of that call to the start of this
	observed  *observed     // nil in a call without observers
	entry     ledger.Entry
	group     errgroup.Group
	worker    func() error // what the group runs
	typed     typedCall

	claims   atomic.Uint64            // the first unclaimed member and the epoch; see errgroup_gather.go
	graced   atomic.Bool              // the grace has begun; written under mu
	standby  atomic.Bool              // a spare is runnable that has not run yet
	over     atomic.Bool              // whether reason is final; written under mu
	holds    atomic.Int32             // who keeps the place under WithMaxInFlight: the call itself and each feed
	workers  atomic.Int32             // goroutines that keep the call in the ledger
	standard atomic.Pointer[standard] // the context of package context; nil until asked for

	mu         sync.Mutex // guards the fields below
	reason     Reason
	spare      bool  // a worker is started and has not yet begun
	waiting    bool  // for producers to be registered
	launched   bool  // launch has been through, in a call that may wait
	running    int32 // members inside their closures
	cause      error
	elapsed    time.Duration // from start to end
	tally      tally.Tally
	released   int                 // how many members may be claimed
	nextStart  time.Duration       // when one more is released; see WithStagger
	lastResult time.Duration       // when the last result came; negative before the first
	timer      *time.Timer         // for the deadline, a stall, and producers that do not return
	unfollow   func() bool         // stops following the sender's context; nil if it is not followed
	details    map[*member]*detail // of the members that have something to tell; nil if none has
	done       chan struct{}       // made when asked for; closed at the end
}

// detail is what few members have.
type detail struct {
	err     error
	results int // of a stream
}

func (c *call) detailLocked(m *member) *detail {
	d := c.details[m]
	if d == nil {
		if c.details == nil {
			c.details = make(map[*member]*detail)
		}
		d = new(detail)
		c.details[m] = d
	}
	return d
}

// typedCall is what a call needs of the Call that it is part of.
type typedCall interface {
	drainLocked(claimed int)
	tellEnd()
	nest(*groupMember) *call
	hedgeLocked(now time.Duration)
}

// lockDrained takes the lock with the records up to date.
func (c *call) lockDrained() {
	c.mu.Lock()
	c.typed.drainLocked(unclaimed(c.claims.Load()))
}

// now returns the time since the call's start.
func (c *call) now() time.Duration { return time.Since(c.start) }

// budget is how long the producers have.
func (c *call) budget() time.Duration { return c.timeout - c.policy.grace }

func (c *call) deadline() time.Time { return c.start.Add(c.budget()) }

func (c *call) info() CallInfo {
	return CallInfo{Topic: c.spec.name, ID: c.id, Budget: max(0, c.budget()-c.now())}
}

// parent returns the number of the call on the same bus that the context comes from,
// or 0 if there is none.
func (c *call) parent(sender context.Context) CallID {
	if in, ok := sender.Value(callKey{}).(inside); ok {
		return in.sentOn(c.bus)
	}
	return 0
}

// sentOn returns the call's number if the bus is its own.
func (c *call) sentOn(b *Bus) CallID {
	if c.bus != b {
		return 0
	}
	return c.id
}

// context returns the context that all members share, and makes it when it is
// needed for the first time.
func (c *call) context() *standard {
	if s := c.standard.Load(); s != nil {
		return s
	}
	// No lock is held, for the sender's context may be of anybody's making.
	s := newStandard(c.sender, c.deadline())
	if !c.standard.CompareAndSwap(nil, s) {
		s.end(ReasonCanceled, context.Canceled)
		return c.standard.Load()
	}
	// The end, or the grace, may have come too early to find the context.
	switch {
	case c.over.Load():
		s.end(c.reason, c.cause)
	case c.graced.Load():
		s.end(ReasonDeadline, context.DeadlineExceeded)
	}
	return s
}

func (c *call) doneChannel() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.reason != ReasonPending {
			close(c.done)
		}
	}
	return c.done
}

// follow ends the call when the sender's context ends.
func (c *call) follow() {
	unfollow := context.AfterFunc(c.sender, func() {
		if c.sender.Err() != context.DeadlineExceeded {
			c.end(ReasonCanceled, context.Cause(c.sender))
			return
		}
		c.mu.Lock()
		if c.reason != ReasonPending {
			c.mu.Unlock()
			return
		}
		c.timeIsUpAndUnlock()
	})
	c.mu.Lock()
	over := c.over.Load()
	c.unfollow = unfollow
	c.mu.Unlock()
	if over {
		unfollow()
	}
}

// judgeLocked ends the call if enough is known.
func (c *call) judgeLocked(at time.Duration) {
	switch c.tally.Verdict() {
	case tally.Complete:
		c.endLocked(ReasonAllEnded, nil, at)
	case tally.Satisfied:
		c.endLocked(ReasonSatisfied, ErrSatisfied, at)
	case tally.QuorumLost:
		c.endLocked(ReasonQuorumLost, ErrQuorumLost, at)
	case tally.FailedFast:
		c.endLocked(ReasonFailedFast, ErrFailFast, at)
	case tally.Open:
	}
}

// end ends the call unless it has ended.
func (c *call) end(reason Reason, cause error) {
	c.mu.Lock()
	if c.reason != ReasonPending {
		c.mu.Unlock()
		return
	}
	c.endAndUnlock(reason, cause)
}

// shut ends the call because the bus is closed. A call that asks a group is ended by
// the one that it is a part of, which must end first.
func (c *call) shut() {
	if c.outer == nil {
		c.end(ReasonClosed, ErrClosed)
	}
}

func (c *call) endAndUnlock(reason Reason, cause error) {
	c.workers.Add(1) // the call stays in the ledger until its end has been told
	c.endLocked(reason, cause, c.now())
	c.mu.Unlock()
	c.spread()
	c.typed.tellEnd()
	c.leave()
}

// unhold gives up one hold on the call's place, and with the last the place.
func (c *call) unhold() {
	if c.holds.Add(-1) == 0 && c.placed {
		c.bus.places.Release(1)
	}
}

// endLocked ends the call as far as that can be done under its lock. Whoever
// calls it has to call spread after unlocking.
func (c *call) endLocked(reason Reason, cause error, at time.Duration) {
	c.typed.drainLocked(unclaimed(c.claims.Swap(closed | uint64(len(c.members)))))
	c.reason, c.cause, c.elapsed = reason, cause, at
	c.groups.freeze()
	c.stopWaitingLocked()
	c.over.Store(true)
	if c.done != nil {
		close(c.done)
	}
	if c.timer == nil {
		return
	}
	if c.running > 0 {
		c.timer.Reset(abandonAfter)
	} else {
		c.timer.Stop()
	}
}

// spread lets the producers know that the call has ended.
func (c *call) spread() {
	if s := c.standard.Load(); s != nil {
		s.end(c.reason, c.cause)
	}
	if c.observed != nil {
		c.observed.endTask(c)
	}
	if c.followed {
		c.mu.Lock()
		unfollow := c.unfollow
		c.mu.Unlock()
		if unfollow != nil {
			unfollow()
		}
	}
	for inner := range c.groups.nested() {
		inner.end(c.reason, c.cause)
	}
	c.bus.ledger.Changed()
}

// abandonLocked counts the runs that have outlived the call for too long.
func (c *call) abandonLocked() {
	for i := range c.members {
		if p := c.runner(i); p != nil && c.members[i].run == runGoes {
			c.members[i].run = runAbandoned
			c.abandonRunLocked("producer", p, i)
		}
	}
	if c.relaying == nil {
		return
	}
	for _, r := range c.relaying.runs {
		if r.run == runGoes {
			r.run = runAbandoned
			c.abandonRunLocked("relay", r.relay, -1)
		}
	}
}

func (c *call) abandonRunLocked(kind string, p *producer, i int) {
	p.abandoned.Add(1)
	c.observeAbandonedLocked(i, p.member(), c.now())
	c.bus.log(slog.LevelWarn, kind+" outlived its call",
		slog.String(kind, p.name), slog.String("topic", c.spec.name), slog.Any("call", c.id),
		slog.Duration("after", c.now()-c.elapsed), slog.String("added_at", p.addedAt()))
}

// returnLocked notes that the closure of a member has returned, in whatever way.
func (c *call) returnLocked(m *member) {
	if m.run == runAbandoned {
		c.runner(int(m.index)).abandoned.Add(-1)
	}
	m.run = runReturned
	c.running--
	if c.running == 0 && c.reason != ReasonPending {
		c.timer.Stop()
	}
}

// leave is called by each worker when it has nothing left to do for the call.
func (c *call) leave() {
	if c.workers.Add(-1) == 0 && c.over.Load() {
		c.bus.ledger.Leave(&c.entry)
	}
}

// occupies reports whether the producer is running for the call or may yet be.
func (c *call) occupies(p *producer) bool {
	c.lockDrained()
	defer c.mu.Unlock()
	pending := c.reason == ReasonPending
	for i, q := range c.producers {
		m := &c.members[i]
		switch {
		case q == p:
			return m.runs() || m.state == StatePending && pending
		case q.isGroup() && slices.Contains(q.group.all, p):
			inner := c.groups.at[i].inner.Load()
			return m.state == StatePending && pending || m.runs() && c.runner(i) == p || inner != nil && inner.occupies(p)
		}
	}
	if c.relaying != nil {
		return slices.ContainsFunc(c.relaying.runs, func(r *relayRun) bool {
			return r.relay == p && (r.run.goes() || r.run == runWaits && pending)
		})
	}
	return false
}

// underWay returns what a call is still busy with.
func (c *call) underWay() (info CallInfo, pending bool, running []Member) {
	c.lockDrained()
	defer c.mu.Unlock()
	for i := range c.members {
		if p := c.runner(i); p != nil && c.members[i].runs() {
			running = append(running, p.member())
		}
	}
	if c.relaying != nil {
		for _, r := range c.relaying.runs {
			if r.run.goes() {
				running = append(running, r.relay.member())
			}
		}
	}
	return c.info(), c.reason == ReasonPending && c.outer == nil, running
}
