package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// patience is how long the program waits before it fails.
const patience = time.Minute

// servers has the NATS servers of a case, which form a cluster if there are several, and the connections to
// them.
type servers struct {
	all   []*server.Server
	conns []*nats.Conn
}

func startServers(n int) (*servers, error) {
	s := &servers{}
	for i := range n {
		o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true}
		if n > 1 {
			o.ServerName = fmt.Sprint("s", i)
			o.Cluster = server.ClusterOpts{Name: "bench", Host: "127.0.0.1", Port: server.RANDOM_PORT}
		}
		if i > 0 {
			o.Routes = server.RoutesFromStr("nats://" + s.all[0].ClusterAddr().String())
		}
		one, err := server.NewServer(o)
		if err != nil {
			return s, err
		}
		one.Start()
		s.all = append(s.all, one)
		if !one.ReadyForConnections(patience) {
			return s, errors.New("the server does not start")
		}
	}
	return s, wait("the cluster", func() bool {
		for _, one := range s.all {
			if one.NumRoutes() < n-1 {
				return false
			}
		}
		return true
	})
}

// connect returns a new connection. Connections are spread evenly over the servers.
func (s *servers) connect() (*nats.Conn, error) {
	nc, err := nats.Connect(s.all[len(s.conns)%len(s.all)].ClientURL(), natsdispatch.Robust)
	if err == nil {
		s.conns = append(s.conns, nc)
	}
	return nc, err
}

func (s *servers) close() {
	for _, nc := range s.conns {
		nc.Close()
	}
	for _, one := range s.all {
		one.Shutdown()
		one.WaitForShutdown()
	}
}

// wait waits for a condition that no event announces.
func wait(what string, done func() bool) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); !done(); <-tick.C {
		if time.Since(begin) > patience {
			return fmt.Errorf("waited for %s, which did not come", what)
		}
	}
	return nil
}
