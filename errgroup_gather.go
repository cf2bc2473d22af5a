package dispatch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"time"
)

// The engine. A call's members are run by workers, goroutines of the call's
// errgroup.Group that all run the same function. A worker claims a member, runs
// its producer, settles the member and claims the next, until none is left.
//
// A worker that is about to run a producer while unclaimed members remain first
// sees to it that there is a spare: a worker that is started and has not begun.
// If producers are quick, the first worker is through with all of them while the
// spare stands by, and two goroutines have done the work of a thousand. If a
// producer blocks, the spare begins, starts the next spare, and so on: then every
// member is started without waiting for another to end, at the cost of the
// ordinary loop of one goroutine each.
//
// The invariant: while the call goes on and unclaimed members remain, a worker
// that will claim them is running or runnable and waits for no producer, unless
// WithParallelism allows no further worker. It is kept by startSpare before each
// run, and by the guard around the runs, for a producer can end its goroutine.
//
// The worker that claimed last is in a streak: it need not take the lock for each
// member. It claims the next one by counting up the call's claims word, which at
// the same time says that the one before has answered. Whoever holds the lock can
// read from the word how far the streak has come, and tells its results; the
// spare does so while it stands by, so the results of a streak are not held up by
// a producer that blocks. And whoever holds the lock can take the members that
// are left, by counting up the epoch in the upper half of the word.

const (
	epoch  = 1 << 32 // one epoch in a claims word; the rest is the first unclaimed member
	closed = 1 << 63 // in the claims word of a call that has ended

	// A streak comes to the lock after this time, lest its results wait when no
	// processor is free for the spare.
	longStreak = 20 * time.Microsecond

	// A spare looks at a streak this often before it tells its results, and
	// counts to this number between two looks, which takes longer than a quick
	// producer does.
	looks = 8
	pause = 500

	// manySpares is how many spares may be runnable on a bus before workers make
	// way for them.
	manySpares = 64

	// quick is what a producer takes at most to make it pointless to run two
	// of its kind on two processors.
	quick = 2 * time.Microsecond
)

func unclaimed(claims uint64) int { return int(uint32(claims)) }

// worker is what a worker knows of its streak.
type worker struct {
	claims uint64        // the claims word as the worker left it
	room   int           // how many members it may yet claim without the lock
	until  time.Duration // when the streak has to come to the lock
	began  time.Duration // when its present member was claimed
	opened bool          // nothing stood between that member and its producer
}

// work is what the workers run.
func (c *Call[Req, Res]) work() error {
	var w worker
	var idle *mailbox
	for m := c.begin(&w); m != nil; {
		m, idle = c.run(&w, m)
	}
	c.leave()
	switch {
	case idle == nil:
	case c.over.Load():
		// Nobody needs this goroutine's place in the group any more: it may as
		// well be the one that the mailbox needs.
		idle.queue.RunOne()
	default:
		idle.start()
	}
	return nil
}

// begin makes the goroutine a worker that has claimed a member, or returns nil if
// none is left for it. A spare stays back as long as a streak makes progress, so
// as not to be in its way; if the streak stands still, then it is blocked, or slow
// enough to be helped.
func (c *Call[Req, Res]) begin(w *worker) *member {
	c.stoodBy()
	var now time.Duration
	for seen := c.claims.Load(); unclaimed(seen) > 0; {
		claims := c.watch(seen)
		if unclaimed(claims) == len(c.members) {
			// The streak has taken them all. Its last member may be one that
			// blocks, with the results of the others behind it.
			if !c.over.Load() {
				c.tellStreak()
			}
			return nil
		}
		if claims == seen {
			now = c.now()
			break
		}
		c.tellStreak()
		// What has been told needs a processor now, perhaps this one.
		runtime.Gosched()
		seen = c.claims.Load()
	}
	c.mu.Lock()
	c.spare = false
	m := c.claimLocked(w, now)
	spare := c.wantSpareLocked(w)
	feeds := c.feeds
	c.mu.Unlock()
	if spare {
		c.startSpare(w)
	}
	c.bus.ledger.Changed()
	if idle := tell(feeds); idle != nil {
		idle.start()
	}
	return m
}

// watch looks at a streak for a little while and returns how far it has come. It
// looks without giving up the processor, for a spare that did so whenever it began
// would wait behind everything else that is runnable, and spares would pile up
// under load. It looks seldom, for each look slows the streak down.
func (c *call) watch(seen uint64) (claims uint64) {
	claims = seen
	for range looks {
		for range pause {
		}
		last := claims
		claims = c.claims.Load()
		if claims == last || unclaimed(claims) == len(c.members) {
			break
		}
	}
	return claims
}

