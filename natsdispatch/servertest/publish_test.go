package servertest_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// overhear subscribes to a subject, and returns a function that waits for the next message.
func overhear(t testing.TB, nc *nats.Conn, subject string) (next func() *nats.Msg) {
	t.Helper()
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return func() *nats.Msg {
		t.Helper()
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		return m
	}
}

// The bytes of a published result are part of the protocol.
func TestGoldenPublishedResult(t *testing.T) {
	s := startServer(t)
	next := overhear(t, connect(t, s.ClientURL()), "dispatch.v1.default.result.>")
	far, near := newBus(), newBus()
	produce(t, far, "site 1", echo("v"))
	produce(t, far, "r", echo("w"), dispatch.WithGroup("g"))
	serve(t, connect(t, s.ClientURL()), far, "cell 7", natsdispatch.WithPublish(), natsdispatch.WithTypes("t1"))
	join(t, connect(t, s.ClientURL()), near, []string{"cell 7"}, natsdispatch.WithTypes("t1"))
	vary := map[string]string{`Epoch: \d{16}`: "Epoch: E"}
	for i, ask := range []struct{ target, want string }{
		{"site 1", `dispatch.v1.default.result.cell=207.cell.measure
Dispatch-Call: 1
Dispatch-Codec: json
Dispatch-Epoch: E
Dispatch-Member: site=201
Dispatch-Node: cell=207
Dispatch-Seq: 0
Dispatch-Type: result
Dispatch-Types: t1
Dispatch-Version: 1
"v=x"`},
		{"g", `dispatch.v1.default.result.cell=207.cell.measure
Dispatch-Call: 2
Dispatch-Codec: json
Dispatch-Epoch: E
Dispatch-Member: g/r
Dispatch-Node: cell=207
Dispatch-Seq: 1
Dispatch-Type: result
Dispatch-Types: t1
Dispatch-Version: 1
"w=x"`},
	} {
		ended(t, send(t, near, "x", dispatch.WithTargets(ask.target)))
		if got := onTheWire(next(), vary); got != ask.want {
			t.Errorf("result %d:\n%s\nwant:\n%s", i, got, ask.want)
		}
	}
}

// The node of a member publishes each of its results once, also if another node's bus has sent the call.
func TestPublishedOnceWhoeverAsks(t *testing.T) {
	s := startServer(t)
	next := overhear(t, connect(t, s.ClientURL()), "dispatch.v1.default.result.>")
	a, b := newBus(), newBus()
	produce(t, a, "m", echo("a"))
	produce(t, b, "m", echo("b"))
	ncA, ncB := connect(t, s.ClientURL()), connect(t, s.ClientURL())
	nodeA := serve(t, ncA, a, "a", natsdispatch.WithPublish())
	nodeB := serve(t, ncB, b, "b", natsdispatch.WithPublish())
	join(t, ncA, a, []string{"b"})
	want(t, ended(t, send(t, a, "x")), dispatch.ReasonAllEnded, "m ok", "b/m ok")
	// Drain returns after the last result is published.
	for _, n := range []*natsdispatch.Node{nodeA, nodeB} {
		if err := n.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	}
	end := overhear(t, ncB, "dispatch.v1.default.result.end")
	if err := ncB.Publish("dispatch.v1.default.result.end", nil); err != nil {
		t.Fatal(err)
	}
	end()
	heard := map[string]int{}
	for m := next(); !strings.HasSuffix(m.Subject, ".end"); m = next() {
		heard[m.Header.Get("Dispatch-Node")+" "+string(m.Data)]++
	}
	if len(heard) != 2 || heard[`a "a=x"`] != 1 || heard[`b "b=x"`] != 1 {
		t.Errorf("published: %v", heard)
	}
}

