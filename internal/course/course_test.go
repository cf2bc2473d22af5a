package course

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// call returns the course of a call of members with so many candidates each.
func call(p Policy, relays int, candidates ...int) *Course {
	c := New(&p)
	c.Enroll(0, make([]Member, len(candidates)), func(i int) int { return candidates[i] }, relays)
	return &c
}

// ask claims and starts all runs that there are at a time.
func ask(t *testing.T, c *Course, at time.Duration) (asked []Run) {
	t.Helper()
	for {
		r, ok := c.Claim(at)
		if !ok {
			return asked
		}
		if !c.Start(at, r, 0) {
			t.Fatalf("run %v has not started", r)
		}
		asked = append(asked, r)
	}
}

func want[V comparable](t *testing.T, what string, got, want V) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestWhatComesFirstEndsACallHoweverLateTheTimerIs(t *testing.T) {
	for _, test := range []struct {
		result, late time.Duration // when there was one, when the timer comes
		want         Reason
		member       State
	}{
		{2, 4, Underway, Pending},
		{2, 5, Stalled, Canceled},
		{2, 100, Stalled, Canceled},
		{6, 8, Underway, Pending},
		{6, 9, Stalled, Canceled},
		{7, 10, Deadline, Late}, // both at the same time
		{8, 9, Underway, Pending},
		{8, 100, Deadline, Late},
	} {
		c := call(Policy{Timeout: 10, Stall: 3}, 0, 1)
		ask(t, c, 0)
		c.Result(test.result, 0)
		c.Tick(test.late)
		at := fmt.Sprintf("a result at %d and a timer at %d", test.result, test.late)
		want(t, at, c.Reason(), test.want)
		want(t, at, c.Member(0).State, test.member)
	}
}

func TestASecondResultPutsTheStallOff(t *testing.T) {
	c := call(Policy{Timeout: 10, Stall: 3}, 0, 1, 1)
	ask(t, c, 0)
	want(t, "due before any result", c.Due(), 10)
	c.Result(2, 0)
	want(t, "due after one", c.Due(), 5)
	c.End(4, Run{Member: 1}, OK, true)
	want(t, "due after two", c.Due(), 7)
	c.Tick(5)
	want(t, "when the first would have ended it", c.Reason(), Underway)
}

func TestAnEarlierTimeCountsAsThatOfTheEventBefore(t *testing.T) {
	c := call(Policy{Timeout: 10}, 0, 1, 1)
	ask(t, c, 4)
	c.End(3, Run{}, OK, true)
	want(t, "the member", c.Member(0), Member{Began: 4, Ended: 4, Results: 1, Tried: 1, State: OK})
	c.Stop(1, Stopped)
	want(t, "the call", c.Ended(), 4)
}

func TestALargeTimeIsNotExceeded(t *testing.T) {
	const huge = math.MaxInt64
	c := call(Policy{Timeout: huge, Stall: huge, Stagger: huge, Hedge: huge}, 0, 2, 1)
	c.Within(huge, huge)
	ask(t, c, 1)
	c.Result(2, 0)
	want(t, "due", c.Due(), huge)
	c.Tick(huge - 1)
	want(t, "claimable", c.Claimable(huge-1), false)
	want(t, "reason", c.Reason(), Underway)
	c.Tick(huge)
	want(t, "reason at the end of time", c.Reason(), Deadline)
}

func TestSlackPutsTheEndOffButNotTheGrace(t *testing.T) {
	c := call(Policy{Timeout: 100, Grace: 2}, 0, 1)
	c.Within(10, 5)
	want(t, "due", c.Due(), 8)
	c.Tick(8)
	want(t, "the grace has begun", c.Graced(), true)
	want(t, "due in the grace", c.Due(), 15)
	c.Tick(14)
	want(t, "reason", c.Reason(), Underway)
	c.Stop(14, Deadline)
	want(t, "the member", c.Member(0).State, Late)
}

func TestAGraceThatIsLongerThanTheTimeoutBeginsAtOnce(t *testing.T) {
	c := call(Policy{Timeout: 3, Grace: 5, Hedge: 1}, 0, 2)
	want(t, "due", c.Due(), -2)
	c.Tick(0)
	want(t, "the grace has begun", c.Graced(), true)
	ask(t, c, 0)
	want(t, "due then", c.Due(), 3)
}

