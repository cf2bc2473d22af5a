// Package books checks the books of calls: that every member of a call has ended in one way,
// and that the report, the reader and the listeners agree.
//
// It is for calls whose requests and results are ints of 64 bits. A result has to be made by
// [Value], so that it identifies the request and differs from all other results.
package books

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seed-bb4b4d74/dispatch"
)

// Result is a result of a call.
type Result = dispatch.Result[int, int]

// perRequest is how many different results a request can have.
const perRequest = 1_000_000_000

// Value returns the n-th result to a request.
func Value(req, n int) int { return req*perRequest + n%perRequest }

// Answers reports whether a value was made as a result to the request.
func Answers(value, req int) bool { return value/perRequest == req }

// Entry is the record of a call that has ended.
type Entry struct {
	Report   dispatch.Report
	Results  []Result                   // what a reader saw
	Many     func(dispatch.Member) bool // reports whether a member can have any number of results
	Quorum   int                        // the call's WithQuorum; 0: none
	FailFast bool                       // the call's WithFailFast
	Grace    bool                       // whether the call has a WithGrace
	Exact    bool                       // whether time is virtual; otherwise the clock is read a little before the event that it is read for
}

// Check returns what is wrong with the entry, or nil.
func (e *Entry) Check() error {
	if err := errors.Join(e.outcomes(), e.results(), e.answers(), e.reason()); err != nil {
		return fmt.Errorf("%s\n%w", e, err)
	}
	return nil
}

// String gives the entry in one line.
func (e *Entry) String() string {
	return fmt.Sprintf("%s (quorum %d, fail fast %v, grace %v)", told(e.Report), e.Quorum, e.FailFast, e.Grace)
}

func told(r dispatch.Report) string {
	s := fmt.Sprintf("call %v on %s: %v after %v:", r.Call, r.Topic, r.Reason, r.Elapsed)
	for _, o := range r.Outcomes {
		s += fmt.Sprintf(" %v=%v/%d", o.Member, o.State, o.Results)
	}
	return s
}

// outcomes checks that every member has ended once, in a valid way.
func (e *Entry) outcomes() error {
	seen := map[dispatch.Member]bool{}
	for _, o := range e.Report.Outcomes {
		switch {
		case seen[o.Member]:
			return fmt.Errorf("%v has two outcomes", o.Member)
		case o.State <= dispatch.StatePending || o.State > dispatch.StateGone:
			return fmt.Errorf("%v is %v when the call is over", o.Member, o.State)
		case (o.Err == nil) != (o.State == dispatch.StateOK):
			return fmt.Errorf("%v is %v with the error %v", o.Member, o.State, o.Err)
		case o.Elapsed < 0 || e.Exact && o.Elapsed > e.Report.Elapsed:
			return fmt.Errorf("%v ended %v after the start of the call", o.Member, o.Elapsed)
		}
		seen[o.Member] = true
	}
	return nil
}

// results checks the sequence of the results.
func (e *Entry) results() error {
	seen := map[int]bool{}
	for i, r := range e.Results {
		switch {
		case r.Seq != i:
			return fmt.Errorf("result %d has Seq %d", i, r.Seq)
		case seen[r.Value]:
			return fmt.Errorf("result %d, %v, came twice", i, r.Value)
		case !Answers(r.Value, r.Call.Request()):
			return fmt.Errorf("result %d, %v, is not of request %d", i, r.Value, r.Call.Request())
		case r.Call.ID() != e.Report.Call:
			return fmt.Errorf("result %d is of call %v", i, r.Call.ID())
		case e.Exact && (i > 0 && r.Elapsed < e.Results[i-1].Elapsed || r.Elapsed > e.Report.Elapsed):
			return fmt.Errorf("result %d came after %v, out of order", i, r.Elapsed)
		}
		seen[r.Value] = true
	}
	return nil
}

// answers checks that each member has the results that its outcome says.
func (e *Entry) answers() error {
	got := map[dispatch.Member]int{}
	for _, r := range e.Results {
		got[r.From]++
	}
	for _, o := range e.Report.Outcomes {
		n := got[o.Member]
		delete(got, o.Member)
		if n != o.Results {
			return fmt.Errorf("%v has %d results, and %d by its outcome", o.Member, n, o.Results)
		}
		if !e.Many(o.Member) && (n == 1) != (o.State == dispatch.StateOK) {
			return fmt.Errorf("%v is %v with %d results", o.Member, o.State, n)
		}
	}
	if len(got) > 0 {
		return fmt.Errorf("results of those who are not members: %v", got)
	}
	return nil
}

// reason checks that the call ended for the reason that the outcomes give.
func (e *Entry) reason() error {
	count := map[dispatch.State]int{}
	for _, o := range e.Report.Outcomes {
		count[o.State]++
	}
	ok, n := count[dispatch.StateOK], len(e.Report.Outcomes)
	unfinished := count[dispatch.StateCanceled]
	// If the deadline is that of the sender's context, a member may say that the time is over
	// before that context does.
	if over := e.Report.Elapsed >= e.Report.Budget; !e.Grace && !over {
		unfinished += count[dispatch.StateLate]
	}
	failed := count[dispatch.StateFailed] + count[dispatch.StatePanicked] + count[dispatch.StateRejected]

	fits := true
	switch e.Report.Reason {
	case dispatch.ReasonPending:
		fits = false
	case dispatch.ReasonAllEnded:
		fits = n > 0 && unfinished == 0 && e.Quorum == 0
	case dispatch.ReasonSatisfied:
		fits = e.Quorum > 0 && ok == e.Quorum
	case dispatch.ReasonQuorumLost:
		fits = e.Quorum > 0 && ok+count[dispatch.StateCanceled] < e.Quorum
	case dispatch.ReasonFailedFast:
		fits = e.FailFast && failed == 1
	case dispatch.ReasonStalled:
		fits = len(e.Results) > 0
	case dispatch.ReasonNoProducers:
		fits = n == 0
	case dispatch.ReasonDeadline, dispatch.ReasonCanceled, dispatch.ReasonClosed:
	}
	if !fits {
		return fmt.Errorf("the reason %v does not fit", e.Report.Reason)
	}
	if e.Quorum > 0 && ok > e.Quorum {
		return errors.New("it went on after its quorum")
	}
	return nil
}

// Agrees returns what is wrong if a reader saw these results, or nil.
func (e *Entry) Agrees(results []Result) error {
	if !slices.Equal(results, e.Results) {
		return fmt.Errorf("%s\none reader saw %v, another %v", e, seqs(e.Results), seqs(results))
	}
	return nil
}

func seqs(results []Result) []string {
	s := make([]string, len(results))
	for i, r := range results {
		s[i] = fmt.Sprintf("%d:%v", r.Seq, r.From)
	}
	return s
}
