package servertest_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// Nodes with large results wait for an asker that reads nothing, so the server has no reason to close the
// connection of the asker. When the asker reads again, all results arrive.
func TestCreditOfAnIdleAsker(t *testing.T) {
	const nodes, window = 10, 4 << 20
	size := 12_000_000
	if raced {
		size = 1_500_000 // all results together are still larger than the window
	}
	s := startServer(t)
	value := strings.Repeat("x", size)
	var names []string
	for i := range nodes {
		far := newBus()
		produce(t, far, "m", func(context.Context, string) (string, error) { return value, nil })
		names = append(names, fmt.Sprint("n", i))
		serve(t, connect(t, s.ClientURL()), far, names[i], natsdispatch.WithBeat(time.Minute))
	}
	near, gate := newBus(), make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open() // otherwise the codec would block the end of the test
	nc := connect(t, s.ClientURL())
	remote := join(t, nc, near, names, natsdispatch.WithWindow(window), natsdispatch.WithCodec(slowCodec{gate: gate}), natsdispatch.WithAcceptWindow(patience))
	call := send(t, near, "x", dispatch.WithTimeout(2*patience))
	until(t, "the credit to be used up", func() bool { return remote.Stats().Pending > window/2 })
	open()
	for r := range call.Results() {
		if len(r.Value) != size {
			t.Errorf("%v has a result of %d bytes, want %d", r.From, len(r.Value), size)
		}
		if p := remote.Stats().Pending; p > window {
			t.Errorf("%d bytes wait to be taken in, want at most %d", p, window)
		}
	}
	report := ended(t, call)
	if !report.Complete() || len(report.Outcomes) != nodes {
		t.Errorf("the call ended as %v: %v", report.Reason, report.Err())
	}
	if stats := remote.Stats(); stats.Dropped+stats.Resumed+stats.Resent > 0 || nc.Statistics.Reconnects > 0 {
		t.Errorf("%+v, %d reconnects", stats, nc.Statistics.Reconnects)
	}
	noMisuse(t, near)
}

// All results of a stream arrive that is much larger than what the node and the asker may hold.
func TestCreditOfALongStream(t *testing.T) {
	if testing.Short() {
		t.Skip("400 MB")
	}
	const results, size = 400, 1_000_000
	s := startServer(t)
	far, near := newBus(), newBus()
	value := strings.Repeat("x", size)
	if _, err := far.AddStreamProducer(measure, func(context.Context, string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for range results {
				if !yield(value, nil) {
					return
				}
			}
		}
	}, dispatch.WithName("m")); err != nil {
		t.Fatal(err)
	}
	node := serve(t, connect(t, s.ClientURL()), far, "far")
	const window = 2 << 20
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithWindow(window))
	n := 0
	for r, err := range near.Stream(t.Context(), measure, "x", dispatch.WithTimeout(10*patience)) {
		if err != nil || len(r.Value) != size {
			t.Fatalf("result %d has %d bytes, %v", n, len(r.Value), err)
		}
		n++
		if waiting, pending := node.Stats().Waiting, remote.Stats().Pending; waiting > window+9<<20 || pending > window {
			t.Fatalf("the node holds %d bytes, the asker %d", waiting, pending)
		}
	}
	if n != results {
		t.Errorf("%d results, want %d", n, results)
	}
	if stats := remote.Stats(); stats.Dropped+stats.Resumed > 0 {
		t.Errorf("%+v, %+v", stats, node.Stats())
	}
	noMisuse(t, near)
}
