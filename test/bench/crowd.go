package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/seed-bb4b4d74/dispatch"
)

// kind is a kind of registration. All of a kind share one closure, for closures
// are not the library's to pay for.
type kind struct {
	name string
	add  func(*dispatcher, topic) error
}

var (
	producers = kind{"producer", addProducer}
	listeners = kind{"listener", addListener}
	kinds     = []kind{producers, listeners}

	produce = quick.producer(0)
)

func addProducer(d *dispatcher, on topic) error {
	_, err := d.AddProducer(on, produce)
	return err
}

func addListener(d *dispatcher, on topic) error {
	_, err := d.AddListener(on, func(context.Context, dispatch.Result[int, int]) {})
	return err
}

// newRow returns a dispatcher with very many registrations on one topic.
func newRow(k kind, n int) (*dispatcher, error) {
	d, on := dispatch.New[int, int](), dispatch.NewTopic[int, int]("benchmark")
	for range n {
		if err := k.add(d, on); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// crowd is a dispatcher with very many topics, and a producer on each of them.
type crowd struct {
	*dispatcher
	topics []topic
}

func newCrowd(n int) (*crowd, error) {
	c := &crowd{dispatch.New[int, int](), make([]topic, n)}
	for i := range c.topics {
		t, err := dispatch.ParseTopic[int, int]("benchmark." + strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		if err := producers.add(c.dispatcher, t); err != nil {
			return nil, err
		}
		c.topics[i] = t
	}
	return c, nil
}

func (c *crowd) String() string { return fmt.Sprintf("topics=%d/producers=1", len(c.topics)) }

// toOne returns a side that sends to always the same topic.
func (c *crowd) toOne() (side, error) { return &wanderer{crowd: c, at: len(c.topics) / 2}, nil }

// toEach returns a side that sends to one topic after the other, up and down the
// memory: when a topic's turn comes, no processor has it in its cache.
func (c *crowd) toEach() (side, error) {
	const prime = 611_953 // leads to every topic unless it divides their number
	return &wanderer{crowd: c, stride: prime}, nil
}

// wanderer is a side that borrows a crowd.
type wanderer struct {
	*crowd
	at, stride int
}

func (w *wanderer) call() error {
	c, err := w.Send(context.Background(), w.topics[w.at], request)
	if err != nil {
		return err
	}
	<-c.Done()
	w.at = (w.at + w.stride) % len(w.topics)
	return nil
}

func (w *wanderer) verify() error { return nil }
func (w *wanderer) close()        {}
