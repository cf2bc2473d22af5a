package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

// The behaviour that the first screen of the README promises, in one test: who
// answers is heard as it answers, and the report names those that do not.
func TestAskEveryoneAndKnowWhoDidNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		measure := dispatch.NewTopic[string, float64]("cell.measure", dispatch.WithTimeout(2*time.Second))
		cell := dispatch.New[string, float64]()
		for site, takes := range map[string]time.Duration{"site-1": 300 * time.Millisecond, "site-2": 200 * time.Millisecond, "site-3": 9 * time.Second} {
			_, err := cell.AddProducer(measure, func(ctx context.Context, _ string) (float64, error) {
				select {
				case <-time.After(takes):
					return takes.Seconds(), nil
				case <-ctx.Done():
					return 0, context.Cause(ctx)
				}
			}, dispatch.WithName(site))
			if err != nil {
				t.Fatal(err)
			}
		}
		var heard []string
		if _, err := cell.AddListener(measure, func(_ context.Context, r dispatch.Result[string, float64]) {
			heard = append(heard, r.From.Name)
		}); err != nil {
			t.Fatal(err)
		}

		began := time.Now()
		values, err := cell.Gather(t.Context(), measure, "vdd")
		if got := time.Since(began); got != 2*time.Second {
			t.Errorf("the call took %v, want its timeout", got)
		}
		synctest.Wait()
		if diff := cmp.Diff([]string{"site-2", "site-1"}, heard); diff != "" {
			t.Errorf("listener (-want +got):\n%s", diff)
		}
		if len(values) != 2 {
			t.Errorf("got %d values, want 2", len(values))
		}
		var partial *dispatch.PartialError
		if !errors.As(err, &partial) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error is %v, want a PartialError with the deadline", err)
		}
		states := map[string]dispatch.State{}
		for _, o := range partial.Report.Outcomes {
			states[o.Member.Name] = o.State
		}
		want := map[string]dispatch.State{"site-1": dispatch.StateOK, "site-2": dispatch.StateOK, "site-3": dispatch.StateLate}
		if diff := cmp.Diff(want, states); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
	})
}

// Close and the timer may meet a Stream that begins: it ends all the same, with what there
// was and, if that is not the whole answer, with one error that says why.
func TestStreamThatMeetsTheEndOfItsBusEnds(t *testing.T) {
	for range 2000 {
		d := quiet[int, int]()
		produce(t, d, "a", quick(1))
		var wg sync.WaitGroup
		wg.Go(func() { d.Close() })
		results, errs := 0, 0
		for r, err := range d.Stream(context.Background(), ask, 0, dispatch.WithTimeout(1)) {
			switch {
			case err == nil && r.Value == 1 && r.Seq == 0:
				results++
			case errors.Is(err, dispatch.ErrClosed), errors.Is(err, context.DeadlineExceeded):
				errs++
			default:
				t.Errorf("it yields %+v, %v", r, err)
			}
		}
		if wg.Wait(); results > 1 || errs > 1 || results+errs == 0 {
			t.Fatalf("it yielded %d results and %d errors", results, errs)
		}
	}
}

func TestMembersAreThoseThatWouldBeAsked(t *testing.T) {
	d, _ := newDispatcher()
	want := func(want ...dispatch.Member) {
		t.Helper()
		equal(t, "members", d.Members(ask), want)
	}
	want()
	addRelay(t, d, "r", func(context.Context, int, roster) error { return nil })
	want() // nil, and not an empty list
	produce(t, d, "a", quick(1))
	produce(t, d, "g1", quick(1), dispatch.WithGroup("g"))
	must(d.AddProducer(dispatch.NewPattern[int, int]("kit.>"), quick(1), dispatch.WithName("p")))
	produce(t, d, "g2", quick(1), dispatch.WithGroup("g"))
	want(dispatch.Member{Name: "a"}, dispatch.Member{Group: "g"}, dispatch.Member{Name: "p"})

	texts := dispatch.On[string, string](d.Bus())
	if m := texts.Members(dispatch.NewTopic[string, string](ask.Name())); m != nil {
		t.Errorf("members of other types: %v", m)
	}
	if m := texts.Members(dispatch.Topic[string, string]{}); m != nil {
		t.Errorf("members of the zero topic: %v", m)
	}
	if m := new(dispatcher).Members(ask); m != nil {
		t.Errorf("members on the zero dispatcher: %v", m)
	}
}

