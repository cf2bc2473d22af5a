// The bench program measures what oteldispatch costs, and prints which of the bars that the
// project has set for itself are met. In the directory of the module:
//
//	go run ./bench
//
// The sides of a comparison run in one process, their rounds in random order, and medians
// of the CPU of the whole process are compared. The base is measured twice: the ratio of the two,
// which would be 1 on a quiet machine, is the noise.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/oteldispatch"
	"github.com/seed-bb4b4d74/dispatch/test/measure"
	"go.opentelemetry.io/otel/attribute"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// row compares a side with a base, for calls with so many quick producers.
type row struct {
	name, title string
	base, side  func(producers int) (measure.Side, error)
	sizes       []int
	bar         float64
}

var rows = []row{
	{
		name: "metrics", title: "Metrics alone, with a Producer, beside no observer",
		base: calls(nothing), side: calls(metricsOfProducer), sizes: []int{1, 10, 100, 1000}, bar: 1.3,
	},
	{
		name: "instruments", title: "Metrics alone, without a Producer: each run is recorded by an instrument of the SDK",
		base: calls(nothing), side: calls(metricsOfInstruments), sizes: []int{1, 10, 100, 1000}, bar: measure.None,
	},
	{
		name: "never", title: "Traces that are never sampled, beside no observer",
		base: calls(nothing), side: calls(neverSampled), sizes: []int{1, 10, 100, 1000}, bar: 1.5,
	},
	{
		name: "sampled", title: "Traces that are sampled, beside the same spans made by hand with the SDK",
		base: byHand, side: calls(sampled), sizes: []int{1, 10, 100, 1000}, bar: 4,
	},
}

var topic = dispatch.NewTopic[int, int]("bench")

func nothing() []oteldispatch.Option { return nil }

func metricsOfProducer() []oteldispatch.Option {
	p := oteldispatch.NewProducer()
	return []oteldispatch.Option{
		oteldispatch.WithTracerProvider(tracenoop.NewTracerProvider()), oteldispatch.WithProducer(p),
		oteldispatch.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader(sdkmetric.WithProducer(p))))),
	}
}

func metricsOfInstruments() []oteldispatch.Option {
	return []oteldispatch.Option{
		oteldispatch.WithTracerProvider(tracenoop.NewTracerProvider()),
		oteldispatch.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))),
	}
}

func neverSampled() []oteldispatch.Option { return tracesBy(sdktrace.NeverSample()) }
func sampled() []oteldispatch.Option      { return tracesBy(sdktrace.AlwaysSample()) }

// tracesBy has no exporter: the export of spans is not measured.
func tracesBy(s sdktrace.Sampler) []oteldispatch.Option {
	return []oteldispatch.Option{
		oteldispatch.WithTracerProvider(provider(s)), oteldispatch.WithMeterProvider(metricnoop.NewMeterProvider()),
	}
}

func provider(s sdktrace.Sampler) *sdktrace.TracerProvider {
	return sdktrace.NewTracerProvider(sdktrace.WithSampler(s), sdktrace.WithSpanProcessor(dropped{}))
}

// dropped is a processor that does nothing. Without a processor, spans would not be recorded.
type dropped struct{}

func (dropped) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (dropped) OnEnd(sdktrace.ReadOnlySpan)                     {}
func (dropped) Shutdown(context.Context) error                  { return nil }
func (dropped) ForceFlush(context.Context) error                { return nil }

