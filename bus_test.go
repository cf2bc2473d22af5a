package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
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

// Shutdown refuses what is new and finishes what was accepted, to the last
// callback.
func TestShutdownFinishesWhatWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithTimeout(time.Minute), dispatch.WithSlowListener(time.Minute))
		produce(t, d, "a", slow(time.Second, 1))
		produce(t, d, "b", slow(2*time.Second, 2))
		var heard notes
		listen(t, d, func(_ context.Context, r result) {
			time.Sleep(3 * time.Second)
			heard.add("result %v", r.From)
		}, dispatch.OnDone(func(r dispatch.Report) { heard.add("done %v", r.Reason) }))
		c := send(t, d)
		synctest.Wait()

		began := time.Now()
		over := make(chan error)
		go func() { over <- d.Shutdown(context.Background()) }()
		synctest.Wait()
		refusesAll(t, d)
		if got := d.Bus().Snapshot().State; got != "draining" {
			t.Errorf("state is %q", got)
		}
		if err := <-over; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("Shutdown took %v, want the first result's second and twice the listener's three", took)
		}
		expect(t, c.Report(), "all ended: a ok, b ok")
		if diff := cmp.Diff([]string{"result a", "result b", "done all ended"}, heard.all()); diff != "" {
			t.Errorf("listener (-want +got):\n%s", diff)
		}
		refusesAll(t, d)
		if got := d.Bus().Snapshot().State; got != "closed" {
			t.Errorf("state is %q", got)
		}
		logged.nothing(t)
	})
}

// Work that was accepted may need calls of its own to be finished.
func TestShutdownAcceptsNestedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
		asked := 0
		if _, err := d.AddProducer(other, func(context.Context, int) (int, error) {
			asked++
			time.Sleep(time.Second)
			return 5, nil
		}); err != nil {
			t.Fatal(err)
		}
		produce(t, d, "a", func(ctx context.Context, _ int) (int, error) {
			time.Sleep(time.Second)
			values, err := d.Gather(ctx, other, 0)
			return len(values), err
		})
		var sendErr, outerErr error
		listen(t, d, func(ctx context.Context, r result) {
			time.Sleep(time.Second)
			_, sendErr = d.Send(ctx, other, 0)                   // in the name of the call
			_, outerErr = d.Send(context.Background(), other, 0) // outside of any call
		})
		c := send(t, d)
		synctest.Wait()
		began := time.Now()
		if err := d.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		expect(t, c.Report(), "all ended: a ok")
		if sendErr != nil || !errors.Is(outerErr, dispatch.ErrClosed) {
			t.Errorf("from the listener: %v with its context, %v without", sendErr, outerErr)
		}
		if took := time.Since(began); took != 4*time.Second || asked != 2 {
			t.Errorf("it took %v, the nested calls asked %d times", took, asked)
		}
	})
}

// Work that is handed on from call to listener to the next call is under way at
// every moment; Shutdown must not look away in between. The handing on
// has to be fast for that to be a test, so it runs on real processors.
func TestShutdownCutsNoChain(t *testing.T) {
	const rounds, length = 60, 1000
	for range rounds {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Hour), dispatch.WithSlowListener(time.Hour))
		produce(t, d, "a", quick(1))
		var last atomic.Int32
		var refused atomic.Pointer[error]
		listen(t, d, func(ctx context.Context, r result) {
			req := r.Call.Request()
			last.Store(int32(req))
			if req == length {
				return
			}
			if _, err := d.Send(ctx, ask, req+1); err != nil {
				refused.Store(&err)
			}
		})
		send(t, d)
		var all sync.WaitGroup
		for range 3 { // one would do, three look more often
			all.Go(func() {
				if err := d.Shutdown(context.Background()); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
			})
		}
		all.Wait()
		if err := refused.Load(); err != nil {
			t.Fatalf("the chain of %d was cut at %d: %v", length, last.Load(), *err)
		}
		if got := last.Load(); got != length {
			t.Fatalf("Shutdown returned when the chain of %d was at %d", length, got)
		}
	}
}

func TestShutdownErrorNamesWhatStillRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute), dispatch.WithMaxAbandoned(10))
		release := make(chan struct{})
		produce(t, d, "quick", quick(1))
		produce(t, d, "patient", patient)
		produce(t, d, "deaf", deaf(release, 3))
		listen(t, d, func(context.Context, result) { <-release }, dispatch.WithName("stuck"))
		listen(t, d, ignore, dispatch.WithName("idle"))
		listen(t, d, ignore, dispatch.WithName("stuck too"), dispatch.OnOutcome(func(dispatch.Outcome) { <-release }))
		earlier := send(t, d, dispatch.WithTimeout(time.Second))
		<-earlier.Done()
		var calls []*inFlight
		for range 2 {
			calls = append(calls, send(t, d))
		}
		synctest.Wait()

		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		began := time.Now()
		err := d.Shutdown(ctx)
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("Shutdown took %v", took)
		}
		var still *dispatch.ShutdownError
		if !errors.As(err, &still) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Shutdown: %v, want a ShutdownError", err)
		}
		var ids []dispatch.CallID
		for _, info := range still.Calls {
			if info.Topic != ask.Name() {
				t.Errorf("call %+v", info)
			}
			ids = append(ids, info.ID)
		}
		if diff := cmp.Diff([]dispatch.CallID{calls[0].ID(), calls[1].ID()}, ids); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		var producers []string
		for _, m := range still.Producers {
			producers = append(producers, m.Name)
		}
		slices.Sort(producers)
		// The deaf one runs for all three calls, the patient one for those that go on.
		if diff := cmp.Diff([]string{"deaf", "deaf", "deaf", "patient", "patient"}, producers); diff != "" {
			t.Errorf("producers (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"stuck", "stuck too"}, still.Listeners); diff != "" {
			t.Errorf("listeners (-want +got):\n%s", diff)
		}
		for _, name := range []string{"deaf", "patient", "stuck", ask.Name(), calls[0].ID().String()} {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%q does not say %q", err, name)
			}
		}
		for _, c := range calls {
			expect(t, c.Report(), "closed: quick ok, patient canceled, deaf canceled")
		}
		refusesAll(t, d)
		close(release)
		synctest.Wait()
		if err := d.Shutdown(ctx); err != nil {
			t.Errorf("a second Shutdown, of what has ended meanwhile: %v", err)
		}
	})
}

func TestShutdownOfAnIdleBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		var none context.Context
		if err := d.Shutdown(none); !errors.Is(err, dispatch.ErrInvalidArgument) {
			t.Errorf("Shutdown(nil) = %v", err)
		}
		expect(t, ended(t, d), "all ended: a ok")
		synctest.Wait()
		if err := d.Shutdown(gone); err != nil {
			t.Errorf("Shutdown = %v, although there was nothing to wait for", err)
		}
		refusesAll(t, d)
	})
}

// Shutdown with a context that has ended is Close, with an account.
func TestShutdownWithoutPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		d, _ := newDispatcher()
		produce(t, d, "a", patient)
		c := send(t, d)
		synctest.Wait()
		var still *dispatch.ShutdownError
		if err := d.Shutdown(gone); !errors.As(err, &still) || !errors.Is(err, context.Canceled) || len(still.Calls) != 1 {
			t.Errorf("Shutdown = %v", err)
		}
		expect(t, c.Report(), "closed: a canceled")
	})
}

