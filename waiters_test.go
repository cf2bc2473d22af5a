package dispatch_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/seed-bb4b4d74/dispatch"
)

// A bus may belong to a program, many of whose tests use it in bubbles. It keeps nothing of a
// bubble that is over.
func TestABusIsUsedInOneBubbleAfterAnother(t *testing.T) {
	d, _ := newDispatcher(dispatch.WithMaxInFlight(2))
	slowly := slow(time.Millisecond, 1)
	produce(t, d, "limited", slowly, dispatch.WithConcurrency(1))
	produce(t, d, "shared", slowly, dispatch.WithSemaphore(semaphore.NewWeighted(1)))
	produce(t, d, "timed", slowly, dispatch.WithTimeout(time.Minute))
	produce(t, d, "replica", slowly, dispatch.WithGroup("g"))
	produce(t, d, "another", slowly, dispatch.WithGroup("g"))
	for _, opts := range [][]dispatch.ListenerOption{
		nil,
		{dispatch.WithConcurrency(2)},
		{dispatch.WithMailbox(1, dispatch.DropOldest)},
		{dispatch.OnDone(func(dispatch.Report) {})},
	} {
		listen(t, d, func(context.Context, result) {}, opts...)
	}
	use := func(t *testing.T) {
		passing := listen(t, d, func(context.Context, result) {})
		var senders sync.WaitGroup
		for range 4 {
			senders.Go(func() {
				if _, err := d.Gather(t.Context(), ask, 1, dispatch.WithHedge(time.Microsecond)); err != nil {
					t.Error(err)
				}
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		_, _ = d.Gather(ctx, ask, 1, dispatch.WithGrace(time.Second))
		if _, err := d.Gather(t.Context(), ask, 1); err != nil {
			t.Error(err)
		}
		passing.Drain(t.Context())
		senders.Wait()
	}
	for range 3 {
		synctest.Test(t, use)
		use(t)
		eventually(func() bool { return dispatch.AtRest(d.Bus()) == nil })
	}
	d.Shutdown(t.Context())
}
