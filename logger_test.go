package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A logger that blocks for ever does not keep the bus from shutting down.
func TestBlockedLoggerDoesNotHoldUpShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := dispatch.New[int, int](dispatch.WithLogger(slog.New(&unruly{do: func() { <-release }})))
		produce(t, d, "a", panicking("boom"))
		for range 10 {
			ended(t, d)
		}
		began := time.Now()
		if err := d.Shutdown(context.Background()); err != nil || time.Since(began) != 0 {
			t.Errorf("Shutdown: %v after %v", err, time.Since(began))
		}
		close(release)
	})
}

// The stack of a panic is logged once per registration and minute, and how many there
// were since then with each of the others.
func TestStackOfAPanicIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		produce(t, d, "a", panicking("boom"))
		produce(t, d, "b", panicking("boom"))
		listen(t, d, ignore, dispatch.WithName("l"), dispatch.OnOutcome(func(dispatch.Outcome) { panic("boom") }))
		counts := func() string {
			synctest.Wait()
			lines := logged.take()
			var words []string
			for _, name := range []string{"producer=a", "producer=b", "listener=l"} {
				panics, stacks, since := 0, 0, ""
				for _, line := range lines {
					if !strings.Contains(line, name) {
						continue
					}
					panics++
					if strings.Contains(line, "stack=goroutine") {
						stacks++
					}
					if _, n, ok := strings.Cut(line, "panics_since_stack="); ok {
						since = " " + strings.TrimRight(n, "]")
					}
				}
				words = append(words, fmt.Sprintf("%s %d/%d%s", name, panics, stacks, since))
			}
			return strings.Join(words, ", ")
		}
		for i, want := range []string{
			"producer=a 1/1, producer=b 1/1, listener=l 2/1 1",
			"producer=a 1/0 1, producer=b 1/0 1, listener=l 2/0 3",
			"producer=a 1/0 2, producer=b 1/0 2, listener=l 2/0 5",
		} {
			ended(t, d)
			if got := counts(); got != want {
				t.Errorf("call %d: %s, want %s", i, got, want)
			}
		}
		time.Sleep(time.Minute - time.Nanosecond)
		ended(t, d)
		if got, want := counts(), "producer=a 1/0 3, producer=b 1/0 3, listener=l 2/0 7"; got != want {
			t.Errorf("within the minute: %s, want %s", got, want)
		}
		time.Sleep(time.Nanosecond)
		ended(t, d)
		if got, want := counts(), "producer=a 1/1, producer=b 1/1, listener=l 2/1 1"; got != want {
			t.Errorf("after a minute: %s, want %s", got, want)
		}
	})
}

// A producer that calls Goexit is logged like one that panics, also if its call is over. An error that
// only says so is an error like others.
func TestGoexitOfProducersIsLogged(t *testing.T) {
	lateExit := func(context.Context, int) (int, error) {
		time.Sleep(2 * time.Second)
		return exiting(context.Background(), 0)
	}
	for name, add := range map[string]func(t *testing.T, d *dispatcher){
		"producer": func(t *testing.T, d *dispatcher) { produce(t, d, "x", exiting) },
		"replica":  func(t *testing.T, d *dispatcher) { produce(t, d, "x", exiting, dispatch.WithGroup("g")) },
		"limited":  func(t *testing.T, d *dispatcher) { produce(t, d, "x", exiting, dispatch.WithConcurrency(1)) },
		"late":     func(t *testing.T, d *dispatcher) { produce(t, d, "x", lateExit) },
		"overdue": func(t *testing.T, d *dispatcher) {
			produce(t, d, "x", lateExit, dispatch.WithTimeout(time.Millisecond))
		},
		"stream": func(t *testing.T, d *dispatcher) {
			addStream(t, d, "x", func(context.Context, int) iter.Seq2[int, error] {
				return func(yield func(int, error) bool) { yield(exiting(context.Background(), 0)) }
			})
		},
		"relay": func(t *testing.T, d *dispatcher) {
			addRelay(t, d, "x", func(context.Context, int, roster) error { runtime.Goexit(); return nil })
		},
		"late relay": func(t *testing.T, d *dispatcher) {
			addRelay(t, d, "x", func(_ context.Context, _ int, to roster) error {
				to.Name(far("y"))
				lateExit(context.Background(), 0)
				return nil
			})
		},
		"nothing": func(t *testing.T, d *dispatcher) { produce(t, d, "x", failing(dispatch.ErrGoexit)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher(dispatch.WithTimeout(time.Second))
				add(t, d)
				for range 2 {
					ended(t, d)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				kind, want := "producer", 2
				switch name {
				case "relay", "late relay":
					kind = "relay"
				case "nothing":
					want = 0
				}
				if n := logged.count("ERROR " + kind + " called runtime.Goexit"); n != want || logged.count("ERROR") != want {
					t.Errorf("%d calls of Goexit were logged, want %d: %q", n, want, logged.all())
				}
			})
		})
	}
}

