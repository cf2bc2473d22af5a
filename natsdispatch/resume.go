package natsdispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// This file has the asker's side of version 2 of the protocol: the asker gives nodes credit, asks for
// missing messages, and acknowledges the messages that it has received.

// leastShare is how many bytes a node may send before the asker acknowledges them, however many nodes there
// are.
const leastShare = 16 << 10

// share returns how many bytes one of the nodes of a call may send before the asker acknowledges them. nodes is
// the number of these nodes. No node may send more than the asker lets wait.
func (r *Remote) share(nodes int) int64 {
	return int64(min(max(r.credit/max(nodes, 1), leastShare), r.bytes))
}

// strangers is the number of nodes that share the window if the asker knows none.
const strangers = 16

// replyInOrder handles a message of a reply of version 2 if all earlier messages have arrived. It drops a
// message that arrives too early, because the node sends this message again after the missing messages.
func (q *inquiry) replyInOrder(a *asked, t *tally, from sender, frames []byte, size int) {
	if t.in.window == 0 {
		t.in.window, t.in.granted = a.request.window, a.request.window
	}
	if from.unnumbered {
		q.do(t, func() { _, _ = q.read(t, frames) })
		return
	}
	switch t.in.order(from.seq) {
	case again: // the acknowledgement may have been lost
		q.r.counts.duplicates.Add(1)
		q.publishAck(a, t, ack{kindAck, a.request.call, t.in.next, t.in.granted})
	case ahead:
		q.miss(t)
	case inOrder:
		var values bool
		var err error
		if q.do(t, func() { values, err = q.read(t, frames) }); errors.Is(err, errNames) {
			q.askForNames(t)
			return
		}
		t.nameless = false
		t.in.take(size, values)
		if t.missing = t.in.lacks() && !t.over; t.missing {
			q.missLater(t) // the messages that arrived too early mostly arrive again behind this one
		}
		if granted, due := t.in.grant(q.r.share(q.waiting)); due && !t.over {
			q.publishAck(a, t, ack{kindAck, a.request.call, t.in.next, granted})
		}
	}
}

func (q *inquiry) read(t *tally, frames []byte) (values bool, err error) {
	if values, err = t.read(frames); err != nil && !errors.Is(err, errNames) {
		q.r.counts.malformed.Add(1)
	}
	return values, err
}

// The pauses before a node is asked for missing messages again.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = 400 * time.Millisecond
)

// miss asks a node for messages that are missing, or that may be missing because the node or the asker
// was without a connection. It asks until the node answers, because in a cluster some servers do not know
// a new connection at once.
func (q *inquiry) miss(t *tally) {
	if t.over || t.missing || t.in.window == 0 && !q.mayRepeat(t) {
		return // the reply is complete, the node is being asked, or it cannot be asked
	}
	t.missing, t.looked = true, t.in.next
	q.pause = firstPause / 2
	q.retry = time.After(0)
}

// missLater asks a node for missing messages if none of them comes for a while.
func (q *inquiry) missLater(t *tally) {
	t.looked = t.in.next
	if q.retry == nil {
		q.pause = firstPause
		q.retry = time.After(q.pause)
	}
}

// askAgain asks the nodes whose messages are missing.
func (q *inquiry) askAgain(ctx context.Context) {
	asked := false
	for _, a := range q.asks {
		for _, t := range a.tallies {
			if !t.missing || t.over {
				continue
			}
			asked = true
			if t.in.window == 0 { // the node has not answered
				q.sendAgain(ctx, a, t)
				continue
			}
			if t.looked != t.in.next { // messages have arrived since
				t.looked = t.in.next
				continue
			}
			kind := kindResume
			if t.nameless {
				kind = kindNames
			}
			q.r.counts.resumed.Add(1)
			q.publishAck(a, t, ack{kind, a.request.call, t.in.next, t.in.granted})
		}
	}
	q.retry = nil
	if asked {
		q.pause = min(2*q.pause, longestPause)
		q.retry = time.After(q.pause)
	}
}

