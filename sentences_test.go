package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// Each subtest is a sentence of the documentation, taken at its word.
func TestSentencesAtTheirWord(t *testing.T) {
	const s = time.Second
	hung := func(ctx context.Context, _ int, _ roster) error { <-ctx.Done(); return nil }
	for sentence, test := range map[string]func(t *testing.T, d *dispatcher){
		"Gather, contract 48: the error is nil if every member answered or declined": func(t *testing.T, d *dispatcher) {
			produce(t, d, "a", quick(1))
			produce(t, d, "b", failing(dispatch.ErrDecline))
			if _, err := d.Gather(t.Context(), ask, 0, dispatch.WithQuorum(2)); err != nil {
				t.Error(err)
			}
		},
		"ErrGone reports that a member left before it answered: it was removed": func(t *testing.T, d *dispatcher) {
			produce(t, d, "a", slow(s, 1))
			b := produce(t, d, "b", quick(1))
			c := send(t, d, dispatch.WithStagger(s))
			synctest.Wait()
			b.Remove()
			<-c.Done()
			if o := outcomeOf(t, c.Report(), "b"); o.State != dispatch.StateGone || !errors.Is(o.Err, dispatch.ErrGone) {
				t.Errorf("b is %v: %v", o.State, o.Err)
			}
		},
		"Remove, contract 2: members whose producer was not started are Gone": func(t *testing.T, d *dispatcher) {
			produce(t, d, "a", slow(time.Hour, 1))
			b := produce(t, d, "b", quick(1))
			c := send(t, d, dispatch.WithParallelism(1))
			synctest.Wait()
			b.Remove()
			<-c.Done()
			expectState(t, c.Report(), "b", dispatch.StateGone)
		},
		"WithConcurrency, WithSemaphore, contract 31: runs wait until their calls end": func(t *testing.T, d *dispatcher) {
			produce(t, d, "a", answerAfter[int, int](1, 2*s), dispatch.WithConcurrency(1))
			send(t, d)
			synctest.Wait()
			r := ended(t, d, dispatch.WithTimeout(5*s), dispatch.WithGrace(4*s)) // the slot is free after 2 s
			expect(t, r, "all ended: a ok")
		},
		"WithName: without this option the name is producer-N or listener-N": func(t *testing.T, d *dispatcher) {
			r, err := d.AddRelay(ask, hung)
			if err != nil || r.Name() != "producer-1" {
				t.Errorf("a relay has the name %s", r.Name())
			}
		},
		"WithObserver: the hooks of the first observer are called first": func(t *testing.T, _ *dispatcher) {
			var told notes
			d, _ := newDispatcher(
				dispatch.WithObserver(dispatch.Observer{
					MemberEnd: func(context.Context, dispatch.MemberInfo, dispatch.Outcome) { time.Sleep(s) },
					CallEnd:   func(context.Context, dispatch.Report) { told.add("first") },
				}),
				dispatch.WithObserver(dispatch.Observer{CallEnd: func(context.Context, dispatch.Report) { told.add("second") }}))
			produce(t, d, "a", quick(1))
			ended(t, d)
			time.Sleep(time.Minute)
			equal(t, "told", told.all(), []string{"first", "second"})
		},
		"PartialError.ErrorType returns timeout after a deadline": func(t *testing.T, d *dispatcher) {
			var partial *dispatch.PartialError
			if errors.As(ended(t, d, dispatch.WithMinProducers(1)).Err(), &partial); partial.ErrorType() != "timeout" {
				t.Errorf("the type is %s", partial.ErrorType())
			}
		},
		"Relay, contract 6: if a relay returns an error, the report lists the relay": func(t *testing.T, d *dispatcher) {
			produce(t, d, "a", quick(1))
			addRelay(t, d, "r", func(context.Context, int, roster) error { return dispatch.ErrDecline })
			expect(t, ended(t, d), "all ended: a ok, r declined")
		},
		"Relay, contract 6: a member that has not ended when the relay returns is Failed with ErrLost": func(t *testing.T, d *dispatcher) {
			addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
				for _, n := range []string{"a", "b", "c"} {
					to.Name(far(n))
				}
				to.End(far("a"), nil)
				return nil
			})
			expect(t, ended(t, d, dispatch.WithFailFast()), "failed fast: far/a ok, far/b failed, far/c failed")
		},
		"Outcome.Started: whether its closure was called": func(t *testing.T, d *dispatcher) {
			addRelay(t, d, "r", func(context.Context, int, roster) error { time.Sleep(s); return errBroken })
			if o := ended(t, d).Outcomes[0]; !o.Started || o.Tried == 0 {
				t.Errorf("r has run for %v and is %v, started %t", o.Elapsed, o.State, o.Started)
			}
		},
		"WithParallelism, contract 30: at most n members of the call run at the same time": func(t *testing.T, d *dispatcher) {
			running, most := 0, 0
			for i := range 3 {
				produce(t, d, fmt.Sprint(i), func(context.Context, int) (int, error) {
					running++
					most = max(most, running)
					time.Sleep(10 * s)
					running--
					return 0, nil
				}, dispatch.WithTimeout(s))
			}
			if ended(t, d, dispatch.WithParallelism(1)); most > 1 {
				t.Errorf("%d run at the same time", most)
			}
		},
		"WithStagger: the next member starts at once when a member ends without an answer": func(t *testing.T, d *dispatcher) {
			produce(t, d, "a", slow(10*s, 1))
			produce(t, d, "b", quick(1))
			addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
				to.Name(far("x"))
				to.End(far("x"), errBroken)
				return nil
			})
			if b := outcomeOf(t, ended(t, d, dispatch.WithTimeout(time.Minute), dispatch.WithStagger(20*s)), "b"); b.Began != 0 {
				t.Errorf("b began after %v", b.Began)
			}
		},
		"guide: a producer that sees that its context has ended and returns any other error is late or canceled": func(t *testing.T, d *dispatcher) {
			produce(t, d, "a", func(ctx context.Context, _ int) (int, error) { <-ctx.Done(); return 0, errBroken })
			expect(t, ended(t, d, dispatch.WithGrace(s)), "all ended: a late")
		},
		"CallStarted.Members: the known members, without those that relays will name": func(t *testing.T, _ *dispatcher) {
			var members []dispatch.Member
			d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{CallStart: func(ctx context.Context, c dispatch.CallStarted) context.Context {
				members = c.Members
				return ctx
			}}))
			produce(t, d, "a", quick(1))
			if r := ended(t, d, dispatch.WithTargets("a", "zzz")); len(members) != len(r.Outcomes) {
				t.Errorf("%v were known at the start of %s", members, told(r))
			}
		},
		"WithDefaults drops the options that were set before it": func(t *testing.T, d *dispatcher) {
			topic := dispatch.NewTopic[int, int](ask.Name(), dispatch.WithRetain(1), dispatch.WithDefaults())
			produce(t, d, "a", quick(1))
			must(d.Gather(t.Context(), topic, 0))
			var heard events[int]
			listen(t, d, hear[int, int](&heard), dispatch.WithRetained())
			if synctest.Wait(); len(heard.all()) > 0 {
				t.Errorf("%v are retained", heard.all())
			}
		},
		"WithRetain: if several Topic values with the same name have different n, the largest n counts": func(t *testing.T, d *dispatcher) {
			one := dispatch.NewTopic[int, int](ask.Name(), dispatch.WithRetain(1))
			three := dispatch.NewTopic[int, int](ask.Name(), dispatch.WithRetain(3))
			must(d.AddProducer(three, func(_ context.Context, v int) (int, error) { return v, nil }))
			for i := range 3 {
				must(d.Gather(t.Context(), one, i))
			}
			var heard events[int]
			must(d.AddListener(three, hear[int, int](&heard), dispatch.WithRetained()))
			synctest.Wait()
			equal(t, "heard", heard.all(), []int{0, 1, 2})
		},
		"contract 3: for each name that no producer has, the call has a member that is Gone from the start": func(t *testing.T, d *dispatcher) {
			produce(t, d, "a", slow(s, 1))
			addRelay(t, d, "r", hung)
			c := send(t, d, dispatch.WithTargets("a", "zzz"))
			synctest.Wait()
			expect(t, c.Report(), "pending: a pending, zzz gone")
		},
		"operating: Waiting of a producer has the members that wait under WithParallelism": func(t *testing.T, d *dispatcher) {
			produce(t, d, "a", slow(s, 1))
			produce(t, d, "b", slow(s, 1))
			send(t, d, dispatch.WithParallelism(1))
			synctest.Wait()
			if p := d.Bus().Snapshot().Topics[0].Producers[1]; p.Waiting != 1 {
				t.Errorf("%d wait for b", p.Waiting)
			}
		},
		"WithMaxAbandoned bounds the runs of one producer that outlive their calls": func(t *testing.T, _ *dispatcher) {
			d, _ := newDispatcher(dispatch.WithMaxAbandoned(2))
			release := make(chan struct{})
			defer close(release)
			produce(t, d, "a", deaf(release, 1))
			for range 5 {
				send(t, d, dispatch.WithTimeout(1))
			}
			time.Sleep(s)
			if p := d.Bus().Snapshot().Topics[0].Producers[0]; p.Abandoned > 2 {
				t.Errorf("%d runs have outlived their calls", p.Abandoned)
			}
		},
		"WithHedgeQuantile: a producer on several topics has the same latencies on all of them": func(t *testing.T, d *dispatcher) {
			group, q := dispatch.WithGroup("g"), dispatch.WithHedgeQuantile(0.5)
			must(d.AddProducer(ask, quick(1), group))
			must(d.AddProducer(other, slow(s, 1), group))
			must(d.Gather(t.Context(), other, 0, q))
			for range 20 {
				must(d.Gather(t.Context(), ask, 0, q))
			}
			both := must(d.AddProducer(dispatch.AnyOf(ask, other), slow(s, 1), group))
			for _, topic := range []dispatch.Topic[int, int]{ask, other} {
				hedged := false
				for range 2 {
					c := must(d.Send(t.Context(), topic, 0, q))
					<-c.Done()
					hedged = hedged || len(c.Report().Replicas) > 1
				}
				if !hedged {
					t.Errorf("%v is not hedged, although %s has 20 latencies", topic, both.Name())
				}
			}
		},
		"WithHedgeQuantile: there is no hedge before the group has 1/(1-quantile) latencies": func(t *testing.T, d *dispatcher) {
			runs := 0
			for _, name := range []string{"a", "b"} {
				produce(t, d, name, func(ctx context.Context, _ int) (int, error) {
					if runs++; runs > 33 { // 1/(1-0.97) is more than 33
						return slow(s, 1)(ctx, 0)
					}
					return 1, nil
				}, dispatch.WithGroup("g"))
			}
			for range 34 {
				if r := ended(t, d, dispatch.WithHedgeQuantile(0.97)); len(r.Replicas) > 1 {
					t.Error("hedged with 33 latencies")
				}
			}
		},
		"contract 51: the text of an error is one line of bounded length": func(t *testing.T, d *dispatcher) {
			produce(t, d, "a", panicking("x\n"+strings.Repeat("y", 1<<20)))
			if text := ended(t, d).Outcomes[0].Err.Error(); strings.Contains(text, "\n") || len(text) > 16<<10 {
				t.Errorf("%.20q has %d bytes", text, len(text))
			}
		},
		"guide, dispatchtest: synctest.Wait returns when the listeners have been called with all results": func(t *testing.T, d *dispatcher) {
			produce(t, d, "a", slow(s, 1))
			var heard events[int]
			listen(t, d, hear[int, int](&heard))
			send(t, d)
			if synctest.Wait(); len(heard.all()) == 0 {
				t.Error("no result was heard")
			}
		},
		"StreamProducer: an error in the sequence ends the member as Failed": func(t *testing.T, d *dispatcher) {
			addStream(t, d, "a", func(context.Context, int) iter.Seq2[int, error] {
				return func(yield func(int, error) bool) { _ = yield(1, nil) && yield(0, dispatch.ErrDecline) }
			})
			expect(t, ended(t, d), "all ended: a failed")
		},
		"WithTimeout: OnLate receives the rest of a stream": func(t *testing.T, d *dispatcher) {
			var late events[int]
			d.OnLate(func(r result, _ time.Duration) { late.add(r.Value) })
			addStream(t, d, "a", ticking(s, 1, 2, 3), dispatch.WithTimeout(s/2))
			produce(t, d, "b", slow(4*s, 1))
			ended(t, d)
			synctest.Wait()
			equal(t, "late", late.all(), []int{1, 2, 3})
		},
		"ListenerSnapshot.Waiting: how long its oldest undelivered result has waited": func(t *testing.T, d *dispatcher) {
			addStream(t, d, "a", yielding(make([]int, 200)...))
			listen(t, d, func(context.Context, result) { time.Sleep(s) })
			send(t, d)
			time.Sleep(10 * s)
			send(t, d)
			time.Sleep(54*s + s/2) // 64 results of the first call are delivered
			if l := d.Bus().Snapshot().Topics[0].Listeners[0]; l.Waiting < 64*s {
				t.Errorf("the oldest result waits for %v, and not for 64.5 s", l.Waiting)
			}
		},
		"ReasonCanceled: the caller canceled the call or its context": func(t *testing.T, d *dispatcher) {
			c := send(t, d, dispatch.WithMinProducers(1))
			synctest.Wait()
			words := dispatch.On[string, string](d.Bus())
			must(words.AddListener(dispatch.NewTopic[string, string](ask.Name()), func(context.Context, dispatch.Result[string, string]) {}))
			synctest.Wait()
			if r := c.Report(); r.Reason == dispatch.ReasonCanceled {
				t.Errorf("nobody has canceled the call: %v", r.Err())
			}
		},
		"NewTopic panics if an option is invalid": func(t *testing.T, d *dispatcher) {
			topic, err := dispatch.ParseTopic[int, int]("t", dispatch.WithTimeout(s), dispatch.WithGrace(2*s))
			if err == nil {
				_, err = d.Send(t.Context(), topic, 0)
				t.Errorf("ParseTopic returns no error, and Send: %v", err)
			}
		},
	} {
		bubble(t, sentence, func(t *testing.T) {
			d, _ := newDispatcher()
			test(t, d)
		})
	}
}
