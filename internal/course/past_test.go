package course

import (
	"fmt"
	"slices"
	"time"
)

// The oracle of the exploration. It keeps every event of a call. After each event it computes
// the state of the call again from all events. It does not use the fields of a Course.

// kind is what has happened.
type kind uint8

const (
	enroll kind = iota
	claim
	start
	end
	result
	name
	miss
	endNamed
	expect
	accept
	endRelay
	stop
	tick
	wait // only time has passed, and the course has not been told
)

// event is one event of a call.
type event struct {
	kind   kind
	how    State  // of an end or a miss
	reason Reason // of a stop
	result bool   // of an end
	run    Run    // of a claim, a start, an end or a result
	at     time.Duration
	when   time.Duration // the latest time that an event has had so far
	void   bool          // it came after its run or its member had ended
	ends   State         // how its member has ended with it, or Pending

	overdue []Overdue // the runs that were at it
}

func (e event) String() string {
	what := [...]string{"enroll", "claim", "start", "end", "result", "name", "miss", "end named", "expect", "accept", "end relay", "stop", "tick", "wait"}[e.kind]
	switch e.kind {
	case claim, start:
		what += fmt.Sprintf(" %d/%d", e.run.Member, e.run.Replica)
	case end:
		what += fmt.Sprintf(" %d/%d %d result=%t", e.run.Member, e.run.Replica, e.how, e.result)
	case result, endNamed, miss, accept:
		what += fmt.Sprintf(" %d %d", e.run.Member, e.how)
	case stop:
		what += fmt.Sprintf(" %d", e.reason)
	case enroll, name, expect, endRelay, tick, wait:
	}
	return fmt.Sprintf("%v@%d", what, e.at)
}

// past is the events of a call. Only the last of them can have ended it.
type past struct {
	*scenario
	events []event
	counts [wait + 1]uint8 // of the events of each kind
}

// with returns the past with one more event, in memory that is no longer used, where all
// is what has become of the members so far.
func (p past) with(memory []event, e event, all []fate) past {
	concerns := e.kind == start || e.kind == end || e.kind == result || e.kind == endNamed || e.kind == accept
	e.void = concerns && (all[e.run.Member].State != Pending ||
		e.kind == result && all[e.run.Member].expects ||
		e.kind == end && all[e.run.Member].runs[e.run.Replica] == overran)
	e.when = p.now()
	if e.kind != wait && !e.void {
		e.when = max(e.when, e.at)
	}
	p.events = append(append(memory[:0], p.events...), e)
	p.counts[e.kind]++
	return p
}

// earlier returns the past without the latest event.
func (p past) earlier() past {
	p.counts[p.last().kind]--
	p.events = p.events[:len(p.events)-1]
	return p
}

// last returns the latest event.
func (p *past) last() *event { return &p.events[len(p.events)-1] }

// now returns the latest time that an event has had.
func (p *past) now() time.Duration {
	if len(p.events) == 0 {
		return 0
	}
	return p.events[len(p.events)-1].when
}

// count returns how many events of a kind there have been.
func (p *past) count(k kind) int { return int(p.counts[k]) }

func (p *past) waiting() bool { return p.count(enroll) == 0 }

// openRelays returns how many relays may name members.
func (p *past) openRelays() int {
	if p.waiting() {
		return 0
	}
	return p.relays - p.count(endRelay)
}

// graced reports whether a tick has begun the grace.
func (p *past) graced() bool {
	return p.policy.Grace > 0 && slices.ContainsFunc(p.events, func(e event) bool {
		return e.kind == tick && e.when >= p.budget()
	})
}

func (p *past) budget() time.Duration { return p.policy.Timeout - p.policy.Grace }
func (p *past) expiry() time.Duration { return p.policy.Timeout + p.slack }

// end returns when the call ends if nothing else happens.
func (p *past) end() time.Duration {
	if at, ok := p.stall(); ok {
		return min(at, p.expiry())
	}
	return p.expiry()
}

// stall returns when the call stalls, if it ever does.
func (p *past) stall() (at time.Duration, ok bool) {
	for _, e := range p.events {
		if !e.void && (e.kind == result || e.result && (e.kind == end || e.kind == endNamed)) {
			at, ok = e.when+p.policy.Stall, p.policy.Stall > 0
		}
	}
	return at, ok
}

// stage is how far a run has come.
type stage uint8

const (
	unclaimed stage = iota
	claimed
	refused // its start was
	running
	overran // it runs, but has taken as long as it may
	returned
)

// fate is the state of a member, as the oracle computes it.
type fate struct {
	Member
	runs   [4]stage
	limits [4]time.Duration // when runs are overdue, or 0
	failed [4]State         // how runs have ended without an answer
	losses int              // how many have
	asked  int              // runs claimed
	may    int              // runs that may have been claimed
	last   time.Duration    // when the last one was
	after  time.Duration    // of the hedge
	size   int              // candidates, 0 for one that was named
	named  bool             // or expected, and not missed
}

