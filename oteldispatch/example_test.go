package oteldispatch_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/oteldispatch"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// Your own program has an exporter that sends the spans to a collector, and sets the provider
// as the global one. Then New needs no option.
func ExampleNew() {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))

	bus := dispatch.NewBus(dispatch.WithObserver(oteldispatch.New(oteldispatch.WithTracerProvider(provider))))
	measure := dispatch.NewTopic[string, float64]("cell.measure")
	cell := dispatch.On[string, float64](bus)
	_, err := cell.AddProducer(measure, func(context.Context, string) (float64, error) { return 1.8, nil }, dispatch.WithName("site-1"))
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := cell.Gather(context.Background(), measure, "vdd"); err != nil {
		fmt.Println(err)
		return
	}

	// Spans end a little later than their calls and members; Shutdown waits for them.
	if err := bus.Shutdown(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range spans.GetSpans() {
		fmt.Println(s.SpanKind, s.Name)
	}
	// Output:
	// consumer process cell.measure
	// producer send cell.measure
}

// setUp observes a bus and sends its spans and metrics to these exporters. Call stop before the program ends.
func setUp(bus *dispatch.Bus, spans sdktrace.SpanExporter, metrics sdkmetric.Exporter) (stop func(context.Context) error, err error) {
	p := oteldispatch.NewProducer()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics, sdkmetric.WithProducer(p))))
	if _, err := oteldispatch.Observe(
		bus, oteldispatch.WithTracerProvider(tracers), oteldispatch.WithMeterProvider(meters), oteldispatch.WithProducer(p),
	); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		// The bus first: then the last spans and measurements are made. The providers send what has not been sent.
		return errors.Join(bus.Shutdown(ctx), tracers.Shutdown(ctx), meters.Shutdown(ctx))
	}, nil
}

// A program sets up exporters and providers when it starts, and stops in the opposite order, so that nothing
// is lost.
func Example_providers() {
	spans, metrics := printedSpans{}, printedMetrics{} // your program: otlptracegrpc.New, otlpmetricgrpc.New
	bus := dispatch.NewBus()
	stop, err := setUp(bus, spans, metrics)
	if err != nil {
		fmt.Println(err)
		return
	}
	measure := dispatch.NewTopic[string, float64]("cell.measure")
	cell := dispatch.On[string, float64](bus)
	_, err = cell.AddProducer(measure, func(context.Context, string) (float64, error) { return 1.8, nil }, dispatch.WithName("site-1"))
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := cell.Gather(context.Background(), measure, "vdd"); err != nil {
		fmt.Println(err)
		return
	}
	if err := stop(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// span: process cell.measure
	// span: send cell.measure
	// metric: dispatch.call.in_flight
	// metric: dispatch.member.outcomes
	// metric: messaging.client.consumed.messages
	// metric: messaging.client.operation.duration
	// metric: messaging.client.sent.messages
	// metric: messaging.process.duration
}

// printedSpans is an exporter that prints the names of spans.
type printedSpans struct{}

func (printedSpans) Shutdown(context.Context) error { return nil }

func (printedSpans) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, s := range spans {
		fmt.Println("span:", s.Name())
	}
	return nil
}

// printedMetrics is an exporter that prints the names of metrics.
type printedMetrics struct{}

func (printedMetrics) Temporality(k sdkmetric.InstrumentKind) metricdata.Temporality {
	return sdkmetric.DefaultTemporalitySelector(k)
}

func (printedMetrics) Aggregation(k sdkmetric.InstrumentKind) sdkmetric.Aggregation {
	return sdkmetric.DefaultAggregationSelector(k)
}

func (printedMetrics) ForceFlush(context.Context) error { return nil }
func (printedMetrics) Shutdown(context.Context) error   { return nil }

func (printedMetrics) Export(_ context.Context, all *metricdata.ResourceMetrics) error {
	var names []string
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Println("metric:", name)
	}
	return nil
}

// The README contains the function setUp unchanged.
func TestTheReadmeShowsTheSetUp(t *testing.T) {
	const begin, end = "func setUp(", "\n}\n"
	cut := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(text), "\n"+begin)
		if !ok {
			t.Fatalf("%s has no %s", file, begin)
		}
		function, _, _ := strings.Cut(rest, end)
		return function
	}
	if diff := cmp.Diff(cut("example_test.go"), cut("README.md")); diff != "" {
		t.Errorf("README.md (-example +README):\n%s", diff)
	}
}

// Another machine gets only the trace.
func ExampleTraceContext() {
	inject, extract := oteldispatch.TraceContext()

	headers := make(map[string]string) // the headers of a message of your transport
	inject(context.Background(), func(key, value string) { headers[key] = value })

	ctx := extract(context.Background(), func(key string) string { return headers[key] })
	fmt.Println(len(headers), ctx.Err())
	// Output: 0 <nil>
}
