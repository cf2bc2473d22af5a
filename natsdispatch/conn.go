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

// process tells this process from all others. Together with the address of a bus it
// is the id by which a request knows where it has been.
var process = nuid.Next()

func busID(b *dispatch.Bus) string { return fmt.Sprintf("%s-%p", process, b) }

// anybody stands for the members of a node, or the nodes of a group, that are not
// known yet.
const anybody = "*"

// flushTimeout bounds how long Serve and Join wait for the server.
const flushTimeout = 10 * time.Second

// link is a connection as one side uses it. The caller owns and closes it.
type link struct {
	nc       *nats.Conn
	onError  func(error)        // nil: errors are logged
	isOurs   func(refused) bool // whether that concerns this side
	draining func()             // called when the user drains the connection
	news     news

	mu     sync.Mutex // guards what follows
	logged error      // the last error of the connection that was reported
	last   error
	lastAt time.Time
	conn   connection
	slow   bool // messages were dropped since the look before
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

// leastPayload is the least max_payload of a server: headers take most of that.
const leastPayload = 2048

// checkPayload reports that the messages of the server are too small.
func (l *link) checkPayload(side string) error {
	if l.nc.IsConnected() && l.nc.MaxPayload() < leastPayload {
		return fmt.Errorf("%w: %s: max_payload of the server is %d bytes; it has to be at least %d", ErrConnection, side, l.nc.MaxPayload(), leastPayload)
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
	l.note(err)
	if l.onError != nil {
		l.onError(err)
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

// failedBy reports the error of an event, which is logged as that.
func (l *link) failedBy(e NodeEvent) {
	l.note(e.Err)
	if l.onError != nil {
		l.onError(e.Err)
	}
}

// errorsClear is how long an error is shown. An error that goes on is reported again before that.
const errorsClear = time.Minute

// lastError is the last error that was reported, if that was within errorsClear.
func (l *link) lastError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.lastAt) >= errorsClear {
		return nil
	}
	return l.last
}

// listen begins to notice what happens to the connection.
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

// turned takes in a new status of the connection.
func (l *link) turned(s nats.Status) {
	read := l.nc.Stats().InBytes
	err := l.nc.LastError()
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.conn.turn(s, err, read, time.Now()); ok {
		l.news.put(e)
	}
}

// heard notes that something has come by the connection: if it was down, it is up again, and that
// comes before what is heard.
func (l *link) heard() {
	l.mu.Lock()
	down := !l.conn.up && !l.conn.closed
	l.mu.Unlock()
	if down && l.nc.IsConnected() {
		l.turned(nats.CONNECTED)
	}
}

// looked notes how much has come so far, and whether messages are dropped, which is an
// event when it begins.
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

// failUnlessCut reports an error, unless the connection broke: then the message is sent again
// over the new connection.
func (l *link) failUnlessCut(err error) {
	if err != nil && l.nc.IsConnected() && !errors.Is(err, nats.ErrConnectionClosed) {
		l.fail(err)
	}
}

// wasCut reports whether something has failed because the connection broke, which nats.go makes again.
func (l *link) wasCut(err error) bool {
	return err != nil && !errors.Is(err, ErrConnection) && (errors.Is(err, nats.ErrConnectionClosed) || !l.nc.IsConnected()) && !l.nc.IsClosed()
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
	if what, ok := whatWasRefused(err); ok && !l.isOurs(what) {
		return nil // another part of the program has done that
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == l.logged { //nolint:errorlint // the same one, not one of its kind
		return nil
	}
	l.logged = err
	return err
}

// confirm waits until the server has taken a subscription, if there is a connection, so that
// no other refusal comes in between and hides that of this one.
func (l *link) confirm() error {
	if !l.nc.IsConnected() {
		return nil
	}
	return l.flush()
}

// refused is what a server has refused.
type refused struct {
	subject string
	publish bool // and not subscribe
}

// whatWasRefused reads the text of a permission violation, which is all that the
// connection tells of it.
func whatWasRefused(err error) (what refused, ok bool) {
	before, rest, _ := strings.Cut(err.Error(), `"`)
	what.publish = strings.Contains(strings.ToLower(before), "publish")
	what.subject, _, ok = strings.Cut(rest, `"`)
	return what, ok
}

// has reports whether a subject is one of the space's.
func (s subjects) has(subject string) bool {
	return strings.HasPrefix(subject, s.prefix+"."+s.space+".") || strings.HasPrefix(subject, s.prefix+".v1."+s.space+".")
}

// report reports what the server has refused.
func (l *link) report() {
	if err := l.refusal(); err != nil {
		l.fail(fmt.Errorf("natsdispatch: the server refuses: %w", err))
	}
}

// watch calls connected whenever the connection is made anew, which status says, broken when
// it is closed for good, and tick after first, when it is woken, and when the time comes that
// tick has returned last, until ctx ends.
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

// unsubscribe ends a subscription. If the connection is closed it has ended.
func (l *link) unsubscribe(sub *nats.Subscription) {
	if err := sub.Unsubscribe(); err != nil && sub.IsValid() {
		l.fail(fmt.Errorf("natsdispatch: unsubscribe from %s: %w", sub.Subject, err))
	}
}

// errSlow reports that a subscription has dropped messages.
var errSlow = fmt.Errorf("natsdispatch: messages come faster than they are dealt with, and are dropped: %w; see Stats", nats.ErrSlowConsumer)
