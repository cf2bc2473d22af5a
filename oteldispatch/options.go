package oteldispatch

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// An Option is an argument of [New]. Of several of the same kind the last one counts.
type Option interface{ apply(*config) }

type config struct {
	tracers  trace.TracerProvider
	meters   metric.MeterProvider
	template func(topic string) string
}

func newConfig(opts []Option) config {
	var c config
	for _, o := range opts {
		if o != nil {
			o.apply(&c)
		}
	}
	if c.tracers == nil {
		c.tracers = otel.GetTracerProvider()
	}
	if c.meters == nil {
		c.meters = otel.GetMeterProvider()
	}
	return c
}

// WithTracerProvider says who makes the spans. Nil, and the default, is the global
// provider, also one that is set after [New]. For no spans there is package
// go.opentelemetry.io/otel/trace/noop.
func WithTracerProvider(p trace.TracerProvider) Option { return tracersOption{p} }

type tracersOption struct{ provider trace.TracerProvider }

func (o tracersOption) apply(c *config) { c.tracers = o.provider }

// WithMeterProvider says who takes the measurements. Nil, and the default, is the
// global provider, also one that is set after [New]. For none there is package
// go.opentelemetry.io/otel/metric/noop.
func WithMeterProvider(p metric.MeterProvider) Option { return metersOption{p} }

type metersOption struct{ provider metric.MeterProvider }

func (o metersOption) apply(c *config) { c.meters = o.provider }

// WithDestinationTemplate is for buses with very many topics: spans are named after
// what f makes of a topic's name, "cell.{cell}.measure" of "cell.42.measure", and
// metrics have that in place of the name, as messaging.destination.template. Spans
// keep the name as an attribute. Without this option, and for a nil f, each topic has
// time series of its own. F is called concurrently, and often.
func WithDestinationTemplate(f func(topic string) string) Option { return templateOption{f} }

type templateOption struct{ f func(string) string }

func (o templateOption) apply(c *config) { c.template = o.f }
