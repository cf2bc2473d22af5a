package dispatch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/course"
	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
	"github.com/seed-bb4b4d74/dispatch/internal/registry"
)

// maxDepth is how deep calls may be nested.
const maxDepth = 64

// admitted decides whether the call may be sent. If it is sent from inside another call of the
// same bus that is in the ledger, it needs no place and is accepted while the bus drains: that
// call may be waiting for it.
func (c *gathering) admitted(ctx context.Context) (ledger.Level, error) {
	b := c.bus
	c.from = &origin{sender: valuesOf(ctx), bus: &b.hub, topic: c.topic}
	if in, ok := ctx.Value(callKey{}).(inside); ok {
		outer, nesting := in.sentFrom()
		if c.from.nesting = nesting; nesting > maxDepth {
			return 0, fmt.Errorf("%w: more than %d on %s", ErrTooDeep, maxDepth, c.topic.Name)
		}
		if outer.bus == &b.hub && b.ledger.Has(&outer.place) {
			c.parent = outer.id
			return ledger.Draining, nil
		}
	}
	if b.places == nil {
		return ledger.Open, nil
	}
	c.placed = true
	return ledger.Open, b.places.take(ctx, c.topic.Name, c.policy.noWait)
}

// enter enters the call into the ledger, and then looks up its members. Drain works in the
// other order: it removes the producer from the registry, and then looks into the ledger. So
// it finds all calls that have found the producer.
func (c *gathering) enter(ctx context.Context, level ledger.Level) error {
	b := c.bus
	c.holds, c.unhanded = 1, 1
	defer c.handUnlessEntered() // methods of the context may panic, too
	c.start = time.Now()
	reason := c.readSender(ctx)

	c.mu.Lock()
	defer c.mu.Unlock()
	if !b.ledger.Enter(&c.from.place, c, rand.Uint64(), level) {
		return ErrClosed
	}
	if all := b.observers.all(); len(all) > 0 {
		c.observing.by, c.observing.beginning = upToDate(all), c.log.Tail()
	}
	c.course = course.New(&c.policy.Policy)
	if c.course.Within(c.timeout, 0); c.inherits {
		c.course.Within(c.timeout, inheritedSlack)
	}
	c.timed = c.policy.timed()
	if err := c.findProducersLocked(); err != nil {
		b.ledger.Leave(&c.from.place)
		return err
	}
	c.from.id = CallID(b.calls.Add(1))
	if c.over() {
		c.cause, c.err = nil, nil // there are no producers, which counts more than the sender's end
	} else if c.err != nil {
		c.stopLocked(0, reason, c.cause, c.err)
	}
	c.course.Tick(0)
	if !c.over() {
		c.due = c.course.Due()
		c.timer = time.AfterFunc(c.due, c.expire)
	}
	c.afterLocked()
	return nil
}

// handUnlessEntered gives back the place of a call that is refused after it has taken one.
func (c *gathering) handUnlessEntered() {
	if c.from.id == 0 {
		c.mu.Lock()
		c.handLocked()
		c.mu.Unlock()
	}
}

// readSender notes how long the sender's context lasts. If the context has ended, readSender returns the reason
// for the end of the call.
func (c *gathering) readSender(ctx context.Context) (reason course.Reason) {
	c.timeout, c.followed = c.policy.Timeout, ctx.Done() != nil
	if at, ok := ctx.Deadline(); ok {
		if left := at.Sub(c.start); left <= c.timeout {
			c.timeout, c.inherits = left, c.followed // the sender's context says when, and why
		}
	}
	c.from.until = c.onBus(c.budget())
	if ctx.Err() != nil {
		reason, c.cause = senderEnd(ctx)
		c.err = endError(reason, c.cause)
	}
	return reason
}

// timed reports whether something other than the deadline can become due.
func (p *policy) timed() bool {
	return p.Grace > 0 || p.Stagger > 0 || p.Hedge > 0 || p.hedgeQuantile > 0 || p.Stall > 0
}

// findProducersLocked looks up the route and enrolls its members, unless the call has to wait
// for more producers.
func (c *gathering) findProducersLocked() error {
	if c.policy.minProducers > 0 && c.route == nil {
		// The call waits before it looks: a producer that is registered after the look finds it.
		c.bus.waiting.Add(1)
	}
	c.generated = c.bus.registry.Generation()
	c.route = c.bus.registry.Route(&c.topic.Topic)
	if c.route.Types != c.topic.Types {
		c.stopWaitingLocked()
		return registryError(&registry.TypeError{Topic: c.topic.Name, Have: c.route.Types, Want: c.topic.Types})
	}
	if countPresent(c.route) < c.policy.minProducers {
		return nil
	}
	c.stopWaitingLocked()
	c.enrollLocked(c.route)
	return nil
}

