package dispatch_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// handle is what a producer opens and somebody has to close.
type handle struct{ closed atomic.Bool }

// What the loser of a hedge, or of a quorum, has opened reaches OnLate, so that it can be
// closed.
func TestLosersReachOnLate(t *testing.T) {
	for name, test := range map[string]struct {
		group string
		opts  []dispatch.CallOption
		goes  bool // the call goes on when the loser returns
	}{
		"of a hedge":                         {"g", opts(dispatch.WithHedge(time.Second)), false},
		"of a hedge, while the call goes on": {"g", opts(dispatch.WithHedge(time.Second)), true},
		"of a quorum":                        {"", opts(dispatch.WithQuorum(1)), false},
		"of First":                           {"", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				topic := dispatch.NewTopic[int, *handle]("kit.handle")
				d := apiQuiet[int, *handle](dispatch.WithTimeout(time.Minute))
				var opened apiEvents[*handle]
				open := func(after time.Duration) dispatch.Producer[int, *handle] {
					return func(context.Context, int) (*handle, error) {
						time.Sleep(after)
						h := new(handle)
						opened.add(h)
						return h, nil
					}
				}
				var with []dispatch.ProducerOption
				if test.group != "" {
					with = append(with, dispatch.WithGroup(test.group))
				}
				apiMust(d.AddProducer(topic, open(4*time.Second), append(with, dispatch.WithName("slow"))...))
				apiMust(d.AddProducer(topic, open(time.Second), append(with, dispatch.WithName("quick"))...))
				if test.goes {
					apiMust(d.AddProducer(topic, func(context.Context, int) (*handle, error) { time.Sleep(30 * time.Second); return nil, nil }, dispatch.WithName("last")))
				}
				var late notes
				d.OnLate(func(r dispatch.Result[int, *handle], by time.Duration) {
					r.Value.closed.Store(true)
					late.add("%v by %v, seq %d, after %v", r.From, by, r.Seq, r.Elapsed)
				})
				if name == "of First" {
					apiMust(d.First(t.Context(), topic, 0)).closed.Store(true)
				} else {
					apiMust(d.Gather(t.Context(), topic, 0, test.opts...))[0].closed.Store(true)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				want := "slow by 3s, seq -1, after 4s"
				if test.group != "" {
					want = "g/slow by 2s, seq -1, after 4s"
				}
				wantLines(t, late.all(), want)
				all := opened.take()
				for i, h := range all {
					if !h.closed.Load() {
						t.Errorf("handle %d of %d was not closed", i, len(all))
					}
				}
			})
		})
	}
}
