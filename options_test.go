package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// TestInvalidCallOptionsAreRefused gives each option with a bad value to everything
// that takes it.
func TestInvalidCallOptionsAreRefused(t *testing.T) {
	options := []struct {
		option dispatch.CallOption
		want   string // the part of the error that names the option and the value
	}{
		{dispatch.WithTimeout(0), "WithTimeout(0s)"},
		{dispatch.WithTimeout(-time.Second), "WithTimeout(-1s)"},
		{dispatch.WithTimeout(math.MinInt64), "WithTimeout(-2562047h47m16.854775808s)"},
		{dispatch.WithStall(0), "WithStall(0s)"},
		{dispatch.WithStall(-time.Millisecond), "WithStall(-1ms)"},
		{dispatch.WithQuorum(0), "WithQuorum(0)"},
		{dispatch.WithQuorum(-3), "WithQuorum(-3)"},
		{dispatch.WithParallelism(0), "WithParallelism(0)"},
		{dispatch.WithParallelism(math.MinInt), fmt.Sprintf("WithParallelism(%d)", math.MinInt)},
		{dispatch.WithGrace(0), "WithGrace(0s)"},
		{dispatch.WithGrace(-time.Hour), "WithGrace(-1h0m0s)"},
		{dispatch.WithStagger(0), "WithStagger(0s)"},
		{dispatch.WithStagger(-1), "WithStagger(-1ns)"},
		{dispatch.WithHedge(0), "WithHedge(0s)"},
		{dispatch.WithHedge(-time.Second), "WithHedge(-1s)"},
		{dispatch.WithHedgeQuantile(0), "WithHedgeQuantile(0): must be between 0 and 1"},
		{dispatch.WithHedgeQuantile(1), "WithHedgeQuantile(1)"},
		{dispatch.WithHedgeQuantile(-0.5), "WithHedgeQuantile(-0.5)"},
		{dispatch.WithHedgeQuantile(95), "WithHedgeQuantile(95)"},
		{dispatch.WithHedgeQuantile(math.NaN()), "WithHedgeQuantile(NaN)"},
		{dispatch.WithMinProducers(0), "WithMinProducers(0)"},
		{dispatch.WithMinProducers(-1), "WithMinProducers(-1)"},
		{dispatch.WithTargets(), "WithTargets: no names"},
		{dispatch.WithTargets("a", ""), "WithTargets: empty name at index 1"},
		{dispatch.WithRequired(), "WithRequired: no names"},
		{dispatch.WithRequired("a", ""), "WithRequired: empty name at index 1"},
		{nil, "nil CallOption at index 1"},
	}
	type dispatcher = *dispatch.Dispatcher[int, int]
	topic := dispatch.NewTopic[int, int]("a")
	valid := dispatch.WithTimeout(time.Second)
	places := []struct {
		name, kind string
		give       func(ctx context.Context, d dispatcher, o dispatch.CallOption) error
	}{
		{"Send", "CallOption", func(ctx context.Context, d dispatcher, o dispatch.CallOption) error {
			c, err := d.Send(ctx, topic, 0, valid, o, valid)
			if c != nil {
				return errors.New("there is a call in spite of the error")
			}
			return err
		}},
		{"Gather", "CallOption", func(ctx context.Context, d dispatcher, o dispatch.CallOption) error {
			_, err := d.Gather(ctx, topic, 0, valid, o, valid)
			return err
		}},
		{"First", "CallOption", func(ctx context.Context, d dispatcher, o dispatch.CallOption) error {
			_, err := d.First(ctx, topic, 0, valid, o, valid)
			return err
		}},
		{"Stream", "CallOption", func(ctx context.Context, d dispatcher, o dispatch.CallOption) (err error) {
			for _, e := range d.Stream(ctx, topic, 0, valid, o, valid) {
				err = errors.Join(err, e)
			}
			return err
		}},
		{"ParseTopic", "TopicOption", func(_ context.Context, _ dispatcher, o dispatch.CallOption) error {
			_, err := dispatch.ParseTopic[int, int]("a", valid, o, valid)
			return err
		}},
		{"NewTopic", "TopicOption", func(_ context.Context, _ dispatcher, o dispatch.CallOption) error {
			return panicOf(func() { dispatch.NewTopic[int, int]("a", valid, o, valid) })
		}},
		{"NewBus", "BusOption", func(_ context.Context, _ dispatcher, o dispatch.CallOption) error {
			return panicOf(func() { dispatch.NewBus(valid, o, valid) })
		}},
		{"New", "BusOption", func(_ context.Context, _ dispatcher, o dispatch.CallOption) error {
			return panicOf(func() { dispatch.New[int, int](valid, o, valid) })
		}},
	}
	for _, place := range places {
		for _, o := range options {
			bubble(t, place.name+"/"+o.want, func(t *testing.T) {
				d := quiet[int, int]()
				var asked atomic.Int32
				must(d.AddProducer(topic, func(context.Context, int) (int, error) {
					asked.Add(1)
					return 0, nil
				}))
				err := place.give(t.Context(), d, o.option)
				want := o.want
				if o.option == nil {
					want = fmt.Sprintf("nil %s at index 1", place.kind)
				}
				invalidOption(t, err, want)
				synctest.Wait()
				equal(t, "runs of the producer", asked.Load(), 0)
			})
		}
	}
}

