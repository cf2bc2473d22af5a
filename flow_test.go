package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// full reports whether the bus has no place for another call.
func full(t testing.TB, d *dispatcher) bool {
	t.Helper()
	c, err := d.Send(context.Background(), other, 0, dispatch.WithNoWait())
	if err == nil {
		<-c.Done()
		synctest.Wait()
		return false
	}
	if !errors.Is(err, dispatch.ErrOverloaded) || c != nil {
		t.Errorf("Send: %v", err)
	}
	return true
}

// Fault 23: what comes when the bus is full waits, as long as its context does.
func TestFault23MaxInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithMaxInFlight(2))
		var asked atomic.Int32
		produce(t, d, "a", func(context.Context, int) (int, error) {
			asked.Add(1)
			time.Sleep(2 * time.Second)
			return 1, nil
		})
		began := time.Now()
		first := send(t, d)
		time.Sleep(time.Second)
		second := send(t, d)
		synctest.Wait()

		for name, test := range map[string]struct {
			with  func(context.Context) (context.Context, context.CancelFunc)
			cause error
		}{
			"deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, 100*time.Millisecond)
			}, context.DeadlineExceeded},
			"cancel": {func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancelCause(ctx)
				time.AfterFunc(100*time.Millisecond, func() { cancel(errBroken) })
				return ctx, func() {}
			}, errBroken},
			"ended": {func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancelCause(ctx)
				cancel(errBroken)
				return ctx, func() {}
			}, errBroken},
		} {
			ctx, cancel := test.with(context.Background())
			sent := d.Bus().Snapshot().Sent
			c, err := d.Send(ctx, ask, 0)
			if !errors.Is(err, dispatch.ErrOverloaded) || !errors.Is(err, test.cause) || c != nil {
				t.Errorf("%s: %v", name, err)
			}
			if n := d.Bus().Snapshot().Sent; n != sent || asked.Load() != 2 {
				t.Errorf("%s: asked %d times, %d calls sent", name, asked.Load(), n-sent)
			}
			cancel()
		}
		if _, err := d.Send(context.Background(), ask, 0, dispatch.WithNoWait()); !errors.Is(err, dispatch.ErrOverloaded) || errors.Is(err, context.Canceled) {
			t.Errorf("WithNoWait: %v", err)
		}

		third := send(t, d) // waits for the end of the first
		if since := time.Since(began); since != 2*time.Second {
			t.Errorf("waited until %v", since)
		}
		<-third.Done()
		for _, c := range []*inFlight{first, second, third} {
			expect(t, c.Report(), "all ended: a ok")
		}
		// The wait is not a part of the call.
		if r := third.Report(); r.Elapsed != 2*time.Second || asked.Load() != 3 {
			t.Errorf("took %v, asked %d times", r.Elapsed, asked.Load())
		}
		logged.nothing(t)
	})
}

func TestNoWaitForAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithMaxInFlight(1), dispatch.WithNoWait())
		produce(t, d, "a", slow(time.Second, 1))
		c := send(t, d)
		for _, send := range []func() error{
			func() error { _, err := d.Send(context.Background(), ask, 0); return err },
			func() error { _, err := d.Gather(context.Background(), ask, 0); return err },
			func() error { _, err := d.First(context.Background(), ask, 0); return err },
			func() (err error) {
				for _, err = range d.Stream(context.Background(), ask, 0) {
				}
				return err
			},
		} {
			if err := send(); !errors.Is(err, dispatch.ErrOverloaded) {
				t.Errorf("error %v", err)
			}
		}
		<-c.Done()
		synctest.Wait()
		if full(t, d) {
			t.Error("the place was not given back")
		}
		// Calls that cannot be made take none.
		bad := dispatch.NewTopic[string, string](ask.Name())
		words := dispatch.On[string, string](d.Bus())
		if _, err := words.Send(context.Background(), bad, ""); !errors.Is(err, dispatch.ErrTopicType) {
			t.Errorf("error %v", err)
		}
		if _, err := d.Send(context.Background(), ask, 0, dispatch.WithTimeout(0)); !errors.Is(err, dispatch.ErrInvalidOption) {
			t.Errorf("error %v", err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		expect(t, sendFrom(ctx, t, d).Report(), "canceled: a canceled")
		synctest.Wait()
		if full(t, d) {
			t.Error("the place was not given back")
		}
	})
}