// enrollLocked makes the producers and groups on the route the members of the call.
func (c *gathering) enrollLocked(on *route) {
	seats, relays, sources := on.Seats, on.Relays, len(on.Relays)
	c.producers = on.Producers
	if c.policy.targets != nil || c.policy.required != nil {
		sources = max(sources, 1) // the call goes on until what is missing is known, below or once all relays have ended
	}
	if c.policy.targets != nil {
		targets := newNameSet(c.policy.targets)
		if seats == nil {
			c.producers = slices.DeleteFunc(slices.Clone(on.Producers), func(p *producer) bool { return !targets.meets(p.member()) })
		} else {
			seats = targeted(seats, targets)
		}
	}
	var candidates func(int) int
	if seats != nil {
		c.groups, c.producers = newGroups(seats)
		candidates = func(i int) int { return len(seats[i].Candidates) }
	}
	if sources > 0 {
		c.relaying = newRelaying(c, relays)
	}
	members, entries := c.half.roomLocked(len(c.producers))
	c.log.Use(entries)
	c.course.Enroll(c.now(), members, candidates, sources)
	if c.policy.hedgeQuantile > 0 {
		c.hedgeLocked()
	}
	c.requireLocked()
	if sources > len(relays) && !c.over() {
		c.missTargetsLocked()
		c.course.EndRelay(0)
	}
}

// requireLocked tells the course which members are required.
func (c *gathering) requireLocked() {
	if c.policy.required == nil {
		return
	}
	required := newNameSet(c.policy.required)
	for i := range c.producers {
		if c.meetsLocked(required, i) {
			c.course.Require(int32(i))
		}
	}
	c.relaying.required = required
	c.course.Missing(required.left)
}

// meetsLocked reports whether a name of the set stands for the member of this index.
func (c *gathering) meetsLocked(names *nameSet, i int) (found bool) {
	g := c.groupAt(i)
	if g == nil {
		return names.meets(c.memberAtLocked(i))
	}
	for _, p := range g.Candidates {
		found = names.meets(p.member()) || found
	}
	return found
}

// targeted returns the seats with the candidates that the names stand for.
func targeted(seats []seat, names *nameSet) []seat {
	chosen := []seat{}
	for _, s := range seats {
		s.Candidates = slices.DeleteFunc(slices.Clone(s.Candidates), func(p *producer) bool { return !names.meets(p.member()) })
		if len(s.Candidates) > 0 {
			chosen = append(chosen, s)
		}
	}
	return chosen
}

// launch starts a call that prepare has made.
func (c *gathering) launch() {
	defer c.goOn(c.sender) // even if a hook ends the goroutine
	if c.wantsStart() {
		c.startCall()
	}
}

// goOn starts the first worker and the relays, or tells that the call has ended if it is over. The call follows the
// sender's context, and not what the CallStart hooks have returned.
func (c *gathering) goOn(sender context.Context) {
	c.mu.Lock()
	c.launched = true
	c.followLocked()
	if c.over() {
		c.tellAndUnlock()
		c.leave()
		return
	}
	c.startRelaysLocked()
	spare := c.wantsSpareLocked(0)
	c.mu.Unlock()
	defer c.leave() // even if a method of the context panics
	if spare {
		defer c.startSpare()
	}
	if c.followed {
		c.follow(sender)
	}
}

// startRelaysLocked starts the relays of a call that goes on. A call that waits for producers has none yet.
func (c *gathering) startRelaysLocked() {
	for _, r := range c.relaying.all() {
		c.holds++
		c.workers.Go(func() error {
			defer c.endRelay(r) // even if the relay ends the goroutine
			if c.startRelay(r) {
				c.half.askRelay(r)
			}
			return nil
		})
	}
}

// follow ends the call when the sender's context ends.
func (c *gathering) follow(sender context.Context) {
	unfollow := context.AfterFunc(sender, func() {
		reason, cause := senderEnd(sender)
		c.stop(reason, cause)
	})
	c.mu.Lock()
	over := c.over()
	c.unfollow = unfollow
	c.mu.Unlock()
	if over {
		stopFollowing(unfollow)
	}
}

// stopFollowing calls what context.AfterFunc has returned. That calls methods of the sender's context, which may
// panic once the sender is done with it.
func stopFollowing(unfollow func() bool) {
	defer func() { _ = recover() }()
	unfollow()
}
