package dispatchtest_test

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchtest"
)

// silent is for buses whose producers fail on purpose, which the bus would log.
var silent = slog.New(slog.DiscardHandler)

// gather asks one producer within a second, and returns the values and the outcome of the
// producer.
func gather(t *testing.T, p producer) ([]float64, dispatch.Outcome) {
	t.Helper()
	d := dispatch.New[string, float64](dispatch.WithTimeout(time.Second), dispatch.WithLogger(silent))
	dispatchtest.Produce(t, d, measure, p, dispatch.WithName("site"))
	call, err := d.Send(t.Context(), measure, "vdd")
	if err != nil {
		t.Fatal(err)
	}
	var values []float64
	for r := range call.Results() {
		values = append(values, r.Value)
	}
	return values, call.Report().Outcomes[0]
}

func TestProducersEndAsTheirNamesSay(t *testing.T) {
	errBroken := errors.New("broken")
	for name, c := range map[string]struct {
		p       producer
		values  []float64
		state   dispatch.State
		err     error
		elapsed time.Duration
	}{
		"Answer":          {dispatchtest.Answer[string](1.2), []float64{1.2}, dispatch.StateOK, nil, 0},
		"Slow":            {dispatchtest.Slow[string](300*time.Millisecond, 1.2), []float64{1.2}, dispatch.StateOK, nil, 300 * time.Millisecond},
		"Slow, too late":  {dispatchtest.Slow[string](time.Hour, 1.2), nil, dispatch.StateLate, context.DeadlineExceeded, time.Second},
		"Slow by nothing": {dispatchtest.Slow[string](0, 1.2), []float64{1.2}, dispatch.StateOK, nil, 0},
		"Failing":         {dispatchtest.Failing[string, float64](errBroken), nil, dispatch.StateFailed, errBroken, 0},
		"Declining":       {dispatchtest.Declining[string, float64](), nil, dispatch.StateDeclined, dispatch.ErrDecline, 0},
		"Panicking":       {dispatchtest.Panicking[string, float64](errBroken), nil, dispatch.StatePanicked, errBroken, 0},
		"Exiting":         {dispatchtest.Exiting[string, float64](), nil, dispatch.StateFailed, dispatch.ErrGoexit, 0},
		"Flaky, always":   {dispatchtest.Flaky(1, 1, dispatchtest.Answer[string](1.2)), nil, dispatch.StateFailed, dispatchtest.ErrFlaky, 0},
		"Flaky, never":    {dispatchtest.Flaky(1, 0, dispatchtest.Answer[string](1.2)), []float64{1.2}, dispatch.StateOK, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				values, outcome := gather(t, c.p)
				if diff := cmp.Diff(c.values, values); diff != "" {
					t.Errorf("values (-want +got):\n%s", diff)
				}
				if outcome.State != c.state || !errors.Is(outcome.Err, c.err) || outcome.Elapsed != c.elapsed {
					t.Errorf("it is %v after %v with the error %v, want %v after %v with %v",
						outcome.State, outcome.Elapsed, outcome.Err, c.state, c.elapsed, c.err)
				}
			})
		})
	}
}

func TestPanickingWithNil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if _, outcome := gather(t, dispatchtest.Panicking[string, float64](nil)); outcome.State != dispatch.StatePanicked {
			t.Errorf("it is %v, want panicked", outcome.State)
		}
	})
}

// A producer that watches its context can tell why it was stopped.
func TestSlowReturnsTheCause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("operator pressed stop")
	cancel(why)
	if _, err := dispatchtest.Slow[string](time.Hour, 1.2)(ctx, "vdd"); err != why {
		t.Errorf("error is %v, want %v", err, why)
	}
}

func TestDeafAnswersWhenReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dispatch.New[string, float64](dispatch.WithTimeout(time.Second), dispatch.WithLogger(silent))
		late := make(chan time.Duration, 1)
		d.OnLate(func(r dispatch.Result[string, float64], by time.Duration) {
			if r.Value != 1.2 {
				t.Errorf("late value is %v, want 1.2", r.Value)
			}
			late <- by
		})
		release := make(chan struct{})
		dispatchtest.Produce(t, d, measure, dispatchtest.Deaf[string](release, 1.2), dispatch.WithName("site"))

		_, err := d.Gather(t.Context(), measure, "vdd")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v, want the deadline", err)
		}
		time.Sleep(time.Minute)
		if n := d.Bus().Snapshot().Topics[0].Producers[0].Abandoned; n != 1 {
			t.Errorf("%d runs are abandoned, want 1", n)
		}
		close(release)
		if by := <-late; by != time.Minute {
			t.Errorf("the answer is late by %v, want 1m0s", by)
		}
	})
}

// flaws returns which of n calls fail.
func flaws(t *testing.T, n int, p producer) []bool {
	t.Helper()
	failed := make([]bool, n)
	for i := range failed {
		v, err := p(t.Context(), "vdd")
		failed[i] = err != nil
		if err != nil && err != dispatchtest.ErrFlaky || err == nil && v != 1.2 {
			t.Fatalf("call %d returned %v, %v", i, v, err)
		}
	}
	return failed
}

func count(failed []bool) (n int) {
	for _, f := range failed {
		if f {
			n++
		}
	}
	return n
}

