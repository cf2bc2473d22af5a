package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"
)

// The errors of this package wrap these sentinels. Test for them with [errors.Is]. The
// wrapping error says what is wrong and where.
//
// All errors of this package have a method ErrorType() string. It returns a word such as
// closed, panic or no_producers. There are few such words, so they can be used to count
// errors, as OpenTelemetry does. [errors.As] finds the method in wrapped errors.
var (
	// ErrInvalidOption is wrapped by every error about the value of an option.
	ErrInvalidOption = newSentinel("invalid_option", "dispatch: invalid option")
	// ErrInvalidTopic is wrapped by every error about a topic name or a pattern.
	ErrInvalidTopic = newSentinel("invalid_topic", "dispatch: invalid topic")
	// ErrTopicType reports that the topic name is in use on the bus with other types.
	ErrTopicType = newSentinel("topic_type", "dispatch: topic has other types")
	// ErrInvalidArgument is wrapped by every error about an argument that is not an option:
	// a nil closure, a nil context, a zero Topic or Dispatcher.
	ErrInvalidArgument = newSentinel("invalid_argument", "dispatch: invalid argument")
	// ErrDuplicate reports that the topic already has a producer with this name.
	ErrDuplicate = newSentinel("duplicate", "dispatch: duplicate producer name")
	// ErrClosed reports that the bus refuses new calls and registrations. It is also the
	// cause with which [Bus.Close] cancels the calls in flight.
	ErrClosed = newSentinel("closed", "dispatch: closed")
	// ErrNoProducers reports that the topic has no producers.
	ErrNoProducers = newSentinel("no_producers", "dispatch: no producers")
	// ErrQuorumLost is the cause with which the remaining producers are canceled once the
	// quorum is impossible.
	ErrQuorumLost = newSentinel("quorum_lost", "dispatch: quorum lost")
	// ErrSatisfied is the cause with which the remaining producers are canceled once the
	// quorum is reached or First has its result. It is also the cause with which the other
	// replicas of a group are canceled once one replica has answered.
	ErrSatisfied = newSentinel("satisfied", "dispatch: satisfied")
	// ErrFailFast is the cause with which the remaining producers are canceled after the
	// first failure under [WithFailFast].
	ErrFailFast = newSentinel("fail_fast", "dispatch: failed fast")
	// ErrStalled is the cause with which the remaining producers are canceled if no new
	// result arrives in time under [WithStall].
	ErrStalled = newSentinel("stalled", "dispatch: stalled")
	// ErrStuck reports that a producer was not asked because too many of its earlier runs
	// have outlived their calls and have not returned.
	ErrStuck = newSentinel("stuck", "dispatch: producer stuck")
	// ErrTooFewProducers reports that fewer producers than [WithMinProducers] requires were
	// registered at the deadline.
	ErrTooFewProducers = newSentinel("too_few_producers", "dispatch: too few producers")
	// ErrTimeout reports that a run of a producer exceeded the producer's own [WithTimeout].
	// The error that wraps it contains the timeout, and also wraps
	// [context.DeadlineExceeded].
	ErrTimeout = newSentinel("timeout", "dispatch: timeout")
	// ErrUnknownMember reports a name of [WithTargets] or [WithRequired] that no member has.
	ErrUnknownMember = newSentinel("unknown_member", "dispatch: unknown member")
	// ErrUnreachable reports that a remote member did not take the request.
	ErrUnreachable = newSentinel("unreachable", "dispatch: unreachable")
	// ErrIncompatible reports that a remote member has other types or another version.
	ErrIncompatible = newSentinel("incompatible", "dispatch: incompatible")
	// ErrLost reports that results of a remote member, or its end, did not arrive.
	ErrLost = newSentinel("lost", "dispatch: lost")
	// ErrGone reports that a remote member left before it answered: it was removed, or its node
	// is gone. The error of a producer of this bus that was removed is ErrRemoved.
	ErrGone = newSentinel("gone", "dispatch: gone")
	// ErrOverloaded reports that there was no capacity for a request: Send got no place
	// under [WithMaxInFlight], or a remote member had no capacity.
	ErrOverloaded = newSentinel("overloaded", "dispatch: overloaded")
	// ErrQueueFull reports that a producer was not asked because as many runs wait for it as
	// [WithMaxQueue] permits.
	ErrQueueFull = newSentinel("queue_full", "dispatch: queue full")
	// ErrNoResult reports that a call of [Dispatcher.First] has no result although no member
	// is missing: a stream or a member of a relay may end OK without a result.
	ErrNoResult = newSentinel("no_result", "dispatch: no result")
	// ErrRemoved reports that a producer was removed before its run was started.
	ErrRemoved = newSentinel("removed", "dispatch: removed")
	// ErrDecline is returned by a producer that declines a request. This is not a failure.
	// An error also declines if it wraps ErrDecline through Unwrap methods that return a
	// single error. A joined error, a [*PartialError], a [*MemberError] and a [*PanicError]
	// never decline, even if they wrap ErrDecline.
	ErrDecline = newSentinel("declined", "dispatch: declined")
	// ErrTooDeep reports that calls are nested more than 64 deep, for example because a
	// producer asks itself, directly or through other producers.
	ErrTooDeep = newSentinel("too_deep", "dispatch: calls nested too deep")
	// ErrGoexit is the error of a producer that called [runtime.Goexit], for example through
	// the FailNow of a test.
	ErrGoexit = newSentinel("goexit", "dispatch: producer called runtime.Goexit")
	// ErrStreamUsed reports that a sequence of [Dispatcher.Stream] was ranged over a second
	// time.
	ErrStreamUsed = newSentinel("stream_used", "dispatch: stream already used")
)

