package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/books"
)

// pass adds producers and listeners and removes them again, until the bus is closed. It runs on
// several goroutines; the number tells them apart.
func (e *epoch) pass(number int) {
	for {
		var left atomic.Bool
		check := func(what string) {
			if left.Load() {
				e.auditor.report(fmt.Errorf("a passing %s was called after Drain", what))
			}
		}
		r, err := e.addPassing(number, check)
		if errors.Is(err, dispatch.ErrClosed) {
			return
		}
		if err != nil {
			e.auditor.report(err)
			return
		}
		time.Sleep(upTo(30 * time.Millisecond))
		e.leave(r, &left)
	}
}

func (e *epoch) addPassing(number int, check func(string)) (*dispatch.Registration, error) {
	name := dispatch.WithName(fmt.Sprint("passing-", number))
	if rand.IntN(2) == 0 {
		return e.d.AddListener(asked, func(context.Context, books.Result) { check("listener") },
			name, dispatch.OnDone(func(dispatch.Report) { check("listener's OnDone") }))
	}
	produce := e.producer(flaky)
	return e.d.AddProducer(asked, func(ctx context.Context, req int) (int, error) {
		check("producer")
		return produce(ctx, req)
	}, name)
}

func (e *epoch) leave(r *dispatch.Registration, left *atomic.Bool) {
	if rand.IntN(2) == 0 {
		r.Remove()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), upTo(100*time.Millisecond))
	defer cancel()
	if r.Drain(ctx) == nil {
		left.Store(true)
	}
}
