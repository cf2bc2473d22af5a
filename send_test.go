package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// What comes when the bus is full waits, as long as its context does.
func TestSendWaitsForAPlace(t *testing.T) {
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

// listenerKinds are the kinds of mailboxes.
func listenerKinds() map[string][]dispatch.ListenerOption {
	return map[string][]dispatch.ListenerOption{
		"plain":      nil,
		"mailbox":    {dispatch.WithMailbox(9, dispatch.DropOldest)},
		"concurrent": {dispatch.WithConcurrency(2)},
	}
}

// A call holds its place until its results are handed to every listener, and in
// no case longer.
func TestPlaceIsHeldForTheListeners(t *testing.T) {
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
	for kind, opts := range listenerKinds() {
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

// A place does not wait for a listener that has come to the last result of its call before
// the call ended.
func TestPlaceAfterTheLastResultOfACallThatGoesOn(t *testing.T) {
	for name, opts := range listenerKinds() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithMaxInFlight(1))
				produce(t, d, "quick", quick(1))
				produce(t, d, "failing", func(context.Context, int) (int, error) {
					time.Sleep(time.Second)
					return 0, errBroken
				})
				release := make(chan struct{})
				defer close(release)
				listen(t, d, func(context.Context, result) { <-release }, opts...)
				<-send(t, d).Done()
				synctest.Wait()
				if full(t, d) {
					t.Error("the listener has nothing more to do with the call, and holds its place")
				}
			})
		})
	}
}

// A place does not wait for a listener whose mailbox has dropped all that was left of the
// call, and nor does the call's memory.
func TestCallsWhoseResultsWereDroppedAreLetGo(t *testing.T) {
	for _, overflow := range []dispatch.Overflow{dispatch.DropOldest, dispatch.DropNewest} {
		for name, opts := range map[string][]dispatch.ListenerOption{
			"results only": nil,
			"with OnDone":  {dispatch.OnDone(func(dispatch.Report) {})},
		} {
			t.Run(fmt.Sprintf("%v, %s", overflow, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, _ := newDispatcher(dispatch.WithMaxInFlight(3), dispatch.WithNoWait())
					produce(t, d, "a", quick(1))
					release := make(chan struct{})
					listen(t, d, func(context.Context, result) { <-release }, append(opts, dispatch.WithMailbox(1, overflow))...)
					var calls []weak.Pointer[inFlight]
					for range 50 {
						c := send(t, d)
						<-c.Done()
						synctest.Wait()
						calls = append(calls, weak.Make(c))
					}
					if name == "results only" {
						// The one in hand, the one that waits, and those that the bus
						// looks at just now.
						if n := reachable(calls, 4); n > 4 {
							t.Errorf("%d calls are still reachable", n)
						}
						if n := d.Bus().Snapshot().Topics[0].Listeners[0].Queued; n > 2 {
							t.Errorf("%d calls are in the queue", n)
						}
					}
					close(release)
					synctest.Wait()
					if got := d.Bus().Snapshot().Topics[0].Listeners[0]; got.Delivered != 2 || got.Dropped != 48 || got.Queued != 0 {
						t.Errorf("%+v", got)
					}
					if err := dispatch.AtRest(d.Bus()); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// While a hook of a listener runs, no place waits for the listener: the hook may send, with
// whatever context.
func TestHooksThatSendFindAPlace(t *testing.T) {
	for name, opts := range listenerKinds() {
		for _, hook := range []string{"OnDone", "OnOutcome"} {
			t.Run(name+", "+hook, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, logged := newDispatcher(dispatch.WithMaxInFlight(4), dispatch.WithTimeout(time.Minute))
					produce(t, d, "a", quick(1))
					produce(t, d, "b", slow(time.Millisecond, 2))
					if _, err := d.AddProducer(other, quick(3)); err != nil {
						t.Fatal(err)
					}
					var sent atomic.Int32
					use := func() {
						if _, err := d.Gather(context.Background(), other, 0); err != nil {
							t.Error(err)
						}
						sent.Add(1)
					}
					with := dispatch.OnDone(func(dispatch.Report) { use() })
					if hook == "OnOutcome" {
						with = dispatch.OnOutcome(func(dispatch.Outcome) { use() })
					}
					listen(t, d, func(context.Context, result) {}, append(opts, with)...)
					var senders sync.WaitGroup
					for range 8 {
						senders.Go(func() {
							for range 50 {
								if _, err := d.Gather(context.Background(), ask, 0); err != nil {
									t.Error(err)
								}
							}
						})
					}
					senders.Wait()
					synctest.Wait()
					if want := map[string]int32{"OnDone": 400, "OnOutcome": 800}[hook]; sent.Load() != want {
						t.Errorf("hooks have sent %d requests, want %d", sent.Load(), want)
					}
					if err := dispatch.AtRest(d.Bus()); err != nil {
						t.Error(err)
					}
					logged.nothing(t)
				})
			})
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
			must(d.Bus().Observe(dispatch.Observer{CallEnd: func(_ context.Context, r dispatch.Report) {
				if r.Topic == ask.Name() {
					send(context.Background())
				}
			}}))
		},
	} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithMaxInFlight(1), dispatch.WithTimeout(time.Second))
				must(d.AddProducer(other, quick(7)))
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
// another bus needs a place like all others.
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
		must(d.AddProducer(other, patient))
		produce(t, d, "a", quick(1))
		var kept context.Context
		listen(t, d, func(ctx context.Context, _ result) { kept = ctx })
		ended(t, d)
		synctest.Wait()
		first := must(d.Send(kept, other, 0, dispatch.WithNoWait()))
		if _, err := d.Send(kept, other, 0, dispatch.WithNoWait()); !errors.Is(err, dispatch.ErrOverloaded) {
			t.Errorf("a second call in the place of one: %v", err)
		}
		if s := d.Bus().Snapshot().Calls; len(s) != 1 || s[0].Parent != 0 {
			t.Errorf("calls %+v, want one without a parent", s)
		}
		first.Cancel(nil)
	})
}

