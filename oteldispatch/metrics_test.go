package oteldispatch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/oteldispatch"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// pointAttributes returns the attributes of each measurement of a metric.
func pointAttributes(t *testing.T, m metricdata.Metrics) (lines []string) {
	t.Helper()
	var sets []attribute.Set
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
	default:
		t.Fatalf("%s is a %T", m.Name, data)
	}
	for _, set := range sets {
		lines = append(lines, set.Encoded(attribute.DefaultEncoder()))
	}
	return lines
}

// everything makes at least one measurement of each metric.
func everything(l *lab) {
	l.t.Helper()
	l.produce("site-1", after(20*ms, nil))
	l.produce("site-2", after(1050*ms, nil))
	l.produce("site-3", after(3*time.Second, nil))
	_, err := l.AddListener(measure, func(context.Context, dispatch.Result[string, float64]) {
		time.Sleep(10 * time.Second)
		panic("disk is full")
	}, dispatch.WithName("display"), dispatch.WithMailbox(1, dispatch.DropOldest))
	if err != nil {
		l.t.Fatal(err)
	}
	for range 3 {
		l.send()
	}
	time.Sleep(time.Minute)
}

func TestEveryMetric(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		everything(l)
		for name, want := range map[string][]string{
			"messaging.client.operation.duration": {"timeout send 3 in 3s"},
			"messaging.client.sent.messages":      {"timeout send 3"},
			"messaging.client.consumed.messages":  {"site-1 process 3", "site-2 process 3", "site-3 process 3"},
			"messaging.process.duration": {
				"site-1 process 3 in 60ms",
				"site-2 timeout process 3 in 3s",
				"site-3 timeout process 3 in 3s", // until their calls have ended
			},
			"dispatch.call.in_flight":    {" 0"},
			"dispatch.member.outcomes":   {"site-1 ok 3", "site-2 late 3", "site-3 late 3"},
			"dispatch.member.late":       {"site-2 3 in 150ms", "site-3 3 in 6s"},
			"dispatch.member.abandoned":  {"site-3 3"},
			"dispatch.listener.duration": {"display panic 2 in 20s"},
			"dispatch.listener.dropped":  {"display 1"},
		} {
			if diff := cmp.Diff(want, l.measured(name)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		// Its topic is what the listener is registered on.
		for _, m := range l.metrics() {
			if m.Name == "dispatch.listener.slow" {
				if diff := cmp.Diff([]string{"dispatch.listener.name=display,messaging.destination.name=cell.measure,messaging.system=dispatch"}, pointAttributes(t, m)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", m.Name, diff)
				}
			}
		}
	})
}

func TestMetricsAreThoseOfTheConventions(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		everything(l)
		conventional := []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
		got := make(map[string]string)
		for _, m := range l.metrics() {
			got[m.Name] = strings.TrimPrefix(fmt.Sprintf("%T", m.Data), "metricdata.") + " " + m.Unit
			if m.Description == "" {
				t.Errorf("%s has no description", m.Name)
			}
			if h, ok := m.Data.(metricdata.Histogram[float64]); ok {
				if diff := cmp.Diff(conventional, h.DataPoints[0].Bounds); diff != "" {
					t.Errorf("buckets of %s (-want +got):\n%s", m.Name, diff)
				}
			}
		}
		want := map[string]string{
			"messaging.client.operation.duration": "Histogram[float64] s",
			"messaging.process.duration":          "Histogram[float64] s",
			"messaging.client.sent.messages":      "Sum[int64] {message}",
			"messaging.client.consumed.messages":  "Sum[int64] {message}",
			"dispatch.call.in_flight":             "Sum[int64] {call}",
			"dispatch.member.outcomes":            "Sum[int64] {member}",
			"dispatch.member.late":                "Histogram[float64] s",
			"dispatch.member.abandoned":           "Sum[int64] {run}",
			"dispatch.listener.duration":          "Histogram[float64] s",
			"dispatch.listener.dropped":           "Sum[int64] {result}",
			"dispatch.listener.slow":              "Sum[int64] {occurrence}",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
	})
}

func TestACallIsInFlightUntilItEnds(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.produce("site-1", after(20*ms, nil))
		for range 3 {
			if _, err := l.Send(t.Context(), measure, "vdd"); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([]string{" 3"}, l.measured("dispatch.call.in_flight")); diff != "" {
			t.Errorf("in flight (-want +got):\n%s", diff)
		}
		time.Sleep(30 * ms)
		if diff := cmp.Diff([]string{" 0"}, l.measured("dispatch.call.in_flight")); diff != "" {
			t.Errorf("in flight after the end (-want +got):\n%s", diff)
		}
	})
}

