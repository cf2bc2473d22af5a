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

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestProducerThatIsAddedLaterDoesNotJoin(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int]()
		topic := dispatch.NewTopic[int, int]("a")
		join := func(name string) {
			must(d.AddProducer(topic, answerAfter[int](9, 0), dispatch.WithName(name)))
		}
		// The members run one after another, so the last is started long after
		// the others have registered.
		must(d.AddProducer(topic, func(context.Context, int) (int, error) {
			join("from inside")
			time.Sleep(2 * time.Second)
			return 1, nil
		}, dispatch.WithName("first")))
		must(d.AddProducer(topic, answerAfter[int](2, 0), dispatch.WithName("second")))
		c := must(d.Send(t.Context(), topic, 0, dispatch.WithParallelism(1)))
		join("after Send")
		time.Sleep(time.Second)
		join("in mid-call")
		<-c.Done()
		equal(t, "outcomes", states(c.Report()), "first ok second ok")
	})
}

func TestRemovedProducerIsNotAsked(t *testing.T) {
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
		bubble(t, tt.name, func(t *testing.T) {
			d := quiet[int, int]()
			topic := dispatch.NewTopic[int, int]("a")
			running := must(d.AddProducer(topic, answerAfter[int](1, time.Second), dispatch.WithName("running")))
			waiting := must(d.AddProducer(topic, answerAfter[int](2, 0), dispatch.WithName("waiting")))
			must(d.AddProducer(topic, answerAfter[int](3, 0), dispatch.WithName("last")))
			c := must(d.Send(t.Context(), topic, 0, dispatch.WithParallelism(1)))
			synctest.Wait()
			tt.remove(running, waiting)
			<-c.Done()
			r := c.Report()
			equal(t, "outcomes", states(r), tt.want)
			equal(t, "reason", r.Reason, dispatch.ReasonAllEnded)
			for _, o := range r.Outcomes {
				if gone := o.State == dispatch.StateGone; gone != errors.Is(o.Err, dispatch.ErrRemoved) || gone == o.Started {
					t.Errorf("%v: Started %v, Err %v", o.Member, o.Started, o.Err)
				}
			}
			var values []int
			for r := range c.Results() {
				values = append(values, r.Value)
			}
			equal(t, "values", values, tt.values)
		})
	}
}

func TestRemovedListenerIsNotCalled(t *testing.T) {
	for _, drain := range []bool{false, true} {
		bubble(t, map[bool]string{false: "Remove discards what waits", true: "Drain delivers what waits"}[drain], func(t *testing.T) {
			d := quiet[int, int]()
			topic := dispatch.NewTopic[int, int]("a")
			for i := range 4 {
				must(d.AddProducer(topic, answerAfter[int](i, time.Duration(i)*100*time.Millisecond)))
			}
			var heard, ended events[int]
			var done events[dispatch.Reason]
			l := must(d.AddListener(topic, func(_ context.Context, r dispatch.Result[int, int]) {
				heard.add(r.Value)
				time.Sleep(time.Second)
				ended.add(r.Value)
			}, dispatch.OnDone(func(r dispatch.Report) { done.add(r.Reason) })))
			start := time.Now()
			c := must(d.Send(t.Context(), topic, 0))

			// By now one result is being delivered, two wait and one is to come.
			time.Sleep(250 * time.Millisecond)
			want, end := []int{0}, 250*time.Millisecond
			if drain {
				want, end = []int{0, 1, 2}, 3*time.Second
				mustDrain(t, l)
				equal(t, "callbacks that have returned after Drain", ended.take(), want)
			} else {
				l.Remove()
			}
			equal(t, "time", time.Since(start), end)
			<-c.Done()
			time.Sleep(time.Hour)
			equal(t, "heard", heard.take(), want)
			equal(t, "OnDone", done.take(), nil)
			atRest(t, d.Bus())
		})
	}
}

