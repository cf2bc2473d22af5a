package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/semaphore"

	"github.com/seed-bb4b4d74/dispatch"
)

// replicas adds producers with these names that stand in for each other.
func replicas(t testing.TB, d *dispatcher, group string, asked *starts, ps map[string]producer) map[string]*dispatch.Registration {
	t.Helper()
	rs := make(map[string]*dispatch.Registration)
	for i := range len(ps) {
		name := group + string(rune('0'+i))
		rs[name] = produce(t, d, name, asked.of(name, ps[name]), dispatch.WithGroup(group))
	}
	return rs
}

func TestGroupIsOneMember(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	type group = map[string]producer
	for name, test := range map[string]struct {
		opts    []dispatch.CallOption
		group   group
		want    string
		tried   int
		after   time.Duration
		starts  []string
		failure string // the states of the replicas in the error, if there is one
	}{
		"one is asked":           {nil, group{"g0": quick(0), "g1": quick(1)}, "all ended: g/g0 ok", 1, 0, []string{"g0 at 0 ms"}, ""},
		"one is asked, slow":     {nil, group{"g0": slow(4*s, 0), "g1": quick(1)}, "all ended: g/g0 ok", 1, 4 * s, []string{"g0 at 0 ms"}, ""},
		"the next on failure":    {nil, group{"g0": failAfter(s), "g1": quick(1)}, "all ended: g/g1 ok", 2, s, []string{"g0 at 0 ms", "g1 at 1000 ms"}, ""},
		"the next on a panic":    {nil, group{"g0": panicking(1), "g1": slow(s, 1)}, "all ended: g/g1 ok", 2, s, []string{"g0 at 0 ms", "g1 at 0 ms"}, ""},
		"the next on Goexit":     {nil, group{"g0": exiting, "g1": slow(s, 1)}, "all ended: g/g1 ok", 2, s, []string{"g0 at 0 ms", "g1 at 0 ms"}, ""},
		"the next on declining":  {nil, group{"g0": failing(dispatch.ErrDecline), "g1": quick(1)}, "all ended: g/g1 ok", 2, 0, []string{"g0 at 0 ms", "g1 at 0 ms"}, ""},
		"the last of three":      {nil, group{"g0": failAfter(s), "g1": failAfter(s), "g2": quick(2)}, "all ended: g/g2 ok", 3, 2 * s, []string{"g0 at 0 ms", "g1 at 1000 ms", "g2 at 2000 ms"}, ""},
		"all fail":               {nil, group{"g0": failAfter(s), "g1": failAfter(s)}, "all ended: g failed", 2, 2 * s, []string{"g0 at 0 ms", "g1 at 1000 ms"}, "g/g0 failed, g/g1 failed"},
		"all panic":              {nil, group{"g0": panicking(errBroken), "g1": panicking(errBroken)}, "all ended: g panicked", 2, 0, []string{"g0 at 0 ms", "g1 at 0 ms"}, "g/g0 panicked, g/g1 panicked"},
		"all decline":            {nil, group{"g0": failing(dispatch.ErrDecline), "g1": failing(dispatch.ErrDecline)}, "all ended: g declined", 2, 0, []string{"g0 at 0 ms", "g1 at 0 ms"}, "g/g0 declined, g/g1 declined"},
		"each in its own way":    {nil, group{"g0": exiting, "g1": failing(dispatch.ErrDecline), "g2": panicking(1)}, "all ended: g failed", 3, 0, []string{"g0 at 0 ms", "g1 at 0 ms", "g2 at 0 ms"}, "g/g0 failed, g/g1 declined, g/g2 panicked"},
		"hedged":                 {opts(dispatch.WithHedge(s)), group{"g0": slow(3*s, 0), "g1": slow(900*ms, 1), "g2": quick(2)}, "all ended: g/g1 ok", 2, 1900 * ms, []string{"g0 at 0 ms", "g1 at 1000 ms"}, ""},
		"hedged for nothing":     {opts(dispatch.WithHedge(s)), group{"g0": slow(1500*ms, 0), "g1": slow(s, 1)}, "all ended: g/g0 ok", 2, 1500 * ms, []string{"g0 at 0 ms", "g1 at 1000 ms"}, ""},
		"no need of a hedge":     {opts(dispatch.WithHedge(s)), group{"g0": slow(900*ms, 0), "g1": quick(1)}, "all ended: g/g0 ok", 1, 900 * ms, []string{"g0 at 0 ms"}, ""},
		"hedge after a failure":  {opts(dispatch.WithHedge(s)), group{"g0": failAfter(500 * ms), "g1": slow(2*s, 1), "g2": slow(200*ms, 2)}, "all ended: g/g2 ok", 3, 1700 * ms, []string{"g0 at 0 ms", "g1 at 500 ms", "g2 at 1500 ms"}, ""},
		"hedge with just enough": {opts(dispatch.WithHedge(s), dispatch.WithTimeout(2*s)), group{"g0": patient, "g1": slow(900*ms, 1)}, "all ended: g/g1 ok", 2, 1900 * ms, []string{"g0 at 0 ms", "g1 at 1000 ms"}, ""},
		"a failure makes room when a hedge could not": {
			opts(dispatch.WithHedge(s), dispatch.WithTimeout(2*s)),
			group{"g0": patient, "g1": failAfter(900 * ms), "g2": quick(2)},
			"all ended: g/g2 ok", 3, 1900 * ms,
			[]string{"g0 at 0 ms", "g1 at 1000 ms", "g2 at 1900 ms"},
			"",
		},
		"hedge with too little": {opts(dispatch.WithHedge(s), dispatch.WithTimeout(1900*ms)), group{"g0": patient, "g1": quick(1)}, "deadline: g late", 1, 1900 * ms, []string{"g0 at 0 ms"}, ""},
		"hedge beyond":          {opts(dispatch.WithHedge(1<<63 - 1)), group{"g0": patient, "g1": quick(1)}, "deadline: g late", 1, 5 * s, []string{"g0 at 0 ms"}, ""},
		"late":                  {opts(dispatch.WithTimeout(2 * s)), group{"g0": failAfter(s), "g1": patient, "g2": quick(2)}, "deadline: g late", 2, 2 * s, []string{"g0 at 0 ms", "g1 at 1000 ms"}, ""},
		"quorum":                {opts(dispatch.WithQuorum(1)), group{"g0": failAfter(s), "g1": quick(1)}, "satisfied: g/g1 ok", 2, s, []string{"g0 at 0 ms", "g1 at 1000 ms"}, ""},
		"quorum lost":           {opts(dispatch.WithQuorum(1)), group{"g0": failAfter(s), "g1": failAfter(0)}, "quorum lost: g failed", 2, s, []string{"g0 at 0 ms", "g1 at 1000 ms"}, "g/g0 failed, g/g1 failed"},
		"no failing fast":       {opts(dispatch.WithFailFast()), group{"g0": failAfter(s), "g1": quick(1)}, "all ended: g/g1 ok", 2, s, []string{"g0 at 0 ms", "g1 at 1000 ms"}, ""},
		"failing fast":          {opts(dispatch.WithFailFast()), group{"g0": failAfter(s), "g1": exiting}, "failed fast: g failed", 2, s, []string{"g0 at 0 ms", "g1 at 1000 ms"}, "g/g0 failed, g/g1 failed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				asked := newStarts()
				replicas(t, d, "g", asked, test.group)
				diary := keepDiary(t, d)
				r := ended(t, d, test.opts...)
				expect(t, r, test.want)
				time.Sleep(10 * s)
				asked.want(t, test.starts...)
				o := r.Outcomes[0]
				if o.Tried != test.tried || r.Elapsed != test.after || !o.Started || o.Elapsed != test.after {
					t.Errorf("after %v: outcome %+v", r.Elapsed, o)
				}
				if want := map[bool]int{true: 1}[o.State == dispatch.StateOK]; o.Results != want || diary.count("result g/") != want {
					t.Errorf("%d results, listener was told %q", o.Results, diary.all())
				}
				if diary.count("outcome g") != 1 {
					t.Errorf("listener was told %q", diary.all())
				}
				var partial *dispatch.PartialError
				if errors.As(o.Err, &partial) != (test.failure != "") {
					t.Errorf("error %v", o.Err)
				}
				if partial != nil {
					if got := strings.SplitN(told(partial.Report), ": ", 2)[1]; got != test.failure {
						t.Errorf("the replicas ended as %s, want %s", got, test.failure)
					}
				}
				for _, end := range strings.Split(test.failure, ", ") {
					name, state, _ := strings.Cut(strings.TrimPrefix(end, "g/"), " ")
					if state == "declined" {
						name = state // these are counted
					}
					if test.failure != "" && !strings.Contains(o.Err.Error(), name) {
						t.Errorf("%v does not say %s", o.Err, name)
					}
				}
			})
		})
	}
}

func TestGroupErrorsAreReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		produce(t, d, "a", failing(errBroken), dispatch.WithGroup("g"))
		produce(t, d, "b", panicking("boom"), dispatch.WithGroup("g"))
		produce(t, d, "c", exiting, dispatch.WithGroup("g"))
		_, err := d.Gather(context.Background(), ask, 0)
		var panicked *dispatch.PanicError
		if !errors.Is(err, errBroken) || !errors.Is(err, dispatch.ErrGoexit) || !errors.As(err, &panicked) || panicked.Value != "boom" {
			t.Errorf("error %v", err)
		}
		synctest.Wait()
		if logged.count("producer=b") != 1 || logged.count("producer=c") != 1 || len(logged.all()) != 2 {
			t.Errorf("logged %q", logged.all())
		}
	})
}

func TestGroupsStandWhereTheirFirstWasRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", quick(0))
		produce(t, d, "g0", failing(errBroken), dispatch.WithGroup("g"))
		produce(t, d, "h0", quick(2), dispatch.WithGroup("h"))
		produce(t, d, "b", quick(3))
		produce(t, d, "g1", slow(time.Second, 1), dispatch.WithGroup("g"))
		produce(t, d, "g", quick(4)) // a name is no group
		expect(t, ended(t, d), "all ended: a ok, g/g1 ok, h/h0 ok, b ok, g ok")
		values, err := d.Gather(context.Background(), ask, 0)
		if diff := cmp.Diff([]int{0, 1, 2, 3, 4}, values); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		if _, err := d.AddProducer(ask, quick(1), dispatch.WithGroup("g"), dispatch.WithName("b")); !errors.Is(err, dispatch.ErrDuplicate) {
			t.Errorf("a replica of a taken name: %v", err)
		}
		if _, err := d.AddProducer(ask, quick(1), dispatch.WithGroup("")); !errors.Is(err, dispatch.ErrInvalidOption) {
			t.Errorf("a group without a name: %v", err)
		}
	})
}

// answerers sends n requests one after another and returns who answered.
func answerers(t testing.TB, n int, send func() dispatch.Report) string {
	t.Helper()
	names := make([]string, n)
	for i := range names {
		names[i] = send().Outcomes[0].Member.Name
	}
	return strings.Join(names, " ")
}

func TestReplicasTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		for _, name := range []string{"a", "b", "c"} {
			produce(t, d, name, quick(1), dispatch.WithGroup("g"))
		}
		if got := answerers(t, 7, func() dispatch.Report { return ended(t, d) }); got != "a b c a b c a" {
			t.Errorf("turns: %s", got)
		}
	})
}

func TestLeastBusyReplicaIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		for _, name := range []string{"a", "b", "c"} {
			produce(t, d, name, func(ctx context.Context, _ int) (int, error) {
				if name == "b" {
					return 1, nil
				}
				return patient(ctx, 0)
			}, dispatch.WithGroup("g"))
		}
		busy := []*inFlight{send(t, d)}
		synctest.Wait() // a is busy now
		if got := answerers(t, 1, func() dispatch.Report { return ended(t, d) }); got != "b" {
			t.Errorf("asked %s", got)
		}
		busy = append(busy, send(t, d))
		synctest.Wait() // c is, too
		if got := answerers(t, 5, func() dispatch.Report { return ended(t, d) }); got != "b b b b b" {
			t.Errorf("asked %s", got)
		}
		for _, c := range busy {
			c.Cancel(nil)
		}
		synctest.Wait() // none is
		tried := make(map[string]int)
		for range 3 {
			r := ended(t, d, dispatch.WithQuorum(1), dispatch.WithTimeout(time.Second))
			tried[r.Outcomes[0].Member.Name]++
		}
		if tried["b"] != 1 {
			t.Errorf("b was asked %d times of 3, when none was busy", tried["b"])
		}
	})
}

func TestLeastBusyReplicaIsAskedIfAllAreBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
		running := make(map[string]int)
		for _, name := range []string{"a", "b"} {
			produce(t, d, name, func(ctx context.Context, _ int) (int, error) {
				running[name]++
				return patient(ctx, 0)
			}, dispatch.WithGroup("g"))
		}
		for _, name := range []string{"a", "a", "a", "a", "b", "b"} {
			send(t, d, dispatch.WithTargets(name))
			synctest.Wait()
		}
		send(t, d)
		synctest.Wait()
		if diff := cmp.Diff(map[string]int{"a": 4, "b": 3}, running); diff != "" {
			t.Errorf("runs (-want +got):\n%s", diff)
		}
		d.Close()
	})
}

func TestReplicaThatLosesIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		var causes notes
		loser := func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			causes.add("%v: %v", ctx.Err(), context.Cause(ctx))
			return 0, ctx.Err()
		}
		produce(t, d, "a", loser, dispatch.WithGroup("g"))
		produce(t, d, "b", loser, dispatch.WithGroup("g"))
		produce(t, d, "c", slow(time.Second, 3), dispatch.WithGroup("g"))
		r := ended(t, d, dispatch.WithHedge(time.Second), dispatch.WithFailFast())
		expect(t, r, "all ended: g/c ok")
		if !r.Complete() || r.Err() != nil || r.Outcomes[0].Tried != 3 {
			t.Errorf("%v, %+v", r.Err(), r.Outcomes)
		}
		synctest.Wait()
		want := fmt.Sprintf("%v: %v", context.Canceled, dispatch.ErrSatisfied)
		if diff := cmp.Diff([]string{want, want}, causes.all()); diff != "" {
			t.Errorf("causes (-want +got):\n%s", diff)
		}
		logged.nothing(t)
	})
}

// The end of the call is the end of the replicas, for the same reason.
func TestReplicasEndWithTheCall(t *testing.T) {
	for name, test := range map[string]struct {
		opts  []dispatch.CallOption
		end   func(*dispatcher, *inFlight)
		cause error
		want  string
	}{
		"deadline":  {nil, func(*dispatcher, *inFlight) { time.Sleep(5 * time.Second) }, context.DeadlineExceeded, "deadline: g late, x ok"},
		"canceled":  {nil, func(_ *dispatcher, c *inFlight) { c.Cancel(errBroken) }, errBroken, "canceled: g canceled, x ok"},
		"closed":    {nil, func(d *dispatcher, _ *inFlight) { d.Close() }, dispatch.ErrClosed, "closed: g canceled, x ok"},
		"satisfied": {opts(dispatch.WithQuorum(1)), func(*dispatcher, *inFlight) {}, dispatch.ErrSatisfied, "satisfied: g canceled, x ok"},
		"stalled":   {opts(dispatch.WithStall(time.Second)), func(*dispatcher, *inFlight) { time.Sleep(time.Second) }, dispatch.ErrStalled, "stalled: g canceled, x ok"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher()
				var cause error
				produce(t, d, "g0", func(ctx context.Context, _ int) (int, error) {
					<-ctx.Done()
					cause = context.Cause(ctx)
					return 0, ctx.Err()
				}, dispatch.WithGroup("g"))
				asked := false
				produce(t, d, "g1", func(context.Context, int) (int, error) { asked = true; return 1, nil }, dispatch.WithGroup("g"))
				produce(t, d, "x", slow(time.Millisecond, 1))
				c := send(t, d, test.opts...)
				time.Sleep(time.Millisecond)
				synctest.Wait()
				test.end(d, c)
				<-c.Done()
				synctest.Wait()
				expect(t, c.Report(), test.want)
				if !errors.Is(cause, test.cause) || asked {
					t.Errorf("the cause was %v; the next was asked: %t", cause, asked)
				}
				logged.nothing(t)
			})
		})
	}
}

func TestCallFromInsideAReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		d, _ := newDispatcher()
		var info dispatch.CallInfo
		began := time.Now()
		produce(t, d, "slow", failAfter(time.Second), dispatch.WithGroup("g"))
		produce(t, d, "a", func(ctx context.Context, req int) (int, error) {
			info, _ = dispatch.CallFrom(ctx)
			if at, ok := ctx.Deadline(); !ok || at.Sub(began) != 3*time.Second || ctx.Value(key{}) != "v" || req != 7 {
				t.Errorf("deadline %v, value %v, request %d", at.Sub(began), ctx.Value(key{}), req)
			}
			_, err := d.Gather(ctx, other, 0, dispatch.WithMinProducers(1)) // ends with its parent
			if !errors.Is(err, dispatch.ErrTooFewProducers) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("nested: %v", err)
			}
			return 1, nil
		}, dispatch.WithGroup("g"))
		ctx := context.WithValue(context.Background(), key{}, "v")
		c, err := d.Send(ctx, ask, 7, dispatch.WithTimeout(3*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		synctest.Wait() // for the replica
		if r := c.Report(); r.Elapsed != 3*time.Second {
			t.Errorf("ended after %v", r.Elapsed)
		}
		want := dispatch.CallInfo{Topic: ask.Name(), ID: c.ID(), Member: dispatch.Member{Group: "g", Name: "a"}, Budget: 2 * time.Second}
		if diff := cmp.Diff(want, info); diff != "" {
			t.Errorf("CallFrom (-want +got):\n%s", diff)
		}
	})
}

// Groups make no call more nested than it is: 64 levels are 64 levels.
func TestGroupsAreNoNesting(t *testing.T) {
	d := quiet[int, int]()
	deepest := 0
	produce(t, d, "a", func(ctx context.Context, _ int) (int, error) {
		deepest++
		return d.First(ctx, ask, 0)
	}, dispatch.WithGroup("g"))
	if _, err := d.First(context.Background(), ask, 0); !errors.Is(err, dispatch.ErrTooDeep) {
		t.Errorf("error %v", err)
	}
	if deepest != 65 {
		t.Errorf("%d calls", deepest)
	}
}

func TestReplicaIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		asked := newStarts()
		rs := replicas(t, d, "g", asked, map[string]producer{"g0": failAfter(2 * time.Second), "g1": quick(1), "g2": quick(2)})
		c := send(t, d)
		time.Sleep(time.Second)
		rs["g1"].Remove()
		<-c.Done()
		expect(t, c.Report(), "all ended: g/g2 ok")
		asked.want(t, "g0 at 0 ms", "g2 at 2000 ms")
		if o := c.Report().Outcomes[0]; o.Tried != 2 {
			t.Errorf("outcome %+v", o)
		}

		c = send(t, d)
		synctest.Wait()
		for _, r := range rs {
			r.Remove()
		}
		<-c.Done()
		r := c.Report()
		if o := r.Outcomes[0]; o.State == dispatch.StateOK && o.Member.Name == "g2" {
			expect(t, ended(t, d), "no producers: ")
			return
		}
		expect(t, r, "all ended: g failed")
		if !errors.Is(r.Err(), dispatch.ErrRemoved) {
			t.Errorf("error %v", r.Err())
		}
		expect(t, ended(t, d), "no producers: ")
		logged.nothing(t)
	})
}

func TestReplicasAllRemovedBeforeTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		gate := make(chan struct{})
		produce(t, d, "x", deaf(gate, 1))
		g := produce(t, d, "a", quick(1), dispatch.WithGroup("g"))
		c := send(t, d, dispatch.WithParallelism(1))
		synctest.Wait()
		g.Remove()
		close(gate)
		<-c.Done()
		expect(t, c.Report(), "all ended: x ok, g gone")
		if o := c.Report().Outcomes[1]; o.Tried != 0 || !errors.Is(o.Err, dispatch.ErrRemoved) {
			t.Errorf("outcome %+v", o)
		}
	})
}

func TestReplicaIsDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		r := produce(t, d, "a", func(context.Context, int) (int, error) { time.Sleep(2 * time.Second); return 1, nil }, dispatch.WithGroup("g"))
		produce(t, d, "b", quick(2), dispatch.WithGroup("g"))
		c := send(t, d)
		time.Sleep(time.Second)
		began := time.Now()
		if err := r.Drain(context.Background()); err != nil || time.Since(began) != time.Second {
			t.Errorf("Drain: %v after %v", err, time.Since(began))
		}
		<-c.Done()
		expect(t, c.Report(), "all ended: g/a ok")
		expect(t, ended(t, d), "all ended: g/b ok")

		// A replica that lost goes on: Drain waits for it, too.
		release := make(chan struct{})
		r = produce(t, d, "deaf", deaf(release, 3), dispatch.WithGroup("h"))
		produce(t, d, "c", quick(4), dispatch.WithGroup("h"))
		expect(t, ended(t, d, dispatch.WithHedge(time.Second)), "all ended: g/b ok, h/c ok")
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := r.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain: %v", err)
		}
		close(release)
	})
}

func TestReplicasWithLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		for i := range 2 {
			produce(t, d, fmt.Sprint(i), slow(time.Second, i), dispatch.WithGroup("g"), dispatch.WithConcurrency(1), dispatch.WithMaxQueue(1))
		}
		var mu sync.Mutex
		ends := make(map[string]int)
		var wg sync.WaitGroup
		for range 6 {
			c := send(t, d)
			synctest.Wait()
			wg.Go(func() {
				<-c.Done()
				r := c.Report()
				mu.Lock()
				defer mu.Unlock()
				ends[fmt.Sprintf("%v after %v", r.Outcomes[0].State, r.Elapsed)]++
				if o := r.Outcomes[0]; o.State == dispatch.StateRejected && !errors.Is(o.Err, dispatch.ErrQueueFull) {
					t.Errorf("outcome %+v", o)
				}
			})
		}
		wg.Wait()
		if diff := cmp.Diff(map[string]int{"ok after 1s": 2, "ok after 2s": 2, "rejected after 0s": 2}, ends); diff != "" {
			t.Errorf("ends (-want +got):\n%s", diff)
		}
	})
}

func TestGroupRefusesOtherKinds(t *testing.T) {
	d, _ := newDispatcher()
	if _, err := d.AddStreamProducer(ask, yielding(1), dispatch.WithGroup("g")); !errors.Is(err, dispatch.ErrInvalidOption) {
		t.Errorf("stream: %v", err)
	}
	relay := func(context.Context, int, *dispatch.Roster[int]) error { return nil }
	for _, opt := range []dispatch.ProducerOption{dispatch.WithGroup("g"), dispatch.WithConcurrency(1)} {
		if _, err := d.AddRelay(ask, relay, opt); !errors.Is(err, dispatch.ErrInvalidOption) {
			t.Errorf("relay with %v: %v", opt, err)
		}
	}
}

// The group is late because its call is, whichever of the two learns of it first.
func TestGroupAtTheDeadline(t *testing.T) {
	for range 300 {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
			produce(t, d, "g0", patient, dispatch.WithGroup("g"))
			produce(t, d, "h0", func(ctx context.Context, _ int) (int, error) { time.Sleep(1050 * time.Millisecond); return 1, nil }, dispatch.WithGroup("h"))
			expect(t, ended(t, d), "deadline: g late, h late")
			time.Sleep(time.Second)
		})
	}
}

// A replica may hand in during the grace, as any producer may.
func TestGroupInGrace(t *testing.T) {
	for name, test := range map[string]struct {
		p    producer
		want string
	}{
		"handed in":       {reporting(time.Second, 1), "all ended: g/g0 ok"},
		"context's error": {patient, "all ended: g late"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 50 {
				synctest.Test(t, func(t *testing.T) {
					d, _ := newDispatcher(dispatch.WithTimeout(5 * time.Second))
					produce(t, d, "g0", test.p, dispatch.WithGroup("g"))
					expect(t, ended(t, d, dispatch.WithGrace(2*time.Second)), test.want)
					time.Sleep(time.Second)
				})
			}
		})
	}
}

// The report is the same whenever it is asked for: no replica is started, or
// counted, for a call that has ended.
func TestGroupReportAfterTheEnd(t *testing.T) {
	for range 1000 {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher()
			for i := range 8 {
				produce(t, d, fmt.Sprint("g", i), failAfter(time.Second), dispatch.WithGroup("g"))
			}
			produce(t, d, "x", slow(time.Second, 1))
			c := send(t, d, dispatch.WithQuorum(1))
			<-c.Done()
			before := c.Report()
			synctest.Wait()
			sameReport(t, before, c.Report())
		})
	}
}

func TestReplicasTakeTurnsAmongTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		for _, name := range []string{"a", "b", "c"} {
			produce(t, d, name, quick(1), dispatch.WithGroup("g"))
		}
		if got := answerers(t, 4, func() dispatch.Report { return ended(t, d, dispatch.WithTargets("g")) }); got != "a b c a" {
			t.Errorf("turns: %s", got)
		}
	})
}

func TestReplicasTakeTurnsByPattern(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		for _, name := range []string{"a", "b", "c"} {
			if _, err := d.AddProducer(dispatch.NewPattern[int, int]("kit.*"), quick(1), dispatch.WithName(name), dispatch.WithGroup("g")); err != nil {
				t.Fatal(err)
			}
		}
		if got := answerers(t, 4, func() dispatch.Report { return ended(t, d) }); got != "a b c a" {
			t.Errorf("turns: %s", got)
		}
	})
}

func TestReplicasTakeTurnsWhileOthersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		for _, name := range []string{"a", "b", "c"} {
			produce(t, d, name, quick(1), dispatch.WithGroup("g"))
		}
		if got := answerers(t, 4, func() dispatch.Report {
			r := ended(t, d)
			x := produce(t, d, "x", quick(1))
			x.Remove()
			return r
		}); got != "a b c a" {
			t.Errorf("turns: %s", got)
		}
	})
}

func TestLateAnswerOfAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(3 * time.Second))
		deafFor := func(d time.Duration, v int) producer {
			return func(context.Context, int) (int, error) { time.Sleep(d); return v, nil }
		}
		produce(t, d, "a", failAfter(time.Second), dispatch.WithGroup("g"))
		produce(t, d, "b", deafFor(2500*time.Millisecond, 2), dispatch.WithGroup("g"))
		produce(t, d, "loser", deafFor(2*time.Second, 3), dispatch.WithGroup("h"))
		produce(t, d, "winner", quick(4), dispatch.WithGroup("h"))
		var late notes
		d.OnLate(func(r result, by time.Duration) {
			late.add("%v=%d by %v after %v of call %v for %d", r.From, r.Value, by, r.Elapsed, r.Call.ID(), r.Call.Request())
		})
		c := send(t, d, dispatch.WithHedge(time.Second))
		<-c.Done()
		before := c.Report()
		expect(t, before, "deadline: g late, h/winner ok")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		want := []string{
			fmt.Sprintf("h/loser=3 by 1s after 2s of call %v for 0", c.ID()),
			fmt.Sprintf("g/b=2 by 500ms after 3.5s of call %v for 0", c.ID()),
		}
		if diff := cmp.Diff(want, late.all()); diff != "" {
			t.Errorf("OnLate (-want +got):\n%s", diff)
		}
		sameReport(t, before, c.Report())
	})
}

func TestReplicaIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithTimeout(time.Second), dispatch.WithMaxAbandoned(1))
		release := make(chan struct{})
		produce(t, d, "a", deaf(release, 1), dispatch.WithGroup("g"))
		expect(t, ended(t, d), "deadline: g late")
		time.Sleep(time.Second)
		s := d.Bus().Snapshot()
		want := []dispatch.AbandonedSnapshot{{Member: dispatch.Member{Group: "g", Name: "a"}, Topic: ask.Name(), Call: 1, Age: time.Second}}
		if diff := cmp.Diff(want, s.Abandoned); diff != "" || s.Topics[0].Producers[0].Abandoned != 1 || len(s.Calls) != 0 {
			t.Errorf("abandoned (-want +got):\n%s", diff)
		}
		r := ended(t, d)
		expect(t, r, "all ended: g rejected")
		if o := r.Outcomes[0]; !errors.Is(o.Err, dispatch.ErrStuck) || o.Tried != 0 {
			t.Errorf("outcome %+v", o)
		}
		produce(t, d, "b", quick(2), dispatch.WithGroup("g"))
		expect(t, ended(t, d), "all ended: g/b ok")
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var stuck *dispatch.ShutdownError
		if err := d.Shutdown(ctx); !errors.As(err, &stuck) || len(stuck.Calls) != 0 || len(stuck.Producers) != 1 || stuck.Producers[0] != want[0].Member {
			t.Errorf("Shutdown: %v", err)
		}
		close(release)
		synctest.Wait()
		if n := len(d.Bus().Snapshot().Abandoned); n != 0 || logged.count("outlived") != 1 || len(logged.all()) != 1 {
			t.Errorf("%d abandoned, logged %q", n, logged.all())
		}
	})
}

// A replica that ignores its context holds up neither its group, once another one
// has answered, nor the members that its worker would have asked.
func TestDeafReplicaHoldsUpNoOther(t *testing.T) {
	const n = 5
	for name, test := range map[string]struct {
		hedge producer
		opts  []dispatch.CallOption
		want  string
		tried int
		after time.Duration
	}{
		"answered":                 {quick(1), nil, "g/b ok", 2, time.Second},
		"failing":                  {failing(errBroken), nil, "g/c ok", 3, time.Second},
		"exiting":                  {exiting, nil, "g/c ok", 3, time.Second},
		"panicking":                {panicking(1), nil, "g/c ok", 3, time.Second},
		"one at a time":            {quick(1), opts(dispatch.WithParallelism(1)), "g/b ok", 2, n * time.Second},
		"staggered, one at a time": {quick(1), opts(dispatch.WithParallelism(1), dispatch.WithStagger(3*time.Second)), "g/b ok", 2, 27 * time.Second},
		"two at a time":            {quick(1), opts(dispatch.WithParallelism(2)), "g/b ok", 2, 3 * time.Second},
		"staggered":                {quick(1), opts(dispatch.WithStagger(100 * time.Millisecond)), "g/b ok", 2, 1800 * time.Millisecond},
		"with a quorum":            {quick(1), opts(dispatch.WithQuorum(2 * n)), "g/b ok", 2, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher(dispatch.WithTimeout(time.Minute))
				release := make(chan struct{})
				want := make([]string, 0, 2*n)
				for i := range n {
					group := fmt.Sprintf("g%d", i)
					produce(t, d, group+"a", deaf(release, 0), dispatch.WithGroup(group))
					produce(t, d, group+"b", test.hedge, dispatch.WithGroup(group))
					produce(t, d, group+"c", quick(2), dispatch.WithGroup(group))
					produce(t, d, fmt.Sprintf("x%d", i), quick(3))
					want = append(want, strings.Replace(test.want, "g/", group+"/"+group, 1), fmt.Sprintf("x%d ok", i))
				}
				var late notes
				d.OnLate(func(r result, _ time.Duration) { late.add("%v", r.From) })
				diary := keepDiary(t, d)
				r := ended(t, d, append(test.opts, dispatch.WithHedge(time.Second))...)
				if got := strings.SplitN(told(r), ": ", 2)[1]; test.opts == nil && got != strings.Join(want, ", ") {
					t.Errorf("ended as %s, want %s", got, strings.Join(want, ", "))
				}
				if r.Elapsed != test.after || r.Err() != nil {
					t.Errorf("after %v: %v", r.Elapsed, r.Err())
				}
				for i := range n {
					if o := r.Outcomes[2*i]; o.State == dispatch.StateOK && o.Tried != test.tried {
						t.Errorf("outcome %+v", o)
					}
				}
				time.Sleep(time.Second)
				s := d.Bus().Snapshot()
				if len(s.Abandoned) != n || s.Abandoned[0].Member.Name == "" || diary.count("outcome ") != 2*n {
					t.Errorf("%d abandoned, listener was told %q", len(s.Abandoned), diary.all())
				}
				close(release)
				synctest.Wait()
				s = d.Bus().Snapshot()
				for _, p := range s.Topics[0].Producers {
					if p.Abandoned != 0 {
						t.Errorf("%s still has %d abandoned runs", p.Name, p.Abandoned)
					}
				}
				if len(late.all()) != n || logged.count("outlived") != n {
					t.Errorf("late %q, logged %q", late.all(), logged.all())
				}
				atRest(t, d.Bus())
			})
		})
	}
}

