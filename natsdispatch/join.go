package natsdispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// Join has the calls of d on the topics ask the nodes that serve them, too. Their
// members take part as local producers do, under the name of their node; who does
// not answer is named. See the package documentation for how a missing member ends.
//
// Join subscribes and sends a request for the nodes to announce themselves; without
// a server it succeeds as well, and does so once connected. Calls that are sent
// before the nodes have had [WithDiscovery] to answer wait for that.
//
// The error wraps [dispatch.ErrInvalidArgument], [dispatch.ErrInvalidOption], a
// sentinel of [dispatch.Dispatcher.AddRelay] ([dispatch.ErrDuplicate] if the bus has
// joined the topic in this space before), [ErrConnection] if the connection is not
// set up for asking, or what the server has refused.
func Join[Req, Res any](nc *nats.Conn, d *dispatch.Dispatcher[Req, Res], on dispatch.Selector[Req, Res], opts ...JoinOption) (*Remote, error) {
	config, err := newJoinConfig(opts)
	if err != nil {
		return nil, err
	}
	r := &Remote{
		link:       link{nc: nc, onError: config.onError},
		joinConfig: config,
		open:       make(map[uint64]*asked),
		changed:    make(chan struct{}),
		table:      table{nodes: make(map[place]*present)},
	}
	if err := r.checkAsking("Join"); err != nil {
		return nil, err
	}
	if d == nil || on == nil {
		return nil, fmt.Errorf("%w: Join: nil Dispatcher or Selector", dispatch.ErrInvalidArgument)
	}
	r.logged = nc.LastError() // which is none of ours
	if !r.typesSet {
		r.types = Fingerprint[Req, Res]()
	}
	r.bus, r.topics = busID(d.Bus()), topicsOf(on)
	codec := r.codecs[0]
	relay := func(ctx context.Context, req Req, to *dispatch.Roster[Res]) error {
		payload, err := codec.Marshal(req)
		if err != nil {
			return fmt.Errorf("natsdispatch: write the request as %s: %w", codec.Name(), err)
		}
		return r.inquire(ctx, payload, to.Targets(), &rosterEar[Res]{to: to, codec: codec, named: make(map[dispatch.Member]bool, 64)})
	}
	// The name keeps a bus from joining a topic twice.
	if r.registration, err = d.AddRelay(on, relay, dispatch.WithName("nats:"+r.subjects.String())); err != nil {
		return nil, fmt.Errorf("natsdispatch: Join: %w", err)
	}
	if err := r.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("natsdispatch: Join: %w", err), r.Close())
	}
	return r, nil
}

// topicsOf returns the names or the pattern of a selector.
func topicsOf[Req, Res any](on dispatch.Selector[Req, Res]) []string {
	switch on := on.(type) {
	case dispatch.Topics[Req, Res]:
		names := make([]string, len(on))
		for i, t := range on {
			names[i] = t.Name()
		}
		slices.Sort(names)
		return slices.Compact(names)
	case fmt.Stringer:
		return []string{on.String()}
	default:
		return nil
	}
}

// rosterEar reads the results for a roster.
type rosterEar[Res any] struct {
	to    *dispatch.Roster[Res]
	codec Codec
	named map[dispatch.Member]bool // by us: to name one twice is misuse of the roster
}

func (e *rosterEar[Res]) name(m dispatch.Member) bool {
	if e.named[m] {
		return false
	}
	e.named[m] = true
	return e.to.Name(m)
}

func (e *rosterEar[Res]) result(m dispatch.Member, value []byte) error {
	var v Res
	if err := e.codec.Unmarshal(value, &v); err != nil {
		return err
	}
	e.to.Result(m, v)
	return nil
}

func (e *rosterEar[Res]) end(m dispatch.Member, err error) { e.to.End(m, err) }
