package dispatch

import (
	"context"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
)

// callKey is the key under which the contexts of producers and listeners know
// whose they are.
type callKey struct{}

// inside is what a context finds under callKey.
type inside interface {
	callInfo() CallInfo
	// sentFrom returns the call, and how deep one is nested that is sent from here.
	sentFrom() (call *origin, nesting int32)
}

// CallFrom returns what the context of a producer or a listener, or one derived
// from it, says about the call. With any other context it returns false.
func CallFrom(ctx context.Context) (CallInfo, bool) {
	if in, ok := ctx.Value(callKey{}).(inside); ok {
		return in.callInfo(), true
	}
	return CallInfo{}, false
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

// Err returns nil until then.
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

// looksEnded reports whether the context has been made, or has ended.
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

// origin is what others know of a call: those that are sent from inside it, and the
// ledger. It is at the same time the context of the call's listeners, with the sender's
// values and no end. When the call has left the ledger it keeps nothing of the call, so
// a chain of listeners that send with their contexts does not keep its beginning.
type origin struct {
	sender  context.Context
	bus     *Bus
	topic   *topicSpec
	id      CallID
	nesting int32     // how many calls it is nested in
	until   time.Time // the deadline of its producers
	place   ledger.Entry
}

// Deadline returns that there is none.
func (o *origin) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done returns nil: the context never ends.
func (o *origin) Done() <-chan struct{} { return nil }

// Err returns nil.
func (o *origin) Err() error { return nil }

// Value returns the sender's value for the key.
func (o *origin) Value(key any) any {
	if key == (callKey{}) {
		return o
	}
	return context.WithoutCancel(o.sender).Value(key) // Value must not find the cause of the sender's end
}

func (o *origin) sentFrom() (call *origin, nesting int32) { return o, o.nesting }

func (o *origin) callInfo() CallInfo {
	return CallInfo{Topic: o.topic.Name, ID: o.id, Budget: max(0, time.Until(o.until))}
}

// valuesOf returns a context with the values of a sender's. That of a listener leads to
// what it has them from, so that a chain of listeners makes no chain of contexts.
func valuesOf(sender context.Context) context.Context {
	if o, ok := sender.(*origin); ok {
		return o.sender
	}
	return sender
}
