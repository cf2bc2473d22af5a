package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
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

// The tests of this file carry the numbers of the list of faults that the core
// has to survive. What each of them wants is what that list promises.

func TestFault01ProducerError(t *testing.T) {
	for name, fault := range map[string]error{
		"sentinel": fs.ErrNotExist,
		"wrapped":  fmt.Errorf("reading: %w", fs.ErrNotExist),
		"typed":    &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist},
		"joined":   errors.Join(errors.New("first"), fs.ErrNotExist),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher()
				produce(t, d, "a", slow(time.Second, 1))
				produce(t, d, "b", failing(fault))
				produce(t, d, "c", slow(2*time.Second, 3))
				diary := keepDiary(t, d)

				r := ended(t, d)
				synctest.Wait()

				expect(t, r, "all ended: a ok, b failed, c ok")
				o := outcomeOf(t, r, "b")
				if o.Err != fault || !o.Started || o.Results != 0 || o.Elapsed != 0 {
					t.Errorf("outcome is %+v, want the producer's own error at once", o)
				}
				if err := r.Err(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "b failed: "+strings.ReplaceAll(fault.Error(), "\n", `\n`)) {
					t.Errorf("Report.Err() = %v, want it to lead to the error and its producer", err)
				}
				var path *fs.PathError
				if want := errors.As(fault, &path); errors.As(r.Err(), &path) != want {
					t.Errorf("errors.As finds a PathError: %v, want %v", !want, want)
				}
				want := []string{"outcome b failed", "result a=1", "outcome a ok", "result c=3", "outcome c ok", "done all ended"}
				if diff := cmp.Diff(want, diary.all()); diff != "" {
					t.Errorf("listener (-want +got):\n%s", diff)
				}
				logged.nothing(t)
			})
		})
	}
}

func TestFault02ProducerPanics(t *testing.T) {
	fault := &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}
	for name, value := range map[string]any{"string": "boom", "nil": nil, "error": fault, "struct": struct{ X int }{7}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher()
				asked := 0
				produce(t, d, "a", quick(1))
				produce(t, d, "b", func(context.Context, int) (int, error) {
					asked++
					panic(value)
				})
				produce(t, d, "c", quick(3))

				r := ended(t, d)
				expect(t, r, "all ended: a ok, b panicked, c ok")
				o := outcomeOf(t, r, "b")
				var caught *dispatch.PanicError
				if !errors.As(o.Err, &caught) || !o.Started {
					t.Fatalf("outcome is %+v, want a PanicError of a producer that was started", o)
				}
				if value == nil {
					if _, ok := caught.Value.(*runtime.PanicNilError); !ok {
						t.Errorf("value is %v, want a PanicNilError", caught.Value)
					}
				} else if caught.Value != value {
					t.Errorf("value is %v, want %v", caught.Value, value)
				}
				if !bytes.Contains(caught.Stack, []byte("TestFault02ProducerPanics.")) {
					t.Errorf("the stack does not name the closure:\n%s", caught.Stack)
				}
				if want := value == any(fault); errors.Is(r.Err(), fs.ErrNotExist) != want {
					t.Errorf("errors.Is reaches the value: %v, want %v", !want, want)
				}

				expect(t, ended(t, d), "all ended: a ok, b panicked, c ok")
				if asked != 2 {
					t.Errorf("asked %d times in two calls", asked)
				}
				synctest.Wait()
				if got := logged.count("ERROR producer panicked"); got != 2 || logged.count("TestFault02ProducerPanics.") != 1 {
					t.Errorf("logged %d panics, want both, and the stack of the first", got)
				}
			})
		})
	}
}

