package dispatch_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// A call whose results come faster than a listener takes them has its turn, and then the
// others have theirs: however long it goes on, they wait for 64 of its events at most.
func TestFastStreamDoesNotStarveOtherCalls(t *testing.T) {
	for kind, opts := range map[string][]dispatch.ListenerOption{
		"plain":         nil,
		"with outcomes": {dispatch.OnOutcome(func(dispatch.Outcome) {})},
		"with an end":   {dispatch.OnDone(func(dispatch.Report) {})},
		"with places":   {dispatch.WithConcurrency(2)},
		"bounded":       {dispatch.WithMailbox(10_000, dispatch.DropNewest)},
	} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const results, wait = 2000, 64
				d, _ := newDispatcher(dispatch.WithTimeout(time.Minute), dispatch.WithSlowListener(time.Hour))
				addStream(t, d, "fast", func(_ context.Context, req int) iter.Seq2[int, error] {
					return func(yield func(int, error) bool) {
						for i := 0; i < results && req == 1 && yield(i, nil); i++ {
							time.Sleep(time.Millisecond)
						}
					}
				})
				produce(t, d, "b", quick(-1))
				var mu sync.Mutex
				behind := make(map[int]int) // per request: how many results of the first call came after it was sent
				sent, first := 0, 0
				listen(t, d, func(_ context.Context, r result) {
					mu.Lock()
					if req := r.Call.Request(); req == 1 {
						first++
					} else {
						behind[req] = first - sent
					}
					mu.Unlock()
					time.Sleep(3 * time.Millisecond)
				}, opts...)
				must(d.Send(t.Context(), ask, 1))
				for req := 2; req < 6; req++ {
					time.Sleep(400 * time.Millisecond)
					mu.Lock()
					sent = first
					mu.Unlock()
					must(d.Send(t.Context(), ask, req))
					time.Sleep(400 * time.Millisecond)
					mu.Lock()
					if n, ok := behind[req]; !ok || n > wait+1 {
						t.Errorf("the result of call %d was delivered: %t, behind %d results of the first", req, ok, n)
					}
					mu.Unlock()
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// A listener that was removed keeps nothing of the logs of calls that wait in its mailbox.
func TestRemovedListenerLetsGoOfLogs(t *testing.T) {
	for where, opts := range map[string][]dispatch.ListenerOption{
		"in the mailbox":             nil,
		"in a bounded mailbox":       {dispatch.WithMailbox(100_000, dispatch.DropOldest)},
		"in a mailbox of concurrent": {dispatch.WithConcurrency(2)},
	} {
		t.Run(where, func(t *testing.T) {
			testRemovedListenerLetsGo(t, opts, func(d *dispatch.Dispatcher[int, *big]) {
				// They are busy with another call, so that what they are to let go of waits.
				elsewhere := dispatch.NewTopic[int, *big]("kit.elsewhere")
				must(d.AddProducer(elsewhere, func(context.Context, int) (*big, error) { return nil, nil }))
				for range 2 {
					must(d.Gather(context.Background(), elsewhere, 0))
				}
				synctest.Wait()
			})
		})
	}
	for kind, opts := range map[string][]dispatch.ListenerOption{
		"unbounded": nil, "bounded": {dispatch.WithMailbox(5, dispatch.DropNewest)}, "concurrent": {dispatch.WithConcurrency(2)},
	} {
		t.Run("busy with the very call, "+kind, func(t *testing.T) {
			testRemovedListenerLetsGo(t, opts, func(*dispatch.Dispatcher[int, *big]) {})
		})
	}
}

func testRemovedListenerLetsGo(t *testing.T, opts []dispatch.ListenerOption, before func(d *dispatch.Dispatcher[int, *big])) {
	synctest.Test(t, func(t *testing.T) {
		const n = 6000
		topic := dispatch.NewTopic[int, *big]("kit.big")
		d := quiet[int, *big](dispatch.WithTimeout(time.Minute))
		var made []weak.Pointer[big]
		must(d.AddStreamProducer(topic, func(context.Context, int) iter.Seq2[*big, error] {
			return func(yield func(*big, error) bool) {
				for range n {
					v := new(big)
					made = append(made, weak.Make(v))
					if !yield(v, nil) {
						return
					}
				}
			}
		}))
		release := make(chan struct{})
		l := must(d.AddListener(dispatch.NewPattern[int, *big]("kit.*"), func(context.Context, dispatch.Result[int, *big]) { <-release }, opts...))
		before(d)
		i, kept := 0, 0
		for r, err := range d.Stream(t.Context(), topic, 0) {
			if err != nil {
				t.Fatal(err)
			}
			switch i++; i {
			case 10:
				synctest.Wait()
				l.Remove()
			case n:
				synctest.Wait()
				kept = reachable(made, 2100)
				runtime.KeepAlive(r)
			}
		}
		if kept > 2100 { // the last page, and the one that is being read
			t.Errorf("%d results of %d are still reachable", kept, i)
		}
		close(release)
		synctest.Wait()
	})
}

// Every listener and every reader sees one order, and is told of a member's
// outcome after its result, whatever the pace at which it takes them.
func TestListenersAndReadersSeeOneOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 40
		d, _ := newDispatcher()
		for i := range n {
			p := slow(time.Duration(i*7%11)*time.Millisecond, i)
			if i%5 == 3 {
				p = slowly(time.Duration(i*7%11)*time.Millisecond, failing(errBroken))
			}
			produce(t, d, fmt.Sprint("p", i), p)
		}
		var diaries []*notes
		for i := range 5 {
			diary := new(notes)
			diaries = append(diaries, diary)
			busy := false
			step := func(format string, args ...any) {
				if busy {
					t.Error("two callbacks of one listener at once")
				}
				busy = true
				time.Sleep(time.Duration(i) * time.Millisecond)
				busy = false
				diary.add(format, args...)
			}
			listen(t, d, func(_ context.Context, r result) { step("result %v=%d", r.From, r.Value) },
				dispatch.OnOutcome(func(o dispatch.Outcome) { step("outcome %v %v", o.Member, o.State) }),
				dispatch.OnDone(func(r dispatch.Report) { step("done %v", r.Reason) }))
		}
		c := send(t, d)
		var read notes
		for r := range c.Results() {
			read.add("result %v=%d", r.From, r.Value)
		}
		time.Sleep(time.Second)
		for _, diary := range diaries {
			sameCall(t, c.Report(), diary)
			if diff := cmp.Diff(diaries[0].all(), diary.all()); diff != "" {
				t.Errorf("two listeners disagree:\n%s", diff)
			}
		}
		results := slices.DeleteFunc(diaries[0].all(), func(line string) bool { return !strings.HasPrefix(line, "result") })
		if diff := cmp.Diff(read.all(), results); diff != "" {
			t.Errorf("reader and listener disagree:\n%s", diff)
		}
	})
}