// The result does not depend on whether the course was told of the grace's timer.
func TestARunThatIsOutOfTimeIsLateIfItsTimeIsOver(t *testing.T) {
	for _, test := range []struct {
		slack, grace, at time.Duration
		want             State
	}{
		{0, 0, 9, Failed},
		{5, 0, 10, Late},
		{0, 4, 5, Failed},
		{0, 4, 6, Late},
	} {
		c := call(Policy{Timeout: 100, Grace: test.grace}, 1, 1, 2, 1)
		c.Within(10, test.slack)
		ask(t, c, 0)
		named, _ := c.Name(0)
		c.EndNamed(test.at, named, Expired, false)
		c.End(test.at, Run{Member: 0}, Expired, false)
		c.End(test.at, Run{Member: 1}, Expired, false)
		c.End(test.at, ask(t, c, test.at)[0], Expired, false)
		for _, i := range []int{0, 1, int(named)} {
			want(t, fmt.Sprintf("member %d at %d", i, test.at), c.Member(i).State, test.want)
		}
	}
}

func TestAGroupEndsAsAllItsReplicasDo(t *testing.T) {
	for _, test := range []struct {
		ends []State
		want State
	}{
		{[]State{OK}, OK},
		{[]State{Failed}, Pending},
		{[]State{Failed, OK}, OK},
		{[]State{Declined, Declined}, Pending},
		{[]State{Declined, Declined, OK}, OK},
		{[]State{Declined, Declined, Declined}, Declined},
		{[]State{Declined, Declined, Failed}, Failed},
		{[]State{Failed, Declined, Declined}, Failed},
		{[]State{Panicked, Panicked, Panicked}, Panicked},
		{[]State{Rejected, Rejected, Gone}, Failed},
		{[]State{Gone, Rejected, Gone}, Failed},
		{[]State{Gone, Gone, Gone}, Gone},
	} {
		c := call(Policy{Timeout: 10}, 0, 3, 1)
		for _, how := range test.ends {
			r := Run{Member: -1}
			for r.Member != 0 {
				r, _ = c.Claim(0)
			}
			c.End(0, r, how, how == OK)
		}
		want(t, fmt.Sprint(test.ends), c.Member(0).State, test.want)
	}
}

func TestAReplicaIsAskedAfterEachHedgeAsLongAsItHasAsMuchTimeLeft(t *testing.T) {
	for _, test := range []struct {
		hedge, slack, grace time.Duration
		want                []time.Duration // when replicas are asked
	}{
		{0, 0, 0, []time.Duration{0}},
		{3, 0, 0, []time.Duration{0, 3, 6}},
		{3, 100, 0, []time.Duration{0, 3, 6}},
		{2, 0, 0, []time.Duration{0, 2, 4, 6, 8}},
		{2, 0, 3, []time.Duration{0, 2, 4}},
		{1, 0, 0, []time.Duration{0, 1, 2, 3, 4, 5}}, // all that there are
		{5, 0, 0, []time.Duration{0, 5}},
		{6, 0, 0, []time.Duration{0}},
	} {
		c := call(Policy{Timeout: 100, Hedge: test.hedge, Grace: test.grace}, 0, 6)
		c.Within(10, test.slack)
		var got []time.Duration
		for c.Reason() == Underway {
			for range ask(t, c, c.now) {
				got = append(got, c.now)
			}
			c.Tick(c.Due())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v: asked at %v, want %v", test, got, test.want)
		}
	}
}

func TestEachGroupIsHedgedAfterItsOwnTime(t *testing.T) {
	c := call(Policy{Timeout: 20, Hedge: 4}, 0, 2, 2, 2, 2, 1)
	for i, after := range []time.Duration{9, 3, 0, 11} { // 11 would leave the replica less than 11
		c.SetHedge(i, after)
	}
	c.SetHedge(4, 1) // no group
	ask(t, c, 0)
	for _, want := range []struct {
		at     time.Duration
		member int32
	}{{3, 1}, {9, 0}} {
		if at := c.Due(); at != want.at {
			t.Fatalf("due at %v, want %v", at, want.at)
		}
		c.Tick(want.at)
		if asked := ask(t, c, want.at); !slices.Equal(asked, []Run{{want.member, 1}}) {
			t.Errorf("asked %v at %v", asked, want.at)
		}
	}
	want(t, "due then", c.Due(), 20)
}

