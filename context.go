package dispatch

import (
	"context"
	"sync/atomic"
	"time"
)

// callKey is the key under which the contexts of producers and listeners know
// whose they are.
type callKey struct{}

// inside is what a context finds under callKey.
type inside interface {
	callInfo() CallInfo
	nesting() int32     // the depth of a call sent from here
	sentOn(*Bus) CallID // the call, if it is one of this bus, or 0
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

// member is the record of one participant of a call, and at the same time the
// context that its producer gets. Most producers never look at their context, so
// what a context is made of comes to be only when one does, once for the call.
//
// The fields below call are guarded by the call's lock.
type member struct {
	call *call

	ended   time.Duration // since the call's start; not to be read before state is final
	index   int32
	state   State
	run     run
	limited bool // it holds slots of its producer
	streams bool // it gives its results before it ends
}

// run says what has become of the call of a member's closure.
type run uint8

const (
	runWaits     run = iota // it has not begun
	runGoes                 // it has begun, or is about to
	runAbandoned            // it goes on long after the end of the call
	runReturned             // it has returned, or unwound the stack
)

// runs reports whether the member is inside its closure.
func (m *member) runs() bool { return m.run.goes() }

func (r run) goes() bool { return r == runGoes || r == runAbandoned }

func (m *member) producer() *producer { return m.call.producers[m.index] }

// Deadline returns the end of the call, less the grace.
func (m *member) Deadline() (time.Time, bool) { return m.call.deadline(), true }

// Done returns a channel that is closed when the call ends or its grace begins.
func (m *member) Done() <-chan struct{} { return m.call.context().Done() }

// Err returns nil until then.
func (m *member) Err() error {
	if m.call.over.Load() || m.call.graced.Load() {
		return m.call.context().Err()
	}
	return nil
}

// Value returns the sender's value for the key.
func (m *member) Value(key any) any {
	if key == (callKey{}) {
		return m
	}
	// The standard context is asked even for the sender's values, because
	// package context finds the cause of an end in this way, too.
	return m.call.context().Value(key)
}

func (m *member) nesting() int32 { return m.call.depth + 1 }

func (m *member) sentOn(b *Bus) CallID { return m.call.sentOn(b) }

func (m *member) callInfo() CallInfo {
	info := m.call.info()
	if m.index >= 0 { // a relay is no member
		info.Member = m.producer().member()
	}
	return info
}

// listenerContext is the context of listeners: the sender's values, no end.
type listenerContext struct{ call *call }

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
	return context.WithoutCancel(l.call.sender).Value(key)
}

func (l *listenerContext) nesting() int32       { return l.call.depth }
func (l *listenerContext) sentOn(b *Bus) CallID { return l.call.sentOn(b) }
func (l *listenerContext) callInfo() CallInfo   { return l.call.info() }

// sentry is the parent of the standard context of a call. That context must end
// after the call and not before, or a producer that returns its error would seem
// to have failed; so it has no timer of its own, and its end at the deadline is
// brought about by its parent.
type sentry struct {
	context.Context // the sender's, for its values
	deadline        time.Time
	expired         chan struct{}
	child           func() // ends the standard context
}

func (s *sentry) Deadline() (time.Time, bool) { return s.deadline, true }
func (s *sentry) Done() <-chan struct{}       { return s.expired }

func (s *sentry) Err() error {
	select {
	case <-s.expired:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// AfterFunc spares package context the goroutine it would need to follow us. It
// is called once, by WithCancelCause.
func (s *sentry) AfterFunc(f func()) (stop func() bool) {
	s.child = f
	return func() bool { return true }
}

// standard is a context of package context that ends when told to.
type standard struct {
	context.Context
	cancel context.CancelCauseFunc
	sentry *sentry
	ended  atomic.Bool
}

func newStandard(sender context.Context, deadline time.Time) *standard {
	s := &sentry{Context: sender, deadline: deadline, expired: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(s)
	return &standard{Context: ctx, cancel: cancel, sentry: s}
}

// end ends the context as the call ended. Only the first time counts.
func (s *standard) end(reason Reason, cause error) {
	switch {
	case s.ended.Swap(true):
	case reason == ReasonDeadline:
		close(s.sentry.expired)
		s.sentry.child()
	default:
		s.cancel(cause)
	}
}
