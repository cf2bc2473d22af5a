package dispatch_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestSnapshotOfAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
		produce(t, d, "serial", slow(time.Second, 1), dispatch.WithConcurrency(1))
		produce(t, d, "free", slow(time.Second, 1))
		produce(t, d, "last", slow(time.Second, 1), dispatch.WithConcurrency(2))
		for range 3 {
			send(t, d)
		}
		send(t, d, dispatch.WithParallelism(1)) // has not come to the last two
		synctest.Wait()
		var got []string
		for _, p := range d.Bus().Snapshot().Topics[0].Producers {
			got = append(got, fmt.Sprintf("%s: %d waiting, %d running", p.Name, p.Waiting, p.Running))
		}
		wantLines(t, got, "serial: 3 waiting, 1 running", "free: 0 waiting, 3 running", "last: 1 waiting, 2 running")
		time.Sleep(10 * time.Second)
	})
}

// A run that was rejected has not begun, and so has not failed.
func TestSnapshotOfRejectedMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", slow(time.Second, 1), dispatch.WithConcurrency(1), dispatch.WithMaxQueue(1))
		var calls []*inFlight
		for range 5 {
			calls = append(calls, send(t, d))
		}
		for _, c := range calls {
			<-c.Done()
		}
		if p := d.Bus().Snapshot().Topics[0].Producers[0]; p.Failed != 0 {
			t.Errorf("failed %d, %s: no run that was started has", p.Failed, p.LastError)
		}
	})
}

func TestSnapshotOfNestedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		must(d.AddProducer(other, slow(time.Second, 1), dispatch.WithName("inner")))
		produce(t, d, "outer", func(ctx context.Context, _ int) (int, error) {
			_, err := d.Gather(ctx, other, 1)
			return 0, err
		})
		produce(t, d, "broken", failing(errBroken))
		c := send(t, d)
		synctest.Wait()
		s := d.Bus().Snapshot()
		if len(s.Calls) != 2 || s.Calls[0].Parent != 0 || s.Calls[1].Parent != c.ID() || s.Calls[1].Depth != 1 {
			t.Errorf("calls %+v, want the second nested in the first", s.Calls)
		}
		for _, p := range slices.Concat(s.Topics[0].Producers, s.Topics[1].Producers) {
			if want := map[string]int{"outer": 1, "inner": 1}[p.Name]; p.Running != want {
				t.Errorf("%s runs %d times, want %d", p.Name, p.Running, want)
			}
			if broken := p.Name == "broken"; broken != (p.Failed == 1) || broken != (p.LastError == errBroken.Error()) {
				t.Errorf("%s has failed %d times, %q", p.Name, p.Failed, p.LastError)
			}
		}
		<-c.Done()
	})
}

// What a call or a sender waits for before anything is asked is in the Snapshot.
func TestSnapshotOfWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute), dispatch.WithMaxInFlight(2))
		look := func() string {
			synctest.Wait()
			s := d.Bus().Snapshot()
			text := fmt.Sprintf("%d of %d, %d senders", len(s.Calls), s.MaxInFlight, s.SendersWaiting)
			for _, c := range s.Calls {
				text += fmt.Sprintf(", waits for %d", c.WaitsFor)
			}
			return text
		}
		produce(t, d, "a", slow(time.Second, 1))
		waits := send(t, d, dispatch.WithMinProducers(3))
		goes := send(t, d)
		for range 2 {
			go func() {
				if c, err := d.Send(context.Background(), ask, 1); err == nil {
					<-c.Done()
				}
			}()
		}
		wantLines(t, []string{look()}, "2 of 2, 2 senders, waits for 2, waits for 0")
		produce(t, d, "b", slow(time.Second, 1))
		wantLines(t, []string{look()}, "2 of 2, 2 senders, waits for 1, waits for 0")
		produce(t, d, "c", slow(time.Second, 1))
		wantLines(t, []string{look()}, "2 of 2, 2 senders, waits for 0, waits for 0")
		<-waits.Done()
		<-goes.Done()
		wantLines(t, []string{look()}, "2 of 2, 0 senders, waits for 0, waits for 0")
		time.Sleep(time.Minute)
	})
}
