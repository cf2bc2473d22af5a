package main

import (
	"context"
	"strconv"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

type (
	dispatcher = dispatch.Dispatcher[int, int]
	result     = dispatch.Result[int, int]
)

var topic = dispatch.NewTopic[int, int]("bench")

// neverDue is a hedge delay that quick producers never reach, and that is short
// enough for the default timeout to leave room for a hedge.
const neverDue = time.Second

// newDispatched returns the side of the library, on a bus of its own.
func newDispatched(s setup, opts ...dispatch.BusOption) (*side, error) {
	side, _, err := newDispatchedOn(dispatch.New[int, int](opts...), s)
	return side, err
}

// newDispatchedOn also returns the receiver, for sides that do more.
func newDispatchedOn(d *dispatcher, s setup) (*side, *receiver, error) {
	for i := range s.producers {
		if err := addProducer(d, s, i); err != nil {
			return nil, nil, err
		}
	}
	r := newReceiver(s)
	listen := func(_ context.Context, result result) { r.receive(result.Value) }
	if _, err := d.AddListener(topic, listen); err != nil {
		return nil, nil, err
	}
	var options []dispatch.CallOption
	if s.quorum > 0 {
		options = append(options, dispatch.WithQuorum(s.quorum))
	}
	if s.replicas > 0 {
		options = append(options, dispatch.WithHedge(neverDue))
	}
	call := func() error {
		c, err := d.Send(context.Background(), topic, request, options...)
		if err != nil {
			return err
		}
		<-c.Done()
		r.wait()
		return nil
	}
	return &side{
		Side:   measure.Side{Name: "dispatch", Call: call},
		verify: r.verify, close: func() { _ = d.Close() },
	}, r, nil
}

// addProducer adds a producer, or the number of replicas that the setup wants instead.
func addProducer(d *dispatcher, s setup, i int) error {
	if s.replicas == 0 {
		_, err := d.AddProducer(topic, s.work(i))
		return err
	}
	for range s.replicas {
		if _, err := d.AddProducer(topic, s.work(i), dispatch.WithGroup(strconv.Itoa(i))); err != nil {
			return err
		}
	}
	return nil
}
