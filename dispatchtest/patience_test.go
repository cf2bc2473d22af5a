package dispatchtest

import (
	"testing"
	"testing/synctest"
	"time"
)

// Outside a bubble, a test that waits for a missing event must fail soon.
func TestPatienceDependsOnTheClock(t *testing.T) {
	if got := patience(); got != 30*time.Second {
		t.Errorf("outside a bubble it is %v, want 30s", got)
	}
	synctest.Test(t, func(t *testing.T) {
		if got := patience(); got != time.Hour {
			t.Errorf("inside a bubble it is %v, want 1h0m0s", got)
		}
	})
}
