package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// account is what one recipient was told of one call, by kind. It is text, so it keeps no call in memory.
type account map[kind][]string

type kind string

const (
	toldResult   kind = "results"
	toldRetained kind = "retained results"
	toldOutcome  kind = "outcomes"
	toldReplica  kind = "outcomes of replicas"
	toldEnd      kind = "ends"
	toldAfterEnd kind = "what comes after the end"
)

// accounts is what one recipient was told.
type accounts struct {
	mu sync.Mutex
	of map[dispatch.CallID]account
}

func (a *accounts) add(id dispatch.CallID, k kind, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = make(map[dispatch.CallID]account)
	}
	if a.of[id] == nil {
		a.of[id] = make(account)
	}
	if len(a.of[id][toldEnd]) > 0 {
		k, text = toldAfterEnd, string(k)+": "+text
	}
	a.of[id][k] = append(a.of[id][k], text)
}

func (a *accounts) get(id dispatch.CallID) account {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.of[id]
}

func resultText(seq int, from dispatch.Member, value int, at time.Duration) string {
	return fmt.Sprintf("%03d %+v=%d at %v", seq, from, value, at)
}

func outcomeText(o dispatch.Outcome) string { return fmt.Sprintf("%+v %v", o, o.Err) }

// truth is the account that a call itself gives after its end.
func truth(c *inFlight) account {
	var a accounts
	r := c.Report()
	for x := range c.Results() {
		a.add(c.ID(), toldResult, resultText(x.Seq, x.From, x.Value, x.Elapsed))
	}
	for _, o := range r.Outcomes {
		a.add(c.ID(), toldOutcome, outcomeText(o))
	}
	for _, o := range r.Replicas {
		a.add(c.ID(), toldReplica, outcomeText(o))
	}
	a.add(c.ID(), toldEnd, fullText(r))
	return a.get(c.ID())
}

// problems are what is wrong, one line each.
type problems []string

