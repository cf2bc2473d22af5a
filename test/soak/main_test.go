package main

import (
	"testing"
	"time"
)

// TestSoak lets one bus end in each of the possible ways.
func TestSoak(t *testing.T) {
	if !soak(900*time.Millisecond, 300*time.Millisecond) {
		t.Error("a book was wrong")
	}
}
