package calllog_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
)

// model is a log as a slice, with what the results are.
type model struct {
	entries []calllog.Entry
	results []int // of the entries that are results, in order; the answers too
}

// newLog returns an open log and the cursor at its start.
func newLog(expected int) (*calllog.Log, *calllog.Page) {
	l, first := new(calllog.Log), new(calllog.Page)
	l.Open(first)
	l.Use(make([]calllog.Entry, expected))
	return l, first
}

// write appends an entry to both. The value of a result that is on a page says which
// result it is.
func (m *model) write(l *calllog.Log, e calllog.Entry) {
	if e.Kind&calllog.Result != 0 {
		if e.Value != calllog.Answer {
			page, at := l.Room()
			if page.Values == nil {
				page.Values = make([]int, page.Cap())
			}
			page.Values.([]int)[at] = len(m.results)
			e.Value = at
		}
		m.results = append(m.results, len(m.results))
	}
	l.Append(e)
	m.entries = append(m.entries, e)
}

// reader is a cursor and what it has read.
type reader struct {
	at    calllog.Cursor
	began int // where in the model
	read  int
	seq   int // results before it
}

// take takes up to n entries and compares them with the model.
func (r *reader) take(t *testing.T, m *model, n int) {
	t.Helper()
	more := r.at.More()
	entries, values := r.at.Take(n)
	if more != (len(entries) > 0) || more != (r.began+r.read < len(m.entries)) {
		t.Fatalf("More = %t, %d entries taken at %d of %d", more, len(entries), r.began+r.read, len(m.entries))
	}
	if len(entries) > n {
		t.Fatalf("%d entries taken, not more than %d were asked for", len(entries), n)
	}
	for _, e := range entries {
		want := m.entries[r.began+r.read]
		if e != want {
			t.Fatalf("entry %d is %+v, want %+v", r.began+r.read, e, want)
		}
		r.read++
		if e.Kind&calllog.Result == 0 {
			continue
		}
		if e.Value != calllog.Answer {
			if got := values.([]int)[e.Value]; got != m.results[r.seq] {
				t.Fatalf("result %d is %d", r.seq, got)
			}
		}
		r.seq++
	}
}

// Readers that begin at any entry, and take any number of entries at a time, read the same
// entries as from a slice.
func TestLogIsAListThatManyRead(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			l, first := newLog([]int{0, 1, 2, 3, 100, 5000}[random.IntN(6)])
			m := new(model)
			readers := []*reader{{at: first.Start()}}
			for range 3000 {
				switch k := random.IntN(20); {
				case k < 12:
					e := calllog.Entry{At: time.Duration(len(m.entries)), Member: random.Int32N(100), Value: int16(random.IntN(9))}
					e.Kind = []calllog.Kind{calllog.Result, calllog.Result | calllog.End, calllog.End, calllog.Replica}[random.IntN(4)]
					if e.Kind == calllog.Result|calllog.End && random.IntN(2) == 0 {
						e.Value = calllog.Answer
					}
					m.write(l, e)
				case k == 12 && len(readers) < 12:
					end := l.End()
					if end.Seq != len(m.results) || end.More() {
						t.Fatalf("the end is behind %d results, More = %t", end.Seq, end.More())
					}
					readers = append(readers, &reader{at: end, began: len(m.entries), seq: end.Seq})
				case k == 13 && len(readers) < 12:
					readers = append(readers, &reader{at: first.Start()})
				default:
					readers[random.IntN(len(readers))].take(t, m, 1+random.IntN(40))
				}
				if l.Written() != len(m.entries) || l.Results() != len(m.results) {
					t.Fatalf("%d entries written, %d results, want %d and %d", l.Written(), l.Results(), len(m.entries), len(m.results))
				}
			}
			for i, r := range readers {
				for r.at.More() {
					r.take(t, m, 1000)
				}
				if r.began+r.read != len(m.entries) {
					t.Errorf("reader %d has read up to %d of %d", i, r.began+r.read, len(m.entries))
				}
			}
		})
	}
}

// Entries that were taken do not change when more entries are written.
func TestTakenEntriesDoNotChange(t *testing.T) {
	l, first := newLog(0)
	m := new(model)
	var taken [][]calllog.Entry
	var pages []any
	at := first.Start()
	for i := range 5000 {
		m.write(l, calllog.Entry{Member: int32(i), Kind: calllog.Result})
		if i%3 == 0 {
			entries, values := at.Take(2)
			taken, pages = append(taken, entries), append(pages, values)
		}
	}
	next := 0
	for i, entries := range taken {
		for _, e := range entries {
			if int(e.Member) != next || pages[i].([]int)[e.Value] != next {
				t.Fatalf("entry %d has become %+v", next, e)
			}
			next++
		}
	}
}

// A log that is as long as was expected is on one page, made at once.
func TestExpectedLogIsOnOnePage(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 1000, 1024} {
		l, first := newLog(n)
		m := new(model)
		for i := range n {
			if page, _ := l.Room(); page != first {
				t.Fatalf("entry %d of %d is on another page", i, n)
			}
			m.write(l, calllog.Entry{Kind: calllog.Result})
		}
		if first.Cap() < n {
			t.Errorf("the page has room for %d of %d", first.Cap(), n)
		}
		before := first.Cap()
		l.Use(make([]calllog.Entry, 5000)) // too late
		if first.Cap() != before {
			t.Errorf("Expect has changed a page that was written on: %d of %d", first.Cap(), n)
		}
	}
}

// The size of a page is bounded, so pages that all readers have passed can be collected as
// garbage.
func TestPagesThatWerePassedAreGarbage(t *testing.T) {
	const n = 20_000
	l, first := newLog(n)
	at := first.Start()
	first = nil
	m := new(model)
	pages := make(map[weak.Pointer[calllog.Page]]bool)
	for i := range n {
		page, _ := l.Room()
		pages[weak.Make(page)] = true
		m.write(l, calllog.Entry{Member: int32(i), Kind: calllog.Result})
	}
	if len(pages) < n/1024 {
		t.Errorf("%d entries are on %d pages", n, len(pages))
	}
	// Entries that a reader has taken and still uses keep no page in memory either.
	taken, _ := at.Take(1)
	for at.More() {
		at.Take(1000)
	}
	runtime.GC()
	kept := 0
	for p := range pages {
		if p.Value() != nil {
			kept++
		}
	}
	if kept > 1 {
		t.Errorf("%d pages of %d are still reachable, want the last", kept, len(pages))
	}
	runtime.KeepAlive(taken)
	runtime.KeepAlive(l)
	runtime.KeepAlive(&at)
}

func TestZeroCursorHasNothingToRead(t *testing.T) {
	var c calllog.Cursor
	if entries, values := c.Take(10); entries != nil || values != nil || c.More() {
		t.Errorf("it has %v", entries)
	}
}
