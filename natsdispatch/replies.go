package natsdispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// listen handles events until the outcome of each member is known, or ctx has ended.
func (q *inquiry) listen(ctx context.Context) error {
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline)
	window := min(q.r.window, left)
	ticks := q.r.attempts(window)
	pause := window / time.Duration(ticks)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	var settled <-chan time.Time
	if q.settling {
		q.waiting++
		settles := time.NewTimer(min(q.r.settlesFor(), left/4))
		defer settles.Stop()
		settled = settles.C
	}
	for q.waiting > 0 {
		select {
		case <-q.retry:
			q.askAgain(ctx)
		case <-q.wake:
			q.now = time.Now()
			for q.taken = q.take(false); len(q.taken) > 0; {
				e := q.taken[0]
				q.taken = q.taken[1:]
				q.deal(ctx, e)
				q.to.flush()
			}
		case <-settled:
			q.settle()
		case <-timer.C:
			if ticks--; ticks > 0 {
				q.resend(ctx)
				timer.Reset(pause)
			} else if q.r.window < left { // otherwise nodes that have not accepted are Late
				q.unreachable()
				q.to.flush()
			}
		case <-ctx.Done():
			q.cancel(context.Cause(ctx))
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				q.giveUp(ctx.Err())
			}
			return nil
		case <-q.r.stopped.Done():
			q.cancel(dispatch.ErrClosed)
			q.fail(errClosedRemote)
			return nil
		}
	}
	return nil
}

// leastPause is the shortest time between two requests to a group.
const leastPause = time.Millisecond

// attempts returns how often a request to a group may be sent within the accept window.
func (r *Remote) attempts(window time.Duration) int {
	return int(min(int64(r.resend), max(int64(window/leastPause)-1, 0))) + 1
}

// settle notes that the time of WithDiscovery has passed, or that no nodes are there to find.
func (q *inquiry) settle() {
	if q.settling {
		q.settling = false
		q.waiting--
	}
}

func (q *inquiry) deal(ctx context.Context, e event) {
	switch {
	case e.gone != nil:
		if t := e.asked.tallies[e.gone.node]; t != nil && (t.epoch == e.gone.epoch || t.epoch == 0) {
			t.left = true
			q.do(t, func() { t.fail(e.gone.why) })
		}
		return
	case e.found != nil:
		q.found(ctx, e.asked, e.found)
		return
	case e.hello != nil:
		if t := e.asked.tallies[e.hello.Node]; t != nil && t.epoch == e.hello.Epoch {
			q.miss(t)
		}
		return
	case e.back:
		for _, t := range e.asked.tallies {
			q.miss(t)
		}
		return
	case e.failed != nil:
		q.fail(e.failed)
		q.waiting = 0
		return
	}
	q.r.pending.Add(-int64(len(e.msg.Data)))
	if isUnheard(e.msg) {
		if e.asked.request.group == "" {
			q.noSubscriber(e.asked)
		}
		return
	}
	q.reply(ctx, e.asked, e.msg)
}

// isUnheard reports whether a message is the answer of the server that a message had no subscriber.
func isUnheard(m *nats.Msg) bool { return len(m.Data) == 0 && m.Header.Get("Status") == "503" }

// noSubscriber notes that no node has subscribed to the topic of a request. Expected nodes that were never heard
// fail. Nodes that were heard may come back within the time of WithAcceptWindow.
func (q *inquiry) noSubscriber(a *asked) {
	q.known(a)
	heard := false
	for node, t := range a.tallies {
		if heard = heard || t.epoch != 0; t.epoch == 0 && !t.over {
			q.do(t, func() {
				t.fail(fmt.Errorf("%w: %s: no node has subscribed to the topic", dispatch.ErrUnreachable, node))
			})
		}
	}
	if !heard {
		q.settle()
	}
}

// known notes that the request does not wait any more for a node to take part.
func (q *inquiry) known(a *asked) {
	if a.waits {
		a.waits = false
		q.waiting--
	}
}

// reply handles a message of a node.
func (q *inquiry) reply(ctx context.Context, a *asked, m *nats.Msg) {
	counts := &q.r.counts
	from, body, err := readReply(m)
	if err != nil {
		counts.malformed.Add(1)
		return
	}
	if q.r.verify != nil {
		if err := q.r.verifySignature(m.Header, from.node, q.r.signedBy(a.request.call, from, m.Data)); err != nil {
			counts.unverified.Add(1)
			return
		}
	}
	t := a.tallies[from.node]
	switch {
	case a.strays[from.node] || t == nil && (len(a.tallies)+len(a.strays))/2 >= max(q.r.maxNodes, len(q.r.expected)):
		// Another replica has accepted, or far more nodes have answered than the asker may know.
		counts.stray.Add(1)
		return
	case t == nil && a.request.group != "" && a.waits && isGivenBack(body):
		a.strays[from.node] = true
		q.askPeer(ctx, a)
		return
	case t != nil && t.over && !t.accepted:
		counts.stray.Add(1)
		return
	case t == nil && a.request.group != "" && !a.waits:
		// Another replica has accepted the request, so this one must not run it.
		counts.stray.Add(1)
		a.strays[from.node] = true
		q.publishCancel(a, from.node, context.Canceled)
		return
	case t == nil:
		t = q.tally(a, from.node, from.epoch)
		if a.request.group != "" {
			t.expected, a.expected = a.expected, dispatch.Member{}
			q.known(a)
		}
	case from.epoch != t.epoch && t.accepted:
		counts.stray.Add(1)
		if !t.left && !from.unnumbered { // otherwise this process has taken the place of the other one, and knows no such call
			q.twin(t)
		}
		return
	}
	t.epoch, t.heard = from.epoch, q.now
	if from.version == version2 {
		q.replyInOrder(a, t, from, body, len(m.Data))
		return
	}
	q.do(t, func() {
		duplicate, err := t.hear(from.seq, body)
		if duplicate {
			counts.duplicates.Add(1)
		}
		if err != nil {
			counts.malformed.Add(1)
		}
	})
}