func TestAGroupIsOneMemberAndItsReplicasAreWhoWorks(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.produce("meter-1", after(10*ms, probeError{}), dispatch.WithGroup("meters"))
		l.produce("meter-2", after(20*ms, nil), dispatch.WithGroup("meters"))
		l.send()
		for name, want := range map[string][]string{
			"dispatch.member.outcomes":           {"meter-2 ok meters 1"},
			"messaging.client.consumed.messages": {"meter-1 meters process 1", "meter-2 meters process 1"},
			"messaging.process.duration": {
				"meter-1 github.com/seed-bb4b4d74/dispatch/oteldispatch_test.probeError meters process 1 in 10ms",
				"meter-2 meters process 1 in 20ms",
			},
		} {
			if diff := cmp.Diff(want, l.measured(name)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	})
}

// The observer keeps attributes from one measurement to the next. So this test gives different
// things the same name.
func TestMeasurementsOfTheSameNamesAreToldApart(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		topics := []dispatch.Topic[string, float64]{
			dispatch.NewTopic[string, float64]("a", dispatch.WithTimeout(100*ms)),
			dispatch.NewTopic[string, float64]("b", dispatch.WithTimeout(100*ms)),
		}
		for _, topic := range topics {
			for name, takes := range map[string]time.Duration{"x": 10 * ms, "y": 150 * ms} {
				if _, err := l.AddProducer(topic, after(takes, nil), dispatch.WithName(name)); err != nil {
					t.Fatal(err)
				}
				_, err := l.AddListener(topic, func(context.Context, dispatch.Result[string, float64]) { time.Sleep(takes) }, dispatch.WithName(name))
				if err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if _, err := l.Send(t.Context(), topic, "vdd"); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		const x, y, listener = ",dispatch.member.name=x", ",dispatch.member.name=y", "dispatch.listener.name="
		want := map[string][]string{
			"messaging.client.operation.duration": {"error.type=timeout"},
			"messaging.process.duration":          {x, y + ",error.type=timeout"},
			"messaging.client.sent.messages":      {"error.type=timeout"},
			"messaging.client.consumed.messages":  {x, y},
			"dispatch.call.in_flight":             {""},
			"dispatch.member.outcomes":            {x + ",dispatch.member.state=ok", y + ",dispatch.member.state=late"},
			"dispatch.member.late":                {y},
			"dispatch.listener.duration":          {listener + "x", listener + "y"},
		}
		for _, m := range l.metrics() {
			var expected []string
			for _, topic := range topics {
				for _, attrs := range want[m.Name] {
					expected = append(expected, topic.Name()+": "+strings.TrimPrefix(attrs, ","))
				}
			}
			var got []string
			for _, line := range pointAttributes(t, m) {
				topic, others := "", []string{}
				for _, attr := range strings.Split(line, ",") {
					switch key, value, _ := strings.Cut(attr, "="); key {
					case "messaging.destination.name":
						topic = value
					case "messaging.system", "messaging.operation.name", "messaging.operation.type":
					default:
						others = append(others, attr)
					}
				}
				got = append(got, topic+": "+strings.Join(others, ","))
			}
			slices.Sort(got)
			if diff := cmp.Diff(expected, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", m.Name, diff)
			}
		}
	})
}

func TestAutomaticNamesAreNoAttributes(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		for _, took := range []time.Duration{10 * ms, 20 * ms, 1050 * ms, 1050 * ms} {
			if _, err := l.AddProducer(measure, after(took, nil)); err != nil {
				t.Fatal(err)
			}
		}
		// The listener takes the second result when those of the second call wait: one of them is too many.
		if _, err := l.AddListener(measure, func(context.Context, dispatch.Result[string, float64]) { time.Sleep(1500 * ms) },
			dispatch.WithMailbox(1, dispatch.DropNewest)); err != nil {
			t.Fatal(err)
		}
		l.send()
		l.send()
		time.Sleep(time.Minute)
		for name, want := range map[string][]string{
			"messaging.client.consumed.messages": {"process 8"},
			"messaging.process.duration":         {"process 4 in 60ms", "timeout process 4 in 4s"},
			"dispatch.member.outcomes":           {"late 4", "ok 4"},
			"dispatch.member.late":               {" 4 in 200ms"},
			"dispatch.listener.duration":         {" 3 in 4.5s"},
			"dispatch.listener.dropped":          {" 1"},
		} {
			if diff := cmp.Diff(want, l.measured(name)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		for _, s := range l.ended() {
			if name := s.Attributes["dispatch.member.name"]; name != nil {
				t.Errorf("a span has the name %v", name)
			}
		}
	})
}

func TestTemplatesOfNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(
			t,
			oteldispatch.WithMemberTemplate(func(name string) string { return strings.TrimRight(name, "0123456789") + "n" }),
			oteldispatch.WithListenerTemplate(func(string) string { return "all" }),
		)
		for i := range 3 {
			l.produce(fmt.Sprint("site-", i), after(10*ms, nil))
			if _, err := l.AddListener(measure, func(context.Context, dispatch.Result[string, float64]) { time.Sleep(ms) }); err != nil {
				t.Fatal(err)
			}
		}
		l.send()
		time.Sleep(time.Minute)
		for name, want := range map[string][]string{
			"dispatch.member.outcomes":   {"site-n ok 3"},
			"messaging.process.duration": {"site-n process 3 in 30ms"},
			"dispatch.listener.duration": {"all 9 in 9ms"},
		} {
			if diff := cmp.Diff(want, l.measured(name)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		l.find("process cell.measure site-1") // spans keep the name
	})
}

// A Producer gives the same metrics as instruments.
func TestProducerMeasuresTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		p := oteldispatch.NewProducer()
		reader := sdkmetric.NewManualReader(sdkmetric.WithProducer(p))
		meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
		if _, err := l.Bus().Observe(oteldispatch.New(
			oteldispatch.WithTracerProvider(noop.NewTracerProvider()), oteldispatch.WithMeterProvider(meters), oteldispatch.WithProducer(p),
		)); err != nil {
			t.Fatal(err)
		}
		l.produce("site-1", after(20*ms, nil))
		l.produce("site-2", after(30*ms, probeError{}))
		l.produce("site-3", after(1050*ms, nil))
		l.produce("meter-1", after(10*ms, probeError{}), dispatch.WithGroup("meters"))
		l.produce("meter-2", after(200*ms, nil), dispatch.WithGroup("meters"))
		for range 3 {
			l.send()
		}
		time.Sleep(time.Minute)
		for _, name := range []string{
			"messaging.client.operation.duration", "messaging.process.duration", "messaging.client.sent.messages",
			"messaging.client.consumed.messages", "dispatch.member.outcomes", "dispatch.member.late",
		} {
			want := l.measured(name)
			l.reader, reader = reader, l.reader
			got := l.measured(name)
			l.reader, reader = reader, l.reader
			if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
				t.Errorf("%s (-instruments +producer):\n%s", name, diff)
			}
		}
	})
}

func TestTheScopeHasAVersion(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.produce("site-1", after(20*ms, nil))
		l.send()
		if s := l.spans.GetSpans()[0].InstrumentationScope; s.Version == "" || s.SchemaURL == "" {
			t.Errorf("the scope of spans is %+v", s)
		}
		var data metricdata.ResourceMetrics
		if err := l.reader.Collect(t.Context(), &data); err != nil {
			t.Fatal(err)
		}
		if s := data.ScopeMetrics[0].Scope; s.Version == "" || s.SchemaURL == "" {
			t.Errorf("the scope of metrics is %+v", s)
		}
	})
}

func TestOfAGroupThatIsLateItIsTheReplicasThatReturnLate(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.produce("meter-1", after(1050*ms, nil), dispatch.WithGroup("meters"))
		l.produce("meter-2", after(1020*ms, nil), dispatch.WithGroup("meters"))
		l.send(dispatch.WithHedge(20 * ms))
		time.Sleep(time.Second)
		for name, want := range map[string][]string{
			"dispatch.member.outcomes": {"late meters 1"},
			"dispatch.member.late":     {"meter-1 meters 1 in 50ms", "meter-2 meters 1 in 40ms"},
			"messaging.process.duration": {
				"meter-1 timeout meters process 1 in 1s",
				"meter-2 timeout meters process 1 in 980ms",
			},
		} {
			if diff := cmp.Diff(want, l.measured(name)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	})
}