// mayRepeat reports whether a request may be sent again to a node that has not answered it. The node must
// have announced that it speaks version 2, and so its boot id is known. Of a group, another replica may have
// received the request.
func (q *inquiry) mayRepeat(t *tally) bool { return !t.accepted && t.speaks2 && t.standIn.Group == "" }

// sendAgain sends a request again to one node, which may not have received it. If the node has received the
// request, it does not run it twice.
func (q *inquiry) sendAgain(ctx context.Context, a *asked, t *tally) {
	if err := q.sendTo(ctx, a, t.node, t.epoch); err != nil {
		q.r.failUnlessCut(fmt.Errorf("natsdispatch: ask %s again: %w", t.node, err))
		return
	}
	q.r.counts.resent.Add(1)
}

// publishAck tells a node which messages of its reply the asker has received.
func (q *inquiry) publishAck(a *asked, t *tally, what ack) {
	m := &nats.Msg{Subject: q.r.acks(t.node, q.topic), Reply: a.reply() + toOne, Data: what.append(nil)}
	if err := q.r.nc.PublishMsg(m); err != nil {
		q.r.failUnlessCut(fmt.Errorf("natsdispatch: acknowledge what %s has sent: %w", t.node, err))
	}
}

// done notes which nodes need not work for the call or keep their replies any more, and were not sent a cancel.
func (q *inquiry) done() {
	q.r.acked.mu.Lock()
	defer q.r.acked.mu.Unlock()
	for _, a := range q.asks {
		for _, t := range a.tallies {
			if (t.over || q.untold) && t.in.window > 0 {
				q.r.acked.addLocked(place{q.topic, t.node}, a.request.call)
			}
		}
	}
}

// doneCalls holds the finished calls of which the nodes were not told yet.
type doneCalls struct {
	wake chan struct{}

	mu    sync.Mutex           // guards the fields below
	lines map[place][]byte     // the lines for each node
	late  map[lateMessage]bool // those that have arrived since the nodes were told last
}

// lateMessage stands for all messages of one node to one call that arrive after the end of the call, until
// the node is told.
type lateMessage struct {
	node string
	call uint64
}

// isFirstLocked reports whether no other message of this kind has arrived since the nodes were told.
func (d *doneCalls) isFirstLocked(l lateMessage) bool {
	if d.late[l] {
		return false
	}
	if d.late == nil {
		d.late = make(map[lateMessage]bool)
	}
	d.late[l] = true
	return true
}

// addLocked adds a finished call.
func (d *doneCalls) addLocked(at place, call string) {
	if d.lines == nil {
		d.lines = make(map[place][]byte)
	}
	d.lines[at] = ack{kind: kindDone, call: call}.append(d.lines[at])
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// publishDone tells the nodes now and then which calls are finished, many calls at once. If there is no
// connection, it waits for one.
func (r *Remote) publishDone() {
	for {
		select {
		case <-r.acked.wake:
		case <-r.stopped.Done():
			return
		}
		select {
		case <-time.After(donePause):
		case <-r.stopped.Done():
		}
		r.awaitOnline()
		r.acked.mu.Lock()
		lines := r.acked.lines
		r.acked.lines, r.acked.late = nil, nil
		r.acked.mu.Unlock()
		for at, all := range lines {
			for len(all) > 0 {
				n := cutLines(all, leastPayload/2)
				if err := r.nc.Publish(r.acks(at.node, at.topic), all[:n]); err != nil {
					break // the nodes remind the asker, which then tells them again
				}
				all = all[n:]
			}
		}
	}
}

// donePause is how long publishDone collects finished calls before it tells the nodes.
const donePause = 200 * time.Millisecond

// cutLines returns how many bytes the first lines have, as many lines as fit into most bytes but at least one.
func cutLines(lines []byte, most int) int {
	if len(lines) <= most {
		return len(lines)
	}
	if n := bytes.LastIndexByte(lines[:most], '\n') + 1; n > 0 {
		return n
	}
	return bytes.IndexByte(lines, '\n') + 1
}
