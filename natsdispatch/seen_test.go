package natsdispatch

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// adds checks what seen says of an id that is to be remembered.
func (s *seen) adds(t *testing.T, id string, until, now time.Time, wantNew, wantForgotten bool) {
	t.Helper()
	if isNew, forgotten := s.add(id, until, now); isNew != wantNew || forgotten != wantForgotten {
		t.Errorf("%s is new: %t, another one is forgotten: %t; want %t, %t", id, isNew, forgotten, wantNew, wantForgotten)
	}
}

func TestSeenRemembersAnIDUntilItsTimeIsOver(t *testing.T) {
	s := seen{most: 3}
	now := second(1000)
	s.adds(t, "a", second(1005), now, true, false)
	s.adds(t, "a", second(1005), second(1004), false, false)
	s.adds(t, "a", second(1010), second(1005), true, false)
	s.adds(t, "a", second(1010), second(1009), false, false)
	if s.sweep(second(1009)); s.len() != 1 {
		t.Errorf("%d ids are remembered at 1009, want 1: it was remembered again", s.len())
	}
	if s.sweep(second(1011)); s.len() != 0 {
		t.Errorf("%d ids are remembered at 1011, want none", s.len())
	}
	s.adds(t, "b", second(3001), second(3000), true, false) // long after all others
	if len(s.periods) > 2 {
		t.Errorf("%d periods are remembered, want at most 2: nothing ended in those before", len(s.periods))
	}
	s.adds(t, "b", second(3001), second(3000), false, false)
}

// A node may beat before it receives its first request.
func TestSeenThatIsSweptBeforeTheFirstID(t *testing.T) {
	s := seen{most: 3}
	s.sweep(second(1000))
	s.adds(t, "long", second(1900), second(1001), true, false)
	s.adds(t, "short", second(1005), second(1001), true, false)
	if s.sweep(second(1007)); s.len() != 1 {
		t.Errorf("%d ids are remembered, want 1: the time of the other one is over", s.len())
	}
	s.adds(t, "long", second(1900), second(1007), false, false)
}

func TestSeenForgetsWhatEndsFirst(t *testing.T) {
	s := seen{most: 3}
	now := second(1000)
	s.adds(t, "long", second(1900), now, true, false)
	s.adds(t, "short", second(1002), now, true, false)
	s.adds(t, "middle", second(1100), now, true, false)
	s.adds(t, "new", second(1200), now, true, true)     // short is forgotten
	s.adds(t, "newer", second(1200), now, true, true)   // middle is forgotten
	s.adds(t, "long", second(1900), now, false, false)  // is still known
	s.adds(t, "short", second(1200), now, true, true)   // new is forgotten
	s.adds(t, "newer", second(1200), now, false, false) // is still known
	if s.len() != 3 {
		t.Errorf("%d ids are remembered, want 3", s.len())
	}
}

// The bound does not change how long ids are remembered after it was passed: as long as fewer ids are in force
// than the bound allows, none is forgotten before its time, and none stays after it.
func TestSeenIsAsBeforeAfterTheBoundWasPassed(t *testing.T) {
	s := seen{most: 3}
	for _, id := range []string{"a", "b", "c"} {
		s.adds(t, id, second(1600), second(1000), true, false)
	}
	s.adds(t, "one more", second(1001), second(1000), true, true) // a, b or c is forgotten
	for i := range 4 {
		now := second(1060 + 60*i)
		if s.sweep(now); s.len() != 2 {
			t.Errorf("%d ids are remembered, want the 2 whose time is not over", s.len())
		}
		s.adds(t, fmt.Sprint("short ", i), now.Add(time.Second), now, true, false)
	}
	if s.sweep(second(1602)); s.len() != 0 || len(s.periods) != 0 {
		t.Errorf("%d ids in %d periods are remembered at the end, want none", s.len(), len(s.periods))
	}
}

// Beyond the bound seen remembers what a map does from which the id whose period is the next to end is removed.
func TestSeenForgetsAsAMapDoes(t *testing.T) {
	const most = 50
	s := seen{most: most}
	ends := make(map[string]time.Time) // of the ids that are remembered
	random := rand.New(rand.NewPCG(5, 6))
	now := second(1000)
	inPeriod := func(at time.Time) int { return int(at.Sub(s.start) / period) }
	for i := range 20_000 {
		now = now.Add(time.Duration(random.IntN(400)) * time.Millisecond)
		for id, end := range ends {
			if inPeriod(end) < inPeriod(now) {
				delete(ends, id)
			}
		}
		until := now.Add(time.Duration(1+random.IntN(1+random.IntN(100))) * time.Second)
		next, least := 1<<30, 0 // the period in which the time of the next id ends, and how many ids end there
		for _, end := range ends {
			switch in := inPeriod(end); {
			case in < next:
				next, least = in, 1
			case in == next:
				least++
			}
		}
		full := len(ends) >= most
		id := fmt.Sprint(i)
		s.adds(t, id, until, now, true, full)
		ends[id] = until
		if full { // seen has forgotten one of those that end next
			left := 0
			for id, end := range ends {
				if inPeriod(end) != next || id == fmt.Sprint(i) {
					continue
				}
				if _, known := s.ends[s.markOf(id)]; known {
					left++
				} else {
					delete(ends, id)
				}
			}
			if left != least-1 {
				t.Fatalf("%d of the %d ids that end next are left, want one less", left, least)
			}
		}
		if len(ends) != s.len() {
			t.Fatalf("%d ids are remembered, want %d", s.len(), len(ends))
		}
	}
}

// What is remembered once more is not forgotten for another id in the place of its first time.
func TestSeenForgetsNothingThatWasRememberedOnceMore(t *testing.T) {
	s := seen{most: 2}
	s.adds(t, "a", second(1001), second(1000), true, false)
	s.adds(t, "b", second(1009), second(1000), true, false)
	s.adds(t, "a", second(1020), second(1001), true, false)
	s.adds(t, "c", second(1030), second(1001), true, true) // b is forgotten
	s.adds(t, "a", second(1020), second(1001), false, false)
}

// seen agrees with a map of all ids, for many random ids and times.
func TestSeenAgreesWithAMap(t *testing.T) {
	s := seen{most: 1 << 20}
	all := make(map[string]time.Time)
	random := rand.New(rand.NewPCG(1, 2))
	now := second(1000)
	for range 100_000 {
		now = now.Add(time.Duration(random.IntN(20)) * time.Millisecond)
		id := fmt.Sprint(random.IntN(2000))
		until := now.Add(time.Duration(random.IntN(10_000)) * time.Millisecond)
		known := now.Before(all[id])
		s.adds(t, id, until, now, !known, false)
		if !known {
			all[id] = until
		}
	}
	left := 0
	for _, until := range all {
		if now.Before(until) {
			left++
		}
	}
	if got := s.len(); got < left || got > left+2000/5 {
		t.Errorf("%d ids are remembered, want %d, and those of the last second", got, left)
	}
	if s.sweep(now.Add(time.Minute)); s.len() != 0 || len(s.periods) != 0 {
		t.Errorf("%d ids in %d periods are remembered at the end, want none", s.len(), len(s.periods))
	}
}
