package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// trailKey is the key of a context value that says which start hooks a context has
// been through.
type trailKey struct{}

func trail(ctx context.Context) string {
	s, _ := ctx.Value(trailKey{}).(string)
	return s
}

func with(ctx context.Context, step string) context.Context {
	return context.WithValue(ctx, trailKey{}, trail(ctx)+"/"+step)
}

// watcher returns an observer that writes down all it is told, each with the trail of
// its context and the time since the call began.
func watcher(to *notes) dispatch.Observer {
	ms := func(d time.Duration) string { return d.Round(time.Millisecond).String() }
	who := func(m dispatch.MemberInfo) string {
		if m.Replica {
			return "replica " + m.Member.Name
		}
		return m.Member.String()
	}
	return dispatch.Observer{
		CallStart: func(ctx context.Context, c dispatch.CallStarted) context.Context {
			to.add("call %v %v parent %v depth %d", c.Members, c.Request, c.Parent, c.Depth)
			return with(ctx, "call")
		},
		CallEnd: func(ctx context.Context, r dispatch.Report) {
			to.add("%v: call ended: %v [%s]", ms(r.Elapsed), r.Reason, trail(ctx))
		},
		MemberStart: func(ctx context.Context, m dispatch.MemberInfo) context.Context {
			to.add("%v: %s starts [%s]", ms(m.Elapsed), who(m), trail(ctx))
			return with(ctx, m.Member.String())
		},
		MemberEnd: func(ctx context.Context, m dispatch.MemberInfo, o dispatch.Outcome) {
			running := map[bool]string{true: " and runs"}[m.Running]
			to.add("%v: %s is %v%s [%s]", ms(m.Elapsed), who(m), o.State, running, trail(ctx))
		},
		Result: func(ctx context.Context, m dispatch.MemberInfo, r dispatch.ResultInfo) {
			to.add("%v: %s gives %v, %d [%s]", ms(m.Elapsed), who(m), r.Value, r.Seq, trail(ctx))
		},
		Late: func(ctx context.Context, m dispatch.MemberInfo, by time.Duration, err error) {
			to.add("%v: %s is late by %v: %v [%s]", ms(m.Elapsed), who(m), by, err, trail(ctx))
		},
		Abandoned: func(ctx context.Context, m dispatch.MemberInfo, after time.Duration) {
			to.add("%v: %s is abandoned after %v [%s]", ms(m.Elapsed), who(m), after, trail(ctx))
		},
		ListenerStart: func(ctx context.Context, l dispatch.ListenerInfo) context.Context {
			to.add("%v: %s hears %v, %d [%s]", ms(l.Elapsed), l.Listener, l.Member, l.Seq, trail(ctx))
			return with(ctx, l.Listener)
		},
		ListenerEnd: func(ctx context.Context, l dispatch.ListenerInfo, took time.Duration, panicked bool) {
			to.add("%v: %s took %v, panicked %v [%s]", ms(l.Elapsed), l.Listener, took, panicked, trail(ctx))
		},
		Dropped: func(ctx context.Context, l dispatch.ListenerInfo) {
			to.add("%v: %s missed %v, %d [%s]", ms(l.Elapsed), l.Listener, l.Member, l.Seq, trail(ctx))
		},
		SlowListener: func(l dispatch.ListenerSnapshot) {
			to.add("%s is slow after %v", l.Name, l.Waiting.Round(time.Millisecond))
		},
	}
}

func TestObserverOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told notes
		d, logged := newDispatcher(dispatch.WithObserver(watcher(&told)))
		produce(t, d, "a", func(ctx context.Context, req int) (int, error) {
			told.add("inside a: [%s]", trail(ctx))
			time.Sleep(time.Second)
			return 7, nil
		})
		produce(t, d, "b", slowly(2*time.Second, failing(errBroken)))
		listen(t, d, func(ctx context.Context, _ result) {
			told.add("inside l: [%s]", trail(ctx))
			time.Sleep(3 * time.Second)
		}, dispatch.WithName("l"))

		call, err := d.Send(with(t.Context(), "user"), ask, 42)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		// What happens in the same moment is told in any order, but that a result
		// comes before the end of its member.
		lines := told.all()
		if gives, is := slices.Index(lines, "1s: a gives 7, 0 [/user/call/a]"), slices.Index(lines, "1s: a is ok [/user/call/a]"); gives > is {
			t.Errorf("the result was told after the end: %q", lines)
		}
		wantLines(t, ordered(lines), ordered([]string{
			"call [a b] 42 parent 0 depth 0",
			"0s: a starts [/user/call]",
			"0s: b starts [/user/call]",
			"inside a: [/user/call/a]",
			"1s: a gives 7, 0 [/user/call/a]",
			"1s: a is ok [/user/call/a]",
			"1s: l hears a, 0 [/user/call]",
			"inside l: [/user/call/l]",
			"2s: b is failed [/user/call/b]",
			"2s: call ended: all ended [/user/call]",
			"4s: l took 3s, panicked false [/user/call/l]",
		})...)
		if call.Report().Reason != dispatch.ReasonAllEnded {
			t.Error(told.all())
		}
		logged.nothing(t)
	})
}

func TestObserverOfLateMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told notes
		d, _ := newDispatcher(dispatch.WithObserver(watcher(&told)), dispatch.WithTimeout(time.Second))
		release := make(chan struct{})
		produce(t, d, "deaf", deaf(release, 1))
		produce(t, d, "serial", deaf(release, 1), dispatch.WithConcurrency(1))
		produce(t, d, "patient", patient)
		send(t, d)
		time.Sleep(10 * time.Millisecond)
		ended(t, d)
		time.Sleep(time.Second)
		close(release)
		synctest.Wait()
		var late []string
		for _, line := range told.all() {
			if strings.Contains(line, "late") || strings.Contains(line, "abandoned") {
				late = append(late, line)
			}
		}
		if n := told.count("serial starts"); n != 1 {
			t.Errorf("serial was started %d times, and has one slot", n)
		}
		wantLines(t, ordered(late), ordered([]string{
			"1s: deaf is late and runs [/call/deaf]", "1s: serial is late and runs [/call/serial]", "1s: patient is late and runs [/call/patient]",
			"1s: deaf is late and runs [/call/deaf]", "1s: serial is late [/call]", "1s: patient is late and runs [/call/patient]",
			"1s: patient is late by 0s: context deadline exceeded [/call/patient]",
			"1s: patient is late by 0s: context deadline exceeded [/call/patient]",
			"1.1s: deaf is abandoned after 100ms [/call/deaf]", "1.1s: serial is abandoned after 100ms [/call/serial]",
			"1.1s: deaf is abandoned after 100ms [/call/deaf]",
			"2.01s: deaf is late by 1.01s: <nil> [/call/deaf]", "2.01s: serial is late by 1.01s: <nil> [/call/serial]",
			"2s: deaf is late by 1s: <nil> [/call/deaf]",
		})...)
	})
}

// A producer that gives up in the grace has returned.
func TestObserverOfTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told notes
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{MemberEnd: watcher(&told).MemberEnd, Late: watcher(&told).Late}))
		produce(t, d, "patient", patient)
		addRelay(t, d, "r", func(ctx context.Context, _ int, _ roster) error {
			time.Sleep(3 * time.Second)
			return ctx.Err()
		})
		ended(t, d, dispatch.WithTimeout(2*time.Second), dispatch.WithGrace(time.Second))
		time.Sleep(10 * time.Second)
		wantLines(t, told.all(), "1s: patient is late []", "3s: r is late by 1s: context deadline exceeded []")
	})
}

func TestObserverOfReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told notes
		d, _ := newDispatcher(dispatch.WithObserver(watcher(&told)), dispatch.WithParallelism(1))
		produce(t, d, "first", slow(time.Second, 0))
		produce(t, d, "g1", slowly(time.Second, failing(errBroken)), dispatch.WithGroup("g"))
		produce(t, d, "g2", slow(2*time.Second, 2), dispatch.WithGroup("g"))
		r := ended(t, d)
		synctest.Wait()
		expect(t, r, "all ended: first ok, g/g2 ok")
		lines := told.all()
		slices.Sort(lines) // start hooks do not wait until what came before is told
		wantLines(t, lines,
			"0s: first starts [/call]",
			"1s: first gives 0, 0 [/call/first]",
			"1s: first is ok [/call/first]",
			"1s: g starts [/call]",
			"1s: replica g1 starts [/call/g]",
			"2s: replica g1 is failed [/call/g/g/g1]",
			"2s: replica g2 starts [/call/g]",
			"4s: call ended: all ended [/call]",
			"4s: g/g2 gives 2, 1 [/call/g]",
			"4s: g/g2 is ok [/call/g]",
			"4s: replica g2 is ok [/call/g/g/g2]",
			"call [first g] 0 parent 0 depth 0",
		)
	})
}

func TestObserverOfStreamsAndRelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told notes
		d, _ := newDispatcher(dispatch.WithObserver(watcher(&told)))
		addStream(t, d, "s", func(context.Context, int) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				_ = yield(1, nil) && yield(2, nil)
			}
		})
		addRelay(t, d, "r", func(ctx context.Context, _ int, to roster) error {
			time.Sleep(time.Second)
			told.add("inside r: [%s]", trail(ctx))
			m := dispatch.Member{Node: "far", Name: "m"}
			to.Name(m)
			to.Result(m, 3)
			return nil
		})
		ended(t, d)
		synctest.Wait()
		wantLines(t, told.all(),
			"call [s] 0 parent 0 depth 0",
			"0s: s starts [/call]",
			"0s: s gives 1, 0 [/call/s]",
			"0s: s gives 2, 1 [/call/s]",
			"0s: s is ok [/call/s]",
			"inside r: [/call]",
			"1s: far/m gives 3, 2 [/call]",
			"1s: far/m is failed [/call]",
			"1s: call ended: all ended [/call]",
		)
	})
}

func TestObserverOfListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told notes
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			ListenerEnd: watcher(&told).ListenerEnd, Dropped: watcher(&told).Dropped, SlowListener: watcher(&told).SlowListener,
		}), dispatch.WithSlowListener(2*time.Second))
		for i := range 3 {
			produce(t, d, fmt.Sprint(i), slow(time.Duration(i)*time.Millisecond, i))
		}
		listen(t, d, func(context.Context, result) { panic("boom") }, dispatch.WithName("panics"))
		listen(t, d, func(context.Context, result) { runtime.Goexit() }, dispatch.WithName("exits"))
		listen(t, d, func(context.Context, result) { time.Sleep(3 * time.Second) }, dispatch.WithName("slow"),
			dispatch.WithMailbox(1, dispatch.DropOldest))
		ended(t, d)
		time.Sleep(10 * time.Second)
		wantLines(t, ordered(told.all()), ordered([]string{
			"0s: panics took 0s, panicked true []", "1ms: panics took 0s, panicked true []", "2ms: panics took 0s, panicked true []",
			"0s: exits took 0s, panicked true []", "1ms: exits took 0s, panicked true []", "2ms: exits took 0s, panicked true []",
			"2ms: slow missed 1, 1 []", "slow is slow after 2s", "3s: slow took 3s, panicked false []", "6s: slow took 3s, panicked false []",
		})...)
		s := d.Bus().Snapshot().Topics[0]
		var counts []string
		for _, l := range s.Listeners {
			counts = append(counts, fmt.Sprintf("%s delivered %d dropped %d panicked %d", l.Name, l.Delivered, l.Dropped, l.Panicked))
		}
		wantLines(t, counts, "panics delivered 3 dropped 0 panicked 3", "exits delivered 3 dropped 0 panicked 3", "slow delivered 2 dropped 1 panicked 0")
	})
}

