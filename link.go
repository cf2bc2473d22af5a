package dispatch

import (
	"context"
	"runtime/debug"
	"sync/atomic"

	"github.com/seed-bb4b4d74/dispatch/internal/unwind"
)

// link is a connection with processes elsewhere that describes itself.
type link struct {
	Registration
	describe func() LinkSnapshot
	gone     atomic.Bool // it is not asked any more
}

// AddLink adds a connection with other processes to [Bus.Snapshot]: the connection of a
// relay, or one through which other processes ask the bus. Each Snapshot calls describe,
// until the registration is removed. describe is called concurrently, should return as fast
// as a copy of its data permits, and must not call Snapshot. If it panics, the panic is
// logged, and the link has the state "unknown". The error is [ErrClosed] or
// [ErrInvalidArgument].
func (b *Bus) AddLink(describe func() LinkSnapshot) (*Registration, error) {
	if b == nil || describe == nil {
		return nil, invalidArgument("AddLink: nil Bus or func")
	}
	l := &link{Registration: Registration{bus: &b.hub, at: caller(1)}, describe: describe}
	l.self, l.entry.Name = l, "link"
	if err := b.add(l); err != nil {
		return nil, err
	}
	return &l.Registration, nil
}

// settle, stop and stopped are parts of registrant.
func (l *link) settle(context.Context) error { return nil }
func (l *link) stop()                        { l.gone.Store(true) }
func (l *link) stopped() bool                { return l.gone.Load() }

// snapshot calls describe, and adds what the bus knows.
func (l *link) snapshot() (s LinkSnapshot) {
	returned := false
	defer func() {
		if value := recover(); !returned {
			if value = unwind.Value(value); value == nil {
				return // Goexit ends the goroutine of Snapshot
			}
			if !l.bus.unwound("link", &l.Registration, value, debug.Stack()) {
				panic(value)
			}
			s = LinkSnapshot{Name: l.Name(), State: "unknown"}
		}
		s.AddedAt = l.addedAt()
		s.Nodes = append([]NodeSnapshot{}, s.Nodes...) // because countWaiting writes to them
	}()
	s = l.describe()
	returned = true
	return s
}
