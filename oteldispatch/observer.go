package oteldispatch

import (
	"context"
	"runtime/debug"
	"sync/atomic"
	"time"
	"weak"

	"github.com/seed-bb4b4d74/dispatch"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Observe adds an observer that makes spans and measurements to a bus. It measures what an
// observer of [New] does, and the number of calls in flight on the bus. The error is that of
// [dispatch.Bus.Observe].
func Observe(bus *dispatch.Bus, opts ...Option) (*dispatch.Registration, error) {
	of := &observed{bus: weak.Make(bus)}
	r, err := bus.Observe(New(append(opts[:len(opts):len(opts)], withBus(of))...))
	if err == nil {
		of.by.Store(new(weak.Make(r)))
	}
	return r, err
}

// observed is a bus, and the registration of its observer. It keeps neither in memory.
type observed struct {
	bus weak.Pointer[dispatch.Bus]
	by  atomic.Pointer[weak.Pointer[dispatch.Registration]]
}

// calls returns the calls in flight, and false if the bus is not observed any more.
func (o *observed) calls() ([]dispatch.CallSnapshot, bool) {
	bus, by := o.bus.Value(), o.by.Load()
	if bus == nil || by == nil {
		return nil, false
	}
	if r := by.Value(); r == nil || r.Removed() {
		return nil, false
	}
	return bus.Snapshot().Calls, true
}

// New returns an observer that makes spans and measurements, for [dispatch.WithObserver]. It
// may be used for several buses. If the meter provider refuses an instrument, OpenTelemetry's
// error handler gets the error, and the instrument measures nothing. New ignores a nil Option.
func New(opts ...Option) dispatch.Observer {
	c := newConfig(opts)
	// The hooks pass pointers on: each copy of a value would enlarge the small stacks that they run on.
	o := &observer{names: &names{topics: c.topics, members: c.members, listened: c.listened}}
	hooks := dispatch.Observer{
		CallEnd:      func(ctx context.Context, r dispatch.Report) { o.callEnd(ctx, &r) },
		ReuseReports: true,
		Late: func(ctx context.Context, m dispatch.MemberInfo, by time.Duration, err error) {
			o.late(ctx, &m, by, err)
		},
		Abandoned: func(ctx context.Context, m dispatch.MemberInfo, _ time.Duration) { o.abandoned(ctx, &m) },
	}
	if c.traces() {
		o.tracer = c.tracers.Tracer(scopeName, trace.WithInstrumentationVersion(version()), trace.WithSchemaURL(schemaURL))
		hooks.CallStart = func(ctx context.Context, c dispatch.CallStarted) context.Context { return o.callStart(ctx, &c) }
		hooks.MemberStart = func(ctx context.Context, m dispatch.MemberInfo) context.Context {
			growStack()
			return o.memberStart(ctx, &m)
		}
		hooks.MemberEnd = func(ctx context.Context, m dispatch.MemberInfo, out dispatch.Outcome) {
			growStack()
			o.memberEnd(ctx, &m, &out)
		}
		if !c.measures() || !c.listenerTimes { // Sample also decides about ListenerEnd
			hooks.Sample, hooks.SampleEnds = o.sample, !c.measures()
		}
	}
	if c.measures() {
		meter := c.meters.Meter(scopeName, metric.WithInstrumentationVersion(version()), metric.WithSchemaURL(schemaURL))
		o.metrics = newMetrics(meter, o.names, c)
		hooks.Dropped, hooks.SlowListener = o.dropped, o.slowListener
		if c.listenerTimes {
			hooks.ListenerEnd = o.listenerEnd
		}
	}
	return hooks
}

// version is that of this module in the program, if it is known.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Path == scopeName {
			return info.Main.Version
		}
		for _, m := range info.Deps {
			if m.Path == scopeName {
				return m.Version
			}
		}
	}
	return "(devel)"
}

type observer struct {
	names   *names
	tracer  trace.Tracer // nil if there are no spans
	metrics *metrics     // nil if there are no measurements
}

// scope is the call and the member to which a context belongs. Its key contains the observer,
// because a bus may have several. The scope of a call without spans is empty.
type scope struct {
	call   *call
	member *member // nil in the context of a call
}

type scopeKey struct{ *observer }

func (o *observer) in(ctx context.Context) (s scope, ok bool) {
	s, _ = ctx.Value(scopeKey{o}).(scope)
	return s, s.call != nil
}

// call is a call with a span that is recorded. It does not change.
type call struct {
	span         trace.Span
	started      time.Time
	topic        *topicAttrs
	conversation string
}

// at is a moment of the call.
func (c *call) at(elapsed time.Duration) trace.SpanEventOption {
	return trace.WithTimestamp(c.started.Add(elapsed))
}

// callStart starts the span of a call. If it is not recorded, there are no spans below it.
func (o *observer) callStart(ctx context.Context, started *dispatch.CallStarted) context.Context {
	topic := o.names.topic(started.Topic)
	ctx, span := o.startCall(ctx, topic, started.Started)
	if !span.IsRecording() {
		if _, inside := o.in(ctx); inside {
			ctx = context.WithValue(ctx, scopeKey{o}, scope{}) // the spans of the call around it are not its own
		}
		return ctx
	}
	c := &call{span, started.Started, topic, started.ID.String()}
	describeCall(c, started)
	return context.WithValue(ctx, scopeKey{o}, scope{call: c})
}

func (o *observer) sample(ctx context.Context) bool {
	_, ok := o.in(ctx)
	return ok
}

func (o *observer) callEnd(ctx context.Context, r *dispatch.Report) {
	if o.metrics != nil {
		o.metrics.ended(ctx, r)
	}
	if o.tracer == nil {
		return
	}
	if s, ok := o.in(ctx); ok {
		endCall(s.call, r)
	}
}

func (o *observer) listenerEnd(ctx context.Context, l dispatch.ListenerInfo, took time.Duration, panicked bool) {
	o.metrics.listened(ctx, &l, took, panicked)
}

func (o *observer) dropped(ctx context.Context, l dispatch.ListenerInfo) {
	o.metrics.dropped.Add(ctx, 1, o.metrics.ofListener(l.Topic, l.Listener, ""))
}

// slowListener counts a slow listener. Its topic is that of its registration, which may be a pattern.
func (o *observer) slowListener(l dispatch.ListenerSnapshot) {
	o.metrics.slow.Add(context.Background(), 1, o.metrics.ofListener(l.On, l.Name, ""))
}
