package dispatch

import (
	"context"
	"sync/atomic"
)

// A Producer answers the requests of a topic, each with one result or an error.
// It is called concurrently unless [WithConcurrency] says otherwise, and should
// return when its context ends: nothing can stop it, and what it returns after
// that is late.
//
// A Producer that returns [ErrDecline] has nothing to say, which is no failure. A
// panic or [runtime.Goexit] ends the one member of the one call and nothing else.
type Producer[Req, Res any] func(ctx context.Context, req Req) (Res, error)

// producer is a registered Producer.
type producer struct {
	Registration
	fn    any // a Producer of the types of the topic
	gates atomic.Uint32

	limits      *limits      // nil: none
	abandoned   atomic.Int32 // runs that have outlived their calls
	failed      atomic.Uint64
	lastFailure atomic.Pointer[detail]
	labels      labels

	group *replica // its part in a group, or what makes it one; nil for neither
}

// The gates of a producer can stand between a call and the closure.
const (
	gateRemoved uint32 = 1 << iota // the registration has ended
	gateLimited                    // its runs are counted, and may have to wait for a slot
	gateStream                     // it is a StreamProducer
	gateRelay                      // it is a Relay
	gateUnknown                    // it stands for a name that nobody has
)

// open reports whether nothing stands between a call and the closure.
func (p *producer) open() bool { return p.gates.Load() == 0 && p.abandoned.Load() == 0 }

// unknownProducer stands in a call for a name that nobody has.
func unknownProducer(b *Bus, name string) *producer {
	p := &producer{Registration: Registration{bus: b, name: name}}
	p.gates.Store(gateUnknown)
	return p
}

func (p *producer) member() Member {
	m := Member{Name: p.name}
	if p.group != nil {
		m.Group = p.group.name
	}
	return m
}

// kind says in a word what was registered.
func (p *producer) kind() string {
	switch {
	case p.is(gateRelay):
		return "relay"
	case p.is(gateStream):
		return "stream"
	default:
		return "producer"
	}
}

// title names the producer, or the group that it stands for.
func (p *producer) title() string {
	if p.isGroup() {
		return p.group.name
	}
	return p.name
}

// is reports whether the producer has this gate.
func (p *producer) is(gate uint32) bool { return p.gates.Load()&gate != 0 }

// answersTo reports whether WithTargets means the producer by this name.
func (p *producer) answersTo(name string) bool {
	return p.name == name || p.group != nil && p.group.name == name
}

// acquire lets a run begin as soon as the producer's limits allow it, or returns
// the error of the context or ErrQueueFull.
func (p *producer) acquire(ctx context.Context) error {
	if p.limits != nil {
		if err := p.limits.acquire(ctx); err != nil {
			return err
		}
	}
	if p.group != nil {
		p.group.busy.Add(1)
	}
	return nil
}

func (p *producer) release() {
	if p.group != nil {
		p.group.busy.Add(-1)
	}
	if p.limits != nil {
		p.limits.release()
	}
}

// stop is part of Remove.
func (p *producer) stop() { p.gates.Or(gateRemoved) }

// settle waits until the producer has no part left in the calls in flight. Its
// registration has been taken away already, so there will be no more of them.
func (p *producer) settle(ctx context.Context) error {
	for owner := range p.bus.ledger.All() {
		c, ok := owner.(interface{ occupies(*producer) bool })
		if !ok || !c.occupies(p) {
			continue
		}
		if err := p.bus.ledger.Wait(ctx, func() bool { return !c.occupies(p) }); err != nil {
			return err
		}
	}
	return nil
}

// newProducer makes a producer of any kind; where it is added is told by r.
func (d *Dispatcher[Req, Res]) newProducer(r Registration, fn any, opts []ProducerOption) (*producer, error) {
	config, err := newProducerConfig(opts)
	if err != nil {
		return nil, err
	}
	p := &producer{Registration: r, fn: fn}
	p.name, p.self = config.name, p
	if p.limits, err = newLimits(config); err != nil {
		return nil, err
	}
	if config.group != "" {
		p.group = &replica{name: config.group}
	}
	if p.limits != nil || p.group != nil {
		p.gates.Store(gateLimited)
	}
	return p, nil
}

// addProducer adds a producer of a kind that cannot be a replica.
func (d *Dispatcher[Req, Res]) addProducer(r Registration, fn any, gate uint32, opts []ProducerOption) (*Registration, error) {
	p, err := d.newProducer(r, fn, opts)
	switch {
	case err != nil:
		return nil, err
	case p.group != nil:
		return nil, invalidOption("WithGroup(%q): only a Producer can be a replica", p.group.name)
	case gate == gateRelay && p.is(gateLimited):
		return nil, invalidOption("WithConcurrency and WithSemaphore do not concern relays")
	}
	p.gates.Or(gate)
	return p.enlist()
}

func (p *producer) enlist() (*Registration, error) {
	if err := p.bus.add(p); err != nil {
		return nil, err
	}
	return &p.Registration, nil
}
