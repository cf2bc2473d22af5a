package natsdispatch

import "time"

// seen remembers the ids of requests and cancels, each until a given time. If there are more than most ids, it
// forgets the oldest ones. It reads no clock and is not safe for concurrent use.
type seen struct {
	most  int
	until map[string]time.Time // by id
	order []string             // the ids, the oldest first
	swept time.Time            // when sweep has looked through the ids last
}

// sweepEvery is the shortest time after which sweep looks through the ids again.
const sweepEvery = time.Second

// add remembers the id until the given time. It reports whether the id is new, and whether another id had to
// be forgotten.
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

// sweep forgets the ids whose time has passed.
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
