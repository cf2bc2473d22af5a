package dispatchdebug

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A recorder has the hooks of the observer. All hooks but CallStart follow: they are called one at
// a time on the observer's own goroutine, so they may wait for a page that is being made. There is
// a CallStart hook only under WithSummarize; senders call it. No lock is held while user code runs.
//
// The recorder keeps calls that have ended. Calls in flight come from a Snapshot. Events of calls
// that have not ended are kept in the open records of the archive.
type recorder struct {
	began     time.Time
	summarize func(any) string // or nil
	callbacks bool             // of listeners are measured
	revision  atomic.Uint64    // grows with everything there is to show
	archive   *archive
}

func newRecorder(c config) *recorder {
	r := &recorder{began: time.Now(), summarize: c.summarize, callbacks: c.callbacks}
	r.archive = newArchive(c.calls, c.bytes, r.began)
	return r
}

// observer returns the hooks. Hooks that are not needed are nil.
func (r *recorder) observer() dispatch.Observer {
	o := dispatch.Observer{
		// The observer's goroutine often begins for one call, with a stack of 2 KiB. A stack that
		// has to grow costs more than all of the rest, so there are few frames on the way of a
		// plain call, and none of them is large.
		CallEnd: func(ctx context.Context, report dispatch.Report) {
			if report.Parent != 0 || !isPlain(&report) || !r.plain(&report) {
				r.whole(ctx, &report)
			}
		},
		ReuseReports: true,

		Late: r.late, Abandoned: r.abandoned, Dropped: r.dropped,
	}
	if r.callbacks {
		o.ListenerEnd = r.listenerEnd
	}
	if r.summarize != nil {
		o.CallStart, o.Result = r.callStart, r.result
	}
	return o
}

func (r *recorder) callStart(ctx context.Context, c dispatch.CallStarted) context.Context {
	request := r.summarize(c.Request)
	a := r.archive
	a.mu.Lock()
	if rec := a.openLocked(c.ID); rec != nil {
		rec.request = request
	}
	a.mu.Unlock()
	return ctx
}

// whole counts and keeps a call that is not plain.
func (r *recorder) whole(ctx context.Context, report *dispatch.Report) {
	var parent dispatch.CallInfo
	if report.Parent != 0 {
		parent, _ = dispatch.CallFrom(ctx)
	}
	explained, replicas := explain(report.Outcomes), explain(report.Replicas)
	lacked := len(report.Outcomes) == 0 && errors.Is(report.Err(), dispatch.ErrTooFewProducers)
	a := r.archive
	a.mu.Lock()
	defer a.mu.Unlock()
	r.revision.Add(1)
	rec := a.takeLocked(report.Call)
	rec.finish(report)
	rec.lacked = lacked
	if parent.ID != 0 && parent.ID == report.Parent {
		rec.parent, rec.parentTopic, rec.sender = parent.ID, parent.Topic, parent.Member
		a.nestLocked(rec)
	}
	rec.fill(report.Outcomes, explained, report.Replicas, replicas)
	t, late, failed := a.addLocked(rec)
	rec.settle()
	a.keepLocked(rec, t, late, failed)
}

// plain counts a plain call. If it returns false, it has done nothing.
func (r *recorder) plain(report *dispatch.Report) bool {
	a := r.archive
	end := report.Started.Sub(a.began) + report.Elapsed
	a.mu.Lock()
	t := a.plainTopicLocked(report)
	if t != nil && r.callbacks {
		a.endedLocked(report.Call) // callbacks of listeners come after it
	}
	if t != nil && a.notePlainLocked(t, report, end) {
		a.keepPlainLocked(t, report)
	}
	a.mu.Unlock()
	if t == nil {
		return false
	}
	r.revision.Add(1)
	return true
}

// explain returns rows with the texts of the outcomes' errors; nil if there are none.
func explain(outcomes []dispatch.Outcome) (explained []row) {
	for i := range outcomes {
		if o := &outcomes[i]; o.Err != nil && o.State != dispatch.StateCanceled {
			if explained == nil {
				explained = make([]row, len(outcomes))
			}
			explained[i].explain(o.State, o.Err)
		}
	}
	return explained
}

// finish notes how the call has ended.
func (r *record) finish(report *dispatch.Report) {
	r.id, r.topic, r.started, r.budget = report.Call, report.Topic, report.Started, report.Budget
	r.ended, r.elapsed, r.reason = true, report.Elapsed, report.Reason
}

