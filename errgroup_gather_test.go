package dispatch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// The engine's invariant: every member is started without waiting for another to
// end. Producers that all wait for each other would wait for ever without it.
func TestAllMembersRunAtOnce(t *testing.T) {
	leaves := map[string]func(){
		"waits": nil, "panics": func() { panic("gone") }, "exits": runtime.Goexit,
	}
	onProcessors(t, func(t *testing.T) {
		for _, n := range []int{1, 2, 3, 10, 100, 1000} {
			for how, leave := range leaves {
				for _, who := range slices.Compact([]int{0, n / 2, n - 1}) {
					if leave == nil && who > 0 {
						continue // there is no one that differs
					}
					t.Run(fmt.Sprintf("n=%d/%d %s", n, who, how), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							d, _ := newDispatcher()
							var started atomic.Int32
							all := make(chan struct{})
							for i := range n {
								produce(t, d, fmt.Sprint(i), func(ctx context.Context, _ int) (int, error) {
									if started.Add(1) == int32(n) {
										close(all)
									}
									if i == who && leave != nil {
										leave()
									}
									select {
									case <-all:
										return i, nil
									case <-ctx.Done():
										return 0, ctx.Err()
									}
								})
							}
							r := ended(t, d)
							if r.Reason != dispatch.ReasonAllEnded || r.Elapsed != 0 {
								t.Errorf("%d of %d members were started; the call ended as %v after %v", started.Load(), n, r.Reason, r.Elapsed)
							}
							for i, o := range r.Outcomes {
								if (o.State == dispatch.StateOK) != (leave == nil || i != who) {
									t.Errorf("member %d is %v", i, o.State)
								}
							}
						})
					})
				}
			}
		}
	})
}

// The same with producers that wait for a slot in between: one that waits for that
// keeps no other from being started.
func TestMembersThatWaitForASlotHoldUpNoOthers(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		for _, n := range []int{2, 3, 10, 100} {
			t.Run(fmt.Sprint("n=", n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, _ := newDispatcher()
					release := make(chan struct{})
					var holders []*dispatch.Registration
					free, busy := 0, 0
					for i := range n {
						name := fmt.Sprint(i)
						switch i % 4 {
						case 0, 3: // no slot is needed
							free++
							produce(t, d, name, quick(i))
						case 1: // a slot is free
							free++
							produce(t, d, name, quick(i), dispatch.WithConcurrency(1))
						case 2: // the slot is taken
							busy++
							holders = append(holders, produce(t, d, name, deaf(release, i), dispatch.WithConcurrency(1)))
						}
					}
					var heard atomic.Int32
					first := send(t, d)
					synctest.Wait()
					listen(t, d, func(context.Context, result) { heard.Add(1) })
					second := send(t, d)
					synctest.Wait()
					if got := int(heard.Load()); got != free {
						t.Errorf("%d results of %d while %d members wait for their slots", got, free, busy)
					}
					close(release)
					<-first.Done()
					<-second.Done()
					synctest.Wait()
					if got := int(heard.Load()); got != n+len(holders) || !second.Report().Complete() {
						t.Errorf("%d results of %d in the end; %s", got, n+len(holders), told(second.Report()))
					}
				})
			})
		}
	})
}