// After Close nothing starts: not a member that waits for its turn, not one that
// waits for a slot, not a result that waits for its listener, not OnLate. What
// comes yet is the account of the calls that it ended.
func TestCloseLetsNothingBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
		release := make(chan struct{})
		var runs, late atomic.Int32
		count := func(p producer) producer {
			return func(ctx context.Context, req int) (int, error) {
				runs.Add(1)
				return p(ctx, req)
			}
		}
		produce(t, d, "a", count(quick(1)))
		produce(t, d, "b", count(quick(2)))
		produce(t, d, "c", count(deaf(release, 3)))
		produce(t, d, "serial", count(deaf(release, 4)), dispatch.WithConcurrency(1))
		produce(t, d, "e", count(quick(5)))
		d.OnLate(func(result, time.Duration) { late.Add(1) })
		busy := new(notes)
		listen(t, d, func(_ context.Context, r result) {
			busy.add("result %v", r.From)
			<-release
		}, dispatch.OnOutcome(func(o dispatch.Outcome) { busy.add("outcome %v %v", o.Member, o.State) }),
			dispatch.OnDone(func(r dispatch.Report) { busy.add("done %v", r.Reason) }))
		free := keepDiary(t, d)
		// The second call waits for the slot of the first.
		all := send(t, d)
		synctest.Wait()
		second := send(t, d)
		synctest.Wait()
		inTurn := send(t, d, dispatch.WithParallelism(3))
		oneByOne := send(t, d, dispatch.WithStagger(time.Second))
		synctest.Wait()
		ran := runs.Load()

		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		expect(t, all.Report(), "closed: a ok, b ok, c canceled, serial canceled, e ok")
		expect(t, second.Report(), "closed: a ok, b ok, c canceled, serial canceled, e ok")
		expect(t, inTurn.Report(), "closed: a ok, b ok, c canceled, serial canceled, e ok")
		expect(t, oneByOne.Report(), "closed: a ok, b canceled, c canceled, serial canceled, e canceled")
		synctest.Wait()
		if got := free.count("done closed"); got != 4 || free.count("outcome") != 4*5 {
			t.Errorf("a listener that is free was told of %d ends of 4 at once: %q", got, free.all())
		}
		if got := busy.all(); len(got) != 1 {
			t.Errorf("a listener that is busy was told %q", got)
		}
		close(release)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := busy.count("done closed"); got != 4 || busy.count("outcome") != 4*5 || busy.count("result") != 1 {
			t.Errorf("the listener that was busy was told %q, want no further result and the account of each call", busy.all())
		}
		if got := runs.Load(); got != ran {
			t.Errorf("%d runs began after Close", got-ran)
		}
		if got := late.Load(); got != 0 {
			t.Errorf("OnLate was called %d times after Close", got)
		}
		for _, c := range []*inFlight{all, second, inTurn, oneByOne} {
			if started := outcomeOf(t, c.Report(), "serial").Started; started != (c == all) {
				t.Errorf("call %v: the serial producer was started: %v", c.ID(), started)
			}
		}
	})
}

// Close from many places at once, while calls are sent and end by themselves.
func TestCloseInTheMiddleOfEverything(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher()
			for i := range 5 {
				produce(t, d, fmt.Sprint("p", i), quick(i))
			}
			var sent, ends atomic.Int32
			listen(t, d, func(ctx context.Context, r result) {
				if r.Seq == 2 && r.Call.Request() < 3 {
					if _, err := d.Send(ctx, ask, r.Call.Request()+1); err == nil {
						sent.Add(1)
					} else if !errors.Is(err, dispatch.ErrClosed) {
						t.Errorf("nested Send: %v", err)
					}
				}
			}, dispatch.OnDone(func(dispatch.Report) { ends.Add(1) }))
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() {
					for range 50 {
						c, err := d.Send(context.Background(), ask, 0)
						if errors.Is(err, dispatch.ErrClosed) {
							return
						} else if err != nil {
							t.Errorf("Send: %v", err)
							return
						}
						sent.Add(1)
						if err := c.Wait(context.Background()); err != nil {
							t.Errorf("Wait: %v", err)
						}
						if r := c.Report(); r.Reason != dispatch.ReasonAllEnded && r.Reason != dispatch.ReasonClosed {
							t.Errorf("call ended as %v", r.Reason)
						}
					}
				})
			}
			for range 2 {
				all.Go(func() {
					for range 20 {
						runtime.Gosched()
					}
					d.Close()
				})
			}
			all.Wait()
			synctest.Wait()
			if sent, ends := sent.Load(), ends.Load(); sent != ends {
				t.Errorf("%d calls, and OnDone was called %d times", sent, ends)
			}
			refusesAll(t, d)
		})
	}
}

