package recipes

import (
	"context"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/timeout"

	"github.com/seed-bb4b4d74/dispatch"
)

// TimeLimit returns a producer that ends the context of p after the limit, waits until p
// returns, and then fails with timeout.ErrExceeded.
func TimeLimit[Req, Res any](p dispatch.Producer[Req, Res], limit time.Duration) dispatch.Producer[Req, Res] {
	limited := failsafe.With[Res](timeout.New[Res](limit))
	return func(ctx context.Context, req Req) (Res, error) {
		return limited.WithContext(ctx).GetWithExecution(func(e failsafe.Execution[Res]) (Res, error) {
			return p(e.Context(), req)
		})
	}
}
