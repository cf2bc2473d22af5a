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

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestListenerThatUnwindsLosesOneCallback(t *testing.T) {
	for name, unwind := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher()
				for i := range 4 {
					produce(t, d, fmt.Sprint("p", i), slow(time.Duration(i)*time.Second, i))
				}
				quiet := keepDiary(t, d)
				var loud notes
				listen(t, d, func(_ context.Context, r result) {
					loud.add("result %v=%d", r.From, r.Value)
					if r.Value != 2 {
						unwind()
					}
				}, dispatch.OnOutcome(func(o dispatch.Outcome) {
					loud.add("outcome %v %v", o.Member, o.State)
					if o.Member.Name != "p1" {
						unwind()
					}
				}), dispatch.OnDone(func(r dispatch.Report) {
					loud.add("done %v", r.Reason)
					unwind()
				}))
				expect(t, ended(t, d), "all ended: p0 ok, p1 ok, p2 ok, p3 ok")
				synctest.Wait() // what two calls tell has no order
				expect(t, ended(t, d, dispatch.WithTimeout(1500*time.Millisecond)), "deadline: p0 ok, p1 ok, p2 late, p3 late")
				synctest.Wait()
				if len(quiet.all()) != 9+7 {
					t.Errorf("the other listener was told %q", quiet.all())
				}
				if diff := cmp.Diff(quiet.all(), loud.all()); diff != "" {
					t.Errorf("more than the callback was lost (-without +with %s):\n%s", name, diff)
				}
				what := map[string]string{"panic": "ERROR listener panicked", "Goexit": "ERROR listener called runtime.Goexit"}[name]
				if got := logged.count(what); got != (3+3+1)+(2+3+1) {
					t.Errorf("logged %d times %q, want each of the 13 callbacks that unwound", got, what)
				}
			})
		})
	}
}

func TestBlockedListenerHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithSlowListener(2 * time.Second))
		release := make(chan struct{})
		produce(t, d, "a", quick(1))
		produce(t, d, "b", quick(2))
		if _, err := d.AddListener(ask, func(context.Context, result) { <-release }, dispatch.WithName("blocked")); err != nil {
			t.Fatal(err)
		}
		diary := keepDiary(t, d)
		elsewhere := 0
		if _, err := d.AddProducer(other, quick(3)); err != nil {
			t.Fatal(err)
		}
		if _, err := d.AddListener(other, func(context.Context, result) { elsewhere++ }); err != nil {
			t.Fatal(err)
		}

		for range 3 {
			r := ended(t, d)
			expect(t, r, "all ended: a ok, b ok")
			if r.Elapsed != 0 {
				t.Errorf("the listener held the call up for %v", r.Elapsed)
			}
			if _, err := d.Gather(context.Background(), other, 0); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if got := diary.count(""); got != 3*5 {
			t.Errorf("the other listener was told %d things of 15: %q", got, diary.all())
		}
		if elsewhere != 3 {
			t.Errorf("the listener on the other topic got %d results of 3", elsewhere)
		}

		time.Sleep(2*time.Second - time.Nanosecond)
		synctest.Wait()
		logged.nothing(t)
		time.Sleep(time.Hour)
		synctest.Wait()
		if lines := logged.all(); len(lines) != 1 || !strings.Contains(lines[0], "WARN listener is slow") ||
			!strings.Contains(lines[0], "blocked") || !strings.Contains(lines[0], "listener_test.go:") {
			t.Errorf("logged %q, want one warning that says which listener and where it was added", lines)
		}

		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var still *dispatch.ShutdownError
		if err := d.Shutdown(ctx); !errors.As(err, &still) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Shutdown = %v, want a ShutdownError", err)
		}
		if diff := cmp.Diff([]string{"blocked"}, still.Listeners); diff != "" {
			t.Errorf("ShutdownError.Listeners (-want +got):\n%s", diff)
		}
		close(release)
	})
}

// Under WithParallelism a listener must not take the place of a member either.
// The members of this call end one after another, so that the goroutines that
// ran them are there to be misused.
func TestBlockedListenerTakesNoPlaceOfAMember(t *testing.T) {
	for n := 1; n <= 5; n++ {
		t.Run(fmt.Sprint("parallelism=", n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const waves, perWave = 4, 5
				d, _ := newDispatcher()
				release := make(chan struct{})
				var started atomic.Int32
				var gates [waves + 1]chan struct{}
				for i := range gates {
					gates[i] = make(chan struct{})
				}
				var left [waves]atomic.Int32
				for w := range waves {
					for range perWave {
						d.AddProducer(ask, func(context.Context, int) (int, error) {
							started.Add(1)
							if left[w].Add(1) == int32(min(n, perWave)) {
								close(gates[w])
							}
							<-gates[w]
							return 0, nil
						})
					}
				}
				for range 10 {
					d.AddProducer(ask, func(ctx context.Context, _ int) (int, error) {
						started.Add(1)
						<-ctx.Done()
						return 0, nil
					})
				}
				listen(t, d, func(context.Context, result) { <-release })
				c := send(t, d, dispatch.WithParallelism(n))
				synctest.Wait()
				if got, want := started.Load(), int32(waves*perWave+n); got != want {
					t.Errorf("%d members were started while a listener blocks, want %d", got, want)
				}
				<-c.Done()
				close(release)
			})
		})
	}
}

func TestListenerMaySendToItsOwnTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1024
		d, _ := newDispatcher()
		if _, err := d.AddProducer(ask, func(_ context.Context, req int) (int, error) { return req, nil }); err != nil {
			t.Fatal(err)
		}
		heard := make([]int, n+1)
		ends := 0
		listen(t, d, func(ctx context.Context, r result) {
			heard[r.Value]++
			if r.Value == 0 {
				for i := range n {
					if _, err := d.Send(ctx, ask, i+1); err != nil {
						t.Errorf("Send %d: %v", i, err)
					}
				}
			}
		}, dispatch.OnDone(func(dispatch.Report) { ends++ }))
		send(t, d)
		synctest.Wait()
		for v, times := range heard {
			if times != 1 {
				t.Errorf("result %d came %d times", v, times)
			}
		}
		if ends != n+1 {
			t.Errorf("OnDone was called %d times, want %d", ends, n+1)
		}
	})
}

// The sender waits for the end of its call with the mutex held that the listener
// needs. A blocked mutex would stop virtual time, so this one runs in real time.
func TestListenerAndSenderMayShareAMutex(t *testing.T) {
	const calls, producers = 200, 3
	d, logged := newDispatcher(dispatch.WithSlowListener(time.Hour), dispatch.WithTimeout(time.Hour))
	for i := range producers {
		produce(t, d, fmt.Sprint("p", i), quick(i))
	}
	var mu sync.Mutex
	var heard atomic.Int32
	listen(t, d, func(context.Context, result) {
		mu.Lock()
		defer mu.Unlock()
		heard.Add(1)
	})
	var senders sync.WaitGroup
	for range 2 {
		senders.Go(func() {
			for range calls / 2 {
				mu.Lock()
				if values, err := d.Gather(context.Background(), ask, 0); err != nil || len(values) != producers {
					t.Errorf("Gather: %v, %v", values, err)
				}
				mu.Unlock()
			}
		})
	}
	senders.Wait()
	if err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if got := heard.Load(); got != calls*producers {
		t.Errorf("the listener got %d results, want %d", got, calls*producers)
	}
	logged.nothing(t)
}

func TestHooksThatMisbehaveHoldUpNothing(t *testing.T) {
	for name, do := range map[string]func(release <-chan struct{}){
		"panics": func(<-chan struct{}) { panic("hook") },
		"exits":  func(<-chan struct{}) { runtime.Goexit() },
		"blocks": func(release <-chan struct{}) { <-release },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				d, logged := newDispatcher(dispatch.WithTimeout(time.Second))
				produce(t, d, "a", quick(1))
				produce(t, d, "late", func(context.Context, int) (int, error) {
					time.Sleep(1050 * time.Millisecond)
					return 2, nil
				})
				listen(t, d, ignore, dispatch.OnOutcome(func(dispatch.Outcome) { do(release) }))
				listen(t, d, ignore, dispatch.OnDone(func(dispatch.Report) { do(release) }))
				d.OnLate(func(result, time.Duration) { do(release) })
				diary := keepDiary(t, d)
				var late notes
				d.OnLate(func(r result, by time.Duration) { late.add("%v by %v", r.From, by) })

				for range 3 {
					r := ended(t, d)
					expect(t, r, "deadline: a ok, late late")
					if r.Elapsed != time.Second {
						t.Errorf("a hook held the call up until %v", r.Elapsed)
					}
					time.Sleep(time.Second)
					synctest.Wait()
				}
				if got := diary.count(""); got != 3*4 {
					t.Errorf("the other listener was told %q", diary.all())
				}
				if got := late.count("late by 50ms"); got != 3 {
					t.Errorf("the other OnLate was told %q", late.all())
				}
				close(release)
				synctest.Wait()
				if name == "panics" {
					// Two outcomes, one end and one late result a call.
					if got := logged.count("ERROR listener panicked"); got != 3*4 || logged.count("TestHooksThatMisbehaveHoldUpNothing") != 3 {
						t.Errorf("logged %d panics, want 12, and one stack for each registration", got)
					}
				}
			})
		})
	}
}

