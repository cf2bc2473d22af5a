package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
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

// lateDone is a context whose end is told later than it comes.
type lateDone struct {
	context.Context
	done chan struct{}
}

func (c lateDone) Done() <-chan struct{} { return c.done }

// A busy process may be late with the timer of the sender's context.
func TestTheEndOfTheSendersContextMayComeALittleLate(t *testing.T) {
	mine := errors.New("the page has to be there")
	for by, want := range map[time.Duration]struct {
		elapsed time.Duration
		cause   error
	}{
		30 * time.Millisecond: {1030 * time.Millisecond, mine},
		90 * time.Millisecond: {1090 * time.Millisecond, mine},
		time.Hour:             {1100 * time.Millisecond, context.DeadlineExceeded},
	} {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher()
			produce(t, d, "a", slow(time.Hour, 1))
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, mine)
			defer cancel()
			late := lateDone{ctx, make(chan struct{})}
			time.AfterFunc(time.Second+by, func() { close(late.done) })
			c := sendFrom(late, t, d)
			<-c.Done()
			if r := c.Report(); r.Reason != dispatch.ReasonDeadline || r.Elapsed != want.elapsed || !errors.Is(r.Err(), want.cause) || errors.Is(r.Err(), mine) != (want.cause == mine) {
				t.Errorf("%v late: %v after %v: %v", by, r.Reason, r.Elapsed, r.Err())
			}
			time.Sleep(2 * time.Hour)
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

// odd is a context that was made in an odd way.
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

func TestFirstOfTheEndsThatRaceCounts(t *testing.T) {
	const (
		byCancel = 1 << iota
		byContext
		byDeadline
		byLastResult
		byQuorum
		byStall
		byClose
		all
	)
	reasons := map[int]dispatch.Reason{
		byCancel: dispatch.ReasonCanceled, byContext: dispatch.ReasonCanceled, byDeadline: dispatch.ReasonDeadline,
		byLastResult: dispatch.ReasonAllEnded, byQuorum: dispatch.ReasonSatisfied, byStall: dispatch.ReasonStalled, byClose: dispatch.ReasonClosed,
	}
	for ends := 1; ends < all; ends++ {
		for range 5 {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher()
				opts := []dispatch.CallOption{dispatch.WithTimeout(time.Hour)}
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				at := func(end int, f func()) {
					if ends&end != 0 {
						time.AfterFunc(time.Second, f)
					}
				}
				if ends&byDeadline != 0 {
					opts = append(opts, dispatch.WithTimeout(time.Second))
				}
				if ends&byQuorum != 0 {
					opts = append(opts, dispatch.WithQuorum(2))
				}
				if ends&byStall != 0 {
					opts = append(opts, dispatch.WithStall(time.Second))
				}
				// The first gives a result at once, for the stall to begin. The
				// last never does, unless its result is one of the ends.
				produce(t, d, "a", quick(1))
				produce(t, d, "b", slow(map[bool]time.Duration{false: time.Hour, true: time.Second}[ends&(byLastResult|byQuorum) != 0], 2))
				if ends&byLastResult == 0 {
					produce(t, d, "c", patient)
				}
				diary := keepDiary(t, d)
				c := sendFrom(ctx, t, d, opts...)
				at(byCancel, func() { c.Cancel(errors.New("enough")) })
				at(byContext, cancel)
				at(byClose, func() { d.Close() })
				if err := c.Wait(context.Background()); err != nil {
					t.Errorf("Wait: %v", err)
				}
				first := c.Report()
				time.Sleep(time.Second)
				synctest.Wait()

				sameReport(t, first, c.Report())
				if first.Elapsed != time.Second {
					t.Errorf("the call took %v", first.Elapsed)
				}
				possible := false
				for end, reason := range reasons {
					possible = possible || ends&end != 0 && reason == first.Reason
				}
				if !possible {
					t.Errorf("ends %b: the reason is %v", ends, first.Reason)
				}
				if n := len(first.Outcomes); diary.count("done") != 1 || diary.count("outcome") != n {
					t.Errorf("listener was told %q of %d members", diary.all(), n)
				}
				for _, o := range first.Outcomes {
					if (o.State == dispatch.StateLate) != (first.Reason == dispatch.ReasonDeadline && o.State != dispatch.StateOK) {
						t.Errorf("%s", told(first))
					}
				}
				logged.nothing(t)
			})
			if t.Failed() {
				return
			}
		}
	}
}

