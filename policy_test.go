package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
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

// A producer that gives up at its deadline often returns the error of a call of its own, or several errors.
func TestEveryErrorOfADeadlineIsLateInTheGrace(t *testing.T) {
	for name, wrap := range map[string]func(error) error{
		"itself": func(err error) error { return err },
		"joined": func(err error) error { return errors.Join(errBroken, err) },
		"nested": func(err error) error { return inner(failed("shelf", err)) },
	} {
		bubble(t, name, func(t *testing.T) {
			d, _ := newDispatcher(dispatch.WithTimeout(2 * time.Second))
			produce(t, d, "before", func(context.Context, int) (int, error) { return 0, wrap(context.DeadlineExceeded) })
			produce(t, d, "in", func(ctx context.Context, _ int) (int, error) {
				<-ctx.Done()
				return 0, wrap(ctx.Err())
			})
			addRelay(t, d, "r", func(ctx context.Context, _ int, to roster) error {
				to.Name(far("in"))
				<-ctx.Done()
				to.End(far("in"), wrap(ctx.Err()))
				return nil
			})
			expect(t, ended(t, d, dispatch.WithGrace(time.Second)), "all ended: before failed, in late, far/in late")
		})
	}
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
		"a replica of a group": {[]string{"g/g2"}, nil, "all ended: g/g2 ok", []string{"g2"}},
		"none of the group":    {[]string{"g/a", "g/g3"}, nil, "all ended: g/a gone, g/g3 gone", nil},
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

func TestMinProducersThatDoNotComeBeforeTheSendersDeadline(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d, _ := newDispatcher()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errBroken)
		defer cancel()
		for _, elapsed := range []time.Duration{time.Second, 0} { // with a deadline to come, and one that is over
			c := sendFrom(ctx, t, d, dispatch.WithMinProducers(1))
			<-c.Done()
			r := c.Report()
			if told(r) != "deadline: " || r.Elapsed != elapsed {
				t.Errorf("after %v: %s", r.Elapsed, told(r))
			}
			for _, target := range []error{dispatch.ErrTooFewProducers, errBroken, context.DeadlineExceeded} {
				if !errors.Is(r.Err(), target) {
					t.Errorf("after %v the error is not %q: %v", elapsed, target, r.Err())
				}
			}
			equal(t, "type", r.Err().(*dispatch.PartialError).ErrorType(), "too_few_producers")
		}
	})
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

// A producer with a timeout of its own is late after that, and the call goes on.
func TestAProducerHasItsOwnTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		diary := keepDiary(t, d)
		var late notes
		d.OnLate(func(r result, by time.Duration) {
			late.add("%v=%d seq %d after %v, by %v", r.From, r.Value, r.Seq, r.Elapsed, by)
		})
		release := make(chan struct{})
		timeout := dispatch.WithTimeout(time.Second)
		produce(t, d, "deaf", deaf(release, 1), timeout)
		produce(t, d, "heeds", patient, timeout)
		produce(t, d, "quick", slow(time.Second/2, 2), timeout)
		produce(t, d, "slow", slow(3*time.Second, 3))
		time.AfterFunc(1050*time.Millisecond, func() { close(release) })
		c := send(t, d)
		time.Sleep(2 * time.Second)
		expect(t, c.Report(), "pending: deaf late, heeds late, quick ok, slow pending")
		<-c.Done()
		expect(t, c.Report(), "all ended: deaf late, heeds late, quick ok, slow ok")
		for _, o := range c.Report().Outcomes[:2] {
			if o.Elapsed != time.Second || !o.Started || o.Err.Error() != "dispatch: timeout of 1s" ||
				!errors.Is(o.Err, dispatch.ErrTimeout) || !errors.Is(o.Err, context.DeadlineExceeded) {
				t.Errorf("outcome %+v", o)
			}
		}
		want := "dispatch: kit.ask: 2 of 4 members did not answer: deaf, heeds late: timeout of 1s"
		if err := c.Report().Err(); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		synctest.Wait()
		if diff := cmp.Diff([]string{"deaf=1 seq -1 after 1.05s, by 50ms"}, late.all()); diff != "" {
			t.Errorf("late (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{
			"result quick=2", "outcome quick ok", "outcome deaf late", "outcome heeds late", "result slow=3", "outcome slow ok", "done all ended",
		}, diary.all()); diff != "" {
			t.Errorf("listener was told (-want +got):\n%s", diff)
		}
		logged.nothing(t)
	})
}

