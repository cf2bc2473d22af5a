package dispatch

import (
	"sync"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/course"
	"github.com/seed-bb4b4d74/dispatch/internal/latency"
)

// latencies are those of a group, from when its first replica was asked to its answer. They
// are kept from the first call under WithHedgeQuantile on, by all replicas together: as long
// as one of them is registered. Its lock may be taken under that of a call.
type latencies struct {
	mu     sync.Mutex // guards recent
	recent latency.Recent
}

// hedgeLocked tells the course when to hedge each group.
func (c *gathering) hedgeLocked() {
	for i, g := range c.groups {
		if g != nil {
			g.latencies = latenciesOf(g.candidates)
			c.course.SetHedge(i, g.latencies.hedge(c.policy))
		}
	}
}

// latenciesOf returns what the replicas keep together. One that was registered later than
// the others joins them.
func latenciesOf(replicas []*producer) (shared *latencies) {
	for _, p := range replicas {
		if shared = p.shareLatencies(nil); shared != nil {
			break
		}
	}
	if shared == nil {
		shared = replicas[0].shareLatencies(new(latencies)) // which another call may have done meanwhile
	}
	for _, p := range replicas {
		p.shareLatencies(shared)
	}
	return shared
}

// shareLatencies returns where the latencies of the producer's group are kept: there,
// unless it has been told before.
func (p *producer) shareLatencies(there *latencies) *latencies {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.latencies == nil {
		p.latencies = there
	}
	return p.latencies
}

// hedge returns after what time the next replica is asked: the quantile if there are enough
// latencies for it, but no longer than WithHedge says.
func (l *latencies) hedge(p *policy) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	after, ok := l.recent.Quantile(p.hedgeQuantile)
	if !ok || p.Hedge > 0 && after > p.Hedge {
		return p.Hedge
	}
	return max(after, 1) // 0 would stand for never
}

// noteLatency adds the latency of a group that has just answered. Where the first replica
// has failed it says nothing about how long an answer takes. One that was beaten has taken
// at least as long as it took to beat it, and that is longer than the hedge: so the quantile
// at which groups are hedged does not move because they are.
func (g *group) noteLatency(answered time.Duration) {
	first := g.replicas[0]
	if g.latencies == nil || first.how != course.Pending && first.how != course.OK {
		return
	}
	g.latencies.mu.Lock()
	defer g.latencies.mu.Unlock()
	g.latencies.recent.Add(answered - first.claimed)
}