func TestFlakyIsReproducible(t *testing.T) {
	const calls, share = 10_000, 0.3
	answer := dispatchtest.Answer[string](1.2)
	first := flaws(t, calls, dispatchtest.Flaky(7, share, answer))
	if n := count(first); n < 2_800 || n > 3_200 {
		t.Errorf("%d of %d calls failed, want about 3000", n, calls)
	}
	if !slices.Equal(first, flaws(t, calls, dispatchtest.Flaky(7, share, answer))) {
		t.Error("with the same seed other calls failed")
	}
	if slices.Equal(first, flaws(t, calls, dispatchtest.Flaky(8, share, answer))) {
		t.Error("with another seed the same calls failed")
	}

	shared := dispatchtest.Flaky(7, share, answer)
	parts := make([][]bool, 8)
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() { parts[i] = flaws(t, calls/len(parts), shared) })
	}
	wg.Wait()
	if n := count(slices.Concat(parts...)); n != count(first) {
		t.Errorf("%d of the calls made concurrently failed, want %d", n, count(first))
	}
}

// latencies returns how long n requests take, one after another.
func latencies(t *testing.T, n int, p producer) (all []time.Duration) {
	t.Helper()
	for range n {
		began := time.Now()
		if v, err := p(t.Context(), "vdd"); v != 1.2 || err != nil {
			t.Fatalf("it returned %v, %v", v, err)
		}
		all = append(all, time.Since(began))
	}
	return all
}

func TestDelayedHasTheLatenciesOfItsSeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10_000
		latency := dispatchtest.LogNormal(10*time.Millisecond, 200*time.Millisecond)
		delayed := func(seed uint64) []time.Duration {
			return latencies(t, n, dispatchtest.Delayed(seed, latency, dispatchtest.Answer[string](1.2)))
		}
		first := delayed(7)
		if !slices.Equal(first, delayed(7)) {
			t.Error("with the same seed there are other latencies")
		}
		if slices.Equal(first, delayed(8)) {
			t.Error("with another seed there are the same latencies")
		}
		slices.Sort(first)
		for at, want := range map[int]time.Duration{n / 2: 10 * time.Millisecond, n * 99 / 100: 200 * time.Millisecond} {
			if got := first[at]; got < want*9/10 || got > want*11/10 {
				t.Errorf("%d of %d requests take up to %v, want about %v", at, n, got, want)
			}
		}
	})
}

func TestDelayedReturnsTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("operator pressed stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		hour := func(*rand.Rand) time.Duration { return time.Hour }
		began := time.Now()
		if _, err := dispatchtest.Delayed(1, hour, dispatchtest.Answer[string](1.2))(ctx, "vdd"); err != why || time.Since(began) != time.Second {
			t.Errorf("error is %v after %v, want %v after 1s", err, time.Since(began), why)
		}
	})
}

func TestProducersRefuseWhatMakesNoSense(t *testing.T) {
	answer := dispatchtest.Answer[string](1.2)
	for name, build := range map[string]func(){
		"Failing: nil error":              func() { dispatchtest.Failing[string, float64](nil) },
		"Flaky: share -0.1":               func() { dispatchtest.Flaky(1, -0.1, answer) },
		"Flaky: share 1.1":                func() { dispatchtest.Flaky(1, 1.1, answer) },
		"Flaky: share NaN":                func() { dispatchtest.Flaky(1, math.NaN(), answer) },
		"Flaky: nil Producer":             func() { dispatchtest.Flaky[string, float64](1, 0.5, nil) },
		"Delayed: nil Latency":            func() { dispatchtest.Delayed(1, nil, answer) },
		"Delayed: nil Producer":           func() { dispatchtest.Delayed[string, float64](1, dispatchtest.LogNormal(1, 2), nil) },
		"LogNormal: median 0s and p99 1s": func() { dispatchtest.LogNormal(0, time.Second) },
		"LogNormal: median 1s and p99 1s": func() { dispatchtest.LogNormal(time.Second, time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if message, _ := recover().(string); !strings.Contains(message, name) {
					t.Errorf("panic is %q, want one with %q", message, name)
				}
			}()
			build()
		})
	}
}

func TestProduceLastsAsLongAsTheTest(t *testing.T) {
	d := dispatch.New[string, float64]()
	failed := failures(t, func(t testing.TB) {
		if name := dispatchtest.Produce(t, d, measure, dispatchtest.Answer[string](1.2), dispatch.WithName("site")).Name(); name != "site" {
			t.Errorf("the producer is named %q, want site", name)
		}
		if values, err := d.Gather(t.Context(), measure, "vdd"); len(values) != 1 || err != nil {
			t.Errorf("got %v, %v, want one value", values, err)
		}
	})
	if len(failed) > 0 {
		t.Error(failed)
	}
	if _, err := d.Gather(t.Context(), measure, "vdd"); !errors.Is(err, dispatch.ErrNoProducers) {
		t.Errorf("after the test the error is %v, want that there are no producers", err)
	}
}

func TestProduceFailsTheTest(t *testing.T) {
	failed := failures(t, func(t testing.TB) {
		dispatchtest.Produce(t, dispatch.New[string, float64](), measure, nil)
		t.Errorf("the test went on")
	})
	if len(failed) != 1 || !strings.HasPrefix(failed[0], "fatal: dispatchtest.Produce: ") {
		t.Errorf("the test failed with %q", failed)
	}
}
