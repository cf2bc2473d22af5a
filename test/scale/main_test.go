package main

import (
	"strings"
	"testing"
)

// TestEverything runs the program with little of everything. What it measures then
// means nothing, but every part has to do what it is for.
func TestEverything(t *testing.T) {
	var out strings.Builder
	s := &scale{out: &out, factor: 0.001}
	s.runAll(parts)
	for _, bad := range []string{"BROKEN", "GREW"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("%s:\n%s", bad, &out)
		}
	}
	for _, row := range []string{"calls in flight", "producers ", "allocations of one", "… for each result and listener"} {
		if !strings.Contains(out.String(), "| "+row) {
			t.Errorf("no row %q in:\n%s", row, &out)
		}
	}
}

func TestChoose(t *testing.T) {
	chosen, err := choose("listeners,flight")
	if err != nil || len(chosen) != 2 || chosen[0].name != "flight" || chosen[1].name != "listeners" {
		t.Errorf("chose %v, %v; want flight and listeners", chosen, err)
	}
	if _, err := choose("flight,fight"); err == nil {
		t.Error("chose a part that does not exist")
	}
}
