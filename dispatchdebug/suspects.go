package dispatchdebug

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A suspect is a possible cause of slow calls or missing answers: a member, a listener, a node, a
// connection or a topic, with all that it did. Suspects are sorted by the time that calls lost to
// them. Those that cost no time are sorted by kind.
type kind int

const (
	kindStuck     kind = iota // has runs that have not returned
	kindSilent                // a node whose members do not answer
	kindWaiting               // calls in flight wait for it
	kindQueue                 // calls wait for their turn with it
	kindPlaces                // senders wait for a place
	kindProducers             // calls wait for producers
	kindBehind                // a listener for which results wait
	kindDelaying              // calls waited for it when all others had ended
	kindLate
	kindNoProducers // a topic without producers is asked
	kindPanicked
	kindFailed
	kindDropped
)

var kindNames = [...]string{
	"stuck", "silent", "waiting", "queue", "places", "producers", "behind", "delaying", "late", "nobody", "panicked", "failed", "dropped",
}

const (
	// A member is conspicuously slow after twice its usual time, but not before a person could
	// notice; or after a second, if its usual time is not known.
	noticeable   = 200 * time.Millisecond
	longAnyway   = time.Second
	enoughRuns   = 4
	behindBehind = time.Second // how long a result may wait for a listener
	halfUsed     = 0.5         // of its time; such a call always has a suspect
	leastDelays  = 3           // number of delayed calls from which on a member delays calls regularly
	recently     = time.Minute
	mostAlso     = 8 // names in a row
)

// A subject is what can be a suspect.
type subject struct {
	topic  string
	member dispatch.Member
	other  string // a listener, a node, a link, the places, or ofTopic; empty for a member
}

// ofTopic is the other of what a topic itself lacks.
const ofTopic = "topic"

// A suspicion is all evidence against one subject.
type suspicion struct {
	subject
	name    string
	parts   []part
	lost    time.Duration
	hung    time.Duration // that of it which was lost to runs that have not returned
	behind  time.Duration // how long the oldest result has waited for this listener; no call waits for it
	last    time.Time     // when it did this last; zero if it goes on
	addedAt string
	err     string
	call    dispatch.CallID
	bad     bool
	// A listener and a node may be on other topics, too.
	listener listenerKey
	on       []string // topics of a node
	nested   []string // topics of calls that it waits for, or has waited for
	also     []string // other members of which the same is true
	folded   []string // members that wait for it through nested calls
}

type part struct {
	kind  kind
	text  string
	share float64 // of its newest calls
}

// A suspecting collects suspicions.
type suspecting struct {
	*view
	archive *archive
	by      map[subject]*suspicion
	order   []*suspicion
}

func (s *suspecting) of(w subject, name string) *suspicion {
	if one := s.by[w]; one != nil {
		return one
	}
	one := &suspicion{subject: w, name: name}
	s.by[w] = one
	s.order = append(s.order, one)
	return one
}

// ofMember returns the suspicion of a member, of a group if it has no name, or else of the replica.
func (s *suspecting) ofMember(topic string, m dispatch.Member) *suspicion {
	one := s.of(subject{topic: topic, member: m}, m.String())
	if one.addedAt == "" {
		one.addedAt = s.addedAt(topic, m)
	}
	return one
}

// add adds evidence of what goes on now.
func (one *suspicion) add(k kind, lost time.Duration, text string) {
	one.parts = append(one.parts, part{kind: k, text: text})
	one.lost += lost
	one.last = time.Time{}
	if k <= kindBehind {
		one.bad = true
	}
}

// addPast adds evidence of what happened last at that time, unless something goes on now.
func (one *suspicion) addPast(k kind, text string, share float64, at time.Time) {
	goesOn := len(one.parts) > 0 && one.last.IsZero()
	one.parts = append(one.parts, part{k, text, share})
	if !goesOn && at.After(one.last) {
		one.last = at
	}
	if k == kindPanicked || k == kindNoProducers || k == kindProducers {
		one.bad = true
	}
}

