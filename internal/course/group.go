package course

import "time"

// group is the further state of a member with several candidates.
type group struct {
	replicas int32  // candidates
	released int32  // how many of them may have been asked by now
	asked    int32  // how many of them have been claimed
	failed   int32  // how many of those have ended without an answer
	common   State  // how all of these did; Failed if not all ended alike
	ended    []bool // which of them have; nil as long as no run of the group has a limit
}

// hedge is a time at which another replica is due, unless one is released before.
type hedge struct {
	member   int32
	released int32 // how many replicas are, until then
	at       time.Duration
}

// claimReplica claims the next replica of a group. With the last one that is released it
// notes when the one after it is due.
func (c *Course) claimReplica(member int32, g *group) (replica int32) {
	replica = g.asked
	g.asked++
	g.released = max(g.released, g.asked)
	due := later(c.now, c.policy.Hedge)
	if c.policy.Hedge > 0 && g.asked == g.released && g.released < g.replicas && c.worthHedging(due) {
		c.hedges = append(c.hedges, hedge{member, g.released, due})
	}
	return replica
}

// failOver releases the next replica after one has ended without an answer. When all of
// them have, it returns how the group has ended, and before that Pending.
func (c *Course) failOver(member int32, g *group, how State) State {
	if g.common == Pending || g.common == how {
		g.common = how
	} else {
		g.common = Failed
	}
	g.failed++
	switch {
	case g.failed == g.replicas:
		return g.common
	case g.released < g.replicas:
		c.release(member, g)
	}
	return Pending
}

// release lets one more replica of a group be claimed.
func (c *Course) release(member int32, g *group) {
	g.released++
	c.again = append(c.again, member)
}

// nextHedge returns when the next hedge is due. When it is too late for one it is too
// late for all, as none comes earlier.
func (c *Course) nextHedge() time.Duration {
	if len(c.hedges) == 0 || !c.worthHedging(c.now) {
		return never
	}
	return c.hedges[0].at
}

// worthHedging reports whether a replica that is asked at this time has as much time left
// as the one before has had.
func (c *Course) worthHedging(at time.Duration) bool {
	return later(at, c.policy.Hedge) <= c.budget()
}

// prune keeps what is first in again, hedges and limits something that is to be done: what
// has become void behind it is dropped when it comes first. So each costs the same, however
// many there are.
func (c *Course) prune() {
	for len(c.again) > 0 && c.members[c.again[0]].State != Pending {
		c.again = c.again[1:]
	}
	for len(c.hedges) > 0 && !c.stands(c.hedges[0]) {
		c.hedges = c.hedges[1:]
	}
	for len(c.limits) > 0 && (c.members[c.limits[0].run.Member].State != Pending || c.hasEnded(c.limits[0].run)) {
		c.limits.pop()
	}
}

// stands reports whether the group is still without an answer, and without another replica.
func (c *Course) stands(h hedge) bool {
	m := c.members[h.member]
	return m.State == Pending && c.groups[m.group-1].released == h.released
}
