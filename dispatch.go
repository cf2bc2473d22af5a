package dispatch

import (
	"context"
	"fmt"
	"iter"
	"math"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
	"github.com/seed-bb4b4d74/dispatch/internal/tally"
)

// maxDepth is how deep calls may be nested.
const maxDepth = 64

// A Dispatcher is a typed view of a [Bus]: it registers producers and listeners
// on topics of its types and sends requests to them.
//
// It is made by [New] or [On]; the methods of the zero Dispatcher that can return
// an error return [ErrInvalidArgument]. A Dispatcher may be used concurrently.
type Dispatcher[Req, Res any] struct{ bus *Bus }

// New returns a dispatcher on a bus of its own. It panics if an option is
// invalid.
func New[Req, Res any](opts ...BusOption) *Dispatcher[Req, Res] {
	return On[Req, Res](NewBus(opts...))
}

// On returns a dispatcher on a bus that it shares with others. It panics if b is
// nil.
func On[Req, Res any](b *Bus) *Dispatcher[Req, Res] {
	if b == nil {
		panic(invalidArgument("On: nil Bus"))
	}
	return &Dispatcher[Req, Res]{b}
}

// Bus returns the bus of the dispatcher.
func (d *Dispatcher[Req, Res]) Bus() *Bus { return d.bus }

// Shutdown is [Bus.Shutdown] for the dispatcher's bus.
func (d *Dispatcher[Req, Res]) Shutdown(ctx context.Context) error {
	if err := d.valid("Shutdown"); err != nil {
		return err
	}
	return d.bus.Shutdown(ctx)
}

// Close is [Bus.Close] for the dispatcher's bus.
func (d *Dispatcher[Req, Res]) Close() error {
	if err := d.valid("Close"); err != nil {
		return err
	}
	return d.bus.Close()
}

func (d *Dispatcher[Req, Res]) valid(method string) error {
	if d == nil || d.bus == nil {
		return invalidArgument("%s: zero Dispatcher", method)
	}
	return nil
}

// AddProducer registers a producer on one topic, several, or all that match a
// pattern. It takes part in the calls that are sent from now on. The error wraps
// [ErrInvalidArgument], [ErrInvalidOption], [ErrTopicType] if a topic has other
// types on this bus, [ErrDuplicate] if the name is taken, or [ErrClosed].
func (d *Dispatcher[Req, Res]) AddProducer(on Selector[Req, Res], p Producer[Req, Res], opts ...ProducerOption) (*Registration, error) {
	r, err := d.register("AddProducer", on, p == nil)
	if err != nil {
		return nil, err
	}
	added, err := d.newProducer(r, p, opts)
	if err != nil {
		return nil, err
	}
	if added.group != nil {
		added.group.asGroup = func(g *producer) any {
			return Producer[Req, Res](func(ctx context.Context, req Req) (Res, error) {
				return askGroup[Req, Res](g, ctx, req)
			})
		}
	}
	return added.enlist()
}

// AddListener registers a listener on one topic, several, or all that match a
// pattern. It is called with the results that arrive from now on, also those of
// calls in flight. The error is as for [Dispatcher.AddProducer]; the names of
// listeners need not be unique.
func (d *Dispatcher[Req, Res]) AddListener(on Selector[Req, Res], l Listener[Req, Res], opts ...ListenerOption) (*Registration, error) {
	r, err := d.register("AddListener", on, l == nil)
	if err != nil {
		return nil, err
	}
	config, err := newListenerConfig(opts)
	if err != nil {
		return nil, err
	}
	added := &listener{fn: l, onOutcome: config.onOutcome, onDone: config.onDone}
	added.queue.Width = config.concurrency
	added.queue.Bound = config.mailbox.n
	added.queue.DropFirst = config.mailbox.overflow == DropOldest
	r.name, r.self = config.name, added
	added.init(r)
	if err := d.bus.add(added); err != nil {
		return nil, err
	}
	return &added.Registration, nil
}

// register checks what all registrations have in common.
func (d *Dispatcher[Req, Res]) register(method string, on Selector[Req, Res], nilFunc bool) (r Registration, err error) {
	if err := d.valid(method); err != nil {
		return r, err
	}
	if on == nil {
		return r, invalidArgument("%s: nil Selector", method)
	}
	if nilFunc {
		return r, invalidArgument("%s: nil func", method)
	}
	s, err := on.selects(nil)
	if err != nil {
		return r, invalidArgument("%s: %v", method, err)
	}
	return Registration{bus: d.bus, selection: s, at: caller(2)}, nil
}

// Send asks every producer of the topic and returns at once. The results go to
// the topic's listeners and can be read from the call.
//
// The call ends at its deadline at the latest, and is cancelled when ctx ends. If
// ctx has ended already, so has the call, and nobody was asked; the same is true
// if there are no producers. The error wraps [ErrInvalidArgument],
// [ErrInvalidOption], [ErrTopicType], [ErrTooDeep] or [ErrClosed]; then there is no
// call.
func (d *Dispatcher[Req, Res]) Send(ctx context.Context, t Topic[Req, Res], req Req, opts ...CallOption) (*Call[Req, Res], error) {
	c, err := d.prepare("Send", ctx, t, req, opts)
	if err != nil {
		return nil, err
	}
	c.launch()
	return c, nil
}

