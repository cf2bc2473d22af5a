package dispatch_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// Whatever is added, removed, drained, sent and canceled at the same time, all comes to rest.
func TestEverythingAtOnceComesToRest(t *testing.T) {
	for round := range 6 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			var hooksSeen atomic.Int64
			d := dispatch.New[int, int](dispatch.WithLogger(quietLogger), dispatch.WithMaxInFlight(8), dispatch.WithMaxAbandoned(3),
				dispatch.WithTimeout(20*time.Millisecond))
			type agg struct{ done, results, outcomes, late atomic.Int64 }
			var a agg
			reg := func() *dispatch.Registration {
				opts := []dispatch.ProducerOption{}
				if rand.IntN(3) == 0 {
					opts = append(opts, dispatch.WithGroup(fmt.Sprint("g", rand.IntN(2))))
				}
				if rand.IntN(4) == 0 {
					opts = append(opts, dispatch.WithConcurrency(1+rand.IntN(2)))
					if rand.IntN(2) == 0 {
						opts = append(opts, dispatch.WithMaxQueue(1))
					}
				}
				r, err := d.AddProducer(ask, func(ctx context.Context, v int) (int, error) {
					switch rand.IntN(12) {
					case 0:
						runtime.Goexit()
					case 1:
						panic("x")
					case 2:
						return 0, dispatch.ErrDecline
					case 3:
						time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
					case 4:
						<-ctx.Done()
						return 0, context.Cause(ctx)
					case 5:
						c, err := d.Send(ctx, ask, v)
						if err == nil && rand.IntN(2) == 0 {
							_ = c.Wait(ctx)
						}
					case 6:
						go func() { time.Sleep(time.Millisecond); _ = ctx.Err(); ctx.Value(1); <-ctx.Done() }()
					case 7:
						time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
					}
					return v, nil
				}, opts...)
				if err != nil {
					return nil
				}
				return r
			}
			stream := func() *dispatch.Registration {
				r, err := d.AddStreamProducer(ask, func(ctx context.Context, v int) iter.Seq2[int, error] {
					return func(yield func(int, error) bool) {
						for i := range rand.IntN(200) {
							if rand.IntN(100) == 0 {
								runtime.Gosched()
							}
							if !yield(i, nil) {
								return
							}
						}
					}
				})
				if err != nil {
					return nil
				}
				return r
			}
			relay := func() *dispatch.Registration {
				r, err := d.AddRelay(ask, func(ctx context.Context, v int, to *dispatch.Roster[int]) error {
					var wg sync.WaitGroup
					for i := range rand.IntN(4) {
						m := dispatch.Member{Node: "n", Name: fmt.Sprint(i)}
						to.Name(m)
						wg.Go(func() {
							for range rand.IntN(5) {
								to.Result(m, 1)
							}
							if rand.IntN(3) > 0 {
								to.End(m, nil)
							}
						})
					}
					if rand.IntN(2) == 0 {
						wg.Wait()
					}
					if rand.IntN(10) == 0 {
						runtime.Goexit()
					}
					return nil
				})
				if err != nil {
					return nil
				}
				return r
			}
			listener := func() *dispatch.Registration {
				opts := []dispatch.ListenerOption{dispatch.OnDone(func(dispatch.Report) { a.done.Add(1) })}
				switch rand.IntN(4) {
				case 0:
					opts = append(opts, dispatch.WithMailbox(1+rand.IntN(5), dispatch.Overflow(rand.IntN(2))))
				case 1:
					opts = append(opts, dispatch.WithConcurrency(1+rand.IntN(4)))
				case 2:
					opts = append(opts, dispatch.WithConcurrency(1+rand.IntN(4)), dispatch.WithMailbox(1+rand.IntN(5), dispatch.Overflow(rand.IntN(2))))
				}
				if rand.IntN(2) == 0 {
					opts = append(opts, dispatch.OnOutcome(func(dispatch.Outcome) {
						if rand.IntN(50) == 0 {
							runtime.Goexit()
						}
						a.outcomes.Add(1)
					}))
				}
				r, err := d.AddListener(ask, func(ctx context.Context, r result) {
					a.results.Add(1)
					switch rand.IntN(200) {
					case 0:
						runtime.Goexit()
					case 1:
						panic("l")
					case 2:
						time.Sleep(time.Millisecond)
					case 3:
						if rand.IntN(4) == 0 {
							_, _ = d.Send(ctx, ask, 0)
						}
					}
				}, opts...)
				if err != nil {
					return nil
				}
				return r
			}
			late := d.OnLate(func(result, time.Duration) { a.late.Add(1) })
			_ = late
			var wg sync.WaitGroup
			stop := make(chan struct{})
			for range 3 {
				wg.Go(func() { // churn
					var regs []*dispatch.Registration
					for {
						select {
						case <-stop:
							return
						default:
						}
						var r *dispatch.Registration
						switch rand.IntN(6) {
						case 0, 1:
							r = reg()
						case 2:
							r = stream()
						case 3:
							r = relay()
						case 4:
							r = listener()
						case 5:
							r, _ = d.Bus().Observe(dispatch.Observer{
								Late:        func(context.Context, dispatch.MemberInfo, time.Duration, error) { hooksSeen.Add(1) },
								MemberEnd:   func(context.Context, dispatch.MemberInfo, dispatch.Outcome) { hooksSeen.Add(1) },
								MemberStart: func(ctx context.Context, _ dispatch.MemberInfo) context.Context { return ctx },
								Dropped:     func(context.Context, dispatch.ListenerInfo) { hooksSeen.Add(1) },
								CallEnd:     func(context.Context, dispatch.Report) { hooksSeen.Add(1) },
								ListenerEnd: func(context.Context, dispatch.ListenerInfo, time.Duration, bool) { hooksSeen.Add(1) },
							})
						}
						if r != nil {
							regs = append(regs, r)
						}
						if len(regs) > 4 {
							i := rand.IntN(len(regs))
							x := regs[i]
							regs[i] = regs[len(regs)-1]
							regs = regs[:len(regs)-1]
							switch rand.IntN(3) {
							case 0:
								x.Remove()
							case 1:
								ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
								if err := x.Drain(ctx); err != nil {
									t.Errorf("Drain %s: %v", x.Name(), err)
								}
								cancel()
							case 2:
								go x.Remove()
								ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
								if err := x.Drain(ctx); err != nil {
									t.Errorf("Drain2 %s: %v", x.Name(), err)
								}
								cancel()
							}
						}
						if rand.IntN(10) == 0 {
							d.Bus().Snapshot()
						}
						time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
					}
				})
			}
			var sent atomic.Int64
			for range 6 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						opts := []dispatch.CallOption{}
						pick := func(n int) bool { return rand.IntN(n) == 0 }
						if pick(4) {
							opts = append(opts, dispatch.WithQuorum(1+rand.IntN(4)))
						}
						if pick(4) {
							opts = append(opts, dispatch.WithParallelism(1+rand.IntN(3)))
						}
						if pick(4) {
							opts = append(opts, dispatch.WithStagger(time.Duration(1+rand.IntN(2000))*time.Microsecond))
						}
						if pick(4) {
							opts = append(opts, dispatch.WithHedge(time.Duration(1+rand.IntN(2000))*time.Microsecond))
						}
						if pick(6) {
							opts = append(opts, dispatch.WithFailFast())
						}
						if pick(6) {
							opts = append(opts, dispatch.WithStall(time.Millisecond))
						}
						if pick(6) {
							opts = append(opts, dispatch.WithGrace(5*time.Millisecond))
						}
						if pick(6) {
							opts = append(opts, dispatch.WithMinProducers(1+rand.IntN(6)))
						}
						if pick(8) {
							opts = append(opts, dispatch.WithTargets("producer-3", "g0", "nobody"))
						}
						ctx, cancel := context.Background(), context.CancelFunc(func() {})
						if pick(3) {
							ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(10000))*time.Microsecond)
						}
						switch rand.IntN(4) {
						case 0:
							_, _ = d.First(ctx, ask, 1, opts...)
						case 1:
							for _, err := range d.Stream(ctx, ask, 1, opts...) {
								if err != nil || pick(20) {
									break
								}
							}
						default:
							c, err := d.Send(ctx, ask, 1, opts...)
							if err != nil {
								break
							}
							if pick(4) {
								c.Cancel(nil)
							}
							lim := time.After(5 * time.Second)
							select {
							case <-c.Done():
							case <-lim:
								t.Error("no end", c.Report())
							}
							r := c.Report()
							n := 0
							for range c.Results() {
								n++
							}
							m := 0
							for range c.Outcomes() {
								m++
							}
							total := 0
							for _, o := range r.Outcomes {
								total += o.Results
								if o.State == dispatch.StatePending || o.Elapsed > r.Elapsed || (o.Err == nil) != (o.State == dispatch.StateOK) {
									t.Errorf("%+v of %v", o, r)
								}
							}
							if n != total || m != len(r.Outcomes) {
								t.Errorf("results %d %d outcomes %d %d", n, total, m, len(r.Outcomes))
							}
						}
						cancel()
						sent.Add(1)
					}
				})
			}
			time.Sleep(300 * time.Millisecond)
			close(stop)
			wg.Wait()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if round%2 == 0 {
				if err := d.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown: %v", err)
					buf := make([]byte, 1<<20)
					t.Logf("%s", buf[:runtime.Stack(buf, true)])
				}
			} else {
				_ = d.Close()
				if err := d.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown after Close: %v", err)
				}
			}
			if err := dispatch.AtRest(d.Bus()); err != nil {
				t.Error(err)
			}
			t.Logf("sent %d done %d results %d outcomes %d late %d hooks %d", sent.Load(), a.done.Load(), a.results.Load(), a.outcomes.Load(), a.late.Load(), hooksSeen.Load())
		})
	}
}
