package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// hand is the loop that one would write without a library, and in the fastest of
// its usual forms: each listener has a channel with room for a whole call, so
// that producers need not select; only the values are sent; nobody learns who
// did not answer; and a producer that is deaf to its context holds up the call.
type hand struct {
	setup     setup
	producers []producer
	channels  []chan int // one for each listener
	receivers receivers
	calls     int
}

func newHand(s setup) (side, error) {
	h := &hand{setup: s, receivers: newReceivers(s)}
	for i := range s.producers {
		h.producers = append(h.producers, s.work.producer(i))
	}
	for _, r := range h.receivers {
		ch := make(chan int, s.producers)
		h.channels = append(h.channels, ch)
		go func() {
			for value := range ch {
				r.receive(value)
			}
		}()
	}
	return h, nil
}

func (h *hand) call() error {
	h.calls++
	if err := h.ask(context.Background(), request); err != nil {
		return err
	}
	h.receivers.wait()
	return nil
}

// ask is that loop.
func (h *hand) ask(ctx context.Context, req int) error {
	timeout, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// The variable is a new one so that the closures can have a copy of it.
	g, group := errgroup.WithContext(timeout)
	for _, p := range h.producers {
		g.Go(func() error {
			value, err := p(group, req)
			if err != nil {
				return err
			}
			for _, ch := range h.channels {
				ch <- value
			}
			return nil
		})
	}
	return g.Wait()
}

func (h *hand) verify() error { return h.receivers.verify(h.setup, h.calls) }

func (h *hand) close() {
	for _, ch := range h.channels {
		close(ch)
	}
}
