package dispatchtest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchtest"
)

// Short names for the types of relays.
type (
	words  = dispatch.Dispatcher[string, string]
	link   = dispatch.Relay[string, string]
	roster = *dispatch.Roster[string]
)

// join joins near with a relay.
func join(t testing.TB, near *words, topic dispatch.Topic[string, string], relay link) {
	t.Helper()
	added, err := near.AddRelay(topic, relay, dispatch.WithName("relay"))
	if err != nil {
		t.Fatalf("AddRelay: %v", err)
	}
	t.Cleanup(added.Remove)
}

func TestBridgeIsARelay(t *testing.T) {
	dispatchtest.TestRelay(t, func(t testing.TB, near, far *words, topic dispatch.Topic[string, string]) {
		join(t, near, topic, dispatchtest.Bridge(far, "cell-7"))
	})
}

// A bridge over another bridge has the members of both buses, each on its own node.
func TestBridgeOverABridge(t *testing.T) {
	dispatchtest.TestRelay(t, func(t testing.TB, near, far *words, topic dispatch.Topic[string, string]) {
		middle := dispatch.New[string, string](dispatch.WithLogger(silent))
		t.Cleanup(func() { middle.Close() })
		join(t, middle, topic, dispatchtest.Bridge(far, "cell-7"))
		join(t, near, topic, dispatchtest.Bridge(middle, "floor"))
	})
}

// A bridge tells the end of a member when it happens, and not with the next result.
func TestBridgeEndsMembersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near := dispatch.New[string, string](dispatch.WithLogger(silent))
		far := dispatch.New[string, string](dispatch.WithLogger(silent))
		topic := dispatch.NewTopic[string, string]("ends", dispatch.WithTimeout(time.Minute))
		if _, err := far.AddStreamProducer(topic, func(context.Context, string) iter.Seq2[string, error] {
			return func(yield func(string, error) bool) {
				yield("at once", nil)
				time.Sleep(time.Second)
			}
		}); err != nil {
			t.Fatal(err)
		}
		dispatchtest.Produce(t, far, topic, dispatchtest.Slow[string](time.Hour, "never"))
		join(t, near, topic, dispatchtest.Bridge(far, "cell-7"))
		call, err := near.Send(t.Context(), topic, "x", dispatch.WithQuorum(1))
		if err != nil {
			t.Fatal(err)
		}
		<-call.Done()
		if r := call.Report(); r.Reason != dispatch.ReasonSatisfied || r.Elapsed != time.Second {
			t.Errorf("the call ends after %v, %v; want a second, satisfied", r.Elapsed, r.Reason)
		}
	})
}

// A member has the same state through a bridge as on its own bus, also as a group.
func TestBridgeKeepsHowMembersEnd(t *testing.T) {
	topic := dispatch.NewTopic[string, string]("states")
	failing := func(err error) dispatch.Producer[string, string] {
		return func(context.Context, string) (string, error) { return "", err }
	}
	for name, p := range map[string]dispatch.Producer[string, string]{
		"fails":                 failing(errors.New("broken")),
		"fails with ErrTimeout": failing(fmt.Errorf("nested: %w", dispatch.ErrTimeout)),
		"declines":              failing(dispatch.ErrDecline),
		"panics":                func(context.Context, string) (string, error) { panic("broken") },
		"exits":                 func(context.Context, string) (string, error) { runtime.Goexit(); return "", nil },
	} {
		for _, opts := range [][]dispatch.ProducerOption{nil, {dispatch.WithGroup("g")}} {
			synctest.Test(t, func(t *testing.T) {
				near := dispatch.New[string, string](dispatch.WithLogger(silent))
				far := dispatch.New[string, string](dispatch.WithLogger(silent))
				if _, err := far.AddProducer(topic, p, opts...); err != nil {
					t.Fatal(err)
				}
				join(t, near, topic, dispatchtest.Bridge(far, "cell-7"))
				ask := func(d *words) dispatch.Outcome {
					c, err := d.Send(t.Context(), topic, "")
					if err != nil {
						t.Fatal(err)
					}
					<-c.Done()
					return c.Report().Outcomes[0]
				}
				want, got := ask(far), ask(near)
				if got.State != want.State || got.State != dispatch.StateFailed && !strings.Contains(got.Err.Error(), want.Err.Error()) {
					t.Errorf("%s: through the bridge %v: %v, without it %v: %v", name, got.State, got.Err, want.State, want.Err)
				}
			})
		}
	}
}