// fates returns the fates of all members. A result or an end that comes after the end of the
// member is void.
func (p *past) fates(all []fate) []fate {
	all = all[:0]
	for _, e := range p.events {
		switch e.kind {
		case enroll:
			for i, n := range p.members {
				all = append(all, fate{size: max(1, n), after: p.hedgeOf(i)})
			}
		case name:
			all = append(all, fate{Member: Member{Tried: 1, Began: e.when}, named: true})
		case expect:
			all = append(all, fate{Member: Member{expects: true}, named: true})
		case miss:
			all = append(all, fate{Member: Member{State: e.how, Ended: e.when}})
		case claim, start, end, result, endNamed, accept:
			all[e.run.Member].suffer(p, e)
		case tick:
			for i := range all {
				all[i].overrun(p, e)
				all[i].hedge(p, e.when)
			}
		case endRelay, stop, wait:
		}
	}
	return all
}

// suffer changes the fate of a member after an event of this member.
func (f *fate) suffer(p *past, e event) {
	run := &f.runs[e.run.Replica]
	switch e.kind {
	case claim:
		*run = claimed
		f.asked++
		f.may, f.last = max(f.may, f.asked), e.when
	case start:
		if *run = running; e.void {
			*run = refused
			return
		}
		if f.Tried++; f.Tried == 1 {
			f.Began = e.when
		}
		if limit := p.limit(e.run); limit > 0 {
			f.limits[e.run.Replica] = e.when + limit
		}
	case end:
		if *run = returned; !e.void {
			f.end(p, e)
		}
	case result:
		if !e.void {
			f.Results++
		}
	case endNamed:
		if !e.void {
			f.State, f.Ended = p.told(e), e.when
			if e.result {
				f.Results++
			}
		}
	case accept:
		if !e.void {
			f.State, f.Ended = Replaced, e.when
		}
	case enroll, name, expect, miss, endRelay, stop, tick, wait:
	}
}

// end ends a run of a member that has not ended: the first answer ends the member. Without an
// answer, the end of the last candidate ends the member.
func (f *fate) end(p *past, e event) {
	if e.how == OK {
		f.State, f.Ended = OK, e.when
		if e.result {
			f.Results++
		}
		return
	}
	f.lose(p.told(e), e.when)
}

// lose ends a run without an answer.
func (f *fate) lose(how State, when time.Duration) {
	f.failed[f.losses] = how
	f.losses++
	f.may = min(f.may+1, f.size)
	if f.losses < f.size {
		return
	}
	f.State, f.Ended = f.failed[0], when
	for _, how := range f.failed[:f.losses] {
		if how != f.failed[0] {
			f.State = Failed
		}
	}
}

// overrun ends the runs that are overdue before the call ends.
func (f *fate) overrun(p *past, tick event) {
	for replica, at := range f.limits {
		if f.runs[replica] == running && f.State == Pending && at > 0 && tick.when >= at && at < p.end() {
			f.runs[replica] = overran
			f.lose(Late, tick.when)
			f.Overdue = f.State != Pending
		}
	}
}

// overdue returns the runs that the last event, a tick, has found to be overdue.
func (p *past) overdue(before, all []fate) (runs []Overdue) {
	for i, f := range all {
		own := len(runs)
		for replica, stage := range f.runs {
			if stage == overran && before[i].runs[replica] == running {
				runs = append(runs, Overdue{Run: Run{int32(i), int32(replica)}})
			}
		}
		if own < len(runs) {
			runs[len(runs)-1].Ends = f.State != Pending
		}
	}
	return runs
}

// hedge lets one more replica be asked if a hedge is due and leaves the replica enough time.
func (f *fate) hedge(p *past, now time.Duration) {
	if at, ok := f.hedgeDue(p); ok && now >= at && now+f.after <= p.budget() {
		f.may++
	}
}

// hedgeDue returns when one more replica is due, unless the past changes.
func (f *fate) hedgeDue(p *past) (at time.Duration, ok bool) {
	at = f.last + f.after
	ok = f.after > 0 && f.State == Pending && f.asked > 0 && f.asked == f.may && f.may < f.size &&
		at+f.after <= p.budget()
	return at, ok
}

// told returns how a run has ended. A run that returns the error of its context's deadline is
// late if the time of the producers is over.
func (p *past) told(e event) State {
	switch {
	case e.how != Expired:
		return e.how
	case e.when >= p.budget():
		return Late
	default:
		return Failed
	}
}

