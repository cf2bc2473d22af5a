// Package serial runs tasks one after another, or a few at a time, on goroutines
// that exist only while there are tasks.
package serial

import (
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
)

// A Task is something to run. It may be run again after it panicked or ended its
// goroutine, and has to go on from where it was.
type Task interface{ Run() }

// A Droppable is a task that a queue with a bound may drop.
type Droppable interface {
	Task
	// Dropped is called in the place of Run. It must not use the queue.
	Dropped()
}

// An Owner hears of what becomes of a queue. Its methods must not block or panic.
type Owner interface {
	// Active is called when the queue becomes busy and when it is idle again.
	// The calls alternate and do not overlap.
	Active(busy bool)
	// Unwound is told what a task panicked with and the stack of the panic. The
	// value is nil for runtime.Goexit.
	Unwound(value any, stack []byte)
}

// A Queue runs tasks in the order in which they were put. Put never waits. The
// fields must be set before the first Put; a Queue must not be copied, and its
// methods may be used concurrently.
//
// A task that panics, or ends its goroutine with runtime.Goexit, is reported and
// run again.
type Queue struct {
	Owner Owner
	Width int32 // how many tasks run at once; 0 stands for 1

	// Bound is how many droppable tasks may wait; 0 stands for any number. Of
	// those that are too many, the last is dropped, or the first if DropFirst.
	Bound     int32
	DropFirst bool

	full    atomic.Bool // one more droppable task would be one too many; written under mu
	runners int32       // goroutines that run tasks; guarded by mu
	mu      sync.Mutex  // guards the fields below
	tasks   []Task      // those from head on wait
	head    int
	waiting int    // droppable tasks among them
	first   int    // where the first of these is, or before it
	inHand  []Task // being run, or to be run again
}

// Put adds a task and reports whether Run has to be called because of it, on
// whatever goroutine the caller likes.
func (q *Queue) Put(t Task) (run bool) {
	dropped, run := q.Exchange(t)
	if dropped != nil {
		dropped.Dropped()
	}
	return run
}

// Exchange is Put, except that it leaves it to the caller to tell the task that
// was dropped, if one was.
func (q *Queue) Exchange(t Task) (dropped Droppable, run bool) {
	q.mu.Lock()
	dropped = q.makeRoomLocked(t)
	if dropped != t {
		q.appendLocked(t)
		if _, ok := t.(Droppable); ok {
			q.waiting++
		}
		if run = q.runners < max(1, q.Width); run {
			if q.runners++; q.runners == 1 {
				q.Owner.Active(true)
			}
		}
		q.noteFullLocked()
	}
	q.mu.Unlock()
	return dropped, run
}

// Full reports whether a droppable task that is put now is dropped, or has another
// one dropped. It takes no lock.
func (q *Queue) Full() bool { return q.full.Load() }

func (q *Queue) noteFullLocked() {
	if q.Bound > 0 && q.full.Load() != q.fullLocked() {
		q.full.Store(!q.full.Load())
	}
}

func (q *Queue) fullLocked() bool {
	// Tasks that are about to be taken into the hand do not wait.
	free := int(max(1, q.Width)) - len(q.inHand)
	return q.waiting >= int(q.Bound)+free
}

// appendLocked adds a task to those that wait. Where most of the array is room that
// the first have left, they move there: a full queue that drops its first tasks
// does not grow.
func (q *Queue) appendLocked(t Task) {
	if len(q.tasks) == cap(q.tasks) {
		q.growLocked()
	}
	q.tasks = append(q.tasks, t)
}

//go:noinline
func (q *Queue) growLocked() {
	if q.head <= len(q.tasks)/2 {
		q.tasks = slices.Grow(q.tasks, 1)
		return
	}
	n := copy(q.tasks, q.tasks[q.head:])
	clear(q.tasks[n:])
	q.tasks, q.first, q.head = q.tasks[:n], max(0, q.first-q.head), 0
}

