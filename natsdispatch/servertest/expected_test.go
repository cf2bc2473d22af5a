package servertest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// The report names a node that sends nothing, also if the asker is busy at the end of the call.
func TestSilentNodeIsNamed(t *testing.T) {
	s := startServer(t)
	near, busy := newBus(), newBus()
	startAgent(t, connect(t, s.ClientURL()), "mute")
	join(t, connect(t, s.ClientURL()), near, []string{"mute"})
	report := ended(t, send(t, near, "x", dispatch.WithTimeout(200*time.Millisecond)))
	want(t, report, dispatch.ReasonDeadline, "mute/* late")
	if o := outcome(t, report, "mute/*"); o.Started || !errors.Is(o.Err, context.DeadlineExceeded) {
		t.Errorf("outcome %+v", o)
	}
	slow := make(chan struct{})
	join(t, connect(t, s.ClientURL()), busy, []string{"mute"}, natsdispatch.WithTraceContext(
		func(context.Context, func(key, value string)) { <-slow }, nil))
	want(t, ended(t, send(t, busy, "x", dispatch.WithTimeout(200*time.Millisecond))), dispatch.ReasonDeadline, "mute/* late")
	close(slow)
	call := send(t, near, "x")
	until(t, "the node to be expected", func() bool { return len(call.Report().Outcomes) == 1 })
	call.Cancel(nil)
	want(t, ended(t, call), dispatch.ReasonCanceled, "mute/* canceled")
	noMisuse(t, near)
	noMisuse(t, busy)
}

// The report names a group that no replica accepts.
func TestSilentGroupIsNamed(t *testing.T) {
	s := startServer(t)
	near := newBus()
	a := startAgent(t, connect(t, s.ClientURL()), "mute")
	a.announce("change", map[string]any{"groups": []string{"g"}})
	remote := join(t, connect(t, s.ClientURL()), near, []string{"mute"})
	until(t, "the group to be known", func() bool { return len(remote.Nodes()[0].Groups) == 1 })
	want(t, ended(t, send(t, near, "x", dispatch.WithTimeout(200*time.Millisecond))), dispatch.ReasonDeadline, "mute/* late", "*/g late")
	noMisuse(t, near)
}

// A node that has died is gone in each call, at once, until the asker forgets it.
func TestDeadNodeIsNamedInEveryCall(t *testing.T) {
	s := startServer(t)
	far, other, near := newBus(), newBus(), newBus()
	produce(t, far, "a", echo("a"))
	produce(t, other, "b", echo("b"))
	dead := connect(t, s.ClientURL())
	serve(t, dead, far, "far", natsdispatch.WithBeat(100*time.Millisecond), quiet)
	serve(t, connect(t, s.ClientURL()), other, "other")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far", "other"}, natsdispatch.WithForget(3*time.Second))
	dead.Close()
	until(t, "the node to be gone", func() bool { return len(remote.Nodes()) == 1 })
	report := ended(t, send(t, near, "x", dispatch.WithTimeout(time.Hour)))
	want(t, report, dispatch.ReasonAllEnded, "far/* gone", "other/b ok")
	if err := outcome(t, report, "far/*").Err; !errors.Is(err, dispatch.ErrGone) || !strings.Contains(err.Error(), "far was last heard ") {
		t.Errorf("the node is gone with %v", err)
	}
	until(t, "the node to be forgotten", func() bool { return len(ended(t, send(t, near, "x")).Outcomes) == 1 })
	noMisuse(t, near)
}

