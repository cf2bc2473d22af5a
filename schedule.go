package dispatch

import (
	"context"
	"math"
	"time"
)

// resultLocked keeps the time of a result for WithStall.
func (c *call) resultLocked(at time.Duration) {
	if c.policy.stall == 0 {
		return
	}
	first := c.lastResult < 0
	c.lastResult = at
	if first {
		// Later results do not set the timer: when it goes off it is set
		// anew for what came meanwhile.
		c.timer.Reset(c.dueLocked() - at)
	}
}

// releaseLocked lets one more member start, if there is one, and reports whether
// there was.
func (c *call) releaseLocked(now time.Duration) bool {
	if c.released == len(c.members) {
		return false
	}
	c.released++
	c.nextStart = later(now, c.policy.stagger)
	return true
}

// later returns a time after another one, however large the difference is.
func later(at, by time.Duration) time.Duration {
	if by > math.MaxInt64-at {
		return math.MaxInt64
	}
	return at + by
}

// inheritedGrace is how long a call waits, beyond its deadline, for the end of the
// context that has set it.
const inheritedGrace = 100 * time.Millisecond

// expiry returns when the timer ends the call. A call that asks a group ends with the
// one that it is a part of. One whose deadline is that of the call it was sent from ends
// when that has ended, with its context: who passes on the error of the inner call must
// not seem to have failed before the outer one was over.
func (c *call) expiry() time.Duration {
	switch {
	case c.outer != nil:
		return math.MaxInt64
	case c.inherits:
		return later(c.timeout, inheritedGrace)
	default:
		return c.timeout
	}
}

// dueLocked returns when the timer has something to do next.
func (c *call) dueLocked() time.Duration {
	due := c.expiry()
	if c.policy.grace > 0 && !c.graced.Load() {
		due = min(due, c.budget())
	}
	if c.policy.stall > 0 && c.lastResult >= 0 {
		due = min(due, later(c.lastResult, c.policy.stall))
	}
	if c.staggersLocked() {
		due = min(due, c.nextStart)
	}
	if c.groups != nil {
		due = min(due, c.groups.look)
	}
	return due
}

// staggersLocked reports whether a member is to be started at nextStart. A hedge
// is not worth it if it would have less time than the one before has had.
func (c *call) staggersLocked() bool {
	if c.observed != nil && c.observed.hidden {
		return false
	}
	return c.released < len(c.members) && (c.outer == nil || later(c.nextStart, c.policy.stagger) <= c.timeout)
}

// expire is what the timer calls.
func (c *call) expire() {
	now := c.now()
	c.mu.Lock()
	switch {
	case c.reason != ReasonPending:
		if left := c.elapsed + abandonAfter - now; left > 0 && c.running > 0 {
			c.timer.Reset(left) // it had gone off for the deadline when the call ended
		} else {
			c.abandonLocked()
		}
		c.mu.Unlock()
	case now >= c.expiry():
		c.timeIsUpAndUnlock()
	case c.policy.stall > 0 && c.lastResult >= 0 && now >= later(c.lastResult, c.policy.stall):
		c.endAndUnlock(ReasonStalled, ErrStalled)
	default:
		c.advanceAndUnlock(now)
	}
}

// timeIsUpAndUnlock ends the call, which goes on, at its deadline.
func (c *call) timeIsUpAndUnlock() {
	if c.waiting {
		c.endAndUnlock(ReasonDeadline, tooFewProducers(c.policy.minProducers, len(c.route.producers)-len(relaysAmong(c.route.producers))))
		return
	}
	c.endAndUnlock(ReasonDeadline, context.DeadlineExceeded)
}

// advanceAndUnlock does what is due in a call that goes on.
func (c *call) advanceAndUnlock(now time.Duration) {
	graced := c.policy.grace > 0 && now >= c.budget()
	if graced {
		c.graced.Store(true)
	}
	start := c.staggersLocked() && now >= c.nextStart && c.releaseLocked(now)
	if start {
		c.workers.Add(1)
	}
	if c.groups != nil && now >= c.groups.look {
		c.typed.hedgeLocked(now)
	}
	c.timer.Reset(c.dueLocked() - now)
	c.mu.Unlock()
	if graced {
		c.tellGrace()
	}
	if start {
		// At the limit of WithParallelism this waits for a place. By then one of
		// those that run may have claimed the member, or not.
		c.group.Go(c.worker)
	}
}

// tellGrace ends the producers' contexts.
func (c *call) tellGrace() {
	if s := c.standard.Load(); s != nil {
		s.end(ReasonDeadline, context.DeadlineExceeded)
	}
	c.mu.Lock()
	groups := c.groups // there may have been too few producers when the grace began
	c.mu.Unlock()
	for inner := range groups.nested() {
		inner.graced.Store(true)
		inner.tellGrace()
	}
}
