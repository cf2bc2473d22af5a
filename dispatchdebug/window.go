package dispatchdebug

import (
	"math/bits"
	"time"
)

// A window knows how long the newest runs took: the last 256 to 512 of them, because
// what a system did an hour ago does not tell why it is slow now. It counts them in
// buckets, eight to each doubling from a microsecond on, so that a percentile is right
// within five percent.
type window struct {
	newer, older *counts // older is full, or nil
	n            int     // in newer
}

type counts [windowBuckets]uint16

const (
	windowSize    = 256
	perDoubling   = 8
	windowBuckets = 30 * perDoubling // up to 18 minutes
)

func (w *window) add(d time.Duration) {
	if w.newer == nil {
		w.newer = new(counts)
	}
	if w.n == windowSize {
		if w.older == nil {
			w.older = new(counts)
		}
		w.newer, w.older, w.n = w.older, w.newer, 0
		clear(w.newer[:])
	}
	w.newer[bucketOf(d)]++
	w.n++
}

// quantile returns the time that the part p of the runs did not exceed, or -1 if
// there were no runs.
func (w *window) quantile(p float64) time.Duration {
	n := w.n
	if w.older != nil {
		n += windowSize
	}
	if n == 0 {
		return -1
	}
	rank := int(p * float64(n-1))
	for i := range w.newer {
		rank -= int(w.newer[i])
		if w.older != nil {
			rank -= int(w.older[i])
		}
		if rank < 0 {
			return middleOf(i)
		}
	}
	return middleOf(windowBuckets - 1)
}

// bucketOf splits each doubling of the microseconds evenly.
func bucketOf(d time.Duration) int {
	µs := uint64(max(d, 0) / time.Microsecond)
	if µs < perDoubling {
		return int(µs)
	}
	shift := bits.Len64(µs) - 4 // so that four bits are left, the first of which is set
	return min((shift+1)*perDoubling+int(µs>>shift)-perDoubling, windowBuckets-1)
}

// middleOf is the time in the middle of a bucket.
func middleOf(bucket int) time.Duration {
	if bucket < perDoubling {
		return time.Duration(bucket)*time.Microsecond + time.Microsecond/2
	}
	shift := bucket/perDoubling - 1
	low := time.Duration(bucket%perDoubling+perDoubling) << shift
	return low*time.Microsecond + (time.Microsecond<<shift)/2
}

// history remembers of each of the last 64 runs whether something was the case.
type history uint64

func (h *history) add(is bool) {
	*h <<= 1
	if is {
		*h |= 1
	}
}

func (h history) count() int { return bits.OnesCount64(uint64(h)) }