// How a call ends and when, for producers that end one after another.
func TestCallEnds(t *testing.T) {
	type step struct {
		after time.Duration // since the start of the call
		state dispatch.State
	}
	const s, ms = time.Second, time.Millisecond
	ok := func(after time.Duration) step { return step{after, dispatch.StateOK} }
	failed := func(after time.Duration) step { return step{after, dispatch.StateFailed} }
	panicked := func(after time.Duration) step { return step{after, dispatch.StatePanicked} }
	declined := func(after time.Duration) step { return step{after, dispatch.StateDeclined} }
	opts := func(o ...dispatch.CallOption) []dispatch.CallOption { return o }

	for name, test := range map[string]struct {
		opts  []dispatch.CallOption
		steps []step
		want  string
		after time.Duration
	}{
		"complete": {nil, []step{ok(s), ok(2 * s)}, "all ended: 0 ok, 1 ok", 2 * s},
		"complete with failures": {
			nil,
			[]step{failed(s), panicked(3 * s), declined(2 * s), ok(0)},
			"all ended: 0 failed, 1 panicked, 2 declined, 3 ok", 3 * s,
		},
		"deadline":                       {nil, []step{ok(s), ok(6 * s)}, "deadline: 0 ok, 1 late", 5 * s},
		"deadline by the option":         {opts(dispatch.WithTimeout(3 * s)), []step{ok(s), ok(4 * s)}, "deadline: 0 ok, 1 late", 3 * s},
		"a timeout beyond 5 s":           {opts(dispatch.WithTimeout(time.Hour)), []step{ok(s), ok(50 * time.Minute)}, "all ended: 0 ok, 1 ok", 50 * time.Minute},
		"the longest timeout":            {opts(dispatch.WithTimeout(1<<63 - 1)), []step{ok(s), ok(50 * time.Hour)}, "all ended: 0 ok, 1 ok", 50 * time.Hour},
		"the shortest timeout":           {opts(dispatch.WithTimeout(1)), []step{ok(s)}, "deadline: 0 late", 1},
		"the last option counts":         {opts(dispatch.WithTimeout(s), dispatch.WithTimeout(2*s)), []step{ok(3 * s)}, "deadline: 0 late", 2 * s},
		"satisfied":                      {opts(dispatch.WithQuorum(2)), []step{ok(s), ok(3 * s), ok(2 * s), ok(4 * s)}, "satisfied: 0 ok, 1 canceled, 2 ok, 3 canceled", 2 * s},
		"satisfied by the last":          {opts(dispatch.WithQuorum(2)), []step{failed(s), ok(s), ok(2 * s)}, "satisfied: 0 failed, 1 ok, 2 ok", 2 * s},
		"satisfied by all":               {opts(dispatch.WithQuorum(2)), []step{ok(s), ok(2 * s)}, "satisfied: 0 ok, 1 ok", 2 * s},
		"satisfied at once":              {opts(dispatch.WithQuorum(1)), []step{ok(s), ok(0)}, "satisfied: 0 canceled, 1 ok", 0},
		"satisfied in spite of failures": {opts(dispatch.WithQuorum(2)), []step{ok(0), failed(s), panicked(2 * s), ok(3 * s), ok(4 * s)}, "satisfied: 0 ok, 1 failed, 2 panicked, 3 ok, 4 canceled", 3 * s},
		"quorum lost by failures":        {opts(dispatch.WithQuorum(2)), []step{ok(0), failed(s), panicked(2 * s)}, "quorum lost: 0 ok, 1 failed, 2 panicked", 2 * s},
		"quorum lost before all have ended": {
			opts(dispatch.WithQuorum(3)),
			[]step{ok(0), failed(s), panicked(2 * s), ok(3 * s)},
			"quorum lost: 0 ok, 1 failed, 2 panicked, 3 canceled", 2 * s,
		},
		"quorum lost by declining":  {opts(dispatch.WithQuorum(2)), []step{declined(s), ok(3 * s)}, "quorum lost: 0 declined, 1 canceled", s},
		"quorum beyond the members": {opts(dispatch.WithQuorum(3)), []step{ok(0), ok(0)}, "quorum lost: 0 canceled, 1 canceled", 0},
		"quorum not by the deadline": {
			opts(dispatch.WithQuorum(2)),
			[]step{ok(s), ok(6 * s), ok(7 * s)},
			"deadline: 0 ok, 1 late, 2 late", 5 * s,
		},
		"stalled":                     {opts(dispatch.WithStall(500 * ms)), []step{ok(s), ok(1400 * ms), ok(1800 * ms), ok(3 * s)}, "stalled: 0 ok, 1 ok, 2 ok, 3 canceled", 2300 * ms},
		"no stall before a result":    {opts(dispatch.WithStall(500 * ms)), []step{ok(3 * s), ok(3400 * ms)}, "all ended: 0 ok, 1 ok", 3400 * ms},
		"no stall without any result": {opts(dispatch.WithStall(500 * ms)), []step{failed(s), declined(2 * s), ok(6 * s)}, "deadline: 0 failed, 1 declined, 2 late", 5 * s},
		"a failure arms no stall":     {opts(dispatch.WithStall(500 * ms)), []step{failed(s), ok(3 * s), ok(4 * s)}, "stalled: 0 failed, 1 ok, 2 canceled", 3500 * ms},
		"a failure re-arms no stall":  {opts(dispatch.WithStall(500 * ms)), []step{ok(s), failed(1300 * ms), ok(1700 * ms)}, "stalled: 0 ok, 1 failed, 2 canceled", 1500 * ms},
		"a stall after many results": {
			opts(dispatch.WithStall(500 * ms)),
			[]step{ok(0), ok(400 * ms), ok(800 * ms), ok(1200 * ms), ok(1600 * ms), ok(2000 * ms), ok(4 * s)},
			"stalled: 0 ok, 1 ok, 2 ok, 3 ok, 4 ok, 5 ok, 6 canceled", 2500 * ms,
		},
		"a stall never extends the deadline": {opts(dispatch.WithStall(3 * s)), []step{ok(s), ok(3 * s), ok(9 * s)}, "deadline: 0 ok, 1 ok, 2 late", 5 * s},
		"a stall beyond the deadline":        {opts(dispatch.WithStall(time.Hour)), []step{ok(s), ok(9 * s)}, "deadline: 0 ok, 1 late", 5 * s},
		"the longest stall":                  {opts(dispatch.WithStall(1<<63 - 1)), []step{ok(s), ok(9 * s)}, "deadline: 0 ok, 1 late", 5 * s},
		"a stall with a quorum":              {opts(dispatch.WithStall(s), dispatch.WithQuorum(3)), []step{ok(s), ok(1500 * ms), ok(4 * s)}, "stalled: 0 ok, 1 ok, 2 canceled", 2500 * ms},
		"failed fast":                        {opts(dispatch.WithFailFast()), []step{ok(s), failed(2 * s), ok(3 * s)}, "failed fast: 0 ok, 1 failed, 2 canceled", 2 * s},
		"failed fast by a panic":             {opts(dispatch.WithFailFast()), []step{ok(3 * s), panicked(2 * s), ok(3 * s)}, "failed fast: 0 canceled, 1 panicked, 2 canceled", 2 * s},
		"failed fast at the last":            {opts(dispatch.WithFailFast()), []step{ok(s), failed(2 * s)}, "failed fast: 0 ok, 1 failed", 2 * s},
		"declining is no failure":            {opts(dispatch.WithFailFast()), []step{declined(s), ok(2 * s)}, "all ended: 0 declined, 1 ok", 2 * s},
		"good news first":                    {opts(dispatch.WithFailFast(), dispatch.WithQuorum(1)), []step{ok(s), failed(2 * s)}, "satisfied: 0 ok, 1 canceled", s},
		"one at a time":                      {opts(dispatch.WithParallelism(1)), []step{ok(s), ok(s), failed(s), ok(s)}, "all ended: 0 ok, 1 ok, 2 failed, 3 ok", 4 * s},
		"one at a time until the deadline":   {opts(dispatch.WithParallelism(1)), []step{ok(3 * s), ok(3 * s), ok(3 * s)}, "deadline: 0 ok, 1 late, 2 late", 5 * s},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				var started atomic.Int32
				for i, step := range test.steps {
					produce(t, d, fmt.Sprint(i), func(ctx context.Context, _ int) (int, error) {
						started.Add(1)
						if _, err := slow(step.after, i)(ctx, 0); err != nil && step.after > 0 {
							return 0, fmt.Errorf("interrupted: %w", err)
						}
						switch step.state {
						case dispatch.StateFailed:
							return 0, errBroken
						case dispatch.StatePanicked:
							panic(errBroken)
						case dispatch.StateDeclined:
							return 0, fmt.Errorf("not me: %w", dispatch.ErrDecline)
						default:
							return i, nil
						}
					})
				}
				diary := keepDiary(t, d)
				r := ended(t, d, test.opts...)
				synctest.Wait()
				sameCall(t, r, diary)

				expect(t, r, test.want)
				if r.Elapsed != test.after {
					t.Errorf("it ended after %v, want %v", r.Elapsed, test.after)
				}
				running := int32(0)
				for i, o := range r.Outcomes {
					if o.Started {
						running++
					}
					if wantErr := o.State != dispatch.StateOK; (o.Err != nil) != wantErr {
						t.Errorf("%v is %v with error %v", o.Member, o.State, o.Err)
					}
					want := test.after
					if o.Started {
						want = min(o.Began+test.steps[i].after, test.after)
					}
					if o.Elapsed != want {
						t.Errorf("%v ended after %v, want %v", o.Member, o.Elapsed, want)
					}
					if want := map[bool]int{true: 1}[o.State == dispatch.StateOK]; o.Results != want {
						t.Errorf("%v is %v with %d results", o.Member, o.State, o.Results)
					}
				}
				if running != started.Load() {
					t.Errorf("%d started by the report, %d in fact", running, started.Load())
				}
			})
		})
	}
}

