package main

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// TestEverything runs the program with a small factor. The measurements then mean nothing, but
// every part must work.
func TestEverything(t *testing.T) {
	var out strings.Builder
	s := &scale{out: &out, factor: 0.001, patience: time.Second, most: 100}
	measure.RunAll(&out, s.parts())
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
