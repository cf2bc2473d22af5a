package dispatch_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// These are the scenarios of the Python program whose users this library wants
// to have: those of its tests and README, which have to work here, and those in
// which it failed.

// apiRequest and apiResponse are what ate-dispatcher passes as *args, **kwargs
// and gives as a dict.
type apiRequest struct {
	Args    []int
	Keyword string
}

type apiResponse struct {
	ID      int
	Topic   string
	Request apiRequest
}

type apiDispatcher = dispatch.Dispatcher[apiRequest, apiResponse]

var apiAsk = apiRequest{[]int{3, 4, 5}, "b"}

// apiSite returns a producer that responds after some milliseconds with its ID
// and what it was asked.
func apiSite(id int, milliseconds time.Duration) dispatch.Producer[apiRequest, apiResponse] {
	return func(ctx context.Context, req apiRequest) (apiResponse, error) {
		call, _ := dispatch.CallFrom(ctx)
		time.Sleep(milliseconds * time.Millisecond)
		return apiResponse{id, call.Topic, req}, nil
	}
}

func TestParityTwoProducersAndTwoListeners(t *testing.T) {
	topic := dispatch.NewTopic[apiRequest, apiResponse]("a")
	p0, p1 := apiResponse{0, "a", apiAsk}, apiResponse{1, "a", apiAsk}
	tests := []struct {
		name    string
		timeout time.Duration
		want    []apiResponse
		ends    string
		reason  dispatch.Reason
		elapsed time.Duration
	}{
		{"all answer in time and nobody waits for 4 s", 4 * time.Second, []apiResponse{p1, p0}, "P0 ok P1 ok", dispatch.ReasonAllEnded, time.Second},
		{"one is late and the report names it", 600 * time.Millisecond, []apiResponse{p1}, "P0 late P1 ok", dispatch.ReasonDeadline, 600 * time.Millisecond},
	}
	for _, tt := range tests {
		apiBubble(t, tt.name, func(t *testing.T) {
			d := apiQuiet[apiRequest, apiResponse]()
			apiMust(d.AddProducer(topic, apiSite(0, 1000), dispatch.WithName("P0")))
			apiMust(d.AddProducer(topic, apiSite(1, 500), dispatch.WithName("P1")))
			var heard [2]apiEvents[apiResponse]
			for i := range heard {
				apiMust(d.AddListener(topic, apiHear[apiRequest](&heard[i])))
			}
			start := time.Now()
			c := apiMust(d.Send(t.Context(), topic, apiAsk, dispatch.WithTimeout(tt.timeout)))
			<-c.Done()
			apiEqual(t, "end by the clock", time.Since(start), tt.elapsed)
			r := c.Report()
			apiEqual(t, "outcomes", apiEnds(r), tt.ends)
			apiEqual(t, "reason", r.Reason, tt.reason)
			apiEqual(t, "duration", r.Elapsed, tt.elapsed)
			time.Sleep(time.Minute) // what was late is not delivered either
			for i := range heard {
				apiEqual(t, "heard, in the order of arrival", heard[i].take(), tt.want)
			}
		})
	}
}

