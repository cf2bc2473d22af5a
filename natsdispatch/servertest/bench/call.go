package main

import (
	"fmt"
	"time"

	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// The bars of a call: its time and its CPU time as multiples of those of a request by hand, and its
// allocations.
const (
	callBar    = 1.5
	clusterBar = 1.4
	cpuBar     = 1.5
	allocsBar  = 1200
)

// call compares calls with requests by hand.
func (b *bench) call() error {
	t := newComparisons("hand", "dispatch")
	allocs := measure.NewTable("allocations of a call", "hand", "dispatch", "bar")
	for _, c := range []struct {
		name    string
		servers int
		hand    func(*servers) (side, error)
		bar     float64
	}{
		{"responders answer with ready bytes", 1, newBytesByHand, callBar},
		{"responders ask 10 producers, JSON", 1, newValuesByHand, callBar},
		{"the same in a cluster of 3 servers", 3, newValuesByHand, clusterBar},
	} {
		if err := b.compare(t, allocs, c.name, c.servers, c.hand, c.bar); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	t.Print(b.out)
	allocs.Print(b.out)
	fmt.Fprintln(b.out, "\nCPU is what the whole process has used for a call, the server and the nodes included;\nunlike the times it does not depend on what else the machine does.")
	return nil
}

// compare adds the rows of one case to both tables.
func (b *bench) compare(t, allocs *measure.Table, name string, n int, hand func(*servers) (side, error), bar float64) error {
	s, err := startServers(n)
	defer s.close()
	if err != nil {
		return err
	}
	var sides []side
	for _, build := range []func(*servers) (side, error){hand, newDispatched} {
		built, err := build(s)
		if err != nil {
			return err
		}
		sides = append(sides, built)
	}
	usual, took, err := b.addRow(t, name, sides[0], sides[1], bar, cpuBar)
	if err == nil {
		most := float64(allocsBar)
		if n > 1 {
			most = measure.None // no bar: with several servers, both sides allocate more
		}
		allocs.Row(name, fmt.Sprintf("%.0f", usual.Allocs), fmt.Sprintf("%.0f", took.Allocs), measure.AtMost(took.Allocs, most))
	}
	return err
}

// newComparisons returns a table with a row for each comparison of two sides.
func newComparisons(base, other string) *measure.Table {
	return measure.NewTable("case", base, other, "ratio", "bar", "noise", base+" CPU", other+" CPU", "ratio", "bar", "noise")
}

// addRow compares two sides. It measures the base twice; the ratio of the two is the noise.
func (b *bench) addRow(t *measure.Table, name string, base, other side, bar, cpuBar float64) (usual, took measure.Sample, err error) {
	rounds := measure.Rounds{N: b.rounds, Calls: b.round}
	medians, err := rounds.Compare(
		measure.Side{Name: "base", Call: base.call},
		measure.Side{Name: "base again", Call: base.call},
		measure.Side{Name: "other", Call: other.call},
	)
	if err != nil {
		return usual, took, err
	}
	one, again, took := medians[0], medians[1], medians[2]
	usual = measure.Sample{Time: (one.Time + again.Time) / 2, CPU: (one.CPU + again.CPU) / 2, Allocs: (one.Allocs + again.Allocs) / 2}
	cpu := measure.Ratio(usual.CPU, took.CPU)
	ratio := measure.Ratio(usual.Time, took.Time)
	t.Row(
		name, measure.Micros(usual.Time), measure.Micros(took.Time), times(ratio), measure.AtMost(ratio, bar),
		times(measure.Ratio(one.Time, again.Time)),
		measure.Micros(usual.CPU), measure.Micros(took.CPU), times(cpu), measure.AtMost(cpu, cpuBar),
		times(measure.Ratio(one.CPU, again.CPU)),
	)
	return usual, took, nil
}

// elapsed makes n calls one after another, and returns the average duration of one.
func elapsed(s side, n int) (time.Duration, error) {
	began := time.Now()
	for range n {
		if err := s.call(); err != nil {
			return 0, err
		}
	}
	return time.Since(began) / time.Duration(n), nil
}
