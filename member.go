package dispatch

import (
	"context"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
	"github.com/seed-bb4b4d74/dispatch/internal/course"
	"github.com/seed-bb4b4d74/dispatch/internal/latency"
)

// A group is a member with several candidates. The course decides when one more of them is
// asked, and nextReplica which one.
type group struct {
	*seat                     // nil for a member that is no group
	turn      int             // the candidate at which nextReplica begins to look
	replicas  []*replica      // the candidates that have been claimed, in this order
	answered  *producer       // the replica that answered, if the member is OK
	err       error           // why there is no answer
	latencies *latency.Recent // nil unless the call is under WithHedgeQuantile
	first     replica
	one       [1]*replica // the memory of replicas while there is only one
}

// replica is the run of a replica, with what only such a run has. The call's lock guards it.
type replica struct {
	run
	index   int32
	claimed time.Duration
	began   time.Duration
	ended   time.Duration
	how     course.State // Pending until it has ended, or its group has
	overdue bool         // it has exceeded its timeout
	box     any          // a pointer to its value; that of the first replica is in boxes
	ownContext
	own rare
}

// runLocked returns the run that the course has handed out. It makes the run of a replica.
func (c *gathering) runLocked(id course.Run) *run {
	g := c.groupAt(int(id.Member))
	if g == nil {
		r := &c.local[id.Member]
		if r.call, r.member = c, id.Member; c.producers[id.Member].timeout > 0 {
			r.rare = &rare{own: new(ownContext)}
		}
		return r
	}
	r := &g.first
	if id.Replica > 0 {
		r = new(replica)
	}
	r.call, r.member, r.index = c, id.Member, id.Replica
	r.claimed = c.course.Ended()
	r.own = rare{asked: g.nextReplica(), competes: r, own: &r.ownContext}
	r.rare = &r.own
	g.replicas = append(g.replicas, r)
	return &r.run
}

// groupAt returns the group that the member of this index is, or nil.
func (c *gathering) groupAt(i int) *group {
	if c.groups == nil || i >= len(c.groups) {
		return nil
	}
	if g := &c.groups[i]; g.seat != nil {
		return g
	}
	return nil
}

// newGroups returns the groups and the producers of the members, by index. A member that is no
// group has an empty group; a group has its first candidate as the producer.
func newGroups(seats []seat) (groups []group, producers []*producer) {
	groups, producers = make([]group, len(seats)), make([]*producer, len(seats))
	for i := range seats {
		s := &seats[i]
		if producers[i] = s.Candidates[0]; s.Group != "" {
			g := &groups[i]
			g.seat, g.turn = s, int(s.Candidates[0].nextTurn()%uint32(len(s.Candidates)))
			g.replicas = g.one[:0]
		}
	}
	return groups, producers
}

// nextReplica occupies the candidate to ask next: the least busy one that the call has not
// asked yet. Equals take turns from call to call.
func (g *group) nextReplica() (next *producer) {
	least := int32(0)
	for i := range g.Candidates {
		p := g.Candidates[(g.turn+i)%len(g.Candidates)]
		if g.replicaOf(p) != nil {
			continue
		}
		busy := p.occupy(0)
		if busy == 0 {
			return p // which is occupied now
		}
		if next == nil || busy < least {
			next, least = p, busy
		}
	}
	next.occupy(math.MaxInt32)
	return next
}

// replicaOf returns the replica that was claimed for the candidate, or nil.
func (g *group) replicaOf(p *producer) *replica {
	for _, r := range g.replicas {
		if r.producer() == p {
			return r
		}
	}
	return nil
}

// mayBecome reports whether m is the group, or one of its replicas, whose name the group has once this one answers.
func (g *group) mayBecome(m Member) bool {
	return m == Member{Group: g.Group} || slices.ContainsFunc(g.Candidates, func(p *producer) bool { return p.member() == m })
}

// mayAskLocked reports whether the group may still ask the producer.
func (g *group) mayAskLocked(p *producer) bool {
	if r := g.replicaOf(p); r != nil {
		return r.phase <= runClaimed
	}
	return slices.Contains(g.Candidates, p)
}

// endReplicaLocked records the end of a replica's run. If the replica has answered, the others
// of its group are canceled.
func (c *gathering) endReplicaLocked(r *replica, how course.State, effect course.Effect) {
	r.producer().free()
	if effect == course.TooLate {
		return
	}
	r.how, r.ended = how, c.course.Ended()
	c.logReplicaLocked(r)
	if effect != course.Ends {
		return
	}
	g := &c.groups[r.member]
	if how != course.OK {
		g.err = c.groupErrorLocked(g)
		return
	}
	g.answered = r.producer()
	g.noteLatency(r.ended)
	for _, other := range g.replicas {
		if other.how == course.Pending {
			other.how, other.ended = course.Canceled, r.ended
			c.logReplicaLocked(other)
		}
	}
}

