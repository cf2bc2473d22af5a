package dispatch

import (
	"context"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
)

// callKey is the key under which contexts of producers and listeners have their call.
type callKey struct{}

// inside is the value under callKey.
type inside interface {
	callInfo() CallInfo
	// sentFrom returns the call, and how deep a call is nested that is sent from here.
	sentFrom() (call *origin, nesting int32)
}

// origin is the part of a call that the ledger and calls sent from inside it refer to. It is
// at the same time the context of the call's listeners, with the sender's values and no end.
// When the call has left the ledger, its origin does not refer to it, so a chain of listeners
// that send with their contexts does not keep its beginning in memory.
type origin struct {
	sender  context.Context
	bus     *hub
	topic   *topicSpec
	id      CallID
	nesting int32         // how many calls it is nested in
	until   time.Duration // the deadline of its producers, since the bus was made
	place   ledger.Entry
}

// String says whose context it is, as that of a run does.
func (o *origin) String() string { return "dispatch: context of listeners, " + o.where() }

func (o *origin) where() string { return "call " + o.id.String() + " of " + o.topic.Name }

// Deadline returns false: there is none.
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
	return CallInfo{Topic: o.topic.Name, ID: o.id, Budget: max(0, o.until-o.bus.sinceEpoch(time.Now()))}
}

// valuesOf returns a context with the values of a sender's. For the context of a listener it
// is the one that this has its values from, so that a chain of listeners makes no chain of
// contexts.
func valuesOf(sender context.Context) context.Context {
	if o, ok := sender.(*origin); ok {
		return o.sender
	}
	return sender
}
