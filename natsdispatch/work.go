package natsdispatch

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// work is one request that a node has in hand.
type work struct {
	request
	node    *Node
	topic   *served
	said    headers
	payload []byte
	reply   string // the subject of the reply
	ends    time.Time
	out     outbox
	place   *list.Element // among the kept replies; the node's state guards it

	posting sync.Mutex     // held while messages are published
	sending sync.WaitGroup // for the goroutine that sends, unless that which answers does

	mu      sync.Mutex // guards what follows
	call    call       // nil until it is made
	cause   error      // with which it was cancelled
	refused string     // why it was not made
}

// cancel ends the call, because the asker wants no more of its results.
func (w *work) cancel(cause error) {
	w.mu.Lock()
	w.cause = cause
	c := w.call
	w.mu.Unlock()
	w.out.abandon()
	if c != nil {
		c.Cancel(cause)
	}
}

func (w *work) startPosting() { w.sending.Go(func() { w.node.post(w) }) }

// begins takes in the call of the work, and cancels it if that was to be.
func (w *work) begins(c call) {
	w.mu.Lock()
	w.call = c
	cause := w.cause
	w.mu.Unlock()
	if cause != nil {
		c.Cancel(cause)
	}
}

// hear takes in what was sent to the nodes of a topic, or to a replica of a group. It
// does not wait for anything.
func (n *Node) hear(s *served, group string, m *nats.Msg) {
	now := time.Now()
	said, payload := cutRequest(m)
	switch said.Get(headerType) {
	case typeRequest:
	case typeCancel:
		n.hearCancel(m, now)
		return
	default:
		n.counts.malformed.Add(1)
		return
	}
	r, err := parseRequest(said)
	r.group = group
	if r.budget > n.maxBudget {
		r.budget = n.maxBudget
		if n.counts.capped.Add(1) == 1 {
			n.fail(fmt.Errorf("natsdispatch: node %s: a request has more time than WithMaxBudget(%v) allows, and gets that; the rest is counted", n.node, n.maxBudget))
		}
	}
	w := &work{node: n, request: r, topic: s, said: said, payload: payload, reply: m.Reply, ends: now.Add(r.budget)}
	w.out.init(n.messageSize(), n.maxResult, &n.store, w)
	if r.window > 0 {
		w.out.withCredit(n.head, r.window)
	}
	switch {
	case m.Reply == "":
		n.counts.malformed.Add(1)
		return
	case errors.Is(err, errVersion):
		n.refuse(w, failed(dispatch.StateFailed, fmt.Errorf("%w: %w", dispatch.ErrIncompatible, err)))
		return
	case err != nil:
		n.counts.malformed.Add(1)
		n.refuse(w, failed(dispatch.StateFailed, fmt.Errorf("%w: %w", ErrMalformed, err)))
		return
	case r.passed(n.bus):
		return
	case r.budget <= 0:
		n.counts.expired.Add(1)
		return
	}
	if n.take(w, now) {
		n.hearAck(ack{kind: kindResume, call: r.call}, m.Reply)
	}
}

// take has the request answered, unless the node has had it before. Then it reports whether the
// asker may want to have the answer again.
func (n *Node) take(w *work, now time.Time) (again bool) {
	n.state.Lock()
	defer n.state.Unlock()
	switch {
	case n.closed:
	case n.work[w.request.call] != nil, !n.rememberLocked(w.request.call, min(w.budget, mostRemembered), now):
		n.counts.duplicates.Add(1)
		return w.window > 0
	default:
		n.counts.requests.Add(1)
		n.work[w.request.call] = w
		if len(n.inboxes) < mostInboxes {
			n.inboxes[inboxOf(w.reply)] = true
		}
		select {
		case n.next <- w:
		default:
			n.answers.Go(func() { n.answerAll(w) })
		}
	}
	return false
}