// verdict returns why the call is over after the last event, before which it was not.
func (p *past) verdict(all []fate) Reason {
	last := p.last()
	switch {
	case last.kind == stop:
		return last.reason
	case last.kind == tick && last.lost() > 0:
		if reason := p.enough(all); reason != Underway {
			return reason
		}
		fallthrough
	case last.kind == tick:
		return p.timeIsUp(last.when)
	case !last.decides():
		return Underway
	}
	return p.enough(all)
}

// enough returns why what is known of the members ends the call.
func (p *past) enough(all []fate) Reason {
	var answers, failures, owed, results, replaced int
	for _, f := range all {
		results += int(f.Results)
		switch f.State {
		case OK:
			answers++
		case Failed, Panicked, Rejected:
			failures++
		case Pending:
			owed++
		case Replaced:
			replaced++
		default:
		}
	}
	quorum := p.policy.Quorum
	if p.policy.Majority {
		quorum = (len(all)-replaced)/2 + 1
	}
	certain := !p.policy.Majority || p.openRelays() == 0
	switch {
	case certain && quorum > 0 && answers >= quorum && !p.requires(all), p.policy.First && results > 0:
		return Satisfied
	case p.policy.FailFast && failures > 0:
		return FailedFast
	case p.openRelays() > 0:
		return Underway
	case len(all) == replaced:
		return NoProducers
	case answers+owed < quorum:
		return QuorumLost
	case owed == 0:
		return AllEnded
	default:
		return Underway
	}
}

// requires reports whether a required member has not ended, or may yet be named.
func (p *past) requires(all []fate) bool {
	for _, i := range p.required {
		if all[i].State == Pending {
			return true
		}
	}
	named := slices.IndexFunc(all, func(f fate) bool { return f.named && !f.expects })
	if p.requiresName && named < 0 {
		return p.openRelays() > 0
	}
	return p.requiresName && all[named].State == Pending
}

// timeIsUp returns why the passing of time ends the call: the reason that comes first.
func (p *past) timeIsUp(now time.Duration) Reason {
	switch at, ok := p.stall(); {
	case ok && now >= at && at < p.expiry():
		return Stalled
	case now >= p.expiry():
		return Deadline
	default:
		return Underway
	}
}

// decides reports whether an event may have decided the call: it has ended a member,
// brought a result, or said that no more members come.
func (e event) decides() bool {
	return e.kind == enroll || e.kind == endRelay || (e.kind == result || e.kind == accept) && !e.void || e.kind != miss && e.ends != Pending
}

// claimable returns the runs that may be claimed next at a time, if the call goes on.
func (p *past) claimable(now time.Duration, all []fate) (runs []Run) {
	for i, f := range all {
		if f.State == Pending && f.asked > 0 && f.asked < f.may {
			runs = append(runs, Run{int32(i), int32(f.asked)})
		}
	}
	if next, ok := p.next(all); ok && now >= p.stagger(all) {
		runs = append(runs, Run{Member: int32(next)})
	}
	return runs
}

// next returns the next local member to be asked, if there is one and a place for it.
func (p *past) next(all []fate) (next int, ok bool) {
	busy, first := 0, -1
	for i, f := range all {
		switch {
		case f.size == 0: // not local
		case f.asked == 0 && first < 0:
			first = i
		case f.asked > 0 && f.State == Pending:
			busy++
		}
	}
	return first, first >= 0 && (p.policy.Parallelism == 0 || busy < p.policy.Parallelism)
}

// stagger returns from when on the next member may be asked: at once for each member
// that has ended without an answer and has not been replaced.
func (p *past) stagger(all []fate) time.Duration {
	if p.policy.Stagger == 0 {
		return 0
	}
	var at time.Duration
	owed := 0
	for _, e := range p.events {
		switch {
		case e.kind == claim && e.run.Replica == 0:
			owed, at = max(0, owed-1), e.when+p.policy.Stagger
		case e.kind == end && e.ends != Pending && e.ends != OK:
			owed++
		}
		owed += e.lost()
	}
	if owed > 0 {
		return 0
	}
	return at
}

// lost returns how many members have ended because their runs were overdue at an event.
func (e event) lost() (lost int) {
	for _, o := range e.overdue {
		if o.Ends {
			lost++
		}
	}
	return lost
}

// due returns the next time at which the passing of time changes something.
func (p *past) due(all []fate) time.Duration {
	due := p.expiry()
	if at, ok := p.stall(); ok {
		due = min(due, at)
	}
	if p.policy.Grace > 0 && !p.graced() {
		due = min(due, p.budget())
	}
	if _, ok := p.next(all); ok && p.stagger(all) > p.now() {
		due = min(due, p.stagger(all))
	}
	for _, f := range all {
		for replica, at := range f.limits {
			if f.runs[replica] == running && f.State == Pending && at > 0 {
				due = min(due, at)
			}
		}
		if at, ok := f.hedgeDue(p); ok && p.now()+f.after <= p.budget() {
			due = min(due, at)
		}
	}
	return due
}
