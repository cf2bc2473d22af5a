package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// A chain of listeners that send with their contexts keeps no call, and does not make
// looking for a value slower with each step.
func TestChainOfListenersKeepsNoCall(t *testing.T) {
	type key struct{}
	type absent struct{}
	for name, derive := range map[string]func(context.Context) context.Context{
		"as it is": func(ctx context.Context) context.Context { return ctx },
		"with a value of each step": func(ctx context.Context) context.Context {
			return context.WithValue(ctx, new(int), 1)
		},
		"with a deadline of each step": func(ctx context.Context) context.Context {
			ctx, cancel := context.WithTimeout(ctx, time.Hour)
			context.AfterFunc(ctx, cancel)
			return ctx
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const steps = 1000
				d := quiet[int, *big]()
				topic := dispatch.NewTopic[int, *big]("kit.chain")
				must(d.AddProducer(topic, func(context.Context, int) (*big, error) { return new(big), nil }))
				var calls []weak.Pointer[dispatch.Call[int, *big]]
				var values []weak.Pointer[big]
				var last context.Context
				must(d.AddListener(topic, func(ctx context.Context, r dispatch.Result[int, *big]) {
					calls, values = append(calls, weak.Make(r.Call)), append(values, weak.Make(r.Value))
					if last = ctx; r.Call.Request() < steps {
						must(d.Send(derive(ctx), topic, r.Call.Request()+1))
					}
				}))
				must(d.Send(context.WithValue(t.Context(), key{}, "the first sender's"), topic, 1))
				time.Sleep(2 * time.Hour) // a timer that is stopped may hold its call until it would have gone off
				synctest.Wait()
				runtime.GC()
				kept := 0
				for i := range calls {
					if calls[i].Value() != nil || values[i].Value() != nil {
						kept++
					}
				}
				if kept > 0 || len(calls) != steps {
					t.Errorf("%d calls of %d are still reachable", kept, len(calls))
				}
				if got := last.Value(key{}); got != "the first sender's" {
					t.Errorf("the value of the first sender has become %v", got)
				}
				if last.Value(absent{}) != nil {
					t.Error("there is a value that was never set")
				}
			})
		})
	}
}

// What a chain adds to the way to the sender's values does not grow with it: after many
// steps the context is as few frames deep as after one.
func TestChainOfListenersMakesNoChainOfContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		var depths []int
		listen(t, d, func(ctx context.Context, r result) {
			if req := r.Call.Request(); req < 299 {
				must(d.Send(ctx, ask, req+1))
			}
			ctx.Value(depthKey{&depths})
		})
		sendFrom(measuring{t.Context()}, t, d)
		synctest.Wait()
		if len(depths) != 300 || slices.Max(depths) > slices.Max(depths[:10]) {
			t.Errorf("looking for a value takes %v frames", depths)
		}
	})
}

// depthKey asks a measuring context how deep it is called.
type depthKey struct{ depths *[]int }

type measuring struct{ context.Context }

func (m measuring) Value(key any) any {
	if k, ok := key.(depthKey); ok {
		*k.depths = append(*k.depths, runtime.Callers(0, make([]uintptr, 10_000)))
		return nil
	}
	return m.Context.Value(key)
}

func TestProducerContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		d, _ := newDispatcher(dispatch.WithTimeout(3 * time.Second))
		check := func(want time.Duration) producer {
			return func(ctx context.Context, _ int) (int, error) {
				if at, ok := ctx.Deadline(); !ok || time.Until(at) != want {
					t.Errorf("Deadline is in %v, %v, want %v", time.Until(at), ok, want)
				}
				if got := ctx.Value(key{}); got != "the sender's" {
					t.Errorf("Value = %v", got)
				}
				if got := ctx.Value("unknown"); got != nil {
					t.Errorf("Value of an unknown key = %v", got)
				}
				return 1, nil
			}
		}
		sender := context.WithValue(context.Background(), key{}, "the sender's")
		soon, cancel := context.WithTimeout(sender, 2*time.Second)
		defer cancel()
		for _, test := range []struct {
			ctx  context.Context
			opts []dispatch.CallOption
			want time.Duration
		}{
			{sender, nil, 3 * time.Second},
			{sender, []dispatch.CallOption{dispatch.WithTimeout(time.Second)}, time.Second},
			{sender, []dispatch.CallOption{dispatch.WithTimeout(time.Minute)}, time.Minute},
			{soon, nil, 2 * time.Second},
			{soon, []dispatch.CallOption{dispatch.WithTimeout(time.Second)}, time.Second},
			{soon, []dispatch.CallOption{dispatch.WithTimeout(time.Minute)}, 2 * time.Second},
		} {
			p := produce(t, d, "a", check(test.want))
			if _, err := d.Gather(test.ctx, ask, 0, test.opts...); err != nil {
				t.Error(err)
			}
			p.Remove()
		}
	})
}