func TestContextThatHasEnded(t *testing.T) {
	for name, test := range map[string]struct {
		ctx   func() (context.Context, context.CancelFunc)
		want  string
		cause error
	}{
		"canceled": {func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return ctx, cancel
		}, "canceled: a canceled, b canceled", context.Canceled},
		"canceled for a reason": {func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(context.Background())
			cancel(errBroken)
			return ctx, func() {}
		}, "canceled: a canceled, b canceled", errBroken},
		"expired": {func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), -time.Second)
		}, "deadline: a late, b late", context.DeadlineExceeded},
		"expiring now": {func() (context.Context, context.CancelFunc) {
			return context.WithDeadline(context.Background(), time.Now())
		}, "deadline: a late, b late", context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := test.ctx()
				defer cancel()
				d, _ := newDispatcher()
				asked := 0
				for _, name := range []string{"a", "b"} {
					produce(t, d, name, func(context.Context, int) (int, error) {
						asked++
						return 0, nil
					})
				}
				diary := keepDiary(t, d)
				c := sendFrom(ctx, t, d)
				select {
				case <-c.Done():
				default:
					t.Error("the call has not ended when Send returns")
				}
				r := c.Report()
				synctest.Wait()
				expect(t, r, test.want)
				sameCall(t, r, diary)
				for _, o := range r.Outcomes {
					if o.Started || !errors.Is(o.Err, test.cause) {
						t.Errorf("outcome %+v, want it not started because of %v", o, test.cause)
					}
				}
				if _, err := d.Gather(ctx, ask, 0); !errors.Is(err, test.cause) {
					t.Errorf("Gather: %v", err)
				}
				if _, err := d.First(ctx, ask, 0); !errors.Is(err, test.cause) {
					t.Errorf("First: %v", err)
				}
				for _, err := range d.Stream(ctx, ask, 0) {
					if !errors.Is(err, test.cause) {
						t.Errorf("Stream: %v", err)
					}
				}
				synctest.Wait()
				if asked != 0 {
					t.Errorf("%d producers were asked", asked)
				}
			})
		})
	}
}

