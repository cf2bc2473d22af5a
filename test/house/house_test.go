package main

import (
	"slices"
	"strings"
	"testing"
)

// TestHouse runs the program. The test checks that the program finds something, and not what it
// finds.
func TestHouse(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	var out strings.Builder
	if _, err := house(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| code lines of the root package ", " dispatch.go", "sync.Mutex", "| longest function "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
}

func TestCodeLinesAreThoseWithTokens(t *testing.T) {
	source := "// Package p.\npackage p\n\nvar s = `a\n\nb` // three lines\n\n/* none\nof these */\nfunc f() {\n\t// nor this\n}\n"
	if got := codeLines([]byte(source)); got != 6 {
		t.Errorf("got %d code lines, want 6", got)
	}
}

func TestComponentsOfAGraph(t *testing.T) {
	graph := map[string]map[string]bool{
		"a": {"b": true}, "b": {"c": true}, "c": {"a": true, "d": true},
		"d": {"e": true}, "e": {"d": true}, "f": {"a": true, "f": true},
	}
	var got []string
	for _, component := range components(graph) {
		slices.Sort(component)
		got = append(got, strings.Join(component, ""))
	}
	slices.Sort(got)
	if want := []string{"abc", "de", "f"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestExecutedFilesOfAProfile(t *testing.T) {
	profile := "mode: atomic\nx/b.go:1.2,3.4 2 1\nx/a.go:1.2,3.4 2 0\nx/b.go:5.2,6.4 1 0\nx/c.go:1.2,3.4 1 10\n"
	if got, want := executed(profile), []string{"x/b.go", "x/c.go"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
