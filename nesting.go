package dispatch

import (
	"context"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/course"
)

// nesting is the part of a call whose closures get contexts or goroutine labels of their
// own: because an observer has start hooks, because of WithPprofLabels, or while the
// execution tracer runs.
type nesting struct {
	call     *gathering
	asks     bool // it concerns producers, and not only listeners
	members  []context.Context
	hooked   []time.Duration       // when the MemberStart hooks of these members had returned
	groups   map[int]chan struct{} // closed when the MemberStart hooks for a group have returned
	replicas map[*replica]context.Context
	task     *trace.Task // nil unless the tracer runs
}

// wantsStart reports whether startCall has anything to do.
func (c *gathering) wantsStart() bool {
	if !c.observing.any() && !c.bus.pprofLabels && !trace.IsEnabled() {
		return false // at no cost
	}
	asks, hears := c.nests()
	return asks || hears || c.observing.wants(func(o *Observer) bool { return o.CallStart != nil || o.Sample != nil })
}

// nests reports whether producers get contexts or labels of their own, and whether listeners do.
func (c *gathering) nests() (asks, hears bool) {
	w := &c.observing
	wants := func(has func(*Observer) bool) bool {
		return slices.ContainsFunc(w.by, func(o *observer) bool { return has(&o.hooks) && w.wantsDetails(o) })
	}
	both := c.bus.pprofLabels || trace.IsEnabled()
	return both || wants(func(o *Observer) bool { return o.MemberStart != nil }),
		both || wants(func(o *Observer) bool { return o.ListenerStart != nil || o.ListenerEnd != nil })
}

// startCall calls the CallStart and Sample hooks, and sets nesting if closures get contexts or labels of their
// own. No producer is called before the hooks have returned.
func (c *gathering) startCall() {
	ctx := c.sender
	defer func() { c.nest(ctx) }() // even if a hook ends the goroutine
	if c.observing.any() {
		c.callStart(&ctx)
	}
}

// nest sets nesting, if that is needed, and the context that the CallStart hooks have returned.
func (c *gathering) nest(ctx context.Context) {
	var task *trace.Task
	if trace.IsEnabled() {
		ctx, task = trace.NewTask(ctx, "dispatch.call")
		trace.Log(ctx, "topic", c.topic.Name)
	}
	asks, hears := c.nests()
	c.mu.Lock()
	c.sender, c.from.sender = ctx, valuesOf(ctx) // no goroutine has used them yet
	if asks || hears || task != nil {
		c.nesting = &nesting{call: c, asks: asks, task: task}
	}
	n, over := c.nesting, c.over()
	c.mu.Unlock()
	if n != nil && over {
		n.endTask() // the end of the call did not find the task
	}
}

// callStart calls the CallStart and Sample hooks. It sets ctx to what each of them returns, because a later
// one may end the goroutine.
func (c *gathering) callStart(ctx *context.Context) {
	w := &c.observing
	started := CallStarted{
		CallInfo: c.infoAt(0),
		Parent:   c.parent, Depth: int(c.from.nesting), Started: c.start, Request: c.half.request(),
	}
	c.mu.Lock()
	// A call that waits for producers may find them meanwhile.
	started.Members = make([]Member, len(c.producers))
	for i := range started.Members {
		c.setMemberLocked(&started.Members[i], i)
	}
	c.mu.Unlock()
	for _, o := range w.by {
		if hook := o.hooks.CallStart; hook != nil {
			*ctx = o.begin(*ctx, func(ctx context.Context) context.Context { return hook(ctx, started) })
		}
		if sample := o.hooks.Sample; sample != nil {
			wanted := false
			o.begin(*ctx, func(ctx context.Context) context.Context { wanted = sample(ctx); return ctx })
			if !wanted {
				w.brief = append(w.brief, o)
			}
		}
	}
}

func (n *nesting) endTask() {
	n.call.mu.Lock()
	task := n.task
	n.task = nil
	n.call.mu.Unlock()
	if task != nil {
		task.End()
	}
}

// around calls the closure of a run between the hooks, unless the call has ended by then, or
// the run is overdue.
func (n *nesting) around(r *run, closure func(context.Context)) {
	c, ctx := n.call, n.memberContext(r)
	if err := c.missed(r); err != nil { // a hook has taken too long
		r.fail(err)
		return
	}
	n.labelled(ctx, "dispatch.producer", r.producer().Name(), closure)
}

// memberContext calls the MemberStart hooks, and returns the context for the closure. Before
// the first replica of a group it calls the hooks for the group.
func (n *nesting) memberContext(r *run) context.Context {
	if !n.call.observing.any() {
		return r
	}
	i := int(r.member)
	var info MemberInfo
	if r.replica() == nil {
		n.call.setMember(&info.Member, i)
		return n.keep(i, nil, n.start(r, &info))
	}
	n.startGroup(i, r)
	ctx := n.contextOf(i, nil)
	if ctx == nil { // a hook for the group has ended its goroutine
		ctx = n.call.context()
	}
	n.call.mu.Lock()
	r.replica().base, r.replica().ctx = ctx, nil // it may have waited for a slot with another context
	n.call.mu.Unlock()
	info.Member, info.Replica = r.producer().member(), true
	return n.keep(i, r.replica(), n.start(r, &info))
}