// A call holds its place until its results are handed to every listener, and in
// no case longer.
func TestPlaceIsHeldForTheListeners(t *testing.T) {
	kinds := map[string][]dispatch.ListenerOption{
		"plain":      nil,
		"mailbox":    {dispatch.WithMailbox(9, dispatch.DropOldest)},
		"concurrent": {dispatch.WithConcurrency(2)},
	}
	frees := map[string]func(d *dispatcher, r *dispatch.Registration, release chan struct{}){
		"return": func(_ *dispatcher, _ *dispatch.Registration, release chan struct{}) { close(release) },
		"Remove": func(_ *dispatcher, r *dispatch.Registration, release chan struct{}) { r.Remove(); close(release) },
		"Drain": func(_ *dispatcher, r *dispatch.Registration, release chan struct{}) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			r.Drain(ctx)
			close(release)
		},
	}
	for kind, opts := range kinds {
		for free, how := range frees {
			for _, unwind := range []func(){func() {}, func() { panic("boom") }, runtime.Goexit} {
				t.Run(fmt.Sprintf("%s, %s", kind, free), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						d, _ := newDispatcher(dispatch.WithMaxInFlight(1))
						produce(t, d, "a", quick(1))
						produce(t, d, "b", quick(2))
						addStream(t, d, "s", yielding(3, 4))
						release := make(chan struct{})
						r := listen(t, d, func(context.Context, result) { <-release; unwind() }, opts...)
						listen(t, d, ignore)
						c := send(t, d)
						<-c.Done()
						synctest.Wait()
						if !full(t, d) {
							t.Fatal("the place is free before the results are handed over")
						}
						how(d, r, release)
						synctest.Wait()
						if full(t, d) {
							t.Fatal("the place is not given back")
						}
						if full(t, d) {
							t.Fatal("nor is that of another call")
						}
						hold := make(chan struct{})
						produce(t, d, "hold", deaf(hold, 1))
						c = send(t, d)
						if !full(t, d) {
							t.Fatal("there are more places than there should be")
						}
						close(hold)
						<-c.Done()
						synctest.Wait()
					})
				})
			}
		}
	}
}

func TestListenerThatComesAndGoesDuringACall(t *testing.T) {
	for kind, opts := range map[string][]dispatch.ListenerOption{
		"plain": nil, "mailbox": {dispatch.WithMailbox(1, dispatch.DropNewest)}, "concurrent": {dispatch.WithConcurrency(3)},
	} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithMaxInFlight(1))
				for i := range 6 {
					produce(t, d, fmt.Sprint(i), slow(time.Duration(i)*time.Second/2, i))
				}
				c := send(t, d)
				for i := range 4 {
					time.Sleep(time.Second / 2)
					r := listen(t, d, func(context.Context, result) { time.Sleep(700 * time.Millisecond) }, opts...)
					time.AfterFunc(time.Duration(i)*300*time.Millisecond, r.Remove)
				}
				<-c.Done()
				time.Sleep(5 * time.Second)
				for range 3 {
					if full(t, d) {
						t.Fatal("the place is not given back")
					}
				}
			})
		})
	}
}

// What is left of a call after its end holds no place.
func TestDeafProducersHoldNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithMaxInFlight(1), dispatch.WithTimeout(time.Second))
		release := make(chan struct{})
		defer close(release)
		produce(t, d, "deaf", deaf(release, 1))
		addRelay(t, d, "relay", func(context.Context, int, roster) error { <-release; return nil })
		listen(t, d, ignore)
		for range 5 {
			began := time.Now()
			expect(t, ended(t, d), "deadline: deaf late")
			if since := time.Since(began); since != time.Second {
				t.Errorf("a call took %v", since)
			}
		}
	})
}

func TestNestedCallsNeedNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithMaxInFlight(1))
		produce(t, d, "a", func(ctx context.Context, _ int) (int, error) { return d.First(ctx, other, 0, dispatch.WithNoWait()) })
		answer := func(context.Context, int) (int, error) { return 7, nil }
		if _, err := d.AddProducer(other, answer); err != nil {
			t.Fatal(err)
		}
		heard := 0
		listen(t, d, func(ctx context.Context, _ result) {
			if v, err := d.First(ctx, other, 0); v != 7 || err != nil {
				t.Errorf("inside a listener: %d, %v", v, err)
			}
			heard++
		})
		if v, err := d.First(context.Background(), ask, 0); v != 7 || err != nil {
			t.Errorf("%d, %v", v, err)
		}
		synctest.Wait()
		if heard != 1 {
			t.Errorf("the listener was called %d times", heard)
		}
		logged.nothing(t)
	})
}

