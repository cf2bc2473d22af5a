package course

import (
	"fmt"
	"slices"
	"time"
)

// checkCall compares what a course says of the call with what its past says.
func (n *node) checkCall(all []fate) error {
	c, p := &n.course, &n.past
	want := p.verdict(all)
	if c.Reason() != want {
		return fmt.Errorf("the call is %d, want %d", c.Reason(), want)
	}
	if c.Ended() != p.now() {
		return fmt.Errorf("the call has ended at %d, want %d", c.Ended(), p.now())
	}
	if want == Underway && c.Graced() != p.graced() {
		return fmt.Errorf("the grace has begun: %t, want %t", c.Graced(), p.graced())
	}
	if got, want := c.Waiting(), p.waiting() && want == Underway; got != want {
		return fmt.Errorf("it waits: %t, want %t", got, want)
	}
	if c.Relays() != p.openRelays() {
		return fmt.Errorf("there are %d relays, want %d", c.Relays(), p.openRelays())
	}
	return nil
}

// checkOutcome compares what the course returned for the last event with the oracle, and checks
// whether the event has ended a member.
func (n *node) checkOutcome(got outcome, before, all []fate) error {
	last := n.past.last()
	want := outcome{ok: !last.void}
	switch last.kind {
	case claim:
		earlier := n.past.earlier()
		if runs := earlier.claimable(last.when, before); !slices.Contains(runs, last.run) {
			return fmt.Errorf("run %v has been claimed, want one of %v", last.run, runs)
		}
	case start, result, accept:
	case end, endNamed:
		want.ok = false
		if last.ends = all[last.run.Member].State; last.void {
			last.ends = Pending
		} else if want.effect = Ends; last.ends == Pending {
			want.effect = GoesOn
		}
	case name, expect, miss:
		want.member = int32(len(before))
	case tick:
		want.ok = false
		last.overdue = n.past.overdue(before, all)
		want.overdue = inOrder(last.overdue)
	case enroll, endRelay, stop, wait:
		want.ok = false
	}
	if got != want {
		return fmt.Errorf("the course has answered %v, want %v", got, want)
	}
	return nil
}

// checkMembers compares the records of the members. Each member has one outcome.
func (n *node) checkMembers(all []fate) error {
	c := &n.course
	if c.Size() != len(all) {
		return fmt.Errorf("there are %d members, want %d", c.Size(), len(all))
	}
	var answered, failed, declined, other, left, replaced int
	for i, f := range all {
		got, want := c.Member(i), f.Member
		if want.State == Pending && c.Reason() != Underway {
			want.State, want.Ended = Canceled, c.Ended()
			if c.Reason() == Deadline {
				want.State = Late
			}
		}
		if got.group, got.required = 0, false; got != want {
			return fmt.Errorf("member %d is %v, want %v", i, got, want)
		}
		if got.State != Pending && (got.Began > got.Ended || got.Ended > c.Ended()) {
			return fmt.Errorf("member %d has begun at %d and ended at %d, the call at %d", i, got.Began, got.Ended, c.Ended())
		}
		if c.Expects(i) != f.expects {
			return fmt.Errorf("member %d is expected: %t", i, c.Expects(i))
		}
		if c.HasEnded(i) != (f.State != Pending) {
			return fmt.Errorf("member %d has ended before the call: %t", i, c.HasEnded(i))
		}
		switch f.State {
		case Pending:
			left++
		case OK:
			answered++
		case Failed, Panicked, Rejected:
			failed++
		case Replaced:
			replaced++
		case Declined:
			declined++
			other++
		default:
			other++
		}
	}
	if answered != c.answered || failed != c.failed || other != c.other || replaced != c.replaced || answered+failed+other+left+replaced != c.Size() {
		return fmt.Errorf("answered %d, failed %d, other %d, want %d, %d, %d", c.answered, c.failed, c.other, answered, failed, other)
	}
	complete := answered+declined > 0 && answered+declined+replaced == c.Size()
	if want := c.Reason() == Satisfied || complete && answered >= c.Quorum(); c.Succeeded() != want {
		return fmt.Errorf("the call has succeeded: %t, want %t", c.Succeeded(), want)
	}
	return nil
}