// The tests with sites are the scenarios of the Python program whose users this library
// wants to have: those of its tests and README, which have to work here, and those in
// which it failed.

// siteRequest and siteResponse are what ate-dispatcher passes as *args, **kwargs
// and gives as a dict.
type siteRequest struct {
	Args    []int
	Keyword string
}

type siteResponse struct {
	ID      int
	Topic   string
	Request siteRequest
}

type siteDispatcher = dispatch.Dispatcher[siteRequest, siteResponse]

var askSites = siteRequest{[]int{3, 4, 5}, "b"}

// site returns a producer that responds after some milliseconds with its ID
// and what it was asked.
func site(id int, milliseconds time.Duration) dispatch.Producer[siteRequest, siteResponse] {
	return func(ctx context.Context, req siteRequest) (siteResponse, error) {
		call, _ := dispatch.CallFrom(ctx)
		time.Sleep(milliseconds * time.Millisecond)
		return siteResponse{id, call.Topic, req}, nil
	}
}

func TestTwoProducersAndTwoListeners(t *testing.T) {
	topic := dispatch.NewTopic[siteRequest, siteResponse]("a")
	p0, p1 := siteResponse{0, "a", askSites}, siteResponse{1, "a", askSites}
	tests := []struct {
		name    string
		timeout time.Duration
		want    []siteResponse
		ends    string
		reason  dispatch.Reason
		elapsed time.Duration
	}{
		{"all answer in time and the call does not take 4 s", 4 * time.Second, []siteResponse{p1, p0}, "P0 ok P1 ok", dispatch.ReasonAllEnded, time.Second},
		{"one is late and the report names it", 600 * time.Millisecond, []siteResponse{p1}, "P0 late P1 ok", dispatch.ReasonDeadline, 600 * time.Millisecond},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T) {
			d := quiet[siteRequest, siteResponse]()
			must(d.AddProducer(topic, site(0, 1000), dispatch.WithName("P0")))
			must(d.AddProducer(topic, site(1, 500), dispatch.WithName("P1")))
			var heard [2]events[siteResponse]
			for i := range heard {
				must(d.AddListener(topic, hear[siteRequest](&heard[i])))
			}
			start := time.Now()
			c := must(d.Send(t.Context(), topic, askSites, dispatch.WithTimeout(tt.timeout)))
			<-c.Done()
			equal(t, "end by the clock", time.Since(start), tt.elapsed)
			r := c.Report()
			equal(t, "outcomes", states(r), tt.ends)
			equal(t, "reason", r.Reason, tt.reason)
			equal(t, "duration", r.Elapsed, tt.elapsed)
			time.Sleep(time.Minute) // what was late is not delivered either
			for i := range heard {
				equal(t, "heard, in the order of arrival", heard[i].take(), tt.want)
			}
		})
	}
}

