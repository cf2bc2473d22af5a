package dispatch

import (
	"context"
	"errors"
	"runtime/debug"

	"github.com/seed-bb4b4d74/dispatch/internal/course"
	"github.com/seed-bb4b4d74/dispatch/internal/unwind"
)

// run is the execution of one candidate of a member, and the context that its producer gets.
// Most producers never use their context, so the context of package context behind it is made
// only when one does, once for the call. The fields of a run belong to its worker.
type run struct {
	call     *gathering
	rare     *rare // nil for the run of a plain member that has not failed
	member   int32 // the index of its member; negative for the run of a relay
	started  bool  // its closure has been called, or is about to be
	returned bool  // its closure has returned; false if it has unwound the stack
	limited  bool  // it holds slots of its producer
	phase    phase // guarded by the call's lock
}

// rare has the fields that few runs need.
type rare struct {
	err      error       // how it has ended; final once the member has ended
	asked    *producer   // the producer, if that is a replica or a relay
	competes *replica    // the replica whose run it is, or nil
	own      *ownContext // of a replica, or of a plain run whose producer has a timeout
}

// producer returns the producer that the run asks.
func (r *run) producer() *producer {
	if r.isPlain() {
		return r.call.producers[r.member]
	}
	return r.rare.asked
}

// isPlain reports whether the run asks a producer that is a member on its own.
func (r *run) isPlain() bool {
	return r.member >= 0 && (r.call.groups == nil || r.call.groups[r.member].seat == nil)
}

// replica returns the replica whose run it is, or nil.
func (r *run) replica() *replica {
	if r.isPlain() {
		return nil
	}
	return r.rare.competes
}

// fail keeps the error with which the run ends, if there is one.
func (r *run) fail(err error) {
	switch {
	case err == nil:
	case r.rare == nil:
		r.rare = &rare{err: err}
	default:
		r.rare.err = err
	}
}

// err returns what fail has kept.
func (r *run) err() error {
	if r.rare == nil {
		return nil
	}
	return r.rare.err
}

// phase says how far a run has come.
type phase uint8

const (
	runWaits     phase = iota // it is not claimed
	runClaimed                // a worker has it; it may wait for a slot of its producer
	runGoes                   // its closure has been called, or is about to be
	runAbandoned              // it still runs 100 ms after the end of the call
	runReturned               // the course has been told of its end
)

// goes reports whether the run is inside its closure.
func (p phase) goes() bool { return p == runGoes || p == runAbandoned }

// id is what the course calls the run.
func (r *run) id() course.Run {
	if r.replica() == nil {
		return course.Run{Member: r.member}
	}
	return course.Run{Member: r.member, Replica: r.replica().index}
}

// unwound keeps a panic, or Goexit, as the error of a run whose closure has not returned.
func (r *run) unwound(recovered any) {
	switch value := unwind.Value(recovered); {
	case value == nil:
		r.fail(ErrGoexit)
	case r.call.bus.panicCrash:
		panic(value)
	default:
		r.fail(&PanicError{value, debug.Stack()})
	}
}

// howEnded returns the state in which a run ends.
func (r *run) howEnded(returned bool) course.State {
	err := r.err()
	if err == nil {
		return course.OK
	}
	_, panicked := err.(*PanicError)
	switch {
	case !r.started && err == ErrRemoved:
		return course.Gone
	case !r.started && (is(err, ErrStuck) || is(err, ErrQueueFull)):
		return course.Rejected
	case !r.started:
		return course.Late // the grace has begun before there was a slot
	case panicked && !returned:
		return course.Panicked
	default:
		return howFailed(err)
	}
}

// howFailed returns the state of a run whose closure has returned the error. Methods of the
// error may panic, as those of nil pointers do.
func howFailed(err error) (how course.State) {
	how = course.Failed
	defer func() { _ = recover() }()
	switch {
	case is(err, ErrDecline):
		how = course.Declined
	case errors.Is(err, context.DeadlineExceeded):
		how = course.Expired
	}
	return how
}

// why returns the text of the run's error for its producer to keep, or nothing if this state
// is no failure. It is called before the next run starts, because methods of errors may block.
func (r *run) why(how course.State) string {
	if how == course.OK || how == course.Declined || how == course.Gone {
		return ""
	}
	return nested(r.err())
}

// ownContext is the context of a run that may end before its call does: when another replica
// has answered, or after the timeout of the producer. The call's lock guards it.
type ownContext struct {
	base   context.Context         // what ctx is derived from; nil for the call's
	ctx    context.Context         // nil until the run looks at it
	cancel context.CancelCauseFunc // ends ctx
}

// competes reports whether the run is that of a replica with a context of its own: other
// replicas can answer first, or the context derives from that of MemberStart hooks.
func (r *run) competes() bool {
	return r.replica() != nil && (len(r.call.groups[r.member].Candidates) > 1 || r.replica().base != nil)
}

// ownContext returns the context of a run that has its own, or nil if it has that of the call.
func (r *run) ownContext() *ownContext {
	if r.competes() || r.member >= 0 && r.producer().timeout > 0 && r.started {
		return r.rare.own
	}
	return nil
}

// isOverdueLocked reports whether the course has found that the run has exceeded its timeout.
func (r *run) isOverdueLocked() bool {
	if own := r.replica(); own != nil {
		return own.overdue
	}
	return r.call.course.Member(int(r.member)).Overdue
}
