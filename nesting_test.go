package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A start hook that ends the goroutine of a group, none of whose replicas is asked then.
func TestObserverExitsBeforeAGroupIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			MemberStart: func(context.Context, dispatch.MemberInfo) context.Context { runtime.Goexit(); return nil },
		}))
		produce(t, d, "a", quick(1), dispatch.WithGroup("g"))
		produce(t, d, "b", quick(1), dispatch.WithGroup("g"))
		produce(t, d, "c", quick(1))
		expect(t, ended(t, d), "all ended: g failed, c failed")
	})
}

// A stagger that is due while CallStart runs starts no member.
func TestNoMemberIsAskedBeforeCallStartReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			CallStart: func(ctx context.Context, c dispatch.CallStarted) context.Context {
				time.Sleep(50 * time.Millisecond)
				n.add("CallStart returns")
				return with(ctx, "call")
			},
			MemberStart: func(ctx context.Context, m dispatch.MemberInfo) context.Context {
				n.add("start [%s]", trail(ctx))
				return ctx
			},
		}))
		produce(t, d, "a", slow(time.Second, 1))
		produce(t, d, "b", slow(time.Second, 1))
		ended(t, d, dispatch.WithStagger(10*time.Millisecond))
		synctest.Wait()
		wantLines(t, n.all(), "CallStart returns", "start [/call]", "start [/call]")
	})
}

// The end of a call whose time is up while CallStart runs is told after that.
func TestNoEndIsToldBeforeCallStartReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			CallStart: func(ctx context.Context, c dispatch.CallStarted) context.Context {
				time.Sleep(2 * time.Second)
				n.add("CallStart returns")
				return with(ctx, "call")
			},
			CallEnd: func(ctx context.Context, r dispatch.Report) { n.add("CallEnd [%s]", trail(ctx)) },
		}))
		produce(t, d, "a", slow(time.Second, 1))
		ended(t, d, dispatch.WithTimeout(time.Second))
		synctest.Wait()
		wantLines(t, n.all(), "CallStart returns", "CallEnd [/call]")
	})
}

// A hook that returns after the end of its call does not have the closure called.
func TestNoClosureIsCalledAfterTheEndOfTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			MemberStart: func(ctx context.Context, _ dispatch.MemberInfo) context.Context {
				time.Sleep(time.Second)
				return with(context.WithoutCancel(ctx), "member")
			},
			MemberEnd: func(ctx context.Context, m dispatch.MemberInfo, o dispatch.Outcome) {
				n.add("%v, running %v [%s]", o.State, m.Running, trail(ctx))
			},
			Late: func(ctx context.Context, _ dispatch.MemberInfo, by time.Duration, err error) {
				n.add("late by %v: %v [%s]", by, err, trail(ctx))
			},
		}))
		d.OnLate(func(result, time.Duration) { n.add("a result came late") })
		produce(t, d, "a", func(context.Context, int) (int, error) { n.add("called after Close"); return 1, nil })
		send(t, d)
		synctest.Wait()
		d.Close()
		time.Sleep(time.Minute)
		wantLines(t, n.all(), "canceled, running true []", "late by 1s: dispatch: closed [/member]")
	})
}

func TestObserverWhoseStartHooksExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exits := func(context.Context, dispatch.MemberInfo) context.Context { runtime.Goexit(); return nil }
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{MemberStart: exits}))
		produce(t, d, "a", quick(1))
		produce(t, d, "b", quick(1))
		expect(t, ended(t, d), "all ended: a failed, b failed")
	})
	synctest.Test(t, func(t *testing.T) {
		exits := func(context.Context, dispatch.CallStarted) context.Context { runtime.Goexit(); return nil }
		var n notes
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			CallStart: exits,
			MemberStart: func(ctx context.Context, m dispatch.MemberInfo) context.Context {
				n.add("%v starts", m.Member)
				return ctx
			},
		}))
		produce(t, d, "a", quick(1))
		diary := keepDiary(t, d)
		go send(t, d)
		synctest.Wait()
		wantLines(t, diary.all(), "result a=1", "outcome a ok", "done all ended")
		wantLines(t, n.all(), "a starts")
	})
	synctest.Test(t, func(t *testing.T) {
		exits := func(context.Context, dispatch.ListenerInfo) context.Context { runtime.Goexit(); return nil }
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{ListenerStart: exits}))
		produce(t, d, "a", quick(1))
		diary := keepDiary(t, d)
		ended(t, d)
		synctest.Wait()
		wantLines(t, diary.all(), "outcome a ok", "done all ended")
	})
}

func TestObserverStartHooksMayReturnNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			CallStart:     func(context.Context, dispatch.CallStarted) context.Context { return nil },
			MemberStart:   func(context.Context, dispatch.MemberInfo) context.Context { return nil },
			ListenerStart: func(context.Context, dispatch.ListenerInfo) context.Context { return nil },
		}))
		var heard notes
		produce(t, d, "a", func(ctx context.Context, _ int) (int, error) {
			heard.add("producer %s", trail(ctx))
			return 1, nil
		})
		listen(t, d, func(ctx context.Context, _ result) { heard.add("listener %s", trail(ctx)) })
		sendFrom(with(t.Context(), "user"), t, d)
		synctest.Wait()
		wantLines(t, heard.all(), "producer /user", "listener /user")
	})
}

// A start hook that blocks holds up what it announces and nothing else.
func TestObserverStartHookBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second), dispatch.WithObserver(dispatch.Observer{
			MemberStart: func(ctx context.Context, m dispatch.MemberInfo) context.Context {
				if m.Member.Name == "b" {
					<-release
				}
				return ctx
			},
		}))
		for _, name := range []string{"a", "b", "c"} {
			produce(t, d, name, quick(1))
		}
		expect(t, ended(t, d), "deadline: a ok, b late, c ok")
		close(release)
	})
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var told notes
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second), dispatch.WithObserver(dispatch.Observer{
			CallStart: func(ctx context.Context, _ dispatch.CallStarted) context.Context { <-release; return with(ctx, "call") },
			CallEnd:   func(ctx context.Context, r dispatch.Report) { told.add("%v after %v", r.Reason, r.Elapsed) },
		}))
		produce(t, d, "a", func(context.Context, int) (int, error) { t.Error("asked after the deadline"); return 0, nil })
		go func() { time.Sleep(2 * time.Second); close(release) }()
		expect(t, ended(t, d), "deadline: a late")
		synctest.Wait()
		wantLines(t, told.all(), "deadline after 1s")
	})
}

func TestGoroutinesAreLabelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen notes
		note := func(ctx context.Context, who string) {
			for _, key := range []string{"dispatch.topic", "dispatch.producer", "dispatch.listener", "mine"} {
				if v, ok := pprof.Label(ctx, key); ok {
					seen.add("%s %s=%s", who, key, v)
				}
			}
		}
		var profile bytes.Buffer
		d, _ := newDispatcher(dispatch.WithPprofLabels())
		produce(t, d, "a", func(ctx context.Context, _ int) (int, error) {
			note(ctx, "a")
			if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
				t.Error(err)
			}
			return 0, nil
		})
		produce(t, d, "g1", func(ctx context.Context, _ int) (int, error) { note(ctx, "g1"); return 0, nil }, dispatch.WithGroup("g"))
		addRelay(t, d, "r", func(ctx context.Context, _ int, _ roster) error { note(ctx, "r"); return nil })
		listen(t, d, func(ctx context.Context, r result) {
			if r.From.Name == "a" {
				note(ctx, "l")
			}
		}, dispatch.WithName("l"))
		pprof.Do(t.Context(), pprof.Labels("mine", "yes"), func(ctx context.Context) { <-sendFrom(ctx, t, d).Done() })
		synctest.Wait()
		wantLines(t, ordered(seen.all()),
			"a dispatch.producer=a", "a dispatch.topic=kit.ask", "a mine=yes",
			"g1 dispatch.producer=g1", "g1 dispatch.topic=kit.ask", "g1 mine=yes",
			"l dispatch.listener=l", "l dispatch.topic=kit.ask", "l mine=yes",
			"r dispatch.producer=r", "r dispatch.topic=kit.ask", "r mine=yes",
		)
		if want := `"dispatch.producer":"a"`; !strings.Contains(profile.String(), want) {
			t.Errorf("the profile has no goroutine with %s", want)
		}
	})
}