func TestTheGlobalProvidersAreTheDefault(t *testing.T) {
	tracers, meters := otel.GetTracerProvider(), otel.GetMeterProvider()
	t.Cleanup(func() {
		otel.SetTracerProvider(tracers)
		otel.SetMeterProvider(meters)
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		otel.SetTracerProvider(l.tracer)
		otel.SetMeterProvider(l.meters)
		bus := dispatch.NewBus(dispatch.WithObserver(oteldispatch.New(nil, oteldispatch.WithTracerProvider(nil))))
		l.Dispatcher = dispatch.On[string, float64](bus)
		l.produce("site-1", after(10*ms, nil))
		l.send()
		l.wantTree("send cell.measure 0s–10ms", "  process cell.measure site-1 0s–10ms")
		if diff := cmp.Diff([]string{"site-1 ok 1"}, l.measured("dispatch.member.outcomes")); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	})
}

// named finds the names that a file mentions.
func named(t *testing.T, file, pattern string) (names []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestDocumentsNameWhatThereIs(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		everything(l)
		if _, err := l.Bus().AddLink(func() dispatch.LinkSnapshot { return dispatch.LinkSnapshot{Name: "nats:a"} }); err != nil {
			t.Fatal(err)
		}
		if _, err := oteldispatch.ObserveLinks(l.Bus(), oteldispatch.WithMeterProvider(l.meters)); err != nil {
			t.Fatal(err)
		}
		var metrics []string
		for _, m := range l.metrics() {
			metrics = append(metrics, m.Name)
		}
		slices.Sort(metrics)
		listed := named(t, "doc.go", `(?m)^//\t((?:dispatch|messaging)\.\S+) +(?:histogram|counter|up-down counter)`)
		if diff := cmp.Diff(metrics, listed); diff != "" {
			t.Errorf("metrics (-measured +in doc.go):\n%s", diff)
		}

		known := append(metrics, "dispatch.topic", "dispatch.producer", "dispatch.listener", // labels of profiles
			"dispatch.link.state", "dispatch.node.state") // attributes of links, which another test names
		for _, s := range l.ended() {
			for key := range s.Attributes {
				known = append(known, string(key))
			}
			for _, e := range s.Events {
				known = append(known, e.Name)
			}
		}
		mentioned := named(t, "../docs/operating.md", "`((?:dispatch|messaging)\\.[a-z_.]+)`")
		if len(mentioned) < len(metrics)/2 {
			t.Errorf("the page on operating mentions %q only", mentioned)
		}
		for _, name := range mentioned {
			if !slices.Contains(known, name) {
				t.Errorf("the page on operating mentions %s, which there is not", name)
			}
		}
	})
}

// oddError has a type that a function says.
type oddError struct {
	error
	typeOf func() string
}

func (e oddError) ErrorType() string { return e.typeOf() }

// No lock is held while functions of the user give names and types of errors.
func TestFunctionsOfTheUserMayCollectMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l *lab
		collect := func() {
			if l == nil {
				return
			}
			var data metricdata.ResourceMetrics
			if err := l.reader.Collect(context.Background(), &data); err != nil {
				t.Error(err)
			}
		}
		l = newLab(
			t, oteldispatch.WithTracerProvider(noop.NewTracerProvider()),
			oteldispatch.WithMemberTemplate(func(name string) string { collect(); return name }),
		)
		l.produce("site-1", after(10*ms, nil))
		l.produce("site-2", after(10*ms, oddError{probeError{}, func() string { collect(); return "odd" }}))
		l.produce("meter-1", after(10*ms, nil), dispatch.WithGroup("meters"))
		l.send()
		l.send()
		time.Sleep(time.Minute)
		if diff := cmp.Diff([]string{"meter-1 ok meters 2", "site-1 ok 2", "site-2 failed 2"}, l.measured("dispatch.member.outcomes")); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	})
}

func TestEveryCallbackIsMeasuredAlsoOfCallsThatAreNotSampled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
		l := newLab(t, oteldispatch.WithTracerProvider(never))
		l.produce("site-1", after(10*ms, nil))
		if _, err := l.AddListener(measure, func(context.Context, dispatch.Result[string, float64]) { time.Sleep(ms) }, dispatch.WithName("log")); err != nil {
			t.Fatal(err)
		}
		l.send()
		l.send()
		time.Sleep(time.Minute)
		if diff := cmp.Diff([]string{"log 2 in 2ms"}, l.measured("dispatch.listener.duration")); diff != "" {
			t.Errorf("callbacks (-want +got):\n%s", diff)
		}
	})
}