// plain is a bridge in which each step can be replaced by a wrong one. A step that is nil is
// done right.
type plain struct {
	ctx    func(context.Context) context.Context
	member func(dispatch.Member) dispatch.Member
	opts   func(to roster) []dispatch.CallOption
	named  func(to roster, m dispatch.Member)
	result func(to roster, m dispatch.Member, v string)
	end    func(to roster, m dispatch.Member, o dispatch.Outcome)
	after  func(ctx context.Context, to roster) error
}

func (p plain) to(far *words, topic dispatch.Topic[string, string]) link {
	if p.after == nil {
		p.after = func(context.Context, roster) error { return nil }
	}
	if p.member == nil {
		p.member = func(m dispatch.Member) dispatch.Member { m.Node = "far"; return m }
	}
	if p.named == nil {
		p.named = func(to roster, m dispatch.Member) { to.Name(m) }
	}
	if p.result == nil {
		p.result = func(to roster, m dispatch.Member, v string) { to.Result(m, v) }
	}
	if p.end == nil {
		p.end = func(to roster, m dispatch.Member, o dispatch.Outcome) { to.End(m, endOf(o)) }
	}
	return func(ctx context.Context, req string, to roster) error {
		info, _ := dispatch.CallFrom(ctx)
		opts := []dispatch.CallOption{dispatch.WithTimeout(info.Budget)}
		if p.opts != nil {
			opts = p.opts(to)
		}
		farCtx := ctx
		if p.ctx != nil {
			farCtx = p.ctx(ctx)
		}
		call, err := far.Send(farCtx, topic, req, opts...)
		if err != nil {
			return err
		}
		ended, given := make(map[dispatch.Member]bool), make(map[dispatch.Member]int)
		for _, o := range call.Report().Outcomes {
			p.named(to, p.member(o.Member))
		}
		for r := range call.Results() {
			p.result(to, p.member(r.From), r.Value)
			given[r.From]++
			for _, o := range call.Report().Outcomes {
				if o.Member == r.From && o.Results == given[r.From] && o.State != dispatch.StatePending {
					ended[o.Member] = true
					p.end(to, p.member(o.Member), o)
				}
			}
		}
		for _, o := range call.Report().Outcomes {
			if o.State == dispatch.StateLate {
				<-ctx.Done()
			}
			if !ended[o.Member] {
				p.end(to, p.member(o.Member), o)
			}
		}
		return p.after(ctx, to)
	}
}

// endOf is the error that tells a roster the state of an outcome.
func endOf(o dispatch.Outcome) error {
	switch o.State {
	case dispatch.StateGone:
		return fmt.Errorf("%w: %v", dispatch.ErrGone, o.Err)
	case dispatch.StateRejected:
		return fmt.Errorf("%w: %v", dispatch.ErrOverloaded, o.Err)
	default:
		return o.Err
	}
}

