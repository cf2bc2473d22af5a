package natsdispatch

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// connection is what is known of the connection to NATS. It makes an event of each change of
// its status, knows no clock and is not safe for concurrent use.
type connection struct {
	up, closed bool
	since      time.Time // when that became so; zero if it was so before
	read       uint64    // bytes, when that was looked at last
}

// turn returns the event that a new status is, if it is one. err is the last error of the connection,
// and read how many bytes have come by it.
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

// gaveUp reports whether an error ends a connection that the program has not closed. Other errors
// may be older, and have nothing to do with that.
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

// muchRead is how much comes between two looks at a connection only if much is sent.
const muchRead = 1 << 20

// whyDown says why the connection broke, as far as that can be seen: nats.go tells only the handler
// of the connection, which is the user's, and a server does not tell a client that it cuts it off
// for being slow.
func (c *connection) whyDown(read uint64) error {
	if much := read - c.read; much >= muchRead {
		return fmt.Errorf("%w: %d MB came just before, and the server may have cut this process off as a slow consumer", nats.ErrDisconnected, much>>20)
	}
	return nats.ErrDisconnected
}

// word is the state as a Snapshot has it.
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
