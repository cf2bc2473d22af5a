package dispatchdebug

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A query says which part of what there is a document is about: a topic, a call, or
// else all of it.
type query struct {
	Topic  string
	Call   dispatch.CallID
	Search string
	Sort   string
	Page   int
	// What is asked for by name is shown even if its name is empty.
	hasTopic, hasCall bool
}

// A view makes documents of what a recorder has kept and of a snapshot of the bus.
// The figures of members and calls are of the recorder, who is registered is of the
// snapshot.
type view struct {
	now       time.Time
	recorder  *recorder
	bus       *busView
	sensitive bool
}

// busView is a snapshot, with what is looked for in it.
type busView struct {
	dispatch.Snapshot
	taken     time.Time
	topics    map[string]*dispatch.TopicSnapshot
	abandoned map[abandonedKey]time.Duration
}

type abandonedKey struct {
	call   dispatch.CallID
	member dispatch.Member
}

func newBusView(s dispatch.Snapshot, taken time.Time) *busView {
	b := &busView{
		Snapshot: s, taken: taken, topics: make(map[string]*dispatch.TopicSnapshot, len(s.Topics)),
		abandoned: make(map[abandonedKey]time.Duration, len(s.Abandoned)),
	}
	for i := range s.Topics {
		b.topics[s.Topics[i].Name] = &s.Topics[i]
	}
	for _, a := range s.Abandoned {
		b.abandoned[abandonedKey{a.Call, shortMember(a.Member)}] = a.Age
	}
	return b
}

// topic returns who is registered on a topic: by name, or else by patterns.
func (b *busView) topic(name string) (t *dispatch.TopicSnapshot, byName bool) {
	if t := b.topics[name]; t != nil {
		return t, true
	}
	return &b.Patterns, false
}

// document makes the document that q asks for. It holds no lock of the recorder for
// longer than it takes to copy what is there.
func (v *view) document(q query) *document {
	doc := &document{Version: version, Now: v.now, Sensitive: v.sensitive, Suspects: []suspect{}}
	switch {
	case q.hasCall:
		doc.Call = v.call(q.Call)
	default:
		flights, inFlight := v.flights(q)
		a := v.recorder.archive
		a.mu.Lock()
		if !q.hasTopic {
			doc.Topics = v.topicsLocked(a, q, inFlight)
		} else {
			doc.Topic = v.topicLocked(a, q.Topic, inFlight)
		}
		suspects := v.suspectsLocked(a, q, flights)
		a.mu.Unlock()
		doc.Calls = v.callsOf(flights, inFlight, q)
		doc.Suspects, doc.MoreSuspects = first(suspects, mostSuspects)
	}
	v.fill(&doc.Bus, &doc.Page)
	return doc
}

// first returns the first n of list, and how many more there are.
func first[T any](list []T, n int) ([]T, int) {
	if len(list) <= n {
		return list, 0
	}
	return list[:n], len(list) - n
}

const (
	mostSuspects     = 8
	mostFlightsShown = 12
	mostFlightsRead  = 64
)

// fill sets what every document has.
func (v *view) fill(b *busPart, p *pagePart) {
	s := &v.bus.Snapshot
	b.State, b.Sent, b.Misuse = s.State, s.Sent, s.Misuse
	b.Uptime = v.now.Sub(s.Started)
	b.InFlight, b.Abandoned = len(s.Calls), len(s.Abandoned)
	b.DispatchVersion, b.GoVersion = versions()
	for _, o := range s.Observers {
		p.Missed += o.Missed
	}
	p.Missed += v.recorder.lost.Load()
	p.RecordingFor = v.now.Sub(v.recorder.began)
	a := v.recorder.archive
	a.mu.Lock()
	defer a.mu.Unlock()
	b.Late, b.Failed, b.Panics, b.Dropped = a.totals.Late, a.totals.Failed, a.totals.Panics, a.totals.Dropped
	p.Kept, p.KeptBytes, p.LetGo = len(a.records), a.bytes, a.letGo
}