// A producer that does not look at its context gets none made, but one that does
// has to find it whenever it looks, from many goroutines at once.
func TestProducerContextFromManyGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		var told atomic.Int32
		const members, each = 4, 8
		for i := range members {
			produce(t, d, fmt.Sprint(i), func(ctx context.Context, _ int) (int, error) {
				var all sync.WaitGroup
				for range each {
					all.Go(func() {
						<-ctx.Done()
						if context.Cause(ctx) == context.DeadlineExceeded && ctx.Err() == context.DeadlineExceeded {
							told.Add(1)
						}
					})
				}
				all.Wait()
				return 0, nil
			})
		}
		<-send(t, d).Done()
		synctest.Wait()
		if got := told.Load(); got != members*each {
			t.Errorf("%d of %d goroutines were told", got, members*each)
		}
	})
}

func TestCallFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(10 * time.Second))
		if info, ok := dispatch.CallFrom(context.Background()); ok || info != (dispatch.CallInfo{}) {
			t.Errorf("CallFrom(Background) = %+v, %v", info, ok)
		}
		var infos, derived []dispatch.CallInfo
		look := func(ctx context.Context) {
			info, ok := dispatch.CallFrom(ctx)
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			again, okAgain := dispatch.CallFrom(context.WithoutCancel(ctx))
			if !ok || !okAgain {
				t.Errorf("CallFrom finds a call: %v, in a derived context: %v", ok, okAgain)
			}
			infos, derived = append(infos, info), append(derived, again)
		}
		produce(t, d, "outer", func(ctx context.Context, _ int) (int, error) {
			look(ctx)
			time.Sleep(time.Second)
			look(ctx)
			_, err := d.Gather(ctx, other, 0)
			return 1, err
		})
		if _, err := d.AddProducer(other, func(ctx context.Context, _ int) (int, error) {
			look(ctx)
			return 2, nil
		}, dispatch.WithName("inner")); err != nil {
			t.Fatal(err)
		}
		listen(t, d, func(ctx context.Context, _ result) { look(ctx) })
		c := send(t, d)
		<-c.Done()
		synctest.Wait()
		outer := dispatch.Member{Name: "outer"}
		want := []dispatch.CallInfo{
			{Topic: ask.Name(), ID: c.ID(), Member: outer, Budget: 10 * time.Second},
			{Topic: ask.Name(), ID: c.ID(), Member: outer, Budget: 9 * time.Second},
			{Topic: other.Name(), ID: c.ID() + 1, Member: dispatch.Member{Name: "inner"}, Budget: 9 * time.Second},
			{Topic: ask.Name(), ID: c.ID(), Budget: 9 * time.Second},
		}
		if diff := cmp.Diff(want, infos); diff != "" {
			t.Errorf("CallFrom (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, derived); diff != "" {
			t.Errorf("in derived contexts (-want +got):\n%s", diff)
		}
	})
}

func TestNestedCallEndsWithItsParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		if _, err := d.AddProducer(other, patient, dispatch.WithName("inner")); err != nil {
			t.Fatal(err)
		}
		inner := make(chan dispatch.Report, 1)
		produce(t, d, "outer", func(ctx context.Context, req int) (int, error) {
			c, err := d.Send(ctx, other, 0, dispatch.WithTimeout(time.Hour))
			if err != nil {
				return 0, err
			}
			<-c.Done()
			inner <- c.Report()
			return 0, ctx.Err()
		})
		for name, test := range map[string]struct {
			opts  []dispatch.CallOption
			end   func(*inFlight)
			want  string
			after time.Duration
			cause error
		}{
			"deadline": {nil, func(*inFlight) {}, "deadline: inner late", 5 * time.Second, context.DeadlineExceeded},
			"its own":  {[]dispatch.CallOption{dispatch.WithTimeout(2 * time.Second)}, func(*inFlight) {}, "deadline: inner late", 2 * time.Second, context.DeadlineExceeded},
			"canceled": {nil, func(c *inFlight) { c.Cancel(errBroken) }, "canceled: inner canceled", time.Second, errBroken},
		} {
			c := send(t, d, test.opts...)
			time.AfterFunc(time.Second, func() { test.end(c) })
			r := <-inner
			expect(t, r, test.want)
			if r.Elapsed != test.after || !errors.Is(r.Outcomes[0].Err, test.cause) {
				t.Errorf("%s: it took %v, outcome %+v", name, r.Elapsed, r.Outcomes[0])
			}
		}
	})
}

// A call sent from a listener has the depth of the listener's call: that is how
// chains of thousands are no recursion.
func TestListenersSendWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 2000
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		var depth atomic.Int32
		listen(t, d, func(ctx context.Context, r result) {
			depth.Add(1)
			if req := r.Call.Request(); req < n {
				if _, err := d.Send(ctx, ask, req+1); err != nil {
					t.Errorf("Send %d: %v", req+1, err)
				}
			}
		})
		send(t, d)
		synctest.Wait()
		if got := depth.Load(); got != n+1 {
			t.Errorf("%d calls of %d", got, n+1)
		}
	})
}

// A listener may take longer than the call and the sender last: its context has
// the sender's values and no end.
func TestListenerContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		produce(t, d, "a", quick(1))
		checked := false
		listen(t, d, func(ctx context.Context, r result) {
			time.Sleep(time.Minute)
			if ctx.Value(key{}) != "the sender's" {
				t.Errorf("Value = %v", ctx.Value(key{}))
			}
			if at, ok := ctx.Deadline(); ok || ctx.Done() != nil || ctx.Err() != nil || context.Cause(ctx) != nil {
				t.Errorf("it has an end: %v, %v, %v", at, ctx.Err(), context.Cause(ctx))
			}
			derived, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if derived.Err() != nil {
				t.Errorf("a context derived from it has ended: %v", derived.Err())
			}
			if info, ok := dispatch.CallFrom(ctx); !ok || info.Budget != 0 || info.ID != r.Call.ID() || info.Member != (dispatch.Member{}) {
				t.Errorf("CallFrom = %+v, %v, want no budget left", info, ok)
			}
			checked = true
		})
		ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), key{}, "the sender's"), 10*time.Second)
		defer cancel()
		<-sendFrom(ctx, t, d).Done()
		cancel()
		time.Sleep(time.Hour)
		synctest.Wait()
		if !checked {
			t.Error("the listener was not called")
		}
	})
}

// A call that is sent from a producer ends with the producer's own call, and after it.
// So a producer that passes on the error of such a call is late, and has not failed.
func TestNestedCallsEndAfterTheirParents(t *testing.T) {
	for range 300 {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
			must(d.AddProducer(other, patient, dispatch.WithName("inner")))
			produce(t, d, "outer", func(ctx context.Context, _ int) (int, error) {
				return d.First(ctx, other, 0)
			})
			produce(t, d, "derived", func(ctx context.Context, _ int) (int, error) {
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				return d.First(ctx, other, 0)
			})
			began := time.Now()
			expect(t, ended(t, d), "deadline: outer late, derived late")
			if took := time.Since(began); took != time.Second {
				t.Errorf("it took %v, want a second", took)
			}
		})
	}
	// It knows what it has waited for.
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		var inner error
		produce(t, d, "outer", func(ctx context.Context, _ int) (int, error) {
			_, inner = d.First(ctx, other, 0, dispatch.WithMinProducers(1))
			return 0, inner
		})
		expect(t, ended(t, d), "deadline: outer late")
		synctest.Wait()
		if !errors.Is(inner, dispatch.ErrTooFewProducers) {
			t.Errorf("the inner call: %v, want ErrTooFewProducers", inner)
		}
	})
	// A shorter time of its own counts.
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(2 * time.Second))
		must(d.AddProducer(other, patient, dispatch.WithName("inner")))
		produce(t, d, "option", func(ctx context.Context, _ int) (int, error) {
			return d.First(ctx, other, 0, dispatch.WithTimeout(time.Second))
		})
		produce(t, d, "context", func(ctx context.Context, _ int) (int, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return d.First(ctx, other, 0)
		})
		r := ended(t, d)
		expect(t, r, "all ended: option failed, context failed")
		if r.Elapsed != time.Second {
			t.Errorf("it took %v, want a second", r.Elapsed)
		}
	})
}

