package natsdispatch

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-bb4b4d74/dispatch"
)

// The sentinels that errors of this package wrap besides those of package
// dispatch.
var (
	// ErrConnection reports that a connection lacks an option of nats.Connect that this package
	// needs; the text names the option.
	ErrConnection = errors.New("natsdispatch: unsuitable connection")
	// ErrTooLarge reports that a request or a result is larger than the server or
	// [WithMaxResult] allows.
	ErrTooLarge = errors.New("natsdispatch: too large")
	// ErrMalformed reports that a message breaks the protocol.
	ErrMalformed = errors.New("natsdispatch: malformed")
	// ErrUnverified reports that a message is not signed by the node that it names.
	ErrUnverified = errors.New("natsdispatch: unverified")
)

// RemoteError is the error of a member on another node. It has the text of the error there. If that
// error wraps a sentinel that the protocol knows, [errors.Is] finds this sentinel; of several sentinels, the
// most precise one. In the error of a Failed member it does not find [dispatch.ErrGone],
// [dispatch.ErrOverloaded], [dispatch.ErrClosed] and [dispatch.ErrTimeout]: they say how something else has
// ended, such as another call. The error of a member that panicked is a [*dispatch.PanicError].
type RemoteError struct {
	Node string // the name of the node; empty for the cause of a cancel
	Text string // the text of the error on the node
	is   error  // the sentinel that decides the state of the member; nil: there is none
	also error  // a more precise sentinel; nil: there is none
}

// Error returns the text.
func (e *RemoteError) Error() string { return e.Text }

// Unwrap returns the sentinel from which [dispatch.Roster.End] derives the state, or nil.
func (e *RemoteError) Unwrap() error { return e.is }

// Is reports whether target is the more precise of two sentinels, such as
// [dispatch.ErrQueueFull] for a member that was rejected.
func (e *RemoteError) Is(target error) bool { return e.also != nil && e.also == target }

// As is [errors.As] for the more precise sentinel.
func (e *RemoteError) As(target any) bool { return e.also != nil && errors.As(e.also, target) }

// twinError reports that two processes have the same name.
type twinError string

func (e twinError) Error() string { return "natsdispatch: two processes are called " + string(e) }
func (e twinError) Unwrap() error { return dispatch.ErrDuplicate }

const (
	noCode     = "-"
	codePassed = "passed" // a node gives back a request to a group that has come through its own bus; it is no error
)

// code is the word for a sentinel on the wire.
type code struct {
	word     string
	sentinel error
}

// codes has the more precise sentinels first, because an error may wrap several.
var codes = [...]code{
	{"queue-full", dispatch.ErrQueueFull},
	{"stuck", dispatch.ErrStuck},
	{"goexit", dispatch.ErrGoexit},
	{"too-large", ErrTooLarge},
	{"malformed", ErrMalformed},
	{"unknown-member", dispatch.ErrUnknownMember},
	{"too-deep", dispatch.ErrTooDeep},
	{"too-few-producers", dispatch.ErrTooFewProducers},
	{"no-producers", dispatch.ErrNoProducers},
	{"removed", dispatch.ErrRemoved},
	{"overloaded", dispatch.ErrOverloaded},
	{"closed", dispatch.ErrClosed},
	{"gone", dispatch.ErrGone},
	{"unreachable", dispatch.ErrUnreachable},
	{"incompatible", dispatch.ErrIncompatible},
	{"lost", dispatch.ErrLost},
	{"satisfied", dispatch.ErrSatisfied},
	{"quorum-lost", dispatch.ErrQuorumLost},
	{"stalled", dispatch.ErrStalled},
	{"failed-fast", dispatch.ErrFailFast},
	{"timeout", dispatch.ErrTimeout},
	{"deadline", context.DeadlineExceeded},
	{"cancelled", context.Canceled},
}

