package dispatch

import (
	"context"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
	"github.com/seed-bb4b4d74/dispatch/internal/course"
	"github.com/seed-bb4b4d74/dispatch/internal/inbox"
	"github.com/seed-bb4b4d74/dispatch/internal/unwind"
)

// mostNotices is how much may wait for an observer before it misses what is new:
// calls, and single events beside them.
const mostNotices = 4096

// mostReused is how many outcomes an observer that reuses reports keeps room for.
const mostReused = 4096

// observer is a registered Observer. It follows the logs of calls as a listener does.
type observer struct {
	recipient
	hooks  Observer
	missed atomic.Uint64 // what it should have been told of
	report Report        // if reports are used again, the one that is; only hooks are at it
}

func newObserver(b *hub, hooks Observer, at callsite) *observer {
	o := &observer{hooks: hooks}
	r := Registration{bus: b, at: at, self: o}
	r.entry.Name = "observer"
	o.init(r, inbox.Config{})
	o.observes, o.wantsOutcomes, o.wantsEnd = true, hooks.MemberEnd != nil, hooks.MemberEnd != nil || hooks.CallEnd != nil
	return o
}

// Observe adds an observer to the bus. Its hooks are called for calls that are sent after
// that, until the registration is removed. Drain first calls the hooks for all earlier
// events. The error is [ErrClosed] or [ErrInvalidArgument].
func (b *Bus) Observe(o Observer) (*Registration, error) {
	if b == nil {
		return nil, invalidArgument("Observe: nil Bus")
	}
	added := newObserver(&b.hub, o, caller(1))
	if err := b.add(added); err != nil {
		return nil, err
	}
	return &added.Registration, nil
}

// behind reports whether so much waits for the observer that it misses what is new.
func (o *observer) behind() bool {
	if o.inbox.Stats().Queued < mostNotices {
		return false
	}
	o.missed.Add(1)
	return true
}

// observing is the part of a call that only calls with observers have.
type observing struct {
	by    []*observer
	brief []*observer     // those of them that do not want the details of the call
	ctx   context.Context // what the CallStart hooks have returned, or the sender's
	feed  feed            // of the first of them that has one

	beginning calllog.Cursor // where they begin to read, until the call is launched
}

// newObserving returns nil if there are no observers.
func (b *Bus) newObserving(sender context.Context) *observing {
	all := b.observers.all()
	if len(all) == 0 {
		return nil
	}
	w := &observing{by: all, ctx: sender}
	if slices.ContainsFunc(all, func(o *observer) bool { return o.inbox.Stats().Queued >= mostNotices }) {
		w.by = slices.DeleteFunc(slices.Clone(all), (*observer).behind)
	}
	return w
}

// wants reports whether one of the observers has a hook.
func (w *observing) wants(has func(*Observer) bool) bool {
	return w != nil && slices.ContainsFunc(w.by, func(o *observer) bool { return has(&o.hooks) })
}

// wantsDetails reports whether an observer is told more than the end of the call.
func (w *observing) wantsDetails(o *observer) bool {
	return !slices.Contains(w.brief, o)
}

// tell has a hook called on each observer's own goroutine. pick returns the call of the
// hook, or nil if the observer has none.
func (w *observing) tell(since time.Duration, pick func(*observer) func()) {
	for _, o := range w.by {
		if call := pick(o); call != nil && !o.behind() {
			o.tell(&event{since: since, call: call})
		}
	}
}

// begin runs a hook that returns the context for what begins. Whatever the hook
// does, there is a context.
func (o *observer) begin(ctx context.Context, hook func(context.Context) context.Context) (next context.Context) {
	returned := false
	defer func() {
		if next == nil {
			next = ctx
		}
		if returned {
			return
		}
		value := unwind.Value(recover())
		if value == nil {
			return // the goroutine ends
		}
		if !o.bus.unwound("observer", &o.Registration, value, debug.Stack()) {
			panic(value)
		}
	}()
	if o.gone.Load() {
		return ctx
	}
	next = hook(ctx)
	returned = true
	return next
}

// followLocked gives a feed to each observer that follows calls. It begins with the log, or is
// without it if the observer is told the end of the call and nothing else.
func (c *gathering) followLocked() {
	if c.observing == nil {
		return
	}
	f := &c.observing.feed
	for _, o := range c.observing.by {
		begin := c.observing.beginning
		switch {
		case (o.hooks.Result != nil || o.wantsOutcomes) && c.observing.wantsDetails(o):
		case o.hooks.CallEnd != nil:
			begin = calllog.Cursor{}
		default:
			continue
		}
		if f == nil {
			f = new(feed)
		}
		f.brief = begin == (calllog.Cursor{})
		c.addFeedLocked(f, &o.recipient, begin)
		f = nil
	}
	c.observing.beginning = calllog.Cursor{}
}

func (o *observer) result(c *gathering, b *batch) {
	if hook := o.hooks.Result; hook != nil {
		i := int(b.now.Member)
		hook(c.contextFor(i, nil), c.memberInfo(c.memberAt(i), b.now.At), ResultInfo{Seq: b.seq - 1, Value: c.half.value(b)})
	}
}

