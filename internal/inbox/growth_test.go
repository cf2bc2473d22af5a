package inbox_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/seed-bb4b4d74/dispatch/internal/inbox"
)

// The cost of a drop does not depend on the number of results that wait.
func TestCostOfADropDoesNotGrow(t *testing.T) {
	const more = 2000
	for _, dropFirst := range []bool{false, true} {
		for name, oneEach := range map[string]bool{"one source": false, "a source for each": true} {
			t.Run(fmt.Sprintf("first=%t/%s", dropFirst, name), func(t *testing.T) {
				for _, bound := range []int{10, 100, 1000, 10_000, 100_000} {
					if looks := looksForDrops(t, bound, more, dropFirst, oneEach); looks > 3*more {
						t.Errorf("with %d results waiting %d drops have looked at %d sources", bound, more, looks)
					}
				}
			})
		}
	}
}

// looksForDrops fills an inbox whose owner is busy, and returns how many sources are looked
// at for further drops.
func looksForDrops(t *testing.T, bound, more int, dropFirst, oneEach bool) (looks int) {
	release := make(chan struct{})
	o := newOwner(inbox.Config{Bound: int32(bound), DropFirst: dropFirst}, func(event) { <-release })
	first := o.source("first")
	first.add(0)
	for len(o.values()) == 0 {
		runtime.Gosched()
	}
	var sources []*source
	only := o.source("only")
	for i := range bound {
		if s := only; oneEach {
			s = o.source("")
			sources = append(sources, s)
			s.add(i)
		} else if i == 0 {
			s.add(from(0, bound)...)
		}
	}
	news := []*source{only}
	if oneEach {
		news = news[:0]
		for range more {
			news = append(news, o.source(""))
		}
	}
	before := o.Stats().Dropped
	for i := range more {
		news[i%len(news)].add(i)
	}
	if got := o.Stats(); got.Dropped-before != uint64(more) || got.Waiting != bound {
		t.Errorf("%d dropped, %d wait, want %d and %d", got.Dropped-before, got.Waiting, more, bound)
	}
	looks = only.drops
	for _, s := range slices.Concat(sources, news) {
		if s != only {
			looks += s.drops
		}
	}
	o.Discard()
	close(release)
	return looks
}
