package dispatchdebug

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

const topicsPerPage = 100

// orders are the ways in which topics can be sorted; what stands first there is worst.
var orders = map[string]func(a, b *topicLine) int{
	"name":      func(*topicLine, *topicLine) int { return 0 },
	"sends":     func(a, b *topicLine) int { return cmp.Compare(b.Sends, a.Sends) },
	"in_flight": func(a, b *topicLine) int { return cmp.Compare(b.InFlight, a.InFlight) },
	"p50":       func(a, b *topicLine) int { return cmp.Compare(b.P50, a.P50) },
	"p99":       func(a, b *topicLine) int { return cmp.Compare(b.P99, a.P99) },
	"failed":    func(a, b *topicLine) int { return cmp.Compare(b.FailedShare, a.FailedShare) },
	"late":      func(a, b *topicLine) int { return cmp.Compare(b.LateShare, a.LateShare) },
}

// topicsLocked returns a page of the topics that have registrations or calls.
func (v *view) topicsLocked(a *archive, q query, inFlight map[string]int) *topicList {
	order := orders[q.Sort]
	if order == nil {
		q.Sort, order = "name", orders["name"]
	}
	list := &topicList{Query: q.Search, Sort: q.Sort, Rows: []topicLine{}}
	var lines []*topicLine
	add := func(name string, s *dispatch.TopicSnapshot) {
		list.Total++
		line := v.topicLine(a.topics[name], name, s, inFlight[name])
		if matches(q.Search, line.Name, line.Request, line.Result) {
			lines = append(lines, &line)
		}
	}
	for i := range v.bus.Topics {
		add(v.bus.Topics[i].Name, &v.bus.Topics[i])
	}
	for name := range a.topics {
		if v.bus.topics[name] == nil {
			add(name, nil)
		}
	}
	slices.SortFunc(lines, func(x, y *topicLine) int {
		if c := order(x, y); c != 0 {
			return c
		}
		return cmp.Compare(x.Name, y.Name)
	})
	list.Matching = len(lines)
	list.Pages = max((len(lines)+topicsPerPage-1)/topicsPerPage, 1)
	list.Page = min(max(q.Page, 1), list.Pages)
	from := (list.Page - 1) * topicsPerPage
	to := min(from+topicsPerPage, len(lines))
	for _, line := range lines[from:to] {
		list.Rows = append(list.Rows, *line)
	}
	if to > from {
		list.First, list.Last = from+1, to
	}
	return list
}

// topicLine describes a topic by its figures and by its registrations by name; both may be missing.
func (v *view) topicLine(t *topicFigures, name string, s *dispatch.TopicSnapshot, inFlight int) topicLine {
	line := topicLine{Name: name, InFlight: inFlight, latencies: noLatencies, FailedShare: -1, LateShare: -1}
	if s == nil {
		s, _ = v.bus.topic(name)
	} else {
		line.Request, line.Result = s.Request, s.Result
	}
	line.Producers, line.Listeners = len(s.Producers), len(s.Listeners)
	if t != nil {
		line.Sends = t.calls
		line.latencies = t.took.latencies()
		line.Minute = t.minute.spark(v.recorder.archive.slotAt(v.now), &t.took)
		of := float64(min(t.calls, 64))
		if of > 0 {
			line.FailedShare, line.LateShare = float64(t.failed.count())/of, float64(t.late.count())/of
		}
	}
	line.Sends += uint64(inFlight)
	return line
}

// matches reports whether one of the texts contains the search text.
func matches(wanted string, texts ...string) bool {
	wanted = strings.ToLower(strings.TrimSpace(wanted))
	return wanted == "" || slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(strings.ToLower(text), wanted) })
}

// memberOrders are the ways in which the members of a topic can be sorted; what stands
// first there is worst.
var memberOrders = map[string]func(a, b *memberPart) int{
	"order":  func(*memberPart, *memberPart) int { return 0 },
	"name":   func(a, b *memberPart) int { return cmp.Compare(a.Key, b.Key) },
	"p50":    func(a, b *memberPart) int { return cmp.Compare(b.P50, a.P50) },
	"p99":    func(a, b *memberPart) int { return cmp.Compare(b.P99, a.P99) },
	"failed": func(a, b *memberPart) int { return cmp.Compare(b.FailedShare, a.FailedShare) },
	"late":   func(a, b *memberPart) int { return cmp.Compare(b.LateShare, a.LateShare) },
	"runs":   func(a, b *memberPart) int { return cmp.Compare(b.Runs, a.Runs) },
}

