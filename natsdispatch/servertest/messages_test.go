package servertest_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

func TestFaultReplies(t *testing.T) {
	s := startServer(t)
	near := newBus()
	a := startAgent(t, connect(t, s.ClientURL()), "far")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithMaxResult(100), natsdispatch.WithErrorHandler(func(err error) {
		if !errors.Is(err, dispatch.ErrDuplicate) {
			t.Errorf("error handler: %v", err)
		}
	}))
	stats := func() natsdispatch.RemoteStats { return remote.Stats() }
	accept, end, final := "accept m", "end 0 1 ok", "final 1 1"

	t.Run("duplicate", func(t *testing.T) {
		call := send(t, near, "x")
		m := a.take()
		before := stats().Duplicates
		for range 3 {
			a.sayAs(m, "far", 0, accept, value(0, "v"))
		}
		a.sayAs(m, "far", 1, end, final)
		report := ended(t, call)
		want(t, report, dispatch.ReasonAllEnded, "far/m ok")
		if o := outcome(t, report, "far/m"); o.Results != 1 || stats().Duplicates-before != 2 {
			t.Errorf("%d results, %d duplicates; want 1 and 2", o.Results, stats().Duplicates-before)
		}
	})
	t.Run("malformed", func(t *testing.T) {
		call := send(t, near, "x")
		m := a.take()
		before := stats().Malformed
		a.say(m, accept)
		for _, frame := range []string{"result 0 99 99\nshort", "result 7 1 1\nx", "end x", "end 0 1 failed - no-json", "result -1 0 0", "final 1", "accept a/b/c/d", "result 0 4294967296 1"} {
			a.say(m, frame)
		}
		raw := nats.NewMsg(m.Reply)
		raw.Data = []byte("neither headers nor frames\n")
		if err := a.nc.PublishMsg(raw); err != nil {
			t.Fatal(err)
		}
		a.say(m, "unheard-of 1 2 3", value(0, "v"), end, final)
		want(t, ended(t, call), dispatch.ReasonAllEnded, "far/m ok")
		if n := stats().Malformed - before; n != 9 {
			t.Errorf("%d malformed messages are counted, want 9", n)
		}
	})
	t.Run("oversized", func(t *testing.T) {
		call := send(t, near, "x")
		m := a.take()
		long := strings.Repeat("x", 101)
		a.say(m, "accept a b", "result 0 101 101\n"+long, "part 1 60\n"+long[:60], "part 1 60\n"+long[:60], "result 1 0 120\n", "end 0 1 ok", "end 1 1 ok", "final 2 2")
		report := ended(t, call)
		want(t, report, dispatch.ReasonAllEnded, "far/a failed", "far/b failed")
		for _, o := range report.Outcomes {
			if !errors.Is(o.Err, natsdispatch.ErrTooLarge) {
				t.Errorf("%v ends with %v, want %v", o.Member, o.Err, natsdispatch.ErrTooLarge)
			}
		}
	})
	t.Run("stray", func(t *testing.T) {
		call := send(t, near, "x")
		m := a.take()
		before := stats().Stray
		stray := *m
		stray.Reply = m.Reply + "0000"
		a.sayAs(&stray, "far", 0, "accept stranger", value(0, "v"))
		a.say(m, accept, value(0, "v"), end, final)
		want(t, ended(t, call), dispatch.ReasonAllEnded, "far/m ok")
		a.sayAs(m, "far", 9, value(0, "after the end"))
		until(t, "both to be counted", func() bool { return stats().Stray-before == 2 })
	})
	t.Run("spoofed", func(t *testing.T) {
		// Another process uses the name of the node, and the report says so. Only WithVerify prevents its
		// results.
		call := send(t, near, "x")
		m := a.take()
		before := stats().Stray
		a.epoch--
		a.sayAs(m, "far", 0, "accept stranger")
		a.epoch++
		a.say(m, accept, value(0, "v"), end, final)
		a.epoch--
		a.sayAs(m, "far", 1, "end 0 0 ok", "final 1 0") // so that the call does not end before the messages of the node have arrived
		a.epoch++
		report := ended(t, call)
		want(t, report, dispatch.ReasonAllEnded, "far/stranger ok", "far/* failed")
		if err := outcome(t, report, "far/*").Err; !errors.Is(err, dispatch.ErrDuplicate) {
			t.Errorf("the other one ends with %v", err)
		}
		if n := stats().Stray - before; n != 1 {
			t.Errorf("%d strays are counted, want 1", n)
		}
	})
	t.Run("lost", func(t *testing.T) {
		call := send(t, near, "x")
		m := a.take()
		a.say(m, "accept few none silent", value(0, "v"), "end 0 2 ok", "end 1 3 ok", "final 4 5")
		report := ended(t, call)
		want(t, report, dispatch.ReasonAllEnded, "far/few failed", "far/none failed", "far/silent failed", "far/* failed")
		for _, o := range report.Outcomes {
			if !errors.Is(o.Err, dispatch.ErrLost) {
				t.Errorf("%v ends with %v, want %v", o.Member, o.Err, dispatch.ErrLost)
			}
		}
	})
	t.Run("in pieces of which one is lost", func(t *testing.T) {
		call := send(t, near, "x")
		m := a.take()
		a.sayAs(m, "far", 0, accept, "part 0 2\n\"a")
		a.sayAs(m, "far", 2, "result 0 2 4\nz\"", value(0, "whole"), "end 0 2 ok", "final 1 2")
		report := ended(t, call)
		want(t, report, dispatch.ReasonAllEnded, "far/m failed")
		if o := outcome(t, report, "far/m"); !errors.Is(o.Err, dispatch.ErrLost) || o.Results != 1 {
			t.Errorf("%d results and %v, want 1 and %v", o.Results, o.Err, dispatch.ErrLost)
		}
	})
	t.Run("that cannot be read", func(t *testing.T) {
		call := send(t, near, "x")
		a.say(a.take(), accept, "result 0 2 2\n{}", end, final)
		report := ended(t, call)
		want(t, report, dispatch.ReasonAllEnded, "far/m failed")
		if err := outcome(t, report, "far/m").Err; !errors.Is(err, dispatch.ErrIncompatible) {
			t.Errorf("the member ends with %v, want %v", err, dispatch.ErrIncompatible)
		}
	})
	noMisuse(t, near)
}

