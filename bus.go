package dispatch

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/inbox"
	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
	"github.com/seed-bb4b4d74/dispatch/internal/registry"
)

// A Bus is shared by dispatchers of different types. It has the registrations, the default
// options, the logger and the lifecycle. [NewBus] returns a Bus. A Bus must not be copied
// and is safe for concurrent use.
//
// An idle bus has no goroutine. It need not be closed to be garbage collected.
type Bus struct {
	hub
	registry  *registry.Registry[*producer, *listener]
	hooks     copied[*lateHook]
	observers copied[*observer]
	links     copied[*link]
	calls     atomic.Uint64 // calls so far, without those that were refused
	spares    atomic.Int64  // workers that are runnable and have not begun
	retention retention
	places    *places // of WithMaxInFlight; nil: no bound
}

// NewBus returns a bus. It panics if an option is invalid.
func NewBus(opts ...BusOption) *Bus {
	b := &Bus{registry: registry.New[*producer, *listener]()}
	b.busConfig, b.epoch, b.registrar = must(newBusConfig(opts)), time.Now(), b
	if b.maxInFlight > 0 {
		b.places = newPlaces(&b.hub)
	}
	for _, o := range b.observing {
		_ = b.add(newObserver(&b.hub, o.hooks, o.at)) // a new bus refuses nothing
	}
	b.logs.init(Registration{bus: &b.hub}, inbox.Config{})
	b.logs.watched.Store(int64(never)) // a slow logger cannot log that
	return b
}

// copied is a list that is replaced and never changed in place, so that it can be read
// without a lock.
type copied[T comparable] struct{ list atomic.Pointer[[]T] }

func (c *copied[T]) all() []T {
	if list := c.list.Load(); list != nil {
		return *list
	}
	return nil
}

func (c *copied[T]) add(v T) { c.replace(func(list []T) []T { return append(list, v) }) }

func (c *copied[T]) remove(v T) {
	c.replace(func(list []T) []T { return slices.DeleteFunc(list, func(w T) bool { return w == v }) })
}

func (c *copied[T]) replace(by func([]T) []T) {
	for {
		old, list := c.list.Load(), by(slices.Clone(c.all()))
		if c.list.CompareAndSwap(old, &list) {
			return
		}
	}
}

// add is part of registrar. An OnLate hook is added even if the bus is closed, and then is
// never called.
func (b *Bus) add(what registrant) error {
	switch r := what.(type) {
	case *producer:
		return b.registry.AddProducer(r)
	case *listener:
		if r.retained {
			return b.addAfterRetained(r)
		}
		return b.registry.AddListener(r)
	case *lateHook:
		b.hooks.add(r)
		return nil
	}
	if b.ledger.Level() != ledger.Open {
		return ErrClosed
	}
	switch r := what.(type) {
	case *observer:
		b.observers.add(r)
	case *link:
		b.links.add(r)
	}
	return nil
}

// remove is part of registrar.
func (b *Bus) remove(what registrant) {
	switch r := what.(type) {
	case *producer:
		b.registry.RemoveProducer(r)
		b.retention.release(b.registry.Leads, r.entry.Selection)
	case *listener:
		b.registry.RemoveListener(r)
		b.retention.release(b.registry.Leads, r.entry.Selection)
	case *lateHook:
		b.hooks.remove(r)
	case *observer:
		b.observers.remove(r)
	case *link:
		b.links.remove(r)
	}
}

// raise raises the level of the ledger, and refuses registrations and senders that wait for a
// place.
func (b *Bus) raise(level ledger.Level) {
	b.ledger.Raise(level)
	b.registry.Close()
	if b.places != nil {
		b.places.refuse()
	}
}

// Close ends all calls at once: their reason is [ReasonClosed], and the contexts of their
// producers end with the cause [ErrClosed]. It refuses new calls and registrations with
// ErrClosed, and discards results that are queued for listeners. Close does not wait for
// user code: every Wait returns, and running producers and listeners may go on. After Close
// has returned, no start of a producer, listener or OnLate hook is decided. Close may return
// just before a closure whose start was decided earlier runs its first instruction. The
// OnOutcome and OnDone hooks for the calls that Close ended are called at once, or when the
// running callback of their listener returns.
//
// Close may be called more than once, concurrently, and from inside callbacks. It returns
// nil.
func (b *Bus) Close() error {
	b.raise(ledger.Closed)
	for c := range b.inFlight() {
		c.shut()
	}
	b.retention.releaseAll()
	b.ledger.Changed()
	return nil
}

