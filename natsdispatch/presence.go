package natsdispatch

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// announcement is what a node says of itself on one of its topics.
type announcement struct {
	Node     string   `json:"node"`
	Topic    string   `json:"topic"`
	Event    string   `json:"event"`
	Epoch    int64    `json:"epoch"`
	Seq      uint64   `json:"seq"`
	BeatMS   int64    `json:"beat_ms"`
	Versions []int    `json:"versions"`
	Types    string   `json:"types,omitempty"`
	Codecs   []string `json:"codecs"`
	Groups   []string `json:"groups,omitempty"`
	Bus      string   `json:"bus,omitempty"`
	Draining bool     `json:"draining,omitempty"`
	Detail   *detail  `json:"detail,omitempty"`
}

// The events of announcements.
const (
	eventHello  = "hello"
	eventBeat   = "beat"
	eventChange = "change"
	eventBye    = "bye"
)

const (
	missedBeats = 3
	longestBeat = time.Hour
)

func parseAnnouncement(body []byte) (a announcement, err error) {
	if err := json.Unmarshal(body, &a); err != nil {
		return a, err
	}
	if a.Node == "" || a.Topic == "" || a.Epoch <= 0 {
		return a, errors.New("an announcement without node, topic or epoch")
	}
	return a, nil
}

// patience is how long the node is present without being heard of.
func (a *announcement) patience() time.Duration {
	beat := min(time.Duration(a.BeatMS)*time.Millisecond, longestBeat)
	if beat <= 0 {
		beat = DefaultBeat
	}
	return missedBeats * beat
}

// misfit says why an asker with these types and codec cannot ask the node, or
// returns nil.
func (a *announcement) misfit(types, codec string) error {
	switch {
	case !slices.Contains(a.Versions, version):
		return fmt.Errorf("%w: it speaks version %v of the protocol, not %d", dispatch.ErrIncompatible, a.Versions, version)
	case types != "" && a.Types != "" && types != a.Types:
		return fmt.Errorf("%w: its types are %s, not %s", dispatch.ErrIncompatible, a.Types, types)
	case !slices.Contains(a.Codecs, codec):
		return fmt.Errorf("%w: its codecs are %q, not %s", dispatch.ErrIncompatible, a.Codecs, codec)
	}
	return nil
}

// place is where a node is present.
type place struct{ topic, node string }

// departure is a node that is not there any more.
type departure struct {
	place
	epoch int64
	why   error
}

// table is who is present, by what was announced. It knows no clock and is not
// safe for concurrent use.
type table struct {
	nodes map[place]*present
}

type present struct {
	announcement
	heard time.Time
}

// hear takes in an announcement. It returns who has left by it, if anybody, and
// whether the table has changed.
func (t *table) hear(a announcement, now time.Time) (gone []departure, changed bool) {
	at := place{a.Topic, a.Node}
	old := t.nodes[at]
	switch {
	case old == nil:
		if a.Event == eventBye {
			return nil, false
		}
	case a.Epoch < old.Epoch, a.Epoch == old.Epoch && a.Seq < old.Seq:
		return nil, false // a straggler, or an older process under the same name
	case a.Event == eventBye:
		delete(t.nodes, at)
		return []departure{{at, a.Epoch, errors.New("it has said bye")}}, true
	case a.Epoch > old.Epoch:
		gone = []departure{{at, old.Epoch, errors.New("it has started anew")}}
	}
	t.nodes[at] = &present{a, now}
	changed = old == nil || gone != nil || a.Event == eventChange || old.Draining != a.Draining || !slices.Equal(old.Groups, a.Groups)
	return gone, changed
}

// expire removes those that have missed their beats, and returns when the next
// one may; the zero time stands for never.
func (t *table) expire(now time.Time) (gone []departure, next time.Time) {
	for at, p := range t.nodes {
		ends := p.heard.Add(p.patience())
		if !now.Before(ends) {
			delete(t.nodes, at)
			gone = append(gone, departure{at, p.Epoch, fmt.Errorf("not heard of for %v", now.Sub(p.heard).Round(time.Millisecond))})
		} else if next.IsZero() || ends.Before(next) {
			next = ends
		}
	}
	slices.SortFunc(gone, func(a, b departure) int { return cmp.Compare(a.node, b.node) })
	return gone, next
}

// excuse gives everybody as much time as if they had just been heard of.
func (t *table) excuse(now time.Time) {
	for _, p := range t.nodes {
		p.heard = now
	}
}

// on returns who is present on the topic, sorted by name.
func (t *table) on(topic string) []announcement {
	var all []announcement
	for at, p := range t.nodes {
		if at.topic == topic {
			all = append(all, p.announcement)
		}
	}
	slices.SortFunc(all, func(a, b announcement) int { return cmp.Compare(a.Node, b.Node) })
	return all
}
