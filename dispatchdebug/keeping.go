package dispatchdebug

import (
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// bucket is a kind of call that has ended. A call is in the bucket of its duration, and also in
// that of late or failed calls if one of its members was late or failed. So quick calls do not
// displace slow or failed ones.
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

// Bounds for the calls that are kept in addition to those in buckets.
const (
	mostPins   = 256 // because a run of them has not returned
	mostViewed = 32  // because they are looked at
)

// hangsLocked keeps a call while a run of the member goes on, so that the page can show it. Of each
// member, the oldest such call is kept.
func (a *archive) hangsLocked(f *memberFigures, r *record) {
	if f.hangs == 0 && a.pins < mostPins {
		f.hangs = r.id
		r.pins++
		a.pins++
	}
}

// unhangLocked ends the reason for which hangsLocked keeps a call.
func (a *archive) unhangLocked(f *memberFigures) {
	if f.hangs == 0 {
		return
	}
	a.unpinLocked(f.hangs)
	f.hangs = 0
	a.pins--
}

// returnedLocked notes that a run has returned after its call. A replica has figures besides those of its group.
func (a *archive) returnedLocked(topic string, m dispatch.Member, id dispatch.CallID) {
	t := a.topics[topic]
	if t == nil {
		return
	}
	for _, replica := range []bool{false, true} {
		if f := t.members[shortMember(keyOf(m, replica).member)]; f != nil && f.hangs == id {
			a.unhangLocked(f)
		}
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

// viewLocked keeps a call that a page shows, also when it ends only later. It keeps the newest ones of these calls.
func (a *archive) viewLocked(id dispatch.CallID) {
	if i := slices.Index(a.viewed, id); i >= 0 {
		a.viewed = append(slices.Delete(a.viewed, i, i+1), id)
		return
	}
	if len(a.viewed) >= mostViewed {
		a.unpinLocked(a.viewed[0])
		a.viewed = slices.Delete(a.viewed, 0, 1)
	}
	if r := a.records[id]; r != nil {
		r.pins++
	}
	a.viewed = append(a.viewed, id)
}

// keepLocked puts a record into its buckets, and drops others until the bounds hold.
func (a *archive) keepLocked(r *record, t *topicFigures, late, failed bool) {
	r.measure()
	a.records[r.id] = r
	a.bytes += r.bytes
	if slices.Contains(a.viewed, r.id) {
		r.pins++
	}
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
	t.newest[b] = r.started.Sub(a.began) + r.elapsed
	p := &r.places[r.used]
	r.used++
	p.record, p.topic = r, t
	a.order[b].push(p)
	t.kept[b].push(p)
}

// dropLocked removes the oldest record of a topic from one of its buckets. A call that is in no
// bucket and is not pinned is dropped.
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

// boundLocked keeps the bytes within their bound. If figures take more than half of them, the figures
// of the topics that were unused for longest are dropped. Then calls are dropped: from the fullest
// bucket, and when the buckets are empty, those that are pinned.
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

// unpinOneLocked drops a call that is kept only because it is pinned.
func (a *archive) unpinOneLocked() bool {
	if len(a.viewed) > 0 {
		id := a.viewed[0]
		a.viewed = slices.Delete(a.viewed, 0, 1)
		a.unpinLocked(id)
		return true
	}
	for _, r := range a.records {
		a.letGoLocked(r) // the member of the run still has the ID of the call, which finds no record
		return true
	}
	return false
}

// grownLocked accounts for a record in the archive that has become larger.
func (a *archive) grownLocked(r *record) {
	before := r.bytes
	r.measure()
	a.bytes += r.bytes - before
	a.boundLocked()
}
