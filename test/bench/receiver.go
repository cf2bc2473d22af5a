package main

import "fmt"

// receiver is what stands behind a listener, on all sides: it adds up the
// results, and says when it has those of a call.
type receiver struct {
	perCall int           // how many results a call has
	full    chan struct{} // has a token when the results of a call are there

	// The fields below belong to the listener while a call goes on.
	missing int // results of this call that are not there yet
	total   int // results so far
	sum     int // of their values
}

func (r *receiver) receive(value int) {
	r.total++
	r.sum += value
	if r.missing--; r.missing == 0 {
		r.missing = r.perCall
		r.full <- struct{}{}
	}
}

type receivers []*receiver

func newReceivers(s setup) receivers {
	rs := make(receivers, s.listeners)
	for i := range rs {
		n := s.results()
		rs[i] = &receiver{perCall: n, missing: n, full: make(chan struct{}, 1)}
	}
	return rs
}

// wait waits until every receiver has the results of one more call.
func (rs receivers) wait() {
	for _, r := range rs {
		<-r.full
	}
}

// verify returns an error unless the receivers got what they should have got
// from so many calls.
func (rs receivers) verify(s setup, calls int) error {
	for i, r := range rs {
		if want := calls * s.results(); r.total != want {
			return fmt.Errorf("%v: listener %d got %d results, not %d", s, i, r.total, want)
		}
		if want := calls * s.sum(); s.quorum == 0 && r.sum != want {
			return fmt.Errorf("%v: the results of listener %d add up to %d, not %d", s, i, r.sum, want)
		}
	}
	return nil
}
