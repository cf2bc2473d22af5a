package course

import "time"

// hedge is a time at which another replica is due, unless one is released before.
type hedge struct {
	member   int32
	released int32 // how many replicas are released if the hedge is not void
	at       time.Duration
}

func (h hedge) due() time.Duration { return h.at }

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

// stands reports whether a hedge is still to be done: the group has no answer, no further
// replica is released, and it is not too late for one.
func (c *Course) stands(h hedge) bool {
	g := c.groupOf(h.member)
	return c.members[h.member].State == Pending && g.released == h.released && c.worthHedging(g, c.now)
}
