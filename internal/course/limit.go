package course

import "time"

// Overdue is a run that has taken as long as it may.
type Overdue struct {
	Run
	Ends bool // its member has ended with it
}

// Overdue returns the runs that Tick has found to be overdue since it was last called.
// They have ended: a replica as if it had failed, and any other run with its member, which
// is Late.
func (c *Course) Overdue() []Overdue {
	overdue := c.overdue
	c.overdue = nil
	return overdue
}

// limit lets a run that has just started become overdue.
func (c *Course) limit(r Run, at time.Duration) {
	if group := c.members[r.Member].group; group > 0 {
		if g := &c.groups[group-1]; g.ended == nil {
			g.ended = make([]bool, g.replicas)
		}
	}
	c.limits.add(limit{r, at})
}

// overrun ends the runs that are overdue, apart from those whose limits do not come before
// the call ends anyway.
func (c *Course) overrun(end time.Duration) {
	late := false
	for len(c.limits) > 0 && c.limits[0].at <= c.now && c.limits[0].at < end {
		r := c.limits[0].run
		ends := c.end(r, Late, false) == Ends // which does away with the limit
		c.members[r.Member].Overdue = ends
		c.overdue = append(c.overdue, Overdue{r, ends})
		late = late || ends
	}
	if late {
		c.judge()
	}
}

// hasEnded reports whether a replica has ended whose group goes on. It need not know of
// those that ended before a run of the group had a limit.
func (c *Course) hasEnded(r Run) bool {
	group := c.members[r.Member].group
	if group == 0 {
		return false
	}
	ended := c.groups[group-1].ended
	return ended != nil && ended[r.Replica]
}

// note notes that a replica has ended.
func (g *group) note(replica int32) {
	if g.ended != nil {
		g.ended[replica] = true
	}
}

// limit is the time at which a run is overdue.
type limit struct {
	run Run
	at  time.Duration
}

func (l limit) due() time.Duration { return l.at }
