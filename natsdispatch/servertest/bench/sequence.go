package main

import (
	"fmt"
	"runtime"

	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// sequenceBar is the most that a call after very many others may take, as a multiple of a call before them.
// It is above 1 because of noise.
const sequenceBar = 1.1

// sequence makes very many calls one after another, and then compares a call of that side with a call of a
// side that has made few.
func (b *bench) sequence() error {
	var sides [2]*dispatched
	for i := range sides {
		s, err := startServers(1)
		defer s.close()
		if err != nil {
			return err
		}
		if sides[i], err = newDispatchedOn(s, nodes); err != nil {
			return err
		}
		if _, err := elapsed(sides[i], 10*b.round); err != nil { // fills the pools, and lets stacks grow
			return err
		}
	}
	fresh, old := sides[0], sides[1]
	before := stateOf(old)
	if _, err := elapsed(old, b.calls); err != nil {
		return err
	}
	after := stateOf(old)
	t := newComparisons("fresh", "old")
	if _, _, err := b.addRow(t, "after "+count(b.calls)+" calls", fresh, old, sequenceBar, measure.None); err != nil {
		return err
	}
	t.Print(b.out)

	// The requests that nodes remember, to recognize them if they come again, become fewer with time.
	left := measure.NewTable("what there is", "before", "after")
	left.Row("subscriptions", count(before.subscriptions), count(after.subscriptions))
	left.Row("goroutines", count(before.goroutines), count(after.goroutines))
	left.Row("requests that are open", count(before.open), count(after.open))
	left.Row("ids that nodes remember", count(before.remembered), count(after.remembered))
	left.Row("heap", kilobytes(before.heap), kilobytes(after.heap))
	left.Print(b.out)
	return nil
}

// state counts what exists at rest.
type state struct {
	subscriptions, goroutines, open, remembered int
	heap                                        int64
}

func stateOf(d *dispatched) (s state) {
	s.subscriptions, s.open = d.nc.NumSubscriptions(), d.remote.Stats().InFlight
	for _, node := range d.cells {
		s.remembered += node.Stats().Remembered
	}
	s.heap, s.goroutines = measure.Heap(), runtime.NumGoroutine()
	return s
}

func count(n int) string { return fmt.Sprint(n) }

func times(ratio float64) string { return fmt.Sprintf("%.2f", ratio) }

func kilobytes(n int64) string { return fmt.Sprintf("%d kB", n/1000) }
