package oteldispatch_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/oteldispatch"
	"go.opentelemetry.io/otel/attribute"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// tree writes the spans as lines, each child indented below its parent.
func (l *lab) tree() []string {
	l.t.Helper()
	stubs := l.spans.GetSpans()
	var lines []string
	var write func(parent trace.SpanID, indent string)
	write = func(parent trace.SpanID, indent string) {
		var children []string
		below := make(map[string]trace.SpanID)
		for _, s := range stubs {
			if s.Parent.SpanID() != parent {
				continue
			}
			line := fmt.Sprintf("%s%s %v–%v", indent, labelOf(s), s.StartTime.Sub(l.began), s.EndTime.Sub(l.began))
			for _, e := range s.Events {
				line += " " + e.Name
			}
			children = append(children, line)
			below[line] = s.SpanContext.SpanID()
		}
		slices.Sort(children)
		for _, line := range children {
			lines = append(lines, line)
			write(below[line], indent+"  ")
		}
	}
	write(trace.SpanID{}, "")
	if len(lines) != len(stubs) {
		l.t.Errorf("%d of %d spans are in the tree, some have no parent", len(lines), len(stubs))
	}
	return lines
}

func (l *lab) wantTree(want ...string) {
	l.t.Helper()
	if diff := cmp.Diff(want, l.tree()); diff != "" {
		l.t.Errorf("spans (-want +got):\n%s", diff)
	}
}

func TestANestedCallIsBelowTheProducerThatSentIt(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		supply := dispatch.NewTopic[string, float64]("instrument.supply")
		if _, err := l.AddProducer(supply, after(30*ms, nil), dispatch.WithName("supply")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"site-1", "site-2"} {
			l.produce(name, func(ctx context.Context, pin string) (float64, error) {
				time.Sleep(10 * ms)
				return l.First(ctx, supply, pin)
			})
		}
		ctx, job := l.tracer.Tracer("test").Start(t.Context(), "job", trace.WithTimestamp(l.began))
		l.sendIn(ctx)
		job.End()
		l.wantTree(
			"job 0s–40ms",
			"  send cell.measure 0s–40ms",
			"    process cell.measure site-1 0s–40ms",
			"      send instrument.supply 10ms–40ms",
			"        process instrument.supply supply 10ms–40ms",
			"    process cell.measure site-2 0s–40ms",
			"      send instrument.supply 10ms–40ms",
			"        process instrument.supply supply 10ms–40ms",
		)
		if depth := l.find("send cell.measure").Attributes["dispatch.call.depth"]; depth != nil {
			t.Errorf("the outer call has the depth %v, want none", depth)
		}
		for _, s := range l.ended() {
			if s.Name == "send instrument.supply" && s.Attributes["dispatch.call.depth"] != int64(1) {
				t.Errorf("a nested call has the depth %v, want 1", s.Attributes["dispatch.call.depth"])
			}
		}
	})
}

func TestReplicasAreBelowTheirGroup(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.produce("meter-1", after(400*ms, nil), dispatch.WithGroup("meters"))
		l.produce("meter-2", after(50*ms, nil), dispatch.WithGroup("meters"))
		l.produce("meter-3", after(50*ms, nil), dispatch.WithGroup("meters"))
		l.send(dispatch.WithHedge(100 * ms))
		time.Sleep(time.Second)
		l.wantTree(
			"send cell.measure 0s–150ms",
			"  process cell.measure meter-2 meters 0s–150ms",
			// It was the first, and did not look at its context. So its span is longer.
			"    process cell.measure meter-1 meters 0s–250ms dispatch.member.abandoned",
			"    process cell.measure meter-2 meters 100ms–150ms",
			// It was not asked.
		)
	})
}

func TestAGroupSaysHowManyReplicasWereAsked(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		for _, name := range []string{"meter-1", "meter-2", "meter-3"} {
			l.produce(name, after(10*ms, probeError{}), dispatch.WithGroup("meters"))
		}
		l.send()
		group := l.find("process cell.measure meters")
		if got := group.Attributes["dispatch.member.tried"]; got != int64(3) {
			t.Errorf("dispatch.member.tried is %v, want 3", got)
		}
		if group.End != 30*ms || group.Attributes["error.type"] == nil {
			t.Errorf("the group has ended at %v with the error type %v, want 30ms and one", group.End, group.Attributes["error.type"])
		}
	})
}