// What quick producers have answered is heard while others still run, wherever
// those stand.
func TestResultsAreNotHeldUpByAProducerThatBlocks(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		for _, n := range []int{1, 2, 3, 4, 10, 100, 1000} {
			for name, blocks := range map[string]func(i int) bool{
				"first":       func(i int) bool { return i == 0 },
				"second":      func(i int) bool { return i == 1 },
				"middle":      func(i int) bool { return i == n/2 },
				"last but 1":  func(i int) bool { return i == n-2 },
				"last":        func(i int) bool { return i == n-1 },
				"every third": func(i int) bool { return i%3 == 2 },
			} {
				t.Run(fmt.Sprintf("n=%d/%s", n, name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						d, _ := newDispatcher()
						release := make(chan struct{})
						want := 0
						for i := range n {
							if blocks(i) {
								produce(t, d, fmt.Sprint(i), deaf(release, i))
							} else {
								produce(t, d, fmt.Sprint(i), quick(i))
								want++
							}
						}
						var heard, outcomes, read atomic.Int32
						listen(t, d, func(context.Context, result) { heard.Add(1) }, dispatch.OnOutcome(func(dispatch.Outcome) { outcomes.Add(1) }))
						c := send(t, d)
						go func() {
							for range c.Results() {
								read.Add(1)
							}
						}()
						synctest.Wait()
						if heard, outcomes, read := int(heard.Load()), int(outcomes.Load()), int(read.Load()); heard != want || outcomes != want || read != want {
							t.Errorf("of %d results %d were heard and %d read; %d outcomes were told", want, heard, read, outcomes)
						}
						close(release)
						<-c.Done()
						synctest.Wait()
						if heard, read := int(heard.Load()), int(read.Load()); heard != n || read != n {
							t.Errorf("in the end %d of %d were heard and %d read", heard, n, read)
						}
					})
				})
			}
		}
	})
}

// A worker that stands by is gone soon after its call, also if the program that sends the
// next calls leaves it little of the processor.
func TestWorkersDoNotPileUp(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		for _, n := range []int{2, 10} {
			d, _ := newDispatcher()
			for i := range n {
				produce(t, d, fmt.Sprint(i), quick(i))
			}
			before, most := runtime.NumGoroutine(), 0
			for range 10_000 {
				if _, err := d.Gather(context.Background(), ask, 0); err != nil {
					t.Fatal(err)
				}
				most = max(most, runtime.NumGoroutine()-before)
			}
			if most > 2500 { // without the bound there are twice as many
				t.Errorf("%d goroutines at once for calls of %d quick producers that are made one after another", most, n)
			}
			eventually(func() bool { return runtime.NumGoroutine() <= before })
		}
	})
}

func TestThousandGoexits(t *testing.T) {
	const n = 1000
	onProcessors(t, func(t *testing.T) {
		for _, opts := range [][]dispatch.CallOption{nil, {dispatch.WithParallelism(1)}, {dispatch.WithParallelism(7)}, {dispatch.WithQuorum(n)}} {
			for name, leaves := range map[string]func(i int) bool{
				"all":        func(int) bool { return true },
				"every 10th": func(i int) bool { return i%10 == 9 },
			} {
				t.Run(fmt.Sprintf("%v/%s", opts, name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						d, _ := newDispatcher()
						left := 0
						for i := range n {
							p := quick(i)
							if leaves(i) {
								p = exiting
								left++
							}
							produce(t, d, fmt.Sprint(i), p)
						}
						r := ended(t, d, opts...)
						failed := 0
						for _, o := range r.Outcomes {
							if errors.Is(o.Err, dispatch.ErrGoexit) {
								failed++
							}
						}
						if r.Reason == dispatch.ReasonQuorumLost && failed > 0 {
							return // it ended with the first of them
						}
						if r.Reason != dispatch.ReasonAllEnded || r.Elapsed != 0 || failed != left {
							t.Errorf("%d of %d ended with ErrGoexit; the call ended as %v after %v", failed, left, r.Reason, r.Elapsed)
						}
					})
				})
			}
		}
	})
}

