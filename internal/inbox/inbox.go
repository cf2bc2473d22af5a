// Package inbox delivers events to their owner, one after another or several at the same time,
// on goroutines that exist only while there are events to deliver.
//
// An inbox is a queue of sources. A source is a call with its log, or something else that has
// events. A source is in the queue at most once, however many events it has. That of a call
// stores only its position in the log, so the size of an inbox does not depend on the number
// of results that wait.
package inbox

import (
	"math"
	"runtime/debug"
	"sync"

	"github.com/seed-bb4b4d74/dispatch/internal/unwind"
)

// A Source has events for the owner of an inbox. Its methods, except Discard, are called
// under the inbox's lock, and must not call the inbox.
type Source interface {
	Linked() *Links
	// Take takes at most n events out of the source and returns the task that delivers
	// them, how many of them are results that Fresh has counted, and whether the source has
	// more now. If the task is nil there was nothing: the source is put again when it has
	// something.
	Take(n int) (t Task, results int, more bool)
	// Fresh returns how many results have come since it was last called.
	Fresh() int
	// Drop drops up to n of the results that wait, the oldest ones or the newest, and
	// returns how many it has dropped.
	Drop(n int, oldest bool) int
	// Spent reports whether a source in the queue has nothing more to deliver. It is then
	// removed from the queue.
	Spent() bool
	// Release is called when it may take long until the source is taken. The source gives back
	// what it would otherwise keep until then.
	Release()
	// Discard is called when no more events will be taken. A task of the source may be running.
	Discard()
}

// A Task delivers events. After a panic or runtime.Goexit its Run is called again, and
// has to continue behind the event that failed.
type Task interface{ Run() }

// An Owner is told what happens to an inbox. Its methods must not block or panic.
type Owner interface {
	// Active is called under the inbox's lock when it becomes busy and when it is idle.
	Active(busy bool)
	// Unwound is called when a task has panicked, with the value and the stack of the panic.
	// The value is nil for runtime.Goexit. If Unwound returns false, the panic ends the
	// process.
	Unwound(value any, stack []byte) (contained bool)
}

// atOnce is how many events of one source are delivered before the next source has its turn.
const atOnce = 64

// Config is how an inbox delivers.
type Config struct {
	Width     int32 // how many tasks run at the same time; 0 stands for 1
	Bound     int32 // how many results may wait; 0 stands for any number
	DropFirst bool  // whether the oldest results above Bound are dropped, or the newest
}

// Inbox is a queue of sources, to be made by Init. It must not be copied, and may be
// used concurrently.
type Inbox struct {
	owner  Owner
	config Config

	mu      sync.Mutex // guards the fields below; it is held when the locks of sources are taken
	loose   bool       // sources hold back nothing, until no task is in Away
	queue   queue
	taken   Source // the source whose task runs; it is put back after the task; nil if it is in the queue already or has no more events
	runners int32  // goroutines that run tasks
	inHand  int32  // tasks that they run
	firsts  int32  // of these tasks, those of sources that Preload has added
	away    int32  // of these tasks, those that are in Away
	waiting int32  // results that wait, as far as they are counted
	unwound uint32 // tasks that have unwound the stack, up to the largest uint32: there may be very many inboxes
	dropped uint64 // results that were dropped
}

// Init sets what does not change.
func (b *Inbox) Init(owner Owner, c Config) { b.owner, b.config = owner, c }

// Overlaps reports whether several tasks may run at the same time.
func (b *Inbox) Overlaps() bool { return b.config.Width > 1 }

// Single reports whether each event is a task of its own, so that it can be dropped while it
// waits, or run at the same time as others.
func (b *Inbox) Single() bool { return b.config.Bound > 0 || b.Overlaps() }

// Put adds a source that is not in the queue and has something to deliver. It reports
// whether the caller has to call Run, on any goroutine.
func (b *Inbox) Put(s Source) (run bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue.push(s)
	b.countLocked(s)
	if b.loose {
		b.queue.release()
	}
	return b.queue.length > 0 && b.wakeLocked()
}

// Preload adds a source to an inbox that no other goroutine knows yet. The source is delivered
// after Wake has been called, or another source is put. It is first in the queue until it is
// spent, its tasks end before those of other sources begin, and its Release does nothing.
func (b *Inbox) Preload(s Source) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue.unshift(s)
	b.countLocked(s)
}

// Wake reports whether the caller has to call Run for what Preload has added.
func (b *Inbox) Wake() (run bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.queue.length > 0 && b.wakeLocked()
}

// wakeLocked reports whether one more runner has to be started, and counts it.
func (b *Inbox) wakeLocked() bool {
	if b.runners >= max(1, b.config.Width) {
		return false
	}
	b.runners++
	if b.runners == 1 {
		b.owner.Active(true)
	}
	return true
}

// Count counts the new results of a source in the queue, and drops those above the bound. It
// need not be called for each result: results that are taken are counted in any case.
func (b *Inbox) Count(s Source) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.countLocked(s)
}

func (b *Inbox) countLocked(s Source) {
	if !b.Bounded() {
		return
	}
	fresh := s.Fresh()
	b.waiting += int32(fresh) // they are in memory, so there are not too many
	// A result that is about to be taken into the hand does not wait.
	room := int64(b.config.Bound) + int64(max(1, b.config.Width)-b.inHand)
	if excess := int(max(0, int64(b.waiting)-room)); excess > 0 {
		var dropped int
		if b.config.DropFirst {
			dropped = b.queue.drop(excess)
		} else {
			dropped = s.Drop(min(excess, fresh), false)
		}
		b.waiting -= int32(dropped)
		b.dropped += uint64(dropped)
	}
	if b.queue.has(s) && s.Spent() {
		b.queue.remove(s)
	}
}