// answerAll deals with a request, and then with those that come when the node has no other
// goroutine waiting for them: one whose stack has grown is quicker than a new one.
func (n *Node) answerAll(w *work) {
	for {
		n.answer(w)
		if !n.waits.CompareAndSwap(false, true) {
			return
		}
		select {
		case w = <-n.next:
			n.waits.Store(false)
		case <-n.stopped.Done():
			return
		}
	}
}

// rememberLocked remembers an id for a while, and reports whether it is new.
func (n *Node) rememberLocked(id string, d time.Duration, now time.Time) bool {
	isNew, forgotten := n.seen.add(id, now.Add(d), now)
	if forgotten {
		n.counts.forgotten.Add(1)
	}
	return isNew
}

// lighten lets go of all but the reply.
func (w *work) lighten() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said, w.payload, w.call = nil, nil, nil
}

// done takes the work off.
func (n *Node) done(w *work) {
	n.state.Lock()
	defer n.state.Unlock()
	delete(n.work, w.request.call)
	if w.out.keeps() {
		w.lighten()
		n.kept.add(w)
	}
	n.idleLocked()
}

const (
	mostRemembered = 10 * time.Minute // that a request is recognised which was done with
	mostCancelled  = time.Minute      // that a cancel is remembered which came before its request
)

func (n *Node) hearCancel(m *nats.Msg, now time.Time) {
	id, err := callOf(m.Header)
	if err != nil {
		n.counts.malformed.Add(1)
		return
	}
	if only := m.Header.Get(headerNode); only != "" && only != escape(n.node) {
		return
	}
	n.state.Lock()
	w, sent := n.work[id], n.kept.calls[id]
	switch {
	case sent != nil:
		n.kept.drop(sent)
	case w == nil:
		n.rememberLocked(id, mostCancelled, now)
	}
	n.state.Unlock()
	if w != nil {
		n.counts.cancelled.Add(1)
		w.cancel(parseCause(m.Data))
	}
}

// refuse says why a request is not taken.
func (n *Node) refuse(w *work, f failure) {
	n.counts.refused.Add(1)
	w.mu.Lock()
	w.refused = f.text
	w.mu.Unlock()
	w.out.reject(f)
	n.post(w)
}

// answer deals with one request.
func (n *Node) answer(w *work) {
	defer n.done(w)
	defer n.measure(w)
	defer n.inHand.Add(-1)
	if n.inHand.Add(1) > int64(n.maxRequests) {
		n.refuse(w, failed(dispatch.StateRejected, fmt.Errorf("%w: node %s has %d requests in hand", dispatch.ErrOverloaded, n.node, n.maxRequests)))
		return
	}
	codec := n.codec(w.codec)
	c, f := n.begin(w, codec)
	switch {
	case f != (failure{}):
		n.refuse(w, f)
		return
	case c == nil:
		w.out.accept()
		w.out.finish()
		n.post(w)
		return
	}
	w.begins(c)
	runtime.Gosched() // producers that are quick have answered then, and one message is enough
	report := c.Report()
	members := membersOf(report)
	w.out.setList(n.listOf(w, members))
	if w.out.head != nil && isWell(report) {
		if array, ok := c.array(codec, members); ok && len(array) <= n.maxResult && w.out.whole(members, array) {
			n.post(w)
			return
		}
	}
	w.out.accept(members...)
	if report.Reason != dispatch.ReasonPending {
		c.values(codec, w.out.wants, w.out.result)
		for _, o := range report.Outcomes {
			w.out.end(o)
		}
		w.out.finish()
		w.sending.Wait()
		n.post(w) // all, or nothing
		return
	}
	var collecting sync.WaitGroup
	put := make(chan struct{}) // closed when all results are in the outbox
	w.out.taken(func() { collecting.Go(func() { w.watchBacklog(c, put) }) })
	collecting.Go(func() {
		var ends sync.WaitGroup
		ends.Go(func() { w.outcomes(c) })
		c.values(codec, w.out.wants, w.out.result)
		close(put)
		ends.Wait()
		w.out.finish()
	})
	n.post(w)
	collecting.Wait()
}

