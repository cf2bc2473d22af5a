package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// kind is the subject of a line of the timeline. Lines of the same time are printed in the
// order of their kinds.
type kind int

const (
	request kind = iota
	removal
	result
	end
	lateResult
)

// timeline prints events, with the time since the first line. Several goroutines add lines at
// the same moment. The timeline holds these lines until the moment is over, and sorts them, so
// that their order is always the same.
type timeline struct {
	mu    sync.Mutex // guards the fields below
	out   io.Writer
	start time.Time
	lines []line // of the present moment
}

type line struct {
	at   time.Duration // since the start
	kind kind
	text string
}

// moment is how long a line is held, and pause is the wait before a new section.
const (
	moment = 30 * time.Millisecond
	pause  = 100 * time.Millisecond
)

// section begins a new part of the timeline.
func (t *timeline) section(title string) {
	time.Sleep(pause)
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "\n%s\n", title)
}

// add puts a line on the timeline at the present time.
func (t *timeline) add(k kind, topic fmt.Stringer, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.start.IsZero() {
		t.start = time.Now()
	}
	if len(t.lines) == 0 {
		time.AfterFunc(moment, t.flush)
	}
	t.lines = append(t.lines, line{
		at:   time.Since(t.start).Round(10 * time.Millisecond),
		kind: k,
		text: fmt.Sprintf("%-9s ", topic) + fmt.Sprintf(format, args...),
	})
}

// flush prints the lines of the present moment.
func (t *timeline) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortFunc(t.lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.kind, b.kind), cmp.Compare(a.text, b.text))
	})
	for _, l := range t.lines {
		fmt.Fprintf(t.out, "  %.2f s  %s\n", l.at.Seconds(), l.text)
	}
	t.lines = nil
}