// losersLocked returns the functions that end the contexts of the replicas that the winner has
// beaten.
func (c *gathering) losersLocked(winner *run) (cancels []context.CancelCauseFunc) {
	if winner.replica() == nil {
		return nil
	}
	for _, r := range c.groups[winner.member].replicas {
		if r.how == course.Canceled && r.cancel != nil {
			cancels = append(cancels, r.cancel)
		}
	}
	return cancels
}

// groupErrorLocked returns the error of a group without an answer.
func (c *gathering) groupErrorLocked(g *group) error {
	r := Report{Topic: c.topic.Name, Reason: ReasonAllEnded}
	for _, replica := range g.replicas {
		r.Outcomes = append(r.Outcomes, c.replicaOutcomeLocked(replica, c.now()))
	}
	return groupError(r)
}

// logReplicaLocked lets observers know of the end of a replica.
func (c *gathering) logReplicaLocked(r *replica) {
	if c.observing.any() {
		c.appendLocked(calllog.Entry{At: r.ended, Member: r.member, Value: int16(r.index), Kind: calllog.Replica})
	}
}

// overdueLocked records that a run has exceeded its timeout. It returns the function that ends
// the context of the run, or nil if that has not been made.
func (c *gathering) overdueLocked(o course.Overdue) context.CancelCauseFunc {
	var r *run
	if g := c.groupAt(int(o.Member)); g == nil {
		r = &c.local[o.Member]
	} else {
		own := g.replicas[o.Replica]
		own.how, own.overdue, own.ended = course.Late, true, c.course.Ended()
		c.logReplicaLocked(own)
		if r = &own.run; o.Ends {
			g.err = c.groupErrorLocked(g)
		}
	}
	if o.Ends {
		c.appendLocked(calllog.Entry{At: c.course.Ended(), Member: o.Member, Kind: calllog.End})
	}
	return r.ownContext().cancel
}

// runsLocked ranges over all runs that have been claimed.
func (c *gathering) runsLocked() iter.Seq[*run] {
	return func(yield func(*run) bool) {
		for i := range c.local {
			if r := &c.local[i]; r.phase != runWaits && !yield(r) {
				return
			}
		}
		for i := range c.groups {
			for _, r := range c.groups[i].replicas {
				if !yield(&r.run) {
					return
				}
			}
		}
		for _, r := range c.relaying.all() {
			if r.phase != runWaits && !yield(&r.run) {
				return
			}
		}
	}
}

// mayAskLocked reports whether a call that goes on may still ask the producer.
func (c *gathering) mayAskLocked(p *producer) bool {
	for i, q := range c.producers {
		if c.course.HasEnded(i) {
			continue
		}
		if g := c.groupAt(i); g != nil {
			if g.mayAskLocked(p) {
				return true
			}
		} else if q == p && c.local[i].phase <= runClaimed {
			return true
		}
	}
	for _, r := range c.relaying.all() {
		if r.producer() == p && r.phase == runWaits {
			return true
		}
	}
	return false
}

// memberAt returns a member that is in the log. A group has the name of the replica that
// answered.
func (c *gathering) memberAt(i int) (m Member) {
	c.setMember(&m, i)
	return m
}

// setMember sets m to memberAt of i. Inlined, it would enlarge the frames of observers' hooks.
//
//go:noinline
func (c *gathering) setMember(m *Member, i int) {
	if i < len(c.producers) {
		c.setMemberLocked(m, i)
		return
	}
	c.mu.Lock() // relays may be naming further members
	c.setMemberLocked(m, i)
	c.mu.Unlock()
}

func (c *gathering) memberAtLocked(i int) (m Member) {
	c.setMemberLocked(&m, i)
	return m
}

func (c *gathering) setMemberLocked(m *Member, i int) {
	if i >= len(c.producers) {
		*m = c.relaying.named[i-len(c.producers)].member
		return
	}
	p := c.producers[i]
	if g := c.groupAt(i); g != nil {
		if p = g.answered; p == nil {
			*m = Member{Group: g.Group}
			return
		}
	}
	m.Node, m.Group, m.Name = "", p.entry.Group, p.entry.Name
}

// errorAtLocked returns the error with which a member has ended before the call.
func (c *gathering) errorAtLocked(i int) error {
	if i >= len(c.producers) {
		return c.relaying.named[i-len(c.producers)].err
	}
	if g := c.groupAt(i); g != nil {
		return g.err
	}
	if c.course.Member(i).Overdue {
		return timeoutError(c.producers[i].timeout) // the worker may be writing the error of the run
	}
	return c.local[i].err()
}

// putOutcomeLocked sets o to how the member of this index has ended, or that it has not at this time. It sets
// one field after another, as a literal would first be made on the stack, which is small where observers are
// called.
func (c *gathering) putOutcomeLocked(o *Outcome, i int, now time.Duration) {
	m := c.course.Member(i)
	c.setMemberLocked(&o.Member, i)
	o.State, o.Err = State(m.State), nil
	o.Started, o.Tried, o.Results = m.Tried > 0, int(m.Tried), int(m.Results)
	o.Began, o.Elapsed = m.Began, m.Ended
	switch {
	case c.course.HasEnded(i):
		if o.State != StateOK {
			o.Err = c.errorAtLocked(i)
		}
	case c.over():
		o.Err = c.err
	default:
		o.Elapsed = now
	}
}

