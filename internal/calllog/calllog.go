// Package calllog stores the results and ends of a call in one order.
//
// A Log is written and read under the lock of its call. Entries that a reader has taken do not
// change any more, and are read without the lock. A log consists of pages, so that a page can
// be collected as garbage when all readers have passed it.
package calllog

import "time"

// Kind says what an entry reports about a member.
type Kind uint8

// The kinds of entries. A result that ends its member is both.
const (
	Result  Kind = 1 << iota // the member has a result
	End                      // the member has ended
	Replica                  // a replica of the member has ended; the end of the member is another entry
)

// Answer is the Value of an entry whose result is the answer of a local member. The call keeps
// answers apart from the log.
const Answer = -1

// Entry is a result of a member, or the end of a member or of a replica.
type Entry struct {
	At     time.Duration // since the call's start
	Member int32         // the index of the member
	Value  int16         // where on the page its result is, if it has one; or Answer
	Kind   Kind
}

// A page that follows another one has room for twice as many entries, within these bounds.
const (
	smallestPage = 16
	LargestPage  = 1024
)

// Page is a part of a log.
type Page struct {
	// Values are the results on this page that are not answers. They are a slice with a type
	// of the call. It is made as long as the page can get, so readers can keep it.
	Values any

	entries []Entry // appended to up to its capacity
	values  int16   // how many results are in Values
	next    *Page   // set when this page is full
}

// Cap returns how many entries the page can have.
func (p *Page) Cap() int { return cap(p.entries) }

// Log is the log of one call, to be opened before use.
type Log struct {
	tail    *Page
	results int
	written int
}

// Open begins the log on its first page.
func (l *Log) Open(first *Page) { l.tail = first }

// Use gives the page that the log was opened on room for entries, if nothing has been written
// yet. room must not be a part of the page: a reader that still has some entries would keep
// the page in memory, and all that follow.
func (l *Log) Use(room []Entry) {
	if p := l.tail; len(p.entries) == 0 {
		p.entries = room[:0:min(cap(room), LargestPage)]
	}
}

// Room returns the page for the next entry, and the place for a result on it.
func (l *Log) Room() (p *Page, value int16) {
	if p = l.tail; len(p.entries) == cap(p.entries) {
		p.next = &Page{entries: make([]Entry, 0, min(max(2*cap(p.entries), smallestPage), LargestPage))}
		l.tail = p.next
	}
	return l.tail, l.tail.values
}

// Append adds an entry. If its result is on the page, it is at the place that Room
// returned.
func (l *Log) Append(e Entry) {
	p, _ := l.Room()
	if e.Kind&Result != 0 {
		l.results++
		if e.Value != Answer {
			p.values++
		}
	}
	p.entries = append(p.entries, e)
	l.written++
}

// Written returns how many entries have been written.
func (l *Log) Written() int { return l.written }

// Results returns how many results have been written.
func (l *Log) Results() int { return l.results }

// Tail returns the page that is written.
func (l *Log) Tail() *Page { return l.tail }

// End returns the cursor at the end of what is written.
func (l *Log) End() Cursor { return Cursor{page: l.tail, at: len(l.tail.entries), Seq: l.results} }

// Start returns the cursor at the start of the page that a log was opened on.
func (p *Page) Start() Cursor { return Cursor{page: p} }

// Cursor is a reader's place in a log. The zero Cursor has nothing to read.
type Cursor struct {
	page *Page
	at   int
	Seq  int // how many results are before it; kept by the reader
}

// Take returns up to n entries from the cursor on, all on one page, and the Values of the page.
// The cursor steps over them. It leaves Seq to the reader.
func (c *Cursor) Take(n int) (entries []Entry, values any) {
	if c.page == nil {
		return nil, nil
	}
	if c.at == len(c.page.entries) && c.page.next != nil {
		c.page, c.at = c.page.next, 0
	}
	entries = c.page.entries[c.at:]
	entries = entries[:min(n, len(entries))]
	c.at += len(entries)
	return entries, c.page.Values
}

// More reports whether Take would return something.
func (c Cursor) More() bool {
	entries, _ := c.Take(1)
	return len(entries) > 0
}
