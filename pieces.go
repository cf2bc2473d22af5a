package dispatch

import (
	"math"
	"sync"
	"sync/atomic"
)

// pieces is the part of a feed that only listeners with a bounded mailbox or with
// concurrency need: it takes the log apart, so that each result is a task of its
// own, which may be dropped or run beside others.
type pieces[Req, Res any] struct {
	open atomic.Int64 // pieces in the mailbox, and one for the call as long as it goes on

	mu    sync.Mutex // held while the log is taken apart, which nothing but the mailbox waits for
	begun bool
	ended bool // the end has been reached
	left  bool // the listener has gone
}

// putPieces puts what is new in the log into the mailbox. This happens on a worker's
// stack, and so the frames have to be small, as with deliverAnswer.
func (f *feed[Req, Res]) putPieces() {
	f.pieces.mu.Lock()
	if !f.pieces.left {
		f.pieces.begin()
		over := f.call.over.Load()
		f.putNews()
		if over && !f.pieces.ended {
			f.pieces.ended = true
			f.pieceDone()
		}
	}
	f.pieces.mu.Unlock()
}

// putNews is putPieces apart from the end of the call.
func (f *feed[Req, Res]) putNews() {
	var spare *resultPiece[Req, Res]
	l, dropped := f.listener, uint64(0)
	for f.at.position() < f.limit.Load() {
		i, page, ok := f.at.next()
		if !ok {
			break
		}
		if f.call.isResult(i, page) {
			f.at.seq++
			if !l.queue.DropFirst && l.queue.Full() {
				dropped++ // without having been a piece at all
				if f.call.observed != nil {
					f.call.observeDropped(l, f.call.from(f.call.event(i, page)), f.at.seq-1)
				}
			} else {
				spare = f.putResult(i, page, spare)
			}
		}
		if f.outcomes {
			f.putOutcome(i, page)
		}
	}
	if dropped > 0 {
		l.dropped.Add(dropped)
	}
}

// isResult reports whether an entry on a page of the log has a result.
func (c *Call[Req, Res]) isResult(i int32, page *page[Res]) bool {
	if i < 0 {
		return page.events[^i].value != nil
	}
	return c.members[i].state == StateOK && !c.members[i].streams
}

// putResult puts a result into the mailbox, in a piece that nobody needs any more,
// if there is one. It returns such a piece if one has been dropped.
func (f *feed[Req, Res]) putResult(i int32, page *page[Res], spare *resultPiece[Req, Res]) *resultPiece[Req, Res] {
	if spare == nil {
		spare = new(resultPiece[Req, Res])
	}
	f.fill(spare, i, page)
	f.pieces.open.Add(1)
	dropped, idle := f.listener.queue.Exchange(spare)
	if idle {
		f.listener.start()
	}
	if dropped == nil {
		return nil
	}
	spare = dropped.(*resultPiece[Req, Res])
	spare.Dropped()
	return spare
}

//go:noinline
func (f *feed[Req, Res]) fill(p *resultPiece[Req, Res], i int32, page *page[Res]) {
	*p = resultPiece[Req, Res]{feed: f, event: f.call.event(i, page), seq: f.at.seq - 1}
}

// putOutcome puts the end of a member into the mailbox if that is what the entry is.
//
//go:noinline
func (f *feed[Req, Res]) putOutcome(i int32, page *page[Res]) {
	e := f.call.event(i, page)
	if !e.ended {
		return
	}
	f.pieces.open.Add(1)
	if f.listener.queue.Put(&outcomePiece[Req, Res]{feed: f, place: f.call.place(e)}) {
		f.listener.start()
	}
}

// begin opens the count for the call itself.
func (p *pieces[Req, Res]) begin() {
	if !p.begun {
		p.begun = true
		p.open.Store(1)
	}
}

// leavePieces lets go of the log when the listener has gone.
func (f *feed[Req, Res]) leavePieces(over bool) {
	p := f.pieces
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begin()
	p.left, f.at = true, cursor[Res]{}
	if over && !p.ended {
		p.ended = true
		f.pieceDone()
	}
}

// pieceDone puts the end of the call into the mailbox behind its last piece.
func (f *feed[Req, Res]) pieceDone() {
	if f.pieces.open.Add(-1) > 0 {
		return
	}
	if f.listener.onOutcome == nil && f.listener.onDone == nil {
		f.finish() // nobody wants to hear of the end, which would only take room
		return
	}
	if f.listener.queue.Put(&endPiece[Req, Res]{f}) {
		f.listener.start()
	}
}

// resultPiece is one result for one listener.
type resultPiece[Req, Res any] struct {
	feed  *feed[Req, Res]
	event event[Res]
	seq   int
	told  bool
}

// Run delivers the result, once even if the callback unwinds the stack.
func (p *resultPiece[Req, Res]) Run() {
	f := p.feed
	if !p.told && !f.listener.silenced() {
		p.told = true
		f.listener.waitingSince(f.base + p.event.elapsed)
		f.listener.delivered.Add(1)
		f.fn(&f.call.listening, f.call.result(p.event, p.seq))
	}
	f.pieceDone()
}

// Dropped counts the result as dropped.
func (p *resultPiece[Req, Res]) Dropped() {
	f := p.feed
	f.listener.dropped.Add(1)
	f.call.observeDropped(f.listener, f.call.from(p.event), p.seq)
	p.feed.pieceDone()
}

func (p *resultPiece[Req, Res]) discarded() { p.feed.pieceDiscarded() }

// outcomePiece is the end of one member for one listener.
type outcomePiece[Req, Res any] struct {
	feed  *feed[Req, Res]
	place int
	told  bool
}

// Run tells the outcome, once even if the callback unwinds the stack.
func (p *outcomePiece[Req, Res]) Run() {
	if !p.told {
		p.told = true
		p.feed.tellOutcome(p.place)
	}
	p.feed.pieceDone()
}

func (p *outcomePiece[Req, Res]) discarded() { p.feed.pieceDiscarded() }

// endPiece is the end of a call for one listener.
type endPiece[Req, Res any] struct{ feed *feed[Req, Res] }

// Run tells the end. After a callback that unwound the stack it goes on.
func (p *endPiece[Req, Res]) Run() {
	f := p.feed
	if !f.done && f.limit.Load() == math.MaxInt64 {
		f.tellEnd()
	}
	f.finish()
}

func (p *endPiece[Req, Res]) discarded() { p.feed.finish() }

// pieceDiscarded is called when the listener was removed with a piece in its
// mailbox. There is nobody left to tell the end.
func (f *feed[Req, Res]) pieceDiscarded() {
	if f.pieces.open.Add(-1) == 0 {
		f.finish()
	}
}