// Each relay that is wrong in one way fails the rule that is about it.
func TestRelayRulesFindWhatIsWrong(t *testing.T) {
	onFar := func(m dispatch.Member) dispatch.Member { m.Node = "far"; return m }
	for name, c := range map[string]struct {
		relay func(far *words, topic dispatch.Topic[string, string]) link
		rules []string
		says  string
	}{
		"names nobody": {func(*words, dispatch.Topic[string, string]) link {
			return func(context.Context, string, roster) error { return nil }
		}, []string{"members", "results", "failures", "late", "cancel", "targets", "group", "coming", "quorum"}, ""},
		"fails when there is nobody": {func(*words, dispatch.Topic[string, string]) link {
			return func(context.Context, string, roster) error { return dispatch.ErrUnreachable }
		}, []string{"nobody"}, "relay failed"},
		"panics": {func(*words, dispatch.Topic[string, string]) link {
			return func(context.Context, string, roster) error { panic("relay") }
		}, []string{"members", "nobody"}, "relay panicked"},
		"forgets the node": {plain{
			member: func(m dispatch.Member) dispatch.Member { return m },
		}.to, []string{"members", "results"}, "far/a"},
		"another node for each member": {plain{
			member: func(m dispatch.Member) dispatch.Member { m.Node = "far-" + m.Name; return m },
		}.to, []string{"members"}, "said to be of 2"},
		"mixes up members": {plain{result: func(to roster, m dispatch.Member, v string) {
			swap := map[string]string{"s": "t", "t": "s"}
			if other, ok := swap[m.Name]; ok {
				m.Name = other
			}
			to.Result(m, v)
		}}.to, []string{"results"}, "far/s"},
		"swallows results": {
			plain{result: func(roster, dispatch.Member, string) {}}.to,
			[]string{"members", "results", "values", "failures", "group", "concurrent calls"},
			"",
		},
		"hands in results twice": {plain{result: func(to roster, m dispatch.Member, v string) {
			to.Result(m, v)
			to.Result(m, v)
		}}.to, []string{"members", "results", "values"}, ""},
		"trims values": {plain{result: func(to roster, m dispatch.Member, v string) {
			to.Result(m, v[:min(len(v), 65_536)])
		}}.to, []string{"values"}, "65536"},
		"names twice": {plain{named: func(to roster, m dispatch.Member) {
			to.Name(m)
			to.Name(m)
		}}.to, []string{"members"}, "misused"},
		"ends twice": {plain{end: func(to roster, m dispatch.Member, o dispatch.Outcome) {
			to.End(m, o.Err)
			to.End(m, o.Err)
		}}.to, []string{"results"}, "misused"},
		"ends nobody": {plain{end: func(roster, dispatch.Member, dispatch.Outcome) {}}.to, []string{"members", "failures"}, "far/"},
		"everybody is fine": {plain{end: func(to roster, m dispatch.Member, _ dispatch.Outcome) {
			to.End(m, nil)
		}}.to, []string{"failures", "rejected", "leaving"}, "far/"},
		"loses the text of errors": {plain{end: func(to roster, m dispatch.Member, o dispatch.Outcome) {
			if o.State == dispatch.StateFailed {
				o.Err = errors.New("remote error")
			}
			to.End(m, o.Err)
		}}.to, []string{"failures"}, "wire 7"},
		"loses the state of errors": {plain{end: func(to roster, m dispatch.Member, o dispatch.Outcome) {
			if o.Err != nil {
				o.Err = errors.New(o.Err.Error())
			}
			to.End(m, o.Err)
		}}.to, []string{"failures", "rejected", "leaving"}, "failed"},
		"a default of far's own": {plain{opts: func(roster) []dispatch.CallOption { return nil }}.to, []string{"deadline"}, "budget"},
		"starts the time anew": {plain{ctx: func(context.Context) context.Context {
			time.Sleep(time.Millisecond) // on its way
			return context.Background()
		}}.to, []string{"deadline"}, "was never as early"},
		"lets far go on": {plain{ctx: context.WithoutCancel}.to, []string{"cancel", "quorum"}, "which did not come"},
		"forgets the cause": {plain{ctx: func(ctx context.Context) context.Context {
			forgetful, cancel := context.WithCancel(context.WithoutCancel(ctx))
			context.AfterFunc(ctx, cancel)
			return forgetful
		}}.to, []string{"cancel"}, "the operator pressed stop"},
		"fails those who are late": {plain{opts: func(to roster) []dispatch.CallOption {
			return []dispatch.CallOption{dispatch.WithTimeout(50 * time.Millisecond)}
		}, end: func(to roster, m dispatch.Member, o dispatch.Outcome) {
			if o.State == dispatch.StateLate {
				o.Err = errors.New("no answer")
			}
			to.End(m, o.Err)
		}}.to, []string{"late"}, "far/hangs failed"},
		"asks everybody": {plain{}.to, []string{"targets"}, "far/b"},
		"targets that nobody has": {plain{opts: func(to roster) []dispatch.CallOption {
			if to.Targets() == nil {
				return nil
			}
			return []dispatch.CallOption{dispatch.WithTargets(to.Targets()...)}
		}}.to, []string{"targets"}, "far/"},
		"no name for a group": {plain{}.to, []string{"group"}, "far/g"},
		"another name for a group's results": {plain{named: func(to roster, m dispatch.Member) {
			m.Name = "g"
			to.Name(m)
		}}.to, []string{"group"}, ""},
		"knows only who was there first": {func(far *words, topic dispatch.Topic[string, string]) link {
			var once sync.Once
			var first []string
			return func(ctx context.Context, req string, to roster) error {
				once.Do(func() {
					for _, p := range far.Bus().Snapshot().Topics[0].Producers {
						first = append(first, p.Name)
					}
				})
				return plain{opts: func(roster) []dispatch.CallOption {
					return []dispatch.CallOption{dispatch.WithTargets(first...)}
				}}.to(far, topic)(ctx, req, to)
			}
		}, []string{"coming", "leaving"}, ""},
		"one call at a time": {func(far *words, topic dispatch.Topic[string, string]) link {
			turn := make(chan struct{}, 1)
			return func(ctx context.Context, req string, to roster) error {
				turn <- struct{}{}
				defer func() { <-turn }()
				return plain{}.to(far, topic)(ctx, req, to)
			}
		}, []string{"concurrent calls"}, ""},
		"mixes up calls": {func(far *words, topic dispatch.Topic[string, string]) link {
			var mu sync.Mutex
			var all []roster
			return func(ctx context.Context, req string, to roster) error {
				mu.Lock()
				all = append(all, to)
				mu.Unlock()
				return plain{result: func(to roster, m dispatch.Member, v string) {
					if strings.HasPrefix(v, "meets") {
						mu.Lock()
						to = all[(slices.Index(all, to)+1)%len(all)]
						mu.Unlock()
					}
					to.Result(m, v)
				}}.to(far, topic)(ctx, req, to)
			}
		}, []string{"concurrent calls"}, "far/meets"},
		"waits for the end of all": {func(far *words, topic dispatch.Topic[string, string]) link {
			return func(ctx context.Context, req string, to roster) error {
				call, err := far.Send(ctx, topic, req)
				if err != nil {
					return err
				}
				for _, o := range call.Report().Outcomes {
					to.Name(onFar(o.Member))
				}
				<-call.Done()
				for r := range call.Results() {
					to.Result(onFar(r.From), r.Value)
				}
				for _, o := range call.Report().Outcomes {
					to.End(onFar(o.Member), o.Err)
				}
				return nil
			}
		}, []string{"results as they come", "cancel", "quorum"}, ""},
		"hands late results to the next call": {func(far *words, topic dispatch.Topic[string, string]) link {
			late := make(chan string, 1)
			far.OnLate(func(r dispatch.Result[string, string], _ time.Duration) { late <- r.Value })
			return func(ctx context.Context, req string, to roster) error {
				return plain{result: func(to roster, m dispatch.Member, v string) {
					if !to.Result(m, v) {
						late <- v
					}
					if req == "next" {
						select {
						case v := <-late:
							to.Result(m, v)
						case <-time.After(time.Second):
						}
					}
				}}.to(far, topic)(ctx, req, to)
			}
		}, []string{"after the end"}, "first late"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, rule := range c.rules {
				synctest.Test(t, func(t *testing.T) {
					failed := failures(t, func(t testing.TB) {
						dispatchtest.RelayRules()[rule](t, func(t testing.TB, near, far *words, topic dispatch.Topic[string, string]) {
							join(t, near, topic, c.relay(far, topic))
						})
					})
					if len(failed) == 0 || !strings.Contains(fmt.Sprint(failed), c.says) {
						t.Errorf("rule %q says %q, want something about %q", rule, failed, c.says)
					}
					synctest.Wait()
				})
			}
		})
	}
}

