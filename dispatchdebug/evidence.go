package dispatchdebug

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// stuck finds those with runs that have outlived their calls.
func (s *suspecting) stuck() {
	runs := make(map[*suspicion]int)
	oldest := make(map[*suspicion]*dispatch.AbandonedSnapshot)
	for i := range s.bus.Abandoned { // the oldest first
		a := &s.bus.Abandoned[i]
		one := s.ofMember(a.Topic, a.Member)
		if runs[one]++; runs[one] == 1 {
			oldest[one] = a
			one.call = a.Call
		}
		if r := s.archive.records[a.Call]; r != nil {
			r.blame(func(w *row, lost time.Duration) {
				if w.member == shortMember(a.Member) {
					one.hung += lost
				}
			})
		}
	}
	for _, one := range s.order {
		n, age := runs[one], oldest[one].Age
		text := "has not returned, " + duration(age) + " after the end of its call"
		if n > 1 {
			text = fmt.Sprintf("has %s runs that have not returned, the oldest %s after the end of its call", count(n), duration(age))
		}
		one.add(kindStuck, one.hung, text)
	}
}

// waits is what calls in flight lose to one member.
type waits struct {
	calls, queued   int
	since, budget   time.Duration // of the call that has waited longest for its answer
	first           time.Duration // how long the first has waited for its turn
	lost, queueLost time.Duration
	call, queueCall dispatch.CallID
}

// inFlight finds those for whom calls in flight wait longer than usual, in whose queues
// they wait, and what they lack. For a call that has used half of its time there is
// somebody in any case.
func (s *suspecting) inFlight() {
	by := make(map[*suspicion]*waits)
	var order []*suspicion
	of := func(one *suspicion) *waits {
		if by[one] == nil {
			by[one] = new(waits)
			order = append(order, one)
		}
		return by[one]
	}
	missing := make(map[string]*waits) // by topic
	var lacking []string
	inherits := make(map[dispatch.CallID]bool)
	for i := range s.bus.Calls { // those that others are sent from come first
		c := &s.bus.Calls[i]
		half := used(c) >= halfUsed || inherits[c.Call]
		if c.WaitsFor > 0 && (half || c.Elapsed >= noticeable) {
			m := missing[c.Topic]
			if m == nil {
				m = new(waits)
				missing[c.Topic], lacking = m, append(lacking, c.Topic)
			}
			m.calls++
			m.queued = max(m.queued, c.WaitsFor)
			m.lost += c.Elapsed
			if c.Elapsed > m.since {
				m.since, m.budget, m.call = c.Elapsed, c.Budget, c.Call
			}
			continue
		}
		t := s.archive.topics[c.Topic]
		named := false
		var suspected []*suspicion
		for _, m := range waitingIn(c) {
			if m.Running < 0 {
				if s.queue(c.Topic, m.member) == 0 || !half && c.Elapsed < noticeable {
					continue
				}
				w := of(s.ofMember(c.Topic, m.member))
				w.queued++
				w.queueLost += c.Elapsed
				if c.Elapsed > w.first {
					w.first, w.queueCall = c.Elapsed, c.Call
				}
				named = true
				continue
			}
			usual := unknown
			if t != nil {
				usual = t.members[shortMember(m.member)].usual()
			}
			long := m.Running >= longAnyway
			if usual >= 0 {
				long = m.Running >= max(2*usual, noticeable)
			}
			if !long && !half {
				continue
			}
			one := s.ofMember(c.Topic, m.member)
			w := of(one)
			w.calls++
			w.lost += max(m.Running-max(usual, 0), 1)
			if c.Elapsed > w.since {
				w.since, w.budget, w.call = c.Elapsed, c.Budget, c.Call
			}
			suspected = append(suspected, one)
			named = true
		}
		s.nest(c, suspected, inherits)
		if half && !named && c.Reason == dispatch.ReasonPending {
			s.nobodyToBlame(c)
		}
	}
	for _, one := range order {
		w := by[one]
		if w.calls > 0 {
			text := "has not answered for " + duration(w.since) + " of " + duration(w.budget)
			if w.calls > 1 {
				text += fmt.Sprintf("; %s calls wait for it", count(w.calls))
			}
			one.add(kindWaiting, w.lost, text)
			one.call = cmp.Or(one.call, w.call)
		}
		if w.queued > 0 {
			one.add(kindQueue, w.queueLost, fmt.Sprintf("has a queue: %s in it, the first for %s", callsWait(w.queued), duration(w.first)))
			one.call = cmp.Or(one.call, w.queueCall)
		}
	}
	for _, topic := range lacking {
		m := missing[topic]
		producers := "producers"
		if m.queued == 1 {
			producers = "producer"
		}
		text := fmt.Sprintf("lacks producers: %s for %s more %s, the first for %s of %s", callsWait(m.calls), count(m.queued), producers, duration(m.since), duration(m.budget))
		one := s.of(who{topic: topic, other: "producers"}, topic)
		one.add(kindProducers, m.lost, text)
		one.call = m.call
	}
}

