package dispatch_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// The behaviour that the first screen of the README promises, in one test: who
// answers is heard as it answers, who does not is named.
func TestAskEveryoneAndKnowWhoDidNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		measure := dispatch.NewTopic[string, float64]("cell.measure", dispatch.WithTimeout(2*time.Second))
		cell := dispatch.New[string, float64]()
		for site, takes := range map[string]time.Duration{"site-1": 300 * time.Millisecond, "site-2": 200 * time.Millisecond, "site-3": 9 * time.Second} {
			_, err := cell.AddProducer(measure, func(ctx context.Context, _ string) (float64, error) {
				select {
				case <-time.After(takes):
					return takes.Seconds(), nil
				case <-ctx.Done():
					return 0, context.Cause(ctx)
				}
			}, dispatch.WithName(site))
			if err != nil {
				t.Fatal(err)
			}
		}
		var heard []string
		if _, err := cell.AddListener(measure, func(_ context.Context, r dispatch.Result[string, float64]) {
			heard = append(heard, r.From.Name)
		}); err != nil {
			t.Fatal(err)
		}

		began := time.Now()
		values, err := cell.Gather(t.Context(), measure, "vdd")
		if got := time.Since(began); got != 2*time.Second {
			t.Errorf("the call took %v, want its timeout", got)
		}
		synctest.Wait()
		if diff := cmp.Diff([]string{"site-2", "site-1"}, heard); diff != "" {
			t.Errorf("listener (-want +got):\n%s", diff)
		}
		if len(values) != 2 {
			t.Errorf("got %d values, want 2", len(values))
		}
		var partial *dispatch.PartialError
		if !errors.As(err, &partial) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error is %v, want a PartialError with the deadline", err)
		}
		states := map[string]dispatch.State{}
		for _, o := range partial.Report.Outcomes {
			states[o.Member.Name] = o.State
		}
		want := map[string]dispatch.State{"site-1": dispatch.StateOK, "site-2": dispatch.StateOK, "site-3": dispatch.StateLate}
		if diff := cmp.Diff(want, states); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
	})
}
