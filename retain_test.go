package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/seed-bb4b4d74/dispatch"
)

// retaining keeps the last three results.
var retaining = dispatch.NewTopic[int, int]("kit.ask", dispatch.WithRetain(3))

// threeFrom is a stream producer that yields what is asked for and the numbers after it: three
// in all, a second apart.
func threeFrom(_ context.Context, from int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range 3 {
			if i > 0 {
				time.Sleep(time.Second)
			}
			if !yield(from+i, nil) {
				return
			}
		}
	}
}

// echo answers with what is asked.
func echo(_ context.Context, req int) (int, error) { return req, nil }

// heard notes results as "retained 3" or "4".
type heard struct {
	mu  sync.Mutex
	all []string
}

func (h *heard) hear(_ context.Context, r result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	text := fmt.Sprint(r.Value)
	if r.Retained {
		text = "retained " + text
	}
	h.all = append(h.all, text)
}

func (h *heard) want(t *testing.T, what, want string) {
	t.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	equal(t, what, strings.Join(h.all, ", "), want)
}

// newHeard returns what a new listener hears that asks for what is retained.
func newHeard(t *testing.T, d *dispatcher, on dispatch.Selector[int, int], o ...dispatch.ListenerOption) (*heard, *dispatch.Registration) {
	t.Helper()
	h := new(heard)
	return h, must(d.AddListener(on, h.hear, append(o, dispatch.WithRetained())...))
}

// gather makes a call for each of the requests. Results of different calls have no order, so each call is over
// for the listeners before the next one is made.
func gather(t *testing.T, d *dispatcher, on dispatch.Topic[int, int], requests ...int) {
	t.Helper()
	for _, req := range requests {
		must(d.Gather(t.Context(), on, req))
		synctest.Wait()
	}
}

func TestANewListenerFirstGetsWhatTheTopicRetains(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int]()
		must(d.AddProducer(retaining, echo))
		none, _ := newHeard(t, d, retaining)
		gather(t, d, retaining, 1, 2)
		none.want(t, "one that was there before", "1, 2")
		some, _ := newHeard(t, d, retaining)
		some.want(t, "one that came after two", "retained 1, retained 2")
		gather(t, d, retaining, 3, 4, 5)
		last, _ := newHeard(t, d, retaining)
		plain := new(heard)
		must(d.AddListener(retaining, plain.hear))
		gather(t, d, retaining, 6)
		some.want(t, "the one that came after two", "retained 1, retained 2, 3, 4, 5, 6")
		last.want(t, "one that came after five", "retained 3, retained 4, retained 5, 6")
		plain.want(t, "one without the option", "6")
		atRest(t, d.Bus())
	})
}

// A result has the same call, member and place when it is delivered later.
func TestARetainedResultIsTheResult(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int]()
		must(d.AddStreamProducer(retaining, threeFrom, dispatch.WithName("stream")))
		must(d.AddProducer(retaining, slow(500*ms, 99), dispatch.WithName("a"), dispatch.WithGroup("g")))
		type key struct{}
		c := must(d.Send(context.WithValue(t.Context(), key{}, "v"), retaining, 7))
		<-c.Done()
		var live, late []result
		for r := range c.Results() {
			live = append(live, r)
		}
		must(d.AddListener(retaining, func(ctx context.Context, r result) {
			if info, ok := dispatch.CallFrom(ctx); ctx.Value(key{}) != "v" || !ok || info.ID != c.ID() {
				t.Errorf("the context is of call %v with the value %v", info.ID, ctx.Value(key{}))
			}
			if !r.Retained {
				t.Error("it is not marked")
			}
			r.Retained = false
			late = append(late, r)
		}, dispatch.WithRetained()))
		synctest.Wait()
		if want := live[len(live)-3:]; !slices.Equal(want, late) {
			t.Errorf("got %v, want %v", late, want)
		}
		atRest(t, d.Bus())
	})
}