// suspectsLocked returns the suspects of now and of the last minute, and the earlier ones.
func (v *view) suspectsLocked(a *archive, q query) (now, earlier []suspect) {
	s := &suspecting{view: v, archive: a, by: make(map[subject]*suspicion)}
	s.stuck()
	s.inFlight()
	s.places()
	s.listening()
	for _, t := range a.topics {
		s.newest(t)
	}
	s.replicas()
	s.fold()
	s.silent()
	s.linked()
	s.order = slices.DeleteFunc(s.order, func(one *suspicion) bool { return len(one.parts) == 0 })
	s.group()
	slices.SortStableFunc(s.order, compareSuspicions)
	for _, one := range s.order {
		if q.hasTopic && one.topic != q.Topic && !slices.Contains(one.on, q.Topic) && !v.listens(one.listener, q.Topic) {
			continue
		}
		if one.last.IsZero() || v.now.Sub(one.last) < recently {
			now = append(now, s.suspect(one))
		} else {
			earlier = append(earlier, s.suspect(one))
		}
	}
	return now, earlier
}

// listens reports whether a listener is registered on a topic.
func (v *view) listens(l listenerKey, topic string) bool {
	t, _ := v.bus.topic(topic)
	return slices.ContainsFunc(t.Listeners, func(one dispatch.ListenerSnapshot) bool { return keyOfListener(&one) == l })
}

func compareSuspicions(x, y *suspicion) int {
	return cmp.Or(
		cmp.Compare(y.lost+y.behind, x.lost+x.behind), cmp.Compare(x.kind(), y.kind()), cmp.Compare(y.share(), x.share()),
		cmp.Compare(x.topic, y.topic), cmp.Compare(x.name, y.name),
	)
}

func (one *suspicion) kind() kind {
	least := kind(len(kindNames))
	for _, p := range one.parts {
		least = min(least, p.kind)
	}
	return least
}

func (one *suspicion) share() (most float64) {
	for _, p := range one.parts {
		most = max(most, p.share)
	}
	return most
}

func (s *suspecting) suspect(one *suspicion) suspect {
	slices.SortStableFunc(one.parts, func(a, b part) int { return cmp.Compare(a.kind, b.kind) })
	kinds, texts := []string{}, []string{}
	for _, p := range one.parts {
		texts = append(texts, p.text)
		if name := kindNames[p.kind]; !slices.Contains(kinds, name) {
			kinds = append(kinds, name)
		}
	}
	if n := len(one.folded); n > 0 {
		slices.Sort(one.folded)
		text := one.folded[0] + " waits for it in a nested call"
		if n > 1 {
			text = fmt.Sprintf("%s and %s more wait for it in nested calls", one.folded[0], count(n-1))
		}
		texts = slices.Insert(texts, 1, text)
	}
	part := suspect{
		Key: one.topic + " " + cut(one.name, mostName) + " " + cut(one.other, mostName), Kind: kinds[0], Kinds: kinds, Severity: "warn",
		Name: cut(one.name, mostName), Text: strings.Join(texts, "; "), Topic: one.topic, AddedAt: one.addedAt,
		Call: one.call, Lost: one.lost.Truncate(time.Millisecond),
	}
	if !one.last.IsZero() {
		part.Last = s.now.Sub(one.last).Truncate(time.Second)
	}
	if one.bad {
		part.Severity = "bad"
	}
	if s.sensitive {
		part.Error = one.err
	}
	part.Also, part.MoreAlso = first(one.also, mostAlso)
	return part
}

