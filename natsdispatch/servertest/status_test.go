package servertest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// slowly returns a producer that waits until release is closed.
func slowly(release <-chan struct{}) dispatch.Producer[string, string] {
	return func(ctx context.Context, _ string) (string, error) {
		select {
		case <-release:
			return "late", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// linkOf returns the only link of a bus.
func linkOf(t *testing.T, d *dispatcher) dispatch.LinkSnapshot {
	t.Helper()
	links := d.Bus().Snapshot().Links
	if len(links) != 1 {
		t.Fatalf("the snapshot has %d links: %+v", len(links), links)
	}
	return links[0]
}

// states returns the nodes of a link as text.
func states(l dispatch.LinkSnapshot) (all []string) {
	for _, n := range l.Nodes {
		all = append(all, fmt.Sprintf("%s %s %q %d", n.Name, n.State, n.Topics, n.InFlight))
	}
	return all
}

// The Snapshot of a bus has the connection and all nodes with their states.
func TestNodesInTheSnapshot(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	release := make(chan struct{})
	produce(t, far, "m", slowly(release))
	beat := natsdispatch.WithBeat(50 * time.Millisecond)
	serve(t, connect(t, s.ClientURL()), far, "busy", natsdispatch.WithBeat(time.Minute))
	serve(t, connect(t, s.ClientURL()), newBus(), "odd", beat, natsdispatch.WithTypes("others"))
	dying := connect(t, s.ClientURL())
	serve(t, dying, newBus(), "dead", beat, quiet)
	draining := newBus()
	produce(t, draining, "m", slowly(release))
	leaving := serve(t, connect(t, s.ClientURL()), draining, "leaving", natsdispatch.WithBeat(time.Minute))
	remote := join(t, connect(t, s.ClientURL()), near, []string{"busy", "dead", "leaving", "odd"}, natsdispatch.WithNodes("never"), quiet)
	dying.Close()
	until(t, "the dead node to be silent", func() bool { return len(remote.Nodes()) == 3 })

	call := send(t, near, "x", dispatch.WithTimeout(patience))
	named(t, call, 2)
	drained := make(chan error, 1)
	go func() { drained <- leaving.Drain(t.Context()) }()
	topics := fmt.Sprintf("%q", []string{measure.Name()})
	want := []string{
		"busy present " + topics + " 1", "dead silent " + topics + " 0", "leaving draining " + topics + " 1",
		"never missing " + topics, "odd incompatible " + topics + " 0",
	}
	until(t, "all to be in their states", func() bool {
		got := states(linkOf(t, near))
		return slices.EqualFunc(got, want, strings.HasPrefix)
	})
	l := linkOf(t, near)
	if l.State != "connected" || l.Name != "nats:dispatch.default" || l.Serves != "" || l.Server != s.ClientURL() || l.InFlight == 0 || !slices.Equal(l.Topics, []string{measure.Name()}) {
		t.Errorf("the link is %+v", l)
	}
	for _, n := range l.Nodes {
		if (n.Error != "") != (n.State == "silent" || n.State == "incompatible") {
			t.Errorf("%s is %s: %q", n.Name, n.State, n.Error)
		}
		if (n.HeardAgo < 0) != (n.State == "missing") {
			t.Errorf("%s was heard %v ago", n.Name, n.HeardAgo)
		}
	}
	served := linkOf(t, far)
	if served.Serves != "busy" || served.State != "connected" || served.InFlight != 1 || len(served.Nodes) != 0 {
		t.Errorf("the link of the node is %+v", served)
	}
	close(release)
	if err := receive(t, "the end of the drain", drained); err != nil {
		t.Error(err)
	}
	call.Cancel(nil) // the call still waits for the node that the asker has never heard
	ended(t, call)
	if links := draining.Bus().Snapshot().Links; len(links) != 0 {
		t.Errorf("a node that is closed has the link %+v", links)
	}
	if err := remote.Close(); err != nil {
		t.Fatal(err)
	}
	if links := near.Bus().Snapshot().Links; len(links) != 0 {
		t.Errorf("a remote that is closed has the link %+v", links)
	}
}

// The Snapshot shows a twin and a broken connection, with the error and its time.
func TestTroubleInTheSnapshot(t *testing.T) {
	s := startServer(t)
	port := s.Addr().(*net.TCPAddr).Port
	near, far := newBus(), newBus()
	beat := natsdispatch.WithBeat(50 * time.Millisecond)
	began := time.Now()
	serve(t, connect(t, s.ClientURL()), far, "far", beat, quiet)
	twin := serve(t, connect(t, s.ClientURL()), newBus(), "far", beat, quiet)
	nc := connect(t, s.ClientURL())
	remote := join(t, nc, near, []string{"far"}, quiet)
	until(t, "the twin to be seen by all", func() bool {
		l := linkOf(t, near)
		return len(l.Nodes) == 1 && l.Nodes[0].State == "twin" && l.LastError != "" && linkOf(t, far).LastError != ""
	})
	for _, l := range []dispatch.LinkSnapshot{linkOf(t, near), linkOf(t, far)} {
		if !strings.Contains(l.LastError, "two processes are called far") || l.LastErrorAt.Before(began) {
			t.Errorf("the last error is %q at %v", l.LastError, l.LastErrorAt)
		}
	}
	if err := twin.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "the twin to be over", func() bool {
		nodes := linkOf(t, near).Nodes
		return len(nodes) == 1 && nodes[0].State == "present"
	})
	s.Shutdown()
	until(t, "the connection to break", func() bool {
		l := linkOf(t, near)
		return l.State == "reconnecting" && l.Server == "" && l.Since.After(began)
	})
	startServer(t, onPort(port))
	until(t, "the connection to be back", func() bool { return linkOf(t, near).State == "connected" })
	nc.Close()
	until(t, "the connection to be closed", func() bool { return linkOf(t, near).State == "closed" })
	if err := remote.Err(); err != nil && !errors.Is(err, dispatch.ErrDuplicate) {
		t.Errorf("the error is %v", err)
	}
}
