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
	Sent      uint64              `json:"sent"`      // calls since the bus was made
	Topics    []TopicSnapshot     `json:"topics"`    // that somebody is registered on by name, sorted by name
	Patterns  TopicSnapshot       `json:"patterns"`  // who is registered by patterns, whatever their types
	Calls     []CallSnapshot      `json:"calls"`     // in flight, the oldest first
	Abandoned []AbandonedSnapshot `json:"abandoned"` // runs that have outlived their calls, the oldest first
	Misuse    uint64              `json:"misuse"`    // what relays did with rosters that they may not
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
	On        string `json:"on"`        // the topics or the pattern of the registration
	AddedAt   string `json:"added_at"`  // file:line
	Abandoned int    `json:"abandoned"` // runs that have outlived their calls
}

// ListenerSnapshot is one registered listener.
type ListenerSnapshot struct {
	Name    string        `json:"name"`
	On      string        `json:"on"`
	AddedAt string        `json:"added_at"`
	Queued  int           `json:"queued"`  // calls that have something for it, the one it is busy with included
	Dropped uint64        `json:"dropped"` // results that WithMailbox has dropped
	Waiting time.Duration `json:"waiting"` // how long the oldest of what is queued has waited
}

// CallSnapshot is one call in flight.
type CallSnapshot struct {
	Report
	Budget time.Duration `json:"budget"` // how long it has left
	nested bool          // it is a part of another one
}

// AbandonedSnapshot is one run that has outlived its call.
type AbandonedSnapshot struct {
	Member Member        `json:"member"`
	Topic  string        `json:"topic"`
	Call   CallID        `json:"call"`
	Age    time.Duration `json:"age"` // since the end of the call
}

// Snapshot returns what the bus looks like now. It takes time in proportion to
// all that is registered and in flight, and holds up nobody.
func (b *Bus) Snapshot() Snapshot {
	levels := map[ledger.Level]string{ledger.Open: "open", ledger.Draining: "draining", ledger.Closed: "closed"}
	s := Snapshot{
		State: levels[b.ledger.Level()], Sent: b.calls.Load(), Misuse: b.misuse.Load(),
		Topics: []TopicSnapshot{}, Calls: []CallSnapshot{}, Abandoned: []AbandonedSnapshot{},
	}
	now := b.sinceEpoch(time.Now())
	b.topics.Range(func(_, v any) bool {
		e := v.(*topicEntry)
		t := e.current.Load().snapshot(now)
		t.Name, t.Request, t.Result = e.spec.name, typeName(e.spec.types.req), typeName(e.spec.types.res)
		s.Topics = append(s.Topics, t)
		return true
	})
	slices.SortFunc(s.Topics, func(a, b TopicSnapshot) int { return cmp.Compare(a.Name, b.Name) })
	s.Patterns = b.patterns.Load().snapshot(now)
	for owner := range b.ledger.All() {
		if c, ok := owner.(interface {
			snapshot() (CallSnapshot, []AbandonedSnapshot)
		}); ok {
			call, abandoned := c.snapshot()
			if call.Reason == ReasonPending && !call.nested {
				s.Calls = append(s.Calls, call)
			}
			s.Abandoned = append(s.Abandoned, abandoned...)
		}
	}
	slices.SortFunc(s.Calls, func(a, b CallSnapshot) int { return cmp.Compare(a.Call, b.Call) })
	slices.SortStableFunc(s.Abandoned, func(a, b AbandonedSnapshot) int { return cmp.Compare(b.Age, a.Age) })
	return s
}

func (r *route) snapshot(now time.Duration) TopicSnapshot {
	t := TopicSnapshot{Producers: []ProducerSnapshot{}, Listeners: []ListenerSnapshot{}}
	for _, p := range r.producers {
		t.Producers = append(t.Producers, ProducerSnapshot{
			Name: p.name, On: p.selection.String(), AddedAt: p.addedAt(), Abandoned: int(p.abandoned.Load()),
		})
	}
	for _, l := range r.listeners {
		listener := ListenerSnapshot{Name: l.name, On: l.selection.String(), AddedAt: l.addedAt(), Queued: l.queue.Len(), Dropped: l.dropped.Load()}
		if since := time.Duration(l.since.Load()); since > 0 {
			listener.Waiting = now - since
		}
		t.Listeners = append(t.Listeners, listener)
	}
	return t
}

func (c *call) snapshot() (CallSnapshot, []AbandonedSnapshot) {
	s := CallSnapshot{Report: c.report(), Budget: c.info().Budget, nested: c.outer != nil}
	c.mu.Lock()
	defer c.mu.Unlock()
	var abandoned []AbandonedSnapshot
	age := c.now() - c.elapsed
	for i := range c.members {
		if c.members[i].run == runAbandoned {
			abandoned = append(abandoned, AbandonedSnapshot{Member: c.runner(i).member(), Topic: c.spec.name, Call: c.id, Age: age})
		}
	}
	if c.relaying != nil {
		for _, r := range c.relaying.runs {
			if r.run == runAbandoned {
				abandoned = append(abandoned, AbandonedSnapshot{Member: r.relay.member(), Topic: c.spec.name, Call: c.id, Age: age})
			}
		}
	}
	return s, abandoned
}
