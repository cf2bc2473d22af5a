package natsdispatch

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// hello waits until the server has confirmed the node's subscriptions, and then announces the node. A
// request that an asker sends before that might find no subscriber.
func (n *Node) hello() error {
	if err := n.checkPayload("Serve"); err != nil {
		return err
	}
	if err := n.flush(); err != nil {
		return err
	}
	n.full = fullBeats
	n.announceAll(eventHello)
	n.beatForAll()
	return n.flush()
}

// tick does the work that is due, and returns the time until the next work is due.
func (n *Node) tick() time.Duration {
	now := time.Now()
	if n.pause > 0 {
		n.remind(true)
		if n.pause *= 2; n.pause > longestReminder {
			n.pause = 0
		}
	}
	if !now.Before(n.beats) {
		n.beats = now.Add(jitter(n.beat))
		n.doBeat(now)
	}
	left := time.Until(n.beats)
	if n.pause > 0 {
		left = min(left, n.pause)
	}
	return left
}

// jitter returns d without a random part of up to a fifth, so that nodes that started together do not
// beat together.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/5+1) }

// doBeat does the work of one beat: it announces the node, reports refusals and dropped messages, and
// forgets what the node need not remember any more.
func (n *Node) doBeat(now time.Time) {
	n.report()
	total := dropped(n.everySubscription()...)
	n.looked(n.counts.droppedBySubs.Swap(total) < total)
	n.state.Lock()
	n.seen.sweep(now)
	n.kept.sweep(now)
	leaving := n.leaving
	n.state.Unlock()
	if !n.nc.IsConnected() {
		return // the node says hello when there is a connection again
	}
	changed := false
	if !leaving {
		for _, s := range n.topics {
			others, err := n.syncGroups(s)
			if changed = changed || others; err != nil {
				n.fail(fmt.Errorf("natsdispatch: node %s: %w", n.node, err))
			}
		}
	}
	n.sayBeat(changed)
	n.remind(false)
	if !n.forgets && n.counts.forgotten.Load() > 0 {
		n.forgets = true
		n.fail(fmt.Errorf("natsdispatch: node %s: more ids of requests than WithMaxRemembered(%d) allows; the oldest are forgotten before their time; the rest is counted", n.node, n.remember))
	}
}

// announceAll announces the node on all its topics, if there is a connection.
func (n *Node) announceAll(event string) {
	if !n.nc.IsConnected() {
		return
	}
	for _, s := range n.topics {
		n.announce(s, event, "", nil)
	}
}

// announce sends an announcement of the node on one topic: to all askers if the subject to is empty, and
// otherwise to the asker that hears this subject. more may be nil.
func (n *Node) announce(s *served, event, to string, more *detail) {
	if err := n.publishAnnouncement(s, event, to, more); err != nil && n.nc.IsConnected() {
		n.fail(fmt.Errorf("natsdispatch: node %s: announce: %w", n.node, err))
	}
}

func (n *Node) publishAnnouncement(s *served, event, to string, more *detail) (err error) {
	n.state.Lock()
	leaving := n.leaving
	n.state.Unlock()
	n.talk.Lock()
	defer n.talk.Unlock()
	if (event == eventBeat || event == eventChange) && !s.said && to == "" || s.over {
		return nil // the hello comes before all beats and changes, and the bye is the last announcement
	}
	s.over = event == eventBye
	a := announcement{
		Node: n.node, Topic: s.name, Event: event, Epoch: n.epoch, Seq: s.seq, BeatMS: milliseconds(n.beat),
		Versions: []int{version, version2}, Types: n.types, Groups: s.names, Bus: n.bus, Draining: leaving,
		Detail: more,
	}
	if len(n.topics) > 1 {
		_, every := turns(len(n.topics), n.beat)
		a.BeatMS, a.AllMS, a.Edition = milliseconds(every), milliseconds(n.beat), n.edition.Load()
	}
	for _, c := range n.codecs {
		a.Codecs = append(a.Codecs, c.Name())
	}
	s.seq++
	s.said = true
	m := nats.NewMsg(n.presence(n.node, s.name))
	if to != "" {
		m.Subject = to
	}
	if m.Data, err = json.Marshal(a); err == nil && n.sign != nil {
		err = n.setSignature(m.Header, n.signed(presenceCall(s.name), n.node, n.epoch, a.Seq, m.Data))
	}
	if err == nil {
		err = n.nc.PublishMsg(m)
	}
	return err
}

