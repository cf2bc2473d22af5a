package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

type zzKey struct{}

// What the hook of a group has put into the context reaches a replica that has waited for a slot.
func TestZZGroupHookValuesWithConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
			MemberStart: func(ctx context.Context, m dispatch.MemberInfo) context.Context {
				if m.Replica {
					return ctx
				}
				return context.WithValue(ctx, zzKey{}, "group")
			},
		}))
		for _, opts := range [][]dispatch.ProducerOption{{}, {dispatch.WithConcurrency(1)}, {dispatch.WithConcurrency(1), dispatch.WithTimeout(time.Second)}, {dispatch.WithTimeout(time.Second)}} {
			var got any
			p := func(ctx context.Context, _ int) (int, error) { got = ctx.Value(zzKey{}); return 1, nil }
			a := produce(t, d, "a", p, append(opts, dispatch.WithGroup("g"))...)
			b := produce(t, d, "b", p, append(opts, dispatch.WithGroup("g"))...)
			ended(t, d)
			if got != "group" {
				t.Errorf("%v: value is %v", opts, got)
			}
			a.Remove()
			b.Remove()
		}
	})
}

// A closure is not called when the time of its run is over before the start hooks have returned.
func TestZZClosureAfterTimeoutInHook(t *testing.T) {
	for _, group := range []int{0, 1, 2} {
		t.Run(fmt.Sprint(group), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{
					MemberStart: func(ctx context.Context, m dispatch.MemberInfo) context.Context {
						if m.Member.Name == "a" {
							time.Sleep(2 * time.Second)
						}
						return ctx
					},
				}))
				called := false
				opts := []dispatch.ProducerOption{dispatch.WithTimeout(time.Second)}
				if group > 0 {
					opts = append(opts, dispatch.WithGroup("g"))
				}
				produce(t, d, "a", func(context.Context, int) (int, error) { called = true; return 1, nil }, opts...)
				if group == 2 {
					produce(t, d, "b", slow(3*time.Second, 2), dispatch.WithGroup("g"))
				}
				produce(t, d, "c", slow(4*time.Second, 2))
				r := ended(t, d)
				t.Log(told(r))
				time.Sleep(10 * time.Second)
				if called {
					t.Errorf("group %d: the closure was called after its member was late", group)
				}
			})
		})
	}
}

// With OnDone a slow listener holds back senders, too.
func TestZZHooksKeepTheBound(t *testing.T) {
	for _, hook := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher(dispatch.WithMaxInFlight(4), dispatch.WithSlowListener(time.Hour))
			var opts []dispatch.ListenerOption
			if hook {
				opts = append(opts, dispatch.OnDone(func(dispatch.Report) {}))
			}
			produce(t, d, "a", quick(1))
			l := listen(t, d, func(context.Context, result) { time.Sleep(time.Second) }, opts...)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			sent := 0
			for {
				if _, err := d.Send(ctx, ask, 0); err != nil {
					break
				}
				if sent++; ctx.Err() != nil {
					break
				}
			}
			t.Logf("hook %v: %d sent in 20 s", hook, sent)
			if sent > 30 {
				t.Errorf("hook %v: a listener that takes 1 s for each has let %d calls in", hook, sent)
			}
			l.Remove()
			time.Sleep(time.Hour)
		})
	}
}

// A listener may send with its context, also when the result was retained.
func TestZZRetainedListenerSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithMaxInFlight(1), dispatch.WithSlowListener(time.Hour))
		produce(t, d, "a", quick(1))
		if _, err := d.AddProducer(other, quick(2)); err != nil {
			t.Fatal(err)
		}
		c, err := d.Send(t.Context(), retaining, 1)
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		synctest.Wait()
		begin := make(chan struct{})
		returned := false
		l := listen(t, d, func(ctx context.Context, r result) {
			if r.Retained {
				<-begin
				ctx, cancel := context.WithTimeout(ctx, time.Minute)
				defer cancel()
				_, err := d.Gather(ctx, other, 0)
				t.Log("gathered:", err)
				returned = err == nil
			}
		}, dispatch.WithRetained())
		send(t, d) // its result waits for the listener, and keeps the place
		synctest.Wait()
		close(begin)
		time.Sleep(2 * time.Minute)
		if !returned {
			t.Error("the callback with a retained result could not send with its context")
		}
		l.Remove()
	})
}

