package natsdispatch

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// announcement is the message by which a node describes itself on one of its topics.
type announcement struct {
	Node     string   `json:"node"`
	Topic    string   `json:"topic"`
	Event    string   `json:"event"`
	Epoch    int64    `json:"epoch"`
	Seq      uint64   `json:"seq"`
	BeatMS   int64    `json:"beat_ms"`                // the interval of announcements on the topic
	AllMS    int64    `json:"node_beat_ms,omitempty"` // the interval of beats for all topics; 0: there are none
	Edition  uint64   `json:"edition,omitempty"`      // changes when the announcement on any topic changes
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
	if checkNodeName(a.Node) != nil || checkTokens(a.Topic, true, longestTopic) != nil || a.Epoch <= 0 {
		return a, errors.New("an announcement without node, topic or epoch")
	}
	return a, nil
}

// patience returns how long a silent node still counts as present.
func (a *announcement) patience() time.Duration {
	return missedBeats * cmp.Or(inUnits(cmp.Or(a.AllMS, a.BeatMS), time.Millisecond, longestBeat), DefaultBeat)
}

// misfit returns an error that says why an asker with these types and codec cannot ask the node, or nil.
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

// place identifies a node on one topic.
type place struct{ topic, node string }

// departure says that a node has left a topic.
type departure struct {
	place
	epoch int64
	heard time.Time // when the node was last heard
	why   error     // wraps ErrGone, or ErrUnreachable if the asker is cut off
}

// table holds the announced nodes: the present nodes, and the nodes that have left without a bye. It reads
// no clock and is not safe for concurrent use.
type table struct {
	topics map[string]*roll
	places map[string][]string // the topics of each node
	forget time.Duration       // how long a node that has left is remembered
	most   int                 // bounds the kept nodes, including nodes that have left
	count  int                 // how many nodes are kept
	byes   map[place]bye       // the last bye at each place; nil: none

	names   int  // how many names the lists of all nodes have together
	unnamed bool // a list was not remembered, because there were too many names
}

// roll holds the nodes of one topic.
type roll struct {
	nodes   map[string]*present
	listed  []*present // the nodes in some order; the slice is never modified; nil: it has to be made again
	sorted  bool       // listed is sorted by name
	changes uint64     // how often nodes has changed: keep compares it after a sort without the lock
}

// present is a node on a topic, also after the node has left. Its announcement and the error left do not
// change, except for the edition: a new present takes its place.
type present struct {
	announcement
	left    error     // why the node has left; nil if it is present
	earlier []int64   // the boot ids of the node before this one, the oldest first; the slice is never modified
	twins   time.Time // until when both processes count as present

	names *remembered // the list of members; kept until the boot id changes

	seq   uint64    // the number of the last announcement
	beats uint64    // the number of the next beat for all topics
	heard time.Time // when the node was last heard
	since time.Time // heard, or the later time from which the asker could hear the node again
}

// at returns the node at a place, or nil.
func (t *table) at(p place) *present {
	if r := t.topics[p.topic]; r != nil {
		return r.nodes[p.node]
	}
	return nil
}

func (t *table) put(p place, n *present) {
	r := t.topics[p.topic]
	if r == nil {
		r = &roll{nodes: make(map[string]*present)}
		if t.topics == nil {
			t.topics, t.places = make(map[string]*roll), make(map[string][]string)
		}
		t.topics[p.topic] = r
	}
	if r.nodes[p.node] == nil {
		t.count++
		t.places[p.node] = append(t.places[p.node], p.topic)
	}
	r.nodes[p.node] = n
	r.change()
}

func (r *roll) change() {
	r.listed, r.sorted = nil, false
	r.changes++
}

func (t *table) remove(p place) {
	r := t.topics[p.topic]
	t.unlearn(r.nodes[p.node])
	t.unnamed = false
	delete(r.nodes, p.node)
	t.count--
	if rest := slices.DeleteFunc(t.places[p.node], func(topic string) bool { return topic == p.topic }); len(rest) > 0 {
		t.places[p.node] = rest
	} else {
		delete(t.places, p.node)
	}
	if r.change(); len(r.nodes) == 0 {
		delete(t.topics, p.topic)
	}
}

// bye is the bye of a process, which is its last announcement on a topic. Earlier ones may be handled later, because
// announcements to all askers and to this asker alone come over different subscriptions.
type bye struct {
	epoch int64
	seq   uint64
	heard time.Time
}

