package registry

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seed-bb4b4d74/dispatch/internal/subject"
)

func TestTreeFindsWhatOverlaps(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var all []string // every subject of up to three tokens
	tokens := []string{"a", "b", "aa", "*"}
	for _, x := range append(slices.Clone(tokens), ">") {
		all = append(all, x)
		for _, y := range append(slices.Clone(tokens), ">") {
			if x != ">" {
				all = append(all, x+"."+y)
			}
			for _, z := range append(slices.Clone(tokens), ">") {
				if x != ">" && y != ">" {
					all = append(all, x+"."+y+"."+z)
				}
			}
		}
	}
	var tr tree[int]
	in := make(map[string]int)
	for step := range 3000 {
		s := all[r.IntN(len(all))]
		if step/50%3 > 0 { // more often than not, until there is nothing left
			for s = range in {
				break
			}
		}
		if _, ok := in[s]; ok {
			tr.remove(s, 0)
			delete(in, s)
		} else if step/50%3 == 0 {
			tr.leaf(s).value = step
			in[s] = step
		}
		q := all[r.IntN(len(all))]
		found := make(map[string]int)
		if !tr.overlapping(q, 0, func(leaf *tree[int]) bool { found[leaf.subject] = leaf.value; return true }) {
			t.Error("not to the end")
		}
		for s, value := range in {
			if subject.Overlap(s, q) != (found[s] == value) {
				t.Fatalf("%s overlaps %s: %v, found %v", s, q, subject.Overlap(s, q), found)
			}
			delete(found, s)
		}
		if len(found) > 0 || tr.empty() != (len(in) == 0) {
			t.Fatalf("not in the tree: %v; empty: %v", found, tr.empty())
		}
	}
}

func TestTreeStopsWhenToldTo(t *testing.T) {
	var tr tree[int]
	for _, s := range []string{"a.b", "a.*", "*.b", ">"} {
		tr.leaf(s)
	}
	for _, q := range []string{"a.b", "a.*", ">"} {
		visited := 0
		if tr.overlapping(q, 0, func(*tree[int]) bool { visited++; return false }) || visited != 1 {
			t.Errorf("%s: visited %d", q, visited)
		}
	}
}

// A subject is looked for along its own tokens, however many other subjects there are.
func TestTreeLooksOnlyAlongTheTokens(t *testing.T) {
	var tr tree[int]
	for _, s := range []string{"cell.7.*", "cell.7.measure", "cell.8.measure", "oven.*", "*.7.measure", ">"} {
		tr.leaf(s)
	}
	broken := map[string]*tree[int]{"x": nil} // a look at all of it would panic
	tr.below["oven"] = &tree[int]{below: broken}
	tr.below["cell"].below["8"] = &tree[int]{below: broken}
	var found []string
	tr.overlapping("cell.7.measure", 0, func(leaf *tree[int]) bool { found = append(found, leaf.subject); return true })
	slices.Sort(found)
	if want := []string{"*.7.measure", ">", "cell.7.*", "cell.7.measure"}; !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
}
