package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

var errBroken = errors.New("broken")

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
					if want := min(test.steps[i].after, test.after); o.Elapsed != want && !slices.ContainsFunc(test.opts, func(o dispatch.CallOption) bool { return o == dispatch.WithParallelism(1) }) {
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

// sameCall fails the test unless a listener that was there all the time was told
// of the call what the report says: each member once, results before outcomes,
// the end last.
func sameCall(t *testing.T, r dispatch.Report, diary *notes) {
	t.Helper()
	if problem := disagreement(r, diary, false); problem != "" {
		t.Errorf("the call ended as\n\t%s\n%s in\n\t%q", told(r), problem, diary.all())
	}
}

// disagreement says how what a listener was told differs from the report. If the
// bus was closed meanwhile, results may be missing.
func disagreement(r dispatch.Report, diary *notes, closed bool) string {
	lines := diary.all()
	if len(lines) == 0 || lines[len(lines)-1] != fmt.Sprint("done ", r.Reason) || diary.count("done") != 1 {
		return "not one end at the end"
	}
	results := 0
	for _, o := range r.Outcomes {
		at := slices.Index(lines, fmt.Sprintf("outcome %v %v", o.Member, o.State))
		if at < 0 || diary.count(fmt.Sprintf("outcome %v ", o.Member)) != 1 {
			return fmt.Sprintf("not one outcome of %v", o.Member)
		}
		if o.State != dispatch.StateOK || closed && diary.count(fmt.Sprintf("result %v=", o.Member)) == 0 {
			continue
		}
		results++
		if at == 0 || !strings.HasPrefix(lines[at-1], fmt.Sprintf("result %v=", o.Member)) {
			return fmt.Sprintf("the result of %v is not just before its outcome", o.Member)
		}
	}
	if got := diary.count("result"); got != results {
		return fmt.Sprintf("%d results, not %d", got, results)
	}
	return ""
}

// A quorum of one among a thousand quick producers is no reason to run them all.
func TestQuorumOfOneRunsFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		d, _ := newDispatcher()
		var runs atomic.Int32
		for i := range n {
			produce(t, d, fmt.Sprint(i), func(context.Context, int) (int, error) {
				runs.Add(1)
				return i, nil
			})
		}
		if _, err := d.First(context.Background(), ask, 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := runs.Load(); got < 1 || got > n/10 {
			t.Errorf("%d of %d producers were run for one answer", got, n)
		}
	})
}

func TestParallelismIsReachedAndNeverExceeded(t *testing.T) {
	const members = 24
	for _, n := range []int{1, 2, 3, 5, 8, members, members + 1, math.MaxInt} {
		for name, takes := range map[string]func(i int) time.Duration{
			"all slow":      func(int) time.Duration { return time.Second },
			"quick first":   func(i int) time.Duration { return time.Second * time.Duration(min(1, i/(members/2))) },
			"quick last":    func(i int) time.Duration { return time.Second * time.Duration(1-min(1, i/(members/2))) },
			"in turn":       func(i int) time.Duration { return time.Second * time.Duration(i%2) },
			"one slow":      func(i int) time.Duration { return time.Second * time.Duration(max(0, 1-i)) },
			"no two at one": func(i int) time.Duration { return time.Second + time.Duration(i)*time.Millisecond },
		} {
			t.Run(fmt.Sprintf("n=%d/%s", n, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, _ := newDispatcher(dispatch.WithTimeout(time.Hour))
					var running, most, exits, runs atomic.Int32
					slowOnes := 0
					for i := range members {
						if takes(i) > 0 {
							slowOnes++
						}
						produce(t, d, fmt.Sprint(i), func(context.Context, int) (int, error) {
							runs.Add(1)
							now := running.Add(1)
							defer running.Add(-1)
							for {
								seen := most.Load()
								if now <= seen || most.CompareAndSwap(seen, now) {
									break
								}
							}
							time.Sleep(takes(i))
							if i%5 == 4 && name == "in turn" {
								exits.Add(1)
								runtime.Goexit()
							}
							return i, nil
						})
					}
					r := ended(t, d, dispatch.WithParallelism(n))
					if got, want := int(most.Load()), min(n, slowOnes); got > n || got < want {
						t.Errorf("%d at once, want %d, and not more than %d", got, want, n)
					}
					if got := runs.Load(); got != members {
						t.Errorf("%d of %d members ran", got, members)
					}
					if name == "all slow" {
						if got, want := r.Elapsed, time.Second*time.Duration((members+n-1)/min(n, members)); n <= members && got != want {
							t.Errorf("it took %v, want %v", got, want)
						}
					}
				})
			})
		}
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

