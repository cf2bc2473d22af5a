package recipes

import (
	"context"
	"runtime/debug"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/seed-bb4b4d74/dispatch"
)

// Once returns a producer that runs p once for all requests with the same key that arrive
// during the run. All of these requests get the result of the run. The run is independent
// of their calls: it goes on when the calls end, and has its own time limit.
func Once[Req, Res any](p dispatch.Producer[Req, Res], key func(Req) string, limit time.Duration) dispatch.Producer[Req, Res] {
	var group singleflight.Group
	return func(ctx context.Context, req Req) (res Res, err error) {
		run := group.DoChan(key(req), func() (_ any, err error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
			defer cancel()
			defer func() { // a panic here would crash the process
				if v := recover(); v != nil {
					err = &dispatch.PanicError{Value: v, Stack: debug.Stack()}
				}
			}()
			return p(ctx, req)
		})
		select {
		case r := <-run:
			res, _ = r.Val.(Res)
			return res, r.Err
		case <-ctx.Done():
			return res, context.Cause(ctx)
		}
	}
}
