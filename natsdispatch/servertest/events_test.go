package servertest_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// chronicle collects events, as the function and the logger are told of them.
type chronicle struct {
	mu     sync.Mutex
	events []natsdispatch.NodeEvent
	log    bytes.Buffer
}

// options are those by which a side writes into it. Errors are left to the events.
func (c *chronicle) options() []natsdispatch.Option {
	logger := slog.New(slog.NewTextHandler(&c.log, nil)) // written to on the goroutine that adds
	return []natsdispatch.Option{natsdispatch.OnNode(c.add), natsdispatch.WithLogger(logger)}
}

func (c *chronicle) join() (opts []natsdispatch.JoinOption) {
	for _, o := range c.options() {
		opts = append(opts, o)
	}
	return append(opts, quiet)
}

func (c *chronicle) serve() (opts []natsdispatch.ServeOption) {
	for _, o := range c.options() {
		opts = append(opts, o)
	}
	return append(opts, quiet)
}

func (c *chronicle) add(e natsdispatch.NodeEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
}

func (c *chronicle) list() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		all = append(all, strings.TrimSpace(fmt.Sprint(e.Kind, " ", e.Node)))
	}
	return all
}

// reads waits until these events and no others were told, in this order.
func (c *chronicle) reads(t *testing.T, events ...string) {
	t.Helper()
	until(t, fmt.Sprintf("the event %s", events[len(events)-1]), func() bool { return len(c.list()) >= len(events) })
	if got := c.list(); !slices.Equal(got, events) {
		t.Errorf("events are %q, want %q", got, events)
	}
}

// Whatever happens to a node is told once, in its order, and logged once.
func TestEventsOfNodes(t *testing.T) {
	s := startServer(t)
	var told, farTold chronicle
	remote := join(t, connect(t, s.ClientURL()), newBus(), nil, told.join()...)
	beat := natsdispatch.WithBeat(50 * time.Millisecond)
	far := newBus()
	node := serve(t, connect(t, s.ClientURL()), far, "far", append(farTold.serve(), beat)...)
	told.reads(t, "came far")

	// Another process takes the name, while the first goes on.
	twin := serve(t, connect(t, s.ClientURL()), newBus(), "far", beat, quiet)
	farTold.reads(t, "twin far")
	told.reads(t, "came far", "restarted far", "twin far")
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	closed := time.Now()
	until(t, "the other one to be heard", func() bool { // the first one's bye was an event if it was heard last
		nodes := remote.Nodes()
		all := told.list()
		return len(nodes) == 1 && nodes[0].Heard.After(closed) && all[len(all)-1] != "left far"
	})
	if err := twin.Close(); err != nil {
		t.Fatal(err)
	}
	var before []string
	until(t, "both to be gone", func() bool {
		nodes := remote.Nodes()
		before = told.list()
		return len(nodes) == 0 && before[len(before)-1] == "left far"
	})

	// One whose connection breaks is silent, and one that stays is heard.
	nc := connect(t, s.ClientURL())
	serve(t, nc, newBus(), "other", beat, quiet)
	serve(t, connect(t, s.ClientURL()), newBus(), "steady", natsdispatch.WithBeat(time.Minute)) // which no load makes silent as well
	until(t, "both to come", func() bool { return len(remote.Nodes()) == 2 })
	nc.Close()
	told.reads(t, append(before, "came other", "came steady", "silent other")...)

	if err := remote.Close(); err != nil {
		t.Fatal(err)
	}
	all := told.list()
	lines := strings.Split(strings.TrimSpace(told.log.String()), "\n")
	if len(lines) != len(all) {
		t.Errorf("%d lines are logged for %d events:\n%s", len(lines), len(all), told.log.String())
	}
	if n := strings.Count(told.log.String(), "level=WARN"); n != 3 {
		t.Errorf("%d warnings are logged, want those of the restart, the twin and the silence:\n%s", n, told.log.String())
	}
	if n := remote.Stats().Missed; n != 0 {
		t.Errorf("%d events were missed", n)
	}
}

// Both sides tell when the connection breaks and when it is back, once each.
func TestEventsOfTheConnection(t *testing.T) {
	s := startServer(t)
	port := s.Addr().(*net.TCPAddr).Port
	var near, far chronicle
	nc := connect(t, s.ClientURL())
	join(t, nc, newBus(), nil, near.join()...)
	farNC := connect(t, s.ClientURL())
	serve(t, farNC, newBus(), "far", far.serve()...)
	near.reads(t, "came far")
	s.Shutdown()
	near.reads(t, "came far", "connection down")
	far.reads(t, "connection down")
	startServer(t, onPort(port))
	near.reads(t, "came far", "connection down", "connection up")
	far.reads(t, "connection down", "connection up")
	nc.Close()
	farNC.Close()
	near.reads(t, "came far", "connection down", "connection up", "connection closed")
	far.reads(t, "connection down", "connection up", "connection closed")
}

// If there is no server at first, that is said, and so is when there is one.
func TestEventsWithoutAServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	var near, far chronicle
	url := fmt.Sprint("nats://127.0.0.1:", port)
	join(t, connect(t, url), newBus(), nil, near.join()...)
	serve(t, connect(t, url), newBus(), "far", far.serve()...)
	near.reads(t, "connection down")
	startServer(t, onPort(port))
	far.reads(t, "connection down", "connection up")
	near.reads(t, "connection down", "connection up", "came far")
}

// A server that cuts the asker off because it reads too slowly does not say so; the event does.
func TestEventOfASlowConsumer(t *testing.T) {
	s := startServer(t, func(o *server.Options) { o.MaxPending = 1 << 20 })
	p := startProxy(t, s.Addr().String())
	var told chronicle
	nc := connect(t, p.url())
	join(t, nc, newBus(), nil, told.join()...)
	inbox, err := nc.SubscribeSync("flood")
	if err != nil {
		t.Fatal(err)
	}
	if err := inbox.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	p.die()
	flood := connect(t, s.ClientURL())
	until(t, "the server to cut the asker off", func() bool {
		if err := flood.Publish("flood", make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
		return s.NumSlowConsumers() > 0
	})
	p.revive()
	told.reads(t, "connection down", "connection up")
	told.mu.Lock()
	defer told.mu.Unlock()
	if text := told.events[0].String(); !strings.Contains(text, "slow consumer") {
		t.Errorf("the event says: %s", text)
	}
}

// What a side drops itself is told once for as long as it goes on.
func TestEventOfDroppedMessages(t *testing.T) {
	s := startServer(t)
	var told chronicle
	nc := connect(t, s.ClientURL())
	remote := join(t, nc, newBus(), nil, append(told.join(), natsdispatch.WithPendingLimits(1, 1))...)
	other := connect(t, s.ClientURL())
	until(t, "messages to be dropped", func() bool {
		for range 100 {
			if err := other.PublishMsg(&nats.Msg{Subject: "dispatch.default.presence.far." + measure.Name(), Data: make([]byte, 1000)}); err != nil {
				t.Fatal(err)
			}
		}
		return remote.Stats().Dropped > 0 && len(told.list()) > 0
	})
	told.reads(t, "slow consumer")
}
