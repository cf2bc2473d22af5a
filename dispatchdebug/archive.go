package dispatchdebug

import (
	"sync"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// Bounds for calls in flight.
const (
	mostOpen  = 4096 // open calls
	openFor   = 10 * time.Second
	mostEnded = 1 << 14 // calls that are known to have ended
)

// An archive keeps a bounded number of calls that have ended, and figures of topics, members and
// listeners.
type archive struct {
	perBucket, mostBytes int
	began                time.Time

	mu sync.Mutex // guards the fields below, and all records and figures

	records map[dispatch.CallID]*record // that have ended and are kept
	open    map[dispatch.CallID]*record // calls with events before their end
	order   [buckets]chain              // of all topics, the oldest first
	swept   time.Time                   // when old ones were last dropped from open
	ended   [mostEnded]dispatch.CallID  // the newest calls that have ended, by ID modulo its length
	bytes   int                         // of the calls that are kept
	letGo   uint64                      // calls that were dropped
	lost    uint64                      // events that were dropped because there were too many open calls
	topics  map[string]*topicFigures
	recent  topicFigures // the head of a ring of topics, the most recently used one next
	figures int          // bytes of all figures
	members int          // of all topics
	pins    int          // of members' runs that have not returned
	viewed  []dispatch.CallID
	totals  totals
	minute  [slots]totals
	newest  int64 // the slot that was counted in last
	idle    []*record
	behind  []*topicFigures // topics with plain calls that the figures of their members do not contain yet
}

func newArchive(perBucket, mostBytes int, began time.Time) *archive {
	a := &archive{
		perBucket: perBucket, mostBytes: mostBytes, began: began,
		records: make(map[dispatch.CallID]*record), open: make(map[dispatch.CallID]*record), topics: make(map[string]*topicFigures),
	}
	a.recent.previous, a.recent.next = &a.recent, &a.recent
	for i := range a.order {
		a.order[i].init()
	}
	return a
}

// slotAt returns the number of the slot that a time falls into.
func (a *archive) slotAt(t time.Time) int64 { return slotOf(t.Sub(a.began)) }

// countLocked counts what happened at t.
func (a *archive) countLocked(t time.Time, what totals) { a.countInLocked(a.slotAt(t), what) }

// countInLocked counts what happened in a slot.
func (a *archive) countInLocked(n int64, what totals) {
	a.totals.add(what)
	for ; a.newest < n; a.newest++ {
		if n-a.newest > slots {
			a.newest = n - slots
		}
		a.minute[(a.newest+1)%slots] = totals{}
	}
	a.minute[max(n, a.newest-slots+1, 0)%slots].add(what)
}

// listenersPanicked counts panics of listeners that were seen at t, and happened in the minute before or earlier.
func (a *archive) listenersPanicked(t time.Time, times uint64, lately bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if lately {
		a.countLocked(t, totals{Panics: times})
	} else {
		a.totals.Panics += times
	}
}

// lastMinuteLocked returns what happened in the minute before t.
func (a *archive) lastMinuteLocked(t time.Time) (sum totals) {
	a.countLocked(t, totals{})
	for _, one := range a.minute {
		sum.add(one)
	}
	return sum
}

// openLocked returns the record of a call that has not ended. It makes the record if there is none,
// and returns nil if there are too many, or if the call has ended: events that come after its end then find no record.
func (a *archive) openLocked(id dispatch.CallID) *record {
	if rec := a.open[id]; rec != nil {
		return rec
	}
	if a.ended[id%mostEnded] == id {
		return nil
	}
	now := time.Now()
	if len(a.open) >= mostOpen && now.Sub(a.swept) >= openFor/10 {
		a.swept = now
		for id, rec := range a.open {
			if now.Sub(rec.noted) > openFor {
				delete(a.open, id)
			}
		}
	}
	if len(a.open) >= mostOpen {
		a.lost++
		return nil
	}
	rec := a.blankLocked()
	rec.id, rec.noted = id, now
	a.open[id] = rec
	return rec
}

// takeLocked returns the record of a call that ends.
func (a *archive) takeLocked(id dispatch.CallID) *record {
	a.endedLocked(id)
	if rec := a.open[id]; rec != nil {
		delete(a.open, id)
		return rec
	}
	return a.blankLocked()
}

func (a *archive) endedLocked(id dispatch.CallID) { a.ended[id%mostEnded] = id }

// blankLocked returns an empty record, in the memory of an old one if possible.
func (a *archive) blankLocked() (rec *record) {
	if n := len(a.idle); n > 0 {
		rec, a.idle = a.idle[n-1], a.idle[:n-1]
	} else {
		rec = new(record)
	}
	rec.budget = unknown
	return rec
}

// recycleLocked keeps the memory of a record for the next call.
func (a *archive) recycleLocked(rec *record) {
	const mostIdle = 16
	if len(a.idle) >= mostIdle {
		return
	}
	clear(rec.rows)
	clear(rec.listening)
	*rec = record{rows: rec.rows[:0], listening: rec.listening[:0], children: rec.children[:0]}
	a.idle = append(a.idle, rec)
}

// nestLocked notes a call at the call that it was sent from, which usually has not ended.
func (a *archive) nestLocked(child *record) {
	a.sentLocked(child)
	parent := a.records[child.parent]
	if parent != nil && parent.topic != child.parentTopic {
		return // a call of another bus
	}
	if parent == nil {
		parent = a.openLocked(child.parent)
	}
	if parent != nil && len(parent.children) < mostChildren {
		parent.children = append(parent.children, child.id)
		if parent.ended {
			a.grownLocked(parent)
		}
	}
}

// sentLocked notes at a member of which topic a call is that it has sent. Before its own first call has ended, the
// member is not known; addLocked then does this.
func (a *archive) sentLocked(child *record) {
	if f := a.memberFigures(child.parentTopic, child.sender); f != nil {
		f.sent(child.topic)
	}
}

// addLocked counts a call that has ended, with the rows of all its members. It returns whether
// a member was late or failed.
func (a *archive) addLocked(r *record) (t *topicFigures, late, failed bool) {
	t = a.topicLocked(r.topic)
	n := a.slotAt(r.end())
	sum := totals{Calls: 1}
	grown := 0
	var blamed map[*row]time.Duration
	alike := false
	r.blame(func(w *row, lost time.Duration, all bool) {
		if blamed == nil {
			blamed = make(map[*row]time.Duration)
		}
		blamed[w], alike = lost, all
		if slowest := r.slowestReplica(w); slowest != nil {
			blamed[slowest] = lost
		}
	})
	for i := range r.rows {
		w := &r.rows[i]
		isLate, isFailed := w.state == dispatch.StateLate, w.failed()
		late, failed = late || isLate, failed || isFailed
		if !w.replica {
			sum.count(isLate, isFailed, w.state == dispatch.StatePanicked)
		}
		f := a.seatLocked(t, i, w.key().member)
		f.add(w, r, n, blamed[w], alike)
		if w.nestedIn != "" {
			f.sent(w.nestedIn)
		}
		if w.neverReturned && w.member.Node == "" { // the return of a run elsewhere is not told
			a.hangsLocked(f, r)
		}
		grown += f.measure()
	}
	for _, id := range r.children {
		if child := a.records[id]; child != nil {
			a.sentLocked(child)
		}
	}
	a.countLocked(r.end(), sum)
	before := t.took.bytes()
	t.count(r.elapsed, n, late, failed)
	t.noProducers.add(r.reason == dispatch.ReasonNoProducers)
	grown += t.relays.add(r, n, r.lostToRelays()) + t.lacking.add(r, n, r.lostToLacking())
	t.lastCall, t.lastEnd = r.id, r.end()
	if r.budget > 0 {
		t.budget = r.budget
	}
	a.grewLocked(t, grown+t.took.bytes()-before)
	return t, late, failed
}