func invalidOption(t *testing.T, err error, want string) {
	t.Helper()
	if !errors.Is(err, dispatch.ErrInvalidOption) {
		t.Fatalf("got %v, want an error that wraps ErrInvalidOption", err)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("got %q, want it to name the option and its value: %s", err, want)
	}
}

func TestInvalidBusOptionsAreRefused(t *testing.T) {
	for _, tt := range []struct {
		option dispatch.BusOption
		want   string
	}{
		{dispatch.WithLogger(nil), "WithLogger(nil)"},
		{dispatch.WithMaxAbandoned(0), "WithMaxAbandoned(0)"},
		{dispatch.WithMaxAbandoned(-1), "WithMaxAbandoned(-1)"},
		{dispatch.WithMaxInFlight(0), "WithMaxInFlight(0)"},
		{dispatch.WithMaxInFlight(-1), "WithMaxInFlight(-1)"},
		{dispatch.WithSlowListener(0), "WithSlowListener(0s)"},
		{dispatch.WithSlowListener(-time.Hour), "WithSlowListener(-1h0m0s)"},
		{nil, "nil BusOption at index 1"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			valid := dispatch.WithMaxAbandoned(1)
			invalidOption(t, panicOf(func() { dispatch.NewBus(valid, tt.option) }), tt.want)
			invalidOption(t, panicOf(func() { dispatch.New[int, int](valid, tt.option) }), tt.want)
		})
	}
}

