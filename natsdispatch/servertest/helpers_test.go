package servertest_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// patience is how long a test waits before it fails. No test measures this time.
const patience = 30 * time.Second

// startServer starts a server in this process, on a free port of the loopback interface.
func startServer(t testing.TB, change ...func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true}
	for _, f := range change {
		f(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatalf("NewServer: %v", err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	return s
}

// onPort returns an option that lets a server listen on a port.
func onPort(port int) func(*server.Options) {
	return func(o *server.Options) { o.Port = port }
}

func connect(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	opts = append([]nats.Option{
		natsdispatch.Robust, nats.ReconnectWait(10 * time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // the default writes to stderr
	}, opts...)
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

type dispatcher = dispatch.Dispatcher[string, string]

var measure = dispatch.NewTopic[string, string]("cell.measure", dispatch.WithTimeout(patience))

func newBus(opts ...dispatch.BusOption) *dispatcher {
	return dispatch.New[string, string](append([]dispatch.BusOption{dispatch.WithLogger(slog.New(slog.DiscardHandler))}, opts...)...)
}

// produce adds a producer with a name.
func produce(t testing.TB, d *dispatcher, name string, p dispatch.Producer[string, string], opts ...dispatch.ProducerOption) *dispatch.Registration {
	t.Helper()
	added, err := d.AddProducer(measure, p, append(opts, dispatch.WithName(name))...)
	if err != nil {
		t.Fatalf("AddProducer: %v", err)
	}
	return added
}

// echo returns a producer that answers with a name and the request.
func echo(name string) dispatch.Producer[string, string] {
	return func(_ context.Context, req string) (string, error) { return name + "=" + req, nil }
}

// failures collects the errors that an error handler gets.
type failures struct {
	mu  sync.Mutex // guards all
	all []error
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, err)
}

func (f *failures) list() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all)
}

// atLeast returns the errors once there are so many. The state of a node or remote may tell of an error before its
// handler does.
func (f *failures) atLeast(t *testing.T, n int) []error {
	t.Helper()
	until(t, fmt.Sprintf("an error handler to be told %d errors", n), func() bool { return len(f.list()) >= n })
	return f.list()
}

// loud returns an error handler that fails the test.
func loud(t testing.TB) natsdispatch.Option {
	return natsdispatch.WithErrorHandler(func(err error) { t.Errorf("error handler: %v", err) })
}

// unlogged discards the log, so that events do not appear in the output of a test.
var unlogged = natsdispatch.WithLogger(slog.New(slog.DiscardHandler))

func serve(t testing.TB, nc *nats.Conn, d *dispatcher, node string, opts ...natsdispatch.ServeOption) *natsdispatch.Node {
	t.Helper()
	n, err := natsdispatch.Serve(nc, d, measure, append([]natsdispatch.ServeOption{natsdispatch.WithNode(node), loud(t), unlogged}, opts...)...)
	if err != nil {
		t.Fatalf("Serve: %v", err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// join joins the topic, and waits until the nodes are present.
func join(t testing.TB, nc *nats.Conn, d *dispatcher, nodes []string, opts ...natsdispatch.JoinOption) *natsdispatch.Remote {
	t.Helper()
	r, err := natsdispatch.Join(nc, d, measure, append([]natsdispatch.JoinOption{
		loud(t), unlogged, natsdispatch.WithAcceptWindow(10 * time.Second), natsdispatch.WithDiscovery(50 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatalf("Join: %v", err)
	}
	t.Cleanup(func() { r.Close() })
	await(t, r, nodes...)
	return r
}

func await(t testing.TB, r *natsdispatch.Remote, nodes ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Await(ctx, nodes...); err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition that no event announces.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited for %s, which did not come", what)
		}
	}
}

// receive waits for a value of the channel.
func receive[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("waited for %s, which did not come", what)
	}
	return v
}

func send(t testing.TB, d *dispatcher, req string, opts ...dispatch.CallOption) *dispatch.Call[string, string] {
	t.Helper()
	call, err := d.Send(t.Context(), measure, req, opts...)
	if err != nil {
		t.Fatalf("Send: %v", err)
	}
	return call
}

// ended waits for the end of a call.
func ended(t testing.TB, call *dispatch.Call[string, string]) dispatch.Report {
	t.Helper()
	receive(t, "the end of the call", call.Done())
	return call.Report()
}

// want checks how the call and its members ended. A member is written as "node/name state", in any order.
func want(t testing.TB, r dispatch.Report, reason dispatch.Reason, members ...string) {
	t.Helper()
	got := []string{}
	for _, o := range r.Outcomes {
		got = append(got, fmt.Sprint(o.Member, " ", o.State))
	}
	slices.Sort(got)
	slices.Sort(members)
	if r.Reason != reason || !slices.Equal(got, members) {
		t.Errorf("the call ended as %v with %q, want %v with %q; %v", r.Reason, got, reason, members, r.Err())
	}
}

// outcome returns the outcome of the member with this text.
func outcome(t testing.TB, r dispatch.Report, member string) dispatch.Outcome {
	t.Helper()
	for _, o := range r.Outcomes {
		if o.Member.String() == member {
			return o
		}
	}
	t.Fatalf("no outcome of %s among %v", member, r.Outcomes)
	return dispatch.Outcome{}
}

// noMisuse checks that no relay has misused its roster.
func noMisuse(t testing.TB, d *dispatcher) {
	t.Helper()
	if n := d.Bus().Snapshot().Misuse; n != 0 {
		t.Errorf("rosters were misused %d times", n)
	}
}

// named waits until the report names at least this number of started members.
func named(t testing.TB, call *dispatch.Call[string, string], members int) {
	t.Helper()
	until(t, "the members to be named", func() bool {
		n := 0
		for _, o := range call.Report().Outcomes {
			if o.Started {
				n++
			}
		}
		return n >= members
	})
}
