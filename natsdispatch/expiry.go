package natsdispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// expire removes nodes that have been silent for too long, and returns how long it
// takes until the next one may have to go.
func (r *Remote) expire() time.Duration {
	r.report()
	r.countLosses()
	cut := r.cutOff()
	next, cutOff := r.expireAt(time.Now(), cut)
	if cutOff != nil {
		r.failedBy(*cutOff)
	}
	return next
}

// countLosses notes whether messages were dropped since the last time.
func (r *Remote) countLosses() {
	now := r.countDropped()
	before := r.dropped
	r.dropped = now
	r.looked(now > before)
}

// expireAt also returns the event that we are cut off, if we are.
func (r *Remote) expireAt(now time.Time, cut error) (wait time.Duration, cutOff *NodeEvent) {
	r.state.Lock()
	defer r.state.Unlock()
	if !r.nc.IsConnected() {
		r.table.excuse(now) // the asker itself hears nothing
	}
	gone, next := r.table.expire(now, cut)
	for _, e := range r.attendance.left(gone, now, &r.table) {
		r.news.put(e)
		if e.Kind == CutOff {
			cutOff = &e
		}
	}
	r.attendance.forget(now, r.forget)
	r.leftLocked(gone, false)
	if wait = idle; !next.IsZero() {
		wait = min(next.Sub(now), idle)
	}
	r.due = now.Add(wait)
	return wait, cutOff
}

// cutOff asks the server for a sign of life if a node has not given one, and returns an
// error if there is none: then the asker itself is cut off.
func (r *Remote) cutOff() error {
	r.state.Lock()
	overdue := r.table.overdue(time.Now())
	r.state.Unlock()
	if !overdue || !r.nc.IsConnected() {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.stopped, pingTimeout)
	defer cancel()
	if err := r.nc.FlushWithContext(ctx); err == nil || !r.nc.IsConnected() || r.stopped.Err() != nil {
		return nil
	}
	return fmt.Errorf("%w: cut off: NATS has not answered a ping for %v", dispatch.ErrUnreachable, pingTimeout)
}

// pingTimeout is how long a server may take to answer a ping before it counts as dead.
const pingTimeout = time.Second

// idle bounds how long an error of the connection stays unreported.
const idle = 2 * time.Second