func TestInvalidRegistrationOptionsAreRefused(t *testing.T) {
	topic := dispatch.NewTopic[int, int]("a")
	type add = func(d *dispatch.Dispatcher[int, int]) (*dispatch.Registration, error)
	name := dispatch.WithName("x")
	producer := func(o dispatch.ProducerOption) add {
		return func(d *dispatch.Dispatcher[int, int]) (*dispatch.Registration, error) {
			return d.AddProducer(topic, answerAfter[int](0, 0), name, o)
		}
	}
	stream := func(o dispatch.ProducerOption) add {
		return func(d *dispatch.Dispatcher[int, int]) (*dispatch.Registration, error) {
			return d.AddStreamProducer(topic, func(context.Context, int) iter.Seq2[int, error] { return nil }, name, o)
		}
	}
	relay := func(o dispatch.ProducerOption) add {
		return func(d *dispatch.Dispatcher[int, int]) (*dispatch.Registration, error) {
			return d.AddRelay(topic, func(context.Context, int, *dispatch.Roster[int]) error { return nil }, name, o)
		}
	}
	listener := func(o dispatch.ListenerOption) add {
		return func(d *dispatch.Dispatcher[int, int]) (*dispatch.Registration, error) {
			return d.AddListener(topic, func(context.Context, dispatch.Result[int, int]) {}, name, o)
		}
	}
	for _, tt := range []struct {
		add  add
		want string
	}{
		{producer(dispatch.WithName("")), "WithName: empty"},
		{producer(dispatch.WithConcurrency(0)), "WithConcurrency(0)"},
		{producer(dispatch.WithConcurrency(-1)), "WithConcurrency(-1)"},
		{producer(dispatch.WithSemaphore(nil)), "WithSemaphore(nil)"},
		{producer(dispatch.WithGroup("")), "WithGroup: empty"},
		{producer(dispatch.WithMaxQueue(0)), "WithMaxQueue(0)"},
		{producer(dispatch.WithMaxQueue(3)), "WithMaxQueue(3): nothing to wait for"},
		{producer(dispatch.WithTimeout(0)), "WithTimeout(0s)"},
		{stream(dispatch.WithTimeout(-time.Second)), "WithTimeout(-1s)"},
		{relay(dispatch.WithTimeout(time.Second)), "WithTimeout(1s): a relay has no time of its own"},
		{stream(dispatch.WithConcurrency(0)), "WithConcurrency(0)"},
		{stream(dispatch.WithGroup("replicas")), `WithGroup("replicas")`},
		{stream(nil), "nil ProducerOption at index 1"},
		{relay(dispatch.WithConcurrency(1)), "WithConcurrency"},
		{relay(dispatch.WithGroup("replicas")), `WithGroup("replicas")`},
		{relay(nil), "nil ProducerOption at index 1"},
		{producer(nil), "nil ProducerOption at index 1"},
		{listener(dispatch.WithName("")), "WithName: empty"},
		{listener(dispatch.WithConcurrency(-1)), "WithConcurrency(-1)"},
		{listener(dispatch.WithMailbox(0, dispatch.DropOldest)), "WithMailbox(0)"},
		{listener(dispatch.WithMailbox(-1, dispatch.DropNewest)), "WithMailbox(-1)"},
		{listener(dispatch.WithMailbox(1, dispatch.Overflow(7))), "WithMailbox(1, unknown(7))"},
		{listener(dispatch.OnOutcome(nil)), "OnOutcome(nil)"},
		{listener(dispatch.OnDone(nil)), "OnDone(nil)"},
		{listener(nil), "nil ListenerOption at index 1"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			d := quiet[int, int]()
			r, err := tt.add(d)
			invalidOption(t, err, tt.want)
			if r != nil {
				t.Error("there is a registration in spite of the error")
			}
			// Nothing is registered, not even the topic's types.
			must(dispatch.On[string, string](d.Bus()).AddProducer(dispatch.NewTopic[string, string]("a"), answerAfter[string]("", 0)))
		})
	}
}

