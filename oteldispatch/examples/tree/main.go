// The tree program asks three sites for a measurement. One site asks instruments, one is slow
// and one fails. The program prints the trace of the call to the terminal:
//
//	go run ./examples/tree
//
// Each line is a span: its start and end in milliseconds, a bar, its name and its outcome. In
// your own program, one of OpenTelemetry's exporters sends the spans to a collector; the other
// code is the same.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/oteldispatch"
	"go.opentelemetry.io/otel/metric/noop"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

var (
	measure = dispatch.NewTopic[string, float64]("cell.measure", dispatch.WithTimeout(300*time.Millisecond))
	supply  = dispatch.NewTopic[string, float64]("instrument.supply")
	meter   = dispatch.NewTopic[string, float64]("instrument.meter", dispatch.WithHedge(40*time.Millisecond))
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run sends one request, and writes its trace to out.
func run(ctx context.Context, out io.Writer) error {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	observer := oteldispatch.New(
		oteldispatch.WithTracerProvider(provider), oteldispatch.WithMeterProvider(noop.NewMeterProvider()))

	// The bus would log that site-2 outlives the call, but the trace shows this already.
	bus := dispatch.NewBus(dispatch.WithObserver(observer), dispatch.WithLogger(slog.New(slog.DiscardHandler)))
	cell := dispatch.On[string, float64](bus)
	if err := addInstruments(cell); err != nil {
		return err
	}
	if err := addSites(cell); err != nil {
		return err
	}
	_, err := cell.Gather(ctx, measure, "vdd")
	fmt.Fprintf(out, "%v\n\n", err)

	// Shutdown waits for producers that have outlived their calls, and for observers.
	if err := bus.Shutdown(ctx); err != nil {
		return err
	}
	draw(out, spans.GetSpans())
	return nil
}

func addSites(cell *dispatch.Dispatcher[string, float64]) error {
	for i, site := range []dispatch.Producer[string, float64]{
		func(ctx context.Context, pin string) (float64, error) {
			if _, err := cell.First(ctx, supply, pin); err != nil {
				return 0, err
			}
			return cell.First(ctx, meter, pin)
		},
		func(context.Context, string) (float64, error) {
			time.Sleep(360 * time.Millisecond) // it does not look at its context
			return 1.79, nil
		},
		func(context.Context, string) (float64, error) {
			time.Sleep(120 * time.Millisecond)
			return 0, errors.New("probe is open")
		},
	} {
		if _, err := cell.AddProducer(measure, site, dispatch.WithName(fmt.Sprintf("site-%d", i+1))); err != nil {
			return err
		}
	}
	return nil
}

func addInstruments(cell *dispatch.Dispatcher[string, float64]) error {
	_, err := cell.AddProducer(supply, takes(30*time.Millisecond), dispatch.WithName("supply"))
	if err != nil {
		return err
	}
	// Replicas: the first takes too long, so the second is asked as well.
	for i, p := range []dispatch.Producer[string, float64]{takes(200 * time.Millisecond), takes(50 * time.Millisecond)} {
		_, err := cell.AddProducer(meter, p, dispatch.WithName(fmt.Sprintf("meter-%d", i+1)), dispatch.WithGroup("meters"))
		if err != nil {
			return err
		}
	}
	return nil
}

// takes returns a producer that answers after d.
func takes(d time.Duration) dispatch.Producer[string, float64] {
	return func(ctx context.Context, _ string) (float64, error) {
		select {
		case <-time.After(d):
			return 1.8, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}
