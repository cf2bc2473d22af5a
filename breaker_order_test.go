package dispatch_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// An observer that is behind is told of things in the order in which they happened.
func TestObserverThatIsBehindIsToldInOrder(t *testing.T) {
	t.Skip("it is not yet")
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDispatcher()
		release := make(chan struct{})
		var order notes
		if _, err := d.Bus().Observe(dispatch.Observer{
			MemberEnd: func(_ context.Context, m dispatch.MemberInfo, _ dispatch.Outcome) {
				<-release
				order.add("end %s", m.Member.Name)
			},
			CallEnd: func(context.Context, dispatch.Report) { order.add("call") },
			Late: func(_ context.Context, m dispatch.MemberInfo, _ time.Duration, _ error) {
				order.add("late %s", m.Member.Name)
			},
		}); err != nil {
			t.Fatal(err)
		}
		for i := range 200 {
			produce(t, d, fmt.Sprint("p", i), quick(i))
		}
		produce(t, d, "patient", patient)
		ended(t, d, dispatch.WithTimeout(time.Second))
		synctest.Wait()
		close(release)
		synctest.Wait()
		all := order.all()
		if got := all[len(all)-3:]; fmt.Sprint(got) != "[end patient call late patient]" {
			t.Errorf("the last three of %d are %q", len(all), got)
			for i, l := range all {
				if l == "late patient" {
					t.Errorf("late is number %d", i)
				}
			}
		}
	})
}
