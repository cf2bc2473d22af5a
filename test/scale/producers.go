package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// producers adds very many producers to one topic, calls them all at the same time, and removes
// them.
func (s *scale) producers() error {
	n := s.times(100_000)
	d := dispatch.New[int, int](dispatch.WithTimeout(time.Hour))
	var heard atomic.Int64
	if _, err := d.AddListener(on, func(context.Context, result) { heard.Add(1) }); err != nil {
		return err
	}

	before, begin := takenUp(), time.Now()
	added := make([]*dispatch.Registration, n)
	for i := range added {
		r, err := d.AddProducer(on, echo)
		if err != nil {
			return err
		}
		added[i] = r
	}
	adding, there := time.Since(begin), takenUp()
	calling, hearing, err := callAll(d, &heard, n)
	if err != nil {
		return err
	}
	during := settled(there)
	begin = time.Now()
	removed := min(n, 100) // to remove all one by one takes too long
	for _, r := range added[n-removed:] {
		r.Remove()
	}
	removing := time.Since(begin)
	if err := d.Close(); err != nil {
		return err
	}
	d, added = nil, nil
	after := settled(before)

	t := newTable()
	t.row("producers", "%d", n)
	t.row("time to add one", "%.0f ns", each(adding, n))
	t.row("bytes of one", "%d B", (there.heap-before.heap)/int64(n))
	t.row("one call of all, from Send to Done", "%v", calling.Round(time.Microsecond))
	t.row("… for each result", "%.0f ns", each(calling, n))
	t.row("… until the listener has it, too", "%.0f ns", each(hearing, n))
	t.row("time to remove one", "%.0f ns", each(removing, removed))
	t.back(before, during, after)
	t.Print(s.out)
	return nil
}

func echo(_ context.Context, req int) (int, error) { return req, nil }

// callAll returns how long the fastest of some calls took, until the call had ended and until
// the listener had n results.
func callAll(d *dispatcher, heard *atomic.Int64, n int) (calling, hearing time.Duration, err error) {
	for range 5 {
		heard.Store(0)
		begin := time.Now()
		c, err := d.Send(context.Background(), on, 1)
		if err != nil {
			return 0, 0, err
		}
		<-c.Done()
		ended := time.Since(begin)
		await(heard, n)
		if all := time.Since(begin); hearing == 0 || all < hearing {
			calling, hearing = ended, all
		}
	}
	return calling, hearing, nil
}
