package dispatch

import "github.com/seed-bb4b4d74/dispatch/internal/course"

// shut ends the call because the bus is closed.
func (c *gathering) shut() { c.stop(course.Closed, ErrClosed) }

// occupies reports whether the producer runs for the call, or the call may still ask it.
func (c *gathering) occupies(p *producer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.runsLocked() {
		if r.producer() == p && r.phase.goes() {
			return true
		}
	}
	return !c.over() && c.mayAskLocked(p)
}

// underWay returns what the call is still busy with.
func (c *gathering) underWay() (info CallInfo, pending bool, running []Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.runsLocked() {
		if r.phase.goes() {
			running = append(running, r.producer().member())
		}
	}
	return c.info(), !c.over(), running
}

// snapshot returns how far the call is.
func (c *gathering) snapshot() CallSnapshot {
	s := CallSnapshot{Report: c.report(), Left: c.info().Budget, Depth: int(c.from.nesting)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.course.Waiting() {
		s.WaitsFor = max(0, c.policy.minProducers-c.present())
	}
	return s
}

// addTo adds what each producer has to do for the call, and returns the runs that have
// outlived it.
func (c *gathering) addTo(loads map[*producer]load) (abandoned []AbandonedSnapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	age := c.now() - c.course.Ended()
	for r := range c.runsLocked() {
		l := loads[r.producer()]
		switch {
		case r.phase.goes():
			l.running++
		case r.phase == runClaimed && !c.over():
			l.waiting++
		}
		loads[r.producer()] = l
		if r.phase == runAbandoned {
			abandoned = append(abandoned, AbandonedSnapshot{Member: r.producer().member(), Topic: c.topic.Name, Call: c.id(), Age: age})
		}
	}
	return abandoned
}

// addKept is part of inFlight.
func (c *gathering) addKept(by map[*recipient]int) (underWay int) {
	if !c.placed {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over() {
		return 1
	}
	for f := c.feeds; f != nil; f = f.next {
		if f.keeps {
			by[f.to]++
		}
	}
	return 0
}

// cutOff has the listener read what is in the log by now and no more: neither later
// results nor, if the call goes on, its end. It returns a function that reports whether
// that has been done, or nil if there is nothing to do.
func (c *gathering) cutOff(l *recipient) (delivered func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if delivered = c.observing.cutOffLocked(l); delivered != nil {
		return delivered
	}
	f := c.feeds
	for f != nil && f.to != l {
		f = f.next
	}
	if f == nil {
		return nil
	}
	if !c.closed {
		f.limit, f.most = min(f.limit, c.log.Written()), min(f.most, c.log.Results())
	}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return l.gone.Load() || f.left || !f.queued && f.inHand == 0 && !f.hasMoreLocked()
	}
}

// findProducers goes on with a call that has waited for producers, if there are enough
// of them now.
func (c *gathering) findProducers() {
	c.mu.Lock()
	if !c.course.Waiting() {
		c.mu.Unlock()
		return
	}
	if err := c.findProducersLocked(); err != nil {
		c.cause = err
		c.course.Stop(c.now(), course.Stopped)
	} else if c.course.Waiting() {
		c.mu.Unlock()
		return
	} else if c.launched && !c.over() {
		c.startRelaysLocked()
	}
	spare := c.launched && c.wantsSpareLocked(c.now())
	c.tellAndUnlock()
	if spare {
		c.startSpare()
	}
}
