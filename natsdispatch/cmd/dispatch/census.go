package main

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// census has the nodes that have announced themselves. It has no clock and no lock.
type census struct {
	lives map[life]*known
}

// life is one process that serves a topic under the name of a node. If two lives have the same node and
// topic at the same time, they are twins.
type life struct {
	node, topic string
	epoch       int64
}

type known struct {
	announcement // the last announcement, with the last detail that the node has sent
	heard        time.Time
	gone         bool // the node has missed three beats
}

// change is what has happened to a life.
type change struct {
	life
	what string // came, changed, left, gone, came back, started again
}

const (
	missedBeats = 3
	defaultBeat = 2 * time.Second
	longestBeat = time.Hour
)

// patience returns the time after which a node that sends nothing is gone.
func (a *announcement) patience() time.Duration {
	ms := cmp.Or(a.AllMS, a.BeatMS)
	if ms <= 0 {
		return missedBeats * defaultBeat
	}
	return missedBeats * time.Duration(min(ms, longestBeat.Milliseconds())) * time.Millisecond
}

// hear handles an announcement, and returns what it changes.
func (c *census) hear(a announcement, now time.Time) (changes []change) {
	if c.lives == nil {
		c.lives = make(map[life]*known)
	}
	at := life{a.Node, a.Topic, a.Epoch}
	old := c.lives[at]
	switch {
	case a.Event == "bye":
		if old == nil {
			return nil
		}
		delete(c.lives, at)
		return []change{{at, "left"}}
	case old != nil && !old.gone && a.Seq < old.Seq:
		return nil // a newer announcement has arrived before
	case old == nil:
		what := "came"
		for other, k := range c.lives {
			// A node that says hello has just started, and replaces the earlier process. A node that does
			// not say hello was there before: it is a twin.
			if other.node == at.node && other.topic == at.topic && (a.Event == "hello" || k.gone) {
				delete(c.lives, other)
				what = "started again"
			}
		}
		changes = append(changes, change{at, what})
	case old.gone:
		changes = append(changes, change{at, "came back"})
	case old.Draining != a.Draining || !slices.Equal(old.Groups, a.Groups) || !old.sameMembers(a):
		changes = append(changes, change{at, "changed"})
	}
	if a.Detail == nil && old != nil {
		a.Detail = old.Detail
	}
	c.lives[at] = &known{announcement: a, heard: now}
	return changes
}

// beat notes that a node is present on all of its topics. A life that is gone stays gone: the node
// announces itself when it is asked.
func (c *census) beat(b beat, now time.Time) {
	for at, k := range c.lives {
		if at.node == b.Node && at.epoch == b.Epoch && !k.gone {
			k.heard = now
		}
	}
}

// sameMembers reports whether a and b have the same members. It returns true if one of them does not name
// its members.
func (a *announcement) sameMembers(b announcement) bool {
	return a.Detail == nil || b.Detail == nil || slices.Equal(a.Detail.Members, b.Detail.Members) && a.Detail.Count == b.Detail.Count
}

// expire marks the lives that have missed their beats as gone. They stay in the census, so that the
// operator sees that they are missing, until they announce themselves again or are replaced.
func (c *census) expire(now time.Time) (changes []change) {
	for at, k := range c.lives {
		if !k.gone && now.Sub(k.heard) >= k.patience() {
			k.gone = true
			changes = append(changes, change{at, "gone"})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return a.compare(b.life) })
	return changes
}

// excuse gives all lives the time of three more beats. It is called while there is no connection, because
// beats cannot arrive.
func (c *census) excuse(now time.Time) {
	for _, k := range c.lives {
		k.heard = now
	}
}

func (l life) compare(other life) int {
	return cmp.Or(strings.Compare(l.node, other.node), strings.Compare(l.topic, other.topic), cmp.Compare(l.epoch, other.epoch))
}

// row is a life as nodes prints it. Members, Count and InFlight are nil if the node does not tell them.
type row struct {
	Node      string        `json:"node"`
	Topic     string        `json:"topic"`
	State     string        `json:"state"` // present, draining, twin or gone
	Epoch     int64         `json:"epoch"`
	Versions  []int         `json:"versions"` // of the protocol
	Codecs    []string      `json:"codecs"`
	Types     string        `json:"types,omitempty"`
	Groups    []string      `json:"groups,omitempty"`
	Members   []string      `json:"members"`
	Count     *int          `json:"member_count"` // of all members; larger than len(Members) if the names do not fit into a message
	InFlight  *int          `json:"in_flight"`
	Publishes bool          `json:"publishes"`
	Beat      time.Duration `json:"beat_ns"`
	Heard     time.Duration `json:"heard_ago_ns"`
}

// rows returns all lives, sorted by node and topic.
func (c *census) rows(now time.Time) []row {
	present := make(map[life]int) // the number of lives that are not gone, by node and topic; epoch is 0
	for at, k := range c.lives {
		if at.epoch = 0; !k.gone {
			present[at]++
		}
	}
	all := make([]life, 0, len(c.lives))
	for at := range c.lives {
		all = append(all, at)
	}
	slices.SortFunc(all, life.compare)
	rows := make([]row, len(all))
	for i, at := range all {
		rows[i] = c.row(at, now, present[life{at.node, at.topic, 0}] > 1)
	}
	return rows
}

func (c *census) row(at life, now time.Time, twin bool) row {
	k := c.lives[at]
	r := row{
		Node: k.Node, Topic: k.Topic, State: "present", Epoch: k.Epoch, Versions: k.Versions, Codecs: k.Codecs,
		Types: k.Types, Groups: k.Groups, Beat: k.patience() / missedBeats, Heard: now.Sub(k.heard),
	}
	switch {
	case k.gone:
		r.State = "gone"
	case twin:
		r.State = "twin"
	case k.Draining:
		r.State = "draining"
	}
	if d := k.Detail; d != nil {
		r.Count, r.InFlight, r.Publishes = &d.Count, &d.InFlight, d.Publishes
		r.Members = []string{}
		for _, word := range d.Members {
			if name, err := memberName(word); err == nil {
				r.Members = append(r.Members, name)
			}
		}
	}
	return r
}