// A call that is under way is joined by no producer, but by every listener, for
// what is yet to come.
func TestJoiningAndLeavingACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		produce(t, d, "b", slow(time.Second, 2))
		gone := produce(t, d, "c", slow(3*time.Second, 3))
		leaving := new(notes)
		left := listen(t, d, func(_ context.Context, r result) { leaving.add("result %v", r.From) },
			dispatch.OnOutcome(func(o dispatch.Outcome) { leaving.add("outcome %v", o.Member) }),
			dispatch.OnDone(func(dispatch.Report) { leaving.add("done") }))
		c := send(t, d)
		time.Sleep(500 * time.Millisecond)
		produce(t, d, "d", quick(4))
		diary := keepDiary(t, d)
		time.Sleep(time.Second)
		left.Remove()
		gone.Remove() // what runs may still give its result
		<-c.Done()
		synctest.Wait()
		expect(t, c.Report(), "all ended: a ok, b ok, c ok")
		if diff := cmp.Diff([]string{"result b=2", "outcome b ok", "result c=3", "outcome c ok", "done all ended"}, diary.all()); diff != "" {
			t.Errorf("who joined (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"result a", "outcome a", "result b", "outcome b"}, leaving.all()); diff != "" {
			t.Errorf("who left (-want +got):\n%s", diff)
		}
		expect(t, ended(t, d), "all ended: a ok, b ok, d ok")
	})
}