// However ends and results meet, each member has one outcome, which the report,
// listeners and readers agree on, and which does not change any more.
func TestOneOutcomePerMemberWhenCanceled(t *testing.T) {
	const n = 40
	// Who ends the call while quick producers are being run through, from within
	// or from outside, and what producers do around that.
	enders := map[string]func(d *dispatcher, c func() *inFlight){
		"Cancel": func(_ *dispatcher, c func() *inFlight) { c().Cancel(errBroken) },
		"Close":  func(d *dispatcher, _ func() *inFlight) { d.Close() },
	}
	onProcessors(t, func(t *testing.T) {
		for how, end := range enders {
			for _, inside := range []bool{true, false} {
				for _, after := range []string{"returns", "blocks", "exits", "panics", "fails"} {
					if !inside && after != "returns" {
						continue
					}
					t.Run(fmt.Sprintf("%s/inside=%v/%s", how, inside, after), func(t *testing.T) {
						for round := range 30 {
							synctest.Test(t, func(t *testing.T) {
								d, _ := newDispatcher()
								release := make(chan struct{})
								sent := make(chan *inFlight, 1)
								theCall := sync.OnceValue(func() *inFlight { return <-sent })
								for i := range n {
									produce(t, d, fmt.Sprint("p", i), func(context.Context, int) (int, error) {
										if i%7 == round%7 {
											runtime.Gosched()
										}
										if !inside || i != round%n {
											return i, nil
										}
										end(d, theCall)
										switch after {
										case "blocks":
											<-release
										case "exits":
											runtime.Goexit()
										case "panics":
											panic("after the end")
										case "fails":
											return 0, errBroken
										}
										return i, nil
									})
								}
								diary := keepDiary(t, d)
								c := send(t, d)
								sent <- c
								if !inside {
									for range round {
										runtime.Gosched()
									}
									end(d, func() *inFlight { return c })
								}
								<-c.Done()
								first := c.Report()
								synctest.Wait()
								close(release)
								synctest.Wait()

								sameReport(t, first, c.Report())
								if problem := disagreement(first, diary, how == "Close"); problem != "" {
									t.Errorf("the call ended as\n\t%s\n%s in\n\t%q", told(first), problem, diary.all())
								}
								read := map[string]int{}
								for r := range c.Results() {
									read[r.From.Name]++
									if want := fmt.Sprint("p", r.Value); r.From.Name != want {
										t.Errorf("result %d is said to be of %v", r.Value, r.From)
									}
								}
								for i, o := range first.Outcomes {
									if inside && i == round%n && o.State == dispatch.StateOK {
										t.Errorf("the member that ended the call is %v", o.State)
									}
									want := 0
									switch o.State {
									case dispatch.StateOK:
										want = 1
									case dispatch.StateCanceled:
									default:
										t.Errorf("%v is %v", o.Member, o.State)
									}
									if read[o.Member.Name] != want {
										t.Errorf("%v is %v and was read %d times", o.Member, o.State, read[o.Member.Name])
									}
								}
							})
							if t.Failed() {
								return
							}
						}
					})
				}
			}
		}
	})
}

// Members that are started by the clock are started by it whatever the goroutines
// are up to that ran those before: busy with a listener, or just about to end.
func TestStaggeredMembersAreStartedOnTime(t *testing.T) {
	const n = 6
	for _, parallelism := range []int{1, 2, 3} {
		for _, takes := range []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second} {
			rounds := 5
			if takes == time.Duration(parallelism)*time.Second {
				rounds = 200 // one ends just when the next is due
			}
			for range rounds {
				synctest.Test(t, func(t *testing.T) {
					d, _ := newDispatcher(dispatch.WithTimeout(time.Minute), dispatch.WithSlowListener(time.Hour))
					release := make(chan struct{})
					began := time.Now()
					var running atomic.Int32
					var late notes
					for i := range n {
						produce(t, d, fmt.Sprint(i), func(context.Context, int) (int, error) {
							if got := running.Add(1); int(got) > parallelism {
								late.add("%d at once", got)
							}
							defer running.Add(-1)
							// One a second, or when one of those that run has ended.
							due := max(time.Duration(i)*time.Second, time.Duration(i/parallelism)*takes+time.Duration(i%parallelism)*time.Second)
							if at := time.Since(began); at != due {
								late.add("%d at %v instead of %v", i, at, due)
							}
							time.Sleep(takes)
							return i, nil
						})
					}
					listen(t, d, func(context.Context, result) { <-release })
					r := ended(t, d, dispatch.WithStagger(time.Second), dispatch.WithParallelism(parallelism))
					if r.Reason != dispatch.ReasonAllEnded || len(late.all()) > 0 {
						t.Errorf("parallelism %d, each %v: the call ended as %v; started %q", parallelism, takes, r.Reason, late.all())
					}
					close(release)
				})
				if t.Failed() {
					return
				}
			}
		}
	}
}

