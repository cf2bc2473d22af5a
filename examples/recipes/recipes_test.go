package recipes_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/timeout"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchtest"
	"github.com/seed-bb4b4d74/dispatch/examples/recipes"
)

var errBroken = errors.New("broken")

// script is a producer whose runs do what the steps say, one after the other. It notes
// when they began.
type script struct {
	steps []dispatch.Producer[string, float64]
	began []time.Time
}

func (s *script) produce(ctx context.Context, req string) (float64, error) {
	step := s.steps[len(s.began)]
	s.began = append(s.began, time.Now())
	return step(ctx, req)
}

var (
	answers  = dispatchtest.Answer[string](12.5)
	fails    = dispatchtest.Failing[string, float64](errBroken)
	declines = dispatchtest.Declining[string, float64]()
	panics   = dispatchtest.Panicking[string, float64]("oops")
	hangs    = dispatchtest.Slow[string](24*time.Hour, 12.5)
)

// run runs p as the only producer of a call, and returns how it ended.
func run(t *testing.T, p dispatch.Producer[string, float64], opts ...dispatch.CallOption) dispatch.Outcome {
	t.Helper()
	d := dispatch.New[string, float64]()
	dispatchtest.Produce(t, d, price, p, dispatch.WithName("shop"))
	call, err := d.Send(t.Context(), price, "lamp", opts...)
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return call.Report().Outcomes[0]
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func TestRetry(t *testing.T) {
	bubble(t, "waits twice as long each time", func(t *testing.T) {
		s := &script{steps: []dispatch.Producer[string, float64]{fails, fails, fails, fails, answers}}
		if o := run(t, recipes.Retry(s.produce, 5, 100*time.Millisecond, 300*time.Millisecond)); o.State != dispatch.StateOK {
			t.Fatalf("it is %v: %v", o.State, o.Err)
		}
		for i, want := range []time.Duration{100, 200, 300, 300} {
			want *= time.Millisecond
			if got := s.began[i+1].Sub(s.began[i]); got < want*4/5 || got > want*6/5 {
				t.Errorf("wait %d is %v, want %v and at most a fifth more or less", i, got, want)
			}
		}
	})
	bubble(t, "fails as the last attempt does", func(t *testing.T) {
		s := &script{steps: []dispatch.Producer[string, float64]{fails, fails}}
		if o := run(t, recipes.Retry(s.produce, 2, time.Second, time.Minute)); o.State != dispatch.StateFailed || o.Err != errBroken {
			t.Errorf("it is %v: %v, want failed: %v", o.State, o.Err, errBroken)
		}
	})
	bubble(t, "leaves alone who declines", func(t *testing.T) {
		s := &script{steps: []dispatch.Producer[string, float64]{declines}}
		if o := run(t, recipes.Retry(s.produce, 2, time.Second, time.Minute)); o.State != dispatch.StateDeclined {
			t.Errorf("it is %v: %v, want declined", o.State, o.Err)
		}
	})
	bubble(t, "leaves a panic to dispatch", func(t *testing.T) {
		s := &script{steps: []dispatch.Producer[string, float64]{panics}}
		if o := run(t, recipes.Retry(s.produce, 2, time.Second, time.Minute)); o.State != dispatch.StatePanicked {
			t.Errorf("it is %v: %v, want panicked", o.State, o.Err)
		}
	})
	bubble(t, "ends with the call", func(t *testing.T) {
		s := &script{steps: []dispatch.Producer[string, float64]{fails}}
		if o := run(t, recipes.Retry(s.produce, 2, time.Hour, 2*time.Hour)); o.State != dispatch.StateLate {
			t.Errorf("it is %v: %v, want late", o.State, o.Err)
		}
		synctest.Wait() // and no run is left that would go on
	})
	bubble(t, "drops what comes in the time of grace", func(t *testing.T) {
		handsIn := func(ctx context.Context, _ string) (float64, error) { <-ctx.Done(); return 12.5, nil }
		if o := run(t, recipes.Retry(handsIn, 2, time.Second, time.Minute), dispatch.WithGrace(time.Second)); o.State != dispatch.StateLate {
			t.Errorf("it is %v: %v; the page says that it is late", o.State, o.Err)
		}
	})
}

func TestTimeLimit(t *testing.T) {
	bubble(t, "is that of each attempt", func(t *testing.T) {
		s := &script{steps: []dispatch.Producer[string, float64]{hangs, hangs, answers}}
		o := run(t, recipes.Retry(recipes.TimeLimit(s.produce, 3*time.Second), 3, time.Nanosecond, 2*time.Nanosecond))
		if took := o.Elapsed.Round(time.Second); o.State != dispatch.StateOK || took != 6*time.Second {
			t.Errorf("it is %v after %v, want ok after 6s: %v", o.State, took, o.Err)
		}
	})
	bubble(t, "is an error of its own", func(t *testing.T) {
		o := run(t, recipes.TimeLimit(hangs, 3*time.Second))
		if o.State != dispatch.StateFailed || !errors.Is(o.Err, timeout.ErrExceeded) || o.Elapsed != 3*time.Second {
			t.Errorf("it is %v after %v: %v, want failed after 3s: %v", o.State, o.Elapsed, o.Err, timeout.ErrExceeded)
		}
	})
	bubble(t, "waits for a producer that ignores its context", func(t *testing.T) {
		deaf := func(context.Context, string) (float64, error) { time.Sleep(5 * time.Second); return 12.5, nil }
		o := run(t, recipes.TimeLimit(deaf, 3*time.Second))
		if o.State != dispatch.StateFailed || o.Elapsed != 5*time.Second {
			t.Errorf("it is %v after %v: %v, want failed after 5s", o.State, o.Elapsed, o.Err)
		}
	})
}

func TestBreaker(t *testing.T) {
	const rest = time.Minute
	// Each step is one call. If the call does not reach the producer, does is nil.
	type step struct {
		does  dispatch.Producer[string, float64] // nil: the breaker is open
		after time.Duration
		want  dispatch.State
	}
	for name, steps := range map[string][]step{
		"opens after failures in a row": {
			{does: fails, want: dispatch.StateFailed},
			{does: answers, want: dispatch.StateOK},
			{does: fails, want: dispatch.StateFailed},
			{does: fails, want: dispatch.StateFailed},
			{want: dispatch.StateFailed},
			{after: rest - 1, want: dispatch.StateFailed},
		},
		"closes when the first run after the rest answers": {
			{does: fails, want: dispatch.StateFailed},
			{does: fails, want: dispatch.StateFailed},
			{does: answers, after: rest, want: dispatch.StateOK},
			{does: fails, want: dispatch.StateFailed},
			{does: answers, want: dispatch.StateOK},
		},
		"opens again when it fails": {
			{does: fails, want: dispatch.StateFailed},
			{does: fails, want: dispatch.StateFailed},
			{does: fails, after: rest, want: dispatch.StateFailed},
			{want: dispatch.StateFailed},
			{does: answers, after: rest, want: dispatch.StateOK},
		},
		"counts a panic, also in the first run after the rest": {
			{does: panics, want: dispatch.StatePanicked},
			{does: panics, want: dispatch.StatePanicked},
			{want: dispatch.StateFailed},
			{does: panics, after: rest, want: dispatch.StatePanicked},
			{want: dispatch.StateFailed},
			{does: answers, after: rest, want: dispatch.StateOK},
		},
		"does not count who declines": {
			{does: declines, want: dispatch.StateDeclined},
			{does: declines, want: dispatch.StateDeclined},
			{does: answers, want: dispatch.StateOK},
		},
		"counts who is late": {
			{does: hangs, want: dispatch.StateLate},
			{does: hangs, want: dispatch.StateLate},
			{want: dispatch.StateFailed},
		},
	} {
		bubble(t, name, func(t *testing.T) {
			s := new(script)
			p := recipes.Breaker(s.produce, 2, rest)
			for i, step := range steps {
				time.Sleep(step.after)
				if step.does != nil {
					s.steps = append(s.steps, step.does)
				}
				o := run(t, p)
				synctest.Wait() // a late run has returned
				open := errors.Is(o.Err, circuitbreaker.ErrOpen)
				if o.State != step.want || open != (step.does == nil) || len(s.began) != len(s.steps) {
					t.Fatalf("step %d is %v (%v), want %v; %d runs, want %d", i, o.State, o.Err, step.want, len(s.began), len(s.steps))
				}
			}
		})
	}
	bubble(t, "does not count runs that were canceled", func(t *testing.T) {
		d := dispatch.New[string, float64]()
		p := recipes.Breaker(hangs, 2, rest)
		dispatchtest.Produce(t, d, price, p, dispatch.WithName("hangs"))
		dispatchtest.Produce(t, d, price, answers, dispatch.WithName("quick"))
		for range 3 {
			if _, err := d.First(t.Context(), price, "lamp"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if o := run(t, p); o.State != dispatch.StateLate {
			t.Errorf("it is %v: %v; it was not asked", o.State, o.Err)
		}
	})
}

func TestRateLimit(t *testing.T) {
	bubble(t, "waits for its turn", func(t *testing.T) {
		p := recipes.RateLimit(answers, rate.NewLimiter(rate.Every(10*time.Second), 1))
		for i, want := range []time.Duration{0, 10 * time.Second, 10 * time.Second} {
			if o := run(t, p); o.State != dispatch.StateOK || o.Elapsed != want {
				t.Errorf("run %d is %v after %v, want ok after %v: %v", i, o.State, o.Elapsed, want, o.Err)
			}
		}
	})
	bubble(t, "fails at once if its turn would come too late", func(t *testing.T) {
		p := recipes.RateLimit(answers, rate.NewLimiter(rate.Every(time.Hour), 1))
		run(t, p)
		if o := run(t, p); o.State != dispatch.StateFailed || o.Elapsed != 0 {
			t.Errorf("it is %v after %v, want failed at once: %v", o.State, o.Elapsed, o.Err)
		}
	})
}

// mirrors asks two members that share a producer, at the same time.
func mirrors(t *testing.T, p dispatch.Producer[string, float64], opts ...dispatch.CallOption) *dispatch.Call[string, float64] {
	t.Helper()
	d := dispatch.New[string, float64]()
	shared := recipes.Once(p, func(item string) string { return item }, time.Hour)
	for i := range 2 {
		dispatchtest.Produce(t, d, price, shared, dispatch.WithName(fmt.Sprint("mirror-", i)))
	}
	call, err := d.Send(t.Context(), price, "lamp", opts...)
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return call
}

func states(r dispatch.Report) (states []dispatch.State) {
	for _, o := range r.Outcomes {
		states = append(states, o.State)
	}
	return states
}

func TestOnce(t *testing.T) {
	slow := dispatchtest.Slow[string](time.Second, 12.5)
	bubble(t, "one run answers equal requests", func(t *testing.T) {
		s := &script{steps: []dispatch.Producer[string, float64]{slow}}
		call := mirrors(t, s.produce)
		var got []float64
		for r := range call.Results() {
			got = append(got, r.Value)
		}
		if diff := cmp.Diff([]float64{12.5, 12.5}, got); diff != "" {
			t.Errorf("values (-want +got):\n%s", diff)
		}
	})
	bubble(t, "other requests have runs of their own", func(t *testing.T) {
		d := dispatch.New[string, float64]()
		s := &script{steps: []dispatch.Producer[string, float64]{slow, slow}}
		dispatchtest.Produce(t, d, price, recipes.Once(s.produce, func(item string) string { return item }, time.Hour))
		heard := dispatchtest.Listen(t, d, price)
		for _, item := range []string{"lamp", "desk"} {
			if _, err := d.Send(t.Context(), price, item); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		heard.WaitDone(2)
		if len(s.began) != 2 {
			t.Errorf("%d runs, want 2", len(s.began))
		}
	})
	bubble(t, "the run goes on without the call that began it", func(t *testing.T) {
		d := dispatch.New[string, float64]()
		s := &script{steps: []dispatch.Producer[string, float64]{slow}}
		dispatchtest.Produce(t, d, price, recipes.Once(s.produce, func(item string) string { return item }, time.Hour))
		first, err := d.Send(t.Context(), price, "lamp")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		second, err := d.Send(t.Context(), price, "lamp")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		first.Cancel(nil)
		if err := second.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := append(states(first.Report()), states(second.Report())...); !slices.Equal(got, []dispatch.State{dispatch.StateCanceled, dispatch.StateOK}) {
			t.Errorf("the calls are %v, want the first canceled and the second ok", got)
		}
	})
	bubble(t, "the run has a limit of its own", func(t *testing.T) {
		call := mirrors(t, hangs, dispatch.WithTimeout(2*time.Hour))
		r := call.Report()
		if got := states(r); !slices.Equal(got, []dispatch.State{dispatch.StateFailed, dispatch.StateFailed}) || r.Elapsed != time.Hour {
			t.Errorf("the members are %v after %v, want failed after an hour", got, r.Elapsed)
		}
	})
	bubble(t, "a call that ends does not wait for the run", func(t *testing.T) {
		p := recipes.Once(hangs, func(item string) string { return item }, time.Hour)
		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, cause)
		defer cancel()
		began := time.Now()
		if _, err := p(ctx, "lamp"); err != cause || time.Since(began) != time.Minute {
			t.Errorf("it returns %v after %v, want %v after a minute", err, time.Since(began), cause)
		}
		time.Sleep(time.Hour) // the run goes on until its limit
	})
	bubble(t, "a panic is an error of all", func(t *testing.T) {
		call := mirrors(t, panics)
		for _, o := range call.Report().Outcomes {
			var panicked *dispatch.PanicError
			if o.State != dispatch.StateFailed || !errors.As(o.Err, &panicked) || panicked.Value != "oops" {
				t.Errorf("%v is %v: %v, want failed by the panic", o.Member, o.State, o.Err)
			}
		}
	})
}

func TestCached(t *testing.T) {
	bubble(t, "keeps results for their time, however often they are asked for", func(t *testing.T) {
		s := &script{steps: []dispatch.Producer[string, float64]{answers, answers}}
		p := recipes.Cached(s.produce, 10, time.Minute)
		for i, want := range []int{1, 1, 1, 2} {
			if o := run(t, p); o.State != dispatch.StateOK || len(s.began) != want {
				t.Errorf("ask %d is %v with %d runs, want ok with %d: %v", i, o.State, len(s.began), want, o.Err)
			}
			time.Sleep(25 * time.Second)
		}
	})
	bubble(t, "keeps no errors", func(t *testing.T) {
		s := &script{steps: []dispatch.Producer[string, float64]{fails, declines, answers}}
		p := recipes.Cached(s.produce, 10, time.Minute)
		for _, want := range []dispatch.State{dispatch.StateFailed, dispatch.StateDeclined, dispatch.StateOK, dispatch.StateOK} {
			if o := run(t, p); o.State != want {
				t.Errorf("it is %v, want %v: %v", o.State, want, o.Err)
			}
		}
	})
	bubble(t, "keeps so many", func(t *testing.T) {
		var asked []string
		p := recipes.Cached(func(_ context.Context, item string) (float64, error) {
			asked = append(asked, item)
			return 12.5, nil
		}, 2, time.Minute)
		for _, item := range []string{"lamp", "desk", "lamp", "chair", "lamp", "desk"} {
			if _, err := p(t.Context(), item); err != nil {
				t.Fatal(err)
			}
		}
		if want := []string{"lamp", "desk", "chair", "desk"}; !slices.Equal(asked, want) {
			t.Errorf("asked for %q, want %q", asked, want)
		}
	})
}

func TestOnly(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := dispatch.New[string, float64]()
		lamps := recipes.Only(answers, func(item string) bool { return item == "lamp" })
		dispatchtest.Produce(t, d, price, lamps, dispatch.WithName("lamps"))
		for item, want := range map[string]int{"lamp": 1, "desk": 0} {
			if prices, err := d.Gather(t.Context(), price, item); err != nil || len(prices) != want {
				t.Errorf("%d prices for a %s, want %d: %v", len(prices), item, want, err)
			}
		}
	})
}
