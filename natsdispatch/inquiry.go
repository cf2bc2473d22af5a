package natsdispatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// An inquiry asks the nodes for one call. All methods except put run on the goroutine of
// the relay.
type inquiry struct {
	r        *Remote
	topic    string
	to       ear
	payload  []byte          // the request, written by the codec
	request  request         // what all requests of the inquiry have in common
	targeted map[string]bool // the names of request.targets
	owners   map[string]bool // the nodes that the targets are for; nil: any node may be asked
	passed   map[string]bool // the groups of the nodes through whose buses the request has come; nil: none
	wake     chan struct{}   // has a value if there are events
	asks     []*asked
	waiting  int // how many tallies are not resolved and how many asks wait, and 1 more while settling

	settling bool      // the time of WithDiscovery has not passed: further nodes may be found
	now      time.Time // when the current events were taken
	taken    []event   // the current events that were not handled yet

	untold bool             // a cancel could not be sent
	old    bool             // some nodes that may answer are not known to speak version 2
	spare  []tally          // memory for further tallies
	retry  <-chan time.Time // receives when nodes are asked again for missing messages; nil: none is missing
	pause  time.Duration    // the time before retry receives; it becomes longer each time

	mu     sync.Mutex // guards the fields below
	events []event
	over   bool // put refuses events
}

// asked is one request of an inquiry: to all nodes, or to a group.
type asked struct {
	by      *inquiry
	number  uint64
	request request
	sent    bool // the request was sent, or this was tried
	waits   bool // unknown nodes may answer, because no node was known; or no replica of the group has accepted
	// For a group: the expected member that the replica will replace. The zero Member after a replica has
	// accepted.
	expected dispatch.Member
	peers    []*announcement   // for a group in passed: the nodes of which one is asked
	tallies  map[string]*tally // by the name of the node
	strays   map[string]bool   // nodes whose replies are ignored, because another replica has accepted
}

// event is what an inquiry has to handle for one of its requests: one of the fields after asked is set.
type event struct {
	asked  *asked
	msg    *nats.Msg     // a reply has arrived
	gone   *departure    // a node has left
	found  *announcement // a node was found that was not known
	hello  *announcement // a node has started, or has a connection again
	back   bool          // the asker has a connection again
	failed error         // the connection is closed
}

// errOver reports that an inquiry takes no events any more.
var errOver = errors.New("over")

// put queues an event. It returns errOver if the inquiry is over, and errSlow if limit events wait already;
// a limit of 0 is none.
func (q *inquiry) put(e event, limit int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.over:
		return errOver
	case limit > 0 && len(q.events) >= limit:
		return errSlow
	}
	q.events = append(q.events, e)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// take returns the events that have been put. If over is true, put refuses further events.
func (q *inquiry) take(over bool) []event {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := q.events
	q.events, q.over = nil, over
	return events
}

// inquire asks the nodes for one call, and returns when all outcomes are known or ctx has ended. write
// returns the request, written by the codec.
func (r *Remote) inquire(ctx context.Context, write func() ([]byte, error), targets []string, to ear) error {
	info, _ := dispatch.CallFrom(ctx)
	route, err := onward(ctx, info.Topic, r.bus, targets)
	if err != nil {
		return err
	}
	if len(route.path) > r.maxHops {
		return nil // the request has made all its hops: this node answers for its own members alone
	}
	q := &inquiry{r: r, topic: info.Topic, to: to, wake: make(chan struct{}, 1), request: request{
		codec: r.codecs[0].Name(), types: r.types, attempt: 1, targets: route.targets, hops: route.hops, path: route.path,
	}}
	if route.targets != nil {
		q.targeted = make(map[string]bool, len(route.targets))
		for _, name := range route.targets {
			q.targeted[name] = true
		}
	}
	if !r.begin(q) {
		return nil
	}
	defer r.end(q)
	defer q.to.flush()
	q.expect()
	if q.payload, err = write(); err == nil {
		err = q.ask(ctx)
	}
	switch {
	case err == nil:
		returns := false
		defer func() {
			if !returns { // a codec has called runtime.Goexit
				q.cancel(dispatch.ErrGoexit)
			}
			q.done()
		}()
		err = q.listen(ctx)
		returns = true
		return err
	case is(err, dispatch.ErrUnreachable) && q.isExpecting():
		q.fail(err)
		return nil
	case err == errClosedRemote: //nolint:errorlint // the codec may return any other error
		q.fail(err)
		return nil // without members if no node is known
	default:
		q.withdraw()
		return err
	}
}

