package oteldispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"
)

// metrics are the instruments of an observer. Counts of calls and members are observed when
// metrics are collected; other measurements are recorded when they happen.
type metrics struct {
	names    *names
	tallies  tallies
	produced bool // a Producer has the durations

	calls     metric.Float64Histogram
	processes metric.Float64Histogram

	late      metric.Float64Histogram
	abandoned metric.Int64Counter
	listeners metric.Float64Histogram
	dropped   metric.Int64Counter
	slow      metric.Int64Counter
}

// measured is a duration to record.
type measured struct {
	took time.Duration
	with metric.MeasurementOption
}

func newMetrics(m metric.Meter, n *names, c config) *metrics {
	inBuckets := metric.WithExplicitBucketBoundaries(buckets...)
	s := &metrics{
		names: n, tallies: tallies{names: n, mostEver: mostSeries}, produced: c.producer != nil,

		late: made(m.Float64Histogram(lateMetric, metric.WithUnit("s"), inBuckets,
			metric.WithDescription("How long after the end of their calls producers returned."))),
		abandoned: made(m.Int64Counter(abandonedMetric, metric.WithUnit("{run}"),
			metric.WithDescription("Runs of producers that have outlived their calls for too long."))),

		listeners: made(m.Float64Histogram(listenerDurationMetric, metric.WithUnit("s"), inBuckets,
			metric.WithDescription("Duration of the callbacks of listeners."))),
		dropped: made(m.Int64Counter(droppedMetric, metric.WithUnit("{result}"),
			metric.WithDescription("Results that the full mailbox of a listener has dropped."))),
		slow: made(m.Int64Counter(slowMetric, metric.WithUnit("{occurrence}"),
			metric.WithDescription("Listeners that have fallen behind, each once."))),
	}
	if s.produced {
		c.producer.mu.Lock()
		c.producer.from = append(c.producer.from, &s.tallies)
		c.producer.mu.Unlock()
	} else {
		s.calls = made(messagingconv.NewClientOperationDuration(m, inBuckets)).Inst()
		s.processes = made(messagingconv.NewProcessDuration(m, inBuckets)).Inst()
	}
	s.observe(m)
	if c.bus != nil {
		s.observeInFlight(m, c.bus)
	}
	return s
}

// observe registers the callback that reads the tallies when metrics are collected.
func (m *metrics) observe(meter metric.Meter) {
	sent, consumed := messagingconv.ClientSentMessages{}, messagingconv.ClientConsumedMessages{}
	sentCount := made(meter.Int64ObservableCounter(sent.Name(), metric.WithUnit(sent.Unit()), metric.WithDescription(sent.Description())))
	consumedCount := made(meter.Int64ObservableCounter(consumed.Name(), metric.WithUnit(consumed.Unit()), metric.WithDescription(consumed.Description())))
	outcomes := made(meter.Int64ObservableCounter(outcomesMetric, metric.WithUnit("{member}"),
		metric.WithDescription("Members of calls, by how they ended.")))
	s := &m.tallies
	made(meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, t := range s.topics {
			for i := range t.sent {
				to.ObserveInt64(sentCount, int64(t.sent[i].count), t.sent[i].option)
			}
			for _, f := range t.members {
				if f.consumed > 0 {
					to.ObserveInt64(consumedCount, int64(f.consumed), f.process)
				}
				for state, n := range f.outcomes {
					if n > 0 {
						to.ObserveInt64(outcomes, int64(n), f.inState(t, state))
					}
				}
			}
		}
		return nil
	}, sentCount, consumedCount, outcomes))
}

// observeInFlight registers the callback that counts the calls in flight when metrics are
// collected. Topics without calls have 0.
func (m *metrics) observeInFlight(meter metric.Meter, bus *observed) {
	gauge := made(meter.Int64ObservableUpDownCounter(inFlightMetric, metric.WithUnit("{call}"), metric.WithDescription("Calls that have not ended.")))
	count := func(_ context.Context, to metric.Observer) (err error) {
		inFlight, ok := bus.calls()
		if !ok {
			return nil
		}
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("oteldispatch: WithDestinationTemplate: panic: %v", p)
			}
		}()
		calls := make(map[string]int64)
		m.tallies.mu.Lock()
		for topic := range m.tallies.topics {
			calls[topic] = 0
		}
		m.tallies.mu.Unlock()
		for i := range inFlight {
			calls[m.names.topic(inFlight[i].Topic).label]++
		}
		for topic, n := range calls {
			to.ObserveInt64(gauge, n, metric.WithAttributes(m.names.destination(topic)...))
		}
		return nil
	}
	made(meter.RegisterCallback(count, gauge))
}

// made returns an instrument. If it could not be made, it measures nothing.
func made[I any](instrument I, err error) I {
	if err != nil {
		otel.Handle(err)
	}
	if any(instrument) != nil {
		return instrument
	}
	for _, none := range []any{
		noop.Float64Histogram{}, noop.Int64Counter{}, noop.Int64ObservableCounter{}, noop.Int64ObservableUpDownCounter{}, noop.Registration{},
	} {
		if i, ok := none.(I); ok {
			return i
		}
	}
	return instrument
}

// withError adds the type of an error to attributes, if there is one.
func withError(attrs []attribute.KeyValue, errorType string) []attribute.KeyValue {
	if errorType == "" {
		return attrs
	}
	return append(attrs, semconv.ErrorTypeKey.String(errorType))
}