// milliseconds returns an interval as announcements have it. It rounds up: an asker that counts on more beats than
// the node sends would take the node as gone too early.
func milliseconds(d time.Duration) int64 { return int64((d + time.Millisecond - 1) / time.Millisecond) }

// hearProbe answers the probe of an asker, after a random time if the probe has headerSpread.
func (n *Node) hearProbe(m *nats.Msg) {
	if m.Reply == "" {
		return
	}
	spread, err := strconv.ParseInt(m.Header.Get(headerSpread), 10, 64)
	if err != nil || spread <= 0 {
		n.answerProbe(m)
		return
	}
	pause := rand.N(inUnits(spread, time.Millisecond, longestSpread))
	n.state.Lock()
	closed, waits := n.closed, n.spread < mostSpread
	if !closed && waits {
		n.spread++
		n.answers.Go(func() { n.answerLater(m, pause) })
	}
	n.state.Unlock()
	if !closed && !waits {
		n.answerProbe(m)
	}
}

func (n *Node) answerLater(probe *nats.Msg, pause time.Duration) {
	select {
	case <-time.After(pause):
		n.answerProbe(probe)
	case <-n.stopped.Done():
	}
	n.state.Lock()
	n.spread--
	n.state.Unlock()
}

// mostSpread bounds the probes that wait to be answered. Further ones are answered at once.
const mostSpread = 1024

// headerSpread is set on a probe that very many nodes will answer. Each node answers at a random time
// within this number of milliseconds.
const headerSpread = "Dispatch-Spread"

// longestSpread bounds the time that headerSpread sets.
const longestSpread = 10 * time.Second

func (n *Node) answerProbe(m *nats.Msg) {
	pattern, topics := string(m.Data), n.topics
	if i, named := slices.BinarySearchFunc(topics, pattern, func(s *served, name string) int { return cmp.Compare(s.name, name) }); named {
		topics = topics[i : i+1]
	}
	for _, s := range topics {
		if matches(pattern, s.name) {
			n.announce(s, eventBeat, m.Reply, n.detailFor(m, s))
		}
	}
}

// tell announces the node on a topic to the asker that has sent a tell.
func (n *Node) tell(s *served, to string) {
	if to == "" {
		n.counts.malformed.Add(1)
		return
	}
	n.announce(s, eventBeat, to, nil)
}

// syncGroups subscribes the node to the requests to the groups that its bus has now, and to no other
// groups. It reports whether the groups have changed. A group that cannot have a subject is not announced.
func (n *Node) syncGroups(s *served) (others bool, err error) {
	have, unfit := make(map[string]bool), make(map[string]error)
	for _, m := range s.bus.members() {
		if m.Group == "" || have[m.Group] || unfit[m.Group] != nil {
			continue
		}
		if err := checkGroup(m.Group); err != nil {
			unfit[m.Group] = err
		} else {
			have[m.Group] = true
		}
	}
	n.talk.Lock()
	known := s.unfit
	s.unfit = unfit
	var ended []*nats.Subscription
	others, ended, err = n.subscribeLocked(s, have)
	n.talk.Unlock()
	for _, sub := range ended {
		n.unsubscribe(sub)
	}
	for g, err := range unfit {
		if known[g] == nil {
			n.fail(fmt.Errorf("natsdispatch: node %s: %w; it is asked on %s only if a target begins with the name of the node", n.node, err, s.name))
		}
	}
	return others, err
}

// subscribeLocked subscribes the node to the requests to these groups. It reports whether the groups have
// changed, and returns the subscriptions to other groups.
func (n *Node) subscribeLocked(s *served, have map[string]bool) (others bool, ended []*nats.Subscription, err error) {
	names := slices.Sorted(maps.Keys(have))
	if slices.Equal(names, s.names) {
		return false, nil, nil
	}
	for _, g := range names {
		if s.groups[g] != nil {
			continue
		}
		sub, err := n.subscribe(n.group(g, s.name), queueGroup, func(m *nats.Msg) { n.hear(s, g, m) })
		if err != nil {
			return false, nil, err
		}
		s.groups[g] = sub
	}
	for g, sub := range s.groups {
		if !have[g] {
			ended = append(ended, sub)
			delete(s.groups, g)
		}
	}
	s.names = names
	n.edition.Add(1)
	return true, ended, nil
}