// Between what is retained and what follows in the same call is neither a gap nor anything
// twice, and only what happens from then on is told to the hooks.
func TestAListenerComesInTheMiddleOfACall(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int]()
		must(d.AddStreamProducer(retaining, threeFrom))
		c := must(d.Send(t.Context(), retaining, 1))
		time.Sleep(1500 * ms)
		done := 0
		h, _ := newHeard(t, d, retaining, dispatch.OnDone(func(dispatch.Report) { done++ }))
		h.want(t, "so far", "retained 1, retained 2")
		<-c.Done()
		h.want(t, "in the end", "retained 1, retained 2, 3")
		after := 0
		newHeard(t, d, retaining, dispatch.OnDone(func(dispatch.Report) { after++ }), dispatch.OnOutcome(func(dispatch.Outcome) { after++ }))
		synctest.Wait()
		equal(t, "calls of hooks", []int{done, after}, []int{1, 0})
		atRest(t, d.Bus())
	})
}

// What Stream lets go of is retained all the same.
func TestResultsOfStreamAreRetained(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int]()
		must(d.AddProducer(retaining, echo))
		for r, err := range d.Stream(t.Context(), retaining, 1) {
			if r.Value != 1 || err != nil || r.Retained {
				t.Error(r.Value, err, r.Retained)
			}
		}
		h, _ := newHeard(t, d, retaining)
		h.want(t, "a new listener", "retained 1")
	})
}

func TestHandlesShareWhatTheirTopicRetains(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int]()
		must(d.AddProducer(ask, echo))
		gather(t, d, ask, 1) // without the option nothing is kept
		two, five := dispatch.NewTopic[int, int]("kit.ask", dispatch.WithRetain(2)), dispatch.NewTopic[int, int]("kit.ask", dispatch.WithRetain(5))
		gather(t, d, two, 2, 3, 4)
		h, _ := newHeard(t, d, ask)
		h.want(t, "the last two", "retained 3, retained 4")
		gather(t, d, five, 5, 6)
		gather(t, d, two, 7)
		h, _ = newHeard(t, d, two)
		h.want(t, "with more room", "retained 3, retained 4, retained 5, retained 6, retained 7")
		gather(t, d, ask, 8)
		gather(t, d, two, 9, 10)
		h, _ = newHeard(t, d, five)
		h.want(t, "the last five", "retained 5, retained 6, retained 7, retained 9, retained 10")
	})
}

func TestSeveralTopicsComeInTheOrderOfTheirResults(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		bus := dispatch.NewBus()
		d := dispatch.On[int, int](bus)
		a := dispatch.NewTopic[int, int]("x.a", dispatch.WithRetain(2))
		b := dispatch.NewTopic[int, int]("x.b", dispatch.WithRetain(2))
		c := dispatch.NewTopic[int, int]("y.c", dispatch.WithRetain(2))
		texts := dispatch.NewTopic[int, string]("x.d", dispatch.WithRetain(2))
		must(d.AddProducer(dispatch.NewPattern[int, int](">"), echo))
		must(dispatch.On[int, string](bus).AddProducer(texts, answerAfter[int]("text", 0)))
		gather(t, d, a, 1)
		gather(t, d, b, 2)
		gather(t, d, c, 3)
		must(dispatch.On[int, string](bus).Gather(t.Context(), texts, 0))
		gather(t, d, a, 4, 5)
		for _, tt := range []struct {
			on   dispatch.Selector[int, int]
			want string
		}{
			{dispatch.NewPattern[int, int](">"), "retained 2, retained 3, retained 4, retained 5"},
			{dispatch.NewPattern[int, int]("x.*"), "retained 2, retained 4, retained 5"},
			{dispatch.AnyOf(c, b, c), "retained 2, retained 3"},
			{b, "retained 2"},
			{dispatch.NewTopic[int, int]("x.e"), ""},
			{dispatch.NewPattern[int, int]("z.*"), ""},
		} {
			h, _ := newHeard(t, d, tt.on)
			h.want(t, fmt.Sprint(tt.on), tt.want)
		}
		atRest(t, bus)
	})
}