// What becomes of the replica that was asked first, when another one has answered,
// is nothing to the group.
func TestReplicaThatLosesEndsInAnyWay(t *testing.T) {
	for name, end := range map[string]func() (int, error){
		"answers": func() (int, error) { return 1, nil },
		"fails":   func() (int, error) { return 0, errBroken },
		"panics":  func() (int, error) { panic(errBroken) },
		"exits":   func() (int, error) { return exiting(context.Background(), 0) },
	} {
		for when, after := range map[string]time.Duration{"in the call": 2 * time.Second, "after it": 10 * time.Second} {
			t.Run(name+" "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, _ := newDispatcher()
					produce(t, d, "a", func(context.Context, int) (int, error) { time.Sleep(after); return end() }, dispatch.WithGroup("g"))
					produce(t, d, "b", quick(2), dispatch.WithGroup("g"))
					produce(t, d, "x", slow(4*time.Second, 3))
					var late notes
					d.OnLate(func(r result, _ time.Duration) { late.add("%v", r.From) })
					c := send(t, d, dispatch.WithHedge(time.Second))
					values := []int{}
					for r := range c.Results() {
						values = append(values, r.Value)
					}
					before := c.Report()
					expect(t, before, "all ended: g/b ok, x ok")
					if diff := cmp.Diff([]int{2, 3}, values); diff != "" || before.Outcomes[0].Elapsed != time.Second {
						t.Errorf("%+v, results (-want +got):\n%s", before.Outcomes, diff)
					}
					time.Sleep(20 * time.Second)
					sameReport(t, before, c.Report())
					answers := map[bool]int{true: 1}[strings.HasPrefix(name, "answers")]
					if s := d.Bus().Snapshot(); s.Topics[0].Producers[0].Abandoned != 0 || len(late.all()) != answers {
						t.Errorf("%d abandoned, late %q", s.Topics[0].Producers[0].Abandoned, late.all())
					}
					atRest(t, d.Bus())
				})
			})
		}
	}
}

// A replica may look at its context whenever it likes, and it always is the same
// context.
func TestContextOfTheFirstReplica(t *testing.T) {
	type key struct{}
	for name, test := range map[string]struct {
		look time.Duration // when it looks at its context; another one is asked after 2 s and answers after 3 s
		want string
	}{
		"at once":               {0, "ended after 3s: context canceled, satisfied"},
		"before the hedge":      {time.Second, "ended after 3s: context canceled, satisfied"},
		"after the hedge":       {2500 * time.Millisecond, "ended after 3s: context canceled, satisfied"},
		"when it has lost":      {3500 * time.Millisecond, "ended after 3.5s: context canceled, satisfied"},
		"when the call is over": {6 * time.Second, "ended after 6s: context canceled, satisfied"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				began := time.Now()
				var seen notes
				produce(t, d, "a", func(ctx context.Context, _ int) (int, error) {
					time.Sleep(test.look)
					if at, ok := ctx.Deadline(); !ok || at.Sub(began) != 5*time.Second || ctx.Value(key{}) != "v" {
						t.Errorf("deadline %v, value %v", at.Sub(began), ctx.Value(key{}))
					}
					derived, cancel := context.WithCancel(ctx)
					defer cancel()
					if (ctx.Err() != nil) != (derived.Err() != nil) {
						t.Errorf("errors %v and, derived, %v", ctx.Err(), derived.Err())
					}
					<-ctx.Done()
					<-derived.Done()
					cause := map[bool]string{true: "satisfied"}[context.Cause(ctx) == dispatch.ErrSatisfied && context.Cause(derived) == dispatch.ErrSatisfied]
					seen.add("ended after %v: %v, %s", time.Since(began), ctx.Err(), cause)
					return 0, ctx.Err()
				}, dispatch.WithGroup("g"))
				produce(t, d, "b", slow(time.Second, 2), dispatch.WithGroup("g"))
				produce(t, d, "x", slow(4*time.Second, 3))
				c := sendFrom(context.WithValue(context.Background(), key{}, "v"), t, d, dispatch.WithHedge(2*time.Second))
				<-c.Done()
				expect(t, c.Report(), "all ended: g/b ok, x ok")
				time.Sleep(5 * time.Second)
				if diff := cmp.Diff([]string{test.want}, seen.all()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Replicas that look at their contexts and answer are followed by members that do
// not return: the one must not be taken for the other.
func TestContextsOfRepliesInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithTimeout(time.Second))
		release := make(chan struct{})
		for i := range 3 {
			group := fmt.Sprint("g", i)
			produce(t, d, group+"a", func(ctx context.Context, _ int) (int, error) { return 1, context.Cause(ctx) }, dispatch.WithGroup(group))
			produce(t, d, group+"b", quick(2), dispatch.WithGroup(group))
		}
		produce(t, d, "x", deaf(release, 3))
		expect(t, ended(t, d, dispatch.WithHedge(100*time.Millisecond)), "deadline: g0/g0a ok, g1/g1a ok, g2/g2a ok, x late")
		time.Sleep(time.Second)
		s := d.Bus().Snapshot()
		if len(s.Abandoned) != 1 || s.Abandoned[0].Member.Name != "x" || logged.count("outlived") != 1 {
			t.Errorf("abandoned %v, logged %q", s.Abandoned, logged.all())
		}
		close(release)
		atRest(t, d.Bus())
	})
}

// Only the replica that runs has to be waited for.
func TestReplicasThatDoNotRunAreDrained(t *testing.T) {
	for name, hedge := range map[string]time.Duration{"one was asked": 0, "the other has answered": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
				release := make(chan struct{})
				a := produce(t, d, "a", deaf(release, 1), dispatch.WithGroup("g"))
				b := produce(t, d, "b", quick(2), dispatch.WithGroup("g"))
				var opts []dispatch.CallOption
				if hedge > 0 {
					opts = append(opts, dispatch.WithHedge(hedge))
				}
				c := send(t, d, opts...)
				synctest.Wait()
				// It waits from before there is a second run.
				drained := make(chan error, 1)
				go func() {
					ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
					defer cancel()
					drained <- a.Drain(ctx)
				}()
				<-c.Done()
				if err := b.Drain(context.Background()); err != nil {
					t.Errorf("Drain of b: %v", err)
				}
				if err := <-drained; !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Drain of a: %v", err)
				}
				close(release)
				atRest(t, d.Bus())
			})
		})
	}
}

// The answer of a group is late as that of any producer is, also if another
// member was enough, and whether or not the replica has looked at its context.
func TestLateAnswerOfTheFirstReplica(t *testing.T) {
	for name, look := range map[string]bool{"looks": true, "does not look": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				produce(t, d, "a", func(ctx context.Context, _ int) (int, error) {
					if look {
						ctx.Done()
					}
					time.Sleep(2 * time.Second)
					return 1, nil
				}, dispatch.WithGroup("g"))
				produce(t, d, "x", slow(time.Second, 2))
				var late notes
				d.OnLate(func(r result, by time.Duration) { late.add("%v=%d by %v after %v", r.From, r.Value, by, r.Elapsed) })
				c := send(t, d, dispatch.WithQuorum(1))
				<-c.Done()
				before := c.Report()
				expect(t, before, "satisfied: g canceled, x ok")
				time.Sleep(5 * time.Second)
				if diff := cmp.Diff([]string{"g/a=1 by 1s after 2s"}, late.all()); diff != "" {
					t.Errorf("OnLate (-want +got):\n%s", diff)
				}
				sameReport(t, before, c.Report())
			})
		})
	}
}

