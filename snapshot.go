package dispatch

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
)

// Snapshot is what a bus looks like at one moment, as plain data. Its parts are
// read one after another while the bus goes on.
type Snapshot struct {
	State     string              `json:"state"`     // open, draining or closed
	Started   time.Time           `json:"started"`   // when the bus was made
	Sent      uint64              `json:"sent"`      // calls since the bus was made
	Topics    []TopicSnapshot     `json:"topics"`    // that somebody is registered on by name, sorted by name
	Patterns  TopicSnapshot       `json:"patterns"`  // who is registered by patterns, whatever their types
	Calls     []CallSnapshot      `json:"calls"`     // in flight, the oldest first
	Abandoned []AbandonedSnapshot `json:"abandoned"` // runs that have outlived their calls, the oldest first
	Misuse    uint64              `json:"misuse"`    // what relays did with rosters that they may not
	Observers []ObserverSnapshot  `json:"observers"` // in the order in which they were added
}

// TopicSnapshot is one topic and all who are registered on it, by name or by
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
	Delivered uint64        `json:"delivered"`  // results it was called with; may be some milliseconds old
	Dropped   uint64        `json:"dropped"`    // results that WithMailbox has dropped
	Panicked  uint64        `json:"panicked"`   // callbacks that panicked or ended their goroutine
	Waiting   time.Duration `json:"waiting_ns"` // how long the oldest of what is queued has waited
}

// ObserverSnapshot is one observer.
type ObserverSnapshot struct {
	AddedAt string `json:"added_at"`
	Queued  int    `json:"queued"` // calls and single events that it has not been told of
	Missed  uint64 `json:"missed"` // those that it never will be, because too much was queued
}

// CallSnapshot is one call in flight.
type CallSnapshot struct {
	Report
	Budget    time.Duration `json:"budget_ns"` // how long it has left
	Parent    CallID        `json:"parent"`    // the call on this bus that it was sent from; 0 if there is none
	Depth     int           `json:"depth"`     // how many calls it is nested in
	asksGroup bool          // it is a part of another one
}

// AbandonedSnapshot is one run that has outlived its call.
type AbandonedSnapshot struct {
	Member Member        `json:"member"`
	Topic  string        `json:"topic"`
	Call   CallID        `json:"call"`
	Age    time.Duration `json:"age_ns"` // since the end of the call
}

// Snapshot returns what the bus looks like now. It takes time in proportion to
// all that is registered and in flight, and holds up nobody.
func (b *Bus) Snapshot() Snapshot {
	levels := map[ledger.Level]string{ledger.Open: "open", ledger.Draining: "draining", ledger.Closed: "closed"}
	s := Snapshot{
		State: levels[b.ledger.Level()], Sent: b.calls.Load(), Misuse: b.misuse.Load(),
		Started: b.epoch,
		Topics:  []TopicSnapshot{}, Calls: []CallSnapshot{}, Abandoned: []AbandonedSnapshot{}, Observers: []ObserverSnapshot{},
	}
	loads := make(map[*producer]*load)
	for owner := range b.ledger.All() {
		if c, ok := owner.(interface {
			snapshot(loads map[*producer]*load) (CallSnapshot, []AbandonedSnapshot)
		}); ok {
			call, abandoned := c.snapshot(loads)
			if call.Reason == ReasonPending && !call.asksGroup {
				s.Calls = append(s.Calls, call)
			}
			s.Abandoned = append(s.Abandoned, abandoned...)
		}
	}
	slices.SortFunc(s.Calls, func(a, b CallSnapshot) int { return cmp.Compare(a.Call, b.Call) })
	slices.SortStableFunc(s.Abandoned, func(a, b AbandonedSnapshot) int { return cmp.Compare(b.Age, a.Age) })
	now := b.sinceEpoch(time.Now())
	b.topics.Range(func(_, v any) bool {
		e := v.(*topicEntry)
		t := e.current.Load().snapshot(now, loads)
		t.Name, t.Request, t.Result = e.spec.name, typeName(e.spec.types.req), typeName(e.spec.types.res)
		s.Topics = append(s.Topics, t)
		return true
	})
	slices.SortFunc(s.Topics, func(a, b TopicSnapshot) int { return cmp.Compare(a.Name, b.Name) })
	s.Patterns = b.patterns.Load().snapshot(now, loads)
	if observers := b.observers.Load(); observers != nil {
		for _, o := range *observers {
			s.Observers = append(s.Observers, ObserverSnapshot{AddedAt: o.addedAt(), Queued: o.queue.Len(), Missed: o.missed.Load()})
		}
	}
	return s
}

func (r *route) snapshot(now time.Duration, loads map[*producer]*load) TopicSnapshot {
	t := TopicSnapshot{Producers: []ProducerSnapshot{}, Listeners: []ListenerSnapshot{}}
	for _, p := range r.producers {
		t.Producers = append(t.Producers, p.snapshot(loads[p]))
	}
	for _, l := range r.listeners {
		t.Listeners = append(t.Listeners, l.snapshot(now))
	}
	return t
}

func (p *producer) snapshot(l *load) ProducerSnapshot {
	s := ProducerSnapshot{
		Name: p.name, Kind: p.kind(), On: p.selection.String(), AddedAt: p.addedAt(),
		Abandoned: int(p.abandoned.Load()), Failed: p.failed.Load(),
	}
	if l != nil {
		s.Waiting, s.Running = l.waiting, l.running
	}
	if p.group != nil {
		s.Group = p.group.name
	}
	if last := p.lastFailure.Load(); last != nil {
		s.LastError = last.err.Error()
	}
	return s
}

func (l *listener) snapshot(now time.Duration) ListenerSnapshot {
	s := ListenerSnapshot{
		Name: l.name, On: l.selection.String(), AddedAt: l.addedAt(), Queued: l.queue.Len(),
		Delivered: l.delivered.Load(), Dropped: l.dropped.Load(), Panicked: uint64(l.unwound.Load()),
	}
	if since := time.Duration(l.since.Load()); since > 0 {
		s.Waiting = max(0, now-since)
	}
	return s
}

// load is what a producer has to do for the calls in flight.
type load struct{ waiting, running int }

// snapshot also counts what each producer has to do for the call.
func (c *call) snapshot(loads map[*producer]*load) (CallSnapshot, []AbandonedSnapshot) {
	s := CallSnapshot{Report: c.report(), Budget: c.info().Budget, Depth: int(c.depth), asksGroup: c.outer != nil}
	var abandoned []AbandonedSnapshot
	note := func(p *producer, r run, age time.Duration) {
		if loads[p] == nil {
			loads[p] = new(load)
		}
		switch {
		case r.goes():
			loads[p].running++
		case r == runWaits:
			loads[p].waiting++
		}
		if r == runAbandoned {
			abandoned = append(abandoned, AbandonedSnapshot{Member: p.member(), Topic: c.spec.name, Call: c.id, Age: age})
		}
	}
	c.lockDrained()
	age, sender := c.now()-c.elapsed, c.sender
	pending := c.reason == ReasonPending
	for i := range c.members {
		// Who is not claimed waits for nothing but this call.
		m := &c.members[i]
		if p := c.runner(i); p != nil && (m.runs() || m.run == runWaits && pending && i < unclaimed(c.claims.Load())) {
			note(p, m.run, age)
		}
	}
	if c.relaying != nil {
		for _, r := range c.relaying.runs {
			if r.run.goes() {
				note(r.relay, r.run, age)
			}
		}
	}
	c.mu.Unlock()
	s.Parent = c.parent(sender)
	return s, abandoned
}