// Whatever ends a call, its producers can tell from their contexts, and from all
// that are derived from those.
func TestCauses(t *testing.T) {
	enough := errors.New("enough")
	timeout := dispatch.WithTimeout(10 * time.Second)
	for name, test := range map[string]struct {
		opts   []dispatch.CallOption
		sender func(context.Context) context.Context // nil: no change
		others []producer
		end    func(*dispatcher, *inFlight) // after a second
		reason dispatch.Reason
		err    error
		cause  error
	}{
		"satisfied":    {opts: []dispatch.CallOption{timeout, dispatch.WithQuorum(1)}, others: []producer{slow(time.Second, 1)}, reason: dispatch.ReasonSatisfied, err: context.Canceled, cause: dispatch.ErrSatisfied},
		"quorum lost":  {opts: []dispatch.CallOption{timeout, dispatch.WithQuorum(9)}, others: []producer{slowly(time.Second, failing(errBroken))}, reason: dispatch.ReasonQuorumLost, err: context.Canceled, cause: dispatch.ErrQuorumLost},
		"failed fast":  {opts: []dispatch.CallOption{timeout, dispatch.WithFailFast()}, others: []producer{slowly(time.Second, failing(errBroken))}, reason: dispatch.ReasonFailedFast, err: context.Canceled, cause: dispatch.ErrFailFast},
		"stalled":      {opts: []dispatch.CallOption{timeout, dispatch.WithStall(600 * time.Millisecond)}, others: []producer{slow(400*time.Millisecond, 1)}, reason: dispatch.ReasonStalled, err: context.Canceled, cause: dispatch.ErrStalled},
		"deadline":     {opts: []dispatch.CallOption{dispatch.WithTimeout(time.Second)}, reason: dispatch.ReasonDeadline, err: context.DeadlineExceeded, cause: context.DeadlineExceeded},
		"canceled":     {opts: []dispatch.CallOption{timeout}, end: func(_ *dispatcher, c *inFlight) { c.Cancel(enough) }, reason: dispatch.ReasonCanceled, err: context.Canceled, cause: enough},
		"just so":      {opts: []dispatch.CallOption{timeout}, end: func(_ *dispatcher, c *inFlight) { c.Cancel(nil) }, reason: dispatch.ReasonCanceled, err: context.Canceled, cause: context.Canceled},
		"closed":       {opts: []dispatch.CallOption{timeout}, end: func(d *dispatcher, _ *inFlight) { d.Close() }, reason: dispatch.ReasonClosed, err: context.Canceled, cause: dispatch.ErrClosed},
		"by deadline?": {opts: []dispatch.CallOption{timeout}, end: func(_ *dispatcher, c *inFlight) { c.Cancel(context.DeadlineExceeded) }, reason: dispatch.ReasonCanceled, err: context.Canceled, cause: context.DeadlineExceeded},
		"the sender's deadline": {opts: []dispatch.CallOption{timeout}, sender: func(ctx context.Context) context.Context {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			context.AfterFunc(ctx, cancel)
			return ctx
		}, reason: dispatch.ReasonDeadline, err: context.DeadlineExceeded, cause: context.DeadlineExceeded},
		"the sender's end": {opts: []dispatch.CallOption{timeout}, sender: func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx
		}, reason: dispatch.ReasonCanceled, err: context.Canceled, cause: context.Canceled},
		"the sender's cause": {opts: []dispatch.CallOption{timeout}, sender: func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(enough) })
			return ctx
		}, reason: dispatch.ReasonCanceled, err: context.Canceled, cause: enough},
		"the sender's home-made context": {opts: []dispatch.CallOption{timeout}, sender: func(ctx context.Context) context.Context {
			h := homeMade{ctx, make(chan struct{})}
			time.AfterFunc(time.Second, func() { close(h.done) })
			return h
		}, reason: dispatch.ReasonCanceled, err: context.Canceled, cause: context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher()
				// What it is looked at makes a difference to how a context comes
				// about, so each has a producer of its own.
				type key struct{}
				looks := map[string]func(ctx context.Context) context.Context{
					"itself": func(ctx context.Context) context.Context { return ctx },
					"value":  func(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, 1) },
					"cancel": func(ctx context.Context) context.Context { ctx, c := context.WithCancel(ctx); t.Cleanup(c); return ctx },
					"timeout": func(ctx context.Context) context.Context {
						ctx, c := context.WithTimeout(ctx, time.Hour)
						t.Cleanup(c)
						return ctx
					},
					"both": func(ctx context.Context) context.Context {
						ctx, c := context.WithCancelCause(context.WithValue(ctx, key{}, 1))
						t.Cleanup(func() { c(nil) })
						return ctx
					},
				}
				var seen notes
				for look, derive := range looks {
					produce(t, d, "by "+look, func(ctx context.Context, _ int) (int, error) {
						ctx = derive(ctx)
						if err := ctx.Err(); err != nil {
							t.Errorf("Err before the end: %v", err)
						}
						<-ctx.Done()
						seen.add("%v, %v", ctx.Err(), context.Cause(ctx))
						return 0, ctx.Err()
					})
				}
				produce(t, d, "by AfterFunc", func(ctx context.Context, _ int) (int, error) {
					told := make(chan error)
					stop := context.AfterFunc(ctx, func() { told <- context.Cause(ctx) })
					defer stop()
					seen.add("%v, %v", test.err, <-told)
					return 0, fmt.Errorf("told: %w", ctx.Err())
				})
				produce(t, d, "by a late look", func(ctx context.Context, _ int) (int, error) {
					time.Sleep(time.Second + 50*time.Millisecond)
					seen.add("%v, %v", ctx.Err(), context.Cause(ctx))
					return 0, context.Cause(ctx)
				})
				produce(t, d, "not at all", func(ctx context.Context, _ int) (int, error) {
					if free := context.WithoutCancel(ctx); free.Done() != nil || free.Err() != nil {
						t.Error("WithoutCancel has an end")
					}
					time.Sleep(time.Second + 50*time.Millisecond)
					return 0, nil
				})
				for i, p := range test.others {
					produce(t, d, fmt.Sprint("other ", i), p)
				}

				sender := context.WithValue(context.Background(), key{}, "the sender's")
				if test.sender != nil {
					sender = test.sender(sender)
				}
				c := sendFrom(sender, t, d, test.opts...)
				if test.end != nil {
					time.AfterFunc(time.Second, func() { test.end(d, c) })
				}
				<-c.Done()
				time.Sleep(time.Second)
				synctest.Wait()

				r := c.Report()
				if r.Reason != test.reason || r.Elapsed != time.Second {
					t.Errorf("ended after %v as %v, want %v after 1s", r.Elapsed, r.Reason, test.reason)
				}
				state := dispatch.StateCanceled
				if test.reason == dispatch.ReasonDeadline {
					state = dispatch.StateLate
				}
				for _, o := range r.Outcomes {
					if strings.HasPrefix(o.Member.Name, "other") {
						continue
					}
					if o.State != state || !o.Started || !errors.Is(o.Err, test.cause) {
						t.Errorf("outcome %+v, want it %v with %v", o, state, test.cause)
					}
				}
				if got, want := seen.all(), fmt.Sprintf("%v, %v", test.err, test.cause); len(got) != len(looks)+2 || seen.count(want) != len(got) {
					t.Errorf("producers saw\n\t%q\nwant each\n\t%q", got, want)
				}
				logged.nothing(t)
			})
		})
	}
}

