package dispatch

import (
	"context"
	"fmt"

	"golang.org/x/sync/semaphore"
)

// limits is what bounds the runs of one producer. All runs hold one slot of each
// semaphore.
type limits struct {
	slots    []*semaphore.Weighted // of WithConcurrency and then of WithSemaphore, always taken in this order
	maxQueue int                   // how many may wait; 0: any number
	waiters                        // the runs that wait
}

// newLimits returns nil if there is nothing to limit.
func newLimits(c producerConfig) (*limits, error) {
	l := &limits{maxQueue: c.maxQueue}
	if c.concurrency > 0 {
		l.slots = append(l.slots, semaphore.NewWeighted(int64(c.concurrency)))
	}
	if c.shared != nil {
		l.slots = append(l.slots, c.shared)
	}
	if len(l.slots) > 0 {
		return l, nil
	}
	if c.maxQueue > 0 {
		return nil, invalidOption("WithMaxQueue(%d): nothing to wait for without WithConcurrency or WithSemaphore", c.maxQueue)
	}
	return nil, nil
}

// acquire waits for the slots of a run with this context. The error is ErrQueueFull, ErrRemoved if the
// producer is removed meanwhile, or that of the context.
func (l *limits) acquire(ctx context.Context) error {
	if l.tryAcquire() {
		return nil
	}
	wait, leave, n := l.join(ctx)
	defer leave()
	if l.maxQueue > 0 && n > l.maxQueue {
		return fmt.Errorf("%w: %d waiting already", ErrQueueFull, l.maxQueue)
	}
	for i, s := range l.slots {
		if err := s.Acquire(wait, 1); err != nil {
			l.releaseFirst(i)
			if ctx.Err() == nil {
				return ErrRemoved
			}
			return ctx.Err()
		}
	}
	return nil
}

func (l *limits) tryAcquire() bool {
	for i, s := range l.slots {
		if !s.TryAcquire(1) {
			l.releaseFirst(i)
			return false
		}
	}
	return true
}

func (l *limits) release() { l.releaseFirst(len(l.slots)) }

func (l *limits) releaseFirst(n int) {
	for _, s := range l.slots[:n] {
		s.Release(1)
	}
}