// TestProducersAndListenersOnSeveralTopics is the program in ate-dispatcher's README, with what it says
// the listeners have received.
func TestProducersAndListenersOnSeveralTopics(t *testing.T) {
	topic1 := dispatch.NewTopic[siteRequest, siteResponse]("topic1", dispatch.WithTimeout(4*time.Second))
	topic2 := dispatch.NewTopic[siteRequest, siteResponse]("topic2", dispatch.WithTimeout(time.Second))
	myTopic := dispatch.NewTopic[siteRequest, siteResponse]("my_topic", dispatch.WithTimeout(300*time.Millisecond))
	bubble(t, "", func(t *testing.T) {
		d := quiet[siteRequest, siteResponse]()
		// A registration is removed as a whole, so the one that is to end early
		// on one of its topics is made of two.
		first := must(d.AddProducer(topic1, site(0, 200), dispatch.WithName("producer1")))
		must(d.AddProducer(myTopic, site(0, 200), dispatch.WithName("producer1")))
		must(d.AddProducer(dispatch.AnyOf(topic1, topic2, myTopic), site(1, 500), dispatch.WithName("producer2")))
		var heard [2]events[siteResponse]
		must(d.AddListener(dispatch.AnyOf(topic1, topic2, myTopic), hear[siteRequest](&heard[0]), dispatch.WithName("listener1")))
		must(d.AddListener(topic1, hear[siteRequest](&heard[1]), dispatch.WithName("listener2")))
		second := must(d.AddListener(myTopic, hear[siteRequest](&heard[1]), dispatch.WithName("listener2")))

		type step struct {
			topic    dispatch.Topic[siteRequest, siteResponse]
			ends     string
			elapsed  time.Duration
			received [2][]siteResponse
		}
		answer := func(id int, topic string) siteResponse { return siteResponse{id, topic, askSites} }
		walk := func(when string, steps []step) {
			for _, s := range steps {
				c := must(d.Send(t.Context(), s.topic, askSites))
				<-c.Done()
				time.Sleep(time.Second)
				what := s.topic.Name() + ", " + when
				equal(t, what+": outcomes", states(c.Report()), s.ends)
				equal(t, what+": duration", c.Report().Elapsed, s.elapsed)
				for i := range heard {
					equal(t, what+": heard", heard[i].take(), s.received[i])
				}
			}
		}
		walk("all there", []step{
			{
				topic1, "producer1 ok producer2 ok", 500 * time.Millisecond,
				[2][]siteResponse{{answer(0, "topic1"), answer(1, "topic1")}, {answer(0, "topic1"), answer(1, "topic1")}},
			},
			{
				myTopic, "producer1 ok producer2 late", 300 * time.Millisecond,
				[2][]siteResponse{{answer(0, "my_topic")}, {answer(0, "my_topic")}},
			},
			{
				topic2, "producer2 ok", 500 * time.Millisecond,
				[2][]siteResponse{{answer(1, "topic2")}, nil},
			},
		})
		second.Remove()
		first.Remove()
		walk("after deregistration", []step{
			{
				topic1, "producer2 ok", 500 * time.Millisecond,
				[2][]siteResponse{{answer(1, "topic1")}, {answer(1, "topic1")}},
			},
			{
				myTopic, "producer1 ok producer2 late", 300 * time.Millisecond,
				[2][]siteResponse{{answer(0, "my_topic")}, nil},
			},
			{
				topic2, "producer2 ok", 500 * time.Millisecond,
				[2][]siteResponse{{answer(1, "topic2")}, nil},
			},
		})
		// Nothing has to be removed before the end.
		atRest(t, d.Bus())
		if _, err := d.Send(t.Context(), topic1, askSites); !errors.Is(err, dispatch.ErrClosed) {
			t.Errorf("after the end: got %v, want ErrClosed", err)
		}
	})
}