func TestEachValueIsHeardDroppedOrLateExactlyOnce(t *testing.T) {
	d := quiet[int, int](dispatch.WithTimeout(3*time.Millisecond), dispatch.WithMaxAbandoned(1000))
	var accepted, late, misuse atomic.Int64
	nap := func() {
		switch rand.IntN(5) {
		case 0:
			time.Sleep(time.Duration(rand.IntN(6000)) * time.Microsecond)
		case 1:
			runtime.Gosched()
		}
	}
	for i := range 12 {
		opts := []dispatch.ProducerOption{}
		if i%3 == 0 {
			opts = append(opts, dispatch.WithGroup(fmt.Sprint("g", i%2)))
		}
		if i%4 == 1 {
			opts = append(opts, dispatch.WithConcurrency(2))
		}
		produce(t, d, fmt.Sprint("p", i), func(ctx context.Context, _ int) (int, error) {
			nap()
			switch rand.IntN(10) {
			case 0:
				return 0, dispatch.ErrDecline
			case 1:
				runtime.Goexit()
			case 2:
				panic(1)
			}
			accepted.Add(1)
			return 1, nil
		}, opts...)
	}
	for range 3 {
		_, _ = d.AddStreamProducer(ask, func(context.Context, int) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				for range rand.IntN(20) {
					nap()
					accepted.Add(1)
					if !yield(1, nil) {
						return
					}
				}
			}
		})
	}
	_, _ = d.AddRelay(ask, func(_ context.Context, _ int, to *dispatch.Roster[int]) error {
		for i := range 3 {
			to.Name(dispatch.Member{Node: "n", Name: fmt.Sprint(i)})
		}
		for range 4 {
			nap()
			accepted.Add(1)
			to.Result(dispatch.Member{Node: "n", Name: fmt.Sprint(rand.IntN(3))}, 1)
		}
		for i := range 2 {
			to.End(dispatch.Member{Node: "n", Name: fmt.Sprint(i)}, nil)
		}
		return nil
	})
	d.OnLate(func(result, time.Duration) { late.Add(1) })

	type book struct {
		heard, done, open atomic.Int64
		dropped           bool
		reg               *dispatch.Registration
		name              string
	}
	var books []*book
	for _, width := range []int{1, 3} {
		for _, bound := range []int{0, 1, 4} {
			for _, over := range []dispatch.Overflow{dispatch.DropOldest, dispatch.DropNewest} {
				for _, outcomes := range []bool{false, true} {
					b := &book{dropped: bound > 0, name: fmt.Sprint(width, bound, over, outcomes)}
					var seqs, ended, open sync.Map
					opts := []dispatch.ListenerOption{dispatch.OnDone(func(r dispatch.Report) {
						b.done.Add(1)
						if _, again := ended.LoadOrStore(r.Call, true); again {
							t.Errorf("%s: OnDone twice", b.name)
						}
						if n, ok := open.Load(r.Call); ok && n.(*atomic.Int64).Load() != 0 {
							t.Errorf("%s: OnDone during others", b.name)
						}
						seqs.Delete(r.Call)
						open.Delete(r.Call)
					})}
					if bound > 0 {
						opts = append(opts, dispatch.WithMailbox(bound, over))
					}
					if width > 1 {
						opts = append(opts, dispatch.WithConcurrency(width))
					}
					if outcomes {
						opts = append(opts, dispatch.OnOutcome(func(dispatch.Outcome) {}))
					}
					b.reg = listen(t, d, func(_ context.Context, r result) {
						n, _ := open.LoadOrStore(r.Call.ID(), new(atomic.Int64))
						n.(*atomic.Int64).Add(1)
						defer n.(*atomic.Int64).Add(-1)
						b.heard.Add(1)
						if b.open.Add(1) > int64(width) {
							t.Errorf("%s: overlap", b.name)
						}
						defer b.open.Add(-1)
						if _, over := ended.Load(r.Call.ID()); over {
							t.Errorf("%s: result after OnDone", b.name)
						}
						if width == 1 {
							last, ok := seqs.Swap(r.Call.ID(), r.Seq)
							if ok && last.(int) >= r.Seq || bound == 0 && (ok && last.(int)+1 != r.Seq || !ok && r.Seq != 0) {
								t.Errorf("%s: %v then %d", b.name, last, r.Seq)
							}
						}
						switch rand.IntN(200) {
						case 0:
							time.Sleep(time.Millisecond)
						case 1:
							runtime.Goexit()
						case 2:
							panic(3)
						}
					}, opts...)
					books = append(books, b)
				}
			}
		}
	}
	var results, calls atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range 4 {
		wg.Go(func() {
			for time.Since(begin) < 1500*time.Millisecond {
				opts := []dispatch.CallOption{}
				switch rand.IntN(5) {
				case 0:
					opts = append(opts, dispatch.WithQuorum(3))
				case 1:
					opts = append(opts, dispatch.WithParallelism(2))
				case 2:
					opts = append(opts, dispatch.WithHedge(200*time.Microsecond))
				case 3:
					opts = append(opts, dispatch.WithFailFast())
				}
				c, err := d.Send(context.Background(), ask, 0, opts...)
				if err != nil {
					t.Error(err)
					return
				}
				<-c.Done()
				for range c.Results() {
					results.Add(1)
				}
				calls.Add(1)
			}
		})
	}
	wg.Wait()
	time.Sleep(20 * time.Millisecond)
	for _, b := range books {
		if err := b.reg.Drain(context.Background()); err != nil {
			t.Error(err)
		}
	}
	misuse.Store(int64(d.Bus().Snapshot().Misuse))
	if err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	misuse.Store(int64(d.Bus().Snapshot().Misuse))
	// Relay ends beside Result misuse are not counted here: name and end of the relay do none.
	if accepted.Load() != results.Load()+late.Load()+misuse.Load() {
		t.Errorf("accepted %d, results %d + late %d + misuse %d = %d", accepted.Load(), results.Load(), late.Load(), misuse.Load(), results.Load()+late.Load()+misuse.Load())
	}
	for _, b := range books {
		if b.done.Load() != calls.Load() {
			t.Errorf("%s: done %d of %d", b.name, b.done.Load(), calls.Load())
		}
		if !b.dropped && b.heard.Load() != results.Load() {
			t.Errorf("%s: heard %d of %d", b.name, b.heard.Load(), results.Load())
		}
		if n := dispatch.Dropped(b.reg); n+b.heard.Load() != results.Load() {
			t.Errorf("%s: dropped %d + heard %d of %d", b.name, n, b.heard.Load(), results.Load())
		}
		if n := dispatch.Waiting(b.reg); n != 0 {
			t.Errorf("%s: waiting %d", b.name, n)
		}
	}
	if err := dispatch.AtRest(d.Bus()); err != nil {
		t.Error(err)
	}
	t.Logf("calls %d results %d late %d accepted %d", calls.Load(), results.Load(), late.Load(), accepted.Load())
}

