package dispatch

import (
	"math"

	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
	"github.com/seed-bb4b4d74/dispatch/internal/inbox"
)

// feed brings the log of one call to one recipient. It is a source in the inbox of the
// recipient, and the task that delivers what it has taken from the log.
type feed struct {
	inbox.Links
	delivery
	call *gathering
	next *feed // the next feed of the call; guarded by the call's lock

	batch    batch // what is being delivered; singles have batches of their own
	outcomes int32 // members that have been told at the end; only one goroutine delivers the end
	replicas int32 // of the member that is being told of, those that nextPending has passed

	// The call's lock guards the fields below.
	inHand  int32 // singles that are being delivered
	keeps   bool  // the call keeps its place for the recipient, which has not come to the last result
	queued  bool  // it is in the inbox, or what it has taken is being delivered
	ended   bool  // nothing more is to be taken
	left    bool  // it has ended its hold of the call
	at      calllog.Cursor
	read    int    // entries taken, and those before the feed began
	come    int    // results that the recipient has come to, and those before the feed began; exact only if keeps
	limit   int    // how many entries may be taken; see cutOff
	most    int    // how many results may be counted, likewise
	counted int    // results that the inbox has counted
	drops   *drops // nil if the inbox is unbounded
}

// batch is a part of a call's log on its way to a recipient. It belongs to the goroutine that
// delivers it.
type batch struct {
	now     calllog.Entry // the one that is being delivered
	entries []calllog.Entry
	values  any   // of the page that they are on
	seq     int   // of the next result to deliver, which is one more than that of now
	heard   uint8 // results that the recipient was called with
	told    uint8 // outcomes at the end that it has told
	half    bool  // the result of the first entry has been delivered or dropped
	final   bool  // the end of the call comes behind the entries
	done    bool  // the end has been told

	retained bool // the result was retained, see WithRetain
}

// audience is a registered listener or observer, as the feed of a call sees it.
type audience interface {
	result(c *gathering, b *batch)         // calls it with the result of b.now
	outcome(c *gathering, e calllog.Entry) // tells it that a member or replica has ended
	end(c *gathering)                      // tells it that the call has ended
}

// span is the dropped results whose Seq is at least from and less than to.
type span struct{ from, to int }

// drops are the results that a bounded inbox has dropped.
type drops struct {
	spans []span         // those that the feed has not passed, in order
	first [1]span        // the memory of the first one
	probe calllog.Cursor // up to where noteDroppedLocked has looked
}

// publishLocked lets readers and recipients see what has been written. It returns what has to be
// put into inboxes.
func (c *gathering) publishLocked() (all *delivery) {
	if c.more != nil {
		close(c.more)
		c.more = nil
	}
	if !c.launched {
		return nil
	}
	for at := &c.feeds; *at != nil; {
		f := *at
		if f.to.gone.Load() {
			*at = f.next
			f.endLocked()
			continue
		}
		at = &f.next
		switch {
		case f.queued:
		case f.hasMoreLocked():
			f.queued, f.since = true, c.onBus(c.course.Ended())
			f.link, all = all, &f.delivery
		case c.closed:
			f.endIfOverLocked()
		}
	}
	if c.closed {
		all = c.observing.publishEndLocked(c, all)
	}
	return all
}

// hasMoreLocked reports whether there is something to take: entries, or the end of the call.
func (f *feed) hasMoreLocked() bool { return f.hasEntriesLocked() || f.hasEndLocked() }

func (f *feed) hasEntriesLocked() bool { return f.read < f.limit && f.at.More() }

// hasEndLocked reports whether the end of the call can be told behind the entries.
func (f *feed) hasEndLocked() bool {
	return f.call.closed && !f.ended && f.limit == math.MaxInt && f.inHand == 0 && f.to.wantsEnd
}

// recount lets bounded inboxes drop the results above their bounds.
func (c *gathering) recount() {
	c.mu.Lock()
	if !c.bounded {
		c.mu.Unlock()
		return
	}
	var bounded []*feed
	for f := c.feeds; f != nil; f = f.next {
		if f.queued && f.to.inbox.Bounded() {
			bounded = append(bounded, f)
		}
	}
	c.mu.Unlock()
	for _, f := range bounded {
		f.to.inbox.Count(f)
		f.to.tellDropped()
	}
}

// appendLocked adds an entry to the log. Listeners that are new get it, too.
func (c *gathering) appendLocked(e calllog.Entry) {
	if c.topic.retains() > 0 {
		c.retainLocked(e)
		return
	}
	c.lookUpListenersLocked()
	c.log.Append(e)
}

