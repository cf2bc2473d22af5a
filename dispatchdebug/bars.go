package dispatchdebug

import (
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// append reports whether there was room for the row, and for what belongs to it.
func (w *waterfall) append(p rowPart) bool {
	p.Critical = w.critical
	if w.part.Only == "critical" && !p.Critical {
		return false
	}
	if len(w.part.Rows) >= mostRowsShown {
		if p.Indent == 0 {
			w.part.Left++
		}
		return false
	}
	w.part.Rows = append(w.part.Rows, p)
	return true
}

// row appends the row of one member of r.
func (w *waterfall) row(r *record, m *row, offset time.Duration, indent int) bool {
	elapsed := r.elapsed
	part := rowPart{
		Key: r.id.String() + " " + m.key().member.String(), Kind: "member", Indent: indent, Name: m.key().member.String(), State: m.word(),
		Bars: []bar{}, Results: m.results, Deadline: deadline(offset, r.budget), End: offset + elapsed, Open: !r.ended,
	}
	if m.replica {
		part.Kind, part.Name = "replica", dispatch.Member{Node: m.member.Node, Name: m.member.Name}.String()
		part.Key = r.id.String() + " " + m.member.String() + " replica"
	}
	if w.sensitive {
		part.Error, part.Stack, part.Summary = m.err, m.stack, m.summary
	}
	add := func(kind string, from, to time.Duration, open bool, text string) {
		part.Bars = append(part.Bars, bar{Kind: kind, Start: offset + from, Length: max(to-from, 0), Open: open, Text: text})
	}
	ended := m.ended
	if ended < 0 {
		ended = elapsed
	}
	switch {
	case m.started < 0 && m.state == dispatch.StatePending:
		add("queued", 0, elapsed, true, "queued for "+duration(elapsed))
		part.Text = "waits for its turn, " + duration(elapsed)
	case m.started < 0:
		add("queued", 0, ended, false, "not started")
		part.Text = "not started"
	default:
		if m.started > 0 {
			add("queued", 0, m.started, false, "queued for "+duration(m.started))
		}
		part.Text = duration(max(ended-m.started, 0))
		add("running", m.started, ended, m.ended < 0, "ran for "+part.Text)
		if m.ended < 0 {
			part.Text += " so far"
		}
		if r.overran(m) {
			past, open := w.past(r, m)
			if past > 0 {
				add("late", ended, ended+past, open, "went on for "+duration(past))
				w.right = max(w.right, min(offset+ended+past, mostStretching*w.part.Elapsed))
			}
			part.Text = overrunText(m.state, past, open)
		}
	}
	if !m.replica && m.member.Group != "" && m.member.Name != "" && m.state == dispatch.StateOK {
		part.Text += ", by " + m.member.Name
	}
	for i := range r.listening {
		l := &r.listening[i]
		if l.member == m.member && (m.replica || m.member.Group == "" || m.member.Node != "") {
			text := l.listener + " listened for " + duration(l.took)
			if l.panicked {
				text += " and panicked"
			}
			add("listener", l.started, l.started+l.took, false, text)
			w.right = max(w.right, min(offset+l.started+l.took, mostStretching*w.part.Elapsed))
		}
	}
	return w.append(part)
}

// overrunText says, behind the word of the state, how long a run went on after its member
// had ended.
func overrunText(s dispatch.State, past time.Duration, open bool) string {
	text := "went on for " + duration(past)
	if s == dispatch.StateLate {
		text = "by " + duration(past)
	}
	if open {
		text += " so far"
	}
	return text
}

// overran reports whether a run of the member went on after the member had ended: at the end of its call, at its
// own timeout, or because another replica had answered. Of a member of a relay it is known only at the end of the call.
func (r *record) overran(m *row) bool {
	if m.started < 0 || m.state != dispatch.StateLate && m.state != dispatch.StateCanceled {
		return false
	}
	return m.returned >= 0 || m.neverReturned && (m.member.Node == "" || r.cutOff(m))
}

// past returns for how long a run has gone on after the end of its member, and whether
// it still does. The runs of a group are those of its replicas.
func (w *waterfall) past(r *record, m *row) (past time.Duration, open bool) {
	if m.member.Group != "" && m.member.Node == "" && !m.replica {
		at := m.ended
		for i := range r.rows {
			if one := &r.rows[i]; one.replica && one.member.Group == m.member.Group && r.overran(one) {
				after, goesOn := w.past(r, one)
				at, open = max(at, one.ended+after), open || goesOn
			}
		}
		return at - m.ended, open
	}
	if m.returned >= 0 {
		return max(m.returned-m.ended, 0), false
	}
	if !r.ended {
		return max(r.elapsed-m.ended, 0), true
	}
	if age, ok := w.bus.abandoned[abandonedKey{r.id, m.member}]; ok {
		return max(r.elapsed+age-m.ended, 0), true
	}
	if age := w.now.Sub(r.end()); age <= returnsUnnoted {
		return max(r.elapsed+age-m.ended, 0), true
	}
	return 0, false // the run has returned, and the event was lost
}
