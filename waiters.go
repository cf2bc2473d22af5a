package dispatch

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// waiters are goroutines that wait for a semaphore: runs for a slot of their producer, or
// senders for a place. A bus may outlive a bubble of testing/synctest, so no channel stays
// after a wait.
type waiters struct {
	mu      sync.Mutex // guards the fields below
	refused bool       // none may wait any more
	waiting map[*context.CancelFunc]bool
}

// join returns a context with which one more goroutine waits, and how many wait now, this one
// included. The context ends when ctx does, or when refuse is called. leave must be called
// after the wait.
func (w *waiters) join(ctx context.Context) (wait context.Context, leave func(), n int) {
	wait, cancel := context.WithCancel(ctx)
	leave = func() {
		w.mu.Lock()
		delete(w.waiting, &cancel)
		w.mu.Unlock()
		cancel()
	}
	w.mu.Lock()
	if w.refused {
		defer cancel() // without the lock, because it may call methods of ctx
	}
	defer w.mu.Unlock()
	if w.waiting == nil {
		w.waiting = make(map[*context.CancelFunc]bool)
	}
	w.waiting[&cancel] = true
	return wait, leave, len(w.waiting)
}

// refuse ends all waits, also those that begin later.
func (w *waiters) refuse() {
	w.mu.Lock()
	w.refused = true
	waiting := slices.Collect(maps.Keys(w.waiting))
	w.mu.Unlock()
	for _, cancel := range waiting {
		(*cancel)()
	}
}
