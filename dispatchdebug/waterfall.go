package dispatchdebug

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

const (
	mostRowsShown   = 500
	deepestShown    = 8
	mostInOrder     = 40 // rows; beyond it those in trouble come first
	mostCulprits    = 5
	returnsUnnoted  = time.Second // when a late run must be abandoned, or have returned unseen
	mostStretching  = 2           // times the call's own time, by what came after its end
	deadlineInSight = 3           // times what there is to see, if the deadline is no further off
)

// A waterfall is made of the records of a call and of those sent from inside it, on
// one time line that begins with the call.
type waterfall struct {
	*view
	root  *record
	part  *callPart
	right time.Duration // how far to the right something is
}

// call describes one call in full.
func (v *view) call(id dispatch.CallID) *callPart {
	part := &callPart{ID: id, Culprits: []culprit{}, Ticks: []tick{}, Rows: []rowPart{}, Heard: []heardPart{}, States: []stateCountPart{}}
	r := v.record(id)
	if r == nil {
		return part
	}
	w := &waterfall{view: v, root: r, part: part}
	part.Known, part.Topic, part.Parent, part.Started, part.Budget = true, r.topic, r.parent, r.started, r.budget
	part.InFlight, part.Elapsed, part.Reason, part.Left = !r.ended, v.elapsed(r), r.reason.String(), r.left
	if v.sensitive {
		part.Request = r.request
	}
	w.right = part.Elapsed
	w.add(r, 0, 0)
	w.judge()
	w.hear()
	w.scale()
	return part
}

func (v *view) record(id dispatch.CallID) *record {
	if r := v.recorder.inFlight(id); r != nil {
		return r
	}
	return v.recorder.kept(id)
}

// elapsed is how long a call took, or has taken so far.
func (v *view) elapsed(r *record) time.Duration {
	if r.ended {
		return r.elapsed
	}
	return max(v.now.Sub(r.started), 0)
}

