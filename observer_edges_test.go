package dispatch_test

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A start hook that ends the goroutine of a group, of which nobody is asked then.
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

// A stagger that is due while CallStart runs asks nobody.
func TestNobodyIsAskedBeforeCallStartReturns(t *testing.T) {
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

// Producers may come while it is announced.
func TestObserverOfACallThatWaitsForProducers(t *testing.T) {
	for range 300 {
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{}))
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 4 {
				apiMust(d.AddProducer(ask, quick(1)))
			}
		})
		c, err := d.Send(t.Context(), ask, 1, dispatch.WithMinProducers(4))
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		wg.Wait()
	}
}

// A relay that was never called cannot be late.
func TestObserverOfARelayThatIsNotCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		ran := false
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			CallStart: func(ctx context.Context, c dispatch.CallStarted) context.Context {
				time.Sleep(2 * time.Second)
				return ctx
			},
			Late: func(ctx context.Context, m dispatch.MemberInfo, by time.Duration, err error) {
				n.add("%v is late: %v", m.Member, err)
			},
		}))
		addRelay(t, d, "r", func(context.Context, int, roster) error { ran = true; return nil })
		ended(t, d, dispatch.WithTimeout(time.Second))
		synctest.Wait()
		if wantLines(t, n.all()); ran {
			t.Error("the relay was called after the deadline")
		}
	})
}

// What listeners are not told after Close has happened all the same.
func TestObserverIsToldOfResultsAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n notes
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			Result: func(_ context.Context, m dispatch.MemberInfo, r dispatch.ResultInfo) {
				n.add("result of %v", m.Member)
				time.Sleep(time.Second)
			},
			MemberEnd: func(_ context.Context, m dispatch.MemberInfo, o dispatch.Outcome) {
				n.add("%v gave %d", m.Member, o.Results)
			},
		}))
		produce(t, d, "a", quick(1))
		produce(t, d, "b", quick(1))
		ended(t, d)
		synctest.Wait()
		d.Close()
		time.Sleep(time.Minute)
		lines := n.all()
		slices.Sort(lines)
		wantLines(t, lines, "a gave 1", "b gave 1", "result of a", "result of b")
	})
}

// An observer that holds up what it is to be told is logged, as a listener is.
func TestObserverThatIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			Late: func(context.Context, dispatch.MemberInfo, time.Duration, error) { time.Sleep(time.Hour) },
		}))
		produce(t, d, "a", func(context.Context, int) (int, error) { time.Sleep(1020 * time.Millisecond); return 1, nil })
		ended(t, d, dispatch.WithTimeout(time.Second))
		time.Sleep(2 * time.Hour)
		if logged.count("observer is slow") != 1 {
			t.Error(logged.all())
		}
	})
}

// OnLate and Late are told of the same results.
func TestObserverOfLateResultsOfRemotes(t *testing.T) {
	for range 60 {
		var late, hooked atomic.Int32
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			Late: func(_ context.Context, m dispatch.MemberInfo, _ time.Duration, _ error) {
				if m.Member == far("x") {
					late.Add(1)
				}
			},
		}))
		d.OnLate(func(result, time.Duration) { hooked.Add(1) })
		addRelay(t, d, "r", func(ctx context.Context, _ int, to roster) error {
			to.Name(far("x"))
			for to.Result(far("x"), 1) {
			}
			return nil
		})
		c := send(t, d)
		for range 5 { // on one processor the relay goes on for a time slice each time
			runtime.Gosched()
		}
		c.Cancel(nil)
		if err := d.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if late.Load() != hooked.Load() {
			t.Fatalf("Late %d, OnLate %d", late.Load(), hooked.Load())
		}
	}
}

// A hook that returns after the end of its call does not have the closure called.
func TestNobodyIsCalledAfterTheEndOfTheCall(t *testing.T) {
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
