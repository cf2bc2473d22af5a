package dispatchdebug

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A query says what a document is about: a topic, a call, a search of calls, or the overview.
type query struct {
	Topic  string
	Call   dispatch.CallID
	Search string
	Sort   string
	Page   int
	All    bool // all suspects
	// For a search of calls that are kept.
	Outcome string
	Over    time.Duration
	Only    string // rows of a call
	// A topic is asked for even if its name is empty.
	hasTopic, hasCall, hasCalls bool
}

// A view makes documents. Calls that have ended come from the recorder; registrations and calls in
// flight come from a snapshot of the bus.
type view struct {
	now       time.Time // when the snapshot was taken
	recorder  *recorder
	bus       *busView
	sensitive bool
}

// busView is a snapshot with indexes.
type busView struct {
	dispatch.Snapshot
	taken     time.Time
	topics    map[string]*dispatch.TopicSnapshot
	abandoned map[abandonedKey]time.Duration
	calls     map[dispatch.CallID]*dispatch.CallSnapshot
	nested    map[dispatch.CallID][]dispatch.CallID // calls in flight, by the call they were sent from

	mu        sync.Mutex                         // guards the fields below
	byPattern map[string]*dispatch.TopicSnapshot // of topics that only patterns serve
	byMember  map[*dispatch.TopicSnapshot]map[dispatch.Member]producers

	panicked     map[listenerKey]panicked
	panics       uint64    // of listeners, since the view before
	sendersSince time.Time // since when senders have waited for places, as far as it was seen
}

// seenTogether is how far apart two snapshots may be to tell that something went on between them.
const seenTogether = 5 * time.Second

type abandonedKey struct {
	call   dispatch.CallID
	member dispatch.Member
}

// listenerKey identifies a listener, as far as a snapshot allows.
type listenerKey struct{ name, on, addedAt string }

func keyOfListener(l *dispatch.ListenerSnapshot) listenerKey {
	return listenerKey{l.Name, l.On, l.AddedAt}
}

// panicked is the number of panics of a listener, and when it was first seen.
type panicked struct {
	times uint64
	since time.Time
}

// newBusView indexes a snapshot. The view before, which may be nil, says when listeners panicked, and how often they
// had before.
func newBusView(s dispatch.Snapshot, taken time.Time, before *busView) *busView {
	b := &busView{
		Snapshot: s, taken: taken, topics: make(map[string]*dispatch.TopicSnapshot, len(s.Topics)),
		abandoned: make(map[abandonedKey]time.Duration, len(s.Abandoned)),
		calls:     make(map[dispatch.CallID]*dispatch.CallSnapshot, len(s.Calls)),
		nested:    make(map[dispatch.CallID][]dispatch.CallID),
		byPattern: make(map[string]*dispatch.TopicSnapshot), byMember: make(map[*dispatch.TopicSnapshot]map[dispatch.Member]producers),
		panicked: make(map[listenerKey]panicked),
	}
	for i := range s.Topics {
		b.topics[s.Topics[i].Name] = &s.Topics[i]
	}
	for _, a := range s.Abandoned {
		b.abandoned[abandonedKey{a.Call, shortMember(a.Member)}] = a.Age
	}
	for i := range s.Calls {
		c := &s.Calls[i]
		b.calls[c.Call] = c
		if c.Parent != 0 {
			b.nested[c.Parent] = append(b.nested[c.Parent], c.Call)
		}
	}
	b.sendersSince = taken
	if before != nil && before.SendersWaiting > 0 && taken.Sub(before.taken) < seenTogether {
		b.sendersSince = before.sendersSince
	}
	for l := range b.listeners() {
		if l.Panicked > 0 { // several listeners may have one key
			b.panicked[keyOfListener(l)] = panicked{b.panicked[keyOfListener(l)].times + l.Panicked, taken}
		}
	}
	for key, p := range b.panicked {
		var was panicked
		if before != nil {
			was = before.panicked[key]
		}
		if p.times <= was.times {
			b.panicked[key] = panicked{p.times, was.since}
		}
		b.panics += p.times - min(was.times, p.times)
	}
	return b
}

// listeners ranges over all listeners, each once, with a topic that it is registered on.
func (b *busView) listeners() func(yield func(*dispatch.ListenerSnapshot, string) bool) {
	return func(yield func(*dispatch.ListenerSnapshot, string) bool) {
		seen := make(map[listenerKey]bool)
		visit := func(t *dispatch.TopicSnapshot) bool {
			for i := range t.Listeners {
				l := &t.Listeners[i]
				if l.On != t.Name { // it may be registered on several topics
					if key := keyOfListener(l); seen[key] {
						continue
					} else {
						seen[key] = true
					}
				}
				if !yield(l, t.Name) {
					return false
				}
			}
			return true
		}
		for i := range b.Topics {
			if !visit(&b.Topics[i]) {
				return
			}
		}
		visit(&b.Patterns)
	}
}

