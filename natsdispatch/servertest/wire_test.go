package servertest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// onTheWire returns a message as text: the subject, the headers in order, and the body. vary replaces what
// differs from run to run.
func onTheWire(m *nats.Msg, vary map[string]string) string {
	var b strings.Builder
	fmt.Fprintln(&b, m.Subject)
	var keys []string
	for k := range m.Header {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(&b, "%s: %s\n", k, strings.Join(m.Header[k], "|"))
	}
	b.Write(m.Data)
	text := b.String()
	for pattern, with := range vary {
		text = regexp.MustCompile(pattern).ReplaceAllString(text, with)
	}
	return text
}

// A node that does not know version 2 gets a request of version 1, which says that the asker also knows
// version 2.
func TestGoldenRequestOfVersion1(t *testing.T) {
	s := startServer(t)
	near := newBus()
	a := startAgent(t, connect(t, s.ClientURL()), "far")
	join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithTypes("t1"), natsdispatch.WithTraceContext(
		func(_ context.Context, set func(key, value string)) { set("Traceparent", "00-1") }, nil))
	call := send(t, near, "x")
	m := a.take()
	got := onTheWire(m, map[string]string{`Budget: \d{8}`: "Budget: N", `Call: \w{22}\.\d+`: "Call: J.N", `Path: \S+`: "Path: B"})
	if want := `dispatch.v1.default.ask.cell.measure
Dispatch-Budget: N
Dispatch-Call: J.N
Dispatch-Codec: json
Dispatch-Names: numbered
Dispatch-Path: B
Dispatch-Type: request
Dispatch-Types: t1
Dispatch-Version: 1
Dispatch-Window: 8388608
traceparent: 00-1
"x"`; got != want {
		t.Errorf("request:\n%s\nwant:\n%s", got, want)
	}
	a.say(m, "accept m", value(0, "v"), "end 0 1 ok", "final 1 1")
	want(t, ended(t, call), dispatch.ReasonAllEnded, "far/m ok")
}

