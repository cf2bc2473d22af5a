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

	"golang.org/x/sync/semaphore"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestFault11WhoRegistersLaterNeverJoins(t *testing.T) {
	apiBubble(t, "", func(t *testing.T) {
		d := apiQuiet[int, int]()
		topic := dispatch.NewTopic[int, int]("a")
		join := func(name string) {
			apiMust(d.AddProducer(topic, apiAnswer[int](9, 0), dispatch.WithName(name)))
		}
		// The members run one after another, so the last is started long after
		// the others have registered.
		apiMust(d.AddProducer(topic, func(context.Context, int) (int, error) {
			join("from inside")
			time.Sleep(2 * time.Second)
			return 1, nil
		}, dispatch.WithName("first")))
		apiMust(d.AddProducer(topic, apiAnswer[int](2, 0), dispatch.WithName("second")))
		c := apiMust(d.Send(t.Context(), topic, 0, dispatch.WithParallelism(1)))
		join("after Send")
		time.Sleep(time.Second)
		join("in mid-call")
		<-c.Done()
		apiEqual(t, "outcomes", apiEnds(c.Report()), "first ok second ok")
	})
}

func TestFault11RemovedProducer(t *testing.T) {
	tests := []struct {
		name   string
		remove func(running, waiting *dispatch.Registration)
		want   string
		values []int
	}{
		{"while it runs, still answers", func(running, _ *dispatch.Registration) { running.Remove() }, "running ok waiting ok last ok", []int{1, 2, 3}},
		{"before it is started, is Gone", func(_, waiting *dispatch.Registration) { waiting.Remove() }, "running ok waiting gone last ok", []int{1, 3}},
	}
	for _, tt := range tests {
		apiBubble(t, tt.name, func(t *testing.T) {
			d := apiQuiet[int, int]()
			topic := dispatch.NewTopic[int, int]("a")
			running := apiMust(d.AddProducer(topic, apiAnswer[int](1, time.Second), dispatch.WithName("running")))
			waiting := apiMust(d.AddProducer(topic, apiAnswer[int](2, 0), dispatch.WithName("waiting")))
			apiMust(d.AddProducer(topic, apiAnswer[int](3, 0), dispatch.WithName("last")))
			c := apiMust(d.Send(t.Context(), topic, 0, dispatch.WithParallelism(1)))
			synctest.Wait()
			tt.remove(running, waiting)
			<-c.Done()
			r := c.Report()
			apiEqual(t, "outcomes", apiEnds(r), tt.want)
			apiEqual(t, "reason", r.Reason, dispatch.ReasonAllEnded)
			for _, o := range r.Outcomes {
				if gone := o.State == dispatch.StateGone; gone != errors.Is(o.Err, dispatch.ErrRemoved) || gone == o.Started {
					t.Errorf("%v: Started %v, Err %v", o.Member, o.Started, o.Err)
				}
			}
			var values []int
			for r := range c.Results() {
				values = append(values, r.Value)
			}
			apiEqual(t, "values", values, tt.values)
		})
	}
}

func TestFault11RemovedListener(t *testing.T) {
	for _, drain := range []bool{false, true} {
		apiBubble(t, map[bool]string{false: "Remove discards what waits", true: "Drain delivers what waits"}[drain], func(t *testing.T) {
			d := apiQuiet[int, int]()
			topic := dispatch.NewTopic[int, int]("a")
			for i := range 4 {
				apiMust(d.AddProducer(topic, apiAnswer[int](i, time.Duration(i)*100*time.Millisecond)))
			}
			var heard, ended apiEvents[int]
			var done apiEvents[dispatch.Reason]
			l := apiMust(d.AddListener(topic, func(_ context.Context, r dispatch.Result[int, int]) {
				heard.add(r.Value)
				time.Sleep(time.Second)
				ended.add(r.Value)
			}, dispatch.OnDone(func(r dispatch.Report) { done.add(r.Reason) })))
			start := time.Now()
			c := apiMust(d.Send(t.Context(), topic, 0))

			// By now one result is being delivered, two wait and one is to come.
			time.Sleep(250 * time.Millisecond)
			want, end := []int{0}, 250*time.Millisecond
			if drain {
				want, end = []int{0, 1, 2}, 3*time.Second
				apiDrain(t, l)
				apiEqual(t, "callbacks that have returned after Drain", ended.take(), want)
			} else {
				l.Remove()
			}
			apiEqual(t, "time", time.Since(start), end)
			<-c.Done()
			time.Sleep(time.Hour)
			apiEqual(t, "heard", heard.take(), want)
			apiEqual(t, "OnDone", done.take(), nil)
			apiAtRest(t, d.Bus())
		})
	}
}

