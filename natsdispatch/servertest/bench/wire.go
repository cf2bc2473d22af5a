package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
	"github.com/seed-bb4b4d74/dispatch/test/measure"
)

// wire measures the bytes on the network besides requests and results: the beats of nodes with several
// topics, and the names of members.
func (b *bench) wire() error {
	s, err := startServers(1)
	defer s.close()
	if err != nil {
		return err
	}
	if err := b.beats(s); err != nil {
		return err
	}
	return b.names(s)
}

// heardBeats counts what a node has announced.
type heardBeats struct {
	mu              sync.Mutex // guards the fields below
	full            int        // bytes of the announcements of all topics, if they came with each beat
	messages, bytes int
}

// measuredBeats is the number of beats over which the program measures. It begins after beatsInFull beats,
// in which a node announces itself in full.
const measuredBeats, beatsInFull = 10, 4

// beats prints what nodes send with each beat.
func (b *bench) beats(s *servers) error {
	t := measure.NewTable("with each beat", "each topic by itself: messages", "bytes", "now: messages", "bytes")
	counts := []int{1, 10, 100}
	heard := make([]*heardBeats, len(counts))
	listener, err := s.connect()
	if err != nil {
		return err
	}
	for i, topics := range counts {
		h := new(heardBeats)
		heard[i] = h
		name := fmt.Sprint("of", topics)
		hear := func(m *nats.Msg) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if strings.Contains(string(m.Data), `"hello"`) {
				h.full += len(m.Data)
			}
			h.messages, h.bytes = h.messages+1, h.bytes+len(m.Data)
		}
		for _, subject := range []string{"", ".>"} {
			if _, err := listener.Subscribe("dispatch.default.presence."+name+subject, hear); err != nil {
				return err
			}
		}
	}
	if err := listener.Flush(); err != nil {
		return err
	}
	for _, n := range counts {
		var topics dispatch.Topics[int, int]
		for i := range n {
			topics = append(topics, dispatch.NewTopic[int, int](fmt.Sprint("bench.topic", i)))
		}
		nc, err := s.connect()
		if err != nil {
			return err
		}
		node, err := natsdispatch.Serve(nc, dispatch.New[int, int](), topics, natsdispatch.WithNode(fmt.Sprint("of", n)), natsdispatch.WithBeat(b.beat), quiet)
		if err != nil {
			return err
		}
		defer node.Close()
	}
	time.Sleep(beatsInFull * b.beat)
	for _, h := range heard {
		h.mu.Lock()
		h.messages, h.bytes = 0, 0
		h.mu.Unlock()
	}
	begin := time.Now()
	time.Sleep(measuredBeats * b.beat)
	beats := float64(time.Since(begin)) / float64(b.beat) / 0.9 // beats come up to a fifth early, so on average after 0.9 of the interval
	for i, h := range heard {
		h.mu.Lock()
		t.Row(fmt.Sprint(counts[i], " topics"), count(counts[i]), count(h.full), fmt.Sprintf("%.1f", float64(h.messages)/beats), fmt.Sprintf("%.0f", float64(h.bytes)/beats))
		h.mu.Unlock()
	}
	t.Print(b.out)
	return nil
}

// names prints how many bytes the replies of a node have, on average, in calls whose replies name the
// members and in calls whose replies do not. A reply has fewer bytes if all members have ended when the
// node sends its first message, and that depends on how quick they are.
func (b *bench) names(s *servers) error {
	t := measure.NewTable("replies of a node with", "bytes of a call with names", "without")
	for _, members := range []int{10, 100, 1000} {
		if err := b.namesOf(s, t, members); err != nil {
			return err
		}
	}
	t.Print(b.out)
	return nil
}

func (b *bench) namesOf(s *servers, t *measure.Table, members int) error {
	topic := dispatch.NewTopic[int, int](fmt.Sprint("bench.of", members), dispatch.WithTimeout(10*time.Second))
	cell := dispatch.New[int, int]()
	for i := range members {
		if _, err := cell.AddProducer(topic, func(context.Context, int) (int, error) { return 1, nil }, dispatch.WithName(fmt.Sprintf("thermometer-%04d", i))); err != nil {
			return err
		}
	}
	nc, err := s.connect()
	if err != nil {
		return err
	}
	node, err := natsdispatch.Serve(nc, cell, topic, natsdispatch.WithNode("cell"), quiet)
	if err != nil {
		return err
	}
	defer node.Close()
	if nc, err = s.connect(); err != nil {
		return err
	}
	floor := dispatch.New[int, int]()
	remote, err := natsdispatch.Join(nc, floor, topic, quiet)
	if err != nil {
		return err
	}
	defer remote.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := remote.Await(ctx, "cell"); err != nil {
		return err
	}
	// If a call names its members as targets, each reply names them.
	var targets []string
	for i := range members {
		targets = append(targets, fmt.Sprintf("thermometer-%04d", i))
	}
	ask := func(opts ...dispatch.CallOption) error {
		values, err := floor.Gather(ctx, topic, 1, opts...)
		if err == nil && len(values) != members {
			err = fmt.Errorf("%d results of %d members", len(values), members)
		}
		return err
	}
	const averaged = 100 // calls; how many bytes one takes depends on whether it has ended when the node answers
	taken := func(opts ...dispatch.CallOption) (bytes uint64, err error) {
		before := nc.Stats().InBytes
		for range averaged {
			if err := ask(opts...); err != nil {
				return 0, err
			}
		}
		return (nc.Stats().InBytes - before) / averaged, nil
	}
	if err := ask(); err != nil { // the reply to this call names the members
		return err
	}
	without, err := taken()
	if err != nil {
		return err
	}
	with, err := taken(dispatch.WithTargets(targets...))
	if err != nil {
		return err
	}
	t.Row(fmt.Sprint(members, " members"), count(int(with)), count(int(without)))
	return nil
}
