package servertest_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

func TestSeveralTopicsAndPatterns(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	one, two := dispatch.NewTopic[string, string]("cell.one"), dispatch.NewTopic[string, string]("cell.two")
	for _, topic := range []dispatch.Topic[string, string]{one, two} {
		if _, err := far.AddProducer(topic, echo(topic.Name()), dispatch.WithName("m")); err != nil {
			t.Fatal(err)
		}
	}
	node, err := natsdispatch.Serve(connect(t, s.ClientURL()), far, dispatch.AnyOf(one, two, one), natsdispatch.WithNode("far"), loud(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	remote, err := natsdispatch.Join(connect(t, s.ClientURL()), near, dispatch.NewPattern[string, string]("cell.*"), loud(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remote.Close() })
	until(t, "both topics", func() bool { return len(remote.Nodes()) == 2 })
	for _, topic := range []dispatch.Topic[string, string]{one, two} {
		got, err := near.Gather(t.Context(), topic, "x")
		if err != nil || !slices.Equal(got, []string{topic.Name() + "=x"}) {
			t.Errorf("%v: %q, %v", topic, got, err)
		}
	}
}

// A node and an asker have ten thousand topics. As soon as they know each other, calls are answered.
func TestVeryManyTopics(t *testing.T) {
	if raced {
		t.Skip("the race detector allows 8,128 goroutines, and each subscription has one")
	}
	s := startServer(t)
	near, far := newBus(), newBus()
	topics := make(dispatch.Topics[string, string], 10_000)
	for i := range topics {
		topics[i] = dispatch.NewTopic[string, string](fmt.Sprint("t.", i))
	}
	if _, err := far.AddProducer(topics, echo("m"), dispatch.WithName("m")); err != nil {
		t.Fatal(err)
	}
	node, err := natsdispatch.Serve(connect(t, s.ClientURL()), far, topics, natsdispatch.WithNode("far"), loud(t), unlogged)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	remote, err := natsdispatch.Join(connect(t, s.ClientURL()), near, topics, loud(t), unlogged)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remote.Close() })
	until(t, "all topics", func() bool { return remote.Stats().Nodes == len(topics) })
	if got, err := near.Gather(t.Context(), topics[7], "x"); err != nil || !slices.Equal(got, []string{"m=x"}) {
		t.Errorf("%q, %v", got, err)
	}
}

// A cluster of three servers gives the same results as one server.
func TestCluster(t *testing.T) {
	var servers []*server.Server
	for i := range 3 {
		servers = append(servers, startServer(t, func(o *server.Options) {
			o.ServerName = fmt.Sprint("s", i)
			o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: server.RANDOM_PORT}
			if i > 0 {
				o.Routes = server.RoutesFromStr("nats://" + servers[0].ClusterAddr().String())
			}
		}))
	}
	for _, s := range servers {
		until(t, "the cluster", func() bool { return s.NumRoutes() >= 2 })
	}
	near := newBus()
	wanted := []string{}
	names := []string{}
	for i := range 9 {
		far, name := newBus(), fmt.Sprint("n", i)
		produce(t, far, "m", echo(name))
		produce(t, far, "r", echo("r"), dispatch.WithGroup("g"))
		serve(t, connect(t, servers[i%3].ClientURL()), far, name)
		wanted, names = append(wanted, name+"/m ok"), append(names, name)
	}
	join(t, connect(t, servers[0].ClientURL()), near, names)
	for range 20 {
		report := ended(t, send(t, near, "x"))
		group := slices.IndexFunc(report.Outcomes, func(o dispatch.Outcome) bool { return o.Member.Group == "g" })
		if group < 0 {
			t.Fatalf("the group is missing: %v", report.Outcomes)
		}
		want(t, report, dispatch.ReasonAllEnded, append(slices.Clone(wanted), report.Outcomes[group].Member.String()+" ok")...)
	}
	noMisuse(t, near)
}

// If no node subscribes, a call does not wait for the accept window, because the server says that there are
// no responders. If another program subscribes to the subject, the server does not say so, and the call
// waits.
func TestNobodyThere(t *testing.T) {
	s := startServer(t)
	near := newBus()
	join(t, connect(t, s.ClientURL()), near, nil, natsdispatch.WithAcceptWindow(time.Hour))
	want(t, ended(t, send(t, near, "x", dispatch.WithTimeout(time.Hour))), dispatch.ReasonNoProducers)

	observer := connect(t, s.ClientURL())
	if _, err := observer.Subscribe(">", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := observer.Flush(); err != nil {
		t.Fatal(err)
	}
	patient := newBus()
	join(t, connect(t, s.ClientURL()), patient, nil, natsdispatch.WithAcceptWindow(20*time.Millisecond))
	want(t, ended(t, send(t, patient, "x")), dispatch.ReasonNoProducers)
}

// The first call waits until the remote has found the nodes and their groups.
func TestFirstCallFindsNodes(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	produce(t, far, "m", echo("m"))
	produce(t, far, "r", echo("r"), dispatch.WithGroup("g"))
	serve(t, connect(t, s.ClientURL()), far, "far")
	remote, err := natsdispatch.Join(connect(t, s.ClientURL()), near, measure, loud(t), natsdispatch.WithDiscovery(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remote.Close() })
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/m ok", "far/g ok")
	noMisuse(t, near)
}

// The grace of a node's bus may be longer than what a request has left.
func TestGraceOfABusIsLongerThanTheBudget(t *testing.T) {
	s := startServer(t)
	far, near := newBus(dispatch.WithTimeout(time.Hour), dispatch.WithGrace(time.Minute)), newBus(dispatch.WithTimeout(10*time.Second))
	produce(t, far, "a", echo("a"))
	serve(t, connect(t, s.ClientURL()), far, "far")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"})
	await(t, remote, "far")
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/a ok")
}