// topic returns the registrations on a topic: by name, or else by patterns. Patterns of other types are among
// them, because nothing says which types the topic has.
func (b *busView) topic(name string) (t *dispatch.TopicSnapshot, byName bool) {
	if t := b.topics[name]; t != nil {
		return t, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t = b.byPattern[name]
	if t == nil {
		t = &dispatch.TopicSnapshot{
			Producers: slices.DeleteFunc(slices.Clone(b.Patterns.Producers), func(p dispatch.ProducerSnapshot) bool { return !covers(p.On, name) }),
			Listeners: slices.DeleteFunc(slices.Clone(b.Patterns.Listeners), func(l dispatch.ListenerSnapshot) bool { return !covers(l.On, name) }),
		}
		b.byPattern[name] = t
	}
	return t, false
}

// producers are those that are one member: its replicas, if it is a group.
type producers struct {
	first            *dispatch.ProducerSnapshot // nil if there are none
	waiting, running int                        // runs
}

// producers returns the producers of a topic that are this member, whose names are cut.
func (b *busView) producers(topic string, m dispatch.Member) producers {
	t, _ := b.topic(topic)
	b.mu.Lock()
	defer b.mu.Unlock()
	index := b.byMember[t]
	if index == nil { // a topic can have thousands of producers, and each is looked for
		index = make(map[dispatch.Member]producers, len(t.Producers))
		for i := range t.Producers {
			p := &t.Producers[i]
			one := shortMember(dispatch.Member{Group: p.Group, Name: p.Name})
			for _, m := range []dispatch.Member{one, {Group: one.Group}} {
				list := index[m]
				index[m] = producers{cmp.Or(list.first, p), list.waiting + p.Waiting, list.running + p.Running}
			}
		}
		b.byMember[t] = index
	}
	return index[m]
}

// covers reports whether a pattern of topics matches a name.
func covers(pattern, name string) bool {
	for {
		want, morePattern, patternGoesOn := strings.Cut(pattern, ".")
		token, moreName, nameGoesOn := strings.Cut(name, ".")
		if want == ">" {
			return true
		}
		if want != "*" && want != token || patternGoesOn != nameGoesOn {
			return false
		}
		if !nameGoesOn {
			return true
		}
		pattern, name = morePattern, moreName
	}
}

// document makes the document that q asks for. It holds the recorder's lock only while it copies.
func (v *view) document(q query) *document {
	doc := &document{Version: version, Now: v.now, Sensitive: v.sensitive, Suspects: []suspect{}, Earlier: []suspect{}}
	switch {
	case q.hasCall:
		doc.Call = v.call(q)
	case q.hasCalls:
		doc.Kept = v.search(q)
	default:
		now, earlier := v.describe(doc, q)
		doc.Calls = v.callsOf(q)
		most := mostSuspects
		if q.All {
			most = mostSuspectsInAll
		}
		doc.Suspects, doc.MoreSuspects = first(now, most)
		doc.Earlier, doc.MoreEarlier = first(earlier, most)
	}
	v.fill(&doc.Bus, &doc.Page)
	return doc
}

// describe adds the topics, or the topic that q asks for, to the document. It returns the suspects of now and the
// earlier ones.
func (v *view) describe(doc *document, q query) (now, earlier []suspect) {
	inFlight := v.inFlightByTopic()
	a := v.recorder.archive
	a.mu.Lock()
	defer a.mu.Unlock()
	if q.hasTopic {
		doc.Topic = v.topicLocked(a, q, inFlight)
	} else {
		doc.Topics = v.topicsLocked(a, q, inFlight)
		doc.Elsewhere = v.elsewhere(q)
	}
	return v.suspectsLocked(a, q)
}

// first returns the first n of list, and how many more there are.
func first[T any](list []T, n int) ([]T, int) {
	if list == nil {
		list = []T{}
	}
	if len(list) <= n {
		return list, 0
	}
	return list[:n], len(list) - n
}

const (
	mostSuspects      = 8
	mostSuspectsInAll = 500
	mostFlightsShown  = 12
)

// fill sets the parts that every document has.
func (v *view) fill(b *busPart, p *pagePart) {
	s := &v.bus.Snapshot
	b.State, b.Sent, b.Misuse = s.State, s.Sent, s.Misuse
	b.Uptime = v.now.Sub(s.Started)
	b.InFlight, b.Abandoned = len(s.Calls), len(s.Abandoned)
	b.MaxInFlight, b.SendersWaiting = s.MaxInFlight, s.SendersWaiting
	b.DispatchVersion, b.GoVersion = versions()
	for _, o := range s.Observers {
		if isHandler(&o) {
			p.Missed += o.Missed
		}
	}
	p.RecordingFor = v.now.Sub(v.recorder.began)
	a := v.recorder.archive
	a.mu.Lock()
	p.Missed += a.lost
	b.Calls, b.Late, b.Failed, b.Panics, b.Dropped = a.totals.Calls, a.totals.Late, a.totals.Failed, a.totals.Panics, a.totals.Dropped
	last := a.lastMinuteLocked(v.now)
	p.Kept, p.KeptBytes, p.LetGo = len(a.records), a.bytes+a.figures, a.letGo
	a.mu.Unlock()
	b.Minute = minutePart(last)
}

func (v *view) inFlightByTopic() map[string]int {
	inFlight := make(map[string]int)
	for i := range v.bus.Calls {
		inFlight[v.bus.Calls[i].Topic]++
	}
	return inFlight
}

// record returns a copy of the record of a call, in flight or kept. If looked is true, the call is
// kept for longer.
func (v *view) record(id dispatch.CallID, looked bool) *record {
	var explained, replicas []row
	if c := v.bus.calls[id]; c != nil {
		explained, replicas = explain(c.Outcomes), explain(c.Replicas)
	}
	a := v.recorder.archive
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.records[id]
	if r == nil && v.bus.calls[id] == nil {
		return nil
	}
	if looked {
		a.viewLocked(id)
	}
	if r != nil {
		return r.clone()
	}
	if looked {
		a.openLocked(id) // so that it does not end as a plain call
	}
	return v.flightLocked(a, id, explained, replicas)
}

// flightLocked makes the record of a call in flight from the snapshot and from the events that the
// recorder has got already. explained has the texts of its members' errors, and replicas those of its replicas.
func (v *view) flightLocked(a *archive, id dispatch.CallID, explained, replicas []row) *record {
	c := v.bus.calls[id]
	if c == nil {
		return nil
	}
	r := a.open[id].clone()
	if r == nil {
		r = new(record)
	}
	r.id, r.topic, r.parent, r.started = c.Call, c.Topic, c.Parent, c.Started
	r.elapsed, r.budget, r.waitsFor = c.Elapsed, c.Budget, c.WaitsFor
	r.fill(c.Outcomes, explained, c.Replicas, replicas)
	r.shortenTexts()
	for _, child := range v.bus.nested[id] {
		if !slices.Contains(r.children, child) {
			r.children = append(r.children, child)
		}
	}
	return r
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

// flightOrders are the ways in which calls in flight can be sorted.
var flightOrders = map[string]func(a, b *dispatch.CallSnapshot) int{
	"age":   func(a, b *dispatch.CallSnapshot) int { return cmp.Compare(b.Elapsed, a.Elapsed) },
	"used":  func(a, b *dispatch.CallSnapshot) int { return cmp.Compare(used(b), used(a)) },
	"topic": func(a, b *dispatch.CallSnapshot) int { return cmp.Compare(a.Topic, b.Topic) },
}

// used is the part of its time that a call has used. A call can last a little longer than its time.
func used(c *dispatch.CallSnapshot) float64 {
	if budget := c.Budget; budget > 0 {
		return min(float64(c.Elapsed)/float64(budget), 1)
	}
	return 0
}

// callsOf describes the calls in flight, of one topic if q asks for one: the oldest of
// each topic, and then the oldest of all.
func (v *view) callsOf(q query) *callsPart {
	c := &callsPart{Rows: []flightPart{}}
	var all []*dispatch.CallSnapshot
	for i := range v.bus.Calls {
		if s := &v.bus.Calls[i]; q.hasTopic && s.Topic == q.Topic || !q.hasTopic && matches(q.Search, s.Topic) {
			all = append(all, s)
		}
	}
	c.Total = len(all)
	slices.SortStableFunc(all, flightOrders["age"])
	var shown, others []*dispatch.CallSnapshot
	seen := make(map[string]bool)
	for _, s := range all {
		if seen[s.Topic] {
			others = append(others, s)
		} else {
			shown = append(shown, s)
		}
		seen[s.Topic] = true
	}
	shown, _ = first(append(shown, others...), mostFlightsShown)
	// The one that has waited longest stands first, whatever its topic.
	slices.SortStableFunc(shown, flightOrders["age"])
	for _, s := range shown {
		c.Rows = append(c.Rows, v.flight(s))
	}
	c.More = c.Total - len(c.Rows)
	return c
}

func (v *view) flight(s *dispatch.CallSnapshot) flightPart {
	waiting := waitingIn(s)
	f := flightPart{
		ID: s.Call, Topic: cut(s.Topic, mostName), Elapsed: s.Elapsed, Budget: s.Budget,
		Tone: "busy", WaitsFor: s.WaitsFor, Members: len(s.Outcomes), Ended: len(s.Outcomes) - len(waiting),
	}
	if f.Used = used(s); f.Used > 0.8 {
		f.Tone = "warn"
	}
	f.Waiting, f.More = first(waiting, 3)
	return f
}

// waitingIn returns the members of a call in flight that have not ended: those that run,
// the longest first, then those that wait for their turn.
func waitingIn(s *dispatch.CallSnapshot) []waitingPart {
	var list []waitingPart
	for i := range s.Outcomes {
		o := &s.Outcomes[i]
		if o.State != dispatch.StatePending {
			continue
		}
		w := waitingPart{member: shortMember(keyOf(o.Member, false).member), State: "queued", Running: unknown}
		w.Name = cut(w.member.String(), mostName)
		if o.Started {
			w.State, w.Running = "running", max(s.Elapsed-o.Began, 0)
		}
		list = append(list, w)
	}
	slices.SortStableFunc(list, func(a, b waitingPart) int { return cmp.Compare(b.Running, a.Running) })
	return list
}
