package oteldispatch_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/oteldispatch"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

var measure = dispatch.NewTopic[string, float64]("cell.measure", dispatch.WithTimeout(time.Second))

// lab is a bus in a bubble of virtual time, with the spans and measurements of its observer.
type lab struct {
	*dispatch.Dispatcher[string, float64]
	t      *testing.T
	spans  *tracetest.InMemoryExporter
	reader *sdkmetric.ManualReader
	tracer trace.TracerProvider
	meters metric.MeterProvider
	began  time.Time
}

func newLab(t *testing.T, opts ...oteldispatch.Option) *lab {
	l := &lab{t: t, spans: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader(), began: time.Now()}
	l.tracer = sdktrace.NewTracerProvider(sdktrace.WithSyncer(l.spans))
	l.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(l.reader))
	l.Dispatcher = dispatch.New[string, float64](dispatch.WithLogger(slog.New(slog.DiscardHandler)))
	if _, err := oteldispatch.Observe(l.Bus(), append([]oteldispatch.Option{
		oteldispatch.WithTracerProvider(l.tracer), oteldispatch.WithMeterProvider(l.meters), oteldispatch.WithListenerDurations(),
	}, opts...)...); err != nil {
		t.Fatal(err)
	}
	return l
}

// inLab runs a test in virtual time. It ends long after all producers have returned.
func inLab(t *testing.T, f func(*testing.T, *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		f(t, l)
		l.Close()
		time.Sleep(time.Hour)
	})
}

// produce adds a producer.
func (l *lab) produce(name string, p dispatch.Producer[string, float64], opts ...dispatch.ProducerOption) *dispatch.Registration {
	l.t.Helper()
	r, err := l.AddProducer(measure, p, append(opts, dispatch.WithName(name))...)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// send sends a request, waits for the end of the call, and waits until the observer has got all
// its events.
func (l *lab) send(opts ...dispatch.CallOption) dispatch.Report {
	l.t.Helper()
	return l.sendIn(l.t.Context(), opts...)
}

func (l *lab) sendIn(ctx context.Context, opts ...dispatch.CallOption) dispatch.Report {
	l.t.Helper()
	call, err := l.Send(ctx, measure, "vdd", opts...)
	if err != nil {
		l.t.Fatal(err)
	}
	<-call.Done()
	synctest.Wait()
	return call.Report()
}

// span is the part of a span that tests compare. Times count from the beginning of the test.
type span struct {
	Name, Parent string // the parent by its label
	Kind         trace.SpanKind
	Start, End   time.Duration
	Status       string
	Attributes   map[attribute.Key]any
	Events       []event
}

type event struct {
	Name       string
	At         time.Duration
	Attributes map[attribute.Key]any
}

// label tells apart spans of the same operation: it has the name of the span, and of its
// member.
func label(name string, attributes map[attribute.Key]any) string {
	for _, key := range []attribute.Key{"dispatch.member.name", "messaging.consumer.group.name", "dispatch.member.node"} {
		if v, ok := attributes[key]; ok {
			name += " " + v.(string)
		}
	}
	return name
}

func labelOf(s tracetest.SpanStub) string { return label(s.Name, values(s.Attributes)) }

func values(attrs []attribute.KeyValue) map[attribute.Key]any {
	m := make(map[attribute.Key]any)
	for _, a := range attrs {
		m[a.Key] = a.Value.AsInterface()
	}
	return m
}

// ended returns the spans that have ended, in the order in which they started.
func (l *lab) ended() []span {
	stubs := l.spans.GetSpans()
	labels := make(map[trace.SpanID]string)
	for _, s := range stubs {
		labels[s.SpanContext.SpanID()] = labelOf(s)
	}
	slices.SortStableFunc(stubs, func(a, b tracetest.SpanStub) int {
		return cmp.Or(a.StartTime.Compare(b.StartTime), cmp.Compare(labelOf(a), labelOf(b)))
	})
	var spans []span
	for _, s := range stubs {
		status := s.Status.Code.String()
		if s.Status.Description != "" {
			status += ": " + s.Status.Description
		}
		n := span{
			Name: s.Name, Parent: labels[s.Parent.SpanID()], Kind: s.SpanKind,
			Start: s.StartTime.Sub(l.began), End: s.EndTime.Sub(l.began),
			Status: status, Attributes: values(s.Attributes),
		}
		for _, e := range s.Events {
			n.Events = append(n.Events, event{e.Name, e.Time.Sub(l.began), values(e.Attributes)})
		}
		spans = append(spans, n)
	}
	return spans
}

// find returns the one span with this label.
func (l *lab) find(want string) span {
	l.t.Helper()
	var found []span
	var labels []string
	for _, s := range l.ended() {
		name := label(s.Name, s.Attributes)
		labels = append(labels, name)
		if name == want {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		l.t.Fatalf("%d spans %q among %q, want one", len(found), want, labels)
	}
	return found[0]
}

// measured returns the measurements of the topic measure as lines: the attributes
// sorted, and the value of a counter or the count and the sum of a histogram.
func (l *lab) measured(names ...string) []string {
	l.t.Helper()
	var lines []string
	for _, m := range l.metrics() {
		if !slices.Contains(names, m.Name) {
			continue
		}
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				if ofMeasure(p.Attributes) {
					lines = append(lines, fmt.Sprintf("%s %v", attrs(p.Attributes), p.Value))
				}
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				if ofMeasure(p.Attributes) {
					took := time.Duration(p.Sum * float64(time.Second)).Round(time.Microsecond)
					lines = append(lines, fmt.Sprintf("%s %d in %v", attrs(p.Attributes), p.Count, took))
				}
			}
		default:
			l.t.Fatalf("%s is a %T", m.Name, data)
		}
	}
	slices.Sort(lines)
	return lines
}

func ofMeasure(set attribute.Set) bool {
	topic, _ := set.Value("messaging.destination.name")
	return topic.AsString() == measure.Name()
}

func (l *lab) metrics() (all []metricdata.Metrics) {
	l.t.Helper()
	var data metricdata.ResourceMetrics
	if err := l.reader.Collect(l.t.Context(), &data); err != nil {
		l.t.Fatal(err)
	}
	for _, scope := range data.ScopeMetrics {
		all = append(all, scope.Metrics...)
	}
	return all
}

// attrs writes the attributes without those that all measurements have.
func attrs(set attribute.Set) string {
	line := ""
	for _, a := range set.ToSlice() {
		switch {
		case a.Key == "messaging.system" || a.Key == "messaging.destination.name" || a.Key == "messaging.operation.type":
		case line == "":
			line = a.Value.AsString()
		default:
			line += " " + a.Value.AsString()
		}
	}
	return line
}
