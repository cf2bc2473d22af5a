// Package agent tests a node that is written in JavaScript. The tests need Node.js 20 or later, and the
// NATS client that make deps installs.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// Request is what the agent reads, and Reading is what it answers.
type (
	Request struct {
		Heat   int    // degrees by which the oven is heated
		Pixels int    // pixels of the camera's picture
		Door   string // if the door is open, the camera fails
	}
	Reading struct {
		Value   float64
		Unit    string
		Picture string
	}
)

var measure = dispatch.NewTopic[Request, Reading]("cell.measure", dispatch.WithTimeout(patience))

// patience is how long a test waits before it fails.
const patience = 30 * time.Second

// TestAgent runs all parts on one server, each with both versions of the protocol.
func TestAgent(t *testing.T) {
	installed(t)
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	for _, part := range []struct {
		name string
		test func(*testing.T, *floor)
	}{
		{"answers together with Go nodes", testTogether},
		{"targets", testTargets},
		{"failure", testFailure},
		{"pieces", testPieces},
		{"deadline", testDeadline},
		{"cancel", testCancel},
		{"silence after a cancel", testSilence},
		{"rejects", testRejects},
		{"probe", testProbe},
		{"killed in mid-call", testKilled},
		{"drained in mid-call", testDrained},
	} {
		for _, version := range []string{"1", "2"} {
			t.Run(part.name+", version "+version, func(t *testing.T) {
				f := newFloor(t, s.ClientURL())
				f.agent = startAgent(t, s.ClientURL(), version)
				f.await("oven-2")
				part.test(t, f)
			})
		}
	}
}

// TestServerIsStartedAgain stops and starts the server during a call of version 2. All results arrive.
func TestServerIsStartedAgain(t *testing.T) {
	installed(t)
	start := func(port int) *server.Server {
		s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		if !s.ReadyForConnections(patience) {
			t.Fatal("the server does not start")
		}
		return s
	}
	s := start(server.RANDOM_PORT)
	f := newFloor(t, s.ClientURL())
	f.agent = startAgent(t, s.ClientURL(), "2")
	f.await("oven-2")
	call := f.send(Request{Heat: 300}, dispatch.WithTargets("oven"))
	n := 0
	for r := range call.Results() {
		if n++; r.Value.Value != float64(20+n) {
			t.Fatalf("result %d is %v", n, r.Value.Value)
		}
		if n == 50 || n == 150 {
			port := s.Addr().(*net.TCPAddr).Port
			s.Shutdown()
			s.WaitForShutdown()
			s = start(port)
		}
	}
	f.want(call, "oven-2/oven ok 300")
}

func testTogether(t *testing.T, f *floor) {
	for _, name := range []string{"cell-1", "cell-2"} {
		cell := dispatch.New[Request, Reading]()
		if _, err := cell.AddProducer(measure, func(context.Context, Request) (Reading, error) {
			return Reading{Value: 1.2, Unit: "V"}, nil
		}, dispatch.WithName("meter")); err != nil {
			t.Fatal(err)
		}
		node, err := natsdispatch.Serve(connect(t, f.nc.ConnectedUrl()), cell, measure, natsdispatch.WithNode(name), loud(t))
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
	}
	f.await("cell-1", "cell-2")
	values, err := f.Gather(t.Context(), measure, Request{Heat: 2, Pixels: 1})
	if err != nil {
		t.Error(err)
	}
	var got []string
	for _, v := range values {
		got = append(got, fmt.Sprint(v.Value, v.Unit, v.Picture))
	}
	slices.Sort(got)
	if want := []string{"0#", "1.2V", "1.2V", "21.25°C", "21°C", "22°C"}; !slices.Equal(got, want) {
		t.Errorf("gathered %q, want %q", got, want)
	}
}

