package natsdispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// expire notes which nodes have missed their beats, and reports refusals and dropped messages. It returns
// after what time it has to be called again.
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

// countLosses notes whether messages were dropped since it was last called.
func (r *Remote) countLosses() {
	now := r.countDropped()
	before := r.dropped
	r.dropped = now
	r.looked(now > before)
}

// expireAt does what expire does with the table. A cut that is not nil says that the asker is cut off. If the
// asker is cut off, expireAt also returns the event for this.
func (r *Remote) expireAt(now time.Time, cut error) (wait time.Duration, cutOff *NodeEvent) {
	r.state.Lock()
	defer r.state.Unlock()
	if !r.nc.IsConnected() {
		r.table.excuse(now) // the asker cannot hear the nodes
	}
	gone, next := r.table.expire(now, cut)
	for _, e := range r.attendance.left(gone, now) {
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

// cutOff sends a ping to the server if a node has missed its beats. If the server does not answer, the asker
// itself is cut off, and cutOff returns an error.
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

// pingTimeout is how long a server may take to answer a ping before the asker counts as cut off.
const pingTimeout = time.Second

// idle is the longest time between two calls of expire, and so until an error of the connection is reported.
const idle = 2 * time.Second