// TestParityREADME is the program in ate-dispatcher's README, with what it says
// the listeners have received.
func TestParityREADME(t *testing.T) {
	topic1 := dispatch.NewTopic[apiRequest, apiResponse]("topic1", dispatch.WithTimeout(4*time.Second))
	topic2 := dispatch.NewTopic[apiRequest, apiResponse]("topic2", dispatch.WithTimeout(time.Second))
	myTopic := dispatch.NewTopic[apiRequest, apiResponse]("my_topic", dispatch.WithTimeout(300*time.Millisecond))
	apiBubble(t, "", func(t *testing.T) {
		d := apiQuiet[apiRequest, apiResponse]()
		// A registration is removed as a whole, so the one that is to end early
		// on one of its topics is made of two.
		first := apiMust(d.AddProducer(topic1, apiSite(0, 200), dispatch.WithName("producer1")))
		apiMust(d.AddProducer(myTopic, apiSite(0, 200), dispatch.WithName("producer1")))
		apiMust(d.AddProducer(dispatch.AnyOf(topic1, topic2, myTopic), apiSite(1, 500), dispatch.WithName("producer2")))
		var heard [2]apiEvents[apiResponse]
		apiMust(d.AddListener(dispatch.AnyOf(topic1, topic2, myTopic), apiHear[apiRequest](&heard[0]), dispatch.WithName("listener1")))
		apiMust(d.AddListener(topic1, apiHear[apiRequest](&heard[1]), dispatch.WithName("listener2")))
		second := apiMust(d.AddListener(myTopic, apiHear[apiRequest](&heard[1]), dispatch.WithName("listener2")))

		type step struct {
			topic    dispatch.Topic[apiRequest, apiResponse]
			ends     string
			elapsed  time.Duration
			received [2][]apiResponse
		}
		answer := func(id int, topic string) apiResponse { return apiResponse{id, topic, apiAsk} }
		walk := func(when string, steps []step) {
			for _, s := range steps {
				c := apiMust(d.Send(t.Context(), s.topic, apiAsk))
				<-c.Done()
				time.Sleep(time.Second)
				what := s.topic.Name() + ", " + when
				apiEqual(t, what+": outcomes", apiEnds(c.Report()), s.ends)
				apiEqual(t, what+": duration", c.Report().Elapsed, s.elapsed)
				for i := range heard {
					apiEqual(t, what+": heard", heard[i].take(), s.received[i])
				}
			}
		}
		walk("all there", []step{
			{
				topic1, "producer1 ok producer2 ok", 500 * time.Millisecond,
				[2][]apiResponse{{answer(0, "topic1"), answer(1, "topic1")}, {answer(0, "topic1"), answer(1, "topic1")}},
			},
			{
				myTopic, "producer1 ok producer2 late", 300 * time.Millisecond,
				[2][]apiResponse{{answer(0, "my_topic")}, {answer(0, "my_topic")}},
			},
			{
				topic2, "producer2 ok", 500 * time.Millisecond,
				[2][]apiResponse{{answer(1, "topic2")}, nil},
			},
		})
		second.Remove()
		first.Remove()
		walk("after deregistration", []step{
			{
				topic1, "producer2 ok", 500 * time.Millisecond,
				[2][]apiResponse{{answer(1, "topic1")}, {answer(1, "topic1")}},
			},
			{
				myTopic, "producer1 ok producer2 late", 300 * time.Millisecond,
				[2][]apiResponse{{answer(0, "my_topic")}, nil},
			},
			{
				topic2, "producer2 ok", 500 * time.Millisecond,
				[2][]apiResponse{{answer(1, "topic2")}, nil},
			},
		})
		// There is no need to deregister anybody before the end.
		apiAtRest(t, d.Bus())
		if _, err := d.Send(t.Context(), topic1, apiAsk); !errors.Is(err, dispatch.ErrClosed) {
			t.Errorf("after the end: got %v, want ErrClosed", err)
		}
	})
}