// A late timer comes too late for one group, and not for another one with a shorter hedge.
func TestAHedgeThatIsNotWorthItHoldsUpNoOther(t *testing.T) {
	c := call(Policy{Timeout: 20}, 0, 2, 2)
	c.SetHedge(0, 7)
	c.SetHedge(1, 3)
	ask(t, c, 0)
	c.Tick(15) // too late for the first, which would have less than 7
	if asked := ask(t, c, 15); !slices.Equal(asked, []Run{{1, 1}}) {
		t.Errorf("asked %v, want the replica of the second group", asked)
	}
}

func TestALateTimerAsksNoReplicaThatHasLessTimeThanTheHedge(t *testing.T) {
	c := call(Policy{Timeout: 10, Hedge: 4}, 0, 3)
	first := ask(t, c, 0)[0]
	want(t, "due", c.Due(), 4)
	c.Tick(7)
	want(t, "claimable", c.Claimable(7), false)
	want(t, "due then", c.Due(), 10)
	c.End(8, first, Failed, false)
	want(t, "claimable after a failure", c.Claimable(8), true)
}

func TestAFailureTakesThePlaceOfTheNextHedge(t *testing.T) {
	c := call(Policy{Timeout: 20, Hedge: 4}, 0, 4)
	first := ask(t, c, 0)[0]
	c.End(3, first, Failed, false)
	want(t, "due before the next is asked", c.Due(), 20)
	want(t, "asked after the failure", len(ask(t, c, 3)), 1)
	want(t, "due", c.Due(), 7)
	c.Tick(4)
	want(t, "claimable when the first would have been hedged", c.Claimable(4), false)
}

func TestAGroupThatHasAnAnswerAsksNoFurtherReplicaAndHoldsUpNoOther(t *testing.T) {
	c := call(Policy{Timeout: 20, Hedge: 4, Parallelism: 2}, 0, 2, 2, 1)
	asked := ask(t, c, 0)
	want(t, "asked", len(asked), 2)
	c.Tick(4)
	c.End(4, asked[0], OK, true)
	got := ask(t, c, 4)
	if !slices.Equal(got, []Run{{1, 1}, {2, 0}}) {
		t.Errorf("asked %v, want the replica of the other group and the next member", got)
	}
	want(t, "a replica that has lost", c.End(5, Run{0, 1}, OK, true), TooLate)
}

func TestTheStaggerIsWaitedForAndEachFailureIsReplacedAtOnce(t *testing.T) {
	c := call(Policy{Timeout: 100, Stagger: 10}, 0, 1, 1, 1, 1, 1, 1)
	first := ask(t, c, 0)
	want(t, "asked at first", len(first), 1)
	want(t, "due", c.Due(), 10)
	want(t, "asked too early", len(ask(t, c, 9)), 0)
	want(t, "asked when it is due", len(ask(t, c, 10)), 1)
	c.End(11, first[0], OK, true)
	want(t, "asked after an answer", len(ask(t, c, 11)), 0)
	c.End(12, Run{Member: 1}, Declined, false)
	want(t, "due when one can be asked", c.Due(), 100)
	want(t, "asked instead of one that has declined", len(ask(t, c, 12)), 1)
	want(t, "due after that", c.Due(), 22)
	want(t, "asked by a late timer", len(ask(t, c, 50)), 1)
	want(t, "due after that", c.Due(), 60)
}

func TestGoodNewsComesFirst(t *testing.T) {
	for _, test := range []struct {
		policy Policy
		want   Reason
	}{
		{Policy{Timeout: 10}, Underway},
		{Policy{Timeout: 10, FailFast: true}, FailedFast},
		{Policy{Timeout: 10, FailFast: true, Quorum: 1}, Satisfied},
		{Policy{Timeout: 10, FailFast: true, First: true}, Satisfied},
	} {
		c := call(test.policy, 1, 1)
		ask(t, c, 0)
		c.Miss(0, Rejected)
		want(t, "after a member is missing", c.Reason(), Underway)
		c.End(0, Run{}, OK, true)
		want(t, fmt.Sprintf("%+v", test.policy), c.Reason(), test.want)
	}
}

func TestACallHasItsMembersFromOneEnroll(t *testing.T) {
	c := New(&Policy{Timeout: 10})
	want(t, "waiting", c.Waiting(), true)
	c.Enroll(1, make([]Member, 2), nil, 1)
	c.Enroll(2, make([]Member, 5), nil, 3)
	want(t, "members", c.Size(), 2)
	want(t, "relays", c.Relays(), 1)
	want(t, "waiting", c.Waiting(), false)
	want(t, "time", c.Ended(), 1)
}

