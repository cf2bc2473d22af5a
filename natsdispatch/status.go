package natsdispatch

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// status returns what a Snapshot of the bus shows of the connection.
func (l *link) status(s subjects, topics []string) dispatch.LinkSnapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	status := dispatch.LinkSnapshot{
		Name: "nats:" + s.String(), Topics: topics, State: l.conn.word(), Since: l.conn.since, LastErrorAt: l.lastAt,
	}
	if l.conn.up {
		status.Server = l.nc.ConnectedUrlRedacted()
	}
	if l.last != nil {
		status.LastError = l.last.Error()
	}
	return status
}

// status returns what a Snapshot of the bus shows of the Remote: the connection and the nodes.
func (r *Remote) status() dispatch.LinkSnapshot {
	status := r.link.status(r.subjects, slices.Clone(r.topics))
	stats := r.Stats()
	status.InFlight, status.Stray, status.Dropped = stats.InFlight, stats.Stray, stats.Dropped
	status.Nodes = r.states(time.Now())
	return status
}

// The states of nodes in a Snapshot; the states that need attention come first.
const (
	nodeSilent       = "silent"
	nodeMissing      = "missing"
	nodeUnreachable  = "unreachable"
	nodeTwin         = "twin"
	nodeIncompatible = "incompatible"
	nodeDraining     = "draining"
	nodePresent      = "present"
)

// states returns the states of all nodes that are known or expected. If a node has several states, on
// different topics, there is an element for each of them.
func (r *Remote) states(now time.Time) (nodes []dispatch.NodeSnapshot) {
	r.state.Lock()
	defer r.state.Unlock()
	type key struct{ node, state string }
	at := make(map[key]int)
	add := func(node, state, topic string, heard time.Duration, err error) {
		i, known := at[key{node, state}]
		if !known {
			i = len(nodes)
			at[key{node, state}] = i
			nodes = append(nodes, dispatch.NodeSnapshot{Name: node, State: state, HeardAgo: heard})
			if err != nil {
				nodes[i].Error = err.Error()
			}
		}
		n := &nodes[i]
		n.Topics = append(n.Topics, topic)
		n.HeardAgo = min(n.HeardAgo, heard)
	}
	for place, p := range r.table.all() {
		state, err := r.stateLocked(p, now)
		add(place.node, state, place.topic, now.Sub(p.heard), err)
	}
	for _, name := range r.expected {
		for _, topic := range r.topics {
			if r.table.at(place{topic, name}) == nil {
				add(name, nodeMissing, topic, -1, nil)
			}
		}
	}
	for i := range nodes {
		slices.Sort(nodes[i].Topics)
	}
	slices.SortFunc(nodes, func(a, b dispatch.NodeSnapshot) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.State, b.State))
	})
	return nodes
}

// stateLocked returns the state of a node on a topic, and the error for this state, or nil.
func (r *Remote) stateLocked(p *present, now time.Time) (state string, err error) {
	misfit := p.misfit(r.types, r.codecs[0].Name())
	switch {
	case p.left != nil && errors.Is(p.left, dispatch.ErrUnreachable):
		return nodeUnreachable, p.why(now)
	case p.left != nil:
		return nodeSilent, p.why(now)
	case r.attendance.isTwin(p.Node, now, p.patience()):
		return nodeTwin, twinError(p.Node)
	case misfit != nil:
		return nodeIncompatible, misfit
	case p.Draining:
		return nodeDraining, nil
	}
	return nodePresent, nil
}

// status returns what a Snapshot of the bus shows of the node.
func (n *Node) status() dispatch.LinkSnapshot {
	var topics []string
	for _, s := range n.topics {
		topics = append(topics, s.name)
	}
	status := n.link.status(n.subjects, topics)
	status.Serves = n.node
	stats := n.Stats()
	status.InFlight, status.Stray, status.Dropped = stats.InHand, stats.Duplicates, stats.Dropped
	return status
}
