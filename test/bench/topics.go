package main

import (
	"context"
	"fmt"
	"runtime"
	"strconv"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

const (
	// crowdBar bounds the memory of very many topics in MB: a million topics with a producer
	// each, including the names of the topics.
	crowdBar = 600

	// idleBar bounds the memory of a registration in bytes.
	idleBar = 400
)

// manyTopics measures the memory of idle topics and registrations.
func (b *bench) manyTopics() error {
	t := measure.NewTable("what", "n", "bytes each", "bar", "MB", "bar", "goroutines", "bar")
	produce := quick(0) // all share one closure: closures are not memory of the library
	listen := func(context.Context, result) {}
	topics := make([]dispatch.Topic[int, int], 0, b.topics)
	for _, c := range []struct {
		what      string
		n         int
		each, all float64 // the bars, in bytes and in MB
		add       func(d *dispatcher, i int) error
	}{
		{"producers on one topic", b.registrations, idleBar, measure.None, func(d *dispatcher, _ int) error {
			_, err := d.AddProducer(topic, produce)
			return err
		}},
		{"listeners on one topic", b.registrations, idleBar, measure.None, func(d *dispatcher, _ int) error {
			_, err := d.AddListener(topic, listen)
			return err
		}},
		{"topics with a producer each", b.topics, measure.None, crowdBar, func(d *dispatcher, i int) error {
			on, err := dispatch.ParseTopic[int, int]("bench." + strconv.Itoa(i))
			if err != nil {
				return err
			}
			topics = append(topics, on)
			_, err = d.AddProducer(on, produce)
			return err
		}},
	} {
		d := dispatch.New[int, int]()
		goroutines, before := runtime.NumGoroutine(), measure.Heap()
		for i := range c.n {
			if err := c.add(d, i); err != nil {
				return err
			}
		}
		bytes, more := measure.Heap()-before, runtime.NumGoroutine()-goroutines
		runtime.KeepAlive(d)
		each, all := float64(bytes)/float64(c.n), float64(bytes)/1e6
		t.Row(
			c.what, strconv.Itoa(c.n), fmt.Sprintf("%.0f", each), measure.AtMost(each, c.each),
			fmt.Sprintf("%.0f", all), measure.AtMost(all, c.all), strconv.Itoa(more), measure.AtMost(float64(more), 0),
		)
	}
	runtime.KeepAlive(topics)
	t.Print(b.out)
	return nil
}
