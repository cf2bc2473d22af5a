package natsdispatch

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"reflect"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// Serve makes the bus of d answer the askers that have joined the topics: its
// producers, also those that are added later, answer as members of the node. Requests
// run under the policies of this bus and within the time of the asker's call.
//
// Serve subscribes, waits until the server has confirmed the subscriptions, and announces the
// node. Serve also succeeds without a server, and then does this as soon as there is a connection. The topics
// are a [dispatch.Topic] or [dispatch.Topics]; for topics of several types
// call Serve once for each type, with the same [WithNode].
//
// The error wraps [dispatch.ErrInvalidArgument], [dispatch.ErrInvalidOption],
// [ErrConnection], or what the server has refused, such as
// [nats.ErrPermissionViolation].
func Serve[Req, Res any](nc *nats.Conn, d *dispatch.Dispatcher[Req, Res], on dispatch.Selector[Req, Res], opts ...ServeOption) (*Node, error) {
	config, err := newServeConfig(opts)
	if err != nil {
		return nil, err
	}
	n := &Node{
		link:        newLink(nc, &config.config, slog.String("space", config.subjects.String()), slog.String("serving", config.node)),
		serveConfig: config,
		work:        make(map[string]*work),
		idle:        make(chan struct{}),
		cut:         make(chan struct{}),
		inboxes:     make(map[string]bool),
		twins:       make(map[int64]bool),
		next:        make(chan *work),
		seen:        seen{most: config.remember},
	}
	n.store.most, n.store.make = config.maxWaiting, n.makeRoom
	if err := n.check("Serve"); err != nil {
		return nil, err
	}
	if _, ok := on.(dispatch.Pattern[Req, Res]); d == nil || on == nil || ok {
		return nil, fmt.Errorf("%w: Serve: nil Dispatcher or Selector, or a Pattern, whose topics are not known", dispatch.ErrInvalidArgument)
	}
	if n.codecs, err = codecsFor[Req, Res](config.codecs); err != nil {
		return nil, fmt.Errorf("natsdispatch: Serve: %w", err)
	}
	n.logged = nc.LastError() // an older error does not concern the Node
	n.isOurs, n.draining = n.isOur, n.connectionDrains
	if !n.typesSet {
		n.types = Fingerprint[Req, Res]()
	}
	n.bus = busID(d.Bus())
	names := topicsOf(on)
	if len(names) == 0 || names[0] == "" {
		return nil, fmt.Errorf("%w: Serve: no Topics, or a zero Topic", dispatch.ErrInvalidArgument)
	}
	for _, name := range names {
		topic, err := dispatch.ParseTopic[Req, Res](name) // without the defaults of the topic, because those of the asker apply
		if err != nil {
			return nil, err
		}
		n.topics = append(n.topics, &served{name: name, bus: &typedBus[Req, Res]{d, topic}, groups: make(map[string]*nats.Subscription)})
	}
	err = n.start()
	if err == nil {
		err = n.startPublishing()
	}
	if err == nil {
		n.description, err = d.Bus().AddLink(n.status)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("natsdispatch: Serve: %w", err), n.Close())
	}
	n.served = true
	return n, nil
}

// server is a topic of a bus, for code that does not know the types of the topic.
type server interface {
	// members returns the members that a call would ask now.
	members() []dispatch.Member
	// send reads the request in the payload, and sends it to the producers of the topic.
	send(ctx context.Context, codec safe, payload []byte, opts []dispatch.CallOption) (call, error)
}

// call is a [dispatch.Call], for code that does not know its types.
type call interface {
	Cancel(cause error)
	Report() dispatch.Report
	Outcomes() iter.Seq[dispatch.Outcome]
	// values calls yield with each result, written by the codec, until the call has ended. It skips the results
	// of members for which wants returns false.
	values(codec safe, wants func(m dispatch.Member) bool, yield func(m dispatch.Member, value []byte, err error))
	// whole returns the results of a call that has ended with one result of each of these members and no others,
	// as a JSON array in the order of the members. It returns false if the call has not ended or has ended
	// differently, if the codec is not JSON or cannot write the results, or if there are too many members.
	whole(codec safe, members []dispatch.Member) (array []byte, ok bool)
}

type typedBus[Req, Res any] struct {
	d     *dispatch.Dispatcher[Req, Res]
	topic dispatch.Topic[Req, Res]
}

func (b *typedBus[Req, Res]) members() []dispatch.Member { return b.d.Members(b.topic) }

func (b *typedBus[Req, Res]) send(ctx context.Context, codec safe, payload []byte, opts []dispatch.CallOption) (call, error) {
	var req Req
	if err := codec.unmarshal(payload, &req); err != nil {
		return nil, fmt.Errorf("%w: the request: %w", ErrMalformed, err)
	}
	c, err := b.d.Send(ctx, b.topic, req, opts...)
	if err != nil {
		return nil, err
	}
	return typedCall[Req, Res]{c}, nil
}

type typedCall[Req, Res any] struct{ *dispatch.Call[Req, Res] }

func (c typedCall[Req, Res]) values(codec safe, wants func(m dispatch.Member) bool, yield func(m dispatch.Member, value []byte, err error)) {
	for r := range c.Results() {
		if !wants(r.From) {
			continue
		}
		value, err := marshal(codec, r.Value)
		if err != nil {
			err = fmt.Errorf("natsdispatch: write a result as %s: %w", codec.Name(), err)
		}
		yield(r.From, value, err)
	}
}

// mostInArray bounds the members of whole, which may search all of them for each result.
const mostInArray = 256

func (c typedCall[Req, Res]) whole(codec safe, members []dispatch.Member) (array []byte, ok bool) {
	if _, ok := codec.Codec.(JSON); !ok || len(members) == 0 || len(members) > mostInArray || !c.isWell() {
		return nil, false
	}
	if reflect.TypeFor[Res]().Kind() == reflect.Uint8 {
		return nil, false // JSON writes bytes as a string
	}
	values, next, count := make([]Res, len(members)), 0, 0
	for r := range c.Results() {
		m := slot(r.From)
		if next >= len(members) || members[next] != m {
			if next = slices.Index(members, m); next < 0 {
				return nil, false
			}
		}
		values[next] = r.Value
		next, count = next+1, count+1
	}
	array, err := marshal(safe{Codec: codec.Codec}, values) // values logs the panics
	return array, err == nil && count == len(members)
}

// isWell reports whether the call has ended with one result of each member.
func (c typedCall[Req, Res]) isWell() bool {
	select {
	case <-c.Done():
	default:
		return false
	}
	for o := range c.Outcomes() {
		if o.State != dispatch.StateOK || o.Results != 1 {
			return false
		}
	}
	return true
}
