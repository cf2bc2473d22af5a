package servertest_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// If A joins B and B joins A, each producer is asked once.
func TestHopsInACircle(t *testing.T) {
	s := startServer(t)
	for _, hops := range []int{1, 2, 5} {
		t.Run(fmt.Sprint("hops=", hops), func(t *testing.T) {
			space := natsdispatch.WithSpace(fmt.Sprint("circle", hops))
			var runs atomic.Int32
			buses := []*dispatcher{newBus(), newBus()}
			for i, d := range buses {
				produce(t, d, "m", func(context.Context, string) (string, error) { runs.Add(1); return "", nil })
				serve(t, connect(t, s.ClientURL()), d, fmt.Sprint("n", i), space)
			}
			for _, d := range buses {
				join(t, connect(t, s.ClientURL()), d, []string{"n0", "n1"}, space, natsdispatch.WithMaxHops(hops))
			}
			for i, d := range buses {
				runs.Store(0)
				want(t, ended(t, send(t, d, "x")), dispatch.ReasonAllEnded, "m ok", fmt.Sprint("n", 1-i, "/m ok"))
				if n := runs.Load(); n != 2 {
					t.Errorf("%d runs, want 2", n)
				}
				noMisuse(t, d)
			}
		})
	}
}

// Members that a node has found in another space keep the name of their node.
func TestHopsInAChain(t *testing.T) {
	s := startServer(t)
	edge, hub, cell := newBus(), newBus(), newBus()
	produce(t, cell, "deep", echo("deep"))
	produce(t, hub, "mid", echo("mid"))
	serve(t, connect(t, s.ClientURL()), cell, "cell", natsdispatch.WithSpace("inner"))
	serve(t, connect(t, s.ClientURL()), hub, "hub", natsdispatch.WithSpace("outer"))
	r := join(t, connect(t, s.ClientURL()), hub, []string{"cell"}, natsdispatch.WithSpace("inner"), natsdispatch.WithMaxHops(2))
	join(t, connect(t, s.ClientURL()), edge, []string{"hub"}, natsdispatch.WithSpace("outer"))
	call := send(t, edge, "x")
	want(t, ended(t, call), dispatch.ReasonAllEnded, "hub/mid ok", "cell/deep ok")
	if n := len(slices.Collect(call.Results())); n != 2 {
		t.Errorf("%d results, want 2", n)
	}
	// With the default of one hop, the hub answers only for its own members.
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	join(t, connect(t, s.ClientURL()), hub, []string{"cell"}, natsdispatch.WithSpace("inner"))
	want(t, ended(t, send(t, edge, "x")), dispatch.ReasonAllEnded, "hub/mid ok")
	for _, d := range []*dispatcher{edge, hub} {
		noMisuse(t, d)
	}
}

// A call that a producer sends on another topic also reaches nodes, among them the node of the first asker.
func TestNestedCallOnAnotherTopic(t *testing.T) {
	s := startServer(t)
	calibrate := dispatch.NewTopic[string, string]("cell.calibrate", dispatch.WithTimeout(patience))
	a, b := newBus(), newBus()
	produce(t, b, "asks", func(ctx context.Context, req string) (string, error) { return b.First(ctx, calibrate, req) })
	if _, err := a.AddProducer(calibrate, echo("calibrated")); err != nil {
		t.Fatal(err)
	}
	serve(t, connect(t, s.ClientURL()), b, "b")
	nc := connect(t, s.ClientURL())
	node, err := natsdispatch.Serve(nc, a, calibrate, natsdispatch.WithNode("a"), loud(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	join(t, connect(t, s.ClientURL()), a, []string{"b"})
	back, err := natsdispatch.Join(connect(t, s.ClientURL()), b, calibrate, loud(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { back.Close() })
	await(t, back, "a")
	got, err := a.Gather(t.Context(), measure, "x")
	if err != nil || !slices.Equal(got, []string{"calibrated=x"}) {
		t.Errorf("%q, %v; want what the other topic answers", got, err)
	}
}

// If a process expects its own node, as all processes do that have the same list of nodes, a call asks the producers
// of this process once, and the report has no other member for them. This holds from the first call on.
func TestProcessThatExpectsItsOwnNode(t *testing.T) {
	s := startServer(t)
	d := newBus()
	produce(t, d, "a", echo("a"))
	nc := connect(t, s.ClientURL())
	serve(t, nc, d, "own")
	join(t, nc, d, nil, natsdispatch.WithNodes("own"))
	for range 2 {
		want(t, ended(t, send(t, d, "x", dispatch.WithTimeout(time.Hour))), dispatch.ReasonAllEnded, "a ok")
	}
	noMisuse(t, d)
}

// A process that expects its own node may begin to serve during a call.
func TestProcessThatExpectsItsOwnNodeServesLater(t *testing.T) {
	s := startServer(t)
	d := newBus()
	produce(t, d, "a", echo("a"))
	nc, other := connect(t, s.ClientURL()), startAgent(t, connect(t, s.ClientURL()), "other")
	join(t, nc, d, []string{"other"}, natsdispatch.WithNodes("own"), natsdispatch.WithAcceptWindow(time.Hour))
	call := send(t, d, "x", dispatch.WithTimeout(2*time.Hour))
	m := other.take()
	if n := len(call.Report().Outcomes); n != 3 {
		t.Errorf("%d members, want those of both nodes and of the process", n)
	}
	serve(t, nc, d, "own")
	until(t, "the own node to be excused", func() bool { return len(call.Report().Outcomes) == 2 })
	other.say(m, "accept", "final 0 0")
	want(t, ended(t, call), dispatch.ReasonAllEnded, "a ok")
	noMisuse(t, d)
}
