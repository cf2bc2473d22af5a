package dispatch

import "sync/atomic"

// log is what a call has to tell, in order. It is written by whoever holds the
// call's lock, and followed without a lock by any number of readers, each with a
// cursor of its own. It consists of pages, so that what all readers have passed
// can be collected as garbage.
//
// An entry is the index of a member that has ended. The member's record says
// how, and does not change any more.
type log struct {
	tail *page // where the next entry goes
	n    int   // entries in tail, published or not
	seq  int   // results so far
}

type page struct {
	first   int // the position of the first entry
	entries []int32
	few     [16]int32            // spares a short log an allocation
	n       atomic.Int64         // entries that may be read
	next    atomic.Pointer[page] // set once, when this page is full
}

const largestPage = 1024

// open begins the log on its first page.
func (l *log) open(first *page) *page {
	first.entries = first.few[:]
	l.tail = first
	return first
}

// expect makes room for n entries. It must come before the first of them.
func (l *log) expect(n int) {
	if n > len(l.tail.entries) {
		l.tail.entries = make([]int32, min(n, largestPage))
	}
}

// append adds an entry, which readers see from the next publish on.
func (l *log) append(index int32, result bool) {
	if l.n == len(l.tail.entries) {
		next := &page{first: l.tail.first + l.n, entries: make([]int32, largestPage)}
		l.publish()
		l.tail.next.Store(next)
		l.tail, l.n = next, 0
	}
	l.tail.entries[l.n] = index
	l.n++
	if result {
		l.seq++
	}
}

func (l *log) publish() { l.tail.n.Store(int64(l.n)) }

// end returns a cursor at the end of what is published.
func (l *log) end() cursor { return cursor{l.tail, l.n, l.seq} }

// cursor is a reader's place in a log.
type cursor struct {
	page *page
	pos  int
	seq  int // results passed
}

// next returns the entry at the cursor and steps over it, or reports that there
// is none yet.
func (c *cursor) next() (index int32, ok bool) {
	for {
		if c.pos < int(c.page.n.Load()) {
			index = c.page.entries[c.pos]
			c.pos++
			return index, true
		}
		if c.pos < len(c.page.entries) {
			return 0, false
		}
		next := c.page.next.Load()
		if next == nil {
			return 0, false
		}
		c.page, c.pos = next, 0
	}
}

// position counts the entries before the cursor.
func (c cursor) position() int64 { return int64(c.page.first + c.pos) }

// ready reports whether there is an entry at the cursor.
func (c cursor) ready() bool {
	_, ok := c.next()
	return ok
}