// slowly does what p does after d.
func slowly(d time.Duration, p producer) producer {
	return func(ctx context.Context, req int) (int, error) {
		time.Sleep(d)
		return p(ctx, req)
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

// A call ends before its producers' contexts do: who returns its context's error is
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

func TestProducerContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		d, _ := newDispatcher(dispatch.WithTimeout(3 * time.Second))
		check := func(want time.Duration) producer {
			return func(ctx context.Context, _ int) (int, error) {
				if at, ok := ctx.Deadline(); !ok || time.Until(at) != want {
					t.Errorf("Deadline is in %v, %v, want %v", time.Until(at), ok, want)
				}
				if got := ctx.Value(key{}); got != "the sender's" {
					t.Errorf("Value = %v", got)
				}
				if got := ctx.Value("unknown"); got != nil {
					t.Errorf("Value of an unknown key = %v", got)
				}
				return 1, nil
			}
		}
		sender := context.WithValue(context.Background(), key{}, "the sender's")
		soon, cancel := context.WithTimeout(sender, 2*time.Second)
		defer cancel()
		for _, test := range []struct {
			ctx  context.Context
			opts []dispatch.CallOption
			want time.Duration
		}{
			{sender, nil, 3 * time.Second},
			{sender, []dispatch.CallOption{dispatch.WithTimeout(time.Second)}, time.Second},
			{sender, []dispatch.CallOption{dispatch.WithTimeout(time.Minute)}, time.Minute},
			{soon, nil, 2 * time.Second},
			{soon, []dispatch.CallOption{dispatch.WithTimeout(time.Second)}, time.Second},
			{soon, []dispatch.CallOption{dispatch.WithTimeout(time.Minute)}, 2 * time.Second},
		} {
			p := produce(t, d, "a", check(test.want))
			if _, err := d.Gather(test.ctx, ask, 0, test.opts...); err != nil {
				t.Error(err)
			}
			p.Remove()
		}
	})
}

// A producer that does not look at its context gets none made, but one that does
// has to find it whenever it looks, from many goroutines at once.
func TestProducerContextFromManyGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		var told atomic.Int32
		const members, each = 4, 8
		for i := range members {
			produce(t, d, fmt.Sprint(i), func(ctx context.Context, _ int) (int, error) {
				var all sync.WaitGroup
				for range each {
					all.Go(func() {
						<-ctx.Done()
						if context.Cause(ctx) == context.DeadlineExceeded && ctx.Err() == context.DeadlineExceeded {
							told.Add(1)
						}
					})
				}
				all.Wait()
				return 0, nil
			})
		}
		<-send(t, d).Done()
		synctest.Wait()
		if got := told.Load(); got != members*each {
			t.Errorf("%d of %d goroutines were told", got, members*each)
		}
	})
}

func TestReportSoFar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		produce(t, d, "b", slow(2*time.Second, 2))
		produce(t, d, "c", failing(errBroken))
		produce(t, d, "d", slow(4*time.Second, 2))
		var last dispatch.Report
		listen(t, d, ignore, dispatch.OnDone(func(r dispatch.Report) { last = r }))
		began := time.Now()
		c := send(t, d)
		for second, want := range []string{
			"pending: a ok, b pending, c failed, d pending",
			"pending: a ok, b pending, c failed, d pending",
			"pending: a ok, b ok, c failed, d pending",
			"pending: a ok, b ok, c failed, d pending",
			"all ended: a ok, b ok, c failed, d ok",
			"all ended: a ok, b ok, c failed, d ok",
		} {
			synctest.Wait()
			r := c.Report()
			expect(t, r, want)
			elapsed := time.Duration(second) * time.Second
			if r.Elapsed != min(elapsed, 4*time.Second) || !r.Started.Equal(began) || r.Call != c.ID() || r.Topic != ask.Name() {
				t.Errorf("after %v the report is %+v", elapsed, r)
			}
			if o := outcomeOf(t, r, "d"); !o.Started || o.State == dispatch.StatePending && (o.Elapsed != elapsed || o.Err != nil || o.Results != 0) {
				t.Errorf("after %v a pending member is %+v", elapsed, o)
			}
			if r.Complete() || r.Err() == nil {
				t.Errorf("after %v it is complete: %v, error: %v", elapsed, r.Complete(), r.Err())
			}
			time.Sleep(time.Second)
		}
		r := c.Report()
		time.Sleep(time.Hour)
		sameReport(t, r, c.Report())
		sameReport(t, r, last)
		r.Outcomes[0].State = dispatch.StateGone
		sameReport(t, last, c.Report())
	})
}

