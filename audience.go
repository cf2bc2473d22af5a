package dispatch

import (
	"context"

	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
)

// The methods of audience: how the closures of listeners and observers are called with what
// their feeds bring.

func (l *listener) result(c *gathering, b *batch) {
	if c.nesting == nil {
		c.half.hear(l, c.from, b)
	} else {
		c.nesting.hear(l, b)
	}
}

func (l *listener) outcome(c *gathering, e calllog.Entry) {
	if e.Kind&calllog.End != 0 {
		c.bus.places.during(&l.recipient, func() { l.onOutcome(c.outcome(int(e.Member))) })
	}
}

func (l *listener) end(c *gathering) {
	if l.onDone != nil {
		c.bus.places.during(&l.recipient, func() { l.onDone(c.report()) })
	}
}

// mostReused is how many outcomes an observer that reuses reports keeps room for.
const mostReused = 4096

func (o *observer) result(c *gathering, b *batch) {
	if hook := o.hooks.Result; hook != nil {
		i := int(b.now.Member)
		hook(c.contextFor(i, nil), c.memberInfo(c.memberAt(i), b.now.At), ResultInfo{Seq: b.seq - 1, Value: c.half.value(b)})
	}
}

func (o *observer) outcome(c *gathering, e calllog.Entry) {
	i := int(e.Member)
	if e.Kind == calllog.Replica {
		r, running := c.setReplicaOutcome(&o.ended, i, int(e.Value))
		o.memberEnd(c, c.contextFor(i, r), true, running)
	} else {
		running := c.setOutcome(&o.ended, i)
		o.memberEnd(c, c.contextFor(i, nil), false, running)
	}
}

// memberEnd calls the hook with the outcome in o.ended.
func (o *observer) memberEnd(c *gathering, ctx context.Context, replica, running bool) {
	info := MemberInfo{Replica: replica, Running: running}
	info.Member = o.ended.Member
	c.setInfo(&info, o.ended.Elapsed)
	defer o.forgetEnded() // even if the hook unwinds the stack
	hook := o.hooks.MemberEnd
	hook(ctx, info, o.ended)
}

func (o *observer) forgetEnded() { o.ended = Outcome{} }

func (o *observer) end(c *gathering) {
	switch {
	case o.hooks.CallEnd == nil:
	case o.hooks.ReuseReports:
		o.endReusing(c)
	default:
		o.endOwning(c)
	}
}

// endOwning is end with a report that the hook may keep.
func (o *observer) endOwning(c *gathering) {
	o.hooks.CallEnd(c.sender, c.report())
}

// endReusing is end with a report in the memory of the one before.
func (o *observer) endReusing(c *gathering) {
	defer o.letGo()
	c.reportIn(&o.report)
	hook, ctx := o.hooks.CallEnd, c.sender
	hook(ctx, o.report)
}

// letGo clears the report, and keeps its memory for the next one unless it is large.
func (o *observer) letGo() {
	r := &o.report
	clear(r.Outcomes)
	clear(r.Replicas)
	if cap(r.Outcomes)+cap(r.Replicas) > mostReused {
		r.Outcomes, r.Replicas = nil, nil
	}
	r.cause = nil
}

// replay is part of replayed.
func (c *gathering) replay(to *listener, x *retained) {
	to.self.(audience).result(c, &batch{now: x.entry, values: x.values, seq: x.seq + 1, retained: true})
}

// drops is part of replayed.
func (c *gathering) drops(from *listener, x *retained) func() {
	if !c.observing.wants(func(o *Observer) bool { return o.Dropped != nil }) {
		return nil
	}
	member, seq := x.entry.Member, x.seq
	return func() { c.observeDropped(&from.recipient, member, seq) }
}
