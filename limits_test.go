package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/semaphore"

	"github.com/seed-bb4b4d74/dispatch"
)

// A slot that comes free for a member that may not be started any more has to be
// passed on, or an instrument that several producers share is lost for all.
func TestSlotOfAMemberThatIsNotStartedIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topic := dispatch.NewTopic[int, int]("limits")
		d := dispatch.New[int, int]()
		instrument := semaphore.NewWeighted(1)
		busy, err := d.AddProducer(topic, func(context.Context, int) (int, error) {
			time.Sleep(time.Second)
			return 0, nil
		}, dispatch.WithSemaphore(instrument))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Send(t.Context(), topic, 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c, err := d.Send(t.Context(), topic, 0)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it waits for the instrument
		busy.Remove()
		if err := c.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if o := c.Report().Outcomes[0]; o.State != dispatch.StateGone || o.Started {
			t.Errorf("the removed producer is %v, started: %t, want gone and not started", o.State, o.Started)
		}
		time.Sleep(time.Second) // until the first run has returned
		synctest.Wait()
		if !instrument.TryAcquire(1) {
			t.Error("the slot was not given back")
		}
	})
}

// A member that holds a slot is ended under the call's lock, and gives the slot
// back, also if quick producers follow that need none.
func TestSlotIsGivenBackBeforeQuickProducers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topic := dispatch.NewTopic[int, int]("limits")
		d := dispatch.New[int, int]()
		instrument := semaphore.NewWeighted(1)
		quick := func(context.Context, int) (int, error) { return 0, nil }
		if _, err := d.AddProducer(topic, quick, dispatch.WithSemaphore(instrument)); err != nil {
			t.Fatal(err)
		}
		for range 9 {
			if _, err := d.AddProducer(topic, quick); err != nil {
				t.Fatal(err)
			}
		}
		for range 100 {
			if _, err := d.Gather(t.Context(), topic, 0); err != nil {
				t.Fatal(err)
			}
			if !instrument.TryAcquire(1) {
				t.Fatal("the slot was not given back")
			}
			instrument.Release(1)
		}
	})
}

// A slot of WithConcurrency is not given back by the call's end, but by the run.
func TestDeafProducerKeepsItsSlot(t *testing.T) {
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

func TestSerialProducerThatAsksItselfIsLate(t *testing.T) {
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

func TestMaxQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithTimeout(time.Minute))
		var asked atomic.Int32
		r := produce(t, d, "a", func(context.Context, int) (int, error) { asked.Add(1); time.Sleep(time.Second); return 1, nil },
			dispatch.WithConcurrency(2), dispatch.WithMaxQueue(3))
		var calls []*inFlight
		for range 8 {
			calls = append(calls, send(t, d))
			synctest.Wait()
		}
		var got []string
		for _, c := range calls {
			<-c.Done()
			report := c.Report()
			o := report.Outcomes[0]
			got = append(got, fmt.Sprintf("%v after %v", o.State, report.Elapsed))
			if rejected := o.State == dispatch.StateRejected; errors.Is(o.Err, dispatch.ErrQueueFull) != rejected || o.Started == rejected {
				t.Errorf("outcome %+v", o)
			}
		}
		want := []string{"ok after 1s", "ok after 1s", "ok after 2s", "ok after 2s", "ok after 3s", "rejected after 0s", "rejected after 0s", "rejected after 0s"}
		if diff := cmp.Diff(want, got); diff != "" || asked.Load() != 5 {
			t.Errorf("asked %d times (-want +got):\n%s", asked.Load(), diff)
		}
		// Those that gave up waiting make room.
		busy := []*inFlight{send(t, d), send(t, d)}
		for range 3 {
			synctest.Wait()
			busy = append(busy, send(t, d, dispatch.WithTimeout(time.Second/2)))
		}
		time.Sleep(600 * time.Millisecond)
		for i, want := range []string{"pending: a pending", "pending: a pending", "deadline: a late", "deadline: a late", "deadline: a late"} {
			expect(t, busy[i].Report(), want)
		}
		expect(t, ended(t, d, dispatch.WithFailFast()), "all ended: a ok")
		r.Remove()
		for _, opts := range [][]dispatch.ProducerOption{{dispatch.WithMaxQueue(1)}, {dispatch.WithMaxQueue(0), dispatch.WithConcurrency(1)}, {dispatch.WithMaxQueue(-1), dispatch.WithConcurrency(1)}} {
			if _, err := d.AddProducer(ask, quick(1), opts...); !errors.Is(err, dispatch.ErrInvalidOption) {
				t.Errorf("%v: %v", opts, err)
			}
		}
		logged.nothing(t)
	})
}

