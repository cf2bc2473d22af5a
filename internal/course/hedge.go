package course

import "time"

// SetHedge sets after what time the next replica of a group is asked, instead of the time of
// the policy; 0 stands for never. It must be called before the group is asked. For a member
// that is no group it does nothing.
func (c *Course) SetHedge(member int, after time.Duration) {
	if g := c.groupOf(int32(member)); g != nil {
		g.hedge = after
	}
}

// nextHedge returns when the next hedge is due.
func (c *Course) nextHedge() time.Duration {
	c.prune()
	if c.agenda == nil || len(c.agenda.hedges) == 0 {
		return never
	}
	return c.agenda.hedges[0].at
}

// worthHedging reports whether a replica that is asked at this time has as much time left as
// the replica before it had.
func (c *Course) worthHedging(g *group, at time.Duration) bool {
	return Later(at, g.hedge) <= c.budget()
}

// mayHedge reports whether a hedge may still release this replica: the group has no answer, the
// replica is not released, and it is not too late for it.
func (c *Course) mayHedge(r Run) bool {
	g := c.groupOf(r.Member)
	return c.members[r.Member].State == Pending && g.released == r.Replica && c.worthHedging(g, c.now)
}