// A plain relay breaks only these rules. So for all other rules, the test above shows that they
// find the wrong step.
func TestRelayRulesThatAPlainRelayBreaks(t *testing.T) {
	var broken []string
	for rule, test := range dispatchtest.RelayRules() {
		synctest.Test(t, func(t *testing.T) {
			failed := failures(t, func(t testing.TB) {
				test(t, func(t testing.TB, near, far *words, topic dispatch.Topic[string, string]) {
					join(t, near, topic, plain{}.to(far, topic))
				})
			})
			if len(failed) > 0 {
				broken = append(broken, rule)
			}
		})
	}
	slices.Sort(broken)
	// The plain relay ignores groups, targets, and timeouts of producers.
	if diff := cmp.Diff([]string{"group", "targets", "timeout"}, broken); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// A relay need not transfer requests and values that are longer than TestRelay says.
func TestRelayRulesKeepToTheLength(t *testing.T) {
	const most = 100_000
	synctest.Test(t, func(t *testing.T) {
		longest := 0
		dispatchtest.RelayRules()["values"](t, func(t testing.TB, near, far *words, topic dispatch.Topic[string, string]) {
			relay := plain{result: func(to roster, m dispatch.Member, v string) {
				longest = max(longest, len(v))
				if len(v) <= most {
					to.Result(m, v)
				}
			}}.to(far, topic)
			join(t, near, topic, func(ctx context.Context, req string, to roster) error {
				longest = max(longest, len(req))
				if len(req) > most {
					return errors.New("too long")
				}
				return relay(ctx, req, to)
			})
		})
		if longest != most {
			t.Errorf("the longest request or value has %d bytes, want %d", longest, most)
		}
	})
}

// A relay that does not return when its context has ended breaks every rule.
func TestRelayRulesFindRelaysThatDoNotReturn(t *testing.T) {
	for rule, test := range dispatchtest.RelayRules() {
		t.Run(rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				failed := failures(t, func(t testing.TB) {
					test(t, func(t testing.TB, near, far *words, topic dispatch.Topic[string, string]) {
						join(t, near, topic, plain{after: func(context.Context, roster) error {
							<-release
							return nil
						}}.to(far, topic))
					})
				})
				close(release)
				if len(failed) == 0 {
					t.Error("nobody has noticed")
				}
			})
		})
	}
}

