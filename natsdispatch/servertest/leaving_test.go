package servertest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

func TestFaultRollingRestart(t *testing.T) {
	s := startServer(t)
	near := newBus()
	nodes := make(map[string]*natsdispatch.Node)
	start := func(name string) {
		far := newBus()
		produce(t, far, "a", echo(name))
		nodes[name] = serve(t, connect(t, s.ClientURL()), far, name)
	}
	names := []string{"n0", "n1", "n2"}
	for _, name := range names {
		start(name)
	}
	remote := join(t, connect(t, s.ClientURL()), near, names)
	for _, name := range names {
		if err := nodes[name].Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		until(t, name+" to be gone", func() bool { return len(remote.Nodes()) == 2 })
		report := ended(t, send(t, near, "x"))
		if !report.Complete() || len(report.Outcomes) != 2 {
			t.Errorf("without %s: %v", name, report.Outcomes)
		}
		start(name)
		await(t, remote, names...)
		want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "n0/a ok", "n1/a ok", "n2/a ok")
	}
	noMisuse(t, near)
}

// If a node starts again before an asker has noticed its end, the requests that the old process had in hand
// are gone at once.
func TestFaultNewEpoch(t *testing.T) {
	s := startServer(t)
	near := newBus()
	a := startAgent(t, connect(t, s.ClientURL()), "far")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"})
	call := send(t, near, "x", dispatch.WithTimeout(time.Hour))
	a.say(a.take(), "accept m")
	named(t, call, 1)
	a.epoch++
	a.announceAs("hello", 0)
	report := ended(t, call)
	want(t, report, dispatch.ReasonAllEnded, "far/m gone")
	if err := outcome(t, report, "far/m").Err; !strings.Contains(err.Error(), "started again") {
		t.Errorf("the member is gone with %v", err)
	}
	a.epoch-- // the asker ignores later messages of the old process
	a.announceAs("bye", 1000)
	a.epoch++
	a.announceAs("beat", 1)
	if n := len(remote.Nodes()); n != 1 {
		t.Errorf("%d nodes are present, want the new one", n)
	}
	noMisuse(t, near)
}

func TestFaultBye(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	began := make(chan context.Context, 1)
	produce(t, far, "m", hang(began))
	node := serve(t, connect(t, s.ClientURL()), far, "far")
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	call := send(t, near, "x", dispatch.WithTimeout(time.Hour))
	ctx := receive(t, "the producer to begin", began)
	named(t, call, 1)
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, ended(t, call), dispatch.ReasonAllEnded, "far/m gone")
	receive(t, "the producer to be told", ctx.Done())
	if cause := context.Cause(ctx); !errors.Is(cause, dispatch.ErrClosed) {
		t.Errorf("the producer is told %v, want %v", cause, dispatch.ErrClosed)
	}
	noMisuse(t, near)
}

func TestFaultRequesterCrash(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	began := make(chan context.Context, 1)
	produce(t, far, "m", hang(began))
	node := serve(t, connect(t, s.ClientURL()), far, "far")
	nc := connect(t, s.ClientURL())
	join(t, nc, near, []string{"far"}, natsdispatch.WithErrorHandler(func(error) {}))
	send(t, near, "x", dispatch.WithTimeout(500*time.Millisecond))
	ctx := receive(t, "the producer to begin", began)
	nc.Close()
	receive(t, "the budget to end", ctx.Done())
	if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the producer's context ends with %v, want %v", err, context.DeadlineExceeded)
	}
	until(t, "the node to have nothing in hand", func() bool { return node.Stats().InHand == 0 })
}

// subscriptions returns the numbers of the clients of the server that have subscribed to a subject, and those of their
// subscriptions.
func subscriptions(t *testing.T, s *server.Server, subject string) (all []string) {
	t.Helper()
	to, err := s.Subsz(&server.SubszOptions{Subscriptions: true, Test: subject})
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range to.Subs {
		all = append(all, fmt.Sprint(sub.Cid, " ", sub.Sid))
	}
	return all
}

// drain drains a node of the server, and returns when the node takes no new requests.
func drain(t *testing.T, s *server.Server, node *natsdispatch.Node) (drained <-chan error) {
	t.Helper()
	const requests = "dispatch.v1.default.ask.cell.measure"
	before := subscriptions(t, s, requests)
	if len(before) != 1 {
		t.Fatalf("the subscriptions to requests are %q, want one", before)
	}
	done := make(chan error, 1)
	go func() { done <- node.Drain(context.Background()) }()
	until(t, "the node to take nothing new", func() bool { return !slices.Contains(subscriptions(t, s, requests), before[0]) })
	return done
}

