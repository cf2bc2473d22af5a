package dispatchdebug

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// Suspects are those who may be the reason for what is slow or missing: the answer to
// the question with which somebody opens the page. Who is in the way now comes first,
// then who was of late; the worse comes before the less bad.
const (
	rankStuck = iota
	rankWaiting
	rankBehind
	rankNobody
	rankLate
	rankPanicked
	rankFailed
	rankDropped
)

var suspectKinds = [...]string{"stuck", "waiting", "behind", "nobody", "late", "panicked", "failed", "dropped"}

const (
	// A member is waited for conspicuously long after twice its usual time, but not
	// before anybody could notice; or after a second, if its usual time is not known.
	noticeable   = 200 * time.Millisecond
	longAnyway   = time.Second
	enoughRuns   = 8
	behindBehind = time.Second // how long a result may wait for a listener
)

func (v *view) suspectsLocked(a *archive, q query, flights []*record) []suspect {
	var list []suspect
	add := func(rank int, weight float64, s suspect) {
		if q.hasTopic && s.Topic != q.Topic {
			return
		}
		s.Kind, s.rank, s.weight = suspectKinds[rank], rank, weight
		s.Severity = "warn"
		if rank <= rankBehind || rank == rankPanicked || rank == rankNobody {
			s.Severity = "bad"
		}
		s.Key = s.Kind + " " + s.Topic + " " + s.Name
		s.Name = cut(s.Name, mostName)
		if !v.sensitive {
			s.Error = ""
		}
		list = append(list, s)
	}
	v.stuck(add)
	v.waitedFor(a, flights, add)
	v.behind(add)
	for _, t := range a.topics {
		v.ofLate(t, add)
	}
	slices.SortFunc(list, func(x, y suspect) int {
		return cmp.Or(cmp.Compare(x.rank, y.rank), cmp.Compare(y.weight, x.weight), cmp.Compare(x.Key, y.Key))
	})
	return slices.CompactFunc(list, func(x, y suspect) bool { return x.Key == y.Key })
}

// stuck finds those with runs that have outlived their calls.
func (v *view) stuck(add func(int, float64, suspect)) {
	type who struct{ topic, name string }
	runs := make(map[who]int)
	for _, r := range v.bus.Abandoned {
		runs[who{r.Topic, r.Member.String()}]++
	}
	for _, r := range v.bus.Abandoned { // the oldest first
		w := who{r.Topic, r.Member.String()}
		n := runs[w]
		if n == 0 {
			continue
		}
		delete(runs, w)
		text := "has not returned, " + duration(r.Age) + " after the end of its call"
		if n > 1 {
			text = fmt.Sprintf("has %s runs that have not returned, the oldest %s after the end of its call", count(n), duration(r.Age))
		}
		add(rankStuck, float64(r.Age), suspect{Name: w.name, Topic: w.topic, Text: text, AddedAt: v.addedAt(r.Topic, r.Member), Call: r.Call})
	}
}

// waitedFor finds those for whom calls in flight have waited conspicuously long.
func (v *view) waitedFor(a *archive, flights []*record, add func(int, float64, suspect)) {
	type who struct {
		topic  string
		member dispatch.Member
	}
	calls := make(map[who]int)
	var order []who
	longest := make(map[who]*record)
	for _, r := range flights {
		for _, w := range r.waiting(v.now) {
			usual := longAnyway
			if t := a.topics[r.topic]; t != nil {
				if f := t.members[w.member]; f != nil && f.runs >= enoughRuns {
					usual = max(2*f.took.quantile(0.5), noticeable)
				}
			}
			if w.State != "running" || w.Running < usual {
				continue
			}
			key := who{r.topic, w.member}
			if calls[key]++; calls[key] == 1 {
				order = append(order, key)
				longest[key] = r
			}
		}
	}
	for _, key := range order {
		r := longest[key]
		since := v.now.Sub(r.started)
		text := "has not answered for " + duration(since) + " of " + duration(r.budget)
		if n := calls[key]; n > 1 {
			text += fmt.Sprintf("; %s calls wait for it", count(n))
		}
		add(rankWaiting, float64(since)*float64(calls[key]), suspect{
			Name: key.member.String(), Topic: key.topic, Text: text, AddedAt: v.addedAt(key.topic, key.member), Call: r.id,
		})
	}
}

// behind finds the listeners for which results have waited long, and those that have
// lost some.
func (v *view) behind(add func(int, float64, suspect)) {
	seen := make(map[dispatch.ListenerSnapshot]bool)
	topics := append(slices.Clip(v.bus.Topics), v.bus.Patterns)
	for i := range topics {
		for _, l := range topics[i].Listeners {
			if seen[l] {
				continue // it is registered on several topics
			}
			if l.Waiting >= behindBehind {
				seen[l] = true
				calls := "calls wait"
				if l.Queued == 1 {
					calls = "call waits"
				}
				text := fmt.Sprintf("listens and is behind: %s %s for it, the first for %s", count(l.Queued), calls, duration(l.Waiting))
				add(rankBehind, float64(l.Waiting), suspect{Name: l.Name, Topic: topics[i].Name, Text: text, AddedAt: l.AddedAt})
			} else if l.Dropped > 0 {
				seen[l] = true
				text := "listens, and its full mailbox has dropped " + results(l.Dropped)
				add(rankDropped, float64(l.Dropped), suspect{Name: l.Name, Topic: topics[i].Name, Text: text, AddedAt: l.AddedAt})
			}
		}
	}
}

func results(n uint64) string {
	if n == 1 {
		return "1 result"
	}
	return count(n) + " results"
}

// ofLate finds those of a topic whose newest runs went wrong.
func (v *view) ofLate(t *topicFigures, add func(int, float64, suspect)) {
	if n := t.nobody.count(); n > 0 && t.nobody&1 == 1 {
		text := fmt.Sprintf("has nobody to answer: asked in vain %s", times(n))
		add(rankNobody, float64(n), suspect{Name: t.name, Topic: t.name, Text: text, Call: t.lastCall})
	}
	for m, f := range t.members {
		if f.late|f.failed|f.panicked == 0 || !v.isThere(t.name, m) {
			continue
		}
		of := min(f.runs, 64)
		tell := func(rank int, what string, h history) {
			if n := h.count(); n > 0 {
				text := fmt.Sprintf("%s in %s of its last %s, %s", what, count(n), calls(of), ago(v.now.Sub(f.lastBad)))
				s := suspect{Name: m.String(), Topic: t.name, Text: text, AddedAt: v.addedAt(t.name, m), Call: f.lastBadCall}
				if rank != rankLate {
					s.Error = f.lastError
				}
				add(rank, float64(n)/float64(of), s)
			}
		}
		tell(rankLate, "was late", f.late)
		tell(rankPanicked, "panicked", f.panicked)
		tell(rankFailed, "failed", f.failed&^f.panicked)
	}
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
	t, _ := v.bus.topic(topic)
	for i := range t.Producers {
		if p := &t.Producers[i]; p.Name == m.Name || m.Name == "" && p.Group == m.Group {
			return p
		}
	}
	return nil
}