// What every listener has been called with is let go of while the call goes on.
func TestStreamLetsGoBesideListenersWhileTheCallGoesOn(t *testing.T) {
	const n = 6000
	topic := dispatch.NewTopic[int, *big]("kit.big")
	for name, opts := range map[string][]dispatch.ListenerOption{
		"unbounded": nil, "bounded": {dispatch.WithMailbox(n, dispatch.DropOldest)}, "concurrent": {dispatch.WithConcurrency(4)},
	} {
		for _, observed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, observed %t", name, observed), func(t *testing.T) {
				d := dispatch.New[int, *big]()
				if observed {
					if _, err := d.Bus().Observe(dispatch.Observer{Dropped: func(context.Context, dispatch.ListenerInfo) {}}); err != nil {
						t.Fatal(err)
					}
				}
				var made []weak.Pointer[big]
				finish := make(chan struct{})
				if _, err := d.AddStreamProducer(topic, func(context.Context, int) iter.Seq2[*big, error] {
					return func(yield func(*big, error) bool) {
						for range n {
							v := new(big)
							made = append(made, weak.Make(v))
							yield(v, nil)
						}
						<-finish
					}
				}); err != nil {
					t.Fatal(err)
				}
				var heard sync.WaitGroup
				heard.Add(n)
				if _, err := d.AddListener(topic, func(context.Context, dispatch.Result[int, *big]) { heard.Done() }, opts...); err != nil {
					t.Fatal(err)
				}
				yielded := 0
				for _, err := range d.Stream(context.Background(), topic, 0) {
					if err != nil {
						t.Fatal(err)
					}
					if yielded++; yielded < n {
						continue
					}
					heard.Wait()
					if kept := reachable(made, 2100); kept > 2100 {
						t.Errorf("%d results of %d are still reachable", kept, n)
					}
					close(finish)
				}
			})
		}
	}
}