// checkSchedule compares what can be claimed, and when something is due.
func (n *node) checkSchedule(all []fate) error {
	c, p := &n.course, &n.past
	due := p.due(all)
	if c.Due() != due {
		return fmt.Errorf("the next look is due at %d, want %d", c.Due(), due)
	}
	for _, at := range []time.Duration{0, due - 1, due, n.clock} {
		runs := p.claimable(max(at, p.now()), all)
		if c.Claimable(at) != (len(runs) > 0) {
			return fmt.Errorf("something can be claimed at %d: %t, want %v", at, c.Claimable(at), runs)
		}
	}
	now, early, late := clone(c), clone(c), clone(c)
	early.Tick(due - 1)
	late.Tick(due)
	was := lookAt(&now, p.now())
	if due-1 > p.now() && lookAt(&early, due-1) != was {
		return fmt.Errorf("something happens at %d, before it is due at %d", due-1, due)
	}
	if lookAt(&late, due) == was {
		return fmt.Errorf("nothing happens at %d, when it is due", due)
	}
	return nil
}

// look is the part of a course that time alone can change.
type look struct {
	reason  Reason
	graced  bool
	overdue int // runs
	claims  int // runs that can be claimed, one after the other
}

// lookAt returns the look of a call at a time. It claims all runs that can be claimed.
func lookAt(c *Course, at time.Duration) look {
	l := look{reason: c.Reason(), graced: c.Graced(), overdue: len(c.Overdue())}
	for l.claims < 100 {
		if _, ok := c.Claim(at); !ok {
			break
		}
		l.claims++
	}
	return l
}

// checkEnded sends events to the members that have ended, in a call that goes on. The events
// must have no effect.
func (n *node) checkEnded(all []fate) error {
	after, at := clone(&n.course), n.past.now()
	c := &after
	for i, f := range all {
		member := int32(i)
		if f.State == Pending {
			continue
		}
		if f.named && (c.Result(at, member) || c.EndNamed(at, member, OK, true) != TooLate || c.Accept(at, member)) {
			return fmt.Errorf("member %d has gone on after its end", i)
		}
		if stage := f.runs[0]; stage == running && c.Result(at, member) {
			return fmt.Errorf("member %d has had a result after its end", i)
		}
	}
	return nil
}

// checkWayOut ends all runs, members and relays of a call that goes on. This must end the call
// without any time passing, unless the stagger keeps members back.
func (n *node) checkWayOut(all []fate) error {
	c := clone(&n.course)
	at, steps := n.past.now(), 0
	do := func(s *scenario, e event) {
		steps++
		s.apply(&c, &e)
	}
	s := n.past.scenario
	if n.past.waiting() {
		do(s, event{kind: enroll, at: at})
	}
	for i, f := range all {
		for replica, stage := range f.runs {
			if stage == claimed || stage == refused || stage == running {
				do(s, event{kind: end, run: Run{int32(i), int32(replica)}, how: OK, result: true, at: at})
			}
		}
		if f.named {
			do(s, event{kind: endNamed, run: Run{Member: int32(i)}, how: Declined, at: at})
		}
	}
	for c.Relays() > 0 && steps < 100 {
		do(s, event{kind: endRelay, at: at})
	}
	for c.Reason() == Underway {
		r, ok := c.Claim(at)
		switch {
		case ok:
			do(s, event{kind: end, run: r, how: Declined, at: at})
		case s.policy.Stagger > 0:
			steps++
			at = max(at, c.Due())
			c.Tick(at)
		default:
			return fmt.Errorf("the call goes on when everybody has ended")
		}
		if steps > 100 {
			return fmt.Errorf("the call does not end")
		}
	}
	if r := c.Reason(); s.policy.Stagger == 0 && (r == Deadline || r == Stalled) {
		return fmt.Errorf("the call is %d when everybody has ended", r)
	}
	return nil
}

