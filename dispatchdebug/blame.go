package dispatchdebug

import (
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

const (
	// A call has lost time to a member that ended this much later than others, if that is also
	// half of the call's duration or a quarter of its budget.
	leastLoss = 50 * time.Millisecond
)

// blame calls f with each row that the call lost time to, and with the loss: the time between the
// end of the quickest quarter of the members and the end of this one. If it lost time to none of them, and the
// call has used half of its time, none of its members was quick: it lost to them the time for which they ran.
func (r *record) blame(f func(w *row, lost time.Duration, alike bool)) {
	if !r.matters(r.elapsed) {
		return
	}
	isToBlame := r.blameable()
	if isToBlame == nil {
		return
	}
	var ends []time.Duration
	for i := range r.rows {
		if w := &r.rows[i]; !w.replica {
			ends = append(ends, w.ended)
		}
	}
	if len(ends) == 0 || len(ends) == 1 && r.reason == dispatch.ReasonAllEnded { // the only member always ends last
		return
	}
	slices.Sort(ends)
	quick := ends[(len(ends)-1)/4]
	if quick >= r.elapsed {
		quick = 0 // no member was quick
	}
	found := false
	for i := range r.rows {
		w := &r.rows[i]
		if lost := w.ended - quick; !w.replica && r.matters(lost) && isToBlame(w) {
			found = true
			f(w, lost, quick == 0)
		}
	}
	if found || r.budget <= 0 || r.elapsed < r.budget/2 {
		return
	}
	for i := range r.rows {
		w := &r.rows[i]
		if lost := w.span(); !w.replica && r.matters(lost) && isToBlame(w) {
			f(w, lost, true)
		}
	}
}

// lostToRelays returns for how long the call went on when all its members had ended: a relay had not returned. It
// is 0 if that does not matter.
func (r *record) lostToRelays() time.Duration {
	switch r.reason {
	case dispatch.ReasonNoProducers, dispatch.ReasonSatisfied, dispatch.ReasonClosed:
		return 0
	}
	if r.lacked {
		return 0
	}
	lost := r.elapsed
	if last := r.last(func(*row) bool { return true }); last != nil {
		lost -= last.ended
	}
	if !r.matters(lost) {
		return 0
	}
	return lost
}

// lostToLacking returns how long the call has waited for producers that did not come.
func (r *record) lostToLacking() time.Duration {
	if !r.lacked {
		return 0
	}
	return r.elapsed
}

// slowestReplica returns the row of the replica of a group that ran longest; nil if w is no group.
func (r *record) slowestReplica(w *row) (slowest *row) {
	if w.member.Group == "" || w.member.Node != "" {
		return nil
	}
	for i := range r.rows {
		if one := &r.rows[i]; one.replica && one.member.Group == w.member.Group && (slowest == nil || one.span() > slowest.span()) {
			slowest = one
		}
	}
	return slowest
}

// blameable returns which rows can have kept the call from ending earlier; nil if none can.
func (r *record) blameable() func(*row) bool {
	switch r.reason {
	case dispatch.ReasonDeadline, dispatch.ReasonCanceled, dispatch.ReasonStalled:
		return func(w *row) bool { return w.state == dispatch.StateLate || w.state == dispatch.StateCanceled }
	case dispatch.ReasonAllEnded:
		return func(*row) bool { return true }
	case dispatch.ReasonQuorumLost, dispatch.ReasonFailedFast:
		last := r.decisive()
		return func(w *row) bool { return w == last }
	case dispatch.ReasonSatisfied:
		if r.budget <= 0 || r.elapsed < r.budget/2 {
			return nil // the call was satisfied in less than half of its time
		}
		last := r.satisfying()
		return func(w *row) bool { return w == last || w.state == dispatch.StateCanceled }
	}
	return nil
}

// last returns the row that ended last among some; nil if there is none.
func (r *record) last(among func(*row) bool) (last *row) {
	for i := range r.rows {
		if w := &r.rows[i]; !w.replica && w.ended >= 0 && among(w) && (last == nil || w.ended > last.ended) {
			last = w
		}
	}
	return last
}

// matters reports whether a loss is large enough to be shown.
func (r *record) matters(lost time.Duration) bool {
	return lost >= leastLoss && lost >= r.elapsed/2 || r.budget > 0 && lost >= r.budget/4
}
