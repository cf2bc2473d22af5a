package dispatch

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CallID identifies a call within its bus.
type CallID uint64

// String gives the number in decimal.
func (id CallID) String() string { return strconv.FormatUint(uint64(id), 10) }

// CallInfo describes the call on whose behalf a closure runs.
type CallInfo struct {
	Topic  string        // the topic's name
	ID     CallID        // the call
	Member Member        // who is asked; zero in a listener
	Budget time.Duration // how long the call has left, at most
}

// Member identifies one participant of a call.
type Member struct {
	Node  string `json:"node,omitempty"`  // where it runs; empty for this process
	Group string `json:"group,omitempty"` // the replicas it stands in for; empty for a producer on its own
	Name  string `json:"name"`            // the producer's name, unique on its topic and node
}

// String gives the parts that are set, joined by slashes.
func (m Member) String() string {
	parts := slices.DeleteFunc([]string{m.Node, m.Group, m.Name}, func(s string) bool { return s == "" })
	return strings.Join(parts, "/")
}

// Matches reports whether a name of [WithTargets] or [WithRequired] means the member: its
// name, its group, or group/name, each of which may have the node and a slash in front; or
// node/* for whatever runs on the node. A group without the name of a replica may stand for
// any of them, and so matches group/name for every name.
func (m Member) Matches(name string) bool {
	if m.Node == "" || m.matchesHere(name) {
		return m.matchesHere(name)
	}
	here, ok := strings.CutPrefix(name, m.Node+"/")
	return ok && (here == "*" || m.matchesHere(here))
}

// matchesHere is Matches for a name without a node.
func (m Member) matchesHere(name string) bool {
	switch {
	case name == "" || m.Group == "":
		return name != "" && name == m.Name
	case name == m.Name || name == m.Group:
		return true
	}
	replica, ok := strings.CutPrefix(name, m.Group+"/")
	return ok && replica != "" && (m.Name == "" || replica == m.Name)
}

// State says how one member of a call ended.
type State uint8

// The states of a member. All but StatePending are final.
const (
	StatePending  State = iota // the call and the member are both under way
	StateOK                    // it answered in time
	StateFailed                // it returned an error, or ended its goroutine
	StatePanicked              // it panicked
	StateDeclined              // it had nothing to say
	StateLate                  // it had not ended at the deadline, or at its own under WithTimeout
	StateCanceled              // it had not ended when the call did, for another reason than the deadline
	StateRejected              // it was not asked: it had too much to do, or too many runs that never returned
	StateGone                  // it left before it was asked or before it answered
)

var stateNames = [...]string{
	"pending", "ok", "failed", "panicked", "declined", "late", "canceled", "rejected", "gone",
}

// String gives the state's word, in lower case.
func (s State) String() string { return word(stateNames[:], s) }

// MarshalText gives the state's word.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// isFailure reports whether a member that ended so has failed, which to decline,
// to be late or to be gone is not.
func (s State) isFailure() bool {
	return s == StateFailed || s == StatePanicked || s == StateRejected
}

// Reason says why a call ended.
type Reason uint8

// The reasons for a call's end. All but ReasonPending are final.
const (
	ReasonPending     Reason = iota // the call is under way
	ReasonAllEnded                  // every member ended
	ReasonSatisfied                 // as many members answered as WithQuorum or WithMajority asks for, or First has its result
	ReasonQuorumLost                // too few members were left for the quorum
	ReasonStalled                   // no further result came within the time of WithStall
	ReasonDeadline                  // time was up
	ReasonCanceled                  // the caller canceled the call or its context
	ReasonFailedFast                // a member failed under WithFailFast
	ReasonClosed                    // the bus was closed
	ReasonNoProducers               // no producer is registered
)

var reasonNames = [...]string{
	"pending", "all ended", "satisfied", "quorum lost", "stalled", "deadline", "canceled", "failed fast", "closed", "no producers",
}