// claimLocked claims the next member, or returns nil if there is none to start.
// Whatever streak there was is at an end.
func (c *Call[Req, Res]) claimLocked(w *worker, now time.Duration) *member {
	for {
		claims := c.claims.Load()
		i := unclaimed(claims)
		if i >= c.released || c.asked != nil && c.asked.over.Load() {
			// The streak may just have taken the last, which may be one that
			// blocks. Nobody will look again.
			c.drainLocked(i)
			return nil
		}
		w.claims = claims + epoch + 1
		if !c.claims.CompareAndSwap(claims, w.claims) {
			continue
		}
		c.drainLocked(i)
		c.told = i
		w.room, w.began, w.until = 0, now, now+longStreak
		m := &c.members[i]
		m.call, m.index = &c.call, int32(i)
		p := c.producers[i]
		m.streams = p.is(gateStream)
		if w.opened = p.open(); w.opened {
			c.startLocked(m)
		}
		return m
	}
}

// wantSpareLocked reports whether a spare has to be started before the worker may
// run the member that it has claimed. It also decides how long a streak may be:
// without a spare nobody would tell its results, and some calls have to look at
// each of them.
func (c *call) wantSpareLocked(w *worker) bool {
	left := c.released - unclaimed(c.claims.Load())
	if left <= 0 || c.reason != ReasonPending {
		return false
	}
	want := false
	if n := int32(min(c.policy.parallelism, math.MaxInt32)); !c.spare && (n == 0 || c.claimants() < n) {
		want = true
		c.spare = true
		c.workers.Add(1)
	}
	if c.spare && !c.careful {
		w.room = left
	}
	return want
}

// claimants returns how many workers claim members, which relays do not.
func (c *call) claimants() int32 {
	if c.relaying == nil {
		return c.workers.Load()
	}
	return c.workers.Load() - c.relaying.workers.Load()
}

func (c *call) startSpare(w *worker) {
	c.standby.Store(true)
	standby := c.bus.standby.Add(1)
	if c.group.TryGo(c.worker) {
		if standby > manySpares {
			// Spares of calls that were quickly over wait in the run queue
			// behind goroutines that wake each other. Let them pass.
			runtime.Gosched()
		}
		return
	}
	c.stoodBy()
	// The group is at its limit: those that there are go on claiming.
	w.room = 0
	c.mu.Lock()
	c.spare = false
	c.mu.Unlock()
	c.workers.Add(-1)
}

// stoodBy is called by a spare when it has got hold of a processor.
func (c *call) stoodBy() {
	if c.standby.Load() && c.standby.Swap(false) {
		c.bus.standby.Add(-1)
	}
}

// startLocked makes the member one whose closure runs.
func (c *call) startLocked(m *member) {
	m.run = runGoes
	c.running++
	if c.outer != nil {
		c.outer.started.Add(1)
	}
}

// run runs members, m first, until none is left to claim or one of their closures
// unwinds the stack, and returns the member to go on with. If none is left it may
// also return a mailbox that has to be run.
func (c *Call[Req, Res]) run(w *worker, m *member) (next *member, idle *mailbox) {
	defer func() {
		if m == nil {
			return
		}
		if value := recover(); value != nil {
			stack := debug.Stack()
			c.bus.unwound("producer", &c.unwinder(m).Registration, value, stack)
			next, idle = c.settleUnwound(w, m, StatePanicked, &PanicError{value, stack})
			return
		}
		// The closure called runtime.Goexit, and the goroutine ends with the
		// function we are in. So what is left of work is done here.
		next, idle = c.settleUnwound(w, m, StateFailed, ErrGoexit)
		for m = nil; next != nil; {
			next, idle = c.run(w, next)
		}
		c.leave()
		if idle != nil {
			idle.start()
		}
	}()
	for m != nil {
		var value Res
		state, err := StateOK, error(nil)
		if !w.opened {
			state, err = c.admit(m)
		}
		for state == StateOK {
			if p := c.producers[m.index]; c.observed != nil {
				value, err = c.askObserved(m)
			} else if !m.streams {
				value, err = p.fn.(Producer[Req, Res])(m, c.req)
			} else {
				err = c.pull(m, m, p.fn.(StreamProducer[Req, Res]))
			}
			if err == errElsewhere {
				m = nil
				return nil, nil
			}
			if err != nil {
				state = failure(err)
				break
			}
			following := c.advance(w, m, value)
			if following == nil {
				break
			}
			m = following
		}
		m, idle = c.settle(w, m, value, state, err)
	}
	return nil, idle
}

func failure(err error) State {
	if group, ok := err.(*replicasError); ok {
		return group.state
	}
	if is(err, ErrDecline) {
		return StateDeclined
	}
	return StateFailed
}

