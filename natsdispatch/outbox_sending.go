package natsdispatch

import (
	"slices"
	"time"
)

// This file has the methods by which messages leave an outbox: when there is credit, and again until the
// asker has acknowledged them.

// takeAll calls send with each message that may be sent, and returns when the outbox is closed and all
// messages were sent. If it waits for credit until the time that until has returned when the wait began, it
// abandons the outbox: the asker gives no more credit then.
func (o *outbox) takeAll(until func() time.Time, send func(*message)) {
	var timer *time.Timer // nil before the first wait
	waits := false        // the timer runs
	stuck := func() {
		switch {
		case timer == nil:
			timer = time.AfterFunc(time.Until(until()), o.abandon)
		case !waits:
			timer.Reset(time.Until(until()))
		}
		waits = true
	}
	for {
		messages := o.take(stuck)
		if waits {
			timer.Stop()
			waits = false
		}
		if messages == nil {
			return
		}
		for _, m := range messages {
			send(m)
		}
	}
}

// take waits until there are messages to send, and returns them. It returns nil when the outbox is closed and
// all messages have been taken. Before it waits for credit, it calls stuck, with mu held, if stuck is not nil.
func (o *outbox) take(stuck func()) (all []*message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		if all = o.takeLocked(); all != nil || o.closed && o.waiting == 0 {
			return all
		}
		if o.waiting > 0 && stuck != nil {
			stuck()
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

// moveLocked moves the messages for which there is credit to out.
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

// outLocked gives a message its number, and appends it to out.
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

// acknowledge notes that the asker has taken all messages before next, and allows granted bytes, counted from
// the beginning of the reply.
func (o *outbox) acknowledge(next uint64, granted int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flow.acknowledge(next, granted)
	o.countLocked()
	o.ready.Signal()
}

// unheard returns the messages that were sent and not acknowledged. If there are none, it puts a message
// without frames, which tells the asker that nothing is missing, and returns this message. An abandoned
// outbox has no message.
func (o *outbox) unheard() []*message {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.flow.kept) == 0 && o.head != nil && !o.dropped {
		o.outLocked(&message{body: slices.Clone(o.head)})
		o.ready.Signal()
	}
	return slices.Clone(o.flow.kept)
}

// unacknowledged returns the last message that was sent, unless all messages have been acknowledged. Then, if
// the reply is not complete, it puts a message without frames, which the outbox sends: the asker may have ended
// the call, and answers with a done. unacknowledged is called with every beat. If always is false, it does this
// only 1, 2, 4, 8, … beats after the first beat that found the same last message with frames.
func (o *outbox) unacknowledged(always bool) []*message {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !always {
		if o.stale++; o.staleSince != o.flow.next {
			o.stale, o.staleSince = 0, o.flow.next
		}
		if o.stale == 0 || o.stale&(o.stale-1) != 0 {
			return nil
		}
	}
	if len(o.flow.kept) == 0 && o.flow.next > 0 && o.head != nil && !o.closed {
		o.outLocked(&message{body: slices.Clone(o.head)})
		o.staleSince = o.flow.next
		o.ready.Signal()
	}
	return slices.Clone(o.flow.kept[max(0, len(o.flow.kept)-1):])
}

// keeps reports whether a message was sent that the asker has not acknowledged.
func (o *outbox) keeps() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.flow.kept) > 0
}

// isDone reports whether the outbox is closed, and all messages but those in out have been taken.
func (o *outbox) isDone() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed && o.waiting == 0
}
