package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// hand is the loop that a program without a library contains, in the fastest of its usual
// forms: the listener has a channel with room for a whole call, so that producers need not
// select; only the values are sent; the caller does not learn which producers did not answer;
// and a producer that ignores its context delays the end of the call.
type hand struct {
	producers []producer
	listeners []chan int // one for each
}

func newHand(s setup) (*side, error) {
	r := newReceiver(s)
	h := &hand{listeners: []chan int{make(chan int, s.producers)}}
	for i := range s.producers {
		h.producers = append(h.producers, s.work(i))
	}
	for _, ch := range h.listeners {
		go func() {
			for value := range ch {
				r.receive(value)
			}
		}()
	}
	call := func() error {
		if err := h.ask(context.Background(), request); err != nil {
			return err
		}
		r.wait()
		return nil
	}
	return &side{Side: measure.Side{Name: "hand", Call: call}, verify: r.verify, close: h.close}, nil
}

// ask is that loop.
func (h *hand) ask(ctx context.Context, req int) error {
	timeout, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// group is a new variable, not ctx, so that the closures can have a copy of it.
	g, group := errgroup.WithContext(timeout)
	for _, p := range h.producers {
		g.Go(func() error {
			value, err := p(group, req)
			if err != nil {
				return err
			}
			for _, ch := range h.listeners {
				ch <- value
			}
			return nil
		})
	}
	return g.Wait()
}

func (h *hand) close() {
	for _, ch := range h.listeners {
		close(ch)
	}
}