func TestReportVerdict(t *testing.T) {
	produced := map[string]producer{
		"ok": quick(1), "failed": failing(&fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}),
		"panicked": panicking(errBroken), "declined": failing(dispatch.ErrDecline), "late": patient, "goexit": exiting,
		// It lets the others answer first: the quorum is lost as soon as it declines.
		"declining": func(context.Context, int) (int, error) {
			time.Sleep(time.Second)
			return 0, dispatch.ErrDecline
		},
	}
	for _, test := range []struct {
		members  string
		quorum   int
		complete bool
		is       []error // none: no error at all
		message  []string
	}{
		{members: "ok", complete: true},
		{members: "ok ok declined", complete: true},
		{members: "declined declined", complete: true},
		{members: "ok failed", is: []error{fs.ErrNotExist}, message: []string{"kit.ask", "1 of 2 members did not answer", "1-failed failed: open x: "}},
		{members: "ok panicked", is: []error{errBroken}, message: []string{"1-panicked panicked: ", "broken"}},
		{members: "goexit ok", is: []error{dispatch.ErrGoexit}, message: []string{"0-goexit failed: "}},
		{members: "ok late", is: []error{context.DeadlineExceeded}, message: []string{"deadline", "1-late late"}},
		{members: "failed panicked late", is: []error{fs.ErrNotExist, errBroken, context.DeadlineExceeded}, message: []string{"0-failed failed", "1-panicked panicked", "2-late late"}},
		{members: "ok failed late", quorum: 1},
		{members: "ok declining", quorum: 2, complete: true, is: []error{dispatch.ErrQuorumLost}, message: []string{"quorum of 2 lost"}},
		{members: "ok declined", quorum: 1},
		{members: "failed failed late", quorum: 2, is: []error{dispatch.ErrQuorumLost, fs.ErrNotExist}, message: []string{"quorum of 2 lost", "0-failed", "1-failed", "1 member unfinished"}},
		{members: "", is: []error{dispatch.ErrNoProducers}, message: []string{"no producers"}},
	} {
		t.Run(fmt.Sprintf("%s/quorum=%d", test.members, test.quorum), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				for i, what := range strings.Fields(test.members) {
					produce(t, d, fmt.Sprintf("%d-%s", i, what), produced[what])
				}
				var opts []dispatch.CallOption
				if test.quorum > 0 {
					opts = append(opts, dispatch.WithQuorum(test.quorum))
				}
				r := ended(t, d, opts...)
				if r.Complete() != test.complete && r.Reason != dispatch.ReasonSatisfied {
					t.Errorf("Complete() = %v in %s", r.Complete(), told(r))
				}
				err := r.Err()
				if len(test.is) == 0 {
					if err != nil {
						t.Errorf("Err() = %v", err)
					}
					return
				}
				var partial *dispatch.PartialError
				if !errors.As(err, &partial) {
					t.Fatalf("Err() = %v, want a PartialError", err)
				}
				sameReport(t, r, partial.Report)
				for _, want := range test.is {
					if !errors.Is(err, want) {
						t.Errorf("Err() = %v does not lead to %v", err, want)
					}
				}
				for _, want := range test.message {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("Err() = %v does not say %q", err, want)
					}
				}
				if strings.Contains(err.Error(), "-ok") || strings.Contains(err.Error(), "-declined") {
					t.Errorf("Err() = %v names somebody who did not fail", err)
				}
				var member *dispatch.MemberError
				if errors.As(err, &member) && outcomeOf(t, r, member.Member.Name).State != member.State {
					t.Errorf("MemberError %+v contradicts %s", member, told(r))
				}
				var path *fs.PathError
				if want := strings.Contains(test.members, "failed"); errors.As(err, &path) != want {
					t.Errorf("errors.As reaches the producer's error: %v, want %v", !want, want)
				}
				var caught *dispatch.PanicError
				if want := strings.Contains(test.members, "panicked"); errors.As(err, &caught) != want {
					t.Errorf("errors.As reaches a PanicError: %v, want %v", !want, want)
				}
			})
		})
	}
}