func codeOf(err error) string {
	for _, c := range codes {
		if errors.Is(err, c.sentinel) {
			return c.word
		}
	}
	return noCode
}

func sentinelOf(word string) error {
	for _, c := range codes {
		if c.word == word {
			return c.sentinel
		}
	}
	return nil
}

// failed returns the failure that is sent for an error. It calls the methods of the error, which may panic, as
// those of nil pointers do. Do not call it with a lock held.
func failed(state dispatch.State, err error) failure {
	f := failure{state: state, code: noCode}
	_ = apart(func() {
		f.text = fmt.Sprint(err) // unlike err.Error(), this returns if Error panics
		if panicked, ok := errors.AsType[*dispatch.PanicError](err); ok && state == dispatch.StatePanicked {
			f.text = fmt.Sprint(panicked.Value)
		}
		f.code = codeOf(err)
	})
	f.text = cut(f.text, longestText)
	return f
}

// failureOf returns the failure that is sent for an outcome.
func failureOf(o dispatch.Outcome) failure {
	switch {
	case o.State == dispatch.StateOK:
		return failure{}
	case o.Err == nil:
		return failure{state: o.State, code: noCode}
	case o.State == dispatch.StateCanceled && is(o.Err, dispatch.ErrClosed):
		return failed(dispatch.StateGone, o.Err) // for the asker the member has left
	default:
		return failed(o.State, o.Err)
	}
}

// error returns the error with which a member ends, or nil if the member is OK. [dispatch.Roster.End]
// derives the state of the failure from this error.
func (f failure) error(node string) error {
	switch f.state {
	case dispatch.StatePending:
		return nil
	case dispatch.StatePanicked:
		return &dispatch.PanicError{Value: f.text}
	}
	e := &RemoteError{Node: node, Text: f.text}
	switch sentinel := sentinelOf(f.code); {
	case f.state == dispatch.StateDeclined:
		e.is = dispatch.ErrDecline
	case f.state == dispatch.StateGone:
		e.is, e.also = dispatch.ErrGone, sentinel
	case f.state == dispatch.StateRejected:
		e.is, e.also = dispatch.ErrOverloaded, sentinel
	case f.state == dispatch.StateLate && sentinel == dispatch.ErrTimeout:
		e.is, e.also = sentinel, context.DeadlineExceeded
	case sentinel == dispatch.ErrGone || sentinel == dispatch.ErrOverloaded || sentinel == dispatch.ErrClosed || sentinel == dispatch.ErrTimeout:
		// The member has returned the error of something else, such as another call. Its own state is Failed.
	default:
		e.is = sentinel
	}
	return e
}

// isLate reports whether a member was late on the node because the budget of the request had passed. Then
// the asker's deadline makes the member late at the asker. The end of a member that had less time than the
// call is final.
func (f failure) isLate() bool {
	return f.state == dispatch.StateLate && sentinelOf(f.code) != dispatch.ErrTimeout
}

// serviceCode returns the value of the header Nats-Service-Error-Code.
func (f failure) serviceCode() string {
	switch {
	case f.code == "malformed":
		return "400"
	case f.code == "incompatible":
		return "409"
	case f.state == dispatch.StateGone:
		return "410"
	case f.state == dispatch.StateRejected:
		return "429"
	default:
		return "500"
	}
}

// causeOf returns the cause of a cancel as a failure.
func causeOf(err error) failure { return failed(dispatch.StateCanceled, err) }

// appendCause writes a cause as the body of a cancel: a failure without its state.
func (f failure) appendCause(b []byte) []byte {
	return f.append(b)[len(wireWord(f.state))+1:]
}

// parseCause reads the cause in the body of a cancel.
func parseCause(body []byte) error {
	f, err := parseFailure(append([]byte(wireWord(dispatch.StateCanceled)+" "), body...))
	if err != nil || f.text == "" {
		return context.Canceled
	}
	return &RemoteError{Text: f.text, is: sentinelOf(f.code)}
}
