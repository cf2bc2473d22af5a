package main

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// census is who is there, by what nodes announce. It has no clock and no lock.
type census struct {
	lives map[life]*known
}

// life is one process that goes by the name of a node on a topic. Two lives of one node on
// one topic at the same time are twins.
type life struct {
	node, topic string
	epoch       int64
}

type known struct {
	announcement // the last one; with the last detail, if there was any
	heard        time.Time
	gone         bool // it has missed three beats
}

// change is what became of a life.
type change struct {
	life
	what string // came, changed, left, gone, came back, started again
}

const (
	missedBeats = 3
	defaultBeat = 2 * time.Second
	longestBeat = time.Hour
)

// patience is how long a node is present without being heard.
func (a *announcement) patience() time.Duration {
	beat := time.Duration(cmp.Or(a.AllMS, a.BeatMS)) * time.Millisecond
	if beat <= 0 {
		beat = defaultBeat
	}
	return missedBeats * min(beat, longestBeat)
}

// hear takes in an announcement.
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
		return nil // it was overtaken by a newer one
	case old == nil:
		what := "came"
		for other, k := range c.lives {
			// One that says hello has just started, in the place of those before it. One
			// that does not, was there already: a twin.
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

// beat takes in that a node is there with all of its topics. One that is gone announces itself when
// it is asked.
func (c *census) beat(b beat, now time.Time) {
	for at, k := range c.lives {
		if at.node == b.Node && at.epoch == b.Epoch && !k.gone {
			k.heard = now
		}
	}
}

// sameMembers reports whether b does not say that the members are others.
func (a *announcement) sameMembers(b announcement) bool {
	return a.Detail == nil || b.Detail == nil || slices.Equal(a.Detail.Members, b.Detail.Members) && a.Detail.Count == b.Detail.Count
}

// expire marks the lives that have missed their beats. They stay, because their operator
// wants to see that they are missing, until they are heard again or are replaced.
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

// excuse gives everybody the time of three more beats, because none could be heard.
func (c *census) excuse(now time.Time) {
	for _, k := range c.lives {
		k.heard = now
	}
}

func (l life) compare(other life) int {
	return cmp.Or(strings.Compare(l.node, other.node), strings.Compare(l.topic, other.topic), cmp.Compare(l.epoch, other.epoch))
}

// row is a life as it is shown. Members, Count and InFlight are nil if the node does not
// tell them.
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
	Count     *int          `json:"member_count"` // more than there are Members if they do not fit into a message
	InFlight  *int          `json:"in_flight"`
	Publishes bool          `json:"publishes"`
	Beat      time.Duration `json:"beat_ns"`
	Heard     time.Duration `json:"heard_ago_ns"`
}

// rows returns all lives, sorted by node and topic.
func (c *census) rows(now time.Time) []row {
	present := make(map[life]int) // without the epoch
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
