package dispatch

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
	"github.com/seed-bb4b4d74/dispatch/internal/registry"
)

// Snapshot is what a bus looks like at one moment, as plain data. Its parts are
// read one after another while the bus goes on.
type Snapshot struct {
	State     string              `json:"state"`     // open, draining or closed
	Started   time.Time           `json:"started"`   // when the bus was made
	Sent      uint64              `json:"sent"`      // calls since the bus was made
	Topics    []TopicSnapshot     `json:"topics"`    // with registrations by name, sorted by name
	Patterns  TopicSnapshot       `json:"patterns"`  // what is registered by patterns, of all types
	Calls     []CallSnapshot      `json:"calls"`     // in flight, the oldest first
	Abandoned []AbandonedSnapshot `json:"abandoned"` // runs that have outlived their calls, the oldest first
	Misuse    uint64              `json:"misuse"`    // calls of roster methods by relays that were misuse, see Roster
	Observers []ObserverSnapshot  `json:"observers"` // in the order in which they were added
}

// TopicSnapshot is one topic and all that is registered on it, by name or by
// pattern, in the order of registration.
type TopicSnapshot struct {
	Name      string             `json:"name,omitempty"`
	Request   string             `json:"request,omitempty"` // the type, with its package's path
	Result    string             `json:"result,omitempty"`
	Producers []ProducerSnapshot `json:"producers"`
	Listeners []ListenerSnapshot `json:"listeners"`
}

