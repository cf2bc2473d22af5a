package natsdispatch

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// A Remote is the result of [Join]: it asks the nodes of some topics for one bus.
// Its methods may be used concurrently.
type Remote struct {
	link
	joinConfig
	bus          string                 // the id of the bus
	topics       []string               // names, sorted, or one pattern
	inbox        string                 // the beginning of all reply subjects, without the last dot
	registration *dispatch.Registration // the relay
	description  *dispatch.Registration // the link in the Snapshot of the bus
	counts       remoteCounts
	pending      atomic.Int64   // bytes of replies that wait to be read
	inquiries    sync.WaitGroup // the inquiries that have begun
	watching     sync.WaitGroup // the goroutines of the Remote
	stop         context.CancelFunc
	stopped      context.Context
	wake         chan struct{} // has a value if expire has to be called soon
	acked        doneCalls
	replies      chan *nats.Msg // replies of all calls, and markers for nodes that have left
	started      atomic.Bool    // start has succeeded
	goes         sync.Once      // calls off

	state      sync.Mutex // guards the fields below, except dropped
	subs       []*nats.Subscription
	table      table
	attendance attendance
	departed   map[*nats.Msg][]departure // by the marker among the replies
	dropped    uint64                    // dropped messages at the last call of countLosses, which alone uses it
	changed    chan struct{}             // closed, and replaced, when the table has changed
	online     chan struct{}             // closed, and replaced, when there is a connection again, or the connection is closed
	due        time.Time                 // when expire is called next
	settled    time.Time                 // when the time of WithDiscovery ends
	open       map[uint64]*asked         // the open requests, by their numbers
	last       uint64                    // the number of the newest request
	closed     bool
}

func (r *Remote) start() error {
	r.inbox = r.nc.NewInbox()
	r.wake, r.acked.wake = make(chan struct{}, 1), make(chan struct{}, 1)
	r.stopped, r.stop = context.WithCancel(context.Background())
	status := r.listen()
	err := r.subscribe()
	r.watching.Go(func() {
		for {
			select {
			case m := <-r.replies:
				r.hear(m)
			case <-r.stopped.Done():
				return
			}
		}
	})
	r.watching.Go(r.publishDone)
	if err == nil && r.nc.IsConnected() {
		if err = r.discover(); r.wasCut(err) {
			err = nil // discover is called when there is a connection again
		}
	}
	r.watching.Go(func() {
		r.watch(r.stopped, status, r.wake, r.broken, func() {
			r.isOnline()
			if err := r.discover(); err != nil {
				r.failUnlessCut(fmt.Errorf("natsdispatch: discover nodes: %w", err))
			}
			r.isBack()
		}, 0, r.expire)
	})
	return err
}

// subscribe subscribes to replies, which all arrive on one channel, to announcements and to beats.
func (r *Remote) subscribe() (err error) {
	r.replies, r.departed = make(chan *nats.Msg, min(r.messages, mostBuffered)), make(map[*nats.Msg][]departure)
	added := func(subject string, sub *nats.Subscription, failed error) {
		if failed != nil {
			err = cmp.Or(err, fmt.Errorf("subscribe to %s: %w", subject, failed))
			return
		}
		r.state.Lock()
		r.subs = append(r.subs, sub)
		r.state.Unlock()
		err = cmp.Or(err, r.confirm())
	}
	sub, failed := r.nc.ChanSubscribe(r.inbox+".*", r.replies)
	added(r.inbox+".*", sub, failed)
	presence := func(subject string, private bool) {
		sub, failed := r.nc.Subscribe(subject, func(m *nats.Msg) { r.hearPresence(m, private) })
		if failed == nil {
			failed = sub.SetPendingLimits(r.messages, r.bytes)
		}
		added(subject, sub, failed)
	}
	presence(r.inbox+"."+presenceReply, true)
	for _, topic := range r.topics {
		presence(r.presenceOfAll(topic), false)
	}
	sub, failed = r.nc.Subscribe(r.presenceOfNodes(), r.hearBeat)
	if failed == nil {
		failed = sub.SetPendingLimits(r.messages, r.bytes)
	}
	added(r.presenceOfNodes(), sub, failed)
	return err
}

// mostBuffered bounds the replies that wait until hear puts them into their calls, which is quick. More
// replies may wait in each call.
const mostBuffered = 1 << 13

// discover asks all nodes to announce themselves.
func (r *Remote) discover() error {
	if err := r.checkPayload("Join"); err != nil {
		return err
	}
	r.state.Lock()
	now := time.Now()
	r.table.excuse(now) // the asker could not hear the nodes without a connection
	r.settled = now.Add(r.discovery)
	known := max(r.table.count, len(r.expected)*len(r.topics))
	r.state.Unlock()
	for _, topic := range r.topics {
		m := nats.NewMsg(r.probe())
		m.Reply = r.inbox + "." + presenceReply
		m.Data = []byte(topic)
		if known >= manyNodes {
			m.Header[headerSpread] = []string{strconv.FormatInt((min(time.Duration(known)*answerTakes, r.discovery) / 2).Milliseconds(), 10)}
		}
		if err := r.nc.PublishMsg(m); err != nil {
			return err
		}
	}
	return r.flush()
}

