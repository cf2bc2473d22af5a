package dispatch

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Relay answers a call on behalf of members elsewhere. It names them to the
// roster as it learns of them, hands in their results, and says how each has
// ended; when it returns, those that it named and that have not ended are Failed
// with [ErrLost]. The relay itself is no member of the call and takes no place
// under [WithParallelism]; but if it returns an error or panics while the call goes
// on, the report lists it by its own name.
//
// A relay is called concurrently, once for each call of its topics, and should
// return when its context ends. Relays that name nobody leave a call that has no
// other members without producers.
type Relay[Req, Res any] func(ctx context.Context, req Req, to *Roster[Res]) error

// A Roster is where a [Relay] names the members of one call and hands in what
// they answer. Its methods may be used concurrently, also after the relay has
// returned. Every method that returns a bool returns false where it changed
// nothing: the member was named already or never, or has ended; the call has
// ended; the relay has returned. All of these but the end of the call are misuse,
// which the bus counts; see [Snapshot].
type Roster[Res any] struct {
	call interface {
		nameRemote(*relayRun, Member) bool
		endRemote(*relayRun, Member, State, error) bool
		targets() []string
	}
	result func(*relayRun, Member, Res) bool
	run    *relayRun
}

// Name says that m has taken the request: from now on it is owed an outcome. A
// member with neither a name nor a group is refused. Of a group it may not be known
// which replica will answer; then the name is empty.
func (r *Roster[Res]) Name(m Member) bool { return r.call.nameRemote(r.run, m) }

// Result hands in a result of m. If it is too late it is offered to OnLate.
func (r *Roster[Res]) Result(m Member, v Res) bool { return r.result(r.run, m, v) }

// End says how m has ended: OK if err is nil, Panicked with a [*PanicError], Declined
// with [ErrDecline], Gone with [ErrGone], Rejected with [ErrOverloaded], otherwise
// Failed. These four count only if err is one of them or wraps one, and every error
// on the way wraps no other: fmt.Errorf("%w: %v", ErrGone, why) is Gone, and
// errors.Join(ErrGone, why) is Failed.
func (r *Roster[Res]) End(m Member, err error) bool {
	return r.call.endRemote(r.run, m, stateOf(err), err)
}

// Targets returns the names that [WithTargets] asks for, or nil if everybody is
// asked.
func (r *Roster[Res]) Targets() []string { return r.call.targets() }

// stateOf is the state of a member that a relay ends with the error.
func stateOf(err error) State {
	switch {
	case err == nil:
		return StateOK
	case isPanic(err):
		return StatePanicked
	case is(err, ErrDecline):
		return StateDeclined
	case is(err, ErrGone):
		return StateGone
	case is(err, ErrOverloaded):
		return StateRejected
	default:
		return StateFailed
	}
}

// AddRelay registers a relay, as [Dispatcher.AddProducer] does a producer. Of the
// options only WithName concerns relays; the others are refused.
func (d *Dispatcher[Req, Res]) AddRelay(on Selector[Req, Res], relay Relay[Req, Res], opts ...ProducerOption) (*Registration, error) {
	r, err := d.register("AddRelay", on, relay == nil)
	if err != nil {
		return nil, err
	}
	return d.addProducer(r, relay, gateRelay, opts)
}

// remote is the record of a member that a relay named. The call's lock guards
// what follows member.
type remote struct {
	member  Member
	index   int // among those that relays named
	run     *relayRun
	state   State
	err     error
	results int
	asked   bool // it has taken the request
	ended   time.Duration
}

// relayRun is a relay at work for a call. The call's lock guards it.
type relayRun struct {
	relay *producer
	run   run
}

// relaying is the part of a call that only calls with relays have.
type relaying struct {
	group    errgroup.Group
	workers  atomic.Int32 // of those that keep the call in the ledger, the relays
	runs     []*relayRun
	remotes  []*remote
	byMember map[Member]*remote
	unused   []remote // made several at a time
}

// relayLocked sets the relays of a call.
func (c *call) relayLocked(relays []*producer) {
	if len(relays) == 0 {
		return
	}
	c.relaying = &relaying{byMember: make(map[Member]*remote)}
	for _, p := range relays {
		c.relaying.runs = append(c.relaying.runs, &relayRun{relay: p})
	}
	c.tally.Open = int32(len(relays))
}

