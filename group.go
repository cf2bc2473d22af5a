package dispatch

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// A group is a member of a call. One of its replicas is asked on the worker that
// has claimed the member, as a producer on its own would be; if it answers, that
// is all. If it ends without an answer, if a hedge is due, or if it looks at its
// context, which ends when another replica is quicker, the group is asked by a call
// of its own, nested in the one that it is a member of: the same engine starts the
// other replicas one by one, as WithStagger does, and ends with the first answer.
// So everything that holds for producers holds for replicas, their contexts and
// their failures. See group_ask.go.

// groupMember is what a call knows of a member that is a group. It is at the same
// time the context of the replica that is asked first; see group_context.go.
type groupMember struct {
	phase   atomic.Int32
	started atomic.Int32         // replicas that were started
	tried   int                  // the same, at the end of the call
	inner   atomic.Pointer[call] // the nested call; stored under the call's lock
	settled atomic.Bool          // somebody has taken it upon himself to end the member

	// The fields below are written before the phase is, and do not change any more.
	of    *member
	turn  int           // where in the group it was begun to look for the first
	first *producer     // the replica asked first, unless the nested call asks it
	began time.Duration // when it was asked

	answered *producer // the replica whose answer it was, if the member is OK
}

// The phases of a group.
const (
	groupWaits    int32 = iota // nobody is asked
	groupAsks                  // the first replica is
	groupAnswered              // the first replica has answered before there was a nested call
	groupNested                // there is a nested call
)

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
type groupMembers struct {
	at   []groupMember
	look time.Duration // when to look next whether hedges are due
}

// newGroups makes the part of a call that only calls with groups have.
func (c *call) newGroups(n int) *groupMembers {
	g := &groupMembers{make([]groupMember, n), math.MaxInt64}
	if hedge := c.policy.hedge; hedge > 0 && c.asksFirst() && hedge <= c.budget()-hedge {
		g.look = hedge // nobody can have been asked before the call began
	}
	return g
}

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

// nested ranges over the calls that ask groups. There is no need of the lock.
func (g *groupMembers) nested() iter.Seq[*call] {
	return func(yield func(*call) bool) {
		if g == nil {
			return
		}
		for i := range g.at {
			if inner := g.at[i].inner.Load(); inner != nil && !yield(inner) {
				return
			}
		}
	}
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

// leastBusy returns the replica that is to be asked first, and where it was begun
// to look: among equals it is another one each time.
func (g *replica) leastBusy() (first *producer, turn int) {
	turn = int(g.all[0].group.turn.Add(1)-1) % len(g.all)
	first = g.all[turn]
	least := first.group.busy.Load()
	for i := 1; i < len(g.all) && least > 0; i++ {
		p := g.all[(turn+i)%len(g.all)]
		if busy := p.group.busy.Load(); busy < least {
			first, least = p, busy
		}
	}
	return first, turn
}

// inOrder returns the replicas in the order in which they are to be asked: first,
// if it is not nil, then the least busy, and among equals as their turn is.
func (g *replica) inOrder(first *producer, turn int) []*producer {
	order := slices.Concat(g.all[turn:], g.all[:turn])
	busy := make(map[*producer]int32, len(order)) // as it is now: it goes on changing while we sort
	for _, p := range order {
		busy[p] = p.group.busy.Load()
	}
	if first != nil {
		busy[first] = -1
	}
	slices.SortStableFunc(order, func(a, b *producer) int { return cmp.Compare(busy[a], busy[b]) })
	return order
}
