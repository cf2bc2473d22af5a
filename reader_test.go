package dispatch_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadersSeeAllResultsAndHoldUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10
		d, _ := newDispatcher()
		for i := range n {
			produce(t, d, fmt.Sprint("p", i), slow(time.Duration(i)*100*time.Millisecond, i))
		}
		c := send(t, d)
		all := func(pause time.Duration) (got []int) {
			for r := range c.Results() {
				if r.Seq != len(got) {
					t.Errorf("Seq %d in place %d", r.Seq, len(got))
				}
				got = append(got, r.Value)
				time.Sleep(pause)
			}
			return got
		}
		var readers sync.WaitGroup
		var quickest, slowest []int
		readers.Go(func() { quickest = all(0) })
		readers.Go(func() { slowest = all(time.Second) })
		readers.Go(func() {
			for r := range c.Results() {
				if r.Value == 3 {
					if at := time.Since(c.Report().Started); at != 300*time.Millisecond {
						t.Errorf("the reader that stops was held up until %v", at)
					}
					break
				}
			}
		})
		<-c.Done()
		if got := c.Report().Elapsed; got != 900*time.Millisecond {
			t.Errorf("the call took %v, so something waited for a reader", got)
		}
		readers.Wait()
		want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
		for who, got := range map[string][]int{"quick": quickest, "slow": slowest, "after the end": all(0), "once more": all(0)} {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s reader (-want +got):\n%s", who, diff)
			}
		}
	})
}

// Without a listener it is the reader alone who has to be told, also if it waits
// before the first result.
func TestReaderAloneIsTold(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		for _, n := range []int{2, 3, 10, 100} {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				gate := make(chan struct{})
				for i := range n {
					p := quick(i)
					switch i {
					case 0:
						p = deaf(gate, i)
					case n - 1:
						p = patient
					}
					produce(t, d, fmt.Sprint(i), p)
				}
				c := send(t, d)
				var read atomic.Int32
				go func() {
					for range c.Results() {
						read.Add(1)
					}
				}()
				synctest.Wait()
				close(gate)
				synctest.Wait()
				if got := int(read.Load()); got != n-1 {
					t.Errorf("%d of %d results were read while the last one blocks", got, n-1)
				}
				<-c.Done()
			})
		}
	})
}
