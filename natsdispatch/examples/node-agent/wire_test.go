package agent

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// message returns a message as an asker sends it.
func message(kind, call, body string, headers map[string]string) *nats.Msg {
	m := &nats.Msg{Subject: "dispatch.v1.default.ask.cell.measure", Data: []byte(body), Header: nats.Header{
		"Dispatch-Version": {"1"}, "Dispatch-Type": {kind}, "Dispatch-Call": {call},
	}}
	if kind == "request" {
		m.Header["Dispatch-Budget"], m.Header["Dispatch-Codec"] = []string{"30000000"}, []string{"json"}
	}
	for k, v := range headers {
		m.Header[k] = []string{v}
	}
	return m
}

// publish sends a message, and returns the subscription that receives the replies.
func (f *floor) publish(m *nats.Msg) *nats.Subscription {
	f.t.Helper()
	replies, err := f.nc.SubscribeSync(f.nc.NewInbox())
	if err != nil {
		f.t.Fatal(err)
	}
	m.Reply = replies.Subject
	if err := f.nc.PublishMsg(m); err != nil {
		f.t.Fatal(err)
	}
	return replies
}

// next waits for the next reply and returns its body.
func (f *floor) next(replies *nats.Subscription) string {
	f.t.Helper()
	m, err := replies.NextMsg(patience)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(m.Data)
}

// caughtUp returns when the agent has handled all earlier messages: it makes another request, and the agent
// handles messages in order.
func (f *floor) caughtUp(call string) {
	f.t.Helper()
	if got := f.next(f.publish(message("request", call, "{}", nil))); !strings.HasPrefix(got, "accept") {
		f.t.Errorf("%s is answered %q", call, got)
	}
}

// A node rejects some requests, and ignores others.
func testRejects(t *testing.T, f *floor) {
	f.caughtUp("before")
	f.publish(message("cancel", "cancelled", `cancelled ""`, nil))
	for name, test := range map[string]struct {
		m      *nats.Msg
		reject string // the start of the expected reply; empty: the node ignores the message
	}{
		"version":   {message("request", "1", "{}", map[string]string{"Dispatch-Version": "2"}), "reject failed incompatible"},
		"codec":     {message("request", "2", "{}", map[string]string{"Dispatch-Codec": "gob"}), "reject failed incompatible"},
		"budget":    {message("request", "3", "{}", map[string]string{"Dispatch-Budget": "soon"}), "reject failed malformed"},
		"call":      {message("request", "a b", "{}", nil), "reject failed malformed"},
		"hops":      {message("request", "4", "{}", map[string]string{"Dispatch-Hops": "65"}), "reject failed too-deep"},
		"body":      {message("request", "5", "{", nil), "reject failed malformed"},
		"late":      {message("request", "6", "{}", map[string]string{"Dispatch-Budget": "0"}), ""},
		"type":      {message("other", "7", "{}", nil), ""},
		"twice":     {message("request", "before", "{}", nil), ""},
		"cancelled": {message("request", "cancelled", "{}", nil), ""},
	} {
		replies := f.publish(test.m)
		if test.reject != "" {
			if got := f.next(replies); !strings.HasPrefix(got, test.reject) {
				t.Errorf("%s: the agent says %q, want %q", name, got, test.reject)
			}
			continue
		}
		f.caughtUp("after-" + name)
		if n, _, err := replies.Pending(); err != nil || n != 0 {
			t.Errorf("%s: the agent has answered, %v", name, err)
		}
	}
}

// After a cancel, the node sends nothing more. A cancel for another node has no effect.
func testSilence(t *testing.T, f *floor) {
	replies := f.publish(message("request", "c", `{"Heat": 1000000}`, map[string]string{"Dispatch-Targets": "oven"}))
	if got := f.next(replies); got != "accept oven\n" {
		t.Fatalf("the agent says %q", got)
	}
	f.publish(message("cancel", "c", `cancelled ""`, map[string]string{"Dispatch-Node": "oven-3"}))
	f.caughtUp("between")
	for range 2 { // the first may have been sent before the cancel
		if got := f.next(replies); !strings.HasPrefix(got, "result 0 ") {
			t.Fatalf("the agent says %q, want a result", got)
		}
	}
	f.publish(message("cancel", "c", `overloaded too hot`, map[string]string{"Dispatch-Node": "oven-2"}))
	f.agent.says("the oven is switched off: overloaded")
	f.caughtUp("after")
	for n, _, err := replies.Pending(); n > 0; n, _, err = replies.Pending() {
		if got := f.next(replies); err != nil || !strings.HasPrefix(got, "result 0 ") {
			t.Errorf("the agent says %q, %v", got, err)
		}
	}
}

// The agent answers a probe whose pattern matches its topic.
func testProbe(t *testing.T, f *floor) {
	for pattern, meant := range map[string]bool{
		"cell.measure": true, "cell.*": true, "*.measure": true, "cell.>": true, ">": true, "*.*": true,
		"cell": false, "cell.measure.all": false, "cell.measure.>": false, "door.*": false, "*": false,
	} {
		m := nats.NewMsg("dispatch.default.probe")
		m.Data = []byte(pattern)
		replies := f.publish(m)
		if meant {
			if got := f.next(replies); !strings.Contains(got, `"event":"beat"`) {
				t.Errorf("%s: the agent says %q", pattern, got)
			}
			continue
		}
		f.caughtUp("after-" + pattern)
		if n, _, err := replies.Pending(); err != nil || n != 0 {
			t.Errorf("%s: the agent has answered, %v", pattern, err)
		}
	}
}
