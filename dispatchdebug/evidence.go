package dispatchdebug

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// stuck finds members with runs that have outlived their calls.
func (s *suspecting) stuck() {
	runs := make(map[*suspicion]int)
	oldest := make(map[*suspicion]*dispatch.AbandonedSnapshot)
	for i := range s.bus.Abandoned { // the oldest first
		a := &s.bus.Abandoned[i]
		one := s.ofMember(a.Topic, shortMember(a.Member))
		if runs[one]++; runs[one] == 1 {
			oldest[one] = a
			one.call = a.Call
		}
		if r := s.archive.records[a.Call]; r != nil {
			r.blame(func(w *row, lost time.Duration, _ bool) {
				if w.key().member == shortMember(keyOf(a.Member, false).member) {
					one.hung += lost
				}
			})
		}
	}
	for _, one := range s.order {
		n, age := runs[one], oldest[one].Age
		text := "has not returned, " + duration(age) + " after the end of its call"
		if n > 1 {
			text = fmt.Sprintf("has %s runs that have not returned, the oldest %s after its call", count(n), duration(age))
		}
		one.add(kindStuck, one.hung, text)
	}
}

// places finds senders that wait for places, and the member that the calls in these places wait for.
func (s *suspecting) places() {
	n := s.bus.SendersWaiting
	if n == 0 {
		return
	}
	senders := "senders wait"
	if n == 1 {
		senders = "sender waits"
	}
	inFlight := 0
	for i := range s.bus.Calls {
		if s.hasPlace(&s.bus.Calls[i]) {
			inFlight++
		}
	}
	inFlight = min(inFlight, s.bus.MaxInFlight) // the parts of a snapshot are read one after the other
	text := fmt.Sprintf("%s %s for a place, %s of %s calls in flight", count(n), senders, count(inFlight), count(s.bus.MaxInFlight))
	// How long the senders have waited is not known. As far as snapshots have seen, senders have
	// waited since then; and each of them for about as long as the oldest call is in flight.
	waited := min(s.now.Sub(s.bus.sendersSince), recently)
	if len(s.bus.Calls) > 0 {
		waited = max(waited, s.bus.Calls[0].Elapsed)
	}
	if w, n := s.mostWaitedFor(); n > 0 {
		verb := "wait"
		if n == 1 {
			verb = "waits"
		}
		text += fmt.Sprintf("; %s of these %s for %s", count(n), verb, w.member.String())
	}
	if rest := s.bus.MaxInFlight - inFlight; rest > 0 {
		text += "; " + s.behindWith() + " behind with the calls in the other " + count(rest)
	}
	one := s.of(subject{other: "places"}, "WithMaxInFlight")
	one.add(kindPlaces, time.Duration(n)*waited, text)
	if len(s.bus.Calls) > 0 {
		one.call = s.bus.Calls[0].Call
	}
}

// behindWith names the listener whose oldest result has waited longest, says how many others are behind, and ends with a verb.
func (s *suspecting) behindWith() string {
	var longest *dispatch.ListenerSnapshot
	behind := 0
	for l := range s.bus.listeners() {
		if l.Waiting >= behindBehind {
			behind++
		}
		if l.Queued > 0 && (longest == nil || l.Waiting > longest.Waiting) {
			longest = l
		}
	}
	switch {
	case longest == nil:
		return "listeners are"
	case behind > 1:
		return fmt.Sprintf("%s and %s more of the listeners are", cut(longest.Name, mostName), count(behind-1))
	}
	return cut(longest.Name, mostName) + " is"
}

// hasPlace reports whether a call in flight has a place: a call that was sent from inside another one needs none.
func (s *suspecting) hasPlace(c *dispatch.CallSnapshot) bool { return s.bus.calls[c.Parent] == nil }

// mostWaitedFor returns the member that most calls with a place wait for, and how many these
// are; among equals the one that these calls lose most time to, or that usually takes longest.
func (s *suspecting) mostWaitedFor() (most subject, n int) {
	holding := make(map[subject]int)
	for i := range s.bus.Calls {
		c := &s.bus.Calls[i]
		if !s.hasPlace(c) {
			continue
		}
		for _, w := range waitingIn(c) {
			holding[subject{topic: c.Topic, member: w.member}]++
		}
	}
	for w, times := range holding {
		if order := cmp.Or(
			cmp.Compare(times, n), cmp.Compare(s.lostTo(w), s.lostTo(most)), cmp.Compare(s.usual(w.topic, w.member), s.usual(most.topic, most.member)),
			cmp.Compare(most.topic, w.topic), cmp.Compare(most.member.String(), w.member.String()),
		); order > 0 {
			most, n = w, times
		}
	}
	return most, n
}