// TestRegistrationsComeAndGoUnderLoad has registrations come and go while calls are
// made, and compares each call with who was there at its start. Everything takes
// virtual time, so whatever happens at an instant is over at the next.
func TestRegistrationsComeAndGoUnderLoad(t *testing.T) {
	const (
		churners, rounds = 8, 40
		senders, calls   = 4, 100
		tick             = time.Microsecond
	)
	type life struct{ added, present, leaving time.Duration }
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int]()
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
					p := must(d.AddProducer(selector, func(context.Context, int) (int, error) {
						begin("producer")
						time.Sleep(time.Duration(j%5) * tick)
						return j, nil
					}, dispatch.WithName(name), dispatch.WithConcurrency(1+i)))
					r := must(d.AddListener(selector, func(context.Context, dispatch.Result[int, int]) {
						begin("listener")
						time.Sleep(time.Duration(j%3) * tick)
					}, append(mailboxes[j%len(mailboxes)], dispatch.OnDone(func(dispatch.Report) { begin("OnDone hook") }))...))
					l.present = time.Since(start)
					time.Sleep(time.Duration(i+j%7) * tick)
					l.leaving = time.Since(start)
					if j%4 == 3 {
						mustDrain(t, p)
						mustDrain(t, r)
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
		must(d.AddProducer(topic, answerAfter[int](0, 0), dispatch.WithName("always")))
		for i := range senders {
			wait.Go(func() {
				for range calls {
					c := must(d.Send(t.Context(), topic, 0, dispatch.WithParallelism(1+i)))
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
			asked := memberNames(c)
			members += len(asked)
			if !slices.Contains(asked, "always") {
				t.Fatalf("call %v did not ask the producer that was always there", c.ID())
			}
			if n := len(slices.Compact(slices.Clone(asked))); n != len(asked) {
				t.Errorf("call %v asked a producer twice: %v", c.ID(), asked)
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
		atRest(t, d.Bus())
	})
}

func TestNamesOfProducersAreUnique(t *testing.T) {
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
				bubble(t, fmt.Sprintf("%s/swapped=%v/occupied=%v", tt.name, swapped, occupied), func(t *testing.T) {
					d := quiet[int, int]()
					first, next := tt.first, tt.next
					if swapped {
						first, next = next, first
					}
					if occupied { // the topics are known to the registry
						must(d.AddProducer(dispatch.AnyOf(a, b), answerAfter[int](0, 0)))
					}
					asked := func() []string {
						return append(memberNames(must(d.Send(t.Context(), a, 0))), memberNames(must(d.Send(t.Context(), b, 0)))...)
					}

					r := must(d.AddProducer(first, answerAfter[int](1, 0), dispatch.WithName("p")))
					before := asked()
					second, err := d.AddProducer(next, answerAfter[int](2, 0), dispatch.WithName("p"))
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
					equal(t, "members", asked(), before)

					// Another name is welcome, and so is this one from now on.
					must(d.AddProducer(next, answerAfter[int](2, 0), dispatch.WithName("q"))).Remove()
					r.Remove()
					must(d.AddProducer(next, answerAfter[int](2, 0), dispatch.WithName("p")))
				})
			}
		}
	}
	bubble(t, "among many", func(t *testing.T) {
		d := quiet[int, int]()
		var added []*dispatch.Registration
		var names []string
		for i := range 100 {
			names = append(names, fmt.Sprintf("p%02d", i))
			added = append(added, must(d.AddProducer(a, answerAfter[int](i, 0), dispatch.WithName(names[i]))))
		}
		for i, r := range added {
			if _, err := d.AddProducer(a, answerAfter[int](0, 0), dispatch.WithName(names[i])); !errors.Is(err, dispatch.ErrDuplicate) {
				t.Errorf("%s: got %v, want ErrDuplicate", names[i], err)
			}
			r.Remove()
			must(d.AddProducer(a, answerAfter[int](0, 0), dispatch.WithName(names[i])))
		}
		equal(t, "members", memberNames(must(d.Send(t.Context(), a, 0))), names)
	})
	bubble(t, "producers of other types", func(t *testing.T) {
		d := quiet[int, int]()
		must(d.AddProducer(pattern(">"), answerAfter[int](1, 0), dispatch.WithName("p")))
		others := dispatch.On[string, int](d.Bus())
		must(others.AddProducer(dispatch.NewPattern[string, int](">"), answerAfter[string](1, 0), dispatch.WithName("p")))
		must(others.AddProducer(dispatch.NewTopic[string, int]("other"), answerAfter[string](1, 0), dispatch.WithName("q")))
	})
	bubble(t, "listeners", func(t *testing.T) {
		d := quiet[int, int]()
		hear := func(context.Context, dispatch.Result[int, int]) {}
		must(d.AddProducer(a, answerAfter[int](1, 0), dispatch.WithName("p")))
		for range 2 {
			must(d.AddListener(a, hear, dispatch.WithName("p")))
		}
	})
}

