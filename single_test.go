package dispatch_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestEachValueIsHeardDroppedOrLateExactlyOnce(t *testing.T) {
	synctest.Test(t, eachValueIsHeardDroppedOrLateExactlyOnce)
}

func eachValueIsHeardDroppedOrLateExactlyOnce(t *testing.T) {
	d := dispatch.New[int, int](dispatch.WithLogger(quietLogger), dispatch.WithTimeout(3*time.Millisecond), dispatch.WithMaxAbandoned(1000))
	var accepted, late, misuse atomic.Int64
	nap := func() {
		switch rand.IntN(5) {
		case 0:
			time.Sleep(time.Duration(rand.IntN(6000)) * time.Microsecond)
		case 1:
			runtime.Gosched()
		}
	}
	for i := range 12 {
		opts := []dispatch.ProducerOption{}
		if i%3 == 0 {
			opts = append(opts, dispatch.WithGroup(fmt.Sprint("g", i%2)))
		}
		if i%4 == 1 {
			opts = append(opts, dispatch.WithConcurrency(2))
		}
		produce(t, d, fmt.Sprint("p", i), func(ctx context.Context, _ int) (int, error) {
			nap()
			switch rand.IntN(10) {
			case 0:
				return 0, dispatch.ErrDecline
			case 1:
				runtime.Goexit()
			case 2:
				panic(1)
			}
			accepted.Add(1)
			return 1, nil
		}, opts...)
	}
	for range 3 {
		_, _ = d.AddStreamProducer(ask, func(context.Context, int) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				for range rand.IntN(20) {
					nap()
					accepted.Add(1)
					if !yield(1, nil) {
						return
					}
				}
			}
		})
	}
	_, _ = d.AddRelay(ask, func(_ context.Context, _ int, to *dispatch.Roster[int]) error {
		for i := range 3 {
			to.Name(dispatch.Member{Node: "n", Name: fmt.Sprint(i)})
		}
		for range 4 {
			nap()
			accepted.Add(1)
			to.Result(dispatch.Member{Node: "n", Name: fmt.Sprint(rand.IntN(3))}, 1)
		}
		for i := range 2 {
			to.End(dispatch.Member{Node: "n", Name: fmt.Sprint(i)}, nil)
		}
		return nil
	})
	d.OnLate(func(result, time.Duration) { late.Add(1) })

	type book struct {
		heard, done, open atomic.Int64
		dropped           bool
		reg               *dispatch.Registration
		name              string
	}
	var books []*book
	for _, width := range []int{1, 3} {
		for _, bound := range []int{0, 1, 4} {
			for _, over := range []dispatch.Overflow{dispatch.DropOldest, dispatch.DropNewest} {
				for _, outcomes := range []bool{false, true} {
					b := &book{dropped: bound > 0, name: fmt.Sprint(width, bound, over, outcomes)}
					var seqs, ended, open sync.Map
					opts := []dispatch.ListenerOption{dispatch.OnDone(func(r dispatch.Report) {
						b.done.Add(1)
						if _, again := ended.LoadOrStore(r.Call, true); again {
							t.Errorf("%s: OnDone twice", b.name)
						}
						if n, ok := open.Load(r.Call); ok && n.(*atomic.Int64).Load() != 0 {
							t.Errorf("%s: OnDone during others", b.name)
						}
						seqs.Delete(r.Call)
						open.Delete(r.Call)
					})}
					if bound > 0 {
						opts = append(opts, dispatch.WithMailbox(bound, over))
					}
					if width > 1 {
						opts = append(opts, dispatch.WithConcurrency(width))
					}
					if outcomes {
						opts = append(opts, dispatch.OnOutcome(func(dispatch.Outcome) {}))
					}
					b.reg = listen(t, d, func(_ context.Context, r result) {
						n, _ := open.LoadOrStore(r.Call.ID(), new(atomic.Int64))
						n.(*atomic.Int64).Add(1)
						defer n.(*atomic.Int64).Add(-1)
						b.heard.Add(1)
						if b.open.Add(1) > int64(width) {
							t.Errorf("%s: overlap", b.name)
						}
						defer b.open.Add(-1)
						if _, over := ended.Load(r.Call.ID()); over {
							t.Errorf("%s: result after OnDone", b.name)
						}
						if width == 1 {
							last, ok := seqs.Swap(r.Call.ID(), r.Seq)
							if ok && last.(int) >= r.Seq || bound == 0 && (ok && last.(int)+1 != r.Seq || !ok && r.Seq != 0) {
								t.Errorf("%s: %v then %d", b.name, last, r.Seq)
							}
						}
						switch rand.IntN(200) {
						case 0:
							time.Sleep(time.Millisecond)
						case 1:
							runtime.Goexit()
						case 2:
							panic(3)
						}
					}, opts...)
					books = append(books, b)
				}
			}
		}
	}
	var results, calls atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range 4 {
		wg.Go(func() {
			for time.Since(begin) < 1500*time.Millisecond {
				opts := []dispatch.CallOption{}
				switch rand.IntN(5) {
				case 0:
					opts = append(opts, dispatch.WithQuorum(3))
				case 1:
					opts = append(opts, dispatch.WithParallelism(2))
				case 2:
					opts = append(opts, dispatch.WithHedge(200*time.Microsecond))
				case 3:
					opts = append(opts, dispatch.WithFailFast())
				}
				c, err := d.Send(context.Background(), ask, 0, opts...)
				if err != nil {
					t.Error(err)
					return
				}
				<-c.Done()
				for range c.Results() {
					results.Add(1)
				}
				calls.Add(1)
			}
		})
	}
	wg.Wait()
	time.Sleep(20 * time.Millisecond)
	for _, b := range books {
		if err := b.reg.Drain(context.Background()); err != nil {
			t.Error(err)
		}
	}
	misuse.Store(int64(d.Bus().Snapshot().Misuse))
	if err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	misuse.Store(int64(d.Bus().Snapshot().Misuse))
	// Relay ends beside Result misuse are not counted here: name and end of the relay do none.
	if accepted.Load() != results.Load()+late.Load()+misuse.Load() {
		t.Errorf("accepted %d, results %d + late %d + misuse %d = %d", accepted.Load(), results.Load(), late.Load(), misuse.Load(), results.Load()+late.Load()+misuse.Load())
	}
	for _, b := range books {
		if b.done.Load() != calls.Load() {
			t.Errorf("%s: done %d of %d", b.name, b.done.Load(), calls.Load())
		}
		if !b.dropped && b.heard.Load() != results.Load() {
			t.Errorf("%s: heard %d of %d", b.name, b.heard.Load(), results.Load())
		}
		if n := dispatch.Dropped(b.reg); n+b.heard.Load() != results.Load() {
			t.Errorf("%s: dropped %d + heard %d of %d", b.name, n, b.heard.Load(), results.Load())
		}
		if n := dispatch.Waiting(b.reg); n != 0 {
			t.Errorf("%s: waiting %d", b.name, n)
		}
	}
	if err := dispatch.AtRest(d.Bus()); err != nil {
		t.Error(err)
	}
	t.Logf("calls %d results %d late %d accepted %d", calls.Load(), results.Load(), late.Load(), accepted.Load())
}
