package servertest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// count adds a producer that yields this number of numbered results.
func count(t *testing.T, d *dispatcher, name string, results int) {
	t.Helper()
	if _, err := d.AddStreamProducer(measure, func(context.Context, string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for i := range results {
				if !yield(fmt.Sprintf("%d %s", i, strings.Repeat("x", 500)), nil) {
					return
				}
			}
		}
	}, dispatch.WithName(name)); err != nil {
		t.Fatal(err)
	}
}

// If the asker, the node or both lose their connection many times during a call, all results arrive, in
// order and once.
func TestResume(t *testing.T) {
	const results, cuts = 20_000, 20
	for _, who := range []string{"asker", "node", "both"} {
		t.Run(who, func(t *testing.T) {
			s := startServer(t)
			askers, nodes := startProxy(t, s.Addr().String()), startProxy(t, s.Addr().String())
			far, near := newBus(), newBus()
			count(t, far, "m", results)
			nc := connect(t, askers.url())
			farConn := connect(t, nodes.url())
			serve(t, farConn, far, "far", quiet)
			remote := join(t, nc, near, []string{"far"}, natsdispatch.WithWindow(128<<10), quiet)
			call := send(t, near, "x")
			n := 0
			for r := range call.Results() {
				if got, _, _ := strings.Cut(r.Value, " "); got != fmt.Sprint(n) {
					t.Fatalf("result %d is %s", n, got)
				}
				if n++; n%(results/cuts) != 0 {
					continue
				}
				if who != "node" {
					askers.set(true)
					askers.set(false)
				}
				if who != "asker" {
					nodes.set(true)
					nodes.set(false)
				}
			}
			want(t, ended(t, call), dispatch.ReasonAllEnded, "far/m ok")
			if n != results {
				t.Errorf("%d results, want %d", n, results)
			}
			if stats := remote.Stats(); stats.Resumed < 5 || stats.Malformed > 0 {
				t.Errorf("%+v", stats)
			}
			noMisuse(t, near)
		})
	}
}

// A reply that is sent while the node is disconnected arrives after the reconnect, because the node keeps
// it.
func TestResumeOfAFinal(t *testing.T) {
	s := startServer(t)
	p := startProxy(t, s.Addr().String())
	far, near := newBus(), newBus()
	began := make(chan context.Context, 1)
	answer := make(chan struct{})
	produce(t, far, "m", func(ctx context.Context, _ string) (string, error) {
		began <- ctx
		<-answer
		return "v", nil
	})
	farConn := connect(t, p.url())
	node := serve(t, farConn, far, "far", quiet)
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	call := send(t, near, "x")
	receive(t, "the producer to begin", began)
	named(t, call, 1)
	p.set(true)
	until(t, "the node to notice", func() bool { return !farConn.IsConnected() })
	close(answer)
	until(t, "the answer to be kept", func() bool { return node.Stats().Kept == 1 })
	p.set(false)
	want(t, ended(t, call), dispatch.ReasonAllEnded, "far/m ok")
	until(t, "the answer to be kept no longer", func() bool { return node.Stats().Kept == 0 })
	noMisuse(t, near)
}

