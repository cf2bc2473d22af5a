package natsdispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/seed-bb4b4d74/dispatch"
)

// process identifies this process. Together with the address of a bus it is the id of the bus; a request
// has the ids of the buses through which it has come.
var process = nuid.Next()

func busID(b *dispatch.Bus) string { return fmt.Sprintf("%s-%p", process, b) }

// anybody takes the place of a name that is not known: of the members of a node, or of the node whose
// replica answers for a group.
const anybody = "*"

// flushTimeout bounds how long flush waits for the server.
const flushTimeout = 10 * time.Second

// link is what a Node and a Remote have in common: the use of the connection. The caller of Serve or Join
// owns and closes the connection.
type link struct {
	nc       *nats.Conn
	onError  func(error)        // nil: errors are logged
	isOurs   func(refused) bool // reports whether a refusal concerns this side
	draining func()             // called when the program drains the connection; nil for a Remote
	news     news

	mu     sync.Mutex // guards the fields below
	logged error      // the error of the connection that refusal returned last, or that was there at first
	last   error      // the error that was reported last
	lastAt time.Time  // when last was reported
	conn   connection
	slow   bool // the last call of looked has found that messages are dropped
}

func newLink(nc *nats.Conn, c *config, attrs ...slog.Attr) link {
	return link{nc: nc, onError: c.onError, news: news{logger: c.logger, onNode: c.onNode, attrs: attrs}}
}

// check returns an error if the connection cannot be used.
func (l *link) check(side string) error {
	switch {
	case l.nc == nil:
		return fmt.Errorf("%w: %s: nil connection", dispatch.ErrInvalidArgument, side)
	case l.nc.IsClosed():
		return fmt.Errorf("%w: %s: it is closed", ErrConnection, side)
	case l.nc.IsConnected() && !l.nc.HeadersSupported():
		return fmt.Errorf("%w: %s: the server %s knows no headers; it has to be 2.2 or later", ErrConnection, side, l.nc.ConnectedServerVersion())
	}
	return l.checkPayload(side)
}

// leastPayload is the smallest max_payload that a server may have, in bytes; headers need a large part of it.
const leastPayload = 2048

// checkPayload returns an error if the max_payload of the server is too small.
func (l *link) checkPayload(side string) error {
	if l.nc.IsConnected() && l.nc.MaxPayload() < leastPayload {
		return fmt.Errorf("%w: %s: max_payload of the server is %d bytes; it has to be at least %d", ErrConnection, side, l.nc.MaxPayload(), leastPayload)
	}
	return nil
}

// checkAsking returns an error if the connection cannot be used, or not for asking.
func (l *link) checkAsking(side string) error {
	if err := l.check(side); err != nil {
		return err
	}
	if n := l.nc.Opts.ReconnectBufSize; n >= 0 {
		return fmt.Errorf("%w: %s: it keeps up to %d bytes of requests while disconnected, and would send them when their calls have long ended; connect with nats.ReconnectBufSize(-1) or natsdispatch.Robust", ErrConnection, side, n)
	}
	return nil
}

// fail reports an error to the handler of WithErrorHandler, or logs it if there is no handler.
func (l *link) fail(err error) {
	l.note(err)
	if l.onError != nil {
		l.tell(err)
	} else {
		l.news.log(slog.LevelError, err.Error())
	}
}

// note keeps an error for lastError.
func (l *link) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.lastAt = err, time.Now()
}

// failedBy reports the error of an event. It does not log the error, because the event is logged.
func (l *link) failedBy(e NodeEvent) {
	l.note(e.Err)
	if l.onError != nil {
		l.tell(e.Err)
	}
}

// tell gives an error to the handler of WithErrorHandler.
func (l *link) tell(err error) { l.news.try("the func of WithErrorHandler", func() { l.onError(err) }) }

// errorsClear is how long lastError returns an error. A refusal that persists is reported again, mostly before that.
const errorsClear = time.Minute

// lastError returns the last error that was reported, or nil if errorsClear has passed since then.
func (l *link) lastError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.lastAt) >= errorsClear {
		return nil
	}
	return l.last
}