// sentinel is an error that errors.Is finds by its identity. Its kind is its ErrorType.
type sentinel struct{ kind, text string }

func newSentinel(kind, text string) error { return &sentinel{kind, text} }

func (e *sentinel) Error() string { return e.text }

// ErrorType returns the kind of error.
func (e *sentinel) ErrorType() string { return e.kind }

// errorType returns what the error itself says of its type, or else the word given. Methods of the error may panic.
func errorType(err error, otherwise string) (word string) {
	word = otherwise
	defer func() { _ = recover() }()
	var typed interface{ ErrorType() string }
	if errors.As(err, &typed) {
		word = typed.ErrorType()
	}
	return word
}

// PanicError is the error of a producer that panicked. If Value is an error, the *PanicError
// unwraps to it.
type PanicError struct {
	Value any    // the argument of panic
	Stack []byte // the stack of the goroutine at the panic, from debug.Stack
}

// Error returns the panic's value without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// ErrorType returns panic.
func (e *PanicError) ErrorType() string { return "panic" }

// Unwrap returns Value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// A PartialError reports that answers of a call are missing, and why. It wraps a
// *MemberError for every member that neither answered nor declined, so that errors.Is and
// errors.As find the errors of these members.
type PartialError struct {
	Report Report // the outcome of each member
	errs   []error
}

// Error returns the topic, why the call ended, how many members did not answer, and how
// these members ended. The text is one line of at most 16 KiB: it names at most ten members
// and cuts the error of each at 1 KiB. Report has all members.
func (e *PartialError) Error() string { return "dispatch: " + e.Report.Topic + ": " + e.Report.text() }

// ErrorType returns partial if all members ended but some have no answer. Otherwise it
// returns the type of the reason's own error, such as too_few_producers. If that has none,
// ErrorType returns timeout after a deadline, or else canceled.
func (e *PartialError) ErrorType() string {
	switch r := e.Report; {
	case r.Reason == ReasonAllEnded, r.Reason == ReasonQuorumLost && r.ofFirst():
		return "partial"
	case r.Reason == ReasonDeadline:
		return errorType(r.cause, "timeout")
	default:
		return errorType(r.cause, "canceled")
	}
}

// Unwrap returns the errors of the missing members, each a *MemberError, followed by the
// error of the reason itself, if it has one (such as [ErrNoProducers]).
func (e *PartialError) Unwrap() []error {
	if e.Report.cause == nil {
		return e.errs
	}
	return append(slices.Clip(e.errs), e.Report.cause)
}

// replicasError is the error of a group none of whose replicas answered.
type replicasError struct{ *PartialError }

// groupError returns the error of a group, given how its replicas ended.
func groupError(r Report) error {
	r.cause = nil // why the group ended is in the errors of its replicas
	e := &replicasError{&PartialError{Report: r}}
	for _, o := range r.Outcomes {
		if o.Err != nil {
			e.errs = append(e.errs, &MemberError{Member: o.Member, State: o.State, Err: o.Err})
		}
	}
	return e
}

// Error names the replicas and their errors.
func (e *replicasError) Error() string {
	name := func(m Member) string { return m.Name }
	return join(": ", "no replica answered", e.Report.list(name, "unfinished"))
}

// ErrorType returns the word of all replicas if they have the same, and otherwise partial.
func (e *replicasError) ErrorType() string {
	word := ""
	for _, err := range e.errs {
		switch kind := errorType(err, ""); {
		case word == "":
			word = kind
		case word != kind:
			return "partial"
		}
	}
	return cmp.Or(word, "partial")
}

// Unwrap returns the error that names the replicas.
func (e *replicasError) Unwrap() error { return e.PartialError }

// A MemberError is the error with which one member of a call ended.
type MemberError struct {
	Member Member
	State  State
	Err    error
}

// Error returns the member's name, its state, and the error if it says more than the state.
func (e *MemberError) Error() string {
	return phrase([]string{e.Member.String()}, 1, ending(e.State, e.Err, ""))
}

// ErrorType returns the type of Err if it has one, timeout for a member that was late, and
// otherwise the word for its state.
func (e *MemberError) ErrorType() string {
	if e.State == StateLate {
		return errorType(e.Err, "timeout")
	}
	return errorType(e.Err, e.State.String())
}

