package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// simulated runs the cell for a while of virtual time, and returns what it prints.
// Prepare, if there is one, may add listeners of its own to the bus.
func simulated(t *testing.T, length time.Duration, prepare func(*dispatch.Bus)) string {
	t.Helper()
	bus := dispatch.NewBus(dispatch.WithLogger(slog.New(slog.DiscardHandler)))
	if prepare != nil {
		prepare(bus)
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var out bytes.Buffer
	if err := simulate(ctx, bus, &out); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute) // a site that hangs goes on for longer than the cell
	return out.String()
}

// row is a line of the logbook: a word for each site.
type row struct {
	touchdown string
	sites     []string
	took      string
}

// split splits the output of the cell into the logbook and the summary.
func split(t *testing.T, out string) (rows []row, summary string) {
	t.Helper()
	log, summary, _ := strings.Cut(out, "\n\n")
	for i, line := range strings.Split(log, "\n") {
		f := strings.Fields(line)
		if i == 0 {
			if diff := cmp.Diff([]string{"touchdown", "site-1", "site-2", "site-3", "site-4", "site-5", "took"}, f); diff != "" {
				t.Fatalf("heads of the columns (-want +got):\n%s", diff)
			}
			continue
		}
		if len(f) != 8 {
			t.Fatalf("line %q has %d words, want 8", line, len(f))
		}
		rows = append(rows, row{f[0], f[1:6], f[6] + " " + f[7]})
	}
	return rows, summary
}

// column returns the words of a site.
func column(rows []row, site int) (words []string) {
	for _, r := range rows {
		words = append(words, r.sites[site-1])
	}
	return words
}

var bins = []string{"pass", "short", "leakage", "ripple"}

func TestSitesDoNotSufferFromOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows, _ := split(t, simulated(t, 5*time.Minute, nil))
		if len(rows) < 100 {
			t.Fatalf("%d touchdowns in five minutes, want at least 100", len(rows))
		}
		for i, r := range rows {
			want := Touchdown{Wafer{1 + i/(touchdowns*wafersInALot), 1 + i/touchdowns%wafersInALot}, 1 + i%touchdowns}
			if r.touchdown != want.String() {
				t.Fatalf("line %d is about %s, want %v", i, r.touchdown, want)
			}
		}
		for site, allowed := range [][]string{
			append([]string{"declined"}, bins...),
			bins,
			bins,
			append([]string{"declined", "failed", "panicked"}, bins...),
			append([]string{"late"}, bins...),
		} {
			seen := slices.Compact(slices.Sorted(slices.Values(column(rows, site+1))))
			slices.Sort(allowed)
			if diff := cmp.Diff(allowed, seen); diff != "" {
				t.Errorf("what became of the dies of site-%d (-want +got):\n%s", site+1, diff)
			}
		}
	})
}

func TestATouchdownEndsAtItsDeadlineOnlyForASiteThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows, _ := split(t, simulated(t, 2*time.Minute, nil))
		for _, r := range rows {
			if late := r.sites[4] == "late"; late != (r.took == "2.00 s") {
				t.Errorf("%s took %s with site-5 %s", r.touchdown, r.took, r.sites[4])
			}
		}
	})
}

func TestTheSummaryIsThatOfTheLogbook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows, summary := split(t, simulated(t, 2*time.Minute, nil))
		counted := make(map[string]int)
		for _, r := range rows {
			for _, word := range r.sites {
				counted[word]++
			}
		}
		delete(counted, "declined")
		summed := make(map[string]int)
		for _, m := range regexp.MustCompile(`(?m)^  (?:bin \d|site) +(\w+) +(\d+)$`).FindAllStringSubmatch(summary, -1) {
			var n int
			fmt.Sscan(m[2], &n)
			summed[m[1]] = n
		}
		if diff := cmp.Diff(counted, summed); diff != "" {
			t.Errorf("dies (-in the logbook +in the summary):\n%s\n%s", diff, summary)
		}
		tested, again := 0, 0
		for word, n := range counted {
			if slices.Contains(bins, word) {
				tested += n
			} else {
				again += n
			}
		}
		for _, want := range []string{
			fmt.Sprintf("%d dies tested, %.0f %% good\n", tested, 100*float64(counted["pass"])/float64(tested)),
			fmt.Sprintf("%d dies to be tested again\n", again),
		} {
			if !strings.Contains(summary, want) {
				t.Errorf("no %q in the summary:\n%s", want, summary)
			}
		}
	})
}