// homeMade is a context that package context knows nothing about.
type homeMade struct {
	context.Context
	done chan struct{}
}

func (h homeMade) Done() <-chan struct{} { return h.done }

func (h homeMade) Err() error {
	select {
	case <-h.done:
		return context.Canceled
	default:
		return nil
	}
}

// A call ends before its producers' contexts do: a producer that returns its context's error is
// not Failed. To end a context takes time if many others are derived from it, which
// is time enough for a producer to return.
func TestCallEndsBeforeItsContexts(t *testing.T) {
	for name, end := range map[string]func(*inFlight){
		"deadline": func(*inFlight) {},
		"cancel":   func(c *inFlight) { c.Cancel(errBroken) },
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				synctest.Test(t, func(t *testing.T) {
					d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
					produce(t, d, "parent", func(ctx context.Context, _ int) (int, error) {
						for range 20_000 {
							child, cancel := context.WithCancel(ctx)
							defer cancel()
							_ = child.Done()
						}
						<-ctx.Done()
						return 0, ctx.Err()
					})
					for i := range 4 {
						produce(t, d, fmt.Sprint("p", i), patient)
					}
					c := send(t, d)
					time.Sleep(500 * time.Millisecond)
					end(c)
					<-c.Done()
					synctest.Wait()
					for _, o := range c.Report().Outcomes {
						if o.State == dispatch.StateFailed {
							t.Errorf("%v is %v with %v", o.Member, o.State, o.Err)
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

// asking is a cause that looks at its call.
type asking struct{ look func() }

func (a asking) Error() string { return "asking" }

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

func TestCauseWhoseMethodsExitEndsTheCall(t *testing.T) {
	for name, end := range map[string]func(context.CancelCauseFunc, *inFlight, error){
		"context": func(cancel context.CancelCauseFunc, _ *inFlight, cause error) { cancel(cause) },
		"Cancel":  func(_ context.CancelCauseFunc, c *inFlight, cause error) { go c.Cancel(cause) },
	} {
		bubble(t, name, func(t *testing.T) {
			d, _ := newDispatcher()
			produce(t, d, "a", patient)
			ctx, cancel := context.WithCancelCause(t.Context())
			c := sendFrom(ctx, t, d)
			time.Sleep(time.Second)
			end(cancel, c, departing{is: runtime.Goexit, text: func() {}})
			<-c.Done()
			if r := c.Report(); told(r) != "canceled: a canceled" || r.Elapsed != time.Second {
				t.Errorf("after %v: %s", r.Elapsed, told(r))
			}
		})
	}
}

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
