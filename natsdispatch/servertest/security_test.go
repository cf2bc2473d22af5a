package servertest_test

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// Each test checks a claim of docs/security.md. If a claim is about one line of a configuration, the test
// also runs with another line, and checks what follows.

// quiet discards the errors that a test causes and checks elsewhere.
var quiet = natsdispatch.WithErrorHandler(func(error) {})

func TestSecurityDocumentShowsTheConfigurations(t *testing.T) {
	document, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"site.conf", "accounts.conf"} {
		config, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(document), "```text\n"+string(config)+"```\n") {
			t.Errorf("testdata/%s is not in the document as it is", name)
		}
	}
}

// serve starts a node with a producer and a replica of the group g.
func (s *site) serve(user, node string, opts ...natsdispatch.ServeOption) *natsdispatch.Node {
	s.t.Helper()
	d := newBus()
	produce(s.t, d, "p", echo(node))
	produce(s.t, d, "r", echo("r"), dispatch.WithGroup("g"))
	return serve(s.t, s.as(user), d, node, opts...)
}

// The configurations allow each user all messages of the protocol that the user needs.
func TestSecuritySite(t *testing.T) {
	permissions := []string{
		"{nkey: $NKEY_CELL_1}", permitted(t, "$NKEY_CELL_1"),
		"{nkey: $NKEY_CELL_2}", permitted(t, "$NKEY_CELL_2"),
		"{nkey: $NKEY_FLOOR}", permitted(t, "$NKEY_FLOOR"),
	}
	for _, test := range []struct {
		name, config string
		oldnew       []string
		node         string
	}{
		{"users", "site.conf", nil, "cell-1"},
		{"a name that is escaped", "site.conf", []string{"cell-1", "cell=201"}, "cell 1"},
		{"accounts", "accounts.conf", nil, "cell-1"},
		{"users of accounts", "accounts.conf", permissions, "cell-1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startSite(t, test.config, test.oldnew...)
			s.serve("CELL_1", test.node, natsdispatch.WithMicro("1.0.0"))
			s.serve("CELL_2", "cell-2", natsdispatch.WithMicro("1.0.0"))
			floor := newBus()
			join(t, s.as("FLOOR"), floor, []string{test.node, "cell-2"})
			report := ended(t, send(t, floor, "x"))
			replica := test.node + "/g/r"
			for _, o := range report.Outcomes {
				if o.Member.Group == "g" {
					replica = o.Member.String()
				}
			}
			want(t, report, dispatch.ReasonAllEnded, test.node+"/p ok", "cell-2/p ok", replica+" ok")

			// First needs only one answer, and cancels the other requests.
			if _, err := floor.First(t.Context(), measure, "x"); err != nil {
				t.Error(err)
			}
			noMisuse(t, floor)
		})
	}
}

// permitted returns the user with its permissions from site.conf.
func permitted(t *testing.T, nkey string) string {
	t.Helper()
	config, err := os.ReadFile("testdata/site.conf")
	if err != nil {
		t.Fatal(err)
	}
	user := regexp.MustCompile(`(?s)\{nkey: ` + regexp.QuoteMeta(nkey) + `,.*?\n    \}\}`).FindString(string(config))
	if user == "" {
		t.Fatalf("there is no user %s in site.conf", nkey)
	}
	return user
}

// denied checks that err is a refusal of the server.
func denied(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("%s: the error is %v, want a permission violation", what, err)
	}
}

func TestSecurityServeOnly(t *testing.T) {
	s := startSite(t, "site.conf")
	nc := s.as("CELL_1")
	_, err := natsdispatch.Join(nc, newBus(), measure)
	denied(t, "Join as a node", err)
	s.refuses("CELL_1", "a request", func(nc *nats.Conn) error { return nc.Publish("dispatch.v1.default.ask.cell.measure", nil) })
	s.refuses("CELL_1", "reading the floor's inbox", reads("_INBOX_FLOOR.>"))
	s.refuses("CELL_1", "reading all requests to groups", reads("dispatch.v1.default.group.g.cell.measure"))
	s.refuses("CELL_1", "requests of other topics", reads("dispatch.v1.default.ask.door.>"))
	s.refuses("CELL_1", "a reply that nobody has asked for", func(nc *nats.Conn) error { return nc.Publish("_INBOX_FLOOR.a.1", nil) })
}

