package main

import (
	"fmt"
	"slices"
)

func timeChecks() []check {
	return []check{
		{"deadline: late, and final", "When the budget is used up, a member that has not ended is late, with the code deadline, and the final follows.", deadline},
		{"cancel: silence", "After a cancel a node says nothing more.", cancelSilences},
		{"cancel: for another node", "Dispatch-Node says which node alone is meant.", cancelOfOther},
		{"cancel: before its request", "If the request comes after its cancel, it is not run.", cancelFirst},
	}
}

// startSlow sends the slow request and waits for the first message of the reply.
func (e *examiner) startSlow() (a *asking, r reply, err error) {
	if e.slow == "" {
		return nil, r, skipped("it needs --slow")
	}
	if a, err = e.newRequest(e.slow); err != nil {
		return nil, r, err
	}
	a.setBudget(e.budget)
	if err = a.send(); err == nil {
		_, err = a.more(&r, e.patience)
	}
	if err != nil {
		a.reply.close()
	}
	return a, r, err
}

func deadline(e *examiner) error {
	a, r, err := e.startSlow()
	if err != nil {
		return err
	}
	defer a.reply.close()
	return e.endsLate(a, &r)
}

// endsLate checks that a slow request ends late when its budget has passed.
func (e *examiner) endsLate(a *asking, r *reply) error {
	for done := r.last().kind == "final" || r.last().kind == "reject"; !done; {
		var err error
		if done, err = a.more(r, e.budget+e.patience); err != nil {
			return err
		}
	}
	late := func(f frame) bool { return f.kind == "end" && f.state == "late" && f.code == "deadline" }
	if !slices.ContainsFunc(r.frames, late) {
		return wrong("end … late deadline, for a member that works for longer than the budget", "%s", *r)
	}
	return checkCounts(*r)
}

func cancelSilences(e *examiner) error {
	a, _, err := e.startSlow()
	if err != nil {
		return err
	}
	defer a.reply.close()
	if err := a.cancel(""); err != nil {
		return err
	}
	if _, err := e.answered(e.request, nil); err != nil {
		return fmt.Errorf("the request after it: %w", err)
	}
	var before reply // what the node sent before it heard the cancel; all of this has arrived by now
	for {
		if n, _, err := a.reply.Pending(); err != nil || n == 0 {
			break
		}
		if _, err := a.more(&before, e.quiet); err != nil {
			return err
		}
	}
	ends := func(f frame) bool { return f.kind == "final" || f.kind == "end" && f.state == "cancelled" }
	if slices.ContainsFunc(before.frames, ends) {
		return wrong("no end and no final because of the cancel", "%s", before)
	}
	// The node also sends nothing when the budget has passed.
	return a.quiet("nothing after the cancel", e.budget+e.quiet)
}

func cancelOfOther(e *examiner) error {
	a, r, err := e.startSlow()
	if err != nil {
		return err
	}
	defer a.reply.close()
	if err := a.cancel(e.nobody); err != nil {
		return err
	}
	return e.endsLate(a, &r)
}

func cancelFirst(e *examiner) error {
	a, err := e.newRequest(e.request)
	if err != nil {
		return err
	}
	defer a.reply.close()
	if err := a.cancel(""); err != nil {
		return err
	}
	if err := a.send(); err != nil {
		return err
	}
	return a.silent("nothing, for the request was canceled before it came")
}