// Gather asks every producer of the topic and waits for the end of the call. It
// returns the values in the order in which the producers were registered. Unless
// the call was satisfied or is complete, the error is a [*PartialError] that
// names every member without an answer, and the values are those there are.
func (d *Dispatcher[Req, Res]) Gather(ctx context.Context, t Topic[Req, Res], req Req, opts ...CallOption) ([]Res, error) {
	c, err := d.Send(ctx, t, req, opts...)
	if err != nil {
		return nil, err
	}
	<-c.Done()
	return c.values(), c.Report().Err()
}

// First asks every producer of the topic and returns the first answer. The others
// are cancelled. If nobody answers, the error is a [*PartialError] that names
// every member.
func (d *Dispatcher[Req, Res]) First(ctx context.Context, t Topic[Req, Res], req Req, opts ...CallOption) (Res, error) {
	values, err := d.Gather(ctx, t, req, append(opts[:len(opts):len(opts)], WithQuorum(1))...)
	if err != nil || len(values) == 0 {
		var none Res
		return none, err
	}
	return values[0], nil
}

// Stream returns the results as a sequence, in the order in which they arrive.
// The request is sent when the sequence is ranged over, which can be done once:
// a second time yields [ErrStreamUsed]. Leaving the loop cancels the call. If the
// results are not the whole answer, as for [Dispatcher.Gather], the last pair has
// the error and no result.
//
// What has been yielded is let go of: [Call.Results] of a call made by Stream
// yields only what is yet to come.
func (d *Dispatcher[Req, Res]) Stream(ctx context.Context, t Topic[Req, Res], req Req, opts ...CallOption) iter.Seq2[Result[Req, Res], error] {
	var used atomic.Bool
	return func(yield func(Result[Req, Res], error) bool) {
		if used.Swap(true) {
			yield(Result[Req, Res]{}, ErrStreamUsed)
			return
		}
		c, err := d.prepare("Stream", ctx, t, req, opts)
		if err != nil {
			yield(Result[Req, Res]{}, err)
			return
		}
		defer c.Cancel(nil)
		left := false
		// Results are events, on pages that nothing but their readers holds.
		reader := cursor[Res]{page: c.log.open(new(page[Res]))}
		c.head, c.careful = nil, true
		c.launch()
		c.readFrom(reader, func(r Result[Req, Res]) bool {
			left = !yield(r, nil)
			return !left
		})
		if err := c.Report().Err(); err != nil && !left {
			yield(Result[Req, Res]{}, err)
		}
	}
}

// prepare makes a call with everything but its first worker. If the call cannot
// go on it has ended.
func (d *Dispatcher[Req, Res]) prepare(method string, ctx context.Context, t Topic[Req, Res], req Req, opts []CallOption) (*Call[Req, Res], error) {
	switch err := d.valid(method); {
	case err != nil:
		return nil, err
	case ctx == nil:
		return nil, invalidArgument("%s: nil context", method)
	case t.spec == nil:
		return nil, invalidArgument("%s: zero Topic", method)
	}
	b := d.bus
	c := &Call[Req, Res]{req: req}
	c.init(b, t.spec, ctx, c)
	if c.policy = &b.policy; len(t.spec.defaults)+len(opts) > 0 {
		p, err := b.policy.with(t.spec.defaults, opts)
		if err != nil {
			return nil, err
		}
		c.policy = p
	}
	c.timeout = c.policy.timeout
	admitted := ledger.Open
	if in, ok := ctx.Value(callKey{}).(inside); ok {
		if c.depth = in.nesting(); c.depth > maxDepth {
			return nil, fmt.Errorf("%w: more than %d on %s", ErrTooDeep, maxDepth, t.spec.name)
		}
		admitted = ledger.Draining
	}
	if admitted == ledger.Open && b.places != nil {
		if err := b.takePlace(ctx, c.policy.noWait); err != nil {
			return nil, err
		}
		c.placed = true
	}
	c.id = CallID(b.calls.Add(1))
	c.start = time.Now()
	if at, ok := ctx.Deadline(); ok {
		c.timeout = min(c.timeout, at.Sub(c.start))
	}
	ctxErr, ctxCause := ctx.Err(), context.Cause(ctx)

	// The call is in the ledger before it looks for its producers: who drains a
	// producer takes it away first and looks into the ledger then.
	c.mu.Lock()
	defer c.mu.Unlock()
	if !b.ledger.Enter(&c.entry, c, uint64(c.id), admitted) {
		c.unhold()
		return nil, ErrClosed
	}
	c.workers.Store(1)
	if n := c.policy.parallelism; n > 0 {
		c.group.SetLimit(n)
	}
	c.head = c.log.open(&c.first)
	if err := c.findProducersLocked(); err != nil {
		b.ledger.Leave(&c.entry)
		c.unhold()
		return nil, err
	}
	switch {
	case ctxErr == context.DeadlineExceeded || ctxErr == nil && c.timeout <= 0:
		c.endLocked(ReasonDeadline, context.DeadlineExceeded, 0)
	case ctxErr != nil:
		c.endLocked(ReasonCancelled, ctxCause, 0)
	case c.waiting:
	case len(c.members) == 0 && c.relaying == nil:
		c.endLocked(ReasonNoProducers, ErrNoProducers, 0)
	default:
		c.judgeLocked(0)
	}
	if c.reason == ReasonPending {
		c.graced.Store(c.budget() <= 0)
		c.timer = time.AfterFunc(c.dueLocked(), c.expire)
	}
	return c, nil
}

