package dispatch

import (
	"context"
	"iter"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
	"github.com/seed-bb4b4d74/dispatch/internal/inbox"
	"github.com/seed-bb4b4d74/dispatch/internal/registry"
)

// A Dispatcher is a typed view of a [Bus]. It registers producers and listeners on topics of
// its types and sends requests to them.
//
// [New] and [On] return a Dispatcher. The methods of the zero Dispatcher that can return an
// error return [ErrInvalidArgument]. A Dispatcher is safe for concurrent use.
type Dispatcher[Req, Res any] struct{ bus *Bus }

// New returns a dispatcher on a bus of its own. It panics if an option is invalid.
func New[Req, Res any](opts ...BusOption) *Dispatcher[Req, Res] {
	return On[Req, Res](NewBus(opts...))
}

// On returns a dispatcher on an existing bus. It panics if b is nil.
func On[Req, Res any](b *Bus) *Dispatcher[Req, Res] {
	if b == nil {
		panic(invalidArgument("On: nil Bus"))
	}
	return &Dispatcher[Req, Res]{b}
}

// Bus returns the bus of the dispatcher.
func (d *Dispatcher[Req, Res]) Bus() *Bus { return d.bus }

// Members returns the members that a call of the topic would have now, in the order of
// registration. A group is one member, without the name of a replica. Members that relays
// would name are not included. Members returns nil if there are no producers, or if the
// topic has other types on the bus.
func (d *Dispatcher[Req, Res]) Members(t Topic[Req, Res]) []Member {
	if d.valid("Members") != nil || t.spec == nil {
		return nil
	}
	on := d.bus.registry.Route(&t.spec.Topic)
	if on.Types != t.spec.Types {
		return nil
	}
	var members []Member
	if on.Seats == nil {
		for _, p := range on.Producers {
			members = append(members, p.member())
		}
	}
	for _, s := range on.Seats {
		if s.Group != "" {
			members = append(members, Member{Group: s.Group})
		} else {
			members = append(members, s.Candidates[0].member())
		}
	}
	return members
}

// Shutdown is [Bus.Shutdown] for the dispatcher's bus.
func (d *Dispatcher[Req, Res]) Shutdown(ctx context.Context) error {
	if err := d.valid("Shutdown"); err != nil {
		return err
	}
	return d.bus.Shutdown(ctx)
}

// Close is [Bus.Close] for the dispatcher's bus.
func (d *Dispatcher[Req, Res]) Close() error {
	if err := d.valid("Close"); err != nil {
		return err
	}
	return d.bus.Close()
}

func (d *Dispatcher[Req, Res]) valid(method string) error {
	if d == nil || d.bus == nil {
		return invalidArgument("%s: zero Dispatcher", method)
	}
	return nil
}

// AddProducer registers a producer on one topic, on several topics, or on all topics that
// match a pattern. The producer takes part in all calls that are sent after that. The error
// wraps [ErrInvalidArgument], [ErrInvalidOption], [ErrTopicType] if a topic has other types
// on this bus, [ErrDuplicate] if the name is taken, or [ErrClosed].
func (d *Dispatcher[Req, Res]) AddProducer(on Selector[Req, Res], p Producer[Req, Res], opts ...ProducerOption) (*Registration, error) {
	r, err := d.register("AddProducer", on, p == nil)
	if err != nil {
		return nil, err
	}
	return addProducer(r, p, 0, opts)
}

// AddStreamProducer registers a stream producer, like [Dispatcher.AddProducer]. Stream
// producers cannot be replicas: WithGroup is an invalid option here.
func (d *Dispatcher[Req, Res]) AddStreamProducer(on Selector[Req, Res], p StreamProducer[Req, Res], opts ...ProducerOption) (*Registration, error) {
	r, err := d.register("AddStreamProducer", on, p == nil)
	if err != nil {
		return nil, err
	}
	return addProducer(r, p, gateStream, opts)
}

// AddRelay registers a relay, like [Dispatcher.AddProducer]. WithName is the only valid
// option.
func (d *Dispatcher[Req, Res]) AddRelay(on Selector[Req, Res], relay Relay[Req, Res], opts ...ProducerOption) (*Registration, error) {
	r, err := d.register("AddRelay", on, relay == nil)
	if err != nil {
		return nil, err
	}
	return addProducer(r, relay, gateRelay, opts)
}

