package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/books"
)

// addAudience adds the listeners that are never removed. All of them are witnesses.
func (e *epoch) addAudience() {
	e.witness(asked, "plain", books.All, nothing)
	e.witness(everything, "by pattern", books.All, nothing)
	e.witness(asked, "panicking", books.All, func(context.Context) {
		if rand.IntN(10) == 0 {
			panic(errBroken)
		}
	})
	e.witness(asked, "sending", books.All, func(ctx context.Context) {
		if rand.IntN(100) == 0 {
			_, _ = e.d.Send(ctx, nested, 0) // refused when the bus is closed
		}
	})
	e.witness(asked, "slow, oldest dropped", books.Some, dawdle, dispatch.WithMailbox(4, dispatch.DropOldest))
	e.witness(asked, "slow, newest dropped", books.Some, dawdle, dispatch.WithMailbox(4, dispatch.DropNewest))
	e.witness(asked, "concurrent", books.AnyRank, dawdle, dispatch.WithConcurrency(4))
	e.d.OnLate(e.lates.hear)
}

func nothing(context.Context) {}

// dawdle sometimes takes a while.
func dawdle(context.Context) {
	if rand.IntN(16) == 0 {
		time.Sleep(upTo(2 * time.Millisecond))
	}
}

// witness adds a listener that records a result before it calls its function.
func (e *epoch) witness(on dispatch.Selector[int, int], name string, hearing books.Hearing, then func(context.Context), opts ...dispatch.ListenerOption) {
	w := &books.Witness{Name: name, Hearing: hearing, Give: e.auditor.hear}
	e.auditor.witnesses++
	listen := func(ctx context.Context, r books.Result) {
		w.Listen(ctx, r)
		then(ctx)
	}
	e.must(e.d.AddListener(on, listen, append(opts, dispatch.WithName(name), dispatch.OnDone(w.Done))...))
	e.witnesses = append(e.witnesses, w)
}