// findListenersLocked gives a feed to each listener that has none yet. It begins
// at the present end of the log.
func (c *gathering) findListenersLocked() {
	if c.topic.retains() > 0 { // not while a listener takes what is retained and is registered
		c.bus.retention.mu.Lock()
		defer c.bus.retention.mu.Unlock()
	}
	c.lookUpListenersLocked()
}

func (c *gathering) lookUpListenersLocked() {
	generation := c.bus.registry.Generation()
	if c.seen == generation {
		return
	}
	c.seen = generation
	if c.generated != generation {
		c.route, c.generated = c.bus.registry.Route(&c.topic.Topic), generation
	}
	route := c.route
	if route.Types != c.topic.Types {
		// Other types have taken the name meanwhile, but patterns still match.
		route = c.bus.registry.Matching(&c.topic.Topic)
	}
	added := route.ListenersSince(c.newest)
	if len(added) == 0 {
		return
	}
	c.newest = added[len(added)-1].entry.ID
	feeds := make([]feed, len(added))
	for i, l := range added {
		c.addFeedLocked(&feeds[i], &l.recipient, c.log.End())
		feeds[i].keeps, feeds[i].read = true, c.log.Written()
		c.holds++
		c.unhanded++
	}
}

func (c *gathering) addFeedLocked(f *feed, to *recipient, at calllog.Cursor) {
	f.source, f.to = f, to
	f.call, f.next, f.limit, f.most = c, c.feeds, math.MaxInt, math.MaxInt
	f.at, f.counted, f.come, f.batch.seq = at, at.Seq, at.Seq, at.Seq
	if to.inbox.Bounded() {
		f.drops = &drops{probe: at}
		f.drops.spans = f.drops.first[:0]
		c.bounded = true
	}
	c.feeds = f
}

// Take is part of inbox.Source.
func (f *feed) Take(n int) (t inbox.Task, results int, more bool) {
	f.call.mu.Lock()
	defer f.call.mu.Unlock()
	if f.to.inbox.Single() {
		return f.takeSingleLocked()
	}
	f.at.Seq = f.batch.seq
	b := batch{seq: f.at.Seq}
	if !f.ended && !f.to.gone.Load() {
		if f.to.wantsOutcomes {
			n /= 2 // an entry may be a result and an outcome
		}
		b.entries, b.values = f.at.Take(min(n, f.limit-f.read))
		f.read += len(b.entries)
		b.final = f.takesEndLocked()
	}
	if f.batch = b; len(b.entries) > 0 || b.final {
		return f, 0, true
	}
	f.queued = false
	f.endIfOverLocked()
	f.call.bus.ledger.Changed()
	return nil, 0, false
}

// takesEndLocked takes the end of the call, if that follows what has just been taken, and
// reports whether it did.
func (f *feed) takesEndLocked() bool {
	if f.hasEntriesLocked() || !f.hasEndLocked() {
		return false
	}
	f.ended = true
	return true
}

// comeTo notes that the recipient comes to a result of the batch, and gives back the call's
// place if no other one follows. A recipient comes to a single when the single is taken.
func (f *feed) comeTo(seq int) {
	if f.call.placed && !f.to.inbox.Single() {
		f.call.mu.Lock()
		f.come = seq + 1
		f.handIfHeardLocked()
		f.call.mu.Unlock()
	}
}

// handIfHeardLocked gives back the place of an ended call if the recipient has come to its
// last result.
func (f *feed) handIfHeardLocked() {
	if f.keeps && f.call.closed && f.heardFromLocked(f.come) {
		f.handLocked()
	}
}

// heardFromLocked reports whether there is no result to be delivered from this Seq on.
func (f *feed) heardFromLocked(seq int) bool {
	if f.drops != nil {
		for _, s := range f.drops.spans {
			if s.from <= seq {
				seq = max(seq, s.to)
			}
		}
	}
	return seq >= min(f.call.log.Results(), f.most)
}

// handLocked gives back the place of the call as far as the feed keeps it.
func (f *feed) handLocked() {
	if f.keeps {
		f.keeps = false
		f.call.handLocked()
	}
}

// Release is part of inbox.Source. The recipient is inside a hook, which may be waiting for
// a place.
func (f *feed) Release() {
	if f.call.placed {
		f.call.mu.Lock()
		f.handLocked()
		f.call.mu.Unlock()
	}
}

// Spent is part of inbox.Source.
func (f *feed) Spent() bool {
	f.call.mu.Lock()
	defer f.call.mu.Unlock()
	if !f.call.closed || f.to.wantsEnd || !f.heardFromLocked(f.at.Seq) {
		return false
	}
	f.limit, f.queued = f.read, false
	f.endIfOverLocked()
	return true
}

// endIfOverLocked ends the feed if it has nothing more to deliver.
func (f *feed) endIfOverLocked() {
	if f.to.gone.Load() || f.call.closed && f.inHand == 0 && !f.hasMoreLocked() {
		f.endLocked()
	}
}