// A bus at rest holds no goroutine and nothing of the calls that were: a hundred
// thousand of them leave no trace. That is about real goroutines and real memory,
// so there is no bubble here.
func TestNothingIsLeftAtRest(t *testing.T) {
	const warmUp = 10_000
	calls := 100_000
	hour := dispatch.WithTimeout(time.Hour)
	background := func() (context.Context, context.CancelFunc) { return context.Background(), func() {} }
	kinds := []struct {
		p    producer
		ctx  func() (context.Context, context.CancelFunc)
		opts []dispatch.CallOption
	}{
		{quick(1), background, nil},
		{failing(errBroken), background, nil},
		{exiting, background, nil},
		{quick(1), func() (context.Context, context.CancelFunc) { return context.WithCancel(context.Background()) }, nil},
		{quick(1), func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), time.Hour)
		}, nil},
		{func(ctx context.Context, _ int) (int, error) {
			derived, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			return 1, derived.Err()
		}, background, []dispatch.CallOption{hour}},
		{patient, background, []dispatch.CallOption{hour, dispatch.WithQuorum(2)}},
		{quick(1), background, []dispatch.CallOption{hour, dispatch.WithParallelism(1), dispatch.WithStall(time.Hour)}},
	}
	d := quiet[int, int](hour)
	var ends atomic.Int64
	topics := make([]dispatch.Topic[int, int], len(kinds))
	for i, kind := range kinds {
		topics[i] = dispatch.NewTopic[int, int](fmt.Sprint("kit.rest.", i))
		for _, p := range []producer{quick(1), kind.p} {
			if _, err := d.AddProducer(topics[i], p); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := dispatch.AnyOf(topics...)
	if _, err := d.AddProducer(all, quick(2), dispatch.WithConcurrency(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.AddListener(all, ignore, dispatch.OnDone(func(dispatch.Report) { ends.Add(1) })); err != nil {
		t.Fatal(err)
	}
	d.OnLate(func(result, time.Duration) {})

	goroutines := runtime.NumGoroutine()
	use := func(n int) (heap uint64) {
		before := ends.Load()
		for i := range n {
			if i%64 == 0 {
				// Registrations come and go, too.
				p, err := d.AddProducer(all, quick(3), dispatch.WithName("passing"))
				if err != nil {
					t.Fatal(err)
				}
				l, err := d.AddListener(all, ignore)
				if err != nil {
					t.Fatal(err)
				}
				p.Remove()
				l.Remove()
			}
			kind := kinds[i%len(kinds)]
			ctx, cancel := kind.ctx()
			c, err := d.Send(ctx, topics[i%len(kinds)], 0, kind.opts...)
			if err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				for range c.Results() {
				}
			}
			<-c.Done()
			cancel()
		}
		eventually(func() bool { return ends.Load() == before+int64(n) && runtime.NumGoroutine() <= goroutines })
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	began := time.Now()
	before := use(warmUp)
	if time.Since(began) > 400*time.Millisecond {
		calls = 30_000 // so slow is it under the race detector
	}
	// Ten bytes a call would show.
	if after := use(calls); after > before+10*uint64(calls) {
		t.Errorf("%d calls have left %d bytes", calls, after-before)
	}
	if s := d.Bus().Snapshot(); len(s.Calls) != 0 || len(s.Abandoned) != 0 || s.Sent != uint64(warmUp+calls) {
		t.Errorf("the snapshot shows %d calls in flight and %d abandoned runs of %d sent", len(s.Calls), len(s.Abandoned), s.Sent)
	}
}

// A bus that is not referred to any more is garbage, closed or not.
func TestBusNeedNotBeClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := func() weak.Pointer[dispatch.Bus] {
			d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
			produce(t, d, "a", quick(1))
			produce(t, d, "b", slow(time.Minute, 1))
			produce(t, d, "c", panicking("boom"))
			keepDiary(t, d)
			<-send(t, d).Done()
			return weak.Make(d.Bus())
		}()
		time.Sleep(time.Hour)
		synctest.Wait()
		runtime.GC()
		if bus.Value() != nil {
			t.Error("the bus is still there")
		}
	})
}

// A bus that drains accepts what its own calls need, and nothing else: neither what comes
// from calls of another bus, nor what comes with a context of a call that is over.
func TestShutdownEndsThoughAnotherBusGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		front, _ := newDispatcher()
		back, _ := newDispatcher()
		var asked, refused atomic.Int32
		produce(t, back, "b", func(context.Context, int) (int, error) { asked.Add(1); time.Sleep(time.Second); return 1, nil })
		produce(t, front, "f", func(ctx context.Context, _ int) (int, error) {
			v, err := back.First(ctx, ask, 0)
			if errors.Is(err, dispatch.ErrClosed) {
				refused.Add(1)
			}
			return v, err
		})
		stop := make(chan struct{})
		for i := range 4 {
			go func() {
				time.Sleep(time.Duration(i) * 250 * time.Millisecond)
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Millisecond):
						front.First(context.Background(), ask, 0)
					}
				}
			}()
		}
		time.Sleep(5 * time.Second)
		asked.Store(0)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		began := time.Now()
		if err := back.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(began); took > time.Second || asked.Load() != 0 || refused.Load() == 0 {
			t.Errorf("Shutdown took %v; %d calls were accepted meanwhile, %d refused", took, asked.Load(), refused.Load())
		}
		close(stop)
		time.Sleep(time.Minute)
	})
}

func TestShutdownRefusesContextsOfEndedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		var ofListener, ofProducer context.Context
		must(d.AddProducer(other, func(ctx context.Context, _ int) (int, error) { ofProducer = context.WithoutCancel(ctx); return 1, nil }))
		r := must(d.AddListener(other, func(ctx context.Context, _ result) { ofListener = ctx }))
		must(d.First(context.Background(), other, 0))
		synctest.Wait()
		r.Remove()
		produce(t, d, "goes on", slow(time.Second, 2))
		send(t, d)
		over := make(chan error)
		go func() { over <- d.Shutdown(context.Background()) }()
		synctest.Wait()
		for whose, ctx := range map[string]context.Context{"listener": ofListener, "producer": ofProducer} {
			if _, err := d.Send(ctx, other, 0); !errors.Is(err, dispatch.ErrClosed) {
				t.Errorf("with the context of a %s whose call is over: %v", whose, err)
			}
		}
		if err := <-over; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

func TestBusMayBeUsedFromAnyCallback(t *testing.T) {
	// What user code may do from anywhere. All of it concerns other topics and
	// registrations than those it is done from.
	operations := map[string]func(t *testing.T, ctx context.Context, d *dispatcher){
		"Send": func(t *testing.T, ctx context.Context, d *dispatcher) {
			if _, err := d.Send(ctx, other, 0); err != nil {
				t.Errorf("Send: %v", err)
			}
		},
		"Gather": func(t *testing.T, ctx context.Context, d *dispatcher) {
			if values, err := d.Gather(ctx, other, 0); err != nil || len(values) != 1 {
				t.Errorf("Gather: %v, %v", values, err)
			}
		},
		"First": func(t *testing.T, ctx context.Context, d *dispatcher) {
			if _, err := d.First(ctx, other, 0); err != nil {
				t.Errorf("First: %v", err)
			}
		},
		"Stream": func(t *testing.T, ctx context.Context, d *dispatcher) {
			for _, err := range d.Stream(ctx, other, 0) {
				if err != nil {
					t.Errorf("Stream: %v", err)
				}
			}
		},
		"Add and Remove": func(t *testing.T, _ context.Context, d *dispatcher) {
			for _, topic := range []dispatch.Topic[int, int]{ask, other} {
				p, err := d.AddProducer(topic, quick(1))
				if err != nil {
					t.Errorf("AddProducer: %v", err)
					return
				}
				p.Remove()
				l, err := d.AddListener(topic, ignore)
				if err != nil {
					t.Errorf("AddListener: %v", err)
					return
				}
				l.Remove()
			}
			d.OnLate(func(result, time.Duration) {}).Remove()
		},
		"Drain": func(t *testing.T, ctx context.Context, d *dispatcher) {
			p, err := d.AddProducer(other, quick(1))
			if err != nil {
				t.Errorf("AddProducer: %v", err)
				return
			}
			l, err := d.AddListener(other, ignore)
			if err != nil {
				t.Errorf("AddListener: %v", err)
				return
			}
			if _, err := d.Send(ctx, other, 0); err != nil {
				t.Errorf("Send: %v", err)
			}
			if err := p.Drain(context.Background()); err != nil {
				t.Errorf("Drain of a producer: %v", err)
			}
			if err := l.Drain(context.Background()); err != nil {
				t.Errorf("Drain of a listener: %v", err)
			}
		},
		"Snapshot": func(t *testing.T, _ context.Context, d *dispatcher) {
			if s := d.Bus().Snapshot(); s.State != "open" {
				t.Errorf("State = %q", s.State)
			}
		},
		"Shutdown": func(t *testing.T, _ context.Context, d *dispatcher) {
			// It waits for the callback that it is called from.
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if err := d.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Shutdown: %v", err)
			}
		},
		"Close": func(t *testing.T, _ context.Context, d *dispatcher) {
			if err := d.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		},
	}
	for where, register := range map[string]func(t *testing.T, d *dispatcher, do func(context.Context)){
		"producer": func(t *testing.T, d *dispatcher, do func(context.Context)) {
			produce(t, d, "user", func(ctx context.Context, _ int) (int, error) {
				do(ctx)
				return 1, nil
			})
		},
		"serial producer": func(t *testing.T, d *dispatcher, do func(context.Context)) {
			produce(t, d, "user", func(ctx context.Context, _ int) (int, error) {
				do(ctx)
				return 1, nil
			}, dispatch.WithConcurrency(1))
		},
		"listener": func(t *testing.T, d *dispatcher, do func(context.Context)) {
			listen(t, d, func(ctx context.Context, _ result) { do(ctx) })
		},
		"OnOutcome": func(t *testing.T, d *dispatcher, do func(context.Context)) {
			listen(t, d, ignore, dispatch.OnOutcome(func(dispatch.Outcome) { do(context.Background()) }))
		},
		"OnDone": func(t *testing.T, d *dispatcher, do func(context.Context)) {
			listen(t, d, ignore, dispatch.OnDone(func(dispatch.Report) { do(context.Background()) }))
		},
		"OnLate": func(t *testing.T, d *dispatcher, do func(context.Context)) {
			d.OnLate(func(r result, _ time.Duration) {
				if r.Call.Topic() == ask {
					do(context.Background())
				}
			})
		},
	} {
		for name, operation := range operations {
			t.Run(where+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, logged := newDispatcher(dispatch.WithTimeout(10 * time.Second))
					began := time.Now()
					var once sync.Once
					done := false
					produce(t, d, "before", quick(1))
					register(t, d, func(ctx context.Context) {
						once.Do(func() {
							operation(t, ctx, d)
							done = true
						})
					})
					produce(t, d, "after", quick(2))
					produce(t, d, "late", func(ctx context.Context, _ int) (int, error) {
						<-ctx.Done()
						return 3, nil
					})
					if _, err := d.AddProducer(other, quick(1)); err != nil {
						t.Fatal(err)
					}
					if _, err := d.AddListener(other, ignore); err != nil {
						t.Fatal(err)
					}
					c := send(t, d, dispatch.WithTimeout(5*time.Second))
					<-c.Done()
					synctest.Wait()
					time.Sleep(time.Second)
					synctest.Wait()
					if !done {
						t.Error("the operation has not come to its end")
					}
					if took := time.Since(began); took > 6*time.Second {
						t.Errorf("all in all it took %v", took)
					}
					logged.nothing(t)
				})
			})
		}
	}
}