// TestHugeValuesDoNotOverflow lets calls live for years without an overflow anywhere.
func TestHugeValuesDoNotOverflow(t *testing.T) {
	const huge, year = time.Duration(math.MaxInt64), 365 * 24 * time.Hour
	farAway := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	topic := dispatch.NewTopic[int, int]("a")
	tests := []struct {
		name     string
		deadline time.Time // of the context; zero if it has none
		opts     []dispatch.CallOption
		want     string
		reason   dispatch.Reason
		elapsed  time.Duration
	}{
		{"WithTimeout", time.Time{}, []dispatch.CallOption{dispatch.WithTimeout(huge)}, "quick ok slow ok", dispatch.ReasonAllEnded, year},
		{"WithTimeout and a context", farAway, []dispatch.CallOption{dispatch.WithTimeout(huge)}, "quick ok slow ok", dispatch.ReasonAllEnded, year},
		{"context", farAway, nil, "quick ok slow late", dispatch.ReasonDeadline, dispatch.DefaultTimeout},
		{"WithStall", time.Time{}, []dispatch.CallOption{dispatch.WithTimeout(huge), dispatch.WithStall(huge)}, "quick ok slow ok", dispatch.ReasonAllEnded, year},
		{"WithStall and little time", time.Time{}, []dispatch.CallOption{dispatch.WithStall(huge)}, "quick ok slow late", dispatch.ReasonDeadline, dispatch.DefaultTimeout},
		{"WithStall a little shorter than the time", time.Time{}, []dispatch.CallOption{dispatch.WithTimeout(huge), dispatch.WithStall(huge - 2*time.Second)}, "quick ok slow ok", dispatch.ReasonAllEnded, year},
		{"WithStagger", time.Time{}, []dispatch.CallOption{dispatch.WithStagger(huge)}, "quick ok slow late", dispatch.ReasonDeadline, dispatch.DefaultTimeout},
		{"WithStall and WithGrace", time.Time{}, []dispatch.CallOption{dispatch.WithTimeout(2 * year), dispatch.WithStall(huge), dispatch.WithGrace(year / 2)}, "quick ok slow ok", dispatch.ReasonAllEnded, year},
		{"WithMinProducers", time.Time{}, []dispatch.CallOption{dispatch.WithMinProducers(math.MaxInt)}, "", dispatch.ReasonDeadline, dispatch.DefaultTimeout},
		{"WithQuorum", time.Time{}, []dispatch.CallOption{dispatch.WithQuorum(math.MaxInt)}, "quick canceled slow canceled", dispatch.ReasonQuorumLost, 0},
		{"WithParallelism", time.Time{}, []dispatch.CallOption{dispatch.WithTimeout(huge), dispatch.WithParallelism(math.MaxInt)}, "quick ok slow ok", dispatch.ReasonAllEnded, year},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T) {
			d := quiet[int, int](dispatch.WithMaxAbandoned(math.MaxInt), dispatch.WithSlowListener(huge))
			var budget time.Duration
			must(d.AddProducer(topic, func(ctx context.Context, _ int) (int, error) {
				info, _ := dispatch.CallFrom(ctx)
				budget = info.Budget
				if at, ok := ctx.Deadline(); !ok || !at.After(time.Now()) {
					t.Errorf("the deadline is %v, %v", at, ok)
				}
				time.Sleep(time.Second)
				return 1, ctx.Err()
			}, dispatch.WithName("quick")))
			must(d.AddProducer(topic, answerAfter[int](2, year), dispatch.WithName("slow"), dispatch.WithConcurrency(math.MaxInt)))
			must(d.AddListener(topic, func(context.Context, dispatch.Result[int, int]) {}))
			ctx := t.Context()
			if !tt.deadline.IsZero() {
				var cancel func()
				ctx, cancel = context.WithDeadline(ctx, tt.deadline)
				defer cancel()
			}
			c := must(d.Send(ctx, topic, 0, tt.opts...))
			<-c.Done()
			r := c.Report()
			equal(t, "outcomes", states(r), tt.want)
			equal(t, "reason", r.Reason, tt.reason)
			equal(t, "duration", r.Elapsed, tt.elapsed)
			if tt.elapsed > 0 && tt.want != "" && budget < min(tt.elapsed, 2*year-year/2) {
				t.Errorf("the producer was told of a budget of %v", budget)
			}
			time.Sleep(year) // until the last has returned
			atRest(t, d.Bus())
		})
	}
}

func TestOptionsMayAskForMoreThanThereIs(t *testing.T) {
	topic := dispatch.NewTopic[int, int]("a")
	tests := []struct {
		option  dispatch.CallOption
		members int
		want    string
		reason  dispatch.Reason
		err     error
	}{
		{dispatch.WithQuorum(3), 2, "producer-1 canceled producer-2 canceled", dispatch.ReasonQuorumLost, dispatch.ErrQuorumLost},
		{dispatch.WithQuorum(2), 1, "producer-1 canceled", dispatch.ReasonQuorumLost, dispatch.ErrQuorumLost},
		{dispatch.WithQuorum(1), 0, "", dispatch.ReasonNoProducers, dispatch.ErrNoProducers},
		{dispatch.WithQuorum(2), 2, "producer-1 ok producer-2 ok", dispatch.ReasonSatisfied, nil},
		{dispatch.WithMinProducers(3), 2, "", dispatch.ReasonDeadline, dispatch.ErrTooFewProducers},
		{dispatch.WithMinProducers(2), 2, "producer-1 ok producer-2 ok", dispatch.ReasonAllEnded, nil},
		{dispatch.WithParallelism(3), 2, "producer-1 ok producer-2 ok", dispatch.ReasonAllEnded, nil},
		{dispatch.WithParallelism(2), 2, "producer-1 ok producer-2 ok", dispatch.ReasonAllEnded, nil},
	}
	for _, tt := range tests {
		bubble(t, fmt.Sprintf("%T(%v) of %d", tt.option, tt.option, tt.members), func(t *testing.T) {
			d := quiet[int, int]()
			var asked atomic.Int32
			for range tt.members {
				must(d.AddProducer(topic, func(context.Context, int) (int, error) {
					asked.Add(1)
					return 0, nil
				}))
			}
			var done events[dispatch.Reason]
			must(d.AddListener(topic, func(context.Context, dispatch.Result[int, int]) {},
				dispatch.OnDone(func(r dispatch.Report) { done.add(r.Reason) })))
			c := must(d.Send(t.Context(), topic, 0, tt.option))
			<-c.Done()
			synctest.Wait()
			r := c.Report()
			equal(t, "outcomes", states(r), tt.want)
			equal(t, "reason", r.Reason, tt.reason)
			equal(t, "duration", r.Elapsed, map[bool]time.Duration{true: dispatch.DefaultTimeout}[tt.reason == dispatch.ReasonDeadline])
			equal(t, "OnDone", done.take(), []dispatch.Reason{tt.reason})
			if err := r.Err(); !errors.Is(err, tt.err) {
				t.Errorf("Err: got %v, want %v", err, tt.err)
			}
			if tt.err != nil {
				equal(t, "runs", asked.Load(), 0)
			}
			for _, o := range r.Outcomes {
				if o.Started != (tt.err == nil) || !errors.Is(o.Err, tt.err) {
					t.Errorf("%v: Started %v, Err %v", o.Member, o.Started, o.Err)
				}
			}
			atRest(t, d.Bus())
		})
	}
}