func (o *observer) outcome(c *gathering, e calllog.Entry) {
	i := int(e.Member)
	if e.Kind == calllog.Replica {
		o.replicaOutcome(c, c.replicaAt(i, int(e.Value)))
		return
	}
	c.mu.Lock()
	out, running := c.outcomeLocked(i), !c.course.HasEnded(i) || c.course.Member(i).Overdue
	var left []*replica // the replicas that have not ended either
	if g := c.groupAt(i); g != nil && running {
		left = slices.DeleteFunc(slices.Clone(g.replicas), func(r *replica) bool { return r.how != course.Pending })
	}
	c.mu.Unlock()
	for _, r := range left {
		o.replicaOutcome(c, r)
	}
	info := c.memberInfo(out.Member, out.Elapsed)
	info.Running = running && out.Started && i < len(c.producers)
	o.hooks.MemberEnd(c.contextFor(i, nil), info, out)
}

// replicaOutcome tells how a replica has ended, by itself or with its group.
func (o *observer) replicaOutcome(c *gathering, r *replica) {
	out := c.replicaOutcome(r)
	info := c.memberInfo(out.Member, out.Elapsed)
	info.Replica, info.Running = true, out.Started && (out.State == StateCanceled || out.State == StateLate)
	o.hooks.MemberEnd(c.contextFor(int(r.member), r), info, out)
}

func (o *observer) end(c *gathering) {
	switch {
	case o.hooks.CallEnd == nil:
	case o.hooks.ReuseReports:
		o.endReusing(c)
	default:
		o.endOwning(c)
	}
}

// endOwning is end with a report that is the hook's own.
func (o *observer) endOwning(c *gathering) {
	o.hooks.CallEnd(c.observing.ctx, c.report())
}

// endReusing is end with a report in the memory of the one before.
func (o *observer) endReusing(c *gathering) {
	defer o.letGo()
	c.reportIn(&o.report)
	o.hooks.CallEnd(c.observing.ctx, o.report)
}

// letGo keeps nothing of a report but its memory, if it is not too much.
func (o *observer) letGo() {
	r := &o.report
	clear(r.Outcomes)
	clear(r.Replicas)
	if cap(r.Outcomes)+cap(r.Replicas) > mostReused {
		r.Outcomes, r.Replicas = nil, nil
	}
	r.cause = nil
}

// contextFor returns the context that the MemberStart hooks have returned for a member,
// or its replica, or else that of the call.
func (c *gathering) contextFor(i int, r *replica) context.Context {
	if c.nesting != nil {
		if ctx := c.nesting.contextOf(i, r); ctx != nil {
			return ctx
		}
	}
	return c.observing.ctx
}

// memberInfo returns what hooks are told of a member.
func (c *gathering) memberInfo(m Member, at time.Duration) MemberInfo {
	return MemberInfo{
		CallInfo: CallInfo{Topic: c.topic.Name, ID: c.id(), Member: m, Budget: max(0, c.budget()-at)},
		Elapsed:  at,
	}
}

func (c *gathering) runInfo(r *run, m Member, at time.Duration) (context.Context, MemberInfo) {
	info := c.memberInfo(m, at)
	info.Replica = r.replica() != nil
	if r.member < 0 {
		return c.observing.ctx, info
	}
	return c.contextFor(int(r.member), r.replica()), info
}

func (c *gathering) listenerInfo(l *recipient, from Member, seq int, at time.Duration) ListenerInfo {
	return ListenerInfo{CallInfo: c.memberInfo(from, at).CallInfo, Listener: l.Name(), Seq: seq, Elapsed: at}
}

// observeLate tells the observers that a closure has returned after the end of the
// call, or of its group, or that a result of m has come after it.
func (c *gathering) observeLate(r *run, m Member, at, by time.Duration, err error) {
	if c.observing == nil {
		return
	}
	ctx, info := c.runInfo(r, m, at)
	c.observing.tell(c.onBus(at), func(o *observer) func() {
		if hook := o.hooks.Late; hook != nil {
			return func() { hook(ctx, info, by, err) }
		}
		return nil
	})
}

// observeAbandoned tells them that it has not returned for long.
func (c *gathering) observeAbandoned(r *run, at, after time.Duration) {
	if c.observing == nil {
		return
	}
	ctx, info := c.runInfo(r, r.producer().member(), at)
	c.observing.tell(c.onBus(at), func(o *observer) func() {
		if hook := o.hooks.Abandoned; hook != nil {
			return func() { hook(ctx, info, after) }
		}
		return nil
	})
}

// observeDropped tells them that an inbox has dropped a result.
func (c *gathering) observeDropped(by *recipient, member int32, seq int) {
	at := c.now()
	info := c.listenerInfo(by, c.memberAt(int(member)), seq, at)
	c.observing.tell(c.onBus(at), func(o *observer) func() {
		if hook := o.hooks.Dropped; hook != nil {
			return func() { hook(c.observing.ctx, info) }
		}
		return nil
	})
}

// observeSlow tells the observers of the bus of a listener that holds up its results.
func (b *Bus) observeSlow(r *recipient) {
	l, ok := r.self.(*listener)
	all := b.observers.all()
	if !ok || len(all) == 0 {
		return
	}
	now := b.sinceEpoch(time.Now())
	s := l.snapshot(now)
	(&observing{by: all}).tell(now, func(o *observer) func() {
		if hook := o.hooks.SlowListener; hook != nil {
			return func() { hook(s) }
		}
		return nil
	})
}
