package course

import "time"

// hedge is a time at which another replica is due, unless one is released before.
type hedge struct {
	member   int32
	released int32 // how many replicas are, until then
	at       time.Duration
}

func (h hedge) due() time.Duration { return h.at }

// SetHedge says after what time the next replica of a group is asked, in the place of what
// the policy says; 0 stands for never. It has to be said before the group is asked. For a
// member that is no group it has no meaning.
func (c *Course) SetHedge(member int, after time.Duration) {
	if at := c.members[member].group; at > 0 {
		c.groups[at-1].hedge = after
	}
}

// nextHedge returns when the next hedge is due.
func (c *Course) nextHedge() time.Duration {
	c.prune()
	if len(c.hedges) == 0 {
		return never
	}
	return c.hedges[0].at
}

// worthHedging reports whether a replica that is asked at this time has as much time left
// as the one before has had.
func (c *Course) worthHedging(g *group, at time.Duration) bool {
	return later(at, g.hedge) <= c.budget()
}

// prune keeps what is first in again, hedges and limits something that is to be done: what has
// become void behind it is dropped when it comes first. So each costs about the same, however
// many there are.
func (c *Course) prune() {
	for len(c.again) > 0 && c.members[c.again[0]].State != Pending {
		c.again = c.again[1:]
	}
	for len(c.hedges) > 0 && !c.stands(c.hedges[0]) {
		c.hedges.drop()
	}
	for len(c.limits) > 0 && (c.members[c.limits[0].run.Member].State != Pending || c.hasEnded(c.limits[0].run)) {
		c.limits.drop()
	}
}

// stands reports whether the group is still without an answer, and without another replica,
// and not too late for one.
func (c *Course) stands(h hedge) bool {
	m := c.members[h.member]
	g := &c.groups[m.group-1]
	return m.State == Pending && g.released == h.released && c.worthHedging(g, c.now)
}
