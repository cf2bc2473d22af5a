package course

import "fmt"

// checkPromises checks the last event against promises of the documentation, independent of the
// rules by which the oracle decides.
func (n *node) checkPromises(from *Course, all []fate) error {
	c, p := &n.course, &n.past
	if from.Reason() != Underway {
		return fmt.Errorf("the call goes on after its end")
	}
	if c.Ended() < from.Ended() {
		return fmt.Errorf("the time goes back from %d to %d", from.Ended(), c.Ended())
	}
	if c.Reason() == Satisfied && !p.policy.First && p.requires(all) {
		return fmt.Errorf("the call is satisfied before a required member has ended")
	}
	for i := range from.Size() {
		if from.HasEnded(i) && c.Member(i) != from.Member(i) {
			return fmt.Errorf("member %d has changed from %v to %v", i, from.Member(i), c.Member(i))
		}
		if c.HasEnded(i) && c.Member(i).State == Declined && !all[i].declined() {
			return fmt.Errorf("member %d has declined, and not all that were asked have", i)
		}
	}
	switch e := p.last(); {
	case e.kind == claim && from.HasEnded(int(e.run.Member)):
		return fmt.Errorf("member %d has ended and is asked", e.run.Member)
	case e.kind == claim && e.run.Replica == 0:
		return p.checkFirstRun()
	case e.kind == claim:
		return p.checkReplica(e.run)
	}
	return nil
}

// declined reports whether every run that has ended has declined.
func (f *fate) declined() bool {
	for _, how := range f.failed[:f.losses] {
		if how != Declined {
			return false
		}
	}
	return true
}

// checkFirstRun checks a member that has just been asked against the rules that keep members
// back.
func (p *past) checkFirstRun() error {
	asked, ended, unanswered := 0, 0, 0
	for _, e := range p.events {
		switch {
		case e.kind == claim && e.run.Replica == 0:
			asked++
		case e.kind == end && e.ends == OK:
			ended++
		case e.kind == end && e.ends != Pending:
			ended++
			unanswered++
		}
		ended += e.lost()
		unanswered += e.lost()
	}
	if limit := p.policy.Parallelism; limit > 0 && asked-ended > limit {
		return fmt.Errorf("%d members run at the same time, want %d at most", asked-ended, limit)
	}
	if d := p.policy.Stagger; d > 0 && asked > 1+int(p.now()/d)+unanswered {
		return fmt.Errorf("%d members are asked by %d, want one each %d", asked, p.now(), d)
	}
	return nil
}

// checkReplica checks that a replica that has just been asked had a reason: a replica before it
// has failed, or has had the time of a hedge, and the new replica has that time too.
func (p *past) checkReplica(run Run) error {
	reasons, hedge := 0, p.hedgeOf(int(run.Member))
	for _, e := range p.events {
		switch {
		case e.kind == end && e.run.Member == run.Member && e.how != OK:
			reasons++
		case e.kind == tick && hedge > 0 && e.when >= hedge && e.when+hedge <= p.budget():
			reasons++
		}
		for _, o := range e.overdue {
			if o.Member == run.Member {
				reasons++
			}
		}
	}
	if int(run.Replica) > reasons {
		return fmt.Errorf("replica %d of member %d is asked for %d reasons", run.Replica, run.Member, reasons)
	}
	return nil
}
