package dispatch

import (
	"context"
	"iter"
)

// newWorker returns the function of a worker. It is flat and typed, because each further frame
// would be on the stack of every producer. A producer that unwinds the stack ends the worker.
func (c *Call[Req, Res]) newWorker() func() error {
	return func() error {
		var r *run
		defer func() {
			if r != nil && r.started && !r.returned {
				r.unwound(recover())
				c.vanish(r)
			}
		}()
		idle := (*recipient)(nil)
		for r = c.begin(); r != nil; r, idle = c.settle(r) {
			if !r.started {
				c.admit(r)
			}
			if !r.started {
				continue
			}
			if plain := c.plain(r); plain != nil {
				var err error
				if c.answers[r.member], err = plain(r, c.req); err != nil {
					r.fail(err)
				}
			} else {
				c.askOtherwise(r)
			}
			r.returned = true
		}
		c.leave()
		if idle != nil {
			idle.inbox.RunOne()
		}
		return nil
	}
}

// plain returns the closure of a run if it is that of a plain producer and needs nothing else,
// and nil otherwise.
func (c *Call[Req, Res]) plain(r *run) Producer[Req, Res] {
	closure, ok := r.producer().fn.(Producer[Req, Res])
	if !ok || c.nesting != nil || !r.isPlain() {
		return nil
	}
	return closure
}

// askOtherwise calls the closure of a run for which plain returns nil. Inlined, it would
// enlarge the frame that is on the stack of plain producers.
//
//go:noinline
func (c *Call[Req, Res]) askOtherwise(r *run) {
	if c.nesting != nil && c.nesting.asks {
		c.nesting.around(r, func(ctx context.Context) { c.askWith(ctx, r) })
	} else {
		c.askWith(r, r)
	}
}

// askWith calls the closure of a run with a context.
func (c *Call[Req, Res]) askWith(ctx context.Context, r *run) {
	switch closure := r.producer().fn.(type) {
	case StreamProducer[Req, Res]:
		r.fail(c.pull(closure(ctx, c.req), r))
	case Producer[Req, Res]:
		value, err := closure(ctx, c.req)
		r.fail(err)
		*c.boxOf(r) = value
	}
}

// pull hands in what a stream producer yields, until that ends or the call does.
func (c *Call[Req, Res]) pull(results iter.Seq2[Res, error], r *run) error {
	for value, err := range results {
		if err != nil {
			return err
		}
		if !c.hand(r, r.member, value) {
			return nil
		}
	}
	return nil
}

// boxOf returns where a run leaves its value. That is not the answer of the member for a
// replica, because another replica may be faster.
func (c *Call[Req, Res]) boxOf(r *run) *Res {
	switch own := r.replica(); {
	case own == nil:
		return &c.answers[r.member]
	case own.index == 0:
		return &c.others.boxes[r.member]
	case own.box == nil:
		own.box = new(Res)
		fallthrough
	default:
		return own.box.(*Res)
	}
}
