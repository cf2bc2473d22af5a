package servertest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// slowCodec waits until gate is closed before it reads a request or a result.
type slowCodec struct {
	natsdispatch.JSON
	gate <-chan struct{}
}

func (c slowCodec) Unmarshal(data []byte, v any) error {
	<-c.gate
	return c.JSON.Unmarshal(data, v)
}

func TestFaultSlowConsumerAsker(t *testing.T) {
	for name, limits := range map[string]natsdispatch.Option{
		"messages": natsdispatch.WithPendingLimits(10, 1<<20), "bytes": natsdispatch.WithPendingLimits(1<<20, 300),
	} {
		t.Run(name, func(t *testing.T) { testSlowConsumerAsker(t, limits) })
	}
}

func testSlowConsumerAsker(t *testing.T, limits natsdispatch.Option) {
	s := startServer(t)
	near := newBus()
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open() // otherwise the codec would block the end of the test
	var told failures
	a := startAgent(t, connect(t, s.ClientURL()), "far")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithCodec(slowCodec{gate: gate}),
		limits, natsdispatch.WithErrorHandler(told.add))
	call := send(t, near, "x")
	m := a.take()
	a.say(m, "accept m")
	named(t, call, 1)
	for i := range 100 {
		a.say(m, value(0, fmt.Sprint(i)))
	}
	until(t, "results to be dropped", func() bool { return remote.Stats().Dropped > 0 })
	open()
	until(t, "all the rest to be dealt with", func() bool {
		return call.Report().Outcomes[0].Results+int(remote.Stats().Dropped) == 100
	})
	a.say(m, "end 0 100 ok", "final 1 100")
	report := ended(t, call)
	want(t, report, dispatch.ReasonAllEnded, "far/m failed")
	if err := outcome(t, report, "far/m").Err; !errors.Is(err, dispatch.ErrLost) {
		t.Errorf("the member ends with %v, want %v", err, dispatch.ErrLost)
	}
	told.atLeast(t, 1)
	call = send(t, near, "y") // the remote still asks the node
	a.say(a.take(), "accept m", value(0, "v"), "end 0 1 ok", "final 1 1")
	want(t, ended(t, call), dispatch.ReasonAllEnded, "far/m ok")
	noMisuse(t, near)
}