// Start hooks and the order of nested calls: the inner one knows whose it is.
func TestObserverOfNestedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told notes
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{CallStart: watcher(&told).CallStart}))
		elsewhere, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{CallStart: watcher(&told).CallStart}))
		must(d.AddProducer(other, quick(1), dispatch.WithName("inner")))
		produce(t, d, "outer", func(ctx context.Context, _ int) (int, error) {
			if _, err := elsewhere.Gather(ctx, ask, 2); !errors.Is(err, dispatch.ErrNoProducers) {
				t.Errorf("elsewhere: %v", err)
			}
			_, err := d.Gather(ctx, other, 1)
			return 0, err
		})
		done := make(chan struct{})
		listen(t, d, func(ctx context.Context, _ result) {
			must(d.Gather(ctx, other, 3))
			close(done)
		})
		id := ended(t, d).Call
		<-done
		wantLines(t, told.all(),
			"call [outer] 0 parent 0 depth 0",
			"call [] 2 parent 0 depth 1",
			fmt.Sprintf("call [inner] 1 parent %v depth 1", id),
			fmt.Sprintf("call [inner] 3 parent %v depth 0", id),
		)
	})
}

func TestObserverOfACallThatCannotGoOn(t *testing.T) {
	synctest.Test(t, testObserverOfACallThatCannotGoOn)
}

func testObserverOfACallThatCannotGoOn(t *testing.T) {
	var told notes
	d, _ := newDispatcher(dispatch.WithObserver(watcher(&told)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ended(t, d)
	synctest.Wait()
	produce(t, d, "a", quick(1))
	r := sendFrom(ctx, t, d).Report()
	expect(t, r, "canceled: a canceled")
	if err := d.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	wantLines(t, told.all(),
		"call [] 0 parent 0 depth 0", "0s: call ended: no producers [/call]",
		"call [a] 0 parent 0 depth 0", "0s: a is canceled [/call]", "0s: call ended: canceled [/call]",
	)
	if _, err := d.Send(t.Context(), ask, 0); !errors.Is(err, dispatch.ErrClosed) || len(told.all()) != 5 {
		t.Errorf("%v; told %q", err, told.all())
	}
}

// A hook that goes wrong costs itself: the call ends as it would without it.
func TestObserverHooksMayGoWrong(t *testing.T) {
	scene := func(t *testing.T, o dispatch.Observer) (words string, heard int, logged *journal) {
		d, logged := newDispatcher(dispatch.WithObserver(o), dispatch.WithTimeout(time.Second), dispatch.WithSlowListener(time.Second/2))
		produce(t, d, "ok", quick(1))
		produce(t, d, "broken", failing(errBroken))
		produce(t, d, "late", slowly(3*time.Second, quick(2)))
		produce(t, d, "also ok", quick(3))
		var heardBy notes
		listen(t, d, func(context.Context, result) { heardBy.add("result"); time.Sleep(time.Second) })
		listen(t, d, ignore, dispatch.WithMailbox(1, dispatch.DropNewest))
		r := ended(t, d)
		time.Sleep(10 * time.Second)
		return told(r), heardBy.count("result"), logged
	}
	var want string
	synctest.Test(t, func(t *testing.T) { want, _, _ = scene(t, dispatch.Observer{}) })
	for how, wrong := range map[string]func(){
		"panics": func() { panic("boom") },
		"exits":  runtime.Goexit,
	} {
		all := dispatch.Observer{
			CallStart:     func(ctx context.Context, _ dispatch.CallStarted) context.Context { wrong(); return ctx },
			CallEnd:       func(context.Context, dispatch.Report) { wrong() },
			MemberStart:   func(ctx context.Context, _ dispatch.MemberInfo) context.Context { wrong(); return ctx },
			MemberEnd:     func(context.Context, dispatch.MemberInfo, dispatch.Outcome) { wrong() },
			Result:        func(context.Context, dispatch.MemberInfo, dispatch.ResultInfo) { wrong() },
			Late:          func(context.Context, dispatch.MemberInfo, time.Duration, error) { wrong() },
			Abandoned:     func(context.Context, dispatch.MemberInfo, time.Duration) { wrong() },
			ListenerStart: func(ctx context.Context, _ dispatch.ListenerInfo) context.Context { wrong(); return ctx },
			ListenerEnd:   func(context.Context, dispatch.ListenerInfo, time.Duration, bool) { wrong() },
			SlowListener:  func(dispatch.ListenerSnapshot) { wrong() },
		}
		for name, o := range map[string]dispatch.Observer{
			"CallEnd":      {CallEnd: all.CallEnd},
			"MemberEnd":    {MemberEnd: all.MemberEnd},
			"Result":       {Result: all.Result},
			"Late":         {Late: all.Late},
			"Abandoned":    {Abandoned: all.Abandoned},
			"ListenerEnd":  {ListenerEnd: all.ListenerEnd},
			"SlowListener": {SlowListener: all.SlowListener},
			// Start hooks run synchronously, just before the event. There a
			// Goexit ends what it would have ended without the hook.
			"CallStart":     {CallStart: all.CallStart},
			"MemberStart":   {MemberStart: all.MemberStart},
			"ListenerStart": {ListenerStart: all.ListenerStart},
			"Sample, Start": {Sample: func(context.Context) bool { wrong(); return true }, CallEnd: all.CallEnd},
		} {
			if how == "exits" && strings.HasSuffix(name, "Start") {
				continue
			}
			t.Run(name+" "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					got, heard, logged := scene(t, o)
					if got != want || heard != 2 {
						t.Errorf("%s with %d results heard, want %s with 2", got, heard, want)
					}
					if logged.count("ERROR observer "+map[string]string{"panics": "panicked", "exits": "called runtime.Goexit"}[how]) == 0 {
						t.Errorf("logged %q", logged.all())
					}
				})
			})
		}
	}
}

