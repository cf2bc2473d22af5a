package dispatch

import (
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/inbox"
)

// lateHook is a registered OnLate.
type lateHook struct {
	recipient
	fn any // a func(Result, time.Duration) with the types of the selection
}

// attach and detach are parts of registrant. On a bus that is closed the hook is never
// called.
func (h *lateHook) attach(b *Bus) error { return b.hooks.add(h, nil) }
func (h *lateHook) detach(b *Bus)       { b.hooks.remove(h) }

// OnLate calls f with each result that comes after the end of its call, or after another
// replica has answered for its group (the loser of a hedge), and how long after. Whatever
// such a result holds open can be closed there. It concerns all calls of these types on
// the bus, whichever dispatcher has sent them. The calls of f do not overlap, and nothing
// waits for them. After [Bus.Close] f is not called. OnLate panics if f is nil, or the
// dispatcher zero.
func (d *Dispatcher[Req, Res]) OnLate(f func(r Result[Req, Res], by time.Duration)) *Registration {
	if err := d.valid("OnLate"); err != nil {
		panic(err)
	}
	if f == nil {
		panic(invalidArgument("OnLate: nil func"))
	}
	h := &lateHook{fn: f}
	types := typesOf[Req, Res]()
	r := Registration{bus: d.bus, at: caller(1), self: h}
	r.entry.Name, r.entry.Selection.Types = "OnLate", &types
	h.init(r, nil, inbox.Config{})
	_ = h.attach(d.bus) // which cannot fail
	return &h.Registration
}

// offerLate offers a result that came too late to the hooks.
func (c *Call[Req, Res]) offerLate(from Member, value Res, at, by time.Duration) {
	for _, h := range c.bus.hooks.all() {
		if *h.entry.Selection.Types != c.topic.Types {
			continue
		}
		r := Result[Req, Res]{Call: c, From: from, Value: value, Seq: -1, Elapsed: at}
		h.tell(&event{since: c.base + at, call: func() {
			if !h.silenced() {
				h.fn.(func(Result[Req, Res], time.Duration))(r, by)
			}
		}})
	}
}
