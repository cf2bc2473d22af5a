package main

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// TestEverything runs the program with very few calls. Its numbers mean nothing, but each side checks its
// results.
func TestEverything(t *testing.T) {
	var out strings.Builder
	b := &bench{out: &out, rounds: 2, round: 2, calls: 40, nodes: 30, crowd: 100, beat: 100 * time.Millisecond, kills: 2}
	measure.RunAll(&out, b.parts())
	if strings.Contains(out.String(), "BROKEN") {
		t.Errorf("a part failed:\n%s", &out)
	}
	for _, row := range []string{
		"responders answer with ready bytes",
		"the same in a cluster of 3 servers",
		"subscriptions",
		"announcements that were dropped",
		"100 topics",
		"1000 members",
		"results that were lost",
		"a call to all 300 members takes",
	} {
		if !strings.Contains(out.String(), "| "+row+" ") {
			t.Errorf("no row %q in:\n%s", row, &out)
		}
	}
}
