package recipes

import (
	"context"
	"errors"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"github.com/seed-bb4b4d74/dispatch"
)

// Retry returns a producer that runs p up to so many times until it does not fail. The
// wait before the second run is first, and doubles for each further run, up to most; each
// varies by up to a fifth, so that clients that failed together do not return together.
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