const (
	mostByes  = 1000             // bounds table.byes
	straggles = 10 * time.Second // how long a bye is kept at least, unless there are too many
)

// isStraggler reports whether an announcement was sent before the bye of its process.
func (t *table) isStraggler(at place, a announcement) bool {
	b, ok := t.byes[at]
	return ok && a.Epoch == b.epoch && a.Seq < b.seq
}

func (t *table) noteBye(at place, a announcement, now time.Time) {
	if len(t.byes) >= mostByes {
		maps.DeleteFunc(t.byes, func(_ place, b bye) bool { return now.Sub(b.heard) >= straggles })
	}
	if len(t.byes) >= mostByes {
		return
	}
	if t.byes == nil {
		t.byes = make(map[place]bye)
	}
	t.byes[at] = bye{a.Epoch, a.Seq, now}
}

// heard is the change that an announcement has made.
type heard struct {
	gone    []departure // the processes that have left because of it
	changed bool        // the table has changed
	arrived bool        // the node was not present before
	twin    bool        // there are two processes of this name
	excess  bool        // the table is full
}

// hear handles an announcement. The boot id heard last counts. If one of the boot ids before it is heard
// again, the node has a twin.
func (t *table) hear(a announcement, now time.Time) (h heard) {
	at := place{a.Topic, a.Node}
	old := t.at(at)
	if a.Event == eventBye {
		t.noteBye(at, a, now)
	}
	switch {
	case t.isStraggler(at, a):
		return h
	case old == nil:
		if h.excess = t.count >= t.most; h.excess || a.Event == eventBye {
			return h
		}
		h.arrived = true
	case a.Epoch == old.Epoch && a.Seq <= old.seq:
		return h // the announcement is not newer than the last one; an attacker may have repeated it
	case a.Event == eventBye && a.Epoch != old.Epoch:
		return h // the bye is that of another process
	case a.Event == eventBye:
		t.remove(at)
		if old.left == nil {
			h.gone = []departure{{at, a.Epoch, now, fmt.Errorf("%w: %s: it has said bye", dispatch.ErrGone, a.Node)}}
		}
		h.changed = true
		return h
	case a.Epoch == old.Epoch:
		h.arrived = old.left != nil
	case slices.Contains(old.earlier, a.Epoch):
		if a.Draining {
			return h // the process leaves, and the new one takes its place
		}
		h.twin, h.arrived = old.left == nil, old.left != nil
	default:
		h.arrived = old.left != nil
		if old.left == nil {
			h.gone = []departure{{at, old.Epoch, old.heard, fmt.Errorf("%w: %s: it has started again", dispatch.ErrGone, a.Node)}}
		}
	}
	if old != nil && old.left == nil && old.says(a) {
		old.Edition = a.Edition
		old.seq, old.heard, old.since = a.Seq, now, now
		h.changed = a.Event == eventChange
		return h
	}
	n := &present{announcement: a, names: new(remembered), seq: a.Seq, heard: now, since: now}
	h.changed = h.arrived || h.gone != nil || h.twin || a.Event == eventChange || old.Draining != a.Draining || !slices.Equal(old.Groups, a.Groups)
	if old != nil {
		if old.Epoch == a.Epoch {
			n.earlier, n.beats, n.names = old.earlier, old.beats, old.names
		} else {
			n.earlier = old.andBefore(a.Epoch)
			t.unlearn(old)
		}
		if n.twins = old.twins; h.twin {
			n.twins = now.Add(n.patience())
		}
	}
	t.put(at, n)
	return h
}

// mostEarlier bounds the boot ids that present.earlier has.
const mostEarlier = 64

// andBefore returns the boot ids of the node and of those before it, except one of them, which is heard again.
func (n *present) andBefore(except int64) []int64 {
	all := append(slices.Clip(n.earlier), n.Epoch)
	all = slices.DeleteFunc(all, func(epoch int64) bool { return epoch == except })
	return all[max(0, len(all)-mostEarlier):]
}

// says reports whether the announcement has nothing new about the node, besides its edition.
func (n *present) says(a announcement) bool {
	return n.Epoch == a.Epoch && n.BeatMS == a.BeatMS && n.AllMS == a.AllMS && n.Types == a.Types && n.Bus == a.Bus && n.Draining == a.Draining &&
		slices.Equal(n.Versions, a.Versions) && slices.Equal(n.Codecs, a.Codecs) && slices.Equal(n.Groups, a.Groups)
}

