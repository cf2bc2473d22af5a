package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sync/semaphore"

	"github.com/seed-bb4b4d74/dispatch"
)

// reporting answers v when its context ends, which takes it d more.
func reporting(d time.Duration, v int) producer {
	return func(ctx context.Context, _ int) (int, error) {
		<-ctx.Done()
		time.Sleep(d)
		return v, nil
	}
}

// starts notes when producers begin, in whole milliseconds since it was made.
type starts struct {
	notes
	began time.Time
}

func newStarts() *starts { return &starts{began: time.Now()} }

func (s *starts) of(name string, p producer) producer {
	return func(ctx context.Context, req int) (int, error) {
		s.add("%s at %d ms", name, time.Since(s.began).Milliseconds())
		return p(ctx, req)
	}
}

func (s *starts) want(t testing.TB, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, s.all()); diff != "" {
		t.Errorf("starts (-want +got):\n%s", diff)
	}
}

func TestGraceLetsProducersHandIn(t *testing.T) {
	const s = time.Second
	for name, test := range map[string]struct {
		p     producer
		want  string
		after time.Duration
	}{
		"handed in":             {reporting(s, 1), "all ended: a ok", 5 * s},
		"handed in at once":     {reporting(0, 1), "all ended: a ok", 4 * s},
		"too slow":              {reporting(3*s, 1), "deadline: a late", 6 * s},
		"context's error":       {patient, "all ended: a late", 4 * s},
		"context's error, told": {wrapping, "all ended: a late", 4 * s},
		"an error of its own": {
			func(ctx context.Context, _ int) (int, error) { <-ctx.Done(); return 0, errBroken },
			"all ended: a failed", 4 * s,
		},
		"before the grace": {slow(3*s, 1), "all ended: a ok", 3 * s},
		"an earlier timeout of its own is a failure": {
			func(context.Context, int) (int, error) { time.Sleep(s); return 0, context.DeadlineExceeded },
			"all ended: a failed", s,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher(dispatch.WithTimeout(6 * s))
				produce(t, d, "a", test.p)
				c := send(t, d, dispatch.WithGrace(2*s))
				<-c.Done()
				r := c.Report()
				expect(t, r, test.want)
				if r.Elapsed != test.after {
					t.Errorf("ended after %v, want %v", r.Elapsed, test.after)
				}
				if o := r.Outcomes[0]; o.State == dispatch.StateLate && !errors.Is(o.Err, context.DeadlineExceeded) {
					t.Errorf("a late member's error is %v", o.Err)
				}
				time.Sleep(5 * s)
				for _, line := range logged.all() {
					if !strings.Contains(line, "outlived") || name != "too slow" {
						t.Errorf("logged %s", line)
					}
				}
			})
		})
	}
}

// wrapping returns its context's error in an error of its own.
func wrapping(ctx context.Context, _ int) (int, error) {
	<-ctx.Done()
	return 0, fmt.Errorf("measuring: %w", context.Cause(ctx))
}

func TestGraceIsAllThatTheContextKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(6 * time.Second))
		began := time.Now()
		check := func(who string, ctx context.Context) {
			if at, ok := ctx.Deadline(); !ok || at.Sub(began) != 4*time.Second {
				t.Errorf("%s: deadline after %v", who, at.Sub(began))
			}
			<-ctx.Done()
			if since := time.Since(began); since != 4*time.Second {
				t.Errorf("%s: ended after %v", who, since)
			}
			if ctx.Err() != context.DeadlineExceeded || context.Cause(ctx) != context.DeadlineExceeded {
				t.Errorf("%s: %v, cause %v", who, ctx.Err(), context.Cause(ctx))
			}
		}
		produce(t, d, "own", func(ctx context.Context, _ int) (int, error) {
			if info, ok := dispatch.CallFrom(ctx); !ok || info.Budget != 4*time.Second {
				t.Errorf("budget %v", info.Budget)
			}
			check("its own context", ctx)
			return 1, nil
		})
		produce(t, d, "derived", func(ctx context.Context, _ int) (int, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			check("a derived context", ctx)
			return 2, nil
		})
		produce(t, d, "polling", func(ctx context.Context, _ int) (int, error) {
			for ctx.Err() == nil {
				time.Sleep(time.Second)
			}
			if since := time.Since(began); since < 4*time.Second || since > 5*time.Second {
				t.Errorf("polling: ended after %v", since)
			}
			return 3, nil
		})
		expect(t, ended(t, d, dispatch.WithGrace(2*time.Second)), "all ended: own ok, derived ok, polling ok")
	})
}

func TestGraceAndTheSendersDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		seen := time.Duration(-1)
		began := time.Now()
		produce(t, d, "a", func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			seen = time.Since(began)
			if ctx.Err() != context.DeadlineExceeded {
				t.Errorf("context ended with %v", ctx.Err())
			}
			time.Sleep(500 * time.Millisecond)
			return 1, nil
		})
		for _, test := range []struct{ deadline, seen time.Duration }{
			{3 * time.Second, time.Second},
			{2 * time.Second, 0},
			{time.Second, 0},
		} {
			began = time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), test.deadline)
			c := sendFrom(ctx, t, d, dispatch.WithGrace(2*time.Second))
			<-c.Done()
			expect(t, c.Report(), "all ended: a ok")
			if seen != test.seen {
				t.Errorf("with %v left the context ended after %v, want %v", test.deadline, seen, test.seen)
			}
			cancel()
		}
	})
}

func TestGraceHasToBeShorterThanTheTimeout(t *testing.T) {
	d, _ := newDispatcher()
	const s = time.Second
	for _, opts := range [][]dispatch.CallOption{
		{dispatch.WithGrace(5 * s)},
		{dispatch.WithGrace(6 * s)},
		{dispatch.WithGrace(1<<63 - 1)},
		{dispatch.WithGrace(0)},
		{dispatch.WithGrace(-1)},
		{dispatch.WithTimeout(s), dispatch.WithGrace(s)},
		{dispatch.WithGrace(2 * s), dispatch.WithTimeout(s)},
	} {
		if c, err := d.Send(context.Background(), ask, 0, opts...); !errors.Is(err, dispatch.ErrInvalidOption) || c != nil {
			t.Errorf("%v: %v", opts, err)
		}
	}
	if _, err := d.Send(context.Background(), ask, 0, dispatch.WithGrace(6*s), dispatch.WithTimeout(7*s)); err != nil {
		t.Error(err)
	}
	b := dispatch.On[int, int](dispatch.NewBus(dispatch.WithGrace(2*s), dispatch.WithTimeout(3*s)))
	if _, err := b.Send(context.Background(), ask, 0, dispatch.WithTimeout(2*s)); !errors.Is(err, dispatch.ErrInvalidOption) {
		t.Errorf("the bus's grace with the call's timeout: %v", err)
	}
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, dispatch.ErrInvalidOption) {
			t.Errorf("NewBus panicked with %v", err)
		}
	}()
	dispatch.NewBus(dispatch.WithGrace(5 * s))
}

func TestGraceFindsAMemberWaiting(t *testing.T) {
	for name, opt := range map[string]dispatch.ProducerOption{
		"serial":    dispatch.WithConcurrency(1),
		"semaphore": dispatch.WithSemaphore(semaphore.NewWeighted(1)),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithTimeout(10 * time.Second))
				asked := 0
				produce(t, d, "a", func(context.Context, int) (int, error) {
					asked++
					time.Sleep(8 * time.Second)
					return 1, nil
				}, opt)
				first := send(t, d)
				synctest.Wait()
				second := send(t, d, dispatch.WithGrace(7*time.Second))
				<-second.Done()
				r := second.Report()
				expect(t, r, "all ended: a late")
				if o := r.Outcomes[0]; o.Started || o.Tried != 0 || o.Elapsed != 3*time.Second || !errors.Is(o.Err, context.DeadlineExceeded) {
					t.Errorf("outcome %+v", o)
				}
				<-first.Done()
				expect(t, first.Report(), "all ended: a ok")
				time.Sleep(time.Second)
				if asked != 1 {
					t.Errorf("asked %d times", asked)
				}
				// The slot that was not had is not lost.
				expect(t, ended(t, d), "all ended: a ok")
			})
		})
	}
}

