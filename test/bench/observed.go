package main

import (
	"context"
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// newObserved returns a side with an observer that only follows what happens, as
// metrics do.
func newObserved(producers int) (*side, error) {
	w := &watcher{}
	d := dispatch.New[int, int](dispatch.WithObserver(dispatch.Observer{
		CallEnd:   w.callEnd,
		MemberEnd: func(_ context.Context, _ dispatch.MemberInfo, o dispatch.Outcome) { w.members.add(o.Elapsed) },
		Result:    func(context.Context, dispatch.MemberInfo, dispatch.ResultInfo) { w.results++ },
	}))
	s, r, err := newDispatchedOn(d, setup{work: quick, producers: producers})
	if err != nil {
		return nil, err
	}
	call := s.Call
	s.Call = func() error {
		err := call()
		if r.calls%mostBehind == 0 {
			w.await(r.calls)
		}
		return err
	}
	s.After = func() { w.await(r.calls) }
	s.verify = func() error {
		w.await(r.calls)
		if want := r.calls * producers; w.results != want || w.members.count != want {
			return fmt.Errorf("the observer saw %d members and %d results, not %d", w.members.count, w.results, want)
		}
		return r.verify()
	}
	return s, nil
}

// mostBehind is how many calls the observer may be behind: it must not drop
// events, for then it would do less work than it has to.
const mostBehind = 1000

// watcher is what the hooks of the observer fill. They run one at a time.
type watcher struct {
	ended   atomic.Int64
	calls   latencies
	members latencies
	results int
}

func (w *watcher) callEnd(_ context.Context, r dispatch.Report) {
	w.calls.add(r.Elapsed)
	w.ended.Add(1)
}

// await waits until the observer has seen the ends of so many calls.
func (w *watcher) await(calls int) {
	for w.ended.Load() < int64(calls) {
		time.Sleep(20 * time.Microsecond)
	}
}

// latencies is a histogram of durations, by powers of two.
type latencies struct {
	count   int
	buckets [64]int
}

func (l *latencies) add(d time.Duration) {
	l.count++
	l.buckets[bits.Len64(uint64(d))]++
}
