package main

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// sequence makes very many calls one after another, each with a few producers, a
// listener and a caller who waits for the end.
func (s *scale) sequence() error {
	const members = 3
	n := s.times(1_000_000)
	d := dispatch.New[int, int]()
	var heard atomic.Int64
	if _, err := d.AddListener(on, func(context.Context, result) { heard.Add(1) }); err != nil {
		return err
	}
	for range members {
		if _, err := d.AddProducer(on, echo); err != nil {
			return err
		}
	}
	if err := callOften(d, n/100); err != nil { // allocates all memory that the program keeps
		return err
	}
	await(&heard, members*(n/100))

	before := settled(usage{goroutines: runtime.NumGoroutine()})
	heard.Store(0)
	mallocs, begin := countMallocs(), time.Now()
	if err := callOften(d, n); err != nil {
		return err
	}
	calling := time.Since(begin)
	during := usage{heapNow(), 0, runtime.NumGoroutine()}
	await(&heard, members*n)
	mallocs = countMallocs() - mallocs
	after := settled(before)

	t := newTable()
	t.row("calls", "%d", n)
	t.row("producers, listeners", "%d, 1", members)
	t.row("time of one", "%.0f ns", each(calling, n))
	t.row("allocations of one", "%.1f", float64(mallocs)/float64(n))
	t.back(before, during, after)
	t.Print(s.out)
	return d.Shutdown(context.Background())
}

func callOften(d *dispatcher, n int) error {
	for i := range n {
		c, err := d.Send(context.Background(), on, i)
		if err != nil {
			return err
		}
		<-c.Done()
	}
	return nil
}

func countMallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

// heapNow returns the bytes of the heap, garbage included.
func heapNow() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