func TestStagger(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	for name, test := range map[string]struct {
		opts      []dispatch.CallOption
		producers []producer
		want      string
		after     time.Duration
		starts    []string
	}{
		"one by one": {
			nil,
			[]producer{slow(2*s, 0), slow(2*s, 1), slow(2*s, 2)},
			"all ended: 0 ok, 1 ok, 2 ok", 4 * s,
			[]string{"0 at 0 ms", "1 at 1000 ms", "2 at 2000 ms"},
		},
		"an answer lets no member start early": {
			nil,
			[]producer{quick(0), quick(1), quick(2)},
			"all ended: 0 ok, 1 ok, 2 ok", 2 * s,
			[]string{"0 at 0 ms", "1 at 1000 ms", "2 at 2000 ms"},
		},
		"at once when one fails": {
			nil,
			[]producer{failAfter(300 * ms), failAfter(400 * ms), slow(s, 2), quick(3)},
			"all ended: 0 failed, 1 failed, 2 ok, 3 ok", 1700 * ms,
			[]string{"0 at 0 ms", "1 at 300 ms", "2 at 700 ms", "3 at 1700 ms"},
		},
		"at once when one panics, declines or ends its goroutine": {
			nil,
			[]producer{panicking("x"), failing(dispatch.ErrDecline), exiting, quick(3)},
			"all ended: 0 panicked, 1 declined, 2 failed, 3 ok", 0,
			[]string{"0 at 0 ms", "1 at 0 ms", "2 at 0 ms", "3 at 0 ms"},
		},
		"a failure of an earlier one starts the next": {
			nil,
			[]producer{failAfter(1500 * ms), slow(9*s, 1), quick(2), quick(3)},
			"deadline: 0 failed, 1 late, 2 ok, 3 ok", 5 * s,
			[]string{"0 at 0 ms", "1 at 1000 ms", "2 at 1500 ms", "3 at 2500 ms"},
		},
		"happy eyeballs": {
			opts(dispatch.WithQuorum(1)),
			[]producer{patient, slow(2500*ms, 1), slow(1200*ms, 2), patient},
			"satisfied: 0 canceled, 1 canceled, 2 ok, 3 canceled", 3200 * ms,
			[]string{"0 at 0 ms", "1 at 1000 ms", "2 at 2000 ms", "3 at 3000 ms"},
		},
		"happy eyeballs when the first is quick": {
			opts(dispatch.WithQuorum(1)),
			[]producer{slow(900*ms, 0), quick(1)},
			"satisfied: 0 ok, 1 canceled", 900 * ms,
			[]string{"0 at 0 ms"},
		},
		"beyond the deadline": {
			opts(dispatch.WithTimeout(1500 * ms)),
			[]producer{patient, patient, patient},
			"deadline: 0 late, 1 late, 2 late", 1500 * ms,
			[]string{"0 at 0 ms", "1 at 1000 ms"},
		},
		"one at a time": {
			opts(dispatch.WithParallelism(1)),
			[]producer{slow(2500*ms, 0), slow(100*ms, 1), slow(2*s, 2)},
			"deadline: 0 ok, 1 ok, 2 late", 5 * s,
			[]string{"0 at 0 ms", "1 at 2500 ms", "2 at 3500 ms"},
		},
		"two at a time": {
			opts(dispatch.WithParallelism(2)),
			[]producer{slow(2500*ms, 0), slow(2*s, 1), slow(100*ms, 2), slow(100*ms, 3)},
			"all ended: 0 ok, 1 ok, 2 ok, 3 ok", 3600 * ms,
			[]string{"0 at 0 ms", "1 at 1000 ms", "2 at 2500 ms", "3 at 3500 ms"},
		},
		"the longest stagger": {
			opts(dispatch.WithStagger(1<<63 - 1)),
			[]producer{failAfter(s), slow(s, 1), quick(2)},
			"deadline: 0 failed, 1 ok, 2 late", 5 * s,
			[]string{"0 at 0 ms", "1 at 1000 ms"},
		},
		"an answer late in the stagger with a stall": {
			opts(dispatch.WithStall(500 * ms)),
			[]producer{slow(800*ms, 0), slow(200*ms, 1), quick(2)},
			"stalled: 0 ok, 1 ok, 2 canceled", 1700 * ms,
			[]string{"0 at 0 ms", "1 at 1000 ms"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				begun := newStarts()
				for i, p := range test.producers {
					produce(t, d, fmt.Sprint(i), begun.of(fmt.Sprint(i), p))
				}
				r := ended(t, d, append([]dispatch.CallOption{dispatch.WithStagger(s)}, test.opts...)...)
				expect(t, r, test.want)
				if r.Elapsed != test.after {
					t.Errorf("ended after %v, want %v", r.Elapsed, test.after)
				}
				time.Sleep(10 * s)
				begun.want(t, test.starts...)
				for i, o := range r.Outcomes {
					if o.Started != (i < len(test.starts)) {
						t.Errorf("%v: started %t", o.Member, o.Started)
					}
				}
			})
		})
	}
}