// begin opens the requests of an inquiry, with a tally for each node that the table or WithNodes names. It
// returns false if the remote is closed. A node that leaves from now on is an event of the inquiry, so the
// known nodes can be processed without the lock.
func (r *Remote) begin(q *inquiry) bool {
	r.state.Lock()
	if r.closed {
		r.state.Unlock()
		return false
	}
	r.inquiries.Add(1)
	all := r.openLocked(q, "")
	full := r.table.unnamed
	now := time.Now()
	known, changes, sorted := r.table.list(q.topic)
	q.owners = r.ownersLocked(q.topic, q.request.targets)
	var strange []string
	for _, name := range r.expected {
		if r.table.at(place{q.topic, name}) == nil && q.isFor(name) {
			strange = append(strange, name)
		}
	}
	r.state.Unlock()
	if !sorted {
		known = sortNodes(known)
	}
	r.counts.calls.Add(1)
	all.tallies = make(map[string]*tally, len(known)+len(strange))
	q.spare = make([]tally, len(known)+len(strange))
	groups, names := q.askKnown(all, known, now)
	for _, name := range strange {
		q.tally(all, name, 0)
		q.old = true
	}
	if all.waits = len(known) == 0 && len(r.expected) == 0; all.waits {
		q.waiting++
	}
	if q.request.targets == nil && !full { // otherwise some nodes would have to be asked for their names each time
		all.request.names = names
	}
	if !sorted || len(groups) > 0 {
		r.state.Lock()
		if !sorted {
			r.table.keep(q.topic, known, changes)
		}
		for _, g := range groups {
			a := r.openLocked(q, g)
			if q.passed[g] {
				a.peers = q.peers(known, g)
			}
			q.addGroup(a)
		}
		r.state.Unlock()
	}
	nodes := len(all.tallies) + len(groups)
	if nodes == 0 {
		nodes, q.old = strangers, true
	}
	for _, a := range q.asks {
		a.request.window = r.share(nodes)
	}
	return true
}

