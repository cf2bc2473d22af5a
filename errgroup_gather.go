package dispatch

import (
	"context"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
	"github.com/seed-bb4b4d74/dispatch/internal/course"
)

// The engine. Workers do the runs of a call. They are goroutines of the call's errgroup.Group,
// and all do the same: claim the run that the course says is next, call its producer, tell the
// course how the run ended, and claim again until nothing is left.
//
//   - While released runs are unclaimed, a worker that can claim them is runnable. Before a
//     worker calls a producer while more runs can be claimed, it makes sure that there is a
//     spare: a worker that has been started and has claimed nothing yet. If producers are
//     quick, the first worker calls nearly all of them. If one blocks, the spare begins and
//     starts the next spare, so no producer waits for another.
//   - No result waits because a producer blocks: before a worker calls the next producer, it
//     publishes the results so far, or leaves that to the spare, which does it when it
//     begins. So the results of quick producers are published many at a time.
//   - A worker goes on only after a quick producer. So what a producer does to its
//     goroutine and to its thread ends with them, unless there was no time to do it.
//   - Only the frames of the producer and a few small ones are on the stack while it runs: a
//     goroutine starts with a small stack, and each time the stack grows it is copied.

// quick is the time in which a producer must return for its goroutine to call another one. To
// start a goroutine takes about half as long.
const quick = time.Microsecond

// manySpares is how many workers of a bus may be runnable and not have begun.
const manySpares = 64

// vanish settles a run whose closure has unwound the stack, and ends the worker. Methods of the panic's value may
// end the goroutine, too.
func (c *gathering) vanish(r *run) {
	now, how, why := c.now(), r.howEnded(false), ""
	c.release(r)
	defer func() {
		_, idle := c.settleAs(r, how, why, now)
		c.leave()
		if idle != nil {
			idle.start()
		}
	}()
	why = r.why(how)
}

// begin makes a spare a worker: it claims a run, or returns nil if there is none. It publishes
// what other workers have left to the spare.
func (c *gathering) begin() *run {
	now := c.now()
	c.bus.spares.Add(-1)
	c.mu.Lock()
	c.spare = false
	r := c.claimLocked(now)
	spare := r != nil && c.wantsSpareLocked(now)
	c.afterLocked()
	feeds := c.publishLocked()
	c.mu.Unlock()
	if spare {
		c.startSpare()
	}
	put(feeds)
	return r
}

// startSpare starts a worker that wantsSpareLocked has asked for. Spares of calls that are
// over keep their calls in memory while they wait in the run queue behind goroutines that wake
// each other; if there are very many, the caller yields to them.
func (c *gathering) startSpare() {
	spares := c.bus.spares.Add(1)
	c.workers.Go(c.worker)
	if spares > manySpares {
		runtime.Gosched()
	}
}

// wantsSpareLocked reports whether the caller has to start a worker for what can be claimed.
// That worker then holds the call.
func (c *gathering) wantsSpareLocked(now time.Duration) bool {
	if c.spare || !c.course.Claimable(now) {
		return false
	}
	c.spare = true
	c.holds++
	return true
}

// claimLocked claims the run that is next, and starts it if nothing stands between it
// and its closure.
func (c *gathering) claimLocked(now time.Duration) *run {
	id, ok := c.course.Claim(now)
	if !ok {
		return nil
	}
	r := c.runLocked(id)
	c.claimed = r
	if r.phase = runClaimed; r.producer().open() {
		c.startLocked(r, now)
	}
	return r
}

// startLocked starts a claimed run unless it is too late for it.
func (c *gathering) startLocked(r *run, now time.Duration) bool {
	limit := r.producer().timeout
	if !c.course.Start(now, r.id(), limit) {
		return false
	}
	r.phase, r.started = runGoes, true
	c.running++
	c.timed = c.timed || limit > 0
	if own := r.replica(); own != nil {
		own.began = now
		if limit > 0 && own.ctx != nil { // it has waited for a slot without a timeout
			own.base, own.ctx = own.ctx, nil
		}
	}
	return true
}

// admit starts a run whose producer is not open, or keeps in it why it must not start.
// It may block for as long as the member is pending.
func (c *gathering) admit(r *run) {
	p := r.producer()
	if r.fail(p.refuses()); r.err() != nil {
		return
	}
	if p.limits != nil {
		if r.fail(p.limits.acquire(r)); r.err() != nil {
			return
		}
		r.limited = true
	}
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.fail(p.refuses()); r.err() == nil && !c.startLocked(r, now) { // it may have got stuck meanwhile
		r.fail(ErrRemoved)
	}
	c.afterLocked()
}

// settle tells the course how a run has ended, brings what follows from that to
// readers and listeners, and claims the next run. If there is none it may also return
// a recipient whose inbox has to be run.
func (c *gathering) settle(r *run) (next *run, idle *recipient) {
	now, returned := c.now(), r.returned
	r.returned = false // methods of the run's error may end the goroutine
	how := r.howEnded(returned)
	c.release(r)
	if how == course.Expired {
		c.tick()
	}
	why := r.why(how)
	r.returned = returned
	return c.settleAs(r, how, why, now)
}

// release gives back the slots of a run that has them.
func (c *gathering) release(r *run) {
	if r.limited {
		r.limited = false
		r.producer().limits.release()
	}
}