// Backends refuse two points of one series.
func TestOneProducerOfTwoObserversHasOnePointForEachSeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := oteldispatch.NewProducer()
		for range 2 {
			l := newLab(t, oteldispatch.WithProducer(p))
			l.produce("site-1", after(10*ms, nil))
			l.send()
		}
		time.Sleep(time.Minute)
		scopes, err := p.Produce(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range scopes[0].Metrics {
			points := m.Data.(metricdata.Histogram[float64]).DataPoints
			if len(points) != 1 || points[0].Count != 2 {
				t.Errorf("%s: %d points: %+v", m.Name, len(points), points)
			}
		}
	})
}

// The calls in flight of several buses are added up, and those of a bus that is observed again are counted once.
func TestCallsInFlightOfSeveralBuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		other := newLab(t, oteldispatch.WithMeterProvider(l.meters))
		again, err := oteldispatch.Observe(l.Bus(), oteldispatch.WithMeterProvider(l.meters))
		if err != nil {
			t.Fatal(err)
		}
		again.Remove()
		for _, one := range []*lab{l, other} {
			one.produce("site-1", after(10*ms, nil))
			if _, err := one.Send(t.Context(), measure, "vdd"); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([]string{" 2"}, l.measured("dispatch.call.in_flight")); diff != "" {
			t.Errorf("in flight (-want +got):\n%s", diff)
		}
		time.Sleep(time.Minute)
	})
}

// A template that panics is an error where metrics are collected: on the goroutine of a reader, a panic ends the process.
func TestTemplateThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, oteldispatch.WithDestinationTemplate(func(string) string { panic("no template") }))
		l.produce("site-1", after(10*ms, nil))
		if _, err := l.Send(t.Context(), measure, "vdd"); err != nil {
			t.Fatal(err)
		}
		var data metricdata.ResourceMetrics
		if err := l.reader.Collect(t.Context(), &data); err == nil || !strings.Contains(err.Error(), "no template") {
			t.Errorf("collecting returns %v", err)
		}
		time.Sleep(time.Minute)
	})
}

// refusing is a meter provider that refuses all instruments, and returns nil in place of them.
type refusing struct{ metricnoop.MeterProvider }

func (refusing) Meter(string, ...metric.MeterOption) metric.Meter { return refusingMeter{} }

type refusingMeter struct{ metricnoop.Meter }

var errRefused = errors.New("no instruments")

func (refusingMeter) Float64Histogram(string, ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return nil, errRefused
}

func (refusingMeter) Int64Counter(string, ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return nil, errRefused
}

func (refusingMeter) Int64ObservableCounter(string, ...metric.Int64ObservableCounterOption) (metric.Int64ObservableCounter, error) {
	return nil, errRefused
}

func (refusingMeter) Int64ObservableUpDownCounter(string, ...metric.Int64ObservableUpDownCounterOption) (metric.Int64ObservableUpDownCounter, error) {
	return nil, errRefused
}

func (refusingMeter) RegisterCallback(metric.Callback, ...metric.Observable) (metric.Registration, error) {
	return nil, errRefused
}

// Instruments that a meter provider refuses measure nothing. OpenTelemetry's error handler is told, and spans go on.
func TestInstrumentsThatAreRefused(t *testing.T) {
	handler := otel.GetErrorHandler()
	defer otel.SetErrorHandler(handler)
	told := 0
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		if told++; !errors.Is(err, errRefused) {
			t.Errorf("the error handler is told %v", err)
		}
	}))
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		l := newLab(t)
		l.Dispatcher = dispatch.New[string, float64](dispatch.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))))
		if _, err := oteldispatch.Observe(l.Bus(), oteldispatch.WithTracerProvider(l.tracer), oteldispatch.WithMeterProvider(refusing{}), oteldispatch.WithListenerDurations()); err != nil {
			t.Fatal(err)
		}
		everything(l)
		l.Close()
		time.Sleep(time.Hour)
		synctest.Wait()
		if strings.Contains(log.String(), "observer panicked") {
			t.Errorf("logged: %s", &log)
		}
		if n := len(l.ended()); n != 3*4 {
			t.Errorf("%d spans, want those of 3 calls with 3 members each", n)
		}
	})
	if told == 0 {
		t.Error("the error handler is told nothing")
	}
}
