package natsdispatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// A node with several topics does not beat on each of them, but sends one beat for all topics. The node's
// announcements have an edition, which is also in the beat: an asker that knows another edition asks for new
// announcements. The node also announces itself on its topics in turn, for askers that do not know
// beats for all topics.

// beat is the message by which a node says that it is present on all its topics.
type beat struct {
	Node    string `json:"node"`
	Epoch   int64  `json:"epoch"`
	Seq     uint64 `json:"seq"`     // the number of the beat, from 0
	Edition uint64 `json:"edition"` // the edition of the node's announcements
}

// beatCall is what the signature of a beat covers instead of the id of a call.
const beatCall = "presence"

func parseBeat(body []byte) (b beat, err error) {
	if err := json.Unmarshal(body, &b); err != nil {
		return b, err
	}
	if b.Node == "" || b.Epoch <= 0 {
		return b, errors.New("a beat without node or epoch")
	}
	return b, nil
}

const (
	// slowestTopic is the longest time between two announcements on one topic of a node with many topics,
	// unless its beats are rarer.
	slowestTopic = time.Minute
	// fullBeats is the number of beats after its hello with which a node announces itself on all topics: in
	// a cluster, some askers may not receive the messages of a new node at once.
	fullBeats = 3
)

// turns returns on how many of its topics a node announces itself with each beat, and after what time
// the same topic has its turn again.
func turns(topics int, beat time.Duration) (each int, every time.Duration) {
	each = min(topics, int((time.Duration(topics)*beat+slowestTopic-1)/slowestTopic))
	return each, beat * time.Duration((topics+each-1)/each)
}

// sayBeat sends a beat. A node with one topic, a node that has changed, and a node that has said hello
// recently announce themselves on all topics. Otherwise the node sends a beat for all topics, and
// announces itself on the topics whose turn it is.
func (n *Node) sayBeat(changed bool) {
	if changed {
		n.full = max(n.full-1, 0)
		n.announceAll(eventChange)
		return
	}
	if len(n.topics) == 1 || n.full > 0 {
		n.full = max(n.full-1, 0)
		n.announceAll(eventBeat)
		return
	}
	n.beatForAll()
	each, _ := turns(len(n.topics), n.beat)
	for range each {
		n.announce(n.topics[n.turn%len(n.topics)], eventBeat, "", nil)
		n.turn++
	}
}

// beatForAll sends a beat for all topics, if the node has several. An asker that has heard no announcement
// of the node, or has heard its bye, ignores the beat.
func (n *Node) beatForAll() {
	if len(n.topics) == 1 || !n.nc.IsConnected() {
		return
	}
	if err := n.publishBeat(); err != nil && n.nc.IsConnected() {
		n.fail(fmt.Errorf("natsdispatch: node %s: beat: %w", n.node, err))
	}
}

func (n *Node) publishBeat() error {
	n.talk.Lock()
	defer n.talk.Unlock()
	b := beat{Node: n.node, Epoch: n.epoch, Seq: n.beatSeq, Edition: n.edition.Load()}
	n.beatSeq++
	body, err := json.Marshal(b)
	m := nats.NewMsg(n.presenceOfNode(n.node))
	m.Data = body
	if err == nil && n.sign != nil {
		err = n.setSignature(m.Header, n.signed(beatCall, n.node, n.epoch, b.Seq, body))
	}
	if err == nil {
		err = n.nc.PublishMsg(m)
	}
	return err
}

// beat handles a beat for all topics. It returns the topics on which the node has to announce itself,
// because the node has changed, was silent, or may have a twin.
func (t *table) beat(b beat, now time.Time) (more []string) {
	for _, topic := range t.places[b.Node] {
		switch n := t.at(place{topic, b.Node}); {
		case n.Epoch != b.Epoch:
			// The beat may be that of another process with this name, which serves other topics.
			if n.left != nil || slices.Contains(n.earlier, b.Epoch) {
				more = append(more, topic)
			}
		case b.Seq < n.beats: // the beat is old; an attacker may have repeated it
		default:
			n.beats = b.Seq + 1
			if n.left == nil {
				n.heard, n.since = now, now
			}
			if n.left != nil || n.Edition != b.Edition {
				more = append(more, topic)
			}
		}
	}
	return more
}

// hearBeat handles a beat for all topics, and asks the node for the announcements that the asker has
// missed.
func (r *Remote) hearBeat(m *nats.Msg) {
	r.link.heard()
	b, err := parseBeat(m.Data)
	if err == nil && m.Subject != r.presenceOfNode(b.Node) {
		err = fmt.Errorf("node %q beats as another", b.Node)
	}
	if err != nil {
		r.counts.malformed.Add(1)
		return
	}
	if r.verify != nil && r.verifySignature(m.Header, b.Node, r.signed(beatCall, b.Node, b.Epoch, b.Seq, m.Data)) != nil {
		r.counts.unverified.Add(1)
		return
	}
	r.state.Lock()
	more := r.table.beat(b, time.Now())
	r.state.Unlock()
	for _, topic := range more {
		tell := &nats.Msg{Subject: r.acks(b.Node, topic), Reply: r.inbox + "." + presenceReply, Data: []byte(kindTell + "\n")}
		if err := r.nc.PublishMsg(tell); err != nil {
			r.failUnlessCut(fmt.Errorf("natsdispatch: ask %s what it is: %w", b.Node, err))
		}
	}
}
