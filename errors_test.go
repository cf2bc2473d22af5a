package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestErrorTypes(t *testing.T) {
	typeOf := func(err error) string {
		typed, ok := errors.AsType[interface {
			error
			ErrorType() string
		}](err)
		if !ok {
			return ""
		}
		return typed.ErrorType()
	}
	all := map[string]string{}
	for want, err := range map[string]error{
		"invalid_option": dispatch.ErrInvalidOption, "invalid_topic": dispatch.ErrInvalidTopic, "topic_type": dispatch.ErrTopicType,
		"invalid_argument": dispatch.ErrInvalidArgument, "duplicate": dispatch.ErrDuplicate, "closed": dispatch.ErrClosed,
		"no_producers": dispatch.ErrNoProducers, "quorum_lost": dispatch.ErrQuorumLost, "satisfied": dispatch.ErrSatisfied,
		"fail_fast": dispatch.ErrFailFast, "stalled": dispatch.ErrStalled, "stuck": dispatch.ErrStuck,
		"too_few_producers": dispatch.ErrTooFewProducers, "unknown_member": dispatch.ErrUnknownMember,
		"unreachable": dispatch.ErrUnreachable, "incompatible": dispatch.ErrIncompatible, "lost": dispatch.ErrLost,
		"gone": dispatch.ErrGone, "overloaded": dispatch.ErrOverloaded, "queue_full": dispatch.ErrQueueFull,
		"no_result": dispatch.ErrNoResult, "removed": dispatch.ErrRemoved, "declined": dispatch.ErrDecline,
		"too_deep": dispatch.ErrTooDeep, "goexit": dispatch.ErrGoexit, "stream_used": dispatch.ErrStreamUsed,
		"panic": &dispatch.PanicError{Value: 1}, "shutdown": &dispatch.ShutdownError{Err: context.Canceled},
	} {
		if got := typeOf(fmt.Errorf("here: %w", err)); got != want || all[got] != "" {
			t.Errorf("the type of %v is %q, want %q", err, got, want)
		}
		all[want] = err.Error()
	}

	for _, test := range []struct {
		state dispatch.State
		err   error
		want  string
	}{
		{dispatch.StateFailed, errBroken, "failed"},
		{dispatch.StateFailed, fmt.Errorf("x: %w", dispatch.ErrLost), "lost"},
		{dispatch.StateLate, context.DeadlineExceeded, "timeout"},
		{dispatch.StateCanceled, context.Canceled, "canceled"},
		{dispatch.StateCanceled, dispatch.ErrSatisfied, "satisfied"},
		{dispatch.StatePanicked, &dispatch.PanicError{Value: 1}, "panic"},
	} {
		if got := typeOf(&dispatch.MemberError{State: test.state, Err: test.err}); got != test.want {
			t.Errorf("the type of a member that is %v with %v is %q, want %q", test.state, test.err, got, test.want)
		}
	}

	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		want := func(want string, opts ...dispatch.CallOption) {
			t.Helper()
			_, err := d.Gather(t.Context(), ask, 0, opts...)
			if got := typeOf(err); got != want {
				t.Errorf("the type of %v is %q, want %q", err, got, want)
			}
		}
		want("no_producers")
		want("too_few_producers", dispatch.WithMinProducers(2))
		broken := produce(t, d, "broken", failing(errBroken))
		want("partial")
		want("quorum_lost", dispatch.WithQuorum(1))
		want("fail_fast", dispatch.WithFailFast())
		broken.Remove()
		produce(t, d, "slow", slow(time.Hour, 1))
		want("timeout")
		c := send(t, d)
		c.Cancel(nil)
		for name, p := range map[string]producer{"panic": panicking(1), "failed": failing(errBroken)} {
			produce(t, d, name, p, dispatch.WithGroup(name))
			produce(t, d, name+" as well", p, dispatch.WithGroup(name))
			produce(t, d, name+" in both", p, dispatch.WithGroup("both"))
		}
		groups := send(t, d, dispatch.WithTargets("panic", "failed", "both")).Outcomes()
		for o := range groups {
			want := map[string]string{"panic": "panic", "failed": "failed", "both": "partial"}[o.Member.Group]
			if got := typeOf(&dispatch.MemberError{Member: o.Member, State: o.State, Err: o.Err}); got != want {
				t.Errorf("the type of %v is %q, want %q", o.Err, got, want)
			}
		}
		if got := typeOf(c.Report().Err()); got != "canceled" {
			t.Errorf("the type of %v is %q, want canceled", c.Report().Err(), got)
		}
	})
}
