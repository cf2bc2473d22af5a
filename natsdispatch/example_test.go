package natsdispatch_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// The topic is shared by all programs, as are its types.
var measure = dispatch.NewTopic[string, float64]("cell.measure", dispatch.WithTimeout(time.Second))

// A machine that has producers serves the topic until it is told to stop. Node.Drain comes
// before the connection is closed, so that nothing that is in hand is lost.
func ExampleServe() {
	nc, err := nats.Connect(nats.DefaultURL, natsdispatch.Robust)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	cell := dispatch.New[string, float64]()
	if _, err := cell.AddProducer(measure, func(context.Context, string) (float64, error) { return 3.31, nil }, dispatch.WithName("site-1")); err != nil {
		log.Fatal(err)
	}
	node, err := natsdispatch.Serve(nc, cell, measure, natsdispatch.WithNode("cell-7"))
	if err != nil {
		log.Fatal(err)
	}
	// … until the program is told to stop …
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := node.Drain(ctx); err != nil {
		log.Print(err)
	}
}

// A machine that asks joins the topic. Its calls do not change.
func ExampleJoin() {
	nc, err := nats.Connect(nats.DefaultURL, natsdispatch.Robust)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	floor := dispatch.New[string, float64]()
	remote, err := natsdispatch.Join(nc, floor, measure, natsdispatch.WithNodes("cell-7"))
	if err != nil {
		log.Fatal(err)
	}
	defer remote.Close()
	volts, err := floor.Gather(context.Background(), measure, "vdd")
	fmt.Println(volts, err) // the error names the missing members
}
