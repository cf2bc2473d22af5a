package registry_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/seed-bb4b4d74/dispatch/internal/registry"
	"github.com/seed-bb4b4d74/dispatch/internal/subject"
)

// A model is a registry that looks at everything each time.
type model struct {
	producers []*producer
	listeners []*listener
}

func (m *model) entries() (all []*registry.Entry) {
	for _, p := range m.producers {
		all = append(all, &p.Entry)
	}
	for _, l := range m.listeners {
		all = append(all, &l.Entry)
	}
	return all
}

// bound returns the types of the registrations on the name.
func (m *model) bound(name string) *registry.Types {
	for _, e := range m.entries() {
		for _, t := range e.Selection.Topics {
			if t.Name == name {
				return e.Selection.Types
			}
		}
	}
	return nil
}

// refused returns why the entry cannot be added, or nil.
func (m *model) refused(e *registry.Entry, isProducer bool) error {
	for _, t := range e.Selection.Topics {
		if have := m.bound(t.Name); have != nil && *have != t.Types {
			return &registry.TypeError{Topic: t.Name, Have: *have, Want: t.Types}
		}
	}
	if !isProducer || e.Name == "" {
		return nil
	}
	for _, p := range m.producers {
		if p.Name == e.Name && overlap(p.Selection, e.Selection) {
			return &registry.DuplicateError{Name: e.Name, Where: p.Selection.String()}
		}
	}
	return nil
}

func overlap(a, b *registry.Selection) bool {
	return *a.Types == *b.Types && slices.ContainsFunc(subjects(a), func(s string) bool {
		return slices.ContainsFunc(subjects(b), func(o string) bool { return subject.Overlap(s, o) })
	})
}

func subjects(s *registry.Selection) (all []string) {
	if s.Pattern != "" {
		return []string{s.Pattern}
	}
	for _, t := range s.Topics {
		all = append(all, t.Name)
	}
	return all
}

// route returns the route of the topic.
func (m *model) route(t *registry.Topic, byName bool) (rt route) {
	rt.Types = t.Types
	if have := m.bound(t.Name); have != nil && byName {
		rt.Types = *have
	}
	selected := func(e *registry.Entry) bool {
		s := e.Selection
		if s.Pattern == "" && !byName || *s.Types != rt.Types {
			return false
		}
		return slices.ContainsFunc(subjects(s), func(s string) bool { return subject.Overlap(s, t.Name) })
	}
	grouped := false
	for _, p := range m.producers {
		if !selected(&p.Entry) {
			continue
		}
		rt.Producers = append(rt.Producers, p)
		at := slices.IndexFunc(rt.Seats, func(s registry.Seat[*producer]) bool { return s.Group != "" && s.Group == p.Group })
		switch {
		case p.Kind == registry.KindRelay:
			rt.Relays = append(rt.Relays, p)
		case at >= 0:
			rt.Seats[at].Candidates = append(rt.Seats[at].Candidates, p)
		default:
			rt.Seats = append(rt.Seats, registry.Seat[*producer]{Group: p.Group, Candidates: []*producer{p}})
			grouped = grouped || p.Group != ""
		}
	}
	switch {
	case !grouped && rt.Relays == nil:
		rt.Seats = nil
	case rt.Seats == nil:
		rt.Seats = []registry.Seat[*producer]{}
	}
	for _, l := range m.listeners {
		if selected(&l.Entry) {
			rt.Listeners = append(rt.Listeners, l)
		}
	}
	return rt
}

func sameRoute(a, b *route) bool {
	return a.Types == b.Types && slices.Equal(a.Producers, b.Producers) && slices.Equal(a.Listeners, b.Listeners) &&
		slices.Equal(a.Relays, b.Relays) && (a.Seats == nil) == (b.Seats == nil) &&
		slices.EqualFunc(a.Seats, b.Seats, func(a, b registry.Seat[*producer]) bool {
			return a.Group == b.Group && slices.Equal(a.Candidates, b.Candidates)
		})
}

// script makes random registrations with few names, so that many registrations have equal
// names.
type script struct{ *rand.Rand }

func (s script) types() registry.Types {
	if s.IntN(5) == 0 {
		return texts
	}
	return ints
}

// subject returns a name, or a pattern if there are wildcards.
func (s script) subject(wildcards bool) (text string) {
	for depth := 1 + s.IntN(4); ; depth-- {
		choice := s.IntN(6)
		switch {
		case wildcards && choice == 0 && depth == 1:
			return text + ">"
		case wildcards && choice <= 1:
			text += "*"
		default:
			text += []string{"a", "b", "c"}[s.IntN(3)]
		}
		if depth == 1 {
			return text
		}
		text += "."
	}
}

func (s script) selection() *registry.Selection {
	types := s.types()
	if s.IntN(3) == 0 {
		return registry.SelectPattern(s.subject(true), types)
	}
	var topics []*registry.Topic
	for range 1 + max(0, s.IntN(8)-4) {
		topics = append(topics, topic(s.subject(false), types))
	}
	return registry.Select(topics...)
}

func (s script) producer() *producer {
	p := newProducer([]string{"", "", "p", "q", "producer-9", fmt.Sprint("producer-", s.IntN(300))}[s.IntN(6)], s.selection())
	switch s.IntN(8) {
	case 0:
		p.Kind = registry.KindRelay
	case 1, 2:
		p.Group = []string{"g", "h"}[s.IntN(2)]
	}
	return p
}

func TestRegistryDoesWhatTheModelDoes(t *testing.T) {
	for seed := range uint64(60) {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) {
			play(t, script{rand.New(rand.NewPCG(seed, 0))}, 400)
		}) {
			return
		}
	}
}