// A callback that blocks is told, once, also while others of a concurrent listener go on.
func TestBlockedCallbackOfAConcurrentListenerIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithSlowListener(2 * time.Second))
		produce(t, d, "a", func(_ context.Context, req int) (int, error) { return req, nil })
		release, heard, meanwhile := make(chan struct{}), 0, time.Duration(0)
		listen(t, d, func(_ context.Context, r result) {
			switch heard++; heard {
			case 2:
				<-release
			case 41:
				time.Sleep(time.Minute)
			case 30:
				meanwhile = d.Bus().Snapshot().Topics[0].Listeners[0].Waiting
			}
		}, dispatch.WithConcurrency(2))
		for range 40 {
			ended(t, d)
			synctest.Wait()
			time.Sleep(100 * time.Millisecond)
		}
		equal(t, "heard", heard, 40)
		if n := len(logged.all()); n != 1 {
			t.Errorf("logged %d times that the listener is slow, want once: %q", n, logged.all())
		}
		waiting := d.Bus().Snapshot().Topics[0].Listeners[0].Waiting
		equal(t, "what waits longest has waited for", waiting, 3900*time.Millisecond)
		equal(t, "during another callback", meanwhile, 2800*time.Millisecond)
		close(release)
		synctest.Wait()
		equal(t, "afterwards", d.Bus().Snapshot().Topics[0].Listeners[0].Waiting, 0)
		time.Sleep(time.Hour)
		ended(t, d)
		time.Sleep(time.Hour)
		synctest.Wait()
		equal(t, "lines", len(logged.all()), 1) // although it was slow again
	})
}

// The largest mailbox drops nothing.
func TestLargestMailbox(t *testing.T) {
	for _, overflow := range []dispatch.Overflow{dispatch.DropOldest, dispatch.DropNewest} {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher()
			addStream(t, d, "a", yielding(1, 2, 3, 4, 5))
			var heard atomic.Int32
			listen(t, d, func(context.Context, result) { heard.Add(1) },
				dispatch.WithMailbox(math.MaxInt, overflow), dispatch.WithConcurrency(math.MaxInt))
			ended(t, d)
			synctest.Wait()
			if heard.Load() != 5 {
				t.Errorf("%d results were heard, want 5", heard.Load())
			}
		})
	}
}

// A result that waits behind a hook makes the listener slow, also if the listener was not called
// with a result before the hook.
func TestResultThatWaitsBehindAHookIsSlow(t *testing.T) {
	for name, opts := range map[string][]dispatch.ListenerOption{
		"plain": nil, "bounded": {dispatch.WithMailbox(100, dispatch.DropOldest)}, "concurrent": {dispatch.WithConcurrency(2)},
	} {
		for _, hook := range []string{"OnOutcome", "OnDone"} {
			t.Run(name+" "+hook, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, logged := newDispatcher(dispatch.WithSlowListener(2 * time.Second))
					release := make(chan struct{})
					fails := true
					produce(t, d, "a", func(context.Context, int) (int, error) {
						if fails {
							return 0, errBroken
						}
						return 1, nil
					})
					wait := dispatch.OnDone(func(dispatch.Report) { <-release })
					if hook == "OnOutcome" {
						wait = dispatch.OnOutcome(func(dispatch.Outcome) { <-release })
					}
					listen(t, d, ignore, append(opts, wait)...)
					ended(t, d)
					synctest.Wait()
					time.Sleep(time.Second)
					if s := d.Bus().Snapshot().Topics[0].Listeners[0]; s.Waiting < 999*time.Millisecond {
						t.Errorf("the oldest event of the listener waits for %v, want 1s", s.Waiting)
					}
					fails = false
					ended(t, d)
					time.Sleep(time.Minute)
					if n := logged.count("listener is slow"); n != 1 {
						t.Errorf("a result has waited for a minute, and the listener is logged %d times: %q", n, logged.all())
					}
					close(release)
				})
			})
		}
	}
}

// An observer that blocks is slow in any of its hooks.
func TestObserverThatBlocksWithoutResultsIsSlow(t *testing.T) {
	for name, hooks := range map[string]func(block func()) dispatch.Observer{
		"MemberEnd": func(block func()) dispatch.Observer {
			return dispatch.Observer{MemberEnd: func(context.Context, dispatch.MemberInfo, dispatch.Outcome) { block() }}
		},
		"CallEnd": func(block func()) dispatch.Observer {
			return dispatch.Observer{CallEnd: func(context.Context, dispatch.Report) { block() }}
		},
		"CallEnd after MemberEnd": func(block func()) dispatch.Observer {
			return dispatch.Observer{
				MemberEnd: func(context.Context, dispatch.MemberInfo, dispatch.Outcome) {},
				CallEnd:   func(context.Context, dispatch.Report) { block() },
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				d, logged := newDispatcher(dispatch.WithSlowListener(2*time.Second), dispatch.WithObserver(hooks(func() { <-release })))
				produce(t, d, "a", failing(errBroken))
				for range 3 {
					ended(t, d)
				}
				time.Sleep(time.Minute)
				if n := logged.count("observer is slow"); n != 1 {
					t.Errorf("the observer is logged %d times: %q", n, logged.all())
				}
				close(release)
			})
		})
	}
}
