package oteldispatch

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
)

// TraceContext returns two functions for a transport that propagates traces. inject passes
// the trace of ctx to set, as keys and values that the transport sends with a request.
// extract returns ctx with the trace that it reads through get. The functions have plain
// types, so that they fit into an option such as
//
//	natsdispatch.WithTraceContext(oteldispatch.TraceContext())
//
// Without propagators, only the W3C trace context is propagated. The global propagator is
// not used: in most programs it includes baggage, which may contain data of users. By
// default, baggage is neither sent to other machines nor accepted from them. If you trust
// these machines, write
//
//	oteldispatch.TraceContext(propagation.TraceContext{}, propagation.Baggage{})
//
// Both functions are safe for concurrent use.
func TraceContext(propagators ...propagation.TextMapPropagator) (
	inject func(ctx context.Context, set func(key, value string)),
	extract func(ctx context.Context, get func(key string) string) context.Context,
) {
	p := propagation.NewCompositeTextMapPropagator(propagators...)
	if len(propagators) == 0 {
		p = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{})
	}
	inject = func(ctx context.Context, set func(key, value string)) {
		p.Inject(ctx, carrier{set: set})
	}
	extract = func(ctx context.Context, get func(key string) string) context.Context {
		return p.Extract(ctx, carrier{get: get, keys: p.Fields()})
	}
	return inject, extract
}

// carrier is a request of a transport, accessed through functions.
type carrier struct {
	set  func(key, value string)
	get  func(key string) string
	keys []string
}

func (c carrier) Get(key string) string { return c.get(key) }
func (c carrier) Set(key, value string) { c.set(key, value) }

// Keys returns the keys that may have values.
func (c carrier) Keys() []string { return c.keys }
