package course

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var deep = flag.Bool("course.deep", false, "explore the course of calls for minutes")

// leastEvents and leastOfPairs bound the orders of events that are tried in any case: all
// orders of this length, in each call, and in each call with two options. Longer orders are
// tried as long as the call has fewer states than the limit.
const (
	leastEvents  = 8
	leastOfPairs = 7
)

// shortEvents stands in for leastEvents in short mode.
const shortEvents = 6

const unlimited = 1 << 30

// Every order of the events of a small call is tried, and after each event the course
// is what the oracle of past says. States that are equal are explored once.
func TestACourseKeepsItsPromisesInEveryOrderOfEvents(t *testing.T) {
	began := time.Now()
	sum := sizes{least: unlimited}
	limit, events := 2500, leastEvents
	switch {
	case testing.Short():
		limit, events = 0, shortEvents
	case raced:
		limit = 0
	case *deep:
		limit = 200_000
	}
	t.Run("shapes", func(t *testing.T) {
		var mu sync.Mutex
		for _, shape := range shapes() {
			t.Run(shape.name, func(t *testing.T) {
				t.Parallel()
				part := sizes{least: unlimited}
				for _, s := range shape.scenarios() {
					e := explorer{scenario: &s, limit: limit, events: events, seen: make(map[string]struct{})}
					if err := e.explore(); err != nil {
						t.Fatal(err)
					}
					part.add(e.sizes)
				}
				t.Log(part)
				mu.Lock()
				defer mu.Unlock()
				sum.add(part)
			})
		}
	})
	fmt.Printf("course: %v in %v\n", sum, time.Since(began).Round(100*time.Millisecond))
}

// sizes says how much has been explored.
type sizes struct {
	scenarios, complete, states, transitions int
	longest                                  int // events in the longest order
	least                                    int // all orders of this many events have been explored
}

func (s *sizes) add(t sizes) {
	s.scenarios += t.scenarios
	s.complete += t.complete
	s.states += t.states
	s.transitions += t.transitions
	s.longest = max(s.longest, t.longest)
	s.least = min(s.least, t.least)
}

func (s sizes) String() string {
	orders := "all orders of events"
	if s.complete < s.scenarios {
		orders = fmt.Sprintf("all orders of %d events, in %d calls all orders of events", s.least, s.complete)
	}
	return fmt.Sprintf("%d calls, %d states, %d events, %s (up to %d)", s.scenarios, s.states, s.transitions, orders, s.longest)
}

// node is a state of a call: its course, what has happened, and the time that it is.
type node struct {
	course Course
	past   past
	clock  time.Duration
}

type explorer struct {
	*scenario
	sizes
	limit  int // of states, from which on longer orders are not tried
	events int // in orders that are tried in any case
	seen   map[string]struct{}
	level  []node // that are to be explored
	next   []node // that they have led to
	key    []byte
	moves  []event

	before []fate // of the members, in the state that is left
	after  node   // the state that a move has led to, in memory that is used again
	fates  []fate // of the members in it
}

// explore goes through the states of a call, those that are fewest events away first.
func (e *explorer) explore() error {
	e.scenarios = 1
	first := node{course: New(&e.policy), past: past{scenario: e.scenario}}
	first.course.Within(e.policy.Timeout, e.slack)
	if e.waits {
		e.next = []node{first}
	} else if err := e.move(&first, event{kind: enroll}); err != nil {
		return err
	}
	depth := 0
	least := e.events
	if e.pair && !*deep {
		least = min(least, leastOfPairs)
	}
	for ; len(e.next) > 0 && (depth < least || e.states < e.limit); depth++ {
		e.level, e.next = e.next, e.level[:0]
		for i := range e.level {
			if err := e.leave(&e.level[i]); err != nil {
				return err
			}
		}
	}
	e.longest = depth
	if e.least = depth; len(e.next) == 0 {
		e.complete, e.least = 1, unlimited
	}
	return nil
}

// leave makes all moves that are possible in a state.
func (e *explorer) leave(n *node) error {
	e.before = n.past.fates(e.before)
	e.moves = e.scenario.moves(e.moves[:0], n, e.before)
	for _, m := range e.moves {
		if err := e.move(n, m); err != nil {
			return err
		}
	}
	return nil
}

// move does one event in a state and checks what it has led to.
func (e *explorer) move(from *node, m event) error {
	e.transitions++
	n := &e.after
	n.course = cloneTo(n.course, &from.course)
	answer := e.apply(&n.course, &m)
	n.past = from.past.with(n.past.events, m, e.before)
	if n.clock = from.clock; m.kind == wait {
		n.clock = m.at
	}
	e.fates = n.past.fates(e.fates)
	if err := e.judge(n, &from.course, answer); err != nil {
		return fmt.Errorf("%s: %w\n  after %v", e.name, err, strings.Trim(fmt.Sprint(n.past.events), "[]"))
	}
	return nil
}

