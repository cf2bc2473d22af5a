package natsdispatch

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// work is one request to a node, until the node has answered it and need not keep the reply.
type work struct {
	request
	node    *Node
	topic   *served
	said    headers   // nil after lighten
	payload []byte    // nil after lighten
	reply   string    // the subject of the reply
	ends    time.Time // when the work ends at the latest
	last    time.Time // when the asker's call ends; much later than ends if WithMaxBudget has cut the budget
	until   time.Time // until when the reply is kept; the node's state guards it
	out     outbox
	all     []dispatch.Member // whom a request to all members is for; nil for other requests; only begin and answer use it
	place   *list.Element     // among the kept replies; the node's state guards it

	posting sync.Mutex     // held while messages are published; guards fields of message
	sending sync.WaitGroup // the goroutine of startPosting

	mu      sync.Mutex // guards the fields below
	call    call       // nil before it is made, and after lighten
	cause   error      // why the request was canceled; nil: it was not
	refused string     // why the request was refused; empty: it was not
}

// cancel ends the call and the reply, because the asker has canceled the request or the node is closed. It reports
// whether this is the first time; only the first cause counts.
func (w *work) cancel(cause error) (first bool) {
	w.mu.Lock()
	if first = w.cause == nil; first {
		w.cause = cause
	}
	c := w.call
	w.mu.Unlock()
	w.out.abandon()
	if c != nil {
		c.Cancel(cause)
	}
	return first
}

func (w *work) startPosting() { w.sending.Go(func() { w.node.post(w) }) }

// begins sets the call of the work, and cancels the call if the request was canceled before.
func (w *work) begins(c call) {
	w.mu.Lock()
	w.call = c
	cause := w.cause
	w.mu.Unlock()
	if cause != nil {
		c.Cancel(cause)
	}
}

// hear handles a message to the nodes of a topic, or to a replica of a group. It does not block.
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
	ends, last := n.timesOf(r.budget, now)
	if r.budget > n.maxBudget {
		r.budget = n.maxBudget
		if n.counts.capped.Add(1) == 1 {
			n.fail(fmt.Errorf("natsdispatch: node %s: a request has more time than WithMaxBudget(%v) allows, and gets that; the rest is counted", n.node, n.maxBudget))
		}
	}
	w := &work{node: n, request: r, topic: s, said: said, payload: payload, reply: m.Reply, ends: ends, last: last}
	w.out.init(n.messageSize(), n.maxResult, &n.store, w)
	if r.window > 0 {
		w.out.withCredit(n.head, r.window)
	}
	switch {
	case m.Reply == "":
		n.counts.malformed.Add(1)
		return
	case errors.Is(err, errVersion):
		n.refuseAtOnce(w, fmt.Errorf("%w: %w", dispatch.ErrIncompatible, err))
		return
	case err != nil:
		n.counts.malformed.Add(1)
		n.refuseAtOnce(w, fmt.Errorf("%w: %w", ErrMalformed, err))
		return
	case r.passed(n.bus):
		if group != "" {
			n.giveBack(w)
		}
		return
	case r.budget <= 0:
		n.counts.expired.Add(1)
		return
	}
	if n.take(w, now) {
		n.hearAck(ack{kind: kindResume, call: r.call}, m.Reply)
	}
}

