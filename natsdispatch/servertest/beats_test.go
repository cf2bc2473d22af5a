package servertest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// serveMany serves 20 topics, so that the node announces itself on each topic less often than it beats.
func serveMany(t *testing.T, nc *nats.Conn, node string, opts ...natsdispatch.ServeOption) *natsdispatch.Node {
	t.Helper()
	var topics dispatch.Topics[string, string]
	for i := range 20 {
		topics = append(topics, dispatch.NewTopic[string, string](fmt.Sprint("cell.t", i)))
	}
	n, err := natsdispatch.Serve(nc, newBus(), topics, append([]natsdispatch.ServeOption{
		natsdispatch.WithNode(node), natsdispatch.WithBeat(500 * time.Millisecond), loud(t), unlogged,
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// A node of many topics sends one beat for all of them. The beat keeps the node present on each topic. When
// the beats stop, the node is silent on all topics.
func TestBeatForAllTopics(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var silent atomic.Int32
	remote, err := natsdispatch.Join(connect(t, s.ClientURL()), newBus(), dispatch.NewPattern[string, string]("cell.*"), loud(t), unlogged,
		natsdispatch.OnNode(func(e natsdispatch.NodeEvent) {
			if e.Kind == natsdispatch.NodeSilent && e.Node == "far" {
				silent.Add(1)
			}
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remote.Close() })
	serveMany(t, connect(t, s.ClientURL()), "near")
	beats := make(chan *nats.Msg, 1000)
	listener := connect(t, s.ClientURL())
	if _, err := listener.ChanSubscribe("dispatch.default.presence.far", beats); err != nil {
		t.Fatal(err)
	}
	if err := listener.Flush(); err != nil {
		t.Fatal(err)
	}
	nc := connect(t, s.ClientURL())
	serveMany(t, nc, "far")
	for seq := range 9 {
		var beat struct {
			Node    string
			Epoch   int64
			Seq     int
			Edition *int
		}
		m := receive(t, "a beat", beats)
		if err := json.Unmarshal(m.Data, &beat); err != nil || beat.Node != "far" || beat.Seq != seq || beat.Epoch == 0 || beat.Edition == nil {
			t.Errorf("beat %d: %s, %v", seq, m.Data, err)
			continue
		}
		if want := fmt.Sprintf(`{"node":"far","epoch":%d,"seq":%d,"edition":%d}`, beat.Epoch, seq, *beat.Edition); string(m.Data) != want {
			t.Errorf("beat %d is %s, want %s", seq, m.Data, want)
		}
	}
	if n := silent.Load(); n != 0 || remote.Stats().Nodes != 40 {
		t.Errorf("it was silent %d times, and %d nodes are present", n, remote.Stats().Nodes)
	}
	nc.Close()
	until(t, "the node to be silent", func() bool { return silent.Load() == 1 && remote.Stats().Nodes == 20 })
}

// An asker that has missed a change finds this by the edition of the next beat, and asks the node to
// announce itself.
func TestBeatOfAnotherEdition(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	near := newBus()
	a := startAgent(t, connect(t, s.ClientURL()), "far")
	a.announce("change", map[string]any{"node_beat_ms": 60_000, "edition": 1})
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"})
	told, groups := make(chan *nats.Msg, 100), make(chan *nats.Msg, 100)
	for subject, c := range map[string]chan *nats.Msg{"dispatch.v1.default.ask.cell.measure.=far": told, "dispatch.v1.default.group.g.cell.measure": groups} {
		if _, err := a.nc.ChanSubscribe(subject, c); err != nil {
			t.Fatal(err)
		}
	}
	beat := func(seq, edition int) {
		body := fmt.Sprintf(`{"node":"far","epoch":%d,"seq":%d,"edition":%d}`, a.epoch, seq, edition)
		for subject, body := range map[string]string{"dispatch.default.presence.far": body, "dispatch.default.presence.other": body} {
			if err := a.nc.Publish(subject, []byte(body)); err != nil {
				t.Fatal(err)
			}
		}
	}
	beat(0, 1)
	beat(1, 2)
	m := receive(t, "a question", told)
	if string(m.Data) != "tell\n" || m.Reply == "" {
		t.Fatalf("%s to %q", m.Data, m.Reply)
	}
	a.announceTo(m.Reply, "beat", map[string]any{"edition": 2, "groups": []string{"g"}})
	until(t, "the group", func() bool { return len(remote.Nodes()[0].Groups) == 1 })
	beat(2, 2)
	call := send(t, near, "x")
	receive(t, "a request to the group", groups)
	call.Cancel(nil)
	until(t, "the beats of another node", func() bool { return remote.Stats().Malformed == 3 })
	if len(told) != 0 {
		t.Errorf("asked once more: %s", (<-told).Data)
	}
}

// A node announces itself in answer to a tell.
func TestTell(t *testing.T) {
	s := startServer(t)
	node := serveMany(t, connect(t, s.ClientURL()), "far")
	nc := connect(t, s.ClientURL())
	m, err := nc.Request("dispatch.v1.default.ask.cell.t7.=far", []byte("tell\n"), patience)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"topic":"cell.t7"`, `"beat_ms":10000`, `"node_beat_ms":500`} {
		if !strings.Contains(string(m.Data), part) {
			t.Errorf("no %s in %s", part, m.Data)
		}
	}
	if err := nc.Publish("dispatch.v1.default.ask.cell.t7.=far", []byte("tell\n")); err != nil {
		t.Fatal(err)
	}
	until(t, "a question to nowhere", func() bool { return node.Stats().Malformed == 1 })
}

// An asker ignores a beat that the node has not signed.
func TestBeatIsSigned(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	sign := natsdispatch.WithSign(func(message []byte) ([]byte, error) { return message, nil })
	verify := natsdispatch.WithVerify(func(_ string, message, signature []byte) error {
		if !bytes.Equal(message, signature) {
			return natsdispatch.ErrUnverified
		}
		return nil
	})
	near := newBus()
	remote, err := natsdispatch.Join(connect(t, s.ClientURL()), near, dispatch.NewPattern[string, string]("cell.*"), loud(t), unlogged, verify)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remote.Close() })
	nc := connect(t, s.ClientURL())
	beats := make(chan *nats.Msg, 100)
	if _, err := nc.ChanSubscribe("dispatch.default.presence.far", beats); err != nil {
		t.Fatal(err)
	}
	serveMany(t, connect(t, s.ClientURL()), "far", sign)
	m := receive(t, "a beat", beats)
	receive(t, "another beat", beats) // this beat comes after the node has announced itself
	if n := remote.Stats().Unverified; n != 0 {
		t.Errorf("%d messages of the node are not believed", n)
	}
	m.Data = bytes.Replace(m.Data, []byte(`"seq":0`), []byte(`"seq":9`), 1)
	if err := nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	until(t, "the forgery to be counted", func() bool { return remote.Stats().Unverified == 1 })
}

// An asker that knows very many nodes lets them spread their answers to a probe over a part of the
// discovery, so that they answer later. An asker that knows few nodes does not.
func TestProbesAreSpread(t *testing.T) {
	s := startServer(t)
	nc := connect(t, s.ClientURL())
	probes := make(chan *nats.Msg, 10)
	if _, err := nc.ChanSubscribe("dispatch.default.probe", probes); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprint("n", i))
	}
	for _, c := range []struct {
		names []string
		want  string
	}{{many[:999], ""}, {many, "25"}} {
		remote := join(t, connect(t, s.ClientURL()), newBus(), nil, natsdispatch.WithNodes(c.names...))
		if got := receive(t, "a probe", probes).Header.Get("Dispatch-Spread"); got != c.want {
			t.Errorf("with %d nodes the answers are spread over %q ms, want %q", len(c.names), got, c.want)
		}
		remote.Close()
	}
	serve(t, connect(t, s.ClientURL()), newBus(), "far")
	for _, spread := range []string{"20", "0", "-1", "x"} {
		m := nats.NewMsg("dispatch.default.probe")
		m.Header.Set("Dispatch-Spread", spread)
		m.Data = []byte("cell.measure")
		if _, err := nc.RequestMsg(m, patience); err != nil {
			t.Errorf("spread over %s ms: %v", spread, err)
		}
	}
	m := nats.NewMsg("dispatch.default.probe") // no node may fail because of a number that is no time
	m.Header.Set("Dispatch-Spread", fmt.Sprint(math.MaxInt64))
	m.Reply, m.Data = nc.NewInbox(), []byte("cell.measure")
	if err := nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Request("dispatch.default.probe", []byte("cell.measure"), patience); err != nil {
		t.Errorf("after a probe with a very long spread: %v", err)
	}
}

// A node announces no shorter interval than that of its beats, which may be a part of a millisecond longer.
func TestIntervalIsRoundedUp(t *testing.T) {
	s := startServer(t)
	nc, far := connect(t, s.ClientURL()), newBus()
	said := make(chan *nats.Msg, 1000)
	if _, err := nc.ChanSubscribe("dispatch.default.presence.far.cell.measure", said); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	serve(t, connect(t, s.ClientURL()), far, "far", natsdispatch.WithBeat(time.Hour-time.Microsecond))
	var hello struct {
		BeatMS int64 `json:"beat_ms"`
	}
	if err := json.Unmarshal(receive(t, "the hello", said).Data, &hello); err != nil || hello.BeatMS != time.Hour.Milliseconds() {
		t.Errorf("the node says that it beats every %d ms, %v; want %d", hello.BeatMS, err, time.Hour.Milliseconds())
	}
}
