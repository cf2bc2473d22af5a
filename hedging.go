package dispatch

import (
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/latency"
)

// hedgeLocked tells the course when to hedge each group.
func (c *gathering) hedgeLocked() {
	for i := range c.groups {
		if g := c.groupAt(i); g != nil {
			g.latencies = latenciesOf(g.Candidates)
			c.course.SetHedge(i, c.policy.hedgeAfter(g.latencies))
		}
	}
}

// latenciesOf returns the latencies of a group, each from asking the first replica to the
// answer. The first call under WithHedgeQuantile makes them. All replicas share them, also
// replicas that are registered later, so they last as long as one of these is registered.
func latenciesOf(replicas []*producer) (shared *latency.Recent) {
	for _, p := range replicas {
		if shared = p.shareLatencies(nil); shared != nil {
			break
		}
	}
	if shared == nil {
		shared = replicas[0].shareLatencies(new(latency.Recent)) // which another call may have done meanwhile
	}
	for _, p := range replicas {
		p.shareLatencies(shared)
	}
	return shared
}

// hedgeAfter returns after what time the next replica is asked: the quantile if there are
// enough latencies for it, but no longer than WithHedge says.
func (p *policy) hedgeAfter(recent *latency.Recent) time.Duration {
	after, ok := recent.Quantile(p.hedgeQuantile)
	if !ok || p.Hedge > 0 && after > p.Hedge {
		return p.Hedge
	}
	return after
}
