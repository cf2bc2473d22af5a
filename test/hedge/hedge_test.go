package hedge_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchtest"
	"github.com/seed-bb4b4d74/dispatch/test/hedge"
)

var update = flag.Bool("update", false, "make very many calls, print the table, and draw the chart")

const (
	chart = "../../docs/policies/hedging.svg"
	page  = "../../docs/policies/groups.md"
)

var ask = dispatch.NewTopic[string, int]("db.get", dispatch.WithTimeout(time.Minute))

// heavy has a median of 10 ms and a p99 of 60 ms. One request in fifty also waits for a pause
// of 0.2 to 1 s. times multiplies all latencies.
func heavy(times time.Duration) dispatchtest.Latency {
	usual := dispatchtest.LogNormal(10*time.Millisecond, 60*time.Millisecond)
	return func(r *rand.Rand) time.Duration {
		d := usual(r)
		if r.IntN(50) == 0 {
			d += time.Duration(200+r.IntN(800)) * time.Millisecond
		}
		return d * times
	}
}

// measure makes calls to a group of two replicas.
func measure(t *testing.T, name string, latency dispatchtest.Latency, calls int, opts ...dispatch.CallOption) (s hedge.Series) {
	synctest.Test(t, func(t *testing.T) {
		db := dispatch.New[string, int]()
		for i := range 2 {
			p := dispatchtest.Delayed(uint64(i), latency, dispatchtest.Answer[string](1))
			dispatchtest.Produce(t, db, ask, p, dispatch.WithGroup("db"), dispatch.WithName(fmt.Sprint("replica-", i)))
		}
		takes, runs := make([]time.Duration, calls), 0
		for i := range takes {
			call, err := db.Send(context.Background(), ask, "key", opts...)
			if err != nil {
				t.Fatal(err)
			}
			<-call.Done()
			r := call.Report()
			takes[i], runs = r.Elapsed, runs+r.Outcomes[0].Tried
			synctest.Wait() // otherwise the loser would be busy at the next call
		}
		s = hedge.NewSeries(name, takes, runs)
	})
	return s
}

func loads(t *testing.T, calls int) (all []hedge.Load) {
	for _, l := range []struct {
		title string
		times time.Duration
	}{{"as the fixed hedge was set for", 1}, {"three times as slow", 3}} {
		latency := heavy(l.times)
		all = append(all, hedge.Load{Title: l.title, Series: []hedge.Series{
			measure(t, "none", latency, calls),
			measure(t, "WithHedge(40ms)", latency, calls, dispatch.WithHedge(40*time.Millisecond)),
			measure(t, "WithHedgeQuantile(0.95)", latency, calls, dispatch.WithHedgeQuantile(0.95)),
		}})
	}
	return all
}

func TestWhatHedgingDoes(t *testing.T) {
	calls := 4000
	if *update {
		calls = 50_000
	}
	all := loads(t, calls)
	for i, l := range all {
		none, fixed, quantile := l.Series[0], l.Series[1], l.Series[2]
		for _, hedged := range l.Series[1:] {
			if hedged.At(0.99) > none.At(0.99)/2 {
				t.Errorf("%s, %s: p99 is %v, without a hedge %v", l.Title, hedged.Name, hedged.At(0.99), none.At(0.99))
			}
		}
		if none.Extra != 0 || quantile.Extra < 0.02 || quantile.Extra > 0.06 {
			t.Errorf("%s: %v of the calls have an extra run at the quantile, %v without a hedge", l.Title, quantile.Extra, none.Extra)
		}
		if i > 0 && fixed.Extra < 3*quantile.Extra {
			t.Errorf("%s: a fixed hedge costs %v extra runs, one at the quantile %v", l.Title, fixed.Extra, quantile.Extra)
		}
	}
	if !*update {
		return
	}
	table := hedge.Table(all)
	fmt.Print(table)
	if err := os.WriteFile(chart, []byte(hedge.Chart(all)), 0o644); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile(`(?s)<!-- hedging -->\n.*<!-- /hedging -->`)
	text = block.ReplaceAllLiteral(text, []byte("<!-- hedging -->\n"+table+"<!-- /hedging -->"))
	if err := os.WriteFile(page, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// The page shows what the program writes. The test checks only what does not need all the
// calls.
func TestThePageShowsTheChart(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	drawn, err := os.ReadFile(chart)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"none", "WithHedge(40ms)", "WithHedgeQuantile(0.95)"} {
		if !strings.Contains(string(text), "| "+name) || !strings.Contains(string(drawn), ">"+name+": ") {
			t.Errorf("%s is not in the table or not in the chart", name)
		}
	}
	if !strings.Contains(string(text), "](hedging.svg)") {
		t.Error("the page does not show the chart")
	}
}
