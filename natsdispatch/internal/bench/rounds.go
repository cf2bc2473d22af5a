package main

import (
	"slices"
	"syscall"
	"time"
)

// sample is what each call of a round took.
type sample struct{ elapsed, cpu time.Duration }

// measureRound runs a round of n calls.
func measureRound(s side, n int) (sample, error) {
	begin, used := time.Now(), cpuTime()
	for range n {
		if err := s.call(); err != nil {
			return sample{}, err
		}
	}
	return sample{time.Since(begin) / time.Duration(n), (cpuTime() - used) / time.Duration(n)}, nil
}

// cpuTime is how long processors have worked for this process.
func cpuTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err) // the arguments are right
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// samples is what the rounds of one side have shown.
type samples []sample

func (all samples) least() time.Duration {
	return slices.MinFunc(all, func(a, b sample) int { return int(a.elapsed - b.elapsed) }).elapsed
}

func (all samples) median() time.Duration {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b sample) int { return int(a.elapsed - b.elapsed) })
	return sorted[len(sorted)/2].elapsed
}

// cpu is the median of the processors' time.
func (all samples) cpu() time.Duration {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b sample) int { return int(a.cpu - b.cpu) })
	return sorted[len(sorted)/2].cpu
}

func ratio(base, other time.Duration) float64 { return float64(other) / float64(base) }
