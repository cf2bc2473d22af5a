package servertest_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

func TestVerify(t *testing.T) {
	s := startServer(t)
	near, far, intruders := newBus(), newBus(), newBus()
	produce(t, far, "m", echo("m"))
	produce(t, intruders, "intruder", echo("intruder"))
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	other, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	keyOf := func(node string) (string, bool) { return public, node == "far" }
	var told failures // reports of a twin: nodes do not verify the announcements of others
	tell := natsdispatch.WithErrorHandler(told.add)
	serve(t, connect(t, s.ClientURL()), far, "far", natsdispatch.WithSign(natsdispatch.SignNKey(pair)), tell)
	for node, opts := range map[string][]natsdispatch.ServeOption{
		"nobody": {natsdispatch.WithSign(natsdispatch.SignNKey(pair))}, "unsigned": nil,
	} {
		serve(t, connect(t, s.ClientURL()), intruders, node, opts...)
	}
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithVerify(natsdispatch.VerifyNKey(keyOf)))
	// A node with another key takes the name of the node.
	serve(t, connect(t, s.ClientURL()), intruders, "far", natsdispatch.WithSign(natsdispatch.SignNKey(other)), tell)
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/m ok")
	until(t, "what is unverified to be counted", func() bool { return remote.Stats().Unverified >= 3 })
	if nodes := remote.Nodes(); len(nodes) != 1 || nodes[0].Node != "far" {
		t.Errorf("present are %v, want far alone", nodes)
	}
	verify := natsdispatch.VerifyNKey(keyOf)
	signature, err := natsdispatch.SignNKey(pair)([]byte("this"))
	if err != nil {
		t.Fatal(err)
	}
	if err := verify("far", []byte("this"), signature); err != nil {
		t.Errorf("what was signed is refused: %v", err)
	}
	for what, err := range map[string]error{
		"another message":  verify("far", []byte("that"), signature),
		"another node":     verify("near", []byte("this"), signature),
		"no signature":     verify("far", []byte("this"), nil),
		"a key that isn't": natsdispatch.VerifyNKey(func(string) (string, bool) { return "x", true })("far", []byte("this"), signature),
	} {
		if !errors.Is(err, natsdispatch.ErrUnverified) {
			t.Errorf("%s: %v, want %v", what, err, natsdispatch.ErrUnverified)
		}
	}
	noMisuse(t, near)
}

// A missing permission is an error of the node or the remote: Serve or Join returns the error if the server
// refuses at once; otherwise the error handler gets it.
func TestPermissions(t *testing.T) {
	allow := func(publish, subscribe string) *server.Permissions {
		return &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{publish}}, Subscribe: &server.SubjectPermission{Allow: []string{subscribe}},
		}
	}
	s := startServer(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "all", Password: "p"},
			{Username: "deaf", Password: "p", Permissions: allow(">", "nothing")},
			{Username: "mute", Password: "p", Permissions: allow("nothing", ">")},
			{Username: "no replies", Password: "p", Permissions: allow("dispatch.>", ">")},
			{Username: "no asks", Password: "p", Permissions: allow("dispatch.default.>", ">")},
		}
	})
	as := func(user string) *nats.Conn { return connect(t, s.ClientURL(), nats.UserInfo(user, "p")) }
	near, far := newBus(), newBus()
	produce(t, far, "m", echo("m"))
	for _, user := range []string{"deaf", "mute"} {
		if _, err := natsdispatch.Serve(as(user), far, measure); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("Serve as one who is %s: %v, want %v", user, err, nats.ErrPermissionViolation)
		}
		if _, err := natsdispatch.Join(as(user), near, measure); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("Join as one who is %s: %v, want %v", user, err, nats.ErrPermissionViolation)
		}
	}
	var told failures
	node := serve(t, as("no replies"), far, "far", natsdispatch.WithErrorHandler(told.add), natsdispatch.WithBeat(300*time.Millisecond))
	remote := join(t, as("all"), near, []string{"far"}, natsdispatch.WithAcceptWindow(50*time.Millisecond))
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/* failed")
	until(t, "the node to fail", func() bool { return errors.Is(node.Err(), nats.ErrPermissionViolation) })
	if err := told.list()[0]; !strings.Contains(err.Error(), "_INBOX") {
		t.Errorf("the error %v does not say what was refused", err)
	}
	if err := remote.Close(); err != nil {
		t.Fatal(err)
	}
	remote = join(t, as("no asks"), near, []string{"far"}, natsdispatch.WithAcceptWindow(50*time.Millisecond), natsdispatch.WithErrorHandler(told.add))
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/* failed")
	if err := remote.Err(); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("the remote's error is %v, want %v", err, nats.ErrPermissionViolation)
	}
}

// The replies come to the inbox prefix of the connection.
func TestInboxPrefix(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	produce(t, far, "m", echo("m"))
	serve(t, connect(t, s.ClientURL()), far, "far")
	spy := connect(t, s.ClientURL())
	public, err := spy.SubscribeSync("_INBOX.>")
	if err != nil {
		t.Fatal(err)
	}
	private, err := spy.SubscribeSync("_floor.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := spy.Flush(); err != nil {
		t.Fatal(err)
	}
	join(t, connect(t, s.ClientURL(), nats.CustomInboxPrefix("_floor")), near, []string{"far"})
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/m ok")
	if _, err := private.NextMsg(patience); err != nil {
		t.Errorf("no reply to the private inbox: %v", err)
	}
	if n, _, err := public.Pending(); err != nil || n != 0 {
		t.Errorf("%d replies to the public inbox, %v", n, err)
	}
}

// A refusal from before Serve is not an error of the node.
func TestEarlierRefusal(t *testing.T) {
	s := startServer(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"secret"}},
		}}}
	})
	nc := connect(t, s.ClientURL(), nats.UserInfo("u", "p"))
	if err := nc.Publish("secret", nil); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Fatalf("the server has not refused it: %v", err)
	}
	near, far := newBus(), newBus()
	produce(t, far, "m", echo("m"))
	serve(t, nc, far, "far")
	join(t, nc, near, []string{"far"})
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/m ok")
}
