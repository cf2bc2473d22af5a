package dispatch

// outcome returns how the member of this index ended, or that it has not.
func (c *call) outcome(i int) Outcome {
	c.lockDrained()
	defer c.mu.Unlock()
	return c.outcomeLocked(i)
}

func (c *call) outcomeLocked(i int) Outcome {
	if i >= len(c.members) {
		who := c.relaying.remotes[i-len(c.members)]
		o := Outcome{Member: who.member, State: who.state, Err: who.err, Results: who.results, Elapsed: who.ended, Started: who.asked}
		if who.asked {
			o.Tried = 1
		}
		c.closeLocked(&o)
		return o
	}
	m := &c.members[i]
	o := Outcome{Member: c.memberAt(i), State: m.state, Started: m.run != runWaits}
	switch {
	case c.groups != nil && c.producers[i].isGroup():
		o.Tried = c.groups.tried(i, c.reason != ReasonPending)
	case o.Started:
		o.Tried = 1
	}
	if m.state != StatePending {
		o.Elapsed = m.ended
	}
	if d := c.details[m]; d != nil {
		o.Err, o.Results = d.err, d.results
	} else if m.state == StateOK && !m.streams {
		o.Results = 1
	}
	c.closeLocked(&o)
	return o
}

// closeLocked completes the outcome of a member that has not ended.
func (c *call) closeLocked(o *Outcome) {
	switch {
	case o.State != StatePending:
	case c.reason == ReasonPending:
		o.Elapsed = c.now()
	case c.reason == ReasonDeadline:
		o.State, o.Err, o.Elapsed = StateLate, c.cause, c.elapsed
	default:
		o.State, o.Err, o.Elapsed = StateCanceled, c.cause, c.elapsed
	}
}

// size is how many members a call that is over has.
func (c *call) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sizeLocked()
}

// hasEnded reports whether the member at this place had ended when the call did.
func (c *call) hasEnded(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i >= len(c.members) {
		return c.relaying.remotes[i-len(c.members)].state != StatePending
	}
	return c.members[i].state != StatePending
}

// sizeLocked is how many members the call has, those that relays named included.
func (c *call) sizeLocked() int {
	if c.relaying == nil {
		return len(c.members)
	}
	return len(c.members) + len(c.relaying.remotes)
}

// memberAt returns the member of this index. For a group it has the name of the
// replica that answered.
//
//go:noinline
func (c *call) memberAt(i int) Member {
	p := c.producers[i]
	if p.isGroup() && c.members[i].state == StateOK {
		return c.answerer(int32(i))
	}
	return p.member()
}

func (c *call) report() Report {
	c.lockDrained()
	defer c.mu.Unlock()
	r := Report{
		Call: c.id, Topic: c.spec.name, Reason: c.reason, Started: c.start, Elapsed: c.elapsed,
		Outcomes: make([]Outcome, c.sizeLocked()), cause: c.cause, quorum: c.policy.quorum,
	}
	if c.reason == ReasonPending {
		r.Elapsed = c.now()
	}
	for i := range r.Outcomes {
		r.Outcomes[i] = c.outcomeLocked(i)
	}
	return r
}
