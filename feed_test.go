package dispatch_test

import (
	"context"
	"iter"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/seed-bb4b4d74/dispatch"
)

// A call whose results come faster than a listener takes them has its turn, and then the
// others have theirs: however long it goes on, they wait for 64 of its events at most.
func TestFastStreamDoesNotStarveOtherCalls(t *testing.T) {
	for kind, opts := range map[string][]dispatch.ListenerOption{
		"plain":         nil,
		"with outcomes": {dispatch.OnOutcome(func(dispatch.Outcome) {})},
		"with an end":   {dispatch.OnDone(func(dispatch.Report) {})},
		"with places":   {dispatch.WithConcurrency(2)},
		"bounded":       {dispatch.WithMailbox(10_000, dispatch.DropNewest)},
	} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const results, wait = 2000, 64
				d, _ := newDispatcher(dispatch.WithTimeout(time.Minute), dispatch.WithSlowListener(time.Hour))
				addStream(t, d, "fast", func(_ context.Context, req int) iter.Seq2[int, error] {
					return func(yield func(int, error) bool) {
						for i := 0; i < results && req == 1 && yield(i, nil); i++ {
							time.Sleep(time.Millisecond)
						}
					}
				})
				produce(t, d, "b", quick(-1))
				var mu sync.Mutex
				behind := make(map[int]int) // per request: how many results of the first call came after it was sent
				sent, first := 0, 0
				listen(t, d, func(_ context.Context, r result) {
					mu.Lock()
					if req := r.Call.Request(); req == 1 {
						first++
					} else {
						behind[req] = first - sent
					}
					mu.Unlock()
					time.Sleep(3 * time.Millisecond)
				}, opts...)
				apiMust(d.Send(t.Context(), ask, 1))
				for req := 2; req < 6; req++ {
					time.Sleep(400 * time.Millisecond)
					mu.Lock()
					sent = first
					mu.Unlock()
					apiMust(d.Send(t.Context(), ask, req))
					time.Sleep(400 * time.Millisecond)
					mu.Lock()
					if n, ok := behind[req]; !ok || n > wait+1 {
						t.Errorf("the result of call %d was delivered: %t, behind %d results of the first", req, ok, n)
					}
					mu.Unlock()
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// bigger is a result whose memory can be seen to be let go of.
type bigger struct{ _ [1 << 10]byte }

// A listener that was removed keeps nothing of the logs of calls that wait in its mailbox.
func TestRemovedListenerLetsGoOfLogs(t *testing.T) {
	for where, opts := range map[string][]dispatch.ListenerOption{
		"in the mailbox":             nil,
		"in a bounded mailbox":       {dispatch.WithMailbox(100_000, dispatch.DropOldest)},
		"in a mailbox of concurrent": {dispatch.WithConcurrency(2)},
	} {
		t.Run(where, func(t *testing.T) {
			testRemovedListenerLetsGo(t, opts, func(d *dispatch.Dispatcher[int, *bigger]) {
				// They are busy with another call, so that what they are to let go of waits.
				elsewhere := dispatch.NewTopic[int, *bigger]("kit.elsewhere")
				apiMust(d.AddProducer(elsewhere, func(context.Context, int) (*bigger, error) { return nil, nil }))
				for range 2 {
					apiMust(d.Gather(context.Background(), elsewhere, 0))
				}
				synctest.Wait()
			})
		})
	}
}

func testRemovedListenerLetsGo(t *testing.T, opts []dispatch.ListenerOption, before func(d *dispatch.Dispatcher[int, *bigger])) {
	synctest.Test(t, func(t *testing.T) {
		const n = 6000
		topic := dispatch.NewTopic[int, *bigger]("kit.big")
		d := apiQuiet[int, *bigger](dispatch.WithTimeout(time.Minute))
		var made []weak.Pointer[bigger]
		apiMust(d.AddStreamProducer(topic, func(context.Context, int) iter.Seq2[*bigger, error] {
			return func(yield func(*bigger, error) bool) {
				for range n {
					v := new(bigger)
					made = append(made, weak.Make(v))
					if !yield(v, nil) {
						return
					}
				}
			}
		}))
		release := make(chan struct{})
		l := apiMust(d.AddListener(dispatch.NewPattern[int, *bigger]("kit.*"), func(context.Context, dispatch.Result[int, *bigger]) { <-release }, opts...))
		before(d)
		i, kept := 0, 0
		for r, err := range d.Stream(t.Context(), topic, 0) {
			if err != nil {
				t.Fatal(err)
			}
			switch i++; i {
			case 10:
				synctest.Wait()
				l.Remove()
			case n:
				synctest.Wait()
				runtime.GC()
				for _, p := range made {
					if p.Value() != nil {
						kept++
					}
				}
				runtime.KeepAlive(r)
			}
		}
		if kept > 2100 { // the last page, and the one that is being read
			t.Errorf("%d results of %d are still reachable", kept, i)
		}
		close(release)
		synctest.Wait()
	})
}