// replicas removes what a group did only because of some of its replicas, which are suspects themselves. If all of
// them were only slow, or all of them had a queue, the group remains instead.
func (s *suspecting) replicas() {
	of := make(map[subject][]*suspicion) // by group
	for _, one := range s.order {
		if one.member.Group != "" && one.member.Node == "" && one.member.Name != "" && len(one.parts) > 0 {
			group := subject{topic: one.topic, member: keyOf(one.member, false).member}
			of[group] = append(of[group], one)
		}
	}
	for key, list := range of {
		group := s.by[key]
		if group == nil || len(group.parts) == 0 {
			continue
		}
		isSlow := func(p part) bool { return p.kind == kindDelaying || p.kind == kindLate }
		queues, others := 0, false
		for _, one := range list {
			if slices.ContainsFunc(one.parts, func(p part) bool { return p.kind == kindQueue }) {
				queues++
			}
			others = others || slices.ContainsFunc(one.parts, func(p part) bool { return !isSlow(p) && p.kind != kindQueue })
		}
		if len(list) == s.countReplicas(key) && !others && (queues == 0 || queues == len(list)) {
			for _, one := range list {
				one.parts = nil
			}
			continue
		}
		group.parts = slices.DeleteFunc(group.parts, func(p part) bool { return isSlow(p) || p.kind == kindFailed || p.kind == kindPanicked })
	}
}

// countReplicas returns how many replicas of a group are known.
func (s *suspecting) countReplicas(group subject) (n int) {
	t := s.archive.topics[group.topic]
	if t == nil { // no call of the topic has ended yet
		return 0
	}
	for m := range t.members {
		if m.Name != "" && m.Node == "" && m.Group == group.member.Group {
			n++
		}
	}
	return n
}

// fold removes the suspicions of members that only waited for nested calls. The member at the end
// of the chain says how many wait for it.
func (s *suspecting) fold() {
	s.leaves()
	byTopic := make(map[string][]*suspicion)
	for _, one := range s.order {
		if len(one.parts) > 0 {
			byTopic[one.topic] = append(byTopic[one.topic], one)
		}
	}
	under := make(map[*suspicion]*suspicion)
	for _, one := range s.order {
		if !one.mayFold() {
			continue
		}
		for _, topic := range one.nested {
			for _, leaf := range byTopic[topic] {
				if leaf != one && leaf.lost >= one.lost/2 && (under[one] == nil || leaf.lost > under[one].lost) {
					under[one] = leaf
				}
			}
		}
	}
	for one := range under {
		leaf := under[one]
		for range len(under) {
			if next := under[leaf]; next != nil && next != one {
				leaf = next
			} else {
				break
			}
		}
		if leaf == one || under[leaf] != nil {
			continue // they wait for each other
		}
		leaf.lost = max(leaf.lost, one.lost)
		leaf.folded = append(leaf.folded, one.name)
		one.parts = nil
	}
}

// leaves finds the members that nested calls wait for and that are no suspects, because they are as slow as all others of their
// topic, or alone: those that usually take at least half of the time that was lost to the sender.
func (s *suspecting) leaves() {
	suspected := make(map[string]bool) // topics
	for _, one := range s.order {
		suspected[one.topic] = suspected[one.topic] || len(one.parts) > 0
	}
	for _, one := range s.order {
		f := s.archive.memberFigures(one.topic, one.member)
		if f == nil || !one.mayFold() || !slices.ContainsFunc(one.parts, func(p part) bool { return p.kind == kindDelaying }) {
			continue
		}
		seen := map[string]bool{one.topic: true}
		var topic string
		var leaf *memberFigures
		for sends := one.nested; ; sends = leaf.sends {
			next, at := s.slowestOf(sends, seen)
			if next == nil || next.took.quantile(0.5).took < f.losses.typical()/2 {
				break
			}
			leaf, topic = next, at
			seen[at] = true
		}
		if leaf == nil || suspected[topic] || slices.ContainsFunc(one.nested, func(topic string) bool { return suspected[topic] }) {
			continue
		}
		found := s.ofMember(topic, leaf.member)
		if len(found.parts) == 0 {
			found.addPast(kindDelaying, "typically takes "+duration(leaf.took.quantile(0.5).took), 1, one.last)
			found.call = leaf.lastCall
		}
		found.lost = max(found.lost, one.lost)
		one.nested = append(one.nested, topic)
	}
}

