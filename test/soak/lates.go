package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/seed-bb4b4d74/dispatch/test/books"
)

// lates checks the late results: each is late once, and is not a result of its call.
type lates struct {
	report func(error)

	mu   sync.Mutex
	seen map[int]bool
}

// hear is the OnLate hook.
func (l *lates) hear(r books.Result, by time.Duration) {
	if r.Seq != -1 || !books.Answers(r.Value, r.Call.Request()) {
		l.report(fmt.Errorf("late by %v: %v of %v, Seq %d", by, r.Value, r.From, r.Seq))
	}
	for in := range r.Call.Results() {
		if in.Value == r.Value {
			l.report(fmt.Errorf("%v of %v is a result and late", r.Value, r.From))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen[r.Value] {
		l.report(fmt.Errorf("%v of %v is late twice", r.Value, r.From))
	}
	l.seen[r.Value] = true
}

func (l *lates) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.seen)
}