// TestFault11AddAndRemoveUnderLoad has registrations come and go while calls are
// made, and compares each call with who was there at its start. Everything takes
// virtual time, so whatever happens at an instant is over at the next.
func TestFault11AddAndRemoveUnderLoad(t *testing.T) {
	const (
		churners, rounds = 8, 40
		senders, calls   = 4, 100
		tick             = time.Microsecond
	)
	type life struct{ added, present, leaving time.Duration }
	apiBubble(t, "", func(t *testing.T) {
		d := apiQuiet[int, int]()
		topic := dispatch.NewTopic[int, int]("cell.1")
		selectors := []dispatch.Selector[int, int]{
			topic, dispatch.NewPattern[int, int]("cell.*"), dispatch.AnyOf(dispatch.NewTopic[int, int]("cell.2"), topic),
		}
		mailboxes := [][]dispatch.ListenerOption{nil, {dispatch.WithMailbox(3, dispatch.DropOldest)}, {dispatch.WithConcurrency(2)}}
		start := time.Now()
		var lives sync.Map // name → *life, complete at the end
		var all []*dispatch.Call[int, int]
		var mu sync.Mutex
		var wait sync.WaitGroup
		for i := range churners {
			wait.Go(func() {
				for j := range rounds {
					var gone atomic.Bool
					begin := func(kind string) {
						if gone.Load() {
							t.Errorf("a %s was called after Remove", kind)
						}
					}
					name := fmt.Sprintf("p-%d-%d", i, j)
					l := &life{added: time.Since(start)}
					selector := selectors[(i+j)%len(selectors)]
					p := apiMust(d.AddProducer(selector, func(context.Context, int) (int, error) {
						begin("producer")
						time.Sleep(time.Duration(j%5) * tick)
						return j, nil
					}, dispatch.WithName(name), dispatch.WithConcurrency(1+i)))
					r := apiMust(d.AddListener(selector, func(context.Context, dispatch.Result[int, int]) {
						begin("listener")
						time.Sleep(time.Duration(j%3) * tick)
					}, append(mailboxes[j%len(mailboxes)], dispatch.OnDone(func(dispatch.Report) { begin("OnDone hook") }))...))
					l.present = time.Since(start)
					time.Sleep(time.Duration(i+j%7) * tick)
					l.leaving = time.Since(start)
					if j%4 == 3 {
						apiDrain(t, p)
						apiDrain(t, r)
					} else {
						p.Remove()
						r.Remove()
					}
					time.Sleep(time.Nanosecond) // whatever was in the act of starting has started
					gone.Store(true)
					lives.Store(name, l)
				}
			})
		}
		apiMust(d.AddProducer(topic, apiAnswer[int](0, 0), dispatch.WithName("always")))
		for i := range senders {
			wait.Go(func() {
				for range calls {
					c := apiMust(d.Send(t.Context(), topic, 0, dispatch.WithParallelism(1+i)))
					mu.Lock()
					all = append(all, c)
					mu.Unlock()
					time.Sleep(time.Duration(1+i) * tick / 2)
				}
			})
		}
		wait.Wait()
		time.Sleep(time.Second)
		var members int
		for _, c := range all {
			at := c.Report().Started.Sub(start)
			asked := apiAsked(c)
			members += len(asked)
			if !slices.Contains(asked, "always") {
				t.Fatalf("call %v did not ask the producer that was always there", c.ID())
			}
			if n := len(slices.Compact(slices.Clone(asked))); n != len(asked) {
				t.Errorf("call %v asked somebody twice: %v", c.ID(), asked)
			}
			for name, v := range lives.Range {
				l := v.(*life)
				in := slices.Contains(asked, name.(string))
				if in && at < l.added {
					t.Errorf("call %v of %v asked %v, which was added at %v", c.ID(), at, name, l.added)
				}
				if !in && l.present < at && at < l.leaving {
					t.Errorf("call %v of %v did not ask %v, which was there from %v to %v", c.ID(), at, name, l.present, l.leaving)
				}
				if in && at > l.leaving {
					t.Errorf("call %v of %v asked %v, which was removed at %v", c.ID(), at, name, l.leaving)
				}
			}
		}
		if members < 2*len(all) {
			t.Errorf("only %d members in %d calls: the test does not test much", members, len(all))
		}
		apiAtRest(t, d.Bus())
	})
}

func TestFault13DuplicateName(t *testing.T) {
	a, b := dispatch.NewTopic[int, int]("cell.1"), dispatch.NewTopic[int, int]("cell.2")
	pattern := dispatch.NewPattern[int, int]
	type selector = dispatch.Selector[int, int]
	tests := []struct {
		name        string
		first, next selector
		duplicate   bool
	}{
		{"the same topic", a, a, true},
		{"another handle of it", a, dispatch.NewTopic[int, int]("cell.1"), true},
		{"other topics", a, b, false},
		{"one topic of several", a, dispatch.AnyOf(b, a), true},
		{"several topics with one in common", dispatch.AnyOf(a, b), dispatch.AnyOf(b, dispatch.NewTopic[int, int]("cell.3")), true},
		{"several topics with none in common", dispatch.AnyOf(a), dispatch.AnyOf(b, dispatch.NewTopic[int, int]("cell.3")), false},
		{"pattern over the topic", a, pattern("cell.*"), true},
		{"pattern beside the topic", a, pattern("*.2"), false},
		{"pattern over one of several topics", dispatch.AnyOf(a, b), pattern("*.2"), true},
		{"the same pattern", pattern("cell.*"), pattern("cell.*"), true},
		{"patterns that meet", pattern("cell.*"), pattern("*.1"), true},
		{"patterns that meet in the distance", pattern("*.measure.>"), pattern("cell.>"), true},
		{"patterns that do not meet", pattern("cell.*"), pattern("site.*"), false},
		{"patterns of other lengths", pattern("cell.*"), pattern("cell.*.*"), false},
		{"everything", pattern(">"), pattern("cell.*"), true},
		{"everything and a topic", pattern(">"), a, true},
	}
	for _, tt := range tests {
		for _, swapped := range []bool{false, true} {
			for _, occupied := range []bool{false, true} {
				apiBubble(t, fmt.Sprintf("%s/swapped=%v/occupied=%v", tt.name, swapped, occupied), func(t *testing.T) {
					d := apiQuiet[int, int]()
					first, next := tt.first, tt.next
					if swapped {
						first, next = next, first
					}
					if occupied { // the topics are known to the registry
						apiMust(d.AddProducer(dispatch.AnyOf(a, b), apiAnswer[int](0, 0)))
					}
					asked := func() []string {
						return append(apiAsked(apiMust(d.Send(t.Context(), a, 0))), apiAsked(apiMust(d.Send(t.Context(), b, 0)))...)
					}

					r := apiMust(d.AddProducer(first, apiAnswer[int](1, 0), dispatch.WithName("p")))
					before := asked()
					second, err := d.AddProducer(next, apiAnswer[int](2, 0), dispatch.WithName("p"))
					if !tt.duplicate {
						if err != nil {
							t.Errorf("got %v, want no error", err)
						}
						return
					}
					if !errors.Is(err, dispatch.ErrDuplicate) || second != nil {
						t.Fatalf("got %v, %v, want ErrDuplicate", second, err)
					}
					if !strings.Contains(err.Error(), `"p"`) {
						t.Errorf("the error %q does not show the name", err)
					}
					apiEqual(t, "members", asked(), before)

					// Another name is welcome, and so is this one from now on.
					apiMust(d.AddProducer(next, apiAnswer[int](2, 0), dispatch.WithName("q"))).Remove()
					r.Remove()
					apiMust(d.AddProducer(next, apiAnswer[int](2, 0), dispatch.WithName("p")))
				})
			}
		}
	}
	apiBubble(t, "among many", func(t *testing.T) {
		d := apiQuiet[int, int]()
		var added []*dispatch.Registration
		var names []string
		for i := range 100 {
			names = append(names, fmt.Sprintf("p%02d", i))
			added = append(added, apiMust(d.AddProducer(a, apiAnswer[int](i, 0), dispatch.WithName(names[i]))))
		}
		for i, r := range added {
			if _, err := d.AddProducer(a, apiAnswer[int](0, 0), dispatch.WithName(names[i])); !errors.Is(err, dispatch.ErrDuplicate) {
				t.Errorf("%s: got %v, want ErrDuplicate", names[i], err)
			}
			r.Remove()
			apiMust(d.AddProducer(a, apiAnswer[int](0, 0), dispatch.WithName(names[i])))
		}
		apiEqual(t, "members", apiAsked(apiMust(d.Send(t.Context(), a, 0))), names)
	})
	apiBubble(t, "producers of other types", func(t *testing.T) {
		d := apiQuiet[int, int]()
		apiMust(d.AddProducer(pattern(">"), apiAnswer[int](1, 0), dispatch.WithName("p")))
		others := dispatch.On[string, int](d.Bus())
		apiMust(others.AddProducer(dispatch.NewPattern[string, int](">"), apiAnswer[string](1, 0), dispatch.WithName("p")))
		apiMust(others.AddProducer(dispatch.NewTopic[string, int]("other"), apiAnswer[string](1, 0), dispatch.WithName("q")))
	})
	apiBubble(t, "listeners", func(t *testing.T) {
		d := apiQuiet[int, int]()
		hear := func(context.Context, dispatch.Result[int, int]) {}
		apiMust(d.AddProducer(a, apiAnswer[int](1, 0), dispatch.WithName("p")))
		for range 2 {
			apiMust(d.AddListener(a, hear, dispatch.WithName("p")))
		}
	})
}

