package oteldispatch

import (
	"context"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"
)

// metrics are the instruments of an observer.
type metrics struct {
	sets sets

	calls    metric.Float64Histogram
	sent     metric.Int64Counter
	inFlight metric.Int64UpDownCounter

	processes metric.Float64Histogram
	consumed  metric.Int64Counter
	outcomes  metric.Int64Counter
	late      metric.Float64Histogram
	abandoned metric.Int64Counter

	listeners metric.Float64Histogram
	dropped   metric.Int64Counter
	slow      metric.Int64Counter
}

func newMetrics(m metric.Meter) *metrics {
	inBuckets := metric.WithExplicitBucketBoundaries(buckets...)
	return &metrics{
		calls: made(messagingconv.NewClientOperationDuration(m, inBuckets)).Inst(),
		sent:  made(messagingconv.NewClientSentMessages(m)).Inst(),
		inFlight: made(m.Int64UpDownCounter(inFlightMetric, metric.WithUnit("{call}"),
			metric.WithDescription("Calls that have not ended."))),

		processes: made(messagingconv.NewProcessDuration(m, inBuckets)).Inst(),
		consumed:  made(messagingconv.NewClientConsumedMessages(m)).Inst(),
		outcomes: made(m.Int64Counter(outcomesMetric, metric.WithUnit("{member}"),
			metric.WithDescription("Members of calls, by how they ended."))),
		late: made(m.Float64Histogram(lateMetric, metric.WithUnit("s"), inBuckets,
			metric.WithDescription("How long after the end of their calls producers returned."))),
		abandoned: made(m.Int64Counter(abandonedMetric, metric.WithUnit("{run}"),
			metric.WithDescription("Runs of producers that have outlived their calls for too long."))),

		listeners: made(m.Float64Histogram(listenerDurationMetric, metric.WithUnit("s"), inBuckets,
			metric.WithDescription("Duration of the callbacks of listeners."))),
		dropped: made(m.Int64Counter(droppedMetric, metric.WithUnit("{result}"),
			metric.WithDescription("Results that the full mailbox of a listener has dropped."))),
		slow: made(m.Int64Counter(slowMetric, metric.WithUnit("{occurrence}"),
			metric.WithDescription("Listeners that have fallen behind, each once."))),
	}
}

// made returns an instrument. One that could not be made measures nothing.
func made[I any](instrument I, err error) I {
	if err != nil {
		otel.Handle(err)
	}
	return instrument
}

// word adds to attributes how something went, if that is told.
func word(attrs []attribute.KeyValue, key attribute.Key, word string) []attribute.KeyValue {
	if word == "" {
		return attrs
	}
	return append(attrs, key.String(word))
}

// ofTopic returns the attributes of what concerns a call as a whole.
func (m *metrics) ofTopic(c *call) metric.MeasurementOption {
	return m.sets.get(setKey{kind: ofTopic, topic: c.topic}, func() []attribute.KeyValue { return c.destination })
}

// ofSend returns those of a call that has ended, if with an error of this type.
func (m *metrics) ofSend(c *call, errorType string) metric.MeasurementOption {
	return m.sets.get(setKey{kind: ofSend, topic: c.topic, word: errorType}, func() []attribute.KeyValue {
		return word(slices.Concat(c.destination, sendAttrs), semconv.ErrorTypeKey, errorType)
	})
}

// ofProcess returns those of a run of a producer, if it has failed with this type.
func (m *metrics) ofProcess(c *call, who dispatch.Member, errorType string) metric.MeasurementOption {
	return m.sets.get(setKey{kind: ofProcess, topic: c.topic, member: who, word: errorType}, func() []attribute.KeyValue {
		return word(slices.Concat(c.destination, processAttrs, identity(who)), semconv.ErrorTypeKey, errorType)
	})
}

// ofMember returns those of a member, if in this state.
func (m *metrics) ofMember(c *call, who dispatch.Member, state string) metric.MeasurementOption {
	return m.sets.get(setKey{kind: ofMember, topic: c.topic, member: who, word: state}, func() []attribute.KeyValue {
		return word(slices.Concat(c.destination, identity(who)), memberStateKey, state)
	})
}

// ofListener returns those of a listener, if it has failed with this type.
func (m *metrics) ofListener(c *call, listener, errorType string) metric.MeasurementOption {
	key := setKey{kind: ofListener, topic: c.topic, member: dispatch.Member{Name: listener}, word: errorType}
	return m.sets.get(key, func() []attribute.KeyValue {
		return word(append(slices.Clone(c.destination), listenerNameKey.String(listener)), semconv.ErrorTypeKey, errorType)
	})
}

func (m *metrics) called(ctx context.Context, c *call, took time.Duration, err error) {
	kind := ""
	if err != nil {
		kind = semconv.ErrorType(err).Value.AsString()
	}
	attrs := m.ofSend(c, kind)
	m.inFlight.Add(ctx, -1, m.ofTopic(c))
	m.calls.Record(ctx, took.Seconds(), attrs)
	m.sent.Add(ctx, 1, attrs)
}

func (m *metrics) processed(ctx context.Context, who *member, took time.Duration) {
	m.processes.Record(ctx, took.Seconds(), m.ofProcess(who.call, who.who, errorType(*who.outcome)))
}

func (m *metrics) listened(ctx context.Context, c *call, listener string, took time.Duration, panicked bool) {
	kind := ""
	if panicked {
		kind = errorPanic
	}
	m.listeners.Record(ctx, took.Seconds(), m.ofListener(c, listener, kind))
}