// Hedges fall due while replicas answer, fail and end their goroutines: each group
// ends once, and no slot is lost.
func TestHedgesThatRace(t *testing.T) {
	d, _ := newDispatcher()
	var mu sync.Mutex
	seed := uint64(1)
	chance := func(n uint64) uint64 {
		mu.Lock()
		defer mu.Unlock()
		seed = seed*6364136223846793005 + 1442695040888963407
		return seed >> 33 % n
	}
	replica := func(ctx context.Context, req int) (int, error) {
		for until, began := time.Duration(chance(60))*time.Microsecond, time.Now(); time.Since(began) < until; {
			if chance(4) == 0 && ctx.Err() != nil {
				break
			}
		}
		switch chance(8) {
		case 0:
			return 0, errBroken
		case 1:
			return exiting(ctx, req)
		case 2:
			return 1, context.Cause(ctx)
		default:
			return 1, nil
		}
	}
	for i := range 4 {
		group := fmt.Sprint("g", i)
		for j := range 3 {
			produce(t, d, fmt.Sprint(group, j), replica, dispatch.WithGroup(group), dispatch.WithConcurrency(8))
		}
		produce(t, d, fmt.Sprint("x", i), quick(1))
	}
	diary := keepDiary(t, d)
	const n = 300
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range n {
				c := send(t, d, dispatch.WithHedge(20*time.Microsecond))
				<-c.Done()
				for i, o := range c.Report().Outcomes {
					if o.State != dispatch.StateOK && o.State != dispatch.StateFailed || o.Member.Name == "" && o.State == dispatch.StateOK || i%2 == 0 && o.Tried < 1 {
						t.Errorf("outcome %+v", o)
					}
				}
			}
		})
	}
	wg.Wait()
	if err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if got := diary.count("outcome "); got != 4*n*8 {
		t.Errorf("listener was told of %d outcomes, not of %d", got, 4*n*8)
	}
	for _, p := range d.Bus().Snapshot().Topics[0].Producers {
		if p.Abandoned != 0 {
			t.Errorf("%+v", p)
		}
	}
}

// A replica that only now looks at its context finds that its time is up, and that
// it has run for too long is told once.
func TestFirstReplicaLooksWhenItsTimeIsUp(t *testing.T) {
	for name, look := range map[string]func(context.Context) error{
		"Err":   context.Context.Err,
		"Cause": context.Cause,
		"Done": func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			default:
				return nil
			}
		},
	} {
		for when, test := range map[string]struct {
			after time.Duration // when it looks; the grace, if any, begins after 3 s and the call ends after 5 s
			want  string
		}{
			"before":        {time.Second, "deadline: g late"},
			"in the grace":  {4 * time.Second, "all ended: g late"},
			"after the end": {6 * time.Second, "deadline: g late"},
		} {
			t.Run(name+" "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, logged := newDispatcher()
					produce(t, d, "a", func(ctx context.Context, _ int) (int, error) {
						time.Sleep(test.after)
						err := look(ctx)
						if (err != nil) != (test.after > 3*time.Second) || err != nil && err != context.DeadlineExceeded {
							t.Errorf("error %v", err)
						}
						if err == nil {
							time.Sleep(10 * time.Second)
						}
						return 1, err
					}, dispatch.WithGroup("g"))
					var opts []dispatch.CallOption
					if when != "after the end" {
						opts = append(opts, dispatch.WithGrace(2*time.Second))
					}
					c := send(t, d, opts...)
					<-c.Done()
					expect(t, c.Report(), test.want)
					time.Sleep(500 * time.Millisecond)
					running := map[bool]int{true: 1}[when != "in the grace"]
					s := d.Bus().Snapshot()
					if len(s.Abandoned) != running || s.Topics[0].Producers[0].Abandoned != running || logged.count("outlived") != running {
						t.Errorf("abandoned %+v, producer %+v, logged %q", s.Abandoned, s.Topics[0].Producers[0], logged.all())
					}
					time.Sleep(20 * time.Second)
					if n := d.Bus().Snapshot().Topics[0].Producers[0].Abandoned; n != 0 {
						t.Errorf("%d runs still count as abandoned", n)
					}
					atRest(t, d.Bus())
				})
			})
		}
	}
}

// A group has declined only if every replica that was asked has. Otherwise one of them
// has failed, and that must not be lost where the error is passed on.
func TestGroupHasDeclinedIfAllReplicasHave(t *testing.T) {
	for name, test := range map[string]struct {
		replicas []error
		want     string
	}{
		"all decline":             {[]error{dispatch.ErrDecline, dispatch.ErrDecline}, "all ended: g declined"},
		"one declines, one fails": {[]error{dispatch.ErrDecline, errBroken}, "all ended: g failed"},
		"one fails, one declines": {[]error{errBroken, dispatch.ErrDecline}, "all ended: g failed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				for i, err := range test.replicas {
					produce(t, d, fmt.Sprint("r", i), failing(err), dispatch.WithGroup("g"))
				}
				var inner error
				must(d.AddProducer(other, func(ctx context.Context, _ int) (int, error) {
					v, err := d.First(ctx, ask, 0)
					inner = err
					return v, err
				}, dispatch.WithName("passes on")))
				r := ended(t, d)
				expect(t, r, test.want)
				failed := test.want == "all ended: g failed"
				if err := r.Err(); errors.Is(err, errBroken) != failed || (err != nil) != failed {
					t.Errorf("the error is %v", err)
				}
				c := must(d.Send(t.Context(), other, 0))
				<-c.Done()
				expect(t, c.Report(), "all ended: passes on failed")
				if inner == nil || errors.Is(inner, errBroken) != failed || errors.Is(c.Report().Err(), errBroken) != failed {
					t.Errorf("what is passed on is %v, and becomes %v", inner, c.Report().Err())
				}
			})
		})
	}
}

// What a report says of a start is whether a closure was called, also of a group.
func TestGroupWithoutASlotIsNotStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		taken := semaphore.NewWeighted(1)
		taken.TryAcquire(1)
		called := 0
		count := func(context.Context, int) (int, error) { called++; return 1, nil }
		produce(t, d, "a", count, dispatch.WithGroup("g"), dispatch.WithSemaphore(taken))
		produce(t, d, "b", count, dispatch.WithGroup("g"), dispatch.WithSemaphore(taken))
		produce(t, d, "plain", count, dispatch.WithSemaphore(taken))
		produce(t, d, "alone", count, dispatch.WithGroup("h"), dispatch.WithSemaphore(taken))
		r := ended(t, d, dispatch.WithHedge(100*time.Millisecond))
		expect(t, r, "deadline: g late, plain late, h late")
		for _, o := range r.Outcomes {
			if o.Started || o.Tried != 0 || o.Began != 0 {
				t.Errorf("%v: started %t, tried %d, began %v, but no closure was called", o.Member, o.Started, o.Tried, o.Began)
			}
		}
		synctest.Wait()
		if called != 0 {
			t.Errorf("%d closures were called", called)
		}

		// Those that were tried are those that were called.
		produce(t, d, "free", failing(errBroken), dispatch.WithGroup("g"))
		if o := ended(t, d, dispatch.WithHedge(100*time.Millisecond)).Outcomes[0]; !o.Started || o.Tried != 1 {
			t.Errorf("started %t, tried %d, want the one that has no semaphore", o.Started, o.Tried)
		}
	})
}