// membersOf returns the members of a call, groups without the name of the replica that
// may have answered by now. Those elsewhere that are only expected are not among them: others
// may come in their place, and if none do, that is said when it is known.
func membersOf(r dispatch.Report) []dispatch.Member {
	members := make([]dispatch.Member, 0, len(r.Outcomes))
	for _, o := range r.Outcomes {
		if o.Member.Node == "" || o.Started || o.State != dispatch.StatePending {
			members = append(members, slot(o.Member))
		}
	}
	return members
}

// isWell reports whether a call has ended with one result of each of its members.
func isWell(r dispatch.Report) bool {
	return r.Reason == dispatch.ReasonAllEnded && len(r.Outcomes) > 0 &&
		!slices.ContainsFunc(r.Outcomes, func(o dispatch.Outcome) bool { return o.State != dispatch.StateOK || o.Results != 1 })
}

// outcomes puts how the members end into the outbox.
func (w *work) outcomes(c call) {
	for o := range c.Outcomes() {
		w.out.end(o)
	}
}

// begin asks the producers. It returns why it does not, or nothing if none is meant.
func (n *Node) begin(w *work, codec Codec) (call, failure) {
	var err error
	switch {
	case codec == nil:
		err = fmt.Errorf("%w: node %s does not know codec %q", dispatch.ErrIncompatible, n.node, w.codec)
	case w.types != "" && n.types != "" && w.types != n.types:
		err = fmt.Errorf("%w: the types of node %s are %s, not %s", dispatch.ErrIncompatible, n.node, n.types, w.types)
	case w.hops > mostHops:
		err = fmt.Errorf("%w: %d requests have led to this one", dispatch.ErrTooDeep, mostHops)
	}
	if err != nil {
		return nil, failed(dispatch.StateFailed, err)
	}
	opts := []dispatch.CallOption{dispatch.WithTimeout(max(time.Until(w.ends), 1)), dispatch.WithNoWait()}
	if names, all := w.meant(n.node); !all {
		if len(names) == 0 && w.group != "" {
			return nil, failed(dispatch.StateGone, fmt.Errorf("%w: node %s has no replica of %s any more", dispatch.ErrGone, n.node, w.group))
		}
		if len(names) == 0 {
			return nil, failure{}
		}
		opts = append(opts, dispatch.WithTargets(names...))
	}
	ctx := withRoute(context.Background(), route{topic: w.topic.name, hops: w.hops, path: w.path, targets: w.targets})
	if n.extract != nil {
		ctx = n.extract(ctx, func(key string) string { return getTrace(w.said, key) })
	}
	c, err := w.topic.bus.send(ctx, codec, w.payload, opts)
	switch {
	case errors.Is(err, dispatch.ErrClosed):
		return nil, failed(dispatch.StateGone, err)
	case errors.Is(err, dispatch.ErrOverloaded):
		return nil, failed(dispatch.StateRejected, err)
	case err != nil:
		return nil, failed(dispatch.StateFailed, err)
	}
	return c, failure{}
}

// meant returns the names of the members that the request is for, or that it is for all. A
// request to a group is for the group alone. One to the members of nodes is for their
// groups, too, if it names the node.
func (w *work) meant(node string) (names []string, all bool) {
	members := w.topic.bus.members()
	if w.targets == nil {
		others := func(m dispatch.Member) bool { return m.Group != w.group }
		if w.group == "" && !slices.ContainsFunc(members, others) {
			return nil, true
		}
		for _, m := range members {
			if m.Group == w.group {
				names = append(names, cmp.Or(m.Group, m.Name))
			}
		}
		return names, false
	}
	for _, m := range members {
		for _, target := range w.targets {
			here, ours := strings.CutPrefix(target, node+"/")
			switch {
			case m.Group != w.group && (w.group != "" || !ours):
			case ours && m.Group != "" && strings.HasPrefix(here, m.Group+"/"):
				names = append(names, here) // one replica
			case m.Matches(target), ours && (here == "*" || m.Matches(here)):
				names = append(names, cmp.Or(m.Group, m.Name))
			}
		}
	}
	return names, false
}