// askKnown begins a tally for each known node that takes part. It returns the groups that have to be asked,
// and the value of Dispatch-Names for the request.
func (q *inquiry) askKnown(all *asked, known []*present, now time.Time) (groups []string, names string) {
	listed, here := 0, 0
	for _, n := range known {
		drains := n.Draining && n.left == nil
		if q.request.passedNode(&n.announcement) {
			if n.left == nil {
				q.passes(&n.announcement)
			}
			continue
		}
		if drains && !slices.Contains(q.r.expected, n.Node) {
			continue
		}
		speaks2 := slices.Contains(n.Versions, version2)
		q.old = q.old || !speaks2
		hopeless := n.misfit(q.request.types, q.request.codec)
		switch {
		case n.left != nil:
			hopeless = n.why(now)
		case drains:
			hopeless = fmt.Errorf("%w: %s is draining, and accepts no new requests", dispatch.ErrUnreachable, n.Node)
		}
		if hopeless == nil {
			groups = append(groups, q.meant(n.Groups)...)
		}
		if !q.isFor(n.Node) {
			continue
		}
		t := q.tally(all, n.Node, n.Epoch)
		t.twin, t.names = now.Before(n.twins), n.names.Load()
		t.speaks2, t.hopeless = speaks2, hopeless
		if n.left != nil || drains {
			continue
		}
		if here++; t.names != nil {
			listed++
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups), listsKnown(listed, here)
}

// passes notes the groups of a node through whose bus the request has come. The server may choose this node for
// requests to these groups, although it ignores them, so another node is asked alone.
func (q *inquiry) passes(n *announcement) {
	if q.passed == nil && len(n.Groups) > 0 {
		q.passed = make(map[string]bool)
	}
	for _, g := range n.Groups {
		q.passed[g] = true
	}
}

// peers returns the nodes that have replicas of the group and can be asked alone.
func (q *inquiry) peers(known []*present, group string) (peers []*announcement) {
	for _, n := range known {
		if n.left == nil && q.isPeer(&n.announcement, group) {
			peers = append(peers, &n.announcement)
		}
	}
	return peers
}

func (q *inquiry) isPeer(n *announcement, group string) bool {
	return slices.Contains(n.Groups, group) && !n.Draining && slices.Contains(n.Versions, version2) &&
		!q.request.passedNode(n) && n.misfit(q.request.types, q.request.codec) == nil
}

// meant returns those of the groups that the request is for.
func (q *inquiry) meant(groups []string) (meant []string) {
	for _, g := range groups {
		if q.request.targets == nil || q.targeted[g] {
			meant = append(meant, g)
		}
	}
	return meant
}

// addGroup makes a request to a group wait for a replica that accepts the request.
func (q *inquiry) addGroup(a *asked) {
	a.expected = dispatch.Member{Node: anybody, Group: a.request.group}
	a.waits = true
	q.waiting++
}

// expect adds the expected members to the roster, and then ends those whose nodes will not answer. The first end
// may end the call, and a call that has ended takes no further members.
func (q *inquiry) expect() {
	for _, a := range q.asks {
		if a.expected != (dispatch.Member{}) {
			q.to.expect(a.expected)
		}
		for _, t := range a.tallies {
			q.expectNode(t)
		}
	}
	for _, a := range q.asks {
		for _, t := range a.tallies {
			q.endHopeless(t)
		}
	}
	q.to.flush()
}

func (q *inquiry) expectNode(t *tally) {
	t.expected = t.standIn
	q.to.expect(t.expected)
}

// endHopeless ends the expected member of a node that will not answer, or whose name two processes have.
func (q *inquiry) endHopeless(t *tally) {
	switch {
	case t.hopeless != nil:
		q.do(t, func() { t.fail(t.hopeless) })
	case t.twin: // the members of the process that answers are in the report, too
		t.endStandIn(twinError(t.node))
	}
}

// isExpecting reports whether the call expects nodes or groups.
func (q *inquiry) isExpecting() bool { return len(q.asks) > 1 || len(q.asks[0].tallies) > 0 }

// withdraw removes the expected members, because the asker has failed, and not the nodes.
func (q *inquiry) withdraw() {
	for _, a := range q.asks {
		if a.expected != (dispatch.Member{}) {
			q.to.accept(a.expected, nil)
		}
		for _, t := range a.tallies {
			if t.expected != (dispatch.Member{}) {
				q.to.accept(t.expected, nil)
			}
		}
	}
}

// found handles a node that announces itself within the time of WithDiscovery. The node has received the
// request, because it had subscribed before it answered the probe. A node through whose bus the request has come
// ignores the request, and is not expected any more.
func (q *inquiry) found(ctx context.Context, a *asked, n *announcement) {
	if q.request.passedNode(n) {
		q.passes(n)
		if t := a.tallies[n.Node]; t != nil && t.epoch == 0 && !t.over {
			q.do(t, t.excuse)
		}
		return
	}
	if !q.settling || n.Draining {
		return
	}
	misfit := n.misfit(q.request.types, q.request.codec)
	if misfit == nil {
		for _, g := range q.meant(n.Groups) {
			q.findGroup(ctx, g, n)
		}
	}
	if a.tallies[n.Node] == nil && q.isFor(n.Node) { // otherwise the node has answered already
		t := q.tally(a, n.Node, n.Epoch)
		t.hopeless, t.speaks2 = misfit, slices.Contains(n.Versions, version2)
		q.expectNode(t)
		q.endHopeless(t)
	}
}

// findGroup asks a group of a node that was not known when the inquiry began, unless the group was asked since.
func (q *inquiry) findGroup(ctx context.Context, group string, n *announcement) {
	if slices.ContainsFunc(q.asks, func(a *asked) bool { return a.request.group == group }) {
		return
	}
	q.r.state.Lock()
	a := q.r.openLocked(q, group)
	q.r.state.Unlock()
	if q.passed[group] && q.isPeer(n, group) {
		a.peers = append(a.peers, n)
	}
	q.addGroup(a)
	q.to.expect(a.expected)
	q.sendToGroup(ctx, a)
}

// call returns the id of the call with this number.
func (r *Remote) call(number uint64) string {
	return r.inbox[strings.LastIndexByte(r.inbox, '.')+1:] + "." + strconv.FormatUint(number, 10)
}

func (r *Remote) openLocked(q *inquiry, group string) *asked {
	r.last++
	a := &asked{by: q, number: r.last, request: q.request, tallies: make(map[string]*tally), strays: make(map[string]bool)}
	a.request.group = group
	a.request.window = r.share(strangers)
	a.request.call = r.call(r.last)
	r.open[r.last] = a
	q.asks = append(q.asks, a)
	return a
}

func (r *Remote) end(q *inquiry) {
	r.state.Lock()
	for _, a := range q.asks {
		delete(r.open, a.number)
	}
	r.state.Unlock()
	q.touch()
	for _, e := range append(q.taken, q.take(true)...) {
		if e.msg != nil {
			r.pending.Add(-int64(len(e.msg.Data)))
		}
	}
	r.inquiries.Done()
}

// touch notes in the table when nodes were heard, because a reply shows as much as a beat, and which lists of
// members the inquiry has learned. It unlocks the table after each atOnce nodes, so that other goroutines do
// not wait long.
func (q *inquiry) touch() {
	const atOnce = 256
	for _, a := range q.asks {
		all := slices.Collect(maps.Values(a.tallies))
		for some := range slices.Chunk(all, atOnce) {
			q.r.state.Lock()
			for _, t := range some {
				at := place{q.topic, t.node}
				if !t.heard.IsZero() {
					q.r.table.touch(at, t.epoch, t.heard)
				}
				if t.learned != nil {
					q.r.table.learn(at, t.learned)
				}
			}
			q.r.state.Unlock()
		}
	}
}

// tally begins the tally of a node.
func (q *inquiry) tally(a *asked, node string, epoch int64) *tally {
	if len(q.spare) == 0 {
		q.spare = make([]tally, 1)
	}
	t := &q.spare[0]
	q.spare = q.spare[1:]
	*t = tally{node: node, epoch: epoch, limit: q.r.maxResult, most: q.r.maxMembers, to: q.to, standIn: dispatch.Member{Node: node, Name: anybody}}
	if g := a.request.group; g != "" {
		t.standIn = dispatch.Member{Node: node, Group: g}
	}
	a.tallies[node] = t
	q.waiting++
	return t
}

// do calls f, which changes a tally, and updates waiting if the tally is resolved, or not any more.
func (q *inquiry) do(t *tally, f func()) {
	before := t.resolved()
	f()
	switch after := t.resolved(); {
	case after && !before:
		q.waiting--
	case before && !after:
		q.waiting++
	}
}
