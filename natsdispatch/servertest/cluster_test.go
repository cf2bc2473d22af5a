package servertest_test

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// cluster is a cluster of three servers, each in its own process.
type cluster struct {
	servers [3]*process
	urls    [3]string
}

// freePorts returns n ports that were free a moment ago.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	}
	return ports
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{}
	ports := freePorts(t, 6)
	var routes []string
	for _, port := range ports[3:] {
		routes = append(routes, "nats://127.0.0.1:"+port)
	}
	for i := range c.servers {
		c.urls[i] = "nats://127.0.0.1:" + ports[i]
		c.servers[i] = startProcess(t, func() *exec.Cmd {
			return exec.Command(path, "-a", "127.0.0.1", "-p", ports[i], "-n", fmt.Sprint("s", i),
				"-cluster_name", "c", "-cluster", routes[i], "-routes", strings.Join(routes, ","))
		})
	}
	return c
}

// connect returns a connection to the cluster that tries server i first.
func (c *cluster) connect(t *testing.T, i int) *nats.Conn {
	t.Helper()
	urls := slices.Concat(c.urls[i:], c.urls[:i])
	nc := connect(t, strings.Join(urls, ","), nats.DontRandomize())
	until(t, "a connection", nc.IsConnected)
	return nc
}

// kill kills the server of a connection, and returns a function that starts the server again.
func (c *cluster) kill(t *testing.T, nc *nats.Conn) (restart func()) {
	t.Helper()
	i := slices.Index(c.urls[:], nc.ConnectedUrl())
	if i < 0 {
		return func() {}
	}
	c.servers[i].kill()
	return c.servers[i].run
}

// In each round the server of the asker's or of the node's connection is killed during the call, and every
// result arrives. The node itself does not end, so the report names no result as lost.
func TestClusterWhoseServersAreKilled(t *testing.T) {
	rounds := 50
	if testing.Short() {
		rounds = 6
	}
	const results = 2000
	c := startCluster(t)
	far, near := newBus(), newBus()
	count(t, far, "many", results)
	for i := range 5 {
		produce(t, far, fmt.Sprint("one", i), echo("v"))
	}
	asks, answers := c.connect(t, 0), c.connect(t, 1)
	node := serve(t, answers, far, "far", quiet)
	remote := join(t, asks, near, []string{"far"}, natsdispatch.WithWindow(64<<10), quiet)
	for round := range rounds {
		victim := asks
		if round%2 == 1 {
			victim = answers
		}
		restart := func() {}
		call := send(t, near, "x")
		if round%5 == 4 { // the request or the accept may be lost
			restart = c.kill(t, victim)
		}
		n := 0
		for r := range call.Results() {
			if r.From.Name != "many" {
				continue
			}
			if got, _, _ := strings.Cut(r.Value, " "); got != fmt.Sprint(n) {
				t.Fatalf("round %d: result %d is %s", round, n, got)
			}
			if n++; n == 1+round*results/rounds && round%5 != 4 {
				restart = c.kill(t, victim)
			}
		}
		report := ended(t, call)
		if report.Reason != dispatch.ReasonAllEnded {
			t.Fatalf("round %d of %s (%s): %v; asker %+v at %s, node %+v at %s", round, map[bool]string{true: "asker", false: "node"}[victim == asks], c.urls, report, remote.Stats(), asks.ConnectedUrl(), node.Stats(), answers.ConnectedUrl())
		}
		for _, o := range report.Outcomes {
			if o.State != dispatch.StateOK {
				t.Errorf("round %d: %v is %v with %v", round, o.Member, o.State, o.Err)
			}
		}
		if len(report.Outcomes) != 6 || report.Reason != dispatch.ReasonAllEnded {
			t.Errorf("round %d: the call ended as %v with %d outcomes", round, report.Reason, len(report.Outcomes))
		}
		restart()
		until(t, "the cluster to be whole", func() bool {
			return asks.IsConnected() && answers.IsConnected() && len(asks.Servers()) >= 3 &&
				ended(t, send(t, near, "y", dispatch.WithTargets("one0"))).Complete()
		})
	}
	if stats := remote.Stats(); stats.Resumed == 0 || stats.Malformed > 0 {
		t.Errorf("%+v", stats)
	}
	noMisuse(t, near)
}
