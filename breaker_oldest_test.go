package dispatch_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// DropOldest drops the result that has waited for longest, whichever call it is of.
func TestDropOldestDropsTheOldestOfAllCalls(t *testing.T) {
	t.Skip("it does not yet")
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Hour))
		feeds := []chan int{make(chan int), make(chan int), make(chan int)}
		if _, err := d.AddStreamProducer(ask, func(_ context.Context, i int) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				for v := range feeds[i] {
					yield(v, nil)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		var heard []int
		release := make(chan struct{})
		listen(t, d, func(_ context.Context, r result) {
			<-release
			heard = append(heard, r.Value)
		}, dispatch.WithMailbox(4, dispatch.DropOldest))
		for i := range feeds {
			if _, err := d.Send(t.Context(), ask, i); err != nil {
				t.Fatal(err)
			}
		}
		give := func(call, v int) {
			feeds[call] <- v
			synctest.Wait()
		}
		give(2, 0) // in hand
		for v := 1; v <= 6; v++ {
			give((v+1)%2, v) // 1 3 5 of call 0, and 2 4 6 of call 1; 1 and 2 have to go
			time.Sleep(time.Second)
		}
		close(release)
		synctest.Wait()
		slices.Sort(heard)
		if got := fmt.Sprint(heard); got != "[0 3 4 5 6]" {
			t.Errorf("heard %s, want [0 3 4 5 6]", got)
		}
		for _, f := range feeds {
			close(f)
		}
		synctest.Wait()
	})
}