// listen returns a channel with the changes of the connection's status. If there is no connection, it
// puts an event.
func (l *link) listen(status ...nats.Status) chan nats.Status {
	c := l.nc.StatusChanged(append(status, nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn.up = l.nc.IsConnected()
	if !l.conn.up && !l.nc.IsClosed() {
		l.news.put(NodeEvent{Kind: ConnectionDown, Time: time.Now()})
	}
	return c
}

// turned handles a new status of the connection.
func (l *link) turned(s nats.Status) {
	read := l.nc.Stats().InBytes
	err := l.nc.LastError()
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.conn.turn(s, err, read, time.Now()); ok {
		l.news.put(e)
	}
}

// heard is called when a message has arrived, before the message is handled. If the connection was down, it
// is up again, and the event for this comes before the events of the message.
func (l *link) heard() {
	l.mu.Lock()
	down := !l.conn.up && !l.conn.closed
	l.mu.Unlock()
	if down && l.nc.IsConnected() {
		l.turned(nats.CONNECTED)
	}
}

// looked notes how many bytes the connection has received, and whether messages are being dropped. When
// this begins, looked puts an event.
func (l *link) looked(dropping bool) {
	read := l.nc.Stats().InBytes
	l.mu.Lock()
	l.conn.read = read
	begins := dropping && !l.slow
	l.slow = dropping
	e := NodeEvent{Kind: SlowConsumer, Time: time.Now(), Err: errSlow}
	if begins {
		l.news.put(e)
	}
	l.mu.Unlock()
	if begins {
		l.failedBy(e)
	}
}

// failUnlessCut reports an error, unless the connection is broken or closed. This has its own event, and
// after a reconnect the node says hello again, or the asker asks again.
func (l *link) failUnlessCut(err error) {
	if err != nil && l.nc.IsConnected() && !errors.Is(err, nats.ErrConnectionClosed) {
		l.fail(err)
	}
}

// wasCut reports whether err was caused by a broken connection that nats.go makes again.
func (l *link) wasCut(err error) bool {
	return err != nil && !errors.Is(err, ErrConnection) && (errors.Is(err, nats.ErrConnectionClosed) || !l.nc.IsConnected()) && !l.nc.IsClosed()
}

// flush waits until the server has processed all messages and subscriptions that were sent, and returns
// the refusal of one of them, if there is any.
func (l *link) flush() error {
	if err := l.nc.FlushTimeout(flushTimeout); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return l.refusal()
}

// refusal returns the last error of the connection if it is a refusal that concerns this side and that
// refusal has not returned before, and otherwise nil. It does not use the error handler, because a
// connection has only one, which belongs to the user.
func (l *link) refusal() error {
	err := l.nc.LastError()
	if !errors.Is(err, nats.ErrPermissionViolation) && !errors.Is(err, nats.ErrMaxSubscriptionsExceeded) {
		return nil
	}
	if what, ok := whatWasRefused(err); ok && !l.isOurs(what) {
		return nil // the refusal concerns another part of the program
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == l.logged { //nolint:errorlint // the same error, and not one of its kind
		return nil
	}
	l.logged = err
	return err
}

// confirm waits until the server has processed a subscription, if there is a connection, and returns its
// refusal. It is called after each subscription, because the connection keeps only its last error.
func (l *link) confirm() error {
	if !l.nc.IsConnected() {
		return nil
	}
	return l.flush()
}

// refused is a refusal of the server.
type refused struct {
	subject string
	publish bool // the server refuses to publish, and not to subscribe
}

// whatWasRefused reads the text of a permission violation. The connection provides nothing but this text.
func whatWasRefused(err error) (what refused, ok bool) {
	before, rest, _ := strings.Cut(err.Error(), `"`)
	what.publish = strings.Contains(strings.ToLower(before), "publish")
	what.subject, _, ok = strings.Cut(rest, `"`)
	return what, ok
}

// has reports whether a subject belongs to the space.
func (s subjects) has(subject string) bool {
	return strings.HasPrefix(subject, s.prefix+"."+s.space+".") || strings.HasPrefix(subject, s.prefix+".v1."+s.space+".")
}

// report reports a refusal of the server, if there is a new one.
func (l *link) report() {
	if err := l.refusal(); err != nil {
		l.fail(fmt.Errorf("natsdispatch: the server refuses: %w", err))
	}
}

// watch receives from status, and calls connected whenever the connection is made, and broken when the
// connection is closed. It calls tick when the duration first has passed, after each receive from wake, after
// each status but the last one, and when the duration has passed that tick returned last. It returns when
// ctx ends.
func (l *link) watch(ctx context.Context, status chan nats.Status, wake <-chan struct{}, broken, connected func(), first time.Duration, tick func() time.Duration) {
	defer l.nc.RemoveStatusListener(status)
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s, open := <-status:
			if !open {
				s, status = nats.CLOSED, nil
			}
			l.turned(s)
			switch s {
			case nats.CLOSED:
				status = nil
				broken()
				continue
			case nats.CONNECTED:
				connected()
			case nats.DRAINING_SUBS:
				l.draining()
			}
		case <-wake:
		case <-timer.C:
		}
		timer.Reset(tick())
	}
}

// unsubscribe ends a subscription. If the connection is closed, the subscription has ended before.
func (l *link) unsubscribe(sub *nats.Subscription) {
	if err := sub.Unsubscribe(); err != nil && sub.IsValid() {
		l.fail(fmt.Errorf("natsdispatch: unsubscribe from %s: %w", sub.Subject, err))
	}
}

// errSlow reports that received messages were dropped.
var errSlow = fmt.Errorf("natsdispatch: messages come faster than they are dealt with, and are dropped: %w; see Stats", nats.ErrSlowConsumer)
