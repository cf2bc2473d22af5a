package natstest_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
	"github.com/seed-bb4b4d74/dispatch/oteldispatch"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// patience is how long a test waits for an event that should happen at once. No result depends
// on it.
const patience = 30 * time.Second

var (
	measure = dispatch.NewTopic[string, float64]("cell.measure", dispatch.WithTimeout(patience))
	supply  = dispatch.NewTopic[string, float64]("instrument.supply", dispatch.WithTimeout(patience))
)

// machine is a bus of its own with a connection and an observer of its own. All
// machines hand their spans to the same place, as collectors do.
type machine struct {
	*dispatch.Dispatcher[string, float64]
	t    *testing.T
	nc   *nats.Conn
	hand natsdispatch.Option
}

// place has machines around a NATS server, and their spans.
type place struct {
	t     *testing.T
	url   string
	spans *tracetest.InMemoryExporter
}

func newPlace(t *testing.T) *place {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	return &place{t, s.ClientURL(), tracetest.NewInMemoryExporter()}
}

func (p *place) machine(name string, propagators ...propagation.TextMapPropagator) *machine {
	p.t.Helper()
	nc, err := nats.Connect(p.url, natsdispatch.Robust)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(nc.Close)
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(p.spans),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", name))))
	bus := dispatch.NewBus(
		dispatch.WithObserver(oteldispatch.New(oteldispatch.WithTracerProvider(tracers), oteldispatch.WithMeterProvider(noop.NewMeterProvider()))),
		dispatch.WithLogger(slog.New(slog.DiscardHandler)))
	m := &machine{dispatch.On[string, float64](bus), p.t, nc, natsdispatch.WithTraceContext(oteldispatch.TraceContext(propagators...))}
	p.t.Cleanup(func() { m.Close() })
	return m
}

func (m *machine) produce(topic dispatch.Topic[string, float64], name string, p dispatch.Producer[string, float64]) {
	m.t.Helper()
	if _, err := m.AddProducer(topic, p, dispatch.WithName(name)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) serve(name string) {
	m.t.Helper()
	node, err := natsdispatch.Serve(m.nc, m.Dispatcher, measure, natsdispatch.WithNode(name), m.hand)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { node.Close() })
}

func (m *machine) join(nodes ...string) {
	m.t.Helper()
	remote, err := natsdispatch.Join(m.nc, m.Dispatcher, measure, m.hand)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { remote.Close() })
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	if err := remote.Await(ctx, nodes...); err != nil {
		m.t.Fatal(err)
	}
}

// settle waits until a machine has nothing in flight, and its observer has got all events.
func (m *machine) settle() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	if err := m.Shutdown(ctx); err != nil {
		m.t.Fatal(err)
	}
}

// label returns the name of a span, and the machine on which it was made.
func label(s tracetest.SpanStub) string {
	who := ""
	for _, a := range s.Attributes {
		switch a.Key {
		case "dispatch.member.name":
			who += " " + a.Value.AsString()
		case "dispatch.member.node":
			who += " of " + a.Value.AsString()
		}
	}
	service, _ := s.Resource.Set().Value("service.name")
	return fmt.Sprintf("%s: %s%s", service.AsString(), s.Name, who)
}

// tree writes the spans as lines, each child indented below its parent.
func (p *place) tree() (lines []string) {
	p.t.Helper()
	spans := p.spans.GetSpans()
	slices.SortFunc(spans, func(a, b tracetest.SpanStub) int { return strings.Compare(label(a), label(b)) })
	var below func(parent trace.SpanID, indent string)
	below = func(parent trace.SpanID, indent string) {
		for _, s := range spans {
			if s.Parent.SpanID() == parent {
				lines = append(lines, indent+label(s))
				below(s.SpanContext.SpanID(), indent+"  ")
			}
		}
	}
	below(trace.SpanID{}, "")
	for _, s := range spans {
		if s.SpanContext.TraceID() != spans[0].SpanContext.TraceID() {
			p.t.Errorf("%s is in another trace", label(s))
		}
	}
	return lines
}

func TestACallAcrossMachinesIsOneTrace(t *testing.T) {
	p := newPlace(t)
	floor, cell := p.machine("floor"), p.machine("cell")
	cell.produce(supply, "supply", func(context.Context, string) (float64, error) { return 1.8, nil })
	cell.produce(measure, "site-1", func(ctx context.Context, pin string) (float64, error) {
		return cell.First(ctx, supply, pin)
	})
	floor.produce(measure, "site-0", func(context.Context, string) (float64, error) { return 1.79, nil })
	cell.serve("cell-7")
	floor.join("cell-7")

	values, err := floor.Gather(t.Context(), measure, "vdd")
	if err != nil || len(values) != 2 {
		t.Fatalf("%v and the error %v, want two values", values, err)
	}
	floor.settle()
	cell.settle()
	want := []string{
		"floor: send cell.measure",
		"  cell: send cell.measure",
		"    cell: process cell.measure site-1",
		"      cell: send instrument.supply",
		"        cell: process instrument.supply supply",
		"  floor: process cell.measure site-0",
		"  floor: process cell.measure site-1 of cell-7",
	}
	if diff := cmp.Diff(want, p.tree()); diff != "" {
		t.Errorf("trace (-want +got):\n%s", diff)
	}
}

func TestAMemberElsewhereThatIsLateIsSeenToTheEnd(t *testing.T) {
	p := newPlace(t)
	floor, cell := p.machine("floor"), p.machine("cell")
	asked, over := make(chan struct{}), make(chan struct{})
	cell.produce(measure, "site-1", func(context.Context, string) (float64, error) {
		close(asked)
		<-over // it does not look at its context
		return 1.8, nil
	})
	cell.serve("cell-7")
	floor.join("cell-7")
	call, err := floor.Send(t.Context(), measure, "vdd")
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	call.Cancel(nil)
	<-call.Done()
	close(over)
	floor.settle()
	cell.settle()

	ends := make(map[string]time.Time)
	for _, s := range p.spans.GetSpans() {
		ends[label(s)] = s.EndTime
	}
	sent, worked := ends["floor: send cell.measure"], ends["cell: process cell.measure site-1"]
	if sent.IsZero() || !worked.After(sent) {
		t.Errorf("the call has ended at %v and the member's closure at %v, want that later", sent, worked)
	}
}

func TestBaggageStaysAtHome(t *testing.T) {
	for _, tt := range []struct {
		name        string
		propagators []propagation.TextMapPropagator
		want        string
	}{
		{"unless asked to go along", nil, ""},
		{"or goes along", []propagation.TextMapPropagator{propagation.TraceContext{}, propagation.Baggage{}}, "7731"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			floor, cell := p.machine("floor", tt.propagators...), p.machine("cell", tt.propagators...)
			arrived := make(chan string, 1)
			cell.produce(measure, "site-1", func(ctx context.Context, _ string) (float64, error) {
				arrived <- baggage.FromContext(ctx).Member("lot").Value()
				return 1.8, nil
			})
			cell.serve("cell-7")
			floor.join("cell-7")
			lot, err := baggage.Parse("lot=7731")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := floor.Gather(baggage.ContextWithBaggage(t.Context(), lot), measure, "vdd"); err != nil {
				t.Fatal(err)
			}
			if got := <-arrived; got != tt.want {
				t.Errorf("the lot is %q at the producer, want %q", got, tt.want)
			}
		})
	}
}