// Each value is where it belongs in the listeners, the readers and the report.
func TestResultSaysWhereItComesFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		delays := []time.Duration{3 * time.Second, 0, 2 * time.Second, time.Second}
		for i, delay := range delays {
			produce(t, d, fmt.Sprint("p", i), slow(delay, 10*i))
		}
		var heard []result
		listen(t, d, func(_ context.Context, r result) { heard = append(heard, r) })
		c := send(t, d)
		read := slices.Collect(c.Results())
		synctest.Wait()
		for seq, i := range []int{1, 3, 2, 0} {
			want := result{Call: c, From: dispatch.Member{Name: fmt.Sprint("p", i)}, Value: 10 * i, Seq: seq, Elapsed: delays[i]}
			if read[seq] != want || heard[seq] != want {
				t.Errorf("result %d: read %+v, heard %+v, want %+v", seq, read[seq], heard[seq], want)
			}
			if o := c.Report().Outcomes[i]; o.Member != want.From || o.Elapsed != delays[i] {
				t.Errorf("the report says %+v", o)
			}
		}
	})
}

func TestResultsOfAnEndedCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		for i := range 5 {
			produce(t, d, fmt.Sprint(i), quick(i))
		}
		produce(t, d, "patient", patient)
		c := send(t, d)
		results := c.Results()
		<-c.Done()
		for range 2 {
			n := 0
			for range results {
				if n++; n == 3 {
					break
				}
			}
			if got := len(slices.Collect(results)); got != 5 || n != 3 {
				t.Errorf("%d, then %d results", n, got)
			}
		}
	})
}

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		asked := 0
		produce(t, d, "a", func(context.Context, int) (int, error) {
			asked++
			return 1, nil
		})
		produce(t, d, "b", slow(time.Second, 2))
		produce(t, d, "c", slow(2*time.Second, 3))

		stream := d.Stream(context.Background(), ask, 7)
		synctest.Wait()
		if asked != 0 {
			t.Error("the request was sent before anybody ranged over the stream")
		}
		began := time.Now()
		var got []int
		for r, err := range stream {
			if err != nil {
				t.Errorf("a complete answer ends with %v", err)
				continue
			}
			if r.Call.Request() != 7 || r.Seq != len(got) || time.Since(began) != time.Duration(len(got))*time.Second {
				t.Errorf("result %+v after %v", r, time.Since(began))
			}
			got = append(got, r.Value)
		}
		if diff := cmp.Diff([]int{1, 2, 3}, got); diff != "" {
			t.Errorf("values (-want +got):\n%s", diff)
		}
		pairs := 0
		for r, err := range stream {
			if pairs++; !errors.Is(err, dispatch.ErrStreamUsed) || r.Call != nil {
				t.Errorf("a second use yields %+v, %v", r, err)
			}
		}
		synctest.Wait()
		if pairs != 1 || asked != 1 {
			t.Errorf("a second use yields %d pairs, asked %d times", pairs, asked)
		}
		logged.nothing(t)
	})
}

func TestStreamThatIsLeftCancels(t *testing.T) {
	for name, leave := range map[string]func(){"break": nil, "panic": func() { panic("left") }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				var cause error
				produce(t, d, "a", quick(1))
				produce(t, d, "b", func(ctx context.Context, _ int) (int, error) {
					<-ctx.Done()
					cause = context.Cause(ctx)
					return 0, ctx.Err()
				})
				var c *inFlight
				func() {
					defer func() { _ = recover() }()
					for r := range d.Stream(context.Background(), ask, 0) {
						c = r.Call
						if leave != nil {
							leave()
						}
						break
					}
				}()
				synctest.Wait()
				expect(t, c.Report(), "canceled: a ok, b canceled")
				if !errors.Is(cause, context.Canceled) {
					t.Errorf("cause is %v", cause)
				}
			})
		})
	}
}

func TestStreamEndsWithTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		produce(t, d, "b", patient)
		var pairs []string
		for r, err := range d.Stream(context.Background(), ask, 0, dispatch.WithTimeout(time.Second)) {
			var partial *dispatch.PartialError
			if errors.As(err, &partial) && r == (result{}) {
				pairs = append(pairs, told(partial.Report))
				continue
			}
			pairs = append(pairs, fmt.Sprint(r.Value, err))
		}
		if diff := cmp.Diff([]string{"1 <nil>", "deadline: a ok, b late"}, pairs); diff != "" {
			t.Errorf("pairs (-want +got):\n%s", diff)
		}
		pairs = nil
		for _, err := range d.Stream(context.Background(), ask, 0, dispatch.WithQuorum(1)) {
			pairs = append(pairs, fmt.Sprint(err))
		}
		if diff := cmp.Diff([]string{"<nil>"}, pairs); diff != "" {
			t.Errorf("satisfied (-want +got):\n%s", diff)
		}
		for range 3 {
			n := 0
			for _, err := range d.Stream(context.Background(), ask, 0, dispatch.WithTimeout(-1)) {
				if n++; !errors.Is(err, dispatch.ErrInvalidOption) {
					t.Errorf("an invalid option yields %v", err)
				}
			}
			if n != 1 {
				t.Errorf("%d pairs", n)
			}
		}
	})
}

// The call of a Stream is a call like any other to those who get hold of it.
func TestStreamsCallCanBeReadByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		for i := range 4 {
			produce(t, d, fmt.Sprint(i), slow(time.Duration(i)*time.Second, i))
		}
		var readers sync.WaitGroup
		listen(t, d, func(_ context.Context, r result) {
			readers.Go(func() {
				last := -1
				for r := range r.Call.Results() {
					if r.Value <= last {
						t.Errorf("%d came after %d", r.Value, last)
					}
					last = r.Value
				}
				if last != 3 && last != -1 {
					t.Errorf("the last result read is %d", last)
				}
			})
		})
		for r, err := range d.Stream(context.Background(), ask, 0) {
			if err != nil {
				t.Error(err)
			}
			if r.Value == 2 {
				for later := range r.Call.Results() {
					if later.Value != 3 {
						t.Errorf("another reader gets %d, want only what is yet to come", later.Value)
					}
				}
			}
		}
		readers.Wait()
		synctest.Wait()
		logged.nothing(t)
	})
}

func TestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		var cause error
		produce(t, d, "slower", func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return 0, ctx.Err()
		})
		produce(t, d, "failing", failing(errBroken))
		b := produce(t, d, "quick", slow(time.Second, 2))
		// An option of the caller's own must not be overwritten in its array.
		opts := make([]dispatch.CallOption, 1, 2)
		opts[0] = dispatch.WithTimeout(3 * time.Second)
		if v, err := d.First(context.Background(), ask, 0, opts...); v != 2 || err != nil {
			t.Errorf("First = %v, %v", v, err)
		}
		synctest.Wait()
		if !errors.Is(cause, dispatch.ErrSatisfied) || opts[:2][1] != nil {
			t.Errorf("cause is %v, options are %v", cause, opts[:2])
		}

		b.Remove()
		v, err := d.First(context.Background(), ask, 0, opts...)
		var partial *dispatch.PartialError
		if v != 0 || !errors.As(err, &partial) || !errors.Is(err, errBroken) {
			t.Fatalf("First = %v, %v", v, err)
		}
		expect(t, partial.Report, "deadline: slower late, failing failed")
	})
}

func TestGatherKeepsTheOrderOfRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 6
		d, _ := newDispatcher()
		for i := range n {
			produce(t, d, fmt.Sprint("p", i), slow(time.Duration(n-i)*time.Second, i))
		}
		opts := dispatch.WithTimeout(time.Minute)
		values, err := d.Gather(context.Background(), ask, 0, opts)
		if diff := cmp.Diff([]int{0, 1, 2, 3, 4, 5}, values); diff != "" || err != nil {
			t.Errorf("%v, values (-want +got):\n%s", err, diff)
		}
		values, err = d.Gather(context.Background(), ask, 0, opts, dispatch.WithQuorum(3))
		if diff := cmp.Diff([]int{3, 4, 5}, values); diff != "" || err != nil {
			t.Errorf("satisfied: %v, values (-want +got):\n%s", err, diff)
		}
		values, err = d.Gather(context.Background(), ask, 0, dispatch.WithTimeout(2500*time.Millisecond))
		var partial *dispatch.PartialError
		if diff := cmp.Diff([]int{4, 5}, values); diff != "" || !errors.As(err, &partial) {
			t.Errorf("partial: %v, values (-want +got):\n%s", err, diff)
		}
	})
}

