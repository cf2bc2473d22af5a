package callcontext_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/callcontext"
)

type key struct{}

func TestTheEndOfAContext(t *testing.T) {
	mine := errors.New("mine")
	deadline := time.Now().Add(time.Hour)
	for name, tt := range map[string]struct {
		exceeded bool
		cause    error
		err      error
	}{
		"at the deadline":               {true, context.DeadlineExceeded, context.DeadlineExceeded},
		"at the deadline, with a cause": {true, mine, context.DeadlineExceeded},
		"before it":                     {false, mine, context.Canceled},
		"before it, without a cause":    {false, context.Canceled, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			sender, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "v"))
			c := callcontext.New(sender, deadline)
			derived, stop := context.WithCancel(c)
			defer stop()
			if at, ok := derived.Deadline(); !ok || !at.Equal(deadline) {
				t.Errorf("the deadline is %v, %v", at, ok)
			}
			if derived.Value(key{}) != "v" {
				t.Error("the sender's values are missing")
			}
			cancel(errors.New("the sender's"))
			if c.Err() != nil || derived.Err() != nil {
				t.Error("the context has ended with the sender's")
			}
			c.End(tt.exceeded, tt.cause)
			c.End(!tt.exceeded, errors.New("another"))
			for what, ctx := range map[string]context.Context{"itself": c, "derived": derived} {
				<-ctx.Done()
				if ctx.Err() != tt.err || context.Cause(ctx) != tt.cause {
					t.Errorf("%s: %v because of %v, want %v because of %v", what, ctx.Err(), context.Cause(ctx), tt.err, tt.cause)
				}
			}
		})
	}
}

func TestAContextWithinAnother(t *testing.T) {
	mine := errors.New("mine")
	now := time.Now()
	for name, tt := range map[string]struct {
		end   func(base, c *callcontext.Context)
		err   error
		cause error
	}{
		"ends with it":                 {func(base, _ *callcontext.Context) { base.End(false, mine) }, context.Canceled, mine},
		"ends with it at the deadline": {func(base, _ *callcontext.Context) { base.End(true, mine) }, context.DeadlineExceeded, mine},
		"ends before it": {func(base, c *callcontext.Context) {
			c.End(true, context.DeadlineExceeded)
			base.End(false, mine)
		}, context.DeadlineExceeded, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := callcontext.New(context.WithValue(t.Context(), key{}, "v"), now.Add(time.Hour))
				c := callcontext.Within(base, now.Add(time.Minute))
				if at, ok := c.Deadline(); !ok || !at.Equal(now.Add(time.Minute)) || c.Value(key{}) != "v" || c.Err() != nil {
					t.Errorf("the deadline is %v, %v, the value %v, the error %v", at, ok, c.Value(key{}), c.Err())
				}
				tt.end(base, c)
				<-c.Done()
				if c.Err() != tt.err || context.Cause(c) != tt.cause {
					t.Errorf("%v because of %v, want %v because of %v", c.Err(), context.Cause(c), tt.err, tt.cause)
				}
				later := callcontext.Within(base, now.Add(time.Minute))
				if later.Err() != base.Err() || context.Cause(later) != context.Cause(base) {
					t.Errorf("one that is made afterwards: %v because of %v", later.Err(), context.Cause(later))
				}
			})
		})
	}
}