func TestFaultNoAccept(t *testing.T) {
	s := startServer(t)
	near := newBus()
	a := startAgent(t, connect(t, s.ClientURL()), "far")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithAcceptWindow(20*time.Millisecond))
	call := send(t, near, "x")
	report := ended(t, call)
	want(t, report, dispatch.ReasonAllEnded, "far/* failed")
	if err := outcome(t, report, "far/*").Err; !errors.Is(err, dispatch.ErrUnreachable) {
		t.Errorf("the node ends with %v, want %v", err, dispatch.ErrUnreachable)
	}
	// The asker cancels the request on the node, in case the node receives it later.
	m := a.take()
	c := receive(t, "a cancel", a.asked)
	for key, value := range map[string]string{"Dispatch-Type": "cancel", "Dispatch-Call": m.Header.Get("Dispatch-Call"), "Dispatch-Node": "far"} {
		if got := c.Header.Get(key); got != value {
			t.Errorf("%s of the cancel is %q, want %q", key, got, value)
		}
	}
	a.say(m, "accept m")
	until(t, "the accept to be counted as stray", func() bool { return remote.Stats().Stray == 1 })
	noMisuse(t, near)
}

func TestFaultUnknownVersion(t *testing.T) {
	s := startServer(t)
	near := newBus()
	nc := connect(t, s.ClientURL())
	a := startAgent(t, nc, "far")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"})
	a.announce("change", map[string]any{"versions": []int{2, 3}})
	until(t, "the news", func() bool { return remote.Nodes()[0].Err != nil })
	fit := startAgent(t, nc, "fit")
	await(t, remote, "fit")
	call := send(t, near, "x")
	a.say(a.take(), "accept m", value(0, "it answers all the same"), "end 0 1 ok", "final 1 1")
	until(t, "that to be counted as stray", func() bool { return remote.Stats().Stray == 1 })
	fit.say(fit.take(), "accept m", "end 0 0 ok", "final 1 0")
	report := ended(t, call)
	want(t, report, dispatch.ReasonAllEnded, "far/* failed", "fit/m ok")
	if err := outcome(t, report, "far/*").Err; !errors.Is(err, dispatch.ErrIncompatible) || !strings.Contains(err.Error(), "[2 3]") {
		t.Errorf("the node ends with %v, want %v", err, dispatch.ErrIncompatible)
	}

	// In the other direction, a node of natsdispatch gets a request of another version.
	far := newBus()
	produce(t, far, "a", echo("a"))
	serve(t, connect(t, s.ClientURL()), far, "ours")
	reply := request(t, nc, map[string]string{"Dispatch-Version": "2"}, `"x"`)
	if got := string(reply.Data); !strings.HasPrefix(got, "reject failed incompatible ") {
		t.Errorf("the node answers %q, want a reject", got)
	}
	if code := reply.Header.Get("Nats-Service-Error-Code"); code != "409" {
		t.Errorf("the service error code is %q, want 409", code)
	}
	noMisuse(t, near)
}

