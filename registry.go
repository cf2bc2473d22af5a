package dispatch

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
	"github.com/seed-bb4b4d74/dispatch/internal/subject"
)

// registry knows who is registered where. It is changed under a lock and read
// without one: a reader gets a route, which never changes.
type registry struct {
	topics    sync.Map              // name → *topicEntry, for the topics that somebody is registered on by name
	patterns  atomic.Pointer[route] // all who are registered by a pattern
	hooks     atomic.Pointer[[]*lateHook]
	observers atomic.Pointer[[]*observer] // nil if there are none

	// generation counts the changes: who keeps a route can tell whether to look
	// for it again.
	generation atomic.Uint64

	mu        sync.Mutex // is held to change anything above, and guards the fields below
	ids       uint64     // registrations so far
	producers uint64     // producers that were given a name so far
	listeners uint64     // listeners that were given a name so far
}

// init makes the zero registry an empty one.
func (r *registry) init() {
	r.patterns.Store(new(route))
	r.hooks.Store(new([]*lateHook))
	r.generation.Store(1)
}

// topicEntry stands for a topic while somebody is registered on it by name.
type topicEntry struct {
	spec    *topicSpec
	byName  int // registrations on the topic by name
	current atomic.Pointer[route]
	names   map[string]struct{} // of the producers; nil while they are few
}

// route is all whom a topic leads to, in the order of registration.
type route struct {
	types     *types
	producers []*producer
	special   []*producer // what the producers make up if they are not all members of their own; see seats
	listeners []*listener
}

// members returns what the producers make up in a call.
func (r *route) members() []*producer {
	if r.special != nil {
		return r.special
	}
	return r.producers
}

// route returns where the topic leads. If somebody is registered on it by name
// with other types, then the route has those.
func (r *registry) route(t *topicSpec) *route {
	if e, ok := r.topics.Load(t.key); ok {
		return e.(*topicEntry).current.Load()
	}
	return r.patterns.Load().matching(t)
}

// matching returns the part of a route of patterns that the topic matches.
func (r *route) matching(t *topicSpec) *route {
	m := &route{types: &t.types}
	for _, p := range r.producers {
		if p.selection.concerns(t) {
			m.producers = append(m.producers, p)
		}
	}
	for _, l := range r.listeners {
		if l.selection.concerns(t) {
			m.listeners = append(m.listeners, l)
		}
	}
	if slices.ContainsFunc(m.producers, (*producer).special) {
		m.special = seats(m.producers)
	}
	return m
}

// listenersSince returns the listeners that were registered after the one of
// this id.
func (r *route) listenersSince(id uint64) []*listener {
	i, _ := slices.BinarySearchFunc(r.listeners, id+1, func(l *listener, id uint64) int { return cmp.Compare(l.id, id) })
	return r.listeners[i:]
}

// with returns the route with one more registrant. The slices share their
// backing arrays with those of r, which end before what is appended; so a long
// row of additions costs no more than one slice that grows.
func (r *route) with(what registrant) *route {
	next := *r
	switch w := what.(type) {
	case *producer:
		next.producers = append(next.producers, w)
		if r.special != nil || w.special() {
			next.special = seats(next.producers)
		}
	case *listener:
		next.listeners = append(next.listeners, w)
	}
	return &next
}

// without returns the route with one registrant less, in arrays of its own.
func (r *route) without(what registrant) *route {
	next := *r
	switch w := what.(type) {
	case *producer:
		next.producers = without(next.producers, w)
		if r.special != nil {
			next.special = seats(next.producers)
		}
	case *listener:
		next.listeners = without(next.listeners, w)
	}
	return &next
}

// without returns a copy of s, which is in the order of registration, without v.
func without[T registrant](s []T, v T) []T {
	i, found := slices.BinarySearchFunc(s, v.registration().id, func(x T, id uint64) int { return cmp.Compare(x.registration().id, id) })
	if !found {
		return s
	}
	return slices.Concat(s[:i], s[i+1:])
}

// add registers a producer or listener wherever it belongs, or nowhere.
func (b *Bus) add(what registrant) error {
	if err := b.enlist(what); err != nil {
		return err
	}
	if b.waiting.Load() == 0 {
		return nil
	}
	for owner := range b.ledger.All() {
		if c, ok := owner.(interface{ findProducers() }); ok {
			c.findProducers()
		}
	}
	return nil
}

func (b *Bus) enlist(what registrant) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ledger.Level() != ledger.Open {
		return ErrClosed
	}
	r := what.registration()
	if o, ok := what.(*observer); ok {
		b.addObserverLocked(o)
		return nil
	}
	known, err := b.entriesFor(&r.selection)
	if err != nil {
		return err
	}
	if err := b.name(what, known); err != nil {
		return err
	}
	b.ids++
	r.id = b.ids
	for _, t := range r.selection.topics {
		if _, ok := b.topics.Load(t.key); !ok {
			known = append(known, b.newEntry(t))
		}
	}
	for _, e := range known {
		e.add(what)
	}
	if r.selection.pattern != "" {
		b.patterns.Store(b.patterns.Load().with(what))
	}
	b.generation.Add(1)
	return nil
}

