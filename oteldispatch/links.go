package oteldispatch

import (
	"context"
	"errors"

	"github.com/seed-bb4b4d74/dispatch"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// ObserveLinks measures the links of a bus whenever metrics are collected, with a Snapshot:
// the number of connections and nodes by their states, open requests, and messages that are
// stray or dropped. Nodes are only counted and have no time series of their own.
// [WithMeterProvider] is the only option that has an effect. To stop, unregister the
// registration. The error is that of the meter, or [dispatch.ErrInvalidArgument] for a nil
// bus.
func ObserveLinks(bus *dispatch.Bus, opts ...Option) (metric.Registration, error) {
	if bus == nil {
		return nil, dispatch.ErrInvalidArgument
	}
	m := newConfig(opts).meters.Meter(scopeName, metric.WithInstrumentationVersion(version()), metric.WithSchemaURL(schemaURL))
	l := &links{bus: bus}
	var errs [5]error
	l.count, errs[0] = m.Int64ObservableUpDownCounter(linksMetric, metric.WithUnit("{connection}"),
		metric.WithDescription("Connections with processes elsewhere, by their state."))
	l.nodes, errs[1] = m.Int64ObservableUpDownCounter(linkNodesMetric, metric.WithUnit("{node}"),
		metric.WithDescription("Nodes that are asked, by their state."))
	l.inFlight, errs[2] = m.Int64ObservableUpDownCounter(linkInFlightMetric, metric.WithUnit("{request}"),
		metric.WithDescription("Requests over a connection that are open."))
	l.stray, errs[3] = m.Int64ObservableCounter(linkStrayMetric, metric.WithUnit("{message}"),
		metric.WithDescription("Messages that belong to no open request."))
	l.dropped, errs[4] = m.Int64ObservableCounter(linkDroppedMetric, metric.WithUnit("{message}"),
		metric.WithDescription("Messages that came faster than they were dealt with."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return m.RegisterCallback(l.observe, l.count, l.nodes, l.inFlight, l.stray, l.dropped)
}

// links are the instruments for the links of a bus.
type links struct {
	bus                    *dispatch.Bus
	count, nodes, inFlight metric.Int64ObservableUpDownCounter
	stray, dropped         metric.Int64ObservableCounter
}

// The states that are always measured, also when they are 0, so that none keeps its last value.
var (
	linkStates = []string{"connected", "reconnecting", "closed"}
	nodeStates = []string{"present", "draining", "silent", "unreachable", "missing", "incompatible", "twin"}
)

// series is one time series. The figures of links with the same name are added up.
type series struct {
	of    metric.Int64Observable
	name  string
	key   attribute.Key // of the state, if there is one series for each state
	state string
}

func (l *links) observe(_ context.Context, o metric.Observer) error {
	sums := make(map[series]int64)
	for _, link := range l.bus.Snapshot().Links {
		name := link.Name
		for _, state := range linkStates {
			sums[series{l.count, name, linkStateKey, state}] += 0
		}
		sums[series{l.count, name, linkStateKey, link.State}]++
		sums[series{of: l.inFlight, name: name}] += int64(link.InFlight)
		sums[series{of: l.stray, name: name}] += int64(link.Stray)
		sums[series{of: l.dropped, name: name}] += int64(link.Dropped)
		if link.Serves != "" {
			continue // it asks no nodes
		}
		for _, state := range nodeStates {
			sums[series{l.nodes, name, nodeStateKey, state}] += 0
		}
		for _, n := range link.Nodes {
			sums[series{l.nodes, name, nodeStateKey, n.State}]++
		}
	}
	for s, sum := range sums {
		attrs := []attribute.KeyValue{systemAttr, linkNameKey.String(valid(s.name))}
		if s.state != "" {
			attrs = append(attrs, s.key.String(s.state))
		}
		o.ObserveInt64(s.of, sum, metric.WithAttributes(attrs...))
	}
	return nil
}