func TestSecurityAskOnly(t *testing.T) {
	s := startSite(t, "site.conf")
	_, err := natsdispatch.Serve(s.as("FLOOR"), newBus(), measure, natsdispatch.WithNode("cell-1"), quiet)
	denied(t, "Serve as the floor", err)
	s.refuses("FLOOR", "reading requests", reads("dispatch.v1.default.ask.>"))
	s.refuses("FLOOR", "an announcement", func(nc *nats.Conn) error {
		return nc.Publish("dispatch.default.presence.cell-1.cell.measure", nil)
	})
}

// The permission to publish announcements is for one node name.
func TestSecurityNodeName(t *testing.T) {
	s := startSite(t, "site.conf")
	_, err := natsdispatch.Serve(s.as("CELL_1"), newBus(), measure, natsdispatch.WithNode("cell-2"), quiet)
	denied(t, "Serve as another node", err)
	s.refuses("CELL_1", "a beat of another node", func(nc *nats.Conn) error { return nc.Publish("dispatch.default.presence.cell-2", nil) })
}

// refuses checks that the server refuses what do does as the user.
func (s *site) refuses(user, what string, do func(*nats.Conn) error) {
	s.t.Helper()
	violations := make(chan error, 10)
	nc := s.as(user, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err }))
	if err := do(nc); err != nil {
		s.t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		s.t.Fatal(err)
	}
	if err := receive(s.t, "the refusal of "+what, violations); !errors.Is(err, nats.ErrPermissionViolation) {
		s.t.Errorf("%s as %s: the error is %v, want a permission violation", what, user, err)
	}
}

func reads(subject string) func(*nats.Conn) error {
	return func(nc *nats.Conn) error {
		_, err := nc.SubscribeSync(subject)
		return err
	}
}

// twoReplies makes a call whose reply needs two messages: its producer answers only after the floor has
// read the accept and ready has returned. It returns the outcome of the producer.
func (s *site) twoReplies(node *natsdispatch.Node, cell *dispatcher, ready func()) dispatch.Outcome {
	s.t.Helper()
	release := make(chan struct{})
	produce(s.t, cell, "slow", func(ctx context.Context, _ string) (string, error) {
		select {
		case <-release:
			return "done", nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	})
	floor := newBus()
	join(s.t, s.as("FLOOR"), floor, []string{node.Name()})
	call := send(s.t, floor, "x", dispatch.WithTimeout(2*time.Second))
	named(s.t, call, 1)
	ready()
	close(release)
	return outcome(s.t, ended(s.t, call), node.Name()+"/slow")
}

// The defaults of allow_responses let a node send one message to a request, within two minutes.
func TestSecurityAllowResponses(t *testing.T) {
	const line = `allow_responses: {max: -1, expires: "10m"}`
	for _, test := range []struct {
		name, instead string
		late          bool
	}{
		{"as it should be", line, false},
		{"the default", `allow_responses: true`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startSite(t, "site.conf", line, test.instead)
			var said failures
			cell := newBus()
			node, err := natsdispatch.Serve(s.as("CELL_1"), cell, measure, natsdispatch.WithNode("cell-1"),
				natsdispatch.WithBeat(time.Second), natsdispatch.WithErrorHandler(said.add))
			s.must(err)
			defer node.Close()
			o := s.twoReplies(node, cell, func() {})
			if !test.late {
				if o.State != dispatch.StateOK || node.Err() != nil {
					t.Errorf("%v %v; the node's error is %v", o.State, o.Err, node.Err())
				}
				return
			}
			if o.State != dispatch.StateLate {
				t.Errorf("%v %v, want late", o.State, o.Err)
			}
			until(t, "the node to notice", func() bool { return node.Err() != nil })
			denied(t, "Node.Err", node.Err())
			denied(t, "the error handler", errors.Join(said.atLeast(t, 1)...))
		})
	}
}

