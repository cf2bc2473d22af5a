package oteldispatch

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
)

// TraceContext returns what a transport has to do so that a trace goes on elsewhere:
// inject hands the trace of ctx to set, as keys and values to be sent along with a
// request, and extract returns ctx with what get has found of them. Their types are
// plain, so that they fit into an option such as
//
//	natsdispatch.WithTraceContext(oteldispatch.TraceContext())
//
// Without propagators it is the W3C trace context that goes along, and nothing else;
// the global propagator is not asked. Most programs have baggage in that one, which
// holds what the users of a service have sent, say, and is not to be handed to other
// machines, nor to be believed from them, by default. Who trusts these machines says
// so:
//
//	oteldispatch.TraceContext(propagation.TraceContext{}, propagation.Baggage{})
//
// Both functions may be called concurrently.
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

// carrier is a request of a transport that one has functions for.
type carrier struct {
	set  func(key, value string)
	get  func(key string) string
	keys []string
}

func (c carrier) Get(key string) string { return c.get(key) }
func (c carrier) Set(key, value string) { c.set(key, value) }

// Keys returns the keys that may have values.
func (c carrier) Keys() []string { return c.keys }