// fill sets the rows: the members, and then the replicas. It keeps what events before the end of the
// call said about them.
func (r *record) fill(outcomes []dispatch.Outcome, explained []row, replicas []dispatch.Outcome, explainedReplicas []row) {
	heard := r.rows
	if n := len(outcomes) + len(replicas); cap(r.rows) < n || len(heard) > 0 {
		r.rows = make([]row, 0, n)
	}
	r.add(outcomes, explained, false)
	r.add(replicas, explainedReplicas, true)
	r.index, r.indexed, r.hint = nil, 0, 0
	for i := range heard {
		w := &heard[i]
		if known := r.find(w.member, w.replica); known != nil {
			known.summary, known.returned, known.lateErr, known.abandoned = w.summary, w.returned, w.lateErr, w.abandoned
			known.neverReturned = known.neverReturned && w.returned < 0
		}
	}
}

// add adds rows for outcomes, with the texts of their errors.
func (r *record) add(outcomes []dispatch.Outcome, explained []row, replicas bool) {
	for i := range outcomes {
		w := row{replica: replicas, started: unknown, ended: unknown, returned: unknown}
		w.put(&outcomes[i])
		if explained != nil {
			e := &explained[i]
			w.err, w.stack, w.nestedIn, w.timedOut, w.unknown = e.err, e.stack, e.nestedIn, e.timedOut, e.unknown
		}
		// Under WithGrace a member can be late because it has returned the error of its context.
		w.neverReturned = outcomes[i].Started && (w.state == dispatch.StateCanceled || w.state == dispatch.StateLate && (w.timedOut || r.cutOff(&w)))
		r.rows = append(r.rows, w)
	}
}

// change calls f with the record of a call. If there is none, the call has not ended yet, and change
// makes an open record.
func (r *recorder) change(id dispatch.CallID, f func(*record)) {
	a := r.archive
	a.mu.Lock()
	defer a.mu.Unlock()
	if rec := a.records[id]; rec != nil {
		f(rec)
		a.grownLocked(rec)
		return
	}
	if rec := a.openLocked(id); rec != nil {
		f(rec)
	}
	r.revision.Add(1)
}

func (r *recorder) result(_ context.Context, m dispatch.MemberInfo, res dispatch.ResultInfo) {
	summary := r.summarize(res.Value)
	r.change(m.ID, func(rec *record) {
		if w := rec.rowOf(m.Member, m.Replica); w != nil && !w.summarized {
			w.summary, w.summarized = summary, true
		}
	})
}

func (r *recorder) late(_ context.Context, m dispatch.MemberInfo, _ time.Duration, err error) {
	var returned row
	returned.explain(dispatch.StateLate, err)
	r.change(m.ID, func(rec *record) {
		if w := rec.known(m.Member, m.Replica); w != nil {
			w.returned, w.lateErr = m.Elapsed, returned.err
		}
	})
	a := r.archive
	a.mu.Lock()
	a.returnedLocked(m.Topic, m.Member, m.ID)
	a.mu.Unlock()
	r.revision.Add(1)
}

func (r *recorder) abandoned(_ context.Context, m dispatch.MemberInfo, _ time.Duration) {
	r.change(m.ID, func(rec *record) {
		if w := rec.known(m.Member, m.Replica); w != nil {
			w.abandoned = true
		}
	})
	r.revision.Add(1)
}

// known returns the row of the member of an event. If the call has ended, no row is added.
func (r *record) known(m dispatch.Member, replica bool) *row {
	if r.ended {
		return r.find(shortMember(m), replica)
	}
	return r.rowOf(m, replica)
}

func (r *recorder) listenerEnd(_ context.Context, l dispatch.ListenerInfo, took time.Duration, panicked bool) {
	r.change(l.ID, func(rec *record) {
		if len(rec.listening) >= mostListening {
			rec.unheard++
			return
		}
		rec.listening = append(rec.listening, listening{
			listener: cut(l.Listener, mostName), member: shortMember(l.Member), seq: l.Seq,
			started: max(l.Elapsed-took, 0), took: took, panicked: panicked,
		})
	})
	a := r.archive
	a.mu.Lock()
	f := a.listenerLocked(a.topicLocked(l.Topic), l.Listener)
	f.add(l.ID, took, panicked)
	a.mu.Unlock()
	r.revision.Add(1)
}

func (r *recorder) dropped(_ context.Context, l dispatch.ListenerInfo) {
	a := r.archive
	a.mu.Lock()
	a.countLocked(time.Now(), totals{Dropped: 1})
	f := a.listenerLocked(a.topicLocked(l.Topic), l.Listener)
	f.dropped++
	f.lastDropped = time.Now()
	a.mu.Unlock()
	r.revision.Add(1)
}