// addProducer adds a producer of any kind.
func addProducer(r Registration, fn any, gate uint32, opts []ProducerOption) (*Registration, error) {
	config, err := newProducerConfig(opts)
	if err != nil {
		return nil, err
	}
	p, err := newProducer(r, fn, gate, config)
	if err != nil {
		return nil, err
	}
	return p.enlist()
}

// AddListener registers a listener on one topic, on several topics, or on all topics that
// match a pattern. The listener is called with all results that are recorded after that,
// including those of calls in flight. The error is as for [Dispatcher.AddProducer]; the
// names of listeners need not be unique.
func (d *Dispatcher[Req, Res]) AddListener(on Selector[Req, Res], l Listener[Req, Res], opts ...ListenerOption) (*Registration, error) {
	r, err := d.register("AddListener", on, l == nil)
	if err != nil {
		return nil, err
	}
	config, err := newListenerConfig(opts)
	if err != nil {
		return nil, err
	}
	return newListener(r, l, config).enlist()
}

// register makes a registration after the checks that all kinds have in common.
func (d *Dispatcher[Req, Res]) register(method string, on Selector[Req, Res], nilFunc bool) (r Registration, err error) {
	if err := d.valid(method); err != nil {
		return r, err
	}
	if v := reflect.ValueOf(on); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return r, invalidArgument("%s: nil Selector", method)
	}
	if nilFunc {
		return r, invalidArgument("%s: nil func", method)
	}
	s, err := on.selects(nil)
	if err != nil {
		return r, invalidArgument("%s: %v", method, err)
	}
	r = Registration{bus: &d.bus.hub, at: caller(2)}
	r.entry.Selection = s
	return r, nil
}

// Send asks every producer of the topic and returns at once. The results are delivered to
// the topic's listeners and can be read from the call. Under [WithMaxInFlight] Send first
// waits for a place.
//
// The call ends at its deadline at the latest, and is canceled when ctx is canceled. If ctx
// has ended already, or if there are no producers, Send returns a call that has ended and
// calls no producer. The error wraps [ErrInvalidArgument], [ErrInvalidOption],
// [ErrTopicType], [ErrTooDeep], [ErrOverloaded] or [ErrClosed]; then there is no call.
func (d *Dispatcher[Req, Res]) Send(ctx context.Context, t Topic[Req, Res], req Req, opts ...CallOption) (*Call[Req, Res], error) {
	return d.send("Send", ctx, t, req, opts)
}

func (d *Dispatcher[Req, Res]) send(method string, ctx context.Context, t Topic[Req, Res], req Req, opts []CallOption) (*Call[Req, Res], error) {
	c, err := d.prepare(method, ctx, t, req, opts, nil)
	if err != nil {
		return nil, err
	}
	c.launch()
	return c, nil
}

// Gather asks every producer of the topic and waits for the end of the call. It returns the
// values in the order in which the producers were registered. Producers without an answer
// leave no gap: the index of a value is not the index of its producer. To know the producer
// of a value, use [Dispatcher.Stream] or [Dispatcher.Send]. Gather also returns a
// [*PartialError] that names every member that neither answered nor declined. The error is
// nil if the call was satisfied. It is also nil if every member answered or declined and the
// quorum, if any, was reached; see [Report.Err].
//
// Gather does not wait for listeners. When Gather returns, listeners may not have been
// called yet; [Bus.Shutdown] delivers the results that are queued for them.
func (d *Dispatcher[Req, Res]) Gather(ctx context.Context, t Topic[Req, Res], req Req, opts ...CallOption) ([]Res, error) {
	c, err := d.send("Gather", ctx, t, req, opts)
	if err != nil {
		return nil, err
	}
	<-c.Done()
	return c.values(), c.partialErr()
}

