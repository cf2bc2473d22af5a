package servertest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"math"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// exampleServer starts a server in this process and returns two connections to it, which stand for two
// machines.
func exampleServer() (cell, floor *nats.Conn, stop func()) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		log.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		log.Fatal("the server does not start")
	}
	dial := func() *nats.Conn {
		nc, err := nats.Connect(s.ClientURL(), natsdispatch.Robust)
		if err != nil {
			log.Fatal(err)
		}
		return nc
	}
	cell, floor = dial(), dial()
	return cell, floor, func() {
		cell.Close()
		floor.Close()
		s.Shutdown()
	}
}

func Example() {
	onCell, onFloor, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	measure := dispatch.NewTopic[string, float64]("cell.measure", dispatch.WithTimeout(time.Second))

	// On the machine with the producers:
	cell := dispatch.New[string, float64]()
	if _, err := cell.AddProducer(measure, func(context.Context, string) (float64, error) { return 3.31, nil }, dispatch.WithName("site-1")); err != nil {
		log.Fatal(err)
	}
	if _, err := cell.AddProducer(measure, func(ctx context.Context, _ string) (float64, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}, dispatch.WithName("site-2")); err != nil {
		log.Fatal(err)
	}
	node, err := natsdispatch.Serve(onCell, cell, measure, natsdispatch.WithNode("cell-7"))
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()

	// On the machine that asks:
	floor := dispatch.New[string, float64]()
	remote, err := natsdispatch.Join(onFloor, floor, measure)
	if err != nil {
		log.Fatal(err)
	}
	defer remote.Close()

	volts, err := floor.Gather(ctx, measure, "vdd")
	fmt.Println(volts, err)
	// Output:
	// [3.31] dispatch: cell.measure: deadline exceeded: 1 of 2 members did not answer: cell-7/site-2 late
}

// binary64 is a codec that writes numbers as eight bytes, and all other values as JSON. A codec only has to
// support the values of its topics.
type binary64 struct{ natsdispatch.JSON }

func (binary64) Name() string { return "binary64" }

func (c binary64) Marshal(v any) ([]byte, error) {
	if f, ok := v.(float64); ok {
		return binary.BigEndian.AppendUint64(nil, math.Float64bits(f)), nil
	}
	return c.JSON.Marshal(v)
}

func (c binary64) Unmarshal(data []byte, v any) error {
	f, ok := v.(*float64)
	if !ok {
		return c.JSON.Unmarshal(data, v)
	}
	if len(data) != 8 {
		return fmt.Errorf("%d bytes, want 8", len(data))
	}
	*f = math.Float64frombits(binary.BigEndian.Uint64(data))
	return nil
}

// A node may know several codecs; the asker chooses one. JSON cannot write NaN.
func Example_codec() {
	onCell, onFloor, stop := exampleServer()
	defer stop()
	measure := dispatch.NewTopic[string, float64]("cell.measure")
	cell, floor := dispatch.New[string, float64](), dispatch.New[string, float64]()
	if _, err := cell.AddProducer(measure, func(context.Context, string) (float64, error) { return math.NaN(), nil }); err != nil {
		log.Fatal(err)
	}
	node, err := natsdispatch.Serve(onCell, cell, measure, natsdispatch.WithCodec(binary64{}, natsdispatch.JSON{}))
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	remote, err := natsdispatch.Join(onFloor, floor, measure, natsdispatch.WithCodec(binary64{}))
	if err != nil {
		log.Fatal(err)
	}
	defer remote.Close()
	fmt.Println(floor.First(context.Background(), measure, "vdd"))
	// Output: NaN <nil>
}

// Await is for programs that need certain nodes before they start.
func Example_await() {
	onCell, onFloor, stop := exampleServer()
	defer stop()
	measure := dispatch.NewTopic[string, float64]("cell.measure")
	cell, floor := dispatch.New[string, float64](), dispatch.New[string, float64]()
	remote, err := natsdispatch.Join(onFloor, floor, measure)
	if err != nil {
		log.Fatal(err)
	}
	defer remote.Close()
	node, err := natsdispatch.Serve(onCell, cell, measure, natsdispatch.WithNode("cell-7"))
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := remote.Await(ctx, "cell-7"); err != nil {
		log.Fatal(err)
	}
	for _, n := range remote.Nodes() {
		fmt.Println(n.Node, n.Topic)
	}
	// Output: cell-7 cell.measure
}