const mostMembersShown = 100

// topicLocked describes one topic in full.
func (v *view) topicLocked(a *archive, q query, inFlight map[string]int) *topicPart {
	name := q.Topic
	s, byName := v.bus.topic(name)
	t := a.topics[name]
	part := &topicPart{Known: byName || t != nil || inFlight[name] > 0, Members: []memberPart{}, Listening: []listenerPart{}, Buckets: []bucketPart{}}
	if byName {
		part.topicLine = v.topicLine(t, name, s, inFlight[name])
	} else {
		part.topicLine = v.topicLine(t, name, nil, inFlight[name])
	}
	if !part.Known {
		return part
	}
	members := v.members(s, t, byName)
	order := memberOrders[q.Sort]
	if order == nil {
		if q.Sort = "order"; len(members) > mostMembersShown {
			q.Sort = "p99" // the slowest are not among those that are left out
		}
		order = memberOrders[q.Sort]
	}
	part.Query, part.Sort = q.Search, q.Sort
	members = slices.DeleteFunc(members, func(m memberPart) bool { return !matches(q.Search, m.Key, m.State, m.LastError) })
	slices.SortStableFunc(members, func(a, b memberPart) int { return order(&a, &b) })
	part.Matching = len(members)
	part.Members, part.MoreCount = first(members, mostMembersShown)
	for i := range s.Listeners {
		l := listenerOf(&s.Listeners[i], t)
		l.On = elsewhere(l.On, name)
		part.Listening = append(part.Listening, l)
	}
	part.Buckets = v.bucketsOf(t)
	return part
}

// members describes the producers that are registered on a topic, and those that
// relays have named.
func (v *view) members(s *dispatch.TopicSnapshot, t *topicFigures, byName bool) []memberPart {
	list := []memberPart{}
	listed := make(map[dispatch.Member]bool)
	for i := range s.Producers {
		p := &s.Producers[i]
		m := dispatch.Member{Group: p.Group, Name: p.Name}
		var f *memberFigures
		if t != nil {
			f = t.members[shortMember(m)]
		}
		if f == nil && !byName {
			continue // patterns of other topics
		}
		listed[shortMember(m)] = true
		part := v.member(m, f)
		part.Kind, part.On, part.AddedAt = p.Kind, elsewhere(p.On, s.Name), p.AddedAt
		part.Running, part.Waiting, part.Abandoned = p.Running, p.Waiting, p.Abandoned
		switch {
		case p.Abandoned > 0:
			part.State, part.Tone = "stuck", "bad"
		case p.Running > 0:
			part.State, part.Tone = "running", "busy"
		default:
			part.State, part.Tone = "idle", "quiet"
		}
		list = append(list, part)
	}
	if t == nil {
		return list
	}
	var others []memberPart
	for m, f := range t.members {
		if listed[m] {
			continue
		}
		part := v.member(m, f)
		switch {
		case m.Node != "":
			part.Kind, part.State, part.Tone = "elsewhere", "elsewhere", "quiet"
		case m.Name == "":
			part.Kind, part.State, part.Tone = "group", "group", "quiet"
		default:
			part.Kind, part.State, part.Tone = "gone", "gone", "quiet"
		}
		others = append(others, part)
	}
	slices.SortFunc(others, func(a, b memberPart) int { return cmp.Compare(a.Key, b.Key) })
	return append(list, others...)
}

// elsewhere returns the selection of a registration, if it is not just the topic.
func elsewhere(on, topic string) string {
	if on == topic {
		return ""
	}
	return on
}

func (v *view) member(m dispatch.Member, f *memberFigures) memberPart {
	m = shortMember(m)
	name := dispatch.Member{Node: m.Node, Name: m.Name}.String()
	if m.Name == "" {
		name = m.String()
	}
	part := memberPart{
		Key: m.String(), Name: cut(name, mostName), Group: m.Group,
		LateShare: -1, FailedShare: -1, latencies: noLatencies, Last: unknown,
	}
	if f == nil {
		return part
	}
	of := float64(min(f.runs, 64))
	part.Runs, part.Late, part.Failed, part.Panicked = f.runs, f.lateRuns, f.failedRuns, f.panickedRuns
	part.LateShare, part.FailedShare = float64(f.late.count())/of, float64(f.failed.count())/of
	part.latencies = f.took.latencies()
	part.Minute = f.minute.spark(v.recorder.archive.slotAt(v.now), &f.took)
	part.Last, part.LastState, part.LastCall, part.LastBadCall = f.last, f.lastState.String(), f.lastCall, f.lastBadCall
	if v.sensitive {
		part.LastError = f.lastError
		if f.failed&1 == 1 && f.panicked&1 == 1 || f.lastError == "" {
			part.LastError = f.lastPanic
		}
	}
	return part
}

