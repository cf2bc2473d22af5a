package course

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// scenario is a call, and what can happen in it.
type scenario struct {
	name    string
	policy  Policy
	slack   time.Duration
	members []int           // candidates of each local member
	hedges  []time.Duration // of the members, if they differ from the policy's; 0: none
	streams bool            // plain members have results before they end
	relays  int             // at work
	names   int             // how many members they name at most
	expects int             // how many they expect at most
	misses  int             // how many they miss at most
	waits   bool            // for Enroll
	lags    bool            // events are told with a time that has passed
	pair    bool            // it has two options
	limits  bool            // runs may be overdue

	required     []int // local members that are
	requiresName bool  // the first member that is named is required

	asked   []State // how started runs and named members can end
	unasked []State // how runs can end that have not been started
}

// shape is a call without a policy.
type shape struct{ scenario }

var (
	everything  = []State{OK, Failed, Panicked, Declined, Expired}
	essentials  = []State{OK, Failed, Expired}
	neverAsked  = []State{Rejected, Gone, Late}
	onlyRemoved = []State{Gone}
)

func shapes() []shape {
	return []shape{
		{scenario{name: "no member"}},
		{scenario{name: "1 member", members: []int{1}, asked: everything, unasked: neverAsked}},
		{scenario{name: "group of 2", members: []int{2}, asked: everything, unasked: neverAsked}},
		{scenario{name: "relay of 1", relays: 1, names: 1, misses: 1, asked: everything, unasked: neverAsked}},
		{scenario{name: "relay that expects 1", relays: 1, expects: 1, names: 1, asked: everything, unasked: neverAsked}},
		{scenario{name: "2 members", members: []int{1, 1}, asked: everything, unasked: neverAsked}},
		{scenario{name: "group of 3", members: []int{3}, asked: []State{OK, Declined, Expired}, unasked: onlyRemoved}},
		{scenario{name: "group of 4", members: []int{4}, asked: []State{OK, Failed}, unasked: onlyRemoved}},
		{scenario{name: "2 relays of 2", relays: 2, names: 2, asked: []State{OK, Declined}, unasked: onlyRemoved}},
		{scenario{name: "3 members", members: []int{1, 1, 1}, asked: essentials, unasked: onlyRemoved}},
		{scenario{name: "2 streams", members: []int{1, 1}, streams: true, asked: essentials, unasked: onlyRemoved}},
		{scenario{name: "relay of 2", relays: 1, names: 2, misses: 1, asked: essentials, unasked: []State{Rejected}}},
		{scenario{name: "member, group of 3", members: []int{1, 3}, asked: []State{OK, Declined}, unasked: []State{Rejected}}},
		{scenario{name: "2 groups of 2", members: []int{2, 2}, asked: []State{OK, Expired}, unasked: onlyRemoved}},
		{scenario{name: "4 members", members: []int{1, 1, 1, 1}, asked: []State{OK, Declined}, unasked: []State{Rejected}}},
		{scenario{name: "group of 2, 2 members", members: []int{2, 1, 1}, asked: []State{OK, Panicked}, unasked: onlyRemoved}},
		{scenario{name: "member, relay of 2", members: []int{1}, relays: 1, names: 2, asked: []State{OK, Failed}, unasked: onlyRemoved}},
		{scenario{name: "2 relays that expect 2", relays: 2, expects: 2, names: 1, asked: []State{OK, Failed}}},
		{scenario{name: "member, relay that expects 1", members: []int{1}, relays: 1, expects: 1, names: 1, asked: essentials, unasked: onlyRemoved}},
		{scenario{name: "group of 2, relay of 1", members: []int{2}, relays: 1, names: 1, misses: 1, asked: []State{OK, Failed}, unasked: []State{Rejected}}},
	}
}

// option is a rule of a policy, or a way in which a call can go.
type option struct {
	name string
	set  func(*scenario)
}

// kind is the option's name without its number: of each kind a call has one.
func (o option) kind() string {
	if kind, _, numbered := strings.Cut(o.name, " "); numbered {
		return kind
	}
	return o.name
}

// hedgeOf returns after what time the next replica of a local member is asked.
func (s *scenario) hedgeOf(member int) time.Duration {
	if member < len(s.hedges) {
		return s.hedges[member]
	}
	return s.policy.Hedge
}

