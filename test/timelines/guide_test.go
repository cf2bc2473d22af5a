package timelines_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchtest"
)

// The code of the guide about what is not a policy, and of the page for users of
// ate-dispatcher.

// meter is what the guide measures with.
type meter struct{ samples []float64 }

func (m meter) next(context.Context) (float64, error) { return m.samples[0], nil }

func addStream(cell *dispatcher, m meter, n int) (*dispatch.Registration, error) {
	return cell.AddStreamProducer(measure, func(ctx context.Context, pin string) iter.Seq2[float64, error] {
		return func(yield func(float64, error) bool) {
			for range n {
				volts, err := m.next(ctx)
				if !yield(volts, err) || err != nil {
					return // the call has ended, or the measurement failed
				}
			}
		}
	}, dispatch.WithName("meter"))
}

func addRelay(cell, other *dispatcher) (*dispatch.Registration, error) {
	return cell.AddRelay(measure, func(ctx context.Context, pin string, to *dispatch.Roster[float64]) error {
		call, err := other.Send(ctx, measure, pin)
		if err != nil {
			return err // the report then lists the relay itself
		}
		for _, o := range call.Report().Outcomes { // all members are still pending
			to.Name(dispatch.Member{Node: "cell-2", Name: o.Member.Name})
		}
		for r := range call.Results() {
			to.Result(dispatch.Member{Node: "cell-2", Name: r.From.Name}, r.Value)
		}
		for _, o := range call.Report().Outcomes {
			to.End(dispatch.Member{Node: "cell-2", Name: o.Member.Name}, o.Err)
		}
		return nil
	}, dispatch.WithName("cell-2"))
}

func testDisplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cell := dispatch.New[string, float64](dispatch.WithTimeout(2 * time.Second))
		dispatchtest.Produce(t, cell, measure, dispatchtest.Slow[string](time.Second, 1.2), dispatch.WithName("slow"))
		dispatchtest.Produce(t, cell, measure, dispatchtest.Failing[string, float64](errors.New("probe is open")), dispatch.WithName("broken"))
		heard := dispatchtest.Listen(t, cell, measure)

		call, err := cell.Send(t.Context(), measure, "vdd")
		if err != nil {
			t.Fatal(err)
		}
		heard.WaitDone(1)
		heard.Want(1.2)
		dispatchtest.WantStates(t, call.Report(), map[string]dispatch.State{"slow": dispatch.StateOK, "broken": dispatch.StateFailed})
	})
}

func TestTheGuidesTest(t *testing.T) { testDisplay(t) }

func TestTheGuidesStreamAndRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cell, other := dispatch.New[string, float64](), dispatch.New[string, float64]()
		if _, err := addStream(cell, meter{[]float64{1.2}}, 3); err != nil {
			t.Fatal(err)
		}
		for _, s := range []site{answering("site-1", second), failing("site-2", second)} {
			if _, err := other.AddProducer(measure, s.volts, dispatch.WithName(s.name)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := addRelay(cell, other); err != nil {
			t.Fatal(err)
		}
		call, err := cell.Send(t.Context(), measure, "vdd")
		if err != nil {
			t.Fatal(err)
		}
		<-call.Done()
		dispatchtest.WantStates(t, call.Report(), map[string]dispatch.State{
			"meter": dispatch.StateOK, "cell-2/site-1": dispatch.StateOK, "cell-2/site-2": dispatch.StateFailed,
		})
		if n := call.Report().Outcomes[0].Results; n != 3 {
			t.Errorf("the meter has %d results, want 3", n)
		}
		for _, d := range []*dispatcher{cell, other} {
			if err := d.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// measurement is what a request is that had positional and keyword arguments.
type measurement struct {
	Pin    string
	Range  float64
	Filter bool // was a keyword argument
}

func fromATEDispatcher(ctx context.Context, volts func(context.Context, measurement) (float64, error), show func(topic string, volts float64)) error {
	topic1 := dispatch.NewTopic[measurement, float64]("topic1")
	myTopic := dispatch.NewTopic[measurement, float64]("my_topic")
	cell := dispatch.New[measurement, float64]()

	site, err := cell.AddProducer(dispatch.AnyOf(topic1, myTopic), volts,
		dispatch.WithName("site-1"), dispatch.WithConcurrency(1))
	if err != nil {
		return err
	}
	if _, err := cell.AddListener(dispatch.AnyOf(topic1, myTopic), func(_ context.Context, r dispatch.Result[measurement, float64]) {
		show(r.Call.Topic().Name(), r.Value)
	}); err != nil {
		return err
	}

	if _, err := cell.Send(ctx, topic1, measurement{Pin: "vdd", Range: 5, Filter: true}, dispatch.WithTimeout(4*time.Second)); err != nil {
		return err
	}
	if err := site.Drain(ctx); err != nil {
		return err
	}
	return cell.Shutdown(ctx)
}

func TestFromATEDispatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shown []string
		err := fromATEDispatcher(t.Context(), func(context.Context, measurement) (float64, error) {
			time.Sleep(second)
			return 3.3, nil
		}, func(topic string, _ float64) { shown = append(shown, topic) })
		if err != nil || len(shown) != 1 || shown[0] != "topic1" {
			t.Errorf("got %v, %v; want one result on topic1", shown, err)
		}
	})
}
