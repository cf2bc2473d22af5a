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

// What is kept of topics, whatever goes on.
const (
	mostTopics           = 10_000
	mostMembersInAll     = 20_000
	mostMembersOfTopic   = 2_000
	mostListenersOfTopic = 200
)

// An archive keeps what has ended: bounded numbers of calls, and figures of topics,
// members and listeners.
type archive struct {
	perBucket, mostBytes int
	recycle              func(*record) // gets what is let go of

	mu sync.Mutex // guards the fields below, and all records in the archive

	records map[dispatch.CallID]*record
	order   [buckets]chain // of all topics, the oldest first
	bytes   int
	letGo   uint64 // records that are there no more
	topics  map[string]*topicFigures
	recent  topicFigures // the head of a ring of topics, the most recently used one next
	members int          // of all topics
	totals  totals
}

func newArchive(perBucket, mostBytes int, recycle func(*record)) *archive {
	a := &archive{
		perBucket: perBucket, mostBytes: mostBytes, recycle: recycle,
		records: make(map[dispatch.CallID]*record), topics: make(map[string]*topicFigures),
	}
	a.recent.previous, a.recent.next = &a.recent, &a.recent
	for i := range a.order {
		a.order[i].init()
	}
	return a
}

// topicLocked returns the figures of a topic, which becomes the most recently used.
func (a *archive) topicLocked(name string) *topicFigures {
	t := a.topics[name]
	if t == nil {
		if len(a.topics) >= mostTopics {
			a.forgetLocked(a.recent.previous)
		}
		t = &topicFigures{name: name, members: make(map[dispatch.Member]*memberFigures)}
		a.topics[name] = t
	} else {
		t.previous.next, t.next.previous = t.next, t.previous
	}
	t.previous, t.next = &a.recent, a.recent.next
	t.previous.next, t.next.previous = t, t
	return t
}

func (a *archive) forgetLocked(t *topicFigures) {
	for b := range t.kept {
		for t.kept[b].n > 0 {
			a.dropLocked(bucket(b), t)
		}
	}
	t.previous.next, t.next.previous = t.next, t.previous
	a.members -= len(t.members)
	delete(a.topics, t.name)
}

// memberLocked returns the figures of a member of t, the most recently used topic. If
// there are too many, room is made: members come and go, and those that were not heard
// of for longest are gone.
func (a *archive) memberLocked(t *topicFigures, m dispatch.Member) *memberFigures {
	f := t.members[m]
	if f != nil {
		return f
	}
	for a.members >= mostMembersInAll && a.recent.previous != t {
		a.forgetLocked(a.recent.previous)
	}
	if len(t.members) >= mostMembersOfTopic {
		a.members -= len(t.members)
		forgetHalf(t.members, func(f *memberFigures) dispatch.CallID { return f.lastCall })
		a.members += len(t.members)
	}
	f = new(memberFigures)
	t.members[m] = f
	a.members++
	return f
}

// forgetHalf deletes the half of m whose last calls are the oldest.
func forgetHalf[K comparable, F any](m map[K]F, lastCall func(F) dispatch.CallID) {
	last := make([]dispatch.CallID, 0, len(m))
	for _, f := range m {
		last = append(last, lastCall(f))
	}
	slices.Sort(last)
	middle, surplus := last[len(last)/2], len(m)/2
	for k, f := range m {
		if surplus > 0 && lastCall(f) <= middle {
			delete(m, k)
			surplus--
		}
	}
}

// addLocked counts a call that has ended, with the rows of all its members, and
// returns whether some of it concerns failure or lateness.
func (a *archive) addLocked(r *record) (t *topicFigures, late, failed bool) {
	t = a.topicLocked(r.topic)
	for i := range r.rows {
		w := &r.rows[i]
		isLate := w.state == dispatch.StateLate
		isPanic := w.state == dispatch.StatePanicked
		isFailed := isPanic || w.state == dispatch.StateFailed || w.state == dispatch.StateRejected
		late, failed = late || isLate, failed || isFailed
		if !w.replica {
			a.totals.count(isLate, isFailed, isPanic)
		}
		a.memberLocked(t, w.key().member).add(w, r, isLate, isFailed, isPanic)
	}
	a.totals.Calls++
	t.calls++
	t.took.add(r.elapsed)
	t.late.add(late)
	t.failed.add(failed)
	t.nobody.add(r.reason == dispatch.ReasonNoProducers)
	t.lastCall, t.lastEnd = r.id, r.started.Add(r.elapsed)
	return t, late, failed
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

// dropLocked takes the oldest record of a topic out of one of its buckets. Who is in
// no bucket is gone.
func (a *archive) dropLocked(b bucket, t *topicFigures) {
	p := t.kept[b].pop()
	a.order[b].remove(p)
	r := p.record
	r.used--
	if r.used > 0 {
		return
	}
	delete(a.records, r.id)
	a.bytes -= r.bytes
	a.letGo++
	a.recycle(r)
}

// boundLocked keeps the bytes within their bound, at the cost of the buckets with the
// most calls.
func (a *archive) boundLocked() {
	for a.bytes > a.mostBytes {
		fullest := bucket(0)
		for b := range a.order {
			if a.order[b].n > a.order[fullest].n {
				fullest = bucket(b)
			}
		}
		// The oldest of all topics is the oldest of its own.
		a.dropLocked(fullest, a.order[fullest].oldest().topic)
	}
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
	f := t.listeners[name]
	if f == nil {
		if len(t.listeners) >= mostListenersOfTopic {
			forgetHalf(t.listeners, func(f *listenerFigures) dispatch.CallID { return f.lastCall })
		}
		if t.listeners == nil {
			t.listeners = make(map[string]*listenerFigures)
		}
		f = new(listenerFigures)
		t.listeners[name] = f
	}
	return f
}