func TestEndlessRecursionIsRefused(t *testing.T) {
	const depth = 64
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		runs := 0
		var deepest error
		produce(t, d, "a", func(ctx context.Context, req int) (int, error) {
			runs++
			values, err := d.Gather(ctx, ask, req+1)
			if err != nil {
				if deepest == nil {
					deepest = err
				}
				return 0, err
			}
			return values[0], nil
		})
		r := ended(t, d)
		expect(t, r, "all ended: a failed")
		if !errors.Is(r.Err(), dispatch.ErrTooDeep) || !errors.Is(deepest, dispatch.ErrTooDeep) {
			t.Errorf("error is %v, want ErrTooDeep", r.Err())
		}
		if runs != depth+1 {
			t.Errorf("%d runs, want the first and %d nested ones", runs, depth)
		}
		if r.Elapsed != 0 {
			t.Errorf("it took %v, want no wait for a deadline", r.Elapsed)
		}
	})
}

// Recursion through a context that was derived from the producer's, through other
// topics, through other buses, and through Send alone is recursion, too.
func TestRecursionIsFollowedAcrossTopicsAndBuses(t *testing.T) {
	for _, buses := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			near, _ := newDispatcher()
			far := near
			if buses == 2 {
				far, _ = newDispatcher()
			}
			var runs atomic.Int32
			hop := func(d *dispatcher, to dispatch.Topic[int, int]) producer {
				return func(ctx context.Context, _ int) (int, error) {
					runs.Add(1)
					ctx, cancel := context.WithTimeout(ctx, time.Minute)
					defer cancel()
					c, err := d.Send(context.WithValue(ctx, new(int), "value"), to, 0)
					if err != nil {
						return 0, err
					}
					<-c.Done()
					return 0, c.Report().Err()
				}
			}
			produce(t, near, "a", hop(far, other))
			must(far.AddProducer(other, hop(near, ask), dispatch.WithName("b")))
			r := ended(t, near)
			if !errors.Is(r.Err(), dispatch.ErrTooDeep) || runs.Load() != 65 {
				t.Errorf("%d buses: after %d runs: %v, want ErrTooDeep after 65", buses, runs.Load(), r.Err())
			}
		})
	}
}

func TestCallWithoutProducersEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		diary := keepDiary(t, d)
		began := time.Now()
		c := send(t, d)
		select {
		case <-c.Done():
		default:
			t.Error("the call has not ended")
		}
		r := c.Report()
		expect(t, r, "no producers: ")
		if r.Complete() || !errors.Is(r.Err(), dispatch.ErrNoProducers) {
			t.Errorf("all ended: %v, error: %v, want an error that says that there are no producers", r.Complete(), r.Err())
		}
		for r := range c.Results() {
			t.Errorf("result %v", r)
		}
		if values, err := d.Gather(context.Background(), ask, 0); len(values) != 0 || !errors.Is(err, dispatch.ErrNoProducers) {
			t.Errorf("Gather = %v, %v", values, err)
		}
		if value, err := d.First(context.Background(), ask, 0); value != 0 || !errors.Is(err, dispatch.ErrNoProducers) {
			t.Errorf("First = %v, %v", value, err)
		}
		pairs := 0
		for _, err := range d.Stream(context.Background(), ask, 0) {
			if pairs++; !errors.Is(err, dispatch.ErrNoProducers) {
				t.Errorf("Stream yields %v", err)
			}
		}
		synctest.Wait()
		if diff := cmp.Diff([]string{"done no producers", "done no producers", "done no producers", "done no producers"}, diary.all()); diff != "" || pairs != 1 {
			t.Errorf("Stream yielded %d pairs, listener (-want +got):\n%s", pairs, diff)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
		logged.nothing(t)
	})
}

// A timer may end the call before Send has launched it. Its place must come back
// once.
func TestPlaceOfACallThatEndsBeforeItIsLaunched(t *testing.T) {
	d, _ := newDispatcher(dispatch.WithMaxInFlight(1))
	produce(t, d, "a", quick(1))
	hold := make(chan struct{})
	defer close(hold)
	listen(t, d, ignore, dispatch.OnDone(func(dispatch.Report) { <-hold }))
	produce(t, d, "b", func(context.Context, int) (int, error) { <-hold; return 1, nil })
	if _, err := d.Send(context.Background(), ask, 0); err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		_, err := d.Send(ctx, ask, 0, dispatch.WithTimeout(1), dispatch.WithNoWait())
		cancel()
		if err == nil {
			t.Fatalf("call %d has a place though the first goes on", i)
		}
		if i == 99 {
			break
		}
	}
}

// followable is a context that tells when something begins and ceases to follow it.
type followable struct {
	context.Context
	begins func()
	ceased *atomic.Bool
}

func (f followable) AfterFunc(func()) (stop func() bool) {
	f.begins()
	return func() bool { return !f.ceased.Swap(true) }
}

func TestCallThatEndsWhileItBeginsToFollowItsSenderLetsGoOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", slow(time.Hour, 1))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		sender := followable{noCancel{ctx}, func() { d.Close() }, new(atomic.Bool)}
		c := sendFrom(sender, t, d)
		<-c.Done()
		if !sender.ceased.Load() {
			t.Error("the call still follows its sender")
		}
		time.Sleep(2 * time.Hour)
	})
}

// noCancel hides from package context that a context is its own.
type noCancel struct{ context.Context }

func (c noCancel) Value(any) any { return nil }

func TestDeadlineInFarFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", slow(10*time.Second, 1))
		produce(t, d, "b", slow(10*time.Second, 1))
		ctx, cancel := context.WithDeadline(t.Context(), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
		defer cancel()
		c := sendFrom(ctx, t, d, dispatch.WithTimeout(math.MaxInt64), dispatch.WithStagger(time.Second))
		<-c.Done()
		expect(t, c.Report(), "all ended: a ok, b ok")
	})
}

// tricky is a context whose methods call something first.
type tricky struct {
	context.Context
	deadline, done, err, value func()
}

func call(f func()) {
	if f != nil {
		f()
	}
}

func (c tricky) Deadline() (time.Time, bool) { call(c.deadline); return c.Context.Deadline() }
func (c tricky) Done() <-chan struct{}       { call(c.done); return c.Context.Done() }
func (c tricky) Err() error                  { call(c.err); return c.Context.Err() }
func (c tricky) Value(key any) any           { call(c.value); return c.Context.Value(key) }

