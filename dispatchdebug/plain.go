package dispatchdebug

import (
	"math"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// Of calls of which there is nothing to tell, one is kept in this time.
const keepEvery = 10 * time.Millisecond

// plainCalls are calls of a topic of which there is nothing to tell but how long their members
// took. There can be very many, and they must cost next to nothing: to count a run with its
// member needs memory in many places. So what the runs took is written down, call by call,
// and counted for several calls at once.
type plainCalls struct {
	calls int
	took  []uint32 // in nanoseconds, of the member in each seat; notStarted if it was not
	width int      // how many seats a call has
	slot  int64    // when they ended
	end   time.Time

	behind int // where the topic is among those that are behind, if calls is not 0
}

const (
	mostPlain  = 16 // calls are counted at once
	plainBytes = 4 * mostPlain
	seatBytes  = 56 + plainBytes
	notStarted = math.MaxUint32
)

// seat is the place of a member among those of a topic's calls.
type seat struct {
	member  dispatch.Member
	figures *memberFigures
}

// isPlain reports whether there is nothing to tell of a call but how long its members took.
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

// addPlainLocked counts a call of which there is nothing to tell but how long its members
// took, and keeps it if none of the kind was kept just before. It does nothing, and returns
// false, if the members are not those of the call before.
func (a *archive) addPlainLocked(report *dispatch.Report) bool {
	t := a.topics[report.Topic]
	if t == nil || len(t.seats) < len(report.Outcomes) {
		return false
	}
	for i := range report.Outcomes {
		if m := &report.Outcomes[i].Member; m.Group != "" || t.seats[i].member != *m {
			return false
		}
	}
	end := report.Started.Add(report.Elapsed)
	a.useLocked(t)
	a.notePlainLocked(t, report, end)
	a.countLocked(end, totals{Calls: 1})
	before := t.took.bytes()
	t.count(report.Elapsed, a.slotAt(end), false, false)
	t.noProducers.add(false)
	t.lastEnd, t.budget = end, report.Budget
	a.grewLocked(t, t.took.bytes()-before)
	b := latencyBucket(report.Elapsed)
	if t.kept[b].n > 0 && end.Sub(t.kept[b].newest.record.end()) < keepEvery {
		t.counts[b]++
		return true
	}
	a.keepPlainLocked(t, report)
	return true
}

// keepPlainLocked keeps a call that has been counted.
func (a *archive) keepPlainLocked(t *topicFigures, report *dispatch.Report) {
	a.foldLocked(t)
	for i := range report.Outcomes {
		f, o := t.seats[i].figures, &report.Outcomes[i]
		f.last, f.lastState, f.lastCall = max(o.Elapsed-o.Began, 0), o.State, report.Call
	}
	t.lastCall = report.Call
	rec := a.blankLocked()
	rec.finish(report)
	rec.fill(slowest(report.Outcomes, mostRows), nil, nil, nil)
	rec.left = len(report.Outcomes) - len(rec.rows)
	rec.settle()
	a.keepLocked(rec, t, false, false)
}

// notePlainLocked writes down what the runs of a call took.
func (a *archive) notePlainLocked(t *topicFigures, report *dispatch.Report, end time.Time) {
	p, n := &t.plain, a.slotAt(end)
	if p.calls == mostPlain || p.slot != n || p.width != len(report.Outcomes) {
		a.foldLocked(t)
	}
	if p.calls == 0 {
		p.behind = len(a.behind)
		a.behind = append(a.behind, t)
		p.slot, p.width = n, len(report.Outcomes)
		p.took = slices.Grow(p.took[:0], mostPlain*p.width)
	}
	p.calls++
	p.end = end
	for i := range report.Outcomes {
		took := uint32(notStarted)
		if o := &report.Outcomes[i]; o.Started {
			took = uint32(max(o.Elapsed-o.Began, 0))
		}
		p.took = append(p.took, took)
	}
}

// foldLocked counts with the members of a topic what was written down.
func (a *archive) foldLocked(t *topicFigures) {
	p := &t.plain
	if p.calls == 0 {
		return
	}
	grown := 0
	for i := range p.width {
		f := t.seats[i].figures
		before := f.took.bytes()
		f.addPlain(p, i)
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

// catchUp counts all that was written down, before figures are shown.
func (a *archive) catchUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.behind) > 0 {
		a.foldLocked(a.behind[len(a.behind)-1])
	}
}

// addPlain counts the runs of plain calls of the member in seat i.
func (f *memberFigures) addPlain(p *plainCalls, i int) {
	f.runs += uint64(p.calls)
	for _, h := range []*history{&f.late, &f.failed, &f.panicked, &f.delayed, &f.queued} {
		*h <<= p.calls
	}
	f.minute.turn(p.slot, &f.took)
	f.minute.at(p.slot).runs += uint32(p.calls)
	for ; i < len(p.took); i += p.width {
		if took := p.took[i]; took != notStarted {
			f.took.add(time.Duration(took), false)
		}
	}
	f.lastRun, f.lastAnswer = p.end, p.end
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
