package dispatch_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/seed-bb4b4d74/dispatch"
)

// A slot that comes free for a member that may not be started any more has to be
// passed on, or an instrument that several producers share is lost for all.
func TestSlotOfAMemberThatIsNotStartedIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topic := dispatch.NewTopic[int, int]("limits")
		d := dispatch.New[int, int]()
		instrument := semaphore.NewWeighted(1)
		busy, err := d.AddProducer(topic, func(context.Context, int) (int, error) {
			time.Sleep(time.Second)
			return 0, nil
		}, dispatch.WithSemaphore(instrument))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Send(t.Context(), topic, 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c, err := d.Send(t.Context(), topic, 0)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it waits for the instrument
		busy.Remove()
		if err := c.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if o := c.Report().Outcomes[0]; o.State != dispatch.StateGone || o.Started {
			t.Errorf("the removed producer is %v, started: %t, want gone and not started", o.State, o.Started)
		}
		if !instrument.TryAcquire(1) {
			t.Error("the slot was not given back")
		}
	})
}

// A member that holds a slot is ended under the call's lock, and gives the slot
// back, also if quick producers follow that need none.
func TestSlotIsGivenBackBeforeQuickProducers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topic := dispatch.NewTopic[int, int]("limits")
		d := dispatch.New[int, int]()
		instrument := semaphore.NewWeighted(1)
		quick := func(context.Context, int) (int, error) { return 0, nil }
		if _, err := d.AddProducer(topic, quick, dispatch.WithSemaphore(instrument)); err != nil {
			t.Fatal(err)
		}
		for range 9 {
			if _, err := d.AddProducer(topic, quick); err != nil {
				t.Fatal(err)
			}
		}
		for range 100 {
			if _, err := d.Gather(t.Context(), topic, 0); err != nil {
				t.Fatal(err)
			}
			if !instrument.TryAcquire(1) {
				t.Fatal("the slot was not given back")
			}
			instrument.Release(1)
		}
	})
}