func TestRegistrationsMayChangeUnderACall(t *testing.T) {
	topic := dispatch.NewTopic[siteRequest, siteResponse]("a")
	tests := []struct {
		name   string
		change func(d *siteDispatcher, heard *events[siteResponse], producer, listener *dispatch.Registration)
		want   []int // the IDs that the listener of the test's beginning has heard, then those of a new one
		new    []int
	}{
		{
			"a listener added before the reply receives it",
			func(d *siteDispatcher, heard *events[siteResponse], _, _ *dispatch.Registration) {
				must(d.AddListener(topic, hear[siteRequest](heard)))
			},
			[]int{1, 0},
			[]int{0},
		},
		{
			"a listener removed before the reply does not",
			func(_ *siteDispatcher, _ *events[siteResponse], _, listener *dispatch.Registration) {
				listener.Remove()
			},
			[]int{1},
			nil,
		},
		{
			"a producer removed in flight still delivers",
			func(_ *siteDispatcher, _ *events[siteResponse], producer, _ *dispatch.Registration) {
				producer.Remove()
			},
			[]int{1, 0},
			nil,
		},
		{
			"a producer added in flight is not asked",
			func(d *siteDispatcher, _ *events[siteResponse], _, _ *dispatch.Registration) {
				must(d.AddProducer(topic, site(9, 0)))
			},
			[]int{1, 0},
			nil,
		},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T) {
			d := quiet[siteRequest, siteResponse]()
			var heard, heardByNew events[siteResponse]
			p := must(d.AddProducer(topic, site(0, 1000)))
			must(d.AddProducer(topic, site(1, 500)))
			l := must(d.AddListener(topic, hear[siteRequest](&heard)))
			c := must(d.Send(t.Context(), topic, askSites))
			time.Sleep(750 * time.Millisecond)
			tt.change(d, &heardByNew, p, l)
			<-c.Done()
			atRest(t, d.Bus())
			equal(t, "outcomes", states(c.Report()), "producer-1 ok producer-2 ok")
			equal(t, "heard", siteIDs(&heard), tt.want)
			equal(t, "heard by a new listener", siteIDs(&heardByNew), tt.new)
		})
	}
}

func siteIDs(heard *events[siteResponse]) (ids []int) {
	for _, r := range heard.take() {
		ids = append(ids, r.ID)
	}
	return ids
}