// failAfter fails after d, unless its context ends before that.
func failAfter(d time.Duration) producer {
	return func(ctx context.Context, _ int) (int, error) {
		if _, err := slow(d, 0)(ctx, 0); err != nil {
			return 0, err
		}
		return 0, errBroken
	}
}

// The next member is due in the very instant in which the one before gives its
// place back.
func TestStaggerMeetsParallelism(t *testing.T) {
	for range 300 {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher()
			for i := range 4 {
				produce(t, d, fmt.Sprint(i), func(context.Context, int) (int, error) {
					time.Sleep(time.Second)
					return i, nil
				})
			}
			r := ended(t, d, dispatch.WithStagger(time.Second), dispatch.WithParallelism(1))
			expect(t, r, "all ended: 0 ok, 1 ok, 2 ok, 3 ok")
			if r.Elapsed != 4*time.Second {
				t.Errorf("ended after %v", r.Elapsed)
			}
		})
	}
}

func TestTargets(t *testing.T) {
	for name, test := range map[string]struct {
		targets []string
		opts    []dispatch.CallOption
		want    string
		asked   []string
	}{
		"one":                  {[]string{"b"}, nil, "all ended: b ok", []string{"b"}},
		"by registration":      {[]string{"c", "a"}, nil, "all ended: a ok, c ok", []string{"a", "c"}},
		"twice":                {[]string{"a", "a", "b", "a"}, nil, "all ended: a ok, b ok", []string{"a", "b"}},
		"unknown":              {[]string{"x", "a"}, nil, "all ended: a ok, x gone", []string{"a"}},
		"unknown twice":        {[]string{"x", "a", "x"}, nil, "all ended: a ok, x gone", []string{"a"}},
		"all unknown":          {[]string{"x", "y"}, nil, "all ended: x gone, y gone", nil},
		"a case of its own":    {[]string{"A"}, nil, "all ended: A gone", nil},
		"a group":              {[]string{"g"}, nil, "all ended: g/g1 ok", []string{"g1"}},
		"a replica":            {[]string{"g2"}, nil, "all ended: g/g2 ok", []string{"g2"}},
		"a group and others":   {[]string{"c", "g"}, nil, "all ended: g/g1 ok, c ok", []string{"c", "g1"}},
		"a group and replica":  {[]string{"g2", "g"}, nil, "all ended: g/g1 ok", []string{"g1"}},
		"a quorum of those":    {[]string{"a", "x"}, opts(dispatch.WithQuorum(1), dispatch.WithParallelism(1)), "satisfied: a ok, x gone", []string{"a"}},
		"a quorum beyond":      {[]string{"a"}, opts(dispatch.WithQuorum(2)), "quorum lost: a canceled", nil},
		"a quorum of unknown":  {[]string{"x", "y"}, opts(dispatch.WithQuorum(2), dispatch.WithParallelism(1)), "quorum lost: x gone, y gone", nil},
		"unknown fail no call": {[]string{"x", "a"}, opts(dispatch.WithFailFast()), "all ended: a ok, x gone", []string{"a"}},
		"unknown, staggered":   {[]string{"x", "y", "a"}, opts(dispatch.WithStagger(time.Second)), "all ended: a ok, x gone, y gone", []string{"a"}},
		"the last counts":      {[]string{"x"}, opts(dispatch.WithTargets("a")), "all ended: a ok", []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher()
				var asked notes
				told := func(name string) producer {
					return func(context.Context, int) (int, error) {
						asked.add("%s", name)
						return 1, nil
					}
				}
				produce(t, d, "a", told("a"))
				produce(t, d, "g1", told("g1"), dispatch.WithGroup("g"))
				produce(t, d, "b", told("b"))
				produce(t, d, "g2", told("g2"), dispatch.WithGroup("g"))
				produce(t, d, "c", told("c"))
				r := ended(t, d, append([]dispatch.CallOption{dispatch.WithTargets(test.targets...)}, test.opts...)...)
				expect(t, r, test.want)
				synctest.Wait()
				got := asked.all()
				slices.Sort(got)
				if diff := cmp.Diff(test.asked, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("asked (-want +got):\n%s", diff)
				}
				for _, o := range r.Outcomes {
					if o.State == dispatch.StateGone && (!errors.Is(o.Err, dispatch.ErrUnknownMember) || !strings.Contains(o.Err.Error(), o.Member.Name) || o.Started || o.Tried != 0) {
						t.Errorf("outcome %+v", o)
					}
				}
				if r.Complete() != !strings.Contains(test.want, "gone") && r.Reason == dispatch.ReasonAllEnded {
					t.Errorf("Complete is %t", r.Complete())
				}
				logged.nothing(t)
			})
		})
	}
}

