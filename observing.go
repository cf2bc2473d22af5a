package dispatch

import (
	"context"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
	"github.com/seed-bb4b4d74/dispatch/internal/inbox"
)

// observing is what a call keeps for its observers.
type observing struct {
	by        []*observer   // the observers of the call
	brief     []*observer   // those of them that do not want the details of the call
	notices   *endNotice    // the first notice
	beginning *calllog.Page // where they begin to read, until the call is launched
}

// upToDate returns the observers of a new call, without those that are too far behind.
func upToDate(all []*observer) []*observer {
	if !slices.ContainsFunc(all, func(o *observer) bool { return o.inbox.Stats().Queued >= mostNotices }) {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), (*observer).behind)
}

// any reports whether the call has observers.
func (w *observing) any() bool { return len(w.by) > 0 }

// wants reports whether one of the observers has a hook.
func (w *observing) wants(has func(*Observer) bool) bool {
	return slices.ContainsFunc(w.by, func(o *observer) bool { return has(&o.hooks) })
}

// wantsDetails reports whether an observer is told more than the end of the call.
func (w *observing) wantsDetails(o *observer) bool {
	return !slices.Contains(w.brief, o)
}

// followLocked gives a feed to each observer that is told of results or members, or a notice if the observer
// is told nothing but the end of the call. A feed begins with the log.
func (c *gathering) followLocked() {
	w := &c.observing
	for _, o := range w.by {
		switch {
		case (o.hooks.Result != nil || o.wantsOutcomes) && w.wantsDetails(o):
			c.addFeedLocked(new(feed), &o.recipient, w.beginning.Start())
		case o.hooks.CallEnd != nil && (!o.hooks.SampleEnds || w.wantsDetails(o)):
			w.notices = &endNotice{delivery: delivery{to: &o.recipient}, next: w.notices}
		}
	}
	w.beginning = nil
}

// contextFor returns the context that the MemberStart hooks have returned for a member,
// or its replica, or else that of the call.
func (c *gathering) contextFor(i int, r *replica) context.Context {
	if c.nesting != nil {
		if ctx := c.nesting.contextOf(i, r); ctx != nil {
			return ctx
		}
	}
	return c.sender
}

// memberInfo returns what hooks are told of a member.
func (c *gathering) memberInfo(m Member, at time.Duration) (info MemberInfo) {
	info.Member = m
	c.setInfo(&info, at)
	return info
}

// setInfo sets what hooks are told of a member besides its name.
func (c *gathering) setInfo(info *MemberInfo, at time.Duration) {
	info.Topic, info.ID, info.Budget, info.Elapsed = c.topic.Name, c.id(), max(0, c.budget()-at), at
}

func (c *gathering) runInfo(r *run, m Member, at time.Duration) (context.Context, MemberInfo) {
	info := c.memberInfo(m, at)
	info.Replica = r.replica() != nil
	if r.member < 0 {
		return c.sender, info
	}
	return c.contextFor(int(r.member), r.replica()), info
}

func (c *gathering) listenerInfo(l *recipient, from Member, seq int, at time.Duration) ListenerInfo {
	return ListenerInfo{CallInfo: c.memberInfo(from, at).CallInfo, Listener: l.Name(), Seq: seq, Elapsed: at}
}

// observeLate tells the observers that a closure has returned, or that a result of m has
// arrived, after the end of the call or the group, or after the timeout of the producer.
func (c *gathering) observeLate(r *run, m Member, at, by time.Duration, err error) {
	if !c.observing.any() {
		return
	}
	ctx, info := c.runInfo(r, m, at)
	tellObservers(c.observing.by, c.onBus(at), func(o *observer) func() {
		if hook := o.hooks.Late; hook != nil {
			return func() { hook(ctx, info, by, err) }
		}
		return nil
	})
}

// observeAbandoned tells the observers that a closure still runs long after the end of the
// call.
func (c *gathering) observeAbandoned(r *run, at, after time.Duration) {
	if !c.observing.any() {
		return
	}
	ctx, info := c.runInfo(r, r.producer().member(), at)
	tellObservers(c.observing.by, c.onBus(at), func(o *observer) func() {
		if hook := o.hooks.Abandoned; hook != nil {
			return func() { hook(ctx, info, after) }
		}
		return nil
	})
}

// observeDropped tells the observers that an inbox has dropped a result.
func (c *gathering) observeDropped(by *recipient, member int32, seq int) {
	at := c.now()
	info := c.listenerInfo(by, c.memberAt(int(member)), seq, at)
	tellObservers(c.observing.by, c.onBus(at), func(o *observer) func() {
		if hook := o.hooks.Dropped; hook != nil {
			return func() { hook(c.sender, info) }
		}
		return nil
	})
}

// endNotice tells an observer of the end of a call, if the observer is told nothing else of the call. It
// takes less memory than a feed.
type endNotice struct {
	occasion
	delivery
	call *gathering
	next *endNotice

	// The call's lock guards the fields below.
	cut  bool // the observer is being drained, and is not told
	told bool // the observer is told, or was
}

// publishEndLocked adds the notices of a call that has ended to the deliveries, unless they are on their way.
func (w *observing) publishEndLocked(ended *gathering, all *delivery) *delivery {
	for n := w.notices; n != nil; n = n.next {
		if n.cut || n.isPublished() {
			continue
		}
		n.call, n.source, n.since = ended, n, ended.onBus(ended.course.Ended())
		n.link, all = all, &n.delivery
	}
	return all
}

// cutOffLocked makes a call that goes on end without a notice to the observer. If the notice is on its way,
// cutOffLocked returns a function that reports whether the notice has arrived.
func (w *observing) cutOffLocked(to *recipient) (delivered func() bool) {
	for n := w.notices; n != nil; n = n.next {
		switch {
		case n.to != to:
		case n.isPublished():
			return n.isDelivered
		default:
			n.cut = true
		}
	}
	return nil
}

func (n *endNotice) isPublished() bool { return n.source != nil }

func (n *endNotice) isDelivered() bool {
	n.call.mu.Lock()
	defer n.call.mu.Unlock()
	return n.told || n.to.gone.Load()
}

// Take is part of inbox.Source.
func (n *endNotice) Take(int) (t inbox.Task, results int, more bool) { return n, 0, false }

// Run tells the observer, and does not repeat that if the hook unwinds the stack.
func (n *endNotice) Run() {
	n.call.mu.Lock()
	again := n.told
	n.told = true
	n.call.mu.Unlock()
	if !again && !n.to.gone.Load() {
		n.to.waitingSince(n.since)
		n.to.self.(audience).end(n.call)
	}
}
