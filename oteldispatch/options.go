package oteldispatch

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// An Option is an argument of [New]. If an option is given more than once, the last one
// wins.
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

// WithTracerProvider sets the provider of the spans. Nil is the default: the global
// provider, even if it is set after [New]. For no spans, use package
// go.opentelemetry.io/otel/trace/noop.
func WithTracerProvider(p trace.TracerProvider) Option { return tracersOption{p} }

type tracersOption struct{ provider trace.TracerProvider }

func (o tracersOption) apply(c *config) { c.tracers = o.provider }

// WithMeterProvider sets the provider of the metrics. Nil is the default: the global
// provider, even if it is set after [New]. For no metrics, use package
// go.opentelemetry.io/otel/metric/noop.
func WithMeterProvider(p metric.MeterProvider) Option { return metersOption{p} }

type metersOption struct{ provider metric.MeterProvider }

func (o metersOption) apply(c *config) { c.meters = o.provider }

// WithDestinationTemplate is for buses with very many topics. f maps the name of a topic to
// a template, for example "cell.42.measure" to "cell.{cell}.measure". Spans are named after
// the template and keep the topic's name as an attribute. Metrics have the template, as
// messaging.destination.template, instead of the name. Without this option, or if f is nil,
// each topic has its own time series. f is called concurrently and often.
func WithDestinationTemplate(f func(topic string) string) Option { return templateOption{f} }

type templateOption struct{ f func(string) string }

func (o templateOption) apply(c *config) { c.template = o.f }
