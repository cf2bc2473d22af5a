package natsdispatch

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/seed-bb4b4d74/dispatch"
)

// membersOnly is a bus of which only the members are asked for.
type membersOnly struct {
	server
	all []dispatch.Member
}

func (b membersOnly) members() []dispatch.Member { return b.all }

// Any program may send a target with any number of slashes: the work does not depend on their number.
func TestTargetsOfManySlashes(t *testing.T) {
	names := []string{strings.Repeat("/", 10_000), "g/a"}
	var targets targets
	if allocs := testing.AllocsPerRun(1, func() { targets = newTargets(names) }); allocs > 50 {
		t.Errorf("%v allocations for two names", allocs)
	}
	if got := slices.Collect(targets.of(dispatch.Member{Group: "g"}, "node")); !slices.Equal(got, []string{"g/a"}) {
		t.Errorf("found are %q, want g/a", got)
	}
}

// With targets found by their names, a request is for the same members as with each target compared with each
// member.
func TestTargetsFindWhatComparisonsFind(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	word := func(parts ...string) string {
		var b strings.Builder
		for range random.IntN(4) {
			b.WriteString(parts[random.IntN(len(parts))])
		}
		return b.String()
	}
	found := 0
	for range 100_000 {
		const node = "a"
		w := &work{topic: &served{}}
		w.group = []string{"", "", "a", "b", "ab"}[random.IntN(5)]
		w.targets = []string{}
		for range random.IntN(5) {
			w.targets = append(w.targets, word("a", "b", "a/", "a/x", "x", "*"))
		}
		members := []dispatch.Member{}
		for range random.IntN(4) {
			if group := word("a", "b", "a/"); group != "" {
				members = append(members, dispatch.Member{Group: group})
			} else {
				members = append(members, dispatch.Member{Name: "x" + word("a", "/")})
			}
		}
		w.topic.bus = membersOnly{all: members}
		var want []string
		for _, m := range members {
			for _, target := range w.targets {
				here, ours := strings.CutPrefix(target, node+"/")
				switch {
				case m.Group != w.group && (w.group != "" || !ours):
				case ours && m.Group != "" && strings.HasPrefix(here, m.Group+"/"):
					want = append(want, here)
				case m.Matches(target), ours && (here == "*" || m.Matches(here)):
					want = append(want, cmp.Or(m.Group, m.Name))
				}
			}
		}
		got, all := w.meant(node)
		slices.Sort(got)
		slices.Sort(want)
		got, want = slices.Compact(got), slices.Compact(want)
		if all || !slices.Equal(got, want) {
			t.Fatalf("group %q, targets %q, members %q: %q, want %q", w.group, w.targets, members, got, want)
		}
		found += len(want)
	}
	if found < 2_000 {
		t.Errorf("only %d names are found: the test tries too few", found)
	}
}