func ExampleBridge() {
	cell := dispatch.New[string, float64]()
	_, _ = cell.AddProducer(measure, dispatchtest.Answer[string](1.21), dispatch.WithName("meter"))
	_, _ = cell.AddProducer(measure, dispatchtest.Failing[string, float64](errors.New("unplugged")), dispatch.WithName("spare"))

	floor := dispatch.New[string, float64]()
	_, _ = floor.AddRelay(measure, dispatchtest.Bridge(cell, "cell-7"))
	values, err := floor.Gather(context.Background(), measure, "vdd")
	fmt.Println(values)
	fmt.Println(err)
	// Output:
	// [1.21]
	// dispatch: cell.measure: 1 of 2 members did not answer: cell-7/spare failed: unplugged
}

// The state of a member here is its state there, even if its error wraps an error of another state.
func TestBridgeKeepsStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near := dispatch.New[string, float64](dispatch.WithLogger(silent))
		far := dispatch.New[string, float64](dispatch.WithLogger(silent), dispatch.WithTimeout(time.Second))
		want := make(map[string]dispatch.State)
		for name, err := range map[string]error{
			"gone":       fmt.Errorf("the sample: %w", dispatch.ErrGone),
			"overloaded": fmt.Errorf("somebody else: %w", dispatch.ErrOverloaded),
			"panicked":   &dispatch.PanicError{Value: "not ours"},
			"unknown":    fmt.Errorf("somebody else: %w", dispatch.ErrUnknownMember),
		} {
			dispatchtest.Produce(t, far, measure, dispatchtest.Failing[string, float64](err), dispatch.WithName(name))
			want["far/"+name] = dispatch.StateFailed
		}
		dispatchtest.Produce(t, far, measure, dispatchtest.Slow[string](3*time.Second, 1.2), dispatch.WithName("slow"))
		want["far/slow"] = dispatch.StateOK
		dispatchtest.Produce(t, far, measure, dispatchtest.Slow[string](3*time.Second, 1.2), dispatch.WithName("full"), dispatch.WithConcurrency(1), dispatch.WithMaxQueue(1))
		want["far/full"] = dispatch.StateRejected
		for range 2 { // one runs and one waits
			send(t, far, dispatch.WithTargets("full"))
			synctest.Wait()
		}
		if _, err := near.AddRelay(measure, dispatchtest.Bridge(far, "far")); err != nil {
			t.Fatal(err)
		}
		call := send(t, near)
		<-call.Done()
		dispatchtest.WantStates(t, call.Report(), want)
		if err := call.Report().Err(); !errors.Is(err, dispatch.ErrQueueFull) || !errors.As(err, new(*dispatch.MemberError)) {
			t.Errorf("%v does not lead to the error of the queue", err)
		}
	})
}

func TestBridgeToABusThatCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := dispatch.New[string, float64](), dispatch.New[string, float64]()
		dispatchtest.Produce(t, far, measure, dispatchtest.Slow[string](time.Second, 1.2), dispatch.WithName("slow"))
		if _, err := near.AddRelay(measure, dispatchtest.Bridge(far, "far"), dispatch.WithName("bridge")); err != nil {
			t.Fatal(err)
		}
		call := send(t, near)
		synctest.Wait()
		far.Close()
		<-call.Done()
		dispatchtest.WantStates(t, call.Report(), map[string]dispatch.State{"far/slow": dispatch.StateGone})
		call = send(t, near)
		<-call.Done()
		dispatchtest.WantStates(t, call.Report(), map[string]dispatch.State{"bridge": dispatch.StateGone})
		if diff := cmp.Diff(dispatch.ReasonAllEnded, call.Report().Reason); diff != "" {
			t.Errorf("reason (-want +got):\n%s", diff)
		}
	})
}

// The policies of far's bus hold for the time that near has, which may be less than that of far.
func TestBridgeToABusWithAGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := newCell(t), dispatch.New[string, float64](dispatch.WithTimeout(time.Minute), dispatch.WithGrace(2*time.Second))
		dispatchtest.Produce(t, far, measure, dispatchtest.Answer[string](1.3), dispatch.WithName("quick"))
		if _, err := near.AddRelay(measure, dispatchtest.Bridge(far, "far"), dispatch.WithName("bridge")); err != nil {
			t.Fatal(err)
		}
		call := send(t, near, dispatch.WithTimeout(time.Second))
		<-call.Done()
		dispatchtest.WantStates(t, call.Report(), map[string]dispatch.State{
			"a": dispatch.StateOK, "b": dispatch.StateOK, "c": dispatch.StateFailed, "far/quick": dispatch.StateOK,
		})
	})
}

// A member that far's call cancels has failed on this side, with the cause.
func TestBridgeToABusWithAQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := dispatch.New[string, float64](), dispatch.New[string, float64](dispatch.WithQuorum(1))
		dispatchtest.Produce(t, far, measure, dispatchtest.Answer[string](1.3), dispatch.WithName("quick"))
		dispatchtest.Produce(t, far, measure, dispatchtest.Slow[string](time.Second, 1.2), dispatch.WithName("slow"))
		if _, err := near.AddRelay(measure, dispatchtest.Bridge(far, "far")); err != nil {
			t.Fatal(err)
		}
		call := send(t, near)
		<-call.Done()
		dispatchtest.WantStates(t, call.Report(), map[string]dispatch.State{"far/quick": dispatch.StateOK, "far/slow": dispatch.StateFailed})
		if err := call.Report().Err(); !errors.Is(err, dispatch.ErrSatisfied) {
			t.Errorf("error is %v, want %v", err, dispatch.ErrSatisfied)
		}
	})
}
