package main

import (
	"fmt"
	"runtime"
)

// callBar is how much a call may take, as a multiple of a request by hand.
const callBar = 1.5

// call compares a call with requests by hand.
func (b *bench) call() error {
	t := newComparisons("hand", "dispatch")
	for _, c := range []struct {
		name    string
		servers int
		hand    func(*servers) (side, error)
		bar     float64
	}{
		{"responders answer with ready bytes", 1, newBytesByHand, callBar},
		{"responders ask 10 producers, JSON", 1, newValuesByHand, callBar},
		{"the same in a cluster of 3 servers", 3, newValuesByHand, none},
	} {
		if err := b.compare(t, c.name, c.servers, c.hand, c.bar); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	t.print(b.out)
	fmt.Fprintln(b.out, "CPU is what the whole process has used for a call, the server and the nodes included;\nunlike the times it does not depend on what else the machine does.")
	return nil
}

// compare adds the row of one case.
func (b *bench) compare(t *table, name string, n int, hand func(*servers) (side, error), bar float64) error {
	s, err := startServers(n)
	defer s.close()
	if err != nil {
		return err
	}
	var sides [2]side
	for i, build := range []func(*servers) (side, error){hand, newDispatched} {
		if sides[i], err = build(s); err != nil {
			return err
		}
		if _, err := measureRound(sides[i], b.round); err != nil { // both are warm
			return err
		}
	}
	byHand, ours, err := b.alternate(sides[0], sides[1])
	if err != nil {
		return err
	}
	t.comparison(name, byHand, ours, bar)
	return nil
}

// alternate runs the rounds of two sides in turns.
func (b *bench) alternate(base, other side) (first, second samples, err error) {
	for range b.rounds {
		for _, turn := range []struct {
			side  side
			shown *samples
		}{{base, &first}, {other, &second}} {
			runtime.GC() // each side bears the garbage that it makes
			took, err := measureRound(turn.side, b.round)
			if err != nil {
				return nil, nil, err
			}
			*turn.shown = append(*turn.shown, took)
		}
	}
	return first, second, nil
}
