package main

import (
	"runtime"
	"slices"
	"time"
)

// rounds says how much is measured, and how.
type rounds struct {
	n      int           // rounds for each side
	length time.Duration // of a round, roughly

	// collect is how many rounds of both sides go by from one garbage collection
	// to the next. Without any, what is allocated would lie in ever new memory
	// that the system has yet to provide.
	collect int
}

// samples is what the rounds of one side have shown, for each of them what one
// call took.
type samples struct {
	times   []time.Duration
	mallocs []float64
}

// comparison is what the rounds of two sides have shown.
type comparison struct{ base, other samples }

// ratio returns what the other side took, as a part of what the first did, each
// at its best.
func (c comparison) ratio() float64 {
	return ratio(slices.Min(c.base.times), slices.Min(c.other.times))
}

// medianRatio is ratio with both sides as they usually were.
func (c comparison) medianRatio() float64 { return ratio(median(c.base.times), median(c.other.times)) }

func ratio(base, other time.Duration) float64 { return float64(other) / float64(base) }

func median[T time.Duration | float64](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// compare runs the rounds of two sides in turns. Each side's rounds are about
// equally long, so each also bears its share of collecting its garbage.
func (r rounds) compare(base, other side) (c comparison, err error) {
	turns := []struct {
		side    side
		samples *samples
		calls   int
	}{{side: base, samples: &c.base}, {side: other, samples: &c.other}}
	for i := range turns {
		t := &turns[i]
		if t.calls, err = r.calibrate(t.side); err != nil {
			return c, err
		}
	}
	for i := range r.n {
		for _, t := range turns {
			if i%r.collect == 0 {
				runtime.GC()
			}
			if err := t.samples.round(t.side, t.calls); err != nil {
				return c, err
			}
		}
	}
	for _, t := range turns {
		if err := t.side.verify(); err != nil {
			return c, err
		}
	}
	return c, nil
}

// calibrate returns how many calls make a round.
func (r rounds) calibrate(s side) (calls int, err error) {
	for calls = 1; ; calls *= 2 {
		took, err := elapsed(s, calls)
		if err != nil {
			return 0, err
		}
		if took >= r.length/4 {
			return max(1, int(float64(calls)*float64(r.length)/float64(took))), nil
		}
	}
}

// round runs one round of a side.
func (s *samples) round(of side, calls int) error {
	if r, ok := of.(renewable); ok {
		if err := r.renew(); err != nil {
			return err
		}
	}
	// The first call after a collection finds empty pools, and those goroutines
	// that could be used again without their stacks.
	if err := of.call(); err != nil {
		return err
	}
	before := mallocs()
	took, err := elapsed(of, calls)
	if err != nil {
		return err
	}
	s.mallocs = append(s.mallocs, float64(mallocs()-before)/float64(calls))
	s.times = append(s.times, took/time.Duration(calls))
	return nil
}

func elapsed(s side, calls int) (time.Duration, error) {
	begin := time.Now()
	for range calls {
		if err := s.call(); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}