// TestAskingGoesOnAfterFailures makes each of its failures and then asks
// again as if nothing had been.
func TestAskingGoesOnAfterFailures(t *testing.T) {
	topic := dispatch.NewTopic[siteRequest, siteResponse]("a")
	raise := func(context.Context, siteRequest) (siteResponse, error) { panic("broken") }

	bubble(t, "a request without producers leaves nothing behind", func(t *testing.T) {
		d := quiet[siteRequest, siteResponse]()
		must(d.AddListener(topic, func(context.Context, dispatch.Result[siteRequest, siteResponse]) {}))
		c := must(d.Send(t.Context(), topic, askSites, dispatch.WithTimeout(4*time.Second)))
		r := c.Report()
		equal(t, "reason", r.Reason, dispatch.ReasonNoProducers)
		equal(t, "duration", r.Elapsed, 0)
		if _, err := d.Gather(t.Context(), topic, askSites); !errors.Is(err, dispatch.ErrNoProducers) {
			t.Errorf("Gather: got %v, want ErrNoProducers", err)
		}
		atRest(t, d.Bus())
	})

	for name, broken := range map[string]dispatch.Producer[siteRequest, siteResponse]{
		"panics":  raise,
		"returns": func(context.Context, siteRequest) (siteResponse, error) { return siteResponse{}, errors.New("broken") },
	} {
		bubble(t, "a producer that raises is asked again, "+name, func(t *testing.T) {
			d := quiet[siteRequest, siteResponse]()
			var heard events[siteResponse]
			must(d.AddListener(topic, hear[siteRequest](&heard)))
			var asked atomic.Int32
			must(d.AddProducer(topic, func(ctx context.Context, req siteRequest) (siteResponse, error) {
				if asked.Add(1) == 1 {
					return broken(ctx, req)
				}
				return site(0, 100)(ctx, req)
			}))
			must(d.AddProducer(topic, site(1, 500)))
			for i, want := range [][]int{{1}, {0, 1}, {0, 1}} {
				c := must(d.Send(t.Context(), topic, askSites))
				<-c.Done()
				synctest.Wait()
				equal(t, "duration", c.Report().Elapsed, 500*time.Millisecond)
				equal(t, "complete", c.Report().Complete(), i > 0)
				equal(t, "heard", siteIDs(&heard), want)
			}
			atRest(t, d.Bus())
		})
	}

	bubble(t, "a listener that raises goes on", func(t *testing.T) {
		d := quiet[siteRequest, siteResponse]()
		var heard, heardByOther events[siteResponse]
		var done atomic.Int32
		must(d.AddProducer(topic, site(0, 1000)))
		must(d.AddProducer(topic, site(1, 500)))
		must(d.AddListener(topic, func(_ context.Context, r dispatch.Result[siteRequest, siteResponse]) {
			heard.add(r.Value)
			panic("broken")
		}, dispatch.OnDone(func(dispatch.Report) { done.Add(1) })))
		must(d.AddListener(topic, hear[siteRequest](&heardByOther)))
		for range 2 {
			c := must(d.Send(t.Context(), topic, askSites))
			<-c.Done()
			synctest.Wait()
			equal(t, "heard", siteIDs(&heard), []int{1, 0})
			equal(t, "heard by the other", siteIDs(&heardByOther), []int{1, 0})
		}
		equal(t, "OnDone", done.Load(), 2)
		atRest(t, d.Bus())
	})

	bubble(t, "a slow producer on two topics does not starve the second", func(t *testing.T) {
		d := quiet[siteRequest, siteResponse]()
		other := dispatch.NewTopic[siteRequest, siteResponse]("b")
		must(d.AddProducer(dispatch.AnyOf(topic, other), func(ctx context.Context, req siteRequest) (siteResponse, error) {
			if call, _ := dispatch.CallFrom(ctx); call.Topic == "a" {
				return site(0, 10_000)(ctx, req)
			}
			return site(0, 100)(ctx, req)
		}))
		slow := must(d.Send(t.Context(), topic, askSites))
		synctest.Wait()
		quick := must(d.Send(t.Context(), other, askSites))
		<-quick.Done()
		equal(t, "outcome", states(quick.Report()), "producer-1 ok")
		equal(t, "duration", quick.Report().Elapsed, 100*time.Millisecond)
		<-slow.Done()
		equal(t, "outcome of the slow one", states(slow.Report()), "producer-1 late")
	})

	bubble(t, "expired work is never started", func(t *testing.T) {
		d := quiet[siteRequest, siteResponse]()
		var asked events[int]
		// One request at a time is all that the predecessor could do.
		must(d.AddProducer(topic, func(ctx context.Context, req siteRequest) (siteResponse, error) {
			asked.add(req.Args[0])
			return site(0, 1000)(ctx, req)
		}, dispatch.WithConcurrency(1)))
		var ends []string
		var calls []*dispatch.Call[siteRequest, siteResponse]
		for i := range 5 {
			calls = append(calls, must(d.Send(t.Context(), topic, siteRequest{Args: []int{i}}, dispatch.WithTimeout(2500*time.Millisecond))))
			synctest.Wait()
		}
		for i, c := range calls {
			<-c.Done()
			ends = append(ends, states(c.Report()))
			equal(t, "Started", c.Report().Outcomes[0].Started, i < 3)
		}
		equal(t, "outcomes", ends, []string{"producer-1 ok", "producer-1 ok", "producer-1 late", "producer-1 late", "producer-1 late"})
		time.Sleep(time.Minute)
		equal(t, "asked", asked.take(), []int{0, 1, 2})
		atRest(t, d.Bus())
	})
}

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		asked := 0
		produce(t, d, "a", func(context.Context, int) (int, error) {
			asked++
			return 1, nil
		})
		produce(t, d, "b", slow(time.Second, 2))
		produce(t, d, "c", slow(2*time.Second, 3))

		stream := d.Stream(context.Background(), ask, 7)
		synctest.Wait()
		if asked != 0 {
			t.Error("the request was sent before the stream was ranged over")
		}
		began := time.Now()
		var got []int
		for r, err := range stream {
			if err != nil {
				t.Errorf("a complete answer ends with %v", err)
				continue
			}
			if r.Call.Request() != 7 || r.Seq != len(got) || time.Since(began) != time.Duration(len(got))*time.Second {
				t.Errorf("result %+v after %v", r, time.Since(began))
			}
			got = append(got, r.Value)
		}
		if diff := cmp.Diff([]int{1, 2, 3}, got); diff != "" {
			t.Errorf("values (-want +got):\n%s", diff)
		}
		pairs := 0
		for r, err := range stream {
			if pairs++; !errors.Is(err, dispatch.ErrStreamUsed) || r.Call != nil {
				t.Errorf("a second use yields %+v, %v", r, err)
			}
		}
		synctest.Wait()
		if pairs != 1 || asked != 1 {
			t.Errorf("a second use yields %d pairs, asked %d times", pairs, asked)
		}
		logged.nothing(t)
	})
}

