package dispatch

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
)

// errElsewhere is what a group's closure returns when another goroutine ends the
// member, or has done so, and goes on in the place of this one.
var errElsewhere = errors.New("another goroutine ends the member")

// asksFirst reports whether the workers themselves ask the first replicas of
// groups. A worker that a replica blocks is lost to the call even if the group is
// answered by another replica; who ends the group then goes on in its place. Under
// WithStagger that one may leave as nothing is released yet, and the next worker may
// find the place still taken, if WithParallelism counts places. So there the nested
// calls do all the asking. They do it, too, where somebody observes what becomes of
// each replica.
func (c *call) asksFirst() bool { return c.policy.stagger == 0 && c.observed == nil }

// askGroup is the closure of a group.
func askGroup[Req, Res any](g *producer, ctx context.Context, req Req) (Res, error) {
	m := ctx.Value(callKey{}).(*member)
	c := m.call.typed.(*Call[Req, Res])
	at := &c.groups.at[m.index]
	at.of = m
	first, turn := g.group.leastBusy()
	at.turn = turn
	if !c.asksFirst() || c.over.Load() || !first.tryAcquire() {
		return c.askNested(at)
	}
	at.first, at.began = first, c.now()
	at.started.Store(1)
	at.phase.Store(groupAsks)
	value, err := first.fn.(Producer[Req, Res])(at, req)
	if err == nil && at.phase.CompareAndSwap(groupAsks, groupAnswered) {
		first.release()
		at.answered = first
		return value, nil
	}
	state := StateOK
	if err != nil {
		state = failure(err)
	}
	value, _, err = c.firstEnded(at, value, state, err)
	return value, err
}

// tryAcquire lets a run of a replica begin unless it has to wait, or must not.
func (p *producer) tryAcquire() bool {
	if p.is(gateRemoved) || p.abandoned.Load() > 0 || p.limits != nil && !p.limits.tryAcquire() {
		return false
	}
	p.group.busy.Add(1)
	return true
}

// nest returns the nested call that asks the group, and makes it if there is none
// yet. It returns nil if there is no need of one any more: c has ended, or the
// first replica has answered.
func (c *Call[Req, Res]) nest(at *groupMember) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	if inner := at.inner.Load(); inner != nil || c.reason != ReasonPending {
		return inner
	}
	return c.nestLocked(at)
}

// nestLocked is nest where c goes on and there is no nested call yet. If the first
// replica has been asked it becomes a member of the nested call that runs.
func (c *Call[Req, Res]) nestLocked(at *groupMember) *call {
	asked := at.phase.CompareAndSwap(groupAsks, groupNested)
	if !asked && !at.phase.CompareAndSwap(groupWaits, groupNested) {
		return nil
	}
	if !asked {
		at.began = c.now()
	}
	inner := &Call[Req, Res]{req: c.req}
	sender := context.Context(at.of)
	if c.observed != nil {
		sender = c.contextOfLocked(int(at.of.index))
		inner.observed = &observed{by: c.observed.by, own: c.observed.own, call: sender}
	}
	inner.init(c.bus, c.spec, sender, inner)
	inner.followed = false // the call that it is a part of ends it
	inner.outer, inner.asked, inner.worker = at, c, inner.workForGroup
	inner.id, inner.depth, inner.start = c.id, c.depth, c.start.Add(at.began)
	inner.offset = at.began
	inner.timeout = max(1, c.budget()-at.began)
	inner.policy = &policy{timeout: inner.timeout, quorum: 1, stagger: c.policy.hedge}
	if inner.policy.stagger == 0 {
		inner.policy.stagger = inner.timeout // only a failure makes room for the next
	}
	inner.graced.Store(c.graced.Load())

	inner.mu.Lock()
	defer inner.mu.Unlock()
	// It is never refused: if the bus is closed, then c is about to be.
	inner.bus.ledger.Enter(&inner.entry, inner, uint64(inner.id), ledger.Closed)
	inner.workers.Store(1)
	inner.head = inner.log.open(&inner.first)
	if inner.observed != nil {
		inner.feedObserversLocked()
	}
	inner.adoptLocked(c.producers[at.of.index].group.inOrder(at.first, at.turn))
	inner.nextStart = inner.policy.stagger
	if asked {
		inner.claims.Store(1)
		m := &inner.members[0]
		m.call, m.run, m.limited = &inner.call, runGoes, true
		inner.running = 1
	}
	inner.timer = time.AfterFunc(inner.dueLocked()-inner.now(), inner.expire)
	at.inner.Store(&inner.call)
	return &inner.call
}

// askNested has a nested call do all the asking, and waits for it.
func (c *Call[Req, Res]) askNested(at *groupMember) (value Res, err error) {
	at.settled.Store(true) // by us
	nested := c.nest(at)
	if nested == nil {
		return value, ErrRemoved // c has ended, and with it the member
	}
	inner := nested.typed.(*Call[Req, Res])
	inner.ask()
	<-inner.Done()
	return inner.answer()
}