// What topic and bus have set does not count in a call WithDefaults, and what is given after
// it does.
func TestDefaultsForgetWhatWasSetBefore(t *testing.T) {
	everything := []dispatch.CallOption{
		dispatch.WithTimeout(time.Second), dispatch.WithStall(time.Second), dispatch.WithGrace(time.Second / 2),
		dispatch.WithStagger(time.Second), dispatch.WithQuorum(1), dispatch.WithParallelism(1), dispatch.WithHedge(1),
		dispatch.WithHedgeQuantile(0.9),
		dispatch.WithMinProducers(9), dispatch.WithFailFast(), dispatch.WithNoWait(),
		dispatch.WithTargets("b"),
	}
	var ofBus []dispatch.BusOption
	var ofTopic []dispatch.TopicOption
	for _, o := range everything {
		ofBus, ofTopic = append(ofBus, o), append(ofTopic, o)
	}
	forget := dispatch.WithDefaults()
	plain := "all ended: a failed, b ok in 4.5s"
	for name, test := range map[string]struct {
		bus   []dispatch.BusOption
		topic []dispatch.TopicOption
		call  []dispatch.CallOption
		want  string
	}{
		"nothing to forget":        {nil, nil, opts(forget), plain},
		"bus, by the call":         {ofBus, nil, opts(forget), plain},
		"topic, by the call":       {nil, ofTopic, opts(forget), plain},
		"both, by the call":        {ofBus, ofTopic, opts(forget), plain},
		"bus, by the topic":        {ofBus, []dispatch.TopicOption{forget}, nil, plain},
		"bus, by the bus":          {append(slices.Clone(ofBus), forget), nil, nil, plain},
		"topic, by the topic":      {nil, append(slices.Clone(ofTopic), forget), nil, plain},
		"call, by the call":        {nil, nil, append(slices.Clone(everything), forget), plain},
		"what follows on a call":   {ofBus, ofTopic, opts(forget, dispatch.WithFailFast()), "failed fast: a failed, b canceled in 0s"},
		"what follows on a topic":  {ofBus, []dispatch.TopicOption{forget, dispatch.WithTargets("b")}, nil, "all ended: b ok in 4.5s"},
		"the call after the topic": {ofBus, []dispatch.TopicOption{forget}, opts(dispatch.WithTimeout(time.Second)), "deadline: a failed, b late in 1s"},
	} {
		bubble(t, name, func(t *testing.T) {
			d := quiet[int, int](test.bus...)
			topic := dispatch.NewTopic[int, int]("kit.ask", test.topic...)
			must(d.AddProducer(topic, failing(errBroken), dispatch.WithName("a")))
			must(d.AddProducer(topic, slow(4500*time.Millisecond, 1), dispatch.WithName("b")))
			c := must(d.Send(t.Context(), topic, 0, test.call...))
			<-c.Done()
			equal(t, "the call", fmt.Sprintf("%s in %v", told(c.Report()), c.Report().Elapsed), test.want)
		})
	}
}

