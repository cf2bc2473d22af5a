package dispatch_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// TestTopicTakenOverUnderACall has a topic change hands while a call of its
// first types is in flight.
func TestTopicTakenOverUnderACall(t *testing.T) {
	apiBubble(t, "", func(t *testing.T) {
		d := apiQuiet[int, int]()
		others := dispatch.On[int, string](d.Bus())
		a, other := dispatch.NewTopic[int, int]("a"), dispatch.NewTopic[int, string]("a")
		var heard, heardByPattern apiEvents[int]
		var heardByOthers apiEvents[string]
		apiMust(d.AddListener(dispatch.NewPattern[int, int](">"), apiHear[int](&heardByPattern)))
		p := apiMust(d.AddProducer(a, apiAnswer[int](1, time.Second)))
		l := apiMust(d.AddListener(a, apiHear[int](&heard)))
		c := apiMust(d.Send(t.Context(), a, 0))
		synctest.Wait() // the producer runs

		p.Remove()
		l.Remove()
		apiMust(others.AddListener(other, apiHear[int](&heardByOthers)))
		apiMust(others.AddProducer(other, apiAnswer[int]("new", 0)))
		apiEqual(t, "answers", apiMust(others.Gather(t.Context(), other, 0)), []string{"new"})
		<-c.Done()
		apiEqual(t, "reason", c.Report().Reason, dispatch.ReasonAllEnded)
		apiAtRest(t, d.Bus())
		apiEqual(t, "heard by the listener that was removed", heard.take(), nil)
		apiEqual(t, "heard by pattern", heardByPattern.take(), []int{1})
		apiEqual(t, "heard by those of other types", heardByOthers.take(), []string{"new"})
	})
}

func TestDrainAfterDoneDeliversTheCall(t *testing.T) {
	topic := dispatch.NewTopic[int, int]("a")
	lost, noDone := 0, 0
	const n = 20000
	for range n {
		d := apiQuiet[int, int]()
		var heard, done atomic.Int32
		apiMust(d.AddProducer(topic, apiAnswer[int](1, 0)))
		l := apiMust(d.AddListener(topic, func(context.Context, dispatch.Result[int, int]) { heard.Add(1) },
			dispatch.OnDone(func(dispatch.Report) { done.Add(1) })))
		c := apiMust(d.Send(t.Context(), topic, 0))
		<-c.Done()
		apiDrain(t, l)
		if heard.Load() != 1 {
			lost++
		}
		if done.Load() != 1 {
			noDone++
		}
	}
	if lost+noDone > 0 {
		t.Errorf("of %d calls that had ended before Drain, %d results and %d OnDone were not delivered", n, lost, noDone)
	}
}