func TestFaultDrainWithCallsInFlight(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	began, gate := make(chan struct{}, 1), make(chan struct{})
	produce(t, far, "m", func(context.Context, string) (string, error) {
		began <- struct{}{}
		<-gate
		return "v", nil
	})
	node := serve(t, connect(t, s.ClientURL()), far, "far")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"})
	call := send(t, near, "x")
	receive(t, "the producer to begin", began)
	drained := drain(t, s, node)
	until(t, "the node to say that it drains", func() bool { return remote.Nodes()[0].Draining })
	// The node has ended its subscriptions. Calls do not ask the node, and their reports do not name it.
	want(t, ended(t, send(t, near, "y")), dispatch.ReasonNoProducers)
	select {
	case err := <-drained:
		t.Fatalf("Drain has returned before the call has ended: %v", err)
	default:
	}
	close(gate)
	want(t, ended(t, call), dispatch.ReasonAllEnded, "far/m ok")
	if err := receive(t, "Drain", drained); err != nil {
		t.Errorf("Drain: %v", err)
	}
	until(t, "the bye", func() bool { return len(remote.Nodes()) == 0 })
	noMisuse(t, near)
}

// A member that was late on its node waits for the deadline of the call. If the asker closes its Remote or its
// connection before, the member ends with the others.
func TestAskerClosesBeforeALateMemberEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(r *natsdispatch.Remote, nc *nats.Conn)
		state string
		err   error
	}{
		"the Remote":     {func(r *natsdispatch.Remote, _ *nats.Conn) { r.Close() }, "gone", dispatch.ErrGone},
		"the connection": {func(_ *natsdispatch.Remote, nc *nats.Conn) { nc.Close() }, "failed", dispatch.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t)
			near := newBus()
			nc := connect(t, s.ClientURL())
			a := startAgent(t, connect(t, s.ClientURL()), "far")
			remote := join(t, nc, near, []string{"far"}, quiet)
			call := send(t, near, "x", dispatch.WithTimeout(time.Hour))
			a.say(a.take(), "accept late quick", "end 0 0 late deadline", value(1, "v"), "end 1 1 ok", "final 2 1")
			for range call.Results() {
				break
			}
			c.end(remote, nc)
			report := ended(t, call)
			want(t, report, dispatch.ReasonAllEnded, "far/quick ok", "far/late "+c.state)
			if err := outcome(t, report, "far/late").Err; !errors.Is(err, c.err) {
				t.Errorf("the late member has ended with %v", err)
			}
			noMisuse(t, near)
			if err := a.nc.Drain(); err != nil { // the agent may still answer the probe of Join
				t.Error(err)
			}
			until(t, "the agent to end", a.nc.IsClosed)
		})
	}
}

// A node that drains hears that a call was canceled, and stops its work.
func TestCancelDuringDrain(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	began := make(chan context.Context, 1)
	produce(t, far, "m", hang(began))
	nc := connect(t, s.ClientURL())
	node := serve(t, nc, far, "far", natsdispatch.WithBeat(time.Hour))
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	call := send(t, near, "x", dispatch.WithTimeout(time.Hour))
	works := receive(t, "the producer to begin", began)
	named(t, call, 1)
	drained := drain(t, s, node)
	call.Cancel(errors.New("enough"))
	receive(t, "the producer to be canceled", works.Done())
	if cause := context.Cause(works); !strings.Contains(cause.Error(), "enough") {
		t.Errorf("the producer is canceled with %v", cause)
	}
	if err := receive(t, "the node to be drained", drained); err != nil {
		t.Error(err)
	}
	if n := node.Stats().Cancelled; n != 1 {
		t.Errorf("%d requests were canceled, want 1", n)
	}
	until(t, "the subscriptions to end", func() bool { return nc.NumSubscriptions() == 0 })
}

