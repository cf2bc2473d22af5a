package dispatch_test

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/seed-bb4b4d74/dispatch"
)

// A chain of listeners that send with their contexts keeps no call, and does not make
// looking for a value slower with each step.
func TestChainOfListenersKeepsNoCall(t *testing.T) {
	type key struct{}
	type absent struct{}
	for name, derive := range map[string]func(context.Context) context.Context{
		"as it is": func(ctx context.Context) context.Context { return ctx },
		"with a value of each step": func(ctx context.Context) context.Context {
			return context.WithValue(ctx, new(int), 1)
		},
		"with a deadline of each step": func(ctx context.Context) context.Context {
			ctx, cancel := context.WithTimeout(ctx, time.Hour)
			context.AfterFunc(ctx, cancel)
			return ctx
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const steps = 1000
				d := apiQuiet[int, *bigger]()
				topic := dispatch.NewTopic[int, *bigger]("kit.chain")
				apiMust(d.AddProducer(topic, func(context.Context, int) (*bigger, error) { return new(bigger), nil }))
				var calls []weak.Pointer[dispatch.Call[int, *bigger]]
				var values []weak.Pointer[bigger]
				var last context.Context
				apiMust(d.AddListener(topic, func(ctx context.Context, r dispatch.Result[int, *bigger]) {
					calls, values = append(calls, weak.Make(r.Call)), append(values, weak.Make(r.Value))
					if last = ctx; r.Call.Request() < steps {
						apiMust(d.Send(derive(ctx), topic, r.Call.Request()+1))
					}
				}))
				apiMust(d.Send(context.WithValue(t.Context(), key{}, "the first sender's"), topic, 1))
				time.Sleep(2 * time.Hour) // a timer that is stopped may hold its call until it would have gone off
				synctest.Wait()
				runtime.GC()
				kept := 0
				for i := range calls {
					if calls[i].Value() != nil || values[i].Value() != nil {
						kept++
					}
				}
				if kept > 0 || len(calls) != steps {
					t.Errorf("%d calls of %d are still reachable", kept, len(calls))
				}
				if got := last.Value(key{}); got != "the first sender's" {
					t.Errorf("the value of the first sender has become %v", got)
				}
				if last.Value(absent{}) != nil {
					t.Error("there is a value that nobody has set")
				}
			})
		})
	}
}

// What a chain adds to the way to the sender's values does not grow with it: after many
// steps the context is as few frames deep as after one.
func TestChainOfListenersMakesNoChainOfContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		var depths []int
		listen(t, d, func(ctx context.Context, r result) {
			if req := r.Call.Request(); req < 299 {
				apiMust(d.Send(ctx, ask, req+1))
			}
			ctx.Value(depthKey{&depths})
		})
		sendFrom(measuring{t.Context()}, t, d)
		synctest.Wait()
		if len(depths) != 300 || slices.Max(depths) > slices.Max(depths[:10]) {
			t.Errorf("looking for a value takes %v frames", depths)
		}
	})
}

// depthKey asks a measuring context how deep it is called.
type depthKey struct{ depths *[]int }

type measuring struct{ context.Context }

func (m measuring) Value(key any) any {
	if k, ok := key.(depthKey); ok {
		*k.depths = append(*k.depths, runtime.Callers(0, make([]uintptr, 10_000)))
		return nil
	}
	return m.Context.Value(key)
}

// A context that its producer has given to others can be looked at by them at any time,
// also if nobody has looked at it before its call was over.
func TestContextCanBeLookedAtAfterItsCall(t *testing.T) {
	type key struct{}
	for kind, opts := range map[string][]dispatch.ProducerOption{"plain": nil, "replica": {dispatch.WithGroup("g")}} {
		for what, look := range map[string]func(ctx context.Context) any{
			"Value":    func(ctx context.Context) any { return ctx.Value(key{}) },
			"Done":     func(ctx context.Context) any { <-ctx.Done(); return "the sender's" },
			"Err":      func(ctx context.Context) any { return map[bool]string{true: "the sender's"}[ctx.Err() != nil] },
			"CallFrom": func(ctx context.Context) any { dispatch.CallFrom(ctx); return "the sender's" },
			"derived": func(ctx context.Context) any {
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				return map[bool]string{true: "the sender's"}[context.Cause(ctx) != nil]
			},
		} {
			t.Run(kind+", "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, _ := newDispatcher()
					contexts := make(chan context.Context, 2)
					for _, name := range []string{"a", "b"} {
						produce(t, d, name, func(ctx context.Context, _ int) (int, error) { contexts <- ctx; return 1, nil }, opts...)
					}
					<-sendFrom(context.WithValue(t.Context(), key{}, "the sender's"), t, d).Done()
					synctest.Wait()
					if got := look(<-contexts); got != "the sender's" {
						t.Errorf("%s finds %v", what, got)
					}
				})
			})
		}
	}
}