// The results of a reply that the node no longer keeps are lost, and the report says so at once.
func TestResumeOfWhatIsForgotten(t *testing.T) {
	s := startServer(t)
	p := startProxy(t, s.Addr().String())
	far, near, other := newBus(), newBus(), newBus()
	began := make(chan context.Context, 2)
	answer := make(chan struct{})
	produce(t, far, "m", func(ctx context.Context, _ string) (string, error) {
		began <- ctx
		<-answer
		return strings.Repeat("v", 1000), nil
	})
	farConn := connect(t, p.url())
	var told failures
	node := serve(t, farConn, far, "far", natsdispatch.WithMaxWaiting(1500), natsdispatch.WithErrorHandler(told.add))
	calls := make([]*dispatch.Call[string, string], 2)
	for i, d := range []*dispatcher{near, other} {
		join(t, connect(t, s.ClientURL()), d, []string{"far"})
		calls[i] = send(t, d, "x")
		receive(t, "the producer to begin", began)
		named(t, calls[i], 1)
	}
	p.set(true)
	until(t, "the node to notice", func() bool { return !farConn.IsConnected() })
	answer <- struct{}{}
	until(t, "one answer to be kept", func() bool { return node.Stats().Kept == 1 })
	close(answer)
	until(t, "it to be given up for the other", func() bool { return node.Stats().GivenUp == 1 && node.Stats().Kept == 1 })
	p.set(false)
	lost := 0
	for _, call := range calls {
		report := ended(t, call)
		if o := outcome(t, report, "far/m"); o.State != dispatch.StateOK {
			lost++
			if o.State != dispatch.StateFailed || !errors.Is(o.Err, dispatch.ErrLost) {
				t.Errorf("it is %v with %v", o.State, o.Err)
			}
		}
	}
	if all := told.atLeast(t, 1); lost != 1 || len(all) != 1 || !strings.Contains(all[0].Error(), "WithMaxWaiting(1500)") {
		t.Errorf("%d are lost, and the error handler was told %q", lost, all)
	}
	until(t, "nothing to be kept", func() bool { return node.Stats().Waiting == 0 })
	noMisuse(t, near)
}

// If the node has no room for a result, the report says so.
func TestResultsThatHaveNoRoom(t *testing.T) {
	s := startServer(t)
	far, near := newBus(), newBus()
	for name, size := range map[string]int{"small": 1000, "large": 3_000_000} {
		produce(t, far, name, func(context.Context, string) (string, error) { return strings.Repeat("v", size), nil })
	}
	node := serve(t, connect(t, s.ClientURL()), far, "far", natsdispatch.WithMaxWaiting(2_500_000))
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	report := ended(t, send(t, near, "x"))
	if o := outcome(t, report, "far/small"); o.State != dispatch.StateOK {
		t.Errorf("the small one is %v with %v", o.State, o.Err)
	}
	o := outcome(t, report, "far/large")
	if o.State != dispatch.StateFailed || !strings.Contains(o.Err.Error(), "WithMaxWaiting allows 2500000") {
		t.Errorf("the large one is %v with %v", o.State, o.Err)
	}
	until(t, "nothing to wait", func() bool { return node.Stats().Waiting == 0 })
	noMisuse(t, near)
}

// A message that arrives before its predecessors is not used. The asker asks for it again, if the node does
// not send it again with its predecessors.
func TestResumeOfWhatCameTooEarly(t *testing.T) {
	s := startServer(t)
	near := newBus()
	a := startAgent(t, connect(t, s.ClientURL()), "far")
	remote := join(t, connect(t, s.ClientURL()), near, []string{"far"})
	said := make(chan *nats.Msg, 100)
	if _, err := a.nc.ChanSubscribe("dispatch.v1.default.ask.cell.measure.=far", said); err != nil {
		t.Fatal(err)
	}
	call := send(t, near, "x")
	m := a.take()
	asks := func(next int) {
		t.Helper()
		prefix := fmt.Sprintf("resume %s %d ", m.Header.Get("Dispatch-Call"), next)
		if got := string(receive(t, "a question", said).Data); !strings.HasPrefix(got, prefix) {
			t.Errorf("asked %q, want %q", got, prefix)
		}
	}
	a.say2(m, "0000000002", "end 0 1 ok", "final 1 1")
	asks(0)
	a.say2(m, "0000000000", "accept m")
	asks(1)
	a.say2(m, "0000000001", value(0, "v"))
	asks(2)
	a.say2(m, "0000000002", "end 0 1 ok", "final 1 1")
	want(t, ended(t, call), dispatch.ReasonAllEnded, "far/m ok")
	if n := remote.Stats().Resumed; n != 3 {
		t.Errorf("%d questions, want 3", n)
	}
}