// What is retained waits as all results do.
func TestRetainedResultsWaitInTheMailbox(t *testing.T) {
	six := dispatch.NewTopic[int, int]("kit.ask", dispatch.WithRetain(6))
	for name, test := range map[string]struct {
		option dispatch.ListenerOption
		hear   func(r result)
		want   string
	}{
		"oldest dropped": {dispatch.WithMailbox(2, dispatch.DropOldest), func(result) {}, "retained 4, retained 5, retained 6, 7"},
		"newest dropped": {dispatch.WithMailbox(2, dispatch.DropNewest), func(result) {}, "retained 1, retained 2, retained 3, 7"},
		"room for all":   {dispatch.WithMailbox(6, dispatch.DropNewest), func(result) {}, "retained 1, retained 2, retained 3, retained 4, retained 5, retained 6, 7"},
		"a panic": {dispatch.WithName("x"), func(r result) {
			if r.Value%2 == 0 {
				panic("even")
			}
		}, "retained 1, retained 2, retained 3, retained 4, retained 5, retained 6, 7"},
		"a Goexit": {dispatch.WithConcurrency(2), func(r result) {
			if r.Value%2 == 0 {
				runtime.Goexit()
			}
		}, ""},
	} {
		bubble(t, name, func(t *testing.T) {
			dropped := 0
			d := quiet[int, int](dispatch.WithObserver(dispatch.Observer{Dropped: func(context.Context, dispatch.ListenerInfo) { dropped++ }}))
			must(d.AddProducer(six, echo))
			gather(t, d, six, 1, 2, 3, 4, 5, 6)
			h := new(heard)
			must(d.AddListener(six, func(ctx context.Context, r result) {
				h.hear(ctx, r)
				test.hear(r)
			}, test.option, dispatch.WithRetained()))
			synctest.Wait()
			gather(t, d, six, 7)
			synctest.Wait()
			if test.want != "" {
				h.want(t, "what is heard", test.want)
			}
			equal(t, "heard and dropped", len(h.all)+dropped, 7)
			s := d.Bus().Snapshot().Topics[0].Listeners[0]
			equal(t, "dropped and delivered in the snapshot", []uint64{s.Dropped, s.Delivered}, []uint64{uint64(dropped), uint64(len(h.all))})
			atRest(t, d.Bus())
		})
	}
}

func TestRemovedAndDrainedInTheMiddleOfWhatIsRetained(t *testing.T) {
	bubble(t, "removed", func(t *testing.T) {
		d := quiet[int, int]()
		must(d.AddProducer(retaining, echo))
		gather(t, d, retaining, 1, 2, 3)
		release, all := make(chan struct{}), new(heard)
		l := must(d.AddListener(retaining, func(ctx context.Context, r result) {
			all.hear(ctx, r)
			<-release
		}, dispatch.WithRetained()))
		synctest.Wait()
		l.Remove()
		close(release)
		all.want(t, "after Remove", "retained 1")
		atRest(t, d.Bus())
	})
	bubble(t, "drained", func(t *testing.T) {
		d := quiet[int, int]()
		must(d.AddProducer(retaining, echo))
		gather(t, d, retaining, 1, 2, 3)
		all := new(heard)
		l := must(d.AddListener(retaining, func(ctx context.Context, r result) {
			time.Sleep(time.Second)
			all.hear(ctx, r)
		}, dispatch.WithRetained()))
		mustDrain(t, l)
		all.want(t, "after Drain", "retained 1, retained 2, retained 3")
		atRest(t, d.Bus())
	})
	bubble(t, "closed", func(t *testing.T) {
		d := quiet[int, int]()
		must(d.AddProducer(retaining, echo))
		gather(t, d, retaining, 1, 2, 3)
		release, all := make(chan struct{}), new(heard)
		must(d.AddListener(retaining, func(ctx context.Context, r result) {
			all.hear(ctx, r)
			<-release
		}, dispatch.WithRetained()))
		synctest.Wait()
		must(0, d.Close())
		close(release)
		all.want(t, "after Close", "retained 1")
		if _, err := d.AddListener(retaining, all.hear, dispatch.WithRetained()); !errors.Is(err, dispatch.ErrClosed) {
			t.Errorf("error of a listener that comes too late: %v", err)
		}
		all.want(t, "after that", "retained 1")
	})
}

