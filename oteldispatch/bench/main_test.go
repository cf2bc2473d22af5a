package main

import (
	"io"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// The program runs without an error. With so few rounds, its measurements mean nothing.
func TestEveryRow(t *testing.T) {
	for _, r := range rows {
		r.sizes = []int{1, 10}
		if err := compare(io.Discard, r, measure.Rounds{N: 2, Length: 100 * time.Microsecond}); err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
	}
}
