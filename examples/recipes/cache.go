package recipes

import (
	"context"
	"time"

	"github.com/jellydator/ttlcache/v3"

	"github.com/seed-bb4b4d74/dispatch"
)

// Cached returns a producer that stores results of p, each for the duration of keep. It stores
// at most the given number of results, and no errors.
func Cached[Req comparable, Res any](p dispatch.Producer[Req, Res], most uint64, keep time.Duration) dispatch.Producer[Req, Res] {
	cache := ttlcache.New(
		ttlcache.WithCapacity[Req, Res](most), // evicts the least recently used request
		ttlcache.WithTTL[Req, Res](keep),
		ttlcache.WithDisableTouchOnHit[Req, Res]())
	return func(ctx context.Context, req Req) (Res, error) {
		if item := cache.Get(req); item != nil {
			return item.Value(), nil
		}
		res, err := p(ctx, req)
		if err == nil {
			cache.Set(req, res, ttlcache.DefaultTTL)
		}
		return res, err
	}
}
