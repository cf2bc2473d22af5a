package natsdispatch

import (
	"slices"

	"github.com/nats-io/nats.go"
)

// headerDetail is set on a probe whose sender wants more than an announcement says.
const headerDetail = "Dispatch-Detail"

// detail is what a node adds to its answer to such a probe. Beats do not have it, because
// all askers of the topic would read it each time.
type detail struct {
	Members   []string `json:"members"`             // as an accept names them, sorted
	Count     int      `json:"count"`               // of all members; more than are named if they do not fit
	InFlight  int      `json:"in_flight"`           // requests in hand, on all topics of the node
	Publishes bool     `json:"publishes,omitempty"` // see WithPublish
}

// detailFor returns what the probe asks for beyond an announcement, or nil.
func (n *Node) detailFor(probe *nats.Msg, s *served) *detail {
	if probe.Header.Get(headerDetail) == "" {
		return nil
	}
	d := &detail{InFlight: int(n.inHand.Load()), Publishes: n.publish, Members: []string{}}
	for _, m := range s.bus.members() {
		d.Members = append(d.Members, memberWord(slot(m)))
	}
	slices.Sort(d.Members)
	d.Members = slices.Compact(d.Members)
	d.Count = len(d.Members)
	room := n.messageSize() / 2
	for i, name := range d.Members {
		if room -= len(name) + len(`"",`); room < 0 {
			d.Members = d.Members[:i]
			break
		}
	}
	return d
}
