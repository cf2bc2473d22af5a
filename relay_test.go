package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seed-bb4b4d74/dispatch"
)

// joining is a relay to the topic on another bus: what its members answer there
// they answer here, as members of that node.
func joining(there *dispatcher, node string) relay {
	return func(ctx context.Context, req int, to roster) error {
		var opts []dispatch.CallOption
		if names := to.Targets(); names != nil {
			opts = append(opts, dispatch.WithTargets(names...))
		}
		c, err := there.Send(ctx, ask, req, opts...)
		if err != nil {
			return err
		}
		here := func(m dispatch.Member) dispatch.Member {
			m.Node = node
			return m
		}
		for _, o := range c.Report().Outcomes {
			if !errors.Is(o.Err, dispatch.ErrUnknownMember) {
				to.Name(here(o.Member))
			}
		}
		for r := range c.Results() {
			to.Result(here(r.From), r.Value)
		}
		for _, o := range c.Report().Outcomes {
			to.End(here(o.Member), o.Err)
		}
		return nil
	}
}

func TestRelayJoinsTwoBuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, logged := newDispatcher()
		there, _ := newDispatcher()
		produce(t, there, "x", slow(time.Second, 11))
		produce(t, there, "y", failing(errBroken))
		produce(t, there, "z", failing(dispatch.ErrDecline))
		addStream(t, there, "s", ticking(400*time.Millisecond, 12, 13))
		addRelay(t, here, "link", joining(there, "far"))
		produce(t, here, "a", slow(2*time.Second, 1))
		produce(t, here, "b", quick(2))
		diary := keepDiary(t, here)

		c := send(t, here)
		<-c.Done()
		r := c.Report()
		expect(t, r, "all ended: a ok, b ok, far/x ok, far/y failed, far/z declined, far/s ok")
		if !errors.Is(r.Err(), errBroken) || r.Complete() || r.Elapsed != 2*time.Second {
			t.Errorf("after %v: %v", r.Elapsed, r.Err())
		}
		for _, o := range r.Outcomes {
			want := map[string]int{"a": 1, "b": 1, "x": 1, "s": 2}[o.Member.Name]
			if o.Results != want || !o.Started || o.Tried != 1 {
				t.Errorf("outcome %+v", o)
			}
		}
		var read []string
		for r := range c.Results() {
			read = append(read, fmt.Sprintf("%d %v=%d", r.Seq, r.From, r.Value))
		}
		if diff := cmp.Diff([]string{"0 b=2", "1 far/s=12", "2 far/s=13", "3 far/x=11", "4 a=1"}, read); diff != "" {
			t.Errorf("results (-want +got):\n%s", diff)
		}
		synctest.Wait()
		if diary.count("result") != 5 || diary.count("outcome") != 6 || diary.count("done all ended") != 1 {
			t.Errorf("listener was told %q", diary.all())
		}
		values, _ := here.Gather(context.Background(), ask, 0)
		if diff := cmp.Diff([]int{1, 2, 11, 12, 13}, values); diff != "" {
			t.Errorf("Gather (-want +got):\n%s", diff)
		}
		if s := here.Bus().Snapshot(); s.Misuse != 0 || len(s.Calls) != 0 || s.Topics[0].Producers[0].Name != "link" {
			t.Errorf("snapshot %+v", s)
		}
		sameReport(t, r, c.Report())
		logged.nothing(t)
	})
}

func TestRelayEndsWithTheCall(t *testing.T) {
	for name, test := range map[string]struct {
		opts []dispatch.CallOption
		end  func(*dispatcher, *inFlight)
		want string
		err  error
	}{
		"deadline":  {nil, func(*dispatcher, *inFlight) {}, "deadline: a ok, far/x late, far/y ok", context.DeadlineExceeded},
		"satisfied": {opts(dispatch.WithQuorum(2)), func(*dispatcher, *inFlight) {}, "satisfied: a ok, far/x canceled, far/y ok", dispatch.ErrSatisfied},
		"canceled":  {nil, func(_ *dispatcher, c *inFlight) { c.Cancel(errBroken) }, "canceled: a ok, far/x canceled, far/y ok", errBroken},
		"closed":    {nil, func(d *dispatcher, _ *inFlight) { d.Close() }, "closed: a ok, far/x canceled, far/y ok", dispatch.ErrClosed},
		"stalled":   {opts(dispatch.WithStall(time.Second)), func(*dispatcher, *inFlight) {}, "stalled: a ok, far/x canceled, far/y ok", dispatch.ErrStalled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, logged := newDispatcher()
				var cause error
				addRelay(t, here, "r", func(ctx context.Context, _ int, to roster) error {
					to.Name(far("x"))
					to.Name(far("y"))
					time.Sleep(time.Second)
					to.Result(far("x"), 1)
					to.Result(far("y"), 2)
					to.End(far("y"), nil)
					<-ctx.Done()
					cause = context.Cause(ctx)
					return ctx.Err()
				})
				produce(t, here, "a", slow(time.Second/2, 1))
				c := send(t, here, test.opts...)
				time.Sleep(2 * time.Second)
				test.end(here, c)
				<-c.Done()
				before := c.Report()
				expect(t, before, test.want)
				if o := outcomeOf(t, before, "x"); !errors.Is(o.Err, test.err) || o.Results != 1 || o.Elapsed != before.Elapsed {
					t.Errorf("outcome %+v", o)
				}
				time.Sleep(5 * time.Second)
				sameReport(t, before, c.Report())
				if !errors.Is(cause, test.err) {
					t.Errorf("the relay's cause is %v", cause)
				}
				logged.nothing(t)
			})
		})
	}
}