func TestFault03Goexit(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 100} {
		for _, opts := range [][]dispatch.CallOption{nil, {dispatch.WithParallelism(1)}, {dispatch.WithParallelism(2)}, {dispatch.WithStall(time.Second)}} {
			for who, leaves := range map[string]func(i int) bool{
				"first":  func(i int) bool { return i == 0 },
				"middle": func(i int) bool { return i == n/2 },
				"last":   func(i int) bool { return i == n-1 },
				"all":    func(int) bool { return true },
				"most":   func(i int) bool { return i%3 != 1 },
			} {
				t.Run(fmt.Sprintf("n=%d/%v/%s", n, opts, who), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						d, _ := newDispatcher()
						var want []string
						for i := range n {
							name := fmt.Sprint("p", i)
							if leaves(i) {
								produce(t, d, name, exiting)
								want = append(want, name+" failed")
							} else {
								produce(t, d, name, quick(i))
								want = append(want, name+" ok")
							}
						}
						diary := keepDiary(t, d)

						r := ended(t, d, opts...)
						synctest.Wait()

						expect(t, r, "all ended: "+strings.Join(want, ", "))
						if r.Elapsed != 0 {
							t.Errorf("the call took %v, want no wait for the deadline", r.Elapsed)
						}
						for i, o := range r.Outcomes {
							if leaves(i) && !(errors.Is(o.Err, dispatch.ErrGoexit) && o.Started) {
								t.Errorf("outcome %+v, want ErrGoexit of one that was started", o)
							}
						}
						if got := diary.count("outcome"); got != n || diary.count("done") != 1 {
							t.Errorf("listener was told of %d members of %d: %q", got, n, diary.all())
						}
					})
				})
			}
		}
	}
}

// A producer that ended its goroutine is asked again like any other.
func TestFault03GoexitLeavesTheNextCallAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		asked := 0
		produce(t, d, "a", func(context.Context, int) (int, error) {
			if asked++; asked == 1 {
				runtime.Goexit()
			}
			return 1, nil
		}, dispatch.WithConcurrency(1))
		expect(t, ended(t, d), "all ended: a failed")
		expect(t, ended(t, d), "all ended: a ok")
	})
}

func TestFault04DeafProducer(t *testing.T) {
	// What a run may take to return before it counts as abandoned.
	const patience = 100 * time.Millisecond

	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithTimeout(time.Second), dispatch.WithMaxAbandoned(2))
		release := make(chan struct{})
		asked := 0
		produce(t, d, "deaf", func(ctx context.Context, req int) (int, error) {
			asked++
			<-release
			return 0, nil
		})
		produce(t, d, "b", quick(2))
		abandoned := func() (n int) {
			snapshot := d.Bus().Snapshot()
			for _, p := range snapshot.Topics[0].Producers {
				n += p.Abandoned
			}
			if n != len(snapshot.Abandoned) {
				t.Errorf("the snapshot shows %d abandoned runs and counts %d", len(snapshot.Abandoned), n)
			}
			return n
		}

		for i := range 2 {
			r := ended(t, d)
			expect(t, r, "deadline: deaf late, b ok")
			if o := outcomeOf(t, r, "deaf"); r.Elapsed != time.Second || !o.Started || o.Elapsed != time.Second || !errors.Is(o.Err, context.DeadlineExceeded) {
				t.Errorf("call took %v, outcome is %+v, want both to end at the deadline", r.Elapsed, o)
			}
			time.Sleep(patience - time.Nanosecond)
			synctest.Wait()
			if got := abandoned(); got != i {
				t.Errorf("%d abandoned before the run had its chance to return, want %d", got, i)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if got := abandoned(); got != i+1 {
				t.Errorf("%d abandoned, want %d", got, i+1)
			}
			if got := logged.count("WARN producer outlived its call"); got != i+1 {
				t.Errorf("logged %d times, want %d", got, i+1)
			}
		}

		r := ended(t, d)
		expect(t, r, "all ended: deaf rejected, b ok")
		if o := outcomeOf(t, r, "deaf"); !errors.Is(o.Err, dispatch.ErrStuck) || o.Started || r.Elapsed != 0 || asked != 2 {
			t.Errorf("outcome is %+v after %v, asked %d times, want ErrStuck at once and no third run", o, r.Elapsed, asked)
		}
		if r := ended(t, d, dispatch.WithFailFast()); r.Reason != dispatch.ReasonFailedFast {
			t.Errorf("to be rejected is a failure, but the call ended as %s", told(r))
		}

		// One run returns: there is room for one more.
		release <- struct{}{}
		synctest.Wait()
		if got := abandoned(); got != 1 {
			t.Errorf("%d abandoned after one returned, want 1", got)
		}
		expect(t, ended(t, d), "deadline: deaf late, b ok")
		time.Sleep(patience)
		synctest.Wait()
		expect(t, ended(t, d), "all ended: deaf rejected, b ok")

		// All return: nothing is held against the producer.
		close(release)
		synctest.Wait()
		if got := abandoned(); got != 0 {
			t.Errorf("%d abandoned after all returned, want none", got)
		}
		expect(t, ended(t, d), "all ended: deaf ok, b ok")
		time.Sleep(patience)
		synctest.Wait()
		if got := logged.count(""); got != 3 {
			t.Errorf("logged %q, want one line for each run that was abandoned", logged.all())
		}
	})
}