// A slot is given back however a run ends.
func TestSlotsAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		runs := 0
		produce(t, d, "a", func(context.Context, int) (int, error) {
			switch runs++; runs % 4 {
			case 1:
				runtime.Goexit()
			case 2:
				panic("boom")
			case 3:
				return 0, errBroken
			}
			return runs, nil
		}, dispatch.WithConcurrency(1))
		var states []dispatch.State
		for range 8 {
			states = append(states, ended(t, d).Outcomes[0].State)
		}
		want := []dispatch.State{dispatch.StateFailed, dispatch.StatePanicked, dispatch.StateFailed, dispatch.StateOK}
		if diff := cmp.Diff(append(want, want...), states); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}

		// And a call that ended while it waited for one takes none with it.
		busy := send(t, d)
		<-busy.Done()
		release := make(chan struct{})
		serial := produce(t, d, "serial", deaf(release, 1), dispatch.WithConcurrency(1))
		for range 5 {
			expectState(t, ended(t, d, dispatch.WithTimeout(50*time.Millisecond)), "serial", dispatch.StateLate)
		}
		close(release)
		synctest.Wait()
		expectState(t, ended(t, d), "serial", dispatch.StateOK)
		serial.Remove()
	})
}

// At the instant at which a call ends that waits for a slot, the slot may become
// free. Then either it is run, and says so, or the slot is there for the next.
func TestSlotIsNotLostToACallThatEnds(t *testing.T) {
	for _, end := range []string{"deadline", "cancel"} {
		for range 150 {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
				var mu sync.Mutex
				runs := map[dispatch.CallID]int{}
				produce(t, d, "serial", func(ctx context.Context, _ int) (int, error) {
					info, _ := dispatch.CallFrom(ctx)
					mu.Lock()
					runs[info.ID]++
					mu.Unlock()
					time.Sleep(time.Second)
					return 1, nil
				}, dispatch.WithConcurrency(1))
				first := send(t, d)
				synctest.Wait()
				var waiting []*inFlight
				for range 3 {
					if end == "deadline" {
						waiting = append(waiting, send(t, d, dispatch.WithTimeout(time.Second)))
						continue
					}
					c := send(t, d)
					time.AfterFunc(time.Second, func() { c.Cancel(nil) })
					waiting = append(waiting, c)
				}
				<-first.Done()
				time.Sleep(10 * time.Second)
				synctest.Wait()
				for _, c := range waiting {
					if started := c.Report().Outcomes[0].Started; runs[c.ID()] != map[bool]int{true: 1}[started] {
						t.Errorf("started: %v, but it ran %d times", started, runs[c.ID()])
					}
				}
				if r := ended(t, d); r.Elapsed != time.Second {
					t.Errorf("a call after that took %v, so a slot is lost; %s", r.Elapsed, told(r))
				}
			})
			if t.Failed() {
				return
			}
		}
	}
}

