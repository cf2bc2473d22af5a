package dispatchdebug

import (
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// Of plain calls, one is kept in this time.
const keepEvery = 10 * time.Millisecond

// plainCalls are calls of a topic of which only the durations matter: of the calls and of their
// members. There can be very many, so the cost of each must be low. Counting a call and its
// runs touches memory in many places. So the durations are written to one slice, and counted
// for several calls at once.
type plainCalls struct {
	calls int
	took  []uint32      // in nanoseconds: of the call, then of the member in each seat, with the flags below
	width int           // how many durations a call has
	slot  int64         // when they ended
	end   time.Duration // of the newest call, since recording began
	last  dispatch.CallID

	behind int // where the topic is among those that are behind, if calls is not 0
}

const (
	mostPlain  = 64 // calls are counted at once
	plainBytes = 4 * mostPlain
	seatBytes  = 56 + plainBytes

	// Flags of a member. Plain calls are short, so the bits are not used otherwise.
	hasDeclined = 1 << 31
	notStarted  = 1 << 30
)

// seat is the place of a member among those of a topic's calls.
type seat struct {
	member  dispatch.Member
	figures *memberFigures
}

// isPlain reports whether only the durations of a call matter.
func isPlain(report *dispatch.Report) bool {
	if report.Reason != dispatch.ReasonAllEnded || report.Elapsed >= min(leastLoss, report.Budget/4) || len(report.Replicas) > 0 {
		return false
	}
	for i := range report.Outcomes {
		if s := report.Outcomes[i].State; s != dispatch.StateOK && s != dispatch.StateDeclined {
			return false
		}
	}
	return true
}

// plainTopicLocked returns the figures of the topic of a plain call. It returns nil if the call
// cannot be counted as one: it is open, or its members are not those of the call before.
func (a *archive) plainTopicLocked(report *dispatch.Report) *topicFigures {
	if len(a.open) > 0 && a.open[report.Call] != nil {
		return nil
	}
	t := a.recent.next // mostly the same topic as before
	if t == &a.recent || t.name != report.Topic {
		t = a.topics[report.Topic]
	}
	if t == nil || len(t.seats) < len(report.Outcomes) {
		return nil
	}
	for i := range report.Outcomes {
		if m := &report.Outcomes[i].Member; m.Group != "" || t.seats[i].member != *m {
			return nil
		}
	}
	return t
}

// keepPlainLocked keeps a call that has been counted.
func (a *archive) keepPlainLocked(t *topicFigures, report *dispatch.Report) {
	a.foldLocked(t)
	rec := a.blankLocked()
	rec.finish(report)
	rec.fill(slowest(report.Outcomes, mostRows), nil, nil, nil)
	rec.left = len(report.Outcomes) - len(rec.rows)
	rec.settle()
	a.keepLocked(rec, t, false, false)
}

// notePlainLocked writes down the durations of a call, which ended at a time since recording began.
// It reports whether the call is to be kept: if none of its bucket was kept just before.
func (a *archive) notePlainLocked(t *topicFigures, report *dispatch.Report, end time.Duration) (keep bool) {
	p, n, width := &t.plain, slotOf(end), 1+len(report.Outcomes)
	if p.calls == mostPlain || p.slot != n || p.width != width {
		a.foldLocked(t)
	}
	if p.calls == 0 {
		p.behind = len(a.behind)
		a.behind = append(a.behind, t)
		p.slot, p.width = n, width
		a.useLocked(t)
		p.took = slices.Grow(p.took[:0], mostPlain*p.width)
	}
	p.calls++
	p.end, p.last = end, report.Call
	t.budget = report.Budget
	p.took = append(p.took, uint32(report.Elapsed))
	for i := range report.Outcomes {
		took := uint32(notStarted)
		o := &report.Outcomes[i]
		if o.Started {
			took = uint32(max(o.Elapsed-o.Began, 0))
		}
		if o.State == dispatch.StateDeclined {
			took |= hasDeclined
		}
		p.took = append(p.took, took)
	}
	b := latencyBucket(report.Elapsed)
	if t.kept[b].n > 0 && end-t.newest[b] < keepEvery {
		t.counts[b]++
		return false
	}
	return true
}

// foldLocked counts the plain calls of a topic that were written down.
func (a *archive) foldLocked(t *topicFigures) {
	p := &t.plain
	if p.calls == 0 {
		return
	}
	a.countInLocked(p.slot, totals{Calls: uint64(p.calls)})
	grown, end := -t.took.bytes(), a.began.Add(p.end)
	for i := 0; i < len(p.took); i += p.width {
		t.count(time.Duration(p.took[i]), p.slot, false, false)
		for _, h := range []*history{&t.noProducers, &t.relays.newest, &t.lacking.newest} {
			h.add(false)
		}
	}
	grown += t.took.bytes()
	t.lastCall = p.last
	for i := range p.width - 1 {
		f := t.seats[i].figures
		before := f.took.bytes()
		f.addPlain(p, i+1, end)
		more := f.took.bytes() - before
		f.bytes += more
		grown += more
	}
	a.grewLocked(t, grown)
	p.calls = 0
	last := len(a.behind) - 1
	a.behind[last].plain.behind = p.behind
	a.behind[p.behind], a.behind[last] = a.behind[last], nil
	a.behind = a.behind[:last]
}

// catchUp counts all plain calls, before figures are shown.
func (a *archive) catchUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.behind) > 0 {
		a.foldLocked(a.behind[len(a.behind)-1])
	}
}

// addPlain counts the runs of a member in plain calls, the newest of which has ended then. Their
// durations are those at place i of each call.
func (f *memberFigures) addPlain(p *plainCalls, i int, end time.Time) {
	f.runs += uint64(p.calls)
	for _, h := range []*history{&f.late, &f.failed, &f.panicked, &f.delayed, &f.queued, &f.unknown} {
		*h <<= p.calls
	}
	f.minute.turn(p.slot, &f.took)
	f.minute.at(p.slot).runs += uint32(p.calls)
	for ; i < len(p.took); i += p.width {
		took := p.took[i]
		if f.lastState = dispatch.StateOK; took&hasDeclined != 0 {
			f.lastState = dispatch.StateDeclined
		}
		if took&notStarted == 0 {
			f.last = time.Duration(took &^ hasDeclined)
			f.took.add(f.last, false)
		}
	}
	f.lastCall, f.lastRun, f.lastAnswer = p.last, end, end
}

// slowest returns the n outcomes that ended last, in their order.
func slowest(outcomes []dispatch.Outcome, n int) []dispatch.Outcome {
	if len(outcomes) <= n {
		return outcomes
	}
	ends := make([]time.Duration, len(outcomes))
	for i := range outcomes {
		ends[i] = outcomes[i].Elapsed
	}
	slices.Sort(ends)
	limit := ends[len(ends)-n]
	ties := n
	for _, end := range ends[len(ends)-n:] {
		if end > limit {
			ties--
		}
	}
	some := make([]dispatch.Outcome, 0, n)
	for i := range outcomes {
		switch end := outcomes[i].Elapsed; {
		case end > limit:
		case end == limit && ties > 0:
			ties--
		default:
			continue
		}
		some = append(some, outcomes[i])
	}
	return some
}
