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
	case w.root.waitsFor > 0:
		return fmt.Sprintf("In flight for %s; it waits for %s more producers.", since, count(w.root.waitsFor))
	case len(waiting) > 0:
		return "In flight for " + since + ", waiting for"
	case len(w.root.rows) == 0:
		return "In flight for " + since + "; no member has been asked yet."
	}
	return "In flight for " + since + "; all its members have ended, a relay has not returned."
}

func (w *waterfall) afterwards(list *[]culprit) string {
	var late, canceled, failed, answered []*row
	for i := range w.root.rows {
		m := &w.root.rows[i]
		switch {
		case m.replica:
		case m.state == dispatch.StateLate:
			late = append(late, m)
		case m.state == dispatch.StateCanceled:
			canceled = append(canceled, m)
		case m.state == dispatch.StateFailed, m.state == dispatch.StatePanicked, m.state == dispatch.StateRejected, m.state == dispatch.StateGone:
			failed = append(failed, m)
		case m.state == dispatch.StateOK:
			answered = append(answered, m)
		}
	}
	after := duration(w.root.elapsed)
	name := func(rows []*row) {
		for _, m := range rows {
			text := m.state.String()
			switch m.state {
			case dispatch.StateOK:
				text = duration(m.ended)
			case dispatch.StateLate:
				text = w.lateness(m)
			}
			*list = append(*list, culprit{m.key().member.String(), text})
		}
	}
	slowest := func() {
		if len(answered) > 0 {
			name([]*row{slices.MaxFunc(answered, func(a, b *row) int { return cmp.Compare(a.ended, b.ended) })})
		}
	}
	switch w.root.reason {
	case dispatch.ReasonDeadline:
		slices.SortStableFunc(late, func(a, b *row) int { return cmp.Compare(w.overrun(b), w.overrun(a)) })
		name(late)
		name(failed)
		return "Ended at its deadline of " + duration(w.root.budget) + " without an answer from"
	case dispatch.ReasonAllEnded:
		name(late) // after their own time
		name(failed)
		if len(late)+len(failed) > 0 {
			return "Ended after " + after + " without an answer from"
		}
		if slowest(); len(answered) == 0 {
			return "Ended after " + after + "; no member had an answer."
		}
		return "Complete after " + after + "; the last to answer was"
	case dispatch.ReasonSatisfied:
		slowest()
		return "Enough answers after " + after + "; the last one came from"
	case dispatch.ReasonQuorumLost:
		name(failed)
		return "Given up after " + after + " because the quorum could not be reached without"
	case dispatch.ReasonFailedFast:
		name(failed)
		return "Given up after " + after + " because of the failure of"
	case dispatch.ReasonStalled:
		name(canceled)
		return "Given up after " + after + " because no further result came from"
	case dispatch.ReasonClosed:
		name(canceled)
		return "Cut off after " + after + " because the bus was closed, without an answer from"
	case dispatch.ReasonCanceled:
		if name(canceled); len(canceled) > 0 {
			return "Canceled by its sender after " + after + " without an answer from"
		}
		return "Canceled by its sender after " + after + "."
	}
	return "Ended after " + after + ": " + w.root.reason.String() + "."
}

// overrun returns for how long a member ran after the end of the call.
func (w *waterfall) overrun(m *row) time.Duration {
	if !m.neverReturned {
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
	case !m.neverReturned:
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
