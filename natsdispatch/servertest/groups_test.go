package servertest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// A request to a group reaches one replica of the group, on any node.
func TestGroupAcrossNodes(t *testing.T) {
	s := startServer(t)
	near := newBus()
	var names []string
	var runs [3]atomic.Int32
	for i := range runs {
		far, name := newBus(), fmt.Sprint("n", i)
		produce(t, far, "r", func(context.Context, string) (string, error) { runs[i].Add(1); return "r", nil }, dispatch.WithGroup("a group"))
		produce(t, far, "own", echo("own"))
		serve(t, connect(t, s.ClientURL()), far, name)
		names = append(names, name)
	}
	join(t, connect(t, s.ClientURL()), near, names)
	const calls = 60
	for range calls {
		report := ended(t, send(t, near, "x"))
		if !report.Complete() || len(report.Outcomes) != 4 {
			t.Fatalf("outcomes %v, want three of their own and one of the group", report.Outcomes)
		}
	}
	total := int32(0)
	for i := range runs {
		n := runs[i].Load()
		total += n
		if n == 0 {
			t.Errorf("replica %d was never asked", i)
		}
	}
	if total != calls {
		t.Errorf("the replicas have run %d times, want %d", total, calls)
	}
	report := ended(t, send(t, near, "x", dispatch.WithTargets("a group")))
	if len(report.Outcomes) != 1 || report.Outcomes[0].Member.Group != "a group" {
		t.Errorf("with the group as target: %v", report.Outcomes)
	}
	want(t, ended(t, send(t, near, "x", dispatch.WithTargets("own"))), dispatch.ReasonAllEnded, "n0/own ok", "n1/own ok", "n2/own ok")
	noMisuse(t, near)
}

// A process that asks and serves may have a replica of the same group as other nodes. Each of its calls asks this
// replica, and one of the other nodes.
func TestGroupOfTheAskersOwnProcess(t *testing.T) {
	s := startServer(t)
	near := newBus()
	produce(t, near, "r", echo("r"), dispatch.WithGroup("g"))
	var names []string
	var runs [2]atomic.Int32
	for i := range runs {
		far, name := newBus(), fmt.Sprint("n", i)
		produce(t, far, "r", func(context.Context, string) (string, error) { runs[i].Add(1); return "r", nil }, dispatch.WithGroup("g"))
		produce(t, far, "own", func(context.Context, string) (string, error) { runs[i].Add(1000); return "", nil })
		serve(t, connect(t, s.ClientURL()), far, name)
		names = append(names, name)
	}
	nc := connect(t, s.ClientURL())
	serve(t, nc, near, "near")
	join(t, nc, near, append(names, "near"))
	const calls = 60
	for range calls {
		report := ended(t, send(t, near, "x", dispatch.WithTargets("g"), dispatch.WithTimeout(time.Hour)))
		if !report.Complete() || len(report.Outcomes) != 2 {
			t.Fatalf("%v, want the own replica and one on a node", report)
		}
	}
	a, b := runs[0].Load(), runs[1].Load()
	if a == 0 || b == 0 || a+b != calls {
		t.Errorf("the replicas have run %d and %d times, in %d calls", a, b, calls)
	}
	noMisuse(t, near)
}

// A node gives back a request to a group that has come through its own bus.
func TestNodeGivesARequestBack(t *testing.T) {
	s := startServer(t)
	far := newBus()
	produce(t, far, "r", echo("r"), dispatch.WithGroup("g"))
	serve(t, connect(t, s.ClientURL()), far, "far")
	nc := connect(t, s.ClientURL())
	said, err := nc.Request("dispatch.default.probe", []byte("cell.measure"), patience)
	if err != nil {
		t.Fatal(err)
	}
	var node struct{ Bus string }
	if err := json.Unmarshal(said.Data, &node); err != nil || node.Bus == "" {
		t.Fatalf("%s: %v", said.Data, err)
	}
	m := nats.NewMsg("dispatch.v1.default.group.g.cell.measure")
	m.Data = []byte(`"x"`)
	m.Header = nats.Header{
		"Dispatch-Version": {"1"}, "Dispatch-Type": {"request"}, "Dispatch-Call": {"c"}, "Dispatch-Group": {"g"},
		"Dispatch-Budget": {"3600000000"}, "Dispatch-Codec": {"json"}, "Dispatch-Path": {node.Bus + " other"},
	}
	answer, err := nc.RequestMsg(m, patience)
	if err != nil || !strings.HasPrefix(string(answer.Data), "reject gone passed ") {
		t.Errorf("%v, %v; want that the node gives the request back", answer, err)
	}
}