func TestRaceForANameHasOneWinner(t *testing.T) {
	a, b := dispatch.NewTopic[int, int]("cell.1"), dispatch.NewTopic[int, int]("cell.2")
	for round := range 50 {
		d := quiet[int, int]()
		selectors := []dispatch.Selector[int, int]{a, dispatch.NewPattern[int, int]("cell.*"), dispatch.AnyOf(a, b), dispatch.NewPattern[int, int](">")}
		start := make(chan struct{})
		var winners atomic.Int32
		var wait sync.WaitGroup
		for i := range 16 {
			wait.Go(func() {
				<-start
				switch _, err := d.AddProducer(selectors[i%len(selectors)], answerAfter[int](0, 0), dispatch.WithName("p")); {
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
		equal(t, "members", memberNames(must(d.Send(t.Context(), a, 0))), []string{"p"})
	}
}

func TestInvalidArgumentsAreRefused(t *testing.T) {
	d := quiet[int, int]()
	ctx := context.Background()
	var none context.Context
	topic, zero := dispatch.NewTopic[int, int]("a"), dispatch.Topic[int, int]{}
	produce := answerAfter[int](0, 0)
	produceStream := func(context.Context, int) iter.Seq2[int, error] { return nil }
	relay := func(context.Context, int, *dispatch.Roster[int]) error { return nil }
	listen := func(context.Context, dispatch.Result[int, int]) {}
	registration := must(d.AddProducer(dispatch.NewTopic[int, int]("b"), produce))
	call := must(d.Send(ctx, topic, 0))
	var missing *dispatch.Dispatcher[int, int]
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
		{panicOf(func() { d.OnLate(nil) }), []string{"OnLate", "nil func"}},

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

		{panicOf(func() { dispatch.On[int, int](nil) }), []string{"On", "nil Bus"}},
	}
	for _, d := range []*dispatch.Dispatcher[int, int]{missing, new(dispatch.Dispatcher[int, int])} {
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
	equal(t, "members", memberNames(must(d.Send(ctx, topic, 0))), []string{})
}

func TestNilResultIsAResult(t *testing.T) {
	bubble(t, "pointer", func(t *testing.T) {
		testNilResult[*reading](t)
	})
	bubble(t, "interface", func(t *testing.T) {
		testNilResult[error](t)
	})
	bubble(t, "map", func(t *testing.T) {
		testNilResult[map[string]int](t)
	})
}

func testNilResult[Res any](t *testing.T) {
	d := quiet[any, Res]()
	topic := dispatch.NewTopic[any, Res]("a")
	var null Res
	var heard atomic.Int32
	must(d.AddProducer(topic, func(context.Context, any) (Res, error) { return null, nil }))
	must(d.AddListener(topic, func(_ context.Context, r dispatch.Result[any, Res]) { heard.Add(1) }))
	c := must(d.Send(t.Context(), topic, nil)) // a nil request is a request
	<-c.Done()
	equal(t, "outcome", states(c.Report()), "producer-1 ok")
	equal(t, "number of results", c.Report().Outcomes[0].Results, 1)
	n := 0
	for range c.Results() {
		n++
	}
	equal(t, "results read", n, 1)
	equal(t, "values gathered", len(must(d.Gather(t.Context(), topic, nil))), 1)
	must(d.First(t.Context(), topic, nil))
	atRest(t, d.Bus())
	equal(t, "results heard", heard.Load(), 3)
}

func TestProducerDrains(t *testing.T) {
	topic := dispatch.NewTopic[int, int]("a")
	long := dispatch.WithTimeout(time.Minute)
	bubble(t, "at rest returns at once", func(t *testing.T) {
		d := quiet[int, int]()
		p := must(d.AddProducer(topic, answerAfter[int](1, 0)))
		must(d.Gather(t.Context(), topic, 0))
		start := time.Now()
		mustDrain(t, p)
		equal(t, "duration", time.Since(start), 0)
		equal(t, "members", memberNames(must(d.Send(t.Context(), topic, 0))), []string{})
	})
	bubble(t, "finishes what runs and what waits", func(t *testing.T) {
		d := quiet[int, int]()
		p := must(d.AddProducer(topic, answerAfter[int](1, time.Second), dispatch.WithConcurrency(1)))
		must(d.AddProducer(topic, answerAfter[int](2, 30*time.Second))) // the calls outlive the drain
		start := time.Now()
		var calls []*dispatch.Call[int, int]
		for range 3 {
			calls = append(calls, must(d.Send(t.Context(), topic, 0, long)))
		}
		time.Sleep(100 * time.Millisecond)
		drained := make(chan time.Duration)
		go func() {
			mustDrain(t, p)
			drained <- time.Since(start)
		}()
		synctest.Wait()
		equal(t, "members of a call sent during the drain", memberNames(must(d.Send(t.Context(), topic, 0))), []string{"producer-2"})
		equal(t, "end of the drain", <-drained, 3*time.Second)
		for _, c := range calls {
			equal(t, "reason after the drain", c.Report().Reason, dispatch.ReasonPending)
		}
		for _, c := range calls {
			<-c.Done()
			equal(t, "outcomes", states(c.Report()), "producer-1 ok producer-2 ok")
		}
	})
	bubble(t, "waits for a run that outlives its call", func(t *testing.T) {
		d := quiet[int, int]()
		p := must(d.AddProducer(topic, answerAfter[int](1, time.Minute)))
		start := time.Now()
		c := must(d.Send(t.Context(), topic, 0, dispatch.WithTimeout(time.Second)))
		<-c.Done()
		mustDrain(t, p)
		equal(t, "end of the drain", time.Since(start), time.Minute)
	})
	bubble(t, "becomes Remove when its context ends", func(t *testing.T) {
		d := quiet[int, int]()
		p := must(d.AddProducer(topic, answerAfter[int](1, 10*time.Second), dispatch.WithConcurrency(1)))
		var calls []*dispatch.Call[int, int]
		for range 3 {
			calls = append(calls, must(d.Send(t.Context(), topic, 0, long)))
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := p.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the error of the context", err)
		}
		equal(t, "duration", time.Since(start), time.Second)
		var ends []string
		for _, c := range calls {
			<-c.Done()
			ends = append(ends, states(c.Report()))
		}
		equal(t, "outcomes", ends, []string{"producer-1 ok", "producer-1 gone", "producer-1 gone"})
	})
	bubble(t, "more than one at a time", func(t *testing.T) {
		d := quiet[int, int]()
		p := must(d.AddProducer(topic, answerAfter[int](1, time.Second)))
		must(d.Send(t.Context(), topic, 0))
		start := time.Now()
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() {
				mustDrain(t, p)
				equal(t, "end of the drain", time.Since(start), time.Second)
			})
		}
		wait.Wait()
		mustDrain(t, p)
		p.Remove()
	})
	bubble(t, "from inside waits for itself until its context ends", func(t *testing.T) {
		d := quiet[int, int]()
		var p *dispatch.Registration
		p = must(d.AddProducer(topic, func(ctx context.Context, _ int) (int, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return 1, p.Drain(ctx)
		}))
		c := must(d.Send(t.Context(), topic, 0))
		<-c.Done()
		r := c.Report()
		equal(t, "outcome", states(r), "producer-1 failed")
		equal(t, "duration", r.Elapsed, time.Second)
		if !errors.Is(r.Err(), context.DeadlineExceeded) {
			t.Errorf("got %v, want the error of the context", r.Err())
		}
	})
}

func TestListenerDrains(t *testing.T) {
	topic := dispatch.NewTopic[int, int]("a")
	slow := func(heard *events[int]) dispatch.Listener[int, int] {
		return func(_ context.Context, r dispatch.Result[int, int]) {
			heard.add(r.Value)
			time.Sleep(time.Second)
		}
	}
	bubble(t, "at rest returns at once", func(t *testing.T) {
		d := quiet[int, int]()
		var heard events[int]
		l := must(d.AddListener(topic, slow(&heard)))
		must(d.AddProducer(topic, answerAfter[int](1, time.Second)))
		c := must(d.Send(t.Context(), topic, 0))
		start := time.Now()
		mustDrain(t, l) // the result that is to come was not accepted
		equal(t, "duration", time.Since(start), 0)
		<-c.Done()
		atRest(t, d.Bus())
		equal(t, "heard", heard.take(), nil)
	})
	bubble(t, "finishes the calls that have ended, with their OnDone", func(t *testing.T) {
		d := quiet[int, int]()
		var heard events[int]
		var done events[dispatch.CallID]
		l := must(d.AddListener(topic, slow(&heard), dispatch.OnDone(func(r dispatch.Report) { done.add(r.Call) })))
		must(d.AddProducer(topic, func(_ context.Context, i int) (int, error) { return i, nil }))
		var ids []dispatch.CallID
		for i := range 3 {
			c := must(d.Send(t.Context(), topic, i))
			<-c.Done()
			synctest.Wait() // so that the calls are in order
			ids = append(ids, c.ID())
		}
		start := time.Now()
		mustDrain(t, l)
		equal(t, "duration", time.Since(start), 3*time.Second)
		equal(t, "heard", heard.take(), []int{0, 1, 2})
		equal(t, "OnDone", done.take(), ids)
	})
	for _, mailbox := range [][]dispatch.ListenerOption{nil, {dispatch.WithMailbox(100, dispatch.DropNewest)}} {
		bubble(t, fmt.Sprint("accepts nothing more of calls in flight", mailbox), func(t *testing.T) {
			d := quiet[[2]int, int]()
			topic := dispatch.NewTopic[[2]int, int]("a")
			var heard events[int]
			var done events[dispatch.CallID]
			l := must(d.AddListener(topic, func(_ context.Context, r dispatch.Result[[2]int, int]) {
				heard.add(r.Value)
				time.Sleep(time.Second)
			}, dispatch.OnDone(func(r dispatch.Report) { done.add(r.Call) })))
			// The request says when to answer, in tenths of a second.
			for i := range 2 {
				must(d.AddProducer(topic, func(_ context.Context, tenths [2]int) (int, error) {
					time.Sleep(time.Duration(tenths[i]) * 100 * time.Millisecond)
					return tenths[i], nil
				}))
			}
			start := time.Now()
			must(d.Send(t.Context(), topic, [2]int{0, 15}))  // its first result is delivered, and it has none that waits
			must(d.Send(t.Context(), topic, [2]int{5, 16}))  // its first result is being delivered
			must(d.Send(t.Context(), topic, [2]int{11, 17})) // its first result waits
			must(d.Send(t.Context(), topic, [2]int{18, 19})) // it has none yet
			time.Sleep(1200 * time.Millisecond)
			mustDrain(t, l)
			equal(t, "end of the drain", time.Since(start), 3*time.Second)
			time.Sleep(time.Minute)
			equal(t, "heard", heard.take(), []int{0, 5, 11})
			equal(t, "OnDone", done.take(), nil)
			atRest(t, d.Bus())
		})
	}
	bubble(t, "becomes Remove when its context ends", func(t *testing.T) {
		d := quiet[int, int]()
		var heard events[int]
		l := must(d.AddListener(topic, slow(&heard)))
		for i := range 5 {
			must(d.AddProducer(topic, answerAfter[int](i, time.Duration(i))))
		}
		must(d.Gather(t.Context(), topic, 0))
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if err := l.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the error of the context", err)
		}
		time.Sleep(time.Minute)
		equal(t, "heard", heard.take(), []int{0, 1})
		atRest(t, d.Bus())
	})
	bubble(t, "from inside waits for itself until its context ends", func(t *testing.T) {
		d := quiet[int, int]()
		var errs events[error]
		var l *dispatch.Registration
		l = must(d.AddListener(topic, func(ctx context.Context, _ dispatch.Result[int, int]) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			errs.add(l.Drain(ctx))
		}))
		must(d.AddProducer(topic, answerAfter[int](1, 0)))
		must(d.Gather(t.Context(), topic, 0))
		time.Sleep(time.Minute)
		if got := errs.take(); len(got) != 1 || !errors.Is(got[0], context.DeadlineExceeded) {
			t.Errorf("got %v, want the error of the context", got)
		}
	})
	bubble(t, "of OnLate", func(t *testing.T) {
		d := quiet[int, int]()
		var late events[int]
		hook := d.OnLate(func(r dispatch.Result[int, int], _ time.Duration) {
			late.add(r.Value)
			time.Sleep(time.Minute)
		})
		for i := range 3 {
			must(d.AddProducer(topic, answerAfter[int](i, time.Duration(10+i)*time.Second)))
		}
		must(d.Send(t.Context(), topic, 0, dispatch.WithTimeout(time.Second)))
		time.Sleep(11500 * time.Millisecond)
		start := time.Now()
		mustDrain(t, hook)
		equal(t, "duration", time.Since(start), 2*time.Minute-1500*time.Millisecond)
		time.Sleep(time.Hour)
		equal(t, "late", late.take(), []int{0, 1})
	})
}