// unruly is a slog.Handler that does as it is told with each record.
type unruly struct {
	journal
	do func()
}

func (u *unruly) WithAttrs([]slog.Attr) slog.Handler { return u }

func (u *unruly) WithGroup(string) slog.Handler { return u }

func (u *unruly) Handle(ctx context.Context, r slog.Record) error {
	u.journal.Handle(ctx, r)
	u.do()
	return nil
}

func TestLoggerThatMisbehavesLosesNoRecord(t *testing.T) {
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

// A logger that blocks for ever holds up nothing, and what it is not told does not
// fill the memory.
func TestBlockedLoggerHoldsUpNoCall(t *testing.T) {
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

// Under WithPanicCrash every closure of the user's ends the process with its panic.
func TestPanicCrashEndsTheProcess(t *testing.T) {
	boom := func() { panic("boom and crash") }
	cases := map[string]func(d *dispatcher){
		"producer": func(d *dispatcher) {
			produce(t, d, "a", func(context.Context, int) (int, error) { boom(); return 0, nil })
		},
		"relay": func(d *dispatcher) {
			_, _ = d.AddRelay(ask, func(context.Context, int, *dispatch.Roster[int]) error { boom(); return nil })
		},
		"replica": func(d *dispatcher) {
			produce(t, d, "a", func(context.Context, int) (int, error) { boom(); return 0, nil }, dispatch.WithGroup("g"))
		},
		"listener": func(d *dispatcher) {
			produce(t, d, "a", quick(1))
			listen(t, d, func(context.Context, result) { boom() })
		},
		"OnOutcome": func(d *dispatcher) {
			produce(t, d, "a", quick(1))
			listen(t, d, ignore, dispatch.OnOutcome(func(dispatch.Outcome) { boom() }))
		},
		"OnDone": func(d *dispatcher) {
			produce(t, d, "a", quick(1))
			listen(t, d, ignore, dispatch.OnDone(func(dispatch.Report) { boom() }))
		},
		"CallEnd": func(d *dispatcher) {
			produce(t, d, "a", quick(1))
			_, _ = d.Bus().Observe(dispatch.Observer{CallEnd: func(context.Context, dispatch.Report) { boom() }})
		},
		"CallStart": func(d *dispatcher) {
			produce(t, d, "a", quick(1))
			_, _ = d.Bus().Observe(dispatch.Observer{CallStart: func(ctx context.Context, _ dispatch.CallStarted) context.Context { boom(); return ctx }})
		},
		"MemberStart": func(d *dispatcher) {
			produce(t, d, "a", quick(1))
			_, _ = d.Bus().Observe(dispatch.Observer{MemberStart: func(ctx context.Context, _ dispatch.MemberInfo) context.Context { boom(); return ctx }})
		},
		"ListenerStart": func(d *dispatcher) {
			produce(t, d, "a", quick(1))
			listen(t, d, ignore)
			_, _ = d.Bus().Observe(dispatch.Observer{ListenerStart: func(ctx context.Context, _ dispatch.ListenerInfo) context.Context { boom(); return ctx }})
		},
	}
	if name := os.Getenv("CRASH"); name != "" {
		d := dispatch.New[int, int](dispatch.WithPanicCrash())
		cases[name](d)
		_, _ = d.Send(context.Background(), ask, 0)
		time.Sleep(time.Second)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := exec.Command(exe, "-test.run=^TestPanicCrashEndsTheProcess$")
			c.Env = append(os.Environ(), "CRASH="+name)
			out, err := c.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "panic: boom and crash") {
				t.Errorf("%v\n%.500s", err, out)
			}
		})
	}
}
