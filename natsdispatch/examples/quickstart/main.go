// The quickstart program asks cells that are separate processes. With a name as its argument, it is the
// cell with this name. Without a name, it asks all cells.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

type Reading struct{ Volts float64 }

var measure = dispatch.NewTopic[string, Reading]("cell.measure", dispatch.WithTimeout(3*time.Second))

func main() {
	nc, err := nats.Connect(cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), natsdispatch.Robust)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	if bus := dispatch.New[string, Reading](); len(os.Args) > 1 {
		err = serve(nc, bus, os.Args[1])
	} else {
		err = ask(nc, bus)
	}
	if err != nil {
		log.Print(err)
	}
}

func serve(nc *nats.Conn, bus *dispatch.Dispatcher[string, Reading], name string) error {
	volts := func(_ context.Context, pin string) (Reading, error) { return Reading{3.31}, nil }
	if _, err := bus.AddProducer(measure, volts, dispatch.WithName("site-1")); err != nil {
		return err
	}
	node, err := natsdispatch.Serve(nc, bus, measure, natsdispatch.WithNode(name))
	if err != nil {
		return err
	}
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	<-interrupted.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return node.Drain(ctx) // it finishes its requests and says bye, before nc is closed
}

func ask(nc *nats.Conn, bus *dispatch.Dispatcher[string, Reading]) error {
	remote, err := natsdispatch.Join(nc, bus, measure, natsdispatch.WithNodes("cell-7", "cell-8"))
	if err != nil {
		return err
	}
	defer remote.Close()
	call, err := bus.Send(context.Background(), measure, "vdd")
	if err != nil {
		return err
	}
	for r := range call.Results() { // as they arrive, from all machines
		fmt.Println(r.From, r.Value.Volts)
	}
	fmt.Println(call.Report()) // one line for every member, also for those that never replied
	return nil
}
