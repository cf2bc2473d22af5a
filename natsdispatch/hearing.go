package natsdispatch

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// hear handles a message from the channel of replies: a reply, or a marker for nodes that have left.
func (r *Remote) hear(m *nats.Msg) {
	if m.Sub == nil {
		r.hearDeparture(m)
		return
	}
	last, one := strings.CutSuffix(strings.TrimPrefix(m.Subject, r.inbox+"."), toOne)
	if one && isUnheard(m) {
		return // the node that was asked again is not there
	}
	number, err := strconv.ParseUint(last, 10, 64)
	if err != nil {
		r.counts.stray.Add(1)
		return
	}
	r.state.Lock()
	a, was := r.open[number], number <= r.last
	r.state.Unlock()
	if a == nil {
		r.counts.stray.Add(1)
		if was {
			r.tellDone(number, m)
		}
		return
	}
	err = errSlow
	if r.pending.Add(int64(len(m.Data))) <= int64(r.bytes) {
		err = a.by.put(event{asked: a, msg: m}, r.messages)
	}
	if err == nil {
		return
	}
	r.pending.Add(-int64(len(m.Data)))
	switch {
	case errors.Is(err, errOver):
		r.counts.stray.Add(1)
	case r.counts.dropped.Add(1) == 1:
		r.look()
	}
}

// tellDone tells a node that a call has ended, because the node has sent a message for it since. Either the
// message was on its way when the call ended, or the node was not told. Nodes of version 1 are not told
// again.
func (r *Remote) tellDone(number uint64, m *nats.Msg) {
	from, _, err := readReply(m)
	if err != nil || from.version != version2 {
		return
	}
	r.state.Lock()
	topics := r.topicsOfLocked(from.node)
	r.state.Unlock()
	r.acked.mu.Lock()
	defer r.acked.mu.Unlock()
	if !r.acked.isFirstLocked(lateMessage{from.node, number}) {
		return
	}
	for _, topic := range topics {
		r.acked.addLocked(place{topic, from.node}, r.call(number))
	}
}

// topicsOfLocked returns topics of which the node serves at least one: a topic on which the node is known, or
// all topics of the asker. It returns none if the node is not known and the asker has a pattern.
func (r *Remote) topicsOfLocked(node string) []string {
	if known := r.table.places[node]; len(known) > 0 {
		return []string{known[0]}
	}
	return slices.DeleteFunc(slices.Clone(r.topics), func(on string) bool { return strings.ContainsAny(on, "*>") })
}

// believe reads an announcement, and reports whether it is well-formed, on a topic of the asker, and signed
// if this is required. private says that it was sent to this asker alone.
func (r *Remote) believe(m *nats.Msg, private bool) (a announcement, ok bool) {
	a, err := parseAnnouncement(m.Data)
	if err == nil && !r.asksFor(a.Topic) {
		err = fmt.Errorf("topic %q was not asked for", a.Topic)
	}
	if err == nil && !private && m.Subject != r.presence(a.Node, a.Topic) {
		err = fmt.Errorf("node %q announces itself as another", a.Node)
	}
	if err != nil {
		r.counts.malformed.Add(1)
		return a, false
	}
	if r.verify != nil && r.verifySignature(m.Header, a.Node, r.signed(presenceCall(a.Topic), a.Node, a.Epoch, a.Seq, m.Data)) != nil {
		r.counts.unverified.Add(1)
		return a, false
	}
	return a, true
}

// asksFor reports whether the asker has joined the topic.
func (r *Remote) asksFor(topic string) bool {
	_, named := slices.BinarySearch(r.topics, topic)
	return named || len(r.topics) == 1 && matches(r.topics[0], topic)
}

// hearPresence handles an announcement. private says that it was sent to this asker alone.
func (r *Remote) hearPresence(m *nats.Msg, private bool) {
	if m.Header.Get("Status") != "" {
		return // the server answers that no node has subscribed
	}
	r.link.heard()
	a, ok := r.believe(m, private)
	if !ok {
		return
	}
	r.state.Lock()
	now := time.Now()
	var before int64
	if p := r.table.at(place{a.Topic, a.Node}); p != nil {
		before = p.Epoch
	}
	h := r.table.hear(a, now)
	e, isEvent := r.attendance.hear(a, before, h, now)
	if isEvent {
		r.news.put(e)
	}
	r.leftLocked(nil, h.changed || h.gone != nil)
	var marker *nats.Msg
	if h.gone != nil {
		marker = new(nats.Msg)
		r.departed[marker] = h.gone
	}
	sooner := h.changed && now.Add(a.patience()).Before(r.due)
	r.offerLocked(&a, h, private && now.Before(r.settled))
	r.state.Unlock()
	if marker != nil {
		select {
		case r.replies <- marker: // behind the replies that the node has sent before
		case <-r.stopped.Done():
		}
	}
	if isEvent && e.Kind == NodeTwin {
		r.failedBy(e)
	}
	if h.excess && r.counts.excess.Add(1) == 1 {
		r.fail(fmt.Errorf("natsdispatch: node %s is one more than WithMaxNodes(%d) allows, and is ignored; the rest is counted", a.Node, r.maxNodes))
	}
	if sooner {
		r.look()
	}
}

// offerLocked puts events for the open requests to all nodes of a topic. settling says that the time of
// WithDiscovery has not passed; then there is an event for a node that was not present before. There is such an
// event also later for a node that ignores the request, because the request has come through its bus. There is
// another event for a node that has said hello because it has started or has a connection again.
func (r *Remote) offerLocked(a *announcement, h heard, settling bool) {
	found, hello := h.arrived && settling, a.Event == eventHello && h.gone == nil
	for _, open := range r.open {
		if open.request.group != "" || open.by.topic != a.Topic {
			continue
		}
		if found || h.arrived && open.request.passedNode(a) {
			_ = open.by.put(event{asked: open, found: a}, 0) // an inquiry that is over needs no event
		}
		if hello {
			_ = open.by.put(event{asked: open, hello: a}, 0) // likewise
		}
	}
}

// look wakes the goroutine that calls expire.
func (r *Remote) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// hearDeparture handles a marker: it tells the open calls that nodes have left. The marker comes after the
// replies that these nodes sent before.
func (r *Remote) hearDeparture(marker *nats.Msg) {
	r.state.Lock()
	defer r.state.Unlock()
	r.leftLocked(r.departed[marker], false)
	delete(r.departed, marker)
}

// leftLocked tells the open calls which nodes have left, and wakes Await because the table
// has changed.
func (r *Remote) leftLocked(gone []departure, changed bool) {
	for _, d := range gone {
		for _, a := range r.open {
			if a.by.topic == d.topic {
				_ = a.by.put(event{asked: a, gone: &d}, 0) // an inquiry that is over needs no event
			}
		}
	}
	if changed || gone != nil {
		close(r.changed)
		r.changed = make(chan struct{})
	}
}
