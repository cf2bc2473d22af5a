package dispatchdebug

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A recorder is what the observer writes into. Calls in flight lie in shards, for the
// hooks that hold up a sender or a member come there, from many goroutines; all other
// hooks are called one at a time, and may wait for a page that is being built. No
// lock is held while anybody else's code runs, and none while something is written
// to a browser.
type recorder struct {
	began     time.Time
	summarize func(any) string // or nil
	revision  atomic.Uint64    // grows with everything there is to show
	lost      atomic.Uint64    // calls of which too much was going on to follow them
	shards    [16]shard
	archive   *archive
	idle      sync.Pool // of *record
}

type shard struct {
	mu      sync.Mutex // guards the fields below, and the records among them
	records map[dispatch.CallID]*record
	swept   time.Time // when those were looked for that should have ended long ago
	_       [16]byte  // keeps neighbours off each other's cache line
}

// mostInFlight is how many calls of a shard are followed. Beyond it, those that
// should have ended long ago are looked for: what is told of them was dropped.
const (
	mostInFlight = 4096
	overdue      = 10 * time.Second
)

func newRecorder(c config) *recorder {
	r := &recorder{began: time.Now(), summarize: c.summarize}
	r.archive = newArchive(c.calls, c.bytes, r.recycle)
	for i := range r.shards {
		r.shards[i].records = make(map[dispatch.CallID]*record)
	}
	return r
}

// observer returns the hooks. There is none for what nobody reads.
func (r *recorder) observer() dispatch.Observer {
	o := dispatch.Observer{
		CallStart: r.callStart, CallEnd: r.callEnd,
		MemberStart: r.memberStart, MemberEnd: r.memberEnd,
		Late: r.late, Abandoned: r.abandoned,
		ListenerEnd: r.listenerEnd, Dropped: r.dropped,
	}
	if r.summarize != nil {
		o.Result = r.result
	}
	return o
}

func (r *recorder) shard(id dispatch.CallID) *shard {
	return &r.shards[id%dispatch.CallID(len(r.shards))]
}

func (r *recorder) callStart(ctx context.Context, c dispatch.CallStarted) context.Context {
	rec, _ := r.idle.Get().(*record)
	if rec == nil {
		rec = new(record)
	}
	rec.id, rec.parent, rec.depth = c.ID, c.Parent, c.Depth
	rec.topic, rec.started, rec.budget, rec.asked = c.Topic, c.Started, c.Budget, c.Members
	if c.Parent != 0 {
		if from, ok := dispatch.CallFrom(ctx); ok && from.ID == c.Parent {
			rec.sender = from.Member
		}
	}
	if r.summarize != nil {
		rec.request = r.summarize(c.Request)
	}
	if s := r.shard(c.ID); !s.add(rec) {
		r.lost.Add(1)
		return ctx
	}
	if c.Parent != 0 {
		s := r.shard(c.Parent)
		s.mu.Lock()
		if parent := s.records[c.Parent]; parent != nil && len(parent.children) < mostChildren {
			parent.children = append(parent.children, c.ID)
		}
		s.mu.Unlock()
	}
	r.revision.Add(1)
	return ctx
}

// add reports whether there was room for the record.
func (s *shard) add(rec *record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.records) >= mostInFlight && rec.started.Sub(s.swept) > time.Second {
		s.swept = rec.started
		for id, old := range s.records {
			if rec.started.Sub(old.started) > old.budget+overdue {
				delete(s.records, id)
			}
		}
	}
	if len(s.records) >= mostInFlight {
		return false
	}
	s.records[rec.id] = rec
	return true
}

func (r *recorder) memberStart(ctx context.Context, m dispatch.MemberInfo) context.Context {
	s := r.shard(m.ID)
	s.mu.Lock()
	if rec := s.records[m.ID]; rec != nil {
		rec.start(m.Member, m.Replica, m.Elapsed)
	}
	s.mu.Unlock()
	r.revision.Add(1)
	return ctx
}