// options returns those that make a difference to a call of the shape.
func (s *shape) options() []option {
	all := []option{
		{"first", func(s *scenario) { s.policy.First = true }},
		{"fail-fast", func(s *scenario) { s.policy.FailFast = true }},
		{"stall", func(s *scenario) { s.policy.Stall = 3 }},
		{"grace", func(s *scenario) { s.policy.Grace = 4 }},
		{"slack", func(s *scenario) { s.slack = 2 }},
		{"waits", func(s *scenario) { s.waits = true }},
		{"lags", func(s *scenario) { s.lags = true }},
	}
	for n := range len(s.members) + max(s.names, s.expects) + 1 {
		all = append(all, option{fmt.Sprint("quorum ", n+1), func(s *scenario) { s.policy.Quorum = n + 1 }})
	}
	if len(s.members)+s.names > 0 {
		all = append(all,
			option{"quorum of most", func(s *scenario) { s.policy.Majority = true }},
			option{"required", func(s *scenario) {
				if !s.policy.Majority {
					s.policy.Quorum = max(1, s.policy.Quorum)
				}
				if s.requiresName = s.names > 0; len(s.members) > 0 {
					s.required = []int{len(s.members) - 1}
				}
			}})
	}
	if len(s.members) > 0 {
		all = append(all, option{"limits", func(s *scenario) { s.limits = true }})
	}
	if len(s.members) > 1 {
		all = append(all,
			option{"stagger", func(s *scenario) { s.policy.Stagger = 3 }},
			option{"parallelism 1", func(s *scenario) { s.policy.Parallelism = 1 }},
			option{"parallelism 2", func(s *scenario) { s.policy.Parallelism = 2 }})
	}
	if slices.ContainsFunc(s.members, func(n int) bool { return n > 1 }) {
		all = append(all,
			option{"hedge", func(s *scenario) { s.policy.Hedge = 2 }},
			option{"hedge each 1", func(s *scenario) { s.hedges = []time.Duration{3, 1, 2} }},
			option{"hedge each 2", func(s *scenario) { s.policy.Hedge, s.hedges = 4, []time.Duration{1, 0, 3} }})
	}
	return all
}

// scenarios returns calls of the shape with no option, with every one and, unless the race
// detector slows them down, with every pair of them.
func (s *shape) scenarios() []scenario {
	var all []scenario
	add := func(options ...option) {
		made := s.scenario
		made.policy.Timeout, made.pair = 10, len(options) > 1
		for _, o := range options {
			o.set(&made)
			made.name += ", " + o.name
		}
		all = append(all, made)
	}
	add()
	options := s.options()
	for i, o := range options {
		add(o)
		for _, p := range options[:i] {
			if o.kind() != p.kind() && !raced {
				add(p, o)
			}
		}
	}
	return all
}

// limit returns how long a run may take: runs that are claimed one after the other have
// limits in another order.
func (s *scenario) limit(r Run) time.Duration {
	if !s.limits {
		return 0
	}
	return [...]time.Duration{4, 2, 0}[(r.Member+r.Replica)%3]
}

// moves appends what can happen in a state of a call that goes on.
func (s *scenario) moves(moves []event, n *node, all []fate) []event {
	at := n.clock
	if s.lags {
		at = max(0, at-2)
	}
	if n.past.waiting() {
		moves = append(moves, event{kind: enroll, at: at})
	}
	if n.course.Claimable(at) {
		moves = append(moves, event{kind: claim, at: at})
	}
	for i, f := range all {
		moves = s.movesOf(moves, int32(i), f, at)
	}
	if n.past.openRelays() > 0 {
		moves = append(moves, event{kind: endRelay, at: at})
		if n.past.count(name) < s.names {
			moves = append(moves, event{kind: name, at: at})
		}
		if n.past.count(expect) < s.expects {
			moves = append(moves, event{kind: expect, at: at})
		}
		for _, how := range s.unasked {
			if n.past.count(miss) < s.misses {
				moves = append(moves, event{kind: miss, how: how, at: at})
			}
		}
	}
	for _, reason := range []Reason{Stopped, Closed, Deadline} {
		moves = append(moves, event{kind: stop, reason: reason, at: at})
	}
	moves = append(moves, event{kind: tick, at: n.clock})
	for _, next := range due(&n.course) {
		if next > n.clock {
			moves = append(moves, event{kind: wait, at: next})
		}
	}
	return moves
}

// due returns the times at which a call is looked at: just before something is due, when
// it is, and when a timer comes far too late.
func due(c *Course) [3]time.Duration { return [...]time.Duration{c.Due() - 1, c.Due(), c.Due() + 5} }

// movesOf appends what a member can do.
func (s *scenario) movesOf(moves []event, member int32, f fate, at time.Duration) []event {
	for replica, stage := range f.runs {
		run := Run{member, int32(replica)}
		if stage == claimed {
			moves = append(moves, event{kind: start, run: run, at: at})
		}
		if stage == claimed || stage == refused {
			for _, how := range s.unasked {
				moves = append(moves, event{kind: end, run: run, how: how, at: at})
			}
		}
		if stage != running && stage != overran {
			continue
		}
		if s.streams && f.Results < 2 && stage == running {
			moves = append(moves, event{kind: result, run: run, at: at})
		}
		for _, how := range s.asked {
			moves = append(moves, event{kind: end, run: run, how: how, result: how == OK && !s.streams, at: at})
		}
		if !s.streams && f.size == 1 {
			moves = append(moves, event{kind: end, run: run, how: OK, at: at})
		}
	}
	if f.named && f.State == Pending {
		if f.expects {
			moves = append(moves, event{kind: accept, run: Run{Member: member}, at: at})
		}
		if f.Results < 1 {
			moves = append(moves, event{kind: result, run: Run{Member: member}, at: at})
		}
		for _, how := range s.asked {
			moves = append(moves, event{kind: endNamed, run: Run{Member: member}, how: how, at: at})
		}
		if !f.expects {
			moves = append(moves, event{kind: endNamed, run: Run{Member: member}, how: OK, result: true, at: at})
		}
	}
	return moves
}
