package dispatchdebug

import (
	"slices"
	"sync"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// bucket is a kind of call that has ended. A call is in the bucket of its duration,
// and also in that of the failed or the late ones if a member of it was. So quick
// calls do not push out slow ones, nor these the failed.
type bucket int

const (
	bucketLate    bucket = 6
	bucketFailed  bucket = 7
	buckets              = 8
	latencyLimits        = 5
)

var bucketLimits = [latencyLimits]time.Duration{
	time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second,
}

var bucketNames = [buckets]string{
	"under 1 ms", "under 10 ms", "under 100 ms", "under 1 s", "under 10 s", "10 s and over", "late", "failed",
}

func latencyBucket(d time.Duration) bucket {
	for i, limit := range bucketLimits {
		if d < limit {
			return bucket(i)
		}
	}
	return latencyLimits
}

// How much is kept beside calls at most.
const (
	mostMembersOfTopic   = 2_000
	mostListenersOfTopic = 200
	mostOpen             = 4096 // calls that something was heard of and that have not ended
	openFor              = 10 * time.Second
	mostPins             = 256
	mostViewed           = 32
)

// An archive keeps what has ended: bounded numbers of calls, and figures of topics,
// members and listeners.
type archive struct {
	perBucket, mostBytes int
	began                time.Time

	mu sync.Mutex // guards the fields below, and all records and figures

	records map[dispatch.CallID]*record // that have ended and are kept
	open    map[dispatch.CallID]*record // that something was heard of before their end
	order   [buckets]chain              // of all topics, the oldest first
	bytes   int                         // of the calls that are kept
	letGo   uint64                      // calls that are there no more
	lost    uint64                      // open calls of which too much was heard
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
	behind  []*topicFigures // those with plain calls that their members' figures lack
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
func (a *archive) countLocked(t time.Time, what totals) {
	a.totals.add(what)
	n := a.slotAt(t)
	for ; a.newest < n; a.newest++ {
		if n-a.newest > slots {
			a.newest = n - slots
		}
		a.minute[(a.newest+1)%slots] = totals{}
	}
	a.minute[max(n, a.newest-slots+1, 0)%slots].add(what)
}

// lastMinuteLocked returns what happened in the minute before t.
func (a *archive) lastMinuteLocked(t time.Time) (sum totals) {
	a.countLocked(t, totals{})
	for _, one := range a.minute {
		sum.add(one)
	}
	return sum
}

// openLocked returns the record of a call that has not ended. It returns nil if there are
// too many of them.
func (a *archive) openLocked(id dispatch.CallID) *record {
	if rec := a.open[id]; rec != nil {
		return rec
	}
	now := time.Now()
	if len(a.open) >= mostOpen {
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
	if rec := a.open[id]; rec != nil {
		delete(a.open, id)
		return rec
	}
	return a.blankLocked()
}

// blankLocked returns a record for a new call, in the memory of an old one if there is any.
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

// nestLocked notes a call at the one that it was sent from, which mostly has not ended.
func (a *archive) nestLocked(child *record) {
	if f := a.memberFigures(child.parentTopic, child.sender); f != nil {
		f.sent(child.topic)
	}
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

// memberFigures returns the figures of a member, or nil.
func (a *archive) memberFigures(topic string, m dispatch.Member) *memberFigures {
	t := a.topics[topic]
	if t == nil {
		return nil
	}
	return t.members[shortMember(keyOf(m, false).member)]
}

// topicLocked returns the figures of a topic, up to date; it becomes the most recently used.
func (a *archive) topicLocked(name string) *topicFigures {
	t := a.topics[name]
	if t == nil {
		t = &topicFigures{name: name, members: make(map[dispatch.Member]*memberFigures), bytes: topicBytes + len(name)}
		t.previous, t.next = t, t
		a.topics[name] = t
		a.figures += t.bytes
	}
	a.foldLocked(t)
	a.useLocked(t)
	return t
}

// useLocked makes a topic the most recently used one.
func (a *archive) useLocked(t *topicFigures) {
	t.previous.next, t.next.previous = t.next, t.previous
	t.previous, t.next = &a.recent, a.recent.next
	t.previous.next, t.next.previous = t, t
}

func (a *archive) forgetLocked(t *topicFigures) {
	a.foldLocked(t)
	for b := range t.kept {
		for t.kept[b].n > 0 {
			a.dropLocked(bucket(b), t)
		}
	}
	for _, f := range t.members {
		a.unhangLocked(f)
	}
	t.previous.next, t.next.previous = t.next, t.previous
	a.members -= len(t.members)
	a.figures -= t.bytes
	delete(a.topics, t.name)
}

// grewLocked accounts for figures of a topic that take more memory than before.
func (a *archive) grewLocked(t *topicFigures, by int) {
	t.bytes += by
	a.figures += by
}

// memberLocked returns the figures of a member of t, the most recently used topic. If
// there are too many, room is made: members come and go, and those that were not heard
// of for longest are gone.
func (a *archive) memberLocked(t *topicFigures, m dispatch.Member) *memberFigures {
	m = shortMember(m)
	f := t.members[m]
	if f != nil {
		return f
	}
	if len(t.members) >= mostMembersOfTopic {
		a.forgetMembersLocked(t)
	}
	f = &memberFigures{member: m}
	t.members[m] = f
	a.members++
	a.grewLocked(t, len(m.Node)+len(m.Group)+len(m.Name))
	return f
}

// forgetMembersLocked forgets half of the members of a topic.
func (a *archive) forgetMembersLocked(t *topicFigures) {
	a.foldLocked(t)
	a.members -= len(t.members)
	t.seats = nil
	forgetHalf(t.members, func(f *memberFigures) int64 { return f.lastRun.UnixNano() }, func(f *memberFigures) {
		a.unhangLocked(f)
		a.grewLocked(t, -f.bytes-len(f.member.Node)-len(f.member.Group)-len(f.member.Name))
	})
	a.members += len(t.members)
}

// forgetHalf deletes the half of m that was heard of least recently.
func forgetHalf[K comparable, F any](m map[K]F, lastCall func(F) int64, forgotten func(F)) {
	last := make([]int64, 0, len(m))
	for _, f := range m {
		last = append(last, lastCall(f))
	}
	slices.Sort(last)
	middle, surplus := last[len(last)/2], (len(m)+1)/2
	for k, f := range m {
		if surplus > 0 && lastCall(f) <= middle {
			forgotten(f)
			delete(m, k)
			surplus--
		}
	}
}

// seatLocked returns the figures of the member of a row. Calls of a topic mostly have the
// same members in the same order, so it looks there first.
func (a *archive) seatLocked(t *topicFigures, i int, m dispatch.Member) *memberFigures {
	if i < len(t.seats) && t.seats[i].member == m {
		return t.seats[i].figures
	}
	f := a.memberLocked(t, m)
	if i < len(t.seats) {
		t.seats[i] = seat{m, f}
	} else if i == len(t.seats) && i < mostMembersOfTopic {
		t.seats = append(t.seats, seat{m, f})
		a.grewLocked(t, seatBytes)
	}
	return f
}

// addLocked counts a call that has ended, with the rows of all its members, and
// returns whether some of it concerns failure or lateness.
func (a *archive) addLocked(r *record) (t *topicFigures, late, failed bool) {
	t = a.topicLocked(r.topic)
	n := a.slotAt(r.end())
	sum := totals{Calls: 1}
	grown := 0
	var blamed map[*row]time.Duration
	r.blame(func(w *row, lost time.Duration) {
		if blamed == nil {
			blamed = make(map[*row]time.Duration)
		}
		blamed[w] = lost
	})
	for i := range r.rows {
		w := &r.rows[i]
		isLate, isFailed := w.state == dispatch.StateLate, w.failed()
		late, failed = late || isLate, failed || isFailed
		if !w.replica {
			sum.count(isLate, isFailed, w.state == dispatch.StatePanicked)
		}
		f := a.seatLocked(t, i, w.key().member)
		f.add(w, r, n, blamed[w])
		if w.nestedIn != "" {
			f.sent(w.nestedIn)
		}
		if w.neverReturned {
			a.hangsLocked(f, r)
		}
		grown += f.measure()
	}
	a.countLocked(r.end(), sum)
	before := t.took.bytes()
	t.count(r.elapsed, n, late, failed)
	t.nobody.add(r.reason == dispatch.ReasonNoProducers)
	t.lastCall, t.lastEnd = r.id, r.end()
	if r.budget > 0 {
		t.budget = r.budget
	}
	a.grewLocked(t, grown+t.took.bytes()-before)
	return t, late, failed
}

// hangsLocked keeps a call while a run of the member goes on, so that it can be looked at
// when somebody asks who has not returned. Of each member the oldest one is kept.
func (a *archive) hangsLocked(f *memberFigures, r *record) {
	if f.hangs == 0 && a.pins < mostPins {
		f.hangs = r.id
		r.pins++
		a.pins++
	}
}

// unhangLocked lets go of the call that is kept for the member.
func (a *archive) unhangLocked(f *memberFigures) {
	if f.hangs == 0 {
		return
	}
	a.unpinLocked(f.hangs)
	f.hangs = 0
	a.pins--
}

// returnedLocked notes that a run has returned after its call.
func (a *archive) returnedLocked(topic string, m dispatch.Member, id dispatch.CallID) {
	if f := a.memberFigures(topic, m); f != nil && f.hangs == id {
		a.unhangLocked(f)
	}
}

func (a *archive) unpinLocked(id dispatch.CallID) {
	r := a.records[id]
	if r == nil {
		return
	}
	if r.pins--; r.pins == 0 && r.used == 0 {
		a.letGoLocked(r)
	}
}

// viewLocked keeps a call that somebody looks at; of those, the newest ones.
func (a *archive) viewLocked(r *record) {
	if i := slices.Index(a.viewed, r.id); i >= 0 {
		a.viewed = append(slices.Delete(a.viewed, i, i+1), r.id)
		return
	}
	if len(a.viewed) >= mostViewed {
		a.unpinLocked(a.viewed[0])
		a.viewed = slices.Delete(a.viewed, 0, 1)
	}
	r.pins++
	a.viewed = append(a.viewed, r.id)
}

// keepLocked puts a record into its buckets, and lets go of others until what is
// kept is within its bounds.
func (a *archive) keepLocked(r *record, t *topicFigures, late, failed bool) {
	r.measure()
	a.records[r.id] = r
	a.bytes += r.bytes
	a.putLocked(latencyBucket(r.elapsed), r, t)
	if late {
		a.putLocked(bucketLate, r, t)
	}
	if failed {
		a.putLocked(bucketFailed, r, t)
	}
	a.boundLocked()
}

func (a *archive) putLocked(b bucket, r *record, t *topicFigures) {
	t.counts[b]++
	if t.kept[b].n >= a.perBucket {
		a.dropLocked(b, t)
	}
	p := &r.places[r.used]
	r.used++
	p.record, p.topic = r, t
	a.order[b].push(p)
	t.kept[b].push(p)
}

// dropLocked takes the oldest record of a topic out of one of its buckets. A call that is
// in no bucket and is not pinned is let go of.
func (a *archive) dropLocked(b bucket, t *topicFigures) {
	p := t.kept[b].pop()
	a.order[b].remove(p)
	r := p.record
	if r.used--; r.used == 0 && r.pins == 0 {
		a.letGoLocked(r)
	}
}

func (a *archive) letGoLocked(r *record) {
	delete(a.records, r.id)
	a.bytes -= r.bytes
	a.letGo++
	a.recycleLocked(r)
}

// boundLocked keeps the bytes within their bound. Figures may take half of them: beyond
// that, those of the topics go that were not used for longest. Then calls go, those of the
// buckets with the most; and when there are none left in buckets, those that are pinned.
func (a *archive) boundLocked() {
	for a.figures > a.mostBytes/2 {
		oldest := a.recent.previous
		if oldest != a.recent.next {
			a.forgetLocked(oldest)
			continue
		}
		if len(oldest.members) == 0 {
			break
		}
		a.forgetMembersLocked(oldest)
	}
	for a.bytes+a.figures > a.mostBytes {
		fullest := bucket(0)
		for b := range a.order {
			if a.order[b].n > a.order[fullest].n {
				fullest = bucket(b)
			}
		}
		if a.order[fullest].n == 0 {
			if !a.unpinOneLocked() {
				return
			}
			continue
		}
		// The oldest of all topics is the oldest of its own.
		a.dropLocked(fullest, a.order[fullest].oldest().topic)
	}
}

// unpinOneLocked lets go of a call that is kept only because it is pinned.
func (a *archive) unpinOneLocked() bool {
	if len(a.viewed) > 0 {
		id := a.viewed[0]
		a.viewed = slices.Delete(a.viewed, 0, 1)
		a.unpinLocked(id)
		return true
	}
	for _, r := range a.records {
		a.letGoLocked(r) // the member whose run it is finds it gone
		return true
	}
	return false
}

// grownLocked is called when a record in the archive has become larger.
func (a *archive) grownLocked(r *record) {
	before := r.bytes
	r.measure()
	a.bytes += r.bytes - before
	a.boundLocked()
}

// listenerLocked returns the figures of a listener of a topic.
func (a *archive) listenerLocked(t *topicFigures, name string) *listenerFigures {
	name = cut(name, mostName)
	f := t.listeners[name]
	if f == nil {
		if len(t.listeners) >= mostListenersOfTopic {
			before := len(t.listeners)
			forgetHalf(t.listeners, func(f *listenerFigures) int64 { return int64(f.lastCall) }, func(*listenerFigures) {})
			a.grewLocked(t, (len(t.listeners)-before)*(listenerBytes+2*countsBytes))
		}
		if t.listeners == nil {
			t.listeners = make(map[string]*listenerFigures)
		}
		f = new(listenerFigures)
		t.listeners[name] = f
		a.grewLocked(t, listenerBytes+2*countsBytes)
	}
	return f
}