func (r *recorder) memberEnd(_ context.Context, m dispatch.MemberInfo, o dispatch.Outcome) {
	text, stack := textOf(o.Err)
	s := r.shard(m.ID)
	s.mu.Lock()
	if rec := s.records[m.ID]; rec != nil {
		rec.end(o, m.Replica, text, stack)
	}
	s.mu.Unlock()
	r.revision.Add(1)
}

func (r *recorder) callEnd(_ context.Context, report dispatch.Report) {
	s := r.shard(report.Call)
	s.mu.Lock()
	rec := s.records[report.Call]
	delete(s.records, report.Call)
	s.mu.Unlock()
	if rec == nil {
		return // it began before there was a recorder, or was not followed
	}
	a := r.archive
	a.mu.Lock()
	// Nobody else has the record now; the lock is for those who look for it next.
	rec.ended, rec.elapsed, rec.reason = true, report.Elapsed, report.Reason
	rec.hint = 0
	for i := range report.Outcomes {
		if w := rec.find(report.Outcomes[i].Member, false); w != nil {
			w.order = i
		}
	}
	t, late, failed := a.addLocked(rec)
	rec.settle()
	a.keepLocked(rec, t, late, failed)
	a.mu.Unlock()
	r.revision.Add(1)
}

// change lets f change a record, wherever it is, if it is still there.
func (r *recorder) change(id dispatch.CallID, f func(*record)) {
	s := r.shard(id)
	s.mu.Lock()
	rec := s.records[id]
	if rec != nil {
		f(rec)
	}
	s.mu.Unlock()
	if rec != nil {
		return
	}
	a := r.archive
	a.mu.Lock()
	defer a.mu.Unlock()
	if rec := a.records[id]; rec != nil {
		f(rec)
		a.grownLocked(rec)
	}
}

func (r *recorder) result(_ context.Context, m dispatch.MemberInfo, res dispatch.ResultInfo) {
	if res.Value == nil {
		return
	}
	summary := r.summarize(res.Value)
	r.change(m.ID, func(rec *record) {
		if w := rec.find(m.Member, m.Replica); w != nil && w.summary == "" {
			w.summary = summary
		}
	})
}

func (r *recorder) late(_ context.Context, m dispatch.MemberInfo, _ time.Duration, err error) {
	text, _ := textOf(err)
	r.change(m.ID, func(rec *record) {
		if w := rec.find(memberOf(rec, m.Member), m.Replica); w != nil {
			w.returned, w.lateErr = m.Elapsed, text
		}
	})
	r.revision.Add(1)
}

func (r *recorder) abandoned(_ context.Context, m dispatch.MemberInfo, _ time.Duration) {
	r.change(m.ID, func(rec *record) {
		if w := rec.find(memberOf(rec, m.Member), m.Replica); w != nil {
			w.abandoned = true
		}
	})
	r.revision.Add(1)
}

// memberOf returns the member by the name that the record has for it.
func memberOf(rec *record, m dispatch.Member) dispatch.Member {
	if rec.ended {
		return shortMember(m)
	}
	return m
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
	if panicked {
		a.totals.Panics++
	}
	f := a.listenerLocked(a.topicLocked(l.Topic), l.Listener)
	f.add(l.ID, took, panicked)
	a.mu.Unlock()
	r.revision.Add(1)
}

func (r *recorder) dropped(context.Context, dispatch.ListenerInfo) {
	r.archive.mu.Lock()
	r.archive.totals.Dropped++
	r.archive.mu.Unlock()
	r.revision.Add(1)
}

// recycle keeps the memory of a record for the next call.
func (r *recorder) recycle(rec *record) {
	clear(rec.rows)
	clear(rec.listening)
	*rec = record{rows: rec.rows[:0], listening: rec.listening[:0], children: rec.children[:0]}
	r.idle.Put(rec)
}