// makeRoomLocked returns the task that has to be dropped for t to be added, which
// may be t itself, or nil. It has been taken out of the queue.
func (q *Queue) makeRoomLocked(t Task) Droppable {
	newest, ok := t.(Droppable)
	if !ok || q.Bound == 0 {
		return nil
	}
	switch {
	case !q.fullLocked():
		return nil
	case q.DropFirst:
		return q.removeFirstLocked()
	default:
		return newest
	}
}

// removeFirstLocked takes the first droppable task out of those that wait, which
// nearly always is the first of all.
func (q *Queue) removeFirstLocked() Droppable {
	oldest, ok := q.tasks[q.head].(Droppable)
	if !ok {
		return q.searchFirstLocked()
	}
	q.tasks[q.head] = nil
	q.head++
	q.waiting--
	return oldest
}

//go:noinline
func (q *Queue) searchFirstLocked() Droppable {
	for i := max(q.first, q.head); ; i++ {
		if oldest, ok := q.tasks[i].(Droppable); ok {
			q.tasks = slices.Delete(q.tasks, i, i+1)
			q.waiting--
			q.first = i
			return oldest
		}
	}
}

// Run runs tasks until none is left to take. It must be called exactly once for
// each time Put returned true.
func (q *Queue) Run() {
	for t := q.take(nil); t != nil; {
		t = q.run(t, math.MaxInt)
	}
}

// RunOne runs the first task here and leaves the others, if there are any, to a
// goroutine of their own. It may be called in the place of Run.
func (q *Queue) RunOne() {
	if t := q.run(q.take(nil), 1); t != nil {
		go q.runFrom(t)
	}
}

func (q *Queue) runFrom(t Task) {
	for t != nil {
		t = q.run(t, math.MaxInt)
	}
}

// run runs at most n tasks, beginning with t, and returns the one to go on with,
// or nil if none is left. It returns early after a task that panicked.
func (q *Queue) run(t Task, n int) (next Task) {
	returned := false
	defer func() {
		if returned {
			return
		}
		value := recover()
		q.Owner.Unwound(value, debug.Stack())
		if value == nil {
			// The task called runtime.Goexit, and nothing can keep this
			// goroutine; another one goes on.
			go q.runFrom(t)
			return
		}
		next = t
	}()
	for ; n > 0 && t != nil; n-- {
		t.Run()
		t = q.take(t)
	}
	returned = true
	return t
}

// take ends a task, if there is one, and takes the next into the hand. If none
// waits it returns nil, and the runner has to stop.
func (q *Queue) take(done Task) (next Task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if done != nil {
		i := slices.Index(q.inHand, done)
		q.inHand = slices.Delete(q.inHand, i, i+1)
	}
	if q.head == len(q.tasks) {
		q.noteFullLocked()
		if q.runners--; q.runners == 0 {
			q.Owner.Active(false)
		}
		return nil
	}
	next, q.tasks[q.head] = q.tasks[q.head], nil
	if _, ok := next.(Droppable); ok {
		q.waiting--
	}
	if q.head++; q.head == len(q.tasks) {
		q.resetLocked()
	}
	q.inHand = append(q.inHand, next)
	q.noteFullLocked()
	return next
}

// resetLocked makes the empty queue start at the front again. A small array is
// kept, so that a queue that is used now and then does not allocate each time.
func (q *Queue) resetLocked() {
	q.head, q.first = 0, 0
	if q.tasks = q.tasks[:0]; cap(q.tasks) > 64 {
		q.tasks = nil
	}
}

// Discard drops the tasks that wait and returns them. Those that are being run
// are not affected.
func (q *Queue) Discard() []Task {
	q.mu.Lock()
	defer q.mu.Unlock()
	tasks := slices.Clone(q.tasks[q.head:])
	q.tasks, q.head, q.waiting, q.first = nil, 0, 0, 0
	q.noteFullLocked()
	return tasks
}

// Len returns how many tasks wait or are being run.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.tasks) - q.head + len(q.inHand)
}

// Idle reports whether the queue has nothing to do.
func (q *Queue) Idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.runners == 0
}

// Tasks returns the tasks, those being run first.
func (q *Queue) Tasks() []Task {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Concat(q.inHand, q.tasks[q.head:])
}
