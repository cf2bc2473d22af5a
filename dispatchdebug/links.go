package dispatchdebug

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// elsewherePart is what the bus is connected to, and the nodes that it asks: those that need
// attention first.
type elsewherePart struct {
	Links     []linkPart `json:"links"`
	Nodes     []nodePart `json:"nodes"`
	NodeCount int        `json:"node_count"` // all that there are
	MoreNodes int        `json:"more_nodes"` // those beyond the rows
	Absent    int        `json:"absent"`     // nodes that are expected, and do not answer
}

type linkPart struct {
	Key       string        `json:"key"`
	Name      string        `json:"name"`
	Serves    string        `json:"serves"`
	AddedAt   string        `json:"added_at"`
	Tone      string        `json:"tone"`
	State     string        `json:"state"`
	Since     time.Duration `json:"since_ns"`
	Server    string        `json:"server"`
	InFlight  int           `json:"in_flight"`
	Stray     uint64        `json:"stray"`
	Dropped   uint64        `json:"dropped"`
	NodeCount int           `json:"node_count"`
	LastError string        `json:"last_error"`
	ErrorAgo  time.Duration `json:"last_error_ns"`
}

type nodePart struct {
	Key        string        `json:"key"`
	Name       string        `json:"name"`
	Link       string        `json:"link"`
	Tone       string        `json:"tone"`
	State      string        `json:"state"`
	On         []string      `json:"on_topics"`
	MoreTopics int           `json:"more_topics"`
	Heard      time.Duration `json:"heard_ns"`
	InFlight   int           `json:"in_flight"`
	Error      string        `json:"error"`
}

// nodeStates are the states of nodes, as dispatch.NodeSnapshot has them, those that need
// attention first. text follows the name of a node among the suspects.
var nodeStates = []struct{ state, tone, text string }{
	{"silent", "bad", "is silent: it was last heard "},
	{"missing", "bad", "is expected, and was never heard of"},
	{"twin", "bad", "has a twin: two processes have its name, and the answers of one are lost"},
	{"incompatible", "bad", "cannot be asked: it has other types, another codec or another version"},
	{"unreachable", "bad", ""}, // its link is a suspect
	{"draining", "busy", ""},
	{"present", "ok", ""},
}

// textOfNode follows the name of a node in this state among the suspects; it is empty if the node is none.
func textOfNode(n *dispatch.NodeSnapshot) string {
	r := rank(n.State)
	switch {
	case n.State == "silent":
		return nodeStates[r].text + ago(n.HeardAgo)
	case n.State != nodeStates[r].state: // a state that this version does not know
		return "is " + n.State
	}
	return nodeStates[r].text
}

// rank returns the place of a state in nodeStates; one that is not known is the first.
func rank(state string) int {
	for i, s := range nodeStates {
		if s.state == state {
			return i
		}
	}
	return 0
}

const (
	mostNodesShown  = 100
	mostTopicsShown = 3
)

// elsewhere describes the links of the bus, and the nodes whose names contain the search text.
func (v *view) elsewhere(q query) *elsewherePart {
	e := &elsewherePart{Links: []linkPart{}, Nodes: []nodePart{}}
	for i := range v.bus.Links {
		l := &v.bus.Links[i]
		e.Links = append(e.Links, v.link(l))
		e.NodeCount += len(l.Nodes)
		for j := range l.Nodes {
			n := &l.Nodes[j]
			if nodeStates[rank(n.State)].tone == "bad" {
				e.Absent++
			}
			if matches(q.Search, n.Name) {
				e.Nodes = append(e.Nodes, v.node(l, n))
			}
		}
	}
	slices.SortStableFunc(e.Nodes, func(a, b nodePart) int {
		return cmp.Or(cmp.Compare(rank(a.State), rank(b.State)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Link, b.Link))
	})
	e.Nodes, e.MoreNodes = first(e.Nodes, mostNodesShown)
	return e
}

// keyOfLink tells a link apart from others, which may have the same name: one for each type of topics.
func keyOfLink(l *dispatch.LinkSnapshot) string {
	return l.AddedAt + " " + l.Name + " " + l.Serves + " " + strings.Join(l.Topics, " ")
}