// Callbacks that overlap do not keep a place when the last result has been come to.
func TestZZOverlappingCallbacksAndPlaces(t *testing.T) {
	bad := 0
	for range 300 {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher(dispatch.WithMaxInFlight(1), dispatch.WithSlowListener(time.Hour))
			release := make(chan struct{})
			end := make(chan struct{})
			for _, n := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
				produce(t, d, n, quick(1))
			}
			produce(t, d, "z", func(context.Context, int) (int, error) { <-end; return 0, dispatch.ErrDecline })
			l := listen(t, d, func(context.Context, result) { <-release }, dispatch.WithConcurrency(16))
			c := send(t, d)
			synctest.Wait()
			close(end)
			<-c.Done()
			synctest.Wait()
			if c, err := d.Send(t.Context(), ask, 0, dispatch.WithNoWait()); err != nil {
				bad++
			} else {
				c.Cancel(nil)
			}
			close(release)
			synctest.Wait()
			l.Remove()
		})
	}
	if bad > 0 {
		t.Errorf("in %d of 300 rounds the place was kept after all callbacks had begun", bad)
	}
}

// A sender that waits is logged, also if the timer of the one before came just too late.
func TestZZSendersLoggedAfterATie(t *testing.T) {
	missed := 0
	for range 300 {
		synctest.Test(t, func(t *testing.T) {
			d, j := newDispatcher(dispatch.WithMaxInFlight(1), dispatch.WithSlowListener(time.Second))
			_ = j
			produce(t, d, "a", slow(time.Second, 1))
			send(t, d)
			send(t, d) // waits for 1 s, as long as it takes to be logged
			synctest.Wait()
			first := j.count("senders wait")
			time.Sleep(time.Second)
			synctest.Wait()
			b := produce(t, d, "b", slow(3*time.Second, 1))
			send(t, d)
			send(t, d) // waits for 3 s
			synctest.Wait()
			if j.count("senders wait") == first {
				missed++
			}
			b.Remove()
			time.Sleep(time.Hour)
		})
	}
	if missed > 0 {
		t.Errorf("in %d of 300 rounds a sender that waited for 3 s was not logged", missed)
	}
}

// Whatever is combined: one outcome each, every value is a result or late, nothing is left.
func TestZZCombinations(t *testing.T) {
	for seed := range 1500 {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { zzCombine(t, uint64(seed)) }) })
		if !ok {
			t.Fatal("stop")
		}
	}
}

