package dispatchdebug

import "time"

// The last minute is seen in twelve slots of five seconds.
const (
	slotLength = 5 * time.Second
	slots      = 12
)

// slotOf returns the number of the slot in which something happens that long after
// recording began.
func slotOf(since time.Duration) int64 { return int64(max(since, 0) / slotLength) }

// A series is what happened in the last minute, slot by slot.
type series struct {
	slots  []slot // by number modulo slots; nil until something happens
	newest int64  // the number of the newest slot
}

type slot struct {
	runs, failed uint32
	p99          time.Duration // of the newest runs when the slot was the newest one
	lost         time.Duration // that calls lost
}

// at returns the slot of this number, which becomes the newest one if it is newer. A number
// that is older than the series gets the oldest slot.
func (s *series) at(n int64) *slot {
	if s.slots == nil {
		s.slots, s.newest = make([]slot, slots), n
	}
	for s.newest < n {
		if n-s.newest > slots {
			s.newest = n - slots
		}
		s.newest++
		s.slots[s.newest%slots] = slot{}
	}
	return &s.slots[max(n, s.newest-slots+1, 0)%slots]
}

// all ranges over the slots of the minute that ends with slot n, the oldest first.
func (s *series) all(n int64) (list [slots]slot) {
	if s.slots == nil {
		return list
	}
	for i := range list {
		if number := n - slots + 1 + int64(i); number >= 0 && number <= s.newest && number > s.newest-slots {
			list[i] = s.slots[number%slots]
		}
	}
	return list
}

// minute sums up the minute that ends with slot n.
func (s *series) minute(n int64) (sum slot) {
	for _, one := range s.all(n) {
		sum.runs += one.runs
		sum.failed += one.failed
		sum.lost += one.lost
		sum.p99 = max(sum.p99, one.p99)
	}
	return sum
}

// A spark is the last minute in twelve figures each, the oldest first: for a small drawing.
type spark struct {
	Calls  [slots]uint32        `json:"calls"`  // or runs
	Failed [slots]uint32        `json:"failed"` // of them
	P99    [slots]time.Duration `json:"p99_ns"`
}

// spark returns the minute that ends with slot n. took has the newest runs.
func (s *series) spark(n int64, took *window) (sp spark) {
	for i, one := range s.all(n) {
		sp.Calls[i], sp.Failed[i], sp.P99[i] = one.runs, one.failed, one.p99
		if number := n - slots + 1 + int64(i); one.runs > 0 && number == s.newest {
			sp.P99[i] = took.quantile(0.99).took
		}
	}
	return sp
}

// turn keeps the p99 of the newest slot before another one begins.
func (s *series) turn(n int64, took *window) {
	if s.slots != nil && n > s.newest {
		s.slots[s.newest%slots].p99 = took.quantile(0.99).took
	}
}