// Sample says for which calls an observer is told more than their end. What CallStart has
// returned holds for all of them.
func TestSampleDecidesAboutDetails(t *testing.T) {
	for _, c := range []struct{ sampled, ends bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
		t.Run(fmt.Sprintf("sampled=%v, ends=%v", c.sampled, c.ends), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told, others notes
				o := watcher(&told)
				o.Sample = func(ctx context.Context) bool { told.add("sample [%s]", trail(ctx)); return c.sampled }
				o.SampleEnds = c.ends
				d, _ := newDispatcher(dispatch.WithObserver(o), dispatch.WithObserver(dispatch.Observer{
					MemberStart:   func(ctx context.Context, _ dispatch.MemberInfo) context.Context { return ctx },
					ListenerStart: func(ctx context.Context, _ dispatch.ListenerInfo) context.Context { return ctx },
					MemberEnd: func(_ context.Context, m dispatch.MemberInfo, o dispatch.Outcome) {
						others.add("%v is %v", m.Member, o.State)
					},
				}))
				produce(t, d, "a", func(ctx context.Context, _ int) (int, error) { told.add("inside a: [%s]", trail(ctx)); return 7, nil })
				produce(t, d, "b", slowly(1200*time.Millisecond, quick(1)))
				listen(t, d, func(ctx context.Context, _ result) { told.add("inside l: [%s]", trail(ctx)) }, dispatch.WithName("l"))
				ended(t, d, dispatch.WithTimeout(time.Second))
				time.Sleep(10 * time.Second)
				wantLines(t, ordered(others.all()), "a is ok", "b is late")
				want := []string{
					"1.1s: b is abandoned after 100ms [/call]",
					"1.2s: b is late by 200ms: <nil> [/call]",
					"1s: call ended: deadline [/call]",
					"call [a b] 0 parent 0 depth 0",
					"inside a: [/call]",
					"inside l: [/call]",
					"sample [/call]",
				}
				if c.ends {
					want = slices.DeleteFunc(want, func(line string) bool { return strings.Contains(line, "call ended") })
				}
				if c.sampled {
					want = []string{
						"0s: a gives 7, 0 [/call/a]",
						"0s: a is ok [/call/a]",
						"0s: a starts [/call]",
						"0s: b starts [/call]",
						"0s: l hears a, 0 [/call]",
						"0s: l took 0s, panicked false [/call/l]",
						"1.1s: b is abandoned after 100ms [/call/b]",
						"1.2s: b is late by 200ms: <nil> [/call/b]",
						"1s: b is late and runs [/call/b]",
						"1s: call ended: deadline [/call]",
						"call [a b] 0 parent 0 depth 0",
						"inside a: [/call/a]",
						"inside l: [/call/l]",
						"sample [/call]",
					}
				}
				wantLines(t, ordered(told.all()), ordered(want)...)
			})
		})
	}
}

