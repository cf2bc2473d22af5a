package dispatch

import (
	"context"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/callcontext"
	"github.com/seed-bb4b4d74/dispatch/internal/course"
)

// CallFrom returns information about the call to which ctx belongs. ctx must be the context
// of a producer or listener, or derived from one; otherwise CallFrom returns false.
func CallFrom(ctx context.Context) (CallInfo, bool) {
	if in, ok := ctx.Value(callKey{}).(inside); ok {
		return in.callInfo(), true
	}
	return CallInfo{}, false
}

// String says whose context it is. Without it, package fmt would read fields that change meanwhile.
func (r *run) String() string {
	return "dispatch: context of " + r.producer().Name() + ", " + r.call.from.where()
}

// Deadline returns the end of the call, less the grace, or that of the run's own timeout
// if it is earlier.
func (r *run) Deadline() (time.Time, bool) {
	at := r.call.budget()
	if own, ok := r.overdueAt(); ok {
		at = min(at, own)
	}
	return r.call.start.Add(at), true
}

// Done returns a channel that is closed when the call ends, its grace begins, the run's
// own timeout is over, or another replica has answered.
func (r *run) Done() <-chan struct{} { return r.context().Done() }

// Err returns nil until Done is closed, and then the reason.
func (r *run) Err() error {
	if r.looksEnded() {
		return r.context().Err()
	}
	return nil
}

// Value returns the sender's value for the key.
func (r *run) Value(key any) any {
	if key == (callKey{}) {
		return r
	}
	// Package context finds the cause of an end in this way, too.
	if own := r.ownContext(); own != nil && (own.base != nil || r.looksEnded()) {
		return r.contextOf(own).Value(key)
	}
	return r.call.context().Value(key)
}

// context returns a context of package context that ends when the run should.
func (r *run) context() context.Context {
	if own := r.ownContext(); own != nil {
		return r.contextOf(own)
	}
	return r.call.context()
}

// looksEnded reports whether the context has been made, or must be because it has ended.
func (r *run) looksEnded() bool {
	c := r.call
	c.mu.Lock()
	defer c.mu.Unlock()
	made := c.shared != nil
	if own := r.ownContext(); own != nil {
		made = own.ctx != nil || r.endedLocked() != nil
	}
	return made || c.over() || c.course.Graced()
}

// contextOf returns the context of a run that has its own.
func (r *run) contextOf(own *ownContext) context.Context {
	c := r.call
	c.mu.Lock()
	ctx, base, ended := own.ctx, own.base, r.endedLocked()
	c.mu.Unlock()
	if ctx != nil {
		return ctx
	}
	if base == nil {
		base = c.context()
	}
	if ended != nil {
		base = context.WithoutCancel(base) // the call may have ended meanwhile, for another cause
	}
	made, cancel := r.derive(base)
	if ended != nil {
		cancel(ended) // before another goroutine can find it
	}
	c.mu.Lock()
	stale := own.ctx != nil || ended == nil && r.endedLocked() != nil
	if !stale {
		own.ctx, own.cancel = made, cancel
	}
	c.mu.Unlock()
	if stale {
		cancel(nil)
		return r.contextOf(own)
	}
	return made
}

// derive returns a context for the run alone.
func (r *run) derive(base context.Context) (context.Context, context.CancelCauseFunc) {
	at, limited := r.overdueAt()
	if !limited {
		return context.WithCancelCause(base)
	}
	ctx := callcontext.Within(base, r.call.start.Add(at))
	return ctx, func(cause error) { ctx.End(cause == context.DeadlineExceeded, cause) }
}

// endedLocked returns the cause with which the context of a run that has its own has ended
// before the call: another replica was faster, or the run is overdue. Otherwise it returns
// nil.
func (r *run) endedLocked() error {
	c, own := r.call, r.replica()
	at, limited := r.overdueAtLocked()
	limited = limited && r.phase != runReturned
	switch {
	case own != nil && own.how == course.Canceled:
		return ErrSatisfied
	case r.isOverdueLocked(), limited && c.over() && at < c.course.Ended(), limited && !c.over() && at < c.now():
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// overdueAt returns when the run exceeds its timeout, if it has started and has one.
func (r *run) overdueAt() (at time.Duration, ok bool) {
	if r.member < 0 || r.producer().timeout == 0 {
		return 0, false
	}
	r.call.mu.Lock()
	defer r.call.mu.Unlock()
	return r.overdueAtLocked()
}

func (r *run) overdueAtLocked() (at time.Duration, ok bool) {
	timeout := r.producer().timeout
	if own := r.replica(); own != nil {
		return course.Later(own.began, timeout), r.started && timeout > 0
	}
	return course.Later(r.call.course.Began(int(r.member)), timeout), r.started && timeout > 0
}

func (r *run) sentFrom() (call *origin, nesting int32) { return r.call.from, r.call.from.nesting + 1 }

func (r *run) callInfo() CallInfo {
	info := r.call.info()
	if r.member >= 0 { // a relay is no member
		info.Member = r.producer().member()
	}
	if at, ok := r.overdueAt(); ok {
		info.Budget = min(info.Budget, max(0, at-r.call.now()))
	}
	return info
}