// A run that returns soon after the end of its call is no cause for alarm,
// whatever ended the call, and even when two ends coincide.
func TestFault04PromptProducerIsNotAbandoned(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			d, logged := newDispatcher(dispatch.WithMaxAbandoned(1))
			produce(t, d, "a", func(ctx context.Context, _ int) (int, error) {
				<-ctx.Done()
				time.Sleep(50 * time.Millisecond) // tidies up
				return 0, ctx.Err()
			})
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(time.Second, cancel)
			c := sendFrom(ctx, t, d, dispatch.WithTimeout(time.Second))
			<-c.Done()
			time.Sleep(time.Second)
			synctest.Wait()
			logged.nothing(t)
		})
	}
}

// A slot of WithConcurrency is not given back by the call's end, but by the run.
func TestFault04DeafProducerKeepsItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		release := make(chan struct{})
		var running, most atomic.Int32
		produce(t, d, "deaf", func(context.Context, int) (int, error) {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			<-release
			return 1, nil
		}, dispatch.WithConcurrency(1))
		expect(t, ended(t, d), "deadline: deaf late")
		r := ended(t, d)
		expect(t, r, "deadline: deaf late")
		if outcomeOf(t, r, "deaf").Started {
			t.Error("the second run was started beside the first")
		}
		close(release)
		synctest.Wait()
		expect(t, ended(t, d), "all ended: deaf ok")
		if got := most.Load(); got != 1 {
			t.Errorf("%d runs at once", got)
		}
	})
}

func TestFault05ResultAtTheDeadline(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			const n = 3
			d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
			for i := range n {
				produce(t, d, fmt.Sprint("p", i), func(context.Context, int) (int, error) {
					time.Sleep(time.Second)
					return i, nil
				})
			}
			var heard, read, late notes
			listen(t, d, func(_ context.Context, r result) { heard.add("%v", r.From) })
			d.OnLate(func(r result, by time.Duration) {
				late.add("%v", r.From)
				if by != 0 {
					t.Errorf("late by %v", by)
				}
			})
			c := send(t, d)
			for r := range c.Results() {
				read.add("%v", r.From)
			}
			r := c.Report()
			synctest.Wait()

			for _, o := range r.Outcomes {
				in := 0
				switch o.State {
				case dispatch.StateOK:
					in = 1
				case dispatch.StateLate:
				default:
					t.Errorf("outcome %+v, want it either ok or late", o)
				}
				name := o.Member.Name
				if heard.count(name) != in || read.count(name) != in || late.count(name) != 1-in {
					t.Errorf("%v is %v, but heard %d, read %d, late %d times", name, o.State, heard.count(name), read.count(name), late.count(name))
				}
			}
			if diff := cmp.Diff(heard.all(), read.all()); diff != "" {
				t.Errorf("listener and reader disagree:\n%s", diff)
			}
			if r.Complete() != (r.Reason == dispatch.ReasonAllEnded) {
				t.Errorf("report contradicts itself: %s", told(r))
			}
		})
	}
}