// If the server has chosen a node that gives a request to a group back, another node is asked.
func TestRequestThatIsGivenBack(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	var runs atomic.Int32
	produce(t, far, "r", func(context.Context, string) (string, error) { runs.Add(1); return "r", nil }, dispatch.WithGroup("g"))
	produce(t, far, "own", echo("own"))
	node := serve(t, connect(t, s.ClientURL()), far, "far")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"})
	nc := connect(t, s.ClientURL())
	var given atomic.Int32
	if _, err := nc.QueueSubscribe("dispatch.v1.default.group.g.cell.measure", "dispatch", func(m *nats.Msg) {
		given.Add(1)
		if err := nc.Publish(m.Reply, []byte("v2 near 7 0\nreject gone passed \"not me\"\n")); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	hour := dispatch.WithTimeout(time.Hour)
	calls := int32(0)
	for ; given.Load() == 0; calls++ {
		want(t, ended(t, send(t, near, "x", hour)), dispatch.ReasonAllEnded, "far/own ok", "far/g ok")
	}
	if n := runs.Load(); n != calls {
		t.Errorf("the replica has run %d times, in %d calls", n, calls)
	}
	// There is no other node any more.
	a := startAgent(t, nc, "old")
	a.announce("change", map[string]any{"groups": []string{"g"}})
	await(t, remote, "old")
	if err := node.Close(); err != nil {
		t.Error(err)
	}
	until(t, "the bye", func() bool { return len(remote.Nodes()) == 1 })
	call := send(t, near, "x", hour)
	a.say(a.take(), "accept", "final 0 0")
	report := ended(t, call)
	want(t, report, dispatch.ReasonAllEnded, "*/g failed")
	if err := outcome(t, report, "*/g").Err; !errors.Is(err, dispatch.ErrUnreachable) {
		t.Errorf("the group has failed with %v", err)
	}
	noMisuse(t, near)
}

// If the connection breaks while the node subscribes to the requests to a group, the node subscribes again, and has one
// subscription in the end.
func TestConnectionBreaksDuringTheSubscriptionToAGroup(t *testing.T) {
	s := startServer(t)
	p := startProxy(t, s.Addr().String())
	near, far := newBus(), newBus()
	nc := connect(t, p.url(), nats.PingInterval(time.Minute))
	serve(t, nc, far, "far", natsdispatch.WithBeat(20*time.Millisecond), quiet)
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"})
	subscriptions := nc.NumSubscriptions()
	p.die()
	produce(t, far, "r", echo("r"), dispatch.WithGroup("g"))
	until(t, "the subscription to begin", func() bool { return nc.NumSubscriptions() > subscriptions })
	p.set(true)
	until(t, "the node to notice", func() bool { return !nc.IsConnected() })
	p.set(false)
	until(t, "the group to be announced", func() bool { return slices.Equal(groupsOf(remote), []string{"g"}) })
	if n := nc.NumSubscriptions(); n != subscriptions+1 {
		t.Errorf("the node has %d subscriptions, %d without the group", n, subscriptions)
	}
}

// A node announces when it gets or loses a group. Calls ask the group from then on, or no longer.
func TestGroupComesAndGoes(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	nc := connect(t, s.ClientURL())
	serve(t, nc, far, "far", natsdispatch.WithBeat(200*time.Millisecond))
	subscriptions := nc.NumSubscriptions()
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"})
	r := produce(t, far, "r", echo("r"), dispatch.WithGroup("g"))
	until(t, "the group to be announced", func() bool { return slices.Equal(groupsOf(remote), []string{"g"}) })
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/g ok")
	r.Remove()
	// If the asker has not yet heard that the group is removed, the group is gone in the report.
	if report := ended(t, send(t, near, "x")); len(report.Outcomes) == 1 {
		want(t, report, dispatch.ReasonAllEnded, "far/g gone")
	}
	until(t, "the group to be gone", func() bool { return len(groupsOf(remote)) == 0 })
	if n := nc.NumSubscriptions(); n != subscriptions {
		t.Errorf("the node has %d subscriptions, %d without the group", n, subscriptions)
	}
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonNoProducers)
	noMisuse(t, near)
}

// A node announces with a change that it has other groups than before, also if it has several topics.
func TestOtherGroupsAreAChange(t *testing.T) {
	s := startServer(t)
	for _, topics := range []dispatch.Topics[string, string]{{measure}, {measure, dispatch.NewTopic[string, string]("cell.other")}} {
		far := newBus()
		nc := connect(t, s.ClientURL())
		said := make(chan *nats.Msg, 1000)
		sub, err := nc.ChanSubscribe("dispatch.default.presence.far.cell.measure", said)
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		node, err := natsdispatch.Serve(connect(t, s.ClientURL()), far, topics, natsdispatch.WithNode("far"), natsdispatch.WithBeat(20*time.Millisecond), loud(t), unlogged)
		if err != nil {
			t.Fatal(err)
		}
		r := produce(t, far, "r", echo("r"), dispatch.WithGroup("g"))
		next := func(groups ...string) {
			t.Helper()
			for {
				var a struct {
					Event  string
					Groups []string
				}
				if err := json.Unmarshal(receive(t, "an announcement", said).Data, &a); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(a.Groups, groups) {
					continue
				}
				if a.Event != "change" {
					t.Errorf("the groups %q are announced with a %s, want a change", groups, a.Event)
				}
				return
			}
		}
		next("g")
		r.Remove()
		next()
		node.Close()
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
}

// groupsOf returns the groups of the only node.
func groupsOf(r *natsdispatch.Remote) []string {
	for _, n := range r.Nodes() {
		return n.Groups
	}
	return nil
}

// groupAgent starts an agent that serves the group g.
func groupAgent(t *testing.T, nc *nats.Conn, name string) *agent {
	t.Helper()
	a := startAgent(t, nc, name)
	if _, err := nc.ChanQueueSubscribe("dispatch.v1.default.group.g.cell.measure", "dispatch", a.asked); err != nil {
		t.Fatal(err)
	}
	a.announce("change", map[string]any{"groups": []string{"g"}})
	return a
}

func TestGroupWithoutAccept(t *testing.T) {
	s := startServer(t)
	for resend, attempts := range map[int]int{0: 1, 2: 3} {
		t.Run(fmt.Sprint("resend=", resend), func(t *testing.T) {
			near := newBus()
			space := natsdispatch.WithAcceptWindow(2 * time.Second)
			opts := []natsdispatch.JoinOption{space}
			if resend > 0 {
				opts = append(opts, natsdispatch.WithResend(resend))
			}
			a := groupAgent(t, connect(t, s.ClientURL()), "far")
			remote := join(t, connect(t, s.ClientURL()), near, []string{"far"}, opts...)
			until(t, "the group", func() bool { return len(groupsOf(remote)) == 1 })
			call := send(t, near, "x")
			a.say(a.take(), "accept", "final 0 0")
			seen := []string{}
			for range attempts {
				m := a.take()
				seen = append(seen, m.Header.Get("Dispatch-Group")+m.Header.Get("Dispatch-Attempt"))
			}
			report := ended(t, call)
			want(t, report, dispatch.ReasonAllEnded, "*/g failed")
			if err := report.Outcomes[0].Err; !errors.Is(err, dispatch.ErrUnreachable) {
				t.Errorf("the group ends with %v, want %v", err, dispatch.ErrUnreachable)
			}
			if all := []string{"g", "g2", "g3"}; !slices.Equal(seen, all[:attempts]) {
				t.Errorf("the group was asked %q, want %q", seen, all[:attempts])
			}
			a.announce("bye", nil)
			noMisuse(t, near)
		})
	}
}

// A request to a group is sent again at most once in each millisecond of the accept window, however often
// WithResend allows it.
func TestGroupIsNotFlooded(t *testing.T) {
	s := startServer(t)
	for _, resend := range []int{math.MaxInt, math.MaxInt - 1, 1 << 30} {
		near := newBus()
		a := groupAgent(t, connect(t, s.ClientURL()), "far")
		remote := join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithAcceptWindow(100*time.Millisecond), natsdispatch.WithResend(resend))
		until(t, "the group", func() bool { return len(groupsOf(remote)) == 1 })
		call := send(t, near, "x")
		a.say(a.take(), "accept", "final 0 0")
		want(t, ended(t, call), dispatch.ReasonAllEnded, "*/g failed")
		if n := remote.Stats().Resent; n == 0 || n > 99 {
			t.Errorf("under WithResend(%d) the request was sent again %d times within 100 ms", resend, n)
		}
		a.announce("bye", nil)
		remote.Close()
		noMisuse(t, near)
	}
}

// If a request to a group is sent again, a second replica may accept it too. The first accept counts, and
// the asker cancels the request on the second node.
func TestGroupSecondAccept(t *testing.T) {
	s := startServer(t)
	near := newBus()
	a := groupAgent(t, connect(t, s.ClientURL()), "far")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"})
	until(t, "the group", func() bool { return len(groupsOf(remote)) == 1 })
	call := send(t, near, "x")
	a.say(a.take(), "accept", "final 0 0")
	m := a.take()
	a.say(m, "accept g/")
	a.sayAs(m, "second", 0, "accept g/", value(0, "wrong"), "end 0 1 ok", "final 1 1")
	c := receive(t, "a cancel", a.asked)
	if node := c.Header.Get("Dispatch-Node"); c.Header.Get("Dispatch-Type") != "cancel" || node != "second" {
		t.Errorf("a %s for node %q, want a cancel for the second", c.Header.Get("Dispatch-Type"), node)
	}
	a.say(m, value(0, "right"), "end 0 1 ok", "final 1 1")
	want(t, ended(t, call), dispatch.ReasonAllEnded, "far/g ok")
	for r := range call.Results() {
		if r.Value != "right" {
			t.Errorf("value %q, want right", r.Value)
		}
	}
	noMisuse(t, near)
}

// The text of a member in a report, as a target, selects that member alone.
func TestTargetsOfOneNode(t *testing.T) {
	s := startServer(t)
	near := newBus()
	for _, name := range []string{"n1", "n2"} {
		far := newBus()
		produce(t, far, "own", echo(name))
		produce(t, far, "other", echo(name))
		produce(t, far, "r1", echo(name+" r1"), dispatch.WithGroup("g"))
		produce(t, far, "r2", echo(name+" r2"), dispatch.WithGroup("g"))
		serve(t, connect(t, s.ClientURL()), far, name)
	}
	join(t, connect(t, s.ClientURL()), near, []string{"n1", "n2"})
	for _, test := range []struct {
		targets []string
		want    []string
		value   string // part of each result's value
	}{
		{[]string{"n2/own"}, []string{"n2/own ok"}, "n2"},
		{[]string{"n2/own", "n1/other"}, []string{"n2/own ok", "n1/other ok"}, ""},
		{[]string{"n1/g"}, []string{"n1/g ok"}, "n1"},
		{[]string{"n2/g/r2"}, []string{"n2/g ok"}, "n2 r2"},
		{[]string{"n1/*"}, []string{"n1/own ok", "n1/other ok", "n1/g ok"}, "n1"},
		{[]string{"own"}, []string{"n1/own ok", "n2/own ok"}, ""},
		{[]string{"n2/own", "n3/own", "n3/*"}, []string{"n2/own ok", "n3/own gone", "n3/* gone"}, "n2"},
	} {
		call := send(t, near, "x", dispatch.WithTargets(test.targets...))
		want(t, ended(t, call), dispatch.ReasonAllEnded, test.want...)
		for r := range call.Results() {
			if !strings.Contains(r.Value, test.value) {
				t.Errorf("%q: %q from %v", test.targets, r.Value, r.From)
			}
		}
	}
	noMisuse(t, near)
}

// A call to members of certain nodes neither reports nor waits for other nodes.
func TestTargetsOfOneNodeExpectNoOther(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	near, a, b := newBus(), newBus(), newBus()
	produce(t, a, "m", echo("a"))
	produce(t, a, "r", echo("a"), dispatch.WithGroup("g"))
	produce(t, b, "m", echo("b"))
	serve(t, connect(t, s.ClientURL()), a, "a")
	killed := connect(t, s.ClientURL())
	serve(t, killed, b, "b", quiet, natsdispatch.WithBeat(20*time.Millisecond))
	r := join(t, connect(t, s.ClientURL()), near, []string{"a", "b"}, natsdispatch.WithNodes("a", "ghost"), natsdispatch.WithAcceptWindow(100*time.Millisecond))
	killed.Close()
	until(t, "b to be gone", func() bool { return len(r.Nodes()) == 1 })
	for target, members := range map[string][]string{
		"a/*": {"a/m ok", "a/g ok"}, "a/m": {"a/m ok"}, "a/g": {"a/g ok"}, "a/x": {"a/x gone"},
		"b/m":     {"b/* gone", "b/m gone"},
		"ghost/m": {"ghost/* failed", "ghost/m gone"},
		// Any node may have a member of these names.
		"m":   {"a/m ok", "b/* gone", "ghost/* failed"},
		"g":   {"a/g ok", "b/* gone", "ghost/* failed"},
		"x/m": {"b/* gone", "ghost/* failed", "x/m gone"},
	} {
		t.Run(target, func(t *testing.T) {
			want(t, ended(t, send(t, near, "x", dispatch.WithTargets(target))), dispatch.ReasonAllEnded, members...)
		})
	}
	noMisuse(t, near)
}

// A group whose name is too long for a subject, or cannot be announced, is reported once and closes no
// connection. It is asked only if a target begins with the name of its node.
func TestGroupThatHasNoSubject(t *testing.T) {
	s := startServer(t)
	far, near := newBus(), newBus()
	produce(t, far, "m", echo("m"))
	unfit := []string{strings.Repeat("組", 500), "g\xff"}
	produce(t, far, "early", echo("early"), dispatch.WithGroup(unfit[0]))
	var told failures
	nc := connect(t, s.ClientURL())
	serve(t, nc, far, "far", natsdispatch.WithErrorHandler(told.add), natsdispatch.WithBeat(10*time.Millisecond))
	produce(t, far, "late", echo("late"), dispatch.WithGroup(unfit[1]))
	produce(t, far, "r", echo("r"), dispatch.WithGroup("fit"))
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"})
	until(t, "the group with a subject", func() bool { return slices.Equal(groupsOf(remote), []string{"fit"}) })
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/m ok", "far/fit ok")
	for i, group := range unfit {
		values, err := near.Gather(t.Context(), measure, "x", dispatch.WithTargets("far/"+group))
		if err != nil || len(values) != 1 || values[0] != []string{"early=x", "late=x"}[i] {
			t.Errorf("with the name of the node group %.10q answers %q, %v", group, values, err)
		}
	}
	all := told.atLeast(t, 2)
	if len(all) != 2 || !errors.Is(errors.Join(all...), natsdispatch.ErrTooLarge) || !errors.Is(errors.Join(all...), dispatch.ErrInvalidArgument) {
		t.Errorf("reported: %v, want one error for each group", all)
	}
	if err := nc.Flush(); err != nil || nc.Stats().Reconnects != 0 {
		t.Errorf("the node's connection was closed %d times: %v", nc.Stats().Reconnects, err)
	}
	noMisuse(t, near)
}

// An asker does not send to a subject that would close its connection, even if a node has announced the group.
func TestAnnouncementsOfNamesThatAreTooLong(t *testing.T) {
	s := startServer(t)
	near := newBus()
	nc := connect(t, s.ClientURL())
	long := strings.Repeat("g", 5000)
	a := startAgent(t, connect(t, s.ClientURL()), "far")
	a.announce("change", map[string]any{"groups": []string{long}})
	remote := join(t, nc, near, []string{"far"})
	until(t, "the group", func() bool { return len(groupsOf(remote)) == 1 })
	call := send(t, near, "x")
	request := a.take()
	a.sayAs(request, long, 0, "accept m", value(0, "v"), "end 0 1 ok", "final 1 1") // from a node with a long name
	a.say(request, "accept m", value(0, "v"), "end 0 1 ok", "final 1 1")
	report := ended(t, call)
	want(t, report, dispatch.ReasonAllEnded, "far/m ok", "*/"+long+" failed")
	if err := outcome(t, report, "*/"+long).Err; !errors.Is(err, natsdispatch.ErrTooLarge) {
		t.Errorf("the group ends with %.100v, want %v", err, natsdispatch.ErrTooLarge)
	}
	if err := nc.Flush(); err != nil || nc.Stats().Reconnects != 0 {
		t.Errorf("the asker's connection was closed %d times: %v", nc.Stats().Reconnects, err)
	}
	if n := remote.Stats().Malformed; n != 1 {
		t.Errorf("%d messages are malformed, want 1", n)
	}
	a.announce("bye", nil)
	noMisuse(t, near)
}

// A node that drains while its connection is broken gets no more requests to its groups when the connection is back.
// Its process and its connection go on.
func TestGroupOfANodeThatDrainedWithoutAConnection(t *testing.T) {
	s := startServer(t)
	port := s.Addr().(*net.TCPAddr).Port
	leaving, staying, near := newBus(), newBus(), newBus()
	produce(t, leaving, "r1", echo("r1"), dispatch.WithGroup("g"))
	produce(t, staying, "r2", echo("r2"), dispatch.WithGroup("g"))
	nc, stays, asks := connect(t, s.ClientURL()), connect(t, s.ClientURL()), connect(t, s.ClientURL())
	node := serve(t, nc, leaving, "leaving")
	serve(t, stays, staying, "staying")
	r := join(t, asks, near, []string{"leaving", "staying"})

	s.Shutdown()
	until(t, "the connection to be broken", nc.IsReconnecting)
	before := nc.NumSubscriptions()
	drained := make(chan error, 1)
	go func() { drained <- node.Drain(t.Context()) }()
	until(t, "the node to drain", func() bool { return nc.NumSubscriptions() != before }) // it hears cancels, and then ends others
	again := startServer(t, onPort(port))
	if err := receive(t, "the node to be drained", drained); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*nats.Conn{nc, stays, asks} {
		until(t, "all to be connected", c.IsConnected)
	}
	await(t, r, "staying")
	id, err := stays.GetClientID()
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the replica that stays to be subscribed", func() bool {
		return slices.ContainsFunc(subscriptions(t, again, "dispatch.v1.default.group.g.cell.measure"), func(sub string) bool {
			return strings.HasPrefix(sub, fmt.Sprint(id, " "))
		})
	})
	for range 20 {
		report := ended(t, send(t, near, "x", dispatch.WithTargets("g"), dispatch.WithQuorum(1), dispatch.WithTimeout(5*time.Second)))
		if report.Reason != dispatch.ReasonSatisfied {
			t.Fatalf("a request to the group is lost: %v", report)
		}
	}
}