// Stream lets go of the answers of groups as it does of those of other members.
func TestStreamLetsGoOfTheAnswersOfGroups(t *testing.T) {
	const n = 6000
	topic := dispatch.NewTopic[int, *big]("kit.big")
	d := dispatch.New[int, *big](dispatch.WithTimeout(time.Minute))
	var mu sync.Mutex
	var made []weak.Pointer[big]
	for i := range n {
		if _, err := d.AddProducer(topic, func(context.Context, int) (*big, error) {
			v := new(big)
			mu.Lock()
			defer mu.Unlock()
			made = append(made, weak.Make(v))
			return v, nil
		}, dispatch.WithGroup(fmt.Sprint("g", i))); err != nil {
			t.Fatal(err)
		}
	}
	yielded, kept := 0, 0
	for _, err := range d.Stream(context.Background(), topic, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if yielded++; yielded < n {
			continue
		}
		kept = reachable(made, 2100)
	}
	if kept > 2100 {
		t.Errorf("%d answers of %d are still reachable", kept, n)
	}
}

// A replica that has not ended has no error, also while its worker keeps one.
func TestReplicasUnderWayHaveNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		release := make(chan struct{})
		produce(t, d, "a", failing(stalling{release}), dispatch.WithGroup("g"))
		produce(t, d, "b", quick(1), dispatch.WithGroup("g"))
		call := send(t, d)
		synctest.Wait()
		time.Sleep(time.Second)
		r := call.Report()
		if len(r.Replicas) != 1 || r.Replicas[0].State != dispatch.StatePending || r.Replicas[0].Err != nil || r.Replicas[0].Elapsed != time.Second {
			t.Errorf("the replicas are %+v, want one that is pending for a second", r.Replicas)
		}
		close(release)
		<-call.Done()
		if r := call.Report(); len(r.Replicas) != 2 || r.Replicas[0].Err == nil {
			t.Errorf("the replicas are %+v, want one that has failed and another one", r.Replicas)
		}
	})
}

// Drain of a replica waits for the runs that wait for a slot.
func TestDrainOfAReplicaThatWaitsForASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		r := produce(t, d, "a", slow(time.Second, 1), dispatch.WithConcurrency(1), dispatch.WithGroup("g"))
		var calls []*inFlight
		for range 3 {
			calls = append(calls, send(t, d))
		}
		synctest.Wait()
		mustDrain(t, r)
		for _, c := range calls {
			<-c.Done()
			expect(t, c.Report(), "all ended: g/a ok")
		}
	})
}

// Running says whether Late will follow.
func TestRunningOfGroupsAndReplicas(t *testing.T) {
	told := func(t *testing.T, add func(d *dispatcher), opts ...dispatch.CallOption) []string {
		var n notes
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			MemberEnd: func(_ context.Context, m dispatch.MemberInfo, o dispatch.Outcome) {
				n.add("%v %v, replica %v, running %v", m.Member, o.State, m.Replica, m.Running)
			},
			Late: func(_ context.Context, m dispatch.MemberInfo, _ time.Duration, _ error) {
				n.add("%v returns late, replica %v", m.Member, m.Replica)
			},
		}))
		add(d)
		ended(t, d, append(opts, dispatch.WithTimeout(time.Second))...)
		time.Sleep(time.Hour)
		return n.all()
	}
	bubble(t, "a replica that has not ended at the deadline", func(t *testing.T) {
		wantLines(t, told(t, func(d *dispatcher) { produce(t, d, "a", slowly(2*time.Second, quick(1)), dispatch.WithGroup("g")) }),
			"g/a late, replica true, running true", "g late, replica false, running false", "g/a returns late, replica true")
	})
	bubble(t, "a replica that goes on when another one has failed", func(t *testing.T) {
		wantLines(t, told(t, func(d *dispatcher) {
			produce(t, d, "a", slowly(300*time.Millisecond, failing(errBroken)), dispatch.WithGroup("g"))
			produce(t, d, "b", slow(300*time.Millisecond, 1), dispatch.WithGroup("g"))
		}, dispatch.WithHedge(100*time.Millisecond)),
			"g/a failed, replica true, running false", "g/b ok, replica true, running false", "g/b ok, replica false, running false")
	})
	bubble(t, "a replica that returns in the grace", func(t *testing.T) {
		wantLines(t, told(t, func(d *dispatcher) { produce(t, d, "a", patient, dispatch.WithGroup("g")) }, dispatch.WithGrace(time.Second/2)),
			"g/a late, replica true, running false", "g late, replica false, running false")
	})
	bubble(t, "a replica that waits for a slot at the deadline", func(t *testing.T) {
		busy := semaphore.NewWeighted(1)
		busy.TryAcquire(1)
		wantLines(t, told(t, func(d *dispatcher) {
			produce(t, d, "a", failing(errBroken), dispatch.WithGroup("g"))
			produce(t, d, "b", quick(1), dispatch.WithGroup("g"), dispatch.WithSemaphore(busy))
		}), "g/a failed, replica true, running false", "g/b late, replica true, running false", "g late, replica false, running false")
	})
}

// A hook that panics for one replica is called for the others and for their group all the same.
func TestMemberEndThatPanicsForAReplica(t *testing.T) {
	for how, unwind := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		bubble(t, how, func(t *testing.T) {
			var n notes
			d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
				MemberEnd: func(_ context.Context, m dispatch.MemberInfo, _ dispatch.Outcome) { n.add("%v", m.Member); unwind() },
				CallEnd:   func(context.Context, dispatch.Report) { n.add("end") },
			}))
			produce(t, d, "a", patient, dispatch.WithGroup("g"), dispatch.WithTimeout(time.Second/2))
			produce(t, d, "b", patient, dispatch.WithGroup("g"))
			produce(t, d, "c", patient, dispatch.WithGroup("h"))
			produce(t, d, "e", patient, dispatch.WithGroup("h"))
			ended(t, d, dispatch.WithHedge(100*time.Millisecond), dispatch.WithTimeout(time.Second))
			synctest.Wait()
			wantLines(t, n.all(), "g/a", "g/b", "g", "h/c", "h/e", "h", "end")
		})
	}
}

// A group may be asked any number of times.
func TestTurnsOfAGroupDoNotOverflow(t *testing.T) {
	d, _ := newDispatcher()
	first := produce(t, d, "a", quick(1), dispatch.WithGroup("g"))
	produce(t, d, "b", quick(1), dispatch.WithGroup("g"))
	produce(t, d, "c", quick(1), dispatch.WithGroup("g"))
	dispatch.SetTurn(first, math.MaxUint32-1)
	for range 5 {
		ended(t, d)
	}
}
