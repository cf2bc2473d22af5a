package main

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// row is a comparison of sides at several sizes, with its bars.
type row struct {
	name   string // of the part
	title  string
	base   contender
	others []contender
	sizes  []int          // numbers of producers
	rounds measure.Rounds // instead of those of the program, unless zero

	// The bars, one for each size, or nil if there are none: for time and CPU what
	// the others may take as a multiple of the base, for allocations what they may
	// make in a call.
	time, cpu, allocs []float64
}

// contender is a way to build a side for any number of producers.
type contender struct {
	name  string
	build func(producers int) (*side, error)
}

var rows = []row{
	{
		name: "quick", title: "Producers that return at once",
		base: byHand(quick), others: []contender{byDispatch(quick)}, sizes: []int{1, 10, 100, 1000},
		time:   []float64{0.85, 0.65, 0.33, 0.28},
		allocs: []float64{10, 12, 14, 20},
	},
	{
		name: "gather", title: "Gather without a listener, beside an errgroup that fills a slice; quick producers",
		base: contender{"hand", gatherByHand}, others: []contender{{"dispatch", gatherByDispatch}}, sizes: []int{1, 10, 100, 1000},
	},
	{
		name: "sleep", title: "Producers that sleep 1 ms",
		base: byHand(sleep), others: []contender{byDispatch(sleep)}, sizes: []int{1, 10, 100, 1000},
		time: []float64{1.02, 1.03, 1.06, 1.06},
	},
	{
		name: "select", title: "Producers that wait 1 ms for a timer or their context",
		base: byHand(selecting), others: []contender{byDispatch(selecting)}, sizes: []int{1, 10, 100, 1000},
		time: []float64{1.03, 1.05, 1.1, 1.1},
		cpu:  []float64{1.1, 1.1, 1.15, 1.15},
	},
	{
		name: "http", title: "Producers that ask a server on loopback, in this process",
		base: byHand(overHTTP), others: []contender{byDispatch(overHTTP)}, sizes: []int{1, 10, 100},
		time: []float64{1.06, 1.1, 1.06},
	},
	{
		name: "observed", title: "An observer that counts and keeps latencies by the reports of calls, beside none; quick producers",
		base: byDispatch(quick).as("unobserved"), others: []contender{{"observed", newObserved(false)}}, sizes: []int{1, 10, 100, 1000},
		cpu: []float64{1.3, 1.3, 1.3, 1.3},
	},
	{
		name: "events", title: "An observer that is told each result and each end of a member, beside none; quick producers",
		base: byDispatch(quick).as("unobserved"), others: []contender{{"observed", newObserved(true)}}, sizes: []int{1, 10, 100, 1000},
		cpu: []float64{1.3, 1.3, 1.3, 1.3},
	},
	{
		name: "page", title: "The live page without a browser, beside no observer; quick producers",
		base: byDispatch(quick).as("unobserved"), others: []contender{{"page closed", newPage(false)}}, sizes: []int{1, 10, 100, 1000},
		// The rounds are longer, because the figures of a thousand members grow over the first
		// hundreds of calls.
		rounds: measure.Rounds{N: 40, Length: 50 * time.Millisecond}, cpu: []float64{1.3, 1.3, 1.3, 1.3},
	},
	{
		name: "pageopen", title: "The live page, brought up to date five times a second, beside no observer; quick producers",
		base: byDispatch(quick).as("unobserved"), others: []contender{{"page open", newPage(true)}}, sizes: []int{1, 10, 100, 1000},
		rounds: measure.Rounds{N: 9, Length: 2 * updateEvery}, cpu: []float64{1.3, 1.3, 1.3, 1.3},
	},
	{
		name: "blocked", title: "A blocked listener beside a quick one, by mailbox; quick producers",
		base: byDispatch(quick).as("quick alone"), sizes: []int{1, 10, 100},
		others: []contender{
			besideBlocked("unbounded"),
			besideBlocked("DropOldest", dispatch.WithMailbox(16, dispatch.DropOldest)),
			besideBlocked("DropNewest", dispatch.WithMailbox(16, dispatch.DropNewest)),
		},
		time: []float64{1.1, 1.1, 1.1},
	},
	{
		name: "quorum", title: "The first of a thousand answers, beside all of them",
		base: byDispatch(quick).as("all"), sizes: []int{1000},
		others: []contender{{"quorum of 1", func(n int) (*side, error) {
			return newDispatched(setup{work: quick, producers: n, quorum: 1})
		}}},
		time: []float64{0.15},
	},
	{
		name: "hedge", title: "Groups of two replicas with a hedge that is never due, beside plain producers",
		base: byDispatch(quick).as("plain"), sizes: []int{1, 10, 100},
		others: []contender{{"hedged", func(n int) (*side, error) {
			return newDispatched(setup{work: quick, producers: n, replicas: 2})
		}}},
		time: []float64{1.5, 1.5, 1.5},
	},
}

