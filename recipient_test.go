package dispatch_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A listener of the program that a test uses in a bubble is watched again when that is
// over, though its timer has gone with the bubble.
func TestListenerIsWatchedAgainAfterABubble(t *testing.T) {
	const limit = 10 * time.Millisecond
	d, logged := newDispatcher(dispatch.WithSlowListener(limit))
	produce(t, d, "a", quick(1))
	var slow atomic.Bool
	release := make(chan struct{})
	listen(t, d, func(context.Context, result) {
		if slow.Load() {
			<-release
		}
	}, dispatch.WithName("of the program"))
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			if _, err := d.Gather(t.Context(), ask, 1); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		})
	}
	slow.Store(true)
	if _, err := d.Gather(t.Context(), ask, 1); err != nil {
		t.Error(err)
	}
	eventually(func() bool { return logged.count("listener is slow") == 1 })
	close(release)
}

// A callback that panics with nil ends that one callback.
func TestPanicNilOfCallbacksUnderTheOldRule(t *testing.T) {
	t.Setenv("GODEBUG", "panicnil=1")
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithTimeout(time.Second))
		produce(t, d, "a", quick(1))
		produce(t, d, "b", quick(2))
		produce(t, d, "late", func(context.Context, int) (int, error) { time.Sleep(1050 * time.Millisecond); return 3, nil })
		var heard notes
		listen(t, d, func(_ context.Context, r result) { heard.add("result"); panic(nil) },
			dispatch.OnOutcome(func(dispatch.Outcome) { heard.add("outcome"); panic(nil) }),
			dispatch.OnDone(func(dispatch.Report) { heard.add("done"); panic(nil) }))
		listen(t, d, func(_ context.Context, r result) { heard.add("concurrently"); panic(nil) }, dispatch.WithConcurrency(2))
		listen(t, d, func(_ context.Context, r result) { heard.add("bounded"); panic(nil) }, dispatch.WithMailbox(9, dispatch.DropOldest))
		d.OnLate(func(result, time.Duration) { heard.add("late"); panic(nil) })
		must(d.Bus().Observe(dispatch.Observer{
			CallStart: func(context.Context, dispatch.CallStarted) context.Context { heard.add("CallStart"); panic(nil) },
			CallEnd:   func(context.Context, dispatch.Report) { heard.add("CallEnd"); panic(nil) },
		}))
		for range 2 {
			expect(t, ended(t, d), "deadline: a ok, b ok, late late")
			time.Sleep(time.Second)
			synctest.Wait()
		}
		for what, n := range map[string]int{"result": 2, "outcome": 3, "done": 1, "concurrently": 2, "bounded": 2, "late": 1, "CallStart": 1, "CallEnd": 1} {
			if got := heard.count(what); got != 2*n {
				t.Errorf("%s was called %d times, want %d", what, got, 2*n)
			}
		}
		if err := d.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if panics, exits := logged.count("panicked"), logged.count("Goexit"); panics != 2*13 || exits != 0 {
			t.Errorf("%d panics and %d calls of Goexit were logged, want 26 and none", panics, exits)
		}
	})
}