// If at least manyNodes nodes are known, discover asks them to spread their answers over a time: half of
// answerTakes for each node, but at most half of the time of WithDiscovery.
const (
	manyNodes   = 1000
	answerTakes = 50 * time.Microsecond
)

// presenceReply follows the inbox in the reply subject of probes. In the reply subject of a request, a number
// follows the inbox.
const presenceReply = "presence.all"

// isOnline wakes the calls that wait for a connection.
func (r *Remote) isOnline() {
	r.state.Lock()
	defer r.state.Unlock()
	close(r.online)
	r.online = make(chan struct{})
}

// isBack makes the open calls ask for the messages that they have missed without a connection.
func (r *Remote) isBack() {
	r.state.Lock()
	defer r.state.Unlock()
	for _, a := range r.open {
		_ = a.by.put(event{asked: a, back: true}, 0) // if it is over it need not know
	}
}

// broken ends the nodes of all open calls, because the connection was closed.
func (r *Remote) broken() {
	r.isOnline()
	r.state.Lock()
	defer r.state.Unlock()
	for _, a := range r.open {
		_ = a.by.put(event{asked: a, failed: errClosedConnection}, 0) // if it is over it need not know
	}
}

// twin reports, once, that two processes of one name were heard.
func (r *Remote) twin(node, topic string) {
	r.state.Lock()
	e, isNew := r.attendance.twin(node, topic, time.Now())
	if isNew {
		r.news.put(e)
	}
	r.state.Unlock()
	if isNew {
		r.failedBy(e)
	}
}

// Nodes returns the nodes that are present on the topics, sorted by topic and node.
func (r *Remote) Nodes() []NodeInfo {
	r.state.Lock()
	defer r.state.Unlock()
	nodes := []NodeInfo{}
	for _, topic := range slices.Sorted(maps.Keys(r.table.topics)) {
		for _, p := range r.table.on(topic) {
			if p.left != nil {
				continue
			}
			nodes = append(nodes, NodeInfo{
				Node: p.Node, Topic: p.Topic, Epoch: p.Epoch, Groups: slices.Clone(p.Groups), Draining: p.Draining,
				Heard: p.heard, Err: p.misfit(r.types, r.codecs[0].Name()),
			})
		}
	}
	return nodes
}

// NodeInfo describes one node on one topic.
type NodeInfo struct {
	Node     string    `json:"node"`
	Topic    string    `json:"topic"`
	Epoch    int64     `json:"epoch"`    // the boot id, which differs each time the node starts
	Groups   []string  `json:"groups"`   // the groups of which it has replicas
	Draining bool      `json:"draining"` // whether it refuses new requests
	Heard    time.Time `json:"heard"`    // when the asker last heard it
	Err      error     `json:"-"`        // why it cannot be asked, or nil
}

// Await waits until all of the nodes are present, each on any topic. If ctx ends first, it
// returns an error that wraps the error of the context and its cause, and names the missing nodes.
func (r *Remote) Await(ctx context.Context, nodes ...string) error {
	for at := 0; len(nodes) > 0; { // at is the index of the node that was missing last
		r.state.Lock()
		changed := r.changed
		here := 0
		for here < len(nodes) && r.isHereLocked(nodes[(at+here)%len(nodes)]) {
			here++
		}
		r.state.Unlock()
		if here == len(nodes) {
			return nil
		}
		at = (at + here) % len(nodes)
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("natsdispatch: waited for nodes %q: %w", r.missing(nodes), endOf(ctx))
		case <-r.stopped.Done():
			return fmt.Errorf("natsdispatch: waited for nodes %q: %w", r.missing(nodes), dispatch.ErrClosed)
		}
	}
	return nil
}

// isHereLocked reports whether a node is present on any topic.
func (r *Remote) isHereLocked(node string) bool {
	return slices.ContainsFunc(r.table.places[node], func(topic string) bool { return r.table.at(place{topic, node}).left == nil })
}

// missing returns the nodes that are not present.
func (r *Remote) missing(nodes []string) []string {
	r.state.Lock()
	defer r.state.Unlock()
	return slices.DeleteFunc(slices.Clone(nodes), r.isHereLocked)
}

// Err returns the last error that the handler of [WithErrorHandler] got, or that was logged without one. It
// returns nil if the last minute had no error. A refusal of the server is reported again when it refuses
// something again. What is reported only once, such as a twin, is not returned any more after a minute.
func (r *Remote) Err() error { return r.lastError() }

// Close disconnects the bus from the nodes: the remote members of open calls
// are Gone, and later calls ask no nodes. Close waits until this is done. It
// may be called more than once, also concurrently, and returns nil. The NATS connection stays as it is.
func (r *Remote) Close() error {
	r.goes.Do(r.off)
	r.watching.Wait()
	r.inquiries.Wait()
	r.news.end()
	return nil
}

// off ends the registrations and subscriptions of the Remote, and stops its goroutines.
func (r *Remote) off() {
	for _, added := range []*dispatch.Registration{r.registration, r.description} {
		if added != nil {
			added.Remove()
		}
	}
	r.state.Lock()
	r.closed = true
	subs := r.subs
	r.subs = nil
	r.state.Unlock()
	if r.stop != nil {
		r.stop()
	}
	for _, sub := range subs {
		r.unsubscribe(sub)
	}
}