// Run runs tasks until none is left. It must be called exactly once for each time that Put or
// Wake has returned true.
func (b *Inbox) Run() {
	var h hand
	b.take(&h)
	for h.task != nil {
		b.run(&h, math.MaxInt)
	}
}

// RunOne runs the first task here and leaves the others, if there are any, to a
// goroutine of their own. It may be called instead of Run.
func (b *Inbox) RunOne() {
	var h hand
	b.take(&h)
	if h.task != nil {
		b.run(&h, 1)
		if h.task != nil {
			go b.resume(h)
		}
	}
}

// hand is what a runner has in hand.
type hand struct {
	task  Task
	first bool // its source was added by Preload
	fine  bool // no task has unwound the stack
}

// resume runs the tasks that another goroutine has left.
func (b *Inbox) resume(h hand) {
	for h.task != nil {
		b.run(&h, math.MaxInt)
	}
}

// run runs at most n tasks, beginning with the one in hand. It is a small function because
// its frame is on the stack of all tasks.
func (b *Inbox) run(h *hand, n int) {
	defer b.unwind(h)
	h.fine = false
	for ; n > 0 && h.task != nil; n-- {
		h.task.Run()
		b.take(h)
	}
	h.fine = true
}

// unwind is deferred by run. A new goroutine continues with the task in hand, because
// runtime.Goexit ends this goroutine, even if a panic is recovered on the way.
func (b *Inbox) unwind(h *hand) {
	if h.fine {
		return
	}
	var stack []byte
	value := unwind.Value(recover())
	if value != nil {
		stack = debug.Stack()
	}
	b.note(value, stack)
	go b.resume(*h)
	h.task = nil
}

func (b *Inbox) note(value any, stack []byte) {
	b.mu.Lock()
	if b.unwound < math.MaxUint32 {
		b.unwound++
	}
	b.mu.Unlock()
	if !b.owner.Unwound(value, stack) && value != nil {
		panic(value)
	}
}

// take puts back the source in hand and takes the next task. If there is none, the runner has
// to stop.
func (b *Inbox) take(h *hand) {
	b.mu.Lock()
	if s := b.queue.head; s != nil {
		b.countLocked(s) // results that have come while the task was in hand
	}
	if h.task != nil {
		b.inHand--
	}
	if h.first {
		b.firsts--
	}
	if b.taken != nil {
		b.pushBackLocked(b.taken)
		b.taken = nil
	}
	more := b.nextLocked(h)
	if h.task == nil {
		if b.runners--; b.runners == 0 {
			b.owner.Active(false)
		}
	}
	b.mu.Unlock()
	if more {
		go b.Run()
	}
}

// nextLocked takes the next task into the hand, and reports whether one more runner is
// to be started for the tasks behind it.
func (b *Inbox) nextLocked(h *hand) (start bool) {
	h.task, h.first = nil, false
	n := atOnce
	if b.Single() {
		n = 1
	}
	for s := b.queue.head; s != nil; s = b.queue.head {
		if b.firsts > 0 && !s.Linked().first {
			return false // the last runner of a first source goes on
		}
		b.queue.remove(s)
		t, results, more := s.Take(n)
		if t == nil {
			continue
		}
		b.inHand++
		if h.task, h.first = t, s.Linked().first; h.first {
			b.firsts++
		}
		if n > 1 {
			if more {
				b.taken = s
			}
			return false
		}
		if b.Bounded() {
			b.waiting -= int32(results)
		}
		if more {
			b.pushBackLocked(s)
		}
		return b.queue.length > 0 && b.wakeLocked()
	}
	return false
}

// pushBackLocked puts back a source that has been taken and may have more.
func (b *Inbox) pushBackLocked(s Source) {
	if s.Linked().first {
		b.queue.unshift(s)
	} else {
		b.queue.push(s)
	}
}

// Away runs a part of a task that may wait for something that sources hold back.
func (b *Inbox) Away(f func()) {
	b.mu.Lock()
	b.away++
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.away--
		b.loose = b.loose && b.away > 0
		b.mu.Unlock()
	}()
	f()
}

// Loosen releases all sources if a task is in Away, and from then on each that is put, until
// no task is in Away.
func (b *Inbox) Loosen() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away == 0 {
		return
	}
	b.loose = true
	b.queue.release()
	if b.taken != nil {
		b.taken.Release()
	}
}

// Discard drops all that waits. A task that runs is not affected.
func (b *Inbox) Discard() {
	b.mu.Lock()
	sources := b.queue.clear()
	if b.taken != nil {
		sources = append(sources, b.taken)
	}
	b.waiting = 0
	b.mu.Unlock()
	for _, s := range sources {
		s.Discard()
	}
}

// Bounded reports whether results can be dropped.
func (b *Inbox) Bounded() bool { return b.config.Bound > 0 }

// Stats are the figures of an inbox.
type Stats struct {
	Queued  int    // sources in the queue, and tasks in hand
	Waiting int    // results that wait in a bounded inbox, as far as they are counted
	Dropped uint64 // results that were dropped
	Unwound uint64 // tasks that have unwound the stack
}

// Stats returns the figures as they are now.
func (b *Inbox) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{b.queue.length + int(b.inHand), int(b.waiting), b.dropped, uint64(b.unwound)}
}

// Locked calls f under the lock of the inbox.
func (b *Inbox) Locked(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// Idle reports whether there is nothing to do.
func (b *Inbox) Idle() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.runners == 0
}
