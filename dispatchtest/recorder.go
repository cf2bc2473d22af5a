package dispatchtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A Recorder is a listener that keeps all that it is called with, for the test
// to wait for and to compare. It is made by [Listen] and must not be copied. Its
// methods may be used concurrently, but those that can end the test, Wait and
// WaitDone, must be called from the test's own goroutine.
//
// The embedded Registration is that of the listener: to remove or drain it before
// the test is over.
type Recorder[Req, Res any] struct {
	*dispatch.Registration
	t testing.TB

	mu       sync.Mutex // guards the fields below
	results  []dispatch.Result[Req, Res]
	outcomes []dispatch.Outcome
	reports  []dispatch.Report
	changed  chan struct{} // closed when one of them grows; nil if nobody waits
}

// Listen registers a listener that records what comes from now on, and removes it
// when the test is over. If it cannot be registered the test fails at once; so
// Listen must be called from the test's own goroutine. In a bubble, t has to be
// the one of the bubble.
//
// The options are those of [dispatch.Dispatcher.AddListener], except that the
// recorder has its own [dispatch.OnOutcome] and [dispatch.OnDone], which take the
// place of any among them.
func Listen[Req, Res any](t testing.TB, d *dispatch.Dispatcher[Req, Res], on dispatch.Selector[Req, Res], opts ...dispatch.ListenerOption) *Recorder[Req, Res] {
	t.Helper()
	r := &Recorder[Req, Res]{t: t}
	opts = append(slices.Clone(opts), dispatch.OnOutcome(r.outcome), dispatch.OnDone(r.done))
	added, err := d.AddListener(on, r.result, opts...)
	if err != nil {
		t.Fatalf("dispatchtest.Listen: %v", err)
	}
	t.Cleanup(added.Remove)
	r.Registration = added
	return r
}

func (r *Recorder[Req, Res]) result(_ context.Context, result dispatch.Result[Req, Res]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, result)
	r.wakeLocked()
}

func (r *Recorder[Req, Res]) outcome(o dispatch.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes = append(r.outcomes, o)
}

func (r *Recorder[Req, Res]) done(report dispatch.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports = append(r.reports, report)
	r.wakeLocked()
}

func (r *Recorder[Req, Res]) wakeLocked() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// Results returns the results that have come so far, in the order in which they
// came.
func (r *Recorder[Req, Res]) Results() []dispatch.Result[Req, Res] {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.results)
}

// Outcomes returns how members of calls have ended so far, in the order in which
// the listener was told.
func (r *Recorder[Req, Res]) Outcomes() []dispatch.Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.outcomes)
}

// Reports returns the reports of the calls that have ended so far, in the order
// in which the listener was told. All results and outcomes of these calls are
// recorded.
func (r *Recorder[Req, Res]) Reports() []dispatch.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.reports)
}

// Wait waits until n results have come, counted from [Listen] on. It ends the
// test as failed when they have not come within 30 seconds, in a bubble within an
// hour of its time, or when the context of the test ends.
func (r *Recorder[Req, Res]) Wait(n int) {
	r.t.Helper()
	r.wait(n, "results", func() int { return len(r.results) })
}

// WaitDone waits until n calls have ended and all that the listener is told of
// them is recorded. It counts and gives up as [Recorder.Wait] does.
func (r *Recorder[Req, Res]) WaitDone(n int) {
	r.t.Helper()
	r.wait(n, "ended calls", func() int { return len(r.reports) })
}

// wait waits until the count, which is taken under the lock, has reached n.
func (r *Recorder[Req, Res]) wait(n int, what string, countLocked func() int) {
	r.t.Helper()
	limit := patience()
	ctx, cancel := context.WithTimeoutCause(r.t.Context(), limit, fmt.Errorf("gave up after %v", limit))
	defer cancel()
	for {
		r.mu.Lock()
		count := countLocked()
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed := r.changed
		r.mu.Unlock()
		if count >= n {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			r.t.Fatalf("%s: waited for %d %s, got %d: %v", r.Name(), n, what, count, context.Cause(ctx))
			return
		}
	}
}

// patience is how long a test waits for what does not come. In a bubble that
// costs no time, and what a test does there may take long: the clock of a bubble
// starts in the year 2000, which package synctest promises.
func patience() time.Duration {
	if time.Now().Year() < 2010 {
		return time.Hour
	}
	return 30 * time.Second
}

// Want compares the values of all results so far, in the order in which they
// came, with these. If they differ the test fails, goes on, and shows how.
//
// The comparison is that of [github.com/google/go-cmp/cmp], and looks at
// unexported fields as well. Where it needs options there is [Recorder.Results].
func (r *Recorder[Req, Res]) Want(values ...Res) {
	r.t.Helper()
	if diff := diffSlices(values, r.values()); diff != "" {
		r.t.Errorf("%s: values of the results (-want +got):\n%s", r.Name(), diff)
	}
}

// WantInAnyOrder is [Recorder.Want] for results of members that answer at the
// same time: the order in which they come is not compared.
func (r *Recorder[Req, Res]) WantInAnyOrder(values ...Res) {
	r.t.Helper()
	got := r.values()
	// Those that are wanted come first, in the order in which they are.
	n := 0
	for _, want := range values {
		if i := slices.IndexFunc(got[n:], func(v Res) bool { return equal(want, v) }); i >= 0 {
			got[n], got[n+i] = got[n+i], got[n]
			n++
		}
	}
	if diff := diffSlices(values, got); diff != "" {
		r.t.Errorf("%s: values of the results, in any order (-want +got):\n%s", r.Name(), diff)
	}
}

// WantFrom compares who gave the results so far, in the order in which they came,
// with these members. A member is written as by [dispatch.Member.String]: a
// producer of this process and without a group by its name. If they differ the
// test fails, goes on, and shows how.
func (r *Recorder[Req, Res]) WantFrom(members ...string) {
	r.t.Helper()
	results := r.Results()
	from := make([]string, len(results))
	for i, result := range results {
		from[i] = result.From.String()
	}
	if diff := diffSlices(members, from); diff != "" {
		r.t.Errorf("%s: members that gave the results (-want +got):\n%s", r.Name(), diff)
	}
}

func (r *Recorder[Req, Res]) values() []Res {
	results := r.Results()
	values := make([]Res, len(results))
	for i, result := range results {
		values[i] = result.Value
	}
	return values
}
