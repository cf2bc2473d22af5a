package main

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// senders is how many goroutines send at the same time.
const senders = 4

// contentionBar is how often a call may meet a lock that is held on its way to
// its producers: hardly ever, if not never.
const contentionBar = 0.001

// contention counts how often parallel calls on different topics meet at a lock,
// and where.
func (b *bench) contention() error {
	t := newTable("case", "the lock was held by", "contentions/call", "blocked/call", "bar")
	for _, procs := range []int{1, 2} {
		for _, listeners := range []int{0, 1} {
			s := setup{work: quick, producers: 10, listeners: listeners}
			if err := b.meet(t, s, procs); err != nil {
				return err
			}
		}
	}
	t.print(b.out)
	return nil
}

// meet adds the rows of one case.
func (b *bench) meet(t *table, s setup, procs int) error {
	name := fmt.Sprintf("procs=%d/senders=%d/%v", procs, senders, s)
	defer watch(name)()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
	sides, err := newNeighbours(s, senders)
	if err != nil {
		return err
	}
	defer sides[0].close() // they share their bus
	var failed error
	seen := profileMutexes(func() { failed = inParallel(sides, b.calls) })
	if failed != nil {
		return failed
	}
	t.findings(name, newFindings(seen), senders*b.calls)
	return nil
}

// findings adds a row for each occasion, and for the worst places in the library.
func (t *table) findings(name string, f findings, calls int) {
	for _, o := range occasions {
		switch met := f.during[o]; {
		case o == duringLookup:
			t.contentions(name, string(o), met, calls, contentionBar)
		case met.count > 0:
			t.contentions(name, string(o), met, calls, none)
		}
	}
	for _, where := range f.worst(3) {
		t.contentions(name, "in "+where, f.where[where], calls, none)
	}
}

func (t *table) contentions(name, where string, met contentions, calls int, limit float64) {
	perCall := float64(met.count) / float64(calls)
	blocked := met.blocked / time.Duration(calls)
	t.row(name, where, fmt.Sprintf("%.5f", perCall), blocked.String(), atMost(perCall, limit))
}

// newNeighbours returns sides that share a bus and nothing else.
func newNeighbours(s setup, n int) ([]side, error) {
	d := dispatch.New[int, int]()
	sides := make([]side, n)
	for i := range sides {
		on := dispatch.NewTopic[int, int](fmt.Sprintf("benchmark.%d", i))
		side, err := newDispatchedOn(d, on, s)
		if err != nil {
			return nil, err
		}
		sides[i] = side
	}
	return sides, nil
}

// inParallel lets all sides make their calls at the same time.
func inParallel(sides []side, calls int) error {
	ended := make(chan error, len(sides))
	for _, s := range sides {
		go func() {
			_, err := elapsed(s, calls)
			ended <- errors.Join(err, s.verify())
		}()
	}
	var all error
	for range sides {
		all = errors.Join(all, <-ended)
	}
	return all
}