// setReplicaOutcome sets o to how a replica has ended, by itself or with its group or call. It
// reports whether the closure of the replica had not returned then.
func (c *gathering) setReplicaOutcome(o *Outcome, i, k int) (r *replica, running bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r = c.groups[i].replicas[k]
	*o = c.replicaOutcomeLocked(r, c.now())
	return r, r.started && (r.overdue || r.how == course.Pending || r.how == course.Canceled)
}

// replicaOutcomeLocked returns how a replica has ended, or that it has not at this time.
func (c *gathering) replicaOutcomeLocked(r *replica, now time.Duration) Outcome {
	o := Outcome{Member: r.producer().member(), State: State(r.how), Started: r.started, Began: r.began, Elapsed: r.ended}
	if r.started {
		o.Tried = 1
	}
	switch {
	case r.how == course.Pending && c.over():
		if o.State = StateCanceled; c.course.Reason() == course.Deadline {
			o.State = StateLate
		}
		o.Err, o.Elapsed = c.err, c.course.Ended()
	case r.how == course.Pending:
		o.Elapsed = now
	case r.overdue:
		o.Err = timeoutError(r.producer().timeout)
	case r.how == course.OK:
		o.Results = 1
	case r.how == course.Canceled:
		o.Err = ErrSatisfied
	default:
		o.Err = r.err()
	}
	return o
}

// outcome returns how a member has ended, or that it has not.
func (c *gathering) outcome(i int) (o Outcome) {
	c.setOutcome(&o, i)
	return o
}

// setOutcome sets o to outcome of i. It reports whether the closure of the member had been called, and had
// not returned when the member ended. A group has no closure.
func (c *gathering) setOutcome(o *Outcome, i int) (running bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putOutcomeLocked(o, i, c.now())
	return o.Started && i < len(c.producers) && c.groupAt(i) == nil && c.outlastedLocked(i)
}

// outlastedLocked reports whether closures may have gone on when their member ended: the call or a timeout
// has ended it.
func (c *gathering) outlastedLocked(i int) bool {
	return !c.course.HasEnded(i) || c.course.Member(i).Overdue
}

// nextPending returns an entry for the first replica from this index on that had not ended when
// its group did, and moves the index behind it.
func (c *gathering) nextPending(i int, from *int32) (e calllog.Entry, ok bool) {
	g := c.groupAt(i)
	if g == nil {
		return e, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := *from; int(k) < len(g.replicas) && c.outlastedLocked(i); k++ {
		if *from = k + 1; g.replicas[k].how == course.Pending {
			return calllog.Entry{Member: int32(i), Value: int16(k), Kind: calllog.Replica}, true
		}
	}
	return e, false
}

// report returns how far the call has come, or how it has ended.
func (c *gathering) report() Report {
	var r Report
	c.reportIn(&r)
	return r
}

// reportIn is report in the memory of an earlier one.
func (c *gathering) reportIn(r *Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Call, r.Parent, r.Topic, r.Reason = c.id(), c.parent, c.topic.Name, Reason(c.course.Reason())
	r.Started, r.Elapsed, r.Budget = c.start, c.course.Ended(), c.budget()
	r.cause, r.quorum, r.first = c.err, c.course.Quorum(), c.policy.First
	if !c.over() {
		r.Elapsed = c.now()
	}
	size := c.course.Size()
	if cap(r.Outcomes) < size || r.Outcomes == nil {
		r.Outcomes = make([]Outcome, size)
	}
	r.Outcomes = r.Outcomes[:size]
	n := 0
	for i := range size {
		if !c.isReplaced(i) {
			c.putOutcomeLocked(&r.Outcomes[n], i, r.Elapsed)
			n++
		}
	}
	r.Outcomes = r.Outcomes[:n]
	if r.Replicas = r.Replicas[:0]; c.groups != nil {
		r.Replicas = c.replicasLocked(r.Replicas, r.Elapsed)
	}
}

// partialErr is the Err of the report, which it makes only if there is an error.
func (c *gathering) partialErr() error {
	c.mu.Lock()
	fine := c.course.Succeeded()
	c.mu.Unlock()
	if fine {
		return nil
	}
	return c.report().Err()
}

// replicasLocked appends the outcomes of the replicas that were asked.
func (c *gathering) replicasLocked(outcomes []Outcome, now time.Duration) []Outcome {
	for i := range c.groups {
		for _, r := range c.groups[i].replicas {
			outcomes = append(outcomes, c.replicaOutcomeLocked(r, now))
		}
	}
	return outcomes
}

// noteLatency adds the latency of a group that has just answered. If the first replica has
// failed, the latency says nothing about answers. If the first replica was beaten, the latency
// is at least the time of the hedge, so hedges do not move the quantile at which they happen.
func (g *group) noteLatency(answered time.Duration) {
	first := g.replicas[0]
	if g.latencies == nil || first.how != course.Pending && first.how != course.OK {
		return
	}
	g.latencies.Add(answered - first.claimed)
}
