package dispatch_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

const ms = time.Millisecond

// pair is a group of replicas of which it does not matter which one is asked first.
type pair struct {
	t *testing.T
	d *dispatcher

	mu     sync.Mutex // guards the fields below
	takes  []time.Duration
	asked  []time.Duration // when each was, since the start of the call
	starts time.Time
	err    error // of the first that is asked
}

func newPair(t *testing.T, replicas ...string) *pair {
	p := &pair{t: t}
	p.d, _ = newDispatcher()
	for _, name := range replicas {
		p.add(name)
	}
	return p
}

func (p *pair) add(name string) *dispatch.Registration {
	return produce(p.t, p.d, name, p.answer, dispatch.WithGroup("g"))
}

func (p *pair) answer(ctx context.Context, _ int) (int, error) {
	p.mu.Lock()
	n := len(p.asked)
	p.asked = append(p.asked, time.Since(p.starts))
	d, err := p.takes[min(n, len(p.takes)-1)], p.err
	p.mu.Unlock()
	if n == 0 && err != nil {
		return 0, err
	}
	return slow(d, n)(ctx, 0)
}

// call makes a call in which the first replica that is asked takes the first of these times,
// and so on, and returns when each was asked.
func (p *pair) call(o []dispatch.CallOption, takes ...time.Duration) []time.Duration {
	p.t.Helper()
	p.mu.Lock()
	p.takes, p.asked, p.starts = takes, nil, time.Now()
	p.mu.Unlock()
	ended(p.t, p.d, o...)
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// hedge returns after what time the second replica is asked, 0 if it is not. It takes care that
// nothing is learned from it: the call is canceled.
func (p *pair) hedge(o ...dispatch.CallOption) time.Duration {
	p.t.Helper()
	asked := p.call(append(o, dispatch.WithTimeout(time.Minute)), time.Hour, time.Hour)
	if len(asked) < 2 {
		return 0
	}
	return asked[1]
}

func (p *pair) wantHedge(when string, want time.Duration, o ...dispatch.CallOption) {
	p.t.Helper()
	if got := p.hedge(o...); got < want || got > want*9/8 {
		p.t.Errorf("%s: the second replica is asked after %v, want about %v", when, got, want)
	}
}

func TestGroupsAreHedgedAtTheQuantileOfTheirLatencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := newPair(t, "a", "b"), dispatch.WithHedgeQuantile(0.9)
		for i := range 20 {
			p.wantHedge(fmt.Sprint("after ", i, " answers"), 0, q)
			p.wantHedge(fmt.Sprint("with WithHedge, after ", i, " answers"), 7*time.Second, q, dispatch.WithHedge(7*time.Second))
			p.call(opts(q), time.Duration(1+i%2)*100*ms)
		}
		p.wantHedge("after enough answers", 200*ms, q)
		p.wantHedge("at a lower quantile", 100*ms, dispatch.WithHedgeQuantile(0.4))
		p.wantHedge("when WithHedge is longer", 200*ms, q, dispatch.WithHedge(7*time.Second))
		p.wantHedge("when WithHedge is shorter", 50*ms, q, dispatch.WithHedge(50*ms))
		p.wantHedge("at a quantile that needs more answers", 0, dispatch.WithHedgeQuantile(0.99))
		p.wantHedge("without the option", 0)
		for range 80 {
			p.call(opts(dispatch.WithHedgeQuantile(0.99)), 300*ms)
		}
		p.wantHedge("after more answers", 300*ms, dispatch.WithHedgeQuantile(0.99))
	})
}

// What is learned from is what was asked for: no call without the option, no failure, no call
// that ended without an answer.
func TestLatenciesAreThoseOfAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := newPair(t, "a", "b"), dispatch.WithHedgeQuantile(0.5)
		for range 19 {
			p.call(opts(q), time.Second)
		}
		for range 50 {
			p.call(nil, 10*ms)
			p.call(opts(q, dispatch.WithTimeout(10*ms)), time.Hour)
			p.err = errBroken
			p.call(opts(q), 0, 10*ms)
			p.err = nil
		}
		p.wantHedge("after all those", 0, q)
		p.call(opts(q), time.Second)
		p.wantHedge("after one more answer", time.Second, q)
	})
}

// A replica that is beaten counts with the time that it took to beat it. Otherwise the
// latencies would be those of the quick half, and each round would be hedged earlier.
func TestHedgesDoNotMakeHedgesEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := newPair(t, "a", "b"), opts(dispatch.WithHedgeQuantile(0.75))
		hedged := 0
		for i := range 4000 {
			if len(p.call(q, time.Duration(1+i*7%100)*10*ms, ms)) > 1 {
				hedged++
			}
		}
		p.wantHedge("in the end", 750*ms, q...)
		if hedged < 600 || hedged > 1000 { // the quantile can be longer than it should, and not shorter
			t.Errorf("%d of 4000 calls were hedged, want up to a quarter", hedged)
		}
	})
}

// A group that becomes slower is hedged later as soon as enough calls have seen it, although
// all those are hedged.
func TestHedgesFollowAGroupThatBecomesSlower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := newPair(t, "a", "b"), opts(dispatch.WithHedgeQuantile(0.75))
		for range 1000 {
			p.call(q, 10*ms)
		}
		for range 2500 {
			p.call(q, 100*ms, 100*ms)
		}
		p.wantHedge("in the end", 100*ms, q...)
	})
}

// The latencies belong to the replicas together, whoever of them leaves and comes.
func TestLatenciesAreKeptAsLongAsTheGroupIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := newPair(t), dispatch.WithHedgeQuantile(0.5)
		a, b := p.add("a"), p.add("b")
		for range 20 {
			p.call(opts(q), 300*ms)
		}
		a.Remove()
		c := p.add("c")
		p.wantHedge("without the first", 300*ms, q)
		b.Remove()
		p.add("d")
		p.wantHedge("with others only", 300*ms, q)
		c.Remove()
		p.add("e")
		p.wantHedge("with others once more", 300*ms, q)
	})
}

// Two groups of a call are hedged each after its own time.
func TestGroupsHaveLatenciesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		var mu sync.Mutex
		asked := make(map[string]int)
		hang := false
		member := func(group string, d time.Duration) producer {
			return func(ctx context.Context, _ int) (int, error) {
				mu.Lock()
				asked[group]++
				stuck := hang && asked[group] == 1
				mu.Unlock()
				if stuck {
					return patient(ctx, 0)
				}
				return slow(d, 1)(ctx, 0)
			}
		}
		for group, takes := range map[string]time.Duration{"fast": 10 * ms, "slow": 500 * ms} {
			for i := range 2 {
				produce(t, d, fmt.Sprint(group, i), member(group, takes), dispatch.WithGroup(group))
			}
		}
		for range 20 {
			ended(t, d, dispatch.WithHedgeQuantile(0.9))
		}
		clear(asked)
		hang = true
		r := ended(t, d, dispatch.WithHedgeQuantile(0.9))
		for _, o := range r.Outcomes {
			want := map[string]time.Duration{"fast": 20 * ms, "slow": time.Second}[o.Member.Group]
			if o.Tried != 2 || o.Elapsed < want*7/8 || o.Elapsed > want*9/8 {
				t.Errorf("%v has asked %d and taken %v, want 2 and about %v", o.Member, o.Tried, o.Elapsed, want)
			}
		}
	})
}
