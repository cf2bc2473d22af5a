package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// Which results a full mailbox drops.
func TestMailboxDrops(t *testing.T) {
	for name, test := range map[string]struct {
		n        int
		overflow dispatch.Overflow
		want     []int
	}{
		"oldest, 1":   {1, dispatch.DropOldest, []int{0, 9}},
		"oldest, 3":   {3, dispatch.DropOldest, []int{0, 7, 8, 9}},
		"oldest, 9":   {9, dispatch.DropOldest, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		"newest, 1":   {1, dispatch.DropNewest, []int{0, 1}},
		"newest, 3":   {3, dispatch.DropNewest, []int{0, 1, 2, 3}},
		"newest, 9":   {9, dispatch.DropNewest, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		"newest, 100": {100, dispatch.DropNewest, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher(dispatch.WithTimeout(time.Minute), dispatch.WithSlowListener(time.Hour))
				for i := range 10 {
					produce(t, d, fmt.Sprint(i), slow(time.Duration(i)*time.Second, i))
				}
				release := make(chan struct{})
				var heard, outcomes []int
				ends := 0
				listen(t, d, func(_ context.Context, r result) {
					if <-release; ends > 0 || r.Seq != r.Value {
						t.Errorf("result %+v after the end", r)
					}
					heard = append(heard, r.Value)
				}, dispatch.WithMailbox(test.n, test.overflow), dispatch.OnOutcome(func(o dispatch.Outcome) {
					outcomes = append(outcomes, int(o.Elapsed/time.Second))
				}), dispatch.OnDone(func(r dispatch.Report) {
					if ends++; !r.Complete() || len(outcomes) != 10 {
						t.Errorf("done with %s, after %d outcomes", told(r), len(outcomes))
					}
				}))
				plain := keepDiary(t, d)
				c := send(t, d)
				<-c.Done()
				synctest.Wait()
				l := d.Bus().Snapshot().Topics[0].Listeners[0]
				if l.Dropped != uint64(10-len(test.want)) || l.Queued == 0 {
					t.Errorf("before the release: %+v", l)
				}
				close(release)
				synctest.Wait()
				if diff := cmp.Diff(test.want, heard); diff != "" {
					t.Errorf("results (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, outcomes); diff != "" || ends != 1 {
					t.Errorf("%d ends, outcomes (-want +got):\n%s", ends, diff)
				}
				if plain.count("result") != 10 {
					t.Errorf("another listener was told %q", plain.all())
				}
				l = d.Bus().Snapshot().Topics[0].Listeners[0]
				if l.Dropped != uint64(10-len(test.want)) || l.Queued != 0 {
					t.Errorf("at the end: %+v", l)
				}
				logged.nothing(t)
			})
		})
	}
	d, _ := newDispatcher()
	for _, o := range []dispatch.ListenerOption{dispatch.WithMailbox(0, dispatch.DropOldest), dispatch.WithMailbox(-1, dispatch.DropNewest), dispatch.WithMailbox(1, 2)} {
		if _, err := d.AddListener(ask, ignore, o); !errors.Is(err, dispatch.ErrInvalidOption) {
			t.Errorf("%v: %v", o, err)
		}
	}
}

// Dropping concerns results of other calls as well; each call still has its end.
func TestMailboxIsSharedByCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithMaxInFlight(4))
		produce(t, d, "a", quick(1))
		release := make(chan struct{})
		var heard []dispatch.CallID
		done := make(map[dispatch.CallID]int)
		listen(t, d, func(_ context.Context, r result) {
			<-release
			heard = append(heard, r.Call.ID())
		}, dispatch.WithMailbox(1, dispatch.DropOldest), dispatch.OnDone(func(r dispatch.Report) { done[r.Call]++ }))
		for range 4 {
			c := send(t, d)
			<-c.Done()
			synctest.Wait()
		}
		close(release)
		synctest.Wait()
		if diff := cmp.Diff([]dispatch.CallID{1, 4}, heard); diff != "" {
			t.Errorf("results of calls (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[dispatch.CallID]int{1: 1, 2: 1, 3: 1, 4: 1}, done); diff != "" {
			t.Errorf("ends (-want +got):\n%s", diff)
		}
		if full(t, d) {
			t.Error("dropped results hold a place")
		}
	})
}