func TestRemoveIsIdempotentAndLegalFromInside(t *testing.T) {
	topic := dispatch.NewTopic[int, int]("a")
	bubble(t, "twice and concurrently", func(t *testing.T) {
		d := quiet[int, int]()
		for _, r := range []*dispatch.Registration{
			must(d.AddProducer(topic, answerAfter[int](1, 0))),
			must(d.AddListener(topic, func(context.Context, dispatch.Result[int, int]) {})),
			d.OnLate(func(dispatch.Result[int, int], time.Duration) {}),
		} {
			var wait sync.WaitGroup
			for range 8 {
				wait.Go(r.Remove)
			}
			wait.Wait()
			r.Remove()
			mustDrain(t, r)
		}
		// It is the own registration that ends, not one that took its place.
		must(d.AddProducer(topic, answerAfter[int](1, 0))).Remove()
		old := must(d.AddProducer(topic, answerAfter[int](1, 0), dispatch.WithName("p")))
		old.Remove()
		must(d.AddProducer(topic, answerAfter[int](2, 0), dispatch.WithName("p")))
		old.Remove()
		equal(t, "answers", must(d.Gather(t.Context(), topic, 0)), []int{2})
	})
	bubble(t, "a producer removes itself", func(t *testing.T) {
		d := quiet[int, int]()
		var p *dispatch.Registration
		p = must(d.AddProducer(topic, func(context.Context, int) (int, error) {
			p.Remove()
			return 1, nil
		}))
		equal(t, "answers", must(d.Gather(t.Context(), topic, 0)), []int{1})
		equal(t, "members", memberNames(must(d.Send(t.Context(), topic, 0))), []string{})
	})
	bubble(t, "a listener removes itself", func(t *testing.T) {
		d := quiet[int, int]()
		for i := range 3 {
			must(d.AddProducer(topic, answerAfter[int](i, time.Duration(i))))
		}
		var heard events[int]
		var l *dispatch.Registration
		l = must(d.AddListener(topic, func(_ context.Context, r dispatch.Result[int, int]) {
			heard.add(r.Value)
			if r.Value == 1 {
				l.Remove()
			}
		}, dispatch.OnDone(func(dispatch.Report) { t.Error("OnDone after Remove") })))
		must(d.Gather(t.Context(), topic, 0))
		atRest(t, d.Bus())
		equal(t, "heard", heard.take(), []int{0, 1})
	})
	bubble(t, "a hook removes its listener", func(t *testing.T) {
		d := quiet[int, int]()
		must(d.AddProducer(topic, answerAfter[int](1, 0)))
		var heard, done events[int]
		var l *dispatch.Registration
		l = must(d.AddListener(topic, hear[int](&heard), dispatch.OnDone(func(dispatch.Report) {
			done.add(1)
			l.Remove()
		})))
		for range 3 {
			must(d.Gather(t.Context(), topic, 0))
			synctest.Wait()
		}
		equal(t, "heard", heard.take(), []int{1})
		equal(t, "OnDone", done.take(), []int{1})
	})
	bubble(t, "OnLate removes itself", func(t *testing.T) {
		d := quiet[int, int]()
		for i := range 3 {
			must(d.AddProducer(topic, answerAfter[int](i, time.Duration(2+i)*time.Second)))
		}
		var late events[int]
		var hook *dispatch.Registration
		hook = d.OnLate(func(r dispatch.Result[int, int], _ time.Duration) {
			late.add(r.Value)
			hook.Remove()
		})
		must(d.Send(t.Context(), topic, 0, dispatch.WithTimeout(time.Second)))
		time.Sleep(time.Minute)
		equal(t, "late", late.take(), []int{0})
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
		"Drain that gives up": func(ctx context.Context, l *dispatch.Registration) error {
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
				bubble(t, fmt.Sprintf("%s/%s/%v", how, kind, after*time.Millisecond), func(t *testing.T) {
					d := quiet[int, int](dispatch.WithMaxInFlight(2), dispatch.WithNoWait())
					for i := range 4 {
						must(d.AddProducer(topic, answerAfter[int](i, time.Duration(i)*100*time.Millisecond)))
					}
					l := must(d.AddListener(topic, func(context.Context, dispatch.Result[int, int]) { time.Sleep(time.Second) },
						append(opts, dispatch.OnDone(func(dispatch.Report) { time.Sleep(time.Second) }))...))
					for range 2 { // so that one is being delivered, and another waits
						must(d.Send(t.Context(), topic, 0))
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
					atRest(t, d.Bus())
				})
			}
		}
	}
}

func TestNames(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int]()
		topic := dispatch.NewTopic[int, int]("a")
		hear := func(context.Context, dispatch.Result[int, int]) {}
		var names []string
		for _, r := range []*dispatch.Registration{
			must(d.AddProducer(topic, answerAfter[int](1, 0))),
			must(d.AddProducer(topic, answerAfter[int](2, 0), dispatch.WithName("producer-2"))),
			must(d.AddProducer(topic, answerAfter[int](3, 0))), // not producer-2
			must(d.AddProducer(topic, answerAfter[int](4, 0), dispatch.WithName("x"), dispatch.WithName("site 4"))),
			must(d.AddListener(topic, hear)),
			must(d.AddListener(topic, hear, dispatch.WithName("log"))),
			must(d.AddListener(topic, hear)),
		} {
			names = append(names, r.Name())
		}
		equal(t, "names", names, []string{"producer-1", "producer-2", "producer-3", "site 4", "listener-1", "log", "listener-2"})

		c := must(d.Send(t.Context(), topic, 0))
		<-c.Done()
		equal(t, "report", states(c.Report()), "producer-1 ok producer-2 ok producer-3 ok site 4 ok")
		if _, err := d.AddProducer(topic, answerAfter[int](5, 0), dispatch.WithName("producer-3")); !errors.Is(err, dispatch.ErrDuplicate) {
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
			bubble(t, fmt.Sprintf("%s/drain=%v", name, drain), func(t *testing.T) {
				ints := quiet[int, int]()
				must(ints.AddProducer(topics[1], answerAfter[int](7, 0), dispatch.WithName("stays")))
				var heard, heardByOther events[int]
				p := must(ints.AddProducer(selector, answerAfter[int](1, 0), dispatch.WithName("goes")))
				l := must(ints.AddListener(selector, hear[int](&heard)))
				must(ints.AddListener(topics[1], hear[int](&heardByOther)))
				asked := func() (asked []string) {
					for _, topic := range topics {
						c := must(ints.Send(t.Context(), topic, 0))
						<-c.Done()
						synctest.Wait()
						asked = append(asked, strings.Join(memberNames(c), "+"))
					}
					return asked
				}
				equal(t, "members", asked(), []string{"goes", "goes+stays", "goes"})
				equal(t, "heard", len(heard.take()), 4)
				equal(t, "heard by the other listener", len(heardByOther.take()), 2)
				for _, r := range []*dispatch.Registration{p, l} {
					if drain {
						mustDrain(t, r)
					} else {
						r.Remove()
					}
				}
				equal(t, "members", asked(), []string{"", "stays", ""})
				equal(t, "heard", heard.take(), nil)
				equal(t, "heard by the other listener", heardByOther.take(), []int{7})
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

func TestRegistrationsMayRemoveThemselves(t *testing.T) {
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

func TestDrainAfterDoneDeliversTheCall(t *testing.T) {
	topic := dispatch.NewTopic[int, int]("a")
	lost, noDone := 0, 0
	const n = 20000
	for range n {
		d := quiet[int, int]()
		var heard, done atomic.Int32
		must(d.AddProducer(topic, answerAfter[int](1, 0)))
		l := must(d.AddListener(topic, func(context.Context, dispatch.Result[int, int]) { heard.Add(1) },
			dispatch.OnDone(func(dispatch.Report) { done.Add(1) })))
		c := must(d.Send(t.Context(), topic, 0))
		<-c.Done()
		mustDrain(t, l)
		if heard.Load() != 1 {
			lost++
		}
		if done.Load() != 1 {
			noDone++
		}
	}
	if lost+noDone > 0 {
		t.Errorf("of %d calls that had ended before Drain, %d results and %d OnDone were not delivered", n, lost, noDone)
	}
}

// A listener that is drained gets what was accepted and nothing else, even though
// its calls go on.
func TestDrainOfABusyListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
		for i := range 6 {
			produce(t, d, fmt.Sprint("p", i), slow(time.Duration(i)*time.Second, i))
		}
		for i := range 2 {
			if _, err := d.AddProducer(other, slow(time.Duration(i)*4*time.Second, i), dispatch.WithName(fmt.Sprint("o", i))); err != nil {
				t.Fatal(err)
			}
		}
		var heard notes
		l, err := d.AddListener(dispatch.AnyOf(ask, other), func(_ context.Context, r result) {
			time.Sleep(2500 * time.Millisecond)
			heard.add("result %v", r.From)
		}, dispatch.OnOutcome(func(o dispatch.Outcome) { heard.add("outcome %v", o.Member) }),
			dispatch.OnDone(func(dispatch.Report) { heard.add("done") }))
		if err != nil {
			t.Fatal(err)
		}
		diary := keepDiary(t, d)
		// The other call has had its first result delivered when Drain begins, and
		// gets its second one while that goes on.
		if _, err := d.Send(context.Background(), other, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		c := send(t, d)
		time.Sleep(1250 * time.Millisecond) // p0 is being delivered, p1 waits
		synctest.Wait()
		began := time.Now()
		if err := l.Drain(context.Background()); err != nil {
			t.Errorf("Drain: %v", err)
		}
		if took := time.Since(began); took != 3750*time.Millisecond {
			t.Errorf("Drain took %v, want until p1 was delivered", took)
		}
		<-c.Done()
		time.Sleep(time.Minute)
		synctest.Wait()
		if diff := cmp.Diff([]string{"result o0", "outcome o0", "result p0", "outcome p0", "result p1", "outcome p1"}, heard.all()); diff != "" {
			t.Errorf("the listener that was drained (-want +got):\n%s", diff)
		}
		sameCall(t, c.Report(), diary)
	})
}

func TestDrainThatRunsOutOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
		for i := range 6 {
			produce(t, d, fmt.Sprint("p", i), quick(i))
		}
		produce(t, d, "serial", slow(10*time.Second, 9), dispatch.WithConcurrency(1))
		var heard notes
		l := listen(t, d, func(_ context.Context, r result) {
			time.Sleep(time.Second)
			heard.add("result %v", r.From)
		}, dispatch.OnDone(func(dispatch.Report) { heard.add("done") }))
		c := send(t, d)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 2500*time.Millisecond)
		defer cancel()
		if err := l.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain: %v", err)
		}
		<-c.Done()
		time.Sleep(time.Minute)
		if got := heard.all(); len(got) != 3 || heard.count("result") != 3 {
			t.Errorf("the listener was told %q, want three results in the time there was", got)
		}
	})
}