func TestFault06LateResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		produce(t, d, "late", func(context.Context, int) (int, error) {
			time.Sleep(1500 * time.Millisecond)
			return 1, nil
		})
		produce(t, d, "later", func(context.Context, int) (int, error) {
			time.Sleep(3 * time.Second)
			return 2, nil
		})
		produce(t, d, "failing late", func(context.Context, int) (int, error) {
			time.Sleep(2 * time.Second)
			return 3, errors.New("no result")
		})
		produce(t, d, "panicking late", func(context.Context, int) (int, error) {
			time.Sleep(2 * time.Second)
			panic("no result")
		})
		produce(t, d, "in time", quick(5))
		diary := keepDiary(t, d)
		var late notes
		d.OnLate(func(r result, by time.Duration) {
			late.add("%v=%d by %v after %v seq %d call %v", r.From, r.Value, by, r.Elapsed, r.Seq, r.Call.ID())
		})
		c := send(t, d)
		<-c.Done()
		before := c.Report()
		time.Sleep(5 * time.Second)
		synctest.Wait()

		want := []string{
			fmt.Sprintf("late=1 by 500ms after 1.5s seq -1 call %v", c.ID()),
			fmt.Sprintf("later=2 by 2s after 3s seq -1 call %v", c.ID()),
		}
		if diff := cmp.Diff(want, late.all()); diff != "" {
			t.Errorf("OnLate (-want +got):\n%s", diff)
		}
		expect(t, c.Report(), "deadline: late late, later late, failing late late, panicking late late, in time ok")
		sameReport(t, before, c.Report())
		for r := range c.Results() {
			if r.From.Name != "in time" {
				t.Errorf("reader got %v", r.From)
			}
		}
		if diary.count("result") != 1 || diary.count("outcome") != 5 || diary.count("done") != 1 {
			t.Errorf("listener was told %q", diary.all())
		}
	})
}

// A late value is kept by nobody, however long the call is held.
func TestFault06LateValueIsCollectable(t *testing.T) {
	type big struct{ _ [1 << 12]byte }
	topic := dispatch.NewTopic[int, *big]("kit.big")
	// The producer that is late ends the call itself, so that it is late by
	// nothing: the results of a quick one are recorded in another way.
	for name, end := range map[string]func(*dispatch.Dispatcher[int, *big]){
		"by an instant": func(d *dispatch.Dispatcher[int, *big]) { d.Close() },
		"by a second":   func(*dispatch.Dispatcher[int, *big]) { time.Sleep(2 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			for round := range 30 {
				synctest.Test(t, func(t *testing.T) {
					d := dispatch.New[int, *big](dispatch.WithTimeout(time.Second), dispatch.WithLogger(slog.New(slog.DiscardHandler)))
					var late weak.Pointer[big]
					hooked := 0
					d.OnLate(func(dispatch.Result[int, *big], time.Duration) { hooked++ })
					for i := range 4 {
						if _, err := d.AddProducer(topic, func(context.Context, int) (*big, error) {
							if i != round%4 {
								return nil, nil
							}
							end(d)
							v := new(big)
							late = weak.Make(v)
							return v, nil
						}); err != nil {
							t.Fatal(err)
						}
					}
					c, err := d.Send(context.Background(), topic, 0)
					if err != nil {
						t.Fatal(err)
					}
					<-c.Done()
					time.Sleep(5 * time.Second)
					synctest.Wait()
					runtime.GC()
					if late.Value() != nil {
						t.Error("the late value is still there")
					}
					if want := map[bool]int{false: 0, true: 1}[name == "by a second"]; hooked != want {
						t.Errorf("OnLate was called %d times, want %d", hooked, want)
					}
					runtime.KeepAlive(c)
				})
			}
		})
	}
}