// Every listener and every reader sees one order, and is told of a member's
// outcome after its result, whatever the pace at which it takes them.
func TestEverybodySeesOneOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 40
		d, _ := newDispatcher()
		for i := range n {
			p := slow(time.Duration(i*7%11)*time.Millisecond, i)
			if i%5 == 3 {
				p = slowly(time.Duration(i*7%11)*time.Millisecond, failing(errBroken))
			}
			produce(t, d, fmt.Sprint("p", i), p)
		}
		var diaries []*notes
		for i := range 5 {
			diary := new(notes)
			diaries = append(diaries, diary)
			busy := false
			step := func(format string, args ...any) {
				if busy {
					t.Error("two callbacks of one listener at once")
				}
				busy = true
				time.Sleep(time.Duration(i) * time.Millisecond)
				busy = false
				diary.add(format, args...)
			}
			listen(t, d, func(_ context.Context, r result) { step("result %v=%d", r.From, r.Value) },
				dispatch.OnOutcome(func(o dispatch.Outcome) { step("outcome %v %v", o.Member, o.State) }),
				dispatch.OnDone(func(r dispatch.Report) { step("done %v", r.Reason) }))
		}
		c := send(t, d)
		var read notes
		for r := range c.Results() {
			read.add("result %v=%d", r.From, r.Value)
		}
		time.Sleep(time.Second)
		for _, diary := range diaries {
			sameCall(t, c.Report(), diary)
			if diff := cmp.Diff(diaries[0].all(), diary.all()); diff != "" {
				t.Errorf("two listeners disagree:\n%s", diff)
			}
		}
		results := slices.DeleteFunc(diaries[0].all(), func(line string) bool { return !strings.HasPrefix(line, "result") })
		if diff := cmp.Diff(read.all(), results); diff != "" {
			t.Errorf("reader and listener disagree:\n%s", diff)
		}
	})
}

// Who joins a call that is under way: no producer, but every listener, for what
// is yet to come.
func TestJoiningAndLeavingACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		produce(t, d, "b", slow(time.Second, 2))
		gone := produce(t, d, "c", slow(3*time.Second, 3))
		leaving := new(notes)
		left := listen(t, d, func(_ context.Context, r result) { leaving.add("result %v", r.From) },
			dispatch.OnOutcome(func(o dispatch.Outcome) { leaving.add("outcome %v", o.Member) }),
			dispatch.OnDone(func(dispatch.Report) { leaving.add("done") }))
		c := send(t, d)
		time.Sleep(500 * time.Millisecond)
		produce(t, d, "d", quick(4))
		diary := keepDiary(t, d)
		time.Sleep(time.Second)
		left.Remove()
		gone.Remove() // what runs may still give its result
		<-c.Done()
		synctest.Wait()
		expect(t, c.Report(), "all ended: a ok, b ok, c ok")
		if diff := cmp.Diff([]string{"result b=2", "outcome b ok", "result c=3", "outcome c ok", "done all ended"}, diary.all()); diff != "" {
			t.Errorf("who joined (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"result a", "outcome a", "result b", "outcome b"}, leaving.all()); diff != "" {
			t.Errorf("who left (-want +got):\n%s", diff)
		}
		expect(t, ended(t, d), "all ended: a ok, b ok, d ok")
	})
}

// A producer that leaves before it was asked is Gone, one that was asked is not.
func TestProducerThatLeavesBeforeItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		first := produce(t, d, "a", slow(time.Second, 1))
		second := produce(t, d, "b", quick(2))
		produce(t, d, "c", quick(3))
		diary := keepDiary(t, d)
		c := send(t, d, dispatch.WithParallelism(1))
		synctest.Wait()
		first.Remove()
		second.Remove()
		<-c.Done()
		synctest.Wait()
		r := c.Report()
		expect(t, r, "all ended: a ok, b gone, c ok")
		if o := outcomeOf(t, r, "b"); o.Started || !errors.Is(o.Err, dispatch.ErrRemoved) || r.Complete() {
			t.Errorf("outcome is %+v, complete: %v", o, r.Complete())
		}
		sameCall(t, r, diary)
	})
}

func TestOnLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := dispatch.NewBus(dispatch.WithTimeout(time.Second), dispatch.WithLogger(slog.New(slog.DiscardHandler)))
		d := dispatch.On[int, int](bus)
		elsewhere := dispatch.On[int, string](bus)
		for i := range 4 {
			produce(t, d, fmt.Sprint("p", i), func(context.Context, int) (int, error) {
				time.Sleep(time.Second + time.Duration(i)*10*time.Millisecond + time.Millisecond)
				return i, nil
			})
		}
		var first, second, wrong notes
		removed := d.OnLate(func(r result, by time.Duration) { first.add("%v %v", r.From, by) })
		dispatch.On[int, int](bus).OnLate(func(r result, by time.Duration) { second.add("%v %v", r.From, by) })
		elsewhere.OnLate(func(r dispatch.Result[int, string], _ time.Duration) { wrong.add("%v", r.From) })
		send(t, d)
		time.Sleep(time.Second + 15*time.Millisecond)
		removed.Remove()
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"p0 1ms", "p1 11ms"}, first.all()); diff != "" {
			t.Errorf("until it was removed (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"p0 1ms", "p1 11ms", "p2 21ms", "p3 31ms"}, second.all()); diff != "" {
			t.Errorf("to the end (-want +got):\n%s", diff)
		}
		if len(wrong.all()) != 0 {
			t.Errorf("with other types: %q", wrong.all())
		}

		// Late is what comes after the end, whatever that was.
		c := send(t, d)
		time.Sleep(500 * time.Millisecond)
		c.Cancel(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := second.count("p0 501ms"); got != 1 || len(second.all()) != 8 {
			t.Errorf("after Cancel: %q", second.all())
		}
	})
}

func TestCallFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(10 * time.Second))
		if info, ok := dispatch.CallFrom(context.Background()); ok || info != (dispatch.CallInfo{}) {
			t.Errorf("CallFrom(Background) = %+v, %v", info, ok)
		}
		var infos, derived []dispatch.CallInfo
		look := func(ctx context.Context) {
			info, ok := dispatch.CallFrom(ctx)
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			again, okAgain := dispatch.CallFrom(context.WithoutCancel(ctx))
			if !ok || !okAgain {
				t.Errorf("CallFrom finds a call: %v, in a derived context: %v", ok, okAgain)
			}
			infos, derived = append(infos, info), append(derived, again)
		}
		produce(t, d, "outer", func(ctx context.Context, _ int) (int, error) {
			look(ctx)
			time.Sleep(time.Second)
			look(ctx)
			_, err := d.Gather(ctx, other, 0)
			return 1, err
		})
		if _, err := d.AddProducer(other, func(ctx context.Context, _ int) (int, error) {
			look(ctx)
			return 2, nil
		}, dispatch.WithName("inner")); err != nil {
			t.Fatal(err)
		}
		listen(t, d, func(ctx context.Context, _ result) { look(ctx) })
		c := send(t, d)
		<-c.Done()
		synctest.Wait()
		outer := dispatch.Member{Name: "outer"}
		want := []dispatch.CallInfo{
			{Topic: ask.Name(), ID: c.ID(), Member: outer, Budget: 10 * time.Second},
			{Topic: ask.Name(), ID: c.ID(), Member: outer, Budget: 9 * time.Second},
			{Topic: other.Name(), ID: c.ID() + 1, Member: dispatch.Member{Name: "inner"}, Budget: 9 * time.Second},
			{Topic: ask.Name(), ID: c.ID(), Budget: 9 * time.Second},
		}
		if diff := cmp.Diff(want, infos); diff != "" {
			t.Errorf("CallFrom (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, derived); diff != "" {
			t.Errorf("in derived contexts (-want +got):\n%s", diff)
		}
	})
}

func TestNestedCallEndsWithItsParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		if _, err := d.AddProducer(other, patient, dispatch.WithName("inner")); err != nil {
			t.Fatal(err)
		}
		inner := make(chan dispatch.Report, 1)
		produce(t, d, "outer", func(ctx context.Context, req int) (int, error) {
			c, err := d.Send(ctx, other, 0, dispatch.WithTimeout(time.Hour))
			if err != nil {
				return 0, err
			}
			<-c.Done()
			inner <- c.Report()
			return 0, ctx.Err()
		})
		for name, test := range map[string]struct {
			opts  []dispatch.CallOption
			end   func(*inFlight)
			want  string
			after time.Duration
			cause error
		}{
			"deadline": {nil, func(*inFlight) {}, "deadline: inner late", 5 * time.Second, context.DeadlineExceeded},
			"its own":  {[]dispatch.CallOption{dispatch.WithTimeout(2 * time.Second)}, func(*inFlight) {}, "deadline: inner late", 2 * time.Second, context.DeadlineExceeded},
			"canceled": {nil, func(c *inFlight) { c.Cancel(errBroken) }, "canceled: inner canceled", time.Second, errBroken},
		} {
			c := send(t, d, test.opts...)
			time.AfterFunc(time.Second, func() { test.end(c) })
			r := <-inner
			expect(t, r, test.want)
			if r.Elapsed != test.after || !errors.Is(r.Outcomes[0].Err, test.cause) {
				t.Errorf("%s: it took %v, outcome %+v", name, r.Elapsed, r.Outcomes[0])
			}
		}
	})
}