func TestFaultSlowConsumerNode(t *testing.T) {
	s := startServer(t)
	far, near := newBus(), newBus()
	produce(t, far, "a", echo("a"))
	var told failures
	node := serve(t, connect(t, s.ClientURL()), far, "far", natsdispatch.WithPendingLimits(1, 1<<20), natsdispatch.WithErrorHandler(told.add), natsdispatch.WithBeat(200*time.Millisecond))
	join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithAcceptWindow(100*time.Millisecond))
	flood := connect(t, s.ClientURL())
	until(t, "requests to be dropped", func() bool {
		for range 1000 {
			if err := flood.Publish("dispatch.v1.default.ask.cell.measure", []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if err := flood.Flush(); err != nil {
			t.Fatal(err)
		}
		return node.Stats().Dropped > 0
	})
	until(t, "the error handler to be told", func() bool { return len(told.list()) > 0 })
	if err := told.list()[0]; !errors.Is(err, nats.ErrSlowConsumer) {
		t.Errorf("the error handler was told %v, want %v", err, nats.ErrSlowConsumer)
	}
	until(t, "the node to go on serving", func() bool { return ended(t, send(t, near, "x")).Complete() })
	noMisuse(t, near)
}

func TestFaultOverload(t *testing.T) {
	s := startServer(t)
	for name, c := range map[string]struct {
		bus  []dispatch.BusOption
		node []natsdispatch.ServeOption
	}{
		"of the bus":  {bus: []dispatch.BusOption{dispatch.WithMaxInFlight(1)}},
		"of the node": {node: []natsdispatch.ServeOption{natsdispatch.WithMaxRequests(1)}},
	} {
		t.Run(name, func(t *testing.T) {
			far, near := newBus(c.bus...), newBus()
			began := make(chan context.Context, 1)
			produce(t, far, "a", hang(began))
			nc := connect(t, s.ClientURL())
			serve(t, nc, far, "far", c.node...)
			join(t, connect(t, s.ClientURL()), near, []string{"far"})
			first := send(t, near, "x")
			receive(t, "the producer to begin", began)
			report := ended(t, send(t, near, "x"))
			want(t, report, dispatch.ReasonAllEnded, "far/* rejected")
			if err := outcome(t, report, "far/*").Err; !errors.Is(err, dispatch.ErrOverloaded) {
				t.Errorf("the node ends with %v, want %v", err, dispatch.ErrOverloaded)
			}
			first.Cancel(nil)
			noMisuse(t, near)
		})
	}
}

func TestFaultMaxSubscriptions(t *testing.T) {
	s := startServer(t, func(o *server.Options) { o.MaxSubs = 1 })
	far := newBus()
	if node, err := natsdispatch.Serve(connect(t, s.ClientURL()), far, measure, natsdispatch.WithNode("far")); !errors.Is(err, nats.ErrMaxSubscriptionsExceeded) {
		t.Errorf("Serve: %v, %v; want %v", node, err, nats.ErrMaxSubscriptionsExceeded)
	}
	near := newBus()
	if remote, err := natsdispatch.Join(connect(t, s.ClientURL()), near, measure); !errors.Is(err, nats.ErrMaxSubscriptionsExceeded) {
		t.Errorf("Join: %v, %v; want %v", remote, err, nats.ErrMaxSubscriptionsExceeded)
	}
	if n := len(near.Bus().Snapshot().Topics); n != 0 {
		t.Errorf("a Join that failed has left registrations on %d topics", n)
	}
}

// A refusal that comes after Serve has returned is an error of the node.
func TestFaultSubscriptionRefusedLater(t *testing.T) {
	s := startServer(t, func(o *server.Options) { o.MaxSubs = 4 })
	far := newBus()
	var told failures
	node := serve(t, connect(t, s.ClientURL()), far, "far", natsdispatch.WithBeat(20*time.Millisecond), natsdispatch.WithErrorHandler(told.add))
	produce(t, far, "r", echo("r"), dispatch.WithGroup("g"))
	until(t, "the node to fail", func() bool { return errors.Is(node.Err(), nats.ErrMaxSubscriptionsExceeded) })
	if n := len(told.atLeast(t, 1)); n != 1 {
		t.Errorf("the error handler was told %d times, want once", n)
	}
}

// Results that were given in time arrive, although the asker takes them in later than WithMaxBudget allows
// the node to work.
func TestResultsOfACappedRequestArrive(t *testing.T) {
	t.Parallel()
	const results, budget = 50, 100 * time.Millisecond
	s := startServer(t)
	far, near := newBus(), newBus()
	if _, err := far.AddStreamProducer(measure, func(context.Context, string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for range results {
				yield(strings.Repeat("x", 1000), nil)
			}
		}
	}, dispatch.WithName("m")); err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	serve(t, connect(t, s.ClientURL()), far, "far", quiet, natsdispatch.WithMaxBudget(budget))
	join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithCodec(slowCodec{gate: gate}), natsdispatch.WithWindow(16<<10))
	call := send(t, near, "x", dispatch.WithTimeout(time.Minute))
	time.AfterFunc(3*budget/2, func() { close(gate) })
	r := ended(t, call)
	want(t, r, dispatch.ReasonAllEnded, "far/m ok")
	if got := outcome(t, r, "far/m").Results; got != results {
		t.Errorf("%d results have arrived, want %d", got, results)
	}
}

// A node counts what it drops of any kind of message, and not only of requests.
func TestDroppedMessagesOfAnyKind(t *testing.T) {
	s := startServer(t)
	for kind, publish := range map[string]func(*nats.Conn) error{
		"lines": func(nc *nats.Conn) error {
			return nc.PublishRequest("dispatch.v1.default.ask.cell.measure.=far", "reply", []byte("tell\n"))
		},
		"probes": func(nc *nats.Conn) error {
			return nc.PublishRequest("dispatch.default.probe", "reply", []byte("cell.measure"))
		},
		"announcements": nil,
	} {
		var blocks atomic.Bool
		release := make(chan struct{})
		sign := func([]byte) ([]byte, error) {
			if blocks.Load() {
				<-release
			}
			return []byte("signature"), nil
		}
		handle := func(error) {
			if blocks.Load() {
				<-release
			}
		}
		far, nc := connect(t, s.ClientURL()), connect(t, s.ClientURL())
		node := serve(t, far, newBus(), "far", natsdispatch.WithSign(sign), natsdispatch.WithPendingLimits(1, 1<<20),
			natsdispatch.WithErrorHandler(handle))
		blocks.Store(true)
		for i := range 100 {
			var err error
			if publish != nil {
				err = publish(nc)
			} else {
				err = nc.Publish("dispatch.default.presence.far.cell.measure", fmt.Appendf(nil, `{"node":"far","topic":"cell.measure","event":"beat","epoch":%d}`, i+1))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		until(t, "the "+kind+" to arrive", func() bool { return far.Stats().InMsgs >= 100 })
		close(release)
		until(t, "the "+kind+" to be counted", func() bool { return node.Stats().Dropped > 0 })
		node.Close()
	}
}