// checkEnd sends all events that are possible to a call that is over. The events must have no
// effect.
func (n *node) checkEnd(all []fate) error {
	after, at := clone(&n.course), n.clock+1
	c := &after
	if run, ok := c.Claim(at); ok || c.Claimable(at) {
		return fmt.Errorf("run %v has been claimed after the end", run)
	}
	for i, f := range all {
		member := int32(i)
		for replica, stage := range f.runs {
			run := Run{member, int32(replica)}
			if stage == claimed && c.Start(at, run, 0) {
				return fmt.Errorf("run %v has started after the end", run)
			}
			if (stage == claimed || stage == running) && c.End(at, run, OK, true) != TooLate {
				return fmt.Errorf("run %v has ended after the end", run)
			}
		}
		if f.named && (c.Result(at, member) || c.EndNamed(at, member, OK, true) != TooLate || c.Accept(at, member)) {
			return fmt.Errorf("member %d has gone on after the end", i)
		}
		if stage := f.runs[0]; stage == running && c.Result(at, member) {
			return fmt.Errorf("member %d has had a result after the end", i)
		}
	}
	if _, ok := c.Name(at); ok {
		return fmt.Errorf("a member has been named after the end")
	}
	if _, ok := c.Expect(at); ok {
		return fmt.Errorf("a member has been expected after the end")
	}
	if _, ok := c.Miss(at, Failed); ok {
		return fmt.Errorf("a member has been missed after the end")
	}
	c.Enroll(at, make([]Member, 5), nil, 1)
	if c.Relays() > 0 {
		c.EndRelay(at)
	}
	c.Tick(at + 100)
	c.Stop(at, Closed)
	if c.Reason() != n.course.Reason() || c.Ended() != n.course.Ended() {
		return fmt.Errorf("the end has changed to %d at %d", c.Reason(), c.Ended())
	}
	if c.Size() != len(all) {
		return fmt.Errorf("there are %d members, want %d", c.Size(), len(all))
	}
	for i := range all {
		if c.Member(i) != n.course.Member(i) {
			return fmt.Errorf("member %d has changed from %v to %v", i, n.course.Member(i), c.Member(i))
		}
	}
	return nil
}

func (a *agenda) appendKey(key []byte) []byte {
	key = append(key, byte(len(a.again)), byte(len(a.hedges)))
	for _, member := range a.again {
		key = append(key, byte(member))
	}
	for _, h := range a.hedges {
		key = append(key, byte(h.run.Member), byte(h.run.Replica), byte(h.at))
	}
	for _, g := range a.groups {
		key = append(key, byte(g.released), byte(g.asked), byte(g.failed), byte(g.common))
	}
	return key
}

// appendKey appends a key that identifies the state of a call: the fields of the course, and
// what the oracle uses of the past. The times at which members began and ended are left out,
// because they are final and are checked after every event.
func (n *node) appendKey(key []byte, all []fate) []byte {
	c, p := &n.course, &n.past
	put := func(numbers ...int) {
		for _, number := range numbers {
			key = append(key, byte(number))
		}
	}
	flag := func(set bool) {
		if key = append(key, 0); set {
			key[len(key)-1] = 1
		}
	}
	put(int(n.clock), int(c.now), c.next, c.active, c.relays, int(c.reason))
	flag(c.waiting)
	flag(c.results)
	flag(c.graced)
	if a := c.agenda; a != nil {
		key = a.appendKey(key)
	}
	if p.policy.Stall > 0 {
		put(int(c.lastResult))
	}
	if p.policy.Stagger > 0 {
		put(int(p.stagger(all)), int(c.nextStart), c.credits)
	}
	put(p.count(miss), p.count(expect))
	put(c.missing)
	for i, f := range all {
		put(int(c.members[i].State), int(f.State), int(f.Results), min(1, int(f.Tried)))
		flag(c.members[i].expects)
		for replica, stage := range f.runs {
			put(int(stage))
			if stage == running && f.State == Pending {
				put(int(f.limits[replica]))
			}
		}
		if f.size > 1 && f.State == Pending {
			put(f.asked, f.may)
			for _, how := range f.failed {
				put(int(how))
			}
			if f.after > 0 {
				put(int(f.last))
			}
		}
	}
	return key
}
