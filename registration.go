package dispatch

import (
	"context"
	"fmt"

	"github.com/seed-bb4b4d74/dispatch/internal/registry"
)

// A Registration is what was added to a bus: a producer, a listener, a hook, an observer or a
// link. Its methods remove it, and are safe for concurrent use.
type Registration struct {
	bus    *hub
	entry  registry.Entry // what the registry knows of it
	at     callsite       // the place in the program that added it
	self   registrant     // what this is the registration of
	panics *panics        // nil until the first
}

// registrant is what can be registered: a producer, a listener, a hook, an observer or a link.
type registrant interface {
	// settle waits until everything that was accepted is finished.
	settle(context.Context) error
	// stop lets nothing more begin, and stopped reports whether it has been called.
	stop()
	stopped() bool
}

// enlist adds the registrant to its bus, and to calls that wait for producers.
func (r *Registration) enlist() (*Registration, error) {
	if err := r.bus.registrar.add(r.self); err != nil {
		return nil, registryError(err)
	}
	if r.bus.waiting.Load() > 0 {
		for c := range r.bus.inFlight() {
			c.findProducers()
		}
	}
	return r, nil
}

// registryError is an error of the registry as users know it.
func registryError(err error) error {
	switch err.(type) {
	case *registry.TypeError:
		return fmt.Errorf("%w: %v", ErrTopicType, err)
	case *registry.DuplicateError:
		return fmt.Errorf("%w: %v", ErrDuplicate, err)
	default: // registry.ErrClosed
		return ErrClosed
	}
}

// Name returns the name that was set by [WithName], or producer-N, relay-N or listener-N. A
// hook, an observer or a link has the word for its kind.
func (r *Registration) Name() string { return r.entry.Name }

// Remove ends the registration, on all its topics at once. A running producer may still
// answer. A member whose producer was not started is Gone when its turn comes; if the call
// ends before that, the member is Late or Canceled. Remove does not interrupt a
// running callback of a listener, and discards results that are queued for it. After Remove
// has returned, no start is decided. A closure or callback whose start was decided before
// counts as running and may run its first instruction later. Remove may be called again,
// concurrently, and from inside the registration's own callbacks.
func (r *Registration) Remove() {
	r.bus.registrar.remove(r.self)
	r.self.stop()
	r.bus.ledger.Changed()
}

// Removed reports whether the registration has ended: Remove was called, or Drain has
// returned.
func (r *Registration) Removed() bool { return r.self.stopped() }

// Drain stops new work, waits for work already accepted, and then removes the registration.
// A drained producer finishes its part in the calls in flight. A drained listener receives
// no results that are recorded after Drain was called, and no OnDone of calls in flight. A
// second Drain does not accept what came after the first. If ctx ends first, Drain does what
// [Registration.Remove] does and returns the context's error; otherwise it returns nil. Do
// not call Drain from the registration's own callback: it waits for that callback, and so
// blocks until ctx ends.
func (r *Registration) Drain(ctx context.Context) error {
	if ctx == nil {
		return invalidArgument("Drain: nil context")
	}
	r.bus.registrar.remove(r.self)
	err := r.self.settle(ctx)
	r.Remove()
	return err
}

// addedAt gives the file and line that added the registration.
func (r *Registration) addedAt() string { return r.at.String() }
