package dispatch

import (
	"context"
	"sync/atomic"
)

// A Listener is called with each result of a topic, as it arrives. Its calls
// never overlap, and within a call follow the order of the results. It may take
// its time, and may use the dispatcher in any way: what it is called with waits
// in a mailbox of its own, and nobody waits for it. A panic or [runtime.Goexit]
// ends that one callback.
//
// Its context has the values of the sender's, and no end.
type Listener[Req, Res any] func(ctx context.Context, r Result[Req, Res])

// listener is a registered Listener.
type listener struct {
	mailbox
	fn        any // a Listener of the types of the topic
	onOutcome func(Outcome)
	onDone    func(Report)
	labels    labels
	delivered atomic.Uint64 // results it was called with
	dropped   atomic.Uint64 // results that WithMailbox has dropped
}

// piecemeal reports whether results are put into the mailbox one by one, because
// they are counted there or several are delivered at once.
func (l *listener) piecemeal() bool { return l.queue.Bound > 0 || l.queue.Width > 1 }

// settle delivers what has been written for the listener by now. Its registration
// has been taken away already, so no call begins to write for it.
func (l *listener) settle(ctx context.Context) error {
	var waits []func() bool
	for owner := range l.bus.ledger.All() {
		if c, ok := owner.(interface {
			cutOff(*listener) (delivered func() bool)
		}); ok {
			if delivered := c.cutOff(l); delivered != nil {
				waits = append(waits, delivered)
			}
		}
	}
	for _, delivered := range waits {
		if err := l.bus.ledger.Wait(ctx, delivered); err != nil {
			return err
		}
	}
	return l.mailbox.settle(ctx)
}
