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

// leastShare is how many bytes a node may send ahead at least, however many nodes there are.
const leastShare = 16 << 10

// share is how many bytes one of so many nodes may send ahead in a call.
func (r *Remote) share(nodes int) int64 { return int64(max(r.credit/max(nodes, 1), leastShare)) }

// strangers is how many nodes are expected to answer if the asker knows none.
const strangers = 16

// replyInOrder takes in a message of a reply if all messages before it have come. A message that comes
// too early is dropped, because the node sends it again after the missing messages.
func (q *inquiry) replyInOrder(a *asked, t *tally, from sender, frames []byte, size int) {
	if t.in.window == 0 {
		t.in.window, t.in.granted = a.request.window, a.request.window
	}
	if from.unnumbered {
		q.do(t, func() { _, _ = q.read(t, frames) })
		return
	}
	switch t.in.order(from.seq) {
	case again: // the acknowledgement has been lost
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
			q.missLater(t) // messages that came too early mostly come again behind this one
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

// The pauses before a node is asked for missing messages once more.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = 400 * time.Millisecond
)

// miss asks a node for messages that are missing, or that may be missing because the node or the asker
// was without a connection. It asks until the node answers, because in a cluster some servers do not know
// a new connection at once.
func (q *inquiry) miss(t *tally) {
	if t.over || t.missing || t.accepted && t.in.window == 0 {
		return // there is nothing more to come, it is being asked, or it speaks version 1
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
		anew := false
		for _, t := range a.tallies {
			if !t.missing || t.over {
				continue
			}
			asked = true
			if t.in.window == 0 { // it has not answered at all
				anew = true
				continue
			}
			if t.looked != t.in.next { // it is coming
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
		if anew && a.request.group == "" { // another replica of a group may have had it
			q.sendAgain(ctx, a)
		}
	}
	q.retry = nil
	if asked {
		q.pause = min(2*q.pause, longestPause)
		q.retry = time.After(q.pause)
	}
}

// sendAgain sends a request once more, because a node that has not accepted it may not have had
// it. Nodes that have had it do not run it twice.
func (q *inquiry) sendAgain(ctx context.Context, a *asked) {
	if err := q.send(ctx, a); err != nil {
		q.r.failUnlessCut(fmt.Errorf("natsdispatch: ask once more: %w", err))
		return
	}
	q.r.counts.resent.Add(1)
}

// publishAck tells a node which messages of its reply the asker has received.
func (q *inquiry) publishAck(a *asked, t *tally, what ack) {
	m := &nats.Msg{Subject: q.r.acks(t.node, q.topic), Reply: a.reply(), Data: what.append(nil)}
	if err := q.r.nc.PublishMsg(m); err != nil {
		q.r.failUnlessCut(fmt.Errorf("natsdispatch: acknowledge what %s has sent: %w", t.node, err))
	}
}

// done notes which nodes may let go of their replies.
func (q *inquiry) done() {
	q.r.acked.mu.Lock()
	defer q.r.acked.mu.Unlock()
	for _, a := range q.asks {
		for _, t := range a.tallies {
			if t.over && t.in.window > 0 {
				q.r.acked.addLocked(place{q.topic, t.node}, a.request.call)
			}
		}
	}
}

// doneCalls holds the finished calls that the nodes have yet to be told of.
type doneCalls struct {
	wake chan struct{}

	mu    sync.Mutex       // guards what follows
	lines map[place][]byte // for each node
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

// publishDone tells the nodes now and then which calls are finished, many calls at once.
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
		r.acked.mu.Lock()
		lines := r.acked.lines
		r.acked.lines = nil
		r.acked.mu.Unlock()
		for at, all := range lines {
			for len(all) > 0 {
				n := cutLines(all, leastPayload/2)
				if err := r.nc.Publish(r.acks(at.node, at.topic), all[:n]); err != nil {
					break // the nodes keep the replies until the budget is over
				}
				all = all[n:]
			}
		}
	}
}

// donePause is how long publishDone collects finished calls before it tells the nodes.
const donePause = 200 * time.Millisecond

// cutLines returns how many bytes the first lines have that fit into most bytes, and at least the first line.
func cutLines(lines []byte, most int) int {
	if len(lines) <= most {
		return len(lines)
	}
	if n := bytes.LastIndexByte(lines[:most], '\n') + 1; n > 0 {
		return n
	}
	return bytes.IndexByte(lines, '\n') + 1
}
