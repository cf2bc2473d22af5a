package dispatch

import (
	"context"
	"errors"
	"runtime/debug"

	"github.com/seed-bb4b4d74/dispatch/internal/course"
	"github.com/seed-bb4b4d74/dispatch/internal/unwind"
)

// run is one candidate of a member at work, and at the same time the context that its
// producer gets. Most producers never look at their context, so what a context is made
// of comes to be only when one does, once for the call. Its fields belong to its worker.
type run struct {
	call     *gathering
	rare     *rare // nil for the run of a plain member that has not failed
	member   int32 // which member it is for; negative for that of a relay
	started  bool  // its closure has been called, or is about to be
	returned bool  // its closure has not unwound the stack
	limited  bool  // it holds slots of its producer
	phase    phase // guarded by the call's lock
}

// rare is what few runs have.
type rare struct {
	err      error       // how it has ended; final once the member has ended
	asked    *producer   // who is asked, if that is a replica or a relay
	competes *replica    // the replica that it is the run of, or nil
	own      *ownContext // of a plain run that can be overdue
}

// producer returns who is asked.
func (r *run) producer() *producer {
	if r.isPlain() {
		return r.call.producers[r.member]
	}
	return r.rare.asked
}

// isPlain reports whether it is the run of a producer on its own.
func (r *run) isPlain() bool {
	return r.member >= 0 && (r.call.groups == nil || r.call.groups[r.member].seat == nil)
}

// replica returns the replica that it is the run of, or nil.
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

// phase says what has become of a run.
type phase uint8

const (
	runWaits     phase = iota // it is not claimed
	runClaimed                // it waits for a slot of its producer
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

// howEnded is the state in which a run ends.
func (r *run) howEnded() course.State {
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
	case panicked && !r.returned:
		return course.Panicked
	default:
		return howFailed(err)
	}
}

// howFailed is the state in which a closure ends that returns the error, which may be of
// a type whose methods panic, as those of nil pointers do.
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

// why returns the text of the error with which a run ends in this way, if its producer is to
// keep it. It is asked for before the next run starts, because methods of errors may block.
func (r *run) why(how course.State) string {
	if how == course.OK || how == course.Declined || how == course.Gone {
		return ""
	}
	return nested(r.err())
}

// ownContext is the context of a run that may end before its call does: that of a replica
// ends when another one has answered, that of a run with a timeout after this time. The
// call's lock guards it.
type ownContext struct {
	base   context.Context         // what ctx is derived from; nil for the call's
	ctx    context.Context         // nil until the run looks at it
	cancel context.CancelCauseFunc // ends ctx
}

// competes reports whether other replicas can answer in the place of this run, so that
// its context can end before the call does.
func (r *run) competes() bool {
	return r.replica() != nil && (len(r.call.groups[r.member].Candidates) > 1 || r.replica().base != nil)
}

// ownContext returns where a run keeps its own context, or nil if it has that of the call.
func (r *run) ownContext() *ownContext {
	switch {
	case r.competes():
		return &r.replica().ownContext
	case r.member < 0 || r.producer().timeout == 0 || !r.started:
		return nil
	case r.isPlain():
		return r.rare.own
	default:
		return &r.replica().ownContext
	}
}

// isOverdueLocked reports whether the course has found that the run has taken as long as it
// may.
func (r *run) isOverdueLocked() bool {
	if own := r.replica(); own != nil {
		return own.overdue
	}
	return r.call.course.Member(int(r.member)).Overdue
}
