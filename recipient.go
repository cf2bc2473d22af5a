package dispatch

import (
	"context"
	"log/slog"
	"runtime/pprof"
	"slices"
	"sync/atomic"
	"time"
	"weak"

	"github.com/seed-bb4b4d74/dispatch/internal/inbox"
	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
)

// recipient is what listeners, observers, OnLate hooks and the logger have in common:
// callbacks that run from an inbox, and that nothing else waits for. While its inbox is busy,
// it is in the ledger of its bus, except for the logger.
type recipient struct {
	Registration
	inbox inbox.Inbox
	place ledger.Entry

	// What it is told of a call besides results; these do not change.
	wantsOutcomes, wantsEnd bool

	observes bool        // it is an observer, which neither the call nor its place waits for
	retained bool        // it first gets what is retained
	gone     atomic.Bool // nothing more is to be called

	// since is when the event that is being delivered became ready, in nanoseconds since
	// the bus was made; 0 if none is being delivered.
	since     atomic.Int64
	delivered atomic.Uint64 // results it was called with
	watched   atomic.Int64  // when the timer was set that looks at since; 0: none is set; never: none must be
	notes     *notes        // nil as long as there are none; guarded by the inbox's lock
}

// notes has the fields that few recipients need.
type notes struct {
	dropped []func()        // functions that tell observers of dropped results
	ready   []time.Duration // when the events in delivery became ready, if callbacks overlap
}

// notesLocked makes the notes when they are needed for the first time. The caller holds the
// inbox's lock.
func (r *recipient) notesLocked() *notes {
	if r.notes == nil {
		r.notes = new(notes)
	}
	return r.notes
}

// note changes the notes under the inbox's lock.
func (r *recipient) note(change func(*notes)) {
	r.inbox.Locked(func() { change(r.notesLocked()) })
}

func (r *recipient) init(reg Registration, c inbox.Config) {
	r.Registration = reg
	r.inbox.Init(r, c)
}

// start runs the inbox on a goroutine of its own, without the labels of the caller, which may be inside
// a closure.
func (r *recipient) start() { go r.run() }

func (r *recipient) run() {
	pprof.SetGoroutineLabels(context.Background())
	r.inbox.Run()
}

// put puts a source into the inbox at a time since the bus was made. It reports whether
// the inbox has to be run.
func (r *recipient) put(s inbox.Source, at time.Duration) (run bool) {
	if run = r.inbox.Put(s); run {
		r.watchFrom(at)
	}
	if r.inbox.Bounded() {
		r.tellDropped()
	}
	return run
}

// tell puts a single event into the inbox.
func (r *recipient) tell(e *event) {
	e.to = r
	if r.put(e, e.since) {
		r.start()
	}
}

// event is something for one recipient that is not in the log of a call.
type event struct {
	occasion
	to    *recipient
	since time.Duration // since the bus was made
	call  func()
}

// Take is part of inbox.Source.
func (e *event) Take(int) (t inbox.Task, results int, more bool) { return e, 0, false }

// occasion has what all sources have in common that are taken once and have no results.
type occasion struct{ inbox.Links }

// Fresh is part of inbox.Source.
func (*occasion) Fresh() int { return 0 }

// Drop is part of inbox.Source.
func (*occasion) Drop(int, bool) int { return 0 }

// Spent is part of inbox.Source.
func (*occasion) Spent() bool { return false }

// Release is part of inbox.Source.
func (*occasion) Release() {}

// Discard is part of inbox.Source.
func (*occasion) Discard() {}

// Run calls the callback, and does not repeat it if it unwinds the stack.
func (e *event) Run() {
	call := e.call
	if e.call = nil; call != nil && !e.to.gone.Load() {
		e.to.waitingSince(e.since)
		call()
	}
}

// Active is part of inbox.Owner.
func (r *recipient) Active(busy bool) {
	if r == &r.bus.logs {
		return // a logger that blocks holds up nothing
	}
	if !busy {
		r.since.Store(0)
		r.bus.ledger.Leave(&r.place)
		return
	}
	r.bus.ledger.Enter(&r.place, r, r.entry.ID, ledger.Closed)
}

// watchFrom makes sure that a timer watches an inbox that has become busy. A timer that has
// not fired in twice its time has been lost with the bubble of a test.
func (r *recipient) watchFrom(at time.Duration) {
	limit, since := r.bus.slowListener, time.Duration(r.watched.Load())
	if since == never || since != 0 && (at-since).Abs()/2 <= limit {
		return
	}
	if at == 0 {
		at = 1 // 0 means that no timer is set
	}
	if r.watched.CompareAndSwap(int64(since), int64(at)) {
		r.watch(limit)
	}
}

