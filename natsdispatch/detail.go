package natsdispatch

import (
	"slices"

	"github.com/nats-io/nats.go"
)

// headerDetail is set on a probe that asks for more than an announcement.
const headerDetail = "Dispatch-Detail"

// detail is what a node adds to its answer to a probe with headerDetail. Beats have no detail, because all
// askers of the topic would have to read it each time.
type detail struct {
	Members   []string `json:"members"`             // as an accept names them, sorted; fewer than Count if they do not fit
	Count     int      `json:"count"`               // the number of all members
	InFlight  int      `json:"in_flight"`           // requests that the node works on, on all of its topics
	Publishes bool     `json:"publishes,omitempty"` // see WithPublish
}

// detailFor returns the detail for the answer to a probe, or nil if the probe asks for none.
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