// request sends a request without using natsdispatch, with changes to the usual headers. It returns the
// whole reply as one message.
func request(t *testing.T, nc *nats.Conn, change map[string]string, body string) *nats.Msg {
	t.Helper()
	replies, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	defer replies.Unsubscribe()
	m := nats.NewMsg("dispatch.v1.default.ask.cell.measure")
	m.Reply, m.Data = replies.Subject, []byte(body)
	for k, v := range map[string]string{
		"Dispatch-Version": "1", "Dispatch-Type": "request", "Dispatch-Call": nats.NewInbox(), "Dispatch-Budget": "30000000", "Dispatch-Codec": "json",
	} {
		m.Header[k] = []string{v}
	}
	for k, v := range change {
		m.Header[k] = []string{v}
		if v == "" {
			delete(m.Header, k)
		}
	}
	if err := nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	all := nats.NewMsg("all")
	for !strings.Contains("\n"+string(all.Data), "\nfinal ") && !strings.Contains("\n"+string(all.Data), "\nreject ") {
		reply, err := replies.NextMsg(patience)
		if err != nil {
			t.Fatalf("after %q: %v", all.Data, err)
		}
		maps.Copy(all.Header, reply.Header)
		all.Data = append(all.Data, reply.Data...)
	}
	return all
}

