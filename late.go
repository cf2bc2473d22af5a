package dispatch

import "time"

// lateHook is a registered OnLate.
type lateHook struct {
	mailbox
	fn any // a func(Result, time.Duration) with the types of the selection
}

// OnLate has f called with each result that comes after the end of its call,
// and how long after. It concerns all calls of these types on the bus, whichever
// dispatcher sent them. The calls of f do not overlap, and hold up nobody else.
// It panics if f is nil, or the dispatcher zero.
func (d *Dispatcher[Req, Res]) OnLate(f func(r Result[Req, Res], by time.Duration)) *Registration {
	if err := d.valid("OnLate"); err != nil {
		panic(err)
	}
	if f == nil {
		panic(invalidArgument("OnLate: nil func"))
	}
	h := &lateHook{fn: f}
	types := typesOf[Req, Res]()
	h.init(Registration{bus: d.bus, name: "OnLate", selection: selection{types: &types}, at: caller(1), self: h})
	d.bus.addHook(h)
	return &h.Registration
}

// lateNotice tells one hook of one late result.
type lateNotice[Req, Res any] struct {
	hook   *lateHook
	result Result[Req, Res]
	by     time.Duration
	told   bool
}

// Run calls the hook, once even if the hook panics.
func (n *lateNotice[Req, Res]) Run() {
	if n.told || n.hook.silenced() {
		return
	}
	n.told = true
	n.hook.waitingSince(n.hook.bus.sinceEpoch(n.result.Call.start) + n.result.Elapsed)
	n.hook.fn.(func(Result[Req, Res], time.Duration))(n.result, n.by)
}

// tellLate offers a result that came after the end of the call to the hooks.
func (c *Call[Req, Res]) tellLate(from Member, value Res, elapsed, by time.Duration) {
	if c.asked != nil {
		if c.tally.Answered > 0 {
			return // another replica was quicker: the group was not late
		}
		elapsed += c.start.Sub(c.asked.start)
		c = c.asked
	}
	by = max(by, 0) // the clock was read before the lock was had
	for _, h := range *c.bus.hooks.Load() {
		if *h.selection.types != c.spec.types {
			continue
		}
		r := Result[Req, Res]{Call: c, From: from, Value: value, Seq: -1, Elapsed: elapsed}
		if h.queue.Put(&lateNotice[Req, Res]{hook: h, result: r, by: by}) {
			h.start()
		}
	}
}
