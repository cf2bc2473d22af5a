package recipes

import (
	"context"

	"golang.org/x/time/rate"

	"github.com/seed-bb4b4d74/dispatch"
)

// RateLimit returns a producer that waits for the limiter before it runs p. If the turn of
// a request would come after the deadline, the producer fails at once. Producers may share
// a limiter.
func RateLimit[Req, Res any](p dispatch.Producer[Req, Res], limiter *rate.Limiter) dispatch.Producer[Req, Res] {
	return func(ctx context.Context, req Req) (res Res, err error) {
		if err := limiter.Wait(ctx); err != nil {
			return res, err
		}
		return p(ctx, req)
	}
}