// advance ends a member that has answered and claims the next one, both without
// the lock. It returns nil if that cannot be done.
func (c *Call[Req, Res]) advance(w *worker, m *member, value Res) *member {
	i := m.index + 1
	if w.room == 0 || !w.opened || !c.producers[i].open() {
		return nil
	}
	now := c.now()
	if now >= w.until {
		return nil
	}
	c.answers[m.index] = value
	m.ended = now
	if !c.claims.CompareAndSwap(w.claims, w.claims+1) {
		return nil
	}
	w.claims++
	w.room--
	w.began = now
	next := &c.members[i]
	next.call, next.index = &c.call, i
	return next
}

// drainLocked records the members of the streak that have answered, if claimed
// is how many members have been claimed. The last of them is still running.
func (c *Call[Req, Res]) drainLocked(claimed int) {
	if c.told >= claimed-1 || c.reason != ReasonPending {
		return
	}
	c.findListenersLocked()
	first := c.told
	for c.told < claimed-1 {
		m := &c.members[c.told]
		m.state, m.run = StateOK, runReturned
		c.log.append(m.index, true)
		c.told++
		c.members[c.told].run = runGoes
	}
	c.tally.Answered += int32(c.told - first)
	c.publishLocked()
}

// tellStreak tells the results that the streak has by now.
func (c *Call[Req, Res]) tellStreak() {
	c.lockDrained()
	feeds := c.feeds
	c.mu.Unlock()
	c.bus.ledger.Changed()
	if idle := tell(feeds); idle != nil {
		idle.start()
	}
}

// admit starts a member whose producer is not open, or returns the state in which
// it ends without having been started. It may block for as long as the call lasts.
func (c *call) admit(m *member) (State, error) {
	p := m.producer()
	if p.gates.Load()&gateUnknown != 0 {
		return StateGone, fmt.Errorf("%w: %q", ErrUnknownMember, p.name)
	}
	if n := int(p.abandoned.Load()); n >= c.bus.maxAbandoned {
		return StateRejected, fmt.Errorf("%w: %d runs have outlived their calls", ErrStuck, n)
	}
	limited := p.gates.Load()&gateLimited != 0
	if limited {
		switch err := p.acquire(m); {
		case errors.Is(err, ErrQueueFull):
			return StateRejected, err
		case err != nil && !c.over.Load():
			return StateLate, err // the grace has begun before there was a slot
		case err != nil:
			return StateCanceled, err // the call has ended, and with it the member
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.reason != ReasonPending:
	case c.outer != nil && c.outer.of.call.over.Load(): // which is about to end this one
	case p.gates.Load()&gateRemoved != 0:
	default:
		m.limited = limited
		c.startLocked(m)
		return StateOK, nil
	}
	if limited {
		p.release()
	}
	return StateGone, ErrRemoved
}

// settleLate is the part of settle that concerns a call that has ended. It unlocks.
func (c *Call[Req, Res]) settleLate(m *member, value Res, state State, err error, now time.Duration) {
	by := now - c.elapsed
	var none Res
	c.answers[m.index] = none // where advance may have put it just before the end
	ran := m.run == runReturned
	c.mu.Unlock()
	if ran {
		c.observeLate(int(m.index), m.producer().member(), now, by, err)
	}
	if state == StateOK && !m.streams {
		c.tellLate(c.answerer(m.index), value, now, by)
	}
	c.bus.ledger.Changed()
}

// settle ends a member and claims the next one. The results there are have been
// told when it returns, except that one mailbox may be left to the caller, if
// there is no next member.
func (c *Call[Req, Res]) settle(w *worker, m *member, value Res, state State, err error) (next *member, idle *mailbox) {
	if state == StateFailed && c.graced.Load() && errors.Is(err, context.DeadlineExceeded) {
		state = StateLate
	}
	now := c.now()
	if m.limited {
		m.producer().release()
	}
	c.lockDrained()
	if m.runs() {
		c.returnLocked(m)
	}
	if c.reason != ReasonPending {
		c.settleLate(m, value, state, err, now)
		return nil, nil
	}
	ours := int(m.index) == c.told // nobody has ended the streak
	if ours {
		c.told++
	}
	c.findListenersLocked()
	if state == StateOK {
		c.answers[m.index] = value
	}
	c.recordLocked(m, state, err, now)
	c.publishLocked()
	c.judgeLocked(now)
	if state != StateOK {
		c.releaseLocked(now)
	}
	if ours || !c.spare || c.policy.parallelism > 0 || now-w.began > quick {
		next = c.claimLocked(w, now)
	}
	spare := next != nil && c.wantSpareLocked(w)
	feeds, ended := c.feeds, c.reason != ReasonPending
	c.mu.Unlock()

	if spare {
		c.startSpare(w)
	}
	if ended {
		c.spread()
	} else {
		c.bus.ledger.Changed()
	}
	idle = tell(feeds)
	if ended {
		c.unhold()
	}
	if next != nil && idle != nil {
		idle.start()
		idle = nil
	}
	return next, idle
}
