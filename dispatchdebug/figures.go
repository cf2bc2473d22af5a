package dispatchdebug

import (
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// totals are counts of calls, and of members and callbacks that went wrong.
type totals struct {
	Calls, Late, Failed, Panics, Dropped uint64
}

// topicFigures are the figures of the calls of one topic.
type topicFigures struct {
	name        string
	calls       uint64
	took        window
	minute      series
	late        history // calls with a late member
	failed      history // calls with a failed, panicked or rejected one
	noProducers history // calls without a member
	relays      waste   // calls that went on when all their members had ended
	lacking     waste   // calls that ended before there were enough producers
	lastCall    dispatch.CallID
	lastEnd     time.Time     // of the newest call that was not plain
	budget      time.Duration // of the newest call of which it is known
	counts      [buckets]uint64
	kept        [buckets]ring
	newest      [buckets]time.Duration // when the newest one that is kept ended, since recording began
	members     map[dispatch.Member]*memberFigures
	seats       []seat // the members of the newest call, in its order
	plain       plainCalls
	listeners   map[string]*listenerFigures
	bytes       int // of all this, about, without the calls that are kept

	previous, next *topicFigures
}

// memberFigures are the figures of one member of a topic's calls.
type memberFigures struct {
	member                         dispatch.Member
	runs                           uint64
	lateRuns, failedRuns           uint64
	panickedRuns                   uint64
	took                           window
	minute                         series
	late, failed, panicked         history
	delayed, queued                history // the call waited for it alone; for its queue
	unknown                        history // there was no such member
	losses                         losses
	alike                          bool // no member of the call that it delayed last was quick
	last                           time.Duration
	lastState                      dispatch.State
	lastError, lastPanic           string
	lastRun                        time.Time // when it ended
	lastCall, lastBadCall          dispatch.CallID
	lastBad, lastDelay, lastAnswer time.Time
	lastDelayCall                  dispatch.CallID
	hangs                          dispatch.CallID // a call with a run of it that has not returned; 0 if there is none
	sends                          []string        // topics that it has sent calls to
	bytes                          int
}

// listenerFigures are the figures of one listener of a topic.
type listenerFigures struct {
	runs, panicked uint64
	took           window
	last           time.Duration
	lastCall       dispatch.CallID
	dropped        uint64
	lastDropped    time.Time
}

// The approximate bytes of figures without their windows.
const (
	topicBytes    = 1200
	memberBytes   = 700
	listenerBytes = 300
	seriesBytes   = slots * 24
	mostSends     = 4
)

// How many members and listeners of a topic have figures at most.
const (
	mostMembersOfTopic   = 2_000
	mostListenersOfTopic = 200
)

func (t *totals) count(late, failed, panicked bool) {
	if late {
		t.Late++
	}
	if failed {
		t.Failed++
	}
	if panicked {
		t.Panics++
	}
}

func (t *totals) add(o totals) {
	t.Calls += o.Calls
	t.Late += o.Late
	t.Failed += o.Failed
	t.Panics += o.Panics
	t.Dropped += o.Dropped
}

// add counts a run. lost is the time that the call lost to it; alike, whether no member of the call was quick.
func (f *memberFigures) add(w *row, r *record, slotNumber int64, lost time.Duration, alike bool) {
	late, panicked := w.state == dispatch.StateLate, w.state == dispatch.StatePanicked
	failed := w.failed()
	f.runs++
	f.late.add(late)
	f.failed.add(failed)
	f.panicked.add(panicked)
	f.unknown.add(w.unknown)
	if late {
		f.lateRuns++
	}
	if failed {
		f.failedRuns++
	}
	if panicked {
		f.panickedRuns++
	}
	f.minute.turn(slotNumber, &f.took)
	if d := w.span(); d >= 0 {
		f.took.add(d, w.state == dispatch.StateLate || w.state == dispatch.StateCanceled)
		f.last = d
	}
	f.lastState, f.lastCall, f.lastRun = w.state, r.id, r.end()
	s := f.minute.at(slotNumber)
	s.runs++
	if failed {
		s.failed++
	}
	if late || failed {
		f.lastBadCall, f.lastBad = r.id, r.end()
	} else if w.state == dispatch.StateOK || w.state == dispatch.StateDeclined {
		f.lastAnswer = r.end()
	}
	// A member elsewhere begins when its relay names it. Its queue is not seen.
	inQueue := lost > 0 && w.member.Node == "" && (w.started < 0 || w.started > w.ended/2)
	f.delayed.add(lost > 0 && !inQueue)
	f.queued.add(inQueue)
	if lost > 0 {
		s.lost += lost
		f.losses.add(lost)
		f.alike = alike
		f.lastDelay, f.lastDelayCall = r.end(), r.id
	}
	if panicked {
		f.lastPanic = w.err
	} else if w.err != "" && w.state != dispatch.StateDeclined && w.state != dispatch.StateCanceled {
		f.lastError = w.err
	}
}

// count counts a call.
func (t *topicFigures) count(took time.Duration, slotNumber int64, late, failed bool) {
	t.calls++
	t.minute.turn(slotNumber, &t.took)
	t.took.add(took, false)
	s := t.minute.at(slotNumber)
	s.runs++
	if failed {
		s.failed++
	}
	t.late.add(late)
	t.failed.add(failed)
}

// measure returns by how much the figures have grown since the last time.
func (f *memberFigures) measure() (grown int) {
	n := memberBytes + f.took.bytes() + len(f.lastError) + len(f.lastPanic)
	if f.minute.slots != nil {
		n += seriesBytes
	}
	grown, f.bytes = n-f.bytes, n
	return grown
}

// losses are the newest times that calls have lost.
type losses struct {
	newest [8]time.Duration
	n      int // ever
}

func (l *losses) add(lost time.Duration) {
	l.newest[l.n%len(l.newest)] = lost
	l.n++
}

// typical is the median of the newest losses.
func (l *losses) typical() time.Duration {
	known := slices.Clone(l.newest[:min(l.n, len(l.newest))])
	if len(known) == 0 {
		return 0
	}
	slices.Sort(known)
	return known[len(known)/2]
}

// waste is the time that calls of a topic have lost for a reason that is none of their members.
type waste struct {
	newest history
	minute series
	losses losses
	last   time.Time // when such a call ended
	call   dispatch.CallID
}

// add counts a call. It returns by how many bytes the waste has grown.
func (w *waste) add(r *record, slotNumber int64, lost time.Duration) (grown int) {
	w.newest.add(lost > 0)
	if lost <= 0 {
		return 0
	}
	if w.minute.slots == nil {
		grown = seriesBytes
	}
	w.minute.at(slotNumber).lost += lost
	w.losses.add(lost)
	w.last, w.call = r.end(), r.id
	return grown
}

// usual is how long the member usually takes; unknown if there were too few runs to tell.
func (f *memberFigures) usual() time.Duration {
	if f == nil || f.took.runs() < enoughRuns {
		return unknown
	}
	if q := f.took.quantile(0.5); !q.more {
		return q.took
	}
	return unknown
}

func (f *memberFigures) sent(topic string) {
	if !slices.Contains(f.sends, topic) && len(f.sends) < mostSends {
		f.sends = append(f.sends, topic)
	}
}

func (f *listenerFigures) add(call dispatch.CallID, took time.Duration, panicked bool) {
	f.runs++
	f.took.add(took, false)
	f.last, f.lastCall = took, call
	if panicked {
		f.panicked++
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

// memberLocked returns the figures of a member of t, the most recently used topic. If there are
// too many, it deletes those that were unused for longest: the bus adds and removes members,
// and these are probably removed.
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
	a.grewLocked(t, -seatBytes*len(t.seats))
	t.seats = nil
	forgetHalf(t.members, func(f *memberFigures) int64 { return f.lastRun.UnixNano() }, func(f *memberFigures) {
		a.unhangLocked(f)
		a.grewLocked(t, -f.bytes-len(f.member.Node)-len(f.member.Group)-len(f.member.Name))
	})
	a.members += len(t.members)
}

// forgetHalf deletes the half of m that was used least recently.
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
