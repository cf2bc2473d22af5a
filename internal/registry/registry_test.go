package registry_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/seed-bb4b4d74/dispatch/internal/registry"
)

func TestProducerNamesAreUniqueOnEachTopic(t *testing.T) {
	names := func(names ...string) *registry.Selection {
		var topics []*registry.Topic
		for _, name := range names {
			topics = append(topics, topic(name))
		}
		return on(topics...)
	}
	pattern := func(p string) *registry.Selection { return registry.SelectPattern(p, ints) }
	tests := []struct {
		name        string
		first, next *registry.Selection
		duplicate   bool
	}{
		{"same topic", names("a.1"), names("a.1"), true},
		{"other topic", names("a.1"), names("a.2"), false},
		{"longer topic", names("a.1"), names("a.1.1"), false},
		{"one topic of several", names("a.1"), names("a.2", "a.1"), true},
		{"several with one in common", names("a.1", "a.2"), names("a.3", "a.2"), true},
		{"several with none in common", names("a.1", "a.2"), names("a.3", "a.4"), false},
		{"pattern over topic", names("a.1"), pattern("a.*"), true},
		{"pattern beside topic", names("a.1"), pattern("*.2"), false},
		{"pattern over one of several", names("a.1", "a.2"), pattern("*.2"), true},
		{"same pattern", pattern("a.*"), pattern("a.*"), true},
		{"patterns that overlap", pattern("a.*"), pattern("*.1"), true},
		{"patterns that overlap far down", pattern("*.m.>"), pattern("a.>"), true},
		{"patterns that do not overlap", pattern("a.*"), pattern("b.*"), false},
		{"patterns of other lengths", pattern("a.*"), pattern("a.*.*"), false},
		{"everything and pattern", pattern(">"), pattern("a.*"), true},
		{"everything and topic", pattern(">"), names("a.1"), true},
		{"other types", pattern(">"), registry.SelectPattern(">", texts), false},
	}
	for _, tt := range tests {
		for _, swapped := range []bool{false, true} {
			for _, name := range []string{"p", "producer-1"} { // the second is what an automatic name may be
				t.Run(fmt.Sprintf("%s/swapped=%v/name=%s", tt.name, swapped, name), func(t *testing.T) {
					b, first, next := newBus(), tt.first, tt.next
					if swapped {
						first, next = next, first
					}
					p := newProducer(strings.TrimPrefix(name, "producer-1"), first)
					must(t, b.AddProducer(p))
					err := b.AddProducer(newProducer(name, next))
					if !tt.duplicate {
						must(t, err)
						return
					}
					if dup := (*registry.DuplicateError)(nil); !errors.As(err, &dup) || dup.Name != name || !slices.Contains(subjects(first), dup.Where) {
						t.Fatalf("got %v, want a *DuplicateError for %s on one of %v", err, name, subjects(first))
					}
					must(t, b.AddListener(&listener{Entry: registry.Entry{Name: name, Kind: registry.KindListener, Selection: next}}))
					b.RemoveProducer(p)
					must(t, b.AddProducer(newProducer(name, next)))
				})
			}
		}
	}
}

