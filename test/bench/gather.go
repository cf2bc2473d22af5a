package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// gathering is a side without a listener: the caller gets all values at the end of a call.
func gathering(s setup, name string, gather func() ([]int, error), end func()) *side {
	calls, sum := 0, 0
	call := func() error {
		calls++
		values, err := gather()
		for _, v := range values {
			sum += v
		}
		return err
	}
	verify := func() error {
		if want := calls * s.sum(); sum != want {
			return fmt.Errorf("the values add up to %d, not %d", sum, want)
		}
		return nil
	}
	return &side{Side: measure.Side{Name: name, Call: call}, verify: verify, close: end}
}

// gatherByHand is the loop that most programs contain: each producer writes its value to a place of its own.
func gatherByHand(n int) (*side, error) {
	s := setup{work: quick, producers: n}
	producers := make([]producer, n)
	for i := range producers {
		producers[i] = s.work(i)
	}
	return gathering(s, "hand", func() ([]int, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		g, group := errgroup.WithContext(ctx)
		values := make([]int, n)
		for i, p := range producers {
			g.Go(func() (err error) {
				values[i], err = p(group, request)
				return err
			})
		}
		err := g.Wait()
		return values, err
	}, func() {}), nil
}

func gatherByDispatch(n int) (*side, error) {
	s, d := setup{work: quick, producers: n}, dispatch.New[int, int]()
	for i := range n {
		if err := addProducer(d, s, i); err != nil {
			return nil, err
		}
	}
	return gathering(s, "dispatch", func() ([]int, error) {
		return d.Gather(context.Background(), topic, request)
	}, func() { _ = d.Close() }), nil
}