func zzCombine(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	one := func(n int) bool { return rnd.IntN(n) == 0 }
	ms := func(n int) time.Duration { return time.Duration(1+rnd.IntN(n)) * 100 * time.Millisecond }
	bus := []dispatch.BusOption{dispatch.WithSlowListener(100 * time.Hour), dispatch.WithMaxInFlight(1 + rnd.IntN(3))}
	if one(3) {
		bus = append(bus, dispatch.WithObserver(dispatch.Observer{
			MemberStart: func(ctx context.Context, _ dispatch.MemberInfo) context.Context { return ctx },
			CallEnd:     func(_ context.Context, r dispatch.Report) { _ = r.String(); _ = r.LogValue(); _ = r.Err() },
			Late:        func(context.Context, dispatch.MemberInfo, time.Duration, error) {},
			Dropped:     func(context.Context, dispatch.ListenerInfo) {},
		}))
	}
	d, _ := newDispatcher(bus...)
	var made, late atomic.Int64
	d.OnLate(func(r result, by time.Duration) {
		late.Add(1)
		if by < 0 {
			t.Errorf("late by %v", by)
		}
	})
	var names []string
	var regs []*dispatch.Registration
	for i := range 1 + rnd.IntN(6) {
		name := fmt.Sprint("p", i)
		names = append(names, name)
		takes, isDeaf, fails := ms(20), one(3), one(4)
		if one(6) {
			takes = 0
		}
		work := func(ctx context.Context) error {
			if isDeaf {
				time.Sleep(takes)
				return nil
			}
			select {
			case <-time.After(takes):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		var opts []dispatch.ProducerOption
		if one(2) {
			opts = append(opts, dispatch.WithTimeout(ms(12)))
		}
		if one(3) {
			opts = append(opts, dispatch.WithConcurrency(1))
		}
		if one(4) {
			n := 1 + rnd.IntN(4)
			opts = append(opts, dispatch.WithName(name))
			r, err := d.AddStreamProducer(ask, func(ctx context.Context, _ int) iter.Seq2[int, error] {
				return func(yield func(int, error) bool) {
					for range n {
						if err := work(ctx); err != nil {
							yield(0, err)
							return
						}
						made.Add(1)
						if !yield(1, nil) {
							return
						}
					}
				}
			}, opts...)
			if err != nil {
				t.Fatal(err)
			}
			regs = append(regs, r)
			continue
		}
		if one(2) {
			opts = append(opts, dispatch.WithGroup(fmt.Sprint("g", rnd.IntN(2))))
		}
		regs = append(regs, produce(t, d, name, func(ctx context.Context, _ int) (int, error) {
			if err := work(ctx); err != nil {
				return 0, err
			}
			if fails {
				return 0, errors.New("no")
			}
			made.Add(1)
			return 1, nil
		}, opts...))
	}
	if one(3) {
		pause, quit := ms(5), one(2)
		r, err := d.AddRelay(ask, func(ctx context.Context, _ int, to *dispatch.Roster[int]) error {
			e := dispatch.Member{Node: "n", Name: "*"}
			to.Expect(e)
			time.Sleep(pause)
			a, b := dispatch.Member{Node: "n", Name: "a"}, dispatch.Member{Node: "n", Group: "g", Name: "b"}
			to.Accept(e, a, b)
			time.Sleep(pause)
			made.Add(1)
			to.Result(a, 1)
			to.End(a, nil)
			if quit {
				return nil
			}
			time.Sleep(pause)
			to.End(b, dispatch.ErrDecline)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		regs = append(regs, r)
		names = append(names, "n/a", "n/*", "n/g/b", "g0", "nobody")
	}
	topic := dispatch.NewTopic[int, int]("kit.ask", dispatch.WithRetain(1+rnd.IntN(3)))
	results := map[dispatch.CallID]int{}
	var mu sync.Mutex
	full := listen(t, d, func(_ context.Context, r result) {
		mu.Lock()
		results[r.Call.ID()]++
		mu.Unlock()
		if one := r.Seq; one < 0 {
			t.Error("late")
		}
	})
	_ = full
	var dones atomic.Int64
	listen(t, d, func(_ context.Context, r result) { time.Sleep(50 * time.Millisecond) },
		dispatch.WithMailbox(1+rnd.IntN(3), dispatch.Overflow(rnd.IntN(2))), dispatch.WithConcurrency(1+rnd.IntN(2)))
	if one(2) {
		listen(t, d, func(_ context.Context, r result) { time.Sleep(70 * time.Millisecond) }, dispatch.OnDone(func(dispatch.Report) { dones.Add(1) }),
			dispatch.WithMailbox(1, dispatch.Overflow(rnd.IntN(2))))
	}
	pick := func() []string {
		var some []string
		for range 1 + rnd.IntN(3) {
			some = append(some, names[rnd.IntN(len(names))])
		}
		return some
	}
	total := 0
	defer func() {
		if made.Load() != late.Load() {
			t.Errorf("seed %d: %d values are neither results nor late", seed, made.Load()-late.Load())
		}
	}()
	for k := range 1 + rnd.IntN(4) {
		var opts []dispatch.CallOption
		timeout := ms(30)
		opts = append(opts, dispatch.WithTimeout(timeout))
		var said []string
		add := func(n int, o dispatch.CallOption) {
			if one(n) {
				opts = append(opts, o)
				said = append(said, fmt.Sprintf("%#v", o))
			}
		}
		if timeout > 200*time.Millisecond {
			add(3, dispatch.WithGrace(100*time.Millisecond))
		}
		add(3, dispatch.WithHedge(ms(5)))
		add(3, dispatch.WithHedgeQuantile(0.5))
		add(5, dispatch.WithMajority())
		add(6, dispatch.WithQuorum(1+rnd.IntN(3)))
		add(4, dispatch.WithRequired(pick()...))
		add(4, dispatch.WithTargets(pick()...))
		add(5, dispatch.WithParallelism(1+rnd.IntN(2)))
		add(5, dispatch.WithStagger(ms(4)))
		add(6, dispatch.WithStall(ms(8)))
		add(8, dispatch.WithFailFast())
		if one(4) {
			r, err := d.AddListener(ask, func(_ context.Context, r result) {}, dispatch.WithRetained(), dispatch.WithMailbox(1, dispatch.DropOldest))
			if err != nil {
				t.Fatal(err)
			}
			if one(2) {
				defer r.Remove()
			} else {
				r.Remove()
			}
		}
		c, err := d.Send(t.Context(), topic, k, opts...)
		if err != nil {
			t.Fatal(err)
		}
		if one(5) {
			go func(i int) {
				if i%2 == 0 {
					regs[i].Remove()
				} else {
					_ = regs[i].Drain(t.Context())
				}
			}(rnd.IntN(len(regs)))
		}
		if one(6) {
			time.Sleep(ms(5))
			c.Cancel(nil)
		}
		if one(2) {
			<-c.Done()
		}
		total++
		defer func() {
			r := c.Report()
			sum := 0
			seen := map[string]bool{}
			for _, o := range r.Outcomes {
				sum += o.Results
				switch {
				case o.State == dispatch.StatePending,
					(o.Err == nil) != (o.State == dispatch.StateOK),
					o.Started != (o.Tried > 0), o.Elapsed > r.Elapsed, o.Began > o.Elapsed:
					t.Errorf("seed %d call %d %v: outcome %+v in\n%v", seed, k, said, o, r)
				}
				if seen[o.Member.String()] {
					t.Errorf("seed %d: twice %v in\n%v", seed, o.Member, r)
				}
				seen[o.Member.String()] = true
			}
			n := 0
			for range c.Results() {
				n++
			}
			if n != sum || n != results[c.ID()] {
				t.Errorf("seed %d call %d %v: %d results, %d in outcomes, %d heard in\n%v", seed, k, said, n, sum, results[c.ID()], r)
			}
			if r.Elapsed > timeout {
				t.Errorf("seed %d: took %v of %v", seed, r.Elapsed, timeout)
			}
			total += 0
			made.Add(int64(-n))
			if (len(r.Missing()) == 0) != (r.Complete() || len(r.Outcomes) == 0) {
				t.Errorf("seed %d: missing in\n%v", seed, r)
			}
		}()
	}
	time.Sleep(5 * time.Minute)
	synctest.Wait()
	s := d.Bus().Snapshot()
	if len(s.Calls) != 0 || s.SendersWaiting != 0 {
		t.Errorf("seed %d: left: %+v", seed, s)
	}
	for range s.MaxInFlight {
		c, err := d.Send(t.Context(), other, 0, dispatch.WithNoWait(), dispatch.WithMinProducers(1), dispatch.WithTimeout(time.Minute))
		if err != nil {
			t.Errorf("seed %d: a place is kept: %v", seed, err)
			break
		}
		defer c.Cancel(nil)
	}
	if err := d.Shutdown(t.Context()); err != nil && true {
		t.Errorf("seed %d: %v", seed, err)
	}
}
