package dispatch

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
	"weak"

	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
	"github.com/seed-bb4b4d74/dispatch/internal/serial"
)

// mailbox is what listeners and other hooks have in common: callbacks that run
// one after another and hold up nobody else. While it is busy it stands in the
// ledger of its bus.
type mailbox struct {
	Registration
	queue serial.Queue
	entry ledger.Entry

	// since is when that which is being delivered became ready, as a duration
	// since the bus was made, in nanoseconds; 0 if nothing is.
	since   atomic.Int64
	gone    atomic.Bool   // nothing more is to be called
	watched atomic.Bool   // a timer is set that looks at since, or is not needed any more
	unwound atomic.Uint32 // callbacks that panicked or ended their goroutine
}

func (m *mailbox) init(r Registration) {
	m.Registration = r
	m.queue.Owner = m
}

// start runs the queue on a goroutine of its own.
func (m *mailbox) start() { go m.queue.Run() }

// Active is part of serial.Owner.
func (m *mailbox) Active(busy bool) {
	if !busy {
		m.since.Store(0)
		m.bus.ledger.Leave(&m.entry)
		return
	}
	m.bus.ledger.Enter(&m.entry, m, m.id, ledger.Closed)
	if !m.watched.Load() && m.watched.CompareAndSwap(false, true) {
		m.watch(m.bus.slowListener)
	}
}

// watch looks after d whether what is being delivered has waited for too long.
// The timer outlives the mailbox's business by d at most, and holds nothing in
// memory: to stop it each time would cost more than all the rest.
func (m *mailbox) watch(d time.Duration) {
	pointer := weak.Make(m)
	time.AfterFunc(d, func() {
		m := pointer.Value()
		if m == nil {
			return
		}
		since := time.Duration(m.since.Load())
		if since == 0 {
			m.watched.Store(false)
			// Whoever became busy before that has relied on this timer.
			if m.queue.Idle() || !m.watched.CompareAndSwap(false, true) {
				return
			}
			m.watch(m.bus.slowListener)
			return
		}
		if left := since + m.bus.slowListener - m.bus.sinceEpoch(time.Now()); left >= 0 {
			m.watch(left + 1) // it has to be longer
			return
		}
		if m.gone.Load() {
			return
		}
		if l, ok := m.self.(*listener); ok {
			m.bus.observeSlow(l)
		}
		m.bus.log(slog.LevelWarn, m.kind()+" is slow",
			slog.String(m.kind(), m.name), slog.String("topic", m.selection.String()), slog.String("added_at", m.addedAt()))
	})
}

// waitingSince notes when that which is delivered now became ready, and reports
// whether it did. A little inexactness saves most of the cost.
func (m *mailbox) waitingSince(ready time.Duration) bool {
	ready = max(ready, 1) // 0 means that nothing is delivered
	if noted := time.Duration(m.since.Load()); ready-noted <= time.Millisecond && noted != 0 {
		return false
	}
	m.since.Store(int64(ready))
	return true
}

// Unwound is part of serial.Owner.
func (m *mailbox) Unwound(value any, stack []byte) {
	m.unwound.Add(1)
	m.bus.unwound(m.kind(), &m.Registration, value, stack)
}

// kind says in a word whose mailbox it is.
func (m *mailbox) kind() string {
	if _, ok := m.self.(*observer); ok {
		return "observer"
	}
	return "listener"
}

// silenced reports whether callbacks with results are over.
func (m *mailbox) silenced() bool {
	return m.gone.Load() || m.bus.ledger.Level() == ledger.Closed
}

func (m *mailbox) stop() {
	m.gone.Store(true)
	for _, t := range m.queue.Discard() {
		if d, ok := t.(interface{ discarded() }); ok {
			d.discarded()
		}
	}
}

// settle waits until all that has been accepted is delivered.
func (m *mailbox) settle(ctx context.Context) error {
	return m.bus.ledger.Wait(ctx, m.queue.Idle)
}