// Every way to end a member, and what the report makes of it.
func TestRosterEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		ends := []struct {
			name string
			err  error
		}{
			{"ok", nil},
			{"declined", fmt.Errorf("x: %w", dispatch.ErrDecline)},
			{"gone", fmt.Errorf("x: %w", dispatch.ErrGone)},
			{"rejected", fmt.Errorf("x: %w", dispatch.ErrOverloaded)},
			{"panicked", fmt.Errorf("x: %w", &dispatch.PanicError{Value: 1})},
			{"failed", errBroken},
			{"unreachable", dispatch.ErrUnreachable},
		}
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			for i, e := range ends {
				time.Sleep(time.Second / 2)
				if !to.Name(far(e.name)) || i%2 == 0 && !to.Result(far(e.name), i) || !to.End(far(e.name), e.err) {
					t.Errorf("%s: refused", e.name)
				}
			}
			return nil
		})
		r := ended(t, d)
		expect(t, r, "all ended: far/ok ok, far/declined declined, far/gone gone, far/rejected rejected, "+
			"far/panicked panicked, far/failed failed, far/unreachable failed")
		for i, o := range r.Outcomes {
			if !errors.Is(o.Err, ends[i].err) || o.Results != 1-i%2 || o.Elapsed != time.Duration(i+1)*time.Second/2 {
				t.Errorf("outcome %+v", o)
			}
		}
		if n := d.Bus().Snapshot().Misuse; n != 0 {
			t.Errorf("misuse: %d", n)
		}
	})
}

// Whatever a relay does, each member has one outcome.
func TestMisuseOfARosterChangesNothing(t *testing.T) {
	const s = time.Second
	a, b := far("a"), far("b")
	for name, test := range map[string]struct {
		relay  func(ctx context.Context, to roster, want func(what string, got, is bool)) error
		want   string
		misuse uint64
		values []int
		after  time.Duration
	}{
		"named twice": {func(_ context.Context, to roster, want func(string, bool, bool)) error {
			want("first", to.Name(a), true)
			want("second", to.Name(a), false)
			want("end", to.End(a, nil), true)
			want("third", to.Name(a), false)
			return nil
		}, "all ended: far/a ok", 2, nil, 0},
		"ended twice": {func(_ context.Context, to roster, want func(string, bool, bool)) error {
			want("name", to.Name(a), true)
			want("first", to.End(a, nil), true)
			want("second", to.End(a, errBroken), false)
			return nil
		}, "all ended: far/a ok", 1, nil, 0},
		"never named": {func(_ context.Context, to roster, want func(string, bool, bool)) error {
			want("name", to.Name(a), true)
			want("result", to.Result(b, 1), false)
			want("end", to.End(b, nil), false)
			want("its name elsewhere", to.Result(dispatch.Member{Node: "near", Name: "a"}, 1), false)
			want("own end", to.End(a, nil), true)
			return nil
		}, "all ended: far/a ok", 3, nil, 0},
		"without a name": {func(_ context.Context, to roster, want func(string, bool, bool)) error {
			want("zero", to.Name(dispatch.Member{}), false)
			want("node alone", to.Name(dispatch.Member{Node: "far"}), false)
			return nil
		}, "no producers: ", 2, nil, 0},
		"a group whose replica is not known": {func(_ context.Context, to roster, want func(string, bool, bool)) error {
			g := dispatch.Member{Node: "far", Group: "g"}
			want("name", to.Name(g), true)
			want("result", to.Result(g, 1), true)
			want("end", to.End(g, nil), true)
			return nil
		}, "all ended: far/g ok", 0, []int{1}, 0},
		"results of one that ended": {func(_ context.Context, to roster, want func(string, bool, bool)) error {
			want("name", to.Name(a), true)
			want("result", to.Result(a, 1), true)
			want("end", to.End(a, errBroken), true)
			want("another", to.Result(a, 2), false)
			return nil
		}, "all ended: far/a failed", 1, []int{1}, 0},
		"never returns": {func(ctx context.Context, to roster, want func(string, bool, bool)) error {
			want("name", to.Name(a), true)
			want("another", to.Name(b), true)
			want("result", to.Result(a, 1), true)
			want("end", to.End(a, nil), true)
			<-ctx.Done()
			time.Sleep(s)
			want("too late", to.Result(b, 2), false)
			want("to end", to.End(b, nil), false)
			want("to name", to.Name(far("c")), false)
			return errBroken
		}, "deadline: far/a ok, far/b late", 0, []int{1}, 5 * s},
		"panics": {func(_ context.Context, to roster, want func(string, bool, bool)) error {
			want("name", to.Name(a), true)
			want("result", to.Result(a, 1), true)
			want("end", to.End(a, nil), true)
			want("another", to.Name(b), true)
			panic(errBroken)
		}, "all ended: far/a ok, far/b failed, r panicked", 0, []int{1}, 0},
		"Goexit": {func(_ context.Context, to roster, want func(string, bool, bool)) error {
			want("name", to.Name(b), true)
			runtime.Goexit()
			return nil
		}, "all ended: far/b failed, r failed", 0, nil, 0},
		"an error": {func(_ context.Context, to roster, want func(string, bool, bool)) error {
			want("name", to.Name(b), true)
			time.Sleep(s)
			return dispatch.ErrUnreachable
		}, "all ended: far/b failed, r failed", 0, nil, s},
		"overloaded": {func(context.Context, roster, func(string, bool, bool)) error {
			return dispatch.ErrOverloaded
		}, "all ended: r rejected", 0, nil, 0},
		"declines": {func(context.Context, roster, func(string, bool, bool)) error {
			return dispatch.ErrDecline
		}, "no producers: ", 0, nil, 0},
		"returns with members that have not ended": {func(_ context.Context, to roster, want func(string, bool, bool)) error {
			want("a", to.Name(a), true)
			want("b", to.Name(b), true)
			want("result", to.Result(b, 2), true)
			want("end", to.End(a, nil), true)
			return nil
		}, "all ended: far/a ok, far/b failed", 0, []int{2}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher()
				addRelay(t, d, "r", func(ctx context.Context, _ int, to roster) error {
					return test.relay(ctx, to, func(what string, got, want bool) {
						if got != want {
							t.Errorf("%s: %t", what, got)
						}
					})
				})
				var late notes
				d.OnLate(func(r result, by time.Duration) { late.add("%v=%d by %v", r.From, r.Value, by) })
				diary := keepDiary(t, d)
				c := send(t, d)
				<-c.Done()
				r := c.Report()
				if got, want := sorted(told(r)), sorted(test.want); got != want || r.Elapsed != test.after {
					t.Errorf("after %v: %s, want %s", r.Elapsed, told(r), test.want)
				}
				var values []int
				for r := range c.Results() {
					values = append(values, r.Value)
				}
				if diff := cmp.Diff(test.values, values); diff != "" {
					t.Errorf("results (-want +got):\n%s", diff)
				}
				time.Sleep(5 * s)
				synctest.Wait()
				sameReport(t, r, c.Report())
				if n := d.Bus().Snapshot().Misuse; n != test.misuse {
					t.Errorf("misuse: %d, want %d", n, test.misuse)
				}
				for _, o := range r.Outcomes {
					lost := o.Member == b && o.State == dispatch.StateFailed
					if errors.Is(o.Err, dispatch.ErrLost) != lost {
						t.Errorf("outcome %+v", o)
					}
					if own := o.Member.Node == ""; own == o.Started {
						t.Errorf("outcome %+v", o)
					}
				}
				if n := len(r.Outcomes); diary.count("outcome") != n || diary.count("done") != 1 {
					t.Errorf("listener was told %q", diary.all())
				}
				if n := len(late.all()); n != map[string]int{"never returns": 1}[name] {
					t.Errorf("OnLate %q", late.all())
				}
				if n := logged.count(""); n != map[string]int{"never returns": 1, "panics": 1, "Goexit": 1}[name] {
					t.Errorf("logged %.200q", logged.all())
				}
			})
		})
	}
}

