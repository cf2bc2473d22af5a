package natsdispatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/seed-bb4b4d74/dispatch"
)

// process tells this process from all others. Together with the address of a bus it
// is the id by which a request knows where it has been.
var process = nuid.Next()

func busID(b *dispatch.Bus) string { return fmt.Sprintf("%s-%p", process, b) }

// anybody stands for the members of a node, or the nodes of a group, that nobody
// knows yet.
const anybody = "*"

// flushTimeout bounds how long Serve and Join wait for the server.
const flushTimeout = 10 * time.Second

// link is a connection as one side uses it. It is the caller's, who closes it.
type link struct {
	nc      *nats.Conn
	onError func(error)

	mu     sync.Mutex // guards what follows
	logged error      // the last error of the connection that was reported
	last   error
}

// check reports what the connection lacks.
func (l *link) check(side string) error {
	switch {
	case l.nc == nil:
		return fmt.Errorf("%w: %s: nil connection", dispatch.ErrInvalidArgument, side)
	case l.nc.IsClosed():
		return fmt.Errorf("%w: %s: it is closed", ErrConnection, side)
	case l.nc.IsConnected() && !l.nc.HeadersSupported():
		return fmt.Errorf("%w: %s: the server %s knows no headers; it has to be 2.2 or later", ErrConnection, side, l.nc.ConnectedServerVersion())
	}
	return nil
}

// checkAsking reports what the connection lacks for asking.
func (l *link) checkAsking(side string) error {
	if err := l.check(side); err != nil {
		return err
	}
	if n := l.nc.Opts.ReconnectBufSize; n >= 0 {
		return fmt.Errorf("%w: %s: it keeps up to %d bytes of requests while disconnected, and would send them when their calls have long ended; connect with nats.ReconnectBufSize(-1) or natsdispatch.Robust", ErrConnection, side, n)
	}
	return nil
}

// fail reports an error.
func (l *link) fail(err error) {
	l.mu.Lock()
	l.last = err
	l.mu.Unlock()
	l.onError(err)
}

// lastError is the last error that was reported.
func (l *link) lastError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// failUnlessCut reports an error, unless it is that the connection broke: what was to be
// said is said again when there is a new one.
func (l *link) failUnlessCut(err error) {
	if err != nil && l.nc.IsConnected() && !errors.Is(err, nats.ErrConnectionClosed) {
		l.fail(err)
	}
}

// flush waits until the server has taken all that was sent, and returns what it has
// refused of it.
func (l *link) flush() error {
	if err := l.nc.FlushTimeout(flushTimeout); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return l.refusal()
}

// refusal returns what the server has refused since the last time, or nil. Asking the
// connection for its last error needs no handler, of which there is but one on each
// connection, and that is the user's.
func (l *link) refusal() error {
	err := l.nc.LastError()
	if !errors.Is(err, nats.ErrPermissionViolation) && !errors.Is(err, nats.ErrMaxSubscriptionsExceeded) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == l.logged { //nolint:errorlint // the same one, not one of its kind
		return nil
	}
	l.logged = err
	return err
}

// report reports what the server has refused.
func (l *link) report() {
	if err := l.refusal(); err != nil {
		l.fail(fmt.Errorf("natsdispatch: the server refuses: %w", err))
	}
}

// watch calls connected whenever the connection is made anew, which status says, and
// tick after first, when it is woken, and when the time comes that tick has returned
// last, until ctx ends.
func (l *link) watch(ctx context.Context, status chan nats.Status, wake <-chan struct{}, connected func(), first time.Duration, tick func() time.Duration) {
	defer l.nc.RemoveStatusListener(status)
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-status:
			if !open {
				status = nil // the connection is closed
				continue
			}
			connected()
		case <-wake:
		case <-timer.C:
		}
		timer.Reset(tick())
	}
}

// unsubscribe ends a subscription. If the connection is closed it has ended.
func (l *link) unsubscribe(sub *nats.Subscription) {
	if err := sub.Unsubscribe(); err != nil && sub.IsValid() {
		l.fail(fmt.Errorf("natsdispatch: unsubscribe from %s: %w", sub.Subject, err))
	}
}

// errSlow reports that a subscription has dropped messages.
var errSlow = fmt.Errorf("natsdispatch: messages come faster than they are dealt with, and are dropped: %w; see Stats", nats.ErrSlowConsumer)
