package recipes

import (
	"context"

	"github.com/seed-bb4b4d74/dispatch"
)

// Filter returns a listener that calls l with the results for which wants returns true. It
// drops the other results.
func Filter[Req, Res any](l dispatch.Listener[Req, Res], wants func(dispatch.Result[Req, Res]) bool) dispatch.Listener[Req, Res] {
	return func(ctx context.Context, r dispatch.Result[Req, Res]) {
		if wants(r) {
			l(ctx, r)
		}
	}
}

// Only returns a producer that runs p for the requests for which wants returns true. It
// declines the other requests.
func Only[Req, Res any](p dispatch.Producer[Req, Res], wants func(Req) bool) dispatch.Producer[Req, Res] {
	return func(ctx context.Context, req Req) (res Res, err error) {
		if !wants(req) {
			return res, dispatch.ErrDecline
		}
		return p(ctx, req)
	}
}
