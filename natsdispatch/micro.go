package natsdispatch

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/nats-io/nuid"

	"github.com/seed-bb4b4d74/dispatch"
)

// serviceName is the name that all nodes have as services of NATS.
const serviceName = "dispatch"

var semanticVersion = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// service shows a node to the tools of NATS. It answers the questions of these tools in the form of package
// micro. A service of package micro itself would count only requests that it answers one at a time and
// with one message each, and would set handlers of the connection.
type service struct {
	node     *Node
	identity micro.ServiceIdentity
	started  time.Time
	subs     []*nats.Subscription
}

// showService subscribes to the questions of the tools of NATS.
func (n *Node) showService() (*service, error) {
	s := &service{node: n, started: time.Now().UTC(), identity: micro.ServiceIdentity{
		Name: serviceName, ID: nuid.Next(), Version: n.micro,
		Metadata: map[string]string{"node": n.node, "space": n.subjects.String(), "bus": n.bus},
	}}
	for verb, answer := range map[micro.Verb]func() any{micro.PingVerb: s.ping, micro.InfoVerb: s.info, micro.StatsVerb: s.stats} {
		for _, to := range [][2]string{{}, {serviceName}, {serviceName, s.identity.ID}} {
			subject, err := micro.ControlSubject(verb, to[0], to[1])
			if err != nil {
				return s, fmt.Errorf("WithMicro: %w", err)
			}
			sub, err := n.subscribe(subject, "", func(m *nats.Msg) { s.answer(m, answer()) })
			if err != nil {
				return s, fmt.Errorf("WithMicro: %w", err)
			}
			s.subs = append(s.subs, sub)
		}
	}
	return s, nil
}

func (s *service) answer(m *nats.Msg, v any) {
	if m.Reply == "" {
		return
	}
	body, err := json.Marshal(v)
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil && s.node.nc.IsConnected() {
		s.node.fail(fmt.Errorf("natsdispatch: node %s: service: %w", s.node.node, err))
	}
}

func (s *service) ping() any {
	return micro.Ping{ServiceIdentity: s.identity, Type: micro.PingResponseType}
}

// endpointName returns the name of the endpoint of a topic.
func endpointName(topic string) string { return strings.ReplaceAll(topic, ".", "-") }

func (s *service) info() any {
	info := micro.Info{
		ServiceIdentity: s.identity, Type: micro.InfoResponseType,
		Description: "natsdispatch node " + s.node.node, Endpoints: []micro.EndpointInfo{},
	}
	for _, t := range s.node.topics {
		info.Endpoints = append(info.Endpoints, micro.EndpointInfo{
			Name: endpointName(t.name), Subject: s.node.ask(t.name), Metadata: map[string]string{"topic": t.name, "types": s.node.types},
		})
	}
	return info
}

func (s *service) stats() any {
	stats := micro.Stats{ServiceIdentity: s.identity, Type: micro.StatsResponseType, Started: s.started, Endpoints: []*micro.EndpointStats{}}
	data, err := json.Marshal(s.node.Stats())
	if err != nil {
		data = nil // never happens
	}
	for _, t := range s.node.topics {
		e := t.measured.stats()
		e.Name, e.Subject, e.Data = endpointName(t.name), s.node.ask(t.name), data
		stats.Endpoints = append(stats.Endpoints, e)
	}
	return stats
}

// measured counts the requests on a topic, for the tools of NATS.
type measured struct {
	mu        sync.Mutex // guards the fields below
	requests  int
	errors    int
	lastError string
	took      time.Duration // the processing time of all requests together
}

// add counts a request that has ended. failure says why it failed; empty: it has not failed.
func (m *measured) add(took time.Duration, failure string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests++
	m.took += took
	if failure != "" {
		m.errors++
		m.lastError = failure
	}
}

func (m *measured) stats() *micro.EndpointStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := &micro.EndpointStats{NumRequests: m.requests, NumErrors: m.errors, LastError: m.lastError, ProcessingTime: m.took}
	if m.requests > 0 {
		e.AverageProcessingTime = m.took / time.Duration(m.requests)
	}
	return e
}

// measure counts a request that has ended, if the node has the option WithMicro. A request has failed if the
// node has refused it, or if a member has neither answered nor declined. A canceled member does not count.
func (n *Node) measure(w *work) {
	if n.micro == "" {
		return
	}
	w.mu.Lock()
	c, failure := w.call, w.refused
	w.mu.Unlock()
	if c != nil {
		for _, o := range c.Report().Outcomes {
			if !o.Answered() && o.State != dispatch.StateDeclined && o.State != dispatch.StateCanceled {
				failure = fmt.Sprintf("%v: %v: %v", o.Member, o.State, o.Err)
				break
			}
		}
	}
	w.topic.measured.add(time.Since(w.ends.Add(-w.budget)), failure)
}
