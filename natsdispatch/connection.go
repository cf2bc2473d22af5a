package natsdispatch

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// connection is the state of the connection to NATS. It returns an event for each change of the status. It
// reads no clock and is not safe for concurrent use.
type connection struct {
	up, closed bool
	since      time.Time // when up or closed has changed last; zero: they have not changed
	read       uint64    // bytes that the connection had received when they were counted last
}

// turn notes a new status, and returns the event for it if it is a change. err is the last error of the
// connection, and read is how many bytes the connection has received.
func (c *connection) turn(s nats.Status, err error, read uint64, now time.Time) (e NodeEvent, ok bool) {
	e = NodeEvent{Time: now}
	switch s {
	case nats.CONNECTED:
		if c.up {
			return e, false
		}
		if e.Kind = ConnectionUp; !c.since.IsZero() {
			e.After = now.Sub(c.since)
		}
		c.up = true
	case nats.RECONNECTING, nats.DISCONNECTED:
		if !c.up {
			return e, false
		}
		e.Kind, e.Err = ConnectionDown, c.whyDown(read)
		c.up = false
	case nats.CLOSED:
		if c.closed {
			return e, false
		}
		e.Kind = ConnectionClosed
		if gaveUp(err) {
			e.Err = err
		}
		c.up, c.closed = false, true
	default:
		return e, false
	}
	c.since, c.read = now, read
	return e, true
}

// gaveUp reports whether err is an error for which nats.go closes a connection. Another error may be older,
// and not the cause.
func gaveUp(err error) bool {
	for _, end := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrNoServers,
		nats.ErrMaxConnectionsExceeded, nats.ErrMaxAccountConnectionsExceeded,
	} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// muchRead is a number of bytes. If a connection has received as many since they were counted last, the
// server may have cut it off as a slow consumer.
const muchRead = 1 << 20

// whyDown returns an error with the cause for which the connection broke, as far as it is known. nats.go
// tells the cause only to the handler of the connection, which belongs to the user, and a server does not
// tell a client that it cuts the client off as a slow consumer.
func (c *connection) whyDown(read uint64) error {
	if much := read - c.read; much >= muchRead {
		return fmt.Errorf("%w: %d MB came just before, and the server may have cut this process off as a slow consumer", nats.ErrDisconnected, much>>20)
	}
	return nats.ErrDisconnected
}

// word returns the state as a Snapshot has it.
func (c *connection) word() string {
	switch {
	case c.closed:
		return "closed"
	case c.up:
		return "connected"
	default:
		return "reconnecting"
	}
}