// First is First whatever its options are.
func TestFirstWithDefaultsEndsWithTheFirstResult(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int]()
		must(d.AddProducer(ask, slow(time.Second, 1)))
		must(d.AddProducer(ask, slow(time.Hour, 2)))
		began := time.Now()
		v, err := d.First(t.Context(), ask, 0, dispatch.WithDefaults())
		if v != 1 || err != nil || time.Since(began) != time.Second {
			t.Errorf("got %v, %v after %v, want 1 after a second", v, err, time.Since(began))
		}
	})
}

// A default timeout is there to be compared with, too.
func TestDefaultsHaveTheDefaultTimeout(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int](dispatch.WithTimeout(time.Hour))
		_, err := d.Send(t.Context(), ask, 0, dispatch.WithDefaults(), dispatch.WithGrace(dispatch.DefaultTimeout))
		invalidOption(t, err, "WithGrace(5s): must be less than the timeout of 5s")
	})
}

func TestGraceOfTheBusHasToFitTheTopic(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int](dispatch.WithGrace(time.Second))
		topic := dispatch.NewTopic[int, int]("a", dispatch.WithTimeout(time.Second))
		must(d.AddProducer(topic, func(context.Context, int) (int, error) {
			t.Error("the producer was started")
			return 0, nil
		}))
		_, err := d.Send(t.Context(), topic, 0)
		invalidOption(t, err, "WithGrace(1s): must be less than the timeout of 1s")
		_, err = d.Send(t.Context(), topic, 0, dispatch.WithTimeout(time.Hour), dispatch.WithGrace(math.MaxInt64))
		invalidOption(t, err, "must be less than the timeout of 1h0m0s")
		atRest(t, d.Bus())
	})
}

func TestNoMemberIsAskedIfTheContextHasEnded(t *testing.T) {
	topic := dispatch.NewTopic[int, int]("a")
	cause := errors.New("the operator went home")
	tests := []struct {
		name   string
		ctx    func(ctx context.Context) (context.Context, func())
		want   string
		reason dispatch.Reason
		err    error
	}{
		{
			"canceled",
			func(ctx context.Context) (context.Context, func()) {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				return ctx, cancel
			},
			"producer-1 canceled producer-2 canceled", dispatch.ReasonCanceled, context.Canceled,
		},
		{
			"canceled with a cause",
			func(ctx context.Context) (context.Context, func()) {
				ctx, cancel := context.WithCancelCause(ctx)
				cancel(cause)
				return ctx, func() {}
			},
			"producer-1 canceled producer-2 canceled", dispatch.ReasonCanceled, cause,
		},
		{
			"expired",
			func(ctx context.Context) (context.Context, func()) {
				ctx, cancel := context.WithTimeout(ctx, time.Second)
				time.Sleep(time.Second)
				synctest.Wait()
				return ctx, cancel
			},
			"producer-1 late producer-2 late", dispatch.ReasonDeadline, context.DeadlineExceeded,
		},
		{
			"deadline long ago",
			func(ctx context.Context) (context.Context, func()) {
				return context.WithDeadline(ctx, time.Time{})
			},
			"producer-1 late producer-2 late", dispatch.ReasonDeadline, context.DeadlineExceeded,
		},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T) {
			d := quiet[int, int]()
			for range 2 {
				must(d.AddProducer(topic, func(context.Context, int) (int, error) {
					t.Error("a producer was started")
					return 0, nil
				}))
			}
			var done events[dispatch.Reason]
			must(d.AddListener(topic, func(context.Context, dispatch.Result[int, int]) {},
				dispatch.OnDone(func(r dispatch.Report) { done.add(r.Reason) })))
			ctx, cancel := tt.ctx(t.Context())
			defer cancel()

			c := must(d.Send(ctx, topic, 0))
			r := c.Report() // the call has ended when Send returns
			equal(t, "outcomes", states(r), tt.want)
			equal(t, "reason", r.Reason, tt.reason)
			equal(t, "duration", r.Elapsed, 0)
			for _, o := range r.Outcomes {
				if o.Started || !errors.Is(o.Err, tt.err) {
					t.Errorf("%v: Started %v, Err %v, want %v", o.Member, o.Started, o.Err, tt.err)
				}
			}
			if err := c.Wait(t.Context()); err != nil {
				t.Errorf("Wait: %v", err)
			}
			for range c.Results() {
				t.Error("there is a result")
			}
			values, err := d.Gather(ctx, topic, 0)
			if partial := (*dispatch.PartialError)(nil); !errors.As(err, &partial) || len(values) != 0 || !errors.Is(err, tt.err) {
				t.Errorf("Gather: %v, %v, want a PartialError that wraps %v", values, err, tt.err)
			}
			if _, err := d.First(ctx, topic, 0); !errors.Is(err, tt.err) {
				t.Errorf("First: %v, want %v", err, tt.err)
			}
			n := 0
			for _, err := range d.Stream(ctx, topic, 0) {
				if n++; !errors.Is(err, tt.err) {
					t.Errorf("Stream: %v, want %v", err, tt.err)
				}
			}
			equal(t, "pairs of Stream", n, 1)
			synctest.Wait()
			equal(t, "OnDone", done.take(), []dispatch.Reason{tt.reason, tt.reason, tt.reason, tt.reason})
			atRest(t, d.Bus())
		})
	}
}

