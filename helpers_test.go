package dispatch_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// apiBubble runs a subtest in virtual time. Producers that are late have a day to
// return; what is left then fails the test.
func apiBubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			defer time.Sleep(24 * time.Hour)
			f(t)
		})
	})
}

// apiMust returns v. An error where none can be is a panic: it fails the test
// and shows the line.
func apiMust[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// apiQuiet returns a dispatcher on a bus of its own that logs to nobody.
func apiQuiet[Req, Res any](opts ...dispatch.BusOption) *dispatch.Dispatcher[Req, Res] {
	return dispatch.New[Req, Res](append(opts, dispatch.WithLogger(slog.New(slog.DiscardHandler)))...)
}

// apiAnswer returns a producer that gives v after d, whatever its context says.
func apiAnswer[Req, Res any](v Res, d time.Duration) dispatch.Producer[Req, Res] {
	return func(context.Context, Req) (Res, error) {
		time.Sleep(d)
		return v, nil
	}
}

// apiEvents is what happened, in order.
type apiEvents[T any] struct {
	mu  sync.Mutex
	all []T
}

func (e *apiEvents[T]) add(v T) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, v)
}

// take returns what happened since it was asked last.
func (e *apiEvents[T]) take() []T {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all
	e.all = nil
	return all
}

// apiHear returns a listener that notes the values of its results.
func apiHear[Req, Res any](to *apiEvents[Res]) dispatch.Listener[Req, Res] {
	return func(_ context.Context, r dispatch.Result[Req, Res]) { to.add(r.Value) }
}

// apiEnds gives for each member of a report, in order, its name and how it
// ended, as in "a ok b late".
func apiEnds(r dispatch.Report) string {
	var words []string
	for _, o := range r.Outcomes {
		words = append(words, o.Member.String(), o.State.String())
	}
	return strings.Join(words, " ")
}

// apiAsked gives the names of the members of a call, sorted.
func apiAsked[Req, Res any](c *dispatch.Call[Req, Res]) []string {
	names := []string{}
	for _, o := range c.Report().Outcomes {
		names = append(names, o.Member.Name)
	}
	slices.Sort(names)
	return names
}

func apiSorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

func apiEqual[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func apiDrain(t *testing.T, r *dispatch.Registration) {
	t.Helper()
	if err := r.Drain(t.Context()); err != nil {
		t.Errorf("Drain of %s: %v", r.Name(), err)
	}
}

// apiAtRest fails the test if the bus has anything under way or waiting. It
// shuts the bus down.
func apiAtRest(t *testing.T, b *dispatch.Bus) {
	t.Helper()
	synctest.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Shutdown(ctx); err != nil {
		t.Errorf("the bus is not at rest: %v", err)
	}
}
