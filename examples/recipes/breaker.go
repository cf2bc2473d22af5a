package recipes

import (
	"context"
	"errors"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/seed-bb4b4d74/dispatch"
)

// Breaker returns a producer that does not run p for the time of rest after so many
// failures in a row, and fails with circuitbreaker.ErrOpen instead. The first run after
// the rest decides: p is run again as before, or rests again.
func Breaker[Req, Res any](p dispatch.Producer[Req, Res], failures uint, rest time.Duration) dispatch.Producer[Req, Res] {
	breaker := circuitbreaker.NewBuilder[Res]().WithFailureThreshold(failures).WithSuccessThreshold(1).WithDelay(rest).Build()
	return func(ctx context.Context, req Req) (res Res, err error) {
		if !breaker.TryAcquirePermit() {
			return res, circuitbreaker.ErrOpen
		}
		failed := true // also by a panic
		defer func() {
			if failed {
				breaker.RecordFailure()
			} else {
				breaker.RecordSuccess()
			}
		}()
		res, err = p(ctx, req)
		canceled := errors.Is(ctx.Err(), context.Canceled) // the call had its answer, which is not p's fault
		failed = err != nil && !canceled && !errors.Is(err, dispatch.ErrDecline)
		return res, err
	}
}