func TestConcurrentListener(t *testing.T) {
	for _, unwind := range []func(){func() {}, func() { panic("boom") }, runtime.Goexit} {
		synctest.Test(t, func(t *testing.T) {
			const width, members = 3, 10
			d, _ := newDispatcher()
			for i := range members {
				produce(t, d, fmt.Sprint(i), quick(i))
			}
			var running, most, heard, outcomes, ends atomic.Int32
			began := time.Now()
			listen(t, d, func(context.Context, result) {
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(time.Second)
				running.Add(-1)
				heard.Add(1)
				unwind()
			}, dispatch.WithConcurrency(width), dispatch.OnOutcome(func(dispatch.Outcome) { outcomes.Add(1) }), dispatch.OnDone(func(dispatch.Report) {
				ends.Add(1)
				if running.Load() != 0 || heard.Load() != members || outcomes.Load() != members {
					t.Errorf("done while %d run, after %d results and %d outcomes", running.Load(), heard.Load(), outcomes.Load())
				}
			}))
			c := send(t, d)
			<-c.Done()
			if err := d.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			if since := time.Since(began); most.Load() != width || since != 4*time.Second || ends.Load() != 1 {
				t.Errorf("%d at once, for %v, %d ends", most.Load(), since, ends.Load())
			}
		})
	}
}

func TestListenersInPiecesLeave(t *testing.T) {
	for kind, opts := range map[string][]dispatch.ListenerOption{
		"mailbox":    {dispatch.WithMailbox(5, dispatch.DropNewest)},
		"concurrent": {dispatch.WithConcurrency(2)},
	} {
		for _, way := range []string{"Remove", "Drain", "Drain that gives up", "Close"} {
			t.Run(kind+", "+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, _ := newDispatcher()
					for i := range 4 {
						produce(t, d, fmt.Sprint(i), quick(i))
					}
					produce(t, d, "last", slow(3*time.Second, 4))
					var heard notes
					opts := append(slices.Clone(opts), dispatch.OnDone(func(r dispatch.Report) { heard.add("done %v", r.Reason) }))
					r := listen(t, d, func(_ context.Context, r result) {
						heard.add("begin %d", r.Value)
						time.Sleep(time.Second)
						heard.add("end %d", r.Value)
					}, opts...)
					c := send(t, d)
					time.Sleep(time.Second / 2)
					began := time.Now()
					width := map[string]int{"mailbox": 1, "concurrent": 2}[kind]
					begun, done := width, 0
					switch way {
					case "Remove":
						r.Remove()
					case "Close":
						d.Close()
						done = 1
					case "Drain":
						if err := r.Drain(context.Background()); err != nil || time.Since(began) != time.Duration(4/width)*time.Second-time.Second/2 {
							t.Errorf("Drain: %v after %v", err, time.Since(began))
						}
						begun = 4
					case "Drain that gives up":
						ctx, cancel := context.WithTimeout(context.Background(), time.Second/4)
						defer cancel()
						if err := r.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("Drain: %v", err)
						}
					}
					<-c.Done()
					time.Sleep(5 * time.Second)
					if heard.count("begin") != begun || heard.count("end") != begun || heard.count("done") != done {
						t.Errorf("the listener was told %q", heard.all())
					}
				})
			})
		}
	}
}

// A listener that is drained gets what its mailbox has, whatever comes after that.
func TestDrainedMailboxLosesNothingToLaterResults(t *testing.T) {
	for _, overflow := range []dispatch.Overflow{dispatch.DropOldest, dispatch.DropNewest} {
		t.Run(overflow.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				next := make(chan int)
				if _, err := d.AddStreamProducer(ask, func(context.Context, int) iter.Seq2[int, error] {
					return func(yield func(int, error) bool) {
						for v := range next {
							yield(v, nil)
						}
					}
				}); err != nil {
					t.Fatal(err)
				}
				var heard notes
				release := make(chan struct{})
				l := listen(t, d, func(_ context.Context, r result) {
					<-release
					heard.add("%d", r.Value)
				}, dispatch.WithMailbox(2, overflow))
				c := send(t, d, dispatch.WithTimeout(time.Hour))
				for v := range 3 {
					next <- v
					synctest.Wait()
				}
				drained := make(chan error, 1)
				go func() { drained <- l.Drain(t.Context()) }()
				synctest.Wait()
				for v := range 3 {
					next <- 3 + v
					synctest.Wait()
				}
				close(release)
				if err := <-drained; err != nil {
					t.Error(err)
				}
				if got := strings.Join(heard.all(), " "); got != "0 1 2" {
					t.Errorf("heard %q, want 0 1 2", got)
				}
				close(next)
				<-c.Done()
			})
		})
	}
}