func TestAMemberThatHasNotEndedEndsWithTheCall(t *testing.T) {
	for reason, state := range map[Reason]State{Stopped: Canceled, Closed: Canceled, Deadline: Late} {
		c := call(Policy{Timeout: 10}, 1, 1, 1)
		r, _ := c.Claim(1)
		c.Start(2, r, 0)
		c.Grow(1) // which changes nothing but memory
		c.Name(3)
		c.Stop(4, reason)
		want(t, "one that runs", c.Member(0), Member{Began: 2, Ended: 4, Tried: 1, State: state})
		want(t, "one that was not asked", c.Member(1), Member{Ended: 4, State: state})
		want(t, "one that was named", c.Member(2), Member{Began: 3, Ended: 4, Tried: 1, State: state})
		want(t, "ended on its own", c.HasEnded(0), false)
	}
}

func TestResolveSaysHowARunThatExpiresEnds(t *testing.T) {
	for _, tt := range []struct {
		at        time.Duration
		how, want State
	}{
		{7, Expired, Failed},
		{8, Expired, Late},
		{9, Failed, Failed},
		{9, OK, OK},
	} {
		c := New(&Policy{Timeout: 10, Grace: 2})
		c.Enroll(0, make([]Member, 1), nil, 0)
		r, _ := c.Claim(1)
		c.Start(1, r, 0)
		if got := c.Resolve(tt.at, tt.how); got != tt.want || c.Began(0) != 1 {
			t.Errorf("%v at %v is %v, want %v; it began at %v", tt.how, tt.at, got, tt.want, c.Began(0))
		}
	}
}

// The exploration has few limits at the same time.
func TestTheFirstLimitIsDueWhateverTheOrderOfStarts(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 40 {
		c := New(&Policy{Timeout: 1000})
		c.Enroll(0, make([]Member, n+1), nil, 0)
		due := make([]time.Duration, n)
		for i := range due {
			r, _ := c.Claim(0)
			due[i] = 1 + time.Duration(random.IntN(500))
			c.Start(0, r, due[i])
		}
		for _, i := range random.Perm(n)[:n/3] { // these end before they are overdue
			c.End(0, Run{Member: int32(i)}, OK, true)
			due[i] = 1000
		}
		for slices.Sort(due); len(due) > 0 && due[0] < 1000; due = due[1:] {
			want(t, "the first limit", c.Due(), due[0])
			c.Tick(c.Due())
			for o := c.Overdue(); len(o) > 1; o = o[1:] {
				due = due[1:]
			}
		}
		want(t, "without limits", c.Due(), 1000)
	}
}

// A stream may have more results than an int32 can count. Then it has the largest number.
func TestResultsOfAMemberDoNotOverflow(t *testing.T) {
	p := Policy{Timeout: math.MaxInt64}
	c := New(&p)
	c.Enroll(0, make([]Member, 1), nil, 0)
	r, _ := c.Claim(0)
	c.Start(0, r, 0)
	c.members[0].Results = math.MaxInt32
	c.Result(1, 0)
	want(t, "the number after 2³¹ results", c.Member(0).Results, math.MaxInt32)
}

// A required member that others replace is not waited for any more. They are, if they are required.
func TestAnExpectedMemberThatIsRequired(t *testing.T) {
	for _, requiredToo := range []bool{false, true} {
		c := call(Policy{Timeout: 100, Quorum: 1}, 1, 1)
		ask(t, c, 0)
		expected, _ := c.Expect(0)
		c.Require(expected)
		c.End(1, Run{Member: 0}, OK, true)
		want(t, "the reason while the expected member is required", c.Reason(), Underway)
		named, _ := c.Name(2)
		if requiredToo {
			c.Require(named)
		}
		c.Accept(2, expected)
		if requiredToo {
			want(t, "the reason while the named member is required", c.Reason(), Underway)
			c.EndNamed(3, named, Failed, false)
		}
		want(t, "the reason at the end", c.Reason(), Satisfied)
	}
}

// A member that was not named in time ends with the call.
func TestAMemberThatIsNotNamedInTime(t *testing.T) {
	for reason, state := range map[Reason]State{Deadline: Late, Stopped: Canceled} {
		c := call(Policy{Timeout: 100}, 1, 1)
		c.Stop(7, reason)
		c.Unnamed()
		want(t, fmt.Sprintf("the member at the end for reason %d", reason), c.Member(1), Member{State: state, Ended: 7})
		want(t, "it has ended before the call", c.HasEnded(1), false)
	}
}