// slowestOf returns the member that usually takes longest of those of some topics that are not seen yet, and its topic; nil
// if there is none.
func (s *suspecting) slowestOf(topics []string, seen map[string]bool) (slowest *memberFigures, topic string) {
	for _, name := range topics {
		t := s.archive.topics[name]
		if t == nil || seen[name] {
			continue
		}
		for m, f := range t.members {
			if m.Group != "" && m.Node == "" && m.Name != "" || !s.isThere(name, m) {
				continue // a replica, or gone
			}
			if order := slowest == nil || cmp.Or(
				cmp.Compare(f.took.quantile(0.5).took, slowest.took.quantile(0.5).took), cmp.Compare(slowest.member.String(), m.String()),
			) > 0; order {
				slowest, topic = f, name
			}
		}
	}
	return slowest, topic
}

// mayFold reports whether nested calls can explain all evidence against it.
func (one *suspicion) mayFold() bool {
	if len(one.nested) == 0 || len(one.parts) == 0 {
		return false
	}
	for _, p := range one.parts {
		switch p.kind {
		case kindWaiting, kindQueue, kindDelaying, kindLate, kindFailed:
		default:
			return false
		}
	}
	return true
}

// silent reports whether all evidence against it is that it does not answer.
func (one *suspicion) silent() bool {
	for _, p := range one.parts {
		if p.kind != kindWaiting && p.kind != kindLate && p.kind != kindDelaying {
			return false
		}
	}
	return len(one.parts) > 0
}

// A same is what members of a topic have done that are one row.
type same struct{ topic, err, late string }

// same returns what a member did, if that may be one row with others: it failed, and nothing else, or it was late. Texts
// about failures may differ, because the error says more.
func (one *suspicion) same() (key same, ok bool) {
	switch {
	case len(one.folded) > 0 || one.other != "" || len(one.parts) == 0:
		return same{}, false
	case one.err != "":
		return same{one.topic, one.err, ""}, len(one.parts) == 1 && one.parts[0].kind == kindFailed
	}
	key.topic = one.topic
	for _, p := range one.parts {
		if p.kind != kindWaiting && p.kind != kindLate {
			return same{}, false
		}
		key.late += p.text + "; "
	}
	return key, true
}

// group merges members of a topic that did nothing else than to fail with the same error, and three or more that were
// equally late: what they share is the cause, such as a deadline that is too short.
func (s *suspecting) group() {
	const leastLate = 3
	members := make(map[same]int)
	for _, one := range s.order {
		if key, ok := one.same(); ok {
			members[key]++
		}
	}
	leaders := make(map[same]*suspicion)
	slices.SortStableFunc(s.order, func(x, y *suspicion) int { return cmp.Compare(x.name, y.name) }) // so that the first of a group is the same each time
	s.order = slices.DeleteFunc(s.order, func(one *suspicion) bool {
		key, ok := one.same()
		if !ok || key.late != "" && members[key] < leastLate {
			return false
		}
		leader := leaders[key]
		if leader == nil {
			leaders[key] = one
			return false
		}
		leader.also = append(leader.also, one.name)
		leader.lost = max(leader.lost, one.lost)
		if one.last.After(leader.last) {
			leader.last = one.last
		}
		return true
	})
}

func ago(d time.Duration) string {
	if d < time.Second {
		return "just now"
	}
	return duration(d.Truncate(time.Second)) + " ago"
}

func calls(n uint64) string {
	if n == 1 {
		return "call"
	}
	return count(n) + " calls"
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return count(n) + " times"
}

// isThere reports whether a member is still registered, as far as that is known.
func (v *view) isThere(topic string, m dispatch.Member) bool {
	return m.Node != "" || m.Name == "" || v.producer(topic, m) != nil
}

func (v *view) addedAt(topic string, m dispatch.Member) string {
	if p := v.producer(topic, m); p != nil {
		return p.AddedAt
	}
	return ""
}

func (v *view) producer(topic string, m dispatch.Member) *dispatch.ProducerSnapshot {
	if m.Node != "" {
		return nil
	}
	return v.bus.producers(topic, m).first
}
