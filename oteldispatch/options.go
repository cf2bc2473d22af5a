package oteldispatch

import (
	"github.com/seed-bb4b4d74/dispatch"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// An Option is an argument of [New]. Of several of the same kind the last one counts.
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
	bus               *dispatch.Bus
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

// WithTracerProvider says who makes the spans. Nil, and the default, is the global
// provider, also one that is set after [New]. For no spans there is the provider of package
// go.opentelemetry.io/otel/trace/noop: with it the observer only follows calls, and calls do
// not pay for contexts; see [dispatch.Observer].
func WithTracerProvider(p trace.TracerProvider) Option {
	return optionFunc(func(c *config) { c.tracers = p })
}

// WithMeterProvider says who takes the measurements. Nil, and the default, is the
// global provider, also one that is set after [New]. For none there is the provider of package
// go.opentelemetry.io/otel/metric/noop.
func WithMeterProvider(p metric.MeterProvider) Option {
	return optionFunc(func(c *config) { c.meters = p })
}

// WithProducer has the durations of calls and of runs of producers handed to a reader by p, and
// not recorded one by one. For programs with very many quick runs. Nil is the default.
func WithProducer(p *Producer) Option {
	return optionFunc(func(c *config) { c.producer = p })
}

// WithDestinationTemplate is for buses with very many topics: spans are named after
// what f makes of a topic's name, "cell.{cell}.measure" of "cell.42.measure", and
// metrics have that in place of the name, as messaging.destination.template. Spans
// keep the name as an attribute. Without this option, and for a nil f, each topic has
// time series of its own. F may be called concurrently, and more than once for a name.
func WithDestinationTemplate(f func(topic string) string) Option {
	return optionFunc(func(c *config) { c.topics = f })
}

// WithMemberTemplate is for topics with very many producers: metrics have what f makes of the
// name of a producer, "site-{n}" of "site-42", in place of the name. If that is empty, they
// have no name. Spans keep the name. Without this option, and for a nil f, that is the name, but
// for names that registrations have got by number, such as producer-17: these are left out,
// also in spans. F may be called concurrently, and often.
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
// see [dispatch.Observer].
func WithListenerDurations() Option {
	return optionFunc(func(c *config) { c.listenerTimes = true })
}

func withBus(bus *dispatch.Bus) Option {
	return optionFunc(func(c *config) { c.bus = bus })
}
