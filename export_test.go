package dispatch

import (
	"fmt"
)

// ReportOf completes a report with what only the engine knows.
func ReportOf(r Report, cause error, quorum int, first bool) Report {
	r.cause, r.quorum, r.first = cause, quorum, first
	return r
}

func FirstErr(r Report) error               { return r.firstErr() }
func GroupError(r Report) error             { return groupError(r) }
func Is(err, sentinel error) bool           { return is(err, sentinel) }
func TooFewProducers(wanted, had int) error { return tooFewProducers(wanted, had) }
func WithKind(cause, kind error) error      { return withKind(cause, kind) }

// AtRest says what of the counts of a bus is not as it is at rest.
func AtRest(b *Bus) error {
	if b.places != nil && !b.places.free.TryAcquire(int64(b.maxInFlight)) {
		return fmt.Errorf("places are taken")
	}
	if b.places != nil {
		b.places.free.Release(int64(b.maxInFlight))
	}
	if n := b.spares.Load(); n != 0 {
		return fmt.Errorf("%d spares", n)
	}
	if !b.ledger.Empty() {
		return fmt.Errorf("calls or callbacks are in flight")
	}
	if n := b.waiting.Load(); n != 0 {
		return fmt.Errorf("%d waiting", n)
	}
	return nil
}

// Waiting returns how many results the inbox of a listener counts.
func Waiting(r *Registration) int { return r.self.(*listener).inbox.Stats().Waiting }

// Dropped returns how many results the inbox of a listener has dropped.
func Dropped(r *Registration) int64 { return int64(r.self.(*listener).inbox.Stats().Dropped) }

// SetTurn sets how often the group of a producer has been asked.
func SetTurn(r *Registration, n uint32) { r.self.(*producer).turn = n }