// touch notes that a present node was heard.
func (t *table) touch(p place, epoch int64, now time.Time) {
	if n := t.at(p); n != nil && n.left == nil && n.Epoch == epoch {
		n.heard, n.since = now, now
	}
}

// all ranges over all nodes, including nodes that have left.
func (t *table) all() iter.Seq2[place, *present] {
	return func(yield func(place, *present) bool) {
		for topic, r := range t.topics {
			for node, n := range r.nodes {
				if !yield(place{topic, node}, n) {
					return
				}
			}
		}
	}
}

// overdue reports whether a node has missed its beats.
func (t *table) overdue(now time.Time) bool {
	for _, n := range t.all() {
		if n.left == nil && n.silence(now) >= n.patience() {
			return true
		}
	}
	return false
}

// silence returns how long the node was silent while the asker could hear it.
func (n *present) silence(now time.Time) time.Duration { return now.Sub(n.since) }

// why returns the error of a node that has left.
func (n *present) why(now time.Time) error {
	return fmt.Errorf("%w: %s was last heard %s ago", n.left, n.Node, ago(now.Sub(n.heard)))
}

// ago writes a duration in one unit: milliseconds, seconds or minutes.
func ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	default:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
}

// errSilence is the error of nodes that fall silent together.
var errSilence = fmt.Errorf("%w: cut off: all nodes have fallen silent together", dispatch.ErrUnreachable)

// together reports whether there are several nodes, and all have missed beats.
func (t *table) together(now time.Time) bool {
	var first string
	several := false
	for at, n := range t.all() {
		if n.left != nil {
			continue
		}
		if n.silence(now) < n.patience()*(missedBeats-1)/missedBeats {
			return false
		}
		several = several || first != "" && first != at.node
		first = at.node
	}
	return several
}

// expire notes which nodes have missed their beats, forgets nodes that left long ago, and returns when
// it has to be called next; the zero time stands for never. If cut is not nil, the asker is cut off:
// then all nodes have left, with that error.
func (t *table) expire(now time.Time, cut error) (gone []departure, next time.Time) {
	if cut == nil && t.overdue(now) && t.together(now) {
		cut = errSilence
	}
	for at, n := range t.all() {
		if n.left == nil && (cut != nil || n.silence(now) >= n.patience()) {
			other := *n
			if n = &other; cut == nil {
				n.left = dispatch.ErrGone
			} else {
				n.left = cut
			}
			t.put(at, n)
			gone = append(gone, departure{at, n.Epoch, n.heard, n.why(now)})
		}
		ends := n.since.Add(n.patience())
		if n.left != nil {
			if ends = n.since.Add(t.forget); !now.Before(ends) {
				t.remove(at)
				continue
			}
		}
		if next.IsZero() || ends.Before(next) {
			next = ends
		}
	}
	slices.SortFunc(gone, func(a, b departure) int { return cmp.Compare(a.node, b.node) })
	return gone, next
}

// excuse gives all nodes as much time as if they had just been heard.
func (t *table) excuse(now time.Time) {
	for _, n := range t.all() {
		if n.left == nil {
			n.since = now
		}
	}
}

// on returns the nodes that are present on the topic, or have left without a bye, sorted by name.
func (t *table) on(topic string) []*present {
	all, changes, sorted := t.list(topic)
	if !sorted {
		all = sortNodes(all)
		t.keep(topic, all, changes)
	}
	return all
}

// list returns the same nodes as on, and whether they are sorted. A sort takes long, so the caller may sort
// them without the lock of the table, and then give the sorted list to keep.
func (t *table) list(topic string) (all []*present, changes uint64, sorted bool) {
	r := t.topics[topic]
	if r == nil {
		return nil, 0, true
	}
	if r.listed == nil {
		r.listed = slices.Collect(maps.Values(r.nodes))
	}
	return r.listed, r.changes, r.sorted
}

// keep keeps the sorted list of a topic, unless the nodes of the topic have changed since list was called.
func (t *table) keep(topic string, sorted []*present, changes uint64) {
	if r := t.topics[topic]; r != nil && r.changes == changes {
		r.listed, r.sorted = sorted, true
	}
}

func sortNodes(all []*present) []*present {
	return slices.SortedFunc(slices.Values(all), func(a, b *present) int { return cmp.Compare(a.Node, b.Node) })
}

// here returns how many nodes are present, one for each of their topics.
func (t *table) here() (count int) {
	for _, n := range t.all() {
		if n.left == nil {
			count++
		}
	}
	return count
}
