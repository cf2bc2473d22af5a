package dispatch_test

import (
	"context"
	"encoding/json"
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

// A Snapshot of a producer on many topics does not repeat all of their names for each of them.
func TestSnapshotOfAProducerOnManyTopicsIsLinear(t *testing.T) {
	var each [2]int
	for k, n := range []int{100, 2000} {
		d := quiet[int, int]()
		var topics []dispatch.Topic[int, int]
		for i := range n {
			topics = append(topics, dispatch.NewTopic[int, int](fmt.Sprint("topic.", i)))
		}
		must(d.AddProducer(dispatch.AnyOf(topics...), quick(1)))
		s := d.Bus().Snapshot()
		if len(s.Topics) != n {
			t.Errorf("%d topics, want %d", len(s.Topics), n)
		}
		each[k] = len(must(json.Marshal(s))) / n
	}
	if each[1] > 2*each[0] {
		t.Errorf("of 100 topics each takes %d bytes, of 2,000 each takes %d", each[0], each[1])
	}
}
