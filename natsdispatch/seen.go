package natsdispatch

import "time"

// seen remembers the ids of requests for as long as somebody may repeat them. It
// knows no clock and is not safe for concurrent use.
type seen struct {
	until map[string]time.Time
	swept time.Time
}

// sweepEvery bounds how often the ids are looked through, and so how much longer
// than necessary one is kept.
const sweepEvery = time.Second

// add remembers the id until the given time, and reports whether it is new.
func (s *seen) add(id string, until, now time.Time) bool {
	s.sweep(now)
	if end, known := s.until[id]; known && now.Before(end) {
		return false
	}
	if s.until == nil {
		s.until = make(map[string]time.Time)
	}
	s.until[id] = until
	return true
}

// sweep forgets what is over.
func (s *seen) sweep(now time.Time) {
	if now.Sub(s.swept) < sweepEvery {
		return
	}
	s.swept = now
	for id, until := range s.until {
		if !now.Before(until) {
			delete(s.until, id)
		}
	}
}
