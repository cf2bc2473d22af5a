package oteldispatch_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/seed-bb4b4d74/dispatch/oteldispatch"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traced is a context with a trace, and with baggage.
func traced(t *testing.T) context.Context {
	t.Helper()
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled,
	}))
	customer, err := baggage.NewMember("customer", "7731")
	if err != nil {
		t.Fatal(err)
	}
	carried, err := baggage.New(customer)
	if err != nil {
		t.Fatal(err)
	}
	return baggage.ContextWithBaggage(ctx, carried)
}

const parent = "00-01000000000000000000000000000000-0200000000000000-01"

func TestATraceGoesOnElsewhereAndBaggageStays(t *testing.T) {
	inject, extract := oteldispatch.TraceContext()
	sent := make(map[string]string)
	inject(traced(t), func(key, value string) { sent[key] = value })
	if diff := cmp.Diff(map[string]string{"traceparent": parent}, sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}

	sent["baggage"] = "admin=true" // as another program may send it
	ctx := extract(t.Context(), func(key string) string { return sent[key] })
	got := trace.SpanContextFromContext(ctx)
	if got.TraceID() != (trace.TraceID{1}) || got.SpanID() != (trace.SpanID{2}) || !got.IsSampled() || !got.IsRemote() {
		t.Errorf("the trace is %v, want that of the sender, from elsewhere", got)
	}
	if n := baggage.FromContext(ctx).Len(); n != 0 {
		t.Errorf("%d members of baggage were believed, want none", n)
	}
}

func TestBaggageGoesAlongIfAskedTo(t *testing.T) {
	inject, extract := oteldispatch.TraceContext(propagation.TraceContext{}, propagation.Baggage{})
	sent := make(map[string]string)
	inject(traced(t), func(key, value string) { sent[key] = value })
	if diff := cmp.Diff(map[string]string{"traceparent": parent, "baggage": "customer=7731"}, sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	ctx := extract(t.Context(), func(key string) string { return sent[key] })
	if got := baggage.FromContext(ctx).Member("customer").Value(); got != "7731" {
		t.Errorf("the customer is %q, want 7731", got)
	}
}

func TestWithoutATraceNothingIsSentAndNothingFound(t *testing.T) {
	inject, extract := oteldispatch.TraceContext()
	inject(t.Context(), func(key, value string) { t.Errorf("%s is set to %q", key, value) })
	for _, got := range []string{"", "rubbish"} {
		ctx := extract(t.Context(), func(string) string { return got })
		if s := trace.SpanContextFromContext(ctx); s.IsValid() {
			t.Errorf("of %q there comes the trace %v", got, s)
		}
	}
}
