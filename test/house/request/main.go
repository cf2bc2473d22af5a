// The request program makes one request and writes the coverage of that request to
// a directory. The house program runs it.
package main

import (
	"context"
	"log"
	"os"
	"runtime/coverage"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(counters string) error {
	topic := dispatch.NewTopic[int, int]("request")
	d := dispatch.New[int, int]()
	if _, err := d.AddProducer(topic, func(_ context.Context, req int) (int, error) { return req, nil }); err != nil {
		return err
	}
	heard := make(chan struct{})
	if _, err := d.AddListener(topic, func(context.Context, dispatch.Result[int, int]) { close(heard) }); err != nil {
		return err
	}
	if err := coverage.ClearCounters(); err != nil {
		return err
	}
	if _, err := d.Gather(context.Background(), topic, 1); err != nil {
		return err
	}
	<-heard
	time.Sleep(20 * time.Millisecond) // until the goroutines of the request have ended
	if err := coverage.WriteMetaDir(counters); err != nil {
		return err
	}
	return coverage.WriteCountersDir(counters)
}
