package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// Asking how a call is doing does not disturb it, and shows no more than there is.
func TestReportsWhileMembersEnd(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		for range 50 {
			synctest.Test(t, func(t *testing.T) {
				const n = 300
				d, _ := newDispatcher()
				for i := range n {
					produce(t, d, fmt.Sprint(i), quick(i))
				}
				c := send(t, d)
				var askers sync.WaitGroup
				for range 2 {
					askers.Go(func() {
						last := 0
						for {
							r := c.Report()
							answered := 0
							for _, o := range r.Outcomes {
								switch o.State {
								case dispatch.StateOK:
									answered++
								case dispatch.StatePending:
								default:
									t.Errorf("%v is %v", o.Member, o.State)
								}
							}
							if answered < last {
								t.Errorf("%d had answered, then %d", last, answered)
							}
							if last = answered; r.Reason != dispatch.ReasonPending {
								return
							}
							runtime.Gosched()
						}
					})
				}
				askers.Wait()
				if r := c.Report(); !r.Complete() {
					t.Errorf("the call ended as %v", r.Reason)
				}
			})
		}
	})
}

func TestReportSoFar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		produce(t, d, "b", slow(2*time.Second, 2))
		produce(t, d, "c", failing(errBroken))
		produce(t, d, "d", slow(4*time.Second, 2))
		var last dispatch.Report
		listen(t, d, ignore, dispatch.OnDone(func(r dispatch.Report) { last = r }))
		began := time.Now()
		c := send(t, d)
		for second, want := range []string{
			"pending: a ok, b pending, c failed, d pending",
			"pending: a ok, b pending, c failed, d pending",
			"pending: a ok, b ok, c failed, d pending",
			"pending: a ok, b ok, c failed, d pending",
			"all ended: a ok, b ok, c failed, d ok",
			"all ended: a ok, b ok, c failed, d ok",
		} {
			synctest.Wait()
			r := c.Report()
			expect(t, r, want)
			elapsed := time.Duration(second) * time.Second
			if r.Elapsed != min(elapsed, 4*time.Second) || !r.Started.Equal(began) || r.Call != c.ID() || r.Topic != ask.Name() {
				t.Errorf("after %v the report is %+v", elapsed, r)
			}
			if o := outcomeOf(t, r, "d"); !o.Started || o.State == dispatch.StatePending && (o.Elapsed != elapsed || o.Err != nil || o.Results != 0) {
				t.Errorf("after %v a pending member is %+v", elapsed, o)
			}
			if r.Complete() || r.Err() == nil {
				t.Errorf("after %v it is complete: %v, error: %v", elapsed, r.Complete(), r.Err())
			}
			time.Sleep(time.Second)
		}
		r := c.Report()
		time.Sleep(time.Hour)
		sameReport(t, r, c.Report())
		sameReport(t, r, last)
		r.Outcomes[0].State = dispatch.StateGone
		sameReport(t, last, c.Report())
	})
}

