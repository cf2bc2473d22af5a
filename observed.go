package dispatch

import (
	"context"
	"runtime/trace"
	"time"
)

// observed is the part of a call that only calls with observers have, and those that
// begin while the execution tracer runs. The call's lock guards the fields below by.
type observed struct {
	by      []*observer
	hidden  bool              // the CallStart hooks have not returned; guarded by the call's lock
	own     bool              // the context has pprof labels of its own; written before anybody is asked
	call    context.Context   // what the CallStart hooks returned
	members []context.Context // what the MemberStart hooks returned, by index; nil for who has not started
	task    *trace.Task       // nil unless the tracer runs
}

// observeLocked has the call observed if anybody wants to.
func (c *Call[Req, Res]) observeLocked() {
	observers := c.bus.observers.Load()
	if observers == nil && !trace.IsEnabled() {
		return
	}
	c.observed = &observed{call: c.sender, hidden: true}
	if observers == nil {
		return
	}
	for _, o := range *observers {
		if o.queue.Len() >= mostNotices {
			o.missed.Add(1)
			continue
		}
		c.observed.by = append(c.observed.by, o)
	}
	c.feedObserversLocked()
}

// feedObserversLocked gives each observer of the call a feed. The place that the call
// has under WithMaxInFlight does not wait for them.
func (c *Call[Req, Res]) feedObserversLocked() {
	feeds := make([]feed[Req, Res], len(c.observed.by))
	for i, o := range c.observed.by {
		f := &feeds[i]
		f.init(c, &o.listener, nil)
		f.observer, f.outcomes = o, o.hooks.MemberEnd != nil
		f.finished.Store(true)
		f.queued.Store(c.observed.hidden) // announced puts it into the mailbox
		if i > 0 {
			feeds[i-1].sibling = f
		} else {
			c.feeds = f
		}
	}
}

// announce calls the CallStart hooks.
func (c *Call[Req, Res]) announce() {
	w, ctx := c.observed, c.sender
	started := CallStarted{
		CallInfo: CallInfo{Topic: c.spec.name, ID: c.id, Budget: c.budget()},
		Parent:   c.parent(ctx), Depth: int(c.depth), Started: c.start, Request: c.req,
	}
	c.mu.Lock()
	for _, p := range c.producers { // a call that waits for producers may be given them meanwhile
		started.Members = append(started.Members, p.member())
	}
	c.mu.Unlock()
	for _, o := range w.by {
		if hook := o.hooks.CallStart; hook != nil {
			ctx = o.begin(ctx, func(ctx context.Context) context.Context { return hook(ctx, started) })
		}
	}
	var task *trace.Task
	if trace.IsEnabled() {
		ctx, task = trace.NewTask(ctx, "dispatch.call")
		trace.Log(ctx, "topic", c.spec.name)
	}
	w.own = hasLabels(ctx)
	c.mu.Lock()
	c.sender, w.call, w.task = ctx, ctx, task // nobody is asked yet who looks at the sender
	c.mu.Unlock()
	if c.over.Load() {
		w.endTask(&c.call)
	}
}

// announced lets the call go on once the CallStart hooks have returned. Its timer may
// have ended it meanwhile, but neither starts members nor tells of the end.
func (c *Call[Req, Res]) announced() {
	c.mu.Lock()
	c.observed.hidden = false
	if c.policy.stagger > 0 && c.reason == ReasonPending {
		now := c.now()
		c.nextStart = later(now, c.policy.stagger)
		c.timer.Reset(c.dueLocked() - now)
	}
	feeds := c.feeds
	c.mu.Unlock()
	for f := feeds; f != nil; f = f.sibling {
		if f.observer == nil {
			continue
		}
		f.queued.Store(false)
		if f.put() {
			f.listener.start()
		}
	}
}

func (w *observed) endTask(c *call) {
	c.mu.Lock()
	task := w.task
	w.task = nil
	c.mu.Unlock()
	if task != nil {
		task.End()
	}
}

// askObserved runs the closure of a member between the hooks.
//
//go:noinline
func (c *Call[Req, Res]) askObserved(m *member) (value Res, err error) {
	ctx := c.memberContext(m)
	if c.over.Load() {
		// A hook has taken too long. There is a cause, for a call with a member that
		// has not ended is not complete.
		return value, c.cause
	}
	p := c.producers[m.index]
	c.runLabelled(ctx, &p.labels, "dispatch.producer", p.title(), func(ctx context.Context) {
		if m.streams {
			err = c.pull(m, ctx, p.fn.(StreamProducer[Req, Res]))
		} else {
			value, err = p.fn.(Producer[Req, Res])(ctx, c.req)
		}
	})
	return value, err
}

