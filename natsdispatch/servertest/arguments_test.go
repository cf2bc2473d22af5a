package servertest_test

import (
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// Serve and Join do not replace the handlers that the program has set on the connection.
func TestHandlersStay(t *testing.T) {
	s := startServer(t)
	var mine atomic.Int32
	nc := connect(t, s.ClientURL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) { mine.Add(1) }))
	near, far := newBus(), newBus()
	node := serve(t, nc, far, "far")
	remote := join(t, nc, near, []string{"far"})
	nc.ErrorHandler()(nc, nil, errors.New("x"))
	node.Close()
	remote.Close()
	nc.ErrorHandler()(nc, nil, errors.New("x"))
	if n := mine.Load(); n != 2 {
		t.Errorf("the handler was called %d times, want 2", n)
	}
	if !nc.IsConnected() {
		t.Error("the connection was closed")
	}
}

func TestConnectionThatBuffers(t *testing.T) {
	s := startServer(t)
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	near := newBus()
	_, err = natsdispatch.Join(nc, near, measure)
	if !errors.Is(err, natsdispatch.ErrConnection) || !strings.Contains(err.Error(), "nats.ReconnectBufSize(-1)") {
		t.Errorf("Join: %v, want %v that says what to do", err, natsdispatch.ErrConnection)
	}
	nc.Close()
	if _, err := natsdispatch.Serve(nc, near, measure); !errors.Is(err, natsdispatch.ErrConnection) {
		t.Errorf("Serve on a closed connection: %v, want %v", err, natsdispatch.ErrConnection)
	}
}

func TestBadArguments(t *testing.T) {
	s := startServer(t)
	nc := connect(t, s.ClientURL())
	d := newBus()
	serveIt := func(opts ...natsdispatch.ServeOption) error {
		n, err := natsdispatch.Serve(nc, d, measure, opts...)
		if err == nil {
			n.Close()
		}
		return err
	}
	joinIt := func(opts ...natsdispatch.JoinOption) error {
		r, err := natsdispatch.Join(nc, d, measure, opts...)
		if err == nil {
			r.Close()
		}
		return err
	}
	for what, err := range map[string]error{
		"WithSpace dot":            joinIt(natsdispatch.WithSpace("a.b")),
		"WithSpace empty":          serveIt(natsdispatch.WithSpace("")),
		"WithSpace long":           serveIt(natsdispatch.WithSpace(strings.Repeat("a", 129))),
		"WithPrefix long":          joinIt(natsdispatch.WithPrefix(strings.Repeat("a.", 128) + "a")),
		"WithPrefix":               joinIt(natsdispatch.WithPrefix("a..b")),
		"WithCodec none":           serveIt(natsdispatch.WithCodec()),
		"WithCodec nil":            serveIt(natsdispatch.WithCodec(nil)),
		"WithTypes":                joinIt(natsdispatch.WithTypes("two words")),
		"WithMaxResult zero":       serveIt(natsdispatch.WithMaxResult(0)),
		"WithMaxResult huge":       serveIt(natsdispatch.WithMaxResult(math.MaxInt32)),
		"WithPendingLimits":        serveIt(natsdispatch.WithPendingLimits(1, 0)),
		"WithPendingLimits number": serveIt(natsdispatch.WithPendingLimits(-1, 1)),
		"WithErrorHandler":         joinIt(natsdispatch.WithErrorHandler(nil)),
		"WithNode empty":           serveIt(natsdispatch.WithNode("")),
		"WithNode any":             serveIt(natsdispatch.WithNode("*")),
		"WithNode no UTF-8":        serveIt(natsdispatch.WithNode("cell-\xff")),
		"WithNodes no UTF-8":       joinIt(natsdispatch.WithNodes("cell-\xff")),
		"WithBeat":                 serveIt(natsdispatch.WithBeat(0)),
		"WithMaxRequests":          serveIt(natsdispatch.WithMaxRequests(0)),
		"WithSign":                 serveIt(natsdispatch.WithSign(nil)),
		"WithAcceptWindow":         joinIt(natsdispatch.WithAcceptWindow(0)),
		"WithDiscovery":            joinIt(natsdispatch.WithDiscovery(-1)),
		"WithResend":               joinIt(natsdispatch.WithResend(0)),
		"WithMaxHops":              joinIt(natsdispatch.WithMaxHops(0)),
		"WithVerify":               joinIt(natsdispatch.WithVerify(nil)),
		"nil ServeOption":          serveIt(nil),
		"nil JoinOption":           joinIt(nil),
	} {
		if !errors.Is(err, dispatch.ErrInvalidOption) {
			t.Errorf("%s: %v, want %v", what, err, dispatch.ErrInvalidOption)
		}
	}
	_, nilConn := natsdispatch.Serve(nil, d, measure)
	_, nilConnJoin := natsdispatch.Join(nil, d, measure)
	_, nilBus := natsdispatch.Serve[string, string](nc, nil, measure)
	_, nilOn := natsdispatch.Join[string, string](nc, d, nil)
	_, pattern := natsdispatch.Serve(nc, d, dispatch.NewPattern[string, string]("cell.>"))
	_, zero := natsdispatch.Join(nc, d, dispatch.Topic[string, string]{})
	for name, on := range map[string]dispatch.Selector[string, string]{
		"no topics": dispatch.AnyOf[string, string](), "a zero topic": dispatch.Topic[string, string]{},
		"a zero topic among others": dispatch.AnyOf(measure, dispatch.Topic[string, string]{}),
	} {
		if _, err := natsdispatch.Serve(nc, d, on); !errors.Is(err, dispatch.ErrInvalidArgument) {
			t.Errorf("Serve on %s: %v, want %v", name, err, dispatch.ErrInvalidArgument)
		}
		if _, err := natsdispatch.Join(nc, d, on); !errors.Is(err, dispatch.ErrInvalidArgument) {
			t.Errorf("Join on %s: %v, want %v", name, err, dispatch.ErrInvalidArgument)
		}
	}
	for what, err := range map[string]error{"nil connection": nilConn, "nil connection to Join": nilConnJoin, "nil dispatcher": nilBus, "nil selector": nilOn, "pattern": pattern, "zero topic": zero} {
		if !errors.Is(err, dispatch.ErrInvalidArgument) {
			t.Errorf("%s: %v, want %v", what, err, dispatch.ErrInvalidArgument)
		}
	}
	if err := serveIt(natsdispatch.WithMicro("not a version")); err == nil {
		t.Error("WithMicro takes any version")
	}
	if n := nc.NumSubscriptions(); n != 0 {
		t.Errorf("%d subscriptions are left behind by what failed", n)
	}
	join(t, nc, d, nil)
	if err := joinIt(); !errors.Is(err, dispatch.ErrDuplicate) {
		t.Errorf("a second Join of the same: %v, want %v", err, dispatch.ErrDuplicate)
	}
}
