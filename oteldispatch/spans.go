package oteldispatch

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/seed-bb4b4d74/dispatch"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

var (
	kindProducer = trace.WithSpanKind(trace.SpanKindProducer)
	kindConsumer = trace.WithSpanKind(trace.SpanKindConsumer)
)

// startCall starts a span with the attributes of the topic, which the sampler sees. If the span is
// recorded, it gets the other attributes.
func (o *observer) startCall(ctx context.Context, topic *topicAttrs, started time.Time) (context.Context, trace.Span) {
	return o.tracer.Start(ctx, topic.sendSpan, kindProducer, trace.WithTimestamp(started), topic.send)
}

func describeCall(c *call, started *dispatch.CallStarted) {
	attrs := append(make([]attribute.KeyValue, 0, 3),
		semconv.MessagingMessageConversationID(c.conversation), callBudgetKey.Float64(started.Budget.Seconds()))
	if started.Depth > 0 {
		attrs = append(attrs, callDepthKey.Int(started.Depth))
	}
	c.span.SetAttributes(attrs...)
}

func endCall(c *call, r *dispatch.Report) {
	results := 0
	for i := range r.Outcomes {
		o := &r.Outcomes[i]
		results += o.Results
		if o.State == dispatch.StateLate {
			c.span.AddEvent(lateEvent, c.at(o.Elapsed), trace.WithAttributes(identity(shown(o.Member))...))
		}
	}
	c.span.SetAttributes(callReasonKey.String(r.Reason.String()), callMembersKey.Int(len(r.Outcomes)), callResultsKey.Int(results))
	if err := r.Err(); err != nil {
		c.span.SetAttributes(semconv.ErrorTypeKey.String(typeOf(err)))
		c.span.SetStatus(codes.Error, cut(fmt.Sprint(err)))
	}
	c.span.End(c.at(r.Elapsed))
}

// shown returns a member with the name that spans have for it.
func shown(m dispatch.Member) dispatch.Member {
	m.Name = unlessAutomatic(m.Name)
	return m
}

// startMember starts the span of a member, or of a replica, at a time since the
// beginning of the call.
func (o *observer) startMember(ctx context.Context, c *call, m dispatch.Member, elapsed time.Duration) (context.Context, trace.Span) {
	return o.tracer.Start(ctx, c.topic.processSpan, kindConsumer, c.at(elapsed), c.identify(m))
}

// identify returns the attributes with which the span of a member starts. Inlined, it would enlarge the frame
// of startMember: the SDK needs much of a small stack.
//
//go:noinline
func (c *call) identify(m dispatch.Member) trace.SpanStartEventOption {
	attrs := make([]attribute.KeyValue, 0, 16)
	attrs = append(attrs, c.topic.process...)
	attrs = append(attrs, semconv.MessagingMessageConversationID(c.conversation))
	attrs = appendIdentity(attrs, shown(m))
	return trace.WithAttributes(attrs...)
}

func endMember(span trace.Span, o *dispatch.Outcome, at trace.SpanEventOption) {
	describeEnd(span, o, at)
	span.End(at)
}

// describeEnd sets the attributes and the status of a member that has ended. It is not inlined, as identify.
//
//go:noinline
func describeEnd(span trace.Span, o *dispatch.Outcome, at trace.SpanEventOption) {
	attrs := make([]attribute.KeyValue, 0, 8)
	if o.Member.Group != "" {
		attrs = appendIdentity(attrs, shown(o.Member)) // only now it is known which replica answered
		if o.Tried > 0 {
			attrs = append(attrs, memberTriedKey.Int(o.Tried))
		}
	}
	attrs = append(attrs, memberStateKey.String(o.State.String()), memberStartedKey.Bool(o.Started), memberResultsKey.Int(o.Results))
	kind := errorType(o)
	if kind != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(kind))
	}
	span.SetAttributes(attrs...)
	if kind != "" {
		span.SetStatus(codes.Error, cut(fmt.Sprint(o.Err)))
		recordPanic(span, o.Err, at)
	}
}

// mostText bounds the text of an error, in bytes: the error of a call may name many members.
const mostText = 1024

func cut(text string) string {
	if len(text) <= mostText {
		return valid(text)
	}
	const mark = "…"
	n := mostText - len(mark)
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return valid(text[:n]) + mark
}

// recordPanic adds the event of an exception if the error is a panic. Other errors
// are the status, and have no stack.
func recordPanic(span trace.Span, err error, at trace.SpanEventOption) {
	panicked := panicIn(err)
	if panicked == nil {
		return
	}
	span.AddEvent(semconv.ExceptionEventName, at, trace.WithAttributes(
		semconv.ExceptionType(fmt.Sprintf("%T", panicked.Value)),
		semconv.ExceptionMessage(cut(fmt.Sprint(panicked.Value))),
		semconv.ExceptionStacktrace(string(panicked.Stack))))
}

// panicIn returns the panic that an error wraps, or nil. A method of the error may panic itself.
func panicIn(err error) (panicked *dispatch.PanicError) {
	defer func() { _ = recover() }()
	errors.As(err, &panicked)
	return panicked
}