func TestProducerMayCloseTheBus(t *testing.T) {
	for n := 1; n <= 4; n++ {
		for who := range n {
			t.Run(fmt.Sprintf("%d of %d", who, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, _ := newDispatcher()
					var cause error
					for i := range n {
						produce(t, d, fmt.Sprint("p", i), func(ctx context.Context, _ int) (int, error) {
							if i != who {
								<-ctx.Done()
								return 0, ctx.Err()
							}
							d.Close()
							cause = context.Cause(ctx)
							return 1, nil
						})
					}
					diary := keepDiary(t, d)
					var late notes
					d.OnLate(func(r result, _ time.Duration) { late.add("%v", r.From) })
					r := ended(t, d)
					synctest.Wait()
					if r.Reason != dispatch.ReasonClosed || r.Elapsed != 0 {
						t.Errorf("call ended as %s after %v", told(r), r.Elapsed)
					}
					for _, o := range r.Outcomes {
						if o.State != dispatch.StateCanceled || !errors.Is(o.Err, dispatch.ErrClosed) {
							t.Errorf("outcome %+v, want it canceled by the end of the bus", o)
						}
					}
					if !errors.Is(cause, dispatch.ErrClosed) {
						t.Errorf("cause is %v, want ErrClosed", cause)
					}
					if diary.count("result") != 0 || diary.count("outcome") != n || diary.count("done closed") != 1 {
						t.Errorf("listener was told %q", diary.all())
					}
					if len(late.all()) != 0 {
						t.Errorf("OnLate was called after Close: %q", late.all())
					}
				})
			})
		}
	}
}

