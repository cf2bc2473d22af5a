package oteldispatch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/seed-bb4b4d74/dispatch"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

const ms = time.Millisecond

// after returns a producer that takes this time and ignores its context.
func after(d time.Duration, err error) dispatch.Producer[string, float64] {
	return func(context.Context, string) (float64, error) {
		time.Sleep(d)
		return 1.2, err
	}
}

// obedient is a producer that returns when its context ends.
func obedient(ctx context.Context, _ string) (float64, error) {
	<-ctx.Done()
	return 0, context.Cause(ctx)
}

// A probeError is an error of a user's own type.
type probeError struct{}

func (probeError) Error() string { return "probe is open" }

func TestEveryState(t *testing.T) {
	for _, tt := range []struct {
		state   dispatch.State
		name    string
		set     func(*lab) []dispatch.CallOption
		started bool
		start   time.Duration
		end     time.Duration
		status  string // how it begins
		kind    any    // error.type
	}{
		{
			state: dispatch.StateOK, start: 0, end: 20 * ms, started: true, status: "Unset",
			set: func(l *lab) []dispatch.CallOption { l.produce("site-1", after(20*ms, nil)); return nil },
		},
		{
			state: dispatch.StateFailed, start: 0, end: 20 * ms, started: true, status: "Error: probe is open",
			kind: "github.com/seed-bb4b4d74/dispatch/oteldispatch_test.probeError",
			set:  func(l *lab) []dispatch.CallOption { l.produce("site-1", after(20*ms, probeError{})); return nil },
		},
		{
			state: dispatch.StatePanicked, start: 0, end: 20 * ms, started: true, status: "Error: panic: no reply", kind: "panic",
			set: func(l *lab) []dispatch.CallOption {
				l.produce("site-1", func(context.Context, string) (float64, error) {
					time.Sleep(20 * ms)
					panic("no reply")
				})
				return nil
			},
		},
		{
			state: dispatch.StateDeclined, start: 0, end: 20 * ms, started: true, status: "Unset",
			set: func(l *lab) []dispatch.CallOption { l.produce("site-1", after(20*ms, dispatch.ErrDecline)); return nil },
		},
		{
			state: dispatch.StateLate, name: "and returns at once", start: 0, end: time.Second, started: true,
			status: "Error: context deadline exceeded", kind: "timeout",
			set: func(l *lab) []dispatch.CallOption { l.produce("site-1", obedient); return nil },
		},
		{
			state: dispatch.StateLate, name: "and returns later", start: 0, end: 1050 * ms, started: true,
			status: "Error: context deadline exceeded", kind: "timeout",
			set: func(l *lab) []dispatch.CallOption { l.produce("site-1", after(1050*ms, nil)); return nil },
		},
		{
			state: dispatch.StateLate, name: "and abandoned", start: 0, end: 1100 * ms, started: true,
			status: "Error: context deadline exceeded", kind: "timeout",
			set: func(l *lab) []dispatch.CallOption { l.produce("site-1", after(time.Minute, nil)); return nil },
		},
		{
			state: dispatch.StateLate, name: "and returns during the grace", start: 0, end: 900 * ms, started: true,
			status: "Error: context deadline exceeded", kind: "timeout",
			set: func(l *lab) []dispatch.CallOption {
				l.produce("site-1", obedient)
				return []dispatch.CallOption{dispatch.WithGrace(100 * ms)}
			},
		},
		{
			state: dispatch.StateLate, name: "in the queue", start: time.Second, end: time.Second,
			status: "Error: context deadline exceeded", kind: "timeout",
			set: func(l *lab) []dispatch.CallOption { occupied(l); return nil },
		},
		{
			state: dispatch.StateCanceled, start: 0, end: 30 * ms, started: true, status: "Unset",
			set: func(l *lab) []dispatch.CallOption {
				l.produce("site-1", obedient)
				l.produce("site-2", after(30*ms, nil))
				return []dispatch.CallOption{dispatch.WithQuorum(1)}
			},
		},
		{
			state: dispatch.StateCanceled, name: "and returns later", start: 0, end: 70 * ms, started: true, status: "Unset",
			set: func(l *lab) []dispatch.CallOption {
				l.produce("site-1", after(70*ms, nil))
				l.produce("site-2", after(30*ms, nil))
				return []dispatch.CallOption{dispatch.WithQuorum(1)}
			},
		},
		{
			state: dispatch.StateRejected, start: 0, end: 0, status: "Error: dispatch: queue full", kind: "queue_full",
			set: func(l *lab) []dispatch.CallOption { occupied(l, dispatch.WithMaxQueue(1)); return nil },
		},
		{
			state: dispatch.StateGone, start: 0, end: 0, status: "Error: dispatch: no producer named", kind: "unknown_member",
			set: func(*lab) []dispatch.CallOption { return []dispatch.CallOption{dispatch.WithTargets("site-1")} },
		},
	} {
		t.Run(tt.state.String()+" "+tt.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				opts := tt.set(l)
				l.spans.Reset()
				l.began = time.Now()
				report := l.send(opts...)
				time.Sleep(10 * time.Minute)

				s := l.find("process cell.measure site-1")
				want := span{
					Name: "process cell.measure", Parent: "send cell.measure", Kind: trace.SpanKindConsumer,
					Start: tt.start, End: tt.end,
					Attributes: map[attribute.Key]any{
						"messaging.system": "dispatch", "messaging.operation.name": "process", "messaging.operation.type": "process",
						"messaging.destination.name": "cell.measure", "messaging.message.conversation_id": s.Attributes["messaging.message.conversation_id"],
						"dispatch.member.name": "site-1", "dispatch.member.state": tt.state.String(),
						"dispatch.member.started": tt.started, "dispatch.member.results": s.Attributes["dispatch.member.results"],
					},
				}
				if tt.kind != nil {
					want.Attributes["error.type"] = tt.kind
				}
				shape := s
				shape.Status, shape.Events = "", nil
				if diff := cmp.Diff(want, shape); diff != "" {
					t.Errorf("span (-want +got):\n%s", diff)
				}
				if !strings.HasPrefix(s.Status, tt.status) {
					t.Errorf("status is %q, want it to begin with %q", s.Status, tt.status)
				}

				if got := "site-1 " + tt.state.String() + " 1"; !slices.Contains(l.measured("dispatch.member.outcomes"), got) {
					t.Errorf("outcomes are %q, want %q", l.measured("dispatch.member.outcomes"), got)
				}
				processed := "site-1 process 1 in " + (min(tt.end, report.Elapsed) - tt.start).String()
				if tt.kind != nil {
					processed = strings.Replace(processed, " ", fmt.Sprintf(" %v ", tt.kind), 1)
				}
				got := l.measured("messaging.process.duration")
				if slices.Contains(got, processed) != tt.started || !tt.started && len(got) > 0 {
					t.Errorf("durations are %q, want %q if it was started, which is %t", got, processed, tt.started)
				}
			})
		})
	}
}

