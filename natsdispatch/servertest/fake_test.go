package servertest_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
)

// agent is a node that follows docs/wire-protocol.md without using natsdispatch.
type agent struct {
	testing.TB
	nc    *nats.Conn
	name  string
	epoch int64
	asked chan *nats.Msg

	mu       sync.Mutex // guards the fields below
	seq      map[string]int
	presence map[string]any
	said     int
}

// startAgent starts an agent that subscribes to the topic and announces itself.
func startAgent(t testing.TB, nc *nats.Conn, name string) *agent {
	t.Helper()
	a := &agent{TB: t, nc: nc, name: name, epoch: 1790000000000000, asked: make(chan *nats.Msg, 1000), seq: make(map[string]int), presence: map[string]any{
		"node": name, "topic": "cell.measure", "beat_ms": 60_000, "versions": []int{1}, "codecs": []string{"json"},
	}}
	if _, err := nc.ChanSubscribe("dispatch.v1.default.ask.cell.measure", a.asked); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Subscribe("dispatch.default.probe", func(m *nats.Msg) { a.announceTo(m.Reply, "beat", nil) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	a.announce("hello", nil)
	return a
}

// announce sends an announcement. The changes also apply to later announcements.
func (a *agent) announce(event string, change map[string]any) {
	a.mu.Lock()
	maps.Copy(a.presence, change)
	a.mu.Unlock()
	a.announceTo("dispatch.default.presence."+a.name+".cell.measure", event, nil)
}

// announceAs sends an announcement with the number seq.
func (a *agent) announceAs(event string, seq int) {
	a.announceTo("dispatch.default.presence."+a.name+".cell.measure", event, map[string]any{"seq": seq})
}

// announceTo sends an announcement to a subject. The changes apply to this announcement only.
func (a *agent) announceTo(subject, event string, change map[string]any) {
	a.mu.Lock()
	fields := maps.Clone(a.presence)
	fields["event"], fields["epoch"], fields["seq"] = event, a.epoch, a.said
	a.said++
	a.mu.Unlock()
	maps.Copy(fields, change)
	body, err := json.Marshal(fields)
	if err != nil {
		a.Error(err)
	}
	if err := a.nc.Publish(subject, body); err != nil {
		a.Error(err)
	}
	if err := a.nc.Flush(); err != nil {
		a.Error(err)
	}
}

// take waits for the next request.
func (a *agent) take() *nats.Msg {
	a.Helper()
	for {
		if m := receive(a, "a request to "+a.name, a.asked); m.Header.Get("Dispatch-Type") == "request" {
			return m
		}
	}
}

// say sends frames in one message.
func (a *agent) say(to *nats.Msg, frames ...string) {
	a.Helper()
	a.mu.Lock()
	seq := a.seq[to.Reply]
	a.seq[to.Reply]++
	a.mu.Unlock()
	a.sayAs(to, a.name, seq, frames...)
}

// sayAs sends frames in one message, under the name and the number that are given.
func (a *agent) sayAs(to *nats.Msg, node string, seq int, frames ...string) {
	a.Helper()
	m := nats.NewMsg(to.Reply)
	m.Header = nats.Header{
		"Dispatch-Version": {"1"}, "Dispatch-Node": {node},
		"Dispatch-Epoch": {strconv.FormatInt(a.epoch, 10)}, "Dispatch-Seq": {strconv.Itoa(seq)},
	}
	m.Data = []byte(strings.Join(frames, "\n") + "\n")
	if err := a.nc.PublishMsg(m); err != nil {
		a.Error(err)
	}
}

// value returns a result frame with a JSON string.
func value(member int, s string) string {
	v, _ := json.Marshal(s)
	return fmt.Sprintf("result %d %d %d\n%s", member, len(v), len(v), v)
}

// proxy forwards bytes between clients and a server, until the test cuts the connections.
type proxy struct {
	listener net.Listener
	server   string

	mu    sync.Mutex // guards the fields below
	cut   bool
	dead  chan struct{} // if not nil, the proxy forwards nothing until this is closed
	conns []net.Conn
}

func startProxy(t testing.TB, server string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, server: server}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.pass(client) })
		}
	})
	t.Cleanup(func() { l.Close(); p.set(true); running.Wait() })
	return p
}

func (p *proxy) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	if p.cut {
		p.mu.Unlock()
		return
	}
	p.conns = append(p.conns, client, server)
	p.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			p.forward(way[0], way[1])
			way[0].Close()
		})
	}
	both.Wait()
}

// forward copies bytes, and waits while the proxy is dead.
func (p *proxy) forward(to io.Writer, from io.Reader) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		dead := p.dead
		p.mu.Unlock()
		if dead != nil {
			<-dead
		}
		if n > 0 {
			_, failed := to.Write(buffer[:n])
			err = cmp.Or(err, failed)
		}
		if err != nil {
			return
		}
	}
}

// die stops forwarding, and leaves the connections open.
func (p *proxy) die() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = make(chan struct{})
}

// revive forwards what has arrived since die, over the same connections, and goes on.
func (p *proxy) revive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.dead)
	p.dead = nil
}

// set closes all connections, also after die. If cut is true, the proxy refuses new ones.
func (p *proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if p.dead != nil {
		close(p.dead)
		p.dead = nil
	}
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }
