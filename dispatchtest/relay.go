package dispatchtest

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A Join connects two buses with the relay under test, so that near's calls of the topic
// reach the producers of far. It returns when they do. It stops with t.Cleanup what it has
// started, and reports failures to t.
//
// All of far's producers are on one node, whose name the relay chooses. Some producers are
// registered before, others are added and removed later. Near has its own producers and
// listeners.
type Join func(t testing.TB, near, far *dispatch.Dispatcher[string, string], topic dispatch.Topic[string, string])

// TestRelay tests that a relay keeps the contract of [dispatch.Relay]. Each rule is a
// subtest with two new buses, which join connects. TestRelay is made for relays to other
// machines: it does not need virtual time, waits for events instead of sleeping, and gives a
// slow relay 30 seconds.
//
// Requests and values are strings of valid UTF-8, up to 100,000 bytes long. A relay has to
// transfer errors only as text, with the states that [dispatch.Roster.End] derives from
// them.
func TestRelay(t *testing.T, join Join) {
	for _, rule := range relayRules {
		t.Run(rule.name, func(t *testing.T) { rule.test(t, join) })
	}
}

// relayRule is one rule that a relay has to keep.
type relayRule struct {
	name  string
	check func(r *relayTest)
}

// test tests the rule, and that nothing is in flight after it.
func (rule relayRule) test(t testing.TB, join Join) {
	t.Helper()
	r := newRelayTest(t, join)
	rule.check(r)
	r.open()
	// A relay returns when its context ends, and so does the part of a call on the far side.
	// Otherwise what is left of each call adds up, and Shutdown does not return.
	r.shutdown("near", r.near)
	r.shutdown("far", r.far)
	// The bus counts what the roster refused: it is misuse by the relay.
	if n := r.near.Bus().Snapshot().Misuse; n > 0 {
		t.Errorf("the relay misused its rosters %d times", n)
	}
}

// relayTest is a test of one rule.
type relayTest struct {
	testing.TB
	near, far *dispatch.Dispatcher[string, string]
	topic     dispatch.Topic[string, string]
	join      func() // to be called once, after the first producers of far
	open      func() // releases the producers that wait for gate
	gate      <-chan struct{}

	mu   sync.Mutex // guards runs
	runs map[string]int
}

func newRelayTest(t testing.TB, join Join) *relayTest {
	silent := dispatch.WithLogger(slog.New(slog.DiscardHandler)) // producers fail on purpose
	gate := make(chan struct{})
	r := &relayTest{
		TB:    t,
		near:  dispatch.New[string, string](silent, dispatch.WithTimeout(patience())),
		far:   dispatch.New[string, string](silent),
		topic: dispatch.NewTopic[string, string]("dispatchtest.relay"),
		open:  sync.OnceFunc(func() { close(gate) }),
		gate:  gate,
		runs:  make(map[string]int),
	}
	r.join = func() {
		t.Helper()
		join(t, r.near, r.far, r.topic)
	}
	t.Cleanup(func() {
		r.open()
		r.near.Close()
		r.far.Close()
	})
	return r
}

// produce adds a producer to far and counts its runs.
func (r *relayTest) produce(name string, p dispatch.Producer[string, string], opts ...dispatch.ProducerOption) *dispatch.Registration {
	r.Helper()
	return Produce(r, r.far, r.topic, func(ctx context.Context, req string) (string, error) {
		r.mu.Lock()
		r.runs[name]++
		r.mu.Unlock()
		return p(ctx, req)
	}, append(opts, dispatch.WithName(name))...)
}

// ran returns how often a producer of far was called.
func (r *relayTest) ran(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runs[name]
}

// stream adds a producer to far that gives several results.
func (r *relayTest) stream(name string, p func(ctx context.Context, req string, yield func(string, error) bool)) {
	r.Helper()
	added, err := r.far.AddStreamProducer(r.topic, func(ctx context.Context, req string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) { p(ctx, req, yield) }
	}, dispatch.WithName(name))
	if err != nil {
		r.Fatalf("AddStreamProducer: %v", err)
	}
	r.Cleanup(added.Remove)
}

// hang adds a producer to far that sends its context on the channel, gives one result, which
// shows that the relay has named the producer, and goes on until its context ends.
func (r *relayTest) hang(name string) <-chan context.Context {
	r.Helper()
	began := make(chan context.Context, 1)
	r.stream(name, func(ctx context.Context, _ string, yield func(string, error) bool) {
		began <- ctx
		if yield("began", nil) {
			<-ctx.Done()
		}
	})
	return began
}

