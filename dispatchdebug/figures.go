package dispatchdebug

import (
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// totals are counts since recording began.
type totals struct {
	Calls, Late, Failed, Panics, Dropped uint64
}

// topicFigures is what is known about the calls of one topic.
type topicFigures struct {
	name      string
	calls     uint64
	took      window
	late      history // calls with a late member
	failed    history // calls with a failed, panicked or rejected one
	nobody    history // calls that found nobody to ask
	lastCall  dispatch.CallID
	lastEnd   time.Time
	counts    [buckets]uint64
	kept      [buckets]ring
	members   map[dispatch.Member]*memberFigures
	listeners map[string]*listenerFigures

	previous, next *topicFigures
}

// memberFigures is what is known about one member of a topic's calls.
type memberFigures struct {
	runs                   uint64
	lateRuns, failedRuns   uint64
	panickedRuns           uint64
	took                   window
	late, failed, panicked history
	last                   time.Duration
	lastState              dispatch.State
	lastError              string
	lastCall, lastBadCall  dispatch.CallID
	lastBad                time.Time
}

// listenerFigures is what is known about one listener of a topic.
type listenerFigures struct {
	runs, panicked uint64
	took           window
	last           time.Duration
	lastCall       dispatch.CallID
}

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

func (f *memberFigures) add(w *row, r *record, late, failed, panicked bool) {
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
	if d := w.span(); d >= 0 {
		f.took.add(d)
		f.last = d
	}
	f.lastState, f.lastCall = w.state, r.id
	if late || failed {
		f.lastBadCall, f.lastBad = r.id, r.started.Add(r.elapsed)
	}
	if w.err != "" && w.state != dispatch.StateDeclined && w.state != dispatch.StateCanceled {
		f.lastError = w.err
	}
}

func (f *listenerFigures) add(call dispatch.CallID, took time.Duration, panicked bool) {
	f.runs++
	f.took.add(took)
	f.last, f.lastCall = took, call
	if panicked {
		f.panicked++
	}
}