// TestWithConcurrency counts the runs that overlap: across calls, topics and
// whatever the calls allow.
func TestWithConcurrency(t *testing.T) {
	a, b := dispatch.NewTopic[int, int]("a"), dispatch.NewTopic[int, int]("b")
	tests := []struct {
		opts []dispatch.ProducerOption
		want []time.Duration // the ends of six calls
		most int32
	}{
		{nil, []time.Duration{1, 1, 1, 1, 1, 1}, 6},
		{[]dispatch.ProducerOption{dispatch.WithConcurrency(1)}, []time.Duration{1, 2, 3, 4, 5, 6}, 1},
		{[]dispatch.ProducerOption{dispatch.WithConcurrency(2)}, []time.Duration{1, 1, 2, 2, 3, 3}, 2},
		{[]dispatch.ProducerOption{dispatch.WithConcurrency(6)}, []time.Duration{1, 1, 1, 1, 1, 1}, 6},
		{[]dispatch.ProducerOption{dispatch.WithConcurrency(1), dispatch.WithConcurrency(3)}, []time.Duration{1, 1, 1, 2, 2, 2}, 3},
		{[]dispatch.ProducerOption{dispatch.WithSemaphore(semaphore.NewWeighted(1))}, []time.Duration{1, 2, 3, 4, 5, 6}, 1},
		{[]dispatch.ProducerOption{dispatch.WithSemaphore(semaphore.NewWeighted(2)), dispatch.WithConcurrency(4)}, []time.Duration{1, 1, 2, 2, 3, 3}, 2},
		{[]dispatch.ProducerOption{dispatch.WithSemaphore(semaphore.NewWeighted(4)), dispatch.WithConcurrency(2)}, []time.Duration{1, 1, 2, 2, 3, 3}, 2},
	}
	for _, tt := range tests {
		bubble(t, fmt.Sprint(tt.most, tt.want), func(t *testing.T) {
			d := quiet[int, int](dispatch.WithTimeout(time.Minute))
			var asked events[int]
			var running, most atomic.Int32
			must(d.AddProducer(dispatch.AnyOf(a, b), func(_ context.Context, i int) (int, error) {
				asked.add(i)
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(time.Second)
				running.Add(-1)
				return i, nil
			}, tt.opts...))
			var calls []*dispatch.Call[int, int]
			for i := range 6 {
				calls = append(calls, must(d.Send(t.Context(), []dispatch.Topic[int, int]{a, b}[i%2], i)))
				synctest.Wait()
			}
			var ends []time.Duration
			for _, c := range calls {
				<-c.Done()
				ends = append(ends, c.Report().Elapsed/time.Second)
			}
			equal(t, "runs at the same time", most.Load(), tt.most)
			equal(t, "ends in seconds, first come first served", ends, tt.want)
			if tt.most == 1 {
				equal(t, "order", asked.take(), []int{0, 1, 2, 3, 4, 5})
			}
		})
	}
}

func TestWithSemaphoreIsSharedByRegistrations(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		instrument := semaphore.NewWeighted(1)
		d := quiet[int, int]()
		others := dispatch.On[string, string](d.Bus())
		a, b := dispatch.NewTopic[int, int]("a"), dispatch.NewTopic[string, string]("b")
		must(d.AddProducer(a, answerAfter[int](1, time.Second), dispatch.WithSemaphore(instrument)))
		must(d.AddProducer(a, answerAfter[int](2, time.Second), dispatch.WithSemaphore(instrument)))
		must(d.AddProducer(a, answerAfter[int](3, time.Second)))
		must(others.AddProducer(b, answerAfter[string]("", time.Second), dispatch.WithSemaphore(instrument)))

		ints := must(d.Send(t.Context(), a, 0))
		synctest.Wait()
		strs := must(others.Send(t.Context(), b, ""))
		<-strs.Done()
		equal(t, "end of the third run", strs.Report().Elapsed, 3*time.Second)
		<-ints.Done()
		equal(t, "end of the second run", ints.Report().Elapsed, 2*time.Second)
		if !instrument.TryAcquire(1) {
			t.Error("the semaphore is still held")
		}
	})
}

