package main

import (
	"context"
	"strconv"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

type (
	dispatcher = dispatch.Dispatcher[int, int]
	topic      = dispatch.Topic[int, int]
)

// neverDue is a hedge delay that quick producers never reach, and that is short
// enough for the default timeout to leave room for a hedge.
const neverDue = time.Second

// dispatched is the side of the library, on one topic.
type dispatched struct {
	*dispatcher
	topic     topic
	options   []dispatch.CallOption
	setup     setup
	receivers receivers
	calls     int
}

// newDispatched returns a side on a bus of its own.
func newDispatched(s setup) (side, error) {
	return newDispatchedOn(dispatch.New[int, int](), dispatch.NewTopic[int, int]("benchmark"), s)
}

// newDispatchedOn returns a side on a topic of which it makes the participants.
func newDispatchedOn(d *dispatcher, t topic, s setup) (*dispatched, error) {
	side := &dispatched{dispatcher: d, topic: t, setup: s, receivers: newReceivers(s)}
	if s.quorum > 0 {
		side.options = append(side.options, dispatch.WithQuorum(s.quorum))
	}
	if s.replicas > 0 {
		side.options = append(side.options, dispatch.WithHedge(neverDue))
	}
	for i := range s.producers {
		if err := side.addProducer(i); err != nil {
			return nil, err
		}
	}
	for _, r := range side.receivers {
		listen := func(_ context.Context, result dispatch.Result[int, int]) { r.receive(result.Value) }
		if _, err := d.AddListener(t, listen); err != nil {
			return nil, err
		}
	}
	return side, nil
}

// addProducer adds a producer, or as many replicas as stand for it.
func (d *dispatched) addProducer(i int) error {
	if d.setup.replicas == 0 {
		_, err := d.AddProducer(d.topic, d.setup.work.producer(i))
		return err
	}
	for range d.setup.replicas {
		if _, err := d.AddProducer(d.topic, d.setup.work.producer(i), dispatch.WithGroup(strconv.Itoa(i))); err != nil {
			return err
		}
	}
	return nil
}

func (d *dispatched) call() error {
	_, err := d.send()
	return err
}

func (d *dispatched) send() (*dispatch.Call[int, int], error) {
	d.calls++
	c, err := d.Send(context.Background(), d.topic, request, d.options...)
	if err != nil {
		return nil, err
	}
	<-c.Done()
	d.receivers.wait()
	return c, nil
}

func (d *dispatched) verify() error { return d.receivers.verify(d.setup, d.calls) }

func (d *dispatched) close() { _ = d.Close() }
