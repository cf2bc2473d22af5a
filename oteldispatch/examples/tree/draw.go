package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// width is the width of the bars, in characters.
const width = 40

// drawing is a trace as text.
type drawing struct {
	out      io.Writer
	children map[trace.SpanID][]tracetest.SpanStub
	begin    time.Time
	scale    float64 // characters for each nanosecond
}

// draw writes the spans of a trace, each below its parent.
func draw(out io.Writer, spans tracetest.SpanStubs) {
	d := drawing{out: out, children: make(map[trace.SpanID][]tracetest.SpanStub)}
	slices.SortFunc(spans, func(a, b tracetest.SpanStub) int {
		return cmp.Or(a.StartTime.Compare(b.StartTime), cmp.Compare(about(a), about(b)))
	})
	var end time.Time
	for i, s := range spans {
		if i == 0 {
			d.begin = s.StartTime
		}
		if s.EndTime.After(end) {
			end = s.EndTime
		}
		d.children[s.Parent.SpanID()] = append(d.children[s.Parent.SpanID()], s)
	}
	d.scale = width / math.Max(1, float64(end.Sub(d.begin)))
	d.below(trace.SpanID{}, "")
}

// below writes the spans below a span.
func (d *drawing) below(parent trace.SpanID, indent string) {
	for _, s := range d.children[parent] {
		from, to := s.StartTime.Sub(d.begin), s.EndTime.Sub(d.begin)
		left, right := d.column(from), d.column(to)
		bar := strings.Repeat(" ", left) + strings.Repeat("=", max(1, right-left))
		line := fmt.Sprintf("%3d–%3d ms  %-*s  %s%s", from.Milliseconds(), to.Milliseconds(), width, bar, indent, about(s))
		for _, e := range s.Events {
			line += fmt.Sprintf("  (%d ms: %s)", e.Time.Sub(d.begin).Milliseconds(), e.Name)
		}
		fmt.Fprintln(d.out, line)
		d.below(s.SpanContext.SpanID(), indent+"  ")
	}
}

func (d *drawing) column(t time.Duration) int { return int(math.Round(float64(t) * d.scale)) }

// about returns the name of a span, its member and its outcome.
func about(s tracetest.SpanStub) string {
	var who, how string
	for _, a := range s.Attributes {
		switch a.Key {
		case "dispatch.member.name":
			who = " " + a.Value.AsString()
		case "dispatch.member.state", "dispatch.call.reason":
			how = ": " + a.Value.AsString()
		}
	}
	if s.Status.Code == codes.Error {
		how += " !"
	}
	return s.Name + who + how
}