func TestAStreamIsOneSpan(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		_, err := l.AddStreamProducer(measure, func(context.Context, string) iter.Seq2[float64, error] {
			return func(yield func(float64, error) bool) {
				for range 3 {
					time.Sleep(10 * ms)
					if !yield(1.2, nil) {
						return
					}
				}
			}
		}, dispatch.WithName("digitizer"))
		if err != nil {
			t.Fatal(err)
		}
		l.send()
		s := l.find("process cell.measure digitizer")
		if s.End != 30*ms || s.Attributes["dispatch.member.results"] != int64(3) {
			t.Errorf("the span ends at %v with %v results, want 30ms and 3", s.End, s.Attributes["dispatch.member.results"])
		}
		if got := l.find("send cell.measure").Attributes["dispatch.call.results"]; got != int64(3) {
			t.Errorf("the call has %v results, want 3", got)
		}
	})
}

func TestMembersElsewhereHaveSpans(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		_, err := l.AddRelay(measure, func(_ context.Context, _ string, to *dispatch.Roster[float64]) error {
			near, far := dispatch.Member{Node: "cell-2", Name: "site-1"}, dispatch.Member{Node: "cell-3", Name: "site-1"}
			time.Sleep(10 * ms)
			to.Name(near)
			to.Name(far)
			time.Sleep(10 * ms)
			to.Result(near, 1.2)
			to.End(near, nil)
			time.Sleep(10 * ms)
			to.End(far, probeError{})
			return nil
		}, dispatch.WithName("network"))
		if err != nil {
			t.Fatal(err)
		}
		l.send()
		l.wantTree(
			"send cell.measure 0s–30ms",
			"  process cell.measure site-1 cell-2 0s–20ms",
			"  process cell.measure site-1 cell-3 0s–30ms",
		)
		if got := l.measured("messaging.process.duration", "messaging.client.consumed.messages"); got != nil {
			t.Errorf("measured as if they were here: %q", got)
		}
		if diff := cmp.Diff([]string{"site-1 cell-2 ok 1", "site-1 cell-3 failed 1"}, l.measured("dispatch.member.outcomes")); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	})
}

func TestAPanicIsAnEventWithItsStack(t *testing.T) {
	for _, tt := range []struct {
		name   string
		takes  time.Duration
		status string
	}{
		{"in time", 20 * ms, "Error: panic: no reply"},
		{"after the end of the call", 1050 * ms, "Error: context deadline exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				l.produce("site-1", func(context.Context, string) (float64, error) {
					time.Sleep(tt.takes)
					panic(errors.New("no reply"))
				})
				l.send()
				time.Sleep(time.Second)
				s := l.find("process cell.measure site-1")
				if s.Status != tt.status {
					t.Errorf("status is %q, want %q", s.Status, tt.status)
				}
				if len(s.Events) != 1 {
					t.Fatalf("%d events, want one: %v", len(s.Events), s.Events)
				}
				e := s.Events[0]
				if stack, _ := e.Attributes["exception.stacktrace"].(string); !strings.Contains(stack, "TestAPanicIsAnEventWithItsStack") {
					t.Errorf("the stack is %q, want that of the panic", stack)
				}
				delete(e.Attributes, "exception.stacktrace")
				want := event{"exception", tt.takes, map[attribute.Key]any{"exception.type": "*errors.errorString", "exception.message": "no reply"}}
				if diff := cmp.Diff(want, e); diff != "" {
					t.Errorf("event (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestTheContextOfAProducerHasItsSpanAndThatOfAListenerTheCalls(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		var producer, listener trace.SpanContext
		l.produce("site-1", func(ctx context.Context, _ string) (float64, error) {
			producer = trace.SpanContextFromContext(ctx)
			return 1.2, nil
		})
		if _, err := l.AddListener(measure, func(ctx context.Context, _ dispatch.Result[string, float64]) {
			listener = trace.SpanContextFromContext(ctx)
		}); err != nil {
			t.Fatal(err)
		}
		l.send()
		ids := make(map[trace.SpanID]string)
		for _, s := range l.spans.GetSpans() {
			ids[s.SpanContext.SpanID()] = s.Name
		}
		if got := ids[producer.SpanID()]; got != "process cell.measure" {
			t.Errorf("the producer is in %q, want the span of its member", got)
		}
		if got := ids[listener.SpanID()]; got != "send cell.measure" {
			t.Errorf("the listener is in %q, want the span of the call", got)
		}
	})
}

func TestDestinationTemplate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, oteldispatch.WithDestinationTemplate(func(topic string) string {
			first, _, _ := strings.Cut(topic, ".")
			return first + ".*"
		}))
		l.produce("site-1", after(0, nil))
		l.send()
		for _, name := range []string{"send cell.*", "process cell.* site-1"} {
			s := l.find(name)
			if s.Attributes["messaging.destination.name"] != "cell.measure" || s.Attributes["messaging.destination.template"] != "cell.*" {
				t.Errorf("%s has %v, want the name of the topic and the template", name, s.Attributes)
			}
		}
		for _, m := range l.metrics() {
			for _, line := range pointAttributes(t, m) {
				if !strings.Contains(line, "messaging.destination.template=cell.*") || strings.Contains(line, "cell.measure") {
					t.Errorf("%s has %s, want the template in place of the topic", m.Name, line)
				}
			}
		}
	})
}

