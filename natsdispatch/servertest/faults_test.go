package servertest_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// hang returns a producer that sends its context to began, and then waits until the context ends.
func hang(began chan<- context.Context) dispatch.Producer[string, string] {
	return func(ctx context.Context, _ string) (string, error) {
		began <- ctx
		<-ctx.Done()
		return "", ctx.Err()
	}
}

// stopServer stops a server, and returns a function that starts a server on the same port.
func stopServer(t *testing.T, s *server.Server) (restart func() *server.Server) {
	t.Helper()
	port := s.Addr().(interface{ AddrPort() netip.AddrPort }).AddrPort().Port()
	s.Shutdown()
	s.WaitForShutdown()
	return func() *server.Server { return startServer(t, onPort(int(port))) }
}

func TestFaultServerAbsentAtStart(t *testing.T) {
	s := startServer(t)
	url := s.ClientURL()
	restart := stopServer(t, s)

	far, near := newBus(), newBus()
	produce(t, far, "a", echo("a"))
	serve(t, connect(t, url), far, "far")
	remote := join(t, connect(t, url), near, nil)
	produce(t, near, "here", echo("here"))

	report := ended(t, send(t, near, "x"))
	want(t, report, dispatch.ReasonAllEnded, "here ok", "nats:dispatch.default failed")
	if err := outcome(t, report, "nats:dispatch.default").Err; !errors.Is(err, dispatch.ErrUnreachable) {
		t.Errorf("without a server the relay ends with %v, want %v", err, dispatch.ErrUnreachable)
	}
	restart()
	await(t, remote, "far")
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "here ok", "far/a ok")
	noMisuse(t, near)
}

func TestFaultServerRestartInMidCall(t *testing.T) {
	s := startServer(t)
	far, near := newBus(), newBus()
	began := make(chan context.Context, 10)
	produce(t, far, "hangs", hang(began))
	farConn, nc := connect(t, s.ClientURL()), connect(t, s.ClientURL())
	node := serve(t, farConn, far, "far")
	remote := join(t, nc, near, []string{"far"})

	first := send(t, near, "first", dispatch.WithTimeout(2*time.Second))
	receive(t, "the producer to begin", began)
	named(t, first, 1)
	restart := stopServer(t, s)
	until(t, "the asker to notice", func() bool { return !nc.IsConnected() })

	// A request that is sent now fails at once, and does not reach the node later.
	report := ended(t, send(t, near, "second"))
	want(t, report, dispatch.ReasonAllEnded, "far/* failed")
	if err := outcome(t, report, "far/*").Err; !errors.Is(err, dispatch.ErrUnreachable) {
		t.Errorf("while disconnected the node ends with %v, want %v", err, dispatch.ErrUnreachable)
	}
	want(t, ended(t, first), dispatch.ReasonDeadline, "far/hangs late")

	restart()
	until(t, "both to be connected", func() bool { return nc.IsConnected() && farConn.IsConnected() })
	if err := farConn.Flush(); err != nil { // now the server has the subscriptions of the node
		t.Fatal(err)
	}
	await(t, remote, "far")
	third := send(t, near, "third", dispatch.WithTimeout(patience))
	receive(t, "the producer to begin", began)
	third.Cancel(nil)
	if n := node.Stats().Requests; n != 2 {
		t.Errorf("the node has had %d requests, want 2: the one in between must not be sent", n)
	}
	noMisuse(t, near)
}

func TestFaultNodeKilledAfterAccept(t *testing.T) {
	s := startServer(t)
	far, other, near := newBus(), newBus(), newBus()
	began := make(chan context.Context, 1)
	produce(t, far, "a", hang(began))
	produce(t, other, "b", echo("b"))
	farConn := connect(t, s.ClientURL())
	serve(t, farConn, far, "far", natsdispatch.WithErrorHandler(func(error) {}))
	serve(t, connect(t, s.ClientURL()), other, "other")
	join(t, connect(t, s.ClientURL()), near, []string{"far", "other"})
	heard := make(chan string, 1)
	listen(t, near, heard)

	call := send(t, near, "x", dispatch.WithTimeout(time.Second))
	receive(t, "the producer to begin", began)
	receive(t, "the other node's result", heard)
	named(t, call, 2)
	farConn.Close() // the node cannot send a bye
	want(t, ended(t, call), dispatch.ReasonDeadline, "far/a late", "other/b ok")
	noMisuse(t, near)
}