// blob is a result that can be seen to have been collected.
type blob struct{ _ [1 << 10]byte }

// What is retained is let go of with the last registration of the topic, and not before.
func TestWhatIsRetainedIsFreedWithTheLastRegistration(t *testing.T) {
	on := dispatch.NewTopic[int, *blob]("x.a", dispatch.WithRetain(10))
	for name, leave := range map[string]func(d *dispatch.Dispatcher[int, *blob], last *dispatch.Registration, t *testing.T){
		"removed": func(_ *dispatch.Dispatcher[int, *blob], last *dispatch.Registration, _ *testing.T) { last.Remove() },
		"drained": func(_ *dispatch.Dispatcher[int, *blob], last *dispatch.Registration, t *testing.T) {
			mustDrain(t, last)
		},
		"closed": func(d *dispatch.Dispatcher[int, *blob], _ *dispatch.Registration, _ *testing.T) {
			must(0, d.Close())
		},
	} {
		for kind, add := range map[string]func(*dispatch.Dispatcher[int, *blob], dispatch.Selector[int, *blob]) *dispatch.Registration{
			"producer": func(d *dispatch.Dispatcher[int, *blob], on dispatch.Selector[int, *blob]) *dispatch.Registration {
				return must(d.AddProducer(on, func(context.Context, int) (*blob, error) { return nil, nil }))
			},
			"listener": func(d *dispatch.Dispatcher[int, *blob], on dispatch.Selector[int, *blob]) *dispatch.Registration {
				return must(d.AddListener(on, func(context.Context, dispatch.Result[int, *blob]) {}))
			},
		} {
			for where, selector := range map[string]dispatch.Selector[int, *blob]{"by name": on, "by pattern": dispatch.NewPattern[int, *blob]("x.*")} {
				t.Run(name+"/"+kind+" "+where, func(t *testing.T) {
					d := quiet[int, *blob]()
					var made []weak.Pointer[blob]
					p := must(d.AddProducer(on, func(context.Context, int) (*blob, error) {
						b := new(blob)
						made = append(made, weak.Make(b))
						return b, nil
					}))
					for range 10 {
						must(d.Gather(t.Context(), on, 0))
					}
					last := add(d, selector)
					p.Remove()
					if kept := reachable(made, 10); kept != 10 {
						t.Errorf("%d results are there while there is a registration, want 10", kept)
					}
					leave(d, last, t)
					// The runtime may hold stopped timers, and with them a few calls.
					if kept := reachable(made, 3); kept > 3 {
						t.Errorf("%d results are kept", kept)
					}
					runtime.KeepAlive(d)
				})
			}
		}
	}
}

// Who comes after all have left finds nothing, even if a call has gone on meanwhile.
func TestNothingIsRetainedForATopicThatAllHaveLeft(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int]()
		p := must(d.AddStreamProducer(retaining, threeFrom))
		c := must(d.Send(t.Context(), retaining, 1))
		time.Sleep(500 * ms)
		p.Remove()
		<-c.Done()
		equal(t, "results", len(slices.Collect(c.Results())), 3)
		h, _ := newHeard(t, d, retaining)
		h.want(t, "a listener that comes then", "")
		must(d.AddProducer(retaining, echo))
		gather(t, d, retaining, 9)
		h, _ = newHeard(t, d, retaining)
		h.want(t, "one that comes after a call", "retained 9")
	})
}

