package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// What the sender's deadline is for reaches the producers, the report and the errors,
// and it stays a deadline.
func TestCauseOfTheSendersDeadlineReachesEverybody(t *testing.T) {
	mine := errors.New("the page has to be there")
	for name, test := range map[string]struct {
		opts []dispatch.CallOption
		ctx  func() (context.Context, context.CancelFunc)
		kind error
		want dispatch.Reason
	}{
		"a deadline": {
			ctx: func() (context.Context, context.CancelFunc) {
				return context.WithTimeoutCause(context.Background(), time.Second, mine)
			},
			kind: context.DeadlineExceeded, want: dispatch.ReasonDeadline,
		},
		"a deadline that is that of the call": {
			opts: opts(dispatch.WithTimeout(time.Second)),
			ctx: func() (context.Context, context.CancelFunc) {
				return context.WithTimeoutCause(context.Background(), time.Second, mine)
			},
			kind: context.DeadlineExceeded, want: dispatch.ReasonDeadline,
		},
		"a deadline of its sender's sender": {
			ctx: func() (context.Context, context.CancelFunc) {
				outer, cancel := context.WithTimeoutCause(context.Background(), time.Second, mine)
				ctx, cancelInner := context.WithTimeout(outer, time.Hour)
				return ctx, func() { cancelInner(); cancel() }
			},
			kind: context.DeadlineExceeded, want: dispatch.ReasonDeadline,
		},
		"a cancel": {
			ctx: func() (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancelCause(context.Background())
				time.AfterFunc(time.Second, func() { cancel(mine) })
				return ctx, func() { cancel(nil) }
			},
			kind: context.Canceled, want: dispatch.ReasonCanceled,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 50 {
				synctest.Test(t, func(t *testing.T) {
					d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
					var seen [3]error
					produce(t, d, "waits", func(ctx context.Context, _ int) (int, error) {
						<-ctx.Done()
						seen[0] = context.Cause(ctx)
						return 0, seen[0]
					})
					produce(t, d, "derives", func(ctx context.Context, _ int) (int, error) {
						ctx, cancel := context.WithTimeout(context.WithValue(ctx, &seen, 1), time.Hour)
						defer cancel()
						<-ctx.Done()
						seen[1] = context.Cause(ctx)
						return 0, ctx.Err()
					})
					produce(t, d, "replica", func(ctx context.Context, _ int) (int, error) {
						<-ctx.Done()
						seen[2] = context.Cause(ctx)
						return 0, ctx.Err()
					}, dispatch.WithGroup("g"))
					produce(t, d, "other replica", quick(1), dispatch.WithGroup("h"))
					ctx, cancel := test.ctx()
					defer cancel()
					c := sendFrom(ctx, t, d, test.opts...)
					<-c.Done()
					synctest.Wait()
					r := c.Report()
					if r.Reason != test.want || r.Elapsed != time.Second {
						t.Errorf("the call ended as %v after %v", r.Reason, r.Elapsed)
					}
					for i, cause := range seen {
						if !errors.Is(cause, mine) {
							t.Errorf("producer %d has seen the cause %v", i, cause)
						}
					}
					errs := []error{r.Err()}
					for _, o := range r.Outcomes[:3] {
						errs = append(errs, o.Err)
					}
					for _, err := range errs {
						if !errors.Is(err, mine) || !errors.Is(err, test.kind) {
							t.Errorf("%v: is the cause: %t, is %v: %t", err, errors.Is(err, mine), test.kind, errors.Is(err, test.kind))
						}
					}
				})
				if t.Failed() {
					return
				}
			}
		})
	}
}

// The same on real processors, where the deadline comes whenever it comes.
func TestCauseOfTheSendersDeadlineIsNoMatterOfLuck(t *testing.T) {
	mine := errors.New("the page has to be there")
	d, _ := newDispatcher()
	causes := make(chan error, 1)
	produce(t, d, "a", func(ctx context.Context, _ int) (int, error) {
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return 0, ctx.Err()
	})
	for i := range 300 {
		ctx, cancel := context.WithTimeoutCause(context.Background(), 200*time.Microsecond, mine)
		c := sendFrom(ctx, t, d)
		<-c.Done()
		r := c.Report()
		if !errors.Is(r.Err(), mine) || !errors.Is(r.Err(), context.DeadlineExceeded) || r.Reason != dispatch.ReasonDeadline {
			t.Fatalf("round %d: %v: %v", i, r.Reason, r.Err())
		}
		if r.Outcomes[0].Started {
			if cause := <-causes; !errors.Is(cause, mine) {
				t.Fatalf("round %d: the producer has seen the cause %v", i, cause)
			}
		}
		cancel()
	}
}