// Unwrap returns Err.
func (e *MemberError) Unwrap() error { return e.Err }

// A ShutdownError names what was still running when the context of [Bus.Shutdown] ended. It
// unwraps to the error of that context.
type ShutdownError struct {
	Calls     []CallInfo // calls that had not ended, and were canceled
	Producers []Member   // producers that had not returned, once for each of their runs
	Listeners []string   // listeners, observers and OnLate hooks inside a callback, or with queued events
	Err       error      // the context's error
}

// Error names what was still running, at most ten of each kind. It names a producer once, with
// the number of its runs.
func (e *ShutdownError) Error() string {
	var calls, producers, listeners []string
	for _, c := range e.Calls {
		calls = append(calls, fmt.Sprintf("call %v of %s", c.ID, c.Topic))
	}
	runs := make(map[Member]int)
	for _, m := range e.Producers {
		runs[m]++
	}
	for _, m := range e.Producers {
		switch n := runs[m]; {
		case n == 1:
			producers = append(producers, "producer "+m.String())
		case n > 1:
			producers = append(producers, fmt.Sprintf("producer %v (%d runs)", m, n))
		}
		delete(runs, m) // it is named
	}
	for _, name := range e.Listeners {
		listeners = append(listeners, "listener "+name)
	}
	running := join(", ", enumerate(calls, mostListed), enumerate(producers, mostListed), enumerate(listeners, mostListed))
	return fmt.Sprintf("dispatch: shutdown: %s; %s", nested(e.Err), join(": ", "still running", running))
}

// ErrorType returns shutdown.
func (e *ShutdownError) ErrorType() string { return "shutdown" }

// Unwrap returns the context's error.
func (e *ShutdownError) Unwrap() error { return e.Err }

// causeError is a cause that the sender gave for the end of a call. errors.Is also
// finds the kind of that end: context.Canceled or context.DeadlineExceeded.
type causeError struct{ cause, kind error }

// withKind returns an error that has the text of the cause and wraps the kind, which is
// also the cause if there is no other. Methods of the cause may panic or wait for a lock.
func withKind(cause, kind error) (err error) {
	if cause == nil {
		return kind
	}
	err = &causeError{cause, kind}
	defer func() { _ = recover() }()
	if errors.Is(cause, kind) {
		err = cause
	}
	return err
}

// Error returns the text of the cause.
func (e *causeError) Error() string { return e.cause.Error() }

// ErrorType returns the type of the cause if it has one, timeout after a deadline, or
// else canceled.
func (e *causeError) ErrorType() string {
	if e.kind == context.DeadlineExceeded {
		return errorType(e.cause, "timeout")
	}
	return errorType(e.cause, "canceled")
}

// Unwrap returns the cause and the kind.
func (e *causeError) Unwrap() []error { return []error{e.cause, e.kind} }

// links ranges over the errors that may decide the state of a member: the error itself,
// the one that it wraps, and so on. It ends at an error that wraps several, and at the
// error of another call, of a member or of a panic: what these wrap says nothing about
// this member.
func links(err error) iter.Seq[error] {
	return func(yield func(error) bool) {
		for err != nil && yield(err) {
			switch e := err.(type) {
			case *PartialError, *MemberError, *PanicError:
				return
			case interface{ Unwrap() error }:
				err = e.Unwrap()
			default:
				return
			}
		}
	}
}

// is reports whether the error is the sentinel or wraps it along single links. States
// are decided by it and not by errors.Is, which finds the sentinel in any branch.
func is(err, sentinel error) bool {
	for e := range links(err) {
		if e == sentinel {
			return true
		}
	}
	return false
}

// isPanic reports whether the error is a *PanicError or wraps one along single links.
func isPanic(err error) bool {
	for e := range links(err) {
		if _, ok := e.(*PanicError); ok {
			return true
		}
	}
	return false
}

// timeoutError is the error of a run that has exceeded this timeout.
type timeoutError time.Duration

func (e timeoutError) Error() string { return fmt.Sprintf("%v of %v", ErrTimeout, time.Duration(e)) }

// Unwrap returns the error and the sentinel of its kind.
func (e timeoutError) Unwrap() []error { return []error{ErrTimeout, context.DeadlineExceeded} }

// unknownError is the error of a name that no producer has.
type unknownError string

func (e unknownError) Error() string {
	return "dispatch: " + unknownMember + strconv.QuoteToGraphic(string(e))
}

// Unwrap returns ErrUnknownMember.
func (e unknownError) Unwrap() error { return ErrUnknownMember }

// tooFewProducers returns the cause of a call under WithMinProducers that ended before
// enough producers were registered.
func tooFewProducers(wanted, had int) error {
	return fmt.Errorf("%w: %d wanted, %d registered", ErrTooFewProducers, wanted, had)
}

func invalidArgument(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalidArgument, fmt.Sprintf(format, args...))
}

func invalidOption(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalidOption, fmt.Sprintf(format, args...))
}
