package dispatch

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
)

// A Bus is what dispatchers of different types share: the registrations, the
// defaults, the logger and the lifecycle. It is made by [NewBus], must not be
// copied, and may be used concurrently.
//
// A bus at rest holds no goroutine. It need not be closed to be collected as
// garbage.
type Bus struct {
	busConfig
	registry
	epoch   time.Time
	calls   atomic.Uint64 // calls made so far
	waiting atomic.Int64  // calls that wait for producers
	standby atomic.Int64  // spare workers that are runnable and have not run yet
	misuse  atomic.Uint64 // what relays did with rosters that they may not
	ledger  ledger.Ledger // calls and mailboxes that are busy
	logs    mailbox

	places *semaphore.Weighted // of WithMaxInFlight; nil: no bound
	intake context.Context     // ends when nothing new is accepted
	refuse context.CancelFunc  // ends intake
}

// NewBus returns a bus. It panics if an option is invalid.
func NewBus(opts ...BusOption) *Bus {
	b := &Bus{busConfig: must(newBusConfig(opts)), epoch: time.Now()}
	b.registry.init()
	if b.maxInFlight > 0 {
		b.places = semaphore.NewWeighted(int64(b.maxInFlight))
		b.intake, b.refuse = context.WithCancel(context.Background())
	}
	for _, o := range b.observing {
		_ = b.add(b.newObserver(o.hooks, o.at)) // a new bus refuses nobody
	}
	b.logs.init(Registration{bus: b, name: "logger"})
	b.logs.watched.Store(true) // a slow logger cannot be told to the logger
	return b
}

func (b *Bus) sinceEpoch(t time.Time) time.Duration { return t.Sub(b.epoch) }

// raise refuses what the level does, also to those who wait for a place.
func (b *Bus) raise(level ledger.Level) {
	b.ledger.Raise(level)
	if b.refuse != nil {
		b.refuse()
	}
}

// Close ends all calls at once: they are Closed, and their producers' contexts
// end with the cause [ErrClosed]. It refuses everything new with ErrClosed, and
// discards results that listeners have not been called with. Close waits for no
// user code: every Wait returns, producers and listeners that run are left to
// return. After Close returns no producer, no listener and no OnLate hook is
// called any more; the OnOutcome and OnDone hooks for the calls that it ended
// follow at once, or when the listener's running callback returns.
//
// Close may be called more than once, concurrently, and from inside callbacks.
// It returns nil.
func (b *Bus) Close() error {
	b.raise(ledger.Closed)
	for owner := range b.ledger.All() {
		if c, ok := owner.(interface{ shut() }); ok {
			c.shut()
		}
	}
	b.ledger.Changed()
	return nil
}

// Shutdown refuses new calls and registrations with [ErrClosed], lets the calls
// in flight end and the producers return, and delivers what waits in the
// mailboxes; calls that these make are accepted, so that they can finish. It
// returns nil when all that is done.
//
// If ctx ends first, Shutdown does what [Bus.Close] does and returns a
// [*ShutdownError] that names what was still running.
//
// Shutdown may be called more than once and concurrently, also with Close. From
// inside a callback it waits for that callback, too, and so until ctx ends.
func (b *Bus) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return invalidArgument("Shutdown: nil context")
	}
	b.raise(ledger.Draining)
	err := b.ledger.Wait(ctx, b.ledger.Empty)
	if err != nil {
		err = b.stillRunning(context.Cause(ctx))
	}
	b.Close()
	return err
}

// stillRunning names all that is in the ledger.
func (b *Bus) stillRunning(cause error) *ShutdownError {
	e := &ShutdownError{Err: cause}
	for owner := range b.ledger.All() {
		switch o := owner.(type) {
		case *mailbox:
			e.Listeners = append(e.Listeners, o.name)
		case interface {
			underWay() (info CallInfo, pending bool, running []Member)
		}:
			info, pending, running := o.underWay()
			if pending {
				e.Calls = append(e.Calls, info)
			}
			e.Producers = append(e.Producers, running...)
		}
	}
	slices.Sort(e.Listeners)
	slices.SortFunc(e.Calls, func(a, b CallInfo) int { return cmp.Compare(a.ID, b.ID) })
	return e
}

// mostLogs bounds what waits for a logger that blocks.
const mostLogs = 1024

// log hands an event to the logger, which gets it on a goroutine of its own.
func (b *Bus) log(level slog.Level, msg string, attrs ...slog.Attr) {
	if b.logs.queue.Len() >= mostLogs {
		return
	}
	logger := b.logger
	if logger == nil {
		logger = slog.Default()
	}
	record := logRecord{logger, level, msg, attrs}
	if b.logs.queue.Put(&record) {
		b.logs.start()
	}
}

type logRecord struct {
	logger *slog.Logger
	level  slog.Level
	msg    string
	attrs  []slog.Attr
}

// Run emits the record, once: a handler that panics is not asked again.
func (r *logRecord) Run() {
	if logger := r.logger; logger != nil {
		r.logger = nil
		logger.LogAttrs(context.Background(), r.level, r.msg, slog.GroupAttrs("dispatch", r.attrs...))
	}
}

// unwound deals with user code that panicked or, if the value is nil, ended its
// goroutine.
func (b *Bus) unwound(kind string, r *Registration, value any, stack []byte) {
	if value != nil && b.panicCrash {
		panic(value)
	}
	if r == &b.logs.Registration {
		return // there is nobody left to tell
	}
	attrs := []slog.Attr{slog.String(kind, r.name), slog.String("topic", r.selection.String()), slog.String("added_at", r.addedAt())}
	if value == nil {
		b.log(slog.LevelError, kind+" called runtime.Goexit", attrs...)
		return
	}
	b.log(slog.LevelError, kind+" panicked", append(attrs, slog.Any("value", value), slog.String("stack", string(stack)))...)
}