// A call that is not sampled has the context of its span, for the processes that it reaches,
// and nothing else. The hooks for its members are not called.
func TestCallsThatAreNotSampledOnlyHaveMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()), sdktrace.WithSyncer(l.spans))
		o := oteldispatch.New(oteldispatch.WithTracerProvider(never), oteldispatch.WithMeterProvider(l.meters))
		ctx := o.CallStart(t.Context(), dispatch.CallStarted{CallInfo: dispatch.CallInfo{Topic: "cell.measure"}})
		if sc := trace.SpanContextFromContext(ctx); !sc.IsValid() || sc.IsSampled() || o.Sample(ctx) {
			t.Errorf("the context has %+v, and is sampled: %t", sc, o.Sample(ctx))
		}
		l.Dispatcher = dispatch.New[string, float64](dispatch.WithObserver(o), dispatch.WithLogger(slog.New(slog.DiscardHandler)))
		var inside trace.SpanContext
		l.produce("site-1", func(ctx context.Context, _ string) (float64, error) {
			inside = trace.SpanContextFromContext(ctx)
			time.Sleep(1200 * ms)
			return 0, nil
		})
		l.send()
		time.Sleep(time.Minute)
		if n := len(l.ended()); n != 0 || !inside.IsValid() || inside.IsSampled() {
			t.Errorf("%d spans, and inside %+v", n, inside)
		}
		for name, want := range map[string]string{
			"dispatch.member.outcomes": "site-1 late 1", "dispatch.member.late": "site-1 1 in 200ms", "dispatch.member.abandoned": "site-1 1",
		} {
			if diff := cmp.Diff([]string{want}, l.measured(name)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	})
}

// With metrics alone the observer only follows calls.
func TestMetricsAloneHaveNoStartHooks(t *testing.T) {
	o := oteldispatch.New(oteldispatch.WithTracerProvider(noop.NewTracerProvider()),
		oteldispatch.WithMeterProvider(sdkmetric.NewMeterProvider()))
	if o.CallStart != nil || o.MemberStart != nil || o.ListenerStart != nil || o.Sample != nil ||
		o.ListenerEnd != nil || o.MemberEnd != nil || o.Result != nil || !o.ReuseReports {
		t.Errorf("it has %+v", o)
	}
	o = oteldispatch.New(oteldispatch.WithMeterProvider(metricnoop.NewMeterProvider()))
	if o.Dropped != nil || o.SlowListener != nil || o.MemberStart == nil {
		t.Errorf("without metrics it has %+v", o)
	}
}

func TestMetricsDoNotNeedSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, oteldispatch.WithTracerProvider(noop.NewTracerProvider()))
		l.produce("site-1", after(10*ms, probeError{}))
		l.send()
		if n := len(l.ended()); n != 0 {
			t.Errorf("%d spans, want none", n)
		}
		if diff := cmp.Diff([]string{"site-1 failed 1"}, l.measured("dispatch.member.outcomes")); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	})
}

func TestALongErrorIsCutBetweenTwoCharacters(t *testing.T) {
	for _, text := range []string{strings.Repeat("ü", 2000), "x" + strings.Repeat("ü", 2000)} {
		inLab(t, func(t *testing.T, l *lab) {
			l.produce("site-1", after(0, errors.New(text)))
			l.send()
			for name, whole := range map[string]string{
				"process cell.measure site-1": text,
				"send cell.measure":           "dispatch: cell.measure: no member answered: site-1 failed: " + text,
			} {
				got := strings.TrimPrefix(l.find(name).Status, "Error: ")
				begin, ok := strings.CutSuffix(got, "…")
				if !ok || len(got) > 1024 || len(got) < 1022 || !utf8.ValidString(got) || !strings.HasPrefix(whole, begin) {
					t.Errorf("%s has %d bytes of an error, want nearly 1024: %q", name, len(got), got)
				}
			}
		})
	}
}

// The span of a group ends with the group, also if the call has ended it.
func TestGroupWhoseReplicaHasNotEnded(t *testing.T) {
	for name, opts := range map[string][]dispatch.CallOption{
		"at the deadline": {dispatch.WithTimeout(time.Second)},
		"in the grace":    {dispatch.WithTimeout(time.Second), dispatch.WithGrace(100 * ms)},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				l.produce("meter-1", obedient, dispatch.WithGroup("meters"))
				l.send(opts...)
				time.Sleep(time.Minute)
				ended := "1s"
				if len(opts) > 1 {
					ended = "900ms"
				}
				l.wantTree(
					"send cell.measure 0s–"+ended+" dispatch.member.late",
					"  process cell.measure meters 0s–"+ended,
					"    process cell.measure meter-1 meters 0s–"+ended,
				)
			})
		})
	}
}