func byHand(w work) contender {
	return contender{"hand", func(n int) (*side, error) { return newHand(setup{work: w, producers: n}) }}
}

func byDispatch(w work) contender {
	return contender{"dispatch", func(n int) (*side, error) { return newDispatched(setup{work: w, producers: n}) }}
}

func (c contender) as(name string) contender { return contender{name, c.build} }

// compare measures a row at all sizes and prints its table.
func (b *bench) compare(r row) error {
	medians := make([][]measure.Sample, len(r.sizes)) // of the base, of the base again, of the others
	for i, n := range r.sizes {
		var err error
		if medians[i], err = b.measure(r, n); err != nil {
			return fmt.Errorf("%d producers: %w", n, err)
		}
	}
	t := measure.NewTable("measure", "producers", "side", "takes", r.base.name, "ratio", "bar", "noise")
	for _, m := range []struct {
		name string
		bars []float64
		of   func(measure.Sample) time.Duration
	}{
		{"time", r.time, func(s measure.Sample) time.Duration { return s.Time }},
		{"CPU", r.cpu, func(s measure.Sample) time.Duration { return s.CPU }},
	} {
		for i, n := range r.sizes {
			one, again := m.of(medians[i][0]), m.of(medians[i][1])
			base := (one + again) / 2
			for j, o := range r.others {
				took := m.of(medians[i][2+j])
				ratio, bar := measure.Ratio(base, took), ""
				if m.name == "time" {
					b.noteFor(r, point{n, ratio, measure.Ratio(one, again)})
				}
				if m.bars != nil {
					bar = measure.AtMost(ratio, m.bars[i])
				}
				t.Row(
					m.name, strconv.Itoa(n), o.name, measure.Micros(took), measure.Micros(base),
					fmt.Sprintf("%.2f", ratio), bar, fmt.Sprintf("%.2f", measure.Ratio(one, again)),
				)
			}
		}
	}
	for i, n := range r.sizes {
		for j, o := range r.others {
			if r.allocs == nil {
				continue
			}
			base, made := medians[i][0].Allocs, medians[i][2+j].Allocs
			// The allocations of a call are a whole number. The runtime adds a few of its own.
			t.Row(
				"allocations", strconv.Itoa(n), o.name, fmt.Sprintf("%.1f", made), fmt.Sprintf("%.1f", base),
				"", measure.AtMost(math.Round(made), r.allocs[i]), "",
			)
		}
	}
	t.Print(b.out)
	return nil
}

// measure builds the sides of a row at one size and runs their rounds.
func (b *bench) measure(r row, producers int) ([]measure.Sample, error) {
	var sides []measure.Side
	var built []*side
	again := r.base.as(r.base.name + " again")
	for _, c := range append([]contender{r.base, again}, r.others...) {
		s, err := c.build(producers)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		defer s.close()
		s.Name = c.name
		built, sides = append(built, s), append(sides, s.Side)
	}
	rounds := b.rounds
	if r.rounds.N > 0 {
		rounds = r.rounds
		rounds.N = min(rounds.N, b.rounds.N)
	}
	medians, err := rounds.Compare(sides...)
	for _, s := range built {
		if wrong := s.verify(); err == nil && wrong != nil {
			err = fmt.Errorf("%s: %w", s.Name, wrong)
		}
	}
	return medians, err
}
