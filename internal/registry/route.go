package registry

import (
	"cmp"
	"iter"
	"slices"
	"sort"
)

// A Route is everything that a topic leads to. It is immutable.
type Route[P, L Registrant] struct {
	Types     Types     // of the registrations on the topic's name; if there are none, those that were asked for
	Producers []P       // all of them, in the order of their IDs
	Listeners []L       // in the order of their IDs
	Seats     []Seat[P] // nil if each producer is a member of its own
	Relays    []P

	built uint64 // the generation whose state it shows
}

// A Seat is a future member of a call: a producer of its own, or the replicas of a
// group. Seats are in the order of their first candidates. Relays have none.
type Seat[P Registrant] struct {
	Group      string // "" for a producer of its own
	Candidates []P    // at least one, in the order of their IDs
}

// ListenersSince returns the listeners whose IDs are greater than id.
func (rt *Route[P, L]) ListenersSince(id uint64) []L {
	i := sort.Search(len(rt.Listeners), func(i int) bool { return rt.Listeners[i].Registered().ID > id })
	return rt.Listeners[i:]
}

// Route returns where the topic leads. If anything is registered on its name, with any types,
// the route has these types and what is registered with them. In that case Route takes no lock
// and does not allocate, unless there was a change since the last Route of the topic.
func (r *Registry[P, L]) Route(t *Topic) *Route[P, L] {
	if rec := r.record(t); rec != nil {
		if rt := rec.route.Load(); rt != nil && rt.built >= rec.scope.patterned.Load() {
			return rt
		}
	}
	rt, rec := r.find(t, true)
	if rec != nil {
		r.keep(rec, rt)
	}
	return rt
}

// Matching returns where the topic leads by patterns alone. The route has the topic's own
// types, even if other types are registered on its name.
func (r *Registry[P, L]) Matching(t *Topic) *Route[P, L] {
	rt, _ := r.find(t, false)
	return rt
}

// Leads reports whether anything is registered on the topic with its types, by name or by
// a pattern.
func (r *Registry[P, L]) Leads(t *Topic) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if rec := r.record(t); rec != nil && rec.scope.types == t.Types {
		return true
	}
	s := r.scopes[t.Types]
	return s != nil && !s.patterns.overlapping(t.Name, 0, func(*tree[list[Registrant]]) bool { return false })
}

// find builds the route of a topic, by name and patterns or by patterns alone. The
// record is nil if nothing was found by name.
func (r *Registry[P, L]) find(t *Topic, byName bool) (*Route[P, L], *record[P, L]) {
	rt := &Route[P, L]{Types: t.Types}
	var rec *record[P, L]
	var found list[Registrant]
	r.mu.RLock()
	rt.built = r.generation.Load()
	if byName {
		rec = r.record(t)
	}
	if rec != nil {
		rt.Types = rec.scope.types
		found = append(found, rec.list...)
	}
	if s := r.scopes[rt.Types]; s != nil {
		s.patterns.overlapping(t.Name, 0, func(leaf *tree[list[Registrant]]) bool {
			found = append(found, leaf.value...)
			return true
		})
	}
	r.mu.RUnlock()

	rt.Producers, rt.Listeners = split[P, L](found)
	rt.seat()
	return rt, rec
}

// keep keeps a route for later calls, unless it may have become outdated.
func (r *Registry[P, L]) keep(rec *record[P, L], rt *Route[P, L]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rt.built != r.generation.Load() {
		return
	}
	rec.route.Store(rt)
	if s := rec.scope; !s.patterns.empty() {
		if s.mixed == nil {
			s.mixed = make(map[*record[P, L]]struct{})
		}
		s.mixed[rec] = struct{}{}
	}
}

// seat sets Seats and Relays.
func (rt *Route[P, L]) seat() {
	if !slices.ContainsFunc(rt.Producers, func(p P) bool {
		e := p.Registered()
		return e.Group != "" || e.Kind == KindRelay
	}) {
		return
	}
	rt.Seats = []Seat[P]{}
	groups := make(map[string]int) // where in Seats
	for i, p := range rt.Producers {
		e := p.Registered()
		at, known := groups[e.Group]
		switch {
		case e.Kind == KindRelay:
			rt.Relays = append(rt.Relays, p)
			continue
		case known:
			rt.Seats[at].Candidates = append(rt.Seats[at].Candidates, p)
			continue
		case e.Group != "":
			groups[e.Group] = len(rt.Seats)
		}
		rt.Seats = append(rt.Seats, Seat[P]{e.Group, rt.Producers[i : i+1 : i+1]})
	}
}

// Topics ranges over the topics with registrations by name, sorted by name, and
// their routes. It holds no lock while the body of the loop runs.
func (r *Registry[P, L]) Topics() iter.Seq2[*Topic, *Route[P, L]] {
	return func(yield func(*Topic, *Route[P, L]) bool) {
		var topics []*Topic
		for _, rec := range r.topics.Range {
			topics = append(topics, rec.(*record[P, L]).topic)
		}
		slices.SortFunc(topics, func(a, b *Topic) int { return cmp.Compare(a.Name, b.Name) })
		for _, t := range topics {
			// The routes are not kept, because most topics of a large bus are idle.
			if rt, rec := r.find(t, true); rec != nil && !yield(rec.topic, rt) {
				return
			}
		}
	}
}

// Patterns returns what is registered by pattern, in the order of the IDs.
func (r *Registry[P, L]) Patterns() (producers []P, listeners []L) {
	r.mu.RLock()
	all := slices.Clone(r.patterns)
	r.mu.RUnlock()
	return split[P, L](all)
}

// split returns the producers and the listeners of one or more lists, each in the
// order of the IDs.
func split[P, L Registrant](chunks list[Registrant]) (producers []P, listeners []L) {
	for _, chunk := range chunks {
		for _, x := range chunk {
			switch x := x.(type) {
			case P:
				producers = append(producers, x)
			case L:
				listeners = append(listeners, x)
			}
		}
	}
	slices.SortFunc(producers, func(a, b P) int { return cmp.Compare(id(a), id(b)) })
	slices.SortFunc(listeners, func(a, b L) int { return cmp.Compare(id(a), id(b)) })
	return producers, listeners
}
