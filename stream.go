package dispatch

import (
	"context"
	"iter"
)

// A StreamProducer answers the requests of a topic, each with any number of
// results, which go to listeners and callers as they are yielded. The sequence is
// ranged over once. An error in it ends the member as Failed, and the results
// before it stay; an error with a result discards that result. When the call has
// ended, yield returns false.
//
// What is said of [Producer] holds for it as well.
type StreamProducer[Req, Res any] func(ctx context.Context, req Req) iter.Seq2[Res, error]

// AddStreamProducer registers a stream producer, as [Dispatcher.AddProducer] does
// a producer. Streams cannot be replicas: WithGroup is refused.
func (d *Dispatcher[Req, Res]) AddStreamProducer(on Selector[Req, Res], p StreamProducer[Req, Res], opts ...ProducerOption) (*Registration, error) {
	r, err := d.register("AddStreamProducer", on, p == nil)
	if err != nil {
		return nil, err
	}
	return d.addProducer(r, p, gateStream, opts)
}

// pull hands in what a stream producer yields, until that ends or the call does.
func (c *Call[Req, Res]) pull(m *member, ctx context.Context, p StreamProducer[Req, Res]) error {
	for value, err := range p(ctx, c.req) {
		if err != nil {
			return err
		}
		if !c.hand(event[Res]{member: m}, value) {
			return nil
		}
	}
	return nil
}

// hand puts an event that ends no member into the log. It returns false if the
// call has ended; then a result is late.
func (c *Call[Req, Res]) hand(e event[Res], value Res) bool {
	e.elapsed = c.now()
	c.lockDrained()
	if c.reason != ReasonPending {
		by := e.elapsed - c.elapsed
		c.mu.Unlock()
		if e.remote != nil {
			c.observeLate(-1, e.remote.member, e.elapsed, by, nil)
		}
		c.tellLate(c.from(e), value, e.elapsed, by)
		return false
	}
	c.findListenersLocked()
	if e.remote != nil {
		if e.remote.state != StatePending || e.remote.run.run == runReturned {
			c.mu.Unlock()
			c.bus.misuse.Add(1)
			return false
		}
		e.remote.results++
	} else {
		c.detailLocked(e.member).results++
	}
	c.resultLocked(e.elapsed)
	e.value = c.log.keep(value)
	c.log.appendEvent(e)
	c.publishLocked()
	feeds := c.feeds
	c.mu.Unlock()
	if idle := tell(feeds); idle != nil {
		idle.start()
	}
	return true
}