// A node that is killed is gone when it has missed its beats. A call with a longer timeout ends then.
func TestFaultNodeKilledInLongCall(t *testing.T) {
	s := startServer(t)
	far, near := newBus(), newBus()
	began := make(chan context.Context, 1)
	produce(t, far, "a", hang(began))
	farConn := connect(t, s.ClientURL())
	serve(t, farConn, far, "far", natsdispatch.WithBeat(200*time.Millisecond), natsdispatch.WithErrorHandler(func(error) {}))
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	call := send(t, near, "x", dispatch.WithTimeout(time.Hour))
	receive(t, "the producer to begin", began)
	named(t, call, 1)
	farConn.Close()
	report := ended(t, call)
	want(t, report, dispatch.ReasonAllEnded, "far/a gone")
	if err := outcome(t, report, "far/a").Err; !errors.Is(err, dispatch.ErrGone) || !strings.Contains(err.Error(), "far was last heard ") {
		t.Errorf("the member is gone with %v", err)
	}
	// The node has sent no bye, so later calls still expect it.
	report = ended(t, send(t, near, "x"))
	want(t, report, dispatch.ReasonAllEnded, "far/* gone")
	if report.Complete() || report.Err() == nil {
		t.Error("a report without the dead node's results is complete")
	}
	noMisuse(t, near)
}

func TestFaultNodeCutOffAndBack(t *testing.T) {
	s := startServer(t)
	p := startProxy(t, s.Addr().String())
	far, near := newBus(), newBus()
	produce(t, far, "a", echo("a"))
	serve(t, connect(t, p.url()), far, "far", natsdispatch.WithBeat(200*time.Millisecond), natsdispatch.WithErrorHandler(func(error) {}))
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithAcceptWindow(50*time.Millisecond))
	p.set(true)
	report := ended(t, send(t, near, "x"))
	if len(report.Outcomes) == 1 { // the node may be gone already
		want(t, report, dispatch.ReasonAllEnded, "far/* failed")
		if err := outcome(t, report, "far/*").Err; !errors.Is(err, dispatch.ErrUnreachable) {
			t.Errorf("the node ends with %v, want %v", err, dispatch.ErrUnreachable)
		}
	}
	until(t, "the node to be gone", func() bool { return len(remote.Nodes()) == 0 })
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/* gone")
	p.set(false)
	await(t, remote, "far")
	until(t, "the node to answer again", func() bool {
		return ended(t, send(t, near, "x")).Complete()
	})
	noMisuse(t, near)
}

// An asker that is cut off does not report that the nodes are gone.
func TestFaultAskerCutOffAndBack(t *testing.T) {
	s := startServer(t)
	p := startProxy(t, s.Addr().String())
	far, near := newBus(), newBus()
	produce(t, far, "a", echo("a"))
	serve(t, connect(t, s.ClientURL()), far, "far", natsdispatch.WithBeat(200*time.Millisecond))
	nc := connect(t, p.url())
	remote := join(t, nc, near, []string{"far"}, natsdispatch.WithErrorHandler(func(error) {}))
	p.set(true)
	until(t, "the asker to notice", func() bool { return !nc.IsConnected() })
	heard := remote.Nodes()[0].Heard
	until(t, "beats to be missed", func() bool {
		want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/* failed")
		return time.Since(heard) > time.Second
	})
	p.set(false)
	until(t, "the asker to be back", nc.IsConnected)
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/a ok")
	noMisuse(t, near)
}

func TestFaultTwoSpaces(t *testing.T) {
	s := startServer(t)
	bus := map[string]*dispatcher{}
	for _, space := range []string{"red", "blue"} {
		far := newBus()
		produce(t, far, "a", echo(space))
		serve(t, connect(t, s.ClientURL()), far, space+"-node", natsdispatch.WithSpace(space))
		bus[space] = newBus()
	}
	for space, near := range bus {
		join(t, connect(t, s.ClientURL()), near, []string{space + "-node"}, natsdispatch.WithSpace(space))
		want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, space+"-node/a ok")
		noMisuse(t, near)
	}
	// One bus may join both spaces.
	join(t, connect(t, s.ClientURL()), bus["red"], []string{"blue-node"}, natsdispatch.WithSpace("blue"))
	want(t, ended(t, send(t, bus["red"], "x")), dispatch.ReasonAllEnded, "red-node/a ok", "blue-node/a ok")
	noMisuse(t, bus["red"])
}

// listen adds a listener that sends the values of results to a channel.
func listen(t testing.TB, d *dispatcher, values chan<- string) {
	t.Helper()
	if _, err := d.AddListener(measure, func(_ context.Context, r dispatch.Result[string, string]) { values <- r.Value }); err != nil {
		t.Fatal(err)
	}
}