// ended counts a call that has ended, with its members. If there is a producer, it collects what is counted.
// Otherwise instruments get the durations. No lock is held while functions of the user run: they give names and
// types of errors.
func (m *metrics) ended(ctx context.Context, r *dispatch.Report) {
	call, runs, rest := m.count(r, callErrorType(r))
	if len(rest) > 0 || len(r.Replicas) > 0 {
		runs = m.countRest(r, rest, runs)
	}
	if !m.produced {
		m.record(ctx, r, call, runs)
	}
}

// record passes a call and the runs of its members to instruments.
func (m *metrics) record(ctx context.Context, r *dispatch.Report, call metric.MeasurementOption, runs []measured) {
	m.calls.Record(ctx, r.Elapsed.Seconds(), call)
	for _, one := range runs {
		m.processes.Record(ctx, one.took.Seconds(), one.with)
	}
	m.tallies.mu.Lock()
	m.tallies.runs = runs[:0]
	m.tallies.mu.Unlock()
}

// count counts a call, and its members as far as their series and the types of their errors are known. It returns the
// attributes of the call, the runs to be recorded, and the members that were not counted.
func (m *metrics) count(r *dispatch.Report, kind string) (call metric.MeasurementOption, runs []measured, rest []int) {
	s := &m.tallies
	t := s.lock(r.Topic)
	defer s.mu.Unlock()
	s.used++
	t.used = s.used
	runs, s.runs = s.runs, nil
	for i := range r.Outcomes {
		o := &r.Outcomes[i]
		if f := t.seated(i, &o.Member); f == nil || hasOwnType(o) {
			rest = append(rest, i)
		} else {
			runs = m.countMemberLocked(t, f, o, typeOfState(o.State), runs)
		}
	}
	c := t.call(kind)
	c.count++
	if m.produced {
		c.took.add(r.Elapsed)
	}
	return c.option, runs, rest
}

// counting is a member or a replica that is being counted.
type counting struct {
	member    dispatch.Member // by its name in attributes
	errorType string
}

// countRest counts some members of a call, and its replicas, and returns the runs with theirs.
//
//go:noinline
func (m *metrics) countRest(r *dispatch.Report, members []int, runs []measured) []measured {
	list := make([]counting, 0, len(members)+len(r.Replicas))
	for _, i := range members {
		o := &r.Outcomes[i]
		list = append(list, counting{m.names.member(o.Member), errorType(o)})
	}
	for i := range r.Replicas {
		o := &r.Replicas[i]
		list = append(list, counting{m.names.member(o.Member), errorType(o)})
	}
	s := &m.tallies
	t := s.lock(r.Topic) // it may have been forgotten meanwhile
	defer s.mu.Unlock()
	for k, i := range members {
		o := &r.Outcomes[i]
		f := t.seated(i, &o.Member)
		if f == nil {
			f = s.newSeatLocked(t, i, &o.Member, list[k].member)
		}
		runs = m.countMemberLocked(t, f, o, list[k].errorType, runs)
	}
	list = list[len(members):]
	for i := range r.Replicas {
		if o := &r.Replicas[i]; o.Started {
			runs = m.countRunLocked(t, s.lookUpLocked(t, list[i].member), o, list[i].errorType, runs)
		}
	}
	return runs
}

// countMemberLocked counts how a member has ended, and its run if it has one here.
func (m *metrics) countMemberLocked(t *topicSeries, f *memberSeries, o *dispatch.Outcome, errorType string, runs []measured) []measured {
	f.outcomes[o.State]++
	if o.Started && o.Member.Node == "" && o.Member.Group == "" {
		runs = m.countRunLocked(t, f, o, errorType, runs)
	}
	return runs
}

// countRunLocked counts a closure that was called, and appends its duration to runs if there is no producer. If the
// closure had not returned by the end of its member, its duration ends there; when it returns, its delay is recorded.
func (m *metrics) countRunLocked(t *topicSeries, f *memberSeries, o *dispatch.Outcome, errorType string, runs []measured) []measured {
	one := f.run(t, errorType)
	if f.consumed++; f.process == nil {
		f.process = f.runs[0].option
	}
	took := max(o.Elapsed-o.Began, 0)
	if m.produced {
		one.took.add(took)
		return runs
	}
	return append(runs, measured{took, one.option})
}

// ofMember returns the attributes of a single event of a member.
func (m *metrics) ofMember(info *dispatch.MemberInfo) metric.MeasurementOption {
	return metric.WithAttributes(append(m.names.topic(info.Topic).destination, identity(m.names.member(info.Member))...)...)
}

// ofListener returns the attributes of a listener, with the type of its error if it has one.
func (m *metrics) ofListener(topic, listener, errorType string) metric.MeasurementOption {
	attrs := m.names.topic(topic).destination
	if name := m.names.listener(listener); name != "" {
		attrs = append(attrs, listenerNameKey.String(name))
	}
	return metric.WithAttributes(withError(attrs, errorType)...)
}

func (m *metrics) listened(ctx context.Context, l *dispatch.ListenerInfo, took time.Duration, panicked bool) {
	kind := ""
	if panicked {
		kind = errorPanic
	}
	m.listeners.Record(ctx, took.Seconds(), m.ofListener(l.Topic, l.Listener, kind))
}