// watch calls look after d. The timer may outlive the inbox's work by d, and keeps nothing in
// memory: to stop it each time would cost more than all the rest.
func (r *recipient) watch(d time.Duration) {
	pointer := weak.Make(r)
	time.AfterFunc(d, func() {
		if r := pointer.Value(); r != nil && !r.gone.Load() {
			r.look()
		}
	})
}

// look logs the recipient if it is slow, or looks again later if it may become slow.
func (r *recipient) look() {
	since, limit := time.Duration(r.since.Load()), r.bus.slowListener
	now := r.bus.sinceEpoch(time.Now())
	left := since + limit - now
	switch {
	case since == 0:
		// An inbox that became busy before this has relied on this timer.
		if r.watched.Store(0); !r.inbox.Idle() {
			r.watchFrom(now)
		}
	case left >= 0:
		r.watched.Store(int64(now))
		r.watch(left + 1) // slow is longer than the limit
	case r.watched.Swap(int64(never)) != int64(never): // it is told once
		r.bus.registrar.observeSlow(r)
		r.bus.log(slog.LevelWarn, r.kind()+" is slow",
			slog.String(r.kind(), r.Name()), slog.String("topic", r.entry.Selection.String()), slog.String("added_at", r.addedAt()))
	}
}

// begins notes when an event became ready whose callback may overlap with others. The function
// that it returns must be called after the callback.
func (r *recipient) begins(ready time.Duration) (ended func()) {
	if !r.inbox.Overlaps() {
		return func() {}
	}
	ready = max(ready, 1)
	r.note(func(n *notes) {
		n.ready = append(n.ready, ready)
		r.since.Store(int64(slices.Min(n.ready)))
	})
	return func() {
		r.note(func(n *notes) {
			i := slices.Index(n.ready, ready)
			if n.ready = slices.Delete(n.ready, i, i+1); len(n.ready) > 0 {
				r.since.Store(int64(slices.Min(n.ready)))
			} else {
				r.since.Store(0)
			}
		})
	}
}

// waitingSince notes when the event that is being delivered became ready. It does nothing if
// callbacks overlap, see begins. An error of up to a millisecond saves most of the cost.
func (r *recipient) waitingSince(ready time.Duration) {
	if r.inbox.Overlaps() {
		return // see begins
	}
	ready = max(ready, 1) // 0 means that nothing is delivered
	if noted := time.Duration(r.since.Load()); ready-noted > time.Millisecond || noted == 0 {
		r.since.Store(int64(ready))
	}
}

// Unwound is part of inbox.Owner.
func (r *recipient) Unwound(value any, stack []byte) (contained bool) {
	return r.bus.unwound(r.kind(), &r.Registration, value, stack)
}

// kind returns the word for the recipient in logs.
func (r *recipient) kind() string {
	if r.observes {
		return "observer"
	}
	return "listener"
}

// silenced reports whether no more results are delivered: the recipient is removed, or the bus
// is closed and the recipient is no observer.
func (r *recipient) silenced() bool {
	return r.gone.Load() || r.bus.ledger.Level() == ledger.Closed && !r.observes
}

// stop is part of registrant.
func (r *recipient) stop() {
	r.gone.Store(true)
	r.inbox.Discard()
}

// stopped is part of registrant.
func (r *recipient) stopped() bool { return r.gone.Load() }

// settle waits until what has been written for the recipient is delivered. The registration
// has been removed already, so no further call writes for it.
func (r *recipient) settle(ctx context.Context) error {
	var waits []func() bool
	for c := range r.bus.inFlight() {
		if delivered := c.cutOff(r); delivered != nil {
			waits = append(waits, delivered)
		}
	}
	for _, delivered := range waits {
		if err := r.bus.ledger.Wait(ctx, delivered); err != nil {
			return err
		}
	}
	return r.bus.ledger.Wait(ctx, r.inbox.Idle)
}

// noteDropped keeps a function for tellDropped that tells observers of a dropped result. It is
// called under the inbox's lock.
func (r *recipient) noteDropped(tell func()) {
	n := r.notesLocked()
	n.dropped = append(n.dropped, tell)
}

// tellDropped tells the observers which results were dropped.
func (r *recipient) tellDropped() {
	var all []func()
	r.inbox.Locked(func() {
		if r.notes != nil {
			all, r.notes.dropped = r.notes.dropped, nil
		}
	})
	for _, tell := range all {
		tell()
	}
}