// add appends the rows of a call, which began at offset.
func (w *waterfall) add(r *record, offset time.Duration, indent int) {
	rows := make([]*row, 0, len(r.rows)+len(r.asked))
	replicas := make(map[string][]*row)
	seen := make(map[dispatch.Member]bool, len(r.rows))
	for i := range r.rows {
		if m := &r.rows[i]; m.replica {
			replicas[m.member.Group] = append(replicas[m.member.Group], m)
		} else {
			rows = append(rows, m)
			seen[m.key().member] = true
		}
	}
	if !r.ended && len(r.rows) < mostRuns {
		order := make(map[dispatch.Member]int, len(r.asked))
		for i, m := range r.asked {
			m := keyOf(m, false).member
			order[m] = i
			if !seen[m] {
				rows = append(rows, &row{member: m, started: unknown, ended: unknown, returned: unknown})
			}
		}
		for _, m := range rows {
			m.order = len(order) // members elsewhere come behind all others
			if i, ok := order[m.key().member]; ok {
				m.order = i
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b *row) int { return cmp.Compare(a.order, b.order) })
	if len(rows) > mostInOrder {
		slices.SortStableFunc(rows, func(a, b *row) int { return cmp.Compare(a.peace(), b.peace()) })
	}
	bySender := make(map[dispatch.Member][]*record)
	if indent < 2*deepestShown {
		for _, id := range r.children {
			if child := w.record(id); child != nil {
				bySender[child.sender] = append(bySender[child.sender], child)
			}
		}
	}
	for _, m := range rows {
		if indent == 0 {
			w.tally(m.state)
		}
		if !w.row(r, m, offset, indent) {
			continue
		}
		if m.member.Group != "" && m.member.Node == "" {
			for _, replica := range replicas[m.member.Group] {
				if w.row(r, replica, offset, indent+1) {
					w.nested(bySender, replica.member, r, offset, indent+2)
				}
			}
		}
		w.nested(bySender, m.member, r, offset, indent+1)
	}
	for sender := range bySender {
		w.nested(bySender, sender, r, offset, indent+1)
	}
}

// peace orders rows: those in trouble first.
func (w *row) peace() int {
	if w.troubled() {
		return 0
	}
	return 1
}

func (w *waterfall) tally(s dispatch.State) {
	for i := range w.part.States {
		if w.part.States[i].State == s.String() {
			w.part.States[i].Count++
			return
		}
	}
	w.part.States = append(w.part.States, stateCountPart{s.String(), 1})
}

// nested appends the calls that a member has sent.
func (w *waterfall) nested(bySender map[dispatch.Member][]*record, sender dispatch.Member, parent *record, offset time.Duration, indent int) {
	children := bySender[sender]
	delete(bySender, sender)
	for _, child := range children {
		at := offset + max(child.started.Sub(parent.started), 0)
		elapsed := w.elapsed(child)
		part := rowPart{
			Key: "call " + child.id.String(), Kind: "call", Indent: indent, Name: child.topic, Call: child.id,
			State: toneOfCall(child), Text: child.reason.String() + " · " + duration(elapsed),
			Deadline: at + child.budget, End: at + elapsed, Open: !child.ended,
			Bars: []bar{{Kind: "call", Start: at, Length: elapsed, Open: !child.ended, Text: "nested call, " + duration(elapsed)}},
		}
		if !w.append(part) {
			return
		}
		w.right = max(w.right, min(at+elapsed, mostStretching*w.part.Elapsed))
		w.add(child, at, indent+1)
	}
}

// append reports whether there was room for the row.
func (w *waterfall) append(p rowPart) bool {
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
	elapsed := w.elapsed(r)
	part := rowPart{
		Key: r.id.String() + " " + m.key().member.String(), Kind: "member", Indent: indent, Name: m.key().member.String(), State: m.state.String(),
		Bars: []bar{}, Results: m.results, Deadline: offset + r.budget, End: offset + elapsed, Open: !r.ended,
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
		part.State, part.Text = "queued", "waits for its turn, "+duration(elapsed)
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
		if m.neverReturned && r.ended {
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

// overrunText says, behind the word of the state, how long a run went on after the end
// of its call.
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

// past returns for how long a run has gone on after the end of its call, and whether
// it still does.
func (w *waterfall) past(r *record, m *row) (past time.Duration, open bool) {
	if m.returned >= 0 {
		return max(m.returned-r.elapsed, 0), false
	}
	if age, ok := w.bus.abandoned[abandonedKey{r.id, m.member}]; ok {
		return age + max(w.now.Sub(w.bus.taken), 0), true
	}
	past = w.now.Sub(r.started.Add(r.elapsed))
	if past > returnsUnnoted {
		return 0, false // it has returned, and the word of it was lost
	}
	return past, true
}

// scale sets the time at the right edge, and the ticks.
func (w *waterfall) scale() {
	p := w.part
	right := max(w.right, time.Microsecond)
	p.Within = p.Budget > 0 && p.Budget <= deadlineInSight*right
	if p.InFlight && !p.Within {
		right = niceAbove(right)
	}
	if p.Within {
		right = max(right, p.Budget)
	}
	p.Scale = right + right/25
	step := niceAbove(p.Scale / 8)
	for at := time.Duration(0); at < p.Scale-p.Scale/12; at += step {
		p.Ticks = append(p.Ticks, tick{at, duration(at), p.Scale})
	}
	for i := range p.Rows {
		row := &p.Rows[i]
		row.scale = p.Scale
		for k := range row.Bars {
			row.Bars[k].scale = p.Scale
		}
	}
}

// niceAbove returns the next of 1, 2, 5, 10, 20, 50, … nanoseconds.
func niceAbove(d time.Duration) time.Duration {
	for unit := time.Duration(1); ; unit *= 10 {
		for _, n := range []time.Duration{1, 2, 5} {
			if n*unit >= d || unit > time.Duration(1)<<58 {
				return n * unit
			}
		}
	}
}

// hear sums up what the listeners made of the call.
func (w *waterfall) hear() {
	at := make(map[string]int)
	for i := range w.root.listening {
		l := &w.root.listening[i]
		k, ok := at[l.listener]
		if !ok {
			k = len(w.part.Heard)
			at[l.listener] = k
			w.part.Heard = append(w.part.Heard, heardPart{Name: l.listener})
		}
		h := &w.part.Heard[k]
		h.Calls++
		h.Total += l.took
		h.Longest = max(h.Longest, l.took)
		if l.panicked {
			h.Panicked++
		}
	}
	slices.SortStableFunc(w.part.Heard, func(a, b heardPart) int { return cmp.Compare(b.Total, a.Total) })
	for i := range w.part.Heard {
		h := &w.part.Heard[i]
		h.Share = float64(h.Total) / float64(max(w.part.Heard[0].Total, 1))
	}
}
