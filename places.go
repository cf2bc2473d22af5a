package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"
)

// places bounds the calls of a bus that are in flight, or whose last results a listener has not come to.
type places struct {
	bus  *hub
	free *semaphore.Weighted

	waiters                    // the senders that wait for a place; its lock guards the fields below
	hooks   map[*recipient]int // hooks that run, by listener
	logged  bool               // it is logged that senders wait
}

func newPlaces(b *hub) *places {
	return &places{bus: b, free: semaphore.NewWeighted(int64(b.maxInFlight))}
}

// take takes a place for a call, or returns why there is none.
func (p *places) take(ctx context.Context, topic string, noWait bool) error {
	if p.free.TryAcquire(1) {
		return nil
	}
	if noWait {
		return fmt.Errorf("%w: all %d places are taken", ErrOverloaded, p.bus.maxInFlight)
	}
	taken, left := false, false
	defer func() {
		if taken && !left { // a method of the context has unwound the stack
			p.free.Release(1)
		}
	}()
	wait, leave, n := p.join(ctx)
	defer func() { leave(); left = true }()
	p.loosen(n == 1)
	defer time.AfterFunc(p.bus.slowListener, func() { p.log(topic) }).Stop()
	taken = p.free.Acquire(wait, 1) == nil
	switch {
	case taken:
		return nil
	case ctx.Err() == nil:
		return ErrClosed
	default:
		err := withKind(context.Cause(ctx), ctx.Err())
		return &causeError{fmt.Errorf("%w: all %d places are taken: %s", ErrOverloaded, p.bus.maxInFlight, nested(err)), err}
	}
}

// loosen lets the listeners whose hooks run keep no places, because one of these hooks may be the sender
// that has begun to wait. If no other sender waits now, that is logged again.
func (p *places) loosen(alone bool) {
	p.mu.Lock()
	p.logged = p.logged && !alone
	inHooks := slices.Collect(maps.Keys(p.hooks))
	p.mu.Unlock()
	for _, l := range inHooks {
		l.inbox.Loosen()
	}
}

// during runs a hook of a listener. If a sender begins to wait meanwhile, which may be the
// hook, no call keeps its place for that listener until the hook has returned.
func (p *places) during(l *recipient, hook func()) {
	if p == nil { // there is no bound
		hook()
		return
	}
	l.inbox.Away(func() { // Away comes first: senders may find the hook as soon as it is counted
		p.mu.Lock()
		if p.hooks == nil {
			p.hooks = make(map[*recipient]int)
		}
		p.hooks[l]++
		p.mu.Unlock()
		defer func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.hooks[l]--; p.hooks[l] == 0 {
				delete(p.hooks, l)
			}
		}()
		hook()
	})
}

// log logs, once while senders wait, what keeps the places.
func (p *places) log(topic string) {
	p.mu.Lock()
	waiting, logged := len(p.waiting), p.logged
	p.logged = logged || waiting > 0
	p.mu.Unlock()
	if logged || waiting == 0 {
		return
	}
	underWay, kept := 0, make(map[*recipient]int) // the places of calls under way, and those of ended calls by listener
	for c := range p.bus.inFlight() {
		underWay += c.addKept(kept)
	}
	attrs := []slog.Attr{
		slog.String("topic", topic), slog.Int("senders_waiting", waiting),
		slog.Int("max_in_flight", p.bus.maxInFlight), slog.Int("calls_under_way", underWay),
	}
	var most *recipient
	for l, n := range kept {
		if most == nil || cmp.Or(cmp.Compare(n, kept[most]), cmp.Compare(most.entry.ID, l.entry.ID)) > 0 {
			most = l
		}
	}
	if most != nil {
		attrs = append(attrs, slog.String("listener", most.Name()), slog.Int("places_kept", kept[most]), slog.String("added_at", most.addedAt()))
	}
	p.bus.log(slog.LevelWarn, "senders wait for a place", attrs...)
}

// counts returns the bound, or 0 if there is none, and how many senders wait.
func (p *places) counts() (most, waiting int) {
	if p == nil {
		return 0, 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bus.maxInFlight, len(p.waiting)
}
