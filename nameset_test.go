package dispatch

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// For members and names of few letters and slashes, a set finds exactly what Member.Matches finds.
func TestNameSetAgreesWithMatches(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	word := func(parts ...string) string {
		var b strings.Builder
		for range random.IntN(4) {
			b.WriteString(parts[random.IntN(len(parts))])
		}
		return b.String()
	}
	matched := 0
	for range 200_000 {
		names := make([]string, 1+random.IntN(4))
		for i := range names {
			names[i] = word("a", "b", "/", "a/", "*")
		}
		members := make([]Member, 1+random.IntN(3))
		for i := range members {
			members[i] = Member{Node: word("a", "b"), Group: word("a", "b", "/"), Name: word("a", "b", "/")}
		}
		s := newNameSet(names)
		for _, m := range members {
			want := slices.ContainsFunc(names, m.Matches)
			if got := s.meets(m); got != want {
				t.Fatalf("names %q stand for %#v: %t, want %t", names, m, got, want)
			}
			if want {
				matched++
			}
		}
		var want []string
		for _, name := range names {
			has := func(m Member) bool { return m.Matches(name) }
			if !slices.Contains(want, name) && !slices.ContainsFunc(members, has) {
				want = append(want, name)
			}
		}
		if s.left != len(want) {
			t.Fatalf("names %q, members %#v: %d are left, want %q", names, members, s.left, want)
		}
		if got := s.missing(); !slices.Equal(got, want) {
			t.Fatalf("names %q, members %#v: missing %q, want %q", names, members, got, want)
		}
		for _, m := range members {
			s.loses(m)
		}
		if s.left != len(s.names) {
			t.Fatalf("names %q, members %#v: %d are left without the members", names, members, s.left)
		}
	}
	if matched < 20_000 {
		t.Errorf("only %d members have names: the test tries too few", matched)
	}
}