// Everything that a run can see of its own timeout.
func TestTheContextOfARunWithATimeout(t *testing.T) {
	slot := semaphore.NewWeighted(1)
	waits := dispatch.WithSemaphore(slot)
	for name, test := range map[string]struct {
		with  []dispatch.ProducerOption
		opts  []dispatch.CallOption
		limit time.Duration // of the run
		cause error         // of the end of its context
		want  string
	}{
		"its own":               {nil, nil, time.Second, context.DeadlineExceeded, "all ended: p late"},
		"a replica's":           {[]dispatch.ProducerOption{dispatch.WithGroup("g")}, nil, time.Second, context.DeadlineExceeded, "all ended: g late"},
		"the call's is earlier": {nil, opts(dispatch.WithTimeout(time.Second / 2)), time.Second / 2, context.DeadlineExceeded, "deadline: p late"},
		"the grace is earlier":  {nil, opts(dispatch.WithTimeout(time.Second), dispatch.WithGrace(time.Second/4)), 3 * time.Second / 4, context.DeadlineExceeded, "all ended: p late"},
		"the same":              {nil, opts(dispatch.WithTimeout(time.Second)), time.Second, context.DeadlineExceeded, "deadline: p late"},
		"a slot is waited for":  {[]dispatch.ProducerOption{waits}, nil, time.Second, context.DeadlineExceeded, "all ended: p late"},
		"a replica waits for a slot": {
			[]dispatch.ProducerOption{waits, dispatch.WithGroup("rivals")},
			nil, time.Second, context.DeadlineExceeded, "all ended: rivals failed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				slot.TryAcquire(1)
				time.AfterFunc(time.Second/10, func() { slot.Release(1) })
				ended := make(chan struct{})
				produce(t, d, "p", func(ctx context.Context, _ int) (int, error) {
					defer close(ended)
					began := time.Now()
					at, ok := ctx.Deadline()
					info, _ := dispatch.CallFrom(ctx)
					if left := time.Until(at); !ok || left != test.limit || info.Budget != left {
						t.Errorf("%v left, and a budget of %v, want %v", left, info.Budget, test.limit)
					}
					derived, cancel := context.WithCancel(ctx)
					defer cancel()
					if ctx.Err() != nil || derived.Err() != nil {
						t.Error("the context has ended before its time")
					}
					<-derived.Done()
					if took := time.Since(began); took != test.limit {
						t.Errorf("the context has ended after %v, want %v", took, test.limit)
					}
					for _, ctx := range []context.Context{ctx, derived} {
						if ctx.Err() != context.DeadlineExceeded || context.Cause(ctx) != test.cause {
							t.Errorf("%v because of %v", ctx.Err(), context.Cause(ctx))
						}
					}
					return 0, derived.Err()
				}, append(test.with, dispatch.WithTimeout(time.Second))...)
				if strings.Contains(test.want, "rivals") {
					produce(t, d, "rival", failing(errBroken), dispatch.WithGroup("rivals"))
				}
				c := send(t, d, test.opts...)
				<-ended
				<-c.Done()
				expect(t, c.Report(), test.want)
			})
		})
	}
}

// A producer with a clock of its own may be quicker than the timer of the call.
func TestAProducerThatGivesUpAtItsDeadlineIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		for i := range 200 {
			produce(t, d, fmt.Sprint("p", i), func(ctx context.Context, _ int) (int, error) {
				at, _ := ctx.Deadline()
				time.Sleep(time.Until(at))
				return 0, context.DeadlineExceeded
			}, dispatch.WithTimeout(time.Second))
		}
		for _, o := range ended(t, d).Outcomes {
			if o.State != dispatch.StateLate || !errors.Is(o.Err, dispatch.ErrTimeout) {
				t.Fatalf("outcome %+v", o)
			}
		}
	})
}

