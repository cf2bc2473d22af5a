package oteldispatch_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/oteldispatch"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// counted returns the measurements of a metric that are not 0, as "state name value", and how
// many there are in all.
func (l *lab) counted(name string) (lines []string, all int) {
	l.t.Helper()
	var data metricdata.ResourceMetrics
	if err := l.reader.Collect(l.t.Context(), &data); err != nil {
		l.t.Fatal(err)
	}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
				all++
				if p.Value != 0 {
					link, _ := p.Attributes.Value("dispatch.link.name")
					state, _ := p.Attributes.Value("dispatch.link.state")
					node, _ := p.Attributes.Value("dispatch.node.state")
					lines = append(lines, fmt.Sprint(link.AsString(), " ", state.AsString(), node.AsString(), " ", p.Value))
				}
			}
		}
	}
	slices.Sort(lines)
	return lines, all
}

// Links are measured by name and state, those of one name together, and a state that nothing is
// in any more goes back to 0.
func TestLinks(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		state := "present"
		links := []dispatch.LinkSnapshot{
			{Name: "nats:a", State: "connected", InFlight: 1, Stray: 2, Dropped: 3},
			{Name: "nats:a", State: "reconnecting", InFlight: 10, Stray: 20, Dropped: 30},
			{Name: "nats:b", State: "connected", Serves: "cell-7"},
		}
		for i := range links {
			if _, err := l.Bus().AddLink(func() dispatch.LinkSnapshot {
				s := links[i]
				if s.Serves == "" {
					s.Nodes = []dispatch.NodeSnapshot{{Name: fmt.Sprint(i), State: state}, {Name: "odd", State: "of tomorrow"}}
				}
				return s
			}); err != nil {
				t.Fatal(err)
			}
		}
		registration, err := oteldispatch.ObserveLinks(l.Bus(), oteldispatch.WithMeterProvider(l.meters))
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string][]string{
			"dispatch.link.count":     {"nats:a connected 1", "nats:a reconnecting 1", "nats:b connected 1"},
			"dispatch.link.nodes":     {"nats:a of tomorrow 2", "nats:a present 2"},
			"dispatch.link.in_flight": {"nats:a  11"},
			"dispatch.link.stray":     {"nats:a  22"},
			"dispatch.link.dropped":   {"nats:a  33"},
		} {
			if got, _ := l.counted(name); !cmp.Equal(got, want) {
				t.Errorf("%s is\n%q, want\n%q", name, got, want)
			}
		}
		_, before := l.counted("dispatch.link.nodes")
		state = "silent"
		got, all := l.counted("dispatch.link.nodes")
		if want := []string{"nats:a of tomorrow 2", "nats:a silent 2"}; !cmp.Equal(got, want) || all != before {
			t.Errorf("there are %d measurements, %q, want %d, %q", all, got, before, want)
		}
		if err := registration.Unregister(); err != nil {
			t.Fatal(err)
		}
		if _, all := l.counted("dispatch.link.nodes"); all != 0 {
			t.Errorf("there are %d measurements after the end", all)
		}
	})
	if _, err := oteldispatch.ObserveLinks(nil); !errors.Is(err, dispatch.ErrInvalidArgument) {
		t.Errorf("for a nil bus the error is %v", err)
	}
}