// A deadline that was over before the request was sent has its cause, too.
func TestCauseOfADeadlineThatIsOverAtSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mine := errors.New("the page has to be there")
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		ctx, cancel := context.WithTimeoutCause(context.Background(), time.Nanosecond, mine)
		defer cancel()
		<-ctx.Done()
		r := sendFrom(ctx, t, d).Report()
		expect(t, r, "deadline: a late")
		if err := r.Err(); !errors.Is(err, mine) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error is %v", err)
		}
	})
}

// odd is a context that somebody has made in an odd way.
type odd struct {
	context.Context
	done     chan struct{}
	err      error
	deadline time.Time
}

func (o odd) Done() <-chan struct{}       { return o.done }
func (o odd) Deadline() (time.Time, bool) { return o.deadline, !o.deadline.IsZero() }
func (o odd) Err() error {
	select {
	case <-o.done:
		return o.err
	default:
		return nil
	}
}

// Calls end when they should whatever the sender's context is made of.
func TestOddContexts(t *testing.T) {
	const timeout = 5 * time.Second
	for name, test := range map[string]struct {
		odd   odd
		after time.Duration // when the context ends; 0 for not at all
		want  string
		takes time.Duration
		err   error
	}{
		"an error of its own":                    {odd{err: errBroken}, time.Second, "canceled: a canceled", time.Second, errBroken},
		"a deadline that is wrapped":             {odd{err: fmt.Errorf("odd: %w", context.DeadlineExceeded)}, time.Second, "deadline: a late", time.Second, context.DeadlineExceeded},
		"a deadline that it does not keep":       {odd{deadline: time.Date(2000, 1, 1, 0, 0, 2, 0, time.UTC)}, 0, "deadline: a late", 2 * time.Second, context.DeadlineExceeded},
		"a deadline far away":                    {odd{deadline: time.Unix(1<<55, 0)}, 0, "deadline: a late", timeout, context.DeadlineExceeded},
		"the deadline of a cancel, and no cause": {odd{err: fmt.Errorf("odd: %w", context.Canceled)}, time.Second, "canceled: a canceled", time.Second, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithTimeout(timeout))
				produce(t, d, "a", patient)
				ctx := test.odd
				if ctx.Context = context.Background(); test.after > 0 {
					ctx.done = make(chan struct{})
					time.AfterFunc(test.after, func() { close(ctx.done) })
				}
				began := time.Now()
				r := sendFrom(ctx, t, d)
				<-r.Done()
				expect(t, r.Report(), test.want)
				if took := time.Since(began); took != test.takes || !errors.Is(r.Report().Err(), test.err) {
					t.Errorf("it took %v: %v", took, r.Report().Err())
				}
			})
		})
	}
}

// No outcome is later than the report it is in, and none earlier than its beginning.
func TestOutcomesAreNotLaterThanTheirReport(t *testing.T) {
	d, _ := newDispatcher(dispatch.WithLogger(slog.New(slog.DiscardHandler)))
	for i := range 3 {
		produce(t, d, fmt.Sprint("p", i), quick(i))
	}
	produce(t, d, "g0", quick(1), dispatch.WithGroup("g"))
	produce(t, d, "g1", quick(1), dispatch.WithGroup("g"))
	addStream(t, d, "s", yielding(1, 2))
	addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
		to.Name(far("x"))
		to.Result(far("x"), 1)
		to.End(far("x"), nil)
		return nil
	})
	var senders sync.WaitGroup
	for k := range 4 {
		senders.Go(func() {
			for i := range 1500 {
				ctx, cancel := context.WithCancel(context.Background())
				c, err := d.Send(ctx, ask, i, [][]dispatch.CallOption{nil, {dispatch.WithQuorum(2)}, {dispatch.WithTimeout(time.Duration(1+i%40) * time.Microsecond)}, {dispatch.WithHedge(1)}}[k]...)
				if err != nil {
					t.Error(err)
				}
				if i%3 == 0 {
					go c.Cancel(nil)
				}
				<-c.Done()
				r := c.Report()
				for _, o := range r.Outcomes {
					if o.Elapsed > r.Elapsed || o.Began > o.Elapsed || o.Began < 0 || o.Started != (o.Tried > 0) {
						t.Errorf("%+v in a report of %v", o, r.Elapsed)
					}
				}
				cancel()
			}
		})
	}
	senders.Wait()
	if err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// A deadline that has passed ends the call at once, also if the context does not say so itself.
func TestDeadlineThatHasPassedEndsTheCall(t *testing.T) {
	for _, ago := range []time.Duration{0, 1, time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher()
			produce(t, d, "a", patient)
			c := sendFrom(odd{Context: context.Background(), deadline: time.Now().Add(-ago)}, t, d)
			time.Sleep(time.Hour)
			if r := c.Report(); told(r) != "deadline: a late" || r.Elapsed != 0 {
				t.Errorf("with a deadline %v ago the call is %s after %v", ago, told(r), r.Elapsed)
			}
			c.Cancel(nil)
		})
	}
}
