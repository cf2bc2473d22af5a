package oteldispatch

import (
	"context"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// New returns an observer that makes spans and measurements. If the meter provider refuses
// an instrument, OpenTelemetry's error handler gets the error, and the instrument measures
// nothing. New ignores a nil Option.
func New(opts ...Option) dispatch.Observer {
	c := newConfig(opts)
	o := &observer{
		tracer:   c.tracers.Tracer(scopeName, trace.WithSchemaURL(schemaURL)),
		metrics:  newMetrics(c.meters.Meter(scopeName, metric.WithSchemaURL(schemaURL))),
		template: c.template,
	}
	return dispatch.Observer{
		CallStart:    o.callStart,
		CallEnd:      o.callEnd,
		MemberStart:  o.memberStart,
		MemberEnd:    o.memberEnd,
		Late:         o.late,
		Abandoned:    o.abandoned,
		ListenerEnd:  o.listenerEnd,
		Dropped:      o.dropped,
		SlowListener: o.slowListener,
	}
}

type observer struct {
	tracer   trace.Tracer
	metrics  *metrics
	template func(topic string) string
}

// scope is what a context knows of the call and the member whose it is. The key is
// the observer's own, for a bus may have several.
type scope struct {
	call   *call
	member *member // nil in the context of a call
}

type scopeKey struct{ *observer }

func (o *observer) in(ctx context.Context) (s scope, ok bool) {
	s, ok = ctx.Value(scopeKey{o}).(scope)
	return s, ok
}

// call is a call that has begun. It does not change.
type call struct {
	span        trace.Span
	started     time.Time
	topic       string               // the topic's name, or its template
	destination []attribute.KeyValue // in metrics
	common      []attribute.KeyValue // in spans
}

// at is a moment of the call.
func (c *call) at(elapsed time.Duration) trace.SpanEventOption {
	return trace.WithTimestamp(c.started.Add(elapsed))
}

func (o *observer) callStart(ctx context.Context, started dispatch.CallStarted) context.Context {
	c := o.newCall(started)
	ctx, c.span = o.startCall(ctx, c, started)
	o.metrics.inFlight.Add(ctx, 1, o.metrics.ofTopic(c))
	return context.WithValue(ctx, scopeKey{o}, scope{call: c})
}

func (o *observer) callEnd(ctx context.Context, r dispatch.Report) {
	s, ok := o.in(ctx)
	if !ok {
		return
	}
	err := r.Err()
	o.metrics.called(ctx, s.call, r.Elapsed, err)
	endCall(s.call, r, err)
}

func (o *observer) listenerEnd(ctx context.Context, l dispatch.ListenerInfo, took time.Duration, panicked bool) {
	if s, ok := o.in(ctx); ok {
		o.metrics.listened(ctx, s.call, l.Listener, took, panicked)
	}
}

func (o *observer) dropped(ctx context.Context, l dispatch.ListenerInfo) {
	if s, ok := o.in(ctx); ok {
		o.metrics.dropped.Add(ctx, 1, o.metrics.ofListener(s.call, l.Listener, ""))
	}
}

func (o *observer) slowListener(l dispatch.ListenerSnapshot) {
	o.metrics.slow.Add(context.Background(), 1, metric.WithAttributes(systemAttr, listenerNameKey.String(l.Name)))
}