// The server refuses a reply that comes after the permission has expired, and the node reports this.
func TestSecurityAllowResponsesExpires(t *testing.T) {
	s := startSite(t, "site.conf", `expires: "10m"`, `expires: "1ns"`)
	cell := newBus()
	produce(t, cell, "p", echo("x"))
	node, err := natsdispatch.Serve(s.as("CELL_1"), cell, measure, natsdispatch.WithNode("cell-1"),
		natsdispatch.WithBeat(time.Second), quiet)
	s.must(err)
	defer node.Close()
	floor := newBus()
	join(t, s.as("FLOOR"), floor, []string{"cell-1"})
	report := ended(t, send(t, floor, "x", dispatch.WithTimeout(200*time.Millisecond)))
	want(t, report, dispatch.ReasonDeadline, "cell-1/* late")
	until(t, "the node to notice", func() bool { return node.Err() != nil })
	denied(t, "Node.Err", node.Err())
}

// If the server refuses a request, this is an error of the remote.
func TestSecurityRequestRefused(t *testing.T) {
	s := startSite(t, "site.conf", "publish: [\n        \"dispatch.v1.default.ask.cell.>\"", "publish: [")
	s.serve("CELL_1", "cell-1")
	floor := newBus()
	remote := join(t, s.as("FLOOR"), floor, []string{"cell-1"}, quiet,
		natsdispatch.WithAcceptWindow(100*time.Millisecond))
	o := outcome(t, ended(t, send(t, floor, "x")), "cell-1/*")
	if !errors.Is(o.Err, dispatch.ErrUnreachable) {
		t.Errorf("the error is %v, want ErrUnreachable", o.Err)
	}
	until(t, "the remote to notice", func() bool { return remote.Err() != nil })
	denied(t, "Remote.Err", remote.Err())
}

// A service that is exported to another account with the defaults can send one message to a request, within
// two minutes.
func TestSecurityExport(t *testing.T) {
	const stream, patient = `response_type: "stream"`, `response_threshold: "10m"`
	for _, test := range []struct {
		name, old, instead string
		lost               bool
	}{
		{"as it should be", stream, stream, false},
		{"singleton", stream, `response_type: "singleton"`, true},
		{"the default", stream + ", " + patient + ", ", "", true},
		{"expires", patient, `response_threshold: "300ms"`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startSite(t, "accounts.conf", test.old, test.instead)
			cell := newBus()
			node := serve(t, s.as("CELL_1"), cell, "cell-1")
			o := s.twoReplies(node, cell, func() {
				if test.name != "expires" {
					return
				}
				until(t, "the way back to be forgotten", func() bool {
					cells, err := s.LookupAccount("CELLS")
					return err == nil && cells.NumPendingResponses("dispatch.v1.default.ask.>") == 0
				})
			})
			if lost := o.State != dispatch.StateOK; lost != test.lost {
				t.Errorf("%v %v", o.State, o.Err)
			}
		})
	}
}

func TestSecurityTLS(t *testing.T) {
	s := startSite(t, "site.conf")
	pair := s.users["FLOOR"]
	key := nats.Nkey(publicKey(t, pair), pair.Sign)
	for name, opts := range map[string][]nats.Option{
		"no certificate": {key, nats.RootCAs(s.file("ca.pem"))},
		"no trust":       {key, nats.ClientCert(s.file("client.pem"), s.file("client-key.pem"))},
		"no key":         {nats.RootCAs(s.file("ca.pem")), nats.ClientCert(s.file("client.pem"), s.file("client-key.pem"))},
	} {
		if nc, err := nats.Connect(s.ClientURL(), opts...); err == nil {
			nc.Close()
			t.Errorf("%s: connected", name)
		}
	}
	nc := s.as("FLOOR")
	if state, err := nc.TLSConnectionState(); err != nil || state.Version < tls.VersionTLS12 {
		t.Errorf("TLS %x, %v", state.Version, err)
	}
}
