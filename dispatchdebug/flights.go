package dispatchdebug

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// notAnswered is how the text about a member begins that calls in flight wait for.
const notAnswered = "has not answered"

// waits is the time that calls in flight lose to one member.
type waits struct {
	calls, queued   int
	since, budget   time.Duration // of the call that has waited longest for its answer
	first           time.Duration // how long the first has waited for its turn, or did
	lost, queueLost time.Duration
	call, queueCall dispatch.CallID
}

// flights finds the reasons why calls in flight take long: members that take longer than
// usual, queues, and producers that are missing.
type flights struct {
	*suspecting
	by       map[*suspicion]*waits
	order    []*suspicion
	missing  map[string]*waits // by topic
	lacking  []string          // the topics of missing
	inherits map[dispatch.CallID]bool
}

// inFlight finds the members that calls in flight wait for longer than usual, the queues
// that they wait in, and what they lack. A call that has used half of its time has a
// suspect in any case.
func (s *suspecting) inFlight() {
	f := &flights{suspecting: s, by: make(map[*suspicion]*waits), missing: make(map[string]*waits), inherits: make(map[dispatch.CallID]bool)}
	for i := range s.bus.Calls { // a call comes before those that are sent from inside it
		if c := &s.bus.Calls[i]; s.archive.ended[c.Call%mostEnded] != c.Call { // else it has ended since the snapshot, and its losses are counted
			f.call(c)
		}
	}
	f.tell()
}

func (f *flights) of(one *suspicion) *waits {
	if f.by[one] == nil {
		f.by[one] = new(waits)
		f.order = append(f.order, one)
	}
	return f.by[one]
}

// call looks at one call.
func (f *flights) call(c *dispatch.CallSnapshot) {
	half := used(c) >= halfUsed || f.inherits[c.Call]
	if c.WaitsFor > 0 && (half || c.Elapsed >= noticeable) {
		f.lacks(c)
		return
	}
	waiting := waitingIn(c)
	var suspected []*suspicion
	queues := false
	for _, m := range waiting {
		switch {
		case m.Running >= 0 && f.isLong(c.Topic, m):
			suspected = append(suspected, f.waits(c, m))
		case m.Running < 0 && (half || c.Elapsed >= noticeable) && f.queue(c.Topic, m.member) > 0:
			f.queued(c, m)
			queues = true
		}
	}
	if half && len(suspected) == 0 && !queues {
		suspected, queues = f.slowest(c, waiting)
	}
	f.nest(c, suspected, f.inherits)
	if half && len(suspected) == 0 && !queues && c.Reason == dispatch.ReasonPending {
		f.withoutMember(c)
	}
}

// usual is how long a member usually takes, or unknown.
func (s *suspecting) usual(topic string, m dispatch.Member) time.Duration {
	t := s.archive.topics[topic]
	if t == nil {
		return unknown
	}
	return t.members[shortMember(m)].usual()
}

// isLong reports whether a member has run for conspicuously long.
func (f *flights) isLong(topic string, m waitingPart) bool {
	usual := f.usual(topic, m.member)
	if usual < 0 {
		return m.Running >= longAnyway
	}
	return m.Running >= max(2*usual, noticeable)
}

// slowest finds the members that a call waits for which has used half of its time though
// none of them has run for conspicuously long: those that exceed their usual time, or else
// all that run. Those that began late have cost less time than the queue before them.
func (f *flights) slowest(c *dispatch.CallSnapshot, waiting []waitingPart) (suspected []*suspicion, queues bool) {
	var running, exceeding []waitingPart
	for _, m := range waiting {
		switch {
		case m.Running < 0:
		case m.Running < c.Elapsed/2 && m.member.Node == "": // elsewhere a member begins when its relay names it
			f.waitedForTurn(c, m)
			queues = true
		default:
			running = append(running, m)
			if m.Running > f.usual(c.Topic, m.member) {
				exceeding = append(exceeding, m)
			}
		}
	}
	if len(exceeding) > 0 {
		running = exceeding
	}
	for _, m := range running {
		suspected = append(suspected, f.waits(c, m))
	}
	return suspected, queues
}

// waits notes that a call waits for the answer of a member.
func (f *flights) waits(c *dispatch.CallSnapshot, m waitingPart) *suspicion {
	one := f.ofMember(c.Topic, runningFor(c, m.member))
	w := f.of(one)
	w.calls++
	w.lost += max(m.Running-max(f.usual(c.Topic, m.member), 0), 1)
	if c.Elapsed > w.since {
		w.since, w.budget, w.call = c.Elapsed, c.Budget, c.Call
	}
	return one
}

// runningFor returns the replica that runs for a member, if it is a group of which only one runs, and else the member.
func runningFor(c *dispatch.CallSnapshot, m dispatch.Member) dispatch.Member {
	if m.Group == "" || m.Node != "" {
		return m
	}
	replica, running := m, 0
	for i := range c.Replicas {
		if o := &c.Replicas[i]; cut(o.Member.Group, mostName) == m.Group && o.Started && o.State == dispatch.StatePending {
			replica, running = shortMember(o.Member), running+1
		}
	}
	if running != 1 {
		return m
	}
	return replica
}