func TestFault13RaceForANameHasOneWinner(t *testing.T) {
	a, b := dispatch.NewTopic[int, int]("cell.1"), dispatch.NewTopic[int, int]("cell.2")
	for round := range 50 {
		d := apiQuiet[int, int]()
		selectors := []dispatch.Selector[int, int]{a, dispatch.NewPattern[int, int]("cell.*"), dispatch.AnyOf(a, b), dispatch.NewPattern[int, int](">")}
		start := make(chan struct{})
		var winners atomic.Int32
		var wait sync.WaitGroup
		for i := range 16 {
			wait.Go(func() {
				<-start
				switch _, err := d.AddProducer(selectors[i%len(selectors)], apiAnswer[int](0, 0), dispatch.WithName("p")); {
				case err == nil:
					winners.Add(1)
				case !errors.Is(err, dispatch.ErrDuplicate):
					t.Errorf("got %v, want ErrDuplicate", err)
				}
			})
		}
		close(start)
		wait.Wait()
		if n := winners.Load(); n != 1 {
			t.Fatalf("round %d: %d winners", round, n)
		}
		apiEqual(t, "members", apiAsked(apiMust(d.Send(t.Context(), a, 0))), []string{"p"})
	}
}

func TestFault14InvalidArgument(t *testing.T) {
	d := apiQuiet[int, int]()
	ctx := context.Background()
	var none context.Context
	topic, zero := dispatch.NewTopic[int, int]("a"), dispatch.Topic[int, int]{}
	produce := apiAnswer[int](0, 0)
	produceStream := func(context.Context, int) iter.Seq2[int, error] { return nil }
	relay := func(context.Context, int, *dispatch.Roster[int]) error { return nil }
	listen := func(context.Context, dispatch.Result[int, int]) {}
	registration := apiMust(d.AddProducer(dispatch.NewTopic[int, int]("b"), produce))
	call := apiMust(d.Send(ctx, topic, 0))
	var nobody *dispatch.Dispatcher[int, int]
	noError := func(_ any, err error) error { return err }
	stream := func(d *dispatch.Dispatcher[int, int], ctx context.Context, topic dispatch.Topic[int, int]) (err error) {
		for _, e := range d.Stream(ctx, topic, 0) {
			err = errors.Join(err, e)
		}
		return err
	}
	tests := []struct {
		err  error
		want []string
	}{
		{noError(d.AddProducer(topic, nil)), []string{"AddProducer", "nil func"}},
		{noError(d.AddStreamProducer(topic, nil)), []string{"AddStreamProducer", "nil func"}},
		{noError(d.AddRelay(topic, nil)), []string{"AddRelay", "nil func"}},
		{noError(d.AddListener(topic, nil)), []string{"AddListener", "nil func"}},
		{apiPanic(func() { d.OnLate(nil) }), []string{"OnLate", "nil func"}},

		{noError(d.AddProducer(nil, produce)), []string{"AddProducer", "nil Selector"}},
		{noError(d.AddStreamProducer(nil, produceStream)), []string{"AddStreamProducer", "nil Selector"}},
		{noError(d.AddRelay(nil, relay)), []string{"AddRelay", "nil Selector"}},
		{noError(d.AddListener(nil, listen)), []string{"AddListener", "nil Selector"}},
		{noError(d.AddProducer(zero, produce)), []string{"AddProducer", "zero Topic"}},
		{noError(d.AddListener(zero, listen)), []string{"AddListener", "zero Topic"}},
		{noError(d.AddProducer(dispatch.AnyOf(topic, zero), produce)), []string{"AddProducer", "zero Topic at index 1"}},
		{noError(d.AddProducer(dispatch.AnyOf[int, int](), produce)), []string{"AddProducer", "no Topics"}},
		{noError(d.AddListener(dispatch.Topics[int, int](nil), listen)), []string{"AddListener", "no Topics"}},
		{noError(d.AddProducer(dispatch.Pattern[int, int]{}, produce)), []string{"AddProducer", "zero Pattern"}},
		{noError(d.AddListener(dispatch.Pattern[int, int]{}, listen)), []string{"AddListener", "zero Pattern"}},
		{noError(d.Send(ctx, zero, 0)), []string{"Send", "zero Topic"}},
		{noError(d.Gather(ctx, zero, 0)), []string{"zero Topic"}},
		{noError(d.First(ctx, zero, 0)), []string{"zero Topic"}},
		{stream(d, ctx, zero), []string{"Stream", "zero Topic"}},

		{noError(d.Send(none, topic, 0)), []string{"Send", "nil context"}},
		{noError(d.Gather(none, topic, 0)), []string{"nil context"}},
		{noError(d.First(none, topic, 0)), []string{"nil context"}},
		{stream(d, none, topic), []string{"Stream", "nil context"}},
		{call.Wait(none), []string{"Wait", "nil context"}},
		{registration.Drain(none), []string{"Drain", "nil context"}},
		{d.Shutdown(none), []string{"Shutdown", "nil context"}},
		{d.Bus().Shutdown(none), []string{"Shutdown", "nil context"}},

		{apiPanic(func() { dispatch.On[int, int](nil) }), []string{"On", "nil Bus"}},
	}
	for _, d := range []*dispatch.Dispatcher[int, int]{nobody, new(dispatch.Dispatcher[int, int])} {
		tests = append(tests, []struct {
			err  error
			want []string
		}{
			{noError(d.AddProducer(topic, produce)), []string{"AddProducer", "zero Dispatcher"}},
			{noError(d.AddStreamProducer(topic, produceStream)), []string{"AddStreamProducer", "zero Dispatcher"}},
			{noError(d.AddRelay(topic, relay)), []string{"AddRelay", "zero Dispatcher"}},
			{noError(d.AddListener(topic, listen)), []string{"AddListener", "zero Dispatcher"}},
			{noError(d.Send(ctx, topic, 0)), []string{"Send", "zero Dispatcher"}},
			{noError(d.Gather(ctx, topic, 0)), []string{"zero Dispatcher"}},
			{noError(d.First(ctx, topic, 0)), []string{"zero Dispatcher"}},
			{stream(d, ctx, topic), []string{"Stream", "zero Dispatcher"}},
			{d.Shutdown(ctx), []string{"zero Dispatcher"}},
			{d.Close(), []string{"zero Dispatcher"}},
		}...)
	}
	for i, tt := range tests {
		if !errors.Is(tt.err, dispatch.ErrInvalidArgument) {
			t.Errorf("row %d: got %v, want ErrInvalidArgument that says %q", i, tt.err, tt.want)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(tt.err.Error(), want) {
				t.Errorf("row %d: the error %q does not say %q", i, tt.err, want)
			}
		}
	}
	// Nothing of all that was registered, and Shutdown(nil) has shut nothing.
	apiEqual(t, "members", apiAsked(apiMust(d.Send(ctx, topic, 0))), []string{})
}

