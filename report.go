package dispatch

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CallID identifies a call on its bus.
type CallID uint64

// String returns the number in decimal.
func (id CallID) String() string { return strconv.FormatUint(uint64(id), 10) }

// CallInfo describes the call for which a producer or listener runs.
type CallInfo struct {
	Topic  string        // the topic's name
	ID     CallID        // the call
	Member Member        // the member that is asked; zero in a listener or relay
	Budget time.Duration // the time that is left until the deadline of the producers' contexts
}

// A Member is one participant of a call.
type Member struct {
	Node  string `json:"node,omitempty"`  // the node on which it runs; empty for this process
	Group string `json:"group,omitempty"` // the group whose replica it is; empty if it has none
	Name  string `json:"name"`            // the producer's name, unique on its topic and node
}

// String returns the parts that are set, joined by slashes.
func (m Member) String() string {
	parts := slices.DeleteFunc([]string{m.Node, m.Group, m.Name}, func(s string) bool { return s == "" })
	return strings.Join(parts, "/")
}

// Matches reports whether a name of [WithTargets] or [WithRequired] stands for the member.
// These names stand for a member: its name, its group, and group/name; each of them after
// the node and a slash; and node/* for all members of the node. A group without the name of
// a replica may stand for any replica, so it matches group/name for every name.
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

// A State says how one member of a call ended.
type State uint8

// The states of a member. All but StatePending are final.
const (
	StatePending  State = iota // the call and the member have not ended
	StateOK                    // it answered in time
	StateFailed                // it returned an error, or called runtime.Goexit
	StatePanicked              // it panicked
	StateDeclined              // it declined the request
	StateLate                  // it had not ended at the deadline, or at its own timeout
	StateCanceled              // it had not ended when the call ended before the deadline
	StateRejected              // it was not asked: its queue was full, it was overloaded, or too many of its runs had not returned
	StateGone                  // it left before it was asked or before it answered, or no member has this name
)

var stateNames = [...]string{
	"pending", "ok", "failed", "panicked", "declined", "late", "canceled", "rejected", "gone",
}

// String returns the state's word, in lower case.
func (s State) String() string { return word(stateNames[:], s) }

// MarshalText returns the state's word.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Reason says why a call ended.
type Reason uint8

// The reasons for the end of a call. All but ReasonPending are final.
const (
	ReasonPending     Reason = iota // the call has not ended
	ReasonAllEnded                  // every member ended
	ReasonSatisfied                 // the quorum of WithQuorum or WithMajority was reached, or First has its result
	ReasonQuorumLost                // too few members were left for the quorum
	ReasonStalled                   // no new result arrived in time under WithStall
	ReasonDeadline                  // the deadline was reached
	ReasonCanceled                  // the caller canceled the call or its context, or the topic got other types while the call waited for producers
	ReasonFailedFast                // a member failed under WithFailFast
	ReasonClosed                    // the bus was closed
	ReasonNoProducers               // no producer is registered
)

var reasonNames = [...]string{
	"pending", "all ended", "satisfied", "quorum lost", "stalled", "deadline", "canceled", "failed fast", "closed", "no producers",
}

// String returns the reason's words, in lower case.
func (r Reason) String() string { return word(reasonNames[:], r) }

// MarshalText returns the reason's words.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func word[T ~uint8](words []string, i T) string {
	if int(i) < len(words) {
		return words[i]
	}
	return fmt.Sprintf("unknown(%d)", i)
}

// An Outcome says how one member of a call ended. Every member has exactly one.
type Outcome struct {
	Member  Member `json:"member"`
	State   State  `json:"state"`
	Err     error  `json:"-"`       // nil if and only if State is StateOK or StatePending
	Started bool   `json:"started"` // whether its closure was called: Tried is not 0; false for a relay that is listed itself
	Results int    `json:"results"` // the number of its results in time, or 1<<31 - 1 if there are more
	Tried   int    `json:"tried"`   // the number of producers that were started for it; for a group, of its replicas

	// Began is the time from the call's start to the start of the member's closure. For a
	// group it is that of the first replica; for a member of a relay it is the time when the
	// relay named the member. It is 0 if Started is false.
	Began time.Duration `json:"began_ns"`

	// Elapsed is the time from the call's start to the member's end. It is never greater
	// than the Elapsed of the Report.
	Elapsed time.Duration `json:"elapsed_ns"`
}

