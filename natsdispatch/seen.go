package natsdispatch

import "time"

// seen remembers the ids of requests for as long as they may be repeated, but not more
// than most of them: then the oldest are forgotten. It knows no clock and is not safe for
// concurrent use.
type seen struct {
	most  int
	until map[string]time.Time
	order []string // the ids, the oldest first; some may have been forgotten
	swept time.Time
}

// sweepEvery bounds how often the ids are looked through, and so how much longer
// than necessary one is kept.
const sweepEvery = time.Second

// add remembers the id until the given time. It reports whether it is new, and whether
// another one had to be forgotten for it.
func (s *seen) add(id string, until, now time.Time) (isNew, forgotten bool) {
	s.sweep(now)
	end, known := s.until[id]
	if known && now.Before(end) {
		return false, false
	}
	if s.until == nil {
		s.until = make(map[string]time.Time)
	}
	for !known && len(s.until) >= s.most {
		delete(s.until, s.order[0])
		s.order = s.order[1:]
		forgotten = true
	}
	s.until[id] = until
	if !known {
		s.order = append(s.order, id)
	}
	return true, forgotten
}

// sweep forgets what is over.
func (s *seen) sweep(now time.Time) {
	if now.Sub(s.swept) < sweepEvery {
		return
	}
	s.swept = now
	kept := s.order[:0]
	for _, id := range s.order {
		if now.Before(s.until[id]) {
			kept = append(kept, id)
		} else {
			delete(s.until, id)
		}
	}
	clear(s.order[len(kept):])
	s.order = kept
}
