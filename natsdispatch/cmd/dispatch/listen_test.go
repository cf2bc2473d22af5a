package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

func TestListen(t *testing.T) {
	url := startServer(t, "")
	nc := connect(t, url)
	cell(t, nc, "cell 7", sites{"site-1": volts(3.3)}, natsdispatch.WithPublish())
	cell(t, nc, "discreet", sites{"site-1": volts(9)})
	// The listener sends no request, and hears the results of the requests of others.
	asJSON := start(t, "", []string{"NATS_URL=" + url}, "listen", "cell.>", "--json", "--count", "1")
	asJSON.says("listening to dispatch.v1.default.result.*.cell.>")
	p := start(t, "", []string{"NATS_URL=" + url}, "listen", "cell.measure")
	p.says("listening to dispatch.v1.default.result.*.cell.measure")
	run(t, exitComplete, url, "ask", "cell.measure")
	all := jsonLines[published](t, asJSON.ends(exitComplete).stdout())
	if len(all) == 1 {
		all[0].Epoch = 0
	}
	want := []published{{Type: "result", Node: "cell 7", Topic: "cell.measure", Member: "site-1", Call: "1", Codec: "json", Value: raw(`{"Volts":3.3}`)}}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
	p.says(` cell.measure cell 7/site-1 {"Volts":3.3}` + "\n")

	// The command prints an error for missing results and for a message that is not a result.
	say := func(seq, codec, value string) {
		m := nats.NewMsg("dispatch.v1.default.result.x.cell.measure")
		for k, v := range map[string]string{"Version": "1", "Node": "x", "Epoch": "7", "Seq": seq, "Call": "1", "Member": "g/r", "Codec": codec} {
			m.Header["Dispatch-"+k] = []string{v}
		}
		m.Data = []byte(value)
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	say("4", "json", "\"\\u0007\"")
	say("7", "gob", "\x01\x02")
	say("x", "json", "1")
	p.says(` cell.measure x/g/r "\u0007"` + "\n")
	p.says(` cell.measure x/g/r (2 bytes of gob)` + "\n")
	p.says("2 results of node x on cell.measure did not arrive\n")
	p.says("its number")
	p.interrupt()
	p.ends(exitComplete)
	if strings.Contains(p.stdout(), "discreet") {
		t.Error("a node published without having chosen to")
	}
}

// The listener also hears the results of a call that the program of the node sends on its own bus.
func TestListenToLocalCalls(t *testing.T) {
	url := startServer(t, "")
	d := dispatch.New[request, reading](dispatch.WithLogger(slog.New(slog.DiscardHandler)))
	defer d.Close()
	if _, err := d.AddProducer(measure, volts(5), dispatch.WithName("site-1")); err != nil {
		t.Fatal(err)
	}
	node, err := natsdispatch.Serve(connect(t, url), d, measure, natsdispatch.WithNode("cell-7"), natsdispatch.WithPublish())
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	p := start(t, "", nil, "listen", "cell.measure", "--count=1", "--server", url)
	p.says("listening")
	if _, err := d.Gather(context.Background(), measure, request{}); err != nil {
		t.Fatal(err)
	}
	if out := p.ends(exitComplete).stdout(); !strings.HasSuffix(out, ` cell.measure cell-7/site-1 {"Volts":5}`+"\n") {
		t.Errorf("printed %q", out)
	}
}