// Shutdown refuses new calls and registrations with [ErrClosed]. It waits until the calls in
// flight have ended, the producers have returned and the mailboxes are empty, and then
// closes the bus and returns nil. Until then, the bus still accepts calls that producers and
// listeners send with the context of a call of this bus in flight, so that they can finish.
// Shutdown does not wait for the logger.
//
// If ctx ends first, Shutdown does what [Bus.Close] does and returns a [*ShutdownError] that
// names what was still running.
//
// Shutdown may be called more than once and concurrently, also with Close. Do not call it
// from inside a callback: it waits for that callback, and so blocks until ctx ends.
func (b *Bus) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return invalidArgument("Shutdown: nil context")
	}
	b.raise(ledger.Draining)
	err := b.ledger.Wait(ctx, b.ledger.Empty)
	if err != nil {
		err = b.stillRunning(withKind(context.Cause(ctx), err))
	}
	b.Close()
	return err
}

// stillRunning returns the error that names what is in the ledger.
func (b *Bus) stillRunning(cause error) *ShutdownError {
	e := &ShutdownError{Err: cause}
	for owner := range b.ledger.All() {
		switch o := owner.(type) {
		case *recipient:
			e.Listeners = append(e.Listeners, o.Name())
		case inFlight:
			info, pending, running := o.underWay()
			if pending {
				e.Calls = append(e.Calls, info)
			}
			e.Producers = append(e.Producers, running...)
		}
	}
	slices.Sort(e.Listeners)
	slices.SortFunc(e.Calls, func(a, b CallInfo) int { return cmp.Compare(a.ID, b.ID) })
	return e
}

// Snapshot returns the state of the bus at this moment. It takes time in proportion to the
// number of registrations and calls in flight, and delays no call.
func (b *Bus) Snapshot() Snapshot {
	levels := map[ledger.Level]string{ledger.Open: "open", ledger.Draining: "draining", ledger.Closed: "closed"}
	s := Snapshot{
		State: levels[b.ledger.Level()], Sent: b.calls.Load(), Misuse: b.misuse.Load(),
		Started: b.epoch,
		Topics:  []TopicSnapshot{}, Calls: []CallSnapshot{}, Abandoned: []AbandonedSnapshot{}, Observers: []ObserverSnapshot{}, Links: []LinkSnapshot{},
	}
	s.MaxInFlight, s.SendersWaiting = b.places.counts()
	loads := make(map[*producer]load)
	for c := range b.inFlight() {
		abandoned := c.addTo(loads)
		if call := c.snapshot(); call.Reason == ReasonPending {
			s.Calls = append(s.Calls, call)
		}
		s.Abandoned = append(s.Abandoned, abandoned...)
	}
	slices.SortFunc(s.Calls, func(a, b CallSnapshot) int { return cmp.Compare(a.Call, b.Call) })
	slices.SortStableFunc(s.Abandoned, func(a, b AbandonedSnapshot) int { return cmp.Compare(b.Age, a.Age) })
	now := b.sinceEpoch(time.Now())
	for t, on := range b.registry.Topics() {
		topic := newTopicSnapshot(now, loads, on.Producers, on.Listeners)
		topic.Name, topic.Request, topic.Result = t.Name, registry.TypeName(t.Types.Req), registry.TypeName(t.Types.Res)
		s.Topics = append(s.Topics, topic)
	}
	producers, listeners := b.registry.Patterns()
	s.Patterns = newTopicSnapshot(now, loads, producers, listeners)
	for _, o := range b.observers.all() {
		s.Observers = append(s.Observers, ObserverSnapshot{AddedAt: o.addedAt(), Queued: o.inbox.Stats().Queued, Missed: o.missed.Load()})
	}
	for _, l := range b.links.all() {
		s.Links = append(s.Links, l.snapshot())
	}
	s.countWaiting()
	return s
}

func newTopicSnapshot(now time.Duration, loads map[*producer]load, producers []*producer, listeners []*listener) TopicSnapshot {
	t := TopicSnapshot{Producers: []ProducerSnapshot{}, Listeners: []ListenerSnapshot{}}
	for _, p := range producers {
		t.Producers = append(t.Producers, p.snapshot(loads[p]))
	}
	for _, l := range listeners {
		t.Listeners = append(t.Listeners, l.snapshot(now))
	}
	return t
}