func TestWaitForAPlaceEndsWithTheBus(t *testing.T) {
	for name, end := range map[string]func(*dispatcher){
		"Close":    func(d *dispatcher) { d.Close() },
		"Shutdown": func(d *dispatcher) { go d.Shutdown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithMaxInFlight(1))
				produce(t, d, "a", slow(3*time.Second, 1))
				send(t, d)
				began := time.Now()
				var errs notes
				for range 5 {
					go func() {
						_, err := d.Send(context.Background(), ask, 0)
						errs.add("%v %t after %v", err, errors.Is(err, dispatch.ErrClosed), time.Since(began))
					}()
				}
				time.Sleep(time.Second)
				end(d)
				synctest.Wait()
				if n := errs.count("true after 1s"); n != 5 {
					t.Errorf("errors %q", errs.all())
				}
				time.Sleep(5 * time.Second)
				if _, err := d.Send(context.Background(), ask, 0); !errors.Is(err, dispatch.ErrClosed) {
					t.Errorf("Send: %v", err)
				}
			})
		})
	}
}

// On real processors: there are never more calls than places.
func TestPlacesUnderLoad(t *testing.T) {
	const places = 3
	d, logged := newDispatcher(dispatch.WithMaxInFlight(places))
	var inFlight, most atomic.Int64
	for i := range 3 {
		produce(t, d, fmt.Sprint(i), quick(i))
	}
	produce(t, d, "counts", func(context.Context, int) (int, error) {
		n := inFlight.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		runtime.Gosched()
		inFlight.Add(-1)
		return 1, nil
	})
	listen(t, d, func(context.Context, result) { runtime.Gosched() })
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for range 200 {
				if _, err := d.Gather(context.Background(), ask, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	senders.Wait()
	if err := d.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := most.Load(); n > places || n == 0 {
		t.Errorf("%d calls were in flight at once", n)
	}
	logged.nothing(t)
}

func TestMaxQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithTimeout(time.Minute))
		var asked atomic.Int32
		r := produce(t, d, "a", func(context.Context, int) (int, error) { asked.Add(1); time.Sleep(time.Second); return 1, nil },
			dispatch.WithConcurrency(2), dispatch.WithMaxQueue(3))
		var calls []*inFlight
		for range 8 {
			calls = append(calls, send(t, d))
			synctest.Wait()
		}
		var got []string
		for _, c := range calls {
			<-c.Done()
			report := c.Report()
			o := report.Outcomes[0]
			got = append(got, fmt.Sprintf("%v after %v", o.State, report.Elapsed))
			if rejected := o.State == dispatch.StateRejected; errors.Is(o.Err, dispatch.ErrQueueFull) != rejected || o.Started == rejected {
				t.Errorf("outcome %+v", o)
			}
		}
		want := []string{"ok after 1s", "ok after 1s", "ok after 2s", "ok after 2s", "ok after 3s", "rejected after 0s", "rejected after 0s", "rejected after 0s"}
		if diff := cmp.Diff(want, got); diff != "" || asked.Load() != 5 {
			t.Errorf("asked %d times (-want +got):\n%s", asked.Load(), diff)
		}
		// Those that gave up waiting make room.
		busy := []*inFlight{send(t, d), send(t, d)}
		for range 3 {
			synctest.Wait()
			busy = append(busy, send(t, d, dispatch.WithTimeout(time.Second/2)))
		}
		time.Sleep(600 * time.Millisecond)
		for i, want := range []string{"pending: a pending", "pending: a pending", "deadline: a late", "deadline: a late", "deadline: a late"} {
			expect(t, busy[i].Report(), want)
		}
		expect(t, ended(t, d, dispatch.WithFailFast()), "all ended: a ok")
		r.Remove()
		for _, opts := range [][]dispatch.ProducerOption{{dispatch.WithMaxQueue(1)}, {dispatch.WithMaxQueue(0), dispatch.WithConcurrency(1)}, {dispatch.WithMaxQueue(-1), dispatch.WithConcurrency(1)}} {
			if _, err := d.AddProducer(ask, quick(1), opts...); !errors.Is(err, dispatch.ErrInvalidOption) {
				t.Errorf("%v: %v", opts, err)
			}
		}
		logged.nothing(t)
	})
}

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
		for _, way := range []string{"Remove", "Drain", "Drain in vain", "Close"} {
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
					case "Drain in vain":
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

// Who was rejected has not run, and so has not failed.
func TestSnapshotOfWhoWasRejected(t *testing.T) {
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

// What a call leads to may send calls of its own with whatever context it has: it has
// the call's place, and must not have to wait for it.
func TestCallsFromCallbacksFindAPlace(t *testing.T) {
	type sender func(ctx context.Context)
	for where, register := range map[string]func(t *testing.T, d *dispatcher, send sender){
		"producer": func(t *testing.T, d *dispatcher, send sender) {
			produce(t, d, "user", func(ctx context.Context, _ int) (int, error) { send(ctx); return 1, nil })
		},
		"listener with its context": func(t *testing.T, d *dispatcher, send sender) {
			listen(t, d, func(ctx context.Context, _ result) { send(ctx) })
		},
		"listener": func(t *testing.T, d *dispatcher, send sender) {
			listen(t, d, func(context.Context, result) { send(context.Background()) })
		},
		"listener with a mailbox": func(t *testing.T, d *dispatcher, send sender) {
			listen(t, d, func(context.Context, result) { send(context.Background()) }, dispatch.WithMailbox(3, dispatch.DropOldest))
		},
		"concurrent listener": func(t *testing.T, d *dispatcher, send sender) {
			listen(t, d, func(context.Context, result) { send(context.Background()) }, dispatch.WithConcurrency(2))
		},
		"OnOutcome": func(t *testing.T, d *dispatcher, send sender) {
			listen(t, d, ignore, dispatch.OnOutcome(func(dispatch.Outcome) { send(context.Background()) }))
		},
		"OnDone": func(t *testing.T, d *dispatcher, send sender) {
			listen(t, d, ignore, dispatch.OnDone(func(dispatch.Report) { send(context.Background()) }))
		},
		"OnDone of a concurrent listener": func(t *testing.T, d *dispatcher, send sender) {
			listen(t, d, ignore, dispatch.WithConcurrency(2), dispatch.OnDone(func(dispatch.Report) { send(context.Background()) }))
		},
		"OnLate": func(t *testing.T, d *dispatcher, send sender) {
			d.OnLate(func(result, time.Duration) { send(context.Background()) })
			produce(t, d, "late", func(context.Context, int) (int, error) { time.Sleep(2 * time.Second); return 1, nil })
		},
		"CallEnd": func(_ *testing.T, d *dispatcher, send sender) {
			apiMust(d.Bus().Observe(dispatch.Observer{CallEnd: func(_ context.Context, r dispatch.Report) {
				if r.Topic == ask.Name() {
					send(context.Background())
				}
			}}))
		},
	} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithMaxInFlight(1), dispatch.WithTimeout(time.Second))
				apiMust(d.AddProducer(other, quick(7)))
				produce(t, d, "a", quick(1))
				answers := make(chan int, 10)
				register(t, d, func(ctx context.Context) {
					ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
					defer cancel()
					v, err := d.First(ctx, other, 0)
					if err != nil {
						t.Errorf("First: %v", err)
					}
					answers <- v
				})
				began := time.Now()
				send(t, d)
				if v := <-answers; v != 7 || time.Since(began) > 2*time.Second {
					t.Errorf("the answer is %d after %v", v, time.Since(began))
				}
				time.Sleep(time.Minute)
				if full(t, d) {
					t.Error("the place is not given back")
				}
			})
		})
	}
}