func TestCloseAndShutdownInAnyOrder(t *testing.T) {
	shut := func(d *dispatcher) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return d.Shutdown(ctx)
	}
	stop := func(d *dispatcher) error { return d.Close() }
	concurrently := func(ways ...func(*dispatcher) error) func(*dispatcher) error {
		return func(d *dispatcher) error {
			errs := make([]error, len(ways))
			var all sync.WaitGroup
			for i, way := range ways {
				all.Go(func() { errs[i] = way(d) })
			}
			all.Wait()
			return errors.Join(errs...)
		}
	}
	inTurn := func(ways ...func(*dispatcher) error) func(*dispatcher) error {
		return func(d *dispatcher) (err error) {
			for _, way := range ways {
				err = errors.Join(err, way(d))
			}
			return err
		}
	}
	ways := map[string]func(*dispatcher) error{
		"Close":                          stop,
		"Close, Close":                   inTurn(stop, stop),
		"Close and Close":                concurrently(stop, stop, stop, stop),
		"Shutdown":                       shut,
		"Shutdown, Shutdown":             inTurn(shut, shut),
		"Shutdown and Shutdown":          concurrently(shut, shut, shut),
		"Close, Shutdown":                inTurn(stop, shut),
		"Shutdown, Close":                inTurn(shut, stop),
		"Close and Shutdown":             concurrently(stop, shut, stop, shut),
		"Close and Shutdown, then again": inTurn(concurrently(stop, shut), concurrently(stop, shut)),
	}
	for name, end := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher(dispatch.WithTimeout(time.Minute))
				release := make(chan struct{})
				var causes notes
				produce(t, d, "quick", quick(1))
				produce(t, d, "patient", func(ctx context.Context, _ int) (int, error) {
					<-ctx.Done()
					causes.add("%v", context.Cause(ctx))
					return 0, ctx.Err()
				})
				produce(t, d, "deaf", deaf(release, 3))
				diary := keepDiary(t, d)

				const calls = 5
				var sent [calls]*inFlight
				var waits sync.WaitGroup
				for i := range sent {
					sent[i] = send(t, d)
					waits.Go(func() {
						if err := sent[i].Wait(context.Background()); err != nil {
							t.Errorf("Wait: %v", err)
						}
					})
				}
				synctest.Wait()
				end(d)
				waits.Wait()
				synctest.Wait()

				for _, c := range sent {
					expect(t, c.Report(), "closed: quick ok, patient canceled, deaf canceled")
				}
				if got := causes.all(); len(got) != calls || causes.count(dispatch.ErrClosed.Error()) != calls {
					t.Errorf("causes are %q, want ErrClosed in each call", got)
				}
				if diary.count("done closed") != calls || diary.count("done") != calls || diary.count("outcome") != 3*calls {
					t.Errorf("listener was told %q, want each end once", diary.all())
				}
				refusesAll(t, d)
				close(release)
				synctest.Wait()
				for _, line := range logged.all() {
					// Shutdown gives the deaf one time enough to be noticed.
					if !strings.Contains(line, "outlived") {
						t.Errorf("logged %q", line)
					}
				}
			})
		})
	}
}

// refusesAll checks that a bus that is closed takes nothing new.
func refusesAll(t *testing.T, d *dispatcher) {
	t.Helper()
	ctx := context.Background()
	_, sendErr := d.Send(ctx, ask, 0)
	_, gatherErr := d.Gather(ctx, ask, 0)
	_, firstErr := d.First(ctx, ask, 0)
	_, producerErr := d.AddProducer(ask, quick(1))
	_, listenerErr := d.AddListener(ask, ignore)
	var streamErr error
	for _, err := range d.Stream(ctx, ask, 0) {
		streamErr = err
	}
	for what, err := range map[string]error{
		"Send": sendErr, "Gather": gatherErr, "First": firstErr, "Stream": streamErr,
		"AddProducer": producerErr, "AddListener": listenerErr,
	} {
		if !errors.Is(err, dispatch.ErrClosed) {
			t.Errorf("%s after the end: %v, want ErrClosed", what, err)
		}
	}
}

func TestShutdownErrorUnwrapsToThatOfItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, kind := range map[string]error{"canceled": context.Canceled, "deadline": context.DeadlineExceeded} {
			d, _ := newDispatcher()
			produce(t, d, "a", slow(time.Second, 1))
			send(t, d)
			ctx, cancel := context.WithCancelCause(context.Background())
			cancel(errBroken)
			if name == "deadline" {
				var stop context.CancelFunc
				ctx, stop = context.WithTimeoutCause(context.Background(), time.Millisecond, errBroken)
				defer stop()
			}
			err := d.Shutdown(ctx)
			if !errors.Is(err, kind) {
				t.Errorf("%s: errors.Is(%v, %v) is false, although ctx.Err() is %v", name, err, kind, ctx.Err())
			}
		}
	})
}
