package main

import "runtime"

// sequenceBar is how much a call may take after very many others, as a multiple of one
// of the first: the same, but for noise.
const sequenceBar = 1.1

// sequence makes very many calls one after another, and then compares what a call
// takes there with what it takes where there were none.
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
		if _, err := measureRound(sides[i], 10*b.round); err != nil { // pools are filled, and stacks have grown
			return err
		}
	}
	fresh, old := sides[0], sides[1]
	before := measure(old)
	if _, err := measureRound(old, b.calls); err != nil {
		return err
	}
	after := measure(old)
	few, many, err := b.alternate(fresh, old)
	if err != nil {
		return err
	}
	t := newComparisons("fresh", "old")
	t.comparison("after "+count(b.calls)+" calls", few, many, sequenceBar)
	t.print(b.out)

	// What nodes remember of requests, in order to know them again, goes with time.
	left := newTable("what there is", "before", "after")
	left.row("subscriptions", count(before.subscriptions), count(after.subscriptions))
	left.row("goroutines", count(before.goroutines), count(after.goroutines))
	left.row("requests that are open", count(before.open), count(after.open))
	left.row("ids that nodes remember", count(before.remembered), count(after.remembered))
	left.row("heap", kilobytes(before.heap), kilobytes(after.heap))
	left.print(b.out)
	return nil
}

// state is what there is at rest.
type state struct {
	subscriptions, goroutines, open, remembered int
	heap                                        int64
}

func measure(d *dispatched) (s state) {
	s.subscriptions, s.open = d.nc.NumSubscriptions(), d.remote.Stats().InFlight
	for _, node := range d.cells {
		s.remembered += node.Stats().Remembered
	}
	s.heap, s.goroutines = heap(), runtime.NumGoroutine()
	return s
}

// heap returns what is on the heap and not garbage. What has a finalizer or lies in a
// pool is gone only after the second collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
