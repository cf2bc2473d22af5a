package dispatch

import (
	"math"
	"sync/atomic"
	"time"
)

// feed brings the log of one call to one listener. It is put into the
// listener's mailbox whenever there is something to read and it is not in there.
type feed[Req, Res any] struct {
	call     *Call[Req, Res]
	listener *listener
	fn       Listener[Req, Res]
	base     time.Duration   // the call's start, since the bus was made
	sibling  *feed[Req, Res] // the next feed of the call; never changes
	queued   atomic.Bool
	left     atomic.Bool       // the listener has gone, and nobody reads any more
	finished atomic.Bool       // nothing more comes of the feed
	reached  atomic.Int64      // the position up to which it has been read
	limit    atomic.Int64      // the position in the log that must not be passed
	pieces   *pieces[Req, Res] // nil unless the listener is piecemeal
	observer *observer         // who is told in place of a listener; nil for a listener
	outcomes bool              // who is told wants to hear of outcomes, too

	// The fields below belong to whoever runs the mailbox.
	at      cursor[Res]
	owed    int  // one more than the place of the member whose outcome is to be told next; 0: none
	told    int  // how many members have been looked at at the end of the call
	done    bool // the end of the call has been told
	counted int  // results that the listener has in its count
}

// init makes the feed ready to read what is written from now on. The call's lock
// is held.
func (f *feed[Req, Res]) init(c *Call[Req, Res], l *listener, sibling *feed[Req, Res]) {
	f.call, f.listener, f.sibling = c, l, sibling
	if l.fn != nil {
		f.fn = l.fn.(Listener[Req, Res])
		if c.observed != nil {
			f.fn = c.observedListener(l, f.fn)
		}
	}
	f.outcomes = l.onOutcome != nil
	f.base = c.bus.sinceEpoch(c.start)
	f.at = c.log.end()
	f.counted = f.at.seq
	f.limit.Store(math.MaxInt64)
	if l.piecemeal() {
		f.pieces = new(pieces[Req, Res])
	}
}

// put puts the feed into the mailbox unless it is there already, and reports
// whether the mailbox has to be run.
func (f *feed[Req, Res]) put() (idle bool) {
	if f.listener.gone.Load() {
		f.leave()
		return false
	}
	if f.pieces != nil {
		f.putPieces()
		return false
	}
	return f.queued.CompareAndSwap(false, true) && f.listener.queue.Put(f)
}

// cutOff has the listener read what is in the log by now and no more: neither
// later results nor, if the call goes on, its end. It returns a function that
// reports whether that has been done, or nil if there is nothing to do.
func (c *Call[Req, Res]) cutOff(l *listener) (delivered func() bool) {
	c.lockDrained()
	f := c.feeds
	for f != nil && f.listener != l {
		f = f.sibling
	}
	pending, limit := c.reason == ReasonPending, c.log.end().position()
	if f != nil && pending {
		f.limit.Store(limit)
	}
	c.mu.Unlock()
	if f == nil {
		return nil
	}
	if f.put() {
		l.start()
	}
	switch {
	case f.pieces != nil:
		return nil // the pieces are all in the mailbox
	case pending:
		return func() bool { return f.reached.Load() >= limit || l.gone.Load() }
	default:
		return func() bool { return f.finished.Load() || l.gone.Load() }
	}
}

// Run delivers what there is to read. After a callback that unwound the stack it
// goes on behind that.
func (f *feed[Req, Res]) Run() {
	for {
		// The end comes before the log: what was written before the end is
		// read before the end is told.
		over := f.call.over.Load()
		for {
			f.tellOwed()
			if f.at.position() >= f.limit.Load() {
				break
			}
			i, page, ok := f.at.next()
			if !ok {
				break
			}
			if i >= 0 && !f.outcomes && f.observer == nil {
				f.deliverAnswer(int(i))
			} else {
				f.deliver(i, page)
			}
		}
		if over {
			if !f.done && f.limit.Load() == math.MaxInt64 {
				f.tellEnd()
			}
			f.finish()
		}
		f.count()
		// Whoever writes now finds the feed queued, or is seen here.
		at := f.at
		f.reached.Store(at.position())
		f.queued.Store(false)
		news := at.position() < f.limit.Load() && at.ready() || f.call.over.Load() != over
		if !news || !f.queued.CompareAndSwap(false, true) {
			return
		}
	}
}