// The name of a topic can go over to other types, which do not get its results.
func TestATopicOfOtherTypesHasResultsOfItsOwn(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		bus := dispatch.NewBus()
		d, e := dispatch.On[int, int](bus), dispatch.On[int, string](bus)
		p := must(d.AddProducer(retaining, echo))
		gather(t, d, retaining, 1)
		must(d.AddListener(dispatch.NewPattern[int, int]("kit.*"), ignore))
		p.Remove()
		texts := dispatch.NewTopic[int, string]("kit.ask", dispatch.WithRetain(3))
		must(e.AddProducer(texts, answerAfter[int]("text", 0)))
		var got []string
		hears := func(_ context.Context, r dispatch.Result[int, string]) { got = append(got, r.Value) }
		must(e.AddListener(texts, hears, dispatch.WithRetained()))
		synctest.Wait()
		equal(t, "before a call", len(got), 0)
		must(e.Gather(t.Context(), texts, 0))
		synctest.Wait() // both have the same callback
		must(e.AddListener(texts, hears, dispatch.WithRetained()))
		synctest.Wait()
		equal(t, "after a call", got, []string{"text", "text"})
		h, _ := newHeard(t, d, dispatch.NewPattern[int, int](">"))
		h.want(t, "the pattern", "retained 1")
	})
}

// Listeners that come while results arrive on all sides get each result once, what is
// retained first, and nothing of a call after its end has been told.
func TestListenersThatComeWhileResultsArrive(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		const streams, each, listeners = 4, 200, 30
		all := dispatch.NewTopic[int, int]("x.all", dispatch.WithTimeout(time.Hour), dispatch.WithRetain(streams*each*2))
		bus := dispatch.NewBus(dispatch.WithLogger(slog.New(slog.DiscardHandler)))
		d := dispatch.On[int, int](bus)
		must(d.AddStreamProducer(all, func(_ context.Context, from int) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				for i := range each {
					if !yield(from+i, nil) {
						return
					}
					if i%16 == 0 {
						runtime.Gosched()
					}
				}
			}
		}))
		var senders sync.WaitGroup
		for s := range streams {
			senders.Go(func() {
				for half := range 2 {
					must(d.Gather(context.Background(), all, (2*s+half)*each))
				}
			})
		}
		heard := make([][]int, listeners)
		var wrong atomic.Int32
		for i := range listeners {
			var on dispatch.Selector[int, int] = all
			if i%2 == 0 {
				on = dispatch.NewPattern[int, int]("x.>")
			}
			live, ended := false, make(map[dispatch.CallID]bool)
			must(d.AddListener(on, func(_ context.Context, r result) {
				if r.Retained && live || ended[r.Call.ID()] {
					wrong.Add(1)
				}
				live = live || !r.Retained
				heard[i] = append(heard[i], r.Value)
			}, dispatch.WithRetained(), dispatch.OnDone(func(r dispatch.Report) { ended[r.Call] = true })))
			runtime.Gosched()
		}
		senders.Wait()
		if err := bus.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := wrong.Load(); n > 0 {
			t.Errorf("%d results came after live ones, or after the end of their calls", n)
		}
		for i, got := range heard {
			slices.Sort(got)
			if n := len(slices.Compact(slices.Clone(got))); n != len(got) || n != 2*streams*each {
				t.Fatalf("listener %d has heard %d results, %d different ones, want %d", i, len(got), n, 2*streams*each)
			}
		}
	})
}