// The spare gives up on a streak that stands still just when the streak takes the
// last member, which blocks. The results behind it are told all the same.
func TestResultsAreNotHeldUpByTheLastMember(t *testing.T) {
	for range 1000 {
		for _, options := range [][]dispatch.CallOption{nil, {dispatch.WithParallelism(1)}} { // in turn there is no spare
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				for i := range 4 {
					produce(t, d, fmt.Sprint(i), quick(i))
				}
				produce(t, d, "last", slow(3*time.Second, 4))
				heard := 0
				listen(t, d, func(context.Context, result) { heard++ })
				c := send(t, d, options...)
				time.Sleep(time.Second)
				synctest.Wait()
				if heard != 4 {
					t.Fatalf("%d results were told, want 4", heard)
				}
				<-c.Done()
			})
		}
	}
}

// panic(nil) is a panic, also where the runtime recovers from it as from none, and counts
// as returned only when it has.
func TestPanicNilIsAPanicUnderTheOldRule(t *testing.T) {
	t.Setenv("GODEBUG", "panicnil=1")
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher(dispatch.WithTimeout(time.Second))
		produce(t, d, "a", panicking(nil))
		produce(t, d, "b", panicking(nil), dispatch.WithGroup("g"))
		addStream(t, d, "c", func(context.Context, int) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) { yield(1, nil); panic(nil) }
		})
		produce(t, d, "d", panicking(nil), dispatch.WithConcurrency(1))
		produce(t, d, "ok", quick(1))
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error { to.Name(far("x")); panic(nil) })
		var returned atomic.Int32
		produce(t, d, "deaf", func(context.Context, int) (int, error) {
			time.Sleep(30 * time.Second)
			returned.Add(1)
			return 1, nil
		})
		for range 2 {
			r := ended(t, d)
			expect(t, r, "deadline: a panicked, g panicked, c panicked, d panicked, ok ok, deaf late, far/x failed, r panicked")
			for _, o := range r.Outcomes {
				var caught *dispatch.PanicError
				if panicked := errors.As(o.Err, &caught); panicked != (o.State == dispatch.StatePanicked || o.Member.Group == "g") {
					t.Errorf("%v is %v with %v", o.Member, o.State, o.Err)
				}
			}
		}
		began := time.Now()
		if err := d.Shutdown(context.Background()); err != nil || returned.Load() != 2 {
			t.Errorf("Shutdown: %v; of the two runs that go on %d have returned", err, returned.Load())
		}
		if took := time.Since(began); took != 29*time.Second {
			t.Errorf("Shutdown took %v", took)
		}
		synctest.Wait()
		if n := logged.count("ERROR producer panicked"); n != 2*4 || logged.count("ERROR relay panicked") != 2 || logged.count("Goexit") != 0 {
			t.Errorf("%d panics of producers were logged, want 8: %q", n, logged.all())
		}
	})
}

// tainted is the value of the label that one producer sets and no other closure may have.
const tainted = "set by a producer"

// labelled reports whether the goroutine that calls it has that label.
func labelled() bool {
	var profile bytes.Buffer
	pprof.Lookup("goroutine").WriteTo(&profile, 1)
	for part := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(part, "dispatch_test.labelled+") {
			return strings.Contains(part, tainted)
		}
	}
	return false
}

// taint labels the goroutine and takes longer than a quick producer.
func taint(ctx context.Context, _ int) (int, error) {
	dirty(ctx)
	for began := time.Now(); time.Since(began) < 5*time.Microsecond; {
	}
	return 1, nil
}

// The labels that a start hook sets end with the member of the hook, even if its producer is quick.
func TestLabelsOfAHookAreNotHandedOn(t *testing.T) {
	hooked, seen := 0, 0
	d, _ := newDispatcher(dispatch.WithObserver(dispatch.Observer{MemberStart: func(ctx context.Context, _ dispatch.MemberInfo) context.Context {
		if hooked++; hooked == 1 {
			taint(ctx, 0)
		}
		return ctx
	}}))
	defer d.Close()
	for _, name := range []string{"a", "b", "c"} {
		produce(t, d, name, func(context.Context, int) (int, error) {
			if hooked > 1 && labelled() {
				seen++
			}
			return 1, nil
		})
	}
	for range 20 {
		hooked = 0
		ended(t, d, dispatch.WithParallelism(1))
	}
	if seen > 0 {
		t.Errorf("%d producers have the labels of the hook of another member", seen)
	}
}

