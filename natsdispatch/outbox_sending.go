package natsdispatch

import (
	"slices"
)

// This file is how messages leave an outbox: when there is credit, and once more until the asker has
// acknowledged them.

// take waits until there is something to send, and returns it. It returns nothing
// when all has been taken. If it has to wait for credit after the last frame, stuck is called
// once before that.
func (o *outbox) take(stuck func()) (all []*message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		if all = o.takeLocked(); all != nil || o.closed && o.waiting == 0 {
			return all
		}
		if o.waiting > 0 && stuck != nil {
			stuck()
			stuck = nil
		}
		o.ready.Wait()
	}
}

func (o *outbox) takeLocked() (all []*message) {
	o.moveLocked()
	all, o.out = o.out, nil
	if len(all) > 0 {
		o.countLocked()
		o.room.Broadcast()
	}
	return all
}

// moveLocked moves what there is credit for to what is taken next.
func (o *outbox) moveLocked() {
	for len(o.full) > 0 && o.maySendLocked(o.full[0]) {
		o.waiting -= len(o.full[0].body)
		o.outLocked(o.full[0])
		o.full[0] = nil
		o.full = o.full[1:]
	}
	if len(o.full) == 0 && o.current != nil && o.maySendLocked(o.current) {
		o.waiting -= len(o.current.body)
		o.outLocked(o.current)
		o.current = nil
	}
}

func (o *outbox) maySendLocked(m *message) bool { return o.head == nil || o.flow.admits(m) }

// outLocked gives a message its number.
func (o *outbox) outLocked(m *message) *message {
	o.out = append(o.out, m)
	if o.head == nil {
		m.seq = o.flow.next
		o.flow.next++
		return m
	}
	o.flow.send(m)
	setSeq(m.body, len(o.head), m.seq)
	return m
}

// acknowledge takes in what the asker has had, and how much may be sent.
func (o *outbox) acknowledge(next uint64, granted int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flow.acknowledge(next, granted)
	o.countLocked()
	o.ready.Signal()
}

// unheard returns what was sent and not acknowledged. If there is nothing it puts a message that
// says nothing, so that the asker hears that it has all.
func (o *outbox) unheard() []*message {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.flow.kept) == 0 && o.head != nil {
		o.outLocked(&message{body: slices.Clone(o.head)})
		o.ready.Signal()
	}
	return slices.Clone(o.flow.kept)
}

// unacknowledged returns the last message that was sent, alone, unless all has been acknowledged. It is
// asked with every beat, and returns one that was there the last time only after 1, 2, 4, 8, …
// beats, unless it is to return it always.
func (o *outbox) unacknowledged(always bool) []*message {
	o.mu.Lock()
	defer o.mu.Unlock()
	last := slices.Clone(o.flow.kept[max(0, len(o.flow.kept)-1):])
	if len(last) == 0 || always {
		return last
	}
	if o.stale++; o.staleSince != o.flow.next {
		o.stale, o.staleSince = 0, o.flow.next
	}
	if o.stale == 0 || o.stale&(o.stale-1) != 0 {
		return nil
	}
	return last
}

// keeps reports whether something was sent that the asker may still have to be sent again.
func (o *outbox) keeps() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.flow.kept) > 0
}

// isDone reports whether all has been put, and all taken but what goes first.
func (o *outbox) isDone() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed && o.waiting == 0
}