// Drain of a producer waits for its part in the calls in flight, and no longer.
func TestDrainOfAProducer(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		t.Run("that runs and is waited for", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
				p := produce(t, d, "serial", slow(2*time.Second, 1), dispatch.WithConcurrency(1))
				produce(t, d, "slower", slow(30*time.Second, 2))
				first, second := send(t, d), send(t, d)
				synctest.Wait()
				began := time.Now()
				if err := p.Drain(context.Background()); err != nil {
					t.Errorf("Drain: %v", err)
				}
				if took := time.Since(began); took != 4*time.Second {
					t.Errorf("Drain took %v, want until both runs were over", took)
				}
				<-first.Done()
				<-second.Done()
				expect(t, first.Report(), "all ended: serial ok, slower ok")
				expect(t, second.Report(), "all ended: serial ok, slower ok")
				expect(t, ended(t, d), "all ended: slower ok")
			})
		})
		t.Run("that answers among quick ones", func(t *testing.T) {
			for round := range 50 {
				synctest.Test(t, func(t *testing.T) {
					d, _ := newDispatcher()
					var p *dispatch.Registration
					var drained atomic.Bool
					const n = 6
					for i := range n {
						switch {
						case i == round%(n-1):
							p = produce(t, d, "drained", func(context.Context, int) (int, error) {
								go func() {
									if err := p.Drain(context.Background()); err != nil {
										t.Errorf("Drain: %v", err)
									}
									drained.Store(true)
								}()
								// How far Drain and the worker that stands by come
								// until we answer makes a difference.
								for range round % 4 {
									runtime.Gosched()
								}
								return 1, nil
							})
						case i > round%(n-1):
							produce(t, d, fmt.Sprint("p", i), patient)
						default:
							produce(t, d, fmt.Sprint("p", i), quick(1))
						}
					}
					c := send(t, d)
					synctest.Wait()
					if !drained.Load() {
						t.Error("Drain waits for the producers that come after")
					}
					<-c.Done()
				})
				if t.Failed() {
					return
				}
			}
		})
	})
}