func TestFault14NilResultIsAResult(t *testing.T) {
	apiBubble(t, "pointer", func(t *testing.T) {
		apiNilResult[*apiReading](t)
	})
	apiBubble(t, "interface", func(t *testing.T) {
		apiNilResult[error](t)
	})
	apiBubble(t, "map", func(t *testing.T) {
		apiNilResult[map[string]int](t)
	})
}

func apiNilResult[Res any](t *testing.T) {
	d := apiQuiet[any, Res]()
	topic := dispatch.NewTopic[any, Res]("a")
	var null Res
	var heard atomic.Int32
	apiMust(d.AddProducer(topic, func(context.Context, any) (Res, error) { return null, nil }))
	apiMust(d.AddListener(topic, func(_ context.Context, r dispatch.Result[any, Res]) { heard.Add(1) }))
	c := apiMust(d.Send(t.Context(), topic, nil)) // a nil request is a request
	<-c.Done()
	apiEqual(t, "outcome", apiEnds(c.Report()), "producer-1 ok")
	apiEqual(t, "number of results", c.Report().Outcomes[0].Results, 1)
	n := 0
	for range c.Results() {
		n++
	}
	apiEqual(t, "results read", n, 1)
	apiEqual(t, "values gathered", len(apiMust(d.Gather(t.Context(), topic, nil))), 1)
	apiMust(d.First(t.Context(), topic, nil))
	apiAtRest(t, d.Bus())
	apiEqual(t, "results heard", heard.Load(), 3)
}

func TestProducerDrains(t *testing.T) {
	topic := dispatch.NewTopic[int, int]("a")
	long := dispatch.WithTimeout(time.Minute)
	apiBubble(t, "at rest returns at once", func(t *testing.T) {
		d := apiQuiet[int, int]()
		p := apiMust(d.AddProducer(topic, apiAnswer[int](1, 0)))
		apiMust(d.Gather(t.Context(), topic, 0))
		start := time.Now()
		apiDrain(t, p)
		apiEqual(t, "duration", time.Since(start), 0)
		apiEqual(t, "members", apiAsked(apiMust(d.Send(t.Context(), topic, 0))), []string{})
	})
	apiBubble(t, "finishes what runs and what waits", func(t *testing.T) {
		d := apiQuiet[int, int]()
		p := apiMust(d.AddProducer(topic, apiAnswer[int](1, time.Second), dispatch.WithConcurrency(1)))
		apiMust(d.AddProducer(topic, apiAnswer[int](2, 30*time.Second))) // the calls outlive the drain
		start := time.Now()
		var calls []*dispatch.Call[int, int]
		for range 3 {
			calls = append(calls, apiMust(d.Send(t.Context(), topic, 0, long)))
		}
		time.Sleep(100 * time.Millisecond)
		drained := make(chan time.Duration)
		go func() {
			apiDrain(t, p)
			drained <- time.Since(start)
		}()
		synctest.Wait()
		apiEqual(t, "members of a call sent during the drain", apiAsked(apiMust(d.Send(t.Context(), topic, 0))), []string{"producer-2"})
		apiEqual(t, "end of the drain", <-drained, 3*time.Second)
		for _, c := range calls {
			apiEqual(t, "reason after the drain", c.Report().Reason, dispatch.ReasonPending)
		}
		for _, c := range calls {
			<-c.Done()
			apiEqual(t, "outcomes", apiEnds(c.Report()), "producer-1 ok producer-2 ok")
		}
	})
	apiBubble(t, "waits for a run that outlives its call", func(t *testing.T) {
		d := apiQuiet[int, int]()
		p := apiMust(d.AddProducer(topic, apiAnswer[int](1, time.Minute)))
		start := time.Now()
		c := apiMust(d.Send(t.Context(), topic, 0, dispatch.WithTimeout(time.Second)))
		<-c.Done()
		apiDrain(t, p)
		apiEqual(t, "end of the drain", time.Since(start), time.Minute)
	})
	apiBubble(t, "becomes Remove when its context ends", func(t *testing.T) {
		d := apiQuiet[int, int]()
		p := apiMust(d.AddProducer(topic, apiAnswer[int](1, 10*time.Second), dispatch.WithConcurrency(1)))
		var calls []*dispatch.Call[int, int]
		for range 3 {
			calls = append(calls, apiMust(d.Send(t.Context(), topic, 0, long)))
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := p.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the error of the context", err)
		}
		apiEqual(t, "duration", time.Since(start), time.Second)
		var ends []string
		for _, c := range calls {
			<-c.Done()
			ends = append(ends, apiEnds(c.Report()))
		}
		apiEqual(t, "outcomes", ends, []string{"producer-1 ok", "producer-1 gone", "producer-1 gone"})
	})
	apiBubble(t, "more than one at a time", func(t *testing.T) {
		d := apiQuiet[int, int]()
		p := apiMust(d.AddProducer(topic, apiAnswer[int](1, time.Second)))
		apiMust(d.Send(t.Context(), topic, 0))
		start := time.Now()
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() {
				apiDrain(t, p)
				apiEqual(t, "end of the drain", time.Since(start), time.Second)
			})
		}
		wait.Wait()
		apiDrain(t, p)
		p.Remove()
	})
	apiBubble(t, "from inside waits for itself until its context ends", func(t *testing.T) {
		d := apiQuiet[int, int]()
		var p *dispatch.Registration
		p = apiMust(d.AddProducer(topic, func(ctx context.Context, _ int) (int, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return 1, p.Drain(ctx)
		}))
		c := apiMust(d.Send(t.Context(), topic, 0))
		<-c.Done()
		r := c.Report()
		apiEqual(t, "outcome", apiEnds(r), "producer-1 failed")
		apiEqual(t, "duration", r.Elapsed, time.Second)
		if !errors.Is(r.Err(), context.DeadlineExceeded) {
			t.Errorf("got %v, want the error of the context", r.Err())
		}
	})
}

