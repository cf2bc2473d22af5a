// Package measure is what the programs that measure dispatch share: rounds of
// several sides in random order, medians, tables, and parts of a program that can
// be chosen by name.
package measure

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"
)

// A Side is one side of a comparison.
type Side struct {
	Name string

	// Call makes one call, waits for its end, and returns an error unless the call
	// has done what it should.
	Call func() error

	// Before runs before each round and is not measured. It may be nil.
	Before func() error

	// After runs at the end of each round and is measured: it waits for work that
	// the calls have left to other goroutines. It may be nil.
	After func()
}

// Rounds says how much is measured.
type Rounds struct {
	N      int           // rounds of each side
	Length time.Duration // of a round, roughly
	Calls  int           // in a round; 0: as many as fill Length
}

// Sample is what one call took, or the median of what many took.
type Sample struct {
	Time   time.Duration
	CPU    time.Duration // of the whole process; 0 where the system does not tell
	Allocs float64
}

// Compare runs the rounds of the sides and returns a median for each side, in the order of the
// arguments. All sides have a turn in each round, in random order, so that other work of the
// machine affects all of them, and no side always runs after the same other one. Medians are
// compared, and not the fastest rounds, because a user sees the usual call.
func (r Rounds) Compare(sides ...Side) ([]Sample, error) {
	calls := make([]int, len(sides))
	for i, s := range sides {
		var err error
		if calls[i], err = r.calibrate(s); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	seen := make([][]Sample, len(sides))
	for range r.N {
		for _, i := range rand.Perm(len(sides)) {
			sample, err := round(sides[i], calls[i])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", sides[i].Name, err)
			}
			seen[i] = append(seen[i], sample)
		}
	}
	medians := make([]Sample, len(sides))
	for i := range sides {
		medians[i] = Sample{
			Time:   median(seen[i], func(s Sample) time.Duration { return s.Time }),
			CPU:    median(seen[i], func(s Sample) time.Duration { return s.CPU }),
			Allocs: median(seen[i], func(s Sample) float64 { return s.Allocs }),
		}
	}
	return medians, nil
}

// calibrate returns how many calls make a round. It also warms the side up.
func (r Rounds) calibrate(s Side) (calls int, err error) {
	for calls = max(1, r.Calls); ; calls *= 2 {
		sample, err := round(s, calls)
		if err != nil || r.Calls > 0 {
			return calls, err
		}
		if took := sample.Time * time.Duration(calls); took >= r.Length/4 {
			return max(1, int(r.Length/max(1, sample.Time))), nil
		}
	}
}

func round(s Side, calls int) (Sample, error) {
	if s.Before != nil {
		if err := s.Before(); err != nil {
			return Sample{}, err
		}
	}
	runtime.GC() // each side pays for its own garbage
	// The first call after a collection finds empty pools, and new goroutines
	// instead of ones with stacks that have grown.
	if err := s.Call(); err != nil {
		return Sample{}, err
	}
	mallocs, used, began := countMallocs(), CPU(), time.Now()
	for range calls {
		if err := s.Call(); err != nil {
			return Sample{}, err
		}
	}
	if s.After != nil {
		s.After()
	}
	n := time.Duration(calls)
	sample := Sample{Time: time.Since(began) / n, CPU: (CPU() - used) / n}
	sample.Allocs = float64(countMallocs()-mallocs) / float64(calls)
	return sample, nil
}

func median[T time.Duration | float64](samples []Sample, of func(Sample) T) T {
	values := make([]T, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
