package dispatch_test

import (
	"context"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestOutcomesComeAsMembersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(10 * time.Second))
		produce(t, d, "slow", slow(3*time.Second, 1))
		produce(t, d, "broken", failing(errBroken))
		produce(t, d, "late", slow(time.Hour, 1))
		produce(t, d, "quick", quick(1))
		addStream(t, d, "stream", func(context.Context, int) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				_ = yield(1, nil) && yield(2, nil)
				time.Sleep(2 * time.Second)
			}
		})

		c := send(t, d)
		began := time.Now()
		var early []dispatch.Outcome
		for o := range c.Outcomes() {
			early = append(early, o)
			// This does not wait, for all results of the member are there.
			missing := o.Results
			for r := range c.Results() {
				if r.From == o.Member {
					missing--
				}
				if missing <= 0 {
					break
				}
			}
			if at := time.Since(began); at != o.Elapsed {
				t.Errorf("%v ended after %v and was told after %v", o.Member, o.Elapsed, at)
			}
		}
		names := []string{}
		for _, o := range early {
			names = append(names, o.Member.Name+" "+o.State.String())
		}
		slices.Sort(names[:2]) // at the same moment
		if want := []string{"broken failed", "quick ok", "stream ok", "slow ok", "late late"}; !slices.Equal(names, want) {
			t.Errorf("outcomes %q, want %q", names, want)
		}

		// Who comes later sees the same, and may leave at any time.
		again := slices.Collect(c.Outcomes())
		if len(again) != len(early) {
			t.Errorf("%d outcomes the second time, want %d", len(again), len(early))
		}
		for n := range early {
			got := 0
			for range c.Outcomes() {
				if got++; got == n+1 {
					break
				}
			}
			if got != n+1 {
				t.Errorf("left after %d outcomes, want %d", got, n+1)
			}
		}
		time.Sleep(time.Hour)
	})
}

func TestOutcomesOfACallThatAsksNobody(t *testing.T) {
	d, _ := newDispatcher()
	if all := slices.Collect(send(t, d).Outcomes()); len(all) > 0 {
		t.Errorf("outcomes %v, want none", all)
	}
}

func TestMembersAreWhoWouldBeAsked(t *testing.T) {
	d, _ := newDispatcher()
	want := func(want ...dispatch.Member) {
		t.Helper()
		apiEqual(t, "members", d.Members(ask), want)
	}
	want()
	produce(t, d, "a", quick(1))
	produce(t, d, "g1", quick(1), dispatch.WithGroup("g"))
	addRelay(t, d, "r", func(context.Context, int, roster) error { return nil })
	apiMust(d.AddProducer(dispatch.NewPattern[int, int]("kit.>"), quick(1), dispatch.WithName("p")))
	produce(t, d, "g2", quick(1), dispatch.WithGroup("g"))
	want(dispatch.Member{Name: "a"}, dispatch.Member{Group: "g"}, dispatch.Member{Name: "p"})

	texts := dispatch.On[string, string](d.Bus())
	if m := texts.Members(dispatch.NewTopic[string, string](ask.Name())); m != nil {
		t.Errorf("members of other types: %v", m)
	}
	if m := texts.Members(dispatch.Topic[string, string]{}); m != nil {
		t.Errorf("members of the zero topic: %v", m)
	}
	if m := new(dispatcher).Members(ask); m != nil {
		t.Errorf("members on the zero dispatcher: %v", m)
	}
}
