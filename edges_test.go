package dispatch_test

import (
	"context"
	"iter"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/seed-bb4b4d74/dispatch"
)

// A timer may end the call before Send has launched it. Its place must come back
// once.
func TestPlaceOfACallThatEndsBeforeItIsLaunched(t *testing.T) {
	d, _ := newDispatcher(dispatch.WithMaxInFlight(1))
	produce(t, d, "a", quick(1))
	hold := make(chan struct{})
	defer close(hold)
	listen(t, d, ignore, dispatch.OnDone(func(dispatch.Report) { <-hold }))
	produce(t, d, "b", func(context.Context, int) (int, error) { <-hold; return 1, nil })
	if _, err := d.Send(context.Background(), ask, 0); err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		_, err := d.Send(ctx, ask, 0, dispatch.WithTimeout(1), dispatch.WithNoWait())
		cancel()
		if err == nil {
			t.Fatalf("call %d has a place though the first goes on", i)
		}
		if i == 99 {
			break
		}
	}
}

// Close and the timer may meet a Stream that begins; the race detector looks on.
func TestStreamMeetsItsEnd(t *testing.T) {
	for range 2000 {
		d := dispatch.New[int, int](dispatch.WithLogger(slog.New(slog.DiscardHandler)))
		produce(t, d, "a", quick(1))
		var wg sync.WaitGroup
		wg.Go(func() { d.Close() })
		for range d.Stream(context.Background(), ask, 0, dispatch.WithTimeout(1)) {
		}
		wg.Wait()
	}
}

// A Stream that has waited for its producers lets go of what it has yielded, too.
func TestStreamThatWaitedLetsGo(t *testing.T) {
	type big struct{ _ [1 << 10]byte }
	topic := dispatch.NewTopic[int, *big]("kit.big")
	const n = 6000
	d := dispatch.New[int, *big](dispatch.WithTimeout(time.Minute))
	var mu sync.Mutex
	var made []weak.Pointer[big]
	go func() {
		for range n {
			d.AddProducer(topic, func(context.Context, int) (*big, error) {
				v := new(big)
				mu.Lock()
				defer mu.Unlock()
				made = append(made, weak.Make(v))
				return v, nil
			})
		}
	}()
	var c *dispatch.Call[int, *big]
	yielded := 0
	for r, err := range d.Stream(context.Background(), topic, 0, dispatch.WithMinProducers(n)) {
		if err != nil {
			t.Fatal(err)
		}
		c = r.Call
		yielded++
	}
	runtime.GC()
	kept := 0
	for _, p := range made {
		if p.Value() != nil {
			kept++
		}
	}
	if kept > 2100 {
		t.Errorf("%d results of %d are still reachable", kept, yielded)
	}
	runtime.KeepAlive(c)
}

// A listener that has left must not hold what came after it.
func TestStreamLetsGoAfterAListenerLeft(t *testing.T) {
	type big struct{ _ [1 << 10]byte }
	topic := dispatch.NewTopic[int, *big]("kit.big")
	const n = 6000
	d := dispatch.New[int, *big](dispatch.WithTimeout(time.Minute))
	var made []weak.Pointer[big]
	d.AddStreamProducer(topic, func(context.Context, int) iter.Seq2[*big, error] {
		return func(yield func(*big, error) bool) {
			for range n {
				v := new(big)
				made = append(made, weak.Make(v))
				if !yield(v, nil) {
					return
				}
			}
		}
	})
	l, _ := d.AddListener(topic, func(context.Context, dispatch.Result[int, *big]) {})
	i, kept := 0, 0
	for r, err := range d.Stream(context.Background(), topic, 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch i++; i {
		case 10:
			l.Remove()
		case n:
			for len(made) < n || r.Call.Report().Reason == dispatch.ReasonPending {
				runtime.Gosched()
			}
			kept = reachable(made, 2100)
			runtime.KeepAlive(r)
		}
	}
	if kept > 2100 {
		t.Errorf("%d results of %d are still reachable", kept, i)
	}
}
