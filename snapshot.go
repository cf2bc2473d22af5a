package dispatch

import (
	"time"
)

// Snapshot is what a bus looks like at one moment, as plain data. Its parts are
// read one after another while the bus goes on.
type Snapshot struct {
	State     string              `json:"state"`     // open, draining or closed
	Started   time.Time           `json:"started"`   // when the bus was made
	Sent      uint64              `json:"sent"`      // calls since the bus was made, without those that were refused
	Topics    []TopicSnapshot     `json:"topics"`    // with registrations by name, sorted by name
	Patterns  TopicSnapshot       `json:"patterns"`  // what is registered by patterns, of all types
	Calls     []CallSnapshot      `json:"calls"`     // in flight, the oldest first
	Abandoned []AbandonedSnapshot `json:"abandoned"` // runs that have outlived their calls, the oldest first
	Misuse    uint64              `json:"misuse"`    // calls of roster methods by relays that were misuse, see Roster
	Observers []ObserverSnapshot  `json:"observers"` // in the order in which they were added

	MaxInFlight    int `json:"max_in_flight"`   // the bound of WithMaxInFlight; 0 if there is none
	SendersWaiting int `json:"senders_waiting"` // senders that wait for a place under it
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
	Left  time.Duration `json:"left_ns"` // of its Budget
	Depth int           `json:"depth"`   // how many calls it is nested in

	// WaitsFor is how many producers are missing under WithMinProducers; 0 if the call does
	// not wait for producers.
	WaitsFor int `json:"waits_for"`
}

// AbandonedSnapshot is one run that has outlived its call.
type AbandonedSnapshot struct {
	Member Member        `json:"member"`
	Topic  string        `json:"topic"`
	Call   CallID        `json:"call"`
	Age    time.Duration `json:"age_ns"` // since the end of the call
}
