package dispatch

import (
	"fmt"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
	"github.com/seed-bb4b4d74/dispatch/internal/course"
)

func newRelaying(c *gathering, relays []*producer) *relaying {
	r := &relaying{byMember: make(map[Member]int32)}
	for _, p := range relays {
		r.runs = append(r.runs, &relayRun{run: run{call: c, rare: &rare{asked: p}, member: -1}})
	}
	return r
}

// startRelay counts a relay as running, or keeps in its run why it must not run.
func (c *gathering) startRelay(r *relayRun) bool {
	if r.fail(r.producer().refuses()); r.err() != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over() || r.producer().is(gateRemoved) {
		r.fail(ErrRemoved)
		return false
	}
	r.phase, r.started = runGoes, true
	c.running++
	return true
}

// returns keeps the error that the relay returns. Methods of the error may end the goroutine.
func (r *relayRun) returns(err error) {
	how, text := stateOf(err), nested(err)
	r.fail(err)
	r.how, r.text, r.returned = how, text, true
}

// unwinds keeps a panic, or Goexit, of the relay.
func (r *relayRun) unwinds(recovered any) {
	r.unwound(recovered)
	if r.how = course.Failed; r.err() != ErrGoexit {
		r.how = course.Panicked
	}
	r.text = nested(r.err()) // which may end the goroutine, too
}

// stateOf returns the state of a member that a relay ends with the error.
func stateOf(err error) (how course.State) {
	how = course.Failed
	defer func() { _ = recover() }() // as in howFailed
	switch {
	case err == nil:
		how = course.OK
	case isPanic(err):
		how = course.Panicked
	case is(err, ErrGone):
		how = course.Gone
	case is(err, ErrOverloaded):
		how = course.Rejected
	case is(err, ErrTimeout):
		how = course.Late
	default:
		how = howFailed(err)
	}
	return how
}

// adding is how the course gets one more member that a relay names: Name or Expect.
type adding = func(*course.Course, time.Duration) (member int32, ok bool)

// join is Roster.Name and Roster.Expect.
func (r *relayRun) join(m Member, add adding) bool {
	c := r.call
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over() {
		return false
	}
	_, ok := r.joinLocked(m, c.now(), add)
	return ok
}

// nameLocked is joinLocked with Name.
func (r *relayRun) nameLocked(m Member, now time.Duration) (i int32, ok bool) {
	return r.joinLocked(m, now, (*course.Course).Name)
}

// joinLocked makes m a member of a call that goes on.
func (r *relayRun) joinLocked(m Member, now time.Duration, add adding) (i int32, ok bool) {
	c := r.call
	if m.Name == "" && m.Group == "" || r.phase == runReturned || c.hasLocked(m) {
		c.bus.misuse.Add(1)
		return 0, false
	}
	i, _ = add(&c.course, now)
	c.relaying.named = append(c.relaying.named, named{member: m, by: r})
	c.relaying.byMember[m] = i
	if c.relaying.required != nil && c.relaying.required.meets(m) {
		c.course.Require(i)
		c.course.Missing(c.relaying.required.left)
	}
	return i, true
}

// accept is Roster.Accept.
func (r *relayRun) accept(expected Member, members []Member) bool {
	c := r.call
	c.mu.Lock()
	defer c.tellAndUnlock()
	now := c.now()
	i, ok := c.expectedLocked(r, expected, len(members))
	if !ok {
		return false
	}
	for _, m := range members {
		r.nameLocked(m, now)
	}
	return c.course.Accept(now, i)
}

// expectedLocked returns an expected member that others are about to replace, and makes room for them. The caller
// names them first and then tells the course, which may end the call.
func (c *gathering) expectedLocked(r *relayRun, expected Member, replacing int) (i int32, ok bool) {
	if i, ok = c.pendingLocked(r, expected); ok && !c.course.Expects(int(i)) {
		c.bus.misuse.Add(1) // it was named, and not expected
		return 0, false
	}
	if ok {
		delete(c.relaying.byMember, expected) // so that it can be expected again, if more members are unknown after all
		c.growLocked(replacing)
		if required := c.relaying.required; required != nil {
			required.loses(expected) // the members that replace it may have other names
			c.course.Missing(required.left)
		}
	}
	return i, ok
}

// hasLocked reports whether the call has the member already.
func (c *gathering) hasLocked(m Member) bool {
	if _, ok := c.relaying.byMember[m]; ok {
		return true
	}
	if m.Node != "" {
		return false
	}
	for i, p := range c.producers {
		if g := c.groupAt(i); g != nil && g.mayBecome(m) || g == nil && p.member() == m {
			return true
		}
	}
	return false
}

