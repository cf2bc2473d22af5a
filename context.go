package dispatch

import (
	"context"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/course"
	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
)

// callKey is the key under which the contexts of producers and listeners know
// whose they are.
type callKey struct{}

// inside is what a context finds under callKey.
type inside interface {
	callInfo() CallInfo
	origin() origin
}

// CallInfo describes the call on whose behalf a closure runs.
type CallInfo struct {
	Topic  string        // the topic's name
	ID     CallID        // the call
	Member Member        // who is asked; zero in a listener
	Budget time.Duration // how long the call has left, at most
}

// CallFrom returns what the context of a producer or a listener, or one derived
// from it, says about the call. With any other context it returns false.
func CallFrom(ctx context.Context) (CallInfo, bool) {
	if in, ok := ctx.Value(callKey{}).(inside); ok {
		return in.callInfo(), true
	}
	return CallInfo{}, false
}

// Deadline returns the end of the call, less the grace.
func (r *run) Deadline() (time.Time, bool) { return r.call.deadline(), true }

// Done returns a channel that is closed when the call ends, its grace begins, or
// another replica has answered.
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
	if r.competes() && (r.replica.base != nil || r.looksEnded()) {
		return r.context().Value(key)
	}
	return r.call.context().Value(key)
}

// context returns a context of package context that ends when the run should.
func (r *run) context() context.Context {
	if r.competes() {
		return r.replica.ownContext()
	}
	return r.call.context()
}

// looksEnded reports whether the context has been made, or has ended.
func (r *run) looksEnded() bool {
	c := r.call
	c.mu.Lock()
	defer c.mu.Unlock()
	made := c.shared != nil
	if r.competes() {
		made = r.replica.own != nil || r.replica.how == course.Canceled
	}
	return made || c.over() || c.course.Graced()
}

func (r *run) origin() origin {
	from := r.call.from
	from.nesting++
	return from
}

func (r *run) callInfo() CallInfo {
	info := r.call.info()
	if r.member >= 0 { // a relay is no member
		info.Member = r.producer.member()
	}
	return info
}

// origin is what a call needs to know of the one that it is sent from. It keeps nothing
// of that but these fields, so a chain of calls does not keep its beginning.
type origin struct {
	bus     *Bus
	topic   *topicSpec
	id      CallID
	nesting int32 // how many calls it is nested in
	until   time.Time
	entry   *ledger.Entry // of the call
}

// listenerContext is the context of listeners: the sender's values, no end.
type listenerContext struct {
	sender context.Context
	from   origin
}

// newListenerContext returns the context of the listeners of a call. A chain of
// listeners that send with their contexts makes no chain of contexts.
func newListenerContext(sender context.Context, from origin) *listenerContext {
	if l, ok := sender.(*listenerContext); ok {
		sender = l.sender
	}
	return &listenerContext{sender, from}
}

// Deadline returns that there is none.
func (l *listenerContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done returns nil: the context never ends.
func (l *listenerContext) Done() <-chan struct{} { return nil }

// Err returns nil.
func (l *listenerContext) Err() error { return nil }

// Value returns the sender's value for the key.
func (l *listenerContext) Value(key any) any {
	if key == (callKey{}) {
		return l
	}
	return context.WithoutCancel(l.sender).Value(key) // for it may have a cause of its end
}

func (l *listenerContext) origin() origin { return l.from }

func (l *listenerContext) callInfo() CallInfo {
	return CallInfo{Topic: l.from.topic.Name, ID: l.from.id, Budget: max(0, time.Until(l.from.until))}
}