// settleAs is settle once it is known how and when the run has ended, and with what text.
func (c *gathering) settleAs(r *run, how course.State, why string, now time.Duration) (next *run, idle *recipient) {
	c.mu.Lock()
	how = c.course.Resolve(now, how)
	if c.endLocked(r, how, now) == course.TooLate {
		c.mu.Unlock()
		c.settleLate(r, how, now)
		return nil, nil
	}
	losers := c.losersLocked(r)
	next, spare := c.goOnLocked(r, now)
	slow := !c.isQuickLocked(r, now)
	relabel := slow || c.nesting != nil
	c.afterLocked()
	over := c.over()
	var feeds *delivery
	if next == nil || !c.spare {
		feeds = c.publishLocked() // otherwise the spare does, if the next producer is not quick
	}
	c.mu.Unlock()

	if relabel {
		c.relabel()
	}
	if spare {
		c.startSpare()
	}
	c.spreadRun(r, how, why, over, losers)
	idle = putAllButOne(feeds)
	if over {
		c.recount()
	}
	if idle != nil && (next != nil || slow) {
		idle.start()
		idle = nil
	}
	return next, idle
}

// relabel gives the goroutine the labels of the sender: goroutines that it starts would inherit those that a
// closure or a hook may have set. Methods of the sender's context may panic, as after the end of an HTTP request.
func (c *gathering) relabel() {
	defer func() {
		if recover() != nil {
			pprof.SetGoroutineLabels(context.Background())
		}
	}()
	pprof.SetGoroutineLabels(c.from.sender)
}

// goOnLocked claims the next run for the worker that has ended one, unless the spare
// does, and reports whether a spare has to be started.
func (c *gathering) goOnLocked(r *run, now time.Duration) (next *run, spare bool) {
	switch {
	case c.over():
		return nil, false
	case c.goesOnLocked(r, now):
		next = c.claimLocked(now)
		return next, next != nil && c.wantsSpareLocked(now)
	default:
		return nil, c.wantsSpareLocked(now)
	}
}

// spreadRun tells others how a run has ended: the replicas that it has beaten, the producers
// if the call is over, the producer of the run if it failed, and goroutines that wait for the
// ledger.
func (c *gathering) spreadRun(r *run, how course.State, why string, over bool, losers []context.CancelCauseFunc) {
	for _, cancel := range losers {
		cancel(ErrSatisfied)
	}
	if over {
		c.spread()
	}
	if r.err() != nil {
		c.noteFailure(r, how, why)
	}
	c.bus.ledger.Changed()
}

// goesOnLocked reports whether the worker that has ended a run claims another one. If not, the
// spare does. Of several workers with quick producers only the one that has claimed last goes
// on, because they would be in each other's way.
func (c *gathering) goesOnLocked(r *run, now time.Duration) bool {
	return c.isQuickLocked(r, now) && (c.claimed == r || !c.spare)
}

// isQuickLocked reports whether the goroutine of a run can be used again: the closure had no
// time to do anything to it.
func (c *gathering) isQuickLocked(r *run, now time.Duration) bool {
	return (r.returned || !r.started) && c.tookLocked(r, now) < quick
}

// tookLocked returns how long a run has taken, without the hooks before its closure.
func (c *gathering) tookLocked(r *run, now time.Duration) time.Duration {
	switch {
	case !r.started:
		return 0
	case r.replica() != nil:
		return now - r.replica().began
	default:
		return now - max(c.course.Began(int(r.member)), c.nesting.hookedLocked(int(r.member)))
	}
}

// endLocked records the end of a run.
func (c *gathering) endLocked(r *run, how course.State, now time.Duration) course.Effect {
	if r.phase.goes() {
		c.returnLocked(r)
	}
	r.phase = runReturned
	streams := r.producer().is(gateStream)
	effect := c.course.End(now, r.id(), how, how == course.OK && !streams)
	if r.replica() != nil {
		c.endReplicaLocked(r.replica(), how, effect)
	}
	if effect == course.Ends {
		e := calllog.Entry{At: c.course.Ended(), Member: r.member, Kind: calllog.End}
		if how == course.OK && !streams {
			e.Kind |= calllog.Result
			e.Value = c.half.adoptLocked(r)
		}
		c.appendLocked(e)
	}
	return effect
}

// returnLocked notes that the closure of a run has returned, in whatever way.
func (c *gathering) returnLocked(r *run) {
	if r.phase == runAbandoned {
		r.producer().countAbandoned(-1)
	}
	c.running--
	if c.running == 0 && c.closed && c.timer != nil {
		c.timer.Stop()
	}
}

// settleLate is the rest of settle for a run that is late: its call was over, another replica
// had answered, or it had exceeded its timeout.
func (c *gathering) settleLate(r *run, how course.State, now time.Duration) {
	if !r.started {
		return
	}
	c.mu.Lock()
	ended := c.course.Member(int(r.member)).Ended
	if own := r.replica(); own != nil && own.overdue {
		ended = own.ended
	}
	by := max(0, now-ended)
	c.mu.Unlock()
	c.observeLate(r, r.producer().member(), now, by, r.err())
	c.noteUnwound(r)
	if how == course.OK && !r.producer().is(gateStream) {
		c.half.late(r, now, by)
	}
	c.bus.ledger.Changed()
}