// judge checks the state that a move has led to, and keeps it if it is new.
func (e *explorer) judge(n *node, from *Course, answer outcome) error {
	if err := n.checkOutcome(answer, e.before, e.fates); err != nil {
		return err
	}
	if err := n.checkPromises(from, e.fates); err != nil {
		return err
	}
	if err := n.checkMembers(e.fates); err != nil {
		return err
	}
	if err := n.checkCall(e.fates); err != nil {
		return err
	}
	e.key = n.appendKey(e.key[:0], e.fates)
	if _, ok := e.seen[string(e.key)]; ok {
		return nil
	}
	e.seen[string(e.key)] = struct{}{}
	e.states++
	if n.course.Reason() != Underway {
		return n.checkEnd(e.fates)
	}
	past := n.past
	past.events = slices.Clone(past.events)
	e.next = append(e.next, node{clone(&n.course), past, n.clock})
	if err := n.checkSchedule(e.fates); err != nil {
		return err
	}
	if err := n.checkEnded(e.fates); err != nil {
		return err
	}
	return n.checkWayOut(e.fates)
}

func clone(c *Course) Course { return cloneTo(Course{}, c) }

// cloneTo returns a copy of a course, for which it uses the memory of another one.
func cloneTo(memory Course, c *Course) Course {
	d := *c
	d.members = append(memory.members[:0], c.members...)
	if a := c.agenda; a != nil {
		d.agenda = cloneAgendaTo(memory.agenda, a)
	}
	return d
}

func cloneAgendaTo(memory, a *agenda) *agenda {
	if memory == nil {
		memory = new(agenda)
	}
	memory.groups = append(memory.groups[:0], a.groups...)
	for i, g := range memory.groups {
		memory.groups[i].ended = slices.Clone(g.ended)
	}
	memory.again = append(memory.again[:0], a.again...)
	memory.hedges = append(memory.hedges[:0], a.hedges...)
	memory.limits = append(memory.limits[:0], a.limits...)
	memory.overdue = nil // Overdue has been called
	return memory
}

// outcome is what the course has answered to an event.
type outcome struct {
	ok     bool
	effect Effect
	member int32

	overdue string
}

// inOrder returns runs that are overdue, and the members that have ended with one, as text.
func inOrder(overdue []Overdue) string {
	if len(overdue) == 0 {
		return ""
	}
	var runs, ended []string
	for _, o := range overdue {
		runs = append(runs, fmt.Sprint(o.Run))
		if o.Ends {
			ended = append(ended, fmt.Sprint(o.Member))
		}
	}
	slices.Sort(runs)
	slices.Sort(ended)
	return fmt.Sprint(runs, ended)
}

// apply sends an event to the course. If the event is a claim, apply stores the run in it.
func (s *scenario) apply(c *Course, e *event) (o outcome) {
	switch e.kind {
	case enroll:
		c.Enroll(e.at, make([]Member, len(s.members)), func(i int) int { return s.members[i] }, s.relays)
		for i := range min(len(s.hedges), len(s.members)) {
			c.SetHedge(i, s.hedges[i])
		}
		for _, i := range s.required {
			c.Require(int32(i))
		}
		if s.requiresName {
			c.Missing(1)
		}
	case claim:
		e.run, o.ok = c.Claim(e.at)
	case start:
		o.ok = c.Start(e.at, e.run, s.limit(e.run))
	case end:
		o.effect = c.End(e.at, e.run, e.how, e.result)
	case result:
		o.ok = c.Result(e.at, e.run.Member)
	case name:
		if o.member, o.ok = c.Name(e.at); s.requiresName && c.missing > 0 {
			c.Require(o.member)
			c.Missing(0)
		}
	case miss:
		o.member, o.ok = c.Miss(e.at, e.how)
	case endNamed:
		o.effect = c.EndNamed(e.at, e.run.Member, e.how, e.result)
	case expect:
		o.member, o.ok = c.Expect(e.at)
	case accept:
		o.ok = c.Accept(e.at, e.run.Member)
	case endRelay:
		c.EndRelay(e.at)
	case stop:
		c.Stop(e.at, e.reason)
	case tick:
		c.Tick(e.at)
		o.overdue = inOrder(c.Overdue())
	case wait:
	}
	return o
}