func TestAutomaticNames(t *testing.T) {
	b, a := newBus(), topic("a")
	var got []string
	for _, name := range []string{"", "producer-2", "", "x", ""} {
		p := newProducer(name, on(a))
		if len(got) == 4 {
			p.Kind = registry.KindRelay
		}
		must(t, b.AddProducer(p))
		l := newListener(on(a))
		l.Name = name
		must(t, b.AddListener(l))
		got = append(got, p.Name+" "+l.Name)
	}
	want := []string{"producer-1 listener-1", "producer-2 producer-2", "producer-3 listener-2", "x x", "relay-4 listener-3"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestTopicHasOnePairOfTypes(t *testing.T) {
	b := newBus()
	p, l := newProducer("", on(topic("b"), topic("a"))), newListener(on(topic("a")))
	must(t, b.AddProducer(p))
	must(t, b.AddListener(l))
	other := topic("a", texts)
	refused := func() {
		t.Helper()
		for _, err := range []error{
			b.AddProducer(newProducer("", on(topic("new", texts), other))),
			b.AddListener(newListener(on(other))),
		} {
			if e := (*registry.TypeError)(nil); !errors.As(err, &e) || *e != (registry.TypeError{Topic: "a", Have: ints, Want: texts}) {
				t.Errorf("got %v, want a *TypeError", err)
			}
		}
		if rt := b.Route(other); rt.Types != ints {
			t.Errorf("the route has the types %v", rt.Types)
		}
	}
	refused()
	b.RemoveProducer(p)
	refused()
	must(t, b.AddProducer(newProducer("", on(topic("new"))))) // the refused producer has left nothing behind
	b.RemoveListener(l)
	must(t, b.AddProducer(newProducer("", on(other))))
	if rt := b.Route(topic("a")); rt.Types != texts {
		t.Errorf("the route has the types %v", rt.Types)
	}
}

func TestCloseRefusesAddOnly(t *testing.T) {
	b, a := newBus(), topic("a")
	p := newProducer("", on(a))
	must(t, b.AddProducer(p))
	b.Close()
	if err := b.AddProducer(newProducer("", on(a))); !errors.Is(err, registry.ErrClosed) {
		t.Errorf("AddProducer: got %v", err)
	}
	if err := b.AddListener(newListener(on(a))); !errors.Is(err, registry.ErrClosed) {
		t.Errorf("AddListener: got %v", err)
	}
	if rt := b.Route(a); len(rt.Producers) != 1 || !b.RemoveProducer(p) {
		t.Error("Route or RemoveProducer fail on a closed registry")
	}
}

func TestATopicLeadsSomewhereAsLongAsSomethingIsRegisteredOnIt(t *testing.T) {
	b, a, sameName := newBus(), topic("x.a"), topic("x.a", texts)
	leads := func(when string, want, ofTexts bool) {
		t.Helper()
		if got := b.Leads(a); got != want {
			t.Errorf("%s it leads somewhere: %t", when, got)
		}
		if got := b.Leads(sameName); got != ofTexts {
			t.Errorf("%s that of other types leads somewhere: %t", when, got)
		}
	}
	leads("at first", false, false)
	p, l := newProducer("", on(a)), newListener(registry.SelectPattern("x.*", ints))
	must(t, b.AddListener(newListener(registry.SelectPattern("y.>", ints))))
	leads("with another pattern", false, false)
	must(t, b.AddProducer(p))
	leads("with a producer", true, false)
	must(t, b.AddListener(l))
	b.RemoveProducer(p)
	leads("with a pattern", true, false)
	q := newProducer("", on(sameName))
	must(t, b.AddProducer(q))
	leads("with both", true, true)
	b.RemoveListener(l)
	leads("with that of other types", false, true)
	b.RemoveProducer(q)
	leads("in the end", false, false)
}

func TestTopicsMayStop(t *testing.T) {
	b := newBus()
	must(t, b.AddProducer(newProducer("", on(topic("b"), topic("a")))))
	for topic := range b.Topics() {
		if topic.Name != "a" {
			t.Errorf("the first is %s", topic.Name)
		}
		break
	}
}

// Removing a producer from a list of several chunks keeps the others in order, and does not
// change a route that was returned before.
func TestManyOnOneTopic(t *testing.T) {
	b, m, a := newBus(), new(model), topic("a")
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		m.producers = append(m.producers, newProducer("", on(a)))
		must(t, b.AddProducer(m.producers[len(m.producers)-1]))
	}
	held, want := b.Route(a), m.route(a, true)
	for step := range 3000 {
		if r.IntN(5) > 1 && len(m.producers) > 0 {
			i := r.IntN(len(m.producers))
			b.RemoveProducer(m.producers[i])
			m.producers = slices.Delete(m.producers, i, i+1)
		} else {
			m.producers = append(m.producers, newProducer("", on(a)))
			must(t, b.AddProducer(m.producers[len(m.producers)-1]))
		}
		if step%100 == 0 {
			checkRoute(t, b, m, a)
		}
	}
	checkRoute(t, b, m, a)
	if !sameRoute(held, &want) {
		t.Error("a route has changed")
	}
}

func TestUnchangedRouteDoesNotAllocate(t *testing.T) {
	b, a := newBus(), topic("a.b")
	must(t, b.AddProducer(newProducer("", on(a))))
	must(t, b.AddListener(newListener(registry.SelectPattern("a.*", ints))))
	if n := testing.AllocsPerRun(100, func() { b.Route(a) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestRemovedIsCollected(t *testing.T) {
	b := newBus()
	var topics []*registry.Topic
	for i := range 1000 {
		topics = append(topics, topic(fmt.Sprint("a.", i)))
		must(t, b.AddProducer(newProducer("", on(topics[i]))))
	}
	all := registry.SelectPattern("a.*", ints)
	for _, tt := range []struct {
		name string
		s    *registry.Selection
	}{{"topic", on(topics[7])}, {"topics", on(topics[:300]...)}, {"pattern", all}} {
		t.Run(tt.name, func(t *testing.T) {
			p, l := newProducer("", tt.s), newListener(tt.s)
			must(t, b.AddProducer(p))
			must(t, b.AddListener(l))
			for _, topic := range topics { // the topics are idle from now on
				b.Route(topic)
			}
			// Later registrations must not keep p and l in memory through a shared array.
			after := newProducer("", tt.s)
			must(t, b.AddProducer(after))
			b.RemoveProducer(p)
			b.RemoveListener(l)
			wp, wl := weak.Make(p), weak.Make(l)
			p, l = nil, nil
			runtime.GC()
			if wp.Value() != nil || wl.Value() != nil {
				t.Errorf("reachable: the producer %v, the listener %v", wp.Value() != nil, wl.Value() != nil)
			}
			runtime.KeepAlive(b)
		})
	}
}

func TestForgottenTopicIsCollected(t *testing.T) {
	b := newBus()
	must(t, b.AddListener(newListener(registry.SelectPattern(">", ints))))
	a := topic("a")
	p := newProducer("", on(a))
	must(t, b.AddProducer(p))
	b.Route(a)
	b.RemoveProducer(p)
	wa := weak.Make(a)
	a, p = nil, nil
	runtime.GC()
	if wa.Value() != nil {
		t.Error("the topic is reachable")
	}
	runtime.KeepAlive(b)
}

// Every generation but the first is one that a producer was added in, so that a
// reader can tell how many it must find.
func TestGenerationFollowsTheChange(t *testing.T) {
	b, a := newBus(), topic("a.b")
	const n = 2000
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for g := uint64(0); g < n; {
				g = b.Generation()
				if rt := b.Route(a); len(rt.Producers) < int(g-1) {
					t.Errorf("%d producers in generation %d", len(rt.Producers), g)
					return
				}
			}
		})
	}
	for i := range n {
		s := on(a)
		if i%3 == 2 {
			s = registry.SelectPattern(fmt.Sprintf("%s.%s", "*a"[i%2:i%2+1], "*b>"[i/3%3:i/3%3+1]), ints)
		}
		must(t, b.AddProducer(newProducer("", s)))
	}
	wg.Wait()
}

// Added registrations are in the next route, and removed ones are not.
func TestConcurrentUse(t *testing.T) {
	b, a := newBus(), topic("a.b")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 4 {
		s := on(a, topic(fmt.Sprint("b.", i)))
		if i%2 == 1 {
			s = registry.SelectPattern("a.*", ints)
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				p, l := newProducer("", s), newListener(s)
				if b.AddProducer(p) != nil || b.AddListener(l) != nil {
					t.Error("not added")
				}
				if rt := b.Route(a); !slices.Contains(rt.Producers, p) || len(rt.ListenersSince(l.ID-1)) == 0 {
					t.Error("a route lacks what was added")
				}
				b.RemoveProducer(p)
				b.RemoveListener(l)
				if rt := b.Route(a); slices.Contains(rt.Producers, p) || slices.Contains(rt.Listeners, l) {
					t.Error("a route has what was removed")
				}
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			for range b.Topics() {
				b.Patterns()
			}
			b.Matching(a)
		}
	})
	wg.Wait()
	if rt := b.Route(a); len(rt.Producers)+len(rt.Listeners) > 0 {
		t.Errorf("left: %v %v", rt.Producers, rt.Listeners)
	}
}