// String gives the reason's words, in lower case.
func (r Reason) String() string { return word(reasonNames[:], r) }

// MarshalText gives the reason's words.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func word[T ~uint8](words []string, i T) string {
	if int(i) < len(words) {
		return words[i]
	}
	return fmt.Sprintf("unknown(%d)", i)
}

// Outcome says how one member of a call ended. There is exactly one for every
// member.
type Outcome struct {
	Member  Member `json:"member"`
	State   State  `json:"state"`
	Err     error  `json:"-"`       // nil if and only if State is StateOK or StatePending
	Started bool   `json:"started"` // whether its closure was called: Tried is not 0
	Results int    `json:"results"` // how many results it gave in time
	Tried   int    `json:"tried"`   // how many producers were started for it: for a group, of its replicas

	// Began is the time from the call's start to the start of its closure: for a group of
	// its first replica, for a member that a relay named to when that was. It is 0 if Started
	// is false.
	Began time.Duration `json:"began_ns"`

	// Elapsed is the time from the call's start to the member's end. It is not greater
	// than that of the Report.
	Elapsed time.Duration `json:"elapsed_ns"`
}

// MarshalJSON gives the fields by their JSON names, and the error as its text.
func (o Outcome) MarshalJSON() ([]byte, error) {
	type plain Outcome // without this method
	text := ""
	if o.Err != nil {
		text = o.Err.Error()
	}
	return json.Marshal(struct {
		plain
		Error string `json:"error,omitempty"`
	}{plain(o), text})
}

// Report says how every member of a call ended and why the call did.
type Report struct {
	Call     CallID        `json:"call"`
	Parent   CallID        `json:"parent"` // the call on the same bus that it was sent from; 0 if there is none
	Topic    string        `json:"topic"`
	Reason   Reason        `json:"reason"`
	Started  time.Time     `json:"started"`
	Elapsed  time.Duration `json:"elapsed_ns"` // from the start to the end, or to now
	Budget   time.Duration `json:"budget_ns"`  // all the time that its members had
	Outcomes []Outcome     `json:"outcomes"`   // in the order of registration

	// Replicas says how the replicas ended that were asked for the groups of this bus:
	// group by group in the order of Outcomes, and for each in the order in which they were
	// asked. It is empty if the call has no group.
	Replicas []Outcome `json:"replicas,omitempty"`

	cause  error // why the call ended, if the reason has an error of its own
	quorum int   // the sender's; 0 if it asked for none
	first  bool  // the call was made by First
}

// Complete reports whether the results are the whole answer: there was at
// least one member, and every member answered or declined.
func (r Report) Complete() bool {
	return len(r.Outcomes) > 0 && !slices.ContainsFunc(r.Outcomes, Outcome.missing)
}

// Err returns nil if the call was satisfied, or if it is complete and the
// quorum, if any, was reached. Otherwise it returns a [*PartialError] that
// reaches the error of every member without an answer.
func (r Report) Err() error {
	switch r.Reason {
	case ReasonSatisfied:
		return nil
	case ReasonQuorumLost:
		// Enough members may have declined for the report to be complete and
		// the quorum to be lost all the same.
	default:
		if r.Complete() {
			return nil
		}
	}
	return r.partial()
}

// firstErr returns the error of a First that got no result. It is never nil.
func (r Report) firstErr() error {
	r.first = true
	if err := r.Err(); err != nil {
		return err
	}
	if r.count(StateOK) > 0 {
		return ErrNoResult
	}
	return r.partial()
}

func (r Report) partial() error {
	e := &PartialError{Report: r}
	for _, o := range r.Outcomes {
		if o.Err != nil && o.State != StateDeclined {
			e.errs = append(e.errs, &MemberError{Member: o.Member, State: o.State, Err: o.Err})
		}
	}
	return e
}

// ofFirst reports whether the call was made by First without a quorum of the sender's,
// so that its text must not mention a quorum.
func (r Report) ofFirst() bool { return r.first && r.quorum <= 1 }
