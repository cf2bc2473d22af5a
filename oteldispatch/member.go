package oteldispatch

import (
	"context"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"go.opentelemetry.io/otel/trace"
)

// member is a member of a call, or a replica, whose closure was called. Its span ends
// when two things are known: how the member ended, and when its closure returned. Usually
// both happen at once. If the call ends first, the closure goes on, and an event says
// later that it has returned or is abandoned. This event can also come before that of
// the member's end.
type member struct {
	call    *call
	member  dispatch.Member
	replica bool
	started time.Duration // since the beginning of the call
	span    trace.Span

	// Only the goroutine of the observer uses the fields below.
	outcome *dispatch.Outcome // nil until it is known
	overrun *overrun          // nil unless its closure has outlived the call
}

// overrun is the end of the span of a closure that has outlived its call.
type overrun struct {
	until     time.Duration // since the beginning of the call
	err       error         // what it has returned
	abandoned bool          // it has not returned
}

// isGroup reports whether the member is a group, whose closure only asks replicas.
func (m *member) isGroup() bool { return m.member.Group != "" && !m.replica }

// member returns the member that a hook is about, or nil if its closure was not
// called. The context is then that of the call or, for a replica, of its group.
func (o *observer) member(ctx context.Context, info *dispatch.MemberInfo) (scope, *member) {
	s, _ := o.in(ctx)
	m := s.member
	if m == nil || m.replica != info.Replica {
		return s, nil
	}
	return s, m
}

func (o *observer) memberStart(ctx context.Context, info *dispatch.MemberInfo) context.Context {
	s, ok := o.in(ctx)
	if !ok {
		return ctx // the context of the call was lost
	}
	m := &member{call: s.call, member: info.Member, replica: info.Replica, started: info.Elapsed}
	ctx, m.span = o.startMember(ctx, s.call, info.Member, info.Elapsed)
	return context.WithValue(ctx, scopeKey{o}, scope{s.call, m})
}

func (o *observer) memberEnd(ctx context.Context, info *dispatch.MemberInfo, out *dispatch.Outcome) {
	s, m := o.member(ctx, info)
	if s.call == nil {
		return
	}
	if m == nil {
		began := info.Elapsed
		if out.Started {
			began = 0 // it is in another process, and was asked when the call began
		}
		_, span := o.startMember(ctx, s.call, out.Member, began)
		endMember(span, out, s.call.at(info.Elapsed))
		return
	}
	switch {
	case m.overrun != nil:
		m.finish(out, m.overrun.until)
	case info.Running:
		own := *out
		m.outcome = &own
	default:
		m.finish(out, info.Elapsed)
	}
}

func (o *observer) late(ctx context.Context, info *dispatch.MemberInfo, by time.Duration, err error) {
	s, m := o.member(ctx, info)
	if o.metrics != nil && (m == nil || !m.isGroup()) {
		o.metrics.late.Record(ctx, by.Seconds(), o.metrics.ofMember(info))
	}
	if s.call != nil {
		m.outlived(overrun{until: info.Elapsed, err: err})
	}
}

func (o *observer) abandoned(ctx context.Context, info *dispatch.MemberInfo) {
	s, m := o.member(ctx, info)
	if o.metrics != nil {
		o.metrics.abandoned.Add(ctx, 1, o.metrics.ofMember(info))
	}
	if s.call != nil {
		m.outlived(overrun{until: info.Elapsed, abandoned: true})
	}
}

// outlived notes that the closure of a member with a span has outlived its call. The first
// event counts: an abandoned closure may still return.
func (m *member) outlived(how overrun) {
	if m == nil || m.overrun != nil {
		return
	}
	if m.overrun = &how; m.outcome != nil {
		m.finish(m.outcome, how.until)
	}
}

// finish ends the span of a member at a time since the beginning of the call.
func (m *member) finish(out *dispatch.Outcome, elapsed time.Duration) {
	at := m.call.at(elapsed)
	if m.overrun != nil {
		recordPanic(m.span, m.overrun.err, at)
		if m.overrun.abandoned {
			m.span.AddEvent(abandonedEvent, at)
		}
	}
	endMember(m.span, out, at)
}
