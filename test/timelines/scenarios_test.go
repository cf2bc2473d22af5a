package timelines_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// scenario is one picture: its producers, listeners and calls.
type scenario struct {
	play    func(s *stage) error
	timeout time.Duration // of the calls; 0: that of the topic
	want    error         // what play returns
	inTurn  bool          // a call is sent when there is a place for the one before
}

const second = time.Second

// at returns a time in tenths of a second, which are the columns of a picture.
func at(tenths int) time.Duration { return time.Duration(tenths) * step }

var never = answersAfter(time.Hour) // longer than the timeout of every call

// gather makes a scenario of a snippet with producers named site-1 and so on.
func gather(want error, snippet func(context.Context, *dispatcher) ([]float64, error), sites ...producer) scenario {
	return scenario{want: want, play: func(s *stage) error {
		for i, p := range sites {
			s.add(fmt.Sprint("site-", i+1), p)
		}
		_, err := snippet(s.t.Context(), s.cell)
		return err
	}}
}

var scenarios = map[string]scenario{
	"timeout": func() scenario {
		s := gather(context.DeadlineExceeded, timeout, answersAfter(at(5)), never, deafFor(at(43)))
		s.timeout = 3 * second
		return s
	}(),
	"quorum":     gather(nil, quorum, answersAfter(at(5)), answersAfter(at(20)), never),
	"quorumLost": gather(dispatch.ErrQuorumLost, quorumLost, answersAfter(at(5)), failsAfter(at(10)), failsAfter(at(20)), never),
	"majority":   gather(nil, majority, answersAfter(at(5)), failsAfter(at(8)), answersAfter(at(12)), answersAfter(at(20)), never),
	"required":   gather(nil, required, answersAfter(at(5)), answersAfter(at(8)), answersAfter(at(20)), never),
	"ownTimeout": {play: func(s *stage) error {
		s.add("site-1", answersAfter(at(20)))
		if err := ownTimeout(s.cell, s.drawn("site-2", deafFor(at(16)))); err != nil {
			return err
		}
		_, err := s.cell.Gather(s.t.Context(), measure, "vdd")
		if !errors.Is(err, dispatch.ErrTimeout) {
			s.t.Errorf("error is %v, want a timeout", err)
		}
		return nil
	}},
	"stall":    gather(nil, stall, answersAfter(at(5)), answersAfter(at(12)), never),
	"failFast": gather(dispatch.ErrFailFast, failFast, answersAfter(at(5)), failsAfter(at(12)), never),
	"grace":    gather(nil, grace, answersAfter(at(5)), averages(at(3)), never, deafFor(at(46))),
	"stagger": {play: func(s *stage) error {
		s.add("site-1", never)
		s.add("site-2", failsAfter(at(5)))
		s.add("site-3", answersAfter(at(7)))
		s.add("site-4", answersAfter(at(7)))
		_, err := stagger(s.t.Context(), s.cell)
		return err
	}},
	"group": {play: func(s *stage) error {
		s.add("site-1", answersAfter(at(8)))
		_, err := group(s.t.Context(), s.cell, []producer{
			s.drawn("meter-1", failsAfter(at(5))),
			s.drawn("meter-2", answersAfter(at(7))),
			s.drawn("meter-3", answersAfter(at(7))),
		})
		return err
	}},
	"hedge": {play: func(s *stage) error {
		s.add("site-1", answersAfter(at(8)))
		s.add("meter-1", never, dispatch.WithGroup("meters"))
		s.add("meter-2", answersAfter(at(7)), dispatch.WithGroup("meters"))
		s.add("meter-3", answersAfter(at(7)), dispatch.WithGroup("meters"))
		_, err := hedge(s.t.Context(), s.cell)
		return err
	}},
	"targets": gather(dispatch.ErrUnknownMember, targets, answersAfter(at(5)), answersAfter(at(12)), never),
	"minimum": {play: func(s *stage) error {
		s.add("site-1", answersAfter(at(5)))
		time.AfterFunc(at(15), func() { s.add("site-2", answersAfter(at(12))) })
		_, err := minimum(s.t.Context(), s.cell)
		return err
	}},
	"minimumMissed": gather(dispatch.ErrTooFewProducers, minimum, answersAfter(at(5))),
	"parallelism":   gather(nil, parallelism, answersAfter(at(10)), answersAfter(at(15)), answersAfter(at(10)), answersAfter(at(10))),
	"maxQueue": {play: func(s *stage) error {
		if err := maxQueue(s.cell, s.drawn("site-1", answersAfter(at(12)))); err != nil {
			return err
		}
		for range 3 { // with a pause, because calls at the same moment have no order
			if _, err := s.cell.Send(s.t.Context(), measure, "vdd"); err != nil {
				return err
			}
			time.Sleep(at(2))
		}
		return nil
	}},
	"mailbox": {play: func(s *stage) error {
		if err := mailbox(s.cell, s.takes("display", at(12))); err != nil {
			return err
		}
		_, err := s.cell.AddStreamProducer(measure, s.yields("site-1", 6, at(5)), dispatch.WithName("site-1"))
		s.check(err)
		_, err = s.cell.Gather(s.t.Context(), measure, "vdd")
		return err
	}},
	"retain": {play: func(s *stage) error {
		latest := dispatch.NewTopic[string, float64]("cell.measure", dispatch.WithTimeout(4*second), dispatch.WithRetain(2))
		_, err := s.cell.AddStreamProducer(latest, s.yields("site-1", 6, at(5)), dispatch.WithName("site-1"))
		s.check(err)
		time.AfterFunc(at(22), func() { s.check(retain(s.cell, s.takes("display", at(2)))) })
		_, err = s.cell.Gather(s.t.Context(), latest, "vdd")
		return err
	}},
	"maxInFlight": {inTurn: true, play: func(s *stage) error {
		takes := map[string]time.Duration{"vdd": at(10), "vio": at(22), "vref": at(8), "vpll": at(12)}
		site := func(ctx context.Context, pin string) (float64, error) { return answersAfter(takes[pin])(ctx, pin) }
		return maxInFlight(s.t.Context(), func(cell *dispatcher) error {
			s.watch(cell)
			s.add("site-1", site)
			return nil
		}, []string{"vdd", "vio", "vref", "vpll"})
	}},
}

