package oteldispatch

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// An Option is an argument of [New]. If an option is given more than once, the last one
// wins.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	tracers           trace.TracerProvider
	meters            metric.MeterProvider
	producer          *Producer
	topics            func(topic string) string
	members, listened func(name string) string
	listenerTimes     bool
	bus               *observed
}

func newConfig(opts []Option) config {
	c := config{members: unlessAutomatic, listened: unlessAutomatic}
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

// traces reports whether there can be spans, and measures whether there can be measurements.
func (c *config) traces() bool {
	_, none := c.tracers.(tracenoop.TracerProvider)
	return !none
}

func (c *config) measures() bool {
	_, none := c.meters.(metricnoop.MeterProvider)
	return !none
}

// WithTracerProvider sets the provider of the spans. Nil is the default: the global
// provider, even if it is set after [New]. For no spans, use package
// go.opentelemetry.io/otel/trace/noop: with it the observer only follows calls, and calls do
// not pay for contexts; see [dispatch.Observer].
func WithTracerProvider(p trace.TracerProvider) Option {
	return optionFunc(func(c *config) { c.tracers = p })
}

// WithMeterProvider sets the provider of the metrics. Nil is the default: the global
// provider, even if it is set after [New]. For no metrics, use package
// go.opentelemetry.io/otel/metric/noop.
func WithMeterProvider(p metric.MeterProvider) Option {
	return optionFunc(func(c *config) { c.meters = p })
}

// WithProducer lets p pass the durations of calls and of runs of producers to a reader, instead
// of recording each of them. It is for programs with very many quick runs. Nil is the default.
func WithProducer(p *Producer) Option {
	return optionFunc(func(c *config) { c.producer = p })
}

// WithDestinationTemplate is for buses with very many topics. f maps the name of a topic to
// a template, for example "cell.42.measure" to "cell.{cell}.measure". Spans are named after
// the template and keep the topic's name as an attribute. Metrics have the template, as
// messaging.destination.template, instead of the name. Without this option, or if f is nil,
// each topic has its own time series. f is called concurrently and often.
func WithDestinationTemplate(f func(topic string) string) Option {
	return optionFunc(func(c *config) { c.topics = f })
}

// WithMemberTemplate is for topics with very many producers. f maps the name of a producer to
// a template, for example "site-42" to "site-{n}". Metrics have the template instead of the
// name, or no name if the template is empty. Spans keep the name. Without this option, or if f
// is nil, metrics have the name, except names that the bus has generated, such as
// producer-17; spans omit these names, too. f is called concurrently and often.
func WithMemberTemplate(f func(name string) string) Option {
	return optionFunc(func(c *config) {
		if c.members = f; f == nil {
			c.members = unlessAutomatic
		}
	})
}

// WithListenerTemplate is WithMemberTemplate for the names of listeners.
func WithListenerTemplate(f func(name string) string) Option {
	return optionFunc(func(c *config) {
		if c.listened = f; f == nil {
			c.listened = unlessAutomatic
		}
	})
}

// WithListenerDurations measures every callback of every listener, as
// dispatch.listener.duration. It makes calls cost about a microsecond more for each callback;
// see [dispatch.Observer]. With it, calls whose spans are not recorded make contexts for their
// members, too.
func WithListenerDurations() Option {
	return optionFunc(func(c *config) { c.listenerTimes = true })
}

func withBus(bus *observed) Option {
	return optionFunc(func(c *config) { c.bus = bus })
}