// MarshalJSON writes the fields with their JSON names, and the error as its text.
func (o Outcome) MarshalJSON() ([]byte, error) {
	type plain Outcome // without this method
	text := ""
	if o.Err != nil {
		text = fmt.Sprint(o.Err) // which survives an Error method that panics
	}
	return json.Marshal(struct {
		plain
		Error string `json:"error,omitempty"`
	}{plain(o), text})
}

// Answered reports whether the member answered in time: its state is [StateOK]. A member
// that declined has not answered. A stream that failed after its first results has not
// answered either.
func (o Outcome) Answered() bool { return o.State == StateOK }

func (o *Outcome) missing() bool { return !o.Answered() && o.State != StateDeclined }

// A Report says why a call ended and how every member ended.
type Report struct {
	Call     CallID        `json:"call"`
	Parent   CallID        `json:"parent"` // the call on the same bus from which it was sent; 0 if there is none
	Topic    string        `json:"topic"`
	Reason   Reason        `json:"reason"`
	Started  time.Time     `json:"started"`
	Elapsed  time.Duration `json:"elapsed_ns"` // from the call's start to its end, or to now
	Budget   time.Duration `json:"budget_ns"`  // the time that the members of the call have
	Outcomes []Outcome     `json:"outcomes"`   // in the order of registration

	// Replicas are the outcomes of the replicas that were asked for groups of this bus. They
	// are in the order of their groups in Outcomes, and then in the order in which they were
	// asked. Replicas is empty if the call has no group.
	Replicas []Outcome `json:"replicas,omitempty"`

	cause  error // why the call ended, if the reason has an error of its own
	quorum int   // the sender's; 0 if it asked for none
	first  bool  // the call was made by First
}

// Complete reports whether there was at least one member and every member answered or
// declined.
func (r Report) Complete() bool { return complete(r.Outcomes) }

// complete takes no report, because each copy of one would enlarge the frame of Err.
func complete(outcomes []Outcome) bool {
	for i := range outcomes {
		if outcomes[i].missing() {
			return false
		}
	}
	return len(outcomes) > 0
}

// count returns how many members ended in one of the states. It takes no report, like complete.
func count(outcomes []Outcome, states ...State) (n int) {
	for i := range outcomes {
		if slices.Contains(states, outcomes[i].State) {
			n++
		}
	}
	return n
}

// Missing returns the outcomes of all members that neither answered nor declined, in the
// order of the report. While the call goes on, this includes members that have not ended.
// Missing is empty if and only if the report is [Report.Complete] or has no members.
func (r Report) Missing() []Outcome {
	return slices.DeleteFunc(slices.Clone(r.Outcomes), func(o Outcome) bool { return !o.missing() })
}

// Err returns nil if the call was satisfied. It also returns nil if the report is Complete
// and the quorum, if any, was reached. Otherwise it returns a [*PartialError], which wraps
// the error of every member that neither answered nor declined.
func (r Report) Err() error {
	if r.Reason == ReasonSatisfied || complete(r.Outcomes) && count(r.Outcomes, StateOK) >= r.quorum {
		return nil
	}
	return r.partial()
}

// firstErr returns the error of a First that got no result. It is never nil.
func (r Report) firstErr() error {
	r.first = true
	if err := r.Err(); err != nil {
		return err
	}
	if count(r.Outcomes, StateOK) > 0 {
		return ErrNoResult
	}
	return r.partial()
}

// partial returns the error of a report. Inlined, it would enlarge the frame of Err, and observers, which
// run on small stacks, ask for the error of each call.
//
//go:noinline
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