func TestReportVerdict(t *testing.T) {
	produced := map[string]producer{
		"ok": quick(1), "failed": failing(&fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}),
		"panicked": panicking(errBroken), "declined": failing(dispatch.ErrDecline), "late": patient, "goexit": exiting,
		// It lets the others answer first: the quorum is lost as soon as it declines.
		"declining": func(context.Context, int) (int, error) {
			time.Sleep(time.Second)
			return 0, dispatch.ErrDecline
		},
	}
	for _, test := range []struct {
		members  string
		quorum   int
		complete bool
		is       []error // none: no error at all
		message  []string
	}{
		{members: "ok", complete: true},
		{members: "ok ok declined", complete: true},
		{members: "declined declined", complete: true},
		{members: "ok failed", is: []error{fs.ErrNotExist}, message: []string{"kit.ask", "1 of 2 members did not answer", "1-failed failed: open x: "}},
		{members: "ok panicked", is: []error{errBroken}, message: []string{"1-panicked panicked: ", "broken"}},
		{members: "goexit ok", is: []error{dispatch.ErrGoexit}, message: []string{"0-goexit failed: "}},
		{members: "ok late", is: []error{context.DeadlineExceeded}, message: []string{"deadline", "1-late late"}},
		{members: "failed panicked late", is: []error{fs.ErrNotExist, errBroken, context.DeadlineExceeded}, message: []string{"0-failed failed", "1-panicked panicked", "2-late late"}},
		{members: "ok failed late", quorum: 1},
		{members: "ok declining", quorum: 2, complete: true, is: []error{dispatch.ErrQuorumLost}, message: []string{"quorum of 2 lost"}},
		{members: "ok declined", quorum: 1},
		{members: "failed failed late", quorum: 2, is: []error{dispatch.ErrQuorumLost, fs.ErrNotExist}, message: []string{"quorum of 2 lost", "0-failed", "1-failed", "1 member unfinished"}},
		{members: "", is: []error{dispatch.ErrNoProducers}, message: []string{"no producers"}},
	} {
		t.Run(fmt.Sprintf("%s/quorum=%d", test.members, test.quorum), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				for i, what := range strings.Fields(test.members) {
					produce(t, d, fmt.Sprintf("%d-%s", i, what), produced[what])
				}
				var opts []dispatch.CallOption
				if test.quorum > 0 {
					opts = append(opts, dispatch.WithQuorum(test.quorum))
				}
				r := ended(t, d, opts...)
				if r.Complete() != test.complete && r.Reason != dispatch.ReasonSatisfied {
					t.Errorf("Complete() = %v in %s", r.Complete(), told(r))
				}
				err := r.Err()
				if len(test.is) == 0 {
					if err != nil {
						t.Errorf("Err() = %v", err)
					}
					return
				}
				var partial *dispatch.PartialError
				if !errors.As(err, &partial) {
					t.Fatalf("Err() = %v, want a PartialError", err)
				}
				sameReport(t, r, partial.Report)
				for _, want := range test.is {
					if !errors.Is(err, want) {
						t.Errorf("Err() = %v does not lead to %v", err, want)
					}
				}
				for _, want := range test.message {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("Err() = %v does not say %q", err, want)
					}
				}
				if strings.Contains(err.Error(), "-ok") || strings.Contains(err.Error(), "-declined") {
					t.Errorf("Err() = %v names a member that did not fail", err)
				}
				var member *dispatch.MemberError
				if errors.As(err, &member) && outcomeOf(t, r, member.Member.Name).State != member.State {
					t.Errorf("MemberError %+v contradicts %s", member, told(r))
				}
				var path *fs.PathError
				if want := strings.Contains(test.members, "failed"); errors.As(err, &path) != want {
					t.Errorf("errors.As reaches the producer's error: %v, want %v", !want, want)
				}
				var caught *dispatch.PanicError
				if want := strings.Contains(test.members, "panicked"); errors.As(err, &caught) != want {
					t.Errorf("errors.As reaches a PanicError: %v, want %v", !want, want)
				}
			})
		})
	}
}

// No outcome is later than the report it is in, and none earlier than its beginning.
func TestOutcomesAreNotLaterThanTheirReport(t *testing.T) {
	d, _ := newDispatcher(dispatch.WithLogger(slog.New(slog.DiscardHandler)))
	for i := range 3 {
		produce(t, d, fmt.Sprint("p", i), quick(i))
	}
	produce(t, d, "g0", quick(1), dispatch.WithGroup("g"))
	produce(t, d, "g1", quick(1), dispatch.WithGroup("g"))
	addStream(t, d, "s", yielding(1, 2))
	addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
		to.Name(far("x"))
		to.Result(far("x"), 1)
		to.End(far("x"), nil)
		return nil
	})
	var senders sync.WaitGroup
	for k := range 4 {
		senders.Go(func() {
			for i := range 1500 {
				ctx, cancel := context.WithCancel(context.Background())
				c, err := d.Send(ctx, ask, i, [][]dispatch.CallOption{nil, {dispatch.WithQuorum(2)}, {dispatch.WithTimeout(time.Duration(1+i%40) * time.Microsecond)}, {dispatch.WithHedge(1)}}[k]...)
				if err != nil {
					t.Error(err)
				}
				if i%3 == 0 {
					go c.Cancel(nil)
				}
				<-c.Done()
				r := c.Report()
				for _, o := range r.Outcomes {
					if o.Elapsed > r.Elapsed || o.Began > o.Elapsed || o.Began < 0 || o.Started != (o.Tried > 0) {
						t.Errorf("%+v in a report of %v", o, r.Elapsed)
					}
				}
				cancel()
			}
		})
	}
	senders.Wait()
	if err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// A group begins with its first replica.
func TestOutcomeSaysWhenTheMemberBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const s = time.Second
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
		produce(t, d, "a", slow(2*s, 1))
		produce(t, d, "b", slow(3*s, 1))
		produce(t, d, "c", slow(4*s, 1), dispatch.WithGroup("g"))
		produce(t, d, "d", slow(4*s, 1), dispatch.WithGroup("g"))
		addStream(t, d, "e", ticking(s, 1, 2))
		produce(t, d, "never", quick(1))
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			time.Sleep(s)
			to.Name(far("x"))
			time.Sleep(s)
			to.End(far("x"), nil)
			return nil
		})
		c := send(t, d, dispatch.WithParallelism(1), dispatch.WithHedge(s))
		time.Sleep(10 * s)
		c.Cancel(nil)
		var got []string
		for _, o := range c.Report().Outcomes {
			got = append(got, fmt.Sprintf("%v began after %v, ended after %v", o.Member, o.Began, o.Elapsed))
		}
		wantLines(t, got,
			"a began after 0s, ended after 2s",
			"b began after 2s, ended after 5s",
			"g/c began after 5s, ended after 9s",
			"e began after 9s, ended after 10s",
			"never began after 0s, ended after 10s",
			"far/x began after 1s, ended after 2s",
		)
		time.Sleep(10 * s)
	})
}

// A report says how much time the members had, and how each replica fared that was asked.
func TestReportOfReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ms = time.Millisecond
		d, _ := newDispatcher()
		produce(t, d, "a", slowly(10*ms, failing(errBroken)), dispatch.WithGroup("g"))
		produce(t, d, "b", slow(300*ms, 1), dispatch.WithGroup("g"))
		produce(t, d, "c", slow(400*ms, 2), dispatch.WithGroup("g"))
		produce(t, d, "alone", slow(time.Hour, 1))
		var r dispatch.Report
		for range 4 { // which replica is first changes
			if r = ended(t, d, dispatch.WithTimeout(500*ms), dispatch.WithGrace(100*ms), dispatch.WithHedge(100*ms)); r.Replicas[0].Member.Name == "a" {
				break
			}
		}
		equal(t, "budget", r.Budget, 400*ms)
		var lines []string
		for _, o := range r.Replicas {
			lines = append(lines, fmt.Sprint(o.Member, " ", o.State, " ", o.Began, " ", o.Elapsed, " ", o.Tried, " ", o.Results, " ", o.Err))
		}
		wantLines(t, lines,
			"g/a failed 0s 10ms 1 0 broken",
			"g/b ok 10ms 310ms 1 1 <nil>",
			"g/c canceled 110ms 310ms 1 0 dispatch: satisfied",
		)
		equal(t, "members", len(r.Outcomes), 2)
		time.Sleep(2 * time.Hour)
	})
}

// A report as JSON has its words for states and reasons, nanoseconds for durations, and
// errors as their texts.
func TestReportAsJSON(t *testing.T) {
	r := dispatch.Report{
		Call: 7, Topic: "kit.ask", Reason: dispatch.ReasonDeadline, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Elapsed: time.Second,
		Budget: time.Second,
		Outcomes: []dispatch.Outcome{
			{Member: dispatch.Member{Name: "a"}, State: dispatch.StateOK, Started: true, Results: 1, Tried: 1, Began: 5, Elapsed: 20},
			{Member: dispatch.Member{Group: "g", Name: "b"}, State: dispatch.StateFailed, Err: errBroken, Started: true, Tried: 1, Elapsed: 30},
		},
	}
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "JSON", string(got), `{"call":7,"parent":0,"topic":"kit.ask","reason":"deadline","started":"2026-01-02T03:04:05Z","elapsed_ns":1000000000,"budget_ns":1000000000,"outcomes":[`+
		`{"member":{"name":"a"},"state":"ok","started":true,"results":1,"tried":1,"began_ns":5,"elapsed_ns":20},`+
		`{"member":{"group":"g","name":"b"},"state":"failed","started":true,"results":0,"tried":1,"began_ns":0,"elapsed_ns":30,"error":"broken"}]}`)
}

// manyOutcomes is a report of n members that failed, with long names and errors.
func manyOutcomes(n int) dispatch.Report {
	r := dispatch.Report{Topic: "t", Reason: dispatch.ReasonAllEnded}
	for i := range n {
		name := fmt.Sprint("site-", i, strings.Repeat("n", 300), "\nand\tmore")
		r.Outcomes = append(r.Outcomes, dispatch.Outcome{
			Member: dispatch.Member{Name: name}, State: dispatch.StateFailed, Err: errors.New(strings.Repeat("e", 5000) + "\nx"),
		})
	}
	return r
}

func TestAReportPrintsEveryMemberOnALineOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", slow(time.Second, 1))
		produce(t, d, "b", failing(errors.New("broken\nin two")))
		produce(t, d, "c", failing(dispatch.ErrDecline))
		produce(t, d, "d", patient)
		c := send(t, d)
		synctest.Wait()
		equal(t, "text while it goes on", c.Report().String(), strings.TrimPrefix(`
Call        1 of kit.ask
Reason      pending
Elapsed     0s
Complete()  false
Err()       dispatch: kit.ask: pending (2 members unfinished): 1 declined, b failed: broken\nin two

Member  State     Started  Tried  Results  Elapsed  Err
a       pending   true     1      0        0s       <nil>
b       failed    true     1      0        0s       broken\nin two
c       declined  true     1      0        0s       declined
d       pending   true     1      0        0s       <nil>`, "\n"))
		<-c.Done()
		equal(t, "text", fmt.Sprint(c.Report()), strings.TrimPrefix(`
Call        1 of kit.ask
Reason      deadline
Elapsed     5s
Complete()  false
Err()       dispatch: kit.ask: deadline exceeded: 3 of 4 members did not answer: 1 declined, b failed: broken\nin two; d late

Member  State     Started  Tried  Results  Elapsed  Err
a       ok        true     1      1        1s       <nil>
b       failed    true     1      0        0s       broken\nin two
c       declined  true     1      0        0s       declined
d       late      true     1      0        5s       context deadline exceeded`, "\n"))
	})
	equal(t, "text of the zero report", dispatch.Report{}.String(), strings.TrimPrefix(`
Call        0
Reason      pending
Elapsed     0s
Complete()  false
Err()       dispatch: : pending`, "\n"))
}

func TestTheTextOfAReportIsAsLongAsTheReport(t *testing.T) {
	const n = 500
	lines := strings.Split(manyOutcomes(n).String(), "\n")
	equal(t, "lines", len(lines), 5+2+n)
	for _, l := range lines[6:] {
		if len(l) > 256+256+100 {
			t.Fatalf("a line has %d bytes: %s", len(l), l)
		}
	}
	if len(lines[4]) > 1100 {
		t.Errorf("the line of Err() has %d bytes", len(lines[4]))
	}
}

// An error whose Error method panics harms neither text.
func TestTheTextsOfAReportSurviveErrorsThatPanic(t *testing.T) {
	var none *fs.PathError
	r := dispatch.Report{Topic: "t", Outcomes: []dispatch.Outcome{{State: dispatch.StateFailed, Err: none}}}
	for _, text := range []string{r.String(), fmt.Sprint(r.LogValue())} {
		if !strings.Contains(text, "failed") && !strings.Contains(text, "nil") {
			t.Errorf("the text is %s", text)
		}
	}
}

func TestMissingAreThoseThatNeitherAnsweredNorDeclined(t *testing.T) {
	r := dispatch.Report{}
	for s := dispatch.StatePending; s <= dispatch.StateGone; s++ {
		o := dispatch.Outcome{Member: dispatch.Member{Name: s.String()}, State: s}
		equal(t, "answered as "+s.String(), o.Answered(), s == dispatch.StateOK)
		r.Outcomes = append(r.Outcomes, o)
		one := dispatch.Report{Outcomes: []dispatch.Outcome{o}}
		equal(t, "complete, and not missing, as "+s.String(), one.Complete(), len(one.Missing()) == 0)
	}
	var names []string
	for _, o := range r.Missing() {
		names = append(names, o.Member.Name)
	}
	equal(t, "missing", strings.Join(names, " "), "pending failed panicked late canceled rejected gone")
	equal(t, "first outcome still", r.Outcomes[1].State, dispatch.StateOK)
	equal(t, "missing of no members", len(dispatch.Report{}.Missing()), 0)
}

