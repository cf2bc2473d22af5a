package oteldispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

func (o *observer) startCall(ctx context.Context, c *call, started dispatch.CallStarted) (context.Context, trace.Span) {
	attrs := slices.Concat(sendAttrs, c.common, []attribute.KeyValue{callBudgetKey.Float64(started.Budget.Seconds())})
	if started.Depth > 0 {
		attrs = append(attrs, callDepthKey.Int(started.Depth))
	}
	return o.tracer.Start(ctx, operationSend+" "+c.topic,
		trace.WithSpanKind(trace.SpanKindProducer), c.at(0), trace.WithAttributes(attrs...))
}

func endCall(c *call, r dispatch.Report, err error) {
	defer c.span.End(c.at(r.Elapsed))
	if !c.span.IsRecording() {
		return
	}
	results := 0
	for _, o := range r.Outcomes {
		results += o.Results
		if o.State == dispatch.StateLate {
			c.span.AddEvent(lateEvent, c.at(r.Elapsed), trace.WithAttributes(identity(o.Member)...))
		}
	}
	c.span.SetAttributes(callReasonKey.String(r.Reason.String()), callMembersKey.Int(len(r.Outcomes)), callResultsKey.Int(results))
	if err != nil {
		c.span.SetAttributes(semconv.ErrorType(err))
		c.span.SetStatus(codes.Error, cut(err.Error()))
	}
}

// startMember starts the span of a member, or of a replica, at a time since the
// beginning of the call.
func (o *observer) startMember(ctx context.Context, c *call, who dispatch.Member, elapsed time.Duration) (context.Context, trace.Span) {
	return o.tracer.Start(ctx, operationProcess+" "+c.topic,
		trace.WithSpanKind(trace.SpanKindConsumer), c.at(elapsed), trace.WithAttributes(slices.Concat(processAttrs, c.common, identity(who))...))
}

func endMember(span trace.Span, o dispatch.Outcome, at trace.SpanEventOption) {
	defer span.End(at)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(identity(o.Member)...) // of a group it is known only now who has answered
	span.SetAttributes(memberStateKey.String(o.State.String()), memberStartedKey.Bool(o.Started), memberResultsKey.Int(o.Results))
	if o.Member.Group != "" && o.Tried > 0 {
		span.SetAttributes(memberTriedKey.Int(o.Tried))
	}
	if kind := errorType(o); kind != "" {
		span.SetAttributes(semconv.ErrorTypeKey.String(kind))
		span.SetStatus(codes.Error, cut(o.Err.Error()))
		recordPanic(span, o.Err, at)
	}
}

// mostText bounds the description of a status in bytes: the error of a call names
// every member that gave no answer, of which there may be thousands.
const mostText = 1024

func cut(text string) string {
	if len(text) <= mostText {
		return text
	}
	const mark = "…"
	return strings.ToValidUTF8(text[:mostText-len(mark)], "") + mark
}

// recordPanic adds the event of an exception if the error is a panic. Other errors
// are the status, and have no stack.
func recordPanic(span trace.Span, err error, at trace.SpanEventOption) {
	var panicked *dispatch.PanicError
	if !errors.As(err, &panicked) {
		return
	}
	span.AddEvent(semconv.ExceptionEventName, at, trace.WithAttributes(
		semconv.ExceptionType(fmt.Sprintf("%T", panicked.Value)),
		semconv.ExceptionMessage(fmt.Sprint(panicked.Value)),
		semconv.ExceptionStacktrace(string(panicked.Stack))))
}