func TestExecutionTrace(t *testing.T) {
	var out bytes.Buffer
	if err := trace.Start(&out); err != nil {
		t.Fatalf("the execution tracer: %v", err)
	}
	d, _ := newDispatcher()
	produce(t, d, "tracy", quick(1))
	heard := make(chan struct{})
	listen(t, d, func(context.Context, result) { close(heard) }, dispatch.WithName("lucy"))
	ended(t, d)
	<-heard
	if err := d.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	trace.Stop()
	for _, want := range []string{"dispatch.call", "dispatch.producer tracy", "dispatch.listener lucy", "kit.ask"} {
		if !bytes.Contains(out.Bytes(), []byte(want)) {
			t.Errorf("the trace does not have %q", want)
		}
	}
}

// Without the option closures have no labels.
func TestNoLabelsWithoutTheOption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{MemberEnd: func(context.Context, dispatch.MemberInfo, dispatch.Outcome) {}}))
		look := func(ctx context.Context) {
			pprof.ForLabels(ctx, func(key, value string) bool {
				t.Errorf("the label %s is %s", key, value)
				return true
			})
		}
		produce(t, d, "a", func(ctx context.Context, _ int) (int, error) { look(ctx); return 1, nil })
		produce(t, d, "b", func(ctx context.Context, _ int) (int, error) { look(ctx); return 1, nil }, dispatch.WithGroup("g"))
		addRelay(t, d, "r", func(ctx context.Context, _ int, _ roster) error { look(ctx); return nil })
		listen(t, d, func(ctx context.Context, _ result) { look(ctx) })
		ended(t, d)
		synctest.Wait()
	})
}

// A replica whose start hook returns after another one has answered, and the call has
// ended with that, is not called, and gives no result.
func TestReplicaWhoseStartHookIsTooLateIsNotCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			MemberStart: func(ctx context.Context, m dispatch.MemberInfo) context.Context {
				if m.Replica {
					if starts++; starts == 2 {
						time.Sleep(time.Second)
					}
				}
				return ctx
			},
		}))
		var late, called notes
		d.OnLate(func(r result, _ time.Duration) { late.add("%v", r.From) })
		for _, name := range []string{"a", "b"} {
			produce(t, d, name, func(context.Context, int) (int, error) {
				called.add("called")
				time.Sleep(1500 * time.Millisecond)
				return 1, nil
			}, dispatch.WithGroup("g"))
		}
		expect(t, ended(t, d, dispatch.WithHedge(time.Second)), "all ended: g/a ok")
		time.Sleep(time.Minute)
		if len(called.all()) != 1 || len(late.all()) != 0 {
			t.Errorf("%d replicas were called, %q were late", len(called.all()), late.all())
		}
	})
}

// The task of a call ends also if the call has ended before its CallStart hook has returned.
func TestExecutionTraceOfACallThatEndsBeforeItBegins(t *testing.T) {
	var out bytes.Buffer
	if err := trace.Start(&out); err != nil {
		t.Fatalf("the execution tracer: %v", err)
	}
	defer trace.Stop()
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second), dispatch.WithObserver(dispatch.Observer{
			CallStart: func(ctx context.Context, _ dispatch.CallStarted) context.Context {
				time.Sleep(2 * time.Second)
				return ctx
			},
		}))
		produce(t, d, "a", quick(1))
		for range 20 {
			expect(t, ended(t, d), "deadline: a late")
		}
	})
}

