package recipes

import (
	"context"
	"errors"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/seed-bb4b4d74/dispatch"
)

// Breaker returns a producer that stops running p after this number of consecutive
// failures. The breaker is then open for the time of rest, and the producer fails with
// circuitbreaker.ErrOpen. If the first run after rest succeeds, the breaker closes;
// otherwise it stays open for another rest.
func Breaker[Req, Res any](p dispatch.Producer[Req, Res], failures uint, rest time.Duration) dispatch.Producer[Req, Res] {
	breaker := circuitbreaker.NewBuilder[Res]().WithFailureThreshold(failures).WithSuccessThreshold(1).WithDelay(rest).Build()
	return func(ctx context.Context, req Req) (res Res, err error) {
		if !breaker.TryAcquirePermit() {
			return res, circuitbreaker.ErrOpen
		}
		failed := true // also if p panics
		defer func() {
			if failed {
				breaker.RecordFailure()
			} else {
				breaker.RecordSuccess()
			}
		}()
		res, err = p(ctx, req)
		canceled := errors.Is(ctx.Err(), context.Canceled) // the call has its answer, so p has not failed
		failed = err != nil && !canceled && !errors.Is(err, dispatch.ErrDecline)
		return res, err
	}
}
