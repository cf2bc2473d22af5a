package main

import (
	"fmt"

	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// side is one side of a comparison, ready to be called.
type side struct {
	measure.Side
	verify func() error // returns an error unless all calls so far did what they should
	close  func()
}

// setup describes a side, with or without the library: its producers and its one listener.
type setup struct {
	work      work
	producers int
	quorum    int // how many answers are enough; 0: all
	replicas  int // the number of replicas of each producer, which are hedged; 0: the producer is not in a group
}

// results returns how many results the listener gets from a call.
func (s setup) results() int {
	if s.quorum > 0 {
		return s.quorum
	}
	return s.producers
}

// sum returns the sum of the results of a call that all producers answer.
func (s setup) sum() int { return s.producers*request + s.producers*(s.producers-1)/2 }

// receiver has the state of the listener, on all sides: it adds up the results, and sends a
// token when it has those of a call.
type receiver struct {
	setup setup
	full  chan struct{} // has a token when the results of a call are there
	calls int           // so far

	// The listener owns the fields below while a call goes on.
	missing int // results of this call that are not there yet
	total   int // results so far
	sum     int // of their values
}

func newReceiver(s setup) *receiver {
	return &receiver{setup: s, full: make(chan struct{}, 1), missing: s.results()}
}

func (r *receiver) receive(value int) {
	r.total++
	r.sum += value
	if r.missing--; r.missing == 0 {
		r.missing = r.setup.results()
		r.full <- struct{}{}
	}
}

// wait waits until the receiver has the results of one more call.
func (r *receiver) wait() {
	r.calls++
	<-r.full
}

func (r *receiver) verify() error {
	if want := r.calls * r.setup.results(); r.total != want {
		return fmt.Errorf("the listener got %d results, not %d", r.total, want)
	}
	if want := r.calls * r.setup.sum(); r.setup.quorum == 0 && r.sum != want {
		return fmt.Errorf("the results add up to %d, not %d", r.sum, want)
	}
	return nil
}