// queued notes that a call waits for its turn with a member.
func (f *flights) queued(c *dispatch.CallSnapshot, m waitingPart) {
	w := f.of(f.ofMember(c.Topic, m.member))
	w.queued++
	w.queueLost += c.Elapsed
	if c.Elapsed > w.first {
		w.first, w.queueCall = c.Elapsed, c.Call
	}
}

// waitedForTurn notes that a call has waited for its turn with a member, which runs now.
func (f *flights) waitedForTurn(c *dispatch.CallSnapshot, m waitingPart) {
	w := f.of(f.ofMember(c.Topic, m.member))
	turn := c.Elapsed - m.Running
	w.queueLost += turn
	if turn > w.first {
		w.first, w.queueCall = turn, c.Call
	}
}

// lacks notes that a call waits for producers.
func (f *flights) lacks(c *dispatch.CallSnapshot) {
	m := f.missing[c.Topic]
	if m == nil {
		m = new(waits)
		f.missing[c.Topic], f.lacking = m, append(f.lacking, c.Topic)
	}
	m.calls++
	m.queued = max(m.queued, c.WaitsFor)
	m.lost += c.Elapsed
	if c.Elapsed > m.since {
		m.since, m.budget, m.call = c.Elapsed, c.Budget, c.Call
	}
}

// tell writes the texts about what was found.
func (f *flights) tell() {
	for _, one := range f.order {
		w := f.by[one]
		if w.calls > 0 {
			text := notAnswered + " for " + duration(w.since) + " of " + duration(w.budget)
			if w.calls > 1 {
				text += fmt.Sprintf("; %s calls wait for it", count(w.calls))
			}
			one.add(kindWaiting, w.lost, text)
			one.call = cmp.Or(one.call, w.call)
		}
		switch {
		case w.queued > 0:
			text := fmt.Sprintf("has a queue: %s in it, the first for %s", callsWait(w.queued), duration(w.first))
			if !f.runs(one) {
				text += ", though it runs nothing: another producer may hold its semaphore"
			}
			one.add(kindQueue, w.queueLost, text)
		case w.first > 0:
			one.add(kindQueue, w.queueLost, "had a queue: the call that it runs waited "+duration(w.first)+" for its turn")
		}
		one.call = cmp.Or(one.call, w.queueCall)
	}
	for _, topic := range f.lacking {
		m := f.missing[topic]
		producers := "producers"
		if m.queued == 1 {
			producers = "producer"
		}
		text := fmt.Sprintf("lacks producers: %s for %s more %s, the first for %s of %s", callsWait(m.calls), count(m.queued), producers, duration(m.since), duration(m.budget))
		one := f.suspecting.of(subject{topic: topic, other: ofTopic}, topic)
		one.add(kindProducers, m.lost, text)
		one.call = cmp.Or(one.call, m.call)
	}
}

func callsWait(n int) string {
	if n == 1 {
		return "1 call waits"
	}
	return count(n) + " calls wait"
}

// withoutMember makes the topic a suspect if a call has used half of its time although none of its
// members runs or waits in a queue.
func (s *suspecting) withoutMember(c *dispatch.CallSnapshot) {
	text := "has a call in flight for " + duration(c.Elapsed) + " of " + duration(c.Budget)
	one, who := s.of(subject{topic: c.Topic, other: ofTopic}, c.Topic), "a relay"
	waiting := len(waitingIn(c))
	if waiting == 0 {
		var itself bool
		if one, itself = s.ofRelay(c.Topic); itself {
			who = "it"
		}
	}
	switch {
	case waiting > 0:
		text += fmt.Sprintf(" that has not asked %s of its %s members yet", count(waiting), count(len(c.Outcomes)))
	case len(c.Outcomes) > 0:
		text += fmt.Sprintf(" though all its %s members have ended: %s has not returned", count(len(c.Outcomes)), who)
	default:
		text += " without members: " + who + " has named none"
	}
	if len(one.parts) == 0 { // the oldest call
		one.add(kindWaiting, c.Elapsed, text)
		one.call = c.Call
	}
}

// nest finds the calls in flight that were sent from inside a call, notes which of its suspected
// members sent them, and makes sure that the nested calls have suspects too. The snapshot does
// not contain the sender. It is the only suspected member, or one that has sent calls to that
// topic before.
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

// runs reports whether a run of a member has not returned.
func (s *suspecting) runs(one *suspicion) bool {
	return s.bus.producers(one.topic, one.member).running > 0
}

// queue returns how many calls wait for their turn with a member.
func (v *view) queue(topic string, m dispatch.Member) int {
	if m.Node != "" {
		return 0
	}
	return v.bus.producers(topic, m).waiting
}