// firstEnded ends the replica that was asked first, and returns how that ends the
// group. If it does not, or somebody else has ended it, the error is errElsewhere.
func (c *Call[Req, Res]) firstEnded(at *groupMember, value Res, state State, err error) (Res, State, error) {
	nested := c.nest(at)
	if nested == nil { // c has ended, and with it the member
		at.first.release()
		return value, state, err
	}
	inner := nested.typed.(*Call[Req, Res])
	w := new(worker)
	if next, _ := inner.settle(w, &inner.members[0], value, state, err); next != nil {
		// It does not run here, where it might unwind the stack of a worker of c.
		inner.group.TryGo(func() error { return inner.asWorker(func() { inner.carryOn(w, next, nil) }) })
	} else {
		inner.leave()
	}
	if inner.over.Load() && at.settled.CompareAndSwap(false, true) {
		value, err = inner.answer()
		if state = StateOK; err != nil {
			state = failure(err)
		}
		return value, state, err
	}
	return value, state, errElsewhere
}

// settleUnwound is settle for a member whose closure has unwound the stack.
func (c *Call[Req, Res]) settleUnwound(w *worker, m *member, state State, err error) (next *member, idle *mailbox) {
	var value Res
	if c.unwinder(m) != c.producers[m.index] { // it was the first replica, and no hook
		if value, state, err = c.firstEnded(&c.groups.at[m.index], value, state, err); err == errElsewhere {
			return nil, nil
		}
	}
	return c.settle(w, m, value, state, err)
}

// workForGroup is what the workers of a nested call run.
func (c *Call[Req, Res]) workForGroup() error {
	return c.asWorker(func() { _ = c.work() })
}

// asWorker does the work of a worker of a nested call. If that ends the group,
// the goroutine ends the member, and goes on as a worker of the call that the
// member is one of: the one that asked the first replica may still be blocked by
// it. A replica may end the goroutine; it is used all the same.
func (c *Call[Req, Res]) asWorker(work func()) error {
	c.workers.Add(1) // the nested call stays in the ledger until the member has ended
	defer c.leave()
	defer func() {
		if !c.over.Load() || !c.outer.settled.CompareAndSwap(false, true) {
			return
		}
		value, err := c.answer()
		state := StateOK
		if err != nil {
			state = failure(err)
		}
		w := new(worker)
		c.asked.workers.Add(1)
		next, idle := c.asked.settle(w, c.outer.of, value, state, err)
		c.asked.carryOn(w, next, idle)
	}()
	work()
	return nil
}

// carryOn is the rest of what a worker does that has settled a member.
func (c *Call[Req, Res]) carryOn(w *worker, m *member, idle *mailbox) {
	for m != nil {
		m, idle = c.run(w, m)
	}
	c.leave()
	if idle != nil {
		idle.start()
	}
}

// answer returns the answer of a nested call that has ended, or why there is none.
func (c *Call[Req, Res]) answer() (value Res, err error) {
	for i := range c.members {
		if c.members[i].state == StateOK {
			c.outer.answered = c.producers[i]
			return c.answers[i], nil
		}
	}
	return value, groupError(c.Report())
}

// runner returns whose closure it is that the member of this index runs, if it runs
// one: the producer, or the replica that has been asked first. It is nil for a group
// that has asked nobody yet, or whose runs are those of a nested call.
func (c *call) runner(i int) *producer {
	if p := c.producers[i]; !p.isGroup() {
		return p
	}
	switch at := &c.groups.at[i]; at.phase.Load() {
	case groupAsks, groupAnswered:
		return at.first
	default:
		return nil
	}
}

// unwinder returns whose closure has just unwound the stack of a worker that runs
// the member.
func (c *call) unwinder(m *member) *producer {
	p := c.producers[m.index]
	if p.isGroup() && c.groups.at[m.index].first != nil {
		return c.groups.at[m.index].first
	}
	return p // of a group, a hook has unwound it before any replica was asked
}

// answerer returns the replica of a group whose answer is at hand, or the member
// itself if it is no group.
func (c *call) answerer(i int32) Member {
	if p := c.producers[i]; p.isGroup() {
		return c.groups.at[i].answered.member()
	}
	return c.producers[i].member()
}

// hedgeLocked makes nested calls for the groups whose first replica has taken so
// long that another one is to be asked. That is then up to them.
func (c *Call[Req, Res]) hedgeLocked(now time.Duration) {
	c.groups.look = math.MaxInt64
	for i := range c.groups.at {
		at := &c.groups.at[i]
		if p := c.producers[i]; !p.isGroup() || len(p.group.all) == 1 {
			continue
		}
		asked := now
		switch at.phase.Load() {
		case groupWaits: // it may be asked any moment
		case groupAsks:
			asked = at.began
		default:
			continue
		}
		switch due := asked + c.policy.hedge; {
		case due > c.budget()-c.policy.hedge: // too late
		case due <= now:
			c.nestLocked(at)
		default:
			c.groups.look = min(c.groups.look, due)
		}
	}
}
