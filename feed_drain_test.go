package dispatch_test

import (
	"context"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A listener that is drained gets what its mailbox has, whatever comes after that.
func TestDrainedMailboxLosesNothingToLaterResults(t *testing.T) {
	for _, overflow := range []dispatch.Overflow{dispatch.DropOldest, dispatch.DropNewest} {
		t.Run(overflow.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDispatcher()
				next := make(chan int)
				if _, err := d.AddStreamProducer(ask, func(context.Context, int) iter.Seq2[int, error] {
					return func(yield func(int, error) bool) {
						for v := range next {
							yield(v, nil)
						}
					}
				}); err != nil {
					t.Fatal(err)
				}
				var heard notes
				release := make(chan struct{})
				l := listen(t, d, func(_ context.Context, r result) {
					<-release
					heard.add("%d", r.Value)
				}, dispatch.WithMailbox(2, overflow))
				c := send(t, d, dispatch.WithTimeout(time.Hour))
				for v := range 3 {
					next <- v
					synctest.Wait()
				}
				drained := make(chan error, 1)
				go func() { drained <- l.Drain(t.Context()) }()
				synctest.Wait()
				for v := range 3 {
					next <- 3 + v
					synctest.Wait()
				}
				close(release)
				if err := <-drained; err != nil {
					t.Error(err)
				}
				if got := strings.Join(heard.all(), " "); got != "0 1 2" {
					t.Errorf("heard %q, want 0 1 2", got)
				}
				close(next)
				<-c.Done()
			})
		})
	}
}
