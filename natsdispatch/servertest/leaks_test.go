package servertest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

func TestTenThousandCallsLeaveNothing(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	for i := range 3 {
		produce(t, far, fmt.Sprint("m", i), echo("m"))
	}
	farConn, nearConn := connect(t, s.ClientURL()), connect(t, s.ClientURL())
	node := serve(t, farConn, far, "far", natsdispatch.WithBeat(500*time.Millisecond))
	remote := join(t, nearConn, near, []string{"far"})
	timeout := dispatch.WithTimeout(5 * time.Second)
	want(t, ended(t, send(t, near, "x", timeout)), dispatch.ReasonAllEnded, "far/m0 ok", "far/m1 ok", "far/m2 ok")
	subscriptions := func() int {
		return int(s.NumSubscriptions()) + farConn.NumSubscriptions() + nearConn.NumSubscriptions()
	}
	subs, goroutines := subscriptions(), runtime.NumGoroutine()
	var calls [10_000]struct{}
	for i := range calls {
		call := send(t, near, "x", timeout)
		if i%100 == 0 {
			call.Cancel(nil)
		}
		<-call.Done()
	}
	if n := subscriptions(); n != subs {
		t.Errorf("%d subscriptions, %d before", n, subs)
	}
	until(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
	until(t, "the entries to go", func() bool {
		n, r := node.Stats(), remote.Stats()
		return n.InHand == 0 && n.Remembered == 0 && r.InFlight == 0
	})
	noMisuse(t, near)
}

// Close leaves no subscription and no goroutine.
func TestCloseLeavesNothing(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	began := make(chan context.Context, 1)
	produce(t, far, "m", hang(began))
	produce(t, far, "r", echo("r"), dispatch.WithGroup("g"))
	nc := connect(t, s.ClientURL())
	goroutines := runtime.NumGoroutine()
	node := serve(t, nc, far, "far", natsdispatch.WithMicro("1.0.0"))
	remote := join(t, nc, near, []string{"far"})
	call := send(t, near, "x", dispatch.WithTimeout(time.Hour))
	receive(t, "the producer to begin", began)
	named(t, call, 2)
	for range 2 {
		if err := remote.Close(); err != nil {
			t.Error(err)
		}
	}
	report := ended(t, call)
	if o := outcome(t, report, "far/m"); o.State != dispatch.StateGone {
		t.Errorf("after Close the member is %v, want gone", o.State)
	}
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonNoProducers)
	if err := remote.Await(t.Context(), "somebody"); !errors.Is(err, dispatch.ErrClosed) {
		t.Errorf("Await after Close: %v, want %v", err, dispatch.ErrClosed)
	}
	for range 2 {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	}
	until(t, "the subscriptions to end", func() bool { return nc.NumSubscriptions() == 0 }) // package micro drains its subscriptions, so they may end later
	until(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
}

// A node keeps no reply after Close: no asker can get it any more.
func TestCloseKeepsNoReply(t *testing.T) {
	s := startServer(t)
	far := newBus()
	produce(t, far, "m", echo("m"))
	node := serve(t, connect(t, s.ClientURL()), far, "far")
	nc := connect(t, s.ClientURL())
	m := nats.NewMsg("dispatch.v1.default.ask.cell.measure")
	m.Reply, m.Data = nc.NewInbox(), []byte(`"x"`)
	m.Header = nats.Header{
		"Dispatch-Version": {"1"}, "Dispatch-Type": {"request"}, "Dispatch-Call": {"c"},
		"Dispatch-Budget": {"3600000000"}, "Dispatch-Codec": {"json"}, "Dispatch-Window": {"1000000"},
	}
	if err := nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	until(t, "the reply to be kept", func() bool { return node.Stats().Kept == 1 })
	if err := node.Close(); err != nil {
		t.Error(err)
	}
	if stats := node.Stats(); stats.Kept != 0 || stats.Waiting != 0 {
		t.Errorf("after Close: %+v", stats)
	}
}

// Each Close returns when all is done, also if another Close is doing it.
func TestCloseWaitsForAnotherClose(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	produce(t, far, "m", echo("m"))
	nc := connect(t, s.ClientURL())
	for range 100 {
		node := serve(t, nc, far, "far")
		remote := join(t, nc, near, nil)
		for _, side := range []interface{ Close() error }{remote, node} {
			left := make(chan int, 4)
			before := nc.NumSubscriptions()
			for range cap(left) {
				go func() {
					err := side.Close()
					left <- nc.NumSubscriptions()
					if err != nil {
						t.Error(err)
					}
				}()
			}
			first := receive(t, "the first Close", left)
			for range cap(left) - 1 {
				if n := receive(t, "another Close", left); n != first {
					t.Fatalf("%T: %d subscriptions are left after one Close and %d after another, of %d", side, first, n, before)
				}
			}
		}
	}
}

// Calls may be sent during Join and Close. They ask the nodes or not, and nothing goes wrong.
func TestCallsDuringJoin(t *testing.T) {
	s := startServer(t)
	near, far := newBus(), newBus()
	produce(t, far, "m", echo("m"))
	produce(t, near, "here", echo("here"))
	serve(t, connect(t, s.ClientURL()), far, "far")
	nc := connect(t, s.ClientURL())
	stop := make(chan struct{})
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				call, err := near.Send(t.Context(), measure, "x")
				if err != nil {
					t.Error(err)
					return
				}
				<-call.Done()
				for _, o := range call.Report().Outcomes {
					if o.State != dispatch.StateOK && o.State != dispatch.StateGone {
						t.Errorf("%v is %v: %v", o.Member, o.State, o.Err)
					}
				}
			}
		})
	}
	for range 50 {
		join(t, nc, near, []string{"far"}, natsdispatch.WithNodes("far")).Close()
	}
	close(stop)
	senders.Wait()
	noMisuse(t, near)
}