// sorted sorts the members that are told, whose order tells nothing here.
func sorted(told string) string {
	reason, members, _ := strings.Cut(told, ": ")
	return fmt.Sprint(reason, slices.Sorted(strings.SplitSeq(members, ", ")))
}

func TestRosterAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		var kept roster
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			kept = to
			to.Name(far("a"))
			return nil
		})
		produce(t, d, "p", patient)
		var late notes
		d.OnLate(func(r result, by time.Duration) { late.add("%v=%d by %v seq %d", r.From, r.Value, by, r.Seq) })
		c := send(t, d)
		synctest.Wait()
		// The relay has returned, and the call goes on.
		if kept.Name(far("b")) || kept.Result(far("a"), 1) || kept.End(far("a"), nil) {
			t.Error("a roster changed something after its relay had returned")
		}
		if n := d.Bus().Snapshot().Misuse; n != 3 {
			t.Errorf("misuse: %d", n)
		}
		<-c.Done()
		before := c.Report()
		expect(t, before, "deadline: p late, far/a failed")
		time.Sleep(time.Second / 2)
		if kept.Name(far("b")) || kept.Result(far("a"), 2) || kept.End(far("a"), nil) || kept.Targets() != nil {
			t.Error("a roster changed something after the end of the call")
		}
		synctest.Wait()
		if diff := cmp.Diff([]string{"far/a=2 by 500ms seq -1"}, late.all()); diff != "" {
			t.Errorf("OnLate (-want +got):\n%s", diff)
		}
		if n := d.Bus().Snapshot().Misuse; n != 3 {
			t.Errorf("the end of a call is no misuse, yet there are %d", n)
		}
		sameReport(t, before, c.Report())
	})
}

func TestRelaysThatNameNoMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		silent := func(_ context.Context, _ int, _ roster) error { time.Sleep(time.Second); return nil }
		addRelay(t, d, "r", silent)
		other := addRelay(t, d, "s", silent)
		c := send(t, d)
		<-c.Done()
		if r := c.Report(); r.Elapsed != time.Second || len(r.Outcomes) != 0 || r.Reason != dispatch.ReasonNoProducers {
			t.Errorf("%s after %v", told(r), r.Elapsed)
		}
		if _, err := d.Gather(context.Background(), ask, 0); !errors.Is(err, dispatch.ErrNoProducers) {
			t.Errorf("Gather: %v", err)
		}
		expect(t, ended(t, d, dispatch.WithQuorum(1)), "no producers: ")
		produce(t, d, "p", quick(1))
		r := ended(t, d)
		if expect(t, r, "all ended: p ok"); r.Elapsed != time.Second {
			t.Errorf("did not wait for the relays: %v", r.Elapsed)
		}
		other.Remove()
		if r := ended(t, d, dispatch.WithQuorum(1)); r.Reason != dispatch.ReasonSatisfied || r.Elapsed != 0 {
			t.Errorf("a quorum waits for relays: %s after %v", told(r), r.Elapsed)
		}
		logged.nothing(t)
		time.Sleep(time.Second)
	})
}

func TestQuorumWithRelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			time.Sleep(time.Second)
			for _, name := range []string{"a", "b", "c"} {
				to.Name(far(name))
				if name != "b" {
					to.End(far(name), nil)
				}
			}
			time.Sleep(time.Second)
			to.End(far("b"), errBroken)
			return nil
		})
		produce(t, d, "p", failing(errBroken))
		expect(t, ended(t, d, dispatch.WithQuorum(2)), "satisfied: p failed, far/a ok, far/b canceled, far/c ok")
		r := ended(t, d, dispatch.WithQuorum(3))
		expect(t, r, "quorum lost: p failed, far/a ok, far/b failed, far/c ok")
		if r.Elapsed != 2*time.Second {
			t.Errorf("after %v", r.Elapsed)
		}
		expect(t, ended(t, d, dispatch.WithFailFast()), "failed fast: p failed")
		time.Sleep(5 * time.Second)
	})
}

