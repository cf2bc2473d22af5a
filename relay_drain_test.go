package dispatch_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// The drain of a relay waits for the relay and not for others in the same call.
func TestDrainOfARelayThatIsLateEndsWhenItReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		release, back := make(chan struct{}), make(chan struct{})
		produce(t, d, "deaf", deaf(release, 1))
		r, err := d.AddRelay(ask, func(context.Context, int, *dispatch.Roster[int]) error {
			<-back
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		<-send(t, d, dispatch.WithTimeout(time.Second)).Done()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		drained := make(chan error, 1)
		go func() { drained <- r.Drain(ctx) }()
		synctest.Wait()
		close(back)
		if err := <-drained; err != nil {
			t.Errorf("Drain: %v", err)
		}
		close(release)
	})
}