// A producer that leaves before it was asked is Gone, one that was asked is not.
func TestProducerThatLeavesBeforeItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		first := produce(t, d, "a", slow(time.Second, 1))
		second := produce(t, d, "b", quick(2))
		produce(t, d, "c", quick(3))
		diary := keepDiary(t, d)
		c := send(t, d, dispatch.WithParallelism(1))
		synctest.Wait()
		first.Remove()
		second.Remove()
		<-c.Done()
		synctest.Wait()
		r := c.Report()
		expect(t, r, "all ended: a ok, b gone, c ok")
		if o := outcomeOf(t, r, "b"); o.Started || !errors.Is(o.Err, dispatch.ErrRemoved) || r.Complete() {
			t.Errorf("outcome is %+v, complete: %v", o, r.Complete())
		}
		sameCall(t, r, diary)
	})
}

// Drain delivers what has been recorded before it, also if it has not been published yet.
func TestDrainDeliversWhatIsRecorded(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	recorded := 0
	for range 200 {
		d, _ := newDispatcher()
		var heard, seen, observed atomic.Int32
		listens := listen(t, d, func(context.Context, result) { heard.Add(1) })
		observes := must(d.Bus().Observe(dispatch.Observer{
			Result: func(context.Context, dispatch.MemberInfo, dispatch.ResultInfo) { observed.Add(1) },
		}))
		produce(t, d, "a", quick(1))
		produce(t, d, "b", func(context.Context, int) (int, error) {
			seen.Store(int32(outcomeOf(t, d.Bus().Snapshot().Calls[0].Report, "a").Results))
			mustDrain(t, listens)
			mustDrain(t, observes)
			if heard.Load() < seen.Load() || observed.Load() < seen.Load() {
				t.Errorf("of %d results, the listener has heard %d and the observer %d", seen.Load(), heard.Load(), observed.Load())
			}
			return 2, nil
		})
		<-send(t, d).Done()
		recorded += int(seen.Load())
		d.Shutdown(t.Context())
	}
	if recorded == 0 {
		t.Error("no result was recorded before Drain was called")
	}
}

