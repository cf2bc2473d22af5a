package servertest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// forgery returns a valid reply in the name of cell-1.
func forgery(reply string, epoch int64) *nats.Msg {
	return &nats.Msg{
		Subject: reply,
		Header: nats.Header{
			"Dispatch-Version": {"1"}, "Dispatch-Node": {"cell-1"},
			"Dispatch-Epoch": {fmt.Sprint(epoch)}, "Dispatch-Seq": {"1000"}, // larger than the numbers of the node's own messages
		},
		Data: []byte("accept p\nresult 0 6 6\n\"lies\"\nend 0 1 ok\nfinal 1 1\n"),
	}
}

// attack sends a forged reply to a request whose reply subject mallory knows. It returns the values that
// the floor accepts.
func (s *site) attack(mallory *nats.Conn, serveOpts []natsdispatch.ServeOption, joinOpts ...natsdispatch.JoinOption) ([]string, natsdispatch.RemoteStats) {
	s.t.Helper()
	leak, err := s.as("CELL_1").SubscribeSync("dispatch.v1.default.ask.cell.measure")
	s.must(err)
	s.must(leak.SetPendingLimits(10, 1<<20))

	cell, floor := newBus(), newBus()
	forged := make(chan struct{})
	produce(s.t, cell, "p", func(ctx context.Context, _ string) (string, error) {
		select {
		case <-forged:
			return "truth", nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	})
	serve(s.t, s.as("CELL_1"), cell, "cell-1", serveOpts...)
	remote := join(s.t, s.as("FLOOR"), floor, []string{"cell-1"}, joinOpts...)
	call := send(s.t, floor, "x")
	request, err := leak.NextMsg(patience)
	s.must(err)
	s.must(mallory.PublishMsg(forgery(request.Reply, remote.Nodes()[0].Epoch)))
	s.must(mallory.Flush())
	close(forged)
	ended(s.t, call)
	var values []string
	for r := range call.Results() {
		values = append(values, r.Value)
	}
	return values, remote.Stats()
}

func TestSecurityOutsider(t *testing.T) {
	s := startSite(t, "site.conf")
	s.refuses("GUEST", "reading replies", reads("_INBOX_FLOOR.>"))
	s.refuses("GUEST", "reading everything", reads(">"))
	s.refuses("GUEST", "reading requests", reads("dispatch.v1.default.ask.cell.measure"))
	s.refuses("GUEST", "reading announcements", reads("dispatch.default.presence.>"))
	s.refuses("GUEST", "a request", func(nc *nats.Conn) error { return nc.Publish("dispatch.v1.default.ask.cell.measure", nil) })
	s.refuses("GUEST", "an announcement", func(nc *nats.Conn) error {
		return nc.Publish("dispatch.default.presence.cell-1.cell.measure", nil)
	})

	if values, _ := s.attack(s.as("GUEST"), nil); fmt.Sprint(values) != "[truth]" {
		t.Errorf("the floor believes %q", values)
	}
}

// Without permissions, each user of the server can read replies, and can answer in the name of a node.
func TestSecurityOutsiderWithoutPermissions(t *testing.T) {
	s := startSite(t, "site.conf", `subscribe: ["_INBOX.>", "weather.>"]`, "", `publish: ["weather.>"]`, "")
	guest := s.as("GUEST")
	replies, err := guest.SubscribeSync("_INBOX_FLOOR.>")
	s.must(err)
	s.must(guest.Flush())
	if values, _ := s.attack(guest, nil); fmt.Sprint(values) != `[lies]` {
		t.Errorf("the floor believes %q", values)
	}
	until(t, "the truth to be overheard", func() bool {
		m, err := replies.NextMsg(patience)
		return err == nil && strings.Contains(string(m.Data), "truth")
	})
}

// A node that may answer can also answer in the name of another node. Only signatures prevent this.
func TestSecurityNodeInTheNameOfAnother(t *testing.T) {
	// mallory has received the request, so the server lets it answer.
	mallory := func(s *site) *nats.Conn {
		nc := s.as("CELL_2")
		s.must(reads("dispatch.v1.default.ask.cell.measure")(nc))
		s.must(nc.Flush())
		return nc
	}
	t.Run("unsigned", func(t *testing.T) {
		s := startSite(t, "site.conf")
		if values, _ := s.attack(mallory(s), nil); fmt.Sprint(values) != "[lies]" {
			t.Errorf("the floor believes %q", values)
		}
	})
	t.Run("signed", func(t *testing.T) {
		s := startSite(t, "site.conf")
		pair := s.users["CELL_1"]
		keyOf := func(node string) (string, bool) { return publicKey(t, pair), node == "cell-1" }
		values, stats := s.attack(mallory(s), []natsdispatch.ServeOption{natsdispatch.WithSign(natsdispatch.SignNKey(pair))},
			natsdispatch.WithVerify(natsdispatch.VerifyNKey(keyOf)))
		if fmt.Sprint(values) != "[truth]" || stats.Unverified != 1 {
			t.Errorf("the floor believes %q, and has refused %d messages", values, stats.Unverified)
		}
	})
}
