package dispatch

import (
	"errors"
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
	if kept, err := PlacesKept(b); err != nil || kept != 0 {
		return errors.Join(fmt.Errorf("%d places are taken", kept), err)
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

// PlacesKept returns how many calls keep places. While nothing moves, an error says which of
// the places are kept for nothing, or are lost.
func PlacesKept(b *Bus) (kept int, err error) {
	if b.places == nil {
		return 0, nil
	}
	for c := range b.inFlight() {
		keeps, why := c.(interface{ keepsPlace() (bool, error) }).keepsPlace()
		if err = errors.Join(err, why); keeps {
			kept++
		}
	}
	free := 0
	for b.places.free.TryAcquire(1) { // it gets none while senders wait
		free++
	}
	b.places.free.Release(int64(free))
	if free+kept != b.maxInFlight {
		err = errors.Join(err, fmt.Errorf("%d places are free and %d are kept, of %d", free, kept, b.maxInFlight))
	}
	return kept, err
}

func (c *gathering) keepsPlace() (keeps bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.placed {
		return false, nil
	}
	reasons := 0
	for f := c.feeds; f != nil; f = f.next {
		if !f.keeps {
			continue
		}
		reasons++
		heard := f.heardFromLocked(max(f.come, f.at.Seq))
		if left := f.to.gone.Load() && !f.queued && f.inHand == 0; c.closed && (heard || left) {
			err = errors.Join(err, fmt.Errorf("call %d keeps its place for %s, which has heard all: %v, or has left: %v", c.id(), f.to.Name(), heard, left))
		}
	}
	if !c.closed {
		reasons++
	}
	if int(c.unhanded) != reasons {
		err = errors.Join(err, fmt.Errorf("call %d counts %d reasons to keep its place, not %d", c.id(), c.unhanded, reasons))
	}
	return reasons > 0, err
}

// Waiting returns how many results the inbox of a listener counts.
func Waiting(r *Registration) int { return r.self.(*listener).inbox.Stats().Waiting }

// Dropped returns how many results the inbox of a listener has dropped.
func Dropped(r *Registration) int64 { return int64(r.self.(*listener).inbox.Stats().Dropped) }

// SetTurn sets how often the group of a producer has been asked.
func SetTurn(r *Registration, n uint32) { r.self.(*producer).turn = n }