// flights copies the oldest calls in flight, of one topic if q asks for one, and
// counts those of every topic.
func (v *view) flights(q query) (oldest []*record, inFlight map[string]int) {
	inFlight = make(map[string]int)
	type light struct {
		id      dispatch.CallID
		started time.Time
	}
	var all []light
	for i := range v.recorder.shards {
		s := &v.recorder.shards[i]
		s.mu.Lock()
		for id, r := range s.records {
			if v.now.Sub(r.started) > r.budget+overdue {
				// It ended long ago, and the word of it was lost.
				delete(s.records, id)
				v.recorder.lost.Add(1)
				continue
			}
			inFlight[r.topic]++
			if !q.hasTopic || r.topic == q.Topic {
				all = append(all, light{id, r.started})
			}
		}
		s.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b light) int {
		return cmp.Or(a.started.Compare(b.started), cmp.Compare(a.id, b.id))
	})
	all, _ = first(all, mostFlightsRead)
	for _, l := range all {
		if r := v.recorder.inFlight(l.id); r != nil {
			oldest = append(oldest, r)
		}
	}
	return oldest, inFlight
}

// inFlight returns a copy of the record of a call in flight.
func (r *recorder) inFlight(id dispatch.CallID) *record {
	s := r.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records[id].clone()
}

// kept returns a copy of the record of a call that has ended.
func (r *recorder) kept(id dispatch.CallID) *record {
	r.archive.mu.Lock()
	defer r.archive.mu.Unlock()
	return r.archive.records[id].clone()
}

func (r *record) clone() *record {
	if r == nil {
		return nil
	}
	c := *r
	c.rows, c.listening, c.children = slices.Clone(r.rows), slices.Clone(r.listening), slices.Clone(r.children)
	c.index, c.indexed, c.hint, c.places = nil, 0, 0, [3]place{}
	return &c
}

// callsOf describes the calls in flight, of one topic if q asks for one.
func (v *view) callsOf(flights []*record, inFlight map[string]int, q query) *callsPart {
	c := &callsPart{Rows: []flightPart{}}
	for topic, n := range inFlight {
		if !q.hasTopic || topic == q.Topic {
			c.Total += n
		}
	}
	shown, _ := first(flights, mostFlightsShown)
	for _, r := range shown {
		c.Rows = append(c.Rows, v.flight(r))
	}
	c.More = max(c.Total-len(c.Rows), 0)
	return c
}

func (v *view) flight(r *record) flightPart {
	waiting := r.waiting(v.now)
	elapsed := max(v.now.Sub(r.started), 0)
	f := flightPart{ID: r.id, Topic: r.topic, Elapsed: elapsed, Budget: r.budget, Tone: "busy"}
	if r.budget > 0 {
		f.Used = min(float64(elapsed)/float64(r.budget), 1)
	}
	if f.Used > 0.8 {
		f.Tone = "warn"
	}
	for i := range r.rows {
		if !r.rows[i].replica && r.rows[i].ended >= 0 {
			f.Ended++
		}
	}
	f.Ended += r.left
	f.Members = f.Ended + len(waiting)
	f.Waiting, f.More = first(waiting, 3)
	if f.Waiting == nil {
		f.Waiting = []waitingPart{}
	}
	return f
}

// waiting returns the members of a call in flight that have not ended: those that run,
// the longest first, then those that wait for their turn.
func (r *record) waiting(now time.Time) []waitingPart {
	elapsed := now.Sub(r.started)
	var list []waitingPart
	seen := make(map[dispatch.Member]bool, len(r.rows))
	for i := range r.rows {
		w := &r.rows[i]
		seen[w.key().member] = true
		if w.ended < 0 && !w.replica && w.started >= 0 {
			m := w.key().member
			list = append(list, waitingPart{Name: m.String(), State: "running", Running: max(elapsed-w.started, 0), member: m})
		}
	}
	slices.SortStableFunc(list, func(a, b waitingPart) int { return cmp.Compare(b.Running, a.Running) })
	if len(r.rows) < mostRuns {
		for _, m := range r.asked {
			if m := keyOf(m, false).member; !seen[m] {
				list = append(list, waitingPart{Name: m.String(), State: "queued", Running: -1, member: m})
			}
		}
	}
	return list
}