func TestEveryVerdictIsTheTruth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		simulated(t, 2*time.Minute, func(bus *dispatch.Bus) {
			_, err := dispatch.On[Touchdown, Verdict](bus).AddListener(testDies, func(_ context.Context, r dispatch.Result[Touchdown, Verdict]) {
				if got, want := r.Value.Bin, truth(r.Value.Die); got != want {
					t.Errorf("%v is in the bin %v, want %v", r.Value.Die, got, want)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	})
}

// truth is the bin that a die belongs in.
func truth(d Die) Bin {
	if d.shorted() {
		return BinShort
	}
	if d.leakage() > maxLeakage {
		return BinLeakage
	}
	for n := range rippleSamples {
		if d.ripple(n) > maxRipple {
			return BinRipple
		}
	}
	return BinPass
}

// tried returns what happened to the members in the calls of a topic.
func tried[Req, Res any](t *testing.T, bus *dispatch.Bus, topic dispatch.Topic[Req, Res], f func(dispatch.Report)) {
	t.Helper()
	_, err := dispatch.On[Req, Res](bus).AddListener(topic, func(context.Context, dispatch.Result[Req, Res]) {}, dispatch.OnDone(f))
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheSupplyServesOneSiteAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ends []time.Time
		simulated(t, time.Minute, func(bus *dispatch.Bus) {
			tried(t, bus, forceVoltage, func(r dispatch.Report) { ends = append(ends, r.Started.Add(r.Elapsed)) })
		})
		slices.SortFunc(ends, time.Time.Compare)
		if len(ends) < 100 {
			t.Fatalf("the supply was asked %d times in a minute, want at least 100", len(ends))
		}
		for i := range ends[1:] {
			if apart := ends[i+1].Sub(ends[i]); apart < supplySettles {
				t.Errorf("two answers are %v apart, want at least %v", apart, supplySettles)
			}
		}
	})
}

func TestAnotherMeterStandsInForOneThatTakesAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var alone, hedged int
		simulated(t, time.Minute, func(bus *dispatch.Bus) {
			tried(t, bus, measureLeakage, func(r dispatch.Report) {
				// A call takes longer only if two of the three meters are slow.
				switch o := r.Outcomes[0]; {
				case o.Tried == 1 && o.Elapsed == meterSettles:
					alone++
				case o.Tried == 2 && o.Elapsed == 150*time.Millisecond+meterSettles:
					hedged++
				case o.Tried < 3:
					t.Errorf("%v answered after %v, with %d asked", o.Member, o.Elapsed, o.Tried)
				}
			})
		})
		if alone < 50 || hedged < 5 {
			t.Errorf("%d readings by one meter and %d by the second, want at least 50 and 5", alone, hedged)
		}
	})
}

func TestASiteThatHangsIsBusyAtTheNextTouchdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung, next := false, 0
		simulated(t, 4*time.Minute, func(bus *dispatch.Bus) {
			_, err := dispatch.On[Touchdown, Verdict](bus).AddListener(testDies, func(_ context.Context, r dispatch.Result[Touchdown, Verdict]) {
				die := r.Value.Die
				if die.Site != 5 || !hung || die.At.Number == 1 {
					return // between two wafers, the site has time to return
				}
				before := die
				before.At.Number--
				left := before.contactTakes() + hangs - 2*time.Second - steppingTakes
				needs := die.contactTakes() + supplySettles
				if r.Value.Bin == BinPass {
					needs += meterSettles + rippleSamples*sampleTakes
				}
				if next++; r.Elapsed < left+needs {
					t.Errorf("%v has its verdict after %v, want at least %v of waiting and %v", die, r.Elapsed, left, needs)
				}
			}, dispatch.OnDone(func(r dispatch.Report) { hung = r.Outcomes[4].State == dispatch.StateLate }))
			if err != nil {
				t.Fatal(err)
			}
		})
		if next < 3 {
			t.Errorf("it came back in the next touchdown %d times, want at least 3", next)
		}
	})
}

func TestTheTouchdownInHandIsFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The second touchdown begins half a second after the first has ended.
		rows, _ := split(t, simulated(t, loadingTakes+steppingTakes+2*time.Second+steppingTakes+time.Millisecond, nil))
		if len(rows) != 2 || slices.Contains(rows[1].sites, "canceled") {
			t.Errorf("the logbook has %v, want two touchdowns that were not cut short", rows)
		}
	})
}

func TestASiteThatHangsIsNamedInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, summary := split(t, simulated(t, loadingTakes+steppingTakes+time.Millisecond, nil))
		if want := "still running: [site-5]\n"; !strings.HasPrefix(summary, want) {
			t.Errorf("after the logbook there is %q, want it to begin with %q", summary, want)
		}
	})
}