func TestListenerDrains(t *testing.T) {
	topic := dispatch.NewTopic[int, int]("a")
	slow := func(heard *apiEvents[int]) dispatch.Listener[int, int] {
		return func(_ context.Context, r dispatch.Result[int, int]) {
			heard.add(r.Value)
			time.Sleep(time.Second)
		}
	}
	apiBubble(t, "at rest returns at once", func(t *testing.T) {
		d := apiQuiet[int, int]()
		var heard apiEvents[int]
		l := apiMust(d.AddListener(topic, slow(&heard)))
		apiMust(d.AddProducer(topic, apiAnswer[int](1, time.Second)))
		c := apiMust(d.Send(t.Context(), topic, 0))
		start := time.Now()
		apiDrain(t, l) // the result that is to come was not accepted
		apiEqual(t, "duration", time.Since(start), 0)
		<-c.Done()
		apiAtRest(t, d.Bus())
		apiEqual(t, "heard", heard.take(), nil)
	})
	apiBubble(t, "finishes the calls that have ended, with their OnDone", func(t *testing.T) {
		d := apiQuiet[int, int]()
		var heard apiEvents[int]
		var done apiEvents[dispatch.CallID]
		l := apiMust(d.AddListener(topic, slow(&heard), dispatch.OnDone(func(r dispatch.Report) { done.add(r.Call) })))
		apiMust(d.AddProducer(topic, func(_ context.Context, i int) (int, error) { return i, nil }))
		var ids []dispatch.CallID
		for i := range 3 {
			c := apiMust(d.Send(t.Context(), topic, i))
			<-c.Done()
			synctest.Wait() // so that the calls are in order
			ids = append(ids, c.ID())
		}
		start := time.Now()
		apiDrain(t, l)
		apiEqual(t, "duration", time.Since(start), 3*time.Second)
		apiEqual(t, "heard", heard.take(), []int{0, 1, 2})
		apiEqual(t, "OnDone", done.take(), ids)
	})
	for _, mailbox := range [][]dispatch.ListenerOption{nil, {dispatch.WithMailbox(100, dispatch.DropNewest)}} {
		apiBubble(t, fmt.Sprint("accepts nothing more of calls in flight", mailbox), func(t *testing.T) {
			d := apiQuiet[[2]int, int]()
			topic := dispatch.NewTopic[[2]int, int]("a")
			var heard apiEvents[int]
			var done apiEvents[dispatch.CallID]
			l := apiMust(d.AddListener(topic, func(_ context.Context, r dispatch.Result[[2]int, int]) {
				heard.add(r.Value)
				time.Sleep(time.Second)
			}, dispatch.OnDone(func(r dispatch.Report) { done.add(r.Call) })))
			// The request says when to answer, in tenths of a second.
			for i := range 2 {
				apiMust(d.AddProducer(topic, func(_ context.Context, tenths [2]int) (int, error) {
					time.Sleep(time.Duration(tenths[i]) * 100 * time.Millisecond)
					return tenths[i], nil
				}))
			}
			start := time.Now()
			apiMust(d.Send(t.Context(), topic, [2]int{0, 15}))  // its first result is delivered, and it has none that waits
			apiMust(d.Send(t.Context(), topic, [2]int{5, 16}))  // its first result is being delivered
			apiMust(d.Send(t.Context(), topic, [2]int{11, 17})) // its first result waits
			apiMust(d.Send(t.Context(), topic, [2]int{18, 19})) // it has none yet
			time.Sleep(1200 * time.Millisecond)
			apiDrain(t, l)
			apiEqual(t, "end of the drain", time.Since(start), 3*time.Second)
			time.Sleep(time.Minute)
			apiEqual(t, "heard", heard.take(), []int{0, 5, 11})
			apiEqual(t, "OnDone", done.take(), nil)
			apiAtRest(t, d.Bus())
		})
	}
	apiBubble(t, "becomes Remove when its context ends", func(t *testing.T) {
		d := apiQuiet[int, int]()
		var heard apiEvents[int]
		l := apiMust(d.AddListener(topic, slow(&heard)))
		for i := range 5 {
			apiMust(d.AddProducer(topic, apiAnswer[int](i, time.Duration(i))))
		}
		apiMust(d.Gather(t.Context(), topic, 0))
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if err := l.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the error of the context", err)
		}
		time.Sleep(time.Minute)
		apiEqual(t, "heard", heard.take(), []int{0, 1})
		apiAtRest(t, d.Bus())
	})
	apiBubble(t, "from inside waits for itself until its context ends", func(t *testing.T) {
		d := apiQuiet[int, int]()
		var errs apiEvents[error]
		var l *dispatch.Registration
		l = apiMust(d.AddListener(topic, func(ctx context.Context, _ dispatch.Result[int, int]) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			errs.add(l.Drain(ctx))
		}))
		apiMust(d.AddProducer(topic, apiAnswer[int](1, 0)))
		apiMust(d.Gather(t.Context(), topic, 0))
		time.Sleep(time.Minute)
		if got := errs.take(); len(got) != 1 || !errors.Is(got[0], context.DeadlineExceeded) {
			t.Errorf("got %v, want the error of the context", got)
		}
	})
	apiBubble(t, "of OnLate", func(t *testing.T) {
		d := apiQuiet[int, int]()
		var late apiEvents[int]
		hook := d.OnLate(func(r dispatch.Result[int, int], _ time.Duration) {
			late.add(r.Value)
			time.Sleep(time.Minute)
		})
		for i := range 3 {
			apiMust(d.AddProducer(topic, apiAnswer[int](i, time.Duration(10+i)*time.Second)))
		}
		apiMust(d.Send(t.Context(), topic, 0, dispatch.WithTimeout(time.Second)))
		time.Sleep(11500 * time.Millisecond)
		start := time.Now()
		apiDrain(t, hook)
		apiEqual(t, "duration", time.Since(start), 2*time.Minute-1500*time.Millisecond)
		time.Sleep(time.Hour)
		apiEqual(t, "late", late.take(), []int{0, 1})
	})
}