// isGivenBack reports whether a node gives back a request to a group.
func isGivenBack(body []byte) bool {
	for f, err := range frames(body) {
		return err == nil && f.kind == kindReject && f.failure.code == codePassed
	}
	return false
}

// askPeer sends a request to a group again, which a node has given back, to another node.
func (q *inquiry) askPeer(ctx context.Context, a *asked) {
	q.r.state.Lock()
	known, _, _ := q.r.table.list(q.topic)
	q.r.state.Unlock()
	if a.peers = q.peers(known, a.request.group); len(a.peers) > 0 {
		q.sendToGroup(ctx, a)
		return
	}
	q.endGroup(a, fmt.Errorf("%w: the server has chosen a node for group %s that was asked before, and no other one can be asked alone", dispatch.ErrUnreachable, a.request.group))
}

// twin notes that two processes of one name have answered. The report has an outcome for the second one.
func (q *inquiry) twin(t *tally) {
	q.r.twin(t.node, q.topic)
	if !t.twin {
		t.twin = true
		t.endStandIn(twinError(t.node))
	}
}

// resend sends the requests to groups again if no node has accepted them.
func (q *inquiry) resend(ctx context.Context) {
	for _, a := range q.asks {
		if a.request.group == "" || !a.waits {
			continue
		}
		a.request.attempt++
		if err := q.send(ctx, a); err != nil {
			q.r.fail(fmt.Errorf("natsdispatch: send again to group %s: %w", a.request.group, err))
			continue
		}
		q.r.counts.resent.Add(1)
	}
}

// unreachable ends the nodes and groups that have not accepted the request.
func (q *inquiry) unreachable() {
	q.r.report() // the likeliest reason is that the server refuses the requests
	within := func(who string) error {
		return fmt.Errorf("%w: %s has not accepted the request", dispatch.ErrUnreachable, who)
	}
	q.settle()
	for _, a := range q.asks {
		for node, t := range a.tallies {
			if !t.accepted && !t.over && !t.nameless {
				who := node
				if t.epoch == 0 {
					who += ", which was never heard of,"
				}
				q.do(t, func() { t.fail(within(who)) })
				q.publishCancel(a, node, dispatch.ErrUnreachable) // in case the node receives the request later
			}
		}
		if a.waits && a.request.group != "" {
			q.endGroup(a, within("any replica of "+a.request.group))
			q.publishCancel(a, "", dispatch.ErrUnreachable)
		}
		q.known(a)
	}
}

// endGroup ends a group in which no node has accepted the request.
func (q *inquiry) endGroup(a *asked, err error) {
	q.to.end(a.expected, err)
	a.expected = dispatch.Member{}
	q.known(a)
}

// fail ends all nodes and groups that have not ended.
func (q *inquiry) fail(err error) {
	for _, a := range q.asks {
		for _, t := range a.tallies {
			t.fail(err)
			t.giveUp(err) // members that were late on a node whose reply is over
		}
		if a.waits && a.request.group != "" {
			q.endGroup(a, err)
		}
	}
}

// giveUp ends all nodes and members that have not ended, because the deadline has passed.
func (q *inquiry) giveUp(err error) {
	for _, a := range q.asks {
		for _, t := range a.tallies {
			if !t.accepted {
				t.fail(err)
			}
			t.giveUp(err)
		}
	}
}

// cancel tells the nodes that have the request that the asker does not wait for them any more.
func (q *inquiry) cancel(cause error) {
	for _, a := range q.asks {
		if !a.sent {
			continue
		}
		waits := a.waits
		for _, t := range a.tallies {
			waits = waits || !t.over
		}
		if waits {
			q.publishCancel(a, "", cmp.Or(cause, context.Canceled))
		}
	}
}

func (q *inquiry) publishCancel(a *asked, onlyNode string, cause error) {
	if err := q.r.nc.PublishMsg(cancelMessage(q.r.ask(q.topic), a.request.call, onlyNode, cause)); err != nil {
		q.untold = true
		q.r.failUnlessCut(fmt.Errorf("natsdispatch: cancel a request: %w", err))
	}
}
