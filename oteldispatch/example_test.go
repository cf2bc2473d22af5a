package oteldispatch_test

import (
	"context"
	"fmt"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/oteldispatch"
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

// Another machine gets only the trace.
func ExampleTraceContext() {
	inject, extract := oteldispatch.TraceContext()

	headers := make(map[string]string) // the headers of a message of your transport
	inject(context.Background(), func(key, value string) { headers[key] = value })

	ctx := extract(context.Background(), func(key string) string { return headers[key] })
	fmt.Println(len(headers), ctx.Err())
	// Output: 0 <nil>
}
