package main

import (
	"context"
	"fmt"
	"iter"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// failoverBar is the longest time, in milliseconds, from a new connection to the last result.
const failoverBar = 500

const (
	failoverResults = 2000
	failoverWindow  = 64 << 10 // bytes; so small that many results are missing when a server is killed
)

// killable is a cluster of three servers, each in its own process.
type killable struct {
	path   string
	ports  [6]string
	cmds   [3]*exec.Cmd
	urls   [3]string
	routes string
}

func startKillable() (c *killable, err error) {
	dir, err := os.MkdirTemp("", "nats-server")
	if err != nil {
		return nil, err
	}
	c = &killable{path: filepath.Join(dir, "nats-server")}
	if out, err := exec.Command("go", "build", "-o", c.path, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		return c, fmt.Errorf("build a server: %w: %s", err, out)
	}
	for i := range c.ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return c, err
		}
		defer l.Close()
		c.ports[i] = fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	}
	var routes []string
	for i := range c.cmds {
		c.urls[i] = "nats://127.0.0.1:" + c.ports[i]
		routes = append(routes, "nats://127.0.0.1:"+c.ports[3+i])
	}
	c.routes = strings.Join(routes, ",")
	return c, nil
}

func (c *killable) run(i int) error {
	c.cmds[i] = exec.Command(c.path, "-a", "127.0.0.1", "-p", c.ports[i], "-n", fmt.Sprint("s", i),
		"-cluster_name", "c", "-cluster", "nats://127.0.0.1:"+c.ports[3+i], "-routes", c.routes)
	return c.cmds[i].Start()
}

func (c *killable) kill(i int) {
	if cmd := c.cmds[i]; cmd != nil && cmd.Process != nil {
		_ = cmd.Process.Kill() // the process may have ended
		_ = cmd.Wait()
	}
}

func (c *killable) close() {
	for i := range c.cmds {
		c.kill(i)
	}
	os.RemoveAll(filepath.Dir(c.path))
}

// party is a connection to the cluster, with the time of its last reconnect.
type party struct {
	nc *nats.Conn
	mu sync.Mutex // guards at
	at time.Time  // of the last reconnect
}

func (c *killable) connect(first int) (*party, error) {
	p := new(party)
	urls := slices.Concat(c.urls[first:], c.urls[:first])
	var err error
	p.nc, err = nats.Connect(strings.Join(urls, ","), natsdispatch.Robust, nats.DontRandomize(), nats.ReconnectHandler(func(*nats.Conn) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.at = time.Now()
	}), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err == nil {
		err = wait("a connection", p.nc.IsConnected)
	}
	return p, err
}

// reconnected returns the time of the last reconnect, or the zero time if the connection has not
// reconnected since then.
func (p *party) reconnected(since time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at.Before(since) {
		return time.Time{}
	}
	return p.at
}

// failover kills the server of the asker or of the node during calls. It prints the time from the reconnect
// of that side to the last result, and how many results were lost.
func (b *bench) failover() error {
	c, err := startKillable()
	if c != nil {
		defer c.close()
	}
	if err != nil {
		return err
	}
	for i := range c.cmds {
		if err := c.run(i); err != nil {
			return err
		}
	}
	var sides [2]*party // the asker, and the node
	for i := range sides {
		if sides[i], err = c.connect(i); err != nil {
			return err
		}
		defer sides[i].nc.Close()
	}
	floor, err := manyResults(sides)
	if err != nil {
		return err
	}
	var took []time.Duration
	lost := 0
	for round := range b.kills {
		each, missing, err := c.round(floor, sides, sides[round%2], 1+round*failoverResults/b.kills)
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		if lost += missing; each > 0 {
			took = append(took, each)
		}
	}
	t := measure.NewTable(fmt.Sprint("kill -9 of a server, ", b.kills, " rounds"), "", "bar")
	t.Row("results that were lost", count(lost), measure.AtMost(float64(lost), 0))
	if slices.Sort(took); len(took) > 0 {
		middle, longest := took[len(took)/2], took[len(took)-1]
		t.Row("from the new connection to the last result (median)", millis(middle), measure.AtMost(float64(middle)/1e6, failoverBar))
		t.Row("the longest", millis(longest), measure.AtMost(float64(longest)/1e6, failoverBar))
	}
	t.Row("rounds in which all had come before the new connection", count(b.kills-len(took)), "")
	t.Print(b.out)
	return nil
}

// manyResults serves a producer of very many results over sides[1], and returns a bus that asks it over
// sides[0].
func manyResults(sides [2]*party) (*dispatch.Dispatcher[int, string], error) {
	topic := dispatch.NewTopic[int, string]("bench.failover", dispatch.WithTimeout(patience))
	cell, floor := dispatch.New[int, string](), dispatch.New[int, string]()
	if _, err := cell.AddStreamProducer(topic, func(context.Context, int) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for range failoverResults {
				if !yield(strings.Repeat("x", 500), nil) {
					return
				}
			}
		}
	}, dispatch.WithName("many")); err != nil {
		return nil, err
	}
	silent := natsdispatch.WithErrorHandler(func(error) {})
	if _, err := natsdispatch.Serve(sides[1].nc, cell, topic, natsdispatch.WithNode("cell"), quiet, silent); err != nil {
		return nil, err
	}
	remote, err := natsdispatch.Join(sides[0].nc, floor, topic, natsdispatch.WithWindow(failoverWindow), quiet, silent)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return floor, remote.Await(ctx, "cell")
}

// round makes a call and kills the server of the victim after a number of results. It returns the time from
// the reconnect of the victim to the last result, and the number of results that did not arrive. The time
// is 0 if the call ended before the reconnect.
func (c *killable) round(floor *dispatch.Dispatcher[int, string], sides [2]*party, victim *party, after int) (took time.Duration, lost int, err error) {
	topic := dispatch.NewTopic[int, string]("bench.failover", dispatch.WithTimeout(patience))
	server := slices.Index(c.urls[:], victim.nc.ConnectedUrl())
	if server < 0 {
		return 0, 0, fmt.Errorf("no connection to %q", c.urls)
	}
	call, err := floor.Send(context.Background(), topic, 1)
	if err != nil {
		return 0, 0, err
	}
	var killed time.Time
	n := 0
	for range call.Results() {
		if n++; n == after {
			killed = time.Now()
			c.kill(server)
		}
	}
	if at := victim.reconnected(killed); !at.IsZero() {
		took = time.Since(at)
	}
	if !killed.IsZero() {
		if err := c.run(server); err != nil {
			return took, failoverResults - n, err
		}
	}
	return took, failoverResults - n, wait("the cluster to be whole", func() bool {
		for _, p := range sides {
			if !p.nc.IsConnected() || len(p.nc.Servers()) < len(c.urls) {
				return false
			}
		}
		values, err := floor.Gather(context.Background(), topic, 1, dispatch.WithTimeout(10*time.Second))
		return err == nil && len(values) == failoverResults
	})
}