func TestRelaysAndTargets(t *testing.T) {
	for name, test := range map[string]struct {
		targets []string
		want    string
	}{
		"one of theirs":      {[]string{"x"}, "all ended: far/x ok"},
		"one of ours":        {[]string{"a"}, "all ended: a ok"},
		"one of each":        {[]string{"x", "a"}, "all ended: a ok, far/x ok"},
		"one of no relay":    {[]string{"n", "a"}, "all ended: a ok, n gone"},
		"of no relay at all": {[]string{"n", "n", "m"}, "all ended: n gone, m gone"},
		"a group there":      {[]string{"g"}, "all ended: far/g/g0 ok"},
		"by its node":        {[]string{"far/x", "a"}, "all ended: a ok, far/x ok"},
		"all of a node":      {[]string{"far/*"}, "all ended: far/x ok, far/y ok"},
		"all of no node":     {[]string{"near/*", "a"}, "all ended: a ok, near/* gone"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, _ := newDispatcher()
				there, _ := newDispatcher()
				produce(t, there, "x", quick(1))
				produce(t, there, "y", quick(2))
				var asked []string
				addRelay(t, here, "link", func(ctx context.Context, req int, to roster) error {
					asked = to.Targets()
					for _, o := range must(there.Send(ctx, ask, req)).Report().Outcomes {
						m := dispatch.Member{Node: "far", Name: o.Member.Name}
						if slices.ContainsFunc(asked, m.Matches) {
							to.Name(m)
							to.End(m, nil)
						}
					}
					if slices.Contains(asked, "g") {
						m := dispatch.Member{Node: "far", Group: "g", Name: "g0"}
						to.Name(m)
						to.End(m, nil)
					}
					return nil
				})
				produce(t, here, "a", quick(3))
				produce(t, here, "b", quick(4))
				r := ended(t, here, dispatch.WithTargets(test.targets...))
				expect(t, r, test.want)
				if diff := cmp.Diff(test.targets, asked); diff != "" {
					t.Errorf("Targets (-want +got):\n%s", diff)
				}
				for _, o := range r.Outcomes {
					if errors.Is(o.Err, dispatch.ErrUnknownMember) != (o.State == dispatch.StateGone) || o.State == dispatch.StateGone && o.Started {
						t.Errorf("outcome %+v", o)
					}
				}
				asked[0] = "changed" // is ours to change
				expect(t, ended(t, here, dispatch.WithTargets(test.targets...)), test.want)
			})
		})
	}
}

func TestRelayTakesNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		begun := newStarts()
		for _, name := range []string{"r", "s"} {
			addRelay(t, d, name, func(ctx context.Context, _ int, to roster) error {
				begun.add("%s at %d ms", name, time.Since(begun.began).Milliseconds())
				to.Name(far(name))
				time.Sleep(2 * time.Second)
				to.End(far(name), nil)
				return nil
			})
		}
		produce(t, d, "a", begun.of("a", slow(time.Second, 1)))
		produce(t, d, "b", begun.of("b", slow(time.Second, 2)))
		r := ended(t, d, dispatch.WithParallelism(1))
		if sorted(told(r)) != sorted("all ended: a ok, b ok, far/r ok, far/s ok") || r.Elapsed != 2*time.Second {
			t.Errorf("%s after %v", told(r), r.Elapsed)
		}
		got := slices.Sorted(slices.Values(begun.all()))
		if diff := cmp.Diff([]string{"a at 0 ms", "b at 1000 ms", "r at 0 ms", "s at 0 ms"}, got); diff != "" {
			t.Errorf("starts (-want +got):\n%s", diff)
		}
	})
}

func TestRelayContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		d, _ := newDispatcher()
		began := time.Now()
		addRelay(t, d, "r", func(ctx context.Context, req int, to roster) error {
			info, ok := dispatch.CallFrom(ctx)
			at, _ := ctx.Deadline()
			if !ok || info.Topic != ask.Name() || info.Budget != 3*time.Second || at.Sub(began) != 3*time.Second || ctx.Value(key{}) != "v" || req != 7 {
				t.Errorf("%+v, deadline %v, value %v, request %d", info, at.Sub(began), ctx.Value(key{}), req)
			}
			to.Name(far("a"))
			<-ctx.Done()
			if context.Cause(ctx) != errBroken {
				t.Errorf("cause %v", context.Cause(ctx))
			}
			return ctx.Err()
		})
		c, err := d.Send(context.WithValue(context.Background(), key{}, "v"), ask, 7, dispatch.WithTimeout(3*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		c.Cancel(errBroken)
		synctest.Wait()
		expect(t, c.Report(), "canceled: far/a canceled")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		expect(t, sendFrom(ctx, t, d).Report(), "canceled: ")
	})
}

func TestRelayLifecycle(t *testing.T) {
	t.Run("Remove", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher()
			r := addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
				to.Name(far("a"))
				time.Sleep(time.Second)
				to.End(far("a"), nil)
				return nil
			})
			c := send(t, d)
			synctest.Wait()
			r.Remove()
			<-c.Done()
			expect(t, c.Report(), "all ended: far/a ok")
			expect(t, ended(t, d), "no producers: ")
		})
	})
	t.Run("Drain", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher()
			r := addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
				to.Name(far("a"))
				to.End(far("a"), nil)
				time.Sleep(time.Second)
				return nil
			})
			produce(t, d, "p", slow(2*time.Second, 1))
			c := send(t, d)
			synctest.Wait()
			began := time.Now()
			if err := r.Drain(context.Background()); err != nil || time.Since(began) != time.Second {
				t.Errorf("Drain: %v after %v", err, time.Since(began))
			}
			<-c.Done()
			expect(t, c.Report(), "all ended: p ok, far/a ok")
		})
	})
	t.Run("Shutdown", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher()
			addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
				to.Name(far("a"))
				time.Sleep(time.Second)
				to.Result(far("a"), 1)
				to.End(far("a"), nil)
				return nil
			})
			c := send(t, d)
			began := time.Now()
			if err := d.Shutdown(context.Background()); err != nil || time.Since(began) != time.Second {
				t.Errorf("Shutdown: %v after %v", err, time.Since(began))
			}
			expect(t, c.Report(), "all ended: far/a ok")
		})
	})
	t.Run("Shutdown without end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, logged := newDispatcher()
			release := make(chan struct{})
			addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
				to.Name(far("a"))
				<-release
				return nil
			})
			c := send(t, d)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			var e *dispatch.ShutdownError
			if err := d.Shutdown(ctx); !errors.As(err, &e) || len(e.Calls) != 1 || !slices.Equal(e.Producers, []dispatch.Member{{Name: "r"}}) {
				t.Errorf("Shutdown: %v", err)
			}
			expect(t, c.Report(), "closed: far/a canceled")
			time.Sleep(time.Second)
			if s := d.Bus().Snapshot(); s.Topics[0].Producers[0].Abandoned != 1 || logged.count("relay outlived") != 1 {
				t.Errorf("snapshot %+v", s)
			}
			close(release)
			synctest.Wait()
			if s := d.Bus().Snapshot(); s.Topics[0].Producers[0].Abandoned != 0 {
				t.Errorf("snapshot %+v", s)
			}
		})
	})
}