func TestFaultTypeMismatch(t *testing.T) {
	s := startServer(t)
	numbers := dispatch.New[string, int]()
	topic := dispatch.NewTopic[string, int](measure.Name())
	if _, err := numbers.AddProducer(topic, func(context.Context, string) (int, error) { return 1, nil }); err != nil {
		t.Fatal(err)
	}
	nc := connect(t, s.ClientURL())
	node, err := natsdispatch.Serve(nc, numbers, topic, natsdispatch.WithNode("far"), loud(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	near := newBus()
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	report := ended(t, send(t, near, "x"))
	want(t, report, dispatch.ReasonAllEnded, "far/* failed")
	if err := outcome(t, report, "far/*").Err; !errors.Is(err, dispatch.ErrIncompatible) {
		t.Errorf("the node ends with %v, want %v", err, dispatch.ErrIncompatible)
	}
	for what, change := range map[string]map[string]string{
		"types": {"Dispatch-Types": "0123456789abcdef"}, "codec": {"Dispatch-Codec": "unheard-of"},
	} {
		if got := string(request(t, nc, change, `"x"`).Data); !strings.HasPrefix(got, "reject failed incompatible ") {
			t.Errorf("to other %s the node answers %q, want a reject", what, got)
		}
	}
	noMisuse(t, near)
}

func TestFaultMalformedRequest(t *testing.T) {
	s := startServer(t)
	far := newBus()
	produce(t, far, "a", echo("a"))
	node := serve(t, connect(t, s.ClientURL()), far, "far")
	nc := connect(t, s.ClientURL())
	for what, change := range map[string]map[string]string{
		"no budget": {"Dispatch-Budget": ""}, "a budget in words": {"Dispatch-Budget": "soon"}, "no id": {"Dispatch-Call": ""},
		"a long id": {"Dispatch-Call": strings.Repeat("x", 200)}, "no codec": {"Dispatch-Codec": ""}, "no attempt": {"Dispatch-Attempt": "0"},
		"targets": {"Dispatch-Targets": "a/b"}, "hops": {"Dispatch-Hops": "-3"},
	} {
		if got := string(request(t, nc, change, `"x"`).Data); !strings.HasPrefix(got, "reject failed malformed ") {
			t.Errorf("%s: the node answers %q, want a reject", what, got)
		}
	}
	if got := string(request(t, nc, nil, `{"not":"a string"}`).Data); !strings.HasPrefix(got, "reject failed malformed ") {
		t.Errorf("to a body that cannot be read the node answers %q, want a reject", got)
	}
	if got := string(request(t, nc, map[string]string{"Dispatch-Hops": "65"}, `"x"`).Data); !strings.HasPrefix(got, "reject failed too-deep ") {
		t.Errorf("to a request after 64 others the node answers %q, want a reject", got)
	}
	// The node keeps no reply of version 2 that it does not find again.
	if got := string(request(t, nc, map[string]string{"Dispatch-Targets": "a/b", "Dispatch-Window": "100000"}, `"x"`).Data); !strings.Contains(got, "\nreject failed malformed ") {
		t.Errorf("to malformed targets the node answers %q, want a reject", got)
	}
	until(t, "the reply to be given up", func() bool { return node.Stats().Waiting == 0 })
	if n := node.Stats().Malformed; n != 9 {
		t.Errorf("%d malformed messages are counted, want 9", n)
	}
}

func TestFaultRequestTwiceOrWithoutBudget(t *testing.T) {
	s := startServer(t)
	far := newBus()
	var runs atomic.Int32
	produce(t, far, "m", func(context.Context, string) (string, error) { runs.Add(1); return "v", nil })
	node := serve(t, connect(t, s.ClientURL()), far, "far")
	nc := connect(t, s.ClientURL())
	request(t, nc, map[string]string{"Dispatch-Call": "again"}, `"x"`)
	publish := func(change map[string]string) {
		m := nats.NewMsg("dispatch.v1.default.ask.cell.measure")
		m.Reply, m.Data = nc.NewInbox(), []byte(`"x"`)
		m.Header = nats.Header{"Dispatch-Version": {"1"}, "Dispatch-Type": {"request"}, "Dispatch-Call": {nats.NewInbox()}, "Dispatch-Budget": {"30000000"}, "Dispatch-Codec": {"json"}}
		for k, v := range change {
			m.Header[k] = []string{v}
		}
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	publish(map[string]string{"Dispatch-Call": "again"})
	publish(map[string]string{"Dispatch-Budget": "0"})
	publish(map[string]string{"Dispatch-Budget": "-5"})
	// A cancel that arrives before its request also counts.
	publish(map[string]string{"Dispatch-Call": "cancelled", "Dispatch-Type": "cancel"})
	publish(map[string]string{"Dispatch-Call": "cancelled"})
	request(t, nc, nil, `"x"`)
	if n := runs.Load(); n != 2 {
		t.Errorf("the producer has run %d times, want 2", n)
	}
	if st := node.Stats(); st.Duplicates != 2 || st.Expired != 2 {
		t.Errorf("%d duplicates and %d expired, want 2 and 2", st.Duplicates, st.Expired)
	}
}

func TestFaultRequestTooLarge(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	produce(t, far, "m", echo("m"))
	node := serve(t, connect(t, s.ClientURL()), far, "far")
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	report := ended(t, send(t, near, strings.Repeat("x", 2<<20)))
	want(t, report, dispatch.ReasonAllEnded, "nats:dispatch.default failed")
	if err := report.Outcomes[0].Err; !errors.Is(err, natsdispatch.ErrTooLarge) {
		t.Errorf("the call fails with %v, want %v", err, natsdispatch.ErrTooLarge)
	}
	want(t, ended(t, send(t, near, "small")), dispatch.ReasonAllEnded, "far/m ok")
	if n := node.Stats().Requests; n != 1 {
		t.Errorf("the node has had %d requests, want 1", n)
	}
	noMisuse(t, near)
}

// The asker ignores an announcement on the subject of another node, because permissions are given by
// subject.
func TestFaultAnnouncementAsAnother(t *testing.T) {
	s := startServer(t)
	near := newBus()
	remote := join(t, connect(t, s.ClientURL()), near, nil)
	a := startAgent(t, connect(t, s.ClientURL()), "far")
	await(t, remote, "far")
	a.announceTo("dispatch.default.presence.far.cell.measure", "hello", map[string]any{"node": "another"})
	a.announceTo("dispatch.default.presence.far.cell.measure", "hello", map[string]any{"topic": "cell.other"})
	until(t, "both to be counted", func() bool { return remote.Stats().Malformed == 2 })
	if nodes := remote.Nodes(); len(nodes) != 1 || nodes[0].Node != "far" || nodes[0].Topic != measure.Name() {
		t.Errorf("present are %v, want far on its topic", nodes)
	}
}

// If two nodes name the same member, for example because both have found it on a third node, the call has
// it once. The results of the node that has named it first count.
func TestFaultMemberOfTwoNodes(t *testing.T) {
	s := startServer(t)
	near := newBus()
	one, two := startAgent(t, connect(t, s.ClientURL()), "one"), startAgent(t, connect(t, s.ClientURL()), "two")
	join(t, connect(t, s.ClientURL()), near, []string{"one", "two"})
	call := send(t, near, "x")
	m := one.take()
	one.say(m, "accept cell//m")
	named(t, call, 1)
	two.say(two.take(), "accept cell//m own", value(0, "twice"), "end 0 1 ok", "end 1 0 ok", "final 2 1")
	named(t, call, 2)
	one.say(m, value(0, "once"), "end 0 1 ok", "final 1 1")
	want(t, ended(t, call), dispatch.ReasonAllEnded, "cell/m ok", "two/own ok")
	noMisuse(t, near)
}