// These messages are the protocol. Other programs depend on their bytes.
func TestGoldenMessages(t *testing.T) {
	s := startServer(t)
	nc := connect(t, s.ClientURL())
	all, err := nc.SubscribeSync("dispatch.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	next := func(what string) *nats.Msg {
		t.Helper()
		for {
			m, err := all.NextMsg(patience)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if !strings.Contains(m.Subject, ".=") { // askers may send messages about replies at any time
				return m
			}
		}
	}
	compare := func(what string, m *nats.Msg, want string, vary map[string]string) {
		t.Helper()
		if got := onTheWire(m, vary); got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
		}
	}
	epoch := map[string]string{`"epoch":\d{16},`: `"epoch":E,`, `"bus":"[^"]*"`: `"bus":"B"`}

	far, near := newBus(), newBus()
	produce(t, far, "site 1", echo("v"))
	produce(t, far, "r", echo("v"), dispatch.WithGroup("g"))
	node := serve(t, connect(t, s.ClientURL()), far, "cell 7", natsdispatch.WithTypes("t1"), natsdispatch.WithBeat(time.Hour))
	compare("hello", next("hello"), `dispatch.default.presence.cell=207.cell.measure
{"node":"cell 7","topic":"cell.measure","event":"hello","epoch":E,"seq":0,"beat_ms":3600000,"versions":[1,2],"types":"t1","codecs":["json","gob"],"groups":["g"],"bus":"B"}`, epoch)

	remote := join(t, connect(t, s.ClientURL()), near, []string{"cell 7"}, natsdispatch.WithTypes("t1"), natsdispatch.WithDiscovery(time.Millisecond))
	joined := time.Now()
	until(t, "nobody to be looked for any more", func() bool { return time.Since(joined) > 10*time.Millisecond })
	compare("probe", next("probe"), "dispatch.default.probe\ncell.measure", nil)

	want(t, ended(t, send(t, near, "x", dispatch.WithTargets("site 1", "g"))), dispatch.ReasonAllEnded, "cell 7/site 1 ok", "cell 7/g ok")
	request := map[string]string{`Budget: \d{8}`: "Budget: N", `Call: \w{22}\.\d+`: "Call: J.N", `Path: \S+`: "Path: B"}
	toAll := next("request")
	compare("request", toAll, `dispatch.v1.default.ask.cell.measure
v2 request
Dispatch-Budget: N
Dispatch-Call: J.N
Dispatch-Codec: json
Dispatch-Path: B
Dispatch-Targets: site=201 g
Dispatch-Type: request
Dispatch-Types: t1
Dispatch-Version: 2
Dispatch-Window: 4194304

"x"`, request)
	compare("request to a group", next("request"), `dispatch.v1.default.group.g.cell.measure
v2 request
Dispatch-Budget: N
Dispatch-Call: J.N
Dispatch-Codec: json
Dispatch-Group: g
Dispatch-Path: B
Dispatch-Targets: site=201 g
Dispatch-Type: request
Dispatch-Types: t1
Dispatch-Version: 2
Dispatch-Window: 4194304

"x"`, request)
	if micros, err := strconv.Atoi(regexp.MustCompile(`Budget: (\d+)`).FindStringSubmatch(string(toAll.Data))[1]); err != nil || micros > int(patience.Microseconds()) || micros < 20_000_000 {
		t.Errorf("the budget is %d microseconds, %v; want nearly %v", micros, err, patience)
	}

	// The test sends the request itself, so that it can read the replies.
	inbox, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	again := nats.NewMsg(toAll.Subject)
	again.Data, again.Reply = []byte(`"x"`), inbox.Subject
	again.Header = nats.Header{
		"Dispatch-Version": {"1"}, "Dispatch-Type": {"request"}, "Dispatch-Call": {"by-hand"}, "Dispatch-Budget": {"20000000"},
		"Dispatch-Codec": {"json"}, "Dispatch-Targets": {"site=201 g"}, "Dispatch-Types": {"t1"},
	}
	if err := nc.PublishMsg(again); err != nil {
		t.Fatal(err)
	}
	next("the request by hand")
	reply := ""
	for seq := 0; !strings.Contains(reply, "final"); seq++ {
		m, err := inbox.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		body := m.Data
		m.Subject, m.Data = "reply", nil
		compare("headers of the reply", m, fmt.Sprintf(`reply
Dispatch-Epoch: E
Dispatch-Node: cell=207
Dispatch-Seq: %d
Dispatch-Version: 1
`, seq), map[string]string{`Epoch: \d{16}`: "Epoch: E"})
		reply += string(body)
	}
	const accept, value, end, final = "accept site=201\n", "result 0 5 5\n\"v=x\"\n", "end 0 1 ok\n", "final 1 1\n"
	if reply != accept+value+end+final && reply != accept+end+value+final { // an end may come before its result
		t.Errorf("the reply is %q, want %q", reply, accept+value+end+final)
	}

	// A request for version 2 gets a reply without headers. If the producers were quick, the reply is one
	// frame.
	again.Header["Dispatch-Window"] = []string{"1000000"}
	var m *nats.Msg
	id := ""
	until(t, "a reply in one message", func() bool {
		id += "i"
		again.Header["Dispatch-Call"] = []string{id}
		if err := nc.PublishMsg(again); err != nil {
			t.Fatal(err)
		}
		next("the request of version 2")
		for m = nil; m == nil || !strings.Contains(string(m.Data), "\nall ") && !strings.Contains(string(m.Data), "\nfinal "); {
			if m, err = inbox.NextMsg(patience); err != nil {
				t.Fatal(err)
			}
		}
		return strings.Contains(string(m.Data), "\nall ")
	})
	m.Subject = "reply"
	whole := "reply\nv2 cell=207 E 0000000000\nall 7 site=201\n[\"v=x\"]\n"
	compare("reply of version 2", m, whole, map[string]string{` \d{16}`: " E"})
	// The same request again does not run the producer. The node sends the same reply.
	if err := nc.PublishMsg(again); err != nil {
		t.Fatal(err)
	}
	next("the request of version 2, again")
	if m, err = inbox.NextMsg(patience); err != nil {
		t.Fatal(err)
	}
	m.Subject = "reply"
	compare("reply to the same request", m, whole, map[string]string{` \d{16}`: " E"})
	acks := toAll.Subject + ".=cell=207"
	for _, c := range []struct{ what, say, want string }{
		{"what was sent again", "resume " + id + " 0 2000000\n", whole},
		{"that nothing is missing", "resume " + id + " 1 2000000\n", "reply\nv2 cell=207 E 0000000001\n"},
		{"what was not acknowledged", "ack " + id + " 1 2000000\nresume " + id + " 1 2000000\n", "reply\nv2 cell=207 E 0000000001\n"},
		{"that it is forgotten", "done " + id + "\nresume " + id + " 0 2000000\n", "reply\nv2 cell=207 E -\nforgotten\n"},
	} {
		if err := nc.PublishRequest(acks, inbox.Subject, []byte(c.say)); err != nil {
			t.Fatal(err)
		}
		m, err := inbox.NextMsg(patience)
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		m.Subject = "reply"
		compare(c.what, m, c.want, map[string]string{` \d{16}`: " E"})
	}

	began := make(chan context.Context, 1)
	produce(t, far, "hangs", hang(began))
	call := send(t, near, "y")
	next("request")
	next("request to the group")
	receive(t, "the producer to begin", began)
	named(t, call, 2)
	call.Cancel(errors.New(`the "operator" has pressed stop`))
	compare("cancel", next("cancel"), `dispatch.v1.default.ask.cell.measure
Dispatch-Call: J.N
Dispatch-Type: cancel
Dispatch-Version: 1
- "the \"operator\" has pressed stop"`, request)

	if err := remote.Close(); err != nil {
		t.Fatal(err)
	}
	if err := node.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, event := range []string{"change", "bye"} {
		m := next(event)
		var a struct {
			Event    string
			Draining bool
		}
		if err := json.Unmarshal(m.Data, &a); err != nil || a.Event != event || !a.Draining {
			t.Errorf("announced %s, %v; want a %s that says that it drains", m.Data, err, event)
		}
	}
}