// take gives the request to a goroutine that answers it, unless the node is closed or has received the request
// before. In the second case it reports whether the asker may need the reply again.
func (n *Node) take(w *work, now time.Time) (again bool) {
	n.state.Lock()
	defer n.state.Unlock()
	switch {
	case n.closed:
	case n.drained && n.work[w.request.call] == nil && n.kept.calls[w.request.call] == nil:
		// It was sent again, to this node alone, which has not run it.
	case n.drained, n.work[w.request.call] != nil, !n.rememberLocked(w.request.call, min(w.budget+mayRepeat, mostRemembered), now):
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

// answerAll answers a request, and then waits for further requests, unless another goroutine of the node waits
// for them. A goroutine whose stack has grown is quicker than a new one.
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

// rememberLocked remembers an id for the time d, and reports whether the id is new.
func (n *Node) rememberLocked(id string, d time.Duration, now time.Time) bool {
	isNew, forgotten := n.seen.add(id, now.Add(d), now)
	if forgotten {
		n.counts.forgotten.Add(1)
	}
	return isNew
}

// lighten drops the references that the node does not need to send the reply again.
func (w *work) lighten() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said, w.payload, w.call, w.all = nil, nil, nil, nil
}

// done removes the work from the open requests. It keeps the reply until the asker has acknowledged it.
func (n *Node) done(w *work) {
	n.state.Lock()
	delete(n.work, w.request.call)
	if w.out.keeps() {
		w.lighten()
		w.until = n.giveUpAt(w, time.Now())
		n.kept.add(w)
	}
	n.idleLocked()
	n.state.Unlock()
	if n.store.holds.Load() > n.store.most { // whole replies and refusals need not be admitted
		n.makeRoom(0)
	}
}

// timesOf returns when the work for a request with this budget ends, and when the call of the asker does, which may
// ask until then for messages that are missing.
func (n *Node) timesOf(budget time.Duration, now time.Time) (ends, last time.Time) {
	return now.Add(min(budget, n.maxBudget)), now.Add(budget).Add(min(budget/9, longestMargin))
}

// giveUpAt returns when the node gives up a reply if the asker takes in nothing from now on: when the asker's
// call ends, or the time of WithMaxBudget after the end of the work and after now, if that is earlier.
func (n *Node) giveUpAt(w *work, now time.Time) time.Time {
	if w.ends.After(now) {
		now = w.ends
	}
	if at := now.Add(n.maxBudget); at.Before(w.last) {
		return at
	}
	return w.last
}

const (
	mayRepeat      = 5 * time.Second  // after the budget of a request, its repetition may still arrive
	mostRemembered = 10 * time.Minute // how long the id of a request is remembered, at most
	mostCancelled  = time.Minute      // how long a cancel is remembered that arrives before its request
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
	if w != nil && n.withdraw(w, parseCause(m.Data)) {
		n.counts.cancelled.Add(1)
	}
}

// withdraw cancels a request and gives up its reply, because the asker needs no more of it. The work may have
// ended since it was found among the open requests; then its reply is among the kept ones. withdraw reports whether
// the request was not canceled before.
func (n *Node) withdraw(w *work, cause error) (first bool) {
	first = w.cancel(cause)
	n.state.Lock()
	n.kept.drop(w)
	n.state.Unlock()
	return first
}

// refuse sends a reply that rejects the request, or ends a reply that has begun.
func (n *Node) refuse(w *work, f failure) {
	n.counts.refused.Add(1)
	w.mu.Lock()
	w.refused = f.text
	w.mu.Unlock()
	w.out.reject(f)
	w.sending.Wait()
	n.post(w)
}

// refuseAtOnce refuses a request that the node does not take. The node does not keep the reply, because it
// does not find the request again by its id.
func (n *Node) refuseAtOnce(w *work, err error) {
	n.refuse(w, failed(dispatch.StateFailed, err))
	w.out.abandon()
	n.measure(w)
}

// giveBack tells the asker that the server has chosen this node for a request to a group that has come through the
// bus of the node. The asker then asks another node.
func (n *Node) giveBack(w *work) {
	w.out.reject(failure{state: dispatch.StateGone, code: codePassed, text: "the request has come through the bus of node " + n.node})
	n.post(w)
	w.out.abandon()
}

// answer makes the call of a request, and sends the reply. It returns when the reply was sent or abandoned.
func (n *Node) answer(w *work) {
	defer n.done(w)
	defer n.measure(w)
	defer n.inHand.Add(-1)
	returns := false
	defer func() {
		if !returns { // a codec has called runtime.Goexit
			n.news.unwound("codec "+w.codec, dispatch.ErrGoexit)
			n.refuse(w, failed(dispatch.StateFailed, fmt.Errorf("codec %s: %w", w.codec, dispatch.ErrGoexit)))
		}
	}()
	n.answerNow(w)
	returns = true
}

func (n *Node) answerNow(w *work) {
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
	runtime.Gosched() // quick producers answer now, so that one message is enough
	members, array, whole := n.wholeOf(w, c, codec)
	report := dispatch.Report{}
	if !whole {
		report = c.Report()
		members = membersOf(report)
	}
	w.out.setList(n.listOf(w, members)) // once: the next list may be sent without the names
	switch {
	case !whole:
		n.answerInParts(w, c, codec, report, members)
	case w.out.whole(members, array):
		n.post(w)
	default: // it does not fit into one message
		n.answerInParts(w, c, codec, c.Report(), members)
	}
}

// answerInParts sends a reply that names the members first. The members are those of the report.
func (n *Node) answerInParts(w *work, c call, codec safe, report dispatch.Report, members []dispatch.Member) {
	w.out.accept(members...)
	if report.Reason != dispatch.ReasonPending {
		c.values(codec, w.out.wants, w.out.result)
		for _, o := range report.Outcomes {
			w.out.end(o)
		}
		w.out.finish()
		w.sending.Wait()
		n.post(w) // all messages, or none if startPosting was called
		return
	}
	var collecting sync.WaitGroup
	put := make(chan struct{}) // closed when all results are in the outbox
	w.out.taken(func() { collecting.Go(func() { w.watchBacklog(c, put) }) })
	collecting.Go(func() {
		var ends sync.WaitGroup
		ends.Go(func() { w.outcomes(c) })
		returns := false
		defer func() {
			if !returns { // a codec has called runtime.Goexit: the results that were not put are lost
				n.news.unwound("codec "+w.codec, dispatch.ErrGoexit)
			}
			close(put)
			ends.Wait()
			w.out.finish()
		}()
		c.values(codec, w.out.wants, w.out.result)
		returns = true
	})
	n.post(w)
	collecting.Wait()
}

// membersOf returns the members of a call as an accept names them. Expected members of other nodes are not
// among them: other members may replace them, and if this does not happen, they are named when they end.
func membersOf(r dispatch.Report) []dispatch.Member {
	members := make([]dispatch.Member, 0, len(r.Outcomes))
	for _, o := range r.Outcomes {
		if o.Member.Node == "" || o.Started || o.State != dispatch.StatePending {
			members = append(members, slot(o.Member))
		}
	}
	return members
}

// wholeOf returns the members of a call that has ended well by now, and their results as one array. It returns false
// if the reply needs more than that.
func (n *Node) wholeOf(w *work, c call, codec safe) (members []dispatch.Member, array []byte, ok bool) {
	if w.out.head == nil {
		return nil, nil, false
	}
	if members = w.all; members == nil {
		members = membersOf(c.Report())
	}
	array, ok = c.whole(codec, members)
	return members, array, ok && len(array) <= n.maxResult
}

// outcomes puts the end of each member into the outbox.
func (w *work) outcomes(c call) {
	for o := range c.Outcomes() {
		w.out.end(o)
	}
}

// begin makes the call. It returns a failure if the request has to be refused, and neither a call nor a
// failure if the request is for no member of the node.
func (n *Node) begin(w *work, codec safe) (call, failure) {
	var err error
	switch {
	case codec.Codec == nil:
		err = fmt.Errorf("%w: node %s does not know codec %q", dispatch.ErrIncompatible, n.node, w.codec)
	case w.types != "" && n.types != "" && w.types != n.types:
		err = fmt.Errorf("%w: the types of node %s are %s, not %s", dispatch.ErrIncompatible, n.node, n.types, w.types)
	case w.hops > mostHops:
		err = fmt.Errorf("%w: %d requests have led to this one", dispatch.ErrTooDeep, mostHops)
	}
	if err != nil {
		return nil, failed(dispatch.StateFailed, err)
	}
	opts := []dispatch.CallOption{dispatch.WithTimeout(math.MaxInt64), dispatch.WithNoWait()}
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
		n.news.try("the extract of WithTraceContext", func() {
			ctx = cmp.Or(n.extract(ctx, func(key string) string { return getTrace(w.said, key) }), ctx)
		})
	}
	c, err := w.topic.bus.send(until{ctx, w.ends}, codec, w.payload, opts)
	switch {
	case err == nil:
		return c, failure{}
	case is(err, dispatch.ErrClosed):
		return nil, failed(dispatch.StateGone, err)
	case is(err, dispatch.ErrOverloaded):
		return nil, failed(dispatch.StateRejected, err)
	default:
		return nil, failed(dispatch.StateFailed, err)
	}
}

// until is a context with a deadline, at which it does not end: the call ends then by itself. A timeout of the call
// would have to be longer than a grace of the bus.
type until struct {
	context.Context
	deadline time.Time
}

// Deadline returns the deadline.
func (u until) Deadline() (time.Time, bool) { return u.deadline, true }