// A result that is taken behind a call that has nothing for the listener is counted, too:
// otherwise each one widens the mailbox by one, for good.
func TestMailboxStaysBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
		first := dispatch.NewTopic[int, int]("mailbox.first")   // one result at once
		nothing := dispatch.NewTopic[int, int]("mailbox.none")  // a failure, and then nothing
		second := dispatch.NewTopic[int, int]("mailbox.second") // a failure, a result after a second, and then nothing
		add := func(on dispatch.Topic[int, int], p producer) { must(d.AddProducer(on, p)) }
		add(first, quick(1))
		add(nothing, failing(errBroken))
		add(nothing, patient)
		add(second, failing(errBroken))
		add(second, slow(time.Second, 2))
		add(second, patient)
		addStream(t, d, "s", yielding(1, 2, 3, 4, 5, 6, 7, 8))
		heard := 0
		r := must(d.AddListener(dispatch.AnyOf(first, nothing, second, ask), func(context.Context, result) {
			heard++
			time.Sleep(2 * time.Second)
		}, dispatch.WithMailbox(1, dispatch.DropNewest)))
		for range 4 {
			for _, on := range []dispatch.Topic[int, int]{first, nothing, second} {
				must(d.Send(context.Background(), on, 0, dispatch.WithTimeout(10*time.Second)))
				synctest.Wait()
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := dispatch.Waiting(r); n != 0 {
				t.Errorf("%d results wait in an empty mailbox", n)
			}
		}
		heard = 0
		ended(t, d)
		time.Sleep(time.Minute)
		synctest.Wait()
		if heard != 2 {
			t.Errorf("a mailbox of one result let %d of 8 results through, want the one in hand and the one that waits", heard)
		}
	})
}

// A listener that is behind is called with at most 64 results and outcomes of one call before it is
// called with those of the next call.
func TestResultsAndOutcomesTakeTurns(t *testing.T) {
	for name, many := range map[string]producer{"answers": quick(1), "late members": patient} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
				for range 300 {
					must(d.AddProducer(ask, many))
				}
				must(d.AddProducer(other, quick(2)))
				var heard events[dispatch.CallID]
				gate := make(chan struct{})
				first := true
				must(d.AddListener(dispatch.AnyOf(ask, other), func(_ context.Context, r result) {
					if heard.add(r.Call.ID()); first {
						first = false
						<-gate
					}
				}, dispatch.OnOutcome(func(o dispatch.Outcome) {
					if o.Member.Name != "producer-301" {
						heard.add(2)
					}
				})))
				blocks := must(d.Send(context.Background(), other, 0))
				<-blocks.Done()
				synctest.Wait()
				large := send(t, d)
				<-large.Done()
				small := must(d.Send(context.Background(), other, 0))
				<-small.Done()
				synctest.Wait() // both calls are in the mailbox
				close(gate)
				synctest.Wait()
				before := 0
				for _, id := range heard.all()[1:] {
					if id == small.ID() {
						break
					}
					before++
				}
				if before > 64 {
					t.Errorf("%d results and outcomes of call %v came before those of call %v", before, large.ID(), small.ID())
				}
			})
		})
	}
}
