package dispatchdebug

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// judge sets the verdict on the call, and the members that it is about.
func (w *waterfall) judge() {
	r, p := w.root, w.part
	p.Tone = toneOfCall(r)
	var list []culprit
	switch {
	case !r.ended:
		p.Verdict = w.whileInFlight(&list)
	case r.reason == dispatch.ReasonNoProducers:
		p.Verdict = "No producer was registered."
	default:
		p.Verdict = w.afterwards(&list)
	}
	p.Culprits, p.More = first(list, mostCulprits)
	if p.Culprits == nil {
		p.Culprits = []culprit{}
	}
}

func (w *waterfall) whileInFlight(list *[]culprit) string {
	waiting := w.root.waiting()
	for _, m := range waiting {
		text := m.State
		if m.Running >= 0 {
			text = duration(m.Running)
		}
		*list = append(*list, culprit{cut(m.Name, mostName), text})
	}
	since := duration(w.part.Elapsed) + " of " + duration(w.root.budget)
	switch {
	case w.root.waitsFor == 1:
		return "In flight for " + since + "; it waits for 1 more producer."
	case w.root.waitsFor > 0:
		return fmt.Sprintf("In flight for %s; it waits for %s more producers.", since, count(w.root.waitsFor))
	case len(waiting) > 0:
		return "In flight for " + since + ", waiting for"
	case len(w.root.rows) == 0:
		return "In flight for " + since + "; no member has been asked yet."
	}
	return "In flight for " + since + "; all its members have ended, a relay has not returned."
}

// afterwards returns the verdict on a call that has ended. Its text ends with a full stop if no member belongs to it.
func (w *waterfall) afterwards(list *[]culprit) string {
	r := w.root
	var cutOff, late, failed, declined []*row
	for i := range r.rows {
		m := &r.rows[i]
		switch {
		case m.replica:
		case r.cutOff(m):
			cutOff = append(cutOff, m)
		case m.state == dispatch.StateLate: // after its own time
			late = append(late, m)
		case m.state == dispatch.StateDeclined:
			declined = append(declined, m)
		case m.state != dispatch.StateOK:
			failed = append(failed, m)
		}
	}
	after := duration(r.elapsed)
	name := func(rows ...*row) {
		for _, m := range rows {
			text := m.state.String()
			switch {
			case m.state == dispatch.StateLate:
				text = w.lateness(m)
			case r.reason == dispatch.ReasonSatisfied && m.state == dispatch.StateCanceled, m.state == dispatch.StateOK:
				text = duration(m.ended)
			case m.state == dispatch.StateDeclined && r.reason == dispatch.ReasonAllEnded:
				text = "declined after " + duration(m.ended)
			}
			*list = append(*list, culprit{m.key().member.String(), text})
		}
	}
	// without names members after a text that needs some, if there are any.
	without := func(text, before, otherwise string, rows ...*row) string {
		if name(rows...); len(rows) > 0 {
			return text + before
		}
		return text + otherwise
	}
	unfinished := ", though all its members had ended: a relay had not returned."
	switch {
	case r.lacked:
		unfinished = " because there were too few producers."
	case len(r.rows) == 0:
		unfinished = ", before a member was asked."
	}
	const answer = " without an answer from"
	switch r.reason {
	case dispatch.ReasonDeadline:
		slices.SortStableFunc(cutOff, func(a, b *row) int { return cmp.Compare(w.overrun(b), w.overrun(a)) })
		text := "Ended at its deadline of " + duration(r.budget)
		if r.elapsed-r.budget > r.budget/4 { // under WithGrace it goes on
			text = "Ended " + duration(r.elapsed-r.budget) + " after its deadline of " + duration(r.budget)
		}
		if missing := slices.Concat(late, failed); len(cutOff) == 0 && len(missing) > 0 {
			return without(text+" because a relay had not returned,", answer, "", missing...)
		}
		return without(text, answer, unfinished, slices.Concat(cutOff, late, failed)...)
	case dispatch.ReasonAllEnded:
		missing := slices.Concat(late, failed)
		if r.lostToRelays() > 0 {
			after += " because a relay returned only then"
			if len(missing) > 0 {
				after += ","
			}
		}
		if len(missing) > 0 {
			return without("Ended after "+after, answer, "", missing...)
		}
		answered := r.last(func(m *row) bool { return m.state == dispatch.StateOK })
		switch last := r.last(func(*row) bool { return true }); {
		case answered == nil:
			return "Ended after " + after + "; no member had an answer."
		case last.ended > answered.ended:
			return without("Complete after "+after, "; the last to end was", "", last)
		}
		return without("Complete after "+after, "; the last to answer was", "", answered)
	case dispatch.ReasonSatisfied:
		text := "Enough answers after " + after
		last := r.satisfying()
		switch {
		case last == nil:
			return text + "."
		case last.state == dispatch.StateOK, last.state == dispatch.StateCanceled:
			return without(text, "; the last one came from", "", last)
		}
		return without(text, "; the last to end was", "", last)
	case dispatch.ReasonQuorumLost:
		missing := slices.Concat(failed, late, declined)
		slices.SortStableFunc(missing, func(a, b *row) int { return cmp.Compare(b.ended, a.ended) })
		ending := ": it is larger than the number of members."
		if r.left > 0 {
			ending = "." // not all members are known
		}
		return without("Given up after "+after+" because the quorum could not be reached", " without", ending, missing...)
	case dispatch.ReasonFailedFast:
		failed = slices.DeleteFunc(failed, func(m *row) bool { return !m.failed() })
		return without("Given up after "+after, " because of the failure of", " because of a failure.", failed...)
	case dispatch.ReasonStalled:
		return without("Given up after "+after, " because no further result came from", " because no further result came"+unfinished, cutOff...)
	case dispatch.ReasonClosed:
		return without("Cut off after "+after+" because the bus was closed", ","+answer, ".", cutOff...)
	case dispatch.ReasonCanceled:
		return without("Canceled by its sender after "+after, answer, ".", cutOff...)
	}
	return "Ended after " + after + ": " + r.reason.String() + "."
}

