package dispatch_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// overdue is a context that does not end although its deadline was before.
type overdue struct {
	context.Context
	by time.Duration
}

func (o overdue) Deadline() (time.Time, bool) { return time.Now().Add(-o.by), true }

// A call ends even if the sender's context does not keep its own deadline.
func TestCallEndsWhereTheSendersDeadlineIsOver(t *testing.T) {
	for _, by := range []time.Duration{0, 1, time.Millisecond, time.Second, 1 << 62} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				d, _ := newDispatcher()
				produce(t, d, "a", patient)
				c := sendFrom(overdue{ctx, by}, t, d)
				select {
				case <-c.Done():
					expect(t, c.Report(), "deadline: a late")
				case <-time.After(100*time.Millisecond + 1):
					t.Error("the call goes on")
				}
			})
		})
	}
}