func (v *view) link(l *dispatch.LinkSnapshot) linkPart {
	p := linkPart{
		Key: keyOfLink(l), Name: cut(l.Name, mostName), Serves: cut(l.Serves, mostName), AddedAt: l.AddedAt,
		Tone: "ok", State: l.State, Since: v.sinceOf(l.Since), Server: l.Server, InFlight: l.InFlight, Stray: l.Stray, Dropped: l.Dropped,
		NodeCount: len(l.Nodes), ErrorAgo: v.sinceOf(l.LastErrorAt),
	}
	if l.State != "connected" {
		p.Tone = "bad"
	}
	if v.sensitive {
		p.LastError = l.LastError
	}
	return p
}

func (v *view) node(l *dispatch.LinkSnapshot, n *dispatch.NodeSnapshot) nodePart {
	p := nodePart{
		Key: keyOfLink(l) + " " + n.Name + " " + n.State, Name: cut(n.Name, mostName), Link: cut(l.Name, mostName), Tone: nodeStates[rank(n.State)].tone, State: n.State,
		Heard: n.HeardAgo, InFlight: n.InFlight,
	}
	if n.HeardAgo < 0 {
		p.Heard = unknown
	}
	p.On, p.MoreTopics = first(n.Topics, mostTopicsShown)
	if v.sensitive {
		p.Error = n.Error
	}
	return p
}

// sinceOf returns how long ago a time was, if it is known.
func (v *view) sinceOf(at time.Time) time.Duration {
	if at.IsZero() {
		return unknown
	}
	return max(v.now.Sub(at), 0)
}

// linked finds the links that have no connection and the nodes that do not answer, as the links
// report them. All time that calls have lost to members of such a node is lost to the node.
func (s *suspecting) linked() {
	if len(s.bus.Links) == 0 {
		return
	}
	of := make(map[string][]*suspicion) // by node
	for _, one := range s.order {
		node := one.member.Node
		if name, ok := strings.CutPrefix(one.other, "node "); ok {
			node = name
		}
		if node != "" {
			of[node] = append(of[node], one)
		}
	}
	nodes := make(map[string]*suspicion)
	for i := range s.bus.Links {
		l := &s.bus.Links[i]
		if l.State != "connected" {
			text := "has no connection: it is " + l.State
			if since := s.sinceOf(l.Since); since >= 0 {
				text += ", for " + duration(since)
			}
			s.withoutNodes("link "+l.Name+" "+l.Serves, cmp.Or(l.Serves, l.Name), text, l)
		}
		cutOff := 0
		for j := range l.Nodes {
			n := &l.Nodes[j]
			if n.State == "unreachable" {
				cutOff++
			}
			if text := textOfNode(n); text != "" && len(n.Topics) > 0 {
				s.absent(n, text, of[n.Name], nodes)
			}
		}
		if cutOff > 0 && l.State == "connected" {
			s.withoutNodes("link "+l.Name, l.Name, "is cut off: it reaches none of its "+count(len(l.Nodes))+" nodes", l)
		}
	}
}

// withoutNodes has one row for all links of a name.
func (s *suspecting) withoutNodes(link, name, text string, l *dispatch.LinkSnapshot) {
	one := s.of(subject{other: link}, name)
	if len(one.parts) == 0 {
		one.add(kindSilent, 0, text)
		one.addedAt = l.AddedAt
	}
}

// absent has a row for the node instead of the others, which are for it and its members. Several links may have
// the node; nodes has the rows of all.
func (s *suspecting) absent(n *dispatch.NodeSnapshot, text string, others []*suspicion, nodes map[string]*suspicion) {
	one := nodes[n.Name]
	if one == nil {
		one = s.of(subject{topic: n.Topics[0], other: "node " + n.Name}, n.Name)
		one.parts = nil // the text about the node also explains why its members do not answer
		nodes[n.Name] = one
	}
	if n.InFlight > 0 {
		text += "; " + callsWait(n.InFlight) + " for it"
	}
	if !slices.ContainsFunc(one.parts, func(p part) bool { return p.text == text }) {
		one.add(kindSilent, 0, text)
	}
	one.err = cmp.Or(one.err, n.Error)
	one.on = append(one.on, n.Topics...)
	for _, other := range others {
		if other == one || !slices.Contains(n.Topics, other.topic) {
			continue
		}
		one.lost += other.lost
		one.call = cmp.Or(one.call, other.call)
		other.parts = nil
	}
}
