// Package latency keeps the recent latencies of a group in memory of a fixed size, and returns
// quantiles of them.
package latency

import (
	"math/bits"
	"sync"
	"time"
)

// The histogram has buckets whose widths grow with the latencies: octave by octave, each in
// eight equal parts. So a quantile is too long by an eighth at most, from 1 µs to 36 minutes.
const (
	parts   = 8
	lowest  = 10 // the first octave begins at 2 to the power of this, in nanoseconds
	octaves = 31
	buckets = 1 + octaves*parts // the first one has all that is shorter, the last one all that is longer
)

// Window is how many latencies a window has. The last full window and the latencies after it
// are recent.
const Window = 1000

// Enough is how many latencies a quantile needs at least: 20, and so many that one of them
// is expected to be longer, but not more than a window.
func Enough(quantile float64) int { return int(min(max(20, 1/(1-quantile)), Window)) }

// Recent keeps latencies in two windows. A full window replaces the one before, and a new one
// begins. The zero Recent is empty. It must not be copied, and is safe for concurrent use.
type Recent struct {
	mu          sync.Mutex // guards the fields below
	now, before [buckets]uint16
	count, past int // how many there are in each
}

// Add adds a latency.
func (r *Recent) Add(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == Window {
		r.before, r.past = r.now, r.count
		r.now, r.count = [buckets]uint16{}, 0
	}
	r.now[bucket(d)]++
	r.count++
}

// Quantile returns a time that this share of the recent latencies does not exceed, more than 0
// and less than 1: the end of the bucket in which the share is reached. Latencies that are at
// least as long are in later buckets and do not move the quantile, even if they are only known
// to be longer. It returns false as long as there are not [Enough].
func (r *Recent) Quantile(quantile float64) (d time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.count + r.past
	if all < Enough(quantile) {
		return 0, false
	}
	wanted, sum := quantile*float64(all), 0
	for i := range buckets {
		sum += int(r.now[i]) + int(r.before[i])
		if float64(sum) >= wanted {
			return start(i + 1), true
		}
	}
	return start(buckets), true
}

// bucket returns the index of the bucket that a latency belongs to.
func bucket(d time.Duration) int {
	octave := bits.Len64(uint64(max(d, 0))) - 1 - lowest
	if octave < 0 {
		return 0
	}
	part := int(uint64(d)>>(octave+lowest-3)) - parts
	return min(1+octave*parts+part, buckets-1)
}

// start returns the shortest latency of a bucket.
func start(i int) time.Duration {
	if i == 0 {
		return 0
	}
	octave, part := (i-1)/parts, (i-1)%parts
	return time.Duration(parts+part) << (octave + lowest - 3)
}