// calls returns a side that sends calls, with an observer if there are options for one.
func calls(options func() []oteldispatch.Option) func(int) (measure.Side, error) {
	return func(producers int) (measure.Side, error) {
		bus, opts := dispatch.NewBus(), options()
		if opts != nil {
			if _, err := oteldispatch.Observe(bus, opts...); err != nil {
				return measure.Side{}, err
			}
		}
		d := dispatch.On[int, int](bus)
		for i := range producers {
			name := dispatch.WithName("site-" + strconv.Itoa(i))
			if _, err := d.AddProducer(topic, func(context.Context, int) (int, error) { return i, nil }, name); err != nil {
				return measure.Side{}, err
			}
		}
		heard := make(chan struct{}, 1)
		missing := producers
		if _, err := d.AddListener(topic, func(context.Context, dispatch.Result[int, int]) {
			if missing--; missing == 0 {
				missing = producers
				heard <- struct{}{}
			}
		}); err != nil {
			return measure.Side{}, err
		}
		sent, idle := 0, runtime.NumGoroutine()
		// The observer is done when its goroutine has ended. If it falls too far behind, it
		// misses calls.
		await := func() {
			for opts != nil && runtime.NumGoroutine() > idle {
				time.Sleep(20 * time.Microsecond)
			}
		}
		return measure.Side{
			Before: func() error { idle = runtime.NumGoroutine(); return nil },
			After:  await,
			Call: func() error {
				call, err := d.Send(context.Background(), topic, 7)
				if err != nil {
					return err
				}
				<-call.Done()
				<-heard
				if sent++; sent%1000 == 0 {
					await()
				}
				return nil
			},
		}, nil
	}
}

// byHand returns a side that makes the spans of a call in a loop, with their attributes.
func byHand(producers int) (measure.Side, error) {
	tracer := provider(sdktrace.AlwaysSample()).Tracer("bench")
	return measure.Side{Call: func() error {
		ctx, call := tracer.Start(context.Background(), "send bench", trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
			attribute.String("messaging.system", "dispatch"), attribute.String("messaging.destination.name", "bench"),
			attribute.String("messaging.operation.name", "send"), attribute.String("messaging.operation.type", "send"),
			attribute.String("messaging.message.conversation_id", "1"), attribute.Float64("dispatch.call.budget", 5),
		))
		for i := range producers {
			_, span := tracer.Start(ctx, "process bench", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
				attribute.String("messaging.system", "dispatch"), attribute.String("messaging.destination.name", "bench"),
				attribute.String("messaging.operation.name", "process"), attribute.String("messaging.operation.type", "process"),
				attribute.String("messaging.message.conversation_id", "1"), attribute.String("dispatch.member.name", "site-"+strconv.Itoa(i)),
			))
			span.SetAttributes(attribute.String("dispatch.member.state", "ok"),
				attribute.Bool("dispatch.member.started", true), attribute.Int("dispatch.member.results", 1))
			span.End()
		}
		call.SetAttributes(attribute.String("dispatch.call.reason", "all ended"),
			attribute.Int("dispatch.call.members", producers), attribute.Int("dispatch.call.results", producers))
		call.End()
		return nil
	}}, nil
}

// compare measures a row at all sizes and prints its table.
func compare(out io.Writer, r row, rounds measure.Rounds) error {
	t := measure.NewTable("producers", "takes", "base", "ratio", "bar", "noise")
	for _, n := range r.sizes {
		var sides []measure.Side
		for _, build := range []func(int) (measure.Side, error){r.base, r.base, r.side} {
			s, err := build(n)
			if err != nil {
				return err
			}
			sides = append(sides, s)
		}
		m, err := rounds.Compare(sides...)
		if err != nil {
			return err
		}
		base := (m[0].CPU + m[1].CPU) / 2
		ratio := measure.Ratio(base, m[2].CPU)
		t.Row(
			strconv.Itoa(n), measure.Micros(m[2].CPU), measure.Micros(base), fmt.Sprintf("%.2f", ratio),
			measure.AtMost(ratio, r.bar), fmt.Sprintf("%.2f", measure.Ratio(m[0].CPU, m[1].CPU)),
		)
	}
	t.Print(out)
	return nil
}

func main() {
	rounds := measure.Rounds{}
	var parts []measure.Part
	for _, r := range rows {
		parts = append(parts, measure.Part{Name: r.name, Title: r.title, Run: func() error { return compare(os.Stdout, r, rounds) }})
	}
	only := flag.String("only", measure.Names(parts), "the `parts` to run, separated by commas")
	flag.IntVar(&rounds.N, "rounds", 30, "how many `rounds` each side of a comparison gets")
	flag.DurationVar(&rounds.Length, "round", 20*time.Millisecond, "about how `long` a round is")
	flag.Parse()
	chosen, err := measure.Choose(parts, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	fmt.Printf("medians of the CPU of %d rounds of %v for each side\n", rounds.N, rounds.Length)
	measure.RunAll(os.Stdout, chosen)
}
