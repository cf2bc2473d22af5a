package course

// agenda is the state that only calls with groups, or with runs that have limits, need.
type agenda struct {
	groups  []group
	again   []int32   // a member for each replica that is released and not claimed
	hedges  heap      // when to ask replicas because those before them have not answered
	limits  heap      // when runs become overdue
	overdue []Overdue // runs that Overdue has not returned yet
}

// needAgenda returns the agenda, and makes it when it is needed for the first time.
func (c *Course) needAgenda() *agenda {
	if c.agenda == nil {
		c.agenda = new(agenda)
	}
	return c.agenda
}

// released reports whether a replica is released and not claimed.
func (c *Course) released() bool { return c.agenda != nil && len(c.agenda.again) > 0 }

// prune drops void elements at the front of again, hedges and limits, so that the first of each
// is valid. Void elements behind it are dropped when they reach the front. So the cost of an
// element hardly depends on the number of elements.
func (c *Course) prune() {
	a := c.agenda
	if a == nil {
		return
	}
	for len(a.again) > 0 && c.members[a.again[0]].State != Pending {
		a.again = a.again[1:]
	}
	for len(a.hedges) > 0 && !c.mayHedge(a.hedges[0].run) {
		a.hedges.drop()
	}
	for len(a.limits) > 0 && !c.isLimited(a.limits[0].run) {
		a.limits.drop()
	}
}