func callsWait(n int) string {
	if n == 1 {
		return "1 call waits"
	}
	return count(n) + " calls wait"
}

// nobodyToBlame names the topic of a call that has used half of its time though none of
// its members runs or waits in a queue.
func (s *suspecting) nobodyToBlame(c *dispatch.CallSnapshot) {
	text := "has a call in flight for " + duration(c.Elapsed) + " of " + duration(c.Budget)
	waiting := len(waitingIn(c))
	switch {
	case waiting > 0:
		text += fmt.Sprintf(" that has not asked %s of its %s members yet", count(waiting), count(len(c.Outcomes)))
	case len(c.Outcomes) > 0:
		text += fmt.Sprintf(" though all its %s members have ended: a relay has not returned", count(len(c.Outcomes)))
	default:
		text += " without members: a relay has named none"
	}
	one := s.of(who{topic: c.Topic, other: "call"}, c.Topic)
	if len(one.parts) == 0 { // the oldest call
		one.add(kindWaiting, c.Elapsed, text)
		one.call = c.Call
	}
}

// nest finds the calls in flight that were sent from inside a call, notes whom of its
// suspected members they are of, and makes sure that theirs are named as well. The
// snapshot does not tell who has sent them: it is the only one there is, or one that has
// sent calls to that topic before.
func (s *suspecting) nest(c *dispatch.CallSnapshot, suspected []*suspicion, inherits map[dispatch.CallID]bool) {
	for _, id := range s.bus.nested[c.Call] {
		child := s.bus.calls[id]
		if child == nil || len(suspected) == 0 || child.Elapsed < c.Elapsed/2 {
			continue
		}
		var senders []*suspicion
		for _, one := range suspected {
			if f := s.archive.memberFigures(one.topic, one.member); f != nil && slices.Contains(f.sends, child.Topic) {
				senders = append(senders, one)
			}
		}
		if len(senders) == 0 && len(suspected) == 1 {
			senders = suspected
		}
		inherits[id] = true
		for _, one := range senders {
			if !slices.Contains(one.nested, child.Topic) {
				one.nested = append(one.nested, child.Topic)
			}
		}
	}
}

// queue returns how many calls wait for their turn with a member.
func (v *view) queue(topic string, m dispatch.Member) (n int) {
	if m.Node != "" {
		return 0
	}
	t, _ := v.bus.topic(topic)
	for i := range t.Producers {
		if p := &t.Producers[i]; p.Name == m.Name && p.Group == m.Group || m.Name == "" && p.Group == m.Group {
			n += p.Waiting
		}
	}
	return n
}

// places tells that senders wait for places, and whom the calls that have them wait for.
func (s *suspecting) places() {
	n := s.bus.SendersWaiting
	if n == 0 {
		return
	}
	senders := "senders wait"
	if n == 1 {
		senders = "sender waits"
	}
	text := fmt.Sprintf("%s %s for a place, %s of %s calls in flight", count(n), senders, count(len(s.bus.Calls)), count(s.bus.MaxInFlight))
	// How long they have waited is not known; it is about as long as the calls that have the
	// places have taken. Those whom these wait for come first, if they take unusually long.
	var waited time.Duration
	if len(s.bus.Calls) > 0 {
		waited = s.bus.Calls[0].Elapsed
	}
	holding := make(map[string]int)
	var most string
	for i := range s.bus.Calls {
		for _, w := range waitingIn(&s.bus.Calls[i]) {
			if holding[w.Name]++; most == "" || holding[w.Name] > holding[most] || holding[w.Name] == holding[most] && w.Name < most {
				most = w.Name
			}
		}
	}
	if most != "" {
		text += fmt.Sprintf("; %s of these wait for %s", count(holding[most]), most)
	}
	one := s.of(who{other: "places"}, "WithMaxInFlight")
	one.add(kindPlaces, time.Duration(n)*waited, text)
}

// listening finds the listeners for which results have waited long, and those that have
// lost some or panicked.
func (s *suspecting) listening() {
	for l, topic := range s.bus.listeners() {
		if l.Waiting < behindBehind && l.Dropped == 0 && l.Panicked == 0 {
			continue
		}
		one := s.of(who{topic: topic, other: "listener " + l.AddedAt + " " + l.Name}, l.Name)
		one.addedAt = l.AddedAt
		if l.Waiting >= behindBehind {
			text := fmt.Sprintf("listens and is behind: %s for it, the first for %s", callsWait(l.Queued), duration(l.Waiting))
			one.add(kindBehind, l.Waiting*time.Duration(l.Queued+1)/2, text)
		}
		if l.Dropped > 0 {
			at := s.recorder.began
			if t := s.archive.topics[topic]; t != nil {
				if f := t.listeners[cut(l.Name, mostName)]; f != nil && f.dropped > 0 {
					at = f.lastDropped
				}
			}
			one.addPast(kindDropped, "listens, and its full mailbox has dropped "+results(l.Dropped), 1, at)
		}
		if p := s.bus.panicked[keyOfListener(l)]; l.Panicked > 0 {
			one.addPast(kindPanicked, "listens, and has panicked "+times(int(l.Panicked)), 1, p.since)
		}
	}
}