func TestStreamThatIsLeftCancels(t *testing.T) {
	for name, leave := range map[string]func(){"break": nil, "panic": func() { panic("left") }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				var cause error
				produce(t, d, "a", quick(1))
				produce(t, d, "b", func(ctx context.Context, _ int) (int, error) {
					<-ctx.Done()
					cause = context.Cause(ctx)
					return 0, ctx.Err()
				})
				var c *inFlight
				func() {
					defer func() { _ = recover() }()
					for r := range d.Stream(context.Background(), ask, 0) {
						c = r.Call
						if leave != nil {
							leave()
						}
						break
					}
				}()
				synctest.Wait()
				expect(t, c.Report(), "canceled: a ok, b canceled")
				if !errors.Is(cause, context.Canceled) {
					t.Errorf("cause is %v", cause)
				}
			})
		})
	}
}

func TestStreamEndsWithTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		produce(t, d, "a", quick(1))
		produce(t, d, "b", patient)
		var pairs []string
		for r, err := range d.Stream(context.Background(), ask, 0, dispatch.WithTimeout(time.Second)) {
			var partial *dispatch.PartialError
			if errors.As(err, &partial) && r == (result{}) {
				pairs = append(pairs, told(partial.Report))
				continue
			}
			pairs = append(pairs, fmt.Sprint(r.Value, err))
		}
		if diff := cmp.Diff([]string{"1 <nil>", "deadline: a ok, b late"}, pairs); diff != "" {
			t.Errorf("pairs (-want +got):\n%s", diff)
		}
		pairs = nil
		for _, err := range d.Stream(context.Background(), ask, 0, dispatch.WithQuorum(1)) {
			pairs = append(pairs, fmt.Sprint(err))
		}
		if diff := cmp.Diff([]string{"<nil>"}, pairs); diff != "" {
			t.Errorf("satisfied (-want +got):\n%s", diff)
		}
		for range 3 {
			n := 0
			for _, err := range d.Stream(context.Background(), ask, 0, dispatch.WithTimeout(-1)) {
				if n++; !errors.Is(err, dispatch.ErrInvalidOption) {
					t.Errorf("an invalid option yields %v", err)
				}
			}
			if n != 1 {
				t.Errorf("%d pairs", n)
			}
		}
	})
}

// The call of a Stream is a call like any other to those who get hold of it.
func TestStreamsCallCanBeReadByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		for i := range 4 {
			produce(t, d, fmt.Sprint(i), slow(time.Duration(i)*time.Second, i))
		}
		var readers sync.WaitGroup
		listen(t, d, func(_ context.Context, r result) {
			readers.Go(func() {
				last := -1
				for r := range r.Call.Results() {
					if r.Value <= last {
						t.Errorf("%d came after %d", r.Value, last)
					}
					last = r.Value
				}
				if last != 3 && last != -1 {
					t.Errorf("the last result read is %d", last)
				}
			})
		})
		for r, err := range d.Stream(context.Background(), ask, 0) {
			if err != nil {
				t.Error(err)
			}
			if r.Value == 2 {
				for later := range r.Call.Results() {
					if later.Value != 3 {
						t.Errorf("another reader gets %d, want only what is yet to come", later.Value)
					}
				}
			}
		}
		synctest.Wait() // all listeners have been called
		readers.Wait()
		logged.nothing(t)
	})
}

func TestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		var cause error
		produce(t, d, "slower", func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return 0, ctx.Err()
		})
		produce(t, d, "failing", failing(errBroken))
		b := produce(t, d, "quick", slow(time.Second, 2))
		// An option of the caller's own must not be overwritten in its array.
		opts := make([]dispatch.CallOption, 1, 2)
		opts[0] = dispatch.WithTimeout(3 * time.Second)
		if v, err := d.First(context.Background(), ask, 0, opts...); v != 2 || err != nil {
			t.Errorf("First = %v, %v", v, err)
		}
		synctest.Wait()
		if !errors.Is(cause, dispatch.ErrSatisfied) || opts[:2][1] != nil {
			t.Errorf("cause is %v, options are %v", cause, opts[:2])
		}

		b.Remove()
		v, err := d.First(context.Background(), ask, 0, opts...)
		var partial *dispatch.PartialError
		if v != 0 || !errors.As(err, &partial) || !errors.Is(err, errBroken) {
			t.Fatalf("First = %v, %v", v, err)
		}
		expect(t, partial.Report, "deadline: slower late, failing failed")
	})
}

func TestGatherKeepsTheOrderOfRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 6
		d, _ := newDispatcher()
		for i := range n {
			produce(t, d, fmt.Sprint("p", i), slow(time.Duration(n-i)*time.Second, i))
		}
		opts := dispatch.WithTimeout(time.Minute)
		values, err := d.Gather(context.Background(), ask, 0, opts)
		if diff := cmp.Diff([]int{0, 1, 2, 3, 4, 5}, values); diff != "" || err != nil {
			t.Errorf("%v, values (-want +got):\n%s", err, diff)
		}
		values, err = d.Gather(context.Background(), ask, 0, opts, dispatch.WithQuorum(3))
		if diff := cmp.Diff([]int{3, 4, 5}, values); diff != "" || err != nil {
			t.Errorf("satisfied: %v, values (-want +got):\n%s", err, diff)
		}
		values, err = d.Gather(context.Background(), ask, 0, dispatch.WithTimeout(2500*time.Millisecond))
		var partial *dispatch.PartialError
		if diff := cmp.Diff([]int{4, 5}, values); diff != "" || !errors.As(err, &partial) {
			t.Errorf("partial: %v, values (-want +got):\n%s", err, diff)
		}
	})
}

// First has nothing to return if there is no result, and says so.
func TestFirstOfStreamsWithoutResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		addStream(t, d, "a", yielding())
		if v, err := d.First(context.Background(), ask, 0); err == nil {
			t.Errorf("First returns %d without an error, and there was no result", v)
		}
	})
}