// Nothing waits for an observer, and what it cannot be told of is counted.
func TestObserverThatBlocksForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var told notes
		blocks := watcher(&told)
		blocks.CallEnd = func(context.Context, dispatch.Report) { <-release }
		d, _ := newDispatcher(dispatch.WithMaxInFlight(1), dispatch.WithObserver(blocks), dispatch.WithObserver(watcher(&told)))
		produce(t, d, "a", quick(1))
		listen(t, d, ignore)
		began := time.Now()
		const n = 10_000
		for range n {
			expect(t, ended(t, d), "all ended: a ok")
			synctest.Wait()
		}
		if time.Since(began) > 0 {
			t.Errorf("%d calls took %v beside a blocked observer", n, time.Since(began))
		}
		s := d.Bus().Snapshot().Observers
		if len(s) != 2 || s[0].Missed == 0 || s[0].Queued == 0 || s[0].Queued > n/2 || s[1].Missed != 0 || s[1].Queued != 0 {
			t.Errorf("observers %+v, want the first to miss what is too much", s)
		}
		if got := told.count("call ended"); got != n {
			t.Errorf("the other observer was told of %d ends, want %d", got, n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var shutdown *dispatch.ShutdownError
		if err := d.Shutdown(ctx); !errors.As(err, &shutdown) || !slices.Equal(shutdown.Listeners, []string{"observer"}) {
			t.Errorf("Shutdown: %v", err)
		}
		close(release)
	})
}

// The place of a call is held by its listeners, and not by observers: neither longer
// nor shorter.
func TestObserverDoesNotHoldAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithMaxInFlight(1), dispatch.WithObserver(dispatch.Observer{}))
		produce(t, d, "a", quick(1))
		produce(t, d, "b", quick(2))
		release := make(chan struct{})
		listen(t, d, func(context.Context, result) { <-release })
		ended(t, d)
		synctest.Wait()
		if _, err := d.Send(t.Context(), ask, 0, dispatch.WithNoWait()); !errors.Is(err, dispatch.ErrOverloaded) {
			t.Errorf("Send while a result waits for the listener: %v, want ErrOverloaded", err)
		}
		close(release)
		synctest.Wait()
		ended(t, d, dispatch.WithNoWait())
	})
}

func TestObserveABusInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told notes
		d, _ := newDispatcher()
		produce(t, d, "a", slow(time.Second, 1))
		before := send(t, d)
		time.Sleep(time.Second / 2)
		r := must(d.Bus().Observe(dispatch.Observer{CallEnd: func(_ context.Context, r dispatch.Report) { told.add("%v", r.Call) }}))
		first := send(t, d)
		<-before.Done()
		mustDrain(t, r)
		second := send(t, d)
		<-first.Done()
		<-second.Done()
		synctest.Wait()
		wantLines(t, told.all())

		r = must(d.Bus().Observe(dispatch.Observer{CallEnd: func(_ context.Context, r dispatch.Report) { time.Sleep(time.Second); told.add("%v", r.Call) }}))
		third := send(t, d)
		<-third.Done()
		fourth := send(t, d)
		mustDrain(t, r) // waits for what it has been told to be done
		wantLines(t, told.all(), third.ID().String())
		r.Remove()
		<-fourth.Done()
		synctest.Wait()
		wantLines(t, told.all(), third.ID().String())
		if n := len(d.Bus().Snapshot().Observers); n != 0 {
			t.Errorf("%d observers are left", n)
		}
		d.Close()
		if _, err := d.Bus().Observe(dispatch.Observer{}); !errors.Is(err, dispatch.ErrClosed) {
			t.Errorf("Observe: %v, want ErrClosed", err)
		}
		if _, err := (*dispatch.Bus)(nil).Observe(dispatch.Observer{}); !errors.Is(err, dispatch.ErrInvalidArgument) {
			t.Errorf("Observe: %v, want ErrInvalidArgument", err)
		}
	})
}