// The report names nodes of WithNodes that the asker has never heard.
func TestNodesThatWereNeverHeard(t *testing.T) {
	s := startServer(t)
	far, near := newBus(), newBus()
	produce(t, far, "a", echo("a"))
	nobody := newBus()
	join(t, connect(t, s.ClientURL()), nobody, nil, natsdispatch.WithNodes("far"))
	report := ended(t, send(t, nobody, "x")) // the server says that there are no responders
	want(t, report, dispatch.ReasonAllEnded, "far/* failed")
	if err := outcome(t, report, "far/*").Err; !errors.Is(err, dispatch.ErrUnreachable) {
		t.Errorf("the node ends with %v", err)
	}
	node := serve(t, connect(t, s.ClientURL()), far, "far")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithNodes("far", "away"), natsdispatch.WithNodes("far"),
		natsdispatch.WithAcceptWindow(200*time.Millisecond))
	report = ended(t, send(t, near, "x"))
	want(t, report, dispatch.ReasonAllEnded, "far/a ok", "away/* failed")
	if err := outcome(t, report, "away/*").Err; !errors.Is(err, dispatch.ErrUnreachable) || !strings.Contains(err.Error(), "never heard of") {
		t.Errorf("the node ends with %v", err)
	}
	if err := node.Close(); err != nil {
		t.Error(err)
	}
	until(t, "the bye to be heard", func() bool { return len(remote.Nodes()) == 0 }) // a bye during the next call would end the call
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/* failed", "away/* failed")
	noMisuse(t, near)
}

// A call does not expect a node that drains, unless WithNodes names it. Such a node has an outcome in every call, and
// the call does not wait for it.
func TestNodeThatDrainsAndIsNamed(t *testing.T) {
	s := startServer(t)
	near, nobody := newBus(), newBus()
	a := startAgent(t, connect(t, s.ClientURL()), "far")
	hour := natsdispatch.WithAcceptWindow(time.Hour)
	named := join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithNodes("far"), hour)
	other := join(t, connect(t, s.ClientURL()), nobody, []string{"far"}, hour)
	a.announce("change", map[string]any{"draining": true})
	for _, r := range []*natsdispatch.Remote{named, other} {
		until(t, "the node to drain", func() bool { return r.Nodes()[0].Draining })
	}
	report := ended(t, send(t, near, "x", dispatch.WithTimeout(2*time.Hour)))
	want(t, report, dispatch.ReasonAllEnded, "far/* failed")
	if err := outcome(t, report, "far/*").Err; !errors.Is(err, dispatch.ErrUnreachable) || !strings.Contains(err.Error(), "far is draining") {
		t.Errorf("the node ends with %v", err)
	}
	want(t, ended(t, send(t, nobody, "x", dispatch.WithTimeout(time.Second))), dispatch.ReasonNoProducers)
	noMisuse(t, near)
}

// If the end of an expected node ends the call, the report has an outcome of each other expected node, and no node is
// asked.
func TestCallThatAnExpectedNodeEnds(t *testing.T) {
	s := startServer(t)
	near := newBus()
	a, b := startAgent(t, connect(t, s.ClientURL()), "a"), startAgent(t, connect(t, s.ClientURL()), "b")
	nodes := []string{"a", "b", "c", "d", "e", "f"}
	remote := join(t, connect(t, s.ClientURL()), near, []string{"a", "b"}, natsdispatch.WithNodes(nodes...))
	a.announce("change", map[string]any{"draining": true})
	until(t, "the node to drain", func() bool { return remote.Nodes()[0].Draining })
	others := []string{"a/* failed", "b/* canceled", "c/* canceled", "d/* canceled", "e/* canceled", "f/* canceled"}
	for range 10 {
		want(t, ended(t, send(t, near, "x", dispatch.WithFailFast())), dispatch.ReasonFailedFast, others...)
	}
	call := send(t, near, "y")
	if m := receive(t, "a message", b.asked); string(m.Data) != `"y"` {
		t.Errorf("the node got %q with the header %q before the request", m.Data, m.Header)
	}
	call.Cancel(nil)
	noMisuse(t, near)
}

// A call whose timeout is shorter than the discovery sends its request at once.
func TestFirstCallIsShort(t *testing.T) {
	s := startServer(t)
	far, near := newBus(), newBus()
	produce(t, far, "m", echo("m"))
	produce(t, far, "r", echo("r"), dispatch.WithGroup("g"))
	serve(t, connect(t, s.ClientURL()), far, "far")
	if _, err := natsdispatch.Join(connect(t, s.ClientURL()), near, measure, loud(t), natsdispatch.WithDiscovery(time.Hour)); err != nil {
		t.Fatal(err)
	}
	call := send(t, near, "x", dispatch.WithTimeout(8*time.Second))
	report := ended(t, call)
	want(t, report, dispatch.ReasonAllEnded, "far/m ok", "far/g ok")
	if first := outcome(t, report, "far/m"); first.Elapsed > time.Second && first.Elapsed > report.Elapsed/2 {
		t.Errorf("the call has waited for %v before it asked", first.Elapsed)
	}
	noMisuse(t, near)
}

// If two processes have the same node name, both nodes and the asker report this. The report of a call has
// the failure of the second process.
func TestTwinsAreReported(t *testing.T) {
	s := startServer(t)
	near := newBus()
	var told [3]failures
	answer := make(chan struct{})
	for i, name := range []string{"a", "b"} {
		far := newBus()
		produce(t, far, name, func(ctx context.Context, req string) (string, error) {
			select {
			case <-answer: // closed once both have accepted, because the first answer ends the call
			case <-ctx.Done():
			}
			return name + "=" + req, ctx.Err()
		})
		serve(t, connect(t, s.ClientURL()), far, "twin", natsdispatch.WithBeat(50*time.Millisecond), natsdispatch.WithErrorHandler(told[i].add))
	}
	join(t, connect(t, s.ClientURL()), near, []string{"twin"}, natsdispatch.WithErrorHandler(told[2].add))
	for i := range told {
		until(t, "a twin to be reported", func() bool { return len(told[i].list()) > 0 })
	}
	call := send(t, near, "x")
	until(t, "both to accept", func() bool {
		return slices.ContainsFunc(call.Report().Outcomes, func(o dispatch.Outcome) bool { return o.State == dispatch.StateFailed })
	})
	close(answer)
	report := ended(t, call)
	ok := slices.DeleteFunc(slices.Clone(report.Outcomes), func(o dispatch.Outcome) bool { return o.State != dispatch.StateOK })
	if len(ok) != 1 || report.Complete() {
		t.Errorf("the call ended as %v with %v", report.Reason, report.Outcomes)
	}
	for i := range told {
		all := told[i].list()
		if len(all) != 1 || !errors.Is(all[0], dispatch.ErrDuplicate) || !strings.Contains(all[0].Error(), "two processes are called twin") {
			t.Errorf("error handler %d was told %q", i, all)
		}
	}
	noMisuse(t, near)
}

// An asker does not prefer the larger of two boot ids, so one forged announcement in the name of a node
// does not silence the node.
func TestAnnouncementWithAnotherBootID(t *testing.T) {
	s := startServer(t)
	far, near := newBus(), newBus()
	produce(t, far, "a", echo("a"))
	serve(t, connect(t, s.ClientURL()), far, "far", natsdispatch.WithBeat(100*time.Millisecond), quiet)
	var told failures
	join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithErrorHandler(told.add))
	evil := startAgent(t, connect(t, s.ClientURL()), "evil")
	evil.announceTo("dispatch.default.presence.far.cell.measure", "beat", map[string]any{"node": "far", "epoch": int64(9e18)})
	until(t, "the node to be heard again", func() bool { return len(told.list()) > 0 })
	report := ended(t, send(t, near, "x", dispatch.WithTimeout(time.Second)))
	if o := outcome(t, report, "far/a"); o.State != dispatch.StateOK {
		t.Errorf("%v", report.Outcomes)
	}
}

func TestDrainOnAClosedConnection(t *testing.T) {
	s := startServer(t)
	far, near := newBus(), newBus()
	began := make(chan context.Context, 1)
	produce(t, far, "a", hang(began))
	nc := connect(t, s.ClientURL())
	node := serve(t, nc, far, "far", quiet)
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	call := send(t, near, "x")
	receive(t, "the producer to begin", began)
	drained := make(chan error, 1)
	go func() { drained <- node.Drain(context.Background()) }()
	until(t, "the node to drain", func() bool { return near.Bus() != nil && node.Stats().InHand == 1 })
	nc.Close()
	if err := receive(t, "Drain", drained); !errors.Is(err, dispatch.ErrUnreachable) {
		t.Errorf("Drain: %v, want %v", err, dispatch.ErrUnreachable)
	}
	if err := node.Drain(context.Background()); !errors.Is(err, dispatch.ErrUnreachable) {
		t.Errorf("Drain after that: %v, want %v", err, dispatch.ErrUnreachable)
	}
	call.Cancel(nil)
}

// If the program drains the connection before the node, the node reports that results may be lost.
func TestConnectionIsDrainedUnderANode(t *testing.T) {
	s := startServer(t)
	far := newBus()
	produce(t, far, "a", echo("a"))
	var told failures
	nc := connect(t, s.ClientURL())
	serve(t, nc, far, "far", natsdispatch.WithErrorHandler(told.add))
	if err := nc.Drain(); err != nil {
		t.Fatal(err)
	}
	until(t, "an error", func() bool { return len(told.list()) > 0 })
	if all := told.list(); !strings.Contains(all[0].Error(), "call Node.Drain before that") {
		t.Errorf("the error handler was told %q", all)
	}
}

// If the connection of the asker is closed during a call, the members fail at once.
func TestAskersConnectionIsClosed(t *testing.T) {
	s := startServer(t)
	far, near := newBus(), newBus()
	began := make(chan context.Context, 1)
	produce(t, far, "a", hang(began))
	serve(t, connect(t, s.ClientURL()), far, "far")
	nc := connect(t, s.ClientURL())
	join(t, nc, near, []string{"far"}, quiet)
	call := send(t, near, "x", dispatch.WithTimeout(time.Hour))
	receive(t, "the producer to begin", began)
	named(t, call, 1)
	nc.Close()
	report := ended(t, call)
	want(t, report, dispatch.ReasonAllEnded, "far/a failed")
	if err := outcome(t, report, "far/a").Err; !errors.Is(err, dispatch.ErrUnreachable) {
		t.Errorf("the member ends with %v", err)
	}
	want(t, ended(t, send(t, near, "x", dispatch.WithTimeout(time.Hour))), dispatch.ReasonAllEnded, "far/* failed")
	noMisuse(t, near)
}

// The asker notices a connection that delivers nothing. The report says that the asker is cut off, and
// names all nodes.
func TestDeadConnectionIsNoDeathOfNodes(t *testing.T) {
	s := startServer(t)
	p := startProxy(t, s.Addr().String())
	far, near := newBus(), newBus()
	produce(t, far, "a", echo("a"))
	serve(t, connect(t, s.ClientURL()), far, "far", natsdispatch.WithBeat(200*time.Millisecond))
	var told failures
	remote := join(t, connect(t, p.url()), near, []string{"far"}, natsdispatch.WithErrorHandler(told.add))
	p.die()
	until(t, "the asker to notice", func() bool { return len(remote.Nodes()) == 0 })
	report := ended(t, send(t, near, "x", dispatch.WithTimeout(time.Hour)))
	want(t, report, dispatch.ReasonAllEnded, "far/* failed")
	for _, err := range []error{outcome(t, report, "far/*").Err, told.atLeast(t, 1)[0]} {
		if !errors.Is(err, dispatch.ErrUnreachable) || !strings.Contains(err.Error(), "cut off: NATS has not answered a ping") {
			t.Errorf("the error is %v", err)
		}
	}
	p.set(false)
	await(t, remote, "far")
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/a ok")
	noMisuse(t, near)
}

// A call that is sent without a connection waits for one, as long as WithReconnectWait allows.
func TestCallWaitsForAConnection(t *testing.T) {
	s := startServer(t)
	p := startProxy(t, s.Addr().String())
	far, near, hasty := newBus(), newBus(), newBus()
	produce(t, far, "a", echo("a"))
	serve(t, connect(t, s.ClientURL()), far, "far")
	nc := connect(t, p.url())
	join(t, nc, near, []string{"far"}, quiet, natsdispatch.WithReconnectWait(time.Hour))
	join(t, nc, hasty, []string{"far"}, quiet, natsdispatch.WithReconnectWait(0))
	p.set(true)
	until(t, "the asker to notice", func() bool { return !nc.IsConnected() })
	want(t, ended(t, send(t, hasty, "x")), dispatch.ReasonAllEnded, "far/* failed")
	want(t, ended(t, send(t, near, "x", dispatch.WithTimeout(100*time.Millisecond))), dispatch.ReasonAllEnded, "far/* failed")
	call := send(t, near, "x")
	until(t, "the node to be expected", func() bool { return len(call.Report().Outcomes) == 1 })
	p.set(false)
	want(t, ended(t, call), dispatch.ReasonAllEnded, "far/a ok")
	noMisuse(t, near)
}

// The nodes of a call that waits for a connection are Gone if the Remote is closed. A call that knows no node
// has no remote member then.
func TestRemoteIsClosedUnderACallThatWaitsForAConnection(t *testing.T) {
	s := startServer(t)
	url := s.ClientURL()
	s.Shutdown()
	for _, c := range []struct {
		opts    []natsdispatch.JoinOption
		reason  dispatch.Reason
		members []string
	}{
		{[]natsdispatch.JoinOption{natsdispatch.WithNodes("far")}, dispatch.ReasonAllEnded, []string{"far/* gone"}},
		{nil, dispatch.ReasonNoProducers, nil},
	} {
		near := newBus()
		remote := join(t, connect(t, url), near, nil, append(c.opts, natsdispatch.WithReconnectWait(time.Hour))...)
		call := send(t, near, "x", dispatch.WithTimeout(time.Hour))
		until(t, "the request to be open", func() bool { return remote.Stats().InFlight == 1 })
		if err := remote.Close(); err != nil {
			t.Error(err)
		}
		want(t, ended(t, call), c.reason, c.members...)
		noMisuse(t, near)
	}
}

// A refusal that concerns another part of the program is not an error of the node or the remote, and does
// not hide one of their own.
func TestPermissionsOfOtherPartsOfTheProgram(t *testing.T) {
	s := startServer(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Deny: []string{"weather.>", "dispatch.red.>"}},
			Subscribe: &server.SubjectPermission{Deny: []string{"weather.>", "dispatch.default.presence.far.>"}},
		}}}
	})
	refused := make(chan error, 10)
	nc := connect(t, s.ClientURL(), nats.UserInfo("u", "p"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	far, near := newBus(), newBus()
	produce(t, far, "a", echo("a"))
	refuse := func() {
		t.Helper()
		if err := nc.Publish("weather.tomorrow", nil); err != nil {
			t.Fatal(err)
		}
		receive(t, "a refusal", refused)
	}
	refuse()
	serve(t, nc, far, "far") // the server refuses to let the node hear its twins; this is not an error
	receive(t, "the refusal to hear twins", refused)
	refuse()
	join(t, nc, near, []string{"far"})
	refuse()
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/a ok")
	if _, err := natsdispatch.Serve(nc, far, measure, natsdispatch.WithNode("far"), natsdispatch.WithSpace("red"), quiet); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("Serve: %v, want %v", err, nats.ErrPermissionViolation)
	}
}
