// Package callcontext makes the context that the producers of a call share.
//
// The context has the values of the sender's context and the deadline of the call. It ends when
// End is called, not when the clock reaches the deadline: otherwise a producer that returns the
// error of its context could count as failed before its call is over. It is a context of
// package context, so contexts that are derived from it need no goroutine.
package callcontext

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Context is a context that ends when End is called.
type Context struct {
	context.Context
	cancel context.CancelCauseFunc
	parent *parent
	once   sync.Once
}

// New returns a context with the sender's values and this deadline.
func New(sender context.Context, deadline time.Time) *Context {
	p := &parent{deadline: deadline, expired: make(chan struct{})}
	p.Context, p.setCause = context.WithCancelCause(context.WithoutCancel(sender))
	ctx, cancel := context.WithCancelCause(p)
	return &Context{Context: ctx, cancel: cancel, parent: p}
}

// Within returns a context that ends when base does, and has its values and this deadline.
func Within(base context.Context, deadline time.Time) *Context {
	c := New(base, deadline)
	end := func() { c.End(errors.Is(base.Err(), context.DeadlineExceeded), context.Cause(base)) }
	if base.Err() != nil {
		end()
		return c
	}
	stop := context.AfterFunc(base, end)
	context.AfterFunc(c, func() { stop() })
	return c
}

// End ends the context, as exceeded if its deadline has come and as canceled otherwise.
// Only the first call counts.
func (c *Context) End(exceeded bool, cause error) {
	c.once.Do(func() {
		if exceeded {
			c.parent.setCause(cause)
			close(c.parent.expired)
			c.parent.child()
		}
		c.cancel(cause)
	})
}

// parent is the parent of a Context. When it ends, the Context has an exceeded deadline, with
// a cause: package context takes the error of a Context from its parent, and the cause from
// the context in the parent.
type parent struct {
	context.Context // has the sender's values, and the cause
	setCause        context.CancelCauseFunc
	deadline        time.Time
	expired         chan struct{}
	child           func() // ends the Context
}

func (p *parent) Deadline() (time.Time, bool) { return p.deadline, true }
func (p *parent) Done() <-chan struct{}       { return p.expired }

func (p *parent) Err() error {
	select {
	case <-p.expired:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// AfterFunc is called once, by New. Because of it, package context needs no goroutine that
// waits for Done.
func (p *parent) AfterFunc(f func()) (stop func() bool) {
	p.child = f
	return func() bool { return true }
}
