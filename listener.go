package dispatch

import (
	"math"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/inbox"
	"github.com/seed-bb4b4d74/dispatch/internal/registry"
)

// listener is a registered Listener.
type listener struct {
	recipient
	fn        any // a Listener of the types of the topic
	onOutcome func(Outcome)
	onDone    func(Report)
}

// Registered is part of registry.Registrant.
func (l *listener) Registered() *registry.Entry { return &l.entry }

func newListener(r Registration, fn any, c listenerConfig) *listener {
	l := &listener{fn: fn, onOutcome: c.onOutcome, onDone: c.onDone}
	r.entry.Name, r.entry.Kind = c.name, registry.KindListener
	l.init(r, inbox.Config{
		Width:     int32(min(c.concurrency, math.MaxInt32)),
		Bound:     int32(min(c.mailbox, math.MaxInt32)),
		DropFirst: c.overflow == DropOldest,
	})
	l.retained = c.retained
	l.self, l.wantsOutcomes, l.wantsEnd = l, l.onOutcome != nil, l.onOutcome != nil || l.onDone != nil
	return l
}

func (l *listener) snapshot(now time.Duration) ListenerSnapshot {
	stats := l.inbox.Stats()
	s := ListenerSnapshot{
		Name: l.Name(), On: l.entry.Selection.String(), AddedAt: l.addedAt(), Queued: stats.Queued,
		Delivered: l.delivered.Load(), Dropped: stats.Dropped, Panicked: stats.Unwound,
	}
	if since := time.Duration(l.since.Load()); since > 0 {
		s.Waiting = max(0, now-since)
	}
	return s
}
