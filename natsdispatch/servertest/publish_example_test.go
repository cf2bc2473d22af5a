package servertest_test

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// A display receives the results of all calls on the bus of the cell, and sends no request. The command
// "dispatch listen" does the same in a shell.
func Example_publish() {
	onCell, onDisplay, stop := exampleServer()
	defer stop()
	published, err := onDisplay.SubscribeSync("dispatch.v1.default.result.*.cell.measure")
	if err != nil {
		log.Fatal(err)
	}
	if err := onDisplay.Flush(); err != nil {
		log.Fatal(err)
	}

	measure := dispatch.NewTopic[string, float64]("cell.measure")
	cell := dispatch.New[string, float64]()
	volts := func(context.Context, string) (float64, error) { return 3.31, nil }
	if _, err := cell.AddProducer(measure, volts, dispatch.WithName("site-1")); err != nil {
		log.Fatal(err)
	}
	node, err := natsdispatch.Serve(onCell, cell, measure, natsdispatch.WithNode("cell-7"), natsdispatch.WithPublish())
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	if _, err := cell.Gather(context.Background(), measure, "vdd"); err != nil {
		log.Fatal(err)
	}

	m, err := published.NextMsg(patience)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s/%s %s\n", m.Header.Get("Dispatch-Node"), m.Header.Get("Dispatch-Member"), m.Data)
	// Output: cell-7/site-1 3.31
}