func (p *problems) addf(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

func (p *problems) differ(what string, got, want []string) {
	if !slices.Equal(got, want) {
		p.addf("%s (-want +got):\n%s", what, cmp.Diff(want, got))
	}
}

// differences says how two accounts of a call differ in these kinds.
func differences(got, want account, kinds ...kind) (p problems) {
	for _, k := range kinds {
		if k == toldResult {
			p.differ(string(k), got[k], want[k])
		} else { // these come in the order of their events, and reports are in the order of registration
			p.differ(string(k), ordered(got[k]), ordered(want[k]))
		}
	}
	return p
}

// flawsOfVisit says what is wrong with what a listener heard of a call that had from results when it
// came and to results when it left. It has heard all if it was drained and drops nothing.
func flawsOfVisit(a account, from, to int, all, overlaps bool) (p problems) {
	seqs := func(from, to int) (texts []string) {
		for seq := from; seq < to; seq++ {
			texts = append(texts, fmt.Sprintf("%03d", seq))
		}
		return texts
	}
	for k, want := range map[kind][]string{toldResult: seqs(from, to), toldRetained: seqs(0, from)} {
		got := a[k]
		if overlaps {
			got = ordered(got)
		}
		if k == toldRetained || !all { // any of them, but in order
			want = slices.DeleteFunc(want, func(seq string) bool { return !slices.Contains(got, seq) })
		}
		p.differ(string(k), got, want)
	}
	p.differ(string(toldAfterEnd), a[toldAfterEnd], nil)
	return p
}

// values are numbers that producers give, each only once.
type values struct {
	mu          sync.Mutex
	by          []string
	heard, late map[int]int // how often each was a result, and was late
}

func (v *values) next(by string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.by = append(v.by, by)
	return len(v.by) - 1
}

func (v *values) count(in *map[int]int, value int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if *in == nil {
		*in = make(map[int]int)
	}
	(*in)[value]++
}

func (v *values) flaws() (p problems) {
	for value, by := range v.by {
		if v.heard[value]+v.late[value] != 1 {
			p.addf("the value %d of %s was a result %d times and late %d times, not once in all", value, by, v.heard[value], v.late[value])
		}
	}
	return p
}

// flaws says what the report of a call that has ended gets wrong about itself or the results.
func flaws(r dispatch.Report, all []result) (p problems) {
	if r.Reason == dispatch.ReasonPending || r.Elapsed > r.Budget+200*time.Millisecond {
		p.addf("it is %v after %v of %v", r.Reason, r.Elapsed, r.Budget)
	}
	of := make(map[dispatch.Member]int)
	for i, x := range all {
		if of[x.From]++; x.Seq != i || x.Retained || x.Elapsed > r.Elapsed || i > 0 && x.Elapsed < all[i-1].Elapsed {
			p.addf("the result %d is %s, retained: %v", i, resultText(x.Seq, x.From, x.Value, x.Elapsed), x.Retained)
		}
	}
	for i, o := range r.Outcomes {
		twice := slices.ContainsFunc(r.Outcomes[:i], func(before dispatch.Outcome) bool { return before.Member == o.Member })
		if twice || of[o.Member] != o.Results {
			p.addf("%v has %d results, another outcome: %v, and the outcome %+v", o.Member, of[o.Member], twice, o)
		}
		tried := 0
		for _, x := range r.Replicas {
			if x.Member.Group == o.Member.Group {
				tried += x.Tried
			}
		}
		if o.Member.Group != "" && o.Member.Node == "" && tried != o.Tried {
			p.addf("%d replicas of %v were tried, and its outcome says %d", tried, o.Member, o.Tried)
		}
	}
	for _, o := range slices.Concat(r.Outcomes, r.Replicas) {
		if contradictory(o, r) {
			p.addf("the outcome %+v contradicts itself or its report", o)
		}
	}
	if missing := len(r.Missing()); (missing == 0) != (r.Complete() || len(r.Outcomes) == 0) {
		p.addf("%d members are missing, and complete is %v", missing, r.Complete())
	}
	return p
}

func contradictory(o dispatch.Outcome, r dispatch.Report) bool {
	mayBeLate := !o.Started || r.Reason == dispatch.ReasonDeadline || errors.Is(o.Err, dispatch.ErrTimeout) || errors.Is(o.Err, context.DeadlineExceeded)
	return o.State == dispatch.StatePending || o.State == dispatch.StateLate && !mayBeLate ||
		(o.Err == nil) != (o.State == dispatch.StateOK) || o.Started != (o.Tried > 0) || o.Results < 0 ||
		o.Elapsed > r.Elapsed || o.Began > o.Elapsed || o.Began < 0 || !o.Started && o.Began != 0
}

// leftovers says what a bus at rest is still busy with.
func leftovers(s dispatch.Snapshot) (p problems) {
	if len(s.Calls)+len(s.Abandoned)+s.SendersWaiting != 0 {
		p.addf("calls %+v, runs %+v, and %d senders", s.Calls, s.Abandoned, s.SendersWaiting)
	}
	for _, on := range append(s.Topics, s.Patterns) {
		for _, x := range on.Producers {
			if x.Waiting != 0 || x.Running != 0 || x.Abandoned != 0 {
				p.addf("a producer: %+v", x)
			}
		}
		for _, x := range on.Listeners {
			if x.Queued != 0 || x.Waiting != 0 {
				p.addf("a listener: %+v", x)
			}
		}
	}
	for _, x := range s.Observers {
		if x.Queued != 0 || x.Missed != 0 {
			p.addf("an observer: %+v", x)
		}
	}
	return p
}

// check compares what all were told, after the end.
func (s *scenario) check() {
	for _, c := range s.sent.all() {
		s.checkCall(c)
	}
	for _, check := range s.checks.take() {
		check()
	}
	if !s.closed.Load() {
		s.report(s.values.flaws(), "values")
		var p problems
		p.differ("outcomes", ordered(s.outcomes.all()), ordered(s.reported.all()))
		s.report(p, "the listener")
	}
}

func (s *scenario) report(p problems, about string, args ...any) {
	for _, problem := range p {
		s.failf("%s: %s", fmt.Sprintf(about, args...), problem)
	}
}

func (s *scenario) checkCall(c *inFlight) {
	id, r, want := c.ID(), c.Report(), truth(c)
	s.report(flaws(r, slices.Collect(c.Results())), "call %v,\n%v", id, r)
	if s.observed {
		s.report(differences(s.observer.get(id), want, toldResult, toldOutcome, toldReplica, toldEnd, toldAfterEnd), "call %v, the observer,\n%v", id, r)
	}
	if got := s.reader.get(id); got != nil {
		s.report(differences(got, want, toldResult, toldOutcome), "call %v, a reader,\n%v", id, r)
	}
	got := s.listener.get(id)
	if !s.closed.Load() {
		s.report(differences(got, want, toldResult, toldEnd, toldAfterEnd), "call %v, the listener,\n%v", id, r)
	} else if len(got[toldEnd]) == 0 && r.Reason == dispatch.ReasonClosed {
		s.failf("call %v, the listener,\n%v: OnDone was not called", id, r)
	}
}

// checkObserverVisit checks what an observer was told of these calls. It is told the end of a call that
// had ended when it left, and of no other.
func (s *scenario) checkObserverVisit(all *accounts, ended map[*inFlight]bool, kinds []kind) {
	for c, hasEnded := range ended {
		want := truth(c)
		compared := kinds
		if !hasEnded {
			want, compared = nil, []kind{toldEnd, toldAfterEnd}
		}
		s.report(differences(all.get(c.ID()), want, compared...), "call %v, a visiting observer", c.ID())
	}
}

func (s *scenario) checkBounded(r *dispatch.Registration, heard int) {
	dropped, total := int(dispatch.Dropped(r)), 0
	for _, n := range s.values.heard {
		total += n
	}
	if n := dispatch.Waiting(r); n != 0 {
		s.failf("%d results wait for %s, not 0", n, r.Name())
	}
	if !s.closed.Load() && heard+dropped != total {
		s.failf("%s heard %d results and dropped %d, of %d", r.Name(), heard, dropped, total)
	}
	if told := s.dropped.count(r.Name()); s.observed && !s.closed.Load() && told != dropped {
		s.failf("%s dropped %d results, and the observer was told of %d", r.Name(), dropped, told)
	}
}
