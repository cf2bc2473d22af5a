package natsdispatch

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// Results that cannot be sent yet wait on the node's bus, where they do not stop the producers. Once the
// outbox of a reply is full, this file counts how many wait there, and stops members that go on when they are
// too many.

// backlog is what waits behind the outboxes of a node that are full.
type backlog struct {
	bytes   atomic.Int64 // of results, estimated
	replies atomic.Int64
}

// isLarge reports whether a reply holds its share of what waits, or more.
func (b *backlog) isLarge(held int64) bool { return held*b.replies.Load() >= b.bytes.Load() }

// backlogEvery is how often it is looked how much waits, and so by how much it may become more than is
// allowed.
const backlogEvery = 50 * time.Millisecond

// watchBacklog stops the members that go on to give results when too many wait, until stop is closed.
func (w *work) watchBacklog(c call, stop <-chan struct{}) {
	b := &w.node.backlog
	tick := time.NewTicker(backlogEvery)
	defer tick.Stop()
	b.replies.Add(1)
	var held int64
	defer func() {
		b.replies.Add(-1)
		b.bytes.Add(-held)
	}()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		report := c.Report()
		now := w.out.backlog(report)
		all := b.bytes.Add(now - held)
		held = now
		if all > w.node.maxBacklog && b.isLarge(held) {
			w.node.stopBacklog(w, c, report, all)
			return
		}
	}
}

// stopBacklog ends the members that give more results than can be sent.
func (n *Node) stopBacklog(w *work, c call, report dispatch.Report, bytes int64) {
	why := fmt.Sprintf("%d bytes of results wait, because they come faster than the askers take them in; WithMaxBacklog allows %d", bytes, n.maxBacklog)
	lost, err := fmt.Errorf("%w: %s", dispatch.ErrLost, why), fmt.Errorf("%w: %s", dispatch.ErrOverloaded, why)
	for _, o := range report.Outcomes {
		if o.State == dispatch.StatePending {
			w.out.breakOff(o.Member, lost)
		}
	}
	c.Cancel(err)
	if n.counts.overrun.Add(1) == 1 {
		n.fail(fmt.Errorf("natsdispatch: node %s: %w; who gives them is stopped, and the rest is counted", n.node, err))
	}
}

// backlog returns how many bytes the results of a call have that were not put yet, if they are as large
// as those that were.
func (o *outbox) backlog(report dispatch.Report) int64 {
	given := 0
	for _, outcome := range report.Outcomes {
		given += outcome.Results
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.results == 0 {
		return 0
	}
	return int64(given-o.results) * (o.bytes / int64(o.results))
}

// breakOff puts that a member has failed, even if it goes on.
func (o *outbox) breakOff(m dispatch.Member, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.breakLocked(o.numberLocked(m), err)
}