// startRelays starts the relays of the call.
func (c *Call[Req, Res]) startRelays() {
	if c.relaying == nil {
		return
	}
	for _, r := range c.relaying.runs {
		c.relaying.workers.Add(1)
		c.workers.Add(1)
		c.relaying.group.Go(func() error {
			c.relay(r)
			c.leaveRelay()
			return nil
		})
	}
}

// relay runs one relay, whatever that does.
func (c *Call[Req, Res]) relay(r *relayRun) {
	if state, err := c.startRelay(r); err != nil {
		c.endRelay(r, state, err)
		return
	}
	state, err := StateFailed, ErrGoexit
	returned := false
	defer func() {
		if value := recover(); value != nil {
			stack := debug.Stack()
			c.bus.unwound("relay", &r.relay.Registration, value, stack)
			state, err, returned = StatePanicked, &PanicError{value, stack}, true
		}
		c.endRelay(r, state, err)
		if !returned {
			c.leaveRelay() // after a Goexit nothing behind us runs any more
		}
	}()
	ctx := &member{call: &c.call, index: -1}
	relay, roster := r.relay.fn.(Relay[Req, Res]), &Roster[Res]{call: c, result: c.relayed, run: r}
	if c.observed == nil {
		err = relay(ctx, c.req, roster)
	} else {
		c.runLabelled(ctx, &r.relay.labels, "dispatch.producer", r.relay.name, func(ctx context.Context) { err = relay(ctx, c.req, roster) })
	}
	state, returned = stateOf(err), true
}

// leaveRelay is leave for the goroutine of a relay.
func (c *call) leaveRelay() {
	c.leave()
	c.relaying.workers.Add(-1)
}

// startRelay counts a relay as running, or returns why it must not run.
func (c *call) startRelay(r *relayRun) (State, error) {
	if n := int(r.relay.abandoned.Load()); n >= c.bus.maxAbandoned {
		return StateRejected, fmt.Errorf("%w: %d runs have outlived their calls", ErrStuck, n)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != ReasonPending || r.relay.is(gateRemoved) {
		return StateGone, ErrRemoved
	}
	r.run = runGoes
	c.running++
	return StateOK, nil
}

// relayed hands in a result that a relay brings.
func (c *Call[Req, Res]) relayed(r *relayRun, m Member, value Res) bool {
	c.mu.Lock()
	who := c.relaying.byMember[m]
	over := c.reason != ReasonPending
	ok := who != nil && who.run == r && who.state == StatePending && r.run != runReturned
	c.mu.Unlock()
	switch {
	case ok:
		return c.hand(event[Res]{remote: who}, value)
	case over:
		now := c.now()
		c.observeLate(-1, m, now, now-c.elapsed, nil)
		c.tellLate(m, value, now, now-c.elapsed)
	default:
		c.bus.misuse.Add(1)
	}
	return false
}

// nameRemote is Roster.Name.
func (c *Call[Req, Res]) nameRemote(r *relayRun, m Member) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != ReasonPending {
		return false
	}
	if m.Name == "" && m.Group == "" || r.run == runReturned || c.hasLocked(m) {
		c.bus.misuse.Add(1)
		return false
	}
	c.nameLocked(r, m).asked = true
	return true
}

// hasLocked reports whether the call has the member already.
func (c *call) hasLocked(m Member) bool {
	return c.relaying.byMember[m] != nil ||
		m.Node == "" && slices.ContainsFunc(c.producers, func(p *producer) bool { return p.member() == m })
}

func (c *call) nameLocked(r *relayRun, m Member) *remote {
	n := len(c.relaying.remotes)
	if len(c.relaying.unused) == 0 {
		c.relaying.unused = make([]remote, min(max(n, 4), 64))
	}
	who := &c.relaying.unused[0]
	c.relaying.unused = c.relaying.unused[1:]
	*who = remote{member: m, index: n, run: r}
	c.relaying.remotes = append(c.relaying.remotes, who)
	c.relaying.byMember[m] = who
	c.tally.Members++
	return who
}