func TestRemoveIsIdempotentAndLegalFromInside(t *testing.T) {
	topic := dispatch.NewTopic[int, int]("a")
	apiBubble(t, "twice and concurrently", func(t *testing.T) {
		d := apiQuiet[int, int]()
		for _, r := range []*dispatch.Registration{
			apiMust(d.AddProducer(topic, apiAnswer[int](1, 0))),
			apiMust(d.AddListener(topic, func(context.Context, dispatch.Result[int, int]) {})),
			d.OnLate(func(dispatch.Result[int, int], time.Duration) {}),
		} {
			var wait sync.WaitGroup
			for range 8 {
				wait.Go(r.Remove)
			}
			wait.Wait()
			r.Remove()
			apiDrain(t, r)
		}
		// It is the own registration that ends, not one that took its place.
		apiMust(d.AddProducer(topic, apiAnswer[int](1, 0))).Remove()
		old := apiMust(d.AddProducer(topic, apiAnswer[int](1, 0), dispatch.WithName("p")))
		old.Remove()
		apiMust(d.AddProducer(topic, apiAnswer[int](2, 0), dispatch.WithName("p")))
		old.Remove()
		apiEqual(t, "answers", apiMust(d.Gather(t.Context(), topic, 0)), []int{2})
	})
	apiBubble(t, "a producer removes itself", func(t *testing.T) {
		d := apiQuiet[int, int]()
		var p *dispatch.Registration
		p = apiMust(d.AddProducer(topic, func(context.Context, int) (int, error) {
			p.Remove()
			return 1, nil
		}))
		apiEqual(t, "answers", apiMust(d.Gather(t.Context(), topic, 0)), []int{1})
		apiEqual(t, "members", apiAsked(apiMust(d.Send(t.Context(), topic, 0))), []string{})
	})
	apiBubble(t, "a listener removes itself", func(t *testing.T) {
		d := apiQuiet[int, int]()
		for i := range 3 {
			apiMust(d.AddProducer(topic, apiAnswer[int](i, time.Duration(i))))
		}
		var heard apiEvents[int]
		var l *dispatch.Registration
		l = apiMust(d.AddListener(topic, func(_ context.Context, r dispatch.Result[int, int]) {
			heard.add(r.Value)
			if r.Value == 1 {
				l.Remove()
			}
		}, dispatch.OnDone(func(dispatch.Report) { t.Error("OnDone after Remove") })))
		apiMust(d.Gather(t.Context(), topic, 0))
		apiAtRest(t, d.Bus())
		apiEqual(t, "heard", heard.take(), []int{0, 1})
	})
	apiBubble(t, "a hook removes its listener", func(t *testing.T) {
		d := apiQuiet[int, int]()
		apiMust(d.AddProducer(topic, apiAnswer[int](1, 0)))
		var heard, done apiEvents[int]
		var l *dispatch.Registration
		l = apiMust(d.AddListener(topic, apiHear[int](&heard), dispatch.OnDone(func(dispatch.Report) {
			done.add(1)
			l.Remove()
		})))
		for range 3 {
			apiMust(d.Gather(t.Context(), topic, 0))
			synctest.Wait()
		}
		apiEqual(t, "heard", heard.take(), []int{1})
		apiEqual(t, "OnDone", done.take(), []int{1})
	})
	apiBubble(t, "OnLate removes itself", func(t *testing.T) {
		d := apiQuiet[int, int]()
		for i := range 3 {
			apiMust(d.AddProducer(topic, apiAnswer[int](i, time.Duration(2+i)*time.Second)))
		}
		var late apiEvents[int]
		var hook *dispatch.Registration
		hook = d.OnLate(func(r dispatch.Result[int, int], _ time.Duration) {
			late.add(r.Value)
			hook.Remove()
		})
		apiMust(d.Send(t.Context(), topic, 0, dispatch.WithTimeout(time.Second)))
		time.Sleep(time.Minute)
		apiEqual(t, "late", late.take(), []int{0})
	})
}

// TestRemovedListenerGivesPlacesBack has listeners leave whose results make a
// call hold its place under WithMaxInFlight.
func TestRemovedListenerGivesPlacesBack(t *testing.T) {
	topic := dispatch.NewTopic[int, int]("a")
	leave := map[string]func(ctx context.Context, l *dispatch.Registration) error{
		"Remove": func(_ context.Context, l *dispatch.Registration) error {
			l.Remove()
			return nil
		},
		"Drain": func(ctx context.Context, l *dispatch.Registration) error { return l.Drain(ctx) },
		"Drain in vain": func(ctx context.Context, l *dispatch.Registration) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			if err := l.Drain(ctx); err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
			return nil
		},
	}
	for how, leave := range leave {
		for kind, opts := range map[string][]dispatch.ListenerOption{
			"unbounded":  nil,
			"bounded":    {dispatch.WithMailbox(1, dispatch.DropOldest)},
			"concurrent": {dispatch.WithConcurrency(2)},
		} {
			for _, after := range []time.Duration{0, 50, 150, 350, 1050, 3050, 6000} {
				apiBubble(t, fmt.Sprintf("%s/%s/%v", how, kind, after*time.Millisecond), func(t *testing.T) {
					d := apiQuiet[int, int](dispatch.WithMaxInFlight(2), dispatch.WithNoWait())
					for i := range 4 {
						apiMust(d.AddProducer(topic, apiAnswer[int](i, time.Duration(i)*100*time.Millisecond)))
					}
					l := apiMust(d.AddListener(topic, func(context.Context, dispatch.Result[int, int]) { time.Sleep(time.Second) },
						append(opts, dispatch.OnDone(func(dispatch.Report) { time.Sleep(time.Second) }))...))
					for range 2 { // so that one is being delivered, and another waits
						apiMust(d.Send(t.Context(), topic, 0))
					}
					time.Sleep(after * time.Millisecond)
					if err := leave(t.Context(), l); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Minute)
					for range 2 {
						if _, err := d.Send(t.Context(), topic, 0); err != nil {
							t.Error(err)
						}
					}
					time.Sleep(time.Second)
					apiAtRest(t, d.Bus())
				})
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
		apiBubble(t, fmt.Sprint(tt.most, tt.want), func(t *testing.T) {
			d := apiQuiet[int, int](dispatch.WithTimeout(time.Minute))
			var asked apiEvents[int]
			var running, most atomic.Int32
			apiMust(d.AddProducer(dispatch.AnyOf(a, b), func(_ context.Context, i int) (int, error) {
				asked.add(i)
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(time.Second)
				running.Add(-1)
				return i, nil
			}, tt.opts...))
			var calls []*dispatch.Call[int, int]
			for i := range 6 {
				calls = append(calls, apiMust(d.Send(t.Context(), []dispatch.Topic[int, int]{a, b}[i%2], i)))
				synctest.Wait()
			}
			var ends []time.Duration
			for _, c := range calls {
				<-c.Done()
				ends = append(ends, c.Report().Elapsed/time.Second)
			}
			apiEqual(t, "runs at the same time", most.Load(), tt.most)
			apiEqual(t, "ends in seconds, first come first served", ends, tt.want)
			if tt.most == 1 {
				apiEqual(t, "order", asked.take(), []int{0, 1, 2, 3, 4, 5})
			}
		})
	}
}

