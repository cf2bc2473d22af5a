package natsdispatch

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// Results that cannot be sent yet wait on the node's bus, where they do not stop the producers. When the
// outbox of a reply is full, the code of this file estimates how many bytes of results wait on the bus, and
// stops the unfinished members if there are too many.

// backlog counts the results of a node that wait on its bus.
type backlog struct {
	bytes   atomic.Int64 // of these results, estimated
	replies atomic.Int64 // replies whose results watchBacklog counts
}

// isLarge reports whether held, the waiting bytes of one reply, is at least an equal share of all of them.
func (b *backlog) isLarge(held int64) bool { return held*b.replies.Load() >= b.bytes.Load() }

// backlogEvery is the time between two estimates. The backlog may exceed the bound until the next one.
const backlogEvery = 50 * time.Millisecond

// watchBacklog estimates the backlog of a call until stop is closed. If the node has too much backlog, and
// this call has a large part of it, watchBacklog stops the unfinished members of the call and returns.
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

// stopBacklog ends the unfinished members of a call with ErrLost, and cancels the call. bytes is the
// backlog of the node.
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

// backlog estimates how many bytes the results of a call have that were not put into the outbox yet. It
// assumes that they have the average size of the results that were put.
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

// breakOff puts the end of a member that has failed, even if the member still runs. It does nothing if the
// outbox is closed, or if a result of the member could not be sent before.
func (o *outbox) breakOff(m dispatch.Member, err error) {
	f := failed(dispatch.StateFailed, err)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	if n := o.numberLocked(m); !o.members[n].broken {
		o.breakLocked(n, f)
	}
}