// findProducersLocked takes the snapshot, unless the call has to wait for more
// producers.
func (c *Call[Req, Res]) findProducersLocked() error {
	if c.policy.minProducers > 0 && !c.waiting {
		// It waits before it looks: who registers after the look finds it.
		c.waiting = true
		c.bus.waiting.Add(1)
	}
	c.routed = c.bus.generation.Load()
	c.route = c.bus.route(c.spec)
	if c.route.types != c.spec.types {
		c.stopWaitingLocked()
		return typeError(c.spec, c.route.types)
	}
	var relays []*producer
	if c.route.special {
		relays = relaysAmong(c.route.producers)
	}
	if len(c.route.producers)-len(relays) < c.policy.minProducers {
		return nil
	}
	c.stopWaitingLocked()
	members := c.route.members
	if c.policy.targets != nil {
		members = seats(c.targetsAmong(c.route.producers, len(relays) > 0))
	}
	c.adoptLocked(members)
	c.relayLocked(relays)
	return nil
}

// init sets what the call is made for.
func (c *Call[Req, Res]) init(b *Bus, t *topicSpec, sender context.Context, typed typedCall) {
	c.bus, c.spec, c.sender, c.typed, c.worker = b, t, sender, typed, c.work
	c.listening.call = &c.call
	c.followed = sender.Done() != nil
	c.lastResult = -1
	c.holds.Store(1)
}

// adoptLocked makes the producers the members of the call.
func (c *Call[Req, Res]) adoptLocked(producers []*producer) {
	n := len(producers)
	c.producers = producers
	if n == 1 {
		c.members, c.answers = c.one.members[:], c.one.values[:]
	} else {
		c.members, c.answers = make([]member, n), make([]Res, n)
	}
	if c.route != nil && c.route.special {
		c.groups = &groupMembers{make([]groupMember, n)}
	}
	c.log.expect(n)
	c.tally = tally.Tally{Members: int32(n), Quorum: int32(min(c.policy.quorum, math.MaxInt32)), FailFast: c.policy.failFast}
	c.careful = c.policy.quorum > 0 || c.policy.failFast || c.policy.stall > 0 || c.policy.stagger > 0
	if c.released = n; c.policy.stagger > 0 {
		c.released = min(n, 1)
		c.nextStart = later(c.now(), c.policy.stagger)
	}
}

// launch starts a call that prepare has made, or tells the end of one that could
// not go on.
func (c *Call[Req, Res]) launch() {
	if c.over.Load() {
		c.tellEnd()
		c.leave()
		return
	}
	if c.followed {
		c.follow()
	}
	if c.policy.minProducers > 0 {
		c.mu.Lock()
		waiting := c.waiting
		c.launched = true
		c.mu.Unlock()
		if waiting {
			c.leave() // findProducers starts the workers
			return
		}
	}
	c.startWorkers()
}

// startWorkers starts the first worker, which is counted already, and the relays.
func (c *Call[Req, Res]) startWorkers() {
	c.startRelays()
	if len(c.members) == 0 {
		c.leave()
		return
	}
	c.group.TryGo(c.worker)
}

// findProducers starts a call that has waited for producers, if there are enough
// of them now.
func (c *Call[Req, Res]) findProducers() {
	c.mu.Lock()
	if !c.waiting {
		c.mu.Unlock()
		return
	}
	if err := c.findProducersLocked(); err != nil {
		c.endAndUnlock(ReasonCancelled, err)
		return
	}
	if c.waiting {
		c.mu.Unlock()
		return
	}
	now := c.now()
	launched := c.launched
	c.workers.Add(1)
	c.judgeLocked(now)
	over := c.reason != ReasonPending
	if !over {
		c.timer.Reset(c.dueLocked() - now)
	}
	c.mu.Unlock()
	switch {
	case over:
		c.spread()
		c.tellEnd()
		c.leave()
	case launched:
		c.startWorkers()
	default:
		c.leave() // launch is about to start the workers
	}
}