func TestFault07ListenerUnwinds(t *testing.T) {
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

func TestFault08BlockedListener(t *testing.T) {
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
			!strings.Contains(lines[0], "blocked") || !strings.Contains(lines[0], "faults_test.go:") {
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
func TestFault08BlockedListenerTakesNoPlaceOfAMember(t *testing.T) {
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

func TestFault09Reentrancy(t *testing.T) {
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

func TestFault09ListenerSendsToItsOwnTopic(t *testing.T) {
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
func TestFault09ListenerAndSenderShareAMutex(t *testing.T) {
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

func TestFault09SelfRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		var p, l *dispatch.Registration
		asked := 0
		p = produce(t, d, "a", func(context.Context, int) (int, error) {
			asked++
			p.Remove()
			return 1, nil
		})
		produce(t, d, "b", quick(2))
		var heard notes
		l = listen(t, d, func(_ context.Context, r result) {
			heard.add("result")
			l.Remove()
		}, dispatch.OnOutcome(func(dispatch.Outcome) { heard.add("outcome") }), dispatch.OnDone(func(dispatch.Report) { heard.add("done") }))

		// It was asked before it left, and its answer counts.
		expect(t, ended(t, d), "all ended: a ok, b ok")
		expect(t, ended(t, d), "all ended: b ok")
		synctest.Wait()
		if asked != 1 {
			t.Errorf("the producer was asked %d times", asked)
		}
		if diff := cmp.Diff([]string{"result"}, heard.all()); diff != "" {
			t.Errorf("listener (-want +got):\n%s", diff)
		}
	})
}

func TestFault09ProducerClosesTheBus(t *testing.T) {
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

func TestFault10EndlessRecursion(t *testing.T) {
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
// topics, and through Send alone is recursion, too.
func TestFault10RecursionIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		var runs atomic.Int32
		hop := func(to dispatch.Topic[int, int]) producer {
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
		produce(t, d, "a", hop(other))
		if _, err := d.AddProducer(other, hop(ask), dispatch.WithName("b")); err != nil {
			t.Fatal(err)
		}
		r := ended(t, d)
		if !errors.Is(r.Err(), dispatch.ErrTooDeep) || runs.Load() != 65 {
			t.Errorf("after %d runs: %v, want ErrTooDeep after 65", runs.Load(), r.Err())
		}
	})
}

func TestFault10SerialProducerAsksItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(10 * time.Second))
		runs := 0
		var inner dispatch.Report
		produce(t, d, "a", func(ctx context.Context, req int) (int, error) {
			runs++
			c, err := d.Send(ctx, ask, req+1, dispatch.WithTimeout(time.Second))
			if err != nil {
				return 0, err
			}
			<-c.Done()
			inner = c.Report()
			return 1, nil
		}, dispatch.WithConcurrency(1))
		r := ended(t, d)
		expect(t, r, "all ended: a ok")
		expect(t, inner, "deadline: a late")
		if o := outcomeOf(t, inner, "a"); o.Started || inner.Elapsed != time.Second {
			t.Errorf("inner outcome %+v after %v, want it not started by the deadline", o, inner.Elapsed)
		}
		synctest.Wait()
		if runs != 1 {
			t.Errorf("%d runs", runs)
		}
	})
}

func TestFault12CloseAndShutdown(t *testing.T) {
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

func TestFault16NoProducers(t *testing.T) {
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
			t.Errorf("all ended: %v, error: %v, want an error that says there is nobody", r.Complete(), r.Err())
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

func TestFault17EndsThatRace(t *testing.T) {
	const (
		byCancel = 1 << iota
		byContext
		byDeadline
		byLastResult
		byQuorum
		byStall
		byClose
		all
	)
	reasons := map[int]dispatch.Reason{
		byCancel: dispatch.ReasonCanceled, byContext: dispatch.ReasonCanceled, byDeadline: dispatch.ReasonDeadline,
		byLastResult: dispatch.ReasonAllEnded, byQuorum: dispatch.ReasonSatisfied, byStall: dispatch.ReasonStalled, byClose: dispatch.ReasonClosed,
	}
	for ends := 1; ends < all; ends++ {
		for range 5 {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher()
				opts := []dispatch.CallOption{dispatch.WithTimeout(time.Hour)}
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				at := func(end int, f func()) {
					if ends&end != 0 {
						time.AfterFunc(time.Second, f)
					}
				}
				if ends&byDeadline != 0 {
					opts = append(opts, dispatch.WithTimeout(time.Second))
				}
				if ends&byQuorum != 0 {
					opts = append(opts, dispatch.WithQuorum(2))
				}
				if ends&byStall != 0 {
					opts = append(opts, dispatch.WithStall(time.Second))
				}
				// The first gives a result at once, for the stall to begin. The
				// last never does, unless its result is one of the ends.
				produce(t, d, "a", quick(1))
				produce(t, d, "b", slow(map[bool]time.Duration{false: time.Hour, true: time.Second}[ends&(byLastResult|byQuorum) != 0], 2))
				if ends&byLastResult == 0 {
					produce(t, d, "c", patient)
				}
				diary := keepDiary(t, d)
				c := sendFrom(ctx, t, d, opts...)
				at(byCancel, func() { c.Cancel(errors.New("enough")) })
				at(byContext, cancel)
				at(byClose, func() { d.Close() })
				if err := c.Wait(context.Background()); err != nil {
					t.Errorf("Wait: %v", err)
				}
				first := c.Report()
				time.Sleep(time.Second)
				synctest.Wait()

				sameReport(t, first, c.Report())
				if first.Elapsed != time.Second {
					t.Errorf("the call took %v", first.Elapsed)
				}
				possible := false
				for end, reason := range reasons {
					possible = possible || ends&end != 0 && reason == first.Reason
				}
				if !possible {
					t.Errorf("ends %b: the reason is %v", ends, first.Reason)
				}
				if n := len(first.Outcomes); diary.count("done") != 1 || diary.count("outcome") != n {
					t.Errorf("listener was told %q of %d members", diary.all(), n)
				}
				for _, o := range first.Outcomes {
					if (o.State == dispatch.StateLate) != (first.Reason == dispatch.ReasonDeadline && o.State != dispatch.StateOK) {
						t.Errorf("%s", told(first))
					}
				}
				logged.nothing(t)
			})
			if t.Failed() {
				return
			}
		}
	}
}

