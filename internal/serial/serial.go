// Package serial runs tasks one after another on a goroutine that exists only
// while there are tasks.
package serial

import (
	"math"
	"runtime/debug"
	"sync"
)

// A Task is something to run. It may be run again after it panicked or ended its
// goroutine, and has to go on from where it was.
type Task interface{ Run() }

// A Queue runs tasks in the order in which they were put, never two at a time.
// It is unbounded: Put never waits. A Queue must not be copied, and its methods
// may be used concurrently.
//
// A task that panics, or ends its goroutine with runtime.Goexit, is reported
// and run again.
type Queue struct {
	// Unwound is told what a task panicked with and the stack of the panic; the
	// value is nil for runtime.Goexit. Active is told when the queue becomes
	// busy and when it is idle again; the calls alternate and do not overlap.
	// Both must be set before the first Put, and must neither panic nor block.
	Unwound func(value any, stack []byte)
	Active  func(bool)

	mu      sync.Mutex
	tasks   []Task // waiting, the next one first
	current Task   // being run, or to be run again; nil if the queue is idle
}

// Put adds a task and reports whether the queue was idle: then the caller has to
// see to it that Run is called, on whatever goroutine it likes.
func (q *Queue) Put(t Task) (idle bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.current != nil {
		q.tasks = append(q.tasks, t)
		return false
	}
	q.current = t
	q.Active(true)
	return true
}

// Run runs tasks until none is left. It must be called exactly once for each
// time Put returned true.
func (q *Queue) Run() {
	for !q.run(math.MaxInt) {
	}
}

// RunOne runs the first task here and leaves the others, if there are any, to a
// goroutine of their own. It may be called in the place of Run.
func (q *Queue) RunOne() {
	if !q.run(1) {
		go q.Run()
	}
}

// Discard drops the tasks that wait and returns how many there were. The task
// that is being run is not affected.
func (q *Queue) Discard() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.tasks)
	q.tasks = nil
	return n
}

// Len returns how many tasks wait or are being run.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.current == nil {
		return 0
	}
	return len(q.tasks) + 1
}

// Idle reports whether no task waits or is being run.
func (q *Queue) Idle() bool { return q.Len() == 0 }

// Tasks returns the tasks, the one being run first.
func (q *Queue) Tasks() []Task {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.current == nil {
		return nil
	}
	return append([]Task{q.current}, q.tasks...)
}

// run runs at most n tasks and reports whether none is left. It returns early
// after a task that panicked.
func (q *Queue) run(n int) (idle bool) {
	returned := false
	defer func() {
		if returned {
			return
		}
		value := recover()
		q.Unwound(value, debug.Stack())
		if value == nil {
			// The task called runtime.Goexit, and nothing can keep this
			// goroutine; the queue goes on in another one.
			go q.Run()
		}
	}()
	for ; n > 0 && !idle; n-- {
		q.current.Run()
		idle = !q.next()
	}
	returned = true
	return idle
}

// next ends the current task and makes the one after it current.
func (q *Queue) next() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.tasks) == 0 {
		q.current, q.tasks = nil, nil
		q.Active(false)
		return false
	}
	q.current, q.tasks[0] = q.tasks[0], nil
	q.tasks = q.tasks[1:]
	return true
}
