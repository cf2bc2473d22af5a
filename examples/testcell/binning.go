package main

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/seed-bb4b4d74/dispatch"
)

// binning counts the dies in each bin.
type binning struct {
	mu       sync.Mutex // guards the fields below
	sorted   map[Bin]int
	untested map[dispatch.State]int // dies without a verdict, by the state of their sites
}

// addBinning registers a listener that counts the verdicts, and the dies without a verdict.
func addBinning(bus *dispatch.Bus) (*binning, error) {
	b := &binning{sorted: make(map[Bin]int), untested: make(map[dispatch.State]int)}
	_, err := dispatch.On[Touchdown, Verdict](bus).AddListener(testDies, b.sort, dispatch.WithName("binning"), dispatch.OnOutcome(b.miss))
	return b, err
}

func (b *binning) sort(_ context.Context, r dispatch.Result[Touchdown, Verdict]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sorted[r.Value.Bin]++
}

// miss counts a die that its site has not tested. A failure is never a result, so sort is not
// called for it.
func (b *binning) miss(o dispatch.Outcome) {
	if o.State == dispatch.StateOK || o.State == dispatch.StateDeclined {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.untested[o.State]++
}

// summarize writes the number of dies in each bin.
func (b *binning) summarize(out io.Writer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	tested, untested := 0, 0
	for _, n := range b.sorted {
		tested += n
	}
	for _, n := range b.untested {
		untested += n
	}
	if tested > 0 {
		fmt.Fprintf(out, "\n%d dies tested, %.0f %% good\n", tested, 100*float64(b.sorted[BinPass])/float64(tested))
	}
	for _, bin := range []Bin{BinPass, BinShort, BinLeakage, BinRipple} {
		fmt.Fprintf(out, "  bin %d  %-10v %4d\n", int(bin), bin, b.sorted[bin])
	}
	fmt.Fprintf(out, "%d dies to be tested again\n", untested)
	for state := dispatch.StateFailed; state <= dispatch.StateGone; state++ {
		if n := b.untested[state]; n > 0 {
			fmt.Fprintf(out, "  site %-12v %4d\n", state, n)
		}
	}
}
