package dispatch_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// The thread that a producer has locked itself to and changed ends with it.
func TestThreadOfAProducerIsNotHandedOn(t *testing.T) {
	for name, test := range map[string]struct {
		opts     []dispatch.CallOption
		register func(t *testing.T, d *dispatcher, look func())
	}{
		"to the next producer": {nil, func(t *testing.T, d *dispatcher, look func()) {
			produce(t, d, "b", func(context.Context, int) (int, error) { look(); return 1, nil })
		}},
		"to the next producer in turn": {opts(dispatch.WithParallelism(1)), func(t *testing.T, d *dispatcher, look func()) {
			produce(t, d, "b", func(context.Context, int) (int, error) { look(); return 1, nil })
		}},
		"to a listener": {nil, func(t *testing.T, d *dispatcher, look func()) {
			listen(t, d, func(context.Context, result) { look() })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				d, _ := newDispatcher()
				var locked atomic.Int64
				produce(t, d, "a", func(context.Context, int) (int, error) {
					runtime.LockOSThread() // for good: the thread is not to be used again
					locked.Store(int64(syscall.Gettid()))
					for began := time.Now(); time.Since(began) < 5*time.Microsecond; {
					}
					return 1, nil
				})
				looked := make(chan bool, 1)
				test.register(t, d, func() {
					for locked.Load() == 0 { // the other producer may not have begun, and may get this thread
						runtime.Gosched()
					}
					looked <- int64(syscall.Gettid()) == locked.Load()
				})
				ended(t, d, test.opts...)
				if <-looked {
					t.Fatal("the thread of a producer was handed on")
				}
			}
		})
	}
}