// ProducerSnapshot is one registered producer.
type ProducerSnapshot struct {
	Name      string `json:"name"`
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`      // producer, stream or relay
	On        string `json:"on"`        // the topics or the pattern of the registration
	AddedAt   string `json:"added_at"`  // file:line
	Waiting   int    `json:"waiting"`   // calls that wait for their turn with it
	Running   int    `json:"running"`   // runs that have not returned
	Abandoned int    `json:"abandoned"` // those of them that have outlived their calls
	Failed    uint64 `json:"failed"`    // runs that were started and failed or panicked within their calls
	LastError string `json:"last_error,omitempty"`
}

// ListenerSnapshot is one registered listener.
type ListenerSnapshot struct {
	Name      string        `json:"name"`
	On        string        `json:"on"`
	AddedAt   string        `json:"added_at"`
	Queued    int           `json:"queued"`     // calls that have something for it, the one it is busy with included
	Delivered uint64        `json:"delivered"`  // results it was called with, not counting those of the batch in hand
	Dropped   uint64        `json:"dropped"`    // results that WithMailbox has dropped; can lag behind calls in flight
	Panicked  uint64        `json:"panicked"`   // callbacks that panicked or ended their goroutine
	Waiting   time.Duration `json:"waiting_ns"` // how long the oldest of what is queued has waited
}

// ObserverSnapshot is one observer.
type ObserverSnapshot struct {
	AddedAt string `json:"added_at"`
	Queued  int    `json:"queued"` // calls and single events that wait for its hooks
	Missed  uint64 `json:"missed"` // calls and single events that were dropped because too much was queued
}

// CallSnapshot is one call in flight.
type CallSnapshot struct {
	Report
	Budget time.Duration `json:"budget_ns"` // how long it has left
	Parent CallID        `json:"parent"`    // the call on this bus that it was sent from; 0 if there is none
	Depth  int           `json:"depth"`     // how many calls it is nested in
}

// AbandonedSnapshot is one run that has outlived its call.
type AbandonedSnapshot struct {
	Member Member        `json:"member"`
	Topic  string        `json:"topic"`
	Call   CallID        `json:"call"`
	Age    time.Duration `json:"age_ns"` // since the end of the call
}

// Snapshot returns what the bus looks like now. It takes time in proportion to
// all that is registered and in flight, and delays no call.
func (b *Bus) Snapshot() Snapshot {
	levels := map[ledger.Level]string{ledger.Open: "open", ledger.Draining: "draining", ledger.Closed: "closed"}
	s := Snapshot{
		State: levels[b.ledger.Level()], Sent: b.calls.Load(), Misuse: b.misuse.Load(),
		Started: b.epoch,
		Topics:  []TopicSnapshot{}, Calls: []CallSnapshot{}, Abandoned: []AbandonedSnapshot{}, Observers: []ObserverSnapshot{},
	}
	loads := make(map[*producer]load)
	for owner := range b.ledger.All() {
		if c, ok := owner.(*gathering); ok {
			abandoned := c.addTo(loads)
			if call := (CallSnapshot{c.report(), c.info().Budget, c.parent, int(c.from.nesting)}); call.Reason == ReasonPending {
				s.Calls = append(s.Calls, call)
			}
			s.Abandoned = append(s.Abandoned, abandoned...)
		}
	}
	slices.SortFunc(s.Calls, func(a, b CallSnapshot) int { return cmp.Compare(a.Call, b.Call) })
	slices.SortStableFunc(s.Abandoned, func(a, b AbandonedSnapshot) int { return cmp.Compare(b.Age, a.Age) })
	now := b.sinceEpoch(time.Now())
	for t, on := range b.registry.Topics() {
		topic := newTopicSnapshot(now, loads, on.Producers, on.Listeners)
		topic.Name, topic.Request, topic.Result = t.Name, registry.TypeName(t.Types.Req), registry.TypeName(t.Types.Res)
		s.Topics = append(s.Topics, topic)
	}
	producers, listeners := b.registry.Patterns()
	s.Patterns = newTopicSnapshot(now, loads, producers, listeners)
	for _, o := range b.observers.all() {
		s.Observers = append(s.Observers, ObserverSnapshot{AddedAt: o.addedAt(), Queued: o.inbox.Stats().Queued, Missed: o.missed.Load()})
	}
	return s
}

func newTopicSnapshot(now time.Duration, loads map[*producer]load, producers []*producer, listeners []*listener) TopicSnapshot {
	t := TopicSnapshot{Producers: []ProducerSnapshot{}, Listeners: []ListenerSnapshot{}}
	for _, p := range producers {
		t.Producers = append(t.Producers, p.snapshot(loads[p]))
	}
	for _, l := range listeners {
		t.Listeners = append(t.Listeners, l.snapshot(now))
	}
	return t
}

func (p *producer) snapshot(l load) ProducerSnapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return ProducerSnapshot{
		Name: p.Name(), Group: p.entry.Group, Kind: p.kind(), On: p.entry.Selection.String(), AddedAt: p.addedAt(),
		Waiting: l.waiting, Running: l.running, Abandoned: p.abandoned, Failed: p.failed, LastError: p.lastError,
	}
}

func (l *listener) snapshot(now time.Duration) ListenerSnapshot {
	stats := l.inbox.Stats()
	s := ListenerSnapshot{
		Name: l.Name(), On: l.entry.Selection.String(), AddedAt: l.addedAt(), Queued: stats.Queued,
		Delivered: l.delivered.Load(), Dropped: stats.Dropped, Panicked: stats.Unwound,
	}
	if since := time.Duration(l.since.Load()); since > 0 {
		s.Waiting = max(0, now-since)
	}
	return s
}

// load is what a producer has to do for the calls in flight.
type load struct{ waiting, running int }

// addTo adds what each producer has to do for the call, and returns the runs that have
// outlived it.
func (c *gathering) addTo(loads map[*producer]load) (abandoned []AbandonedSnapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	age := c.now() - c.course.Ended()
	for r := range c.runsLocked() {
		l := loads[r.producer()]
		switch {
		case r.phase.goes():
			l.running++
		case r.phase == runClaimed && !c.over():
			l.waiting++
		}
		loads[r.producer()] = l
		if r.phase == runAbandoned {
			abandoned = append(abandoned, AbandonedSnapshot{Member: r.producer().member(), Topic: c.topic.Name, Call: c.id(), Age: age})
		}
	}
	return abandoned
}
