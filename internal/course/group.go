package course

import "time"

// group is the further state of a member with several candidates.
type group struct {
	hedge    time.Duration // after which the next replica is asked; 0: never
	replicas int32         // candidates
	released int32         // how many of them may be claimed
	asked    int32         // how many of them have been claimed
	failed   int32         // how many of those have ended without an answer
	common   State         // the state in which these ended; Failed if they differ
	ended    []bool        // which of them have ended; nil until a run of the group has a limit
}

// groupOf returns the group that a member is, or nil.
func (c *Course) groupOf(member int32) *group {
	if at := c.members[member].group; at > 0 {
		return &c.agenda.groups[at-1]
	}
	return nil
}

// claimReplica claims the next replica of a group. If no further replica is released, it notes
// when one is due.
func (c *Course) claimReplica(member int32, g *group) (replica int32) {
	replica = g.asked
	g.asked++
	g.released = max(g.released, g.asked)
	due := Later(c.now, g.hedge)
	if g.hedge > 0 && g.asked == g.released && g.released < g.replicas && c.worthHedging(g, due) {
		c.agenda.hedges.add(timed{Run{member, g.released}, due})
	}
	return replica
}

// failOver counts a replica that has ended without an answer, and releases the next one. It
// returns Pending, or how the group has ended if all its replicas have.
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
	c.agenda.again = append(c.agenda.again, member)
}