// Errors arrive at the asker with the errors that they wrap. Tools that do not know the protocol find them
// in the usual headers of services.
func TestErrorsOnTheWire(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	produce(t, far, "goexits", func(context.Context, string) (string, error) { return "", dispatch.ErrGoexit })
	produce(t, far, "nested", func(context.Context, string) (string, error) {
		return "", fmt.Errorf("the one behind it: %w", dispatch.ErrGone)
	})
	produce(t, far, "own", func(context.Context, string) (string, error) { return "", errors.New("line 1\nline 2") })
	serve(t, connect(t, s.ClientURL()), far, "far")
	nc := connect(t, s.ClientURL())
	join(t, nc, near, []string{"far"})
	report := ended(t, send(t, near, "x"))
	if o := outcome(t, report, "far/goexits"); o.State != dispatch.StateFailed || !errors.Is(o.Err, dispatch.ErrGoexit) {
		t.Errorf("%v is %v with %v", o.Member, o.State, o.Err)
	}
	if o := outcome(t, report, "far/nested"); o.State != dispatch.StateFailed {
		t.Errorf("%v is %v with %v; somebody else has gone, and not it", o.Member, o.State, o.Err)
	}
	var remote *natsdispatch.RemoteError
	if o := outcome(t, report, "far/own"); o.State != dispatch.StateFailed || !errors.As(o.Err, &remote) || remote.Node != "far" || remote.Error() != "line 1\nline 2" {
		t.Errorf("%v is %v with %v", o.Member, o.State, o.Err)
	}
	noMisuse(t, near)

	reply := request(t, nc, map[string]string{"Dispatch-Targets": "own"}, `"x"`)
	if code, text := reply.Header.Get("Nats-Service-Error-Code"), reply.Header.Get("Nats-Service-Error"); code != "500" || text != "line 1 line 2" {
		t.Errorf("the usual headers say %q and %q", code, text)
	}
}
