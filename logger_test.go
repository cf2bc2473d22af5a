package dispatch_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A logger that blocks for ever does not keep the bus from shutting down.
func TestBlockedLoggerDoesNotHoldUpShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := dispatch.New[int, int](dispatch.WithLogger(slog.New(&unruly{do: func() { <-release }})))
		produce(t, d, "a", panicking("boom"))
		for range 10 {
			ended(t, d)
		}
		began := time.Now()
		if err := d.Shutdown(context.Background()); err != nil || time.Since(began) != 0 {
			t.Errorf("Shutdown: %v after %v", err, time.Since(began))
		}
		close(release)
	})
}

// The stack of a panic is logged once per registration and minute, and how many there
// were since then with each of the others.
func TestStackOfAPanicIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		produce(t, d, "a", panicking("boom"))
		produce(t, d, "b", panicking("boom"))
		listen(t, d, ignore, dispatch.WithName("l"), dispatch.OnOutcome(func(dispatch.Outcome) { panic("boom") }))
		counts := func() string {
			synctest.Wait()
			lines := logged.all()
			logged.lines = nil
			var words []string
			for _, name := range []string{"producer=a", "producer=b", "listener=l"} {
				panics, stacks, since := 0, 0, ""
				for _, line := range lines {
					if !strings.Contains(line, name) {
						continue
					}
					panics++
					if strings.Contains(line, "stack=goroutine") {
						stacks++
					}
					if _, n, ok := strings.Cut(line, "panics_since_stack="); ok {
						since = " " + strings.TrimRight(n, "]")
					}
				}
				words = append(words, fmt.Sprintf("%s %d/%d%s", name, panics, stacks, since))
			}
			return strings.Join(words, ", ")
		}
		for i, want := range []string{
			"producer=a 1/1, producer=b 1/1, listener=l 2/1 1",
			"producer=a 1/0 1, producer=b 1/0 1, listener=l 2/0 3",
			"producer=a 1/0 2, producer=b 1/0 2, listener=l 2/0 5",
		} {
			ended(t, d)
			if got := counts(); got != want {
				t.Errorf("call %d: %s, want %s", i, got, want)
			}
		}
		time.Sleep(time.Minute - time.Nanosecond)
		ended(t, d)
		if got, want := counts(), "producer=a 1/0 3, producer=b 1/0 3, listener=l 2/0 7"; got != want {
			t.Errorf("within the minute: %s, want %s", got, want)
		}
		time.Sleep(time.Nanosecond)
		ended(t, d)
		if got, want := counts(), "producer=a 1/1, producer=b 1/1, listener=l 2/1 1"; got != want {
			t.Errorf("after a minute: %s, want %s", got, want)
		}
	})
}
