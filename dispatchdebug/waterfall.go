package dispatchdebug

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

const (
	mostRowsShown   = 500
	deepestShown    = 8
	mostInOrder     = 50 // rows; beyond it those in trouble and the longest come first
	mostCulprits    = 5
	returnsUnnoted  = time.Second // when a late run must be abandoned, or have returned unseen
	mostStretching  = 2           // times the call's own time, if something happened after its end
	deadlineInSight = 3           // times the time until the last event, if the deadline is not later
)

// A waterfall makes the rows of a call and of its nested calls, on one time line that begins with
// the call.
type waterfall struct {
	*view
	root     *record
	part     *callPart
	right    time.Duration // how far to the right something is
	critical bool          // whether the rows that are added are on the critical path
}

// call describes one call in full.
func (v *view) call(q query) *callPart {
	part := &callPart{
		ID: q.Call, Query: q.Search, Sort: q.Sort, Only: q.Only, Budget: unknown,
		Culprits: []culprit{}, Ticks: []tick{}, Rows: []rowPart{}, Heard: []heardPart{}, States: []stateCountPart{},
	}
	r := v.record(q.Call, true)
	if r == nil {
		return part
	}
	w := &waterfall{view: v, root: r, part: part, critical: true}
	if part.Only != "critical" {
		part.Only = ""
	}
	part.Known, part.Topic, part.Parent, part.Started, part.Budget = true, r.topic, r.parent, r.started, r.budget
	part.InFlight, part.Elapsed, part.Reason, part.Left = !r.ended, r.elapsed, r.reason.String(), r.left
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

// rowOrders are the ways in which the members of a call can be sorted.
var rowOrders = map[string]func(a, b *row) int{
	"order":    func(*row, *row) int { return 0 },
	"duration": compareRows,
	"name":     func(a, b *row) int { return cmp.Compare(a.key().member.String(), b.key().member.String()) },
	"state":    func(a, b *row) int { return cmp.Compare(b.state, a.state) },
}

// sort orders the members of the call, and removes those that do not match the search.
func (w *waterfall) sort(rows []*row) []*row {
	order := rowOrders[w.part.Sort]
	if order == nil {
		if w.part.Sort = "order"; len(rows) > mostInOrder {
			w.part.Sort = "duration"
		}
		order = rowOrders[w.part.Sort]
	}
	rows = slices.DeleteFunc(rows, func(m *row) bool {
		return !matches(w.part.Query, m.key().member.String(), m.word(), w.text(m.err))
	})
	w.part.Matching = len(rows)
	slices.SortStableFunc(rows, order)
	return rows
}

// text returns the text of an error if it may be searched.
func (v *view) text(err string) string {
	if v.sensitive {
		return err
	}
	return ""
}

// add appends the rows of a call, which began at offset.
func (w *waterfall) add(r *record, offset time.Duration, indent int) {
	rows := make([]*row, 0, len(r.rows))
	replicas := make(map[string][]*row)
	for i := range r.rows {
		if m := &r.rows[i]; m.replica {
			replicas[m.member.Group] = append(replicas[m.member.Group], m)
		} else {
			rows = append(rows, m)
		}
	}
	if indent == 0 {
		for _, m := range rows {
			w.tally(m.word())
		}
		rows = w.sort(rows)
	}
	bySender := make(map[dispatch.Member][]*record)
	if indent < 2*deepestShown {
		for _, id := range r.children {
			child := w.record(id, false)
			if child == nil || child.parentTopic != "" && child.parentTopic != r.topic {
				continue
			}
			if !child.ended {
				child.sender = w.senderOf(r, child)
			}
			bySender[child.sender] = append(bySender[child.sender], child)
		}
	}
	critical := w.critical
	waitedFor := r.waitedFor()
	defer func() { w.critical = critical }()
	for _, m := range rows {
		w.critical = critical && waitedFor(m)
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
	w.critical = critical && !r.ended // their senders are not known
	for sender := range bySender {
		w.nested(bySender, sender, r, offset, indent+1)
	}
}

// senderOf returns the member of r that has sent a call in flight, as far as it is known: the only one
// that runs, or one that has sent calls to that topic before.
func (w *waterfall) senderOf(r, child *record) (sender dispatch.Member) {
	running := 0
	a := w.recorder.archive
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range r.rows {
		m := &r.rows[i]
		if m.state != dispatch.StatePending || m.started < 0 {
			continue
		}
		if f := a.memberFigures(r.topic, m.member); f != nil && slices.Contains(f.sends, child.topic) {
			return m.member
		}
		if running++; running == 1 {
			sender = m.member
		} else {
			sender = dispatch.Member{}
		}
	}
	return sender
}

func (w *waterfall) tally(state string) {
	for i := range w.part.States {
		if w.part.States[i].State == state {
			w.part.States[i].Count++
			return
		}
	}
	w.part.States = append(w.part.States, stateCountPart{state, 1})
}

// nested appends the calls that a member has sent.
func (w *waterfall) nested(bySender map[dispatch.Member][]*record, sender dispatch.Member, parent *record, offset time.Duration, indent int) {
	children := bySender[sender]
	delete(bySender, sender)
	critical := w.critical
	defer func() { w.critical = critical }()
	for _, child := range children {
		w.critical = critical && child == lastOf(children)
		at := offset + max(child.started.Sub(parent.started), 0)
		elapsed := child.elapsed
		part := rowPart{
			Key: "call " + child.id.String(), Kind: "call", Indent: indent, Name: child.topic, Call: child.id,
			State: toneOfCall(child), Text: child.reason.String() + " · " + duration(elapsed),
			Deadline: deadline(at, child.budget), End: at + elapsed, Open: !child.ended,
			Bars: []bar{{Kind: "call", Start: at, Length: elapsed, Open: !child.ended, Text: "nested call, " + duration(elapsed)}},
		}
		if !w.append(part) {
			return
		}
		w.right = max(w.right, min(at+elapsed, mostStretching*w.part.Elapsed))
		w.add(child, at, indent+1)
	}
}

// deadline returns the deadline of a call that began at offset, which may be later than any duration.
func deadline(offset, budget time.Duration) time.Duration {
	if budget < 0 {
		return unknown
	}
	return offset + min(budget, math.MaxInt64-offset)
}

// lastOf returns the call that ended last, or is in flight.
func lastOf(list []*record) *record {
	return slices.MaxFunc(list, func(a, b *record) int {
		if a.ended != b.ended {
			if b.ended {
				return 1
			}
			return -1
		}
		return a.end().Compare(b.end())
	})
}

// waitedFor returns which rows the end of the call waited for, or waits for: the members that were
// cut off at its end, or else the last one.
func (r *record) waitedFor() func(*row) bool {
	if !r.ended {
		return func(m *row) bool { return m.state == dispatch.StatePending }
	}
	var last *row
	switch r.reason {
	case dispatch.ReasonDeadline, dispatch.ReasonCanceled, dispatch.ReasonStalled, dispatch.ReasonClosed:
		return r.cutOff
	case dispatch.ReasonSatisfied:
		last = r.satisfying()
	case dispatch.ReasonQuorumLost, dispatch.ReasonFailedFast:
		last = r.decisive()
	default:
		if r.lostToRelays() == 0 {
			last = r.last(func(*row) bool { return true })
		}
	}
	return func(m *row) bool { return m == last }
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

// hear sums up the callbacks of each listener.
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