// played is what the documents say of a scenario.
type played struct{ picture, report string }

// run plays the scenario in virtual time.
func (sc scenario) run(t *testing.T) (p played) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		if err := sc.play(s); !errors.Is(err, sc.want) {
			t.Fatalf("error is %v, want %v", err, sc.want)
		}
		time.Sleep(time.Minute) // until producers that ignore their contexts have returned
		s.snapshot()
		if err := s.cell.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		timeout := sc.timeout
		if timeout == 0 {
			timeout = 4 * second
		}
		p = played{s.picture(timeout, sc.inTurn), s.report()}
	})
	return p
}

// A snippet that no picture shows works as well.
func TestNoWaitFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cell := dispatch.New[string, float64](dispatch.WithMaxInFlight(1))
		if _, err := cell.AddProducer(measure, answersAfter(second)); err != nil {
			t.Fatal(err)
		}
		if err := noWait(t.Context(), cell, "vdd"); err != nil {
			t.Fatal(err)
		}
		if err := noWait(t.Context(), cell, "vio"); !errors.Is(err, dispatch.ErrOverloaded) || !strings.HasPrefix(err.Error(), "try again") {
			t.Errorf("error is %v, want one that says to try again", err)
		}
		if err := cell.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// With the options of its topic and bus, the call of this snippet would fail at once.
func TestTheRelaxedCallForgetsWhatTheTopicSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cell := dispatch.New[string, float64](dispatch.WithTimeout(at(3)))
		strict := dispatch.NewTopic[string, float64]("cell.measure", dispatch.WithFailFast(), dispatch.WithQuorum(3))
		for _, p := range []producer{failsAfter(at(1)), answersAfter(at(5)), answersAfter(at(7))} {
			if _, err := cell.AddProducer(strict, p); err != nil {
				t.Fatal(err)
			}
		}
		if volts, err := relaxed(t.Context(), cell, strict); len(volts) != 2 || err != nil {
			t.Errorf("got %v, %v, want two values", volts, err)
		}
	})
}

// A picture of this would have to show all calls from which the library learns the quantile.
func TestTheHedgeAtAQuantileNeedsTwentyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cell := dispatch.New[string, float64]()
		var runs atomic.Int32
		for range 2 {
			meter := func(ctx context.Context, pin string) (float64, error) {
				if runs.Add(1) == 21 {
					return never(ctx, pin)
				}
				return answersAfter(at(8))(ctx, pin)
			}
			if _, err := cell.AddProducer(measure, meter, dispatch.WithGroup("meters")); err != nil {
				t.Fatal(err)
			}
		}
		for range 20 {
			took(t, at(8), func() {
				if _, err := hedgeQuantile(t.Context(), cell); err != nil {
					t.Error(err)
				}
			})
		}
		began := time.Now()
		if volts, err := hedgeQuantile(t.Context(), cell); len(volts) != 1 || err != nil || time.Since(began) > at(18) {
			t.Errorf("got %v, %v after %v, want one value after 1.6 s or a little more", volts, err, time.Since(began))
		}
	})
}
