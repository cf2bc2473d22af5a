package dispatchdebug

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestWaterfall(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("ok", after(300*time.Millisecond, "3.3 V", nil))
		b.add("serial-1", after(200*time.Millisecond, "", nil), dispatch.WithConcurrency(1))
		b.add("fails", after(100*time.Millisecond, "", errors.New("probe is open")))
		b.add("declines", after(0, "", dispatch.ErrDecline))
		b.add("panics", func(context.Context, string) (string, error) { panic("at the site") })
		b.add("watches", func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			time.Sleep(10 * time.Millisecond) // until after the end of the call
			return "", context.Cause(ctx)
		})
		b.add("late", deaf(1500*time.Millisecond))
		b.add("hangs", deaf(30*time.Minute))
		blocker := b.send() // has the place of the serial one for its first 200 ms
		synctest.Wait()
		id := b.call()
		<-blocker.Done()
		time.Sleep(time.Second)

		c := b.waterfall(id)
		want(t, "reason", c.Reason, "deadline")
		want(t, "verdict", c.Verdict, "Ended at its deadline of 1 s without an answer from")
		late, others, _ := strings.Cut(c.culprits(), "watches (10 ms late), ")
		want(t, "culprits that were late, the latest first", late, "hangs (still running), late (500 ms late), ")
		if others != "fails (failed), panics (panicked)" && others != "panics (panicked), fails (failed)" {
			t.Errorf("other culprits: %s", others)
		}
		want(t, "elapsed", c.Elapsed, time.Second)
		for name, bars := range map[string]string{
			"ok":       "running 0s+300ms",
			"serial-1": "queued 0s+200ms, running 200ms+200ms",
			"fails":    "running 0s+100ms",
			"declines": "running 0s+0s",
			"watches":  "running 0s+1s, late 1s+10ms",
			"late":     "running 0s+1s, late 1s+500ms",
			"hangs":    "running 0s+1s, late 1s+1s…",
		} {
			want(t, "bars of "+name, c.row(t, name).bars(), bars)
		}
		for name, text := range map[string]string{
			"ok": "ok 300 ms", "fails": "failed 100 ms", "declines": "declined 0", "panics": "panicked 0",
			"watches": "late by 10 ms", "late": "late by 500 ms", "hangs": "late by 1 s so far",
		} {
			r := c.row(t, name)
			want(t, "text of "+name, r.State+" "+r.Text, text)
		}
		want(t, "the second row, though it was started last", c.Rows[1].Name, "serial-1")
		want(t, "error", c.row(t, "fails").Error, "probe is open")
		want(t, "error", c.row(t, "watches").Error, "")
		if p := c.row(t, "panics"); p.Error != "panic: at the site" || !strings.Contains(p.Stack, "waterfall_test.go") {
			t.Errorf("panic: %q, stack %.200q", p.Error, p.Stack)
		}
		want(t, "scale", c.Scale, 2080*time.Millisecond) // twice the time until the end, and a margin
		time.Sleep(time.Minute)
		later := b.waterfall(id)
		want(t, "scale", later.Scale, c.Scale)
		want(t, "hangs", later.row(t, "hangs").Text, "by 1 min 1 s so far")
		want(t, "within", c.Within, true)
	})
}

func TestCallInFlightGrows(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("quick", after(100*time.Millisecond, "", nil))
		b.add("slow", after(time.Minute, "", nil))
		b.add("serial", after(10*time.Second, "", nil), dispatch.WithConcurrency(1))
		b.send(dispatch.WithTimeout(10 * time.Second))
		synctest.Wait()
		c := b.send(dispatch.WithTimeout(10 * time.Second))
		for _, at := range []time.Duration{2 * time.Second, 5 * time.Second} {
			time.Sleep(at - time.Since(c.Report().Started))
			synctest.Wait()
			part := b.waterfall(c.ID())
			want(t, "in flight", part.InFlight, true)
			want(t, "slow", part.row(t, "slow").bars(), fmt.Sprintf("running 0s+%v…", at))
			want(t, "quick", part.row(t, "quick").bars(), "running 0s+100ms")
			want(t, "serial", part.row(t, "serial").bars(), fmt.Sprintf("queued 0s+%v…", at))
			want(t, "culprits", part.culprits(), fmt.Sprintf("slow (%s), serial (queued)", duration(at)))
		}
		doc := b.data("")
		want(t, "calls", fmt.Sprint(doc.Calls.Total, len(doc.Calls.Rows), doc.Bus.InFlight), "2 2 2")
		first := doc.Calls.Rows[0]
		want(t, "first", fmt.Sprint(first.ID, first.Ended, first.Members, first.Used), "1 1 3 0.5")
		var got []string
		for _, s := range doc.Suspects {
			got = append(got, s.Name+" "+s.Text)
		}
		want(t, "suspects", strings.Join(got, "\n"), strings.Join([]string{
			"serial has not answered for 5 s of 10 s; has a queue: 1 call waits in it, the first for 5 s",
			"slow has not answered for 5 s of 10 s; 2 calls wait for it",
		}, "\n"))
	})
}

