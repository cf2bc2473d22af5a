package course

import "time"

// hedge is a time at which another replica is due, unless one is released before.
type hedge struct {
	member   int32
	released int32 // how many replicas are, until then
	at       time.Duration
}

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

// prune keeps what is first in again and hedges something that is to be done: what has
// become void behind it is dropped when it comes first. So each costs about the same, however
// many there are.
func (c *Course) prune() {
	for len(c.again) > 0 && c.members[c.again[0]].State != Pending {
		c.again = c.again[1:]
	}
	for len(c.hedges) > 0 && !c.stands(c.hedges[0]) {
		c.dropHedge()
	}
}

// stands reports whether the group is still without an answer, and without another replica,
// and not too late for one.
func (c *Course) stands(h hedge) bool {
	m := c.members[h.member]
	g := &c.groups[m.group-1]
	return m.State == Pending && g.released == h.released && c.worthHedging(g, c.now)
}

// noteHedge and dropHedge keep the hedges in a heap: each is due no later than the two that
// stand at twice its index and one or two more.

func (c *Course) noteHedge(h hedge) {
	c.hedges = append(c.hedges, h)
	for i := len(c.hedges) - 1; i > 0 && c.hedges[i].at < c.hedges[(i-1)/2].at; i = (i - 1) / 2 {
		c.hedges[i], c.hedges[(i-1)/2] = c.hedges[(i-1)/2], c.hedges[i]
	}
}

func (c *Course) dropHedge() {
	last := len(c.hedges) - 1
	c.hedges[0] = c.hedges[last]
	c.hedges = c.hedges[:last]
	for i := 0; ; {
		first := i
		for _, below := range [...]int{2*i + 1, 2*i + 2} {
			if below < last && c.hedges[below].at < c.hedges[first].at {
				first = below
			}
		}
		if first == i {
			return
		}
		c.hedges[i], c.hedges[first] = c.hedges[first], c.hedges[i]
		i = first
	}
}