func testTargets(_ *testing.T, f *floor) {
	f.want(f.send(Request{}, dispatch.WithTargets("camera", "oven")), "oven-2/camera ok 1", "oven-2/oven ok 0")
	f.want(f.send(Request{}, dispatch.WithTargets("nobody")), "nobody gone 0")
}

func testFailure(t *testing.T, f *floor) {
	report := f.want(f.send(Request{Door: "open"}), "oven-2/thermometer ok 1", "oven-2/oven ok 0", "oven-2/camera failed 0")
	if err := report.Err(); err == nil || !strings.Contains(err.Error(), "the door is open: “✗”") {
		t.Errorf("the error is %v", err)
	}
}

func testPieces(t *testing.T, f *floor) {
	const pixels = 3_000_000 // one byte each; the value needs three messages
	call := f.send(Request{Pixels: pixels}, dispatch.WithTargets("camera"))
	f.want(call, "oven-2/camera ok 1")
	for r := range call.Results() {
		if len(r.Value.Picture) != pixels || strings.Trim(r.Value.Picture, "#") != "" {
			t.Errorf("the picture has %d pixels", len(r.Value.Picture))
		}
	}
}

func testDeadline(t *testing.T, f *floor) {
	call := f.send(Request{Heat: 1_000_000}, dispatch.WithTimeout(2*time.Second), dispatch.WithTargets("oven"))
	<-call.Done()
	o := call.Report().Outcomes[0]
	if o.State != dispatch.StateLate || o.Results == 0 {
		t.Errorf("the oven is %v after %d results", o.State, o.Results)
	}
	f.agent.says("the oven is switched off: deadline")
}

func testCancel(t *testing.T, f *floor) {
	call := f.send(Request{Heat: 1_000_000}, dispatch.WithQuorum(1), dispatch.WithTargets("thermometer", "oven"))
	<-call.Done()
	if r := call.Report(); r.Reason != dispatch.ReasonSatisfied {
		t.Errorf("the call ended as %v", r.Reason)
	}
	f.agent.says("the oven is switched off: satisfied")
}

func testKilled(t *testing.T, f *floor) {
	call := f.send(Request{Heat: 1_000_000}, dispatch.WithTargets("thermometer", "oven"))
	for r := range call.Results() {
		if r.From.Name == "oven" {
			if err := f.agent.Process.Kill(); err != nil { // with SIGKILL, so that the agent cannot say bye
				t.Error(err)
			}
			<-f.agent.ended
			break
		}
	}
	<-call.Done()
	for _, o := range call.Report().Outcomes {
		if o.Member.Name == "oven" && (o.State != dispatch.StateGone || !errors.Is(o.Err, dispatch.ErrGone)) {
			t.Errorf("the oven is %v: %v", o.State, o.Err)
		}
		if o.Member.Name == "thermometer" && o.State != dispatch.StateOK {
			t.Errorf("the thermometer is %v: %v", o.State, o.Err)
		}
	}
	if nodes := f.remote.Nodes(); len(nodes) != 0 {
		t.Errorf("still present: %v", nodes)
	}
}

func testDrained(t *testing.T, f *floor) {
	byes := make(chan *nats.Msg, 100)
	if _, err := f.nc.ChanSubscribe("dispatch.default.presence.oven-2.cell.measure", byes); err != nil {
		t.Fatal(err)
	}
	call := f.send(Request{Heat: 50}, dispatch.WithTargets("oven"))
	for range call.Results() {
		if err := f.agent.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		break
	}
	f.want(call, "oven-2/oven ok 50")
	<-f.agent.ended
	if f.agent.failed != nil {
		t.Errorf("the agent has ended with %v", f.agent.failed)
	}
	for {
		select {
		case m := <-byes:
			var a struct{ Event string }
			if err := json.Unmarshal(m.Data, &a); err != nil {
				t.Fatal(err)
			}
			if a.Event == "bye" {
				return
			}
		case <-time.After(patience):
			t.Fatal("the agent did not say bye")
		}
	}
}
