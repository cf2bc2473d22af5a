package main

import (
	"context"
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// newObserved returns a side with an observer that counts and keeps latencies, as metrics
// do: by the reports of calls, or by each event.
func newObserved(each bool) func(producers int) (*side, error) {
	return func(producers int) (*side, error) { return observed(each, producers) }
}

func observed(each bool, producers int) (*side, error) {
	w := &watcher{producers: make([]latencies, producers)}
	hooks := dispatch.Observer{CallEnd: w.callEnd, ReuseReports: true}
	if each {
		w.producers = nil
		hooks.MemberEnd = func(_ context.Context, _ dispatch.MemberInfo, o dispatch.Outcome) { w.members.add(o.Elapsed) }
		hooks.Result = func(context.Context, dispatch.MemberInfo, dispatch.ResultInfo) { w.results++ }
	}
	d := dispatch.New[int, int](dispatch.WithObserver(hooks))
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
		for _, p := range w.producers {
			w.members.count += p.count
		}
		if want := r.calls * producers; w.results != want || w.members.count != want {
			return fmt.Errorf("the observer saw %d members and %d results, not %d", w.members.count, w.results, want)
		}
		return r.verify()
	}
	return s, nil
}

// mostBehind is how many calls the observer may be behind: if it dropped events, it would do
// less work than it should.
const mostBehind = 1000

// watcher has the fields that the hooks of the observer write. The hooks run one at a time.
type watcher struct {
	ended   atomic.Int64
	calls   latencies
	members latencies
	results int

	producers []latencies // by index, if they are told by reports
}

func (w *watcher) callEnd(_ context.Context, r dispatch.Report) {
	w.calls.add(r.Elapsed)
	for i := range w.producers {
		o := &r.Outcomes[i]
		w.producers[i].add(o.Elapsed - o.Began)
		w.results += o.Results
	}
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
