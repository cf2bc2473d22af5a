package dispatch

import (
	"sync/atomic"
	"time"
)

// log is what a call has to tell, in order. It is written by whoever holds the
// call's lock, and followed without a lock by any number of readers, each with a
// cursor of its own. It consists of pages, so that what all readers have passed
// can be collected as garbage.
//
// An entry is the index of a member that has ended; the member's record says how,
// and does not change any more. What does not fit into that, the results of
// streams and all that relays tell, is an event in full: its entry is the
// complement of its index among the events of the page.
type log[Res any] struct {
	tail   *page[Res] // where the next entry goes
	n      int        // entries in tail, published or not
	events int        // events in tail
	seq    int        // results so far
	spare  []Res      // room for values, made for several at a time
}

// keep returns a place for the value of an event.
func (l *log[Res]) keep(value Res) *Res {
	if len(l.spare) == 0 {
		l.spare = make([]Res, min(max(l.seq, 1), 64))
	}
	kept := &l.spare[0]
	l.spare = l.spare[1:]
	*kept = value
	return kept
}

type page[Res any] struct {
	first   int // the position of the first entry
	entries []int32
	few     [12]int32                 // spares a short log an allocation
	events  []event[Res]              // made when the page gets the first of them
	n       atomic.Int64              // entries that may be read
	next    atomic.Pointer[page[Res]] // set once, when this page is full
}

// event is a result, the end of a member, or both.
type event[Res any] struct {
	member  *member // nil if it is one that a relay named
	remote  *remote
	value   *Res // nil if there is no result
	elapsed time.Duration
	ended   bool // the member has ended with this
}

const largestPage = 1024

// open begins the log on its first page.
func (l *log[Res]) open(first *page[Res]) *page[Res] {
	first.entries = first.few[:]
	l.tail = first
	return first
}

// expect makes room for n entries. It must come before the first of them, and
// before the first reader.
func (l *log[Res]) expect(n int) {
	if n > len(l.tail.entries) {
		l.tail.entries = make([]int32, min(n, largestPage))
	}
}

// append adds an entry, which readers see from the next publish on.
func (l *log[Res]) append(entry int32, result bool) {
	l.turn()
	l.tail.entries[l.n] = entry
	l.n++
	if result {
		l.seq++
	}
}

// appendEvent adds an event in full.
func (l *log[Res]) appendEvent(e event[Res]) {
	l.turn()
	if l.tail.events == nil {
		// It is as long as it can get, so that readers find it unchanged.
		l.tail.events = make([]event[Res], len(l.tail.entries))
	}
	l.tail.events[l.events] = e
	l.append(^int32(l.events), e.value != nil)
	l.events++
}

// turn begins a new page if the last one is full.
func (l *log[Res]) turn() {
	if l.n < len(l.tail.entries) {
		return
	}
	next := &page[Res]{first: l.tail.first + l.n, entries: make([]int32, min(2*l.n, largestPage))}
	l.publish()
	l.tail.next.Store(next)
	l.tail, l.n, l.events = next, 0, 0
}

func (l *log[Res]) publish() { l.tail.n.Store(int64(l.n)) }

// end returns a cursor at the end of what is written.
func (l *log[Res]) end() cursor[Res] { return cursor[Res]{l.tail, l.n, l.seq} }

// cursor is a reader's place in a log.
type cursor[Res any] struct {
	page *page[Res]
	pos  int
	seq  int // results passed
}

// next returns the entry at the cursor, with the page that it is on, and steps
// over it. It reports whether there is one yet.
func (c *cursor[Res]) next() (entry int32, on *page[Res], ok bool) {
	for {
		if c.pos < int(c.page.n.Load()) {
			entry = c.page.entries[c.pos]
			c.pos++
			return entry, c.page, true
		}
		if c.pos < len(c.page.entries) {
			return 0, nil, false
		}
		next := c.page.next.Load()
		if next == nil {
			return 0, nil, false
		}
		c.page, c.pos = next, 0
	}
}

// position counts the entries before the cursor.
func (c cursor[Res]) position() int64 { return int64(c.page.first + c.pos) }

// ready reports whether there is an entry at the cursor.
func (c cursor[Res]) ready() bool {
	_, _, ok := c.next()
	return ok
}
