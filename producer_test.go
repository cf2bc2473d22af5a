package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// The tests of this file carry the numbers of the list of faults that the core
// has to survive. What each of them wants is what that list promises.

func TestProducerThatFailsFailsAlone(t *testing.T) {
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

func TestProducerThatPanicsFailsAlone(t *testing.T) {
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
				if !bytes.Contains(caught.Stack, []byte("TestProducerThatPanicsFailsAlone.")) {
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
				if got := logged.count("ERROR producer panicked"); got != 2 || logged.count("TestProducerThatPanicsFailsAlone.") != 1 {
					t.Errorf("logged %d panics, want both, and the stack of the first", got)
				}
			})
		})
	}
}

func TestGoexitEndsOneMember(t *testing.T) {
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
func TestGoexitLeavesTheNextCallAlone(t *testing.T) {
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

func TestRunsThatDoNotReturnAreAbandoned(t *testing.T) {
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
func TestPromptProducerIsNotAbandoned(t *testing.T) {
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

// heavy is an error that refers to much.
type heavy struct{ _ [1 << 20]byte }

func (*heavy) Error() string { return "heavy" }

// The bus keeps the text of a producer's last error, and not the error.
func TestLastErrorIsKeptAsText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		var errs events[weak.Pointer[heavy]]
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

// A panic in a function that Goexit defers is recovered, and the goroutine ends all the same.
func TestPanicDuringGoexitEndsOneMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leave := func() {
			defer func() { panic("boom") }()
			runtime.Goexit()
		}
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
		produce(t, d, "a", func(context.Context, int) (int, error) { leave(); return 0, nil })
		produce(t, d, "b", quick(1))
		addRelay(t, d, "far", func(context.Context, int, *dispatch.Roster[int]) error { leave(); return nil })
		heard := 0
		listen(t, d, func(context.Context, result) { heard++; leave() })
		for range 3 {
			r := ended(t, d)
			expectState(t, r, "a", dispatch.StatePanicked)
			expectState(t, r, "b", dispatch.StateOK)
			if r.Reason != dispatch.ReasonAllEnded {
				t.Errorf("the reason is %v", r.Reason)
			}
		}
		if err := d.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		equal(t, "heard", heard, 3)
	})
}
