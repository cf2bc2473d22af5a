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

// chronicle collects the events of a node or a remote, and what it logs.
type chronicle struct {
	mu     sync.Mutex // guards events
	events []natsdispatch.NodeEvent
	log    bytes.Buffer
}

// options returns options that send events and log lines to c. Errors are not logged apart from their
// events.
func (c *chronicle) options() []natsdispatch.Option {
	logger := slog.New(slog.NewTextHandler(&c.log, nil)) // the goroutine that calls add also writes to the log
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

// reads waits for these events, and fails if other events were told or the order is different.
func (c *chronicle) reads(t *testing.T, events ...string) {
	t.Helper()
	until(t, fmt.Sprintf("the event %s", events[len(events)-1]), func() bool { return len(c.list()) >= len(events) })
	if got := c.list(); !slices.Equal(got, events) {
		t.Errorf("events are %q, want %q", got, events)
	}
}

// Each change of a node is told as one event, in order, and logged once.
func TestEventsOfNodes(t *testing.T) {
	s := startServer(t)
	var told, farTold chronicle
	remote := join(t, connect(t, s.ClientURL()), newBus(), nil, told.join()...)
	beat := natsdispatch.WithBeat(50 * time.Millisecond)
	far := newBus()
	node := serve(t, connect(t, s.ClientURL()), far, "far", append(farTold.serve(), beat)...)
	told.reads(t, "came far")

	// Another process takes the name, while the first process still runs.
	twin := serve(t, connect(t, s.ClientURL()), newBus(), "far", beat, quiet)
	farTold.reads(t, "twin far")
	told.reads(t, "came far", "restarted far", "twin far")
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	closed := time.Now()
	until(t, "the other one to be heard", func() bool { // if the remote has heard the first process last, its bye is an event
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

	// A node whose connection breaks becomes silent. A node whose connection stays does not.
	nc := connect(t, s.ClientURL())
	serve(t, nc, newBus(), "other", beat, quiet)
	serve(t, connect(t, s.ClientURL()), newBus(), "steady", natsdispatch.WithBeat(time.Minute)) // a beat so long that load does not make this node silent
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

// Node and remote each tell once that the connection is down, and once that it is up again.
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

// If there is no server at first, the remote and the node tell that the connection is down, and later that
// it is up.
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

// A server that closes the connection of an asker because the asker reads too slowly does not give the
// reason to the asker. The event does.
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

// While a remote drops messages, it tells this once.
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