// Calls that go on when an observer is removed, or when its Drain begins, end without it, even if its hook keeps the
// Drain waiting.
func TestObserverIsNotToldOfTheEndsOfLaterCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ofDrained, ofRemoved notes
		release := make(chan struct{})
		d, _ := newDispatcher()
		defer d.Close()
		observe := func(told *notes) *dispatch.Registration {
			return must(d.Bus().Observe(dispatch.Observer{CallEnd: func(_ context.Context, r dispatch.Report) {
				told.add("%v", r.Call)
				<-release
			}}))
		}
		drained, removed := observe(&ofDrained), observe(&ofRemoved)
		produce(t, d, "a", slow(time.Second, 1))
		first := send(t, d)
		time.Sleep(time.Second / 2)
		second := send(t, d)
		<-first.Done()
		synctest.Wait()
		wantLines(t, ofDrained.all(), first.ID().String())
		wantLines(t, ofRemoved.all(), first.ID().String())
		removed.Remove()
		go drained.Drain(t.Context())
		synctest.Wait()
		<-second.Done()
		synctest.Wait()
		close(release)
		synctest.Wait()
		wantLines(t, ofDrained.all(), first.ID().String())
		wantLines(t, ofRemoved.all(), first.ID().String())
	})
}

func TestObserverMayUseTheBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d *dispatcher
		var r *dispatch.Registration
		use := func(ctx context.Context) {
			d.Bus().Snapshot()
			if info, ok := dispatch.CallFrom(ctx); !ok || info.Topic == ask.Name() {
				must(d.Gather(context.WithoutCancel(ctx), other, 0))
			}
		}
		d, _ = newDispatcher()
		must(d.AddProducer(other, quick(1)))
		produce(t, d, "a", quick(1))
		listen(t, d, ignore)
		calls := 0
		r = must(d.Bus().Observe(dispatch.Observer{
			MemberStart: func(ctx context.Context, _ dispatch.MemberInfo) context.Context { use(ctx); return ctx },
			CallEnd: func(_ context.Context, report dispatch.Report) {
				if report.Topic == ask.Name() {
					if calls++; calls == 3 {
						r.Remove()
					}
				}
			},
			ListenerStart: func(ctx context.Context, _ dispatch.ListenerInfo) context.Context { use(ctx); return ctx },
		}))
		for range 5 {
			ended(t, d)
			synctest.Wait()
		}
		if calls != 3 {
			t.Errorf("the observer was told of %d calls, want 3", calls)
		}
	})
}

// Producers may come while it is announced.
func TestObserverOfACallThatWaitsForProducers(t *testing.T) {
	for range 300 {
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{}))
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 4 {
				must(d.AddProducer(ask, quick(1)))
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

// A report is the hook's own, unless the observer says that it does not keep it. Then the next
// one is in its memory, and nothing of it is left meanwhile.
func TestReportsOfCallEnd(t *testing.T) {
	for _, reuse := range []bool{false, true} {
		t.Run(fmt.Sprint("reuse=", reuse), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var kept, replicas [][]dispatch.Outcome
				var texts []string
				d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
					ReuseReports: reuse,
					CallEnd: func(_ context.Context, r dispatch.Report) {
						kept, replicas = append(kept, r.Outcomes), append(replicas, r.Replicas)
						texts = append(texts, fmt.Sprint(r.Call, " ", r.Err()))
						if r.Call == 2 {
							panic("a hook may go wrong")
						}
					},
				}))
				calls := 0
				produce(t, d, "a", func(context.Context, int) (int, error) {
					calls++
					return 0, fmt.Errorf("failure %d", calls)
				})
				r := produce(t, d, "b", quick(1), dispatch.WithGroup("g"))
				for i := range 4 {
					if i == 3 {
						r.Remove()
					}
					ended(t, d)
					synctest.Wait()
				}
				wantLines(
					t, texts,
					"1 dispatch: kit.ask: 1 of 2 members did not answer: a failed: failure 1",
					"2 dispatch: kit.ask: 1 of 2 members did not answer: a failed: failure 2",
					"3 dispatch: kit.ask: 1 of 2 members did not answer: a failed: failure 3",
					"4 dispatch: kit.ask: no member answered: a failed: failure 4",
				)
				equal(t, "replicas of the third call", len(replicas[2]), 1)
				equal(t, "replicas of the last call", len(replicas[3]), 0)
				for i := range kept {
					same := &kept[i][0] == &kept[0][0]
					if err := kept[i][0].Err; reuse != (err == nil) || same != (reuse || i == 0) {
						t.Errorf("report %d: error %v, in the memory of the first one: %t", i, err, same)
					}
				}
			})
		})
	}
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

