package dispatch

import (
	"time"
)

// A Snapshot is the state of a bus at one moment, as plain data. Its parts are read one
// after the other while the bus goes on.
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
	Queued    int           `json:"queued"`     // calls with results or ends for it, including the one that it is handling
	Delivered uint64        `json:"delivered"`  // results that it was called with, without those of the current batch
	Dropped   uint64        `json:"dropped"`    // results that WithMailbox has dropped; may lag behind for calls in flight
	Panicked  uint64        `json:"panicked"`   // callbacks that panicked or called runtime.Goexit
	Waiting   time.Duration `json:"waiting_ns"` // how long its oldest undelivered result or end has waited
}

// ObserverSnapshot is one observer.
type ObserverSnapshot struct {
	AddedAt string `json:"added_at"`
	Queued  int    `json:"queued"` // calls and single events that wait for its hooks
	Missed  uint64 `json:"missed"` // calls and single events that were dropped because too much was queued
}

// A CallSnapshot is one call in flight.
type CallSnapshot struct {
	Report
	Budget time.Duration `json:"budget_ns"` // the time until its deadline
	Parent CallID        `json:"parent"`    // the call on this bus from which it was sent; 0 if there is none
	Depth  int           `json:"depth"`     // the number of calls in which it is nested

	// WaitsFor is the number of producers for which the call waits under WithMinProducers,
	// and 0 if it does not wait.
	WaitsFor int `json:"waits_for"`
}

// An AbandonedSnapshot is one run that has outlived its call.
type AbandonedSnapshot struct {
	Member Member        `json:"member"`
	Topic  string        `json:"topic"`
	Call   CallID        `json:"call"`
	Age    time.Duration `json:"age_ns"` // the time since the end of the call
}
