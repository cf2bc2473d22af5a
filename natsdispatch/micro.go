package natsdispatch

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/micro"
)

// serviceName is what nodes are called among the services of NATS.
const serviceName = "dispatch"

// addService shows the node to the tools of NATS. Each topic is an endpoint, which
// answers with the node's statistics; requests are not served by it.
func (n *Node) addService() (micro.Service, error) {
	service, err := micro.AddService(n.nc, micro.Config{
		Name: serviceName, Version: n.micro, Description: "natsdispatch node " + n.node,
		Metadata:           map[string]string{"node": n.node, "space": n.subjects.String(), "bus": n.bus},
		QueueGroupDisabled: true,
		StatsHandler:       func(*micro.Endpoint) any { return n.Stats() },
		ErrorHandler: func(_ micro.Service, err *micro.NATSError) {
			n.fail(fmt.Errorf("natsdispatch: node %s: service: %w", n.node, err))
		},
	})
	if err != nil {
		return nil, fmt.Errorf("WithMicro: %w", err)
	}
	for _, s := range n.topics {
		answer := micro.HandlerFunc(func(r micro.Request) {
			stats, err := json.Marshal(n.Stats())
			if err == nil {
				err = r.Respond(stats)
			}
			if err != nil {
				n.fail(fmt.Errorf("natsdispatch: node %s: statistics: %w", n.node, err))
			}
		})
		name := strings.ReplaceAll(s.name, ".", "-")
		subject := n.prefix + "." + n.space + ".stats." + escape(n.node) + "." + s.name
		if err := service.AddEndpoint(name, answer, micro.WithEndpointSubject(subject), micro.WithEndpointMetadata(map[string]string{
			"topic": s.name, "subject": n.ask(s.name), "types": n.types,
		})); err != nil {
			return service, fmt.Errorf("WithMicro: topic %s: %w", s.name, err)
		}
	}
	return service, nil
}
