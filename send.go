package dispatch

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
	"github.com/seed-bb4b4d74/dispatch/internal/tally"
)

// maxDepth is how deep calls may be nested.
const maxDepth = 64

// prepare makes a call with everything but its first worker. If the call cannot
// go on it has ended. The first page of its log is one of its own, unless the
// caller brings one, which then holds all there is to read.
func (d *Dispatcher[Req, Res]) prepare(method string, ctx context.Context, t Topic[Req, Res], req Req, opts []CallOption, first *page[Res]) (*Call[Req, Res], error) {
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
		left := at.Sub(c.start)
		c.inherits = admitted == ledger.Draining && c.followed && left <= c.timeout
		c.timeout = min(c.timeout, left)
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
	if first != nil {
		c.log.open(first)
	} else {
		c.head = c.log.open(&c.first)
	}
	c.observeLocked()
	if err := c.findProducersLocked(); err != nil {
		b.ledger.Leave(&c.entry)
		c.unhold()
		return nil, err
	}
	switch {
	case ctxErr == context.DeadlineExceeded || ctxErr == nil && c.timeout <= 0:
		c.endLocked(ReasonDeadline, context.DeadlineExceeded, 0)
	case ctxErr != nil:
		c.endLocked(ReasonCanceled, ctxCause, 0)
	case c.waiting:
	case len(c.members) == 0 && c.relaying == nil:
		c.endLocked(ReasonNoProducers, ErrNoProducers, 0)
	default:
		c.judgeLocked(0)
	}
	if c.unborn = c.reason != ReasonPending; !c.unborn {
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
	if *c.route.types != c.spec.types {
		c.stopWaitingLocked()
		return typeError(c.spec, *c.route.types)
	}
	var relays []*producer
	if c.route.special != nil {
		relays = relaysAmong(c.route.producers)
	}
	if len(c.route.producers)-len(relays) < c.policy.minProducers {
		return nil
	}
	c.stopWaitingLocked()
	members := c.route.members()
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
	if c.route != nil && c.route.special != nil {
		c.groups = c.newGroups(n)
	}
	if c.policy.minProducers == 0 { // otherwise the log may have readers by now
		c.log.expect(n)
	}
	c.tally = tally.Tally{Members: int32(n), Quorum: int32(min(c.policy.quorum, math.MaxInt32)), FailFast: c.policy.failFast}
	c.careful = c.policy.quorum > 0 || c.policy.failFast || c.policy.stall > 0 || c.policy.stagger > 0 || c.head == nil || c.observed != nil
	if c.released = n; c.policy.stagger > 0 {
		c.released = min(n, 1)
		c.nextStart = later(c.now(), c.policy.stagger)
	}
}

// launch starts a call that prepare has made.
func (c *Call[Req, Res]) launch() {
	if c.observed == nil {
		c.ask()
		return
	}
	defer c.ask() // even if a hook ends the goroutine
	defer c.announced()
	c.announce()
}

// ask starts the workers, or tells the end of a call that could not go on.
func (c *Call[Req, Res]) ask() {
	if c.unborn {
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
		c.endAndUnlock(ReasonCanceled, err)
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

// targetsAmong returns the producers that WithTargets asks for. Names that nobody
// has get a producer that is not there, unless relays may know them.
func (c *call) targetsAmong(producers []*producer, relays bool) (found []*producer) {
	for _, p := range producers {
		if slices.ContainsFunc(c.policy.targets, p.answersTo) {
			found = append(found, p)
		}
	}
	for i, name := range c.policy.targets {
		known := relays || slices.Contains(c.policy.targets[:i], name) ||
			slices.ContainsFunc(found, func(p *producer) bool { return p.answersTo(name) })
		if !known {
			found = append(found, unknownProducer(c.bus, name))
		}
	}
	return found
}

// stopWaitingLocked ends the wait for producers, if the call is in it.
func (c *call) stopWaitingLocked() {
	if c.waiting {
		c.waiting = false
		c.bus.waiting.Add(-1)
	}
}

// takePlace takes a place for a call, or returns why there is none.
func (b *Bus) takePlace(ctx context.Context, noWait bool) error {
	if b.places.TryAcquire(1) {
		return nil
	}
	if noWait {
		return fmt.Errorf("%w: %d calls are in flight", ErrOverloaded, b.maxInFlight)
	}
	either, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.intake, cancel)()
	if err := b.places.Acquire(either, 1); err == nil {
		return nil
	}
	if b.intake.Err() != nil {
		return ErrClosed
	}
	return fmt.Errorf("%w: %d calls are in flight: %w", ErrOverloaded, b.maxInFlight, context.Cause(ctx))
}
