package servertest_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

func TestTraceContext(t *testing.T) {
	s := startServer(t)
	type key struct{}
	near, far := newBus(), newBus()
	produce(t, far, "m", func(ctx context.Context, _ string) (string, error) {
		got, _ := ctx.Value(key{}).(string)
		return got, nil
	})
	trace := natsdispatch.WithTraceContext(
		func(ctx context.Context, set func(key, value string)) {
			id, _ := ctx.Value(key{}).(string)
			set("TraceParent", id)
		},
		func(ctx context.Context, get func(key string) string) context.Context {
			return context.WithValue(ctx, key{}, get("traceparent")+get("tracestate"))
		})
	serve(t, connect(t, s.ClientURL()), far, "far", trace)
	nc := connect(t, s.ClientURL())
	join(t, nc, near, []string{"far"}, trace)
	wire, err := nc.SubscribeSync("dispatch.v1.default.ask.>")
	if err != nil {
		t.Fatal(err)
	}
	got, err := near.Gather(context.WithValue(t.Context(), key{}, "00-4bf9"), measure, "x")
	if err != nil || !slices.Equal(got, []string{"00-4bf9"}) {
		t.Errorf("%q, %v; want the id of the trace", got, err)
	}
	m, err := wire.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	if h := m.Header["traceparent"]; !slices.Equal(h, []string{"00-4bf9"}) {
		t.Errorf("traceparent on the wire is %q in %v", h, m.Header)
	}
	reply := request(t, nc, map[string]string{"TRACEPARENT": "upper", "Tracestate": "+title"}, `"x"`)
	if !strings.Contains(string(reply.Data), `"upper+title"`) {
		t.Errorf("the node has not read the trace context without regard to case: %q", reply.Data)
	}
}

func TestMicro(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	produce(t, far, "m", echo("m"))
	node := serve(t, connect(t, s.ClientURL()), far, "far", natsdispatch.WithMicro("1.2.3"))
	nc := connect(t, s.ClientURL())
	join(t, nc, near, []string{"far"})
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/m ok")
	ask := func(verb micro.Verb, v any) {
		t.Helper()
		subject, err := micro.ControlSubject(verb, "dispatch", "")
		if err != nil {
			t.Fatal(err)
		}
		m, err := nc.Request(subject, nil, patience)
		if err != nil {
			t.Fatalf("%v: %v", verb, err)
		}
		if err := json.Unmarshal(m.Data, v); err != nil {
			t.Fatal(err)
		}
	}
	var ping micro.Ping
	ask(micro.PingVerb, &ping)
	if ping.Metadata["node"] != "far" || ping.Version != "1.2.3" {
		t.Errorf("ls shows %+v", ping)
	}
	var info micro.Info
	ask(micro.InfoVerb, &info)
	if len(info.Endpoints) != 1 || info.Endpoints[0].Metadata["topic"] != measure.Name() {
		t.Errorf("info shows %+v", info)
	}
	var stats micro.Stats
	ask(micro.StatsVerb, &stats)
	var counted natsdispatch.NodeStats
	if err := json.Unmarshal(stats.Endpoints[0].Data, &counted); err != nil || counted.Requests != 1 {
		t.Errorf("stats show %s, %v; want one request", stats.Endpoints[0].Data, err)
	}
	m, err := nc.Request(info.Endpoints[0].Subject, nil, patience)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(m.Data, &counted); err != nil || counted.Requests != 1 {
		t.Errorf("the endpoint answers %s, %v; want one request", m.Data, err)
	}
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "nobody to answer to ls any more", func() bool { // micro drains its own subscriptions
		_, err := nc.Request("$SRV.PING.dispatch", nil, patience)
		return errors.Is(err, nats.ErrNoResponders)
	})
}
