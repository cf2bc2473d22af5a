package dispatch

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
	"weak"

	"github.com/seed-bb4b4d74/dispatch/internal/inbox"
	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
)

// recipient is what listeners, observers, OnLate hooks and the logger have in common:
// callbacks that are called from an inbox and hold up nothing else. While its inbox is
// busy it stands in the ledger of its bus.
type recipient struct {
	Registration
	inbox inbox.Inbox
	place ledger.Entry

	// What it is called with from the log of a call, beside results; these do not change.
	wantsOutcomes, wantsEnd bool

	observes bool        // it is an observer, which neither the call nor its place waits for
	gone     atomic.Bool // nothing more is to be called

	// since is when what is being delivered became ready, as a duration since the bus
	// was made, in nanoseconds; 0 if nothing is.
	since     atomic.Int64
	delivered atomic.Uint64 // results it was called with
	watched   atomic.Int64  // when a timer was set that looks at since; 0: none is; never: none is to be
	notes     *notes        // nil as long as there are none; guarded by the inbox's lock
}

// notes are what few recipients have to note.
type notes struct {
	dropped []func()        // which tell observers of dropped results
	ready   []time.Duration // when what is being delivered became ready, if callbacks overlap
}

// note changes the notes under the inbox's lock.
func (r *recipient) note(change func(*notes)) {
	r.inbox.Locked(func() {
		if r.notes == nil {
			r.notes = new(notes)
		}
		change(r.notes)
	})
}

func (r *recipient) init(reg Registration, c inbox.Config) {
	r.Registration = reg
	r.inbox.Init(r, c)
}

// start runs the inbox on a goroutine of its own.
func (r *recipient) start() { go r.inbox.Run() }

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

// tell delivers a single event.
func (r *recipient) tell(e *event) {
	e.to = r
	if r.put(e, e.since) {
		r.start()
	}
}

// event is something for one recipient that is not in the log of a call.
type event struct {
	inbox.Links
	to    *recipient
	since time.Duration // since the bus was made
	call  func()
}

// Take is part of inbox.Source.
func (e *event) Take(int) (t inbox.Task, results int, more bool) {
	if e.call == nil {
		return nil, 0, false
	}
	return e, 0, false
}

// Fresh is part of inbox.Source.
func (e *event) Fresh() int { return 0 }

// Drop is part of inbox.Source.
func (e *event) Drop(int, bool) int { return 0 }

// Spent is part of inbox.Source.
func (e *event) Spent() bool { return false }

// Release is part of inbox.Source.
func (e *event) Release() {}

// Discard is part of inbox.Source.
func (e *event) Discard() {}

// Run calls back, once even if the callback unwinds the stack.
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

// watchFrom sees to it that a timer watches an inbox that has become busy. A timer that
// has not come back in twice its time has been lost with the bubble of a test.
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

// watch looks after d whether what is being delivered has waited for too long. The
// timer outlives the inbox's business by d at most, and holds nothing in memory: to
// stop it each time would cost more than all the rest.
func (r *recipient) watch(d time.Duration) {
	pointer := weak.Make(r)
	time.AfterFunc(d, func() {
		if r := pointer.Value(); r != nil && !r.gone.Load() {
			r.look()
		}
	})
}

// look logs the recipient if it is slow, or looks again later if it may yet be.
func (r *recipient) look() {
	since, limit := time.Duration(r.since.Load()), r.bus.slowListener
	now := r.bus.sinceEpoch(time.Now())
	left := since + limit - now
	switch {
	case since == 0:
		// What becomes busy before this has relied on this timer.
		if r.watched.Store(0); !r.inbox.Idle() {
			r.watchFrom(now)
		}
	case left >= 0:
		r.watched.Store(int64(now))
		r.watch(left + 1) // it has to be longer
	case r.watched.Swap(int64(never)) != int64(never): // it is told once
		r.bus.registrar.observeSlow(r)
		r.bus.log(slog.LevelWarn, r.kind()+" is slow",
			slog.String(r.kind(), r.Name()), slog.String("topic", r.entry.Selection.String()), slog.String("added_at", r.addedAt()))
	}
}

// begins notes that something is delivered, maybe beside others, that became ready at a time
// since the bus was made. The function that it returns is to be called afterwards.
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

// waitingSince notes when what is delivered now became ready, unless callbacks overlap, since
// the bus was made. A little inexactness saves most of the cost.
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

// kind says in a word who it is.
func (r *recipient) kind() string {
	if r.observes {
		return "observer"
	}
	return "listener"
}

// silenced reports whether callbacks with results are over: for listeners, and OnLate
// hooks, also once the bus is closed.
func (r *recipient) silenced() bool {
	return r.gone.Load() || r.bus.ledger.Level() == ledger.Closed && !r.observes
}

// stop is part of Remove.
func (r *recipient) stop() {
	r.gone.Store(true)
	r.inbox.Discard()
}

// settle delivers what has been written for the recipient by now. Its registration has
// been taken away already, so no call begins to write for it.
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

// noteDropped keeps for tellDropped what tells observers of a dropped result. It is called
// under the inbox's lock.
func (r *recipient) noteDropped(tell func()) {
	if r.notes == nil {
		r.notes = new(notes)
	}
	r.notes.dropped = append(r.notes.dropped, tell)
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
