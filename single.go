package dispatch

import (
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
	"github.com/seed-bb4b4d74/dispatch/internal/inbox"
)

// single is one entry, or the end of the call, for a recipient whose inbox is bounded or
// concurrent: there each of them is a task of its own.
type single struct {
	feed  *feed
	batch batch         // of one entry, or the end of the call
	ready time.Duration // when it could be delivered, since the bus was made
}

// takeSingleLocked is Take for such recipients. It passes over dropped results.
func (f *feed) takeSingleLocked() (t inbox.Task, results int, more bool) {
	s := &single{feed: f, ready: f.call.onBus(f.call.course.Ended())}
	for !f.ended && !f.to.gone.Load() && f.read < f.limit {
		if f.drops != nil && f.drops.probe.Seq < f.at.Seq {
			f.drops.probe = f.at // otherwise it would keep what lies between in memory
		}
		entries, values := f.at.Take(1)
		if len(entries) == 0 {
			break
		}
		f.read++
		s.ready = f.call.onBus(entries[0].At)
		s.batch = batch{entries: entries, values: values, seq: f.at.Seq}
		if kind := entries[0].Kind; kind&calllog.Result != 0 {
			if f.at.Seq++; !f.droppedLocked(s.batch.seq) {
				results = min(1, f.counted-s.batch.seq) // it may have come since the last count
				f.counted = max(f.counted, f.at.Seq)
			} else if s.batch.half = true; kind == calllog.Result {
				continue
			}
		} else if !f.to.wantsOutcomes {
			continue
		}
		if s.batch.half && !f.to.wantsOutcomes {
			continue
		}
		f.inHand++
		f.come = f.at.Seq
		f.handIfHeardLocked()
		f.queued = f.hasMoreLocked()
		return s, results, f.queued
	}
	s.batch = batch{final: f.takesEndLocked()}
	if f.queued = false; s.batch.final {
		f.inHand++
		return s, 0, false
	}
	f.endIfOverLocked()
	return nil, 0, false
}

// droppedLocked reports whether the result of this Seq has been dropped. It must be called
// once for each result, in order.
func (f *feed) droppedLocked(seq int) bool {
	if f.drops == nil {
		return false
	}
	spans := f.drops.spans
	for len(spans) > 0 && spans[0].to <= seq {
		spans = spans[1:]
	}
	f.drops.spans = spans
	return len(spans) > 0 && spans[0].from <= seq
}

// Run delivers the event. The end of the call waits until no single is in hand: Run puts the
// feed back for it.
func (s *single) Run() {
	f := s.feed
	defer f.to.begins(s.ready)()
	f.deliver(&s.batch)
	c := f.call
	c.mu.Lock()
	f.inHand--
	ended := c.course.Ended()
	again := !f.queued && f.hasMoreLocked()
	if again {
		f.queued = true
	} else if !f.queued {
		f.endIfOverLocked()
	}
	c.mu.Unlock()
	if again && f.to.put(f, c.onBus(ended)) {
		f.to.start()
	} else {
		f.to.tellDropped()
	}
	c.bus.ledger.Changed()
}

// Fresh is part of inbox.Source.
func (f *feed) Fresh() (fresh int) {
	f.call.mu.Lock()
	defer f.call.mu.Unlock()
	if f.ended || f.to.gone.Load() {
		return 0
	}
	fresh = min(f.call.log.Results(), f.most) - f.counted
	f.counted += fresh
	return fresh
}

// Drop is part of inbox.Source.
func (f *feed) Drop(n int, oldest bool) int {
	f.call.mu.Lock()
	defer f.call.mu.Unlock()
	if f.ended {
		return 0
	}
	from, spans := f.at.Seq, f.drops.spans
	last := len(spans) - 1
	if last >= 0 {
		from = max(from, spans[last].to)
	}
	n = min(n, f.counted-from)
	if n <= 0 {
		return 0
	}
	if !oldest {
		from = f.counted - n
	}
	if last >= 0 && spans[last].to == from {
		spans[last].to += n
	} else {
		f.drops.spans = append(spans, span{from, from + n})
	}
	f.noteDroppedLocked(span{from, from + n})
	f.handIfHeardLocked()
	return n
}

// noteDroppedLocked keeps which results were dropped until tellDropped tells observers.
func (f *feed) noteDroppedLocked(s span) {
	if !f.call.observing.wants(func(o *Observer) bool { return o.Dropped != nil }) {
		return
	}
	probe := &f.drops.probe
	for probe.Seq < s.to {
		entries, _ := probe.Take(1)
		if len(entries) == 0 {
			return
		}
		if entries[0].Kind&calllog.Result == 0 {
			continue
		}
		if probe.Seq++; probe.Seq > s.from {
			member, seq := entries[0].Member, probe.Seq-1
			f.to.noteDropped(func() { f.call.observeDropped(f.to, member, seq) })
		}
	}
}
