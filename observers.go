package dispatch

import (
	"context"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/inbox"
	"github.com/seed-bb4b4d74/dispatch/internal/unwind"
)

// mostNotices is how many calls and single events may wait for an observer before it misses
// further ones.
const mostNotices = 4096

// observer is a registered Observer. It follows the logs of calls as a listener does.
type observer struct {
	recipient
	hooks  Observer
	missed atomic.Uint64 // calls and single events that it was not told of

	// Only the runner of the inbox uses the fields below. It has a small stack.
	report Report  // the one that ReuseReports reuses
	ended  Outcome // what MemberEnd is told
}

func newObserver(b *hub, hooks Observer, at callsite) *observer {
	o := &observer{hooks: hooks}
	r := Registration{bus: b, at: at, self: o}
	r.entry.Name = "observer"
	o.init(r, inbox.Config{})
	o.observes, o.wantsOutcomes, o.wantsEnd = true, hooks.MemberEnd != nil, hooks.MemberEnd != nil || hooks.CallEnd != nil
	return o
}

// Observe adds an observer to the bus. Its hooks are called for calls that are sent after
// that, until the registration is removed. Drain first calls the hooks for all earlier
// events. The error is [ErrClosed] or [ErrInvalidArgument].
func (b *Bus) Observe(o Observer) (*Registration, error) {
	if b == nil {
		return nil, invalidArgument("Observe: nil Bus")
	}
	added := newObserver(&b.hub, o, caller(1))
	if err := b.add(added); err != nil {
		return nil, err
	}
	return &added.Registration, nil
}

// behind reports whether so much waits for the observer that it misses one more event, and
// counts that.
func (o *observer) behind() bool {
	if o.inbox.Stats().Queued < mostNotices {
		return false
	}
	o.missed.Add(1)
	return true
}

// begin calls a start hook and returns its context. It returns ctx if the hook returns nil or
// panics, or if the observer is removed. A hook that calls Goexit ends the goroutine.
func (o *observer) begin(ctx context.Context, hook func(context.Context) context.Context) (next context.Context) {
	if o.gone.Load() {
		return ctx
	}
	returned := false
	defer func() {
		if next == nil {
			next = ctx
		}
		if returned {
			return
		}
		var stack []byte
		value := unwind.Value(recover())
		if value != nil {
			stack = debug.Stack()
		}
		if !o.bus.unwound("observer", &o.Registration, value, stack) {
			panic(value)
		}
	}()
	next = hook(ctx)
	returned = true
	return next
}

// observeSlow tells the observers of the bus of a listener that holds up its results.
func (b *Bus) observeSlow(r *recipient) {
	l, ok := r.self.(*listener)
	all := b.observers.all()
	if !ok || len(all) == 0 {
		return
	}
	now := b.sinceEpoch(time.Now())
	s := l.snapshot(now)
	tellObservers(all, now, func(o *observer) func() {
		if hook := o.hooks.SlowListener; hook != nil {
			return func() { hook(s) }
		}
		return nil
	})
}

// tellObservers has a hook called on each observer's own goroutine. pick returns the call of
// the hook, or nil if the observer has none.
func tellObservers(all []*observer, since time.Duration, pick func(*observer) func()) {
	for _, o := range all {
		if call := pick(o); call != nil && !o.behind() {
			o.tell(&event{since: since, call: call})
		}
	}
}
