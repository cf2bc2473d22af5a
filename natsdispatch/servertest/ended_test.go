package servertest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// oneCall is a call of half an hour to one node, whose producer works until it is canceled.
type oneCall struct {
	node          *natsdispatch.Node
	remote        *natsdispatch.Remote
	call          *dispatch.Call[string, string]
	works         context.Context // of the producer
	toNode, asker *proxy          // before the connections
	nodes, askers *nats.Conn
}

func startCall(t *testing.T, beat time.Duration) oneCall {
	t.Helper()
	s := startServer(t)
	o := oneCall{toNode: startProxy(t, s.Addr().String()), asker: startProxy(t, s.Addr().String())}
	o.nodes, o.askers = connect(t, o.toNode.url(), nats.PingInterval(time.Minute)), connect(t, o.asker.url())
	far, near := newBus(), newBus()
	began := make(chan context.Context, 1)
	produce(t, far, "m", hang(began))
	o.node = serve(t, o.nodes, far, "far", unlogged, quiet, natsdispatch.WithBeat(beat))
	o.remote = join(t, o.askers, near, []string{"far"}, quiet)
	o.call = send(t, near, "x", dispatch.WithTimeout(30*time.Minute))
	o.works = receive(t, "the producer to begin", began)
	named(t, o.call, 1)
	return o
}

// isTold checks that the node learns soon that the call has ended, and holds nothing for it.
func (o oneCall) isTold(t *testing.T) {
	t.Helper()
	receive(t, "the producer to be canceled", o.works.Done())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := o.node.Drain(ctx); err != nil {
		t.Error(err)
	}
}

// A node that was silent for a while, so that the call ended without it, stops its work when it is back.
func TestNodeThatWasGoneIsToldTheEndOfTheCall(t *testing.T) {
	t.Parallel()
	o := startCall(t, 50*time.Millisecond)
	o.toNode.die()
	want(t, ended(t, o.call), dispatch.ReasonAllEnded, "far/m gone")
	o.toNode.revive()
	o.isTold(t)
}

// A node without a connection when the call is canceled stops its work when it is back, even if the asker has
// acknowledged all that the node has sent before.
func TestNodeWithoutConnectionIsToldTheEndOfTheCall(t *testing.T) {
	t.Parallel()
	o := startCall(t, 50*time.Millisecond)
	until(t, "the accept to be acknowledged", func() bool { return o.node.Stats().Waiting == 0 })
	o.toNode.set(true)
	until(t, "the node to be cut off", func() bool { return !o.nodes.IsConnected() })
	o.call.Cancel(errors.New("enough"))
	ended(t, o.call)
	o.toNode.set(false)
	o.isTold(t)
}

// An asker without a connection when the call is canceled tells the node when it is back.
func TestAskerWithoutConnectionTellsTheEndOfTheCall(t *testing.T) {
	t.Parallel()
	o := startCall(t, time.Hour) // so that the node sends no reminder
	o.asker.set(true)
	until(t, "the asker to be cut off", func() bool { return !o.askers.IsConnected() })
	o.call.Cancel(errors.New("enough"))
	ended(t, o.call)
	o.asker.set(false)
	o.isTold(t)
}

// A node that the asker does not know, and whose reply begins when the call has ended, does not work for this
// call.
func TestNodeThatIsNotKnownIsToldTheEndOfTheCall(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	near, a, b := newBus(), newBus(), newBus()
	began := make(chan context.Context, 1)
	produce(t, a, "m", echo("a"))
	produce(t, b, "m", hang(began))
	serve(t, connect(t, s.ClientURL()), a, "a", quiet)
	join(t, connect(t, s.ClientURL()), near, []string{"a"}, quiet, natsdispatch.WithMaxNodes(1))
	p := startProxy(t, s.Addr().String())
	node := serve(t, connect(t, p.url()), b, "b", quiet, natsdispatch.WithBeat(50*time.Millisecond))
	p.die() // the request arrives late
	want(t, ended(t, send(t, near, "x", dispatch.WithTimeout(30*time.Minute))), dispatch.ReasonAllEnded, "a/m ok")
	p.revive()
	oneCall{node: node, works: receive(t, "b to begin", began)}.isTold(t)
}

// A reply is not kept for an asker whose connection breaks before it can say that it has the reply.
func TestReplyIsNotKeptIfTheDoneIsLate(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := startProxy(t, s.Addr().String())
	far, near := newBus(), newBus()
	produce(t, far, "m", echo("m"))
	node := serve(t, connect(t, s.ClientURL()), far, "far", quiet, natsdispatch.WithBeat(time.Hour))
	join(t, connect(t, p.url()), near, []string{"far"}, quiet)
	want(t, ended(t, send(t, near, "x", dispatch.WithTimeout(30*time.Minute))), dispatch.ReasonAllEnded, "far/m ok")
	p.set(true)
	time.Sleep(300 * time.Millisecond) // the asker mostly says done within 200 ms
	p.set(false)
	until(t, "the reply to be given up", func() bool { return node.Stats().Kept == 0 })
}