func results(n uint64) string {
	if n == 1 {
		return "1 result"
	}
	return count(n) + " results"
}

// newest finds those of a topic whose newest runs went wrong, or took long.
func (s *suspecting) newest(t *topicFigures) {
	if n := t.nobody.count(); n > 0 && t.nobody&1 == 1 {
		one := s.of(who{topic: t.name, other: "nobody"}, t.name)
		one.addPast(kindNobody, "has no producer: asked without an answer "+times(n), float64(n)/float64(min(t.calls, 64)), t.lastEnd)
		one.call = t.lastCall
	}
	slot := s.archive.slotAt(s.now)
	for m, f := range t.members {
		if f.late|f.failed|f.panicked|f.delayed|f.queued == 0 || !s.isThere(t.name, m) {
			continue
		}
		of := min(f.runs, 64)
		share := func(n int) float64 { return float64(n) / float64(of) }
		one := s.ofMember(t.name, m)
		had := len(one.parts)
		lost := f.minute.minute(slot).lost
		typically := ", typically " + duration(f.typicalLoss())
		if n := f.delayed.count(); n >= leastDelays && n >= int(of)/4 {
			text := fmt.Sprintf("kept %s of %s waiting%s longer than others", count(n), calls(of), typically)
			one.addPast(kindDelaying, text, share(n), f.lastDelay)
		}
		if n := f.queued.count(); n >= leastDelays && n >= int(of)/4 {
			one.addPast(kindQueue, fmt.Sprintf("had calls wait for their turn in %s of %s%s", count(n), calls(of), typically), share(n), f.lastDelay)
		}
		ago := func(n history) string { return ", " + ago(s.now.Sub(f.lastBad)) }
		if n := f.late.count(); n > 0 {
			one.addPast(kindLate, fmt.Sprintf("was late in %s of its last %s%s", count(n), calls(of), ago(f.late)), share(n), f.lastBad)
		}
		if n := f.panicked.count(); n > 0 {
			one.addPast(kindPanicked, fmt.Sprintf("panicked in %s of its last %s%s", count(n), calls(of), ago(f.panicked)), share(n), f.lastBad)
			one.err = f.lastPanic
		}
		if n := (f.failed &^ f.panicked).count(); n > 0 {
			one.addPast(kindFailed, fmt.Sprintf("failed in %s of its last %s%s", count(n), calls(of), ago(f.failed)), share(n), f.lastBad)
			if one.err == "" {
				one.err = f.lastError
			}
		}
		if len(one.parts) == had {
			continue // a delay now and then is nothing
		}
		one.lost += max(lost-one.hung, 0) // the newest of these calls are among those of the minute
		one.call = cmp.Or(one.call, f.lastBadCall, f.lastDelayCall)
		one.nested = append(one.nested, f.sends...)
	}
}

// silent puts the members of a node together if none of them has answered recently.
func (s *suspecting) silent() {
	type node struct{ topic, name string }
	of := make(map[node][]*suspicion)
	for _, one := range s.order {
		if one.member.Node != "" && len(one.parts) > 0 {
			n := node{one.topic, one.member.Node}
			of[n] = append(of[n], one)
		}
	}
	answers := make(map[node]bool)
	for topic, t := range s.archive.topics {
		for m, f := range t.members {
			if m.Node != "" && s.now.Sub(f.lastAnswer) < recently && f.lastAnswer.After(f.lastBad) && s.by[who{topic: topic, member: m}] == nil {
				answers[node{topic, m.Node}] = true
			}
		}
	}
	for n, all := range of {
		if len(all) < 2 || answers[n] || !all[0].silent() {
			continue
		}
		one := s.of(who{topic: n.topic, other: "node " + n.name}, n.name)
		var longest *suspicion
		for _, m := range all {
			if !m.silent() {
				continue
			}
			one.lost += m.lost
			one.also = append(one.also, m.name)
			if longest == nil || compareSuspicions(m, longest) < 0 {
				longest = m
			}
		}
		slices.Sort(one.also)
		one.add(kindSilent, 0, fmt.Sprintf("is silent: none of its %s members answers; %s %s", count(len(one.also)), longest.name, longest.parts[0].text))
		one.last, one.call, one.err = longest.last, longest.call, longest.err
		for _, m := range all {
			if m.silent() {
				m.parts = nil
			}
		}
	}
}