// On real processors: many goroutines use one roster, and what they are told adds
// up.
func TestRosterIsUsedConcurrently(t *testing.T) {
	for range 20 {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
		var mu sync.Mutex
		taken := make(map[string]int)
		count := func(what string, ok bool) {
			if ok {
				mu.Lock()
				defer mu.Unlock()
				taken[what]++
			}
		}
		const goroutines, members = 8, 6
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			var wg sync.WaitGroup
			for range goroutines {
				wg.Go(func() {
					for i := range members {
						m := far(fmt.Sprint(i))
						count("named", to.Name(m))
						count("result", to.Result(m, i))
						count("ended", to.End(m, nil))
					}
				})
			}
			wg.Wait()
			return nil
		})
		values, err := d.Gather(context.Background(), ask, 0)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		want := map[string]int{"named": members, "ended": members, "result": len(values)}
		if diff := cmp.Diff(want, taken, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("what was granted (-want +got):\n%s", diff)
		}
		mu.Unlock()
		if n := d.Bus().Snapshot().Misuse; n != uint64(goroutines*members*3-members*2-len(values)) {
			t.Fatalf("misuse: %d", n)
		}
	}
}

func TestRelaysThatNameNoMembersAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		addRelay(t, d, "r", func(context.Context, int, roster) error { return nil })
		diary := keepDiary(t, d)
		expect(t, ended(t, d), "no producers: ")
		synctest.Wait()
		if diff := cmp.Diff([]string{"done no producers"}, diary.all()); diff != "" {
			t.Errorf("the listener was told (-want +got):\n%s", diff)
		}
	})
}

// A relay is free to return any error.
func TestRelayReturnsErrGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		addRelay(t, d, "r", func(context.Context, int, roster) error { return dispatch.ErrGoexit })
		addRelay(t, d, "s", func(context.Context, int, roster) error { return dispatch.ErrGoexit })
		produce(t, d, "p", slow(time.Second, 1))
		c := send(t, d)
		synctest.Wait()
		began := time.Now()
		if n := len(d.Bus().Snapshot().Calls); n != 1 {
			t.Errorf("%d calls in flight", n)
		}
		if err := d.Shutdown(context.Background()); err != nil || time.Since(began) != time.Second {
			t.Errorf("Shutdown: %v after %v", err, time.Since(began))
		}
		<-c.Done()
	})
}

// A relay that never returns is abandoned like a producer.
func TestAbandonedRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second), dispatch.WithMaxAbandoned(2))
		release := make(chan struct{})
		var asked atomic.Int32
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			asked.Add(1)
			<-release
			return nil
		})
		for range 2 {
			ended(t, d)
			time.Sleep(time.Second)
		}
		if n := len(d.Bus().Snapshot().Abandoned); n != 2 {
			t.Errorf("the snapshot lists %d abandoned runs", n)
		}
		r := ended(t, d)
		if expect(t, r, "all ended: r rejected"); asked.Load() != 2 {
			t.Errorf("asked %d times", asked.Load())
		}
		close(release)
	})
}

// In the grace a relay that stops has not failed.
func TestRelayInGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithGrace(time.Second))
		addRelay(t, d, "r", func(ctx context.Context, _ int, to roster) error {
			to.Name(far("a"))
			<-ctx.Done()
			to.End(far("a"), ctx.Err())
			return ctx.Err()
		})
		expect(t, ended(t, d), "all ended: far/a late")
	})
}

// One outcome per member, whatever the relay calls them.
func TestOneOutcomePerIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			if m := (dispatch.Member{Name: "p"}); to.Name(m) {
				to.End(m, nil)
			}
			if m := (dispatch.Member{Name: "r"}); to.Name(m) {
				to.End(m, nil)
			}
			return errBroken
		})
		produce(t, d, "p", slow(time.Second, 1))
		var names []string
		for _, o := range ended(t, d).Outcomes {
			names = append(names, o.Member.String())
		}
		slices.Sort(names)
		if got := fmt.Sprint(slices.Compact(slices.Clone(names))); got != fmt.Sprint(names) {
			t.Errorf("members %v", names)
		}
	})
}

// A group has the name of the replica that answers, so a relay cannot name a member like that before or after.
func TestRelayCannotNameAReplicaOfThisBus(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", slow(time.Second, 1), dispatch.WithGroup("g"))
		produce(t, d, "b", quick(1), dispatch.WithGroup("g"), dispatch.WithConcurrency(1))
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			for range 2 {
				for _, m := range []dispatch.Member{{Group: "g"}, {Group: "g", Name: "a"}, {Group: "g", Name: "b"}} {
					if to.Name(m) || to.Expect(m) {
						t.Errorf("named %v", m)
					}
				}
				time.Sleep(2 * time.Second)
			}
			if m := (dispatch.Member{Group: "g", Name: "c"}); !to.Name(m) || !to.End(m, nil) {
				t.Error("another member of the group was not named")
			}
			return nil
		})
		expect(t, ended(t, d), "all ended: g/a ok, g/c ok")
		equal(t, "misuse", d.Bus().Snapshot().Misuse, 12)
	})
}

// A required name that only a replaced member had may yet be named, so a quorum waits for the relays.
func TestARequiredNameOutlivesAnExpectedMember(t *testing.T) {
	for name, accept := range map[string]func(roster){
		"Accept":          func(to roster) { to.Accept(star("far")) },
		"Answers":         func(to roster) { to.Answers(star("far"), nil) },
		"another's names": func(to roster) { to.Accept(star("far"), dispatch.Member{Node: "near", Name: "a"}) },
	} {
		bubble(t, name, func(t *testing.T) {
			d, _ := newDispatcher()
			produce(t, d, "p", slow(time.Second, 1))
			addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
				to.Expect(star("far"))
				accept(to)
				to.End(dispatch.Member{Node: "near", Name: "a"}, dispatch.ErrDecline)
				time.Sleep(2 * time.Second)
				if !to.Name(far("b")) {
					t.Error("the call has ended before the required member was named")
				}
				to.End(far("b"), nil)
				return nil
			})
			if r := ended(t, d, dispatch.WithQuorum(1), dispatch.WithRequired("far/*")); r.Elapsed != 2*time.Second || outcomeOf(t, r, "b").State != dispatch.StateOK {
				t.Errorf("after %v: %s", r.Elapsed, told(r))
			}
		})
	}
}