// memberContext calls the MemberStart hooks.
func (c *call) memberContext(m *member) context.Context {
	var ctx context.Context = m
	info := c.memberInfo(m.producer().member(), c.now())
	for _, o := range c.observed.by {
		if hook := o.hooks.MemberStart; hook != nil {
			ctx = o.begin(ctx, func(ctx context.Context) context.Context { return hook(ctx, info) })
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.observed.members == nil {
		c.observed.members = make([]context.Context, len(c.members))
	}
	c.observed.members[m.index] = ctx
	return ctx
}

// observedListener returns the listener with the hooks around it.
func (c *Call[Req, Res]) observedListener(l *listener, fn Listener[Req, Res]) Listener[Req, Res] {
	return func(ctx context.Context, r Result[Req, Res]) {
		began := c.now()
		info := c.listenerInfo(l, r.From, r.Seq, began)
		for _, o := range c.observed.by {
			if hook := o.hooks.ListenerStart; hook != nil {
				ctx = o.begin(ctx, func(ctx context.Context) context.Context { return hook(ctx, info) })
			}
		}
		panicked := true
		defer func() {
			info := c.listenerInfo(l, r.From, r.Seq, c.now())
			for _, o := range c.observed.by {
				if hook := o.hooks.ListenerEnd; hook != nil {
					o.tell(func() { hook(ctx, info, info.Elapsed-began, panicked) })
				}
			}
		}()
		c.runLabelled(ctx, &l.labels, "dispatch.listener", l.name, func(ctx context.Context) { fn(ctx, r) })
		panicked = false
	}
}

// observeResult tells an observer of a result.
func (c *Call[Req, Res]) observeResult(o *observer, e event[Res], seq int) {
	if hook := o.hooks.Result; hook != nil && c.outer == nil {
		hook(c.contextOf(c.place(e)), c.memberInfo(c.from(e), e.elapsed), ResultInfo{Seq: seq, Value: *e.value})
	}
}

// observeOutcome tells an observer how the member at this place ended.
func (c *call) observeOutcome(o *observer, i int, out Outcome) {
	info := c.memberInfo(out.Member, out.Elapsed)
	info.Running = out.Started && i < len(c.members) && !c.hasEnded(i)
	out.Elapsed = info.Elapsed
	o.hooks.MemberEnd(c.contextOf(i), info, out)
}

// observeEnd tells an observer that the call has ended.
func (c *call) observeEnd(o *observer) {
	if hook := o.hooks.CallEnd; hook != nil && c.outer == nil {
		hook(c.contextOf(-1), c.report())
	}
}

// observeLate tells the observers that a closure has returned after the end of the
// call. The place is negative if the member is one that a relay named.
func (c *call) observeLate(i int, m Member, at, by time.Duration, err error) {
	if c.observed == nil {
		return
	}
	ctx, info := c.contextOf(i), c.memberInfo(m, at)
	for _, o := range c.observed.by {
		if hook := o.hooks.Late; hook != nil {
			o.tell(func() { hook(ctx, info, max(by, 0), err) })
		}
	}
}

// observeAbandonedLocked tells them that it has not returned for long.
func (c *call) observeAbandonedLocked(i int, m Member, at time.Duration) {
	if c.observed == nil {
		return
	}
	ctx, info := c.contextOfLocked(i), c.memberInfo(m, at)
	for _, o := range c.observed.by {
		if hook := o.hooks.Abandoned; hook != nil {
			o.tell(func() { hook(ctx, info, at-c.elapsed) })
		}
	}
}

// observeDropped tells them that a mailbox has dropped a result.
func (c *call) observeDropped(l *listener, from Member, seq int) {
	if c.observed == nil {
		return
	}
	ctx, info := c.contextOf(-1), c.listenerInfo(l, from, seq, c.now())
	for _, o := range c.observed.by {
		if hook := o.hooks.Dropped; hook != nil {
			o.tell(func() { hook(ctx, info) })
		}
	}
}

// contextOf returns the context that the MemberStart hooks returned for the member
// at this place, or else that of the call.
func (c *call) contextOf(i int) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.contextOfLocked(i)
}

func (c *call) contextOfLocked(i int) context.Context {
	if w := c.observed; i < 0 || i >= len(w.members) || w.members[i] == nil {
		return w.call
	}
	return c.observed.members[i]
}

// memberInfo returns what hooks are told of a member. For a replica it counts the
// time from the start of the call that asks its group.
func (c *call) memberInfo(m Member, at time.Duration) MemberInfo {
	at += c.offset
	info := MemberInfo{Replica: c.outer != nil, Elapsed: at}
	info.CallInfo = CallInfo{Topic: c.spec.name, ID: c.id, Member: m, Budget: max(0, c.budget()+c.offset-at)}
	return info
}

func (c *call) listenerInfo(l *listener, from Member, seq int, at time.Duration) ListenerInfo {
	return ListenerInfo{CallInfo: c.memberInfo(from, at).CallInfo, Listener: l.name, Seq: seq, Elapsed: at}
}

// observeSlow tells the observers of a listener that holds up its results.
func (b *Bus) observeSlow(l *listener) {
	observers := b.observers.Load()
	if observers == nil {
		return
	}
	s := l.snapshot(b.sinceEpoch(time.Now()))
	for _, o := range *observers {
		if hook := o.hooks.SlowListener; hook != nil {
			o.tell(func() { hook(s) })
		}
	}
}
