package dispatch_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/seed-bb4b4d74/dispatch"
)

// nilError is an error whose methods panic with a nil pointer, as those of many types do.
type nilError struct{ cause error }

func (e *nilError) Error() string { return "nil: " + e.cause.Error() }
func (e *nilError) Unwrap() error { return e.cause }

// An error whose methods panic fails its own member and nobody else.
func TestErrorWhoseMethodsPanicIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "typed nil", failing((*nilError)(nil)))
		produce(t, d, "b", quick(1))
		expect(t, ended(t, d), "all ended: typed nil failed, b ok")
	})
}

func TestErrorOfARelayWhoseMethodsPanicIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "b", quick(1))
		if _, err := d.AddRelay(ask, func(_ context.Context, _ int, to *dispatch.Roster[int]) error {
			to.Name(dispatch.Member{Name: "m", Node: "far"})
			to.End(dispatch.Member{Name: "m", Node: "far"}, (*nilError)(nil))
			return (*nilError)(nil)
		}, dispatch.WithName("r")); err != nil {
			t.Fatal(err)
		}
		expect(t, ended(t, d), "all ended: b ok, far/m failed, r failed")
	})
}
