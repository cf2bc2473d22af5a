package natsdispatch

import (
	"hash/maphash"
	"slices"
	"time"
)

// seen remembers the ids of requests for as long as the requests may be repeated, but at most most ids.
// Beyond that it forgets the ids whose time is over first. It holds a mark of 16 bytes for each id and no
// pointers, so that the garbage collector need not look at millions of ids. seen reads no clock and is not
// safe for concurrent use.
type seen struct {
	most int

	start time.Time // of the periods; the time of the first id
	seeds [2]maphash.Seed
	ends  map[mark]time.Duration // since start

	// periods has the marks whose time ends in each period, the next period first. A mark that was
	// remembered once more is in several periods; the last one counts.
	periods [][]mark
	first   int // the number of the first period
}

// mark stands for an id. Two ids have the same mark with a probability of 2^-128.
type mark [2]uint64

// period bounds how much longer than necessary an id is remembered.
const period = time.Second

// add remembers the id until the given time. It reports whether the id is new, and whether another id was
// forgotten for it.
func (s *seen) add(id string, until, now time.Time) (isNew, forgotten bool) {
	if s.ends == nil {
		s.start = now
		s.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
		s.ends = make(map[mark]time.Duration)
	}
	s.sweep(now)
	m := s.markOf(id)
	end, known := s.ends[m]
	if known && now.Sub(s.start) < end {
		return false, false
	}
	for !known && len(s.ends) >= s.most {
		s.forgetOne()
		forgotten = true
	}
	end = max(until.Sub(s.start), 0)
	s.ends[m] = end
	in := max(int(end/period)-s.first, 0)
	for len(s.periods) <= in {
		s.periods = append(s.periods, nil)
	}
	s.periods[in] = append(s.periods[in], m)
	return true, forgotten
}

func (s *seen) markOf(id string) mark {
	return mark{maphash.String(s.seeds[0], id), maphash.String(s.seeds[1], id)}
}

// len returns how many ids are remembered.
func (s *seen) len() int { return len(s.ends) }

// sweep forgets the ids whose period is over.
func (s *seen) sweep(now time.Time) {
	if s.ends == nil {
		return // there is no start yet
	}
	current := int(now.Sub(s.start) / period)
	for len(s.periods) > 0 && s.first < current {
		for _, m := range s.periods[0] {
			s.forget(m, s.first)
		}
		s.nextPeriod()
	}
	if len(s.periods) == 0 {
		s.first = max(s.first, current)
	}
}

// forgetOne forgets an id of the next period that has any. The empty periods before it stay, because the time
// of further ids may end in them.
func (s *seen) forgetOne() {
	in := slices.IndexFunc(s.periods, func(marks []mark) bool { return len(marks) > 0 })
	m := s.periods[in][0]
	s.periods[in] = s.periods[in][1:]
	s.forget(m, s.first+in)
}

// forget forgets a mark of a period, unless it was remembered once more.
func (s *seen) forget(m mark, in int) {
	if int(s.ends[m]/period) <= in {
		delete(s.ends, m)
	}
}

func (s *seen) nextPeriod() {
	s.periods[0] = nil
	s.periods = s.periods[1:]
	s.first++
}
