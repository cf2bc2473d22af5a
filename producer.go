package dispatch

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/latency"
	"github.com/seed-bb4b4d74/dispatch/internal/registry"
)

// A Producer answers the requests of a topic, each with one result or an error. It is called
// concurrently, unless [WithConcurrency] bounds it. It should return when its context ends:
// Go cannot stop a goroutine from outside, and a value that it returns later is late.
//
// Its context ends when the call ends, even if the producer has answered. This closes
// resources that depend on the context: if a producer returns an HTTP response, its body may
// be cut off before the caller reads it. Read the body in the producer, or open it with a
// context made by [context.WithoutCancel].
//
// A Producer that returns [ErrDecline] declines the request, which is not a failure. A panic
// or [runtime.Goexit] ends only the one member of the one call. A call allocates space for
// one result of each of its members when it starts, so return large results as pointers.
type Producer[Req, Res any] func(ctx context.Context, req Req) (Res, error)

// A StreamProducer answers the requests of a topic, each with any number of results. Each
// result is delivered to listeners and callers when it is yielded. The sequence is ranged
// over once. An error in it ends the member as the error of a Producer does; earlier results
// stay. A result that is yielded together with an error is discarded. After the end of the
// call, yield returns false, and the result that was passed to it is late.
//
// Everything else is as for a [Producer].
type StreamProducer[Req, Res any] func(ctx context.Context, req Req) iter.Seq2[Res, error]

// producer is a registered Producer, StreamProducer or Relay.
//
// Its lock may be taken under that of a call.
type producer struct {
	Registration
	fn      any // a closure with the types of the topic
	limits  *limits
	timeout time.Duration // of each run; 0: none
	gates   atomic.Uint32 // what is checked before the closure is called

	mu        sync.Mutex      // guards the fields below
	busy      int32           // runs that are claimed; counted for replicas
	abandoned int             // runs that have outlived their calls
	latencies *latency.Recent // of its group; nil until a call asks for them
	turn      uint32          // how often the group was asked while this producer came first
	failed    uint64
	lastError string
}

// The gates of a producer.
const (
	gateRemoved uint32 = 1 << iota // the registration has ended
	gateLimited                    // its runs may have to wait for a slot
	gateStuck                      // too many of its runs have outlived their calls
	gateStream                     // it is a StreamProducer; this keeps no call from the closure
	gateRelay                      // it is a Relay
)

// Registered is part of registry.Registrant.
func (p *producer) Registered() *registry.Entry { return &p.entry }

// open reports whether a worker can call the closure without admit.
func (p *producer) open() bool { return p.gates.Load()&^gateStream == 0 }

// is reports whether the producer has this gate.
func (p *producer) is(gate uint32) bool { return p.gates.Load()&gate != 0 }

// refuses returns why the producer must not be asked, or nil.
func (p *producer) refuses() error {
	switch {
	case p.is(gateRemoved):
		return ErrRemoved
	case p.is(gateStuck):
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Errorf("%w: %d runs have outlived their calls", ErrStuck, p.abandoned)
	default:
		return nil
	}
}

// countAbandoned counts n more runs that have outlived their calls, or fewer if they have returned after all.
func (p *producer) countAbandoned(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.abandoned += n; p.abandoned >= p.bus.maxAbandoned {
		p.gates.Or(gateStuck)
	} else {
		p.gates.And(^gateStuck)
	}
}

// occupy counts one more run of a replica, if no more than most runs are claimed, and returns how many are
// claimed besides.
func (p *producer) occupy(most int32) (busy int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if busy = p.busy; busy <= most {
		p.busy++
	}
	return busy
}

// free counts one run of a replica less.
func (p *producer) free() {
	p.mu.Lock()
	p.busy--
	p.mu.Unlock()
}

// nextTurn returns how often a group was asked while the producer came first in it.
func (p *producer) nextTurn() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn++
	return p.turn - 1
}

// fail counts a failure of a started run and keeps its text, and not the error, which may keep
// much in memory.
func (p *producer) fail(text string, started bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lastError = text; started {
		p.failed++
	}
}

func (p *producer) member() Member { return Member{Group: p.entry.Group, Name: p.entry.Name} }

// kind returns the word for the kind of producer in a Snapshot.
func (p *producer) kind() string {
	if p.is(gateStream) {
		return "stream"
	}
	return p.entry.Kind.String()
}

// stop is part of registrant.
func (p *producer) stop() {
	p.gates.Or(gateRemoved)
	if p.limits != nil {
		p.limits.refuse()
	}
}

// stopped is part of registrant.
func (p *producer) stopped() bool { return p.is(gateRemoved) }

// settle waits until the producer has no part left in the calls in flight. The registration
// has been removed already, so no further call asks it.
func (p *producer) settle(ctx context.Context) error {
	for c := range p.bus.inFlight() {
		if err := p.bus.ledger.Wait(ctx, func() bool { return !c.occupies(p) }); err != nil {
			return err
		}
	}
	return nil
}

// newProducer makes a producer of any kind, with the registration r.
func newProducer(r Registration, fn any, gate uint32, c producerConfig) (*producer, error) {
	limits, err := newLimits(c)
	switch {
	case err != nil:
		return nil, err
	case gate != 0 && c.group != "":
		return nil, invalidOption("WithGroup(%q): only a Producer can be a replica", c.group)
	case gate == gateRelay && limits != nil:
		return nil, invalidOption("WithConcurrency and WithSemaphore do not concern relays")
	case gate == gateRelay && c.timeout > 0:
		return nil, invalidOption("WithTimeout(%v): a relay has no time of its own; its members may have", c.timeout)
	}
	p := &producer{Registration: r, fn: fn, limits: limits, timeout: c.timeout}
	p.self, p.entry.Name, p.entry.Group, p.entry.Kind = p, c.name, c.group, registry.KindProducer
	if gate == gateRelay {
		p.entry.Kind = registry.KindRelay
	}
	if limits != nil {
		gate |= gateLimited
	}
	p.gates.Store(gate)
	return p, nil
}

func (p *producer) snapshot(l load) ProducerSnapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return ProducerSnapshot{
		Name: p.Name(), Group: p.entry.Group, Kind: p.kind(), On: p.entry.Selection.String(), AddedAt: p.addedAt(),
		Waiting: l.waiting, Running: l.running, Abandoned: p.abandoned, Failed: p.failed, LastError: p.lastError,
	}
}

// shareLatencies returns the latencies that the producer shares with its group. If it has none
// yet, it keeps these.
func (p *producer) shareLatencies(there *latency.Recent) *latency.Recent {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.latencies == nil {
		p.latencies = there
	}
	return p.latencies
}

// load is how many runs of a producer wait and run for the calls in flight.
type load struct{ waiting, running int }