// A roster belongs to its relay: it has no say over the members of another.
func TestRelaysKeepTheirMembersApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			to.Name(far("a"))
			time.Sleep(2 * time.Second)
			to.End(far("a"), nil)
			return nil
		})
		addRelay(t, d, "s", func(_ context.Context, _ int, to roster) error {
			time.Sleep(time.Second)
			if to.Result(far("a"), 1) || to.End(far("a"), errBroken) {
				t.Error("a relay ends the member of another")
			}
			return nil
		})
		expect(t, ended(t, d), "all ended: far/a ok")
	})
}

// No result after the end of its member, however they race.
func TestRosterResultRacesWithEnd(t *testing.T) {
	for range 100 {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			to.Name(far("a"))
			to.Name(far("b"))
			ended := make(chan struct{})
			go func() {
				for to.Result(far("a"), 1) {
				}
				close(ended)
			}()
			to.Result(far("b"), 1)
			to.End(far("a"), nil)
			<-ended
			to.End(far("b"), nil)
			return nil
		})
		diary := keepDiary(t, d)
		c := send(t, d)
		<-c.Done()
		if err := d.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		lines := diary.all()
		if i := slices.Index(lines, "outcome far/a ok"); slices.Contains(lines[i:], "result far/a=1") {
			t.Fatalf("a result came after the end of its member: %q", lines[i:])
		}
	}
}

// Relays take no place under WithParallelism, and give none.
func TestRelaysTakeNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		var most, now atomic.Int32
		for _, name := range []string{"a", "b", "c"} {
			produce(t, d, name, func(context.Context, int) (int, error) {
				most.Store(max(most.Load(), now.Add(1)))
				time.Sleep(time.Second)
				now.Add(-1)
				return 1, nil
			})
		}
		for _, name := range []string{"r", "s"} {
			addRelay(t, d, name, func(ctx context.Context, _ int, _ roster) error { time.Sleep(4 * time.Second); return nil })
		}
		ended(t, d, dispatch.WithParallelism(2))
		if most.Load() != 2 {
			t.Errorf("%d members at once, want 2", most.Load())
		}
	})
}

func TestErrorOfARelayWhoseMethodsPanicIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "b", quick(1))
		if _, err := d.AddRelay(ask, func(_ context.Context, _ int, to *dispatch.Roster[int]) error {
			to.Name(dispatch.Member{Name: "m", Node: "far"})
			to.End(dispatch.Member{Name: "m", Node: "far"}, (*nilError)(nil))
			return (*nilError)(nil)
		}, dispatch.WithName("r")); err != nil {
			t.Fatal(err)
		}
		expect(t, ended(t, d), "all ended: b ok, far/m failed, r failed")
	})
}

// The drain of a relay waits for the relay and not for others in the same call.
func TestDrainOfARelayThatIsLateEndsWhenItReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		release, back := make(chan struct{}), make(chan struct{})
		produce(t, d, "deaf", deaf(release, 1))
		r, err := d.AddRelay(ask, func(context.Context, int, *dispatch.Roster[int]) error {
			<-back
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		<-send(t, d, dispatch.WithTimeout(time.Second)).Done()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		drained := make(chan error, 1)
		go func() { drained <- r.Drain(ctx) }()
		synctest.Wait()
		close(back)
		if err := <-drained; err != nil {
			t.Errorf("Drain: %v", err)
		}
		close(release)
	})
}

// star stands for all members of a node.
func star(node string) dispatch.Member { return dispatch.Member{Node: node, Name: "*"} }

// An expected member is owed an outcome from the beginning, whatever ends the call.
func TestExpectedMembersAreNamedByWhateverEndsTheCall(t *testing.T) {
	for name, test := range map[string]struct {
		opts []dispatch.CallOption
		end  func(to roster) // after a second
		want string
		err  error
	}{
		"deadline":     {nil, nil, "deadline: a ok, far/* late", context.DeadlineExceeded},
		"quorum":       {opts(dispatch.WithQuorum(1)), nil, "satisfied: a ok, far/* canceled", dispatch.ErrSatisfied},
		"stall":        {opts(dispatch.WithStall(time.Second)), nil, "stalled: a ok, far/* canceled", dispatch.ErrStalled},
		"gone":         {nil, func(to roster) { to.End(star("far"), dispatch.ErrGone) }, "all ended: a ok, far/* gone", dispatch.ErrGone},
		"unreachable":  {nil, func(to roster) { to.End(star("far"), dispatch.ErrUnreachable) }, "all ended: a ok, far/* failed", dispatch.ErrUnreachable},
		"relay is out": {nil, func(roster) {}, "all ended: a ok, far/* failed", dispatch.ErrLost},
		"nobody meant": {nil, func(to roster) { to.Accept(star("far")) }, "all ended: a ok", nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, logged := newDispatcher()
				produce(t, d, "a", slow(time.Second/2, 1))
				addRelay(t, d, "r", func(ctx context.Context, _ int, to roster) error {
					if !to.Expect(star("far")) {
						t.Error("refused to expect a member")
					}
					if test.end == nil {
						<-ctx.Done()
						return nil
					}
					time.Sleep(time.Second)
					test.end(to)
					return nil
				})
				c := send(t, d, test.opts...)
				synctest.Wait()
				if test.end != nil || test.opts == nil {
					expect(t, c.Report(), "pending: a pending, far/* pending")
				}
				r := ended(t, d, test.opts...)
				expect(t, r, test.want)
				for _, o := range r.Outcomes {
					if o.Member == star("far") && (o.Started || o.Tried != 0 || o.Results != 0 || !errors.Is(o.Err, test.err)) {
						t.Errorf("outcome %+v", o)
					}
				}
				time.Sleep(5 * time.Second)
				logged.nothing(t)
				if n := d.Bus().Snapshot().Misuse; n != 0 {
					t.Errorf("misuse: %d", n)
				}
			})
		})
	}
}