// A start hook may be running for a replica when another one answers. The replica is then
// not called, and has no result.
func TestReplicaIsNotCalledIfAnotherAnswersDuringItsStartHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute), dispatch.WithObserver(dispatch.Observer{
			MemberStart: func(ctx context.Context, m dispatch.MemberInfo) context.Context {
				if m.Member.Name == "second" {
					time.Sleep(10 * time.Second)
				}
				return ctx
			},
		}))
		var n notes
		d.OnLate(func(r result, _ time.Duration) { n.add("late: %v", r.From) })
		produce(t, d, "first", slow(2*time.Second, 1), dispatch.WithGroup("g"))
		produce(t, d, "second", func(context.Context, int) (int, error) { n.add("called"); return 2, nil }, dispatch.WithGroup("g"))
		r := ended(t, d, dispatch.WithHedge(time.Second))
		expect(t, r, "all ended: g/first ok")
		time.Sleep(time.Minute)
		wantLines(t, n.all())
	})
}

// What the hook of a group puts into the context reaches its replicas, also those that had to
// wait for a slot.
func TestValuesOfAGroupReachAReplicaWithASlot(t *testing.T) {
	type key struct{}
	slot, limit := dispatch.WithConcurrency(1), dispatch.WithTimeout(time.Second)
	for _, opts := range [][]dispatch.ProducerOption{nil, {slot}, {limit}, {slot, limit}} {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
				MemberStart: func(ctx context.Context, m dispatch.MemberInfo) context.Context {
					if m.Replica {
						return ctx
					}
					return context.WithValue(ctx, key{}, "of the group")
				},
			}))
			tell := func(ctx context.Context, _ int) (int, error) {
				if got := ctx.Value(key{}); got != "of the group" {
					t.Errorf("with %v the value is %v", opts, got)
				}
				return 1, ctx.Err()
			}
			produce(t, d, "a", tell, append(opts, dispatch.WithGroup("g"))...)
			produce(t, d, "b", tell, append(opts, dispatch.WithGroup("g"))...)
			if r := ended(t, d); !r.Complete() {
				t.Error(told(r))
			}
		})
	}
}

// A closure is not called whose time is over before the start hooks have returned.
func TestObserverThatTakesAllTheTimeOfAProducer(t *testing.T) {
	for want, opts := range map[string][]dispatch.ProducerOption{
		"all ended: a late, b ok": nil,
		"all ended: g late, b ok": {dispatch.WithGroup("g")},
	} {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
				MemberStart: func(ctx context.Context, m dispatch.MemberInfo) context.Context {
					if m.Member.Name == "a" {
						time.Sleep(2 * time.Second)
					}
					return ctx
				},
			}))
			produce(t, d, "a", func(context.Context, int) (int, error) {
				t.Error("the closure was called after its member was late")
				return 1, nil
			}, append(opts, dispatch.WithTimeout(time.Second))...)
			produce(t, d, "b", slow(3*time.Second, 2))
			expect(t, ended(t, d), want)
		})
	}
}

// ListenerEnd measures the callback, and not the ListenerStart hooks before it.
func TestListenerEndMeasuresTheCallbackAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []time.Duration
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			ListenerStart: func(ctx context.Context, _ dispatch.ListenerInfo) context.Context {
				time.Sleep(time.Second)
				return ctx
			},
			ListenerEnd: func(_ context.Context, _ dispatch.ListenerInfo, took time.Duration, _ bool) {
				told = append(told, took)
			},
		}))
		produce(t, d, "a", quick(1))
		listen(t, d, func(context.Context, result) { time.Sleep(2 * time.Second) })
		ended(t, d)
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "the callback took", told, []time.Duration{2 * time.Second})
	})
}
