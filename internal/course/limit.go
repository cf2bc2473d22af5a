package course

import "time"

// Overdue is a run that has exceeded its limit.
type Overdue struct {
	Run
	Ends bool // its member has ended, too
}

// Overdue returns the runs that Tick has found to be overdue since it was last called. They
// have ended: a replica as if it had failed, and any other run together with its member, which
// is Late.
func (c *Course) Overdue() []Overdue {
	if c.agenda == nil {
		return nil
	}
	overdue := c.agenda.overdue
	c.agenda.overdue = nil
	return overdue
}

// limit sets when a run that has just started becomes overdue.
func (c *Course) limit(r Run, at time.Duration) {
	if g := c.groupOf(r.Member); g != nil && g.ended == nil {
		g.ended = make([]bool, g.replicas)
	}
	c.needAgenda().limits.add(timed{r, at})
}

// nextLimit returns when the next run becomes overdue.
func (c *Course) nextLimit() time.Duration {
	if c.agenda == nil || len(c.agenda.limits) == 0 {
		return never
	}
	return c.agenda.limits[0].at
}

// isLimited reports whether a run that has a limit can still become overdue.
func (c *Course) isLimited(r Run) bool {
	return c.members[r.Member].State == Pending && !c.hasEnded(r)
}

// overrun ends the runs that are overdue, if their limits come before the end of the call.
func (c *Course) overrun(end time.Duration) {
	late := false
	for at := c.nextLimit(); at <= c.now && at < end; at = c.nextLimit() {
		r := c.agenda.limits[0].run
		ends := c.end(r, Late, false) == Ends // which also drops the limit
		c.members[r.Member].Overdue = ends
		c.agenda.overdue = append(c.agenda.overdue, Overdue{r, ends})
		late = late || ends
	}
	if late {
		c.judge()
	}
}

// hasEnded reports whether a replica of a group that goes on has ended. It does not know of
// replicas that ended before a run of the group had a limit, and need not.
func (c *Course) hasEnded(r Run) bool {
	g := c.groupOf(r.Member)
	return g != nil && g.ended != nil && g.ended[r.Replica]
}