func TestGroupsAndNestedCallsAreIndented(t *testing.T) {
	inBubble(t, func(b *bench) {
		inner := dispatch.NewTopic[string, string]("inner")
		_, err := b.d.AddProducer(inner, after(50*time.Millisecond, "", nil), dispatch.WithName("deep"))
		if err != nil {
			t.Fatal(err)
		}
		b.add("outer", func(ctx context.Context, s string) (string, error) {
			<-time.After(100 * time.Millisecond)
			_, err := b.d.Gather(ctx, inner, s)
			return "", err
		})
		b.add("a", after(20*time.Millisecond, "", errors.New("no")), dispatch.WithGroup("g"))
		b.add("b", after(30*time.Millisecond, "", nil), dispatch.WithGroup("g"))
		c := b.waterfall(b.call())
		var got []string
		for _, r := range c.Rows {
			got = append(got, fmt.Sprintf("%s%s %s %s [%s]", strings.Repeat(" ", r.Indent), r.Kind, r.Name, r.State, r.bars()))
		}
		want(t, "rows", strings.Join(got, "\n"), strings.Join([]string{
			"member outer ok [running 0s+150ms]",
			" call inner ok [call 100ms+50ms]",
			"  member deep ok [running 100ms+50ms]",
			"member g ok [running 0s+50ms]",
			" replica a failed [running 0s+20ms]",
			" replica b ok [queued 0s+20ms, running 20ms+30ms]",
		}, "\n"))
		want(t, "by", c.Rows[3].Text, "50 ms, by b")
		want(t, "parent", b.waterfall(c.Rows[1].Call).Parent, c.ID)
	})
}

// Replicas have rows while they run, and not only when they have ended.
func TestReplicasInFlightHaveRows(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("meter-1", after(900*time.Millisecond, "", nil), dispatch.WithGroup("meters"))
		b.add("meter-2", after(900*time.Millisecond, "", nil), dispatch.WithGroup("meters"))
		c := b.send(dispatch.WithHedge(100 * time.Millisecond))
		time.Sleep(300 * time.Millisecond)
		var running []string
		for _, r := range b.waterfall(c.ID()).Rows {
			if r.Kind == "replica" {
				running = append(running, fmt.Sprint(r.Name, " ", r.State, " ", r.Bars[len(r.Bars)-1].Length))
			}
		}
		slices.Sort(running)
		if got := strings.Join(running, ", "); got != "meter-1 pending 200ms, meter-2 pending 300ms" && got != "meter-1 pending 300ms, meter-2 pending 200ms" {
			t.Errorf("in flight are %s", got)
		}
		<-c.Done()
	})
}

// The critical path of a call leads through nested calls to the member that it waited for.
func TestCriticalPath(t *testing.T) {
	inBubble(t, func(b *bench) {
		inner := dispatch.NewTopic[string, string]("inner")
		for name, took := range map[string]time.Duration{"deep": 80 * time.Millisecond, "shallow": 10 * time.Millisecond} {
			if _, err := b.d.AddProducer(inner, after(took, "", nil), dispatch.WithName(name)); err != nil {
				t.Fatal(err)
			}
		}
		b.add("quick", after(50*time.Millisecond, "", nil))
		b.add("outer", func(ctx context.Context, s string) (string, error) {
			_, err := b.d.Gather(ctx, inner, s)
			return "", err
		})
		critical := func(id string) string {
			var names []string
			for _, r := range b.data("call=" + id).Call.Rows {
				if r.Critical {
					names = append(names, r.Name)
				}
			}
			return strings.Join(names, " ")
		}
		c := b.send()
		time.Sleep(60 * time.Millisecond)
		want(t, "in flight", critical(c.ID().String()), "outer inner deep")
		<-c.Done()
		want(t, "afterwards", critical(c.ID().String()), "outer inner deep")
		want(t, "rows of it alone", len(b.data("only=critical&call="+c.ID().String()).Call.Rows), 3)
		b.add("late", after(time.Minute, "", nil))
		want(t, "at the deadline", critical(b.call().String()), "late")
	})
}