// Who looks at such a context for the first time when it is too late finds that it ended
// with its own timeout, whatever ended the call since.
func TestAContextThatIsLookedAtAfterItsTimeout(t *testing.T) {
	for _, group := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher()
			with := []dispatch.ProducerOption{dispatch.WithTimeout(time.Second)}
			if group {
				with = append(with, dispatch.WithGroup("g"))
			}
			for _, after := range []time.Duration{2 * time.Second, 4 * time.Second} {
				r := produce(t, d, "p", func(ctx context.Context, _ int) (int, error) {
					time.Sleep(after)
					if ctx.Err() != context.DeadlineExceeded || context.Cause(ctx) != context.DeadlineExceeded {
						t.Errorf("after %v: %v because of %v", after, ctx.Err(), context.Cause(ctx))
					}
					return 0, nil
				}, with...)
				other := produce(t, d, "other", slow(3*time.Second, 1))
				ended(t, d, dispatch.WithQuorum(1))
				time.Sleep(5 * time.Second)
				r.Remove()
				other.Remove()
			}
		})
	}
}

// The time that a run waits for its turn is not its own.
func TestATimeoutBeginsWithTheClosure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		for _, with := range [][]dispatch.ProducerOption{nil, {dispatch.WithGroup("g")}} {
			r := produce(t, d, "p", slow(900*time.Millisecond, 1),
				append(with, dispatch.WithConcurrency(1), dispatch.WithTimeout(time.Second))...)
			first, second, third := send(t, d), send(t, d), send(t, d)
			for _, c := range []*inFlight{first, second, third} {
				if <-c.Done(); !c.Report().Complete() {
					t.Errorf("the call ended as %s", told(c.Report()))
				}
			}
			r.Remove()
		}
		produce(t, d, "overdue", slow(1100*time.Millisecond, 1), dispatch.WithConcurrency(1), dispatch.WithTimeout(time.Second))
		first := send(t, d)
		time.Sleep(time.Second / 2)
		second := send(t, d) // waits for that long, until the first run has seen the end of its context
		for i, c := range []*inFlight{first, second} {
			<-c.Done()
			expect(t, c.Report(), "all ended: overdue late")
			if o := c.Report().Outcomes[0]; o.Elapsed != o.Began+time.Second || o.Began != time.Duration(i)*time.Second/2 {
				t.Errorf("call %d: late after %v, begun after %v", i, o.Elapsed, o.Began)
			}
		}
	})
}

// Runs that start later do not put off those that are overdue before, nor do they wait for
// them.
func TestTimeoutsOfRunsThatStartAtDifferentTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		for i := range 3 {
			produce(t, d, fmt.Sprint("p", i), patient, dispatch.WithTimeout(time.Duration(5-i)*time.Second))
		}
		produce(t, d, "after", quick(1), dispatch.WithTimeout(time.Minute))
		r := ended(t, d, dispatch.WithStagger(time.Second), dispatch.WithTimeout(time.Hour))
		expect(t, r, "all ended: p0 late, p1 late, p2 late, after ok")
		for i, want := range []time.Duration{5, 5, 5} {
			if got := r.Outcomes[i].Elapsed; got != want*time.Second {
				t.Errorf("p%d was late after %v, want %v", i, got, want*time.Second)
			}
		}
		r = ended(t, d, dispatch.WithParallelism(1), dispatch.WithTimeout(time.Hour))
		expect(t, r, "all ended: p0 late, p1 late, p2 late, after ok")
		if r.Elapsed != 12*time.Second {
			t.Errorf("ended after %v: one that is overdue has kept its place", r.Elapsed)
		}
	})
}

