package dispatch_test

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"testing"
	"weak"

	"github.com/seed-bb4b4d74/dispatch"
)

// What every listener has been called with is let go of while the call goes on.
func TestStreamLetsGoBesideListenersWhileTheCallGoesOn(t *testing.T) {
	const n = 6000
	type big struct{ _ [1 << 10]byte }
	topic := dispatch.NewTopic[int, *big]("kit.big")
	for name, opts := range map[string][]dispatch.ListenerOption{
		"unbounded": nil, "bounded": {dispatch.WithMailbox(n, dispatch.DropOldest)}, "concurrent": {dispatch.WithConcurrency(4)},
	} {
		for _, observed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, observed %t", name, observed), func(t *testing.T) {
				d := dispatch.New[int, *big]()
				if observed {
					if _, err := d.Bus().Observe(dispatch.Observer{Dropped: func(context.Context, dispatch.ListenerInfo) {}}); err != nil {
						t.Fatal(err)
					}
				}
				var made []weak.Pointer[big]
				finish := make(chan struct{})
				if _, err := d.AddStreamProducer(topic, func(context.Context, int) iter.Seq2[*big, error] {
					return func(yield func(*big, error) bool) {
						for range n {
							v := new(big)
							made = append(made, weak.Make(v))
							yield(v, nil)
						}
						<-finish
					}
				}); err != nil {
					t.Fatal(err)
				}
				var heard sync.WaitGroup
				heard.Add(n)
				if _, err := d.AddListener(topic, func(context.Context, dispatch.Result[int, *big]) { heard.Done() }, opts...); err != nil {
					t.Fatal(err)
				}
				yielded := 0
				for _, err := range d.Stream(context.Background(), topic, 0) {
					if err != nil {
						t.Fatal(err)
					}
					if yielded++; yielded < n {
						continue
					}
					heard.Wait()
					kept := reachable(made, 2100)
					if close(finish); kept > 2100 {
						t.Errorf("%d results of %d are still reachable", kept, n)
					}
				}
			})
		}
	}
}