func TestFaultDrainThatTakesTooLong(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	began := make(chan context.Context, 1)
	produce(t, far, "m", hang(began))
	node := serve(t, connect(t, s.ClientURL()), far, "far")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"})
	call := send(t, near, "x")
	receive(t, "the producer to begin", began)
	named(t, call, 1)
	stop := errors.New("no more patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if err := node.Drain(ctx); !errors.Is(err, stop) || !errors.Is(err, context.Canceled) {
		t.Errorf("Drain: %v, want the error of the context, and %v", err, stop)
	}
	want(t, ended(t, call), dispatch.ReasonAllEnded, "far/m gone")
	if err := remote.Await(ctx, "far", "farther"); !errors.Is(err, stop) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), `"farther"`) {
		t.Errorf("Await: %v, want the error of the context, %v, and what is missing", err, stop)
	}
}

// If the bus of a node is closed, its members are gone.
func TestFaultBusClosed(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	began := make(chan context.Context, 1)
	produce(t, far, "m", hang(began))
	serve(t, connect(t, s.ClientURL()), far, "far")
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	call := send(t, near, "x")
	receive(t, "the producer to begin", began)
	named(t, call, 1)
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, ended(t, call), dispatch.ReasonAllEnded, "far/m gone")
	want(t, ended(t, send(t, near, "y")), dispatch.ReasonAllEnded, "far/* gone")
	noMisuse(t, near)
}

// If a node that has started again accepts a request before the asker has heard its hello, the hello does
// not end its members.
func TestFaultNewEpochAnswers(t *testing.T) {
	s := startServer(t)
	near := newBus()
	a := startAgent(t, connect(t, s.ClientURL()), "far")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"})
	call := send(t, near, "x")
	m := a.take()
	a.epoch++
	a.say(m, "accept m")
	named(t, call, 1)
	a.announceAs("hello", 0)
	until(t, "the hello", func() bool { return remote.Nodes()[0].Epoch == a.epoch })
	a.say(m, value(0, "v"), "end 0 1 ok", "final 1 1")
	want(t, ended(t, call), dispatch.ReasonAllEnded, "far/m ok")
	noMisuse(t, near)
}

// Drain waits until the askers have acknowledged the replies, also if this needs a new connection.
func TestDrainWaitsForTheAsker(t *testing.T) {
	s := startServer(t)
	p := startProxy(t, s.Addr().String())
	near, far := newBus(), newBus()
	began, gate := make(chan struct{}, 1), make(chan struct{})
	produce(t, far, "m", func(context.Context, string) (string, error) {
		began <- struct{}{}
		<-gate
		return "v", nil
	})
	nc := connect(t, p.url())
	node := serve(t, nc, far, "far", quiet, natsdispatch.WithBeat(time.Minute))
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	call := send(t, near, "x")
	receive(t, "the producer to begin", began)
	named(t, call, 1)
	drained := drain(t, s, node)
	p.set(true)
	until(t, "the node to notice", func() bool { return !nc.IsConnected() })
	close(gate)
	until(t, "the answer to be kept", func() bool { return node.Stats().Kept == 1 && node.Stats().InHand == 0 })
	p.set(false)
	want(t, ended(t, call), dispatch.ReasonAllEnded, "far/m ok")
	if err := receive(t, "Drain", drained); err != nil {
		t.Errorf("Drain: %v", err)
	}
	if n := node.Stats().Kept; n != 0 {
		t.Errorf("%d replies are kept after Drain", n)
	}
	noMisuse(t, near)
}

// If an asker has crashed, Drain waits until the deadline of its call. When the context of Drain ends,
// Drain waits no longer.
func TestDrainWithoutTheAsker(t *testing.T) {
	for name, c := range map[string]struct {
		timeout time.Duration
		give    time.Duration // the time that Drain may take
		want    error
	}{
		"until the call is over":    {500 * time.Millisecond, time.Hour, nil},
		"until the context is over": {time.Hour, 100 * time.Millisecond, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			near, far := newBus(), newBus()
			gate := make(chan struct{})
			produce(t, far, "m", func(context.Context, string) (string, error) {
				<-gate
				return "v", nil
			})
			node := serve(t, connect(t, s.ClientURL()), far, "far")
			nc := connect(t, s.ClientURL())
			join(t, nc, near, []string{"far"}, quiet)
			named(t, send(t, near, "x", dispatch.WithTimeout(c.timeout)), 1)
			nc.Close()
			close(gate)
			until(t, "the answer to be kept", func() bool { return node.Stats().InHand == 0 })
			ctx, cancel := context.WithTimeout(t.Context(), c.give)
			defer cancel()
			if err := node.Drain(ctx); !errors.Is(err, c.want) {
				t.Errorf("Drain: %v, want %v", err, c.want)
			}
		})
	}
}
