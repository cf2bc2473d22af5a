package dispatchdebug

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// A window has the durations of the newest runs: the last 256 to 512 of them, because older
// ones do not explain why a system is slow now. Up to fewRuns it keeps each of them. Above that
// it counts them in buckets, eight to each doubling from a microsecond on, so that a percentile
// is right within six percent.
//
// A run that was cut off would have taken longer; see quantile.
type window struct {
	few          []lasted
	newer, older *counts // older is full, or nil
	n            int     // in newer
}

// lasted is a duration, doubled, and one more if the run was cut off then.
type lasted int64

type counts struct {
	all, cut [windowBuckets]uint16 // cut counts those of all that were cut off
	cuts     int
	longest  lasted
}

const (
	fewRuns       = 24
	windowSize    = 256
	perDoubling   = 8
	windowBuckets = 30 * perDoubling // up to 18 minutes
	countsBytes   = 4*windowBuckets + 16
)

// A quantile is a time that a part of the runs did not exceed. If more is true, runs that
// were cut off may have exceeded it: it is the least that it can be.
type quantile struct {
	took time.Duration // unknown if there were no runs
	more bool
}

func lastedFor(d time.Duration, cut bool) lasted {
	l := lasted(max(d, 0)) << 1
	if cut {
		l |= 1
	}
	return l
}

func (l lasted) took() time.Duration { return time.Duration(l >> 1) }
func (l lasted) cut() bool           { return l&1 == 1 }

func (w *window) add(d time.Duration, cut bool) {
	l := lastedFor(d, cut)
	if w.newer == nil {
		if len(w.few) < fewRuns {
			w.few = append(w.few, l)
			return
		}
		w.newer, w.n = new(counts), len(w.few)
		for _, l := range w.few {
			w.newer.add(l)
		}
		w.few = nil
	}
	if w.n == windowSize {
		if w.older == nil {
			w.older = new(counts)
		}
		w.newer, w.older, w.n = w.older, w.newer, 0
		*w.newer = counts{}
	}
	w.newer.add(l)
	w.n++
}

func (c *counts) add(l lasted) {
	b := bucketOf(l.took())
	c.all[b]++
	if l.cut() {
		c.cut[b]++
		c.cuts++
	}
	c.longest = max(c.longest, l)
}

// bytes returns the size of the memory that the window refers to.
func (w *window) bytes() int {
	n := 8 * cap(w.few)
	for _, c := range []*counts{w.newer, w.older} {
		if c != nil {
			n += countsBytes
		}
	}
	return n
}

// runs returns the number of runs in the window.
func (w *window) runs() int {
	n := len(w.few) + w.n
	if w.older != nil {
		n += windowSize
	}
	return n
}

// quantile returns the time that the part p of the runs did not exceed, by nearest rank.
// It is never longer than the longest run. With runs that were cut off it lies between two
// bounds: that in which each of these ended when it was cut off, and that in which it
// never did. The lower one is returned.
func (w *window) quantile(p float64) quantile {
	n := w.runs()
	if n == 0 {
		return quantile{took: unknown}
	}
	rank := min(max(int(math.Ceil(p*float64(n))), 1), n)
	if w.newer == nil {
		sorted := slices.Clone(w.few)
		slices.Sort(sorted)
		low := sorted[rank-1].took()
		whole := slices.DeleteFunc(sorted, lasted.cut)
		return quantile{low, rank > len(whole) || whole[rank-1].took() > low}
	}
	low, high := -1, -1 // buckets
	all, whole := rank, rank
	for i := range windowBuckets {
		counted, cut := int(w.newer.all[i]), int(w.newer.cut[i])
		if w.older != nil {
			counted, cut = counted+int(w.older.all[i]), cut+int(w.older.cut[i])
		}
		if all -= counted; all <= 0 && low < 0 {
			low = i
		}
		if whole -= counted - cut; whole <= 0 {
			high = i
			break
		}
	}
	return quantile{min(middleOf(low), w.longest().took()), high != low}
}

// longest returns the longest run in the window.
func (w *window) longest() (l lasted) {
	if w.newer == nil {
		if len(w.few) == 0 {
			return lasted(unknown) << 1
		}
		return slices.Max(w.few)
	}
	if w.older != nil {
		l = w.older.longest
	}
	return max(l, w.newer.longest)
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
