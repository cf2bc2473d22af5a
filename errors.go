package dispatch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The sentinels that errors of this package wrap. Test for them with
// [errors.Is]; the wrapping error says what was wrong and where.
var (
	// ErrInvalidOption is wrapped by every error about an option's value.
	ErrInvalidOption = errors.New("dispatch: invalid option")
	// ErrInvalidTopic is wrapped by every error about a topic's name or a pattern.
	ErrInvalidTopic = errors.New("dispatch: invalid topic")
	// ErrTopicType reports that a topic's name is in use on the bus with
	// another pair of types.
	ErrTopicType = errors.New("dispatch: topic has other types")
	// ErrInvalidArgument is wrapped by every error about an argument that is
	// not an option: a nil closure, a nil context, a zero Topic or Dispatcher.
	ErrInvalidArgument = errors.New("dispatch: invalid argument")
	// ErrDuplicate reports that a topic has a producer of this name already.
	ErrDuplicate = errors.New("dispatch: duplicate producer name")
	// ErrClosed reports that the bus accepts nothing new, and is the cause with
	// which [Bus.Close] cancels the calls in flight.
	ErrClosed = errors.New("dispatch: closed")
	// ErrNoProducers reports that nobody was there to ask.
	ErrNoProducers = errors.New("dispatch: no producers")
	// ErrQuorumLost is the cause with which the remaining producers are
	// cancelled once too many have failed for the quorum to be reached.
	ErrQuorumLost = errors.New("dispatch: quorum lost")
	// ErrSatisfied is the cause with which the remaining producers are
	// cancelled once the quorum is reached.
	ErrSatisfied = errors.New("dispatch: satisfied")
	// ErrFailFast is the cause with which the remaining producers are
	// cancelled after the first failure of a call under [WithFailFast].
	ErrFailFast = errors.New("dispatch: failed fast")
	// ErrStalled is the cause with which the remaining producers are cancelled
	// when no further result came within the time of [WithStall].
	ErrStalled = errors.New("dispatch: stalled")
	// ErrStuck reports that a producer was not asked because too many of its
	// earlier runs have outlived their calls and never returned.
	ErrStuck = errors.New("dispatch: producer stuck")
	// ErrTooFewProducers reports that the producers that [WithMinProducers] asked
	// for did not come in time.
	ErrTooFewProducers = errors.New("dispatch: too few producers")
	// ErrUnknownMember reports that nobody has a name that [WithTargets] asked for.
	ErrUnknownMember = errors.New("dispatch: unknown member")
	// ErrUnreachable reports that a member elsewhere did not take the request.
	ErrUnreachable = errors.New("dispatch: unreachable")
	// ErrIncompatible reports that a member elsewhere has other types or another
	// version.
	ErrIncompatible = errors.New("dispatch: incompatible")
	// ErrLost reports that something that a member elsewhere has sent did not
	// arrive: results, or word of its end.
	ErrLost = errors.New("dispatch: lost")
	// ErrGone reports that a member left before it had answered.
	ErrGone = errors.New("dispatch: gone")
	// ErrOverloaded reports that there was no room for a request.
	ErrOverloaded = errors.New("dispatch: overloaded")
	// ErrQueueFull reports that a producer was not asked because as many calls
	// wait for it as [WithMaxQueue] allows.
	ErrQueueFull = errors.New("dispatch: queue full")
	// ErrNoResult reports that the member that [Dispatcher.First] waited for has
	// ended well and without a result, as streams and relayed members may.
	ErrNoResult = errors.New("dispatch: no result")
	// ErrRemoved reports that a producer was removed before its run began.
	ErrRemoved = errors.New("dispatch: removed")
	// ErrDecline is what a producer returns that has nothing to say to a
	// request. To decline is no failure.
	ErrDecline = errors.New("dispatch: declined")
	// ErrTooDeep reports that calls are nested more than 64 deep: a producer
	// that, directly or through others, asks itself.
	ErrTooDeep = errors.New("dispatch: calls nested too deep")
	// ErrGoexit is the error of a producer that ended its goroutine with
	// [runtime.Goexit], as a failing test does with FailNow.
	ErrGoexit = errors.New("dispatch: producer called runtime.Goexit")
	// ErrStreamUsed reports that a sequence made by [Dispatcher.Stream] was
	// ranged over a second time.
	ErrStreamUsed = errors.New("dispatch: stream already used")
)

// PanicError is the error of a producer that panicked. A *PanicError whose
// Value is an error unwraps to it.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // the stack of the goroutine at the panic, as of debug.Stack
}

// Error gives the panic's value without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns Value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// PartialError says why the results of a call are not the whole answer. It
// wraps the error of every member that has one, so that errors.Is and
// errors.As reach them, and keeps the names.
type PartialError struct {
	Report Report // how each member ended
	errs   []error
	cause  error // why the call ended, if the reason has an error of its own
}

// Error names the topic, the reason the call ended and every member that gave
// no answer, with its error.
func (e *PartialError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "dispatch: %s: %s", e.Report.Topic, e.Report.Reason)
	errs := e.errs
	if len(errs) == 0 && e.cause != nil && e.Report.Reason != ReasonNoProducers {
		errs = []error{e.cause} // otherwise the members say it
	}
	sep := ": "
	for _, err := range errs {
		b.WriteString(sep)
		b.WriteString(err.Error())
		sep = "; "
	}
	return b.String()
}

// Unwrap returns the errors of the members, each a *MemberError, and after
// them what the reason itself has to say (such as [ErrNoProducers]).
func (e *PartialError) Unwrap() []error {
	if e.cause == nil {
		return e.errs
	}
	return append(slices.Clip(e.errs), e.cause)
}

// MemberError is the error with which one member of a call ended.
type MemberError struct {
	Member Member
	State  State
	Err    error
}

// Error prefixes the error with the member's name and state.
func (e *MemberError) Error() string {
	return fmt.Sprintf("%v %v: %v", e.Member, e.State, e.Err)
}

// Unwrap returns Err.
func (e *MemberError) Unwrap() error { return e.Err }

// ShutdownError reports what was still running when the context of
// [Bus.Shutdown] ended. It unwraps to that context's error.
type ShutdownError struct {
	Calls     []CallInfo // calls that had not ended, and were cancelled
	Producers []Member   // producers that had not returned
	Listeners []string   // listeners that were inside a callback or had results waiting
	Err       error      // the context's error
}

// Error names all that still ran.
func (e *ShutdownError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "dispatch: shutdown: %v; still running:", e.Err)
	for _, c := range e.Calls {
		fmt.Fprintf(&b, " call %v of %s,", c.ID, c.Topic)
	}
	for _, m := range e.Producers {
		fmt.Fprintf(&b, " producer %v,", m)
	}
	for _, l := range e.Listeners {
		fmt.Fprintf(&b, " listener %s,", l)
	}
	return strings.TrimRight(b.String(), ",:")
}

// Unwrap returns the context's error.
func (e *ShutdownError) Unwrap() error { return e.Err }

func invalidArgument(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalidArgument, fmt.Sprintf(format, args...))
}

func invalidOption(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalidOption, fmt.Sprintf(format, args...))
}
