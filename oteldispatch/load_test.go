package oteldispatch_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/oteldispatch"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func TestManyCallsAtOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		const senders, each = 20, 20
		l.produce("quick", after(0, nil))
		l.produce("failing", after(0, probeError{}))
		l.produce("obedient", obedient)
		l.produce("deaf", after(30*ms, nil))
		l.produce("replica-1", obedient, dispatch.WithGroup("replicas"))
		l.produce("replica-2", after(2*ms, nil), dispatch.WithGroup("replicas"))
		var all sync.WaitGroup
		for range senders {
			all.Go(func() {
				for range each {
					call, err := l.Send(t.Context(), measure, "vdd", dispatch.WithTimeout(20*ms), dispatch.WithHedge(ms))
					if err != nil {
						t.Error(err)
						return
					}
					<-call.Done()
				}
			})
		}
		all.Wait()
		time.Sleep(time.Second)
		spans := make(map[string]int)
		for _, s := range l.ended() {
			spans[label(s.Name, s.Attributes)]++
			if s.Parent == "" && s.Name != "send cell.measure" {
				t.Errorf("%s has no parent", label(s.Name, s.Attributes))
			}
		}
		delete(spans, "process cell.measure replica-1 replicas") // replica-1 is the first only in some calls
		want := map[string]int{"send cell.measure": senders * each}
		for _, name := range []string{"quick", "failing", "obedient", "deaf"} {
			want["process cell.measure "+name] = senders * each
		}
		want["process cell.measure replica-2 replicas"] = 2 * senders * each // and that of the group
		if diff := cmp.Diff(want, spans); diff != "" {
			t.Errorf("spans (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{" 0"}, l.measured("dispatch.call.in_flight")); diff != "" {
			t.Errorf("in flight (-want +got):\n%s", diff)
		}
		if missed := l.Bus().Snapshot().Observers[0].Missed; missed != 0 {
			t.Errorf("the observer has missed %d events", missed)
		}
	})
}

// BenchmarkCall is what an observed call with ten quick producers and a listener costs, until
// everything has been measured and all spans have ended. The export of the spans is not
// included.
func BenchmarkCall(b *testing.B) {
	meters := oteldispatch.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())))
	for _, bb := range []struct {
		name string
		opts []dispatch.BusOption
	}{
		{"observer=none", nil},
		{"observer=empty", []dispatch.BusOption{dispatch.WithObserver(dispatch.Observer{})}},
		{"observer=otel/sampled=none", []dispatch.BusOption{dispatch.WithObserver(oteldispatch.New(meters,
			oteldispatch.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())))))}},
		{"observer=otel/sampled=all", []dispatch.BusOption{dispatch.WithObserver(oteldispatch.New(meters,
			oteldispatch.WithTracerProvider(sdktrace.NewTracerProvider())))}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			cell := dispatch.New[string, float64](bb.opts...)
			for range 10 {
				if _, err := cell.AddProducer(measure, func(context.Context, string) (float64, error) { return 1.2, nil }); err != nil {
					b.Fatal(err)
				}
			}
			done := make(chan struct{}, 1)
			_, err := cell.AddListener(measure, func(context.Context, dispatch.Result[string, float64]) {},
				dispatch.OnDone(func(dispatch.Report) { done <- struct{}{} }))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := cell.Send(b.Context(), measure, "vdd"); err != nil {
					b.Fatal(err)
				}
				<-done
			}
			if err := cell.Shutdown(b.Context()); err != nil {
				b.Fatal(err)
			}
			for _, o := range cell.Bus().Snapshot().Observers {
				if o.Missed > 0 {
					b.Logf("%d events were missed", o.Missed)
				}
			}
		})
	}
}