// The labels of a goroutine end with the producer that has set them.
func TestLabelsOfAProducerAreNotHandedOn(t *testing.T) {
	if taint(t.Context(), 0); !labelled() {
		t.Fatal("the test does not see labels")
	}
	pprof.SetGoroutineLabels(context.Background())
	for name, test := range map[string]struct {
		opts     []dispatch.CallOption
		register func(t *testing.T, d *dispatcher, look func())
	}{
		"to the next producer": {nil, func(t *testing.T, d *dispatcher, look func()) {
			produce(t, d, "a", taint)
			produce(t, d, "b", func(context.Context, int) (int, error) { look(); return 1, nil })
		}},
		"to the next producer in turn": {opts(dispatch.WithParallelism(1)), func(t *testing.T, d *dispatcher, look func()) {
			produce(t, d, "a", taint)
			produce(t, d, "b", func(context.Context, int) (int, error) { look(); return 1, nil })
		}},
		"to the next replica": {nil, func(t *testing.T, d *dispatcher, look func()) {
			asked := 0
			for _, name := range []string{"a", "b"} {
				produce(t, d, name, func(ctx context.Context, req int) (int, error) {
					if asked++; asked == 1 {
						taint(ctx, req)
						return 0, errBroken
					}
					look()
					return 1, nil
				}, dispatch.WithGroup("g"))
			}
		}},
		"to a listener": {nil, func(t *testing.T, d *dispatcher, look func()) {
			produce(t, d, "a", taint)
			listen(t, d, func(context.Context, result) { look() })
		}},
		"to one of two listeners": {nil, func(t *testing.T, d *dispatcher, look func()) {
			produce(t, d, "a", taint)
			listen(t, d, ignore)
			listen(t, d, func(context.Context, result) { look() })
		}},
		"to OnDone": {nil, func(t *testing.T, d *dispatcher, look func()) {
			produce(t, d, "a", taint)
			listen(t, d, ignore, dispatch.OnDone(func(dispatch.Report) { look() }))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				d, _ := newDispatcher()
				looked := make(chan bool, 1)
				test.register(t, d, func() { looked <- labelled() })
				ended(t, d, test.opts...)
				if <-looked {
					t.Fatal("the labels of a producer were handed on")
				}
			}
		})
	}
}

// A quorum of one among a thousand quick producers is no reason to run them all.
func TestQuorumOfOneRunsFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		d, _ := newDispatcher()
		var runs atomic.Int32
		for i := range n {
			produce(t, d, fmt.Sprint(i), func(context.Context, int) (int, error) {
				runs.Add(1)
				return i, nil
			})
		}
		if _, err := d.First(context.Background(), ask, 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := runs.Load(); got < 1 || got > n/10 {
			t.Errorf("%d of %d producers were run for one answer", got, n)
		}
	})
}

