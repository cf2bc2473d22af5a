package recipes

import (
	"context"
	"errors"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"github.com/seed-bb4b4d74/dispatch"
)

// Retry returns a producer that runs p until it succeeds or declines, at most attempts times.
// It waits for first before the second run, and twice as long before each further run, up to
// most. Each wait varies by up to a fifth, so that clients do not retry at the same moment.
func Retry[Req, Res any](p dispatch.Producer[Req, Res], attempts int, first, most time.Duration) dispatch.Producer[Req, Res] {
	retry := failsafe.With[Res](retrypolicy.NewBuilder[Res]().
		HandleIf(func(_ Res, err error) bool { return err != nil && !errors.Is(err, dispatch.ErrDecline) }).
		WithMaxAttempts(attempts).
		WithBackoff(first, most).
		WithJitterFactor(0.2).
		ReturnLastFailure().
		Build())
	return func(ctx context.Context, req Req) (Res, error) {
		return retry.WithContext(ctx).Get(func() (Res, error) { return p(ctx, req) })
	}
}
