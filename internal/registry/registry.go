// Package registry stores which producers and listeners are registered on which topics. It uses
// no property of their types except that they embed an [Entry].
//
// The cost of adding, removing and finding hardly depends on the number of registrations, with
// two exceptions: the time of a registration on several topics is proportional to their number,
// and the time of the first [Registry.Route] of a topic after a change is proportional to the
// size of the route.
package registry

import (
	"strconv"
	"sync"
	"sync/atomic"
)

// A Registry is safe for concurrent use. [New] makes one.
type Registry[P, L Registrant] struct {
	topics     sync.Map      // name → *record; changed under mu
	generation atomic.Uint64 // changed under mu

	mu       sync.RWMutex // guards the fields below, and all records and scopes
	closed   bool
	scopes   map[Types]*scope[P, L]
	patterns list[Registrant] // all that are registered by pattern

	producerNames, listenerNames uint64 // the numbers last used in automatic names
}

// A record stands for a topic while anything is registered on its name.
type record[P, L Registrant] struct {
	topic *Topic
	scope *scope[P, L]
	list  list[Registrant]
	route atomic.Pointer[Route[P, L]] // nil after a change; stored under mu, except for nil
}

// A scope has the registrations with one pair of types. It exists while there is any such
// registration.
type scope[P, L Registrant] struct {
	types      Types
	registered int
	names      names
	patterns   tree[list[Registrant]]
	patterned  atomic.Uint64 // the generation of the last change of patterns; stored under mu

	// mixed has all records whose route may contain registrants by pattern, so that
	// remove finds these routes without a look at every topic.
	mixed map[*record[P, L]]struct{}
}

// New returns an empty registry.
func New[P, L Registrant]() *Registry[P, L] {
	r := &Registry[P, L]{scopes: make(map[Types]*scope[P, L])}
	r.generation.Store(1)
	return r
}

// Generation returns a number that grows with every Add and Remove, after the
// change is visible to Route. It is never 0.
func (r *Registry[P, L]) Generation() uint64 { return r.generation.Load() }

// Close makes every later Add fail with [ErrClosed]. Nothing else changes.
func (r *Registry[P, L]) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// AddProducer adds a producer and sets its ID, and its Name if that is empty. It
// adds nothing if it returns an error: a [*TypeError], a [*DuplicateError] or
// [ErrClosed].
func (r *Registry[P, L]) AddProducer(p P) error { return r.add(p) }

// AddListener adds a listener and sets its ID, and its Name if that is empty.
// Names of listeners need not be unique. It adds nothing if it returns an error: a
// [*TypeError] or [ErrClosed].
func (r *Registry[P, L]) AddListener(l L) error { return r.add(l) }

func (r *Registry[P, L]) add(x Registrant) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	e := x.Registered()
	for _, t := range e.Selection.Topics {
		if rec := r.record(t); rec != nil && rec.scope.types != t.Types {
			return &TypeError{Topic: t.Name, Have: rec.scope.types, Want: t.Types}
		}
	}
	s := r.scopes[*e.Selection.Types]
	if s == nil {
		s = &scope[P, L]{types: *e.Selection.Types}
		s.names.given = make(map[string]*tree[struct{}])
		r.scopes[s.types] = s
	}
	e.ID = r.generation.Load() + 1
	if err := r.nameLocked(s, x); err != nil {
		return err // the scope stays: the name is taken in it
	}
	e.registered = true
	s.registered++
	r.updateLocked(s, e, func(l *list[Registrant]) { l.add(x) })
	return nil
}

// nameLocked gives the registrant the next automatic name that is free, if it has
// no name. The name of a producer is then taken.
func (r *Registry[P, L]) nameLocked(s *scope[P, L], x Registrant) error {
	e, last := x.Registered(), &r.listenerNames
	_, unique := x.(P)
	if unique {
		last = &r.producerNames
	}
	for e.automatic = e.Name == ""; ; {
		if e.automatic {
			*last++
			e.Name = e.Kind.String() + "-" + strconv.FormatUint(*last, 10)
		}
		if !unique {
			return nil
		}
		where := s.names.taken(e)
		if where == "" {
			s.names.add(e)
			return nil
		}
		if !e.automatic {
			return &DuplicateError{Name: e.Name, Where: where}
		}
	}
}

// updateLocked calls update with each list that the registrant belongs to, and drops the routes
// that were built from the earlier lists.
func (r *Registry[P, L]) updateLocked(s *scope[P, L], e *Entry, update func(*list[Registrant])) {
	now := r.generation.Load() + 1
	for _, t := range e.Selection.Topics {
		rec := r.record(t)
		if rec == nil {
			rec = &record[P, L]{topic: t, scope: s}
			r.topics.Store(t.key, rec)
		}
		update(&rec.list)
		rec.route.Store(nil)
		if len(rec.list) == 0 {
			r.topics.Delete(t.key)
			delete(s.mixed, rec)
		}
	}
	if pattern := e.Selection.Pattern; pattern != "" {
		leaf := s.patterns.leaf(pattern)
		update(&leaf.value)
		if len(leaf.value) == 0 {
			s.patterns.remove(pattern, 0)
		}
		update(&r.patterns)
		s.patterned.Store(now)
	}
	r.generation.Store(now)
}

// RemoveProducer removes a producer, and reports whether it was registered.
func (r *Registry[P, L]) RemoveProducer(p P) bool { return r.remove(p) }

// RemoveListener removes a listener, and reports whether it was registered.
func (r *Registry[P, L]) RemoveListener(l L) bool { return r.remove(l) }

// remove leaves no reference to the registrant in the registry.
func (r *Registry[P, L]) remove(x Registrant) bool {
	e := x.Registered()
	r.mu.Lock()
	if !e.registered {
		r.mu.Unlock()
		return false
	}
	e.registered = false
	s := r.scopes[*e.Selection.Types]
	if _, unique := x.(P); unique {
		s.names.remove(e)
	}
	r.updateLocked(s, e, func(l *list[Registrant]) { l.remove(x) })
	var mixed map[*record[P, L]]struct{}
	if e.Selection.Pattern != "" {
		mixed, s.mixed = s.mixed, nil
	}
	if s.registered--; s.registered == 0 {
		delete(r.scopes, s.types)
	}
	r.mu.Unlock()

	for rec := range mixed {
		rec.route.Store(nil)
	}
	return true
}

// record returns the record of the topic's name, or nil.
func (r *Registry[P, L]) record(t *Topic) *record[P, L] {
	rec, ok := r.topics.Load(t.key)
	if !ok {
		return nil
	}
	return rec.(*record[P, L])
}
