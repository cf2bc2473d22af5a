package dispatch_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// asking is a cause that looks at its call.
type asking struct{ look func() }

func (a asking) Error() string        { return "asking" }
func (a asking) Is(target error) bool { a.look(); return false }

// No lock is held while methods of a cause run.
func TestCauseMayLookAtItsCall(t *testing.T) {
	d, _ := newDispatcher()
	produce(t, d, "a", patient)
	c := send(t, d)
	done := make(chan struct{})
	go func() {
		c.Cancel(asking{func() { c.Report() }})
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("deadlock")
	}
}

// A cause whose methods panic ends the call as any other does.
func TestCauseWhoseMethodsPanicEndsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", patient)
		ctx, cancel := context.WithCancelCause(t.Context())
		c := sendFrom(ctx, t, d)
		cancel((*nilError)(nil))
		<-c.Done()
		expect(t, c.Report(), "canceled: a canceled")
	})
}
