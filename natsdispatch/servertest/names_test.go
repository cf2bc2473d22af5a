package servertest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// naming adds a producer that answers with its name.
func naming(t *testing.T, d *dispatcher, name string) *dispatch.Registration {
	t.Helper()
	return produce(t, d, name, func(context.Context, string) (string, error) { return name, nil })
}

// sayingNames makes a call and checks that it has these members, and that each result comes from the member
// that it names.
func sayingNames(t *testing.T, d *dispatcher, node string, names ...string) {
	t.Helper()
	call := send(t, d, "x")
	for r := range call.Results() {
		if r.From.Node != node || r.Value != r.From.Name {
			t.Errorf("%v says %s", r.From, r.Value)
		}
	}
	var members []string
	for _, name := range names {
		members = append(members, node+"/"+name+" ok")
	}
	want(t, ended(t, call), dispatch.ReasonAllEnded, members...)
}

// tap returns, for each message that names the members of a reply, the line that names them.
func tap(t *testing.T, nc *nats.Conn) <-chan string {
	t.Helper()
	said := make(chan string, 1000)
	if _, err := nc.Subscribe("_INBOX.>", func(m *nats.Msg) {
		lines := strings.Split(string(m.Data), "\n")
		if strings.HasPrefix(lines[0], "v2 ") && (strings.HasSuffix(lines[0], " 0000000000") || strings.HasSuffix(lines[0], " -")) {
			words := strings.Fields(lines[1])
			if words[0] == "all" {
				words = append([]string{"accept"}, words[2:]...)
			}
			said <- strings.Join(words, " ")
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return said
}

// A new list is named in the first reply, also if the call has ended well and its results do not fit into one message.
func TestNamesOfALargeReplyAreSaidOnce(t *testing.T) {
	s := startServer(t)
	far, near := newBus(), newBus()
	large := func(context.Context, string) (string, error) { return strings.Repeat("x", 10_000), nil }
	serve(t, connect(t, s.ClientURL()), far, "far")
	join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithWindow(4096))
	said := tap(t, connect(t, s.ClientURL()))
	names := ""
	for n := range 25 { // whether a call has ended when the node looks depends on the scheduler
		name := string(rune('a' + n))
		produce(t, far, name, large)
		names += " " + name
		for _, want := range []string{fmt.Sprintf("accept @%d%s", n+1, names), fmt.Sprintf("accept @%d", n+1)} {
			if err := ended(t, send(t, near, "x")).Err(); err != nil {
				t.Fatal(err)
			}
			if got := receive(t, "a reply", said); got != want {
				t.Fatalf("the reply begins with %q, want %q", got, want)
			}
		}
	}
}

// A reply has only the number of a list of members if the asker knows the list. Otherwise the node sends
// the names: in the first reply, or when the asker asks for them.
func TestNamesAreSaidOnce(t *testing.T) {
	s := startServer(t)
	far := newBus()
	naming(t, far, "a")
	naming(t, far, "b 1")
	serve(t, connect(t, s.ClientURL()), far, "far")
	one, two := newBus(), newBus()
	join(t, connect(t, s.ClientURL()), one, []string{"far"})
	remote := join(t, connect(t, s.ClientURL()), two, []string{"far"})
	said := tap(t, connect(t, s.ClientURL()))
	says := func(want string) {
		t.Helper()
		if got := receive(t, "a reply", said); got != want {
			t.Errorf("the reply begins with %q, want %q", got, want)
		}
	}
	sayingNames(t, one, "far", "a", "b 1")
	says("accept @1 a b=201")
	sayingNames(t, two, "far", "a", "b 1")
	says("accept @1 a b=201")
	for _, d := range []*dispatcher{one, two, one} {
		sayingNames(t, d, "far", "a", "b 1")
		says("accept @1")
	}
	want(t, ended(t, send(t, one, "x", dispatch.WithTargets("a"))), dispatch.ReasonAllEnded, "far/a ok")
	says("accept a")

	added := naming(t, far, "c")
	sayingNames(t, one, "far", "a", "b 1", "c")
	says("accept @2 a b=201 c")
	// The other asker has not heard this list.
	sayingNames(t, two, "far", "a", "b 1", "c")
	says("accept @2")
	says("names @2 a b=201 c")
	says("accept @2")
	if n := remote.Stats().Resumed; n != 1 {
		t.Errorf("%d questions, want one", n)
	}
	sayingNames(t, two, "far", "a", "b 1", "c")
	says("accept @2")
	added.Remove()
	sayingNames(t, two, "far", "a", "b 1")
	says("accept @3 a b=201")
	noMisuse(t, one)
	noMisuse(t, two)
}

// A process that has started again numbers its lists from 1, and askers do not confuse them with the lists
// of the old process.
func TestNamesOfAnotherProcess(t *testing.T) {
	s := startServer(t)
	near := newBus()
	remote := join(t, connect(t, s.ClientURL()), near, nil)
	for _, name := range []string{"a", "b"} {
		far := newBus()
		naming(t, far, name)
		node := serve(t, connect(t, s.ClientURL()), far, "far")
		await(t, remote, "far")
		for range 3 {
			sayingNames(t, near, "far", name)
		}
		node.Close()
		until(t, "the node to leave", func() bool { return remote.Stats().Nodes == 0 })
	}
}

// While members come and go, several askers that know different lists get each result under the right name.
func TestNamesOfThoseWhoComeAndGo(t *testing.T) {
	s := startServer(t)
	far := newBus()
	serve(t, connect(t, s.ClientURL()), far, "far", natsdispatch.WithBeat(time.Minute))
	var askers []*dispatcher
	var remotes []*natsdispatch.Remote
	for range 3 {
		near := newBus()
		askers = append(askers, near)
		remotes = append(remotes, join(t, connect(t, s.ClientURL()), near, []string{"far"}))
	}
	there := map[string]*dispatch.Registration{"stays": naming(t, far, "stays")}
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		if name := fmt.Sprint("m", random.IntN(5)); random.IntN(3) > 0 {
			if there[name] == nil {
				there[name] = naming(t, far, name)
			} else {
				there[name].Remove()
				delete(there, name)
			}
		}
		var names []string
		for name := range there {
			names = append(names, name)
		}
		sayingNames(t, askers[random.IntN(len(askers))], "far", names...)
	}
	asked := uint64(0)
	for i, near := range askers {
		noMisuse(t, near)
		asked += remotes[i].Stats().Resumed
	}
	if asked == 0 {
		t.Error("nobody has asked for names")
	}
}

// unknownList lets an agent answer with the number of a list that the asker does not know. It returns the
// call, the request, and the channel of what the asker then sends to the node.
func unknownList(t *testing.T, near *dispatcher, a *agent) (call *dispatch.Call[string, string], m *nats.Msg, said chan *nats.Msg) {
	t.Helper()
	said = make(chan *nats.Msg, 100)
	if _, err := a.nc.ChanSubscribe("dispatch.v1.default.ask.cell.measure.=far", said); err != nil {
		t.Fatal(err)
	}
	call = send(t, near, "x", dispatch.WithTimeout(time.Second))
	m = a.take()
	a.say2(m, "0000000000", "all 5 @5", `["v"]`)
	if got, want := string(receive(t, "a question", said).Data), "names "+m.Header.Get("Dispatch-Call")+" 0 "; !strings.HasPrefix(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
	return call, m, said
}

// say2 sends a message of version 2.
func (a *agent) say2(to *nats.Msg, number string, lines ...string) {
	a.Helper()
	body := fmt.Sprintf("v2 %s %d %s\n%s\n", a.name, a.epoch, number, strings.Join(lines, "\n"))
	if err := a.nc.Publish(to.Reply, []byte(body)); err != nil {
		a.Error(err)
	}
}

// If names are lost, the report says how the members, or the node, ended.
func TestNamesThatAreLost(t *testing.T) {
	for name, c := range map[string]struct {
		then   func(a *agent, m *nats.Msg, said chan *nats.Msg)
		reason dispatch.Reason
		want   string
	}{
		"asked once more": {func(a *agent, m *nats.Msg, said chan *nats.Msg) {
			receive(a, "the question again", said)
			a.say2(m, "0000000000", "all 5 @5", `["v"]`) // the agent still does not send the names
			receive(a, "the question again", said)
			a.say2(m, "-", "names @5 m")
			a.say2(m, "0000000000", "all 5 @5", `["v"]`)
		}, dispatch.ReasonAllEnded, "far/m ok"},
		"names of another list": {func(a *agent, m *nats.Msg, said chan *nats.Msg) {
			a.say2(m, "-", "names @4 n")
			a.say2(m, "-", "names n")
			a.say2(m, "-", "names @5")
			a.say2(m, "0000000000", "all 5 @5", `["v"]`)
			receive(a, "the question again", said)
			a.say2(m, "-", "names @5 m")
			a.say2(m, "0000000000", "accept @5", value(0, "v"), "end 0 1 ok", "final 1 1")
		}, dispatch.ReasonAllEnded, "far/m ok"},
		"never":     {func(*agent, *nats.Msg, chan *nats.Msg) {}, dispatch.ReasonDeadline, "far/* late"},
		"forgotten": {func(a *agent, m *nats.Msg, _ chan *nats.Msg) { a.say2(m, "-", "forgotten") }, dispatch.ReasonAllEnded, "far/* failed"},
		"bye":       {func(a *agent, _ *nats.Msg, _ chan *nats.Msg) { a.announce("bye", nil) }, dispatch.ReasonAllEnded, "far/* gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			near := newBus()
			a := startAgent(t, connect(t, s.ClientURL()), "far")
			join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithAcceptWindow(10*time.Millisecond))
			call, m, said := unknownList(t, near, a)
			c.then(a, m, said)
			want(t, ended(t, call), c.reason, c.want)
			noMisuse(t, near)
		})
	}
}

// A list that does not fit into one message has no number, and several messages name its members.
func TestNamesThatAreTooLong(t *testing.T) {
	s := startServer(t)
	far, near := newBus(), newBus()
	var names []string
	for i := range 300 {
		names = append(names, fmt.Sprint("a name that is very long, as long as that of a sensor in a plant with many halls ", i))
		naming(t, far, names[i])
	}
	serve(t, connect(t, s.ClientURL()), far, "far")
	join(t, connect(t, s.ClientURL()), near, []string{"far"}, natsdispatch.WithWindow(16<<10))
	said := tap(t, connect(t, s.ClientURL()))
	for range 2 {
		sayingNames(t, near, "far", names...)
		if got := receive(t, "a reply", said); strings.HasPrefix(got, "accept @") {
			t.Errorf("the reply begins with %.50q", got)
		}
	}
}
