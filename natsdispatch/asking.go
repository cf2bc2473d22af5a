package natsdispatch

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// margin returns how much less time a node gets than the call has left, so that the last messages of the
// node arrive before the call ends.
func margin(left time.Duration) time.Duration { return min(left/10, 20*time.Millisecond) }

// ask sends the requests. If there is no connection, ask waits for one first.
func (q *inquiry) ask(ctx context.Context) error {
	if !q.r.awaitConnection(ctx) {
		if q.r.nc.IsClosed() {
			return errClosedConnection
		}
		return fmt.Errorf("%w: there is no connection to NATS", dispatch.ErrUnreachable)
	}
	q.settling = q.r.settlesFor() > 0
	for _, a := range q.asks {
		if !a.waits && !q.settling && !a.isOpen() {
			continue // all nodes are known, and none of them will answer
		}
		if q.isUnfit(a) {
			continue
		}
		if err := q.send(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// isUnfit reports whether a request is to a group that cannot have a subject, and ends the group.
func (q *inquiry) isUnfit(a *asked) bool {
	err := checkGroup(a.request.group)
	if err != nil {
		q.endGroup(a, err)
		q.known(a)
	}
	return err != nil
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

// settlesFor returns how much of the time of WithDiscovery is left; not positive if this time has passed.
func (r *Remote) settlesFor() time.Duration {
	r.state.Lock()
	defer r.state.Unlock()
	return time.Until(r.settled)
}

func (q *inquiry) send(ctx context.Context, a *asked) error {
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline)
	a.request.budget = left - margin(left)
	if a.request.budget < time.Microsecond {
		return nil // the time has passed: the nodes are late
	}
	m := &nats.Msg{Reply: a.reply(), Header: a.request.header(), Data: q.payload}
	if m.Subject = q.r.ask(q.topic); a.request.group != "" {
		m.Subject = q.r.group(a.request.group, q.topic)
	}
	if q.r.inject != nil {
		q.r.news.try("the inject of WithTraceContext", func() {
			q.r.inject(ctx, func(key, value string) { setTrace(m.Header, key, value) })
		})
	}
	if a.speaks2() {
		m.Header[headerVersion] = []string{strconv.Itoa(version2)}
		m.Data = append(appendRequest(make([]byte, 0, 512+len(q.payload)), m.Header), q.payload...)
		m.Header = nil
	}
	err := q.r.nc.PublishMsg(m)
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: a request of %d bytes; the server allows %d, headers included", ErrTooLarge, len(q.payload), q.r.nc.MaxPayload())
	case err != nil:
		return fmt.Errorf("%w: %w", dispatch.ErrUnreachable, err)
	}
	return nil
}
