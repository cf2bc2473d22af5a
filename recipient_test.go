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