// startGroup calls the MemberStart hooks for a group, once. A replica that is due while they
// run waits for them.
func (n *nesting) startGroup(i int, r *run) {
	n.call.mu.Lock()
	started := n.groups[i]
	if started != nil {
		n.call.mu.Unlock()
		<-started
		return
	}
	if n.groups == nil {
		n.groups = make(map[int]chan struct{})
	}
	started = make(chan struct{})
	n.groups[i] = started
	n.call.mu.Unlock()
	defer close(started) // even if a hook ends the goroutine
	var info MemberInfo
	info.Member.Group = r.producer().entry.Group
	n.keep(i, nil, n.start(&groupContext{n.call.context(), r}, &info))
}

// missed returns why the closure of a run must not be called any more, or nil.
func (c *gathering) missed(r *run) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := r.replica()
	lost := own != nil && own.how == course.Canceled
	switch {
	case r.isOverdueLocked():
		return timeoutError(r.producer().timeout)
	case lost, c.over() && c.err == nil:
		return ErrSatisfied // by another replica
	case c.over():
		return c.err
	default:
		return nil
	}
}

// start calls the MemberStart hooks for the member in info. It has few bytes on the stack, because hooks that
// start spans need many.
func (n *nesting) start(ctx context.Context, info *MemberInfo) context.Context {
	n.call.setInfo(info, n.call.now())
	for _, o := range n.call.observing.by {
		if hook := o.hooks.MemberStart; hook != nil && n.call.observing.wantsDetails(o) {
			ctx = o.begin(ctx, func(ctx context.Context) context.Context { return hook(ctx, *info) })
		}
	}
	return ctx
}

// groupContext is the context that the MemberStart hooks of a group get. It ends with the
// call.
type groupContext struct {
	context.Context
	first *run
}

// Value returns the sender's value for the key.
func (g *groupContext) Value(key any) any {
	if key == (callKey{}) {
		return g.first
	}
	return g.Context.Value(key)
}

// keep keeps the context for the hooks that follow.
func (n *nesting) keep(i int, r *replica, ctx context.Context) context.Context {
	n.call.mu.Lock()
	defer n.call.mu.Unlock()
	if r != nil {
		if n.replicas == nil {
			n.replicas = make(map[*replica]context.Context)
		}
		n.replicas[r] = ctx
		return ctx
	}
	if n.members == nil {
		n.members = make([]context.Context, len(n.call.producers))
		n.hooked = make([]time.Duration, len(n.call.producers))
	}
	n.members[i], n.hooked[i] = ctx, n.call.now()
	return ctx
}

// hookedLocked returns when the MemberStart hooks of a member had returned, or 0.
func (n *nesting) hookedLocked(i int) time.Duration {
	if n == nil || i >= len(n.hooked) {
		return 0
	}
	return n.hooked[i]
}

// contextOf returns the context that was kept for a replica, or else for its member, or nil.
func (n *nesting) contextOf(i int, r *replica) context.Context {
	n.call.mu.Lock()
	defer n.call.mu.Unlock()
	if r != nil && n.replicas[r] != nil {
		return n.replicas[r]
	}
	if i < len(n.members) {
		return n.members[i]
	}
	return nil
}

// hear calls a listener with a result between the hooks.
func (n *nesting) hear(l *listener, b *batch) {
	var ctx context.Context = n.call.from
	if n.call.observing.any() {
		hooks := listenerHooks{n.call, l, n.call.memberAt(int(b.now.Member)), b.seq - 1, n.call.now(), true, ctx}
		hooks.begin()
		defer hooks.end()
		n.labelled(hooks.ctx, "dispatch.listener", l.Name(), func(ctx context.Context) { n.call.half.hear(l, ctx, b) })
		hooks.panicked = false
		return
	}
	n.labelled(ctx, "dispatch.listener", l.Name(), func(ctx context.Context) { n.call.half.hear(l, ctx, b) })
}

// listenerHooks are the hooks around one callback of a listener.
type listenerHooks struct {
	call     *gathering
	listener *listener
	from     Member
	seq      int
	began    time.Duration
	panicked bool
	ctx      context.Context
}

func (h *listenerHooks) begin() {
	info := h.call.listenerInfo(&h.listener.recipient, h.from, h.seq, h.began)
	for _, o := range h.call.observing.by {
		if hook := o.hooks.ListenerStart; hook != nil && h.call.observing.wantsDetails(o) {
			h.ctx = o.begin(h.ctx, func(ctx context.Context) context.Context { return hook(ctx, info) })
		}
	}
	h.began = h.call.now()
}

func (h *listenerHooks) end() {
	at := h.call.now()
	info := h.call.listenerInfo(&h.listener.recipient, h.from, h.seq, at)
	w := &h.call.observing
	tellObservers(w.by, h.call.onBus(at), func(o *observer) func() {
		if hook := o.hooks.ListenerEnd; hook != nil && w.wantsDetails(o) {
			return func() { hook(h.ctx, info, at-h.began, h.panicked) }
		}
		return nil
	})
}

// labelled runs f with the labels of WithPprofLabels, and in a region of the execution trace.
func (n *nesting) labelled(ctx context.Context, kind, name string, f func(context.Context)) {
	if trace.IsEnabled() {
		defer trace.StartRegion(ctx, kind+" "+name).End()
	}
	if !n.call.bus.pprofLabels {
		f(ctx)
		return
	}
	pprof.Do(ctx, pprof.Labels("dispatch.topic", n.call.topic.Name, kind, name), f)
}
