package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// listeners has very many listeners on one topic, all of which get all results.
func (s *scale) listeners() error {
	n, members := s.times(1000), s.times(1000)
	prime(n)
	before := takenUp()
	d := dispatch.New[int, int](dispatch.WithTimeout(time.Hour))
	for range members {
		if _, err := d.AddProducer(on, echo); err != nil {
			return err
		}
	}
	there := takenUp()
	var heard atomic.Int64
	begin := time.Now()
	for range n {
		if _, err := d.AddListener(on, func(context.Context, result) { heard.Add(1) }); err != nil {
			return err
		}
	}
	adding := time.Since(begin)
	during := takenUp()
	calling, hearing, err := callAll(d, &heard, n*members)
	if err != nil {
		return err
	}
	resting := settled(during)
	if err := d.Close(); err != nil {
		return err
	}
	d = nil
	after := settled(before)

	t := newTable()
	t.row("listeners, producers", "%d, %d", n, members)
	t.row("time to add a listener", "%.0f ns", each(adding, n))
	t.row("bytes of a listener", "%d B", (during.heap-there.heap)/int64(n))
	t.row("one call, from Send to Done", "%v", calling.Round(time.Microsecond))
	t.row("… until every listener has every result", "%v", hearing.Round(time.Microsecond))
	t.row("… for each result and listener", "%.1f ns", each(hearing, n*members))
	t.back(before, resting, after)
	t.Print(s.out)
	return nil
}