// entriesFor returns the entries there are for a selection.
func (r *registry) entriesFor(s *selection) (entries []*topicEntry, err error) {
	for _, t := range s.topics {
		v, ok := r.topics.Load(t.key)
		if !ok {
			continue
		}
		e := v.(*topicEntry)
		if e.spec.types != t.types {
			return nil, typeError(t, e.spec.types)
		}
		entries = append(entries, e)
	}
	if s.pattern != "" {
		r.topics.Range(func(_, v any) bool {
			if e := v.(*topicEntry); s.concerns(e.spec) {
				entries = append(entries, e)
			}
			return true
		})
	}
	return entries, nil
}

func typeError(t *topicSpec, have types) error {
	return fmt.Errorf("%w: %q is %v on this bus, not %v", ErrTopicType, t.name, have, t.types)
}

func (r *registry) newEntry(t *topicSpec) *topicEntry {
	e := &topicEntry{spec: t}
	e.current.Store(r.patterns.Load().matching(t))
	r.topics.Store(t.key, e)
	return e
}

// name gives a registrant its name, if it has none, and returns an error if a
// producer's name is taken on any of its topics.
func (r *registry) name(what registrant, entries []*topicEntry) error {
	reg := what.registration()
	p, ok := what.(*producer)
	if !ok {
		if reg.name == "" {
			r.listeners++
			reg.name = "listener-" + strconv.FormatUint(r.listeners, 10)
		}
		return nil
	}
	if reg.name != "" {
		if where, ok := r.taken(reg.name, &reg.selection, entries); ok {
			return fmt.Errorf("%w: %q on %s", ErrDuplicate, reg.name, where)
		}
		return nil
	}
	kind := "producer"
	if p.is(gateRelay) {
		kind = p.kind()
	}
	for {
		r.producers++
		reg.name = kind + "-" + strconv.FormatUint(r.producers, 10)
		if _, ok := r.taken(reg.name, &reg.selection, entries); !ok {
			return nil
		}
	}
}

// taken reports where a producer of this name is registered that shares a topic
// with the selection.
func (r *registry) taken(name string, s *selection, entries []*topicEntry) (where string, ok bool) {
	for _, e := range entries {
		if e.has(name) {
			return e.spec.name, true
		}
	}
	// A topic without an entry, and a pattern, can still meet other patterns.
	for _, p := range r.patterns.Load().producers {
		if p.name == name && *p.selection.types == *s.types && s.overlaps(p.selection.pattern) {
			return p.selection.pattern, true
		}
	}
	return "", false
}

// overlaps reports whether a name can be selected by s and match the pattern.
func (s *selection) overlaps(pattern string) bool {
	if s.pattern != "" {
		return subject.Overlap(s.pattern, pattern)
	}
	return slices.ContainsFunc(s.topics, func(t *topicSpec) bool { return subject.Match(pattern, t.name) })
}

// fewNames is up to how many producers a topic is searched for a name without
// an index.
const fewNames = 16

func (e *topicEntry) has(name string) bool {
	if e.names != nil {
		_, ok := e.names[name]
		return ok
	}
	return slices.ContainsFunc(e.current.Load().producers, func(p *producer) bool { return p.name == name })
}

func (e *topicEntry) add(what registrant) {
	next := e.current.Load().with(what)
	e.current.Store(next)
	if what.registration().selection.pattern == "" {
		e.byName++
	}
	switch {
	case e.names != nil:
		if p, ok := what.(*producer); ok {
			e.names[p.name] = struct{}{}
		}
	case len(next.producers) > fewNames:
		e.names = make(map[string]struct{}, 2*len(next.producers))
		for _, p := range next.producers {
			e.names[p.name] = struct{}{}
		}
	}
}

func (e *topicEntry) remove(what registrant) {
	e.current.Store(e.current.Load().without(what))
	if what.registration().selection.pattern == "" {
		e.byName--
	}
	if p, ok := what.(*producer); ok && e.names != nil {
		delete(e.names, p.name)
	}
}

// remove takes a producer or listener away from everywhere. Topics that nobody
// is registered on by name any more are forgotten, and with them their types.
func (b *Bus) remove(what registrant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := what.registration()
	if r.removed {
		return
	}
	r.removed = true
	if h, ok := what.(*lateHook); ok {
		hooks := without(*b.hooks.Load(), h)
		b.hooks.Store(&hooks)
		return
	}
	if o, ok := what.(*observer); ok {
		b.setObserversLocked(without(*b.observers.Load(), o))
		return
	}
	// There is no error: as long as it is registered, its topics have its types.
	entries, _ := b.entriesFor(&r.selection)
	for _, e := range entries {
		e.remove(what)
		if e.byName == 0 {
			b.topics.Delete(e.spec.key)
		}
	}
	if r.selection.pattern != "" {
		b.patterns.Store(b.patterns.Load().without(what))
	}
	b.generation.Add(1)
}

// addHook registers an OnLate hook. On a bus that is closed it is never called.
func (b *Bus) addHook(h *lateHook) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ids++
	h.id = b.ids
	hooks := append(slices.Clone(*b.hooks.Load()), h)
	b.hooks.Store(&hooks)
}

func (b *Bus) addObserverLocked(o *observer) {
	b.ids++
	o.id = b.ids
	var observers []*observer
	if now := b.observers.Load(); now != nil {
		observers = slices.Clone(*now)
	}
	b.setObserversLocked(append(observers, o))
}

// setObserversLocked leaves nothing but a nil pointer to look at where there is
// nobody.
func (b *Bus) setObserversLocked(observers []*observer) {
	if len(observers) == 0 {
		b.observers.Store(nil)
		return
	}
	b.observers.Store(&observers)
}
