package oteldispatch_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/oteldispatch"
)

func TestTwoObserversOnABusDoNotMix(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		other := newLab(t) // its own bus is not used
		if _, err := l.Bus().Observe(oteldispatch.New(oteldispatch.WithTracerProvider(other.tracer), oteldispatch.WithMeterProvider(other.meters))); err != nil {
			t.Fatal(err)
		}
		l.produce("site-1", after(10*ms, nil))
		l.send()
		for name, spans := range map[string][]span{"first": l.ended(), "second": other.ended()} {
			var got []string
			for _, s := range spans {
				got = append(got, fmt.Sprint(s.Name, " ", s.Start, "–", s.End))
			}
			slices.Sort(got)
			if diff := cmp.Diff([]string{"process cell.measure 0s–10ms", "send cell.measure 0s–10ms"}, got); diff != "" {
				t.Errorf("spans of the %s (-want +got):\n%s", name, diff)
			}
		}
	})
}

func TestAnObserverThatComesDuringACallHasNoEffectOnIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := dispatch.NewBus()
		cell := dispatch.On[string, float64](bus)
		l := newLab(t)
		l.Dispatcher = cell
		l.produce("site-1", after(20*ms, nil))
		call, err := cell.Send(t.Context(), measure, "vdd")
		if err != nil {
			t.Fatal(err)
		}
		added, err := bus.Observe(oteldispatch.New(oteldispatch.WithTracerProvider(l.tracer), oteldispatch.WithMeterProvider(l.meters)))
		if err != nil {
			t.Fatal(err)
		}
		<-call.Done()
		synctest.Wait()
		if !call.Report().Complete() || l.ended() != nil {
			t.Errorf("the report is %v and the spans are %v, want a complete one and none", call.Report(), l.ended())
		}
		l.send()
		if n := len(l.ended()); n != 2 {
			t.Errorf("%d spans of the next call, want 2", n)
		}
		added.Remove()
		l.spans.Reset()
		l.send()
		if n := len(l.ended()); n != 0 {
			t.Errorf("%d spans after the observer was removed, want none", n)
		}
	})
}

// If a closure and its member end at the same moment, their events have no order. So the test
// calls the hooks itself.
func TestACloseEndIsSeenFromBothSides(t *testing.T) {
	for _, tt := range []struct {
		name   string
		hooks  func(o dispatch.Observer, ctx context.Context, m func(time.Duration) dispatch.MemberInfo, end func())
		end    time.Duration
		events []string
	}{
		{
			name: "it ends, and then it returns", end: 120 * ms,
			hooks: func(o dispatch.Observer, ctx context.Context, m func(time.Duration) dispatch.MemberInfo, end func()) {
				end()
				o.Late(ctx, m(120*ms), 20*ms, nil)
			},
		},
		{
			name: "it returns, and then it ends", end: 120 * ms,
			hooks: func(o dispatch.Observer, ctx context.Context, m func(time.Duration) dispatch.MemberInfo, end func()) {
				o.Late(ctx, m(120*ms), 20*ms, nil)
				end()
			},
		},
		{
			name: "it is abandoned, and then it ends and returns", end: 200 * ms, events: []string{"dispatch.member.abandoned"},
			hooks: func(o dispatch.Observer, ctx context.Context, m func(time.Duration) dispatch.MemberInfo, end func()) {
				o.Abandoned(ctx, m(200*ms), 100*ms)
				end()
				o.Late(ctx, m(300*ms), 200*ms, nil)
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				o := oteldispatch.New(oteldispatch.WithTracerProvider(l.tracer), oteldispatch.WithMeterProvider(l.meters))
				who := dispatch.Member{Name: "site-1"}
				about := dispatch.CallInfo{Topic: "cell.measure", ID: 1}
				info := func(elapsed time.Duration) dispatch.MemberInfo {
					m := dispatch.MemberInfo{CallInfo: about, Elapsed: elapsed}
					m.Member = who
					return m
				}
				call := o.CallStart(t.Context(), dispatch.CallStarted{CallInfo: about, Started: l.began})
				ctx := o.MemberStart(call, info(10*ms))
				out := dispatch.Outcome{Member: who, State: dispatch.StateCanceled, Err: dispatch.ErrSatisfied, Started: true, Tried: 1, Elapsed: 100 * ms}
				tt.hooks(o, ctx, info, func() {
					ended := info(100 * ms)
					ended.Running = true
					o.MemberEnd(ctx, ended, out)
					o.CallEnd(call, dispatch.Report{Topic: "cell.measure", Reason: dispatch.ReasonSatisfied, Elapsed: 100 * ms, Outcomes: []dispatch.Outcome{out}})
				})
				s := l.find("process cell.measure site-1")
				var events []string
				for _, e := range s.Events {
					events = append(events, e.Name)
				}
				if diff := cmp.Diff(tt.events, events); diff != "" || s.End != tt.end {
					t.Errorf("it ends at %v, want %v; events (-want +got):\n%s", s.End, tt.end, diff)
				}
				if got := l.measured("messaging.client.consumed.messages", "messaging.process.duration"); len(got) != 2 {
					t.Errorf("measured %q, want one message and one duration", got)
				}
			})
		})
	}
}

// An observer behind this one may return a context that is not derived from its
// argument. Then there is no span to end, and nothing else happens.
func TestALostContextHasNoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		var logged bytes.Buffer
		bus := dispatch.NewBus(
			dispatch.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))),
			dispatch.WithObserver(oteldispatch.New(oteldispatch.WithTracerProvider(l.tracer), oteldispatch.WithMeterProvider(l.meters))),
			dispatch.WithObserver(dispatch.Observer{
				CallStart: func(context.Context, dispatch.CallStarted) context.Context { return context.Background() },
			}))
		l.Dispatcher = dispatch.On[string, float64](bus)
		l.produce("site-1", after(20*ms, nil))
		l.produce("site-2", after(1200*ms, nil))
		if _, err := l.AddListener(measure, func(context.Context, dispatch.Result[string, float64]) { time.Sleep(20 * ms) },
			dispatch.WithMailbox(1, dispatch.DropNewest), dispatch.WithName("display")); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := l.Send(t.Context(), measure, "vdd"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for line := range strings.Lines(logged.String()) {
			if !strings.Contains(line, "outlived its call") {
				t.Errorf("logged: %s", line)
			}
		}
		if n := len(l.ended()); n != 0 {
			t.Errorf("%d spans, want none", n)
		}
	})
}