// Those who accept take the place of the expected member: for readers and listeners it has
// never been there.
func TestMembersTakeThePlaceOfAnExpectedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		addRelay(t, d, "r", func(ctx context.Context, _ int, to roster) error {
			to.Expect(star("far"))
			to.Expect(star("near"))
			to.Expect(dispatch.Member{Node: "*", Group: "g"})
			time.Sleep(time.Second)
			if !to.Accept(star("far"), far("a"), far("b")) || !to.Accept(star("near")) {
				t.Error("refused to accept")
			}
			// That some are still missing may turn out later.
			if !to.Name(star("near")) || !to.End(star("near"), errBroken) {
				t.Error("refused to name what was replaced")
			}
			to.Accept(dispatch.Member{Node: "*", Group: "g"})
			to.Result(far("a"), 1)
			to.End(far("a"), nil)
			to.End(far("b"), errBroken)
			return nil
		})
		diary := keepDiary(t, d)
		c := send(t, d, dispatch.WithTargets("a", "g"))
		var outcomes []string
		for o := range c.Outcomes() {
			outcomes = append(outcomes, fmt.Sprint(o.Member, " ", o.State))
		}
		// A target that nobody has is missed: what was expected does not count as one.
		if diff := cmp.Diff([]string{"near/* failed", "far/a ok", "far/b failed", "g gone"}, outcomes); diff != "" {
			t.Errorf("Outcomes (-want +got):\n%s", diff)
		}
		expect(t, c.Report(), "all ended: far/a ok, far/b failed, near/* failed, g gone")
		synctest.Wait()
		if diary.count("outcome") != 4 {
			t.Errorf("listener was told %q", diary.all())
		}
		if n := d.Bus().Snapshot().Misuse; n != 0 {
			t.Errorf("misuse: %d", n)
		}
	})
}

func TestMisuseOfExpectedMembersChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		var kept roster
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			kept = to
			to.Expect(star("far"))
			to.Name(far("a"))
			for what, done := range map[string]bool{
				"expect it twice":            to.Expect(star("far")),
				"expect one that was named":  to.Expect(far("a")),
				"expect nobody":              to.Expect(dispatch.Member{Node: "far"}),
				"name an expected one":       to.Name(star("far")),
				"a result of it":             to.Result(star("far"), 1),
				"accept one that was named":  to.Accept(far("a"), far("b")),
				"accept one of no name":      to.Accept(star("near"), far("b")),
				"answers: a value of it":     to.Answers(dispatch.Member{}, []answer{{From: star("far"), HasValue: true}}) > 0,
				"answers: the zero member":   to.Answers(dispatch.Member{}, []answer{{Ended: true}}) > 0,
				"answers: nobody's place":    to.Answers(star("near"), nil) > 0,
				"answers: one that is local": to.Answers(dispatch.Member{}, []answer{{From: dispatch.Member{Name: "p"}, Ended: true}}) > 0,
			} {
				if done {
					t.Errorf("the roster let the relay %s", what)
				}
			}
			to.Accept(star("far"), far("a"), far("c")) // a is misuse, c is not
			for what, done := range map[string]bool{
				"accept it twice":       to.Accept(star("far")),
				"end it when it is out": to.End(star("far"), nil),
				"answers: an end of c, twice": to.Answers(dispatch.Member{}, []answer{
					{From: far("c"), Ended: true}, {From: far("c"), Ended: true},
				}) != 1,
			} {
				if done {
					t.Errorf("the roster let the relay %s", what)
				}
			}
			to.End(far("a"), nil)
			return nil
		})
		produce(t, d, "p", slow(time.Second, 1))
		c := send(t, d)
		synctest.Wait()
		if kept.Expect(far("z")) || kept.Accept(far("a")) || kept.Answers(dispatch.Member{}, []answer{{From: far("z")}, {From: far("a"), Ended: true}}) != 0 {
			t.Error("a roster changed something after its relay had returned")
		}
		<-c.Done()
		expect(t, c.Report(), "all ended: p ok, far/a ok, far/c ok")
		if n := d.Bus().Snapshot().Misuse; n != 19 {
			t.Errorf("misuse: %d", n)
		}
		if kept.Expect(far("z")) || kept.Accept(far("a")) || kept.Answers(star("far"), []answer{{From: far("z")}}) != 0 {
			t.Error("a roster changed something after the end of the call")
		}
		if n := d.Bus().Snapshot().Misuse; n != 19 {
			t.Errorf("the end of a call is no misuse, yet there are %d", n)
		}
	})
}

type answer = dispatch.Answer[int]

// A batch does what the same answers would do one by one.
func TestAnswersOfABatch(t *testing.T) {
	errs := []error{errBroken, dispatch.ErrDecline, dispatch.ErrGone, dispatch.ErrOverloaded, &dispatch.PanicError{Value: 1}}
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			to.Expect(star("far"))
			time.Sleep(time.Second)
			batch := []answer{
				{From: far("a"), Value: 1, HasValue: true, Ended: true},
				{From: far("b"), Value: 2, HasValue: true},
				{From: far("c")},
				{From: far("b"), Value: 3, HasValue: true},
				{From: far("b"), Value: 4, HasValue: true, Ended: true, Err: errBroken},
			}
			for i, err := range errs {
				batch = append(batch, answer{From: far(fmt.Sprint("e", i)), Ended: true, Err: err})
			}
			if n := to.Answers(star("far"), batch); n != len(batch) {
				t.Errorf("%d of %d answers were taken", n, len(batch))
			}
			clear(batch) // is ours again
			time.Sleep(time.Second)
			to.Answers(dispatch.Member{}, []answer{{From: far("c"), Value: 5, HasValue: true}, {From: far("c"), Ended: true}})
			return nil
		})
		diary := keepDiary(t, d)
		c := send(t, d)
		<-c.Done()
		r := c.Report()
		expect(t, r, "all ended: far/a ok, far/b failed, far/c ok, far/e0 failed, far/e1 declined, far/e2 gone, far/e3 rejected, far/e4 panicked")
		var results, want []string
		for r := range c.Results() {
			results = append(results, fmt.Sprintf("%d %v=%d at %v", r.Seq, r.From, r.Value, r.Elapsed))
		}
		want = []string{"0 far/a=1 at 1s", "1 far/b=2 at 1s", "2 far/b=3 at 1s", "3 far/b=4 at 1s", "4 far/c=5 at 2s"}
		if diff := cmp.Diff(want, results); diff != "" {
			t.Errorf("results (-want +got):\n%s", diff)
		}
		for i, o := range r.Outcomes {
			if wantResults := []int{1, 3, 1, 0, 0, 0, 0, 0}[i]; o.Results != wantResults || !o.Started || o.Began != time.Second {
				t.Errorf("outcome %+v", o)
			}
			if i > 2 && !errors.Is(o.Err, errs[i-3]) {
				t.Errorf("outcome %+v", o)
			}
		}
		synctest.Wait()
		if diary.count("result") != 5 || diary.count("outcome") != 8 || diary.count("done") != 1 {
			t.Errorf("listener was told %q", diary.all())
		}
		if values, _ := d.Gather(context.Background(), ask, 0); !slices.Equal(values, []int{1, 2, 3, 4, 5}) {
			t.Errorf("Gather: %v", values)
		}
		if n := d.Bus().Snapshot().Misuse; n != 0 {
			t.Errorf("misuse: %d", n)
		}
	})
}