func TestDrainWaitsForTheEndOfACallThatHasNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			CallStart: func(ctx context.Context, _ dispatch.CallStarted) context.Context {
				time.Sleep(2 * time.Second)
				return ctx
			},
		}))
		var n notes
		produce(t, d, "a", quick(1))
		r := listen(t, d, ignore, dispatch.OnDone(func(r dispatch.Report) { n.add("%v", r.Reason) }))
		go send(t, d, dispatch.WithTimeout(time.Second))
		time.Sleep(1500 * time.Millisecond)
		mustDrain(t, r)
		wantLines(t, n.all(), "deadline")
	})
}

// A listener that came in the middle of a call and is busy while it drains gets nothing that is
// recorded after Drain was called.
func TestListenerThatCameInTheMiddleDrains(t *testing.T) {
	for name, opts := range map[string][]dispatch.ListenerOption{
		"plain": nil, "concurrent": {dispatch.WithConcurrency(2)}, "bounded": {dispatch.WithMailbox(100, dispatch.DropOldest)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
				addStream(t, d, "s", ticking(time.Second, 1, 2, 3, 4, 5, 6, 7, 8))
				c := send(t, d)
				time.Sleep(2500 * time.Millisecond) // 1 and 2 have been recorded
				var heard events[int]
				r := listen(t, d, func(_ context.Context, r result) {
					heard.add(r.Value)
					time.Sleep(3 * time.Second)
				}, opts...)
				time.Sleep(time.Second) // 3 is recorded and is being delivered
				if err := r.Drain(context.Background()); err != nil {
					t.Error(err)
				}
				<-c.Done()
				synctest.Wait()
				equal(t, "heard", heard.all(), []int{3})
			})
		})
	}
}

// Each kind of registration says when it has ended.
func TestRegistrationsSayThatTheyAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		add := map[string]func() *dispatch.Registration{
			"producer": func() *dispatch.Registration { return produce(t, d, "p", quick(1)) },
			"listener": func() *dispatch.Registration { return listen(t, d, ignore) },
			"hook":     func() *dispatch.Registration { return d.OnLate(func(result, time.Duration) {}) },
			"observer": func() *dispatch.Registration { return must(d.Bus().Observe(dispatch.Observer{})) },
			"link": func() *dispatch.Registration {
				return must(d.Bus().AddLink(func() dispatch.LinkSnapshot { return dispatch.LinkSnapshot{} }))
			},
		}
		for kind, add := range add {
			removed, drained := add(), (*dispatch.Registration)(nil)
			before := removed.Removed()
			removed.Remove()
			drained = add()
			mustDrain(t, drained)
			if before || !removed.Removed() || !drained.Removed() {
				t.Errorf("%s: removed %t before, %t after Remove, %t after Drain", kind, before, removed.Removed(), drained.Removed())
			}
		}
	})
}
