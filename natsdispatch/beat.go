package natsdispatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// A node of several topics does not beat on each of them, but once for all. Its
// announcements have an edition, which a beat names: an asker that knows another edition asks for new
// announcements. The node also announces itself on its topics in turn, for askers that do not know
// beats for all topics.

// beat says that a node is there, with all its topics.
type beat struct {
	Node    string `json:"node"`
	Epoch   int64  `json:"epoch"`
	Seq     uint64 `json:"seq"`     // of the beats
	Edition uint64 `json:"edition"` // of its announcements, on all topics
}

// beatCall stands for the call in the signature of a beat.
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
	// slowestTopic is how often a node of many topics announces itself on each of them, at least.
	slowestTopic = time.Minute
	// fullBeats is how many beats after its hello a node announces itself on each topic: in a cluster
	// some askers may not hear a new node at once.
	fullBeats = 3
)

// turns returns on how many of its topics a node announces itself with each beat, and after what time
// the same topic has its turn again.
func turns(topics int, beat time.Duration) (each int, every time.Duration) {
	each = min(topics, int((time.Duration(topics)*beat+slowestTopic-1)/slowestTopic))
	return each, beat * time.Duration((topics+each-1)/each)
}

// sayBeat says that the node is there. If the node has changed, it announces itself on all topics.
func (n *Node) sayBeat(changed bool) {
	if len(n.topics) == 1 || changed || n.full > 0 {
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

// beatForAll says that the node is there with all its topics, if it has several. An asker that has not heard the
// hello of the node, or has heard its bye, ignores the beat.
func (n *Node) beatForAll() {
	if len(n.topics) == 1 || !n.nc.IsConnected() {
		return
	}
	n.talk.Lock()
	defer n.talk.Unlock()
	b := beat{Node: n.node, Epoch: n.epoch, Seq: n.beatSeq, Edition: n.edition.Load()}
	n.beatSeq++
	body, err := json.Marshal(b)
	m := nats.NewMsg(n.presenceOfNode(n.node))
	m.Data = body
	if err == nil && n.sign != nil {
		err = setSignature(m.Header, n.sign, n.signed(beatCall, n.node, n.epoch, b.Seq, body))
	}
	if err == nil {
		err = n.nc.PublishMsg(m)
	}
	if err != nil && n.nc.IsConnected() {
		n.fail(fmt.Errorf("natsdispatch: node %s: beat: %w", n.node, err))
	}
}

// beat takes in a beat. It returns the topics on which the node has to announce itself, because it
// has changed, has come back, or has a twin.
func (t *table) beat(b beat, now time.Time) (more []string) {
	for topic, r := range t.topics {
		switch n := r.nodes[b.Node]; {
		case n == nil:
		case n.Epoch != b.Epoch:
			// Perhaps this is the process that serves other topics under this name.
			if n.left != nil || n.previous == b.Epoch {
				more = append(more, topic)
			}
		case b.Seq < n.beats: // it is old, and may be a repetition by an attacker
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

// hearBeat takes in the beat of a node with several topics.
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
	if r.verify != nil && verifySignature(m.Header, r.verify, b.Node, r.signed(beatCall, b.Node, b.Epoch, b.Seq, m.Data)) != nil {
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