// All of a batch are members of the call, also if one of the answers ends it. What comes
// behind that one is late.
func TestABatchThatEndsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			to.Expect(star("far"))
			time.Sleep(time.Second)
			batch := []answer{
				{From: far("a"), Value: 1, HasValue: true, Ended: true},
				{From: far("b"), Value: 2, HasValue: true, Ended: true},
				{From: far("c"), Value: 3, HasValue: true, Ended: true},
				{From: far("d"), Ended: true, Err: errBroken},
			}
			if n := to.Answers(star("far"), batch); n != 2 {
				t.Errorf("%d answers were taken", n)
			}
			return nil
		})
		var late notes
		d.OnLate(func(r result, by time.Duration) { late.add("%v=%d by %v", r.From, r.Value, by) })
		expect(t, ended(t, d, dispatch.WithQuorum(2)), "satisfied: far/a ok, far/b ok, far/c canceled, far/d canceled")
		synctest.Wait()
		if diff := cmp.Diff([]string{"far/c=3 by 0s"}, late.all()); diff != "" {
			t.Errorf("OnLate (-want +got):\n%s", diff)
		}
	})
}

// An answer that is taken together with the end of its member ends First with that
// member OK.
func TestFirstIsSatisfiedByAnAnswerOfABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			to.Expect(star("far"))
			to.Answers(star("far"), []answer{{From: far("a"), Value: 7, HasValue: true, Ended: true}})
			return nil
		})
		if v, err := d.First(context.Background(), ask, 0); v != 7 || err != nil {
			t.Errorf("First: %v, %v", v, err)
		}
	})
}

// A relay that returns ErrTimeout while the time of the producers is not over is listed, as with
// any other error. Otherwise the report is complete although a relay has failed.
func TestRelayThatReturnsErrTimeoutIsListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		addRelay(t, d, "r", func(context.Context, int, roster) error { return fmt.Errorf("connect: %w", dispatch.ErrTimeout) })
		r := ended(t, d)
		if !slices.ContainsFunc(r.Outcomes, func(o dispatch.Outcome) bool { return o.Member.Name == "r" }) || r.Err() == nil {
			t.Errorf("the relay has failed, and the call ended as %q with %v", told(r), r.Err())
		}
	})
}

// exitingError is an error whose Unwrap ends the goroutine, as FailNow of a test does.
type exitingError struct{}

func (exitingError) Error() string { return "exiting" }
func (exitingError) Unwrap() error { runtime.Goexit(); return nil }

// Such an error costs a producer its member. It must not cost more if a relay returns it.
func TestErrorOfARelayThatCallsGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		produce(t, d, "a", failing(exitingError{}))
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			to.Name(far("x"))
			return exitingError{}
		})
		expect(t, ended(t, d), "all ended: a failed, far/x failed, r failed")
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		if err := d.Shutdown(ctx); err != nil {
			t.Errorf("the relay has returned: %v", err)
		}
	})
}

// A relay that has not returned by the end of the call has not named these members either.
func TestANameThatIsNotNamedInTimeIsInTheReport(t *testing.T) {
	for name, policy := range map[string][]dispatch.CallOption{
		"targets":                   {dispatch.WithTargets("a", "far/x")},
		"required":                  {dispatch.WithRequired("far/x")},
		"required beside a quorum":  {dispatch.WithQuorum(1), dispatch.WithRequired("far/x")},
		"required beside a target":  {dispatch.WithTargets("a"), dispatch.WithRequired("far/x")},
		"targets beside a majority": {dispatch.WithTargets("a", "far/x"), dispatch.WithMajority()},
	} {
		bubble(t, name, func(t *testing.T) {
			d, _ := newDispatcher()
			produce(t, d, "a", quick(1))
			addRelay(t, d, "r", func(ctx context.Context, _ int, _ roster) error { <-ctx.Done(); return nil })
			r := ended(t, d, policy...)
			if missing := r.Missing(); len(missing) != 1 || missing[0].Member.Name != "far/x" || r.Err() == nil {
				t.Errorf("%s; %v are missing, and the error is %v, want far/x", told(r), missing, r.Err())
			}
		})
	}
}

// An expected member is a member, and far/* stands for it.
func TestARequiredNameStandsForAnExpectedMember(t *testing.T) {
	for name, option := range map[string]dispatch.CallOption{
		"quorum": dispatch.WithQuorum(1), "quorum of two": dispatch.WithQuorum(2),
	} {
		bubble(t, name, func(t *testing.T) {
			d, _ := newDispatcher()
			addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
				to.Expect(star("far"))
				to.Answers(star("far"), []dispatch.Answer[int]{{From: far("a")}, {From: far("b")}})
				to.Expect(star("far")) // the node has more members than fit into a message
				for _, n := range []string{"a", "b"} {
					to.Answers(dispatch.Member{}, []dispatch.Answer[int]{{From: far(n), HasValue: true, Ended: true}})
				}
				time.Sleep(time.Second)
				to.Answers(star("far"), []dispatch.Answer[int]{{From: far("c"), HasValue: true, Ended: true}})
				return nil
			})
			r := ended(t, d, option, dispatch.WithRequired("far/*"))
			expect(t, r, "satisfied: far/a ok, far/b ok, far/c ok")
		})
	}
	bubble(t, "that ends", func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		addRelay(t, d, "r", func(ctx context.Context, _ int, to roster) error {
			to.Expect(star("far"))
			to.End(star("far"), dispatch.ErrUnreachable)
			<-ctx.Done()
			return nil
		})
		expect(t, ended(t, d, dispatch.WithQuorum(1), dispatch.WithRequired("far/*")), "satisfied: a ok, far/* failed")
	})
}