func TestTargetsAreCheckedAndCopied(t *testing.T) {
	d, _ := newDispatcher()
	produce(t, d, "a", quick(1))
	for _, names := range [][]string{nil, {""}, {"a", ""}} {
		if _, err := d.Send(context.Background(), ask, 0, dispatch.WithTargets(names...)); !errors.Is(err, dispatch.ErrInvalidOption) {
			t.Errorf("%q: %v", names, err)
		}
	}
	names := []string{"a"}
	option := dispatch.WithTargets(names...)
	names[0] = "x"
	expect(t, ended(t, d, option), "all ended: a ok")
	empty, _ := newDispatcher()
	expect(t, ended(t, empty, option), "all ended: a gone")
	_, err := empty.Gather(context.Background(), ask, 0, option)
	if !errors.Is(err, dispatch.ErrUnknownMember) {
		t.Errorf("Gather: %v", err)
	}
}

func TestMinProducersAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		begun := newStarts()
		diary := keepDiary(t, d)
		c := send(t, d, dispatch.WithMinProducers(3))
		expect(t, c.Report(), "pending: ")
		add := func(name string) *dispatch.Registration {
			return produce(t, d, name, begun.of(name, slow(time.Second, 1)))
		}
		time.Sleep(time.Second)
		gone := add("gone")
		add("a")
		time.Sleep(time.Second / 2)
		gone.Remove()
		add("b")
		time.Sleep(time.Second / 2)
		synctest.Wait()
		if c.Report().Reason != dispatch.ReasonPending || len(c.Report().Outcomes) != 0 {
			t.Errorf("asked too few: %s", told(c.Report()))
		}
		time.Sleep(time.Second)
		add("c")
		add("d") // too late for the snapshot
		<-c.Done()
		expect(t, c.Report(), "all ended: a ok, b ok, c ok")
		if r := c.Report(); r.Elapsed != 4*time.Second {
			t.Errorf("ended after %v", r.Elapsed)
		}
		got := begun.all()
		slices.Sort(got)
		if diff := cmp.Diff([]string{"a at 3000 ms", "b at 3000 ms", "c at 3000 ms"}, got); diff != "" {
			t.Errorf("starts (-want +got):\n%s", diff)
		}
		synctest.Wait()
		if diary.count("result") != 3 || diary.count("done all ended") != 1 {
			t.Errorf("listener was told %q", diary.all())
		}
		// Who finds enough does not wait.
		r := ended(t, d, dispatch.WithMinProducers(4))
		if expect(t, r, "all ended: a ok, b ok, c ok, d ok"); r.Elapsed != time.Second {
			t.Errorf("ended after %v", r.Elapsed)
		}
		logged.nothing(t)
	})
}