func TestParityRegistrationsChangeUnderACall(t *testing.T) {
	topic := dispatch.NewTopic[apiRequest, apiResponse]("a")
	tests := []struct {
		name   string
		change func(d *apiDispatcher, heard *apiEvents[apiResponse], producer, listener *dispatch.Registration)
		want   []int // the IDs that the listener of the test's beginning has heard, then those of a new one
		new    []int
	}{
		{
			"a listener added before the reply receives it",
			func(d *apiDispatcher, heard *apiEvents[apiResponse], _, _ *dispatch.Registration) {
				apiMust(d.AddListener(topic, apiHear[apiRequest](heard)))
			},
			[]int{1, 0},
			[]int{0},
		},
		{
			"a listener removed before the reply does not",
			func(_ *apiDispatcher, _ *apiEvents[apiResponse], _, listener *dispatch.Registration) {
				listener.Remove()
			},
			[]int{1},
			nil,
		},
		{
			"a producer removed in flight still delivers",
			func(_ *apiDispatcher, _ *apiEvents[apiResponse], producer, _ *dispatch.Registration) {
				producer.Remove()
			},
			[]int{1, 0},
			nil,
		},
		{
			"a producer added in flight is not asked",
			func(d *apiDispatcher, _ *apiEvents[apiResponse], _, _ *dispatch.Registration) {
				apiMust(d.AddProducer(topic, apiSite(9, 0)))
			},
			[]int{1, 0},
			nil,
		},
	}
	for _, tt := range tests {
		apiBubble(t, tt.name, func(t *testing.T) {
			d := apiQuiet[apiRequest, apiResponse]()
			var heard, heardByNew apiEvents[apiResponse]
			p := apiMust(d.AddProducer(topic, apiSite(0, 1000)))
			apiMust(d.AddProducer(topic, apiSite(1, 500)))
			l := apiMust(d.AddListener(topic, apiHear[apiRequest](&heard)))
			c := apiMust(d.Send(t.Context(), topic, apiAsk))
			time.Sleep(750 * time.Millisecond)
			tt.change(d, &heardByNew, p, l)
			<-c.Done()
			apiAtRest(t, d.Bus())
			apiEqual(t, "outcomes", apiEnds(c.Report()), "producer-1 ok producer-2 ok")
			apiEqual(t, "heard", apiIDs(&heard), tt.want)
			apiEqual(t, "heard by a new listener", apiIDs(&heardByNew), tt.new)
		})
	}
}

func apiIDs(heard *apiEvents[apiResponse]) (ids []int) {
	for _, r := range heard.take() {
		ids = append(ids, r.ID)
	}
	return ids
}