// occupied adds a serial producer that has two calls of another topic to answer.
func occupied(l *lab, opts ...dispatch.ProducerOption) {
	l.t.Helper()
	other := dispatch.NewTopic[string, float64]("cell.other", dispatch.WithTimeout(time.Minute))
	opts = append(opts, dispatch.WithName("site-1"), dispatch.WithConcurrency(1))
	if _, err := l.AddProducer(dispatch.AnyOf(measure, other), after(5*time.Second, nil), opts...); err != nil {
		l.t.Fatal(err)
	}
	for range 2 {
		if _, err := l.Send(l.t.Context(), other, "vss"); err != nil {
			l.t.Fatal(err)
		}
	}
	synctest.Wait()
}

func TestEveryReason(t *testing.T) {
	held := errors.New("lot is held")
	for _, tt := range []struct {
		reason  dispatch.Reason
		opts    []dispatch.CallOption
		set     func(*lab)
		end     time.Duration
		members int64
		results int64
		status  string
		kind    any // error.type
	}{
		{
			reason: dispatch.ReasonAllEnded, end: 20 * ms, members: 2, results: 2, status: "Unset",
			set: func(l *lab) { l.produce("site-1", after(10*ms, nil)); l.produce("site-2", after(20*ms, nil)) },
		},
		{
			reason: dispatch.ReasonAllEnded, end: 20 * ms, members: 2, results: 1,
			status: "Error: dispatch: cell.measure: 1 of 2 members did not answer: site-1 failed: probe is open", kind: "partial",
			set: func(l *lab) { l.produce("site-1", after(10*ms, probeError{})); l.produce("site-2", after(20*ms, nil)) },
		},
		{
			reason: dispatch.ReasonSatisfied, end: 10 * ms, members: 2, results: 1, status: "Unset", opts: []dispatch.CallOption{dispatch.WithQuorum(1)},
			set: func(l *lab) { l.produce("site-1", after(10*ms, nil)); l.produce("site-2", after(20*ms, nil)) },
		},
		{
			reason: dispatch.ReasonQuorumLost, end: 10 * ms, members: 2, opts: []dispatch.CallOption{dispatch.WithQuorum(2)},
			status: "Error: dispatch: cell.measure: quorum of 2 lost: 0 of 2 members answered (1 member unfinished): site-1 failed: probe is open", kind: "quorum_lost",
			set: func(l *lab) { l.produce("site-1", after(10*ms, probeError{})); l.produce("site-2", after(20*ms, nil)) },
		},
		{
			reason: dispatch.ReasonStalled, end: 60 * ms, members: 2, results: 1, opts: []dispatch.CallOption{dispatch.WithStall(50 * ms)},
			status: "Error: dispatch: cell.measure: stalled: 1 of 2 members did not answer: site-2 unfinished", kind: "stalled",
			set: func(l *lab) { l.produce("site-1", after(10*ms, nil)); l.produce("site-2", obedient) },
		},
		{
			reason: dispatch.ReasonDeadline, end: time.Second, members: 2, results: 1,
			status: "Error: dispatch: cell.measure: deadline exceeded: 1 of 2 members did not answer: site-2 late", kind: "timeout",
			set: func(l *lab) { l.produce("site-1", after(10*ms, nil)); l.produce("site-2", obedient) },
		},
		{
			reason: dispatch.ReasonCanceled, end: 30 * ms, members: 1,
			status: "Error: dispatch: cell.measure: canceled: lot is held (1 member unfinished)", kind: "canceled",
			set: func(l *lab) { l.produce("site-1", obedient) },
		},
		{
			reason: dispatch.ReasonFailedFast, end: 10 * ms, members: 2, opts: []dispatch.CallOption{dispatch.WithFailFast()},
			status: "Error: dispatch: cell.measure: failed fast (1 member unfinished): site-1 failed: probe is open", kind: "fail_fast",
			set: func(l *lab) { l.produce("site-1", after(10*ms, probeError{})); l.produce("site-2", obedient) },
		},
		{
			reason: dispatch.ReasonClosed, end: 20 * ms, members: 1,
			status: "Error: dispatch: cell.measure: closed (1 member unfinished)", kind: "closed",
			set: func(l *lab) { l.produce("site-1", obedient); time.AfterFunc(20*ms, func() { l.Close() }) },
		},
		{
			reason: dispatch.ReasonNoProducers,
			status: "Error: dispatch: cell.measure: no producers", kind: "no_producers",
			set: func(*lab) {},
		},
	} {
		t.Run(tt.reason.String(), func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				tt.set(l)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if tt.reason == dispatch.ReasonCanceled {
					time.AfterFunc(30*ms, func() { cancel(held) })
				}
				r := l.sendIn(ctx, tt.opts...)
				want := span{
					Name: "send cell.measure", Kind: trace.SpanKindProducer, End: tt.end, Status: tt.status,
					Attributes: map[attribute.Key]any{
						"messaging.system": "dispatch", "messaging.operation.name": "send", "messaging.operation.type": "send",
						"messaging.destination.name": "cell.measure", "messaging.message.conversation_id": r.Call.String(),
						"dispatch.call.budget": 1.0, "dispatch.call.reason": tt.reason.String(),
						"dispatch.call.members": tt.members, "dispatch.call.results": tt.results,
					},
				}
				if tt.kind != nil {
					want.Attributes["error.type"] = tt.kind
				}
				if tt.reason == dispatch.ReasonDeadline {
					want.Events = []event{{"dispatch.member.late", tt.end, map[attribute.Key]any{"dispatch.member.name": "site-2"}}}
				}
				if diff := cmp.Diff(want, l.find("send cell.measure")); diff != "" {
					t.Errorf("span (-want +got):\n%s", diff)
				}

				measured := "send"
				if tt.kind != nil {
					measured = tt.kind.(string) + " send"
				}
				for metric, value := range map[string]string{
					"messaging.client.operation.duration": "1 in " + tt.end.String(),
					"messaging.client.sent.messages":      "1",
				} {
					if diff := cmp.Diff([]string{measured + " " + value}, l.measured(metric)); diff != "" {
						t.Errorf("%s (-want +got):\n%s", metric, diff)
					}
				}
			})
		})
	}
}