// pendingLocked returns the member that a relay has named and that has not ended. If
// there is none although the call goes on, that is misuse.
func (c *gathering) pendingLocked(r *relayRun, m Member) (i int32, ok bool) {
	if c.over() {
		return 0, false
	}
	i, ok = c.relaying.byMember[m]
	ok = ok && !c.course.HasEnded(int(i)) && r.phase != runReturned && c.namedAt(i).by == r
	if !ok {
		c.bus.misuse.Add(1)
	}
	return i, ok
}

// end is Roster.End.
func (r *relayRun) end(m Member, err error) bool {
	c, how := r.call, stateOf(err)
	c.mu.Lock()
	i, ok := c.pendingLocked(r, m)
	if !ok {
		c.mu.Unlock()
		return false
	}
	c.endNamedLocked(i, how, err)
	c.tellAndUnlock()
	return true
}

// endNamedLocked records how a member that a relay named has ended.
func (c *gathering) endNamedLocked(i int32, how course.State, err error) {
	c.namedAt(i).err = err
	if c.course.EndNamed(c.now(), i, how, false) == course.Ends {
		c.appendLocked(calllog.Entry{At: c.course.Ended(), Member: i, Kind: calllog.End})
	}
}

// endRelay records that a relay has returned, and with what.
func (c *gathering) endRelay(r *relayRun) {
	how := r.how
	switch {
	case r.started:
	case is(r.err(), ErrStuck):
		how = course.Rejected
	default:
		how = course.Gone
	}
	now := c.now()
	c.mu.Lock()
	ran := r.phase.goes()
	if ran {
		c.returnLocked(&r.run)
	}
	r.phase = runReturned
	if c.over() {
		by := max(0, now-c.course.Ended())
		c.course.EndRelay(now)
		c.mu.Unlock()
		c.bus.ledger.Changed()
		if ran {
			c.observeLate(&r.run, r.producer().member(), now, by, r.err())
			c.noteUnwound(&r.run)
		}
	} else {
		expired := how == course.Expired
		how = c.course.Resolve(now, how)
		c.endRelayLocked(r, how, expired && how == course.Late)
		c.tellAndUnlock()
		if r.err() != nil && ran {
			c.noteFailure(&r.run, how, r.text)
		}
	}
	c.leave()
}

// endRelayLocked ends the members that a relay has named and not ended. A relay that has
// failed becomes a member itself, unless it has only given up in the grace, as it should.
func (c *gathering) endRelayLocked(r *relayRun, how course.State, gaveUp bool) {
	now := c.now()
	unended, lost := course.Failed, fmt.Errorf("%w: relay %s returned", ErrLost, r.producer().Name())
	switch {
	case how == course.OK, how == course.Declined:
	case gaveUp:
		unended, lost = course.Late, r.err()
	default:
		itself := Member{Name: r.producer().Name()}
		if c.hasLocked(itself) {
			itself.Group = "relay" // it has named a member after itself
		}
		c.missLocked(itself, how, r.err())
	}
	if c.course.Relays() == 1 { // this is the last one
		c.missTargetsLocked()
	}
	c.course.EndRelay(now)
	for k := range c.relaying.named {
		if i := len(c.producers) + k; c.relaying.named[k].by == r && !c.over() && !c.course.HasEnded(i) {
			c.endNamedLocked(int32(i), unended, lost)
		}
	}
}

// missTargetsLocked adds a member for each name of WithTargets and WithRequired that no
// member has.
func (c *gathering) missTargetsLocked() {
	for _, name := range c.missingLocked() {
		c.missLocked(Member{Name: name}, course.Gone, unknownError(name))
	}
}

// missingLocked returns the names of WithTargets and WithRequired that no member has.
func (c *gathering) missingLocked() []string {
	if c.policy.targets == nil && c.policy.required == nil {
		return nil
	}
	names := newNameSet(slices.Concat(c.policy.targets, c.policy.required))
	for i := range c.course.Size() {
		if !c.isReplaced(i) {
			c.meetsLocked(names, i)
		}
	}
	return names.missing()
}

// missLocked adds a member that ends as it is added.
func (c *gathering) missLocked(m Member, how course.State, err error) {
	i, ok := c.course.Miss(c.now(), how)
	if !ok {
		return
	}
	c.relaying.named = append(c.relaying.named, named{member: m, err: err})
	c.appendLocked(calllog.Entry{At: c.course.Ended(), Member: i, Kind: calllog.End})
}