// lostTo returns the time that was lost to a member, as far as it is found.
func (s *suspecting) lostTo(w subject) time.Duration {
	if one := s.by[w]; one != nil {
		return one.lost
	}
	return 0
}

// listening finds listeners for which results have waited for long, and those that have lost
// results or panicked.
func (s *suspecting) listening() {
	for l, topic := range s.bus.listeners() {
		if l.Waiting < behindBehind && l.Dropped == 0 && l.Panicked == 0 {
			continue
		}
		one := s.of(subject{topic: topic, other: "listener " + l.AddedAt + " " + l.Name}, l.Name)
		one.addedAt, one.listener = l.AddedAt, keyOfListener(l)
		if l.Waiting >= behindBehind {
			text := fmt.Sprintf("listens and is behind: %s for it, the first for %s", callsWait(l.Queued), duration(l.Waiting))
			one.add(kindBehind, 0, text)
			one.behind = l.Waiting
		}
		if l.Dropped > 0 {
			one.addPast(kindDropped, "listens, and its full mailbox has dropped "+results(l.Dropped), 1, s.lastDropped(l, topic))
		}
		if p := s.bus.panicked[keyOfListener(l)]; l.Panicked > 0 {
			one.addPast(kindPanicked, "listens, and has panicked "+times(int(l.Panicked)), 1, p.since)
		}
	}
}

// lastDropped returns when the mailbox of a listener has dropped something last, as far as it is known. The listener may
// be registered on several topics.
func (s *suspecting) lastDropped(l *dispatch.ListenerSnapshot, topic string) time.Time {
	last := s.recorder.began
	for name, t := range s.archive.topics {
		if f := t.listeners[cut(l.Name, mostName)]; f != nil && (name == topic || l.On != topic) && f.lastDropped.After(last) {
			last = f.lastDropped
		}
	}
	return last
}

func results(n uint64) string {
	if n == 1 {
		return "1 result"
	}
	return count(n) + " results"
}

// newest finds members of a topic whose newest runs went wrong or took long.
func (s *suspecting) newest(t *topicFigures) {
	if n := t.noProducers.count(); n > 0 && t.noProducers&1 == 1 {
		one := s.of(subject{topic: t.name, other: ofTopic}, t.name)
		one.addPast(kindNoProducers, "has no producer: asked without an answer "+times(n), float64(n)/float64(min(t.calls, 64)), t.lastEnd)
		one.call = cmp.Or(one.call, t.lastCall)
	}
	s.wasted(t)
	alike := false
	for m, f := range t.members {
		if n, of := f.unknown.count(), min(f.runs, 64); f.unknown&1 == 1 {
			one := s.ofMember(t.name, m)
			text := fmt.Sprintf("is asked by name and does not exist, in %s of its last %s, %s", count(n), calls(of), ago(s.now.Sub(f.lastRun)))
			one.addPast(kindNoProducers, text, float64(n)/float64(of), f.lastRun)
			one.call = cmp.Or(one.call, f.lastCall)
		}
		if f.late|f.failed|f.panicked|f.delayed|f.queued != 0 && s.isThere(t.name, m) {
			s.newestOf(s.ofMember(t.name, m), f, false)
			alike = alike || f.delayed != 0 && f.alike
		}
	}
	if !alike || slices.ContainsFunc(s.order, func(one *suspicion) bool { return one.topic == t.name && len(one.parts) > 0 }) {
		return
	}
	for m, f := range t.members { // nothing else explains why its calls are slow
		if f.delayed != 0 && f.alike && s.isThere(t.name, m) {
			s.newestOf(s.ofMember(t.name, m), f, true)
		}
	}
}

// wasted finds what calls of a topic waited for that is none of their members: producers, and relays.
func (s *suspecting) wasted(t *topicFigures) {
	of := min(t.calls, 64)
	lost := func(w *waste) time.Duration { return w.minute.minute(s.archive.slotAt(s.now)).lost }
	if w := &t.lacking; w.newest != 0 {
		n := w.newest.count()
		one := s.of(subject{topic: t.name, other: ofTopic}, t.name)
		text := fmt.Sprintf("had too few producers until the end of %s of %s, %s", count(n), calls(of), ago(s.now.Sub(w.last)))
		one.addPast(kindProducers, text, float64(n)/float64(of), w.last)
		one.lost += lost(w)
		one.call = cmp.Or(one.call, w.call)
	}
	if w := &t.relays; regular(w.newest, of) {
		n := w.newest.count()
		one, itself := s.ofRelay(t.name)
		text := fmt.Sprintf("kept %s of %s waiting after the end of all their members, typically %s", count(n), calls(of), duration(w.losses.typical()))
		if !itself {
			text = "has relays that " + text
		}
		one.addPast(kindDelaying, text, float64(n)/float64(of), w.last)
		one.lost += lost(w)
		one.call = cmp.Or(one.call, w.call)
	}
}