// sameReport fails the test unless both reports say the same.
func sameReport(t testing.TB, a, b dispatch.Report) {
	t.Helper()
	plain := func(r dispatch.Report) string {
		errs := make([]string, len(r.Outcomes))
		for i, o := range r.Outcomes {
			errs[i] = fmt.Sprint(o.Err)
		}
		return fmt.Sprintf("%+v %q %v", r, errs, r.Err())
	}
	if diff := cmp.Diff(plain(a), plain(b)); diff != "" {
		t.Errorf("the report has changed:\n%s", diff)
	}
}

func TestFault21HugeResults(t *testing.T) {
	t.Run("one copy for all listeners", func(t *testing.T) {
		type huge [1 << 16]byte
		const producers, listeners = 8, 100
		topic := dispatch.NewTopic[int, huge]("kit.huge")
		synctest.Test(t, func(t *testing.T) {
			d := dispatch.New[int, huge](dispatch.WithLogger(slog.New(slog.DiscardHandler)))
			release := make(chan struct{})
			for range producers {
				if _, err := d.AddProducer(topic, func(context.Context, int) (v huge, err error) { return v, nil }); err != nil {
					t.Fatal(err)
				}
			}
			var heard atomic.Int32
			for range listeners {
				if _, err := d.AddListener(topic, func(context.Context, dispatch.Result[int, huge]) {
					heard.Add(1)
					<-release
				}); err != nil {
					t.Fatal(err)
				}
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c, err := d.Send(context.Background(), topic, 0)
			if err != nil {
				t.Fatal(err)
			}
			<-c.Done()
			synctest.Wait()
			close(release)
			synctest.Wait()
			runtime.ReadMemStats(&after)
			if got := heard.Load(); got != producers*listeners {
				t.Errorf("%d results delivered", got)
			}
			// Results wait for each listener. One slab of 8 values is 512 KiB;
			// a copy for each listener would be 51 MB.
			if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
				t.Errorf("%d bytes allocated", got)
			}
		})
	})
	t.Run("kept by nobody", func(t *testing.T) {
		type big struct{ _ [1 << 12]byte }
		topic := dispatch.NewTopic[*big, *big]("kit.big")
		synctest.Test(t, func(t *testing.T) {
			const n = 20
			d := dispatch.New[*big, *big](dispatch.WithLogger(slog.New(slog.DiscardHandler)))
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var values [n]weak.Pointer[big]
			for i := range n {
				if _, err := d.AddProducer(topic, func(context.Context, *big) (*big, error) {
					v := new(big)
					values[i] = weak.Make(v)
					return v, nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if _, err := d.AddListener(topic, func(context.Context, dispatch.Result[*big, *big]) { time.Sleep(time.Second) }); err != nil {
					t.Fatal(err)
				}
			}
			d.OnLate(func(dispatch.Result[*big, *big], time.Duration) {})
			// In a function of its own, so that nothing is left on our stack.
			request := func() weak.Pointer[big] {
				req := new(big)
				c, err := d.Send(ctx, topic, req)
				if err != nil {
					t.Fatal(err)
				}
				for range c.Results() {
				}
				return weak.Make(req)
			}()
			time.Sleep(time.Hour)
			synctest.Wait()
			runtime.GC()
			for i, v := range values {
				if v.Value() != nil {
					t.Errorf("result %d is still there", i)
				}
			}
			if request.Value() != nil {
				t.Error("the request is still there")
			}
			runtime.KeepAlive(d)
		})
	})
}

func TestFault22Readers(t *testing.T) {
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
			t.Errorf("the call took %v, so somebody waited for a reader", got)
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

// unruly is a slog.Handler that does as it is told with each record.
type unruly struct {
	journal
	do func()
}

func (u *unruly) WithAttrs([]slog.Attr) slog.Handler { return u }
func (u *unruly) WithGroup(string) slog.Handler      { return u }
func (u *unruly) Handle(ctx context.Context, r slog.Record) error {
	u.journal.Handle(ctx, r)
	u.do()
	return nil
}

func TestFault25UnrulyLogger(t *testing.T) {
	for name, do := range map[string]func(){
		"panics": func() { panic("logger") },
		"exits":  runtime.Goexit,
		"slow":   func() { time.Sleep(time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const calls = 5
				handler := &unruly{do: do}
				d := dispatch.New[int, int](dispatch.WithLogger(slog.New(handler)))
				produce(t, d, "a", panicking("boom"))
				produce(t, d, "b", quick(2))
				listen(t, d, func(context.Context, result) { panic("boom") })
				for range calls {
					r := ended(t, d)
					expect(t, r, "all ended: a panicked, b ok")
					if r.Elapsed != 0 {
						t.Errorf("the logger held the call up for %v", r.Elapsed)
					}
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				if got := handler.count("panicked"); got != 2*calls || got != len(handler.all()) {
					t.Errorf("%d records of %d", got, 2*calls)
				}
				if err := d.Shutdown(context.Background()); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
			})
		})
	}
}

// A logger that blocks for ever holds up nobody, and what it is not told does not
// fill the memory.
func TestFault25BlockedLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 5000
		release := make(chan struct{})
		handler := &unruly{do: func() { <-release }}
		d := dispatch.New[int, int](dispatch.WithLogger(slog.New(handler)))
		produce(t, d, "a", panicking("boom"))
		for range calls {
			if r := ended(t, d); r.Elapsed != 0 {
				t.Fatalf("the logger held the call up for %v", r.Elapsed)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		began := time.Now()
		if err := d.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("Shutdown took %v", took)
		}
		close(release)
		synctest.Wait()
		if got := len(handler.all()); got == 0 || got == calls {
			t.Errorf("%d of %d records were kept for the logger, want some but not all", got, calls)
		}
	})
}

