package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// handle is what a producer opens and the program has to close.
type handle struct{ closed atomic.Bool }

// What the loser of a hedge, or of a quorum, has opened reaches OnLate, so that it can be
// closed.
func TestLosersReachOnLate(t *testing.T) {
	for name, test := range map[string]struct {
		group string
		opts  []dispatch.CallOption
		goes  bool // the call goes on when the loser returns
	}{
		"of a hedge":                         {"g", opts(dispatch.WithHedge(time.Second)), false},
		"of a hedge, while the call goes on": {"g", opts(dispatch.WithHedge(time.Second)), true},
		"of a quorum":                        {"", opts(dispatch.WithQuorum(1)), false},
		"of First":                           {"", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				topic := dispatch.NewTopic[int, *handle]("kit.handle")
				d := quiet[int, *handle](dispatch.WithTimeout(time.Minute))
				var opened events[*handle]
				open := func(after time.Duration) dispatch.Producer[int, *handle] {
					return func(context.Context, int) (*handle, error) {
						time.Sleep(after)
						h := new(handle)
						opened.add(h)
						return h, nil
					}
				}
				var with []dispatch.ProducerOption
				if test.group != "" {
					with = append(with, dispatch.WithGroup(test.group))
				}
				must(d.AddProducer(topic, open(4*time.Second), append(with, dispatch.WithName("slow"))...))
				must(d.AddProducer(topic, open(time.Second), append(with, dispatch.WithName("quick"))...))
				if test.goes {
					must(d.AddProducer(topic, func(context.Context, int) (*handle, error) { time.Sleep(30 * time.Second); return nil, nil }, dispatch.WithName("last")))
				}
				var late notes
				d.OnLate(func(r dispatch.Result[int, *handle], by time.Duration) {
					r.Value.closed.Store(true)
					late.add("%v by %v, seq %d, after %v", r.From, by, r.Seq, r.Elapsed)
				})
				if name == "of First" {
					must(d.First(t.Context(), topic, 0)).closed.Store(true)
				} else {
					must(d.Gather(t.Context(), topic, 0, test.opts...))[0].closed.Store(true)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				want := "slow by 3s, seq -1, after 4s"
				if test.group != "" {
					want = "g/slow by 2s, seq -1, after 4s"
				}
				wantLines(t, late.all(), want)
				all := opened.take()
				for i, h := range all {
					if !h.closed.Load() {
						t.Errorf("handle %d of %d was not closed", i, len(all))
					}
				}
			})
		})
	}
}

func TestResultAtTheDeadlineIsInTimeOrLate(t *testing.T) {
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

func TestLateResultsReachOnlyOnLate(t *testing.T) {
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

// A late value is not kept, however long the call is held.
func TestLateValueIsLetGoOf(t *testing.T) {
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
					d := quiet[int, *big](dispatch.WithTimeout(time.Second))
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

func TestOnLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := dispatch.NewBus(dispatch.WithTimeout(time.Second), dispatch.WithLogger(slog.New(slog.DiscardHandler)))
		d := dispatch.On[int, int](bus)
		elsewhere := dispatch.On[int, string](bus)
		for i := range 4 {
			produce(t, d, fmt.Sprint("p", i), func(context.Context, int) (int, error) {
				time.Sleep(time.Second + time.Duration(i)*10*time.Millisecond + time.Millisecond)
				return i, nil
			})
		}
		var first, second, wrong notes
		removed := d.OnLate(func(r result, by time.Duration) { first.add("%v %v", r.From, by) })
		dispatch.On[int, int](bus).OnLate(func(r result, by time.Duration) { second.add("%v %v", r.From, by) })
		elsewhere.OnLate(func(r dispatch.Result[int, string], _ time.Duration) { wrong.add("%v", r.From) })
		send(t, d)
		time.Sleep(time.Second + 15*time.Millisecond)
		removed.Remove()
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"p0 1ms", "p1 11ms"}, first.all()); diff != "" {
			t.Errorf("until it was removed (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"p0 1ms", "p1 11ms", "p2 21ms", "p3 31ms"}, second.all()); diff != "" {
			t.Errorf("to the end (-want +got):\n%s", diff)
		}
		if len(wrong.all()) != 0 {
			t.Errorf("with other types: %q", wrong.all())
		}

		// Late is what comes after the end, whatever that was.
		c := send(t, d)
		time.Sleep(500 * time.Millisecond)
		c.Cancel(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := second.count("p0 501ms"); got != 1 || len(second.all()) != 8 {
			t.Errorf("after Cancel: %q", second.all())
		}
	})
}

// A hook that is removed is not called with what waits for it.
func TestRemovedOnLateIsNotCalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		for i := range 4 {
			produce(t, d, fmt.Sprint("p", i), slowly(2*time.Second, quick(i)))
		}
		release := make(chan struct{})
		var late notes
		hook := d.OnLate(func(result, time.Duration) {
			late.add("called")
			<-release
		})
		send(t, d)
		time.Sleep(3 * time.Second)
		hook.Remove()
		close(release)
		synctest.Wait()
		wantLines(t, late.all(), "called")
		if err := d.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}
