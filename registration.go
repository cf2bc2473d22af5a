package dispatch

import (
	"context"
	"fmt"

	"github.com/seed-bb4b4d74/dispatch/internal/registry"
)

// A Registration is a producer, a listener or a hook that was added to a bus,
// and the means to take it away again. Its methods may be used concurrently.
type Registration struct {
	bus    *Bus
	entry  registry.Entry // what the registry knows of it
	at     callsite       // the place in the program that added it
	self   registrant     // what this is the registration of
	panics *panics        // nil until the first
}

// registrant is what can be registered: a producer, a listener or a hook.
type registrant interface {
	// attach adds it to the bus, and detach takes it away, so that no new call finds it.
	attach(*Bus) error
	detach(*Bus)
	// settle waits until everything that was accepted is finished.
	settle(context.Context) error
	// stop lets nothing more begin.
	stop()
}

// enlist adds the registrant to its bus, and to calls that wait for producers.
func (r *Registration) enlist() (*Registration, error) {
	if err := r.self.attach(r.bus); err != nil {
		return nil, registryError(err)
	}
	if r.bus.waiting.Load() > 0 {
		for owner := range r.bus.ledger.All() {
			if c, ok := owner.(*gathering); ok {
				c.findProducers()
			}
		}
	}
	return r, nil
}

// registryError is an error of the registry as users know it.
func registryError(err error) error {
	switch e := err.(type) {
	case *registry.TypeError:
		return fmt.Errorf("%w: %q is %v on this bus, not %v", ErrTopicType, e.Topic, e.Have, e.Want)
	case *registry.DuplicateError:
		return fmt.Errorf("%w: %q on %s", ErrDuplicate, e.Name, e.Where)
	}
	if err == registry.ErrClosed {
		return ErrClosed
	}
	return err
}

// Name returns the name given by [WithName], or producer-N or listener-N.
func (r *Registration) Name() string { return r.entry.Name }

// Remove ends the registration, on all its topics at once. A producer that runs
// may still give its result; a member whose producer was not started is Gone. A
// listener's callback that runs is not interrupted, and what waits in its mailbox is
// discarded. After Remove has returned no further start is decided; a closure or callback
// whose start was decided before counts as running, and may run its first instruction
// then. Remove may be called again, concurrently, and from inside the registration's own
// callbacks.
func (r *Registration) Remove() {
	r.self.detach(r.bus)
	r.self.stop()
	r.bus.ledger.Changed()
}

// Drain stops new work, waits for work already accepted, then removes the
// registration. A drained producer finishes its part in the calls in flight. A drained
// listener receives no results recorded after Drain was called, and no OnDone of calls that
// go on; a second Drain does not change that. As soon as ctx ends Drain does what
// [Registration.Remove] does. It returns nil, or the context's error if that came first. Do
// not call Drain from the registration's own callback: it waits for that, and blocks until
// ctx ends.
func (r *Registration) Drain(ctx context.Context) error {
	if ctx == nil {
		return invalidArgument("Drain: nil context")
	}
	r.self.detach(r.bus)
	err := r.self.settle(ctx)
	r.Remove()
	return err
}

// addedAt gives the file and line that added the registration.
func (r *Registration) addedAt() string { return r.at.String() }
