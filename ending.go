package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/course"
)

// abandonAfter is how long a producer may take to return once its call has ended
// before its run counts as abandoned. A producer that watches its context needs
// far less, even on a busy machine.
const abandonAfter = 100 * time.Millisecond

// inheritedSlack is how long a call whose deadline is that of the sender's context waits after
// it, so that the context can end the call with its own cause. The call waits twice: after the
// process has stood still, the timers of both are due at the same moment.
const inheritedSlack = 50 * time.Millisecond

// stop ends the call for a reason from outside, unless it has ended.
func (c *gathering) stop(reason course.Reason, cause error) {
	err := cause
	defer func() { c.stopWith(reason, cause, err) }() // even if a method of the cause ends the goroutine
	err = endError(reason, cause)
}

// stopWith is stop with the error of outcomes that endError has returned.
func (c *gathering) stopWith(reason course.Reason, cause, err error) {
	c.mu.Lock()
	if c.over() {
		c.mu.Unlock()
		return
	}
	c.stopLocked(c.now(), reason, cause, err)
	c.tellAndUnlock()
}

// stopLocked ends a call that goes on. If it still waits for producers at the sender's deadline, this counts more
// than the cause of the sender.
func (c *gathering) stopLocked(now time.Duration, reason course.Reason, cause, err error) {
	if c.cause, c.err = cause, err; reason == course.Deadline && c.course.Waiting() {
		c.cause = &causeError{tooFewProducers(c.policy.minProducers, c.present()), err}
		c.err = c.cause
	}
	c.course.Stop(now, reason)
}

// endError returns the error of outcomes for a reason and its cause.
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

// tick does what the timer does in a call that goes on. A member may find before the timer
// that the time is over. tick may start a worker, which must not have the labels of the closure
// that has returned.
func (c *gathering) tick() {
	c.relabel()
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
	if c.inherits && now >= course.Later(c.timeout, inheritedSlack) {
		c.inherits = false
		c.course.Within(c.timeout, now-c.timeout+inheritedSlack)
	}
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
	spare := c.launched && c.wantsSpareLocked(now)
	c.tellAndUnlock(overdue...)
	if spare {
		c.startSpare()
	}
	if graced {
		c.endContext(shared)
	}
}

// tellAndUnlock does what follows from an event that is not the end of a run: it publishes what
// has been written. The contexts of overdue runs end before that of the call. The caller may be
// inside a closure.
func (c *gathering) tellAndUnlock(overdue ...context.CancelCauseFunc) {
	c.holds++
	c.afterLocked()
	feeds, over := c.publishLocked(), c.over()
	c.mu.Unlock()
	for _, cancel := range overdue {
		cancel(context.DeadlineExceeded)
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

// afterLocked must be called after each event of the course: it sets the timer, or closes the
// call if it is over.
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

// closeLocked does the work at the end of the call that needs the lock.
func (c *gathering) closeLocked() {
	if c.cause == nil {
		c.cause = c.causeLocked()
	}
	if c.err == nil { // a cause from outside has its err already: no method of it runs under the lock
		c.err = endError(c.course.Reason(), c.cause)
	}
	c.stopWaitingLocked()
	if c.course.Relays() > 0 {
		for _, name := range c.missingLocked() {
			c.course.Unnamed()
			c.relaying.named = append(c.relaying.named, named{member: Member{Name: name}})
		}
	}
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

// causeLocked returns the error that goes with the reason.
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
		if c.policy.minProducers > 0 && !c.found {
			return tooFewProducers(c.policy.minProducers, c.present())
		}
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// spread does the work at the end of the call that must not hold the lock: it ends the
// producers' context, and stops following the sender's.
func (c *gathering) spread() {
	c.mu.Lock()
	shared, unfollow, nesting := c.shared, c.unfollow, c.nesting
	c.mu.Unlock()
	if shared != nil {
		c.endContext(shared)
	}
	if unfollow != nil {
		stopFollowing(unfollow)
	}
	if nesting != nil {
		nesting.endTask()
	}
}

// noteFailure counts the failure of a run with its producer, and logs a panic or Goexit.
func (c *gathering) noteFailure(r *run, how course.State, why string) {
	if how == course.Declined || how == course.Late || how == course.Gone {
		return
	}
	r.producer().fail(why, r.started)
	c.noteUnwound(r)
}

// noteUnwound logs the panic or Goexit of a run, if the run has ended with one.
func (c *gathering) noteUnwound(r *run) {
	if r.returned {
		return
	}
	kind, registration := r.producer().entry.Kind.String(), &r.producer().Registration
	if p, ok := r.err().(*PanicError); ok {
		c.bus.unwound(kind, registration, p.Value, p.Stack)
	} else if r.err() == ErrGoexit {
		c.bus.unwound(kind, registration, nil, nil)
	}
}

// abandonAndUnlock counts the runs that have not returned 100 ms after the end of the call.
func (c *gathering) abandonAndUnlock(now time.Duration) {
	after := now - c.course.Ended()
	if left := abandonAfter - after; left > 0 {
		if c.running > 0 {
			c.timer.Reset(left) // it had fired for the deadline when the call ended
		}
		c.mu.Unlock()
		return
	}
	var abandoned []*run
	for r := range c.runsLocked() {
		if r.phase == runGoes {
			r.phase = runAbandoned
			r.producer().countAbandoned(1)
			abandoned = append(abandoned, r)
		}
	}
	c.mu.Unlock()
	for _, r := range abandoned {
		c.observeAbandoned(r, now, after)
		p := r.producer()
		c.bus.log(slog.LevelWarn, p.entry.Kind.String()+" outlived its call",
			slog.String(p.entry.Kind.String(), p.Name()), slog.String("topic", c.topic.Name), slog.Any("call", c.id()),
			slog.Duration("after", after), slog.String("added_at", p.addedAt()))
	}
}

// senderEnd returns why a call ends whose sender's context has ended. Methods of the context may panic.
func senderEnd(ctx context.Context) (reason course.Reason, cause error) {
	reason, cause = course.Stopped, context.Canceled
	defer func() { _ = recover() }()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		reason, cause = course.Deadline, context.DeadlineExceeded
	}
	cause = context.Cause(ctx)
	return reason, cause
}
