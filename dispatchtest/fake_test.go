package dispatchtest_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/seed-bb4b4d74/dispatch"
)

// Short names for the types in most tests of this package.
type (
	cell     = dispatch.Dispatcher[string, float64]
	producer = dispatch.Producer[string, float64]
)

// fakeTB stands in for a test that may fail.
type fakeTB struct {
	testing.TB // the real one, for all that is not below

	mu       sync.Mutex // guards the fields below
	failures []string
	cleanups []func()
}

func (f *fakeTB) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures = append(f.failures, fmt.Sprintf(format, args...))
}

func (f *fakeTB) Fatalf(format string, args ...any) {
	f.Errorf("fatal: "+format, args...)
	runtime.Goexit()
}

func (f *fakeTB) Cleanup(cleanup func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cleanups = append(f.cleanups, cleanup)
}

// failures runs a test to its end, and returns the texts of its failures.
func failures(t *testing.T, test func(t testing.TB)) []string {
	t.Helper()
	fake := &fakeTB{TB: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		test(fake)
	}()
	<-ended
	for _, cleanup := range slices.Backward(fake.cleanups) {
		cleanup()
	}
	return fake.failures
}
