package natsdispatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// A Node is the result of [Serve]: it answers for the producers of one bus.
// Its methods may be used concurrently.
type Node struct {
	link
	serveConfig
	bus         string    // the id of the bus
	epoch       int64     // the boot id
	head        []byte    // the head of messages of version 2, with zeros as the number
	topics      []*served // sorted by name
	counts      nodeCounts
	answers     sync.WaitGroup // the goroutines that answer requests or probes
	next        chan *work     // to the goroutine that waits for the next request
	waits       atomic.Bool    // a goroutine waits, or is about to wait, for the next request
	stopped     context.Context
	inHand      atomic.Int64 // requests that the node works on
	store       store
	backlog     backlog
	watching    sync.WaitGroup // the goroutine that calls watch
	stop        context.CancelFunc
	service     *service
	description *dispatch.Registration // the link in the Snapshot of the bus
	publishing  publishing
	pause       time.Duration // until askers are reminded again, or 0; for the goroutine that calls watch
	beats       time.Time     // when the next beat is due; likewise
	forgets     bool          // it was reported that ids are forgotten; likewise
	full        int           // with how many more beats the node announces itself on all topics; likewise
	turn        int           // the topic whose turn is next, modulo the number of topics; likewise
	edition     atomic.Uint64 // of the announcements
	served      bool          // Serve has succeeded

	state   sync.Mutex       // guards the fields below
	work    map[string]*work // the open requests, by the id of the call
	seen    seen
	kept    kept
	inboxes map[string]bool // the inboxes of askers to which replies are sent
	twins   map[int64]bool  // the boot ids of other processes with this name
	spread  int             // probes that wait to be answered
	leaving bool            // askers should send no new requests
	drained bool            // no further request can arrive
	rested  bool            // idle is closed
	idle    chan struct{}   // closed when no further request can arrive and none is open
	closed  bool
	cut     chan struct{}      // closed when the connection is closed; may be read without state
	goes    sync.Once          // calls off; used without state
	probes  *nats.Subscription // set by start, and then read without state

	talk    sync.Mutex // held while the node announces itself; guards the field below, and fields of served
	beatSeq uint64     // the number of the next beat for all topics
}

// served is one topic of a node.
type served struct {
	name     string
	measured measured
	lister   lister
	bus      server
	ask      *nats.Subscription // to requests to all nodes, and cancels
	own      *nats.Subscription // to announcements under the node's own name
	acks     *nats.Subscription // to the lines of askers
	// The node's talk guards the fields below.
	groups map[string]*nats.Subscription // to requests to each group
	names  []string                      // of the groups, sorted
	ends   *nats.Subscription            // to cancels, from when the node drains; nil before
	unfit  map[string]error              // why other groups cannot have a subject
	seq    uint64                        // the number of the next announcement
	said   bool                          // the node has announced itself
	over   bool                          // the node has said bye
}

func (n *Node) start() error {
	n.epoch = 1e15 + rand.Int64N(8e15) // numbers below 2^53 are exact in every language
	n.head = appendHead(nil, n.node, n.epoch)
	n.stopped, n.stop = context.WithCancel(context.Background())
	status := n.listen(nats.DRAINING_SUBS)
	var err error
	for _, s := range n.topics {
		if err == nil {
			s.ask, err = n.subscribe(n.ask(s.name), "", func(m *nats.Msg) { n.hear(s, "", m) })
		}
		if err == nil {
			_, err = n.syncGroups(s)
		}
	}
	if err == nil {
		n.probes, err = n.subscribe(n.probe(), "", n.hearProbe)
	}
	for _, s := range n.topics {
		if err == nil {
			s.own, err = n.subscribe(n.presence(n.node, s.name), "", n.hearOwn)
		}
		if err == nil {
			s.acks, err = n.subscribe(n.acks(n.node, s.name), "", func(m *nats.Msg) { n.hearAcks(s, m) })
		}
	}
	if err == nil && n.nc.IsConnected() {
		if err = n.hello(); n.wasCut(err) {
			err = nil // the node says hello when there is a connection again
		}
	}
	if err == nil && n.micro != "" {
		n.service, err = n.showService()
	}
	n.beats = time.Now().Add(n.beat)
	n.watching.Go(func() {
		n.watch(n.stopped, status, nil, func() { close(n.cut) }, func() {
			if err := n.hello(); err != nil {
				n.failUnlessCut(fmt.Errorf("natsdispatch: node %s: %w", n.node, err))
			}
			n.pause = firstPause
		}, n.beat, n.tick)
	})
	return err
}

