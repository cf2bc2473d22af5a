package natsdispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// Join makes the calls of d on the topics also ask the nodes that serve these topics. Their
// members take part like local producers, under the name of their node, and reports name each
// member that does not answer. See the package documentation for the outcomes of missing members.
//
// Join subscribes and asks the nodes to announce themselves. Join also succeeds without a server, and
// then does this as soon as there is a connection. Calls within
// [WithDiscovery] after that ask at once, and do not end before this time
// has passed, but wait at most a quarter of their own time, and not at all if the server says that no node is there.
//
// The error wraps [dispatch.ErrInvalidArgument], [dispatch.ErrInvalidOption], a
// sentinel of [dispatch.Dispatcher.AddRelay] ([dispatch.ErrDuplicate] if the bus has
// joined the topic in this space before), [ErrConnection] if the connection is not
// set up for asking, or what the server has refused. A call that is sent before Join has returned may ask no nodes.
func Join[Req, Res any](nc *nats.Conn, d *dispatch.Dispatcher[Req, Res], on dispatch.Selector[Req, Res], opts ...JoinOption) (*Remote, error) {
	config, err := newJoinConfig(opts)
	if err != nil {
		return nil, err
	}
	r := &Remote{
		link:       newLink(nc, &config.config, slog.String("space", config.subjects.String()), slog.Any("topics", topicsOf(on))),
		joinConfig: config,
		open:       make(map[uint64]*asked),
		changed:    make(chan struct{}),
		online:     make(chan struct{}),
		table:      table{forget: config.forget, most: config.maxNodes},
	}
	if err := r.checkAsking("Join"); err != nil {
		return nil, err
	}
	if d == nil || on == nil {
		return nil, fmt.Errorf("%w: Join: nil Dispatcher or Selector", dispatch.ErrInvalidArgument)
	}
	if err := checkTypes[Req, Res](r.codecs[:1]); err != nil {
		return nil, fmt.Errorf("natsdispatch: Join: %w", err)
	}
	r.logged = nc.LastError() // an older error does not concern the Remote
	r.isOurs = func(what refused) bool { return r.has(what.subject) || strings.HasPrefix(what.subject, r.inbox+".") }
	if !r.typesSet {
		r.types = Fingerprint[Req, Res]()
	}
	r.bus, r.topics = busID(d.Bus()), topicsOf(on)
	codec := safe{r.codecs[0], &r.news}
	relay := func(ctx context.Context, req Req, to *dispatch.Roster[Res]) error {
		if !r.started.Load() {
			return nil // the call was sent before Join has returned
		}
		write := func() ([]byte, error) {
			payload, err := marshal(codec, req)
			if err != nil {
				err = fmt.Errorf("natsdispatch: write the request as %s: %w", codec.Name(), err)
			}
			return payload, err
		}
		return r.inquire(ctx, write, to.Targets(), &rosterEar[Res]{to: to, codec: codec})
	}
	// The bus refuses a second relay of this name, so it cannot join a topic twice in this space.
	if r.registration, err = d.AddRelay(on, relay, dispatch.WithName("nats:"+r.subjects.String())); err != nil {
		return nil, fmt.Errorf("natsdispatch: Join: %w", err)
	}
	err = r.start()
	if err == nil {
		r.started.Store(true)
		r.description, err = d.Bus().AddLink(r.status)
	}
	if err != nil {
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

// rosterEar is the ear that decodes results for a roster. flush gives the roster all that one message says
// at once.
type rosterEar[Res any] struct {
	to       *dispatch.Roster[Res]
	codec    safe
	named    map[dispatch.Member]bool // the members that were named or are expected: to name a member twice is misuse of the roster
	expects  int                      // how many expected members there were
	expected dispatch.Member          // the member that the members of the batch replace; the zero Member: none
	batch    []dispatch.Answer[Res]   // flush empties it and keeps its memory
}

func (e *rosterEar[Res]) expect(m dispatch.Member) {
	e.flush()
	e.expects++
	if e.named == nil {
		e.named = make(map[dispatch.Member]bool)
	}
	e.named[m] = true // a node that has asked further nodes may name an expected member, too
	e.to.Expect(m)
}

// grow makes room for n members. When the first members are named, it makes room for as many in the place of
// each expected member, within limits.
func (e *rosterEar[Res]) grow(n int) {
	e.batch = slices.Grow(e.batch, n)
	if e.named == nil && n > 0 {
		e.named = make(map[dispatch.Member]bool, min(n*max(e.expects, 1), max(n, mostAlike)))
	}
}

// mostAlike bounds the room for members that may never be named.
const mostAlike = 1024

func (e *rosterEar[Res]) accept(expected dispatch.Member, members []dispatch.Member) {
	if expected != (dispatch.Member{}) {
		e.flush()
		e.expected = expected
		delete(e.named, expected)
	}
	e.grow(len(members))
	for i, m := range members {
		if e.named[m] {
			members[i] = dispatch.Member{}
			continue
		}
		e.named[m] = true
		e.batch = append(e.batch, dispatch.Answer[Res]{From: m})
	}
}

func (e *rosterEar[Res]) result(m dispatch.Member, value []byte) error {
	n := len(e.batch)
	e.batch = append(e.batch, dispatch.Answer[Res]{From: m, HasValue: true})[:n] // without it until it is read
	next := &e.batch[:n+1][n]
	if err := e.codec.unmarshal(value, &next.Value); err != nil {
		*next = dispatch.Answer[Res]{}
		return err
	}
	e.batch = e.batch[:n+1]
	return nil
}

func (e *rosterEar[Res]) all(expected dispatch.Member, members []dispatch.Member, array []byte) error {
	if _, ok := e.codec.Codec.(JSON); !ok {
		return errors.ErrUnsupported
	}
	values := make([]Res, 0, len(members))
	if err := (safe{Codec: e.codec.Codec}).unmarshal(array, &values); err != nil { // result logs the panics
		return err
	}
	if len(values) != len(members) {
		return fmt.Errorf("%w: %d values of %d members", ErrMalformed, len(values), len(members))
	}
	e.accept(expected, nil)
	e.grow(len(members))
	for i, m := range members {
		if !e.named[m] {
			e.named[m] = true
			e.batch = append(e.batch, dispatch.Answer[Res]{From: m, Value: values[i], HasValue: true, Ended: true})
		}
	}
	return nil
}

func (e *rosterEar[Res]) end(m dispatch.Member, err error) {
	if n := len(e.batch); n > 0 && e.batch[n-1].From == m && !e.batch[n-1].Ended {
		e.batch[n-1].Ended, e.batch[n-1].Err = true, err
		return
	}
	e.batch = append(e.batch, dispatch.Answer[Res]{From: m, Ended: true, Err: err})
}

func (e *rosterEar[Res]) flush() {
	if len(e.batch) == 0 && e.expected == (dispatch.Member{}) {
		return
	}
	e.to.Answers(e.expected, e.batch)
	clear(e.batch) // codecs decode into these values, and would keep old fields
	e.batch, e.expected = e.batch[:0], dispatch.Member{}
}