func TestWithSemaphoreIsSharedByRegistrations(t *testing.T) {
	apiBubble(t, "", func(t *testing.T) {
		instrument := semaphore.NewWeighted(1)
		d := apiQuiet[int, int]()
		others := dispatch.On[string, string](d.Bus())
		a, b := dispatch.NewTopic[int, int]("a"), dispatch.NewTopic[string, string]("b")
		apiMust(d.AddProducer(a, apiAnswer[int](1, time.Second), dispatch.WithSemaphore(instrument)))
		apiMust(d.AddProducer(a, apiAnswer[int](2, time.Second), dispatch.WithSemaphore(instrument)))
		apiMust(d.AddProducer(a, apiAnswer[int](3, time.Second)))
		apiMust(others.AddProducer(b, apiAnswer[string]("", time.Second), dispatch.WithSemaphore(instrument)))

		ints := apiMust(d.Send(t.Context(), a, 0))
		synctest.Wait()
		strs := apiMust(others.Send(t.Context(), b, ""))
		<-strs.Done()
		apiEqual(t, "end of the third run", strs.Report().Elapsed, 3*time.Second)
		<-ints.Done()
		apiEqual(t, "end of the second run", ints.Report().Elapsed, 2*time.Second)
		if !instrument.TryAcquire(1) {
			t.Error("the semaphore is still held")
		}
	})
}

func TestFault24QueuedCallExpires(t *testing.T) {
	topic := dispatch.NewTopic[int, int]("a")
	cause := errors.New("nobody wants to know any more")
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
			apiBubble(t, limit+"/"+tt.name, func(t *testing.T) {
				d := apiQuiet[int, int]()
				var asked apiEvents[int]
				apiMust(d.AddProducer(topic, func(_ context.Context, i int) (int, error) {
					asked.add(i)
					time.Sleep(2 * time.Second)
					return i, nil
				}, option()))
				busy := apiMust(d.Send(t.Context(), topic, 1))
				synctest.Wait()
				queued := apiMust(d.Send(t.Context(), topic, 2, dispatch.WithTimeout(time.Second)))
				synctest.Wait()
				patient := apiMust(d.Send(t.Context(), topic, 3))
				synctest.Wait()
				tt.end(queued)
				<-queued.Done()
				<-busy.Done()
				<-patient.Done()
				apiEqual(t, "busy", apiEnds(busy.Report()), "producer-1 ok")
				apiEqual(t, "patient", apiEnds(patient.Report()), "producer-1 ok")
				apiEqual(t, "duration of patient", patient.Report().Elapsed, 4*time.Second)
				apiEqual(t, "queued", apiEnds(queued.Report()), tt.want)
				if o := queued.Report().Outcomes[0]; o.Started || !errors.Is(o.Err, tt.err) {
					t.Errorf("queued: Started %v, Err %v", o.Started, o.Err)
				}
				time.Sleep(time.Minute)
				apiEqual(t, "asked", asked.take(), []int{1, 3})
				apiAtRest(t, d.Bus())
			})
		}
	}
}

// TestWithSemaphoreAndWithConcurrency has a call expire that has got the one and
// waits for the other.
func TestWithSemaphoreAndWithConcurrency(t *testing.T) {
	apiBubble(t, "", func(t *testing.T) {
		instrument := semaphore.NewWeighted(1)
		d := apiQuiet[int, int]()
		topic := dispatch.NewTopic[int, int]("a")
		apiMust(d.AddProducer(topic, apiAnswer[int](1, 0), dispatch.WithConcurrency(1), dispatch.WithSemaphore(instrument)))
		instrument.TryAcquire(1) // somebody else has it
		c := apiMust(d.Send(t.Context(), topic, 0))
		<-c.Done()
		apiEqual(t, "outcome", apiEnds(c.Report()), "producer-1 late")
		instrument.Release(1)
		apiEqual(t, "answers", apiMust(d.Gather(t.Context(), topic, 0)), []int{1})
		if !instrument.TryAcquire(1) {
			t.Error("the semaphore is still held")
		}
	})
}

func TestNames(t *testing.T) {
	apiBubble(t, "", func(t *testing.T) {
		d := apiQuiet[int, int]()
		topic := dispatch.NewTopic[int, int]("a")
		hear := func(context.Context, dispatch.Result[int, int]) {}
		var names []string
		for _, r := range []*dispatch.Registration{
			apiMust(d.AddProducer(topic, apiAnswer[int](1, 0))),
			apiMust(d.AddProducer(topic, apiAnswer[int](2, 0), dispatch.WithName("producer-2"))),
			apiMust(d.AddProducer(topic, apiAnswer[int](3, 0))), // not producer-2
			apiMust(d.AddProducer(topic, apiAnswer[int](4, 0), dispatch.WithName("x"), dispatch.WithName("site 4"))),
			apiMust(d.AddListener(topic, hear)),
			apiMust(d.AddListener(topic, hear, dispatch.WithName("log"))),
			apiMust(d.AddListener(topic, hear)),
		} {
			names = append(names, r.Name())
		}
		apiEqual(t, "names", names, []string{"producer-1", "producer-2", "producer-3", "site 4", "listener-1", "log", "listener-2"})

		c := apiMust(d.Send(t.Context(), topic, 0))
		<-c.Done()
		apiEqual(t, "report", apiEnds(c.Report()), "producer-1 ok producer-2 ok producer-3 ok site 4 ok")
		if _, err := d.AddProducer(topic, apiAnswer[int](5, 0), dispatch.WithName("producer-3")); !errors.Is(err, dispatch.ErrDuplicate) {
			t.Errorf("got %v, want ErrDuplicate for a name that was given", err)
		}
	})
}

