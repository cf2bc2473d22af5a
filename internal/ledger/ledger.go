// Package ledger has the set of calls and callbacks that are in flight, so that a shutdown can
// refuse new ones, list those that are left, and wait until none is left.
package ledger

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
)

// shards is the number of locks for the entries. Enter and Leave hold one of them for a few
// instructions, so a small number is enough to avoid contention between senders.
const shards = 16

// A Level says what the ledger accepts. It can only rise.
type Level int32

// The levels of a ledger.
const (
	Open     Level = iota // everything
	Draining              // only what continues something accepted earlier
	Closed                // only what is needed to finish
)

// A Ledger is a set of entries. The zero Ledger is empty and open. It must not be
// copied and may be used concurrently.
type Ledger struct {
	level  atomic.Int32
	shards [shards]shard

	waits   atomic.Int32                  // calls of Wait that have not returned
	changed atomic.Pointer[chan struct{}] // closed at the next change; nil if nothing waits
}

type shard struct {
	mu      sync.Mutex
	head    *Entry
	entered uint64   // the number of calls of Enter that have added an entry
	_       [40]byte // padding, so that shards do not share a cache line
}

// An Entry is a place in a ledger. It is a field of the value that enters the ledger. An entry
// is in at most one ledger at a time, and its own calls of Enter and Leave must not overlap.
type Entry struct {
	next, prev *Entry
	owner      any
	shard      uint8
}

// Enter adds the entry with its owner and returns true, unless the ledger's level is above
// upTo. The key selects the lock: entries whose keys differ in the last bits use different
// locks.
func (l *Ledger) Enter(e *Entry, owner any, key uint64, upTo Level) bool {
	e.shard = uint8(key % shards)
	s := &l.shards[e.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	// The level is read under the lock that All takes: an entry is refused, or it is
	// seen by a goroutine that raises the level and then looks.
	if l.Level() > upTo {
		return false
	}
	e.owner, e.next, e.prev = owner, s.head, nil
	if s.head != nil {
		s.head.prev = e
	}
	s.head = e
	s.entered++
	return true
}

// Leave removes the entry, if the ledger has it.
func (l *Ledger) Leave(e *Entry) {
	s := &l.shards[e.shard]
	s.mu.Lock()
	if e.owner == nil {
		s.mu.Unlock()
		return
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		s.head = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	}
	e.owner, e.next, e.prev = nil, nil, nil
	s.mu.Unlock()
	l.Changed()
}

// Has reports whether the entry is in the ledger.
func (l *Ledger) Has(e *Entry) bool {
	s := &l.shards[e.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.owner != nil
}

// Level returns the present level.
func (l *Ledger) Level() Level { return Level(l.level.Load()) }

// Raise raises the level to at least this one.
func (l *Ledger) Raise(to Level) {
	for {
		now := l.level.Load()
		if now >= int32(to) || l.level.CompareAndSwap(now, int32(to)) {
			return
		}
	}
}

// All ranges over the owners of the entries. No lock is held while the loop's
// body runs: each part of the set is as it was at one moment during the loop.
func (l *Ledger) All() iter.Seq[any] {
	return func(yield func(any) bool) {
		var owners []any
		for i := range l.shards {
			s := &l.shards[i]
			owners = owners[:0]
			s.mu.Lock()
			for e := s.head; e != nil; e = e.next {
				owners = append(owners, e.owner)
			}
			s.mu.Unlock()
			for _, o := range owners {
				if !yield(o) {
					return
				}
			}
		}
	}
}

// Empty reports whether there was a moment during the call when the ledger had no entry.
func (l *Ledger) Empty() bool {
	var before, after [shards]uint64
	// When an entry leaves one shard, another entry may enter a shard that was checked before.
	// If each shard is empty twice, and no entry has entered it between the two checks, all
	// were empty at the moment between the two rounds.
	return l.emptyShards(&before) && l.emptyShards(&after) && before == after
}

// emptyShards reports whether each shard was empty when it was checked, and stores how many
// entries had entered it by then.
func (l *Ledger) emptyShards(entered *[shards]uint64) bool {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		head := s.head
		entered[i] = s.entered
		s.mu.Unlock()
		if head != nil {
			return false
		}
	}
	return true
}

// Changed makes the goroutines in Wait check their conditions again. Leave calls it by itself.
func (l *Ledger) Changed() {
	if changed := l.changed.Load(); changed != nil && l.changed.CompareAndSwap(changed, nil) {
		close(*changed)
	}
}

// Wait checks the condition now and after every change. It returns nil when the condition
// holds, or the error of the context if the context ends first.
func (l *Ledger) Wait(ctx context.Context, condition func() bool) error {
	l.waits.Add(1)
	defer func() {
		if l.waits.Add(-1) == 0 {
			l.Changed() // leaves no channel behind that belongs to the bubble of a test
		}
	}()
	for {
		changed := l.change() // comes before the check: a change after the check closes it
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// change returns the channel that the next change closes.
func (l *Ledger) change() <-chan struct{} {
	for {
		if changed := l.changed.Load(); changed != nil {
			return *changed
		}
		if made := make(chan struct{}); l.changed.CompareAndSwap(nil, &made) {
			return made
		}
	}
}