// leave lets go of the log, once the listener has gone and unless the mailbox has
// the feed: it would keep all that is written from now on.
func (f *feed[Req, Res]) leave() {
	over := f.call.over.Load()
	if f.pieces != nil {
		f.leavePieces(over)
		return
	}
	if f.queued.CompareAndSwap(false, true) { // and so it stays: nobody reads any more
		f.at = cursor[Res]{}
		f.left.Store(true)
	}
	if over && f.left.Load() {
		f.finish()
	}
}

// finish is called when nothing more comes of the feed.
func (f *feed[Req, Res]) finish() {
	if !f.finished.Swap(true) {
		f.call.unhold()
	}
}

// discarded is called when the listener was removed with the feed in its mailbox.
func (f *feed[Req, Res]) discarded() {
	f.queued.Store(false)
	if f.call.over.Load() {
		f.finish()
	}
}

// deliver calls back with the result of an entry, if it has one.
func (f *feed[Req, Res]) deliver(i int32, page *page[Res]) {
	e, l := f.call.event(i, page), f.listener
	if e.ended && f.outcomes {
		f.owed = f.call.place(e) + 1
	}
	if e.value == nil {
		return
	}
	f.at.seq++
	if l.gone.Load() || f.observer == nil && l.silenced() {
		return
	}
	if l.waitingSince(f.base + e.elapsed) {
		f.count()
	}
	if f.observer != nil {
		f.call.observeResult(f.observer, e, f.at.seq-1)
		return
	}
	f.fn(&f.call.listening, f.call.result(e, f.at.seq-1))
}

// deliverAnswer is deliver for what most entries are, the end of a producer that
// has answered, and most listeners, those without hooks. It is worth a function
// because its frame is small: a callback has to fit on a new goroutine's stack with
// the frames below it, or growing the stack costs more than all else.
func (f *feed[Req, Res]) deliverAnswer(i int) {
	c := f.call
	m := &c.members[i]
	if m.state != StateOK || m.streams {
		return
	}
	f.at.seq++
	if f.listener.silenced() {
		return
	}
	if f.listener.waitingSince(f.base + m.ended) {
		f.count()
	}
	r := Result[Req, Res]{Call: c, Value: c.answers[i], Seq: f.at.seq - 1, Elapsed: m.ended}
	if p := c.producers[i]; p.group == nil {
		r.From.Name = p.name
	} else {
		r.From = c.memberAt(i)
	}
	f.fn(&c.listening, r)
}

// count adds the results that the listener was called with to its count. It is
// called now and then, for to count each of them would cost more than all else.
func (f *feed[Req, Res]) count() {
	if n := f.at.seq - f.counted; n > 0 {
		f.listener.delivered.Add(uint64(n))
		f.counted = f.at.seq
	}
}

// tellOwed calls back for the member that has ended with the last event.
func (f *feed[Req, Res]) tellOwed() {
	if place := f.owed - 1; place >= 0 {
		f.owed = 0
		f.tellOutcome(place)
	}
}

func (f *feed[Req, Res]) tellOutcome(i int) {
	switch {
	case f.listener.gone.Load():
	case f.observer != nil:
		f.call.observeOutcome(f.observer, i, f.call.outcome(i))
	default:
		f.listener.onOutcome(f.call.outcome(i))
	}
}

// tellEnd calls back for the members that had not ended when the call did, and
// for the call itself.
func (f *feed[Req, Res]) tellEnd() {
	l := f.listener
	l.waitingSince(f.base + f.call.elapsed)
	for f.outcomes && f.told < f.call.size() {
		i := f.told
		f.told++
		if !f.call.hasEnded(i) {
			f.tellOutcome(i)
		}
	}
	f.done = true
	switch {
	case l.gone.Load():
	case f.observer != nil:
		f.call.observeEnd(f.observer)
	case l.onDone != nil:
		l.onDone(f.call.Report())
	}
}