func TestRowsAreSearchedAndSorted(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("b", after(20*time.Millisecond, "", nil))
		b.add("a", after(10*time.Millisecond, "", errors.New("probe is open")))
		b.add("c", after(30*time.Millisecond, "", nil))
		id := b.call().String()
		for parameters, names := range map[string]string{
			"": "b a c", "&sort=duration": "a c b", "&sort=name": "a b c", "&sort=state": "a b c", "&q=probe": "a", "&q=OK&sort=duration": "c b", "&q=nobody": "",
		} {
			var got []string
			c := b.data("call=" + id + parameters).Call
			for _, r := range c.Rows {
				got = append(got, r.Name)
			}
			want(t, parameters, strings.Join(got, " "), names)
			want(t, parameters+" matching", c.Matching, len(got))
		}
		for parameters, names := range map[string]string{"": "b a c", "&sort=name": "a b c", "&sort=p99": "c b a", "&sort=failed": "a b c", "&q=probe": "a"} {
			var got []string
			for _, m := range b.data("topic=cell.measure" + parameters).Topic.Members {
				got = append(got, m.Name)
			}
			want(t, parameters, strings.Join(got, " "), names)
		}
	})
}

// In a call in flight, rows are found by the state that they show. Those that have not ended come first, the one
// that has run longest before all others.
func TestRowsInFlightAreSearchedAndSorted(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("serial", after(700*time.Millisecond, "", nil), dispatch.WithConcurrency(1))
		b.add("fails", after(10*time.Millisecond, "", errors.New("probe is open")))
		b.send()
		time.Sleep(100 * time.Millisecond)
		b.add("second", after(time.Hour, "", nil), dispatch.WithConcurrency(1))
		b.send(dispatch.WithTargets("second"), dispatch.WithTimeout(50*time.Millisecond))
		b.add("runs", after(time.Hour, "", nil))
		synctest.Wait()
		id := b.send().ID().String()
		time.Sleep(200 * time.Millisecond)
		for parameters, names := range map[string]string{
			"": "serial fails second runs", "&sort=duration": "runs second serial fails", "&q=queued": "serial", "&q=pending": "second runs",
		} {
			var got []string
			c := b.data("call=" + id + parameters).Call
			for _, r := range c.Rows {
				got = append(got, r.Name)
			}
			want(t, parameters, strings.Join(got, " "), names)
			want(t, "states", c.States, []stateCountPart{{"queued", 1}, {"failed", 1}, {"pending", 2}})
		}
	})
}

func TestNestedCallsAreBounded(t *testing.T) {
	inBubble(t, func(b *bench) {
		inner := dispatch.NewTopic[string, string]("inner")
		b.add("outer", func(ctx context.Context, s string) (string, error) {
			for range mostChildren + 10 {
				if _, err := b.d.Send(ctx, inner, s); err != nil {
					return "", err
				}
			}
			return "", nil
		})
		want(t, "children", len(b.h.recorder.archive.records[b.call()].children), mostChildren)
	})
}

// A late run whose return was not reported is not shown as running for ever. This holds
// for every source of the rows of a call.
func TestALateRunThatIsNotAbandonedHasReturned(t *testing.T) {
	now := time.Now()
	r := &record{id: 1, ended: true, started: now.Add(-time.Minute), elapsed: time.Second}
	w := &waterfall{view: &view{now: now, bus: newBusView(dispatch.Snapshot{}, now, nil)}, root: r}
	if past, open := w.past(r, &row{returned: unknown, neverReturned: true}); past != 0 || open {
		t.Errorf("got %v, %v", past, open)
	}
}

// A group goes on as long as one of its replicas does.
func TestAGroupGoesOnWithItsReplicas(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("meter-1", deaf(time.Minute), dispatch.WithGroup("meters"))
		id := b.call()
		time.Sleep(10 * time.Second)
		c := b.waterfall(id)
		want(t, "culprits", c.culprits(), "meters (still running)")
		want(t, "group", c.row(t, "meters").Text, "by 10 s so far")
		want(t, "replica", c.row(t, "meter-1").Text, "by 10 s so far")
		time.Sleep(time.Minute)
		c = b.waterfall(id)
		want(t, "culprits", c.culprits(), "meters (59 s late)")
		want(t, "group", c.row(t, "meters").Text, "by 59 s")
	})
}

// A member that was late by its own timeout has not answered, though the call ended before its deadline.
func TestVerdictOnAMemberWithItsOwnTimeout(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("slow", deaf(600*time.Millisecond), dispatch.WithTimeout(100*time.Millisecond))
		b.add("quick", after(0, "", nil))
		id := b.call()
		time.Sleep(time.Second)
		c := b.waterfall(id)
		want(t, "verdict", c.Verdict+" "+c.culprits(), "Ended after 100 ms without an answer from slow (500 ms late)")
	})
}

