package dispatchtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// relayRules are the rules that every relay has to keep.
var relayRules = []relayRule{
	// The report accounts for each member that was asked, near or far: a far member
	// is asked once and listed once, under a node that tells it from a near member
	// of the same name.
	{"members", func(r *relayTest) {
		heard := Listen(r, r.near, r.topic)
		Produce(r, r.near, r.topic, echo("near a"), dispatch.WithName("a"))
		r.produce("a", echo("a"))
		r.produce("b", echo("b"))
		r.join()
		call := r.send("x")
		report := r.ended(call)
		r.want(report, dispatch.ReasonAllEnded, "a ok", "far/a ok", "far/b ok")
		for _, name := range []string{"far/a", "far/b"} {
			if o := r.outcome(report, name); !o.Started || o.Results != 1 || o.Tried != 1 {
				r.Errorf("outcome %+v, want one that was started and has one result", o)
			}
		}
		heard.WaitDone(1)
		if n := len(heard.Outcomes()); n != 3 {
			r.Errorf("a listener was told of %d outcomes, want 3", n)
		}
		for _, name := range []string{"a", "b"} {
			if n := r.ran(name); n != 1 {
				r.Errorf("%s was asked %d times, want once", name, n)
			}
		}
	}},

	// Each result names its member. Readers and listeners get all results, and the
	// results of one member in the member's order.
	{"results", func(r *relayTest) {
		heard := Listen(r, r.near, r.topic)
		Produce(r, r.near, r.topic, echo("near a"), dispatch.WithName("a"))
		r.produce("a", echo("a"))
		want := map[string][]string{"a": {"near a=x"}, "far/a": {"a=x"}}
		for _, name := range []string{"s", "t"} {
			var values []string
			for i := range 50 {
				values = append(values, fmt.Sprint(name, i))
			}
			r.stream(name, func(_ context.Context, _ string, yield func(string, error) bool) {
				for _, v := range values {
					if !yield(v, nil) {
						return
					}
				}
			})
			want["far/"+name] = values
		}
		r.join()
		call := r.send("x")
		report := r.ended(call)
		r.want(report, dispatch.ReasonAllEnded, "a ok", "far/a ok", "far/s ok", "far/t ok")
		if n := r.outcome(report, "far/s").Results; n != 50 {
			r.Errorf("%d results of far/s are counted, want 50", n)
		}
		r.wantValues(slices.Collect(call.Results()), want)
		heard.WaitDone(1)
		r.wantValues(heard.Results(), want)
	}},

	// A caller acts on each answer as it comes: a result does not wait for the next
	// result, nor for other members.
	{"results as they come", func(r *relayTest) {
		heard := Listen(r, r.near, r.topic)
		next := make(chan struct{})
		r.stream("s", func(ctx context.Context, _ string, yield func(string, error) bool) {
			for i := range 3 {
				select {
				case <-next:
				case <-ctx.Done():
					return
				}
				if !yield(fmt.Sprint(i+1), nil) {
					return
				}
			}
		})
		r.join()
		call := r.send("x")
		for i, values := range [][]string{{"1"}, {"1", "2"}, {"1", "2", "3"}} {
			select {
			case next <- struct{}{}:
			case <-call.Done():
				r.Fatalf("the call ended as %v before all results had been given", call.Report().Reason)
			}
			heard.Wait(i + 1)
			heard.Want(values...)
		}
		r.want(r.ended(call), dispatch.ReasonAllEnded, "far/s ok")
	}},

	// Requests and values are the user's: empty, long, or with line breaks and
	// quotes, they arrive as they are.
	{"values", func(r *relayTest) {
		r.produce("a", echo(""))
		r.join()
		// The value is longer than the request, and not longer than TestRelay says.
		for _, req := range []string{"", " ", "\"a\"\r\n\tb\x00'é世", strings.Repeat("long ", 20_000)[1:]} {
			call := r.send(req)
			r.want(r.ended(call), dispatch.ReasonAllEnded, "far/a ok")
			var got string
			for result := range call.Results() {
				got += result.Value
			}
			if want := "=" + req; got != want {
				r.Errorf("value %.20q of %d bytes, want %.20q of %d", got, len(got), want, len(want))
			}
		}
	}},

	// A failure is more than a missing result: the report on this side has the
	// member's error of the far side, at least its text.
	{"failures", func(r *relayTest) {
		r.produce("errs", Failing[string, string](errors.New("wire 7 is broken")))
		r.produce("declines", Declining[string, string]())
		r.produce("panics", Panicking[string, string]("short circuit"))
		r.produce("exits", Exiting[string, string]())
		r.produce("works", echo("works"))
		r.stream("breaks", func(_ context.Context, _ string, yield func(string, error) bool) {
			_ = yield("1", nil) && yield("2", nil) && yield("", errors.New("the tape ran out"))
		})
		r.join()
		call := r.send("x")
		report := r.ended(call)
		r.want(report, dispatch.ReasonAllEnded, "far/errs failed", "far/declines declined", "far/panics panicked",
			"far/exits failed", "far/works ok", "far/breaks failed")
		r.wantErr(report, "far/errs", nil, "wire 7 is broken")
		r.wantErr(report, "far/declines", dispatch.ErrDecline, "")
		r.wantErr(report, "far/panics", nil, "short circuit")
		var panicked *dispatch.PanicError
		if !errors.As(r.outcome(report, "far/panics").Err, &panicked) {
			r.Errorf("the error of the panic is no PanicError")
		}
		r.wantErr(report, "far/exits", nil, "Goexit")
		r.wantErr(report, "far/breaks", nil, "the tape ran out")
		r.wantValues(slices.Collect(call.Results()), map[string][]string{"far/works": {"works=x"}, "far/breaks": {"1", "2"}})
	}},

	// A member that had no room for the request was not asked, which is no failure
	// of its own and may be tried again.
	{"rejected", func(r *relayTest) {
		began := make(chan struct{}, 3)
		r.produce("busy", func(context.Context, string) (string, error) {
			began <- struct{}{}
			<-r.gate
			return "done", nil
		}, dispatch.WithConcurrency(1), dispatch.WithMaxQueue(1))
		r.join()
		first := r.send("first")
		await(r, "the first call to be taken", began)
		// Of two more one waits, and there is no room for the other.
		second, third := r.send("second"), r.send("third")
		select {
		case <-second.Done():
		case <-third.Done():
			second, third = third, second
		}
		report := r.ended(second)
		r.want(report, dispatch.ReasonAllEnded, "far/busy rejected")
		r.wantErr(report, "far/busy", dispatch.ErrOverloaded, "")
		r.open()
		r.want(r.ended(first), dispatch.ReasonAllEnded, "far/busy ok")
		r.want(r.ended(third), dispatch.ReasonAllEnded, "far/busy ok")
	}},

	// Work after the end of a call is lost: the far side has the time of the call, less if the
	// network took some of it, but not less because of a default of far.
	{"deadline", func(r *relayTest) {
		type seen struct {
			deadline time.Time
			info     dispatch.CallInfo
		}
		asked := make(chan seen, 1)
		r.produce("a", func(ctx context.Context, _ string) (string, error) {
			deadline, _ := ctx.Deadline()
			info, _ := dispatch.CallFrom(ctx)
			asked <- seen{deadline, info}
			return "a", nil
		})
		r.join()
		const hour = time.Hour
		later := time.Duration(1)
		for range 10 { // a run may be slow on a busy machine
			call := r.send("x", dispatch.WithTimeout(hour))
			report := r.ended(call)
			r.want(report, dispatch.ReasonAllEnded, "far/a ok")
			far := await(r, "the far deadline", asked)
			if far.info.Topic != r.topic.Name() || far.info.Budget > hour || far.info.Budget <= dispatch.DefaultTimeout {
				r.Errorf("far was asked %+v, want topic %s and a budget of nearly %v", far.info, r.topic.Name(), hour)
			}
			if later = far.deadline.Sub(report.Started.Add(hour)); later <= 0 {
				return
			}
		}
		r.Errorf("in ten calls the far deadline was never as early as the near one; in the last it came %v later", later)
	}},

	// The report names a late member, and keeps the answers of the others. It makes
	// no difference whether the member watches its context. In the grace, too, the
	// member is late and has not failed.
	{"late", func(r *relayTest) {
		r.produce("quick", echo("quick"))
		r.produce("hangs", func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
		r.produce("deaf", Deaf[string](r.gate, "deaf"))
		r.join()
		for _, grace := range []bool{false, true} {
			r.inTime("all far members to be named and the quick one to answer", func(timeout time.Duration) bool {
				opts := []dispatch.CallOption{dispatch.WithTimeout(timeout)}
				if grace {
					opts = append(opts, dispatch.WithGrace(timeout/2))
				}
				report := r.ended(r.send("x", opts...))
				answered := slices.ContainsFunc(report.Outcomes, func(o dispatch.Outcome) bool {
					return label(o.Member) == "far/quick" && o.State == dispatch.StateOK
				})
				if len(report.Outcomes) < 3 || !answered {
					return false
				}
				reason := dispatch.ReasonDeadline
				if grace && report.Reason == dispatch.ReasonAllEnded {
					reason = report.Reason // a relay may say in the grace that all have ended
				}
				r.want(report, reason, "far/quick ok", "far/hangs late", "far/deaf late")
				r.wantErr(report, "far/hangs", context.DeadlineExceeded, "")
				return true
			})
		}
	}},

	// A producer for which the call waits no more is told to stop, and why: its own
	// log has to explain its end. This holds for each way in which a call ends early.
	{"cancel", func(r *relayTest) {
		heard := Listen(r, r.near, r.topic)
		began := r.hang("hangs")
		answer := make(chan struct{})
		Produce(r, r.near, r.topic, func(ctx context.Context, _ string) (string, error) {
			select {
			case <-answer:
				return "here", nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}, dispatch.WithName("here"))
		r.join()
		stop := errors.New("the operator pressed stop")
		for i, c := range []struct {
			what   string
			end    func(call *dispatch.Call[string, string], cancel context.CancelCauseFunc)
			cause  error
			reason dispatch.Reason
			here   string
		}{
			{"Cancel", func(call *dispatch.Call[string, string], _ context.CancelCauseFunc) { call.Cancel(stop) }, stop, dispatch.ReasonCanceled, "here canceled"},
			{"the sender's context", func(_ *dispatch.Call[string, string], cancel context.CancelCauseFunc) { cancel(stop) }, stop, dispatch.ReasonCanceled, "here canceled"},
			{"a quorum", func(*dispatch.Call[string, string], context.CancelCauseFunc) { answer <- struct{}{} }, dispatch.ErrSatisfied, dispatch.ReasonSatisfied, "here ok"},
		} {
			ctx, cancel := context.WithCancelCause(r.Context())
			defer cancel(nil)
			call := r.sendFrom(ctx, "x", dispatch.WithQuorum(1))
			far := await(r, "the far producer to begin", began)
			heard.Wait(i + 1)
			c.end(call, cancel)
			await(r, "the far producer to be told of "+c.what, far.Done())
			if got := context.Cause(far); far.Err() != context.Canceled || !strings.Contains(got.Error(), c.cause.Error()) {
				r.Errorf("%s: far ends as %v because of %v, want %v because of %v", c.what, far.Err(), got, context.Canceled, c.cause)
			}
			r.want(r.ended(call), c.reason, c.here, "far/hangs canceled")
		}
	}},

	// The end of a member is reported at once, and not after the slowest member: otherwise the
	// first answer would be as late as the last.
	{"quorum", func(r *relayTest) {
		heard := Listen(r, r.near, r.topic)
		began := r.hang("hangs")
		r.produce("quick", func(ctx context.Context, req string) (string, error) {
			select {
			case <-r.gate:
			case <-ctx.Done():
			}
			return req, ctx.Err()
		})
		r.join()
		call := r.send("x", dispatch.WithQuorum(1))
		far := await(r, "the hanging producer to begin", began)
		heard.Wait(1)
		r.open()
		r.want(r.ended(call), dispatch.ReasonSatisfied, "far/hangs canceled", "far/quick ok")
		await(r, "the hanging producer to be told", far.Done())
	}},

	// A relay that knows no members leaves a call unchanged.
	{"nobody", func(r *relayTest) {
		r.join()
		r.want(r.ended(r.send("x")), dispatch.ReasonNoProducers)
		if _, err := r.near.Gather(r.Context(), r.topic, "x"); !errors.Is(err, dispatch.ErrNoProducers) {
			r.Errorf("Gather: %v, want %v", err, dispatch.ErrNoProducers)
		}
		Produce(r, r.near, r.topic, echo("here"), dispatch.WithName("here"))
		r.want(r.ended(r.send("x")), dispatch.ReasonAllEnded, "here ok")
	}},

	// A call asks only its targets. A name that no member has, near or far, is one outcome of
	// the call, not one outcome of each side.
	{"targets", func(r *relayTest) {
		Produce(r, r.near, r.topic, echo("here"), dispatch.WithName("here"))
		r.produce("a", echo("a"))
		r.produce("b", echo("b"))
		r.join()
		r.want(r.ended(r.send("x", dispatch.WithTargets("a"))), dispatch.ReasonAllEnded, "far/a ok")
		r.want(r.ended(r.send("x", dispatch.WithTargets("here"))), dispatch.ReasonAllEnded, "here ok")
		r.want(r.ended(r.send("x", dispatch.WithTargets("here", "a"))), dispatch.ReasonAllEnded, "here ok", "far/a ok")
		a := r.outcome(r.ended(r.send("x", dispatch.WithTargets("a"))), "far/a").Member
		r.want(r.ended(r.send("x", dispatch.WithTargets(a.String()))), dispatch.ReasonAllEnded, "far/a ok")
		report := r.ended(r.send("x", dispatch.WithTargets("absent", "a", "elsewhere/b")))
		r.want(report, dispatch.ReasonAllEnded, "far/a ok", "absent gone", "elsewhere/b gone")
		r.wantErr(report, "absent", dispatch.ErrUnknownMember, "")
		if a, b := r.ran("a"), r.ran("b"); a != 5 || b != 0 {
			r.Errorf("a was asked %d times and b %d times, want 5 and 0", a, b)
		}
		r.want(r.ended(r.send("x", dispatch.WithTargets(a.Node+"/*", "here"))), dispatch.ReasonAllEnded, "here ok", "far/a ok", "far/b ok")
	}},

	// A far producer that has less time than the call is late when this time is over, and not
	// at the end of the call.
	{"timeout", func(r *relayTest) {
		r.produce("late", func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}, dispatch.WithTimeout(10*time.Millisecond))
		r.join()
		report := r.ended(r.send("x", dispatch.WithTimeout(time.Hour)))
		r.want(report, dispatch.ReasonAllEnded, "far/late late")
		r.wantErr(report, "far/late", dispatch.ErrTimeout, "")
		r.wantErr(report, "far/late", context.DeadlineExceeded, "")
	}},

	// Replicas on the far side stand in for each other as they do here: one of them
	// is asked, and the group is one member with one result, from the same member
	// that the report names.
	{"group", func(r *relayTest) {
		for _, name := range []string{"g0", "g1", "g2"} {
			r.produce(name, echo("g"), dispatch.WithGroup("g"))
		}
		r.join()
		call := r.send("x")
		report := r.ended(call)
		r.want(report, dispatch.ReasonAllEnded, "far/g ok")
		for result := range call.Results() {
			if m := r.outcome(report, "far/g").Member; result.From != m || result.Value != "g=x" {
				r.Errorf("%q came from %v, want g=x from %v", result.Value, result.From, m)
			}
		}
		if n := r.ran("g0") + r.ran("g1") + r.ran("g2"); n != 1 {
			r.Errorf("%d replicas were asked, want 1", n)
		}
		m := r.outcome(report, "far/g").Member
		for _, name := range []string{"g", m.String(), m.Node + "/*"} {
			r.want(r.ended(r.send("x", dispatch.WithTargets(name))), dispatch.ReasonAllEnded, "far/g ok")
		}
	}},

	// A producer that registers on the far side takes part from then on, or as soon
	// as the relay has learned of it.
	{"coming", func(r *relayTest) {
		r.produce("a", echo("a"))
		r.join()
		r.want(r.ended(r.send("x")), dispatch.ReasonAllEnded, "far/a ok")
		r.produce("b", echo("b"))
		r.inTime("the new member to be asked", func(pause time.Duration) bool {
			report := r.ended(r.send("x"))
			if len(report.Outcomes) == 1 {
				time.Sleep(pause)
				return false
			}
			r.want(report, dispatch.ReasonAllEnded, "far/a ok", "far/b ok")
			return true
		})
	}},

	// A producer that has left is asked no more, a producer that leaves before its
	// turn is Gone, and a producer that leaves during its work may finish.
	{"leaving", func(r *relayTest) {
		began, marked := make(chan struct{}, 1), make(chan struct{}, 1)
		leaves := r.produce("leaves", func(_ context.Context, req string) (string, error) {
			began <- struct{}{}
			<-r.gate
			return "leaves=" + req, nil
		}, dispatch.WithConcurrency(1))
		r.produce("marks", func(_ context.Context, req string) (string, error) {
			if req == "second" {
				marked <- struct{}{}
			}
			return req, nil
		})
		r.join()
		first := r.send("first")
		await(r, "the first call to be taken", began)
		second := r.send("second")
		await(r, "the second call to be taken", marked)
		leaves.Remove()
		r.open()
		report := r.ended(second)
		r.want(report, dispatch.ReasonAllEnded, "far/leaves gone", "far/marks ok")
		r.wantErr(report, "far/leaves", dispatch.ErrGone, "")
		r.want(r.ended(first), dispatch.ReasonAllEnded, "far/leaves ok", "far/marks ok")
		r.want(r.ended(r.send("third")), dispatch.ReasonAllEnded, "far/marks ok")
		if n := r.ran("leaves"); n != 1 {
			r.Errorf("the one that left was asked %d times, want once", n)
		}
	}},

	// A relay serves several calls at the same time: no call waits for another, and
	// each call gets its own answers.
	{"concurrent calls", func(r *relayTest) {
		const calls = 16
		var begun atomic.Int32
		r.produce("meets", func(ctx context.Context, req string) (string, error) {
			if begun.Add(1) == calls {
				r.open()
			}
			select {
			case <-r.gate:
			case <-ctx.Done():
			}
			return "meets=" + req, ctx.Err()
		})
		r.produce("quick", echo("quick"))
		r.join()
		var sent []*dispatch.Call[string, string]
		for i := range calls {
			sent = append(sent, r.send(fmt.Sprint(i)))
		}
		for i, call := range sent {
			r.want(r.ended(call), dispatch.ReasonAllEnded, "far/meets ok", "far/quick ok")
			r.wantValues(slices.Collect(call.Results()), map[string][]string{
				"far/meets": {fmt.Sprint("meets=", i)}, "far/quick": {fmt.Sprint("quick=", i)},
			})
		}
	}},

	// The end of a call is the end of its relay, too. A far producer that ignores
	// its context is far's to wait for.
	{"returns", func(r *relayTest) {
		began := make(chan struct{}, 1)
		r.produce("deaf", func(context.Context, string) (string, error) {
			began <- struct{}{}
			<-r.gate
			return "", nil
		})
		r.join()
		call := r.send("x")
		await(r, "the far producer to begin", began)
		call.Cancel(nil)
		r.shutdown("near", r.near)
	}},

	// Messages after the end of a call change neither its report nor the outcomes
	// that listeners were told.
	{"after the end", func(r *relayTest) {
		heard := Listen(r, r.near, r.topic)
		returned := make(chan struct{}, 1)
		r.stream("deaf", func(_ context.Context, req string, yield func(string, error) bool) {
			if yield(req+" early", nil) && req == "first" {
				<-r.gate
				yield(req+" late", nil)
				returned <- struct{}{}
			}
		})
		r.join()
		first := r.send("first")
		heard.Wait(1)
		first.Cancel(nil)
		before := r.ended(first)
		r.want(before, dispatch.ReasonCanceled, "far/deaf canceled")
		r.open()
		await(r, "the far producer to return", returned)
		// Earlier messages have arrived once later calls have ended the same way.
		for range 3 {
			r.want(r.ended(r.send("next")), dispatch.ReasonAllEnded, "far/deaf ok")
		}
		heard.WaitDone(4)
		heard.Want("first early", "next early", "next early", "next early")
		if d := diff(fmt.Sprintf("%+v", before), fmt.Sprintf("%+v", first.Report())); d != "" {
			r.Errorf("the report has changed after the end (-before +now):\n%s", d)
		}
		if n := len(heard.Reports()); n != 4 {
			r.Errorf("a listener was told of %d ends, want 4", n)
		}
	}},
}