func TestParallelismIsReachedAndNeverExceeded(t *testing.T) {
	const members = 24
	for _, n := range []int{1, 2, 3, 5, 8, members, members + 1, math.MaxInt} {
		for name, takes := range map[string]func(i int) time.Duration{
			"all slow":      func(int) time.Duration { return time.Second },
			"quick first":   func(i int) time.Duration { return time.Second * time.Duration(min(1, i/(members/2))) },
			"quick last":    func(i int) time.Duration { return time.Second * time.Duration(1-min(1, i/(members/2))) },
			"in turn":       func(i int) time.Duration { return time.Second * time.Duration(i%2) },
			"one slow":      func(i int) time.Duration { return time.Second * time.Duration(max(0, 1-i)) },
			"no two at one": func(i int) time.Duration { return time.Second + time.Duration(i)*time.Millisecond },
		} {
			t.Run(fmt.Sprintf("n=%d/%s", n, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, _ := newDispatcher(dispatch.WithTimeout(time.Hour))
					var running, most, exits, runs atomic.Int32
					slowOnes := 0
					for i := range members {
						if takes(i) > 0 {
							slowOnes++
						}
						produce(t, d, fmt.Sprint(i), func(context.Context, int) (int, error) {
							runs.Add(1)
							now := running.Add(1)
							defer running.Add(-1)
							for {
								seen := most.Load()
								if now <= seen || most.CompareAndSwap(seen, now) {
									break
								}
							}
							time.Sleep(takes(i))
							if i%5 == 4 && name == "in turn" {
								exits.Add(1)
								runtime.Goexit()
							}
							return i, nil
						})
					}
					r := ended(t, d, dispatch.WithParallelism(n))
					if got, want := int(most.Load()), min(n, slowOnes); got > n || got < want {
						t.Errorf("%d at once, want %d, and not more than %d", got, want, n)
					}
					if got := runs.Load(); got != members {
						t.Errorf("%d of %d members ran", got, members)
					}
					if name == "all slow" {
						if got, want := r.Elapsed, time.Second*time.Duration((members+n-1)/min(n, members)); n <= members && got != want {
							t.Errorf("it took %v, want %v", got, want)
						}
					}
				})
			})
		}
	}
}

// nilError is an error whose methods panic with a nil pointer, as those of many types do.
type nilError struct{ cause error }

func (e *nilError) Error() string { return "nil: " + e.cause.Error() }

func (e *nilError) Unwrap() error { return e.cause }

// An error whose methods panic fails its own member and no other.
func TestErrorWhoseMethodsPanicIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "typed nil", failing((*nilError)(nil)))
		produce(t, d, "b", quick(1))
		expect(t, ended(t, d), "all ended: typed nil failed, b ok")
	})
}

// The methods of an error may block: neither the next producer nor a listener waits for them.
func TestErrorsThatBlockHoldUpNothing(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDispatcher()
			release, asked := make(chan struct{}), make(chan struct{})
			produce(t, d, "a", failing(stalling{release}))
			produce(t, d, "b", func(context.Context, int) (int, error) { close(asked); return 1, nil })
			heard := make(chan struct{})
			listen(t, d, func(context.Context, result) { close(heard) })
			call := send(t, d)
			<-asked
			<-heard
			close(release)
			<-call.Done()
			expect(t, call.Report(), "all ended: a failed, b ok")
		})
	})
}

// departing is an error one of whose methods ends the goroutine.
type departing struct{ is, text func() }

func (e departing) Error() string { e.text(); return "departing" }
func (e departing) Is(error) bool { e.is(); return false }

