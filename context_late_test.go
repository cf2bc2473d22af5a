package dispatch_test

import (
	"context"
	"testing"
	"testing/synctest"
)

// What a producer has left behind may look at its context for the first time when the
// call is long over.
func TestContextMayBeUsedForTheFirstTimeAfterTheEnd(t *testing.T) {
	type key struct{}
	for name, use := range map[string]func(*testing.T, context.Context){
		"Err": func(t *testing.T, ctx context.Context) {
			if ctx.Err() != context.Canceled {
				t.Errorf("Err is %v", ctx.Err())
			}
		},
		"Done": func(t *testing.T, ctx context.Context) {
			select {
			case <-ctx.Done():
			default:
				t.Error("Done is open")
			}
		},
		"Value": func(t *testing.T, ctx context.Context) {
			if v := ctx.Value(key{}); v != 1 {
				t.Errorf("Value is %v", v)
			}
		},
		"Cause": func(t *testing.T, ctx context.Context) {
			if err := context.Cause(ctx); err != context.Canceled {
				t.Errorf("Cause is %v", err)
			}
		},
		"derived": func(t *testing.T, ctx context.Context) {
			derived, cancel := context.WithCancel(ctx)
			defer cancel()
			if derived.Err() != context.Canceled {
				t.Errorf("Err of a derived context is %v", derived.Err())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, j := newDispatcher()
				var left context.Context
				produce(t, d, "a", func(ctx context.Context, _ int) (int, error) {
					left = ctx
					return 1, nil
				})
				<-sendFrom(context.WithValue(t.Context(), key{}, 1), t, d).Done()
				synctest.Wait()
				use(t, left)
				j.nothing(t)
			})
		})
	}
}