// A call sent from a listener has the depth of the listener's call: that is how
// chains of thousands are no recursion.
func TestListenersSendWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 2000
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		var depth atomic.Int32
		listen(t, d, func(ctx context.Context, r result) {
			depth.Add(1)
			if req := r.Call.Request(); req < n {
				if _, err := d.Send(ctx, ask, req+1); err != nil {
					t.Errorf("Send %d: %v", req+1, err)
				}
			}
		})
		send(t, d)
		synctest.Wait()
		if got := depth.Load(); got != n+1 {
			t.Errorf("%d calls of %d", got, n+1)
		}
	})
}

// A listener may take longer than the call and the sender last: its context has
// the sender's values and no end.
func TestListenerContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		produce(t, d, "a", quick(1))
		checked := false
		listen(t, d, func(ctx context.Context, r result) {
			time.Sleep(time.Minute)
			if ctx.Value(key{}) != "the sender's" {
				t.Errorf("Value = %v", ctx.Value(key{}))
			}
			if at, ok := ctx.Deadline(); ok || ctx.Done() != nil || ctx.Err() != nil || context.Cause(ctx) != nil {
				t.Errorf("it has an end: %v, %v, %v", at, ctx.Err(), context.Cause(ctx))
			}
			derived, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if derived.Err() != nil {
				t.Errorf("a context derived from it has ended: %v", derived.Err())
			}
			if info, ok := dispatch.CallFrom(ctx); !ok || info.Budget != 0 || info.ID != r.Call.ID() || info.Member != (dispatch.Member{}) {
				t.Errorf("CallFrom = %+v, %v, want no budget left", info, ok)
			}
			checked = true
		})
		ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), key{}, "the sender's"), 10*time.Second)
		defer cancel()
		<-sendFrom(ctx, t, d).Done()
		cancel()
		time.Sleep(time.Hour)
		synctest.Wait()
		if !checked {
			t.Error("the listener was not called")
		}
	})
}

func TestWaitBoundsTheWaitAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", slow(3*time.Second, 1))
		c := send(t, d)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := c.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait = %v", err)
		}
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		if err := c.Wait(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("Wait = %v", err)
		}
		var none context.Context
		if err := c.Wait(none); !errors.Is(err, dispatch.ErrInvalidArgument) {
			t.Errorf("Wait(nil) = %v", err)
		}
		expect(t, c.Report(), "pending: a pending")
		if err := c.Wait(context.Background()); err != nil {
			t.Errorf("Wait = %v", err)
		}
		// Failures are not the wait's, and an end that has come is not waited for.
		if err := c.Wait(gone); err != nil {
			t.Errorf("Wait after the end = %v", err)
		}
		expect(t, c.Report(), "all ended: a ok")
		c.Cancel(errBroken)
		expect(t, c.Report(), "all ended: a ok")
	})
}

// Results that nobody asks for hold up nothing and leak nothing: the bubble ends.
func TestResultsMayBeIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		for i := range 100 {
			produce(t, d, fmt.Sprint(i), quick(i))
		}
		for range 100 {
			send(t, d)
		}
		if err := d.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// Who reads results before there are enough producers sees them all.
func TestResultsOfACallThatWaitsForProducers(t *testing.T) {
	const n = 20 // more than a log has room for at first
	d, _ := newDispatcher()
	c := send(t, d, dispatch.WithMinProducers(n), dispatch.WithTimeout(time.Minute))
	got := make(chan int)
	for range 4 {
		go func() { got <- len(slices.Collect(c.Results())) }()
	}
	for i := range n {
		produce(t, d, fmt.Sprint(i), quick(i))
	}
	for range 4 {
		if results := <-got; results != n {
			t.Errorf("%d results", results)
		}
	}
}