// endless is a context with a deadline that does not end.
type endless struct{ context.Context }

func (endless) Deadline() (time.Time, bool) { return time.Now().Add(time.Second), true }

// A nested call does not rely on a context that says when it ends, and then does not.
func TestNestedCallUnderAContextThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
		must(d.AddProducer(other, patient, dispatch.WithName("inner")))
		produce(t, d, "outer", func(ctx context.Context, _ int) (int, error) { return d.First(endless{ctx}, other, 0) })
		r := ended(t, d)
		expect(t, r, "all ended: outer failed")
		if r.Elapsed < time.Second || r.Elapsed > 2*time.Second {
			t.Errorf("it took %v, want about a second", r.Elapsed)
		}
	})
}

// What a producer has left behind may look at its context for the first time when the
// call is long over.
func TestContextMayBeUsedForTheFirstTimeAfterTheEnd(t *testing.T) {
	type key struct{}
	for name, use := range map[string]func(*testing.T, context.Context){
		"Err": func(t *testing.T, ctx context.Context) {
			if ctx.Err() != context.Canceled {
				t.Errorf("Err is %v", ctx.Err())
			}
		},
		"Done": func(t *testing.T, ctx context.Context) {
			select {
			case <-ctx.Done():
			default:
				t.Error("Done is open")
			}
		},
		"Value": func(t *testing.T, ctx context.Context) {
			if v := ctx.Value(key{}); v != 1 {
				t.Errorf("Value is %v", v)
			}
		},
		"Cause": func(t *testing.T, ctx context.Context) {
			if err := context.Cause(ctx); err != context.Canceled {
				t.Errorf("Cause is %v", err)
			}
		},
		"CallFrom": func(t *testing.T, ctx context.Context) {
			if info, ok := dispatch.CallFrom(ctx); !ok || info.Topic != ask.Name() {
				t.Errorf("CallFrom finds %+v, %t", info, ok)
			}
		},
		"derived": func(t *testing.T, ctx context.Context) {
			derived, cancel := context.WithCancel(ctx)
			defer cancel()
			if derived.Err() != context.Canceled {
				t.Errorf("Err of a derived context is %v", derived.Err())
			}
		},
	} {
		for kind, opts := range map[string][]dispatch.ProducerOption{"plain": nil, "replica": {dispatch.WithGroup("g")}} {
			t.Run(kind+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, logged := newDispatcher()
					left := make(chan context.Context, 2)
					for _, name := range []string{"a", "b"} {
						produce(t, d, name, func(ctx context.Context, _ int) (int, error) {
							left <- ctx
							return 1, nil
						}, opts...)
					}
					<-sendFrom(context.WithValue(t.Context(), key{}, 1), t, d).Done()
					synctest.Wait()
					use(t, <-left)
					logged.nothing(t)
				})
			})
		}
	}
}

func TestProducerWithTheLongestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		p := func(ctx context.Context, _ int) (int, error) {
			if at, _ := ctx.Deadline(); time.Until(at) != 900*time.Millisecond || ctx.Err() != nil {
				t.Errorf("the deadline is in %v, error %v", time.Until(at), ctx.Err())
			}
			return 1, nil
		}
		produce(t, d, "wait", slow(100*time.Millisecond, 1))
		produce(t, d, "a", p, dispatch.WithTimeout(math.MaxInt64))
		produce(t, d, "b", p, dispatch.WithTimeout(math.MaxInt64), dispatch.WithGroup("g"))
		ended(t, d, dispatch.WithTimeout(time.Second), dispatch.WithParallelism(1))
	})
}

// A context that outlives its producer ends with the call, and not at the timeout of the producer,
// whether or not the producer has used it.
func TestContextOfAProducerThatHasReturned(t *testing.T) {
	for _, used := range []bool{false, true} {
		bubble(t, fmt.Sprint("used ", used), func(t *testing.T) {
			d, _ := newDispatcher()
			var n notes
			produce(t, d, "a", func(ctx context.Context, _ int) (int, error) {
				if used {
					_ = ctx.Done()
				}
				began := time.Now()
				go func() {
					time.Sleep(2 * time.Second)
					n.add("%v: %v", time.Since(began), ctx.Err())
					<-ctx.Done()
					n.add("%v: %v", time.Since(began), ctx.Err())
				}()
				time.Sleep(time.Second / 2)
				return 1, nil
			}, dispatch.WithTimeout(time.Second))
			produce(t, d, "b", slow(5*time.Second, 1))
			ended(t, d, dispatch.WithTimeout(time.Minute))
			synctest.Wait()
			wantLines(t, n.all(), "2s: <nil>", "5s: context canceled")
		})
	}
}

// Tools print contexts, for example mocks their arguments. The race detector would find what is read without a lock.
func TestContextsSayWhoseTheyAre(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		var printed events[string]
		prints := func(ctx context.Context) {
			for range 4 {
				printed.add(fmt.Sprintf("%v", ctx))
				time.Sleep(time.Second)
			}
		}
		asked := func(ctx context.Context, _ int) (int, error) { prints(ctx); return 1, nil }
		produce(t, d, "plain", asked)
		produce(t, d, "timeout", asked, dispatch.WithTimeout(time.Second/2))
		produce(t, d, "replica", asked, dispatch.WithGroup("g"))
		produce(t, d, "quick", quick(1))
		addRelay(t, d, "relay", func(ctx context.Context, _ int, _ roster) error { prints(ctx); return nil })
		listen(t, d, func(ctx context.Context, _ result) { prints(ctx) })
		ended(t, d)
		time.Sleep(time.Minute)
		texts := printed.all()
		slices.Sort(texts)
		want := []string{"listeners", "plain", "relay", "replica", "timeout"}
		for i, who := range want {
			want[i] = fmt.Sprintf("dispatch: context of %s, call 1 of %s", who, ask)
		}
		if got := slices.Compact(slices.Clone(texts)); len(texts) != 4*len(want) || !slices.Equal(got, want) {
			t.Errorf("printed %d texts: %q, want %q", len(texts), got, want)
		}
	})
}

// To look at its context costs a replica what it costs a plain producer: the context that they share is made,
// and no second one for the replica.
func TestAReplicaThatLooksAtItsContextCostsNoMore(t *testing.T) {
	type key struct{}
	look := func(ctx context.Context, req int) (int, error) { ctx.Value(key{}); return req, nil }
	costs := func(replicas int) (more float64) {
		var allocs [2]float64
		for i, p := range []producer{quick(1), look} {
			d := quiet[int, int]()
			for k := range max(replicas, 1) {
				var opts []dispatch.ProducerOption
				if replicas > 0 {
					opts = append(opts, dispatch.WithGroup("g"))
				}
				produce(t, d, fmt.Sprint("p", k), p, opts...)
			}
			allocs[i] = testing.AllocsPerRun(100, func() { must(d.Gather(context.Background(), ask, 1)) })
		}
		return allocs[1] - allocs[0]
	}
	plain := costs(0)
	for _, replicas := range []int{1, 2} {
		if more := costs(replicas); more > plain+1 { // one more, by chance
			t.Errorf("with %d replicas it costs %v allocations, and %v if the producer is plain", replicas, more, plain)
		}
	}
}