// The methods of an error may end the goroutine, in which its run still has to end.
func TestErrorsWhoseMethodsExit(t *testing.T) {
	nothing := func() {}
	for name, err := range map[string]error{
		"Is":    departing{runtime.Goexit, nothing},
		"Error": departing{nothing, runtime.Goexit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				produce(t, d, "a", failing(err), dispatch.WithConcurrency(1))
				produce(t, d, "b", quick(1))
				r := ended(t, d)
				expect(t, r, "all ended: a failed, b ok")
				if !errors.Is(r.Outcomes[0].Err, dispatch.ErrGoexit) {
					t.Errorf("a has ended with %T", r.Outcomes[0].Err)
				}
				expect(t, ended(t, d), "all ended: a failed, b ok") // the slot is free again
				if err := d.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// exitingText is a value whose text cannot be made.
type exitingText struct{}

func (exitingText) String() string { runtime.Goexit(); return "" }

func TestPanicWhoseTextExitsEndsOneMember(t *testing.T) {
	for name, add := range map[string]func(*dispatcher){
		"producer": func(d *dispatcher) { produce(t, d, "a", panicking(exitingText{})) },
		"limited":  func(d *dispatcher) { produce(t, d, "a", panicking(exitingText{}), dispatch.WithConcurrency(1)) },
		"timeout":  func(d *dispatcher) { produce(t, d, "a", panicking(exitingText{}), dispatch.WithTimeout(time.Second)) },
		"replica":  func(d *dispatcher) { produce(t, d, "a", panicking(exitingText{}), dispatch.WithGroup("g")) },
		"stream": func(d *dispatcher) {
			addStream(t, d, "a", func(context.Context, int) iter.Seq2[int, error] { panic(exitingText{}) })
		},
		"relay": func(d *dispatcher) {
			addRelay(t, d, "a", func(context.Context, int, roster) error { panic(exitingText{}) })
		},
	} {
		bubble(t, name, func(t *testing.T) {
			d, _ := newDispatcher()
			add(d)
			produce(t, d, "b", slow(time.Second, 1))
			for range 2 { // the slot is free again
				r := ended(t, d)
				if bad := r.Missing(); r.Reason != dispatch.ReasonAllEnded || len(bad) != 1 || bad[0].State != dispatch.StatePanicked {
					t.Error(told(r))
				}
			}
			if err := d.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Labels that a closure sets do not reach callbacks that its results or its end start, nor the
// members that these release.
func TestLabelsOfAClosureStayWithIt(t *testing.T) {
	pprof.SetGoroutineLabels(t.Context())
	for name, add := range map[string]func(d *dispatcher, look func(who string)){
		"stream": func(d *dispatcher, look func(string)) {
			addStream(t, d, "s", func(ctx context.Context, _ int) iter.Seq2[int, error] {
				return func(yield func(int, error) bool) {
					dirty(ctx)
					yield(1, nil)
					<-ctx.Done()
				}
			})
			listen(t, d, func(context.Context, result) { look("listener") }, dispatch.OnDone(func(dispatch.Report) { look("OnDone") }))
		},
		"relay": func(d *dispatcher, look func(string)) {
			addRelay(t, d, "r", func(ctx context.Context, _ int, to roster) error {
				dirty(ctx)
				to.Name(far("x"))
				to.Result(far("x"), 1)
				to.End(far("x"), nil)
				<-ctx.Done()
				return errBroken
			})
			listen(t, d, func(context.Context, result) { look("listener") }, dispatch.OnOutcome(func(dispatch.Outcome) { look("OnOutcome") }))
		},
		"late": func(d *dispatcher, look func(string)) {
			produce(t, d, "a", func(ctx context.Context, _ int) (int, error) {
				dirty(ctx)
				<-ctx.Done()
				return 1, nil
			})
			d.OnLate(func(result, time.Duration) { look("OnLate") })
			must(d.Bus().Observe(dispatch.Observer{Late: func(context.Context, dispatch.MemberInfo, time.Duration, error) { look("Late") }}))
		},
	} {
		bubble(t, name, func(t *testing.T) {
			d, _ := newDispatcher()
			looks := 0
			var mu sync.Mutex
			add(d, func(who string) {
				mu.Lock()
				defer mu.Unlock()
				if looks++; labelled() {
					t.Errorf("%s has the labels of a closure", who)
				}
			})
			ended(t, d, dispatch.WithTimeout(time.Second))
			synctest.Wait()
			if looks < 2 {
				t.Errorf("%d callbacks ran", looks)
			}
		})
	}
	for range 30 { // the timer may be first
		bubble(t, "a member that the end of another one releases", func(t *testing.T) {
			d, _ := newDispatcher()
			produce(t, d, "a", func(ctx context.Context, _ int) (int, error) {
				dirty(ctx)
				time.Sleep(time.Second) // it finds before the timer that its time is over
				return 0, context.DeadlineExceeded
			}, dispatch.WithTimeout(time.Second))
			produce(t, d, "b", func(context.Context, int) (int, error) {
				if labelled() {
					t.Error("a producer has the labels of another one")
				}
				return 1, nil
			})
			expect(t, ended(t, d, dispatch.WithParallelism(1)), "all ended: a late, b ok")
		})
	}
}

func dirty(ctx context.Context) {
	pprof.SetGoroutineLabels(pprof.WithLabels(ctx, pprof.Labels("kit", tainted)))
}