func TestMinProducersWithOtherPolicies(t *testing.T) {
	for name, test := range map[string]struct {
		opts  []dispatch.CallOption
		want  string
		after time.Duration
	}{
		"quorum":      {opts(dispatch.WithQuorum(1)), "satisfied: a ok, b canceled", 2 * time.Second},
		"quorum lost": {opts(dispatch.WithQuorum(3)), "quorum lost: a canceled, b canceled", time.Second},
		"targets":     {opts(dispatch.WithTargets("b", "x")), "deadline: b late, x gone", 5 * time.Second},
		"grace":       {opts(dispatch.WithGrace(time.Second)), "all ended: a ok, b late", 4 * time.Second},
		"stagger":     {opts(dispatch.WithStagger(time.Second), dispatch.WithTimeout(2500*time.Millisecond)), "deadline: a ok, b late", 2500 * time.Millisecond},
		"stall":       {opts(dispatch.WithStall(time.Second)), "stalled: a ok, b canceled", 3 * time.Second},
		"parallelism": {opts(dispatch.WithParallelism(1)), "deadline: a ok, b late", 5 * time.Second},
		"the deadline": {
			opts(dispatch.WithTimeout(1500 * time.Millisecond)),
			"deadline: a late, b late", 1500 * time.Millisecond,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				produce(t, d, "a", slow(time.Second, 1))
				c := send(t, d, append(test.opts, dispatch.WithMinProducers(2))...)
				time.Sleep(time.Second)
				produce(t, d, "b", patient)
				<-c.Done()
				expect(t, c.Report(), test.want)
				if r := c.Report(); r.Elapsed != test.after {
					t.Errorf("ended after %v, want %v", r.Elapsed, test.after)
				}
			})
		})
	}
}

