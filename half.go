package dispatch

import (
	"context"
	"time"
	"unsafe"

	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
	"github.com/seed-bb4b4d74/dispatch/internal/course"
)

// roomLocked is part of half.
func (c *Call[Req, Res]) roomLocked(n int) (members []course.Member, entries []calllog.Entry) {
	if c.groups != nil {
		c.others = &others[Res]{boxes: make([]Res, n)}
	}
	switch {
	case n <= 1:
		r := &c.one
		members, c.local, c.answers, entries = r.members[:n], r.runs[:n], r.answers[:n], r.entries[:]
	case n <= 4:
		r := new(room[[4]course.Member, [4]run, [4]Res, [4]calllog.Entry])
		members, c.local, c.answers, entries = r.members[:n], r.runs[:n], r.answers[:n], r.entries[:]
	case n <= 10:
		r := new(room[[10]course.Member, [10]run, [10]Res, [10]calllog.Entry])
		members, c.local, c.answers, entries = r.members[:n], r.runs[:n], r.answers[:n], r.entries[:]
	default:
		members, c.local, c.answers, entries = make([]course.Member, n), make([]run, n), make([]Res, n), make([]calllog.Entry, min(n, calllog.LargestPage))
	}
	if !c.readable && n <= 10 { // Stream lets go of what it has passed
		entries = make([]calllog.Entry, len(entries))
	}
	return members, entries
}

// hand adds a result of a member that goes on to the log. It returns false if the call or the
// member has ended; then the result is late, or misuse of a roster.
func (c *Call[Req, Res]) hand(r *run, member int32, value Res) bool {
	now := c.now()
	c.mu.Lock()
	if !c.course.Result(now, member) {
		over, ended := c.over(), c.course.Member(int(member)).Ended
		c.mu.Unlock()
		switch from := c.memberAt(int(member)); {
		case r.member >= 0: // a stream: the call is over, or its own timeout
			c.offerLate(from, value, now, max(0, now-ended))
		case over:
			c.tooLate(r, from, value)
		default:
			c.bus.misuse.Add(1)
		}
		return false
	}
	e := calllog.Entry{At: c.course.Ended(), Member: member, Kind: calllog.Result}
	e.Value = c.keepLocked(value)
	c.appendLocked(e)
	c.tellAndUnlock()
	c.recount()
	return true
}

// keepLocked keeps a value that is no answer on the log's last page, and returns its
// place there.
func (c *Call[Req, Res]) keepLocked(value Res) int16 {
	page, at := c.log.Room()
	if page.Values == nil {
		page.Values = make([]*Res, page.Cap())
	}
	if c.others == nil {
		c.others = new(others[Res])
	}
	o := c.others
	if len(o.spare) == 0 {
		n := min(max(c.log.Results(), 1), 64)
		if unsafe.Sizeof(value) > 1024 {
			n = 1
		}
		o.spare = make([]Res, n)
	}
	kept := &o.spare[0]
	o.spare = o.spare[1:]
	*kept = value
	page.Values.([]*Res)[at] = kept
	return at
}

// adoptLocked is part of half. Stream lets go of what it has yielded, so answers must
// not hold it.
func (c *Call[Req, Res]) adoptLocked(r *run) int16 {
	if !r.isPlain() {
		c.answers[r.member] = c.takeOut(r)
	}
	if c.readable {
		return calllog.Answer
	}
	value, none := c.answers[r.member], *new(Res)
	c.answers[r.member] = none
	return c.keepLocked(value)
}

// takeOut returns the value of a run, and lets go of it.
func (c *Call[Req, Res]) takeOut(r *run) (value Res) {
	var none Res
	box := c.boxOf(r)
	value, *box = *box, none
	return value
}

// late is part of half.
func (c *Call[Req, Res]) late(r *run, at, by time.Duration) {
	c.offerLate(r.producer().member(), c.takeOut(r), at, by)
}

// tooLate tells observers and hooks of a result of a relay that comes after the end of the
// call.
func (c *Call[Req, Res]) tooLate(r *run, from Member, value Res) {
	at := c.now()
	c.mu.Lock()
	by := max(0, at-c.course.Ended())
	c.mu.Unlock()
	c.observeLate(r, from, at, by, nil)
	c.offerLate(from, value, at, by)
}

// offerLate offers a result that came too late to the hooks.
func (c *Call[Req, Res]) offerLate(from Member, value Res, at, by time.Duration) {
	for _, h := range c.bus.hooks.all() {
		if *h.entry.Selection.Types != c.topic.Types {
			continue
		}
		r := Result[Req, Res]{Call: c, From: from, Value: value, Seq: -1, Elapsed: at}
		h.tell(&event{since: c.onBus(at), call: func() {
			if !h.silenced() {
				h.fn.(func(Result[Req, Res], time.Duration))(r, by)
			}
		}})
	}
}

// hear is part of half.
func (c *Call[Req, Res]) hear(l *listener, ctx context.Context, b *batch) {
	var r Result[Req, Res]
	r.Call, r.Seq, r.Elapsed, r.Retained = c, b.seq-1, b.now.At, b.retained
	r.Value = *c.at(b.now, b.values)
	c.setMember(&r.From, int(b.now.Member))
	l.fn.(Listener[Req, Res])(ctx, r)
}

// value is part of half.
func (c *Call[Req, Res]) value(b *batch) any { return *c.at(b.now, b.values) }

// request is part of half.
func (c *Call[Req, Res]) request() any { return c.req }
