package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/ledger"
)

// A group is asked by a call of its own, nested in the one that it is a member
// of: the same engine starts its replicas one by one, as WithStagger does, and
// ends with the first answer. So everything that holds for producers holds for
// replicas, their contexts and their failures.

// groupMember is what a call knows of a member that is a group.
type groupMember struct {
	answered string       // the replica whose answer it was
	inner    *call        // asks the replicas; nil as long as they are not asked
	started  atomic.Int32 // replicas that were started
	tried    int          // the same, at the end of the call
}

// replica is what a producer has to do with a group: it is in one, or it stands
// for one in a route.
type replica struct {
	name    string                    // of the group
	busy    atomic.Int32              // runs of the producer
	asGroup func(group *producer) any // makes the closure of the group

	turn atomic.Uint32 // how often the group was asked while this producer came first

	all []*producer // the replicas, if this is the group
}

// isGroup reports whether the producer stands for a group.
func (p *producer) isGroup() bool { return p.group != nil && p.group.all != nil }

// groupMembers has a groupMember for each member of a call, of which those that
// are no groups are not used.
// The call's lock guards it.
type groupMembers struct{ at []groupMember }

// freeze keeps how many replicas were started by the end of the call.
func (g *groupMembers) freeze() {
	if g != nil {
		for i := range g.at {
			g.at[i].tried = int(g.at[i].started.Load())
		}
	}
}

func (g *groupMembers) tried(i int, over bool) int {
	if over {
		return g.at[i].tried
	}
	return int(g.at[i].started.Load())
}

// nested returns the calls that ask the groups among the members.
func (c *call) nested() (calls []*call) {
	if c.groups == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.groups.at {
		if inner := c.groups.at[i].inner; inner != nil {
			calls = append(calls, inner)
		}
	}
	return calls
}

// nest makes inner the call that asks the member, unless c has ended.
func (c *call) nest(m *member, inner *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != ReasonPending {
		return false
	}
	c.groups.at[m.index].inner = inner
	inner.graced.Store(c.graced.Load())
	return true
}

// seats returns the members that the producers make up: replicas of one group
// make up one, which stands where the first of them was registered.
func seats(producers []*producer) []*producer {
	groups := make(map[string]*producer)
	members := []*producer{}
	for _, p := range producers {
		switch {
		case p.is(gateRelay):
		case p.group == nil:
			members = append(members, p)
		default:
			g := groups[p.group.name]
			if g == nil {
				g = &producer{Registration: Registration{bus: p.bus, selection: p.selection, at: p.at}, group: &replica{name: p.group.name}}
				g.fn = p.group.asGroup(g)
				groups[p.group.name] = g
				members = append(members, g)
			}
			g.group.all = append(g.group.all, p)
		}
	}
	return members
}

// special reports whether the producer is no member of a call on its own.
func (p *producer) special() bool { return p.group != nil || p.is(gateRelay) }

// relaysAmong returns those of the producers that are relays.
func relaysAmong(producers []*producer) (relays []*producer) {
	for _, p := range producers {
		if p.is(gateRelay) {
			relays = append(relays, p)
		}
	}
	return relays
}

// inTurn returns the replicas in the order in which they are to be asked: the
// least busy first, and among equals another one each time.
func (g *replica) inTurn() []*producer {
	n := len(g.all)
	shift := int(g.all[0].group.turn.Add(1)-1) % n
	order := slices.Concat(g.all[shift:], g.all[:shift])
	busy := make(map[*producer]int32, n) // as it is now: it goes on changing while we sort
	for _, p := range order {
		busy[p] = p.group.busy.Load()
	}
	slices.SortStableFunc(order, func(a, b *producer) int { return cmp.Compare(busy[a], busy[b]) })
	return order
}

// askGroup is the closure of a group.
func askGroup[Req, Res any](g *producer, ctx context.Context, req Req) (Res, error) {
	var none Res
	m := ctx.Value(callKey{}).(*member)
	outer := m.call.typed.(*Call[Req, Res])
	c := &Call[Req, Res]{req: req}
	c.init(outer.bus, outer.spec, ctx, c)
	c.followed = false // the call that it is a part of ends it
	c.outer = &outer.groups.at[m.index]
	c.asked = outer
	c.id, c.depth, c.start = outer.id, outer.depth, time.Now()
	c.offset = c.start.Sub(outer.start)
	c.timeout = max(1, outer.budget()-outer.now())
	c.policy = &policy{timeout: c.timeout, quorum: 1, stagger: outer.policy.hedge}
	if c.policy.stagger == 0 {
		c.policy.stagger = c.timeout // only a failure makes room for the next
	}
	c.mu.Lock()
	if !c.bus.ledger.Enter(&c.entry, c, uint64(c.id), ledger.Draining) {
		c.mu.Unlock()
		<-outer.Done() // Close is about to end it
		return none, ErrClosed
	}
	c.workers.Store(1)
	c.head = c.log.open(&c.first)
	if outer.observed != nil {
		c.observed = &observed{by: outer.observed.by, call: ctx}
		c.feedObserversLocked()
	}
	c.adoptLocked(g.group.inTurn())
	c.timer = time.AfterFunc(c.dueLocked(), c.expire)
	c.mu.Unlock()
	if !outer.nest(m, &c.call) {
		c.end(outer.reason, outer.cause)
	}
	c.ask()
	<-c.Done()
	report := c.Report()
	for i, o := range report.Outcomes {
		if o.State == StateOK {
			outer.answeredBy(m, o.Member.Name)
			return c.answers[i], nil
		}
	}
	return none, groupError(report)
}

// answeredBy notes whose answer the group's is, if that is still in time.
func (c *call) answeredBy(m *member, replica string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason == ReasonPending {
		c.groups.at[m.index].answered = replica
	}
}

// replicasError is the error of a group without an answer, which is of no use to
// errors.Is and errors.As but for what it wraps.
type replicasError struct {
	state State // what the replicas have in common, else StateFailed
	*PartialError
}

// Error names the replicas and their errors.
func (e *replicasError) Error() string {
	return fmt.Sprintf("no replica answered: %v", e.PartialError)
}

// Unwrap returns the error that names the replicas.
func (e *replicasError) Unwrap() error { return e.PartialError }

func groupError(r Report) error {
	e := &replicasError{state: StateFailed, PartialError: &PartialError{Report: r}}
	for i, o := range r.Outcomes {
		if i == 0 {
			e.state = o.State
		} else if e.state != o.State {
			e.state = StateFailed
		}
		if o.Err != nil {
			e.errs = append(e.errs, &MemberError{Member: o.Member, State: o.State, Err: o.Err})
		}
	}
	return e
}
