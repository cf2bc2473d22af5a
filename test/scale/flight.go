package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// flight has very many calls in flight at the same time, each of a producer that blocks until
// all calls are in flight. The program keeps no reference to the calls.
func (s *scale) flight() error {
	n := s.times(100_000)
	prime(2 * n) // a call may have a spare worker
	d := dispatch.New[int, int](dispatch.WithTimeout(time.Hour))
	release := make(chan struct{})
	var asked, answered atomic.Int64
	_, err := d.AddProducer(on, func(context.Context, int) (int, error) {
		asked.Add(1)
		<-release
		answered.Add(1)
		return 0, nil
	})
	if err != nil {
		return err
	}

	before, begin := takenUp(), time.Now()
	for i := range n {
		if _, err := d.Send(context.Background(), on, i); err != nil {
			return err
		}
	}
	sent := time.Since(begin)
	await(&asked, n)
	during := takenUp()
	begin = time.Now()
	close(release)
	await(&answered, n)
	ended := time.Since(begin)
	after := settled(before)

	t := newTable()
	t.row("calls in flight", "%d", n)
	t.row("time to send one", "%.0f ns", each(sent, n))
	t.row("time to end one", "%.0f ns", each(ended, n))
	t.row("heap per call", "%d B", (during.heap-before.heap)/int64(n))
	t.row("stacks per call", "%d B", (during.stacks-before.stacks)/int64(n))
	t.row("goroutines per call", "%.3f", float64(during.goroutines-before.goroutines)/float64(n))
	t.back(before, during, after)
	t.Print(s.out)
	return d.Close()
}

// await waits until the counter has reached n. The watchdog ends the program if this takes too
// long.
func await(counter *atomic.Int64, n int) {
	for counter.Load() < int64(n) {
		time.Sleep(100 * time.Microsecond)
	}
}