// TestTheNearestTimeoutCounts sets timeouts in all the places where that is
// possible. The earliest end is not what counts, but for the context.
func TestTheNearestTimeoutCounts(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name                   string
		bus, topic, call, last time.Duration // 0: not set; last is a second option of the call
		ctx                    time.Duration
		want                   time.Duration
	}{
		{name: "nothing", want: 5 * s},
		{name: "bus", bus: 7 * s, want: 7 * s},
		{name: "topic", topic: 8 * s, want: 8 * s},
		{name: "call", call: 9 * s, want: 9 * s},
		{name: "topic over bus, longer", bus: 1 * s, topic: 8 * s, want: 8 * s},
		{name: "topic over bus, shorter", bus: 8 * s, topic: 1 * s, want: 1 * s},
		{name: "call over bus", bus: 1 * s, call: 9 * s, want: 9 * s},
		{name: "call over topic", topic: 1 * s, call: 9 * s, want: 9 * s},
		{name: "call over all, longest", bus: 1 * s, topic: 2 * s, call: 9 * s, want: 9 * s},
		{name: "call over all, shortest", bus: 9 * s, topic: 8 * s, call: 1 * s, want: 1 * s},
		{name: "the later of two", call: 1 * s, last: 2 * s, want: 2 * s},
		{name: "the later of two, shorter", call: 2 * s, last: 1 * s, want: 1 * s},
		{name: "earlier context", ctx: 3 * s, want: 3 * s},
		{name: "later context", ctx: 6 * s, want: 5 * s},
		{name: "context before bus", bus: 7 * s, ctx: 6 * s, want: 6 * s},
		{name: "context before topic", topic: 7 * s, ctx: 6 * s, want: 6 * s},
		{name: "context before call", call: 7 * s, ctx: 6 * s, want: 6 * s},
		{name: "context after call", call: 6 * s, ctx: 7 * s, want: 6 * s},
		{name: "context as call", call: 6 * s, ctx: 6 * s, want: 6 * s},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T) {
			timeout := func(d time.Duration) (opts []dispatch.CallOption) {
				if d > 0 {
					opts = append(opts, dispatch.WithTimeout(d))
				}
				return opts
			}
			var ofBus []dispatch.BusOption
			for _, o := range timeout(tt.bus) {
				ofBus = append(ofBus, o)
			}
			var ofTopic []dispatch.TopicOption
			for _, o := range timeout(tt.topic) {
				ofTopic = append(ofTopic, o)
			}
			d := quiet[int, int](ofBus...)
			topic := dispatch.NewTopic[int, int]("a", ofTopic...)
			start := time.Now()
			var ofProducer time.Duration
			must(d.AddProducer(topic, func(ctx context.Context, _ int) (int, error) {
				at, _ := ctx.Deadline()
				ofProducer = at.Sub(start)
				<-ctx.Done()
				return 0, ctx.Err()
			}))
			ctx := t.Context()
			if tt.ctx > 0 {
				var cancel func()
				ctx, cancel = context.WithTimeout(ctx, tt.ctx)
				defer cancel()
			}
			c := must(d.Send(ctx, topic, 0, append(timeout(tt.call), timeout(tt.last)...)...))
			<-c.Done()
			r := c.Report()
			equal(t, "outcome", states(r), "producer-1 late")
			equal(t, "reason", r.Reason, dispatch.ReasonDeadline)
			equal(t, "duration", r.Elapsed, tt.want)
			equal(t, "end by the clock", time.Since(start), tt.want)
			synctest.Wait()
			equal(t, "deadline of the producer's context", ofProducer, tt.want)
		})
	}
}

