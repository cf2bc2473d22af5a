package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// beat is the interval of a worker's beats. A worker that misses three beats is gone.
const beat = 500 * time.Millisecond

// isWorker reports whether args are the arguments of a worker.
func isWorker(args []string) bool { return len(args) == 4 && args[1] == "worker" }

// work serves the two producers of a worker until its input ends. The input ends at the latest when the
// process ends that has started the worker.
func work(url, name string, input io.Reader) error {
	nc, err := nats.Connect(url, natsdispatch.Robust)
	if err != nil {
		return err
	}
	defer nc.Close()
	cell := dispatch.New[Request, Reading]()
	defer cell.Close()
	for _, p := range []struct {
		name    string
		produce dispatch.Producer[Request, Reading]
	}{{"meter", meter}, {"oven", oven(name != doomed)}} {
		if _, err := cell.AddProducer(measure, p.produce, dispatch.WithName(p.name)); err != nil {
			return err
		}
	}
	node, err := natsdispatch.Serve(nc, cell, measure, natsdispatch.WithNode(name), natsdispatch.WithBeat(beat))
	if err != nil {
		return fmt.Errorf("worker %s: %w", name, err)
	}
	if _, err := io.Copy(io.Discard, input); err != nil {
		return fmt.Errorf("worker %s: its input: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return node.Drain(ctx)
}

// meter answers at once.
func meter(_ context.Context, _ Request) (Reading, error) { return Reading{1.21, "V"}, nil }

// oven returns a producer that answers after 200 ms, or never if the oven does not become warm.
func oven(becomesWarm bool) dispatch.Producer[Request, Reading] {
	return func(ctx context.Context, _ Request) (Reading, error) {
		var warm <-chan time.Time
		if becomesWarm {
			warm = time.After(200 * time.Millisecond)
		}
		select {
		case <-warm:
			return Reading{85, "°C"}, nil
		case <-ctx.Done():
			return Reading{}, context.Cause(ctx)
		}
	}
}