// dropsSupply samples all calls but those of one topic.
type dropsSupply struct{ sdktrace.Sampler }

func (s dropsSupply) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if strings.Contains(p.Name, "supply") {
		return sdktrace.SamplingResult{Decision: sdktrace.Drop}
	}
	return s.Sampler.ShouldSample(p)
}

// A call that is not sampled has no spans, also if it is sent from inside a call that is.
func TestANestedCallThatIsNotSampledLeavesTheCallAroundItAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewInMemoryExporter()
		l := newLab(t, oteldispatch.WithTracerProvider(
			sdktrace.NewTracerProvider(sdktrace.WithSampler(dropsSupply{sdktrace.AlwaysSample()}), sdktrace.WithSyncer(spans))))
		l.spans = spans
		supply := dispatch.NewTopic[string, float64]("instrument.supply")
		if _, err := l.AddProducer(supply, after(10*ms, nil), dispatch.WithName("psu")); err != nil {
			t.Fatal(err)
		}
		l.produce("site-1", func(ctx context.Context, pin string) (float64, error) {
			if _, err := l.Gather(ctx, supply, pin); err != nil {
				return 0, err
			}
			time.Sleep(40 * ms)
			return 1, nil
		})
		l.send()
		time.Sleep(time.Minute)
		l.wantTree(
			"send cell.measure 0s–50ms",
			"  process cell.measure site-1 0s–50ms",
		)
	})
}

func TestTheTextOfAPanicIsCut(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.produce("site-1", func(context.Context, string) (float64, error) { panic(strings.Repeat("x", 1<<20)) })
		l.send()
		s := l.find("process cell.measure site-1")
		if n := len(s.Events[0].Attributes["exception.message"].(string)); n > 1024 {
			t.Errorf("the message has %d bytes", n)
		}
	})
}

// A text that is not valid UTF-8 makes an exporter refuse all that it sends together.
func TestTextsAreValidUTF8(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.produce("site-\xff1", after(10*ms, errors.New("read \xff\xfe")))
		l.produce("site-2", func(context.Context, string) (float64, error) { panic("read \xff\xfe") })
		l.send()
		l.find("process cell.measure site-?1")
		for _, s := range l.ended() {
			texts := fmt.Sprint(s.Status, s.Attributes, s.Events)
			if !utf8.ValidString(texts) {
				t.Errorf("%s has %q", s.Name, texts)
			}
		}
		for _, line := range l.measured("dispatch.member.outcomes") {
			if !utf8.ValidString(line) {
				t.Errorf("a measurement has %q", line)
			}
		}
	})
}

type nilError struct{ text string }

func (e *nilError) Error() string     { return e.text }
func (e *nilError) ErrorType() string { return e.text }

// Spans end, and members are counted, although methods of an error panic.
func TestErrorsWhoseMethodsPanic(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.produce("site-1", after(10*ms, (*nilError)(nil)))
		l.produce("site-2", after(10*ms, probeError{}))
		l.send()
		l.wantTree(
			"send cell.measure 0s–10ms",
			"  process cell.measure site-1 0s–10ms",
			"  process cell.measure site-2 0s–10ms",
		)
		if diff := cmp.Diff([]string{"site-1 failed 1", "site-2 failed 1"}, l.measured("dispatch.member.outcomes")); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	})
}

// A member can be late by its own timeout long before its call ends. The event of the call says when, and the span of
// the member ends when its closure returns.
func TestAMemberThatIsLateByItsOwnTimeout(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.produce("site-1", after(30*ms, nil), dispatch.WithTimeout(10*ms))
		l.produce("site-2", after(100*ms, nil))
		l.send()
		call, member := l.find("send cell.measure"), l.find("process cell.measure site-1")
		want := []event{{Name: "dispatch.member.late", At: 10 * ms, Attributes: map[attribute.Key]any{"dispatch.member.name": "site-1"}}}
		if diff := cmp.Diff(want, call.Events); diff != "" || call.End != 100*ms {
			t.Errorf("the call ends at %v, with events (-want +got):\n%s", call.End, diff)
		}
		if member.Start != 0 || member.End != 30*ms {
			t.Errorf("the span of the member is from %v to %v, want 0 to 30 ms", member.Start, member.End)
		}
		if diff := cmp.Diff([]string{"site-1 1 in 20ms"}, l.measured("dispatch.member.late")); diff != "" {
			t.Errorf("delays (-want +got):\n%s", diff)
		}
	})
}
