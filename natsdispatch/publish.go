package natsdispatch

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// The headers of published results, besides those of replies.
const (
	headerMember = "Dispatch-Member"

	typeResult = "result"
)

// WithPublish makes the node publish the results of its members on a subject of the space,
// for programs that listen and do not ask, such as "dispatch listen". It publishes the results
// of all calls on the node's bus, also of calls that its own process has sent, in the order in which a
// listener of the bus gets them. It does not publish results of members on other nodes.
// Without this option only the asker receives a result.
//
// The first codec of the node writes the values, one message for each. The node does not publish a value
// if the value is larger than the server's max_payload, if the codec cannot write it, or if there is no
// connection. Then [NodeStats] counts it as unsent, and its number is skipped, so listeners notice. The error
// handler is called for the first such value of a topic, but not for those without a connection. No call waits
// for the publication, and no result is published twice.
func WithPublish() ServeOption {
	return serveOption(func(c *serveConfig) error {
		c.publish = true
		return nil
	})
}

// result returns the subject of a node's published results on a topic.
func (s subjects) result(node, topic string) string {
	return s.prefix + ".v1." + s.space + ".result." + escape(node) + "." + topic
}

// audible is a topic of a bus, for a listener that does not know the type of the results.
type audible interface {
	// listen adds a listener that calls hear with each result, one at a time. write returns the value of the
	// result, written by the codec.
	listen(name string, hear func(call dispatch.CallID, from dispatch.Member, write func(safe) ([]byte, error))) (*dispatch.Registration, error)
}

func (b *typedBus[Req, Res]) listen(name string, hear func(dispatch.CallID, dispatch.Member, func(safe) ([]byte, error))) (*dispatch.Registration, error) {
	return b.d.AddListener(b.topic, func(_ context.Context, r dispatch.Result[Req, Res]) {
		hear(r.Call.ID(), r.From, func(c safe) ([]byte, error) { return marshal(c, r.Value) })
	}, dispatch.WithName(name))
}

// publishing holds the listeners that a node with [WithPublish] has on its bus.
type publishing struct{ listeners []*dispatch.Registration }

// startPublishing adds the listeners if the node has the option [WithPublish].
func (n *Node) startPublishing() error {
	if !n.publish {
		return nil
	}
	for _, s := range n.topics {
		p := &publisher{node: n, topic: s.name}
		added, err := s.bus.(audible).listen("nats:"+n.subjects.String(), p.hear)
		if err != nil {
			return fmt.Errorf("publish the results of %s: %w", s.name, err)
		}
		n.publishing.listeners = append(n.publishing.listeners, added)
	}
	return nil
}

// drain waits until the results that were recorded before have been published, and removes the listeners.
func (p *publishing) drain(ctx context.Context) error {
	for _, l := range p.listeners {
		if err := l.Drain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stop removes the listeners at once.
func (p *publishing) stop() {
	for _, l := range p.listeners {
		l.Remove()
	}
}

// publisher publishes the results of one topic. A listener is called with one result at a
// time, so a publisher needs no lock.
type publisher struct {
	node   *Node
	topic  string
	seq    uint64 // the number of the next result
	failed bool   // it was reported that a result was not published
}

func (p *publisher) hear(call dispatch.CallID, from dispatch.Member, write func(safe) ([]byte, error)) {
	if from.Node != "" {
		return // the result is of another node, which may publish it
	}
	n := p.node
	seq := p.seq
	p.seq++
	err := p.publish(seq, call, from, write)
	if err == nil {
		return
	}
	n.counts.unsent.Add(1)
	if cut := !n.nc.IsConnected() || is(err, nats.ErrConnectionClosed); !cut && !p.failed {
		p.failed = true // further failures are only counted
		n.fail(fmt.Errorf("natsdispatch: node %s: publish a result of %v: %w", n.node, from, err))
	}
}

func (p *publisher) publish(seq uint64, call dispatch.CallID, from dispatch.Member, write func(safe) ([]byte, error)) error {
	n, codec := p.node, safe{p.node.codecs[0], &p.node.news}
	value, err := write(codec)
	if err != nil {
		return fmt.Errorf("write it as %s: %w", codec.Name(), err)
	}
	m := &nats.Msg{Subject: n.result(n.node, p.topic), Header: sender{node: n.node, epoch: n.epoch, seq: seq}.header(), Data: value}
	number, member := strconv.FormatUint(uint64(call), 10), memberWord(from)
	for key, v := range map[string]string{
		headerType: typeResult, headerCall: number, headerMember: member, headerCodec: codec.Name(), headerTypes: n.types,
	} {
		if v != "" {
			m.Header[key] = []string{v}
		}
	}
	if n.sign != nil {
		if err := n.setSignature(m.Header, n.signed(resultCall(p.topic, number, member), n.node, n.epoch, seq, value)); err != nil {
			return err
		}
	}
	err = n.nc.PublishMsg(m)
	if errors.Is(err, nats.ErrMaxPayload) {
		return fmt.Errorf("%w: %d bytes; the server allows %d, headers included", ErrTooLarge, len(value), n.nc.MaxPayload())
	}
	return err
}

// memberWord returns the member as an accept names it.
func memberWord(m dispatch.Member) string {
	line := appendAccept(nil, naming{}, []dispatch.Member{m})
	return string(line[len(kindAccept)+1 : len(line)-1])
}

// resultCall returns what the signature of a published result covers instead of the id of a call.
func resultCall(topic, call, member string) string {
	return typeResult + "." + topic + " " + call + " " + member
}