func listenerOf(l *dispatch.ListenerSnapshot, t *topicFigures) listenerPart {
	part := listenerPart{
		Key: l.AddedAt + " " + cut(l.Name, mostName), Name: cut(l.Name, mostName), On: l.On, AddedAt: l.AddedAt,
		Queued: l.Queued, Waiting: l.Waiting, Delivered: l.Delivered, Dropped: l.Dropped, Panicked: l.Panicked,
		latencies: noLatencies, Last: unknown,
	}
	switch {
	case l.Waiting >= behindBehind:
		part.State, part.Tone = "behind by "+duration(l.Waiting), "bad"
	case l.Queued > 0:
		part.State, part.Tone = "busy", "busy"
	default:
		part.State, part.Tone = "idle", "quiet"
	}
	if t != nil {
		if f := t.listeners[cut(l.Name, mostName)]; f != nil {
			part.latencies, part.Last = f.took.latencies(), f.last
		}
	}
	return part
}

func (v *view) bucketsOf(t *topicFigures) []bucketPart {
	list := make([]bucketPart, buckets)
	var most uint64 = 1
	if t != nil {
		most = max(slices.Max(t.counts[:]), 1)
	}
	for b := range list {
		part := &list[b]
		part.Name, part.Kept, part.Tone = bucketNames[b], []keptPart{}, "quiet"
		switch bucket(b) {
		case bucketLate:
			part.Tone = "warn"
		case bucketFailed:
			part.Tone = "bad"
		}
		if t == nil {
			continue
		}
		part.Calls, part.Share = t.counts[b], float64(t.counts[b])/float64(most)
		for p := t.kept[b].oldest; p != nil; p = p.newerInTheTopic {
			r := p.record
			part.Kept = append(part.Kept, v.kept(r))
		}
		slices.Reverse(part.Kept)
	}
	return list
}

// kept describes a call that is kept, in short.
func (v *view) kept(r *record) keptPart {
	k := keptPart{
		Topic: r.topic, ID: r.id, Reason: r.reason.String(), Ended: r.end(), Elapsed: r.elapsed,
		Age: v.now.Sub(r.end()).Truncate(time.Second), Tone: toneOfCall(r),
	}
	if last := r.last(func(*row) bool { return true }); last != nil {
		k.Last = cut(last.key().member.String(), mostName)
	}
	return k
}

const mostKeptShown = 200

// search finds calls that are kept.
func (v *view) search(q query) *keptList {
	list := &keptList{Query: q.Search, Outcome: q.Outcome, Over: q.Over, Sort: q.Sort, Rows: []keptPart{}}
	if q.hasTopic {
		list.Topic = q.Topic
	}
	if list.Sort != "slowest" {
		list.Sort = "newest"
	}
	a := v.recorder.archive
	a.mu.Lock()
	defer a.mu.Unlock()
	list.Total = len(a.records)
	for _, r := range a.records {
		if q.hasTopic && r.topic != q.Topic || r.elapsed < q.Over || q.Outcome != "" && toneOfCall(r) != q.Outcome && !r.has(q.Outcome) {
			continue
		}
		if !matches(q.Search, r.topic, r.reason.String(), "#"+r.id.String(), v.text(r.request)) && !slices.ContainsFunc(r.rows, func(w row) bool {
			return matches(q.Search, w.member.String(), v.text(w.err), v.text(w.summary))
		}) {
			continue
		}
		list.Rows = append(list.Rows, v.kept(r))
	}
	slices.SortFunc(list.Rows, func(x, y keptPart) int {
		if list.Sort == "slowest" && x.Elapsed != y.Elapsed {
			return cmp.Compare(y.Elapsed, x.Elapsed)
		}
		return cmp.Or(y.Ended.Compare(x.Ended), cmp.Compare(y.ID, x.ID))
	})
	list.Matching = len(list.Rows)
	list.Rows, _ = first(list.Rows, mostKeptShown)
	return list
}

// has reports whether a member of the call has ended in that state.
func (r *record) has(state string) bool {
	return slices.ContainsFunc(r.rows, func(w row) bool { return !w.replica && w.state.String() == state })
}