func TestQueuedCallExpires(t *testing.T) {
	topic := dispatch.NewTopic[int, int]("a")
	cause := errors.New("the question is settled")
	limits := map[string]func() dispatch.ProducerOption{
		"WithConcurrency": func() dispatch.ProducerOption { return dispatch.WithConcurrency(1) },
		"WithSemaphore":   func() dispatch.ProducerOption { return dispatch.WithSemaphore(semaphore.NewWeighted(1)) },
	}
	tests := []struct {
		name string
		end  func(c *dispatch.Call[int, int])
		want string
		err  error
	}{
		{"expires", func(*dispatch.Call[int, int]) {}, "producer-1 late", context.DeadlineExceeded},
		{"is canceled", func(c *dispatch.Call[int, int]) { c.Cancel(cause) }, "producer-1 canceled", cause},
	}
	for limit, option := range limits {
		for _, tt := range tests {
			bubble(t, limit+"/"+tt.name, func(t *testing.T) {
				d := quiet[int, int]()
				var asked events[int]
				must(d.AddProducer(topic, func(_ context.Context, i int) (int, error) {
					asked.add(i)
					time.Sleep(2 * time.Second)
					return i, nil
				}, option()))
				busy := must(d.Send(t.Context(), topic, 1))
				synctest.Wait()
				queued := must(d.Send(t.Context(), topic, 2, dispatch.WithTimeout(time.Second)))
				synctest.Wait()
				patient := must(d.Send(t.Context(), topic, 3))
				synctest.Wait()
				tt.end(queued)
				<-queued.Done()
				<-busy.Done()
				<-patient.Done()
				equal(t, "busy", states(busy.Report()), "producer-1 ok")
				equal(t, "patient", states(patient.Report()), "producer-1 ok")
				equal(t, "duration of patient", patient.Report().Elapsed, 4*time.Second)
				equal(t, "queued", states(queued.Report()), tt.want)
				if o := queued.Report().Outcomes[0]; o.Started || !errors.Is(o.Err, tt.err) {
					t.Errorf("queued: Started %v, Err %v", o.Started, o.Err)
				}
				time.Sleep(time.Minute)
				equal(t, "asked", asked.take(), []int{1, 3})
				atRest(t, d.Bus())
			})
		}
	}
}

// TestWithSemaphoreAndWithConcurrency has a call expire that has got the one and
// waits for the other.
func TestWithSemaphoreAndWithConcurrency(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		instrument := semaphore.NewWeighted(1)
		d := quiet[int, int]()
		topic := dispatch.NewTopic[int, int]("a")
		must(d.AddProducer(topic, answerAfter[int](1, 0), dispatch.WithConcurrency(1), dispatch.WithSemaphore(instrument)))
		instrument.TryAcquire(1) // it is taken
		c := must(d.Send(t.Context(), topic, 0))
		<-c.Done()
		equal(t, "outcome", states(c.Report()), "producer-1 late")
		instrument.Release(1)
		equal(t, "answers", must(d.Gather(t.Context(), topic, 0)), []int{1})
		if !instrument.TryAcquire(1) {
			t.Error("the semaphore is still held")
		}
	})
}

// A run that waits for a slot when its producer is removed ends at once.
func TestRemovedProducerDoesNotWaitForASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		busy := semaphore.NewWeighted(1)
		busy.TryAcquire(1)
		r := produce(t, d, "a", quick(1), dispatch.WithSemaphore(busy))
		s := produce(t, d, "b", quick(1), dispatch.WithSemaphore(busy), dispatch.WithGroup("g"))
		produce(t, d, "c", quick(1), dispatch.WithGroup("g"))
		c := send(t, d)
		synctest.Wait()
		r.Remove()
		s.Remove()
		<-c.Done()
		expect(t, c.Report(), "all ended: a gone, g/c ok")
		if e := c.Report().Elapsed; e != 0 {
			t.Errorf("the call took %v", e)
		}
		synctest.Wait()
		busy.Release(1)
		if !busy.TryAcquire(1) {
			t.Error("a removed producer waits for a slot")
		}
	})
}

// A producer that gets stuck while a run waits for a slot is not asked by that run.
func TestStuckProducerIsNotAskedAfterTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithMaxAbandoned(1))
		first, second := make(chan struct{}), make(chan struct{})
		gates := []<-chan struct{}{first, second}
		produce(t, d, "a", func(ctx context.Context, _ int) (int, error) {
			gate := gates[0]
			gates = gates[1:]
			<-gate
			return 1, nil
		}, dispatch.WithConcurrency(2))
		outlived := send(t, d, dispatch.WithTimeout(time.Second))
		synctest.Wait()
		inTime := send(t, d, dispatch.WithTimeout(time.Minute))
		synctest.Wait()
		waits := send(t, d, dispatch.WithTimeout(time.Minute))
		time.Sleep(2 * time.Second)
		close(second)
		<-waits.Done()
		synctest.Wait() // its slot is free before the call that has used it has ended
		expect(t, outlived.Report(), "deadline: a late")
		expect(t, inTime.Report(), "all ended: a ok")
		expect(t, waits.Report(), "all ended: a rejected")
		close(first)
	})
}