// endRemote is Roster.End.
func (c *Call[Req, Res]) endRemote(r *relayRun, m Member, state State, err error) bool {
	late := state == StateFailed && errors.Is(err, context.DeadlineExceeded)
	c.lockDrained()
	who := c.relaying.byMember[m]
	switch {
	case c.reason != ReasonPending:
		c.mu.Unlock()
		return false
	case who == nil || who.run != r || who.state != StatePending || r.run == runReturned:
		c.mu.Unlock()
		c.bus.misuse.Add(1)
		return false
	}
	if late && c.graced.Load() {
		state = StateLate
	}
	c.endRemoteLocked(who, state, err)
	c.tellAndUnlock()
	return true
}

// endRemoteLocked records how a member that a relay named has ended.
func (c *Call[Req, Res]) endRemoteLocked(who *remote, state State, err error) {
	now := c.now()
	who.state, who.err, who.ended = state, err, now
	c.findListenersLocked()
	c.tally.Count(state == StateOK, state.isFailure())
	c.log.appendEvent(event[Res]{remote: who, elapsed: now, ended: true})
	c.publishLocked()
	if c.reason == ReasonPending {
		c.judgeLocked(now)
	}
}

// endRelay records that a relay has returned, and with what.
func (c *Call[Req, Res]) endRelay(r *relayRun, state State, err error) {
	late := state == StateFailed && errors.Is(err, context.DeadlineExceeded)
	c.lockDrained()
	ran := r.run != runWaits
	if ran {
		c.running--
	}
	if r.run == runAbandoned {
		r.relay.abandoned.Add(-1)
	}
	r.run = runReturned
	if c.reason != ReasonPending {
		if c.running == 0 && c.timer != nil {
			c.timer.Stop()
		}
		c.mu.Unlock()
		if ran {
			now := c.now()
			c.observeLate(-1, r.relay.member(), now, now-c.elapsed, err)
		}
		c.bus.ledger.Changed()
		return
	}
	unended, lost := StateFailed, fmt.Errorf("%w: relay %s returned", ErrLost, r.relay.name)
	switch {
	case state == StateOK || state == StateDeclined:
	case late && c.graced.Load():
		unended, lost = StateLate, err // it has given up in the grace, as it should
	default:
		itself := Member{Name: r.relay.name}
		if c.hasLocked(itself) {
			itself.Group = "relay" // it has named a member after itself
		}
		c.endRemoteLocked(c.nameLocked(r, itself), state, err)
	}
	for _, who := range c.relaying.remotes {
		if who.run == r && who.state == StatePending && c.reason == ReasonPending {
			c.endRemoteLocked(who, unended, lost)
		}
	}
	c.tally.Open--
	if c.tally.Open == 0 && c.reason == ReasonPending {
		c.missTargetsLocked(r)
	}
	if c.reason == ReasonPending {
		if c.tally.Open == 0 && c.tally.Members == 0 {
			c.endLocked(ReasonNoProducers, ErrNoProducers, c.now())
		} else {
			c.judgeLocked(c.now())
		}
	}
	c.tellAndUnlock()
}

// missTargetsLocked ends the targets that neither we nor a relay know.
func (c *Call[Req, Res]) missTargetsLocked(r *relayRun) {
	var missing []*remote
	for i, name := range c.policy.targets {
		known := slices.Contains(c.policy.targets[:i], name) ||
			slices.ContainsFunc(c.producers, func(p *producer) bool { return p.answersTo(name) }) ||
			slices.ContainsFunc(c.relaying.remotes, func(who *remote) bool { return who.member.Name == name || who.member.Group == name })
		if !known {
			missing = append(missing, c.nameLocked(r, Member{Name: name}))
		}
	}
	// All are members before the first of them ends, or that might end the call.
	for _, who := range missing {
		if c.reason == ReasonPending {
			c.endRemoteLocked(who, StateGone, fmt.Errorf("%w: %q", ErrUnknownMember, who.member.Name))
		}
	}
}

func (c *call) targets() []string { return slices.Clone(c.policy.targets) }

// tellAndUnlock tells what has been written, and the end if it has come.
func (c *Call[Req, Res]) tellAndUnlock() {
	feeds, ended := c.feeds, c.reason != ReasonPending
	c.mu.Unlock()
	if ended {
		c.spread()
		c.tellEnd()
		return
	}
	if idle := tell(feeds); idle != nil {
		idle.start()
	}
	c.bus.ledger.Changed()
}