func TestRegistrationIsRemovedAsAWhole(t *testing.T) {
	topics := dispatch.AnyOf(dispatch.NewTopic[int, int]("cell.1"), dispatch.NewTopic[int, int]("cell.2"), dispatch.NewTopic[int, int]("cell.3"))
	for name, selector := range map[string]dispatch.Selector[int, int]{
		"topics": topics, "pattern": dispatch.NewPattern[int, int]("cell.*"),
	} {
		for _, drain := range []bool{false, true} {
			apiBubble(t, fmt.Sprintf("%s/drain=%v", name, drain), func(t *testing.T) {
				ints := apiQuiet[int, int]()
				apiMust(ints.AddProducer(topics[1], apiAnswer[int](7, 0), dispatch.WithName("stays")))
				var heard, heardByOther apiEvents[int]
				p := apiMust(ints.AddProducer(selector, apiAnswer[int](1, 0), dispatch.WithName("goes")))
				l := apiMust(ints.AddListener(selector, apiHear[int](&heard)))
				apiMust(ints.AddListener(topics[1], apiHear[int](&heardByOther)))
				asked := func() (asked []string) {
					for _, topic := range topics {
						c := apiMust(ints.Send(t.Context(), topic, 0))
						<-c.Done()
						synctest.Wait()
						asked = append(asked, strings.Join(apiAsked(c), "+"))
					}
					return asked
				}
				apiEqual(t, "members", asked(), []string{"goes", "goes+stays", "goes"})
				apiEqual(t, "heard", len(heard.take()), 4)
				apiEqual(t, "heard by the other listener", len(heardByOther.take()), 2)
				for _, r := range []*dispatch.Registration{p, l} {
					if drain {
						apiDrain(t, r)
					} else {
						r.Remove()
					}
				}
				apiEqual(t, "members", asked(), []string{"", "stays", ""})
				apiEqual(t, "heard", heard.take(), nil)
				apiEqual(t, "heard by the other listener", heardByOther.take(), []int{7})
			})
		}
	}
}

// Drain never lets a listener have more than it had when Drain was first called.
func TestSecondDrainAcceptsNoMore(t *testing.T) {
	for kind, opts := range map[string][]dispatch.ListenerOption{
		"plain": nil, "with an end": {dispatch.OnDone(func(dispatch.Report) {})}, "bounded": {dispatch.WithMailbox(9, dispatch.DropOldest)},
	} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
				addStream(t, d, "s", ticking(time.Second, 1, 2, 3, 4, 5, 6))
				var heard notes
				l := listen(t, d, func(_ context.Context, r result) {
					heard.add("%d", r.Value)
					time.Sleep(10 * time.Second)
				}, opts...)
				send(t, d)
				time.Sleep(2500 * time.Millisecond)
				errs := make(chan error, 3)
				for range 3 {
					go func() { errs <- l.Drain(context.Background()) }()
					time.Sleep(time.Second)
				}
				for range 3 {
					if err := <-errs; err != nil {
						t.Errorf("Drain: %v", err)
					}
				}
				time.Sleep(time.Minute)
				wantLines(t, heard.all(), "1", "2")
			})
		})
	}
}

// A run whose start was decided before Remove or Close returned counts as running. Drain
// and Shutdown wait for it, and nothing is decided afterwards.
func TestNothingIsStartedAfterRemoveOrClose(t *testing.T) {
	for name, leave := range map[string]func(t *testing.T, d *dispatcher, r *dispatch.Registration){
		"Drain": func(t *testing.T, _ *dispatcher, r *dispatch.Registration) {
			if err := r.Drain(context.Background()); err != nil {
				t.Error(err)
			}
		},
		"Shutdown": func(t *testing.T, d *dispatcher, _ *dispatch.Registration) {
			if err := d.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 30 {
				d, _ := newDispatcher()
				var left atomic.Bool
				var after atomic.Int32
				r := produce(t, d, "a", func(context.Context, int) (int, error) {
					if left.Load() {
						after.Add(1)
					}
					return 1, nil
				})
				produce(t, d, "b", quick(2))
				var senders sync.WaitGroup
				for range 4 {
					senders.Go(func() {
						for range 20 {
							if _, err := d.Gather(context.Background(), ask, 0); err != nil && !errors.Is(err, dispatch.ErrClosed) {
								return
							}
						}
					})
				}
				for range 20 {
					runtime.Gosched()
				}
				leave(t, d, r)
				left.Store(true)
				senders.Wait()
				if n := after.Load(); n > 0 {
					t.Fatalf("%d runs began after %s had returned", n, name)
				}
			}
		})
	}
}

// What Remove and Close leave is decided: a member that was not started by then is not
// started any more.
func TestRunsThatWereNotStartedAreNotStartedAfterRemove(t *testing.T) {
	for name, leave := range map[string]func(d *dispatcher, r *dispatch.Registration){
		"Remove": func(_ *dispatcher, r *dispatch.Registration) { r.Remove() },
		"Close":  func(d *dispatcher, _ *dispatch.Registration) { d.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			for range 100 {
				d, _ := newDispatcher()
				var runs atomic.Int32
				produce(t, d, "first", quick(1))
				r := produce(t, d, "a", func(context.Context, int) (int, error) { runs.Add(1); return 1, nil })
				var calls []*inFlight
				var senders sync.WaitGroup
				var mu sync.Mutex
				for range 2 {
					senders.Go(func() {
						for range 20 {
							c, err := d.Send(context.Background(), ask, 0)
							if err != nil {
								return
							}
							mu.Lock()
							calls = append(calls, c)
							mu.Unlock()
						}
					})
				}
				runtime.Gosched()
				leave(d, r)
				decided := int32(0)
				senders.Wait()
				for _, c := range calls {
					<-c.Done()
					for _, o := range c.Report().Outcomes {
						if o.Member.Name == "a" && o.Started {
							decided++
						}
					}
				}
				eventually(func() bool { return runs.Load() == decided })
			}
		})
	}
}
