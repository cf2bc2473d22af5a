package dispatch

import (
	"context"
	"fmt"
	"runtime"
)

// A Registration is a producer, a listener or a hook that was added to a bus,
// and the means to take it away again. Its methods may be used concurrently.
type Registration struct {
	bus       *Bus
	id        uint64 // in the order of registration
	name      string
	selection selection
	at        uintptr    // the place in the program that added it
	self      registrant // what this is the registration of
	removed   bool       // guarded by the registry's mu
}

// registrant is what can be registered: a producer, a listener or a hook.
type registrant interface {
	registration() *Registration
	// settle waits until everything that was accepted is finished.
	settle(context.Context) error
	// stop lets nothing more begin.
	stop()
}

func (r *Registration) registration() *Registration { return r }

// Name returns the name given by [WithName], or producer-N or listener-N.
func (r *Registration) Name() string { return r.name }

// Remove ends the registration, on all its topics at once. A producer that runs
// may still give its result; where it was still to be started it is not, and the
// member is Gone. A listener's callback that runs is not interrupted, and what
// waits in its mailbox is discarded. After Remove has returned no run and no
// callback begins any more. Remove may be called again, concurrently, and from
// inside the registration's own callbacks.
func (r *Registration) Remove() {
	r.bus.remove(r.self)
	r.self.stop()
	r.bus.ledger.Changed()
}

// Drain accepts nothing new and waits until all that was accepted is finished:
// for a producer its part in the calls in flight, for a listener what waits in
// its mailbox, but no later results of the calls in flight and not their OnDone.
// Then, or as soon as ctx ends, it does what [Registration.Remove] does. It
// returns nil, or the context's error if that came first. Called from inside the
// registration's own callback it waits for that callback, and so for ctx.
func (r *Registration) Drain(ctx context.Context) error {
	if ctx == nil {
		return invalidArgument("Drain: nil context")
	}
	r.bus.remove(r.self)
	err := r.self.settle(ctx)
	r.Remove()
	return err
}

// addedAt gives the file and line that added the registration.
func (r *Registration) addedAt() string {
	frame, _ := runtime.CallersFrames([]uintptr{r.at}).Next()
	return fmt.Sprintf("%s:%d", frame.File, frame.Line)
}

// caller returns the place in the program from which this package was entered,
// if that was depth calls ago.
func caller(depth int) uintptr {
	var at [1]uintptr
	runtime.Callers(depth+2, at[:])
	return at[0]
}