// First returns the first result, also of a member that goes on.
func TestFirstOfMembersThatGoOn(t *testing.T) {
	for name, register := range map[string]func(t *testing.T, d *dispatcher, cause *error){
		"a stream": func(t *testing.T, d *dispatcher, cause *error) {
			addStream(t, d, "a", func(ctx context.Context, _ int) iter.Seq2[int, error] {
				return func(yield func(int, error) bool) {
					time.Sleep(time.Second)
					if yield(42, nil) {
						<-ctx.Done()
					}
					*cause = context.Cause(ctx)
				}
			})
		},
		"a stream that never looks up": func(t *testing.T, d *dispatcher, cause *error) {
			addStream(t, d, "a", func(ctx context.Context, _ int) iter.Seq2[int, error] {
				return func(yield func(int, error) bool) {
					for i := 42; ; i++ {
						if time.Sleep(time.Second); !yield(i, nil) {
							*cause = context.Cause(ctx)
							return
						}
					}
				}
			})
		},
		"a member elsewhere": func(t *testing.T, d *dispatcher, cause *error) {
			addRelay(t, d, "r", func(ctx context.Context, _ int, to roster) error {
				to.Name(far("a"))
				time.Sleep(time.Second)
				to.Result(far("a"), 42)
				<-ctx.Done()
				*cause = context.Cause(ctx)
				return nil
			})
		},
		"a stream beside others": func(t *testing.T, d *dispatcher, cause *error) {
			produce(t, d, "patient", patient)
			produce(t, d, "broken", failing(errBroken))
			addStream(t, d, "a", func(ctx context.Context, _ int) iter.Seq2[int, error] {
				return func(yield func(int, error) bool) {
					time.Sleep(time.Second)
					yield(42, nil)
					<-ctx.Done()
					*cause = context.Cause(ctx)
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher(dispatch.WithTimeout(time.Minute))
				var cause error
				register(t, d, &cause)
				began := time.Now()
				v, err := d.First(t.Context(), ask, 0)
				if took := time.Since(began); v != 42 || err != nil || took != time.Second {
					t.Errorf("First = %d, %v after %v", v, err, took)
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if !errors.Is(cause, dispatch.ErrSatisfied) {
					t.Errorf("the member was ended because of %v", cause)
				}
			})
		})
	}
}

// Gather returns the error of the report of its call.
func TestGatherReturnsTheErrorOfTheReport(t *testing.T) {
	for name, tt := range map[string]struct {
		producers []producer
		opts      []dispatch.CallOption
	}{
		"no producers":          {},
		"answers":               {producers: []producer{quick(1), quick(2)}},
		"all decline":           {producers: []producer{failing(dispatch.ErrDecline)}},
		"a failure":             {producers: []producer{quick(1), failing(errBroken)}},
		"late":                  {producers: []producer{quick(1), slow(time.Hour, 2)}},
		"a quorum":              {[]producer{quick(1), failing(errBroken)}, []dispatch.CallOption{dispatch.WithQuorum(1)}},
		"a quorum that is lost": {[]producer{quick(1), slowly(time.Millisecond, failing(dispatch.ErrDecline))}, []dispatch.CallOption{dispatch.WithQuorum(2)}},
		"too few":               {[]producer{quick(1)}, []dispatch.CallOption{dispatch.WithMinProducers(2)}},
		"an unknown target":     {[]producer{quick(1)}, []dispatch.CallOption{dispatch.WithTargets("missing")}},
	} {
		bubble(t, name, func(t *testing.T) {
			d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
			for i, p := range tt.producers {
				produce(t, d, fmt.Sprint("p", i), p)
			}
			want := ended(t, d, tt.opts...).Err()
			if _, err := d.Gather(t.Context(), ask, 0, tt.opts...); fmt.Sprint(err) != fmt.Sprint(want) {
				t.Errorf("Gather returns %v, and the report has %v", err, want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		addRelay(t, d, "r", func(_ context.Context, _ int, to roster) error {
			to.Expect(far("*"))
			to.Accept(far("*"))
			return nil
		})
		if _, err := d.Gather(t.Context(), ask, 0); !errors.Is(err, dispatch.ErrNoProducers) {
			t.Errorf("Gather of members that there are not: %v", err)
		}
	})
}

// Members without a result leave no gap in the values, in any state.
func TestGatherLeavesNoGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher(dispatch.WithTimeout(time.Second))
		addStream(t, d, "silent", yielding())
		produce(t, d, "a", quick(1))
		produce(t, d, "fails", failing(errBroken))
		produce(t, d, "declines", failing(dispatch.ErrDecline))
		produce(t, d, "late", slow(time.Minute, 2))
		produce(t, d, "b", quick(3))
		gathers := func(want ...int) {
			values, err := d.Gather(t.Context(), ask, 0)
			if diff := cmp.Diff(want, values); diff != "" || err == nil {
				t.Errorf("%v, values (-want +got):\n%s", err, diff)
			}
		}
		gathers(1, 3)
		addStream(t, d, "talks", yielding(4))
		produce(t, d, "c", quick(5), dispatch.WithGroup("g"))
		gathers(1, 3, 4, 5)
	})
}