// A node that is drained publishes the results of calls that ended before. A node that is closed has no
// listener left on the bus.
func TestPublishingEndsWithTheNode(t *testing.T) {
	s := startServer(t)
	nc := connect(t, s.ClientURL())
	next := overhear(t, nc, "dispatch.v1.default.result.>")
	d := newBus()
	produce(t, d, "m", echo("v"))
	first := serve(t, connect(t, s.ClientURL()), d, "first", natsdispatch.WithPublish())
	ended(t, send(t, d, "1"))
	if err := first.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := serve(t, connect(t, s.ClientURL()), d, "second", natsdispatch.WithPublish())
	ended(t, send(t, d, "2"))
	if m := next(); string(m.Data) != `"v=1"` || m.Header.Get("Dispatch-Node") != "first" {
		t.Errorf("first %s: %s", m.Subject, m.Data)
	}
	if m := next(); string(m.Data) != `"v=2"` || m.Header.Get("Dispatch-Node") != "second" {
		t.Errorf("second %s: %s", m.Subject, m.Data)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	for _, topic := range d.Bus().Snapshot().Topics {
		if len(topic.Listeners) != 0 {
			t.Errorf("listeners that are left: %v", topic.Listeners)
		}
	}
}

// A result that cannot be published is counted, and its number is skipped. The first such error is
// reported. The asker gets the result.
func TestUnpublishedResultsLeaveGaps(t *testing.T) {
	s := startServer(t)
	next := overhear(t, connect(t, s.ClientURL()), "dispatch.v1.default.result.>")
	far, near := newBus(), newBus()
	produce(t, far, "m", func(_ context.Context, req string) (string, error) {
		if req == "large" {
			return strings.Repeat("x", 2<<20), nil
		}
		return req, nil
	})
	var failed failures
	node, err := natsdispatch.Serve(connect(t, s.ClientURL()), far, measure,
		natsdispatch.WithNode("far"), natsdispatch.WithPublish(), natsdispatch.WithErrorHandler(failed.add))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	for _, req := range []string{"a", "large", "large", "b"} {
		want(t, ended(t, send(t, near, req)), dispatch.ReasonAllEnded, "far/m ok")
	}
	for _, want := range []string{"0 a", "3 b"} {
		m := next()
		if got := m.Header.Get("Dispatch-Seq") + " " + strings.Trim(string(m.Data), `"`); got != want {
			t.Errorf("heard %q, want %q", got, want)
		}
	}
	if all := failed.list(); len(all) != 1 || !errors.Is(all[0], natsdispatch.ErrTooLarge) {
		t.Errorf("reported: %v", all)
	}
	if n := node.Stats().Unsent; n != 2 {
		t.Errorf("%d results unsent, want 2", n)
	}
}

// The signature of a published result covers its value, member, call, node, boot id and number.
func TestPublishedResultsAreSigned(t *testing.T) {
	s := startServer(t)
	next := overhear(t, connect(t, s.ClientURL()), "dispatch.v1.default.result.>")
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	d := newBus()
	produce(t, d, "m", echo("v"))
	serve(t, connect(t, s.ClientURL()), d, "cell", natsdispatch.WithPublish(), natsdispatch.WithSign(natsdispatch.SignNKey(pair)))
	ended(t, send(t, d, "x"))
	m := next()
	signature, err := base64.RawURLEncoding.DecodeString(m.Header.Get("Dispatch-Signature"))
	if err != nil {
		t.Fatal(err)
	}
	message := "dispatch-v1 dispatch.default\nresult.cell.measure " + m.Header.Get("Dispatch-Call") + " m\ncell\n" + m.Header.Get("Dispatch-Epoch") + "\n0\n" + `"v=x"`
	if err := pair.Verify([]byte(message), signature); err != nil {
		t.Errorf("the signature of %q: %v", message, err)
	}
}

// An answer to a probe has the members and the number of requests in flight if the probe asks for them, and
// only then. The bytes are part of the protocol.
func TestGoldenDetail(t *testing.T) {
	s := startServer(t)
	nc := connect(t, s.ClientURL())
	inbox := nc.NewInbox()
	next := overhear(t, nc, inbox)
	d := newBus()
	began := make(chan context.Context, 1)
	produce(t, d, "site 1", echo("v"))
	produce(t, d, "hangs", hang(began))
	produce(t, d, "r1", echo("v"), dispatch.WithGroup("g"))
	produce(t, d, "r2", echo("v"), dispatch.WithGroup("g"))
	serve(t, connect(t, s.ClientURL()), d, "cell", natsdispatch.WithPublish(), natsdispatch.WithTypes("t1"), natsdispatch.WithBeat(time.Hour))
	near := newBus()
	join(t, connect(t, s.ClientURL()), near, []string{"cell"}, natsdispatch.WithTypes("t1"))
	call := send(t, near, "x", dispatch.WithTargets("hangs"))
	defer call.Cancel(nil)
	receive(t, "the producer to begin", began)
	probe := func(h nats.Header) string {
		m := nats.NewMsg("dispatch.default.probe")
		m.Header, m.Reply, m.Data = h, inbox, []byte("cell.*")
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
		answer := next()
		answer.Subject, answer.Header = "", nil
		return strings.TrimSpace(onTheWire(answer, map[string]string{`"epoch":\d{16},"seq":\d+`: `"epoch":E,"seq":N`, `"bus":"[^"]*"`: `"bus":"B"`}))
	}
	const plain = `{"node":"cell","topic":"cell.measure","event":"beat","epoch":E,"seq":N,"beat_ms":3600000,"versions":[1,2],"types":"t1","codecs":["json","gob"],"groups":["g"],"bus":"B"`
	if got, want := probe(nil), plain+`}`; got != want {
		t.Errorf("the answer is\n%s\nwant\n%s", got, want)
	}
	if got, want := probe(nats.Header{"Dispatch-Detail": {"1"}}), plain+`,"detail":{"members":["g/","hangs","site=201"],"count":3,"in_flight":1,"publishes":true}}`; got != want {
		t.Errorf("the answer is\n%s\nwant\n%s", got, want)
	}
}

// If the names of the members do not all fit into a message, the count still has all members.
func TestDetailOfManyMembersFits(t *testing.T) {
	s := startServer(t, func(o *server.Options) { o.MaxPayload = 8 << 10 })
	nc := connect(t, s.ClientURL())
	inbox := nc.NewInbox()
	next := overhear(t, nc, inbox)
	d := newBus()
	const members = 200
	for i := range members {
		produce(t, d, strings.Repeat("n", 100)+string(rune('A'+i%26))+strings.Repeat("m", i/26), echo("v"))
	}
	serve(t, connect(t, s.ClientURL()), d, "cell")
	m := nats.NewMsg("dispatch.default.probe")
	m.Header, m.Reply, m.Data = nats.Header{"Dispatch-Detail": {"1"}}, inbox, []byte(">")
	if err := nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	var a struct {
		Detail struct {
			Members []string
			Count   int
		}
	}
	if err := json.Unmarshal(next().Data, &a); err != nil {
		t.Fatal(err)
	}
	if n := len(a.Detail.Members); n == 0 || n >= members || a.Detail.Count != members {
		t.Errorf("%d members are named and %d counted, want some and %d", n, a.Detail.Count, members)
	}
}

// blockingCodec is JSON that calls before for each value that it writes.
type blockingCodec struct {
	natsdispatch.JSON
	before func()
}

func (c blockingCodec) Marshal(v any) ([]byte, error) {
	c.before()
	return c.JSON.Marshal(v)
}

// A node that is drained publishes the results that wait to be published, and then sends its bye.
func TestDrainPublishesWhatWaits(t *testing.T) {
	s := startServer(t)
	next := overhear(t, connect(t, s.ClientURL()), "dispatch.>")
	d := newBus()
	produce(t, d, "m", echo("v"))
	writing, draining := make(chan struct{}, 2), make(chan struct{})
	node := serve(t, connect(t, s.ClientURL()), d, "cell", natsdispatch.WithPublish(), natsdispatch.WithCodec(blockingCodec{before: func() {
		writing <- struct{}{}
		<-draining
	}}))
	ended(t, send(t, d, "1"))
	receive(t, "the first result to be written", writing)
	ended(t, send(t, d, "2"))
	drained := make(chan error, 1)
	go func() { drained <- node.Drain(t.Context()) }()
	until(t, "the node to stop listening to its bus", func() bool {
		for _, topic := range d.Bus().Snapshot().Topics {
			if len(topic.Listeners) != 0 {
				return false
			}
		}
		return true
	})
	close(draining)
	if err := receive(t, "the end of the drain", drained); err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) == 0 || got[len(got)-1] != "bye" {
		m := next()
		var a struct{ Event string }
		switch {
		case strings.Contains(m.Subject, ".result."):
			got = append(got, string(m.Data))
		case json.Unmarshal(m.Data, &a) == nil && a.Event == "bye":
			got = append(got, a.Event)
		}
	}
	if want := []string{`"v=1"`, `"v=2"`, "bye"}; !slices.Equal(got, want) {
		t.Errorf("heard %q, want %q", got, want)
	}
}