func TestAStreamWithATimeoutKeepsWhatCameInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		var late notes
		d.OnLate(func(r result, by time.Duration) { late.add("%v=%d by %v", r.From, r.Value, by) })
		must(d.AddStreamProducer(ask, func(context.Context, int) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				for i := range 5 {
					time.Sleep(400 * time.Millisecond)
					if !yield(i, nil) {
						return
					}
				}
			}
		}, dispatch.WithName("stream"), dispatch.WithTimeout(time.Second)))
		produce(t, d, "slow", slow(3*time.Second, 9))
		c := send(t, d)
		<-c.Done()
		expect(t, c.Report(), "all ended: stream late, slow ok")
		if o := c.Report().Outcomes[0]; o.Results != 2 || o.Elapsed != time.Second {
			t.Errorf("outcome %+v", o)
		}
		synctest.Wait()
		if diff := cmp.Diff([]string{"stream=2 by 200ms"}, late.all()); diff != "" {
			t.Errorf("late (-want +got):\n%s", diff)
		}
		if n := d.Bus().Snapshot().Misuse; n != 0 {
			t.Errorf("%d cases of misuse", n)
		}
		logged.nothing(t)
	})
}

func TestAReplicaThatIsOverdueIsReplaced(t *testing.T) {
	for name, test := range map[string]struct {
		second  producer
		timeout time.Duration // of the second
		want    string
		after   time.Duration
		err     string
	}{
		"by one that answers": {slow(time.Second/2, 2), time.Second, "all ended: g/b ok", 1500 * time.Millisecond, ""},
		"by one that fails":   {failing(errBroken), time.Second, "all ended: g failed", time.Second, "no replica answered: b failed: broken; a late: timeout of 1s"},
		"by another":          {patient, 2 * time.Second, "all ended: g late", 3 * time.Second, "no replica answered: a late: timeout of 1s; b late: timeout of 2s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher()
				var late notes
				d.OnLate(func(r result, by time.Duration) { late.add("%v=%d by %v", r.From, r.Value, by) })
				var ends notes
				must(d.Bus().Observe(dispatch.Observer{
					MemberEnd: func(_ context.Context, m dispatch.MemberInfo, o dispatch.Outcome) {
						ends.add("%v %v running %t at %v", m.Member, o.State, m.Running, o.Elapsed)
					},
					Late: func(_ context.Context, m dispatch.MemberInfo, by time.Duration, err error) {
						ends.add("%v returned by %v: %v", m.Member, by, err)
					},
				}))
				produce(t, d, "a", answerAfter[int](7, 1050*time.Millisecond), dispatch.WithGroup("g"), dispatch.WithTimeout(time.Second))
				produce(t, d, "b", test.second, dispatch.WithGroup("g"), dispatch.WithTimeout(test.timeout))
				r := ended(t, d)
				expect(t, r, test.want)
				if r.Elapsed != test.after || r.Outcomes[0].Tried != 2 {
					t.Errorf("after %v, tried %d", r.Elapsed, r.Outcomes[0].Tried)
				}
				if err := r.Outcomes[0].Err; test.err != "" && (err == nil || err.Error() != test.err) {
					t.Errorf("error\n%v, want\n%s", err, test.err)
				}
				time.Sleep(time.Minute)
				if diff := cmp.Diff([]string{"g/a=7 by 50ms"}, late.all()); diff != "" {
					t.Errorf("late (-want +got):\n%s", diff)
				}
				for _, want := range []string{"g/a late running true at 1s", "g/a returned by 50ms: <nil>"} {
					if ends.count(want) != 1 {
						t.Errorf("an observer was not told %q, but %q", want, ends.all())
					}
				}
				logged.nothing(t)
			})
		})
	}
}

// A run that is overdue is abandoned 100 ms after the end of its call, and not before.
func TestARunThatIsOverdueIsAbandonedAfterItsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		release := make(chan struct{})
		produce(t, d, "deaf", deaf(release, 1), dispatch.WithTimeout(time.Second))
		produce(t, d, "slow", slow(3*time.Second, 1))
		c := send(t, d)
		<-c.Done()
		abandoned := func() int { return len(d.Bus().Snapshot().Abandoned) }
		if time.Sleep(99 * time.Millisecond); abandoned() != 0 {
			t.Error("it is abandoned too early")
		}
		if time.Sleep(2 * time.Millisecond); abandoned() != 1 || logged.count("outlived its call") != 1 {
			t.Errorf("%d are abandoned, and logged: %q", abandoned(), logged.all())
		}
		close(release)
		if synctest.Wait(); abandoned() != 0 {
			t.Error("it is abandoned although it has returned")
		}
	})
}

func TestAMajority(t *testing.T) {
	for name, test := range map[string]struct {
		producers string // a: answers, f: fails, d: declines, each a second after the one before; p: waits
		opts      []dispatch.CallOption
		want      string
		after     time.Duration
		err       string
	}{
		"1 of 1":      {"a", nil, "satisfied: 0 ok", 1, ""},
		"2 of 2":      {"aa", nil, "satisfied: 0 ok, 1 ok", 2, ""},
		"2 of 3":      {"aap", nil, "satisfied: 0 ok, 1 ok, 2 canceled", 2, ""},
		"3 of 4":      {"aaap", nil, "satisfied: 0 ok, 1 ok, 2 ok, 3 canceled", 3, ""},
		"lost":        {"affp", nil, "quorum lost: 0 ok, 1 failed, 2 failed, 3 canceled", 3, "dispatch: kit.ask: quorum of 3 lost: 1 of 4 members answered (1 member unfinished): 1, 2 failed: broken"},
		"a tie":       {"afaf", nil, "quorum lost: 0 ok, 1 failed, 2 ok, 3 failed", 4, "dispatch: kit.ask: quorum of 3 lost: 2 of 4 members answered: 1, 3 failed: broken"},
		"of declines": {"add", nil, "quorum lost: 0 ok, 1 declined, 2 declined", 3, "dispatch: kit.ask: quorum of 2 lost: 1 of 3 members answered: 2 declined"},
		"of targets":  {"aappp", opts(dispatch.WithTargets("0", "1", "2")), "satisfied: 0 ok, 1 ok, 2 canceled", 2, ""},
		"of a target that is not there": {
			"aap", opts(dispatch.WithTargets("0", "1", "x")),
			"satisfied: 0 ok, 1 ok, x gone", 2, "",
		},
		"after WithQuorum":  {"aap", opts(dispatch.WithQuorum(1), dispatch.WithMajority()), "satisfied: 0 ok, 1 ok, 2 canceled", 2, ""},
		"before WithQuorum": {"aap", opts(dispatch.WithQuorum(1)), "satisfied: 0 ok, 1 canceled, 2 canceled", 1, ""},
		"of nobody":         {"", nil, "no producers: ", 0, "dispatch: kit.ask: no producers"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithMajority())
				for i, kind := range test.producers {
					p := producer(patient)
					if err := map[rune]error{'f': errBroken, 'd': dispatch.ErrDecline}[kind]; kind != 'p' {
						p = func(context.Context, int) (int, error) {
							time.Sleep(time.Duration(i+1) * time.Second)
							return i, err
						}
					}
					produce(t, d, fmt.Sprint(i), p)
				}
				r := ended(t, d, test.opts...)
				expect(t, r, test.want)
				if r.Elapsed != test.after*time.Second {
					t.Errorf("ended after %v", r.Elapsed)
				}
				if err := r.Err(); (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
					t.Errorf("error\n%v, want\n%s", err, test.err)
				}
				if v, err := d.First(context.Background(), ask, 0); test.producers == "aap" && (v != 0 || err != nil) {
					t.Errorf("First: %v, %v", v, err)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

func TestAQuorumWaitsForRequiredMembers(t *testing.T) {
	for name, test := range map[string]struct {
		opts  []dispatch.CallOption
		want  string
		after time.Duration
	}{
		"that come later": {opts(dispatch.WithQuorum(1), dispatch.WithRequired("b")), "satisfied: a ok, b ok, c canceled, g canceled", 2},
		"that fail":       {opts(dispatch.WithQuorum(2), dispatch.WithRequired("c")), "satisfied: a ok, b ok, c failed, g canceled", 3},
		"that came first": {opts(dispatch.WithQuorum(2), dispatch.WithRequired("a")), "satisfied: a ok, b ok, c canceled, g canceled", 2},
		"of a majority":   {opts(dispatch.WithMajority(), dispatch.WithRequired("a", "b")), "satisfied: a ok, b ok, c failed, g/g2 ok", 5},
		"a group":         {opts(dispatch.WithQuorum(1), dispatch.WithRequired("g")), "satisfied: a ok, b ok, c failed, g/g2 ok", 5},
		"a replica":       {opts(dispatch.WithQuorum(1), dispatch.WithRequired("g/g2", "g1")), "satisfied: a ok, b ok, c failed, g/g2 ok", 5},
		"twice":           {opts(dispatch.WithQuorum(1), dispatch.WithRequired("a", "a")), "satisfied: a ok, b canceled, c canceled, g canceled", 1},
		"that are not there": {
			opts(dispatch.WithQuorum(2), dispatch.WithRequired("x", "x", "a")),
			"satisfied: a ok, b ok, c canceled, g canceled, x gone", 2,
		},
		"that are no targets": {
			opts(dispatch.WithQuorum(1), dispatch.WithTargets("a", "c"), dispatch.WithRequired("b")),
			"satisfied: a ok, c canceled, b gone", 1,
		},
		"that never end":   {opts(dispatch.WithQuorum(1), dispatch.WithRequired("g"), dispatch.WithTimeout(3500*time.Millisecond)), "deadline: a ok, b ok, c failed, g late", 3500},
		"without a quorum": {opts(dispatch.WithRequired("a")), "all ended: a ok, b ok, c failed, g/g2 ok", 5},
		"a lost quorum":    {opts(dispatch.WithQuorum(4), dispatch.WithRequired("g")), "quorum lost: a ok, b ok, c failed, g canceled", 3},
		"the last counts":  {opts(dispatch.WithQuorum(1), dispatch.WithRequired("g"), dispatch.WithRequired("a")), "satisfied: a ok, b canceled, c canceled, g canceled", 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				produce(t, d, "a", slow(time.Second, 1))
				produce(t, d, "b", slow(2*time.Second, 2))
				produce(t, d, "c", func(context.Context, int) (int, error) {
					time.Sleep(3 * time.Second)
					return 0, errBroken
				})
				produce(t, d, "g1", func(context.Context, int) (int, error) {
					time.Sleep(4 * time.Second)
					return 0, errBroken
				}, dispatch.WithGroup("g"))
				produce(t, d, "g2", slow(time.Second, 4), dispatch.WithGroup("g"))
				r := ended(t, d, append([]dispatch.CallOption{dispatch.WithTimeout(time.Minute)}, test.opts...)...)
				expect(t, r, test.want)
				if want := test.after * time.Second; r.Elapsed != want && r.Elapsed != want/1000 {
					t.Errorf("ended after %v", r.Elapsed)
				}
				for _, o := range r.Outcomes {
					if o.State == dispatch.StateGone && (!errors.Is(o.Err, dispatch.ErrUnknownMember) || o.Err.Error() != fmt.Sprintf("dispatch: no producer named %q", o.Member.Name)) {
						t.Errorf("outcome %+v", o)
					}
				}
				if r.Reason == dispatch.ReasonSatisfied {
					began := time.Now()
					if _, err := d.First(context.Background(), ask, 0, test.opts...); err != nil || time.Since(began) != time.Second {
						t.Errorf("First has waited for %v: %v", time.Since(began), err)
					}
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// A relay names members while the call goes on: a majority is known, and a required
// member that is not named yet is missing, when it has returned.
func TestQuorumsOfRelays(t *testing.T) {
	for name, test := range map[string]struct {
		opts  []dispatch.CallOption
		want  string
		after time.Duration
	}{
		"a majority":           {opts(dispatch.WithMajority()), "satisfied: here ok, far/x ok, far/y failed", 4},
		"a required member":    {opts(dispatch.WithQuorum(1), dispatch.WithRequired("far/y")), "satisfied: here ok, far/x ok, far/y failed", 3},
		"one that is local":    {opts(dispatch.WithQuorum(1), dispatch.WithRequired("here")), "satisfied: here ok", 0},
		"all of a node":        {opts(dispatch.WithQuorum(1), dispatch.WithRequired("far/*")), "satisfied: here ok, far/x ok", 2},
		"one that nobody has":  {opts(dispatch.WithQuorum(1), dispatch.WithRequired("far/z")), "satisfied: here ok, far/x ok, far/y failed, far/z gone", 4},
		"without these at all": {opts(dispatch.WithQuorum(2)), "satisfied: here ok, far/x ok", 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				addRelay(t, d, "link", func(_ context.Context, _ int, to roster) error {
					for i, name := range []string{"x", "y"} {
						time.Sleep(time.Second)
						m := dispatch.Member{Node: "far", Name: name}
						to.Name(m)
						if i == 0 {
							time.Sleep(time.Second)
							to.Result(m, 1)
							to.End(m, nil)
						} else {
							to.End(m, errBroken)
						}
					}
					time.Sleep(time.Second)
					return nil
				})
				produce(t, d, "here", quick(1))
				r := ended(t, d, test.opts...)
				expect(t, r, test.want)
				if r.Elapsed.Round(time.Second) != test.after*time.Second {
					t.Errorf("ended after %v", r.Elapsed)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// What a report prints for a member means that member, and so do shorter names.
func TestNamesOfMembers(t *testing.T) {
	for _, test := range []struct {
		member dispatch.Member
		names  string
		others string
	}{
		{dispatch.Member{Name: "a"}, "a", "b * /a /* a/ a/a"},
		{dispatch.Member{Group: "g", Name: "a"}, "a g g/a", "g/ g/b /a g/* g/g"},
		{dispatch.Member{Group: "g"}, "g g/a", "g/ a h/a"},
		{dispatch.Member{Node: "n", Name: "a"}, "a n/a n/*", "n n/ * n/b m/a m/* n/n /a"},
		{dispatch.Member{Node: "n", Group: "g"}, "g g/a n/g n/g/a n/*", "n/ g/ n/g/ n/a m/g"},
		{dispatch.Member{Node: "n", Group: "g", Name: "a"}, "a g g/a n/a n/g n/g/a n/*", "n/g/b n/g/* a/n"},
		{dispatch.Member{Name: "a/b"}, "a/b", "a b"},
		{dispatch.Member{Node: "n/m", Name: "a"}, "a n/m/a n/m/*", "n/* m/a n/a"},
	} {
		names := append(strings.Fields(test.names), test.member.String())
		for _, name := range names {
			if !test.member.Matches(name) {
				t.Errorf("%q does not mean %+v", name, test.member)
			}
		}
		for _, name := range append(strings.Fields(test.others), "") {
			if test.member.Matches(name) {
				t.Errorf("%q means %+v", name, test.member)
			}
		}
	}
}

// At the deadline a call that has not waited for producers does not say that it has.
func TestDeadlineAfterTheMinProducersHaveCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		addRelay(t, d, "r", func(ctx context.Context, _ int, _ *dispatch.Roster[int]) error { <-ctx.Done(); return ctx.Err() })
		r := ended(t, d, dispatch.WithMinProducers(1), dispatch.WithTargets("remote/x"))
		if err := r.Err(); r.Reason != dispatch.ReasonDeadline || strings.Contains(err.Error(), "too few") {
			t.Errorf("%v: %v", r.Reason, err)
		}
	})
}