// TestDefaultsOfTopicAndBus has every other option of a call come from each of
// its places, with and without one that comes before it.
func TestDefaultsOfTopicAndBus(t *testing.T) {
	type ends struct {
		Reason  dispatch.Reason
		Elapsed time.Duration
	}
	tests := []struct {
		name          string
		option, other dispatch.CallOption
		want, over    ends // with the option alone; with the other one before it
	}{
		{
			"WithQuorum",
			dispatch.WithQuorum(1), dispatch.WithQuorum(2),
			ends{dispatch.ReasonSatisfied, time.Second},
			ends{dispatch.ReasonSatisfied, 2 * time.Second},
		},
		{
			"WithStall",
			dispatch.WithStall(500 * time.Millisecond), dispatch.WithStall(900 * time.Millisecond),
			ends{dispatch.ReasonStalled, 1500 * time.Millisecond},
			ends{dispatch.ReasonStalled, 1900 * time.Millisecond},
		},
		{
			"WithParallelism",
			dispatch.WithParallelism(1), dispatch.WithParallelism(3),
			ends{dispatch.ReasonAllEnded, 7 * time.Second},
			ends{dispatch.ReasonAllEnded, 4 * time.Second},
		},
		{
			"WithFailFast",
			dispatch.WithFailFast(), dispatch.WithFailFast(),
			ends{dispatch.ReasonFailedFast, 4 * time.Second},
			ends{dispatch.ReasonFailedFast, 4 * time.Second},
		},
	}
	for _, tt := range tests {
		for place, give := range map[string]func(own, other []dispatch.CallOption) (bus, topic, call []dispatch.CallOption){
			"bus":             func(own, _ []dispatch.CallOption) (_, _, _ []dispatch.CallOption) { return own, nil, nil },
			"topic":           func(own, _ []dispatch.CallOption) (_, _, _ []dispatch.CallOption) { return nil, own, nil },
			"call":            func(own, _ []dispatch.CallOption) (_, _, _ []dispatch.CallOption) { return nil, nil, own },
			"topic over bus":  func(own, other []dispatch.CallOption) (_, _, _ []dispatch.CallOption) { return own, other, nil },
			"call over bus":   func(own, other []dispatch.CallOption) (_, _, _ []dispatch.CallOption) { return own, nil, other },
			"call over topic": func(own, other []dispatch.CallOption) (_, _, _ []dispatch.CallOption) { return nil, own, other },
		} {
			bubble(t, tt.name+"/"+place, func(t *testing.T) {
				bus, defaults, call := give([]dispatch.CallOption{tt.option}, []dispatch.CallOption{tt.other})
				ofBus := []dispatch.BusOption{dispatch.WithTimeout(time.Minute)}
				for _, o := range bus {
					ofBus = append(ofBus, o)
				}
				var ofTopic []dispatch.TopicOption
				for _, o := range defaults {
					ofTopic = append(ofTopic, o)
				}
				d := quiet[int, int](ofBus...)
				topic := dispatch.NewTopic[int, int]("a", ofTopic...)
				must(d.AddProducer(topic, answerAfter[int](1, time.Second)))
				must(d.AddProducer(topic, answerAfter[int](2, 2*time.Second)))
				must(d.AddProducer(topic, func(context.Context, int) (int, error) {
					time.Sleep(4 * time.Second)
					return 0, errors.New("broken")
				}))
				c := must(d.Send(t.Context(), topic, 0, call...))
				<-c.Done()
				want := tt.want
				if strings.Contains(place, "over") {
					want = tt.over
				}
				equal(t, "end", ends{c.Report().Reason, c.Report().Elapsed}, want)
			})
		}
	}
}
