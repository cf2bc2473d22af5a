package servertest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// The tools of NATS find the node, and show the right numbers of requests and errors.
func TestMicro(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	produce(t, far, "m", func(ctx context.Context, req string) (string, error) {
		switch req {
		case "fail":
			return "", errors.New("the probe is open")
		case "hang":
			<-ctx.Done()
			return "", ctx.Err()
		}
		return "answer", nil
	})
	opened := newBus()
	handled := make(chan error, 10)
	farNC := connect(t, s.ClientURL(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { handled <- err }))
	handler := fmt.Sprintf("%p", farNC.ErrorHandler())
	node := serve(t, farNC, far, "far", natsdispatch.WithMicro("1.2.3"))
	if now := fmt.Sprintf("%p", farNC.ErrorHandler()); now != handler {
		t.Error("the error handler of the connection is another one than before")
	}
	serve(t, connect(t, s.ClientURL()), opened, "plain")
	nc := connect(t, s.ClientURL())
	join(t, nc, near, []string{"far", "plain"})
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/m ok")
	want(t, ended(t, send(t, near, "fail")), dispatch.ReasonAllEnded, "far/m failed")
	canceled := send(t, near, "hang")
	named(t, canceled, 1)
	canceled.Cancel(nil)
	until(t, "the node to be done with all", func() bool { return node.Stats().Cancelled == 1 && node.Stats().InHand == 0 })
	ask := func(verb micro.Verb, name, id string, v any) {
		t.Helper()
		subject, err := micro.ControlSubject(verb, name, id)
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
	ask(micro.PingVerb, "", "", &ping)
	if ping.Name != "dispatch" || ping.Metadata["node"] != "far" || ping.Version != "1.2.3" || ping.Type != micro.PingResponseType {
		t.Errorf("ls shows %+v", ping)
	}
	var info micro.Info
	ask(micro.InfoVerb, "dispatch", "", &info)
	if info.ID != ping.ID || info.Type != micro.InfoResponseType || len(info.Endpoints) != 1 || info.Endpoints[0].Metadata["topic"] != measure.Name() || info.Endpoints[0].Subject != "dispatch.v1.default.ask."+measure.Name() {
		t.Errorf("info shows %+v", info)
	}
	var stats micro.Stats
	ask(micro.StatsVerb, "dispatch", ping.ID, &stats)
	if len(stats.Endpoints) != 1 || stats.Type != micro.StatsResponseType || stats.Started.IsZero() {
		t.Fatalf("stats show %+v", stats)
	}
	e := stats.Endpoints[0]
	if e.NumRequests != 3 || e.NumErrors != 1 || !strings.Contains(e.LastError, "the probe is open") {
		t.Errorf("stats show %d requests, %d errors, %q; want 3, 1 and the error of the producer", e.NumRequests, e.NumErrors, e.LastError)
	}
	if e.ProcessingTime <= 0 || e.AverageProcessingTime != e.ProcessingTime/3 {
		t.Errorf("the processing time is %v, %v on average", e.ProcessingTime, e.AverageProcessingTime)
	}
	var counted natsdispatch.NodeStats
	if err := json.Unmarshal(e.Data, &counted); err != nil || counted.Requests != 3 {
		t.Errorf("the data of the endpoint is %s, %v; want three requests", e.Data, err)
	}
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Request("$SRV.PING.dispatch", nil, patience); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("after Close the tools get %v", err)
	}
}

// The tools of NATS see each request that the node has refused as an error, whatever the reason.
func TestMicroCountsRefusals(t *testing.T) {
	s := startServer(t)
	nc, far := connect(t, s.ClientURL()), newBus()
	produce(t, far, "m", echo("m"))
	node := serve(t, nc, far, "far", natsdispatch.WithMicro("1.2.3"))
	refused := []map[string]string{{"Dispatch-Version": "9"}, {"Dispatch-Budget": "soon"}, {"Dispatch-Codec": "unknown"}}
	for _, change := range refused {
		if m := request(t, nc, change, `"x"`); m.Header.Get("Nats-Service-Error") == "" {
			t.Errorf("%v: the reply is %q, want a refusal", change, m.Data)
		}
	}
	var stats micro.Stats
	until(t, "the requests to be counted", func() bool {
		m, err := nc.Request("$SRV.STATS.dispatch", nil, patience)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(m.Data, &stats); err != nil {
			t.Fatal(err)
		}
		return node.Stats().Refused == 3 && stats.Endpoints[0].NumRequests == 3
	})
	if e := stats.Endpoints[0]; e.NumErrors != 3 || e.LastError == "" || e.ProcessingTime <= 0 {
		t.Errorf("stats show %d errors, %q, %v; want 3 errors, the last of them, and the time", e.NumErrors, e.LastError, e.ProcessingTime)
	}
}
