package course

import "time"

// A Run is one candidate of a member: the only one of a plain member, which is
// number 0, or a replica of a group, numbered in the order in which they are asked.
type Run struct{ Member, Replica int32 }

// Claimable reports whether Claim would return a run.
func (c *Course) Claimable(now time.Duration) bool {
	return c.reason == Underway && (c.released() || c.mayBegin(max(now, c.now)))
}

// mayBegin reports whether the next member may have its first run now.
func (c *Course) mayBegin(now time.Duration) bool {
	return c.hasRoom() && (c.credits > 0 || now >= c.nextStart)
}

// hasRoom reports whether the next member may have its first run as soon as the stagger lets
// it.
func (c *Course) hasRoom() bool {
	return c.next < c.local && (c.policy.Parallelism == 0 || c.active < c.policy.Parallelism)
}

// Claim returns the run that is to start next, if there is one. The claimer reports with
// End how the run has ended, whether it has started or not.
func (c *Course) Claim(now time.Duration) (r Run, ok bool) {
	if !c.Claimable(now) {
		return r, false
	}
	c.advance(now)
	if c.released() {
		r.Member = c.agenda.again[0]
		c.agenda.again = c.agenda.again[1:]
		c.prune()
	} else {
		r.Member = int32(c.next)
		c.next++
		c.active++
		c.credits = max(0, c.credits-1)
		c.nextStart = Later(c.now, c.policy.Stagger)
	}
	if g := c.groupOf(r.Member); g != nil {
		r.Replica = c.claimReplica(r.Member, g)
	}
	return r, true
}

// Start says that the closure of a claimed run is about to be called, and how long it may
// take; 0 is as long as the call goes on. It returns false if the closure must not be
// called: the call is over, or the member has ended.
func (c *Course) Start(now time.Duration, r Run, limit time.Duration) bool {
	m := &c.members[r.Member]
	if c.reason != Underway || m.State != Pending {
		return false
	}
	c.advance(now)
	if m.Tried == 0 {
		m.Began = c.now
	}
	m.Tried++
	if limit > 0 {
		c.limit(r, Later(c.now, limit))
	}
	return true
}

// End says how a claimed run has ended: in a final state or Expired, and whether with a
// result.
func (c *Course) End(now time.Duration, r Run, how State, result bool) Effect {
	m := &c.members[r.Member]
	if c.reason != Underway || m.State != Pending || c.hasEnded(r) {
		return TooLate
	}
	c.advance(now)
	effect := c.end(r, c.graceful(how), result)
	if effect == Ends {
		c.judge()
	}
	return effect
}

// end is the end of a run of a member that has not ended.
func (c *Course) end(r Run, how State, result bool) Effect {
	m := &c.members[r.Member]
	if g := c.groupOf(r.Member); g != nil {
		if g.ended != nil {
			g.ended[r.Replica] = true
		}
		if how != OK {
			how = c.failOver(r.Member, g, how)
		}
		if how == Pending {
			c.prune()
			return GoesOn
		}
	}
	if result {
		c.result(m)
	}
	c.active--
	c.finish(m, how)
	c.prune()
	if how != OK {
		c.credits++
	}
	return Ends
}

// Resolve returns the final state of a run, or a named member, that ends like this now.
func (c *Course) Resolve(now time.Duration, how State) State {
	if c.reason == Underway {
		c.advance(now)
	}
	return c.graceful(how)
}

// graceful replaces Expired: by Late if the time of the producers is over, otherwise by
// Failed.
func (c *Course) graceful(how State) State {
	switch {
	case how != Expired:
		return how
	case c.now >= c.budget():
		return Late
	default:
		return Failed
	}
}