// endLocked ends the hold of the call, and lets go of the log: its cursor would keep in memory
// what is written from now on.
func (f *feed) endLocked() {
	if f.left {
		return
	}
	f.left, f.ended = true, true
	f.at, f.drops = calllog.Cursor{}, nil
	if !f.to.observes {
		f.handLocked()
		if f.call.leaveLocked() {
			f.call.bus.ledger.Leave(&f.call.from.place)
		}
	}
}

// Discard is part of inbox.Source.
func (f *feed) Discard() {
	f.call.mu.Lock()
	defer f.call.mu.Unlock()
	f.queued = false
	f.endLocked()
}

// Run delivers the batch. When it is called again, after a callback that has unwound the
// stack, it continues behind that callback.
func (f *feed) Run() { f.deliver(&f.batch) }

func (f *feed) deliver(b *batch) {
	to, outcomes, start := f.to, f.to.wantsOutcomes, f.call.onBus(0)
	audience := to.self.(audience)
	for len(b.entries) > 0 {
		b.now = b.entries[0]
		if b.now.Kind&calllog.Result != 0 && !b.half {
			if b.half = outcomes; !outcomes {
				b.entries = b.entries[1:]
			}
			b.seq++
			f.comeTo(b.seq - 1)
			if !to.silenced() {
				b.heard++
				to.waitingSince(start + b.now.At)
				audience.result(f.call, b)
			}
			continue
		}
		if b.now.Kind&calllog.End != 0 && f.tellsPending(audience, int(b.now.Member)) {
			continue
		}
		b.entries, b.half = b.entries[1:], false
		if outcomes && b.now.Kind&^calllog.Result != 0 && !to.gone.Load() {
			to.waitingSince(start + b.now.At)
			audience.outcome(f.call, b.now)
		}
	}
	if b.heard > 0 {
		to.delivered.Add(uint64(b.heard))
		b.heard = 0
	}
	if b.final {
		f.deliverEnd(b)
	}
}

// mostOutcomes is how many outcomes deliverEnd tells before other calls have their turn.
const mostOutcomes = 64

// deliverEnd tells the outcomes of members that had not ended when the call did, and
// the end of the call. If there are very many outcomes, it leaves the rest to the next batch.
func (f *feed) deliverEnd(b *batch) {
	audience := f.to.self.(audience)
	f.to.waitingSince(f.call.onBus(f.call.course.Ended()))
	for f.to.wantsOutcomes {
		i, ok := f.call.nextUnended(&f.outcomes)
		if !ok {
			break
		}
		if f.outcomes = int32(i); b.told == mostOutcomes {
			f.takeEndAgain()
			return
		}
		b.told++
		if f.tellsPending(audience, i) {
			continue
		}
		if f.outcomes++; !f.to.gone.Load() {
			audience.outcome(f.call, calllog.Entry{At: f.call.course.Ended(), Member: int32(i), Kind: calllog.End})
		}
	}
	if !b.done && !f.to.gone.Load() {
		b.done = true
		audience.end(f.call)
	}
}

// takeEndAgain lets the end of the call be taken once more.
func (f *feed) takeEndAgain() {
	f.call.mu.Lock()
	defer f.call.mu.Unlock()
	f.ended = f.left
}

// tellsPending tells of one replica that had not ended when its group did, and reports whether it
// did. It tells of one at a time, because a hook may unwind the stack.
func (f *feed) tellsPending(to audience, member int) bool {
	if !f.to.observes || !f.to.wantsOutcomes || f.to.gone.Load() {
		return false
	}
	e, ok := f.call.nextPending(member, &f.replicas)
	if ok {
		to.outcome(f.call, e)
	} else {
		f.replicas = 0
	}
	return ok
}

// nextUnended returns the first member from this index on that had not ended when the call
// did, and moves the index behind it.
func (c *gathering) nextUnended(from *int32) (i int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i = int(*from); i < c.course.Size(); i++ {
		if !c.course.HasEnded(i) {
			*from = int32(i + 1)
			return i, true
		}
	}
	*from = int32(i)
	return 0, false
}

// retainLocked is appendLocked for calls of a topic under WithRetain.
func (c *gathering) retainLocked(e calllog.Entry) {
	r := &c.bus.retention
	r.mu.Lock()
	defer r.mu.Unlock()
	c.lookUpListenersLocked()
	page, _ := c.log.Room()
	c.log.Append(e)
	if e.Kind&calllog.Result == 0 {
		return
	}
	x := retained{call: c, entry: e, seq: c.log.Results() - 1}
	if e.Value != calllog.Answer {
		x.values = page.Values
	}
	r.keepLocked(c.topic, c.bus.registry.Leads, x)
}
