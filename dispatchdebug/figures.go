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

// topicFigures is what is known about the calls of one topic.
type topicFigures struct {
	name      string
	calls     uint64
	took      window
	minute    series
	late      history // calls with a late member
	failed    history // calls with a failed, panicked or rejected one
	nobody    history // calls that found nobody to ask
	lastCall  dispatch.CallID
	lastEnd   time.Time
	budget    time.Duration // of the newest call of which it is known
	counts    [buckets]uint64
	kept      [buckets]ring
	members   map[dispatch.Member]*memberFigures
	seats     []seat // the members of the newest call, in its order
	plain     plainCalls
	listeners map[string]*listenerFigures
	bytes     int // of all this, about, without the calls that are kept

	previous, next *topicFigures
}

// memberFigures is what is known about one member of a topic's calls.
type memberFigures struct {
	member                         dispatch.Member
	runs                           uint64
	lateRuns, failedRuns           uint64
	panickedRuns                   uint64
	took                           window
	minute                         series
	late, failed, panicked         history
	delayed, queued                history // the call waited for it alone; for its queue
	losses                         [8]time.Duration
	nLosses                        int // ever
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

// listenerFigures is what is known about one listener of a topic.
type listenerFigures struct {
	runs, panicked uint64
	took           window
	last           time.Duration
	lastCall       dispatch.CallID
	dropped        uint64
	lastDropped    time.Time
}

// What figures take beside their windows, about.
const (
	topicBytes    = 900
	memberBytes   = 700
	listenerBytes = 300
	seriesBytes   = slots * 24
	mostSends     = 4
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

// add counts a run. lost is the time that the call lost to it.
func (f *memberFigures) add(w *row, r *record, slotNumber int64, lost time.Duration) {
	late, panicked := w.state == dispatch.StateLate, w.state == dispatch.StatePanicked
	failed := w.failed()
	f.runs++
	f.late.add(late)
	f.failed.add(failed)
	f.panicked.add(panicked)
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
	inQueue := lost > 0 && (w.started < 0 || w.started > w.ended/2)
	f.delayed.add(lost > 0 && !inQueue)
	f.queued.add(inQueue)
	if lost > 0 {
		s.lost += lost
		f.losses[f.nLosses%len(f.losses)] = lost
		f.nLosses++
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

// typicalLoss is the median of the newest losses.
func (f *memberFigures) typicalLoss() time.Duration {
	known := slices.Clone(f.losses[:min(f.nLosses, len(f.losses))])
	if len(known) == 0 {
		return 0
	}
	slices.Sort(known)
	return known[len(known)/2]
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
