package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// The size of the measurement of an asker among very many nodes, and its bar.
const (
	crowd      = 10_000
	settledBar = 1000 // milliseconds, at most, until the asker knows all nodes
	hostsOf    = 20   // connections, each of which answers for a part of the nodes
)

// quiet discards the log, so that logging is not measured.
var quiet = natsdispatch.WithLogger(slog.New(slog.DiscardHandler))

// announced is an announcement of a node.
type announced struct {
	Node     string   `json:"node"`
	Topic    string   `json:"topic"`
	Event    string   `json:"event"`
	Epoch    int64    `json:"epoch"`
	Seq      int      `json:"seq"`
	BeatMS   int      `json:"beat_ms"`
	Versions []int    `json:"versions"`
	Codecs   []string `json:"codecs"`
}

// crowded measures how long an asker needs to know very many nodes. The nodes are simulated: they only
// answer probes.
func (b *bench) crowded() error {
	s, err := startServers(1)
	defer s.close()
	if err != nil {
		return err
	}
	for host := range hostsOf {
		if err := b.host(s, host); err != nil {
			return err
		}
	}
	var took []time.Duration
	dropped := uint64(0)
	for range 5 {
		nc, err := s.connect()
		if err != nil {
			return err
		}
		floor := dispatch.New[int, int]()
		begin := time.Now()
		remote, err := natsdispatch.Join(nc, floor, topic, natsdispatch.WithDiscovery(time.Second), quiet)
		if err != nil {
			return err
		}
		if err := wait("all nodes", func() bool { return remote.Stats().Nodes == b.crowd || remote.Stats().Dropped > 0 }); err != nil {
			return fmt.Errorf("%w: %+v", err, remote.Stats())
		}
		took = append(took, time.Since(begin))
		dropped += remote.Stats().Dropped
		if err := remote.Close(); err != nil {
			return err
		}
	}
	t := measure.NewTable(fmt.Sprint(b.crowd, " simulated nodes"), "", "bar")
	slices.Sort(took)
	middle := took[len(took)/2]
	t.Row("who joins knows all of them after (median of 5)", millis(middle), measure.AtMost(float64(middle)/1e6, settledBar))
	t.Row("announcements that were dropped", count(int(dropped)), measure.AtMost(float64(dropped), 0))
	t.Print(b.out)
	return nil
}

// host lets a connection answer probes for its part of the nodes.
func (b *bench) host(s *servers, host int) error {
	nc, err := s.connect()
	if err != nil {
		return err
	}
	var bodies [][]byte
	for i := host; i < b.crowd; i += hostsOf {
		body, err := json.Marshal(announced{
			Node: fmt.Sprint("n", i), Topic: topic.Name(), Event: "beat", Epoch: int64(i + 1), BeatMS: 60_000, Versions: []int{1, 2}, Codecs: []string{"json"},
		})
		if err != nil {
			return err
		}
		bodies = append(bodies, body)
	}
	if _, err := nc.Subscribe("dispatch.default.probe", func(m *nats.Msg) {
		for _, body := range bodies {
			_ = nc.Publish(m.Reply, body) // a lost answer shows, because the asker counts the nodes
		}
	}); err != nil {
		return err
	}
	return nc.Flush()
}
