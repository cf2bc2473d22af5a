package natsdispatch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// margin returns how much less time a node gets than the call has left, so that the last messages of the
// node arrive before the call ends.
func margin(left time.Duration) time.Duration { return min(left/10, longestMargin) }

const longestMargin = 20 * time.Millisecond

// ask sends the requests. If there is no connection, ask waits for one first. If it returns an error, it has
// sent nothing.
func (q *inquiry) ask(ctx context.Context) error {
	if !q.r.awaitConnection(ctx) {
		switch {
		case q.r.stopped.Err() != nil:
			return errClosedRemote
		case q.r.nc.IsClosed():
			return errClosedConnection
		}
		return fmt.Errorf("%w: there is no connection to NATS", dispatch.ErrUnreachable)
	}
	q.settling = q.r.settlesFor() > 0
	for _, a := range q.asks {
		if !a.waits && !q.settling && !a.isOpen() {
			continue // all nodes are known, and none of them will answer
		}
		if a.request.group != "" {
			q.sendToGroup(ctx, a)
		} else if err := q.send(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// sendToGroup sends a request to a group, and ends the group alone if this fails: other requests of the call
// were sent.
func (q *inquiry) sendToGroup(ctx context.Context, a *asked) {
	err := checkGroup(a.request.group)
	if err == nil {
		err = q.send(ctx, a)
	}
	if err != nil {
		q.endGroup(a, err)
	}
}

// reply returns the subject to which the nodes reply.
func (a *asked) reply() string { return a.by.r.inbox + "." + strconv.FormatUint(a.number, 10) }

// speaks2 reports whether all nodes that may answer are known to speak version 2.
func (a *asked) speaks2() bool {
	return !a.by.settling && !a.by.old
}

// isOpen reports whether a node may still answer.
func (a *asked) isOpen() bool {
	for _, t := range a.tallies {
		if !t.over {
			return true
		}
	}
	return false
}

// errClosedConnection is the error of the nodes of a call, and of Node.Drain, when the connection is closed.
var errClosedConnection = fmt.Errorf("%w: the connection to NATS is closed", dispatch.ErrUnreachable)

// errClosedRemote is the error of the nodes of the calls that are open when the Remote is closed.
var errClosedRemote = fmt.Errorf("%w: Remote.Close", dispatch.ErrGone)

// awaitConnection waits for a connection, at most for the time of WithReconnectWait and for half of the
// time of the call. It reports whether there is a connection.
func (r *Remote) awaitConnection(ctx context.Context) bool {
	if r.nc.IsConnected() {
		return true
	}
	deadline, _ := ctx.Deadline()
	timer := time.NewTimer(min(r.reconnect, time.Until(deadline)/2))
	defer timer.Stop()
	for {
		r.state.Lock()
		online := r.online
		r.state.Unlock()
		if r.nc.IsConnected() {
			return true
		}
		if r.nc.IsClosed() {
			return false
		}
		select {
		case <-online:
		case <-timer.C:
			return r.nc.IsConnected()
		case <-ctx.Done():
			return false
		case <-r.stopped.Done():
			return false
		}
	}
}

// awaitOnline waits until there is a connection, or the connection or the Remote is closed.
func (r *Remote) awaitOnline() {
	for {
		r.state.Lock()
		online := r.online
		r.state.Unlock()
		if r.nc.IsConnected() || r.nc.IsClosed() {
			return
		}
		select {
		case <-online:
		case <-r.stopped.Done():
			return
		}
	}
}

// settlesFor returns how much of the time of WithDiscovery is left; not positive if this time has passed.
func (r *Remote) settlesFor() time.Duration {
	r.state.Lock()
	defer r.state.Unlock()
	return time.Until(r.settled)
}

// send sends a request to all nodes, or to a group.
func (q *inquiry) send(ctx context.Context, a *asked) error {
	if len(a.peers) > 0 {
		peer := a.peers[rand.IntN(len(a.peers))]
		return q.sendTo(ctx, a, peer.Node, peer.Epoch)
	}
	subject := q.r.ask(q.topic)
	if a.request.group != "" {
		subject = q.r.group(a.request.group, q.topic)
	}
	return q.publish(ctx, a, nats.Msg{Subject: subject, Reply: a.reply(), Header: a.request.header()}, a.speaks2())
}

// sendTo sends a request to the process of one node alone.
func (q *inquiry) sendTo(ctx context.Context, a *asked, node string, epoch int64) error {
	header := a.request.header()
	header[headerEpoch] = []string{strconv.FormatInt(epoch, 10)}
	return q.publish(ctx, a, nats.Msg{Subject: q.r.acks(node, q.topic), Reply: a.reply() + toOne, Header: header}, true)
}

// toOne ends the reply subject of a message to one node, so that an answer of the server that no node has
// subscribed to the subject of this message is not taken for an answer to the request to all nodes.
const toOne = "-"

// publish sends a request, and sets its budget and its body.
func (q *inquiry) publish(ctx context.Context, a *asked, m nats.Msg, speaks2 bool) error {
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline)
	budget := (left - margin(left)).Microseconds()
	if budget < 1 || ctx.Err() != nil {
		return nil // the time has passed: the nodes are late; or the call has ended
	}
	a.sent = true
	m.Data = q.payload
	m.Header[headerBudget] = []string{strconv.FormatInt(budget, 10)}
	if q.r.inject != nil {
		q.r.news.try("the inject of WithTraceContext", func() {
			q.r.inject(ctx, func(key, value string) { setTrace(m.Header, key, value) })
		})
	}
	if speaks2 {
		m.Header[headerVersion] = []string{strconv.Itoa(version2)}
		m.Data = append(appendRequest(make([]byte, 0, 512+len(q.payload)), m.Header), q.payload...)
		m.Header = nil
	}
	err := q.r.nc.PublishMsg(&m)
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: a request of %d bytes; the server allows %d, headers included", ErrTooLarge, len(q.payload), q.r.nc.MaxPayload())
	case err != nil:
		return fmt.Errorf("%w: %w", dispatch.ErrUnreachable, err)
	}
	return nil
}
