package course

import (
	"math"
	"time"
)

// Tick says that time has passed, and does what has become due.
func (c *Course) Tick(now time.Duration) {
	if c.reason != Underway {
		return
	}
	c.advance(now)
	stall, expiry := c.stall(), c.expiry()
	c.overrun(min(stall, expiry))
	switch {
	case c.reason != Underway:
		return
	case c.now >= stall && stall < expiry: // a stall that came first counts, however late the timer is
		c.reason = Stalled
		return
	case c.now >= expiry:
		c.reason = Deadline
		return
	}
	c.graced = c.graced || c.policy.Grace > 0 && c.now >= c.budget()
	for c.now >= c.nextHedge() {
		member := c.agenda.hedges[0].run.Member
		c.release(member, c.groupOf(member)) // which also makes the hedge void
	}
}

// Due returns when Tick has something to do next, or when one more member can be claimed, if
// no event comes before. It does not count what can be claimed already.
func (c *Course) Due() time.Duration {
	due := min(c.stall(), c.expiry())
	if c.policy.Grace > 0 && !c.graced {
		due = min(due, c.budget())
	}
	if c.hasRoom() && !c.mayBegin(c.now) {
		due = min(due, c.nextStart)
	}
	return min(due, c.nextLimit(), c.nextHedge())
}

// budget returns how long the producers have.
func (c *Course) budget() time.Duration { return c.timeout - c.policy.Grace }

// expiry returns when the call ends at the latest.
func (c *Course) expiry() time.Duration { return Later(c.timeout, c.slack) }

// stall returns when the call ends if no further result comes. Before the first result
// that is never.
func (c *Course) stall() time.Duration {
	if c.policy.Stall == 0 || !c.results {
		return never
	}
	return Later(c.lastResult, c.policy.Stall)
}

// Later returns a time after another one, however large the difference is. The first
// one is negative if it is a deadline that was over when the call started.
func Later(at, by time.Duration) time.Duration {
	if at > 0 && by > never-at {
		return never
	}
	return at + by
}

// never is a time that does not come.
const never time.Duration = math.MaxInt64
