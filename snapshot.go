package dispatch

import (
	"time"
)

// A Snapshot is the current state of a bus, as plain data. The bus goes on while the parts
// of the Snapshot are read one after the other.
type Snapshot struct {
	State     string              `json:"state"`     // open, draining or closed
	Started   time.Time           `json:"started"`   // when the bus was made
	Sent      uint64              `json:"sent"`      // calls since the bus was made, without those that were refused
	Topics    []TopicSnapshot     `json:"topics"`    // topics with registrations by name, sorted by name
	Patterns  TopicSnapshot       `json:"patterns"`  // registrations by patterns, of all types
	Calls     []CallSnapshot      `json:"calls"`     // calls in flight, the oldest first
	Abandoned []AbandonedSnapshot `json:"abandoned"` // runs that have outlived their calls, the oldest first
	Misuse    uint64              `json:"misuse"`    // misuse of rosters by relays, in method calls; see Roster
	Observers []ObserverSnapshot  `json:"observers"` // in the order in which they were added
	Links     []LinkSnapshot      `json:"links"`     // connections with other processes, in the order in which they were added

	MaxInFlight    int `json:"max_in_flight"`   // the bound of WithMaxInFlight; 0 if there is none
	SendersWaiting int `json:"senders_waiting"` // senders that wait for a place under WithMaxInFlight
}

// A TopicSnapshot is one topic with all its registrations, by name or by pattern, in the
// order of registration.
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
	Waiting   int    `json:"waiting"`   // runs that wait for their turn
	Running   int    `json:"running"`   // runs that have not returned
	Abandoned int    `json:"abandoned"` // runs that have not returned and have outlived their calls
	Failed    uint64 `json:"failed"`    // runs that were started and failed or panicked within their calls
	LastError string `json:"last_error,omitempty"`
}

// ListenerSnapshot is one registered listener.
type ListenerSnapshot struct {
	Name      string        `json:"name"`
	On        string        `json:"on"`
	AddedAt   string        `json:"added_at"`
	Queued    int           `json:"queued"`     // calls with results or ends for it, including the one that it is handling; with WithMailbox or WithConcurrency, callbacks that run count on their own
	Delivered uint64        `json:"delivered"`  // results that it was called with, without those of the current batch
	Dropped   uint64        `json:"dropped"`    // results that WithMailbox has dropped; may lag behind for calls in flight
	Panicked  uint64        `json:"panicked"`   // callbacks that panicked or called runtime.Goexit
	Waiting   time.Duration `json:"waiting_ns"` // how long the result or end that it is called with has waited
}

// ObserverSnapshot is one observer.
type ObserverSnapshot struct {
	AddedAt string `json:"added_at"`
	Queued  int    `json:"queued"` // calls and events that wait for its hooks
	Missed  uint64 `json:"missed"` // calls and events that were dropped because too many were queued
}

// A CallSnapshot is one call in flight.
type CallSnapshot struct {
	Report
	Left  time.Duration `json:"left_ns"` // the part of Budget that is left
	Depth int           `json:"depth"`   // the number of calls in which it is nested

	// WaitsFor is the number of producers that are still missing under WithMinProducers, and
	// 0 if the call does not wait for producers.
	WaitsFor int `json:"waits_for"`
}

// An AbandonedSnapshot is one run that has outlived its call.
type AbandonedSnapshot struct {
	Member Member        `json:"member"`
	Topic  string        `json:"topic"`
	Call   CallID        `json:"call"`
	Age    time.Duration `json:"age_ns"` // the time since the end of the call
}

// A LinkSnapshot is one connection of the bus with other processes. The link describes
// itself to [Bus.AddLink].
type LinkSnapshot struct {
	Name        string         `json:"name"`             // for example "nats:dispatch.default"
	Serves      string         `json:"serves,omitempty"` // the name under which other processes ask this bus; empty if this bus asks them
	Topics      []string       `json:"topics"`           // the names of its topics, or their pattern
	AddedAt     string         `json:"added_at"`         // file:line; the Snapshot sets it
	State       string         `json:"state"`            // connected, reconnecting or closed
	Since       time.Time      `json:"since"`            // when State changed last; zero if it never changed
	Server      string         `json:"server"`           // the server to which it is connected; empty if it is not connected
	InFlight    int            `json:"in_flight"`        // requests in flight
	Stray       uint64         `json:"stray"`            // messages that belong to no request in flight
	Dropped     uint64         `json:"dropped"`          // messages that were dropped because they arrived faster than they were handled
	LastError   string         `json:"last_error"`       // the last error that no call reports
	LastErrorAt time.Time      `json:"last_error_at"`    // when LastError happened
	Nodes       []NodeSnapshot `json:"nodes"`            // the nodes that this bus asks through the link
}

// A NodeSnapshot is one process that a bus asks. Its state is one of these:
//
//	present       it takes requests
//	draining      it takes no new requests and is about to leave
//	silent        nothing was heard from it for too long; calls still expect it
//	unreachable   this bus is disconnected
//	missing       calls expect it, but it was never heard from
//	incompatible  it cannot be asked; Error says why
//	twin          another process has the same name
type NodeSnapshot struct {
	Name     string        `json:"name"`
	State    string        `json:"state"`
	Topics   []string      `json:"topics"`       // the topics for which it was heard from or is expected, sorted
	HeardAgo time.Duration `json:"heard_ago_ns"` // the time since it was last heard from; -1 if it never was
	InFlight int           `json:"in_flight"`    // calls that wait for a member of it; set by the Snapshot
	Error    string        `json:"error"`        // why its state is not present; empty if it is present
}

// nodeTopic is where a member on another machine answers.
type nodeTopic struct{ node, topic string }

// countWaiting notes with each node of the links how many calls wait for a member of it.
func (s *Snapshot) countWaiting() {
	calls := make(map[nodeTopic]int)
	last := make(map[nodeTopic]CallID)
	for i := range s.Calls {
		c := &s.Calls[i]
		for j := range c.Outcomes {
			o := &c.Outcomes[j]
			at := nodeTopic{o.Member.Node, c.Topic}
			if at.node != "" && o.State == StatePending && last[at] != c.Call {
				last[at] = c.Call
				calls[at]++
			}
		}
	}
	for i := range s.Links {
		for j := range s.Links[i].Nodes {
			n := &s.Links[i].Nodes[j]
			n.InFlight = 0
			for _, topic := range n.Topics {
				n.InFlight += calls[nodeTopic{n.Name, topic}]
			}
		}
	}
}