// A hedge may be due while the hooks for the group still run.
func TestMemberStartIsCalledOnceForAGroup(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		var groups atomic.Int32
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			MemberStart: func(ctx context.Context, m dispatch.MemberInfo) context.Context {
				if m.Replica {
					return ctx
				}
				time.Sleep(5 * time.Millisecond)
				return context.WithValue(ctx, key{}, groups.Add(1))
			},
		}))
		for _, name := range []string{"a", "b"} {
			produce(t, d, name, func(ctx context.Context, _ int) (int, error) {
				if n := ctx.Value(key{}); n != int32(1) {
					t.Errorf("%s has the context of group start %v", name, n)
				}
				time.Sleep(time.Second)
				return 1, nil
			}, dispatch.WithGroup("g"))
		}
		c := send(t, d, dispatch.WithHedge(time.Millisecond))
		<-c.Done()
		if r := c.Report(); groups.Load() != 1 || len(r.Replicas) != 2 {
			t.Errorf("%d starts of the group, and %d replicas", groups.Load(), len(r.Replicas))
		}
		time.Sleep(time.Minute)
	})
}

// An observer that is removed while calls go on is not called, and nothing is logged.
func TestStartHooksOfARemovedObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithPanicCrash())
		var n notes
		r, err := d.Bus().Observe(dispatch.Observer{
			MemberStart: func(ctx context.Context, m dispatch.MemberInfo) context.Context {
				n.add("%v starts", m.Member)
				return ctx
			},
			ListenerStart: func(ctx context.Context, l dispatch.ListenerInfo) context.Context {
				n.add("%v hears %v", l.Listener, l.Member)
				return ctx
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		produce(t, d, "a", slow(time.Second, 0))
		produce(t, d, "b", slow(time.Second, 0))
		listen(t, d, ignore, dispatch.WithName("l"))
		c := send(t, d, dispatch.WithParallelism(1))
		time.Sleep(1500 * time.Millisecond)
		r.Remove()
		<-c.Done()
		synctest.Wait()
		expect(t, c.Report(), "all ended: a ok, b ok")
		wantLines(t, ordered(n.all()), "a starts", "b starts", "l hears a")
		logged.nothing(t)
	})
}

// A hook that ends the goroutine of the sender is logged, and does not undo what the hooks of other
// observers have done.
func TestCallStartThatExits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		d, logged := newDispatcher(
			dispatch.WithObserver(dispatch.Observer{
				CallStart: func(ctx context.Context, _ dispatch.CallStarted) context.Context { return with(ctx, "call") },
				CallEnd:   func(ctx context.Context, _ dispatch.Report) { n.add("end [%s]", trail(ctx)) },
			}),
			dispatch.WithObserver(dispatch.Observer{
				CallStart: func(context.Context, dispatch.CallStarted) context.Context { runtime.Goexit(); return nil },
			}))
		produce(t, d, "a", func(ctx context.Context, _ int) (int, error) { n.add("a [%s]", trail(ctx)); return 1, nil })
		go send(t, d)
		synctest.Wait()
		wantLines(t, n.all(), "a [/call]", "end [/call]")
		if logged.count("ERROR observer called runtime.Goexit") != 1 {
			t.Errorf("logged: %v", logged.all())
		}
	})
}

// Only the values of the context that CallStart returns count: the end of the call is that of the sender's context.
func TestCallFollowsItsSenderWhateverCallStartReturns(t *testing.T) {
	ended, end := context.WithCancel(context.Background())
	end()
	for name, hook := range map[string]func(context.Context) context.Context{
		"without cancel": context.WithoutCancel,
		"another":        func(context.Context) context.Context { return context.Background() },
		"ended":          func(context.Context) context.Context { return ended },
	} {
		bubble(t, name, func(t *testing.T) {
			d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
				CallStart: func(ctx context.Context, _ dispatch.CallStarted) context.Context { return hook(ctx) },
			}))
			produce(t, d, "a", patient)
			ctx, cancel := context.WithCancelCause(t.Context())
			c := sendFrom(ctx, t, d)
			time.Sleep(time.Second)
			cancel(errBroken)
			<-c.Done()
			if r := c.Report(); told(r) != "canceled: a canceled" || r.Elapsed != time.Second || !errors.Is(r.Err(), errBroken) {
				t.Errorf("after %v: %s, %v", r.Elapsed, told(r), r.Err())
			}
		})
	}
}
