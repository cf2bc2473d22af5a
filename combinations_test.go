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

// However policies are combined: one outcome each, every value is a result or late, nothing is left.
func TestCombinations(t *testing.T) {
	for seed := range 300 {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { combine(t, uint64(seed)) }) })
		if !ok {
			t.Fatal("stop")
		}
	}
}

func combine(t *testing.T, seed uint64) {
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