// echo answers with the producer's name and the request.
func echo(name string) dispatch.Producer[string, string] {
	return func(_ context.Context, req string) (string, error) { return name + "=" + req, nil }
}

// send sends a request from near.
func (r *relayTest) send(req string, opts ...dispatch.CallOption) *dispatch.Call[string, string] {
	r.Helper()
	return r.sendFrom(r.Context(), req, opts...)
}

func (r *relayTest) sendFrom(ctx context.Context, req string, opts ...dispatch.CallOption) *dispatch.Call[string, string] {
	r.Helper()
	call, err := r.near.Send(ctx, r.topic, req, opts...)
	if err != nil {
		r.Fatalf("Send: %v", err)
	}
	return call
}

// ended returns the report of a call that ends by itself.
func (r *relayTest) ended(call *dispatch.Call[string, string]) dispatch.Report {
	<-call.Done()
	return call.Report()
}

// await waits until there is something to receive.
func await[T any](r *relayTest, what string, c <-chan T) (v T) {
	r.Helper()
	timer := time.NewTimer(patience())
	defer timer.Stop()
	select {
	case v = <-c:
	case <-timer.C:
		r.Fatalf("waited for %s, which did not come", what)
	}
	return v
}

// inTime calls try with longer and longer timeouts, until one is long enough for the network
// and a busy machine.
func (r *relayTest) inTime(what string, try func(timeout time.Duration) bool) {
	r.Helper()
	for timeout := 100 * time.Millisecond; timeout < patience(); timeout *= 4 {
		if try(timeout) {
			return
		}
	}
	r.Fatalf("no time was long enough for %s", what)
}

// label writes a member in the form that these tests use: members of far have "far" as their
// node, and groups have no replica.
func label(m dispatch.Member) string {
	if m.Node != "" {
		m.Node = "far"
	}
	if m.Group != "" {
		m.Name = ""
	}
	return m.String()
}

// want compares how a call and its members ended. Members are written as "far/a ok", in any
// order.
func (r *relayTest) want(report dispatch.Report, reason dispatch.Reason, members ...string) {
	r.Helper()
	var got []string
	nodes := make(map[string]bool)
	for _, o := range report.Outcomes {
		got = append(got, label(o.Member)+" "+o.State.String())
		if o.Member.Node != "" {
			nodes[o.Member.Node] = true
		}
	}
	slices.Sort(got)
	slices.Sort(members)
	if d := diffSlices(members, got); d != "" || report.Reason != reason {
		r.Errorf("call %v of %q: %v, want %v; members (-want +got):\n%serror: %v", report.Call, report.Topic, report.Reason, reason, d, report.Err())
	}
	if len(nodes) > 1 {
		r.Errorf("the members of one node are said to be of %d: %v", len(nodes), nodes)
	}
}

// outcome returns the outcome of a member, of which there has to be one.
func (r *relayTest) outcome(report dispatch.Report, name string) dispatch.Outcome {
	r.Helper()
	var found []dispatch.Outcome
	for _, o := range report.Outcomes {
		if label(o.Member) == name {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		r.Fatalf("%d outcomes of %s, want 1: %v", len(found), name, report.Outcomes)
	}
	return found[0]
}

// wantErr compares the error of a member: with its sentinel if that is not nil, and
// its text.
func (r *relayTest) wantErr(report dispatch.Report, name string, is error, text string) {
	r.Helper()
	err := r.outcome(report, name).Err
	if is != nil && !errors.Is(err, is) || err == nil || !strings.Contains(err.Error(), text) {
		r.Errorf("the error of %s is %v, want %v with %q", name, err, is, text)
	}
}

// wantValues compares the results of a call, in the order of each member.
func (r *relayTest) wantValues(results []dispatch.Result[string, string], want map[string][]string) {
	r.Helper()
	got := make(map[string][]string)
	for _, result := range results {
		from := label(result.From)
		got[from] = append(got[from], result.Value)
	}
	if d := diff(want, got); d != "" {
		r.Errorf("values by member (-want +got):\n%s", d)
	}
}

// shutdown shuts a bus down, on which nothing may be in flight any more.
func (r *relayTest) shutdown(name string, d *dispatch.Dispatcher[string, string]) {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	defer cancel()
	if err := d.Shutdown(ctx); err != nil {
		r.Errorf("%s is still busy after its calls have ended: %v", name, err)
	}
}