func (n *Node) subscribe(subject, queue string, f nats.MsgHandler) (sub *nats.Subscription, err error) {
	if queue == "" {
		sub, err = n.nc.Subscribe(subject, f)
	} else {
		sub, err = n.nc.QueueSubscribe(subject, queue, f)
	}
	if err == nil {
		err = sub.SetPendingLimits(n.messages, n.bytes)
	}
	if err == nil {
		err = n.confirm()
	}
	if err != nil {
		if sub != nil {
			_ = sub.Unsubscribe() // if this fails, the connection is closed
		}
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	return sub, nil
}

// isOur reports whether a refusal of the server concerns the node. A refusal of the subscription to
// announcements under the node's own name does not: without this subscription, only askers find a twin.
func (n *Node) isOur(what refused) bool {
	if n.has(what.subject) {
		return what.publish || !strings.HasPrefix(what.subject, n.presence(n.node, ""))
	}
	n.state.Lock()
	defer n.state.Unlock()
	return what.publish && n.inboxes[inboxOf(what.subject)]
}

// inboxOf returns the beginning that all reply subjects of one asker have in common.
func inboxOf(reply string) string { return reply[:strings.LastIndexByte(reply, '.')+1] }

// mostInboxes bounds the askers for which the node notices that the server refuses its replies.
const mostInboxes = 1024

// connectionDrains is called when the program drains the connection.
func (n *Node) connectionDrains() {
	n.state.Lock()
	late := !n.leaving
	n.leaving = true
	n.state.Unlock()
	n.edition.Add(1)
	if late {
		n.announceAll(eventChange)
		n.fail(fmt.Errorf("natsdispatch: node %s: the connection is drained, and what the node has in hand may be lost; call Node.Drain before that", n.node))
	}
}

// hearOwn handles an announcement under the node's own name: if it is from another process, the node has a
// twin.
func (n *Node) hearOwn(m *nats.Msg) {
	a, err := parseAnnouncement(m.Data)
	if err != nil || a.Node != n.node || a.Epoch == n.epoch || a.Event == eventBye || a.Draining {
		return // the announcement is malformed, the node's own, or that of a predecessor that leaves
	}
	e := NodeEvent{Kind: NodeTwin, Time: time.Now(), Node: n.node, Topic: a.Topic, Err: twinError(n.node)}
	n.state.Lock()
	isNew := !n.twins[a.Epoch] && len(n.twins) < mostTwins
	if isNew {
		n.twins[a.Epoch] = true
		n.news.put(e)
	}
	n.state.Unlock()
	if isNew {
		n.failedBy(e)
	}
}

// Name returns the node's name.
func (n *Node) Name() string { return n.node }

// Err returns the last error that the handler of [WithErrorHandler] got, or that was logged without one. It
// returns nil if the last minute had no error. A refusal of the server that persists is reported again within a
// minute if the node beats as often. What is reported only once, such as a twin, is not returned any more after a
// minute.
func (n *Node) Err() error { return n.lastError() }

// Drain takes the node off the topics: it announces that it takes no new requests,
// finishes the requests that it has or that are on their way, waits until the askers have the
// replies, and says bye. An asker acknowledges a reply within a second. Drain waits for a crashed asker
// at most until the end of its call. It does not wait for askers of version 1 of the protocol.
// If ctx ends first, Drain closes the node like [Node.Close] and returns an error that wraps the error of the context and its cause. If the
// connection is closed, Drain also closes the node, and returns [dispatch.ErrUnreachable]. Call Drain before
// nc.Drain, which loses open requests. The producers and the connection stay as they are.
func (n *Node) Drain(ctx context.Context) error {
	n.state.Lock()
	n.leaving = true
	n.state.Unlock()
	n.edition.Add(1)
	n.announceAll(eventChange)
	err := n.drainSubscriptions(ctx)
	if err == nil {
		n.state.Lock()
		n.drained = true
		n.idleLocked()
		n.state.Unlock()
		select {
		case <-n.idle:
		case <-n.cut:
			err = errClosedConnection // the remaining replies cannot be sent
		case <-ctx.Done():
			err = endOf(ctx)
		}
	}
	if err == nil {
		err = n.awaitAcks(ctx)
	}
	if err == nil {
		err = n.publishing.drain(ctx)
		if err != nil && ctx.Err() != nil {
			err = endOf(ctx)
		}
	}
	if err != nil {
		err = fmt.Errorf("natsdispatch: node %s: drain: %w", n.node, err)
	}
	return errors.Join(err, n.Close())
}

// endOf returns the error of a context that has ended, and its cause.
func endOf(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// drainSubscriptions ends the subscriptions to requests, and waits until all requests that the server has
// sent were handled. The node still hears cancels.
func (n *Node) drainSubscriptions(ctx context.Context) error {
	if n.nc.IsClosed() {
		return errClosedConnection
	}
	if err := n.hearCancels(); err != nil {
		return err
	}
	var closed []<-chan nats.SubStatus
	for _, sub := range n.subscriptions() {
		closed = append(closed, sub.StatusChanged(nats.SubscriptionClosed))
		if err := n.drainSubscription(ctx, sub); err != nil && sub.IsValid() {
			return err
		}
	}
	for _, c := range closed {
		select {
		case <-c:
		case <-n.cut:
			return errClosedConnection
		case <-ctx.Done():
			return endOf(ctx)
		}
	}
	return nil
}

// drainSubscription ends a subscription once the messages that the server has sent are handled. Without a connection
// no more come. Subscription.Drain would then subscribe again after the reconnect, and never unsubscribe, so the server
// would go on to choose this process for requests to its groups.
func (n *Node) drainSubscription(ctx context.Context, sub *nats.Subscription) error {
	if !n.nc.IsReconnecting() {
		return sub.Drain()
	}
	for {
		if waiting, _, err := sub.Pending(); err != nil || waiting == 0 {
			return sub.Unsubscribe()
		}
		select {
		case <-time.After(time.Millisecond): // messages are handled without blocking
		case <-ctx.Done():
			return endOf(ctx)
		}
	}
}

// hearCancels subscribes the node to the cancels of the requests that it works on while it drains. They come on the
// subject of requests, which it ignores.
func (n *Node) hearCancels() error {
	n.talk.Lock()
	defer n.talk.Unlock()
	for _, s := range n.topics {
		if s.ends != nil || n.stopped.Err() != nil {
			continue
		}
		sub, err := n.nc.Subscribe(n.ask(s.name), func(m *nats.Msg) {
			if m.Header.Get(headerType) == typeCancel {
				n.hearCancel(m, time.Now())
			}
		})
		if err == nil {
			s.ends, err = sub, sub.SetPendingLimits(n.messages, n.bytes)
		}
		if err != nil {
			return fmt.Errorf("subscribe to cancels on %s: %w", n.ask(s.name), err)
		}
	}
	return nil
}

// subscriptions returns the subscriptions to requests.
func (n *Node) subscriptions() (subs []*nats.Subscription) {
	n.talk.Lock()
	defer n.talk.Unlock()
	for _, s := range n.topics {
		if s.ask != nil {
			subs = append(subs, s.ask)
		}
		for _, sub := range s.groups {
			subs = append(subs, sub)
		}
	}
	return subs
}

// everySubscription returns the subscriptions to requests and to all other messages, except those of the tools of NATS.
func (n *Node) everySubscription() []*nats.Subscription {
	subs := n.subscriptions()
	if n.probes != nil {
		subs = append(subs, n.probes)
	}
	n.talk.Lock()
	defer n.talk.Unlock()
	for _, s := range n.topics {
		for _, sub := range []*nats.Subscription{s.own, s.acks, s.ends} {
			if sub != nil {
				subs = append(subs, sub)
			}
		}
	}
	return subs
}

// Close takes the node off the topics at once: it says bye, cancels the open calls
// with [dispatch.ErrClosed], and waits until they have ended. The node sends no more replies. Close may be
// called more than once, also concurrently, and returns nil. The producers and the connection stay as they are.
func (n *Node) Close() error {
	n.state.Lock()
	n.closed, n.leaving = true, true
	all := slices.Collect(maps.Values(n.work))
	n.state.Unlock()
	n.goes.Do(n.off)
	for _, w := range all {
		w.cancel(dispatch.ErrClosed)
	}
	n.watching.Wait()
	n.answers.Wait()
	n.state.Lock()
	n.kept.shrink(func() bool { return true }) // no asker can ask this node for them any more
	n.state.Unlock()
	n.news.end()
	return nil
}

// off stops the goroutines of the node, ends its registrations and subscriptions, and says bye.
func (n *Node) off() {
	n.stop()
	if n.description != nil {
		n.description.Remove()
	}
	n.publishing.stop()
	subs := n.everySubscription()
	if n.service != nil {
		subs = append(subs, n.service.subs...)
	}
	for _, sub := range subs {
		n.unsubscribe(sub)
	}
	n.counts.droppedBySubs.Store(max(n.counts.droppedBySubs.Load(), dropped(subs...)))
	if n.served {
		n.announceAll(eventBye)
	}
	if n.served && n.nc.IsConnected() {
		if err := n.flush(); err != nil {
			n.failUnlessCut(fmt.Errorf("natsdispatch: node %s: bye: %w", n.node, err))
		}
	}
}

// idleLocked closes idle if no further request can arrive and none is open.
func (n *Node) idleLocked() {
	if n.drained && len(n.work) == 0 && !n.rested {
		n.rested = true
		close(n.idle)
	}
}

// codec returns the codec with the name, or the zero safe.
func (n *Node) codec(name string) safe {
	if i := slices.IndexFunc(n.codecs, func(c Codec) bool { return c.Name() == name }); i >= 0 {
		return safe{n.codecs[i], &n.news}
	}
	return safe{}
}