func play(t *testing.T, s script, steps int) {
	b, m := newBus(), new(model)
	size := []int{5, 40, 200}[s.IntN(3)]
	for range steps {
		before := b.Generation()
		changed := true
		switch removes := s.IntN(len(m.entries())+size) >= size; {
		case removes && s.IntN(2) == 0 && len(m.producers) > 0:
			i := s.IntN(len(m.producers))
			if !b.RemoveProducer(m.producers[i]) || b.RemoveProducer(m.producers[i]) {
				t.Fatal("RemoveProducer does not remove once")
			}
			m.producers = slices.Delete(m.producers, i, i+1)
		case removes && len(m.listeners) > 0:
			i := s.IntN(len(m.listeners))
			if !b.RemoveListener(m.listeners[i]) || b.RemoveListener(m.listeners[i]) {
				t.Fatal("RemoveListener does not remove once")
			}
			m.listeners = slices.Delete(m.listeners, i, i+1)
		case s.IntN(3) == 0:
			l := newListener(s.selection())
			want := m.refused(&l.Entry, false)
			changed = checkAdded(t, m, &l.Entry, b.AddListener(l), want)
			if changed {
				m.listeners = append(m.listeners, l)
			}
		default:
			p := s.producer()
			want := m.refused(&p.Entry, true)
			changed = checkAdded(t, m, &p.Entry, b.AddProducer(p), want)
			if changed {
				m.producers = append(m.producers, p)
			}
		}
		if (b.Generation() > before) != changed {
			t.Fatalf("the generation was %d and is %d; changed: %v", before, b.Generation(), changed)
		}
		for range s.IntN(6) {
			checkRoute(t, b, m, topic(s.subject(false), s.types()))
		}
	}
	checkOverview(t, b, m)
}

// checkAdded reports whether the entry was added, after checks of the error and
// the name.
func checkAdded(t *testing.T, m *model, e *registry.Entry, got, want error) bool {
	t.Helper()
	switch want := want.(type) {
	case nil:
		if got != nil {
			t.Fatalf("%v was refused: %v", e, got)
		}
		if others := *m; e.Name == "" || len(others.producers) > 0 && e.ID <= others.producers[len(others.producers)-1].ID {
			t.Fatalf("%v has no name or an ID out of order", e)
		}
		if err := m.refused(e, e.Kind != registry.KindListener); err != nil {
			t.Fatalf("%v was added: %v", e, err)
		}
		return true
	case *registry.TypeError:
		if have := (*registry.TypeError)(nil); !errors.As(got, &have) || *have != *want {
			t.Fatalf("%v: got %v, want %v", e, got, want)
		}
	case *registry.DuplicateError:
		var have *registry.DuplicateError
		if !errors.As(got, &have) || have.Name != want.Name || !slices.ContainsFunc(subjects(e.Selection), func(s string) bool { return subject.Overlap(s, have.Where) }) {
			t.Fatalf("%v: got %v, want %v", e, got, want)
		}
	}
	return false
}

func checkRoute(t *testing.T, b *bus, m *model, topic *registry.Topic) {
	t.Helper()
	for range 2 { // the second may be a route that was kept
		if got, want := b.Route(topic), m.route(topic, true); !sameRoute(got, &want) {
			t.Fatalf("Route(%s):\n got %+v\nwant %+v", topic.Name, got, want)
		}
	}
	got, want := b.Matching(topic), m.route(topic, false)
	if !sameRoute(got, &want) {
		t.Fatalf("Matching(%s):\n got %+v\nwant %+v", topic.Name, got, want)
	}
	for i := range got.Listeners {
		if since := got.ListenersSince(got.Listeners[i].ID); !slices.Equal(since, got.Listeners[i+1:]) {
			t.Fatalf("ListenersSince(%d) are %v", got.Listeners[i].ID, since)
		}
	}
}

func checkOverview(t *testing.T, b *bus, m *model) {
	t.Helper()
	var got, want []string
	for topic, rt := range b.Topics() {
		got = append(got, topic.Name)
		if want := m.route(topic, true); !sameRoute(rt, &want) {
			t.Errorf("Topics, %s:\n got %+v\nwant %+v", topic.Name, rt, want)
		}
	}
	for _, e := range m.entries() {
		for _, t := range e.Selection.Topics {
			want = append(want, t.Name)
		}
	}
	slices.Sort(want)
	if want = slices.Compact(want); !slices.Equal(got, want) {
		t.Errorf("Topics:\n got %v\nwant %v", got, want)
	}
	producers, listeners := b.Patterns()
	byName := func(e *registry.Entry) bool { return e.Selection.Pattern == "" }
	wantProducers := slices.DeleteFunc(slices.Clone(m.producers), func(p *producer) bool { return byName(&p.Entry) })
	wantListeners := slices.DeleteFunc(slices.Clone(m.listeners), func(l *listener) bool { return byName(&l.Entry) })
	if !slices.Equal(producers, wantProducers) || !slices.Equal(listeners, wantListeners) {
		t.Errorf("Patterns: got %v and %v, want %v and %v", producers, listeners, wantProducers, wantListeners)
	}
	for _, p := range m.producers {
		b.RemoveProducer(p)
	}
	for _, l := range m.listeners {
		b.RemoveListener(l)
	}
	if left := reflect.ValueOf(b).Elem().FieldByName("scopes").Len(); left > 0 {
		t.Errorf("%d scopes are left", left)
	}
	for topic := range b.Topics() {
		t.Errorf("%s is left", topic.Name)
	}
}