func TestFault25UnrulyHooks(t *testing.T) {
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
					if got := logged.count("ERROR listener panicked"); got != 3*4 || logged.count("TestFault25UnrulyHooks") != 3 {
						t.Errorf("logged %d panics, want 12, and one stack for each registration", got)
					}
				}
			})
		})
	}
}

// heavy is an error that refers to much.
type heavy struct{ _ [1 << 20]byte }

func (*heavy) Error() string { return "heavy" }

// The bus keeps the text of a producer's last error, and not the error.
func TestLastErrorIsKeptAsText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		var errs apiEvents[weak.Pointer[heavy]]
		fail := func(context.Context, int) (int, error) {
			err := new(heavy)
			errs.add(weak.Make(err))
			return 0, fmt.Errorf("too much: %w", err)
		}
		produce(t, d, "a", fail)
		produce(t, d, "b", fail, dispatch.WithGroup("g"))
		addRelay(t, d, "r", func(ctx context.Context, _ int, _ roster) error { _, err := fail(ctx, 0); return err })
		addRelay(t, d, "s", func(ctx context.Context, _ int, to roster) error {
			_, err := fail(ctx, 0)
			to.Name(far("x"))
			to.End(far("x"), err)
			return nil
		})
		send(t, d)
		synctest.Wait()
		for _, p := range d.Bus().Snapshot().Topics[0].Producers {
			if p.Name != "s" && (p.Failed != 1 || p.LastError != "too much: heavy") {
				t.Errorf("%s has failed %d times: %q", p.Name, p.Failed, p.LastError)
			}
		}
		time.Sleep(time.Minute) // a timer that is stopped may hold its call until it would have gone off
		synctest.Wait()
		runtime.GC()
		for i, err := range errs.take() {
			if err.Value() != nil {
				t.Errorf("error %d is still reachable", i)
			}
		}
		runtime.KeepAlive(d)
	})
}