func TestAReportLogsItselfInBoundedLength(t *testing.T) {
	logged := func(r dispatch.Report) map[string]any {
		var b strings.Builder
		slog.New(slog.NewJSONHandler(&b, nil)).Info("asked", "report", r)
		var line struct{ Report map[string]any }
		if err := json.Unmarshal([]byte(b.String()), &line); err != nil {
			t.Fatal(err)
		}
		return line.Report
	}
	got := logged(dispatch.Report{
		Call: 7, Topic: "t", Reason: dispatch.ReasonAllEnded, Elapsed: time.Second,
		Outcomes: []dispatch.Outcome{
			{Member: dispatch.Member{Name: "a"}, State: dispatch.StateOK},
			{Member: dispatch.Member{Name: "b", Group: "g"}, State: dispatch.StateFailed, Err: errBroken},
		},
	})
	want := map[string]any{
		"call": 7.0, "topic": "t", "reason": "all ended", "elapsed": 1e9, "members": 2.0, "answered": 1.0,
		"missing": []any{"g/b"}, "error": "dispatch: t: 1 of 2 members did not answer: g/b failed: broken",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is logged (-want +got):\n%s", diff)
	}
	whole := logged(dispatch.Report{Topic: "t", Outcomes: []dispatch.Outcome{{State: dispatch.StateOK}}})
	for _, key := range []string{"missing", "error"} {
		if v, ok := whole[key]; ok {
			t.Errorf("a complete report has %s %v", key, v)
		}
	}
	many := manyOutcomes(500)
	equal(t, "names of missing members", len(logged(many)["missing"].([]any)), 10)
	if n := len(fmt.Sprint(many.LogValue())); n > 20_000 {
		t.Errorf("a long report is logged in %d bytes", n)
	}
}

// The method of an error that panics does not spoil the report.
func TestReportOfAnErrorThatPanics(t *testing.T) {
	d, _ := newDispatcher()
	produce(t, d, "a", func(context.Context, int) (int, error) { var none *dispatch.MemberError; return 0, none })
	text, err := json.Marshal(ended(t, d))
	if err != nil || !strings.Contains(string(text), `"error":"`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestBudgetIsNotNegative(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := time.Duration(-1)
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			CallStart: func(ctx context.Context, c dispatch.CallStarted) context.Context { started = c.Budget; return ctx },
		}))
		produce(t, d, "a", quick(1))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c := sendFrom(ctx, t, d, dispatch.WithGrace(4*time.Second))
		if got := c.Report().Budget; got != 0 || started != 0 {
			t.Errorf("Report.Budget is %v, CallStarted.Budget %v", got, started)
		}
	})
}

// The promise is that of every report, and not only of those of calls that have ended.
func TestOutcomesOfACallThatGoesOnAreNotLaterThanTheirReport(t *testing.T) {
	d, _ := newDispatcher(dispatch.WithTimeout(time.Hour))
	release := make(chan struct{})
	for i := range 50 {
		produce(t, d, fmt.Sprint("p", i), deaf(release, i))
	}
	c := send(t, d)
	later := 0
	for range 100 {
		for _, r := range []dispatch.Report{c.Report(), d.Bus().Snapshot().Calls[0].Report} {
			for _, o := range r.Outcomes {
				if o.Elapsed > r.Elapsed {
					later++
				}
			}
		}
	}
	close(release)
	<-c.Done()
	if later > 0 {
		t.Errorf("%d outcomes are later than their reports", later)
	}
}

// A relay that has not returned may have named the members that the quorum needs.
func TestAQuorumThatRelaysKeepOpenIsNotReached(t *testing.T) {
	ends := map[string]func(c *inFlight, b *dispatch.Bus){
		"at the deadline": func(*inFlight, *dispatch.Bus) {},
		"by the caller":   func(c *inFlight, _ *dispatch.Bus) { c.Cancel(nil) },
		"with the bus":    func(_ *inFlight, b *dispatch.Bus) { b.Close() },
	}
	policies := map[string]dispatch.CallOption{"quorum": dispatch.WithQuorum(2), "majority": dispatch.WithMajority()}
	for how, end := range ends {
		for name, policy := range policies {
			bubble(t, name+" "+how, func(t *testing.T) {
				d, _ := newDispatcher()
				produce(t, d, "a", quick(1))
				produce(t, d, "b", failing(dispatch.ErrDecline))
				addRelay(t, d, "r", func(ctx context.Context, _ int, _ roster) error { <-ctx.Done(); return nil })
				c := send(t, d, policy)
				synctest.Wait()
				end(c, d.Bus())
				<-c.Done()
				var partial *dispatch.PartialError
				if r := c.Report(); !errors.As(r.Err(), &partial) {
					t.Errorf("%s: the error is %v: 1 of 2 answers is neither a quorum of 2 nor a majority", told(r), r.Err())
				}
			})
		}
	}
}