// cutOff reports whether a member had not ended when the call ended. A member that was late by its own timeout
// had ended.
func (r *record) cutOff(m *row) bool {
	isCutOff := m.state == dispatch.StateCanceled || m.state == dispatch.StateLate && r.reason == dispatch.ReasonDeadline
	return isCutOff && m.ended >= r.elapsed
}

// satisfying returns the member with which a satisfied call ended, or nil: the last to answer; for First, the
// stream with the result; or a required member that ended later, without an answer.
func (r *record) satisfying() *row {
	answered := r.last(func(m *row) bool { return m.state == dispatch.StateOK && m.results > 0 })
	if answered == nil {
		answered = r.last(func(m *row) bool { return m.state == dispatch.StateCanceled && m.results > 0 })
	}
	last := r.last(func(m *row) bool { return !r.cutOff(m) })
	if last != nil && last.ended >= r.elapsed && (answered == nil || last.ended > answered.ended) {
		return last
	}
	return answered
}

// decisive returns the member that ended a call whose quorum was lost, or that failed fast; nil if there is none.
func (r *record) decisive() *row {
	if r.reason == dispatch.ReasonFailedFast {
		return r.last((*row).failed)
	}
	return r.last(func(m *row) bool { return m.state != dispatch.StateOK && !r.cutOff(m) })
}

// overrun returns for how long a member ran after its end.
func (w *waterfall) overrun(m *row) time.Duration {
	if !w.root.overran(m) {
		return 0
	}
	past, _ := w.past(w.root, m)
	return past
}

func (w *waterfall) lateness(m *row) string {
	if m.started < 0 {
		return "not started"
	}
	past, open := w.past(w.root, m)
	switch {
	case !w.root.overran(m):
		return "late"
	case open:
		return "still running"
	}
	return duration(past) + " late"
}

// toneOfCall returns the state whose color and shape stand for the call.
func toneOfCall(r *record) string {
	if !r.ended {
		return "pending"
	}
	worst := dispatch.StateOK
	for i := range r.rows {
		switch s := r.rows[i].state; s {
		case dispatch.StateFailed, dispatch.StatePanicked, dispatch.StateRejected, dispatch.StateLate:
			if !r.rows[i].replica && (worst == dispatch.StateOK || s == dispatch.StatePanicked) {
				worst = s
			}
		}
	}
	switch r.reason {
	case dispatch.ReasonDeadline:
		return dispatch.StateLate.String()
	case dispatch.ReasonQuorumLost, dispatch.ReasonFailedFast, dispatch.ReasonNoProducers:
		return dispatch.StateFailed.String()
	case dispatch.ReasonCanceled, dispatch.ReasonClosed, dispatch.ReasonStalled:
		return dispatch.StateCanceled.String()
	case dispatch.ReasonSatisfied:
		return dispatch.StateOK.String()
	}
	return worst.String()
}

// waiting returns the members of a call in flight that have not ended: those that run,
// the longest first, then those that wait for their turn.
func (r *record) waiting() []waitingPart {
	var list []waitingPart
	for i := range r.rows {
		w := &r.rows[i]
		if w.replica || w.ended >= 0 {
			continue
		}
		part := waitingPart{Name: w.key().member.String(), State: "queued", Running: unknown}
		if w.started >= 0 {
			part.State, part.Running = "running", max(r.elapsed-w.started, 0)
		}
		list = append(list, part)
	}
	slices.SortStableFunc(list, func(a, b waitingPart) int { return cmp.Compare(b.Running, a.Running) })
	return list
}