// Listeners that come and go while results arrive have heard of each call all results up to
// some Seq: none is missing where what is retained ends and what follows begins.
func TestListenersThatComeAndGoMissNothing(t *testing.T) {
	onProcessors(t, func(t *testing.T) {
		const streams, each = 4, 150
		all := dispatch.NewTopic[int, int]("x.all", dispatch.WithTimeout(time.Hour), dispatch.WithRetain(streams*each))
		d := quiet[int, int]()
		must(d.AddStreamProducer(all, func(_ context.Context, _ int) iter.Seq2[int, error] {
			return func(yield func(int, error) bool) {
				for i := 0; i < each && yield(i, nil); i++ {
					runtime.Gosched()
				}
			}
		}))
		var senders, comers sync.WaitGroup
		for range streams {
			senders.Go(func() { must(d.Gather(context.Background(), all, 0)) })
		}
		sent := make(chan struct{})
		go func() {
			senders.Wait()
			close(sent)
		}()
		for range 4 {
			comers.Go(func() {
				for last := false; !last; {
					select {
					case <-sent:
						last = true
					default:
					}
					next := make(map[dispatch.CallID]int)
					l := must(d.AddListener(all, func(_ context.Context, r result) {
						if r.Seq != next[r.Call.ID()] {
							t.Errorf("result %d of call %v came, want %d (retained: %t)", r.Seq, r.Call.ID(), next[r.Call.ID()], r.Retained)
						}
						next[r.Call.ID()] = r.Seq + 1
					}, dispatch.WithRetained()))
					runtime.Gosched()
					mustDrain(t, l)
				}
			})
		}
		comers.Wait()
		if err := d.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestInvalidRetainsAreRefused(t *testing.T) {
	for n, want := range map[int]string{0: "WithRetain(0)", -1: "WithRetain(-1)"} {
		_, err := dispatch.ParseTopic[int, int]("a", dispatch.WithRetain(n))
		invalidOption(t, err, want)
	}
	if _, err := dispatch.ParseTopic[int, int]("a", dispatch.WithRetain(math.MaxInt)); err != nil {
		t.Errorf("a large number is refused: %v", err)
	}
}

// Only listeners of the types of a topic get what is retained of it, also if they have a pattern.
func TestAPatternGetsWhatIsRetainedOfItsOwnTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		numbers := quiet[int, int]()
		topic := dispatch.NewTopic[int, int]("kit.numbers", dispatch.WithRetain(5))
		must(numbers.AddProducer(topic, func(context.Context, int) (int, error) { return 1, nil }))
		must(numbers.Gather(t.Context(), topic, 1))
		texts := dispatch.On[string, string](numbers.Bus())
		heard := 0
		must(texts.AddListener(dispatch.NewPattern[string, string]("kit.*"),
			func(context.Context, dispatch.Result[string, string]) { heard++ }, dispatch.WithRetained()))
		l := must(numbers.AddListener(dispatch.NewPattern[int, int]("kit.*"),
			func(context.Context, dispatch.Result[int, int]) { heard += 10 }, dispatch.WithRetained()))
		synctest.Wait()
		if s := numbers.Bus().Snapshot().Patterns.Listeners[0]; heard != 10 || s.Queued != 0 || s.Panicked != 0 {
			t.Errorf("%d is heard, and the listener of other types is %+v", heard, s)
		}
		l.Remove()
	})
}

// The callbacks for retained results have returned before anything else is delivered, also if callbacks overlap.
func TestRetainedResultsComeFirstAlsoConcurrently(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
		topic := dispatch.NewTopic[int, int](ask.Name(), dispatch.WithRetain(3))
		addStream(t, d, "a", ticking(time.Second, 1, 2, 3, 4, 5, 6))
		c := must(d.Send(t.Context(), topic, 0))
		time.Sleep(3500 * time.Millisecond)
		var n notes
		listen(t, d, func(_ context.Context, r result) {
			if r.Retained {
				time.Sleep(time.Duration(5-r.Seq) * time.Second)
			}
			time.Sleep(time.Duration(r.Seq) * time.Millisecond) // so that overlapping callbacks have an order
			n.add("result %d", r.Seq)
		}, dispatch.WithRetained(), dispatch.WithConcurrency(3), dispatch.OnDone(func(dispatch.Report) { n.add("done") }))
		<-c.Done()
		time.Sleep(time.Minute)
		synctest.Wait()
		wantLines(t, n.all(), "result 2", "result 1", "result 0", "result 3", "result 4", "result 5", "done")
	})
}

// What waits for retained results is then delivered at the same time as far as WithConcurrency permits.
func TestCallsThatWaitForRetainedResultsOverlapAfterwards(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d, _ := newDispatcher()
		topic := dispatch.NewTopic[int, int](ask.Name(), dispatch.WithRetain(1))
		produce(t, d, "a", quick(1))
		gather := func() { must(d.Gather(t.Context(), topic, 0)) }
		gather()
		began := time.Now()
		var n notes
		listen(t, d, func(_ context.Context, r result) {
			time.Sleep(time.Second)
			n.add("after %v", time.Since(began))
		}, dispatch.WithRetained(), dispatch.WithConcurrency(3))
		for range 3 {
			gather()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		wantLines(t, n.all(), "after 1s", "after 2s", "after 2s", "after 2s")
	})
}