// Inside is what belongs to a call of the same bus that is under way. What comes from
// another bus needs a place like everybody else.
func TestCallsOfAnotherBusNeedAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		front, _ := newDispatcher(dispatch.WithTimeout(time.Hour))
		back, _ := newDispatcher(dispatch.WithMaxInFlight(2), dispatch.WithTimeout(time.Hour))
		var running, most atomic.Int32
		produce(t, back, "b", func(context.Context, int) (int, error) {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(time.Second)
			return 1, nil
		})
		produce(t, front, "f", func(ctx context.Context, _ int) (int, error) { return back.First(ctx, ask, 0) })
		began := time.Now()
		var calls []*inFlight
		for range 30 {
			calls = append(calls, send(t, front))
		}
		for _, c := range calls {
			<-c.Done()
			expect(t, c.Report(), "all ended: f ok")
		}
		if took := time.Since(began); most.Load() != 2 || took != 15*time.Second {
			t.Errorf("%d calls were in flight at once, for %v, want 2, for 15s", most.Load(), took)
		}
	})
}

// The context of a listener is inside its call as long as that is under way.
func TestListenerContextOfAnEndedCallNeedsAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithMaxInFlight(1))
		apiMust(d.AddProducer(other, patient))
		produce(t, d, "a", quick(1))
		var kept context.Context
		listen(t, d, func(ctx context.Context, _ result) { kept = ctx })
		ended(t, d)
		synctest.Wait()
		first := apiMust(d.Send(kept, other, 0, dispatch.WithNoWait()))
		if _, err := d.Send(kept, other, 0, dispatch.WithNoWait()); !errors.Is(err, dispatch.ErrOverloaded) {
			t.Errorf("a second call in the place of one: %v", err)
		}
		if s := d.Bus().Snapshot().Calls; len(s) != 1 || s[0].Parent != 0 {
			t.Errorf("calls %+v, want one that is nobody's child", s)
		}
		first.Cancel(nil)
	})
}
