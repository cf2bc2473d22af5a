package natsdispatch

import (
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// RemoteStats is what a [Remote] has counted since Join.
type RemoteStats struct {
	Calls      uint64 `json:"calls"`      // calls that have asked nodes
	InFlight   int    `json:"in_flight"`  // requests that are open now
	Nodes      int    `json:"nodes"`      // nodes that are present now, counted once for each of their topics
	Stray      uint64 `json:"stray"`      // replies to no open request, or from nodes that were not asked
	Duplicates uint64 `json:"duplicates"` // replies that had arrived before
	Malformed  uint64 `json:"malformed"`  // replies and announcements that break the protocol
	Unverified uint64 `json:"unverified"` // replies and announcements that WithVerify has refused
	Dropped    uint64 `json:"dropped"`    // replies and announcements beyond WithPendingLimits
	Resent     uint64 `json:"resent"`     // requests that were sent again: under WithResend, or to a node that was without a connection
	Excess     uint64 `json:"excess"`     // announcements beyond WithMaxNodes
	Pending    int64  `json:"pending"`    // bytes of replies that wait to be read now
	Missed     uint64 `json:"missed"`     // events that were dropped because OnNode or the logger blocks
	Resumed    uint64 `json:"resumed"`    // times that the asker asked a node to repeat missing messages of a reply
}

type remoteCounts struct {
	calls, stray, duplicates, malformed, unverified, dropped, resent, excess, resumed atomic.Uint64
	droppedBySubs                                                                     atomic.Uint64
}

// Stats returns what the asker has counted since Join, and the numbers of this moment.
func (r *Remote) Stats() RemoteStats {
	dropped := r.countDropped()
	r.state.Lock()
	defer r.state.Unlock()
	c := &r.counts
	return RemoteStats{
		Calls: c.calls.Load(), InFlight: len(r.open), Nodes: r.table.here(),
		Stray: c.stray.Load(), Duplicates: c.duplicates.Load(), Malformed: c.malformed.Load(),
		Unverified: c.unverified.Load(), Dropped: dropped, Resent: c.resent.Load(), Excess: c.excess.Load(), Resumed: c.resumed.Load(), Pending: r.pending.Load(), Missed: r.news.count(),
	}
}

// countDropped returns how many messages were dropped so far.
func (r *Remote) countDropped() uint64 {
	r.state.Lock()
	subs := r.subs
	r.state.Unlock()
	if subs != nil { // otherwise they were counted for the last time when they ended
		r.counts.droppedBySubs.Store(dropped(subs...))
	}
	return r.counts.dropped.Load() + r.counts.droppedBySubs.Load()
}

// NodeStats is what a [Node] has counted since Serve.
type NodeStats struct {
	Requests   uint64 `json:"requests"`   // requests that the node has received, without duplicate, malformed and expired ones
	InHand     int    `json:"in_hand"`    // requests that the node works on now
	Remembered int    `json:"remembered"` // ids by which the node would recognize a request that arrives again
	Refused    uint64 `json:"refused"`    // requests that the node has refused
	Cancelled  uint64 `json:"cancelled"`  // requests that the asker has canceled
	Duplicates uint64 `json:"duplicates"` // requests that had arrived before, or whose cancel had
	Expired    uint64 `json:"expired"`    // requests that arrived without budget
	Malformed  uint64 `json:"malformed"`  // messages that break the protocol
	Dropped    uint64 `json:"dropped"`    // messages beyond WithPendingLimits
	Unsent     uint64 `json:"unsent"`     // messages that the connection did not accept
	Capped     uint64 `json:"capped"`     // requests with more budget than WithMaxBudget
	Forgotten  uint64 `json:"forgotten"`  // ids beyond WithMaxRemembered
	Missed     uint64 `json:"missed"`     // events that were dropped because OnNode or the logger blocks
	Kept       int    `json:"kept"`       // replies that were sent, and that the asker has not acknowledged
	Waiting    int64  `json:"waiting"`    // bytes of replies that wait to be sent, or are kept
	GivenUp    uint64 `json:"given_up"`   // kept replies that the node has given up beyond WithMaxWaiting
	Backlog    int64  `json:"backlog"`    // estimated bytes of results that wait because replies cannot be sent
	Overrun    uint64 `json:"overrun"`    // requests with members that were stopped beyond WithMaxBacklog
}

type nodeCounts struct {
	requests, refused, cancelled, duplicates, expired, malformed, unsent, capped, forgotten, givenUp, overrun atomic.Uint64
	droppedBySubs                                                                                             atomic.Uint64
}

// Stats returns what the node has counted since Serve, and the numbers of this moment.
func (n *Node) Stats() NodeStats {
	total := max(n.counts.droppedBySubs.Load(), dropped(n.everySubscription()...))
	n.state.Lock()
	defer n.state.Unlock()
	c := &n.counts
	return NodeStats{
		Requests: c.requests.Load(), InHand: len(n.work), Remembered: n.seen.len(), Refused: c.refused.Load(),
		Cancelled: c.cancelled.Load(), Duplicates: c.duplicates.Load(), Expired: c.expired.Load(),
		Malformed: c.malformed.Load(), Dropped: total, Unsent: c.unsent.Load(), Capped: c.capped.Load(), Forgotten: c.forgotten.Load(),
		Backlog: n.backlog.bytes.Load(), Overrun: c.overrun.Load(),
		Kept: len(n.kept.calls), Waiting: n.store.holds.Load(), GivenUp: c.givenUp.Load(), Missed: n.news.count(),
	}
}

func dropped(subs ...*nats.Subscription) (total uint64) {
	for _, sub := range subs {
		if n, err := sub.Dropped(); err == nil && n > 0 {
			total += uint64(n)
		}
	}
	return total
}
