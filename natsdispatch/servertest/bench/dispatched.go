package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

type dispatcher = dispatch.Dispatcher[int, int]

var topic = dispatch.NewTopic[int, int]("bench", dispatch.WithTimeout(10*time.Second))

// dispatched is the side of a comparison that uses natsdispatch.
type dispatched struct {
	floor  *dispatcher
	nc     *nats.Conn
	remote *natsdispatch.Remote
	cells  cells
	n      int
}

func newDispatched(s *servers) (side, error) { return newDispatchedOn(s, nodes) }

func newDispatchedOn(s *servers, n int) (*dispatched, error) {
	cells, err := serve(s, n)
	if err != nil {
		return nil, err
	}
	nc, err := s.connect()
	if err != nil {
		return nil, err
	}
	return join(nc, cells)
}

// cells are the nodes that serve the topic.
type cells []*natsdispatch.Node

// serve starts n nodes, each with its own bus and connection.
func serve(s *servers, n int) (cells, error) {
	all := make(cells, n)
	for i := range all {
		cell := dispatch.New[int, int]()
		for j := range producers {
			if _, err := cell.AddProducer(topic, func(_ context.Context, req int) (int, error) {
				return produce(j, req), nil
			}, dispatch.WithName(fmt.Sprint("p", j))); err != nil {
				return nil, err
			}
		}
		nc, err := s.connect()
		if err != nil {
			return nil, err
		}
		if all[i], err = natsdispatch.Serve(nc, cell, topic, natsdispatch.WithNode(fmt.Sprint("n", i)), quiet); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (all cells) names() []string {
	names := make([]string, len(all))
	for i, node := range all {
		names[i] = node.Name()
	}
	return names
}

// join returns a bus that asks the cells, when the bus knows all of them.
func join(nc *nats.Conn, cells cells) (*dispatched, error) {
	d := &dispatched{floor: dispatch.New[int, int](), nc: nc, cells: cells, n: len(cells)}
	var err error
	if d.remote, err = natsdispatch.Join(nc, d.floor, topic, natsdispatch.WithAcceptWindow(patience), quiet); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errors.New("presence does not settle"))
	defer cancel()
	return d, d.remote.Await(ctx, cells.names()...)
}

func (d *dispatched) call() error {
	values, err := d.floor.Gather(context.Background(), topic, request)
	if err != nil {
		return err
	}
	sum := 0
	for _, v := range values {
		sum += v
	}
	if sum != total(d.n) {
		return fmt.Errorf("the values add up to %d, not %d", sum, total(d.n))
	}
	return nil
}
