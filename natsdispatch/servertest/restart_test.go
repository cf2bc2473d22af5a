package servertest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// untilDone returns a producer that says that it runs, and works until it is canceled.
func untilDone(runs chan<- string, what string) dispatch.Producer[string, string] {
	return func(ctx context.Context, _ string) (string, error) {
		runs <- what
		<-ctx.Done()
		return "", context.Cause(ctx)
	}
}

// A request is not run again by a node that has started again, although the asker's connection breaks in the
// meantime and the asker waits for a node that was never heard, and for one that is dead. The report has no
// twin.
func TestRequestIsNotRunAgainAfterARestart(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := startProxy(t, s.Addr().String())
	old, again, near := newBus(), newBus(), newBus()
	runs := make(chan string, 10)
	produce(t, old, "m", untilDone(runs, "first"))
	produce(t, again, "m", untilDone(runs, "second"))
	node := serve(t, connect(t, s.ClientURL()), old, "a", quiet)
	killed := connect(t, s.ClientURL())
	serve(t, killed, newBus(), "dead", quiet)
	remote := join(t, connect(t, p.url()), near, []string{"a", "dead"}, quiet, natsdispatch.WithNodes("a", "ghost"), natsdispatch.WithAcceptWindow(600*time.Millisecond))
	killed.Close()
	call := send(t, near, "x", dispatch.WithTimeout(time.Minute))
	receive(t, "the first run", runs)
	named(t, call, 1)
	p.set(true)
	node.Close()
	serve(t, connect(t, s.ClientURL()), again, "a", quiet)
	p.set(false)
	report := ended(t, call)
	want(t, report, dispatch.ReasonAllEnded, "a/m gone", "dead/* failed", "ghost/* failed")
	if err := outcome(t, report, "ghost/*").Err; !strings.Contains(err.Error(), "has not accepted") {
		t.Errorf("ghost: %v, which is what the server says of dead", err)
	}
	if len(runs) > 0 || remote.Err() != nil || remote.Stats().Resent == 0 {
		t.Errorf("there are %d further runs; %v; %+v", len(runs), remote.Err(), remote.Stats())
	}
}

// When one node comes back from a break, the asker repeats the request to this node alone, and not to a node
// that has started in the meantime.
func TestRequestIsRepeatedToOneNode(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := startProxy(t, s.Addr().String())
	a, b, c, near := newBus(), newBus(), newBus(), newBus()
	runs := make(chan string, 10)
	produce(t, a, "m", untilDone(runs, "a"))
	produce(t, b, "m", func(context.Context, string) (string, error) { runs <- "b"; return "b", nil })
	produce(t, c, "m", untilDone(runs, "a again"))
	first := serve(t, connect(t, s.ClientURL()), a, "a", quiet)
	cut := connect(t, p.url())
	serve(t, cut, b, "b", quiet)
	remote := join(t, connect(t, s.ClientURL()), near, []string{"a", "b"}, quiet)
	p.set(true)
	until(t, "b to be cut off", func() bool { return !cut.IsConnected() })
	call := send(t, near, "x", dispatch.WithTimeout(time.Minute))
	receive(t, "the run of a", runs)
	named(t, call, 1)
	first.Close()
	serve(t, connect(t, s.ClientURL()), c, "a", quiet)
	await(t, remote, "a")
	p.set(false)
	want(t, ended(t, call), dispatch.ReasonAllEnded, "a/m gone", "b/m ok")
	if who := receive(t, "the run of b", runs); who != "b" || len(runs) > 0 {
		t.Errorf("%s runs the request, and then %d others", who, len(runs))
	}
	if stats := remote.Stats(); stats.Resent == 0 {
		t.Errorf("nothing was sent again: %+v", stats)
	}
}