func TestMinProducersThatDoNotCome(t *testing.T) {
	for name, test := range map[string]struct {
		opts  []dispatch.CallOption
		do    func(*dispatcher, *inFlight)
		want  string
		after time.Duration
		err   error
	}{
		"deadline": {nil, func(*dispatcher, *inFlight) {}, "deadline: ", 5 * time.Second, dispatch.ErrTooFewProducers},
		"timeout":  {opts(dispatch.WithTimeout(time.Second)), func(*dispatcher, *inFlight) {}, "deadline: ", time.Second, dispatch.ErrTooFewProducers},
		"grace":    {opts(dispatch.WithGrace(time.Second)), func(*dispatcher, *inFlight) {}, "deadline: ", 5 * time.Second, dispatch.ErrTooFewProducers},
		"cancel":   {nil, func(_ *dispatcher, c *inFlight) { c.Cancel(errBroken) }, "canceled: ", 2 * time.Second, errBroken},
		"Close":    {nil, func(d *dispatcher, _ *inFlight) { d.Close() }, "closed: ", 2 * time.Second, dispatch.ErrClosed},
		"Shutdown": {nil, func(d *dispatcher, _ *inFlight) {
			began := time.Now()
			if err := d.Shutdown(context.Background()); err != nil || time.Since(began) != 3*time.Second {
				panic(fmt.Sprint(err, time.Since(began)))
			}
		}, "deadline: ", 5 * time.Second, dispatch.ErrTooFewProducers},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher()
				asked := 0
				produce(t, d, "a", func(context.Context, int) (int, error) { asked++; return 1, nil })
				diary := keepDiary(t, d)
				c := send(t, d, append(test.opts, dispatch.WithMinProducers(2))...)
				time.Sleep(2 * time.Second)
				test.do(d, c)
				<-c.Done()
				r := c.Report()
				expect(t, r, test.want)
				if r.Elapsed != test.after || !errors.Is(r.Err(), test.err) || r.Complete() {
					t.Errorf("after %v: %v", r.Elapsed, r.Err())
				}
				if _, err := d.AddProducer(ask, quick(2)); err != nil && !errors.Is(err, dispatch.ErrClosed) {
					t.Error(err)
				}
				time.Sleep(10 * time.Second)
				if asked != 0 {
					t.Error("asked all the same")
				}
				if diff := cmp.Diff([]string{"done " + r.Reason.String()}, diary.all()); diff != "" {
					t.Errorf("the listener was told (-want +got):\n%s", diff)
				}
				logged.nothing(t)
			})
		})
	}
}

func TestMinProducersEndWithTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		ctx, cancel := context.WithCancelCause(context.Background())
		c := sendFrom(ctx, t, d, dispatch.WithMinProducers(1))
		time.Sleep(time.Second)
		cancel(errBroken)
		<-c.Done()
		expect(t, c.Report(), "canceled: ")
		if !errors.Is(c.Report().Err(), errBroken) {
			t.Errorf("error %v", c.Report().Err())
		}
		expect(t, sendFrom(ctx, t, d, dispatch.WithMinProducers(1)).Report(), "canceled: ")

		ctx, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		c = sendFrom(ctx, t, d, dispatch.WithMinProducers(1))
		<-c.Done()
		if r := c.Report(); r.Reason != dispatch.ReasonDeadline || r.Elapsed != time.Second {
			t.Errorf("%s after %v", told(r), r.Elapsed)
		}
	})
}

// The types of a topic may be settled, by others, while a call waits for it.
func TestMinProducersOfOtherTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		c := send(t, d, dispatch.WithMinProducers(1))
		words := dispatch.On[string, string](d.Bus())
		if _, err := words.AddProducer(dispatch.NewTopic[string, string](ask.Name()), func(context.Context, string) (string, error) {
			t.Error("asked")
			return "", nil
		}); err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		if r := c.Report(); r.Reason == dispatch.ReasonAllEnded || !errors.Is(r.Err(), dispatch.ErrTopicType) {
			t.Errorf("%s: %v", told(r), r.Err())
		}
	})
}

// On real processors: however Send and AddProducer meet, the call is woken.
func TestMinProducersRaceOfSendAndRegistration(t *testing.T) {
	for range 150 {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
		const callers, producers = 4, 4
		var wg sync.WaitGroup
		var asked atomic.Int64
		calls := make([]*inFlight, callers)
		start := make(chan struct{})
		for i := range callers {
			wg.Go(func() {
				<-start
				calls[i] = send(t, d, dispatch.WithMinProducers(producers))
			})
		}
		for i := range producers {
			wg.Go(func() {
				<-start
				produce(t, d, fmt.Sprint(i), func(context.Context, int) (int, error) { asked.Add(1); return i, nil })
			})
		}
		close(start)
		wg.Wait()
		for _, c := range calls {
			<-c.Done()
			if r := c.Report(); len(r.Outcomes) != producers || !r.Complete() {
				t.Fatalf("a call ended as %s", told(r))
			}
		}
		if n := asked.Load(); n != callers*producers {
			t.Fatalf("asked %d times", n)
		}
		if err := d.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}
