package course

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The exploration has too few members for a heap of more than two levels.
func TestAHeapHasInFrontWhatIsDueFirst(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h heap
	var all []time.Duration // sorted
	for range 10_000 {
		if len(all) == 0 || random.IntN(100) < 55 && len(all) < 100 {
			d := time.Duration(random.IntN(50))
			h.add(timed{at: d})
			all = append(all, d)
			slices.Sort(all)
		} else {
			h.drop()
			all = all[1:]
		}
		if len(h) != len(all) || len(h) > 0 && h[0].at != all[0] {
			t.Fatalf("the heap is %v, want all of %v with the first in front", h, all)
		}
	}
}
