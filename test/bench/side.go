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

// setup is what a side consists of, whoever runs it: producers and one listener.
type setup struct {
	work      work
	producers int
	quorum    int // how many answers are enough; 0: all
	replicas  int // how many stand behind each of the producers, and are hedged; 0: it is on its own
}

// results returns how many results the listener gets from a call.
func (s setup) results() int {
	if s.quorum > 0 {
		return s.quorum
	}
	return s.producers
}

// sum returns what the results of a call of everybody add up to.
func (s setup) sum() int { return s.producers*request + s.producers*(s.producers-1)/2 }

// receiver is what stands behind the listener, on all sides: it adds up the
// results, and tells when it has those of a call.
type receiver struct {
	setup setup
	full  chan struct{} // has a token when the results of a call are there
	calls int           // so far

	// The fields below belong to the listener while a call goes on.
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