// The bar of a run that goes on begins where its member has ended, which may be before the end of the call: at its own
// timeout, or when another replica has answered. It ends when the run returns.
func TestBarsOfRunsThatGoOnAfterTheirMembers(t *testing.T) {
	inBubble(t, func(b *bench) {
		const ms = time.Millisecond
		b.add("within", deaf(150*ms), dispatch.WithTimeout(100*ms))
		b.add("beyond", deaf(1500*ms), dispatch.WithTimeout(100*ms))
		b.add("hangs", deaf(time.Minute), dispatch.WithTimeout(100*ms))
		b.add("loses", deaf(1200*ms), dispatch.WithGroup("meters"))
		b.add("wins", after(10*ms, "", nil), dispatch.WithGroup("meters"))
		b.add("deadline", after(time.Hour, "", nil))
		b.relay("relay", func(ctx context.Context, _ string, to *dispatch.Roster[string]) error {
			m := dispatch.Member{Node: "cell-7", Name: "site"}
			to.Name(m)
			time.Sleep(200 * ms)
			to.End(m, dispatch.ErrTimeout)
			<-ctx.Done()
			return nil
		})
		bars := func(what string, c *callPart, list map[string]string) {
			t.Helper()
			for name, bars := range list {
				r := c.row(t, name)
				want(t, name+" "+what, r.bars()+" | "+r.State+" "+r.Text, bars)
			}
		}
		call := b.send(dispatch.WithHedge(50 * ms))
		time.Sleep(500 * ms)
		bars("in flight", b.waterfall(call.ID()), map[string]string{
			"within":      "running 0s+100ms, late 100ms+50ms | late by 50 ms",
			"beyond":      "running 0s+100ms, late 100ms+400ms… | late by 400 ms so far",
			"loses":       "running 0s+60ms, late 60ms+440ms… | canceled went on for 440 ms so far",
			"cell-7/site": "running 0s+200ms | late 200 ms",
		})
		<-call.Done()
		time.Sleep(time.Second)
		c := b.waterfall(call.ID())
		bars("afterwards", c, map[string]string{
			"within":      "running 0s+100ms, late 100ms+50ms | late by 50 ms",
			"beyond":      "running 0s+100ms, late 100ms+1.4s | late by 1.4 s",
			"hangs":       "running 0s+100ms, late 100ms+1.9s… | late by 1.9 s so far",
			"loses":       "running 0s+60ms, late 60ms+1.14s | canceled went on for 1.14 s",
			"meters":      "running 0s+60ms | ok 60 ms, by wins",
			"cell-7/site": "running 0s+200ms | late 200 ms",
		})
		want(t, "culprits", c.culprits(), "deadline (0 late), within (50 ms late), beyond (1.4 s late), hangs (still running), cell-7/site (late)")
	})
}

// A relay that is listed itself has run. It did not wait for its turn.
func TestARelayThatFailsHasRun(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("quick", after(0, "", nil))
		b.relay("fails", func(context.Context, string, *dispatch.Roster[string]) error {
			time.Sleep(900 * time.Millisecond)
			return errors.New("the cable is cut")
		})
		b.relay("panics", func(context.Context, string, *dispatch.Roster[string]) error {
			time.Sleep(100 * time.Millisecond)
			panic("at the relay")
		})
		b.relay("expects", func(_ context.Context, _ string, to *dispatch.Roster[string]) error {
			to.Expect(dispatch.Member{Node: "cell-7", Name: "site"})
			time.Sleep(200 * time.Millisecond)
			return nil
		})
		var c *callPart
		for range 4 {
			c = b.waterfall(b.call())
		}
		for name, is := range map[string]string{
			"fails":       "running 0s+900ms | failed 900 ms",
			"panics":      "running 0s+100ms | panicked 100 ms",
			"cell-7/site": "running 0s+200ms | failed 200 ms",
		} {
			r := c.row(t, name)
			want(t, name, r.bars()+" | "+r.State+" "+r.Text, is)
		}
		for _, s := range b.data("").Suspects {
			if slices.Contains(s.Kinds, "queue") {
				t.Errorf("suspect: %s %s", s.Name, s.Text)
			}
		}
	})
}

// The links and the form of a call keep the selection and the search.
func TestLinksOfACallKeepWhatIsSelected(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("site-1", after(100*time.Millisecond, "", nil))
		id := b.call().String()
		page := ask(b.h, "/?call="+id+"&only=critical&q=site&sort=name").Body.String()
		for _, link := range []string{
			`href="?call=` + id + `&amp;only=critical&amp;q=site&amp;sort=duration"`,
			`href="?call=` + id + `&amp;q=site&amp;sort=name">all rows`,
			`<input type="hidden" name="only" value="critical">`,
		} {
			if !strings.Contains(page, link) {
				t.Errorf("the page has no %s", link)
			}
		}
	})
}