// First asks every producer of the topic and returns the first result, even if it comes from
// a stream or from a relay's member that has not ended. Then the call is Satisfied and the
// contexts of all its producers end. This closes resources that depend on these contexts,
// such as the body of an HTTP response, before the caller can read them. See [Producer].
//
// If there is no result, the error is a [*PartialError] that names every member, or
// [ErrNoResult] if no member is missing and at least one ended OK without a result.
// [WithQuorum], [WithMajority] and [WithRequired] have no effect.
func (d *Dispatcher[Req, Res]) First(ctx context.Context, t Topic[Req, Res], req Req, opts ...CallOption) (Res, error) {
	var none Res
	c, err := d.send("First", ctx, t, req, append(opts[:len(opts):len(opts)], callOption(untilFirst)))
	if err != nil {
		return none, err
	}
	<-c.Done()
	for r := range c.Results() {
		return r.Value, nil
	}
	return none, c.Report().firstErr()
}

// Stream returns the results as a sequence, in the order in which they arrive. It sends the
// request when a loop over the sequence begins. Only one loop is possible: a second loop
// yields [ErrStreamUsed]. Leaving the loop cancels the call. If [Dispatcher.Gather] would
// return an error, the last pair has this error and no result.
//
// The call releases each result after it has yielded it. So [Call.Results] and
// [Call.Outcomes] of a call made by Stream begin with what is still to come.
func (d *Dispatcher[Req, Res]) Stream(ctx context.Context, t Topic[Req, Res], req Req, opts ...CallOption) iter.Seq2[Result[Req, Res], error] {
	var used atomic.Bool
	return func(yield func(Result[Req, Res], error) bool) {
		if used.Swap(true) {
			yield(Result[Req, Res]{}, ErrStreamUsed)
			return
		}
		// Only the reader holds the pages of the log, so they can be freed behind it.
		first := new(calllog.Page)
		c, err := d.prepare("Stream", ctx, t, req, opts, first)
		if err != nil {
			yield(Result[Req, Res]{}, err)
			return
		}
		defer c.Cancel(nil)
		left := false
		reader := first.Start()
		first = nil
		c.launch()
		c.readFrom(reader, func(r Result[Req, Res]) bool {
			left = !yield(r, nil)
			return !left
		})
		if err := c.partialErr(); err != nil && !left {
			yield(Result[Req, Res]{}, err)
		}
	}
}

// prepare makes a call with everything but its first worker. The call may have ended already.
// The log begins on the page, or on one that the call keeps if page is nil.
func (d *Dispatcher[Req, Res]) prepare(method string, ctx context.Context, t Topic[Req, Res], req Req, opts []CallOption, page *calllog.Page) (*Call[Req, Res], error) {
	switch err := d.valid(method); {
	case err != nil:
		return nil, err
	case ctx == nil:
		return nil, invalidArgument("%s: nil context", method)
	case t.spec == nil:
		return nil, invalidArgument("%s: zero Topic", method)
	}
	c := &Call[Req, Res]{req: req}
	c.half, c.bus, c.topic, c.sender = c, d.bus, t.spec, ctx
	c.worker = c.newWorker()
	if c.policy = &d.bus.policy; len(t.spec.defaults())+len(opts) > 0 {
		p, err := d.bus.policy.with(t.spec.defaults(), opts)
		if err != nil {
			return nil, err
		}
		c.policy = p
	}
	level, err := c.admitted(ctx)
	if err != nil {
		return nil, err
	}
	if c.readable = page == nil; c.readable {
		page = &c.first
	}
	c.log.Open(page)
	if err := c.enter(ctx, level); err != nil {
		return nil, err
	}
	return c, nil
}

// OnLate calls f with each late result and how late it is: a result that arrives after the
// end of its call, after another replica has answered for its group (the loser of a hedge),
// or after the timeout of its producer. f can close resources that such a result holds. f
// gets the late results of all calls of these types on the bus, from every dispatcher. It
// never runs twice at the same time, and no call waits for it. f is not called after
// [Bus.Close]. OnLate panics if f is nil or the dispatcher is zero.
func (d *Dispatcher[Req, Res]) OnLate(f func(r Result[Req, Res], by time.Duration)) *Registration {
	if err := d.valid("OnLate"); err != nil {
		panic(err)
	}
	if f == nil {
		panic(invalidArgument("OnLate: nil func"))
	}
	h := &lateHook{fn: f}
	types := typesOf[Req, Res]()
	r := Registration{bus: &d.bus.hub, at: caller(1), self: h}
	r.entry.Name, r.entry.Selection = "OnLate", &registry.Selection{Types: &types}
	h.init(r, inbox.Config{})
	_ = d.bus.add(h) // which cannot fail
	return &h.Registration
}