// regular reports whether something was the case in many of the newest runs or calls.
func regular(h history, of uint64) bool { return h.count() >= leastDelays && h.count() >= int(of)/4 }

// ofRelay returns the suspicion of the relay of a topic, or that of the topic if it has several.
func (s *suspecting) ofRelay(topic string) (one *suspicion, itself bool) {
	t, _ := s.bus.topic(topic)
	var relay *dispatch.ProducerSnapshot
	for i := range t.Producers {
		if p := &t.Producers[i]; p.Kind == "relay" {
			if relay != nil {
				return s.of(subject{topic: topic, other: ofTopic}, topic), false
			}
			relay = p
		}
	}
	if relay == nil {
		return s.of(subject{topic: topic, other: ofTopic}, topic), false
	}
	return s.ofMember(topic, dispatch.Member{Name: cut(relay.Name, mostName)}), true
}

// newestOf says what went wrong in the newest runs of a member. If it was not slower than the others, it delays
// calls only if alike is true.
func (s *suspecting) newestOf(one *suspicion, f *memberFigures, alike bool) {
	had := len(one.parts)
	of := min(f.runs, 64)
	share := func(n int) float64 { return float64(n) / float64(of) }
	typically := ", typically " + duration(f.losses.typical())
	than := typically
	if !f.alike {
		than += " longer than others"
	}
	when, longer := ", "+ago(s.now.Sub(f.lastBad)), ""
	if goesOn := had > 0 && one.last.IsZero(); goesOn && s.now.Sub(f.lastBad) < time.Second {
		when = ""
	}
	switch {
	case !regular(f.delayed, of):
	case f.delayed&^f.late != 0 && f.alike && !alike:
	case f.delayed&^f.late != 0:
		text := fmt.Sprintf("kept %s of %s waiting%s", count(f.delayed.count()), calls(of), than)
		one.addPast(kindDelaying, text, share(f.delayed.count()), f.lastDelay)
	case had == 0: // it was late each time, and the text about that follows
		longer = than
	}
	if regular(f.queued, of) {
		n := f.queued.count()
		one.addPast(kindQueue, fmt.Sprintf("had calls wait for their turn in %s of %s%s", count(n), calls(of), typically), share(n), f.lastDelay)
	}
	if n := f.late.count(); n > 0 {
		one.addPast(kindLate, fmt.Sprintf("was late in %s of its last %s%s%s", count(n), calls(of), longer, when), share(n), f.lastBad)
	}
	if n := f.panicked.count(); n > 0 {
		one.addPast(kindPanicked, fmt.Sprintf("panicked in %s of its last %s%s", count(n), calls(of), when), share(n), f.lastBad)
		one.err = f.lastPanic
	}
	if n := (f.failed &^ f.panicked).count(); n > 0 {
		one.addPast(kindFailed, fmt.Sprintf("failed in %s of its last %s%s", count(n), calls(of), when), share(n), f.lastBad)
		one.err = cmp.Or(one.err, f.lastError)
	}
	if len(one.parts) == had {
		return // occasional delays are not reported
	}
	lost := f.minute.minute(s.archive.slotAt(s.now)).lost
	one.lost += max(lost-one.hung, 0) // the newest of these calls are among those of the minute
	one.call = cmp.Or(one.call, f.lastBadCall, f.lastDelayCall)
	if f := s.archive.memberFigures(one.topic, one.member); f != nil { // a replica sends calls for its group
		one.nested = append(one.nested, f.sends...)
	}
}

// silent merges the members of a node if none of them has answered recently.
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
			if m.Node != "" && s.now.Sub(f.lastAnswer) < recently && f.lastAnswer.After(f.lastBad) && s.by[subject{topic: topic, member: m}] == nil {
				answers[node{topic, m.Node}] = true
			}
		}
	}
	for n, all := range of {
		if len(all) < 2 || answers[n] || !all[0].silent() {
			continue
		}
		one := s.of(subject{topic: n.topic, other: "node " + n.name}, n.name)
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
		text := fmt.Sprintf("is silent: none of its %s members ", count(len(one.also)))
		if since, ok := strings.CutPrefix(longest.parts[0].text, notAnswered); ok {
			text += "has answered" + since
		} else {
			first, _, _ := strings.Cut(longest.parts[0].text, ", typically")
			text += "answers; " + longest.name + " " + first
		}
		one.add(kindSilent, 0, text)
		one.last, one.call, one.err = longest.last, longest.call, longest.err
		for _, m := range all {
			if m.silent() {
				m.parts = nil
			}
		}
	}
}