// TestParityWhereThePredecessorFailed makes each of its failures and then asks
// again as if nothing had been.
func TestParityWhereThePredecessorFailed(t *testing.T) {
	topic := dispatch.NewTopic[apiRequest, apiResponse]("a")
	raise := func(context.Context, apiRequest) (apiResponse, error) { panic("broken") }

	apiBubble(t, "a request without producers leaves nothing behind", func(t *testing.T) {
		d := apiQuiet[apiRequest, apiResponse]()
		apiMust(d.AddListener(topic, func(context.Context, dispatch.Result[apiRequest, apiResponse]) {}))
		c := apiMust(d.Send(t.Context(), topic, apiAsk, dispatch.WithTimeout(4*time.Second)))
		r := c.Report()
		apiEqual(t, "reason", r.Reason, dispatch.ReasonNoProducers)
		apiEqual(t, "duration", r.Elapsed, 0)
		if _, err := d.Gather(t.Context(), topic, apiAsk); !errors.Is(err, dispatch.ErrNoProducers) {
			t.Errorf("Gather: got %v, want ErrNoProducers", err)
		}
		apiAtRest(t, d.Bus())
	})

	for name, broken := range map[string]dispatch.Producer[apiRequest, apiResponse]{
		"panics":  raise,
		"returns": func(context.Context, apiRequest) (apiResponse, error) { return apiResponse{}, errors.New("broken") },
	} {
		apiBubble(t, "a producer that raises is asked again, "+name, func(t *testing.T) {
			d := apiQuiet[apiRequest, apiResponse]()
			var heard apiEvents[apiResponse]
			apiMust(d.AddListener(topic, apiHear[apiRequest](&heard)))
			var asked atomic.Int32
			apiMust(d.AddProducer(topic, func(ctx context.Context, req apiRequest) (apiResponse, error) {
				if asked.Add(1) == 1 {
					return broken(ctx, req)
				}
				return apiSite(0, 100)(ctx, req)
			}))
			apiMust(d.AddProducer(topic, apiSite(1, 500)))
			for i, want := range [][]int{{1}, {0, 1}, {0, 1}} {
				c := apiMust(d.Send(t.Context(), topic, apiAsk))
				<-c.Done()
				synctest.Wait()
				apiEqual(t, "duration", c.Report().Elapsed, 500*time.Millisecond)
				apiEqual(t, "complete", c.Report().Complete(), i > 0)
				apiEqual(t, "heard", apiIDs(&heard), want)
			}
			apiAtRest(t, d.Bus())
		})
	}

	apiBubble(t, "a listener that raises goes on", func(t *testing.T) {
		d := apiQuiet[apiRequest, apiResponse]()
		var heard, heardByOther apiEvents[apiResponse]
		var done atomic.Int32
		apiMust(d.AddProducer(topic, apiSite(0, 1000)))
		apiMust(d.AddProducer(topic, apiSite(1, 500)))
		apiMust(d.AddListener(topic, func(_ context.Context, r dispatch.Result[apiRequest, apiResponse]) {
			heard.add(r.Value)
			panic("broken")
		}, dispatch.OnDone(func(dispatch.Report) { done.Add(1) })))
		apiMust(d.AddListener(topic, apiHear[apiRequest](&heardByOther)))
		for range 2 {
			c := apiMust(d.Send(t.Context(), topic, apiAsk))
			<-c.Done()
			synctest.Wait()
			apiEqual(t, "heard", apiIDs(&heard), []int{1, 0})
			apiEqual(t, "heard by the other", apiIDs(&heardByOther), []int{1, 0})
		}
		apiEqual(t, "OnDone", done.Load(), 2)
		apiAtRest(t, d.Bus())
	})

	apiBubble(t, "a slow producer on two topics does not starve the second", func(t *testing.T) {
		d := apiQuiet[apiRequest, apiResponse]()
		other := dispatch.NewTopic[apiRequest, apiResponse]("b")
		apiMust(d.AddProducer(dispatch.AnyOf(topic, other), func(ctx context.Context, req apiRequest) (apiResponse, error) {
			if call, _ := dispatch.CallFrom(ctx); call.Topic == "a" {
				return apiSite(0, 10_000)(ctx, req)
			}
			return apiSite(0, 100)(ctx, req)
		}))
		slow := apiMust(d.Send(t.Context(), topic, apiAsk))
		synctest.Wait()
		quick := apiMust(d.Send(t.Context(), other, apiAsk))
		<-quick.Done()
		apiEqual(t, "outcome", apiEnds(quick.Report()), "producer-1 ok")
		apiEqual(t, "duration", quick.Report().Elapsed, 100*time.Millisecond)
		<-slow.Done()
		apiEqual(t, "outcome of the slow one", apiEnds(slow.Report()), "producer-1 late")
	})

	apiBubble(t, "expired work is never started", func(t *testing.T) {
		d := apiQuiet[apiRequest, apiResponse]()
		var asked apiEvents[int]
		// One request at a time is all that the predecessor could do.
		apiMust(d.AddProducer(topic, func(ctx context.Context, req apiRequest) (apiResponse, error) {
			asked.add(req.Args[0])
			return apiSite(0, 1000)(ctx, req)
		}, dispatch.WithConcurrency(1)))
		var ends []string
		var calls []*dispatch.Call[apiRequest, apiResponse]
		for i := range 5 {
			calls = append(calls, apiMust(d.Send(t.Context(), topic, apiRequest{Args: []int{i}}, dispatch.WithTimeout(2500*time.Millisecond))))
			synctest.Wait()
		}
		for i, c := range calls {
			<-c.Done()
			ends = append(ends, apiEnds(c.Report()))
			apiEqual(t, "Started", c.Report().Outcomes[0].Started, i < 3)
		}
		apiEqual(t, "outcomes", ends, []string{"producer-1 ok", "producer-1 ok", "producer-1 late", "producer-1 late", "producer-1 late"})
		time.Sleep(time.Minute)
		apiEqual(t, "asked", asked.take(), []int{0, 1, 2})
		apiAtRest(t, d.Bus())
	})
}