// A context that panics in Send, where a server such as net/http recovers, takes with it neither a
// place nor a call.
func TestContextThatPanicsInSendLeavesNothing(t *testing.T) {
	after := func(n int) func() {
		return func() {
			if n--; n < 0 {
				panic("tricky")
			}
		}
	}
	for name, change := range map[string]func(*tricky){
		"Deadline":    func(c *tricky) { c.deadline = after(0) },
		"Done":        func(c *tricky) { c.done = after(0) },
		"second Done": func(c *tricky) { c.done = after(1) },
		"Err":         func(c *tricky) { c.err = after(0) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithMaxInFlight(1), dispatch.WithTimeout(time.Second))
				produce(t, d, "a", quick(1))
				produce(t, d, "b", quick(1))
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				func() {
					defer func() {
						if recover() == nil {
							t.Error("Send has not panicked")
						}
					}()
					c := tricky{Context: ctx}
					change(&c)
					_, _ = d.Send(c, ask, 0)
				}()
				time.Sleep(time.Hour)
				if _, err := d.Send(ctx, ask, 0, dispatch.WithNoWait()); err != nil {
					t.Errorf("the next Send: %v", err)
				}
				time.Sleep(time.Hour)
				ctx, cancel = context.WithTimeout(ctx, time.Hour)
				defer cancel()
				if err := d.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
			})
		})
	}
}

func TestContextThatPanicsAfterTheWaitForAPlaceLeavesNoPlace(t *testing.T) {
	for name, unwind := range map[string]func(){"panic": func() { panic("tricky") }, "Goexit": runtime.Goexit} {
		bubble(t, name, func(t *testing.T) {
			d, _ := newDispatcher(dispatch.WithMaxInFlight(1))
			produce(t, d, "a", slow(time.Second, 1))
			send(t, d)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var released, returned atomic.Bool
			go func() {
				defer func() { _ = recover() }()
				_, _ = d.Send(tricky{Context: ctx, value: func() {
					if released.Load() {
						unwind()
					}
				}}, ask, 0)
				returned.Store(true)
			}()
			synctest.Wait()
			released.Store(true)
			time.Sleep(time.Minute)
			if returned.Load() {
				t.Error("Send has returned")
			}
			if _, err := d.Send(ctx, ask, 0, dispatch.WithNoWait()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A worker reads the sender's values for the labels of its goroutine. They may panic once the sender is done
// with them.
func TestContextWhoseValuesPanicLater(t *testing.T) {
	for _, cancelable := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher()
			produce(t, d, "a", slow(time.Second, 1))
			var released atomic.Bool
			panics := func() {
				if released.Load() {
					panic("used after release")
				}
			}
			ctx := tricky{Context: context.Background(), done: panics, err: panics, value: panics}
			if cancelable {
				var cancel context.CancelFunc
				ctx.Context, cancel = context.WithCancel(context.Background())
				defer cancel()
			}
			c := sendFrom(ctx, t, d)
			released.Store(true)
			<-c.Done()
			if err := d.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestProducersThatLeaveAreMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		a := produce(t, d, "a", quick(1))
		b := produce(t, d, "b", quick(1))
		c := send(t, d, dispatch.WithMinProducers(3))
		synctest.Wait()
		if n := d.Bus().Snapshot().Calls[0].WaitsFor; n != 1 {
			t.Errorf("the call waits for %d producers, want 1", n)
		}
		a.Remove()
		b.Remove()
		if n := d.Bus().Snapshot().Calls[0].WaitsFor; n != 3 {
			t.Errorf("the call waits for %d producers, want 3", n)
		}
		<-c.Done()
		if err := c.Report().Err(); !errors.Is(err, dispatch.ErrTooFewProducers) || !strings.Contains(err.Error(), "0 registered") {
			t.Errorf("the error is %v, but no producer is registered", err)
		}
	})
}

// That there are no producers counts more than that the sender's context has ended.
func TestNoProducersForASenderThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errBroken)
		r := sendFrom(ctx, t, d).Report()
		if err := r.Err(); r.Reason != dispatch.ReasonNoProducers || !errors.Is(err, dispatch.ErrNoProducers) || errors.Is(err, errBroken) {
			t.Errorf("%v: %v", r.Reason, err)
		}
	})
}
