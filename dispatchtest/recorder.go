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

// A Recorder is a listener that records all results, outcomes and reports, so that a test
// can wait for them and compare them. [Listen] returns a Recorder. A Recorder must not be
// copied. Its methods are safe for concurrent use, but Wait and WaitDone can end the test,
// so they must be called from the test's own goroutine.
//
// The embedded Registration is that of the listener. Use it to remove or drain the listener
// before the test ends.
type Recorder[Req, Res any] struct {
	*dispatch.Registration
	t testing.TB

	mu       sync.Mutex // guards the fields below
	results  []dispatch.Result[Req, Res]
	outcomes []dispatch.Outcome
	reports  []dispatch.Report
	changed  chan struct{} // closed when one of them grows; nil if no goroutine waits
}

// Listen registers a listener that records everything from now on, and removes it when the
// test ends. If it cannot register the listener, the test fails and stops at once; so Listen
// must be called from the test's own goroutine. In a bubble, t must be that of the bubble.
//
// The options are those of [dispatch.Dispatcher.AddListener]. The recorder has its own
// [dispatch.OnOutcome] and [dispatch.OnDone], which override those among the options.
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

// Results returns the recorded results, in the order in which they arrived.
func (r *Recorder[Req, Res]) Results() []dispatch.Result[Req, Res] {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.results)
}

// Outcomes returns the recorded outcomes of members, in the order in which they arrived.
func (r *Recorder[Req, Res]) Outcomes() []dispatch.Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.outcomes)
}

// Reports returns the recorded reports of calls that have ended, in the order in which they
// arrived. All results and outcomes of these calls have been recorded before.
func (r *Recorder[Req, Res]) Reports() []dispatch.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.reports)
}

// Wait waits until n results have been recorded since [Listen]. It fails and stops the test
// if the context of the test ends, or after 30 seconds; in a bubble, after an hour of
// virtual time.
func (r *Recorder[Req, Res]) Wait(n int) {
	r.t.Helper()
	r.wait(n, "results", func() int { return len(r.results) })
}

// WaitDone waits until n calls have ended since [Listen] and all their results and outcomes
// have been recorded. It gives up like [Recorder.Wait].
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

// patience is how long a test waits for an event before it fails. In a bubble the wait costs no
// real time, and events may take long, so it is longer. The clock of a bubble starts in the
// year 2000, as the documentation of synctest says.
func patience() time.Duration {
	if time.Now().Year() < 2010 {
		return time.Hour
	}
	return 30 * time.Second
}

// Want compares the values of all recorded results, in the order in which they arrived, with
// these values. If they differ, it reports the difference with Errorf, so the test goes on.
//
// It compares like [github.com/google/go-cmp/cmp], including unexported fields. If your
// comparison needs options, use [Recorder.Results].
func (r *Recorder[Req, Res]) Want(values ...Res) {
	r.t.Helper()
	if diff := diffSlices(values, r.values()); diff != "" {
		r.t.Errorf("%s: values of the results (-want +got):\n%s", r.Name(), diff)
	}
}

// WantInAnyOrder is like [Recorder.Want], but ignores the order of the results. Use it for
// members that answer at the same time.
func (r *Recorder[Req, Res]) WantInAnyOrder(values ...Res) {
	r.t.Helper()
	got := r.values()
	// The wanted values come first, in the order of the arguments.
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

// WantFrom compares the members of all recorded results, in the order in which the results
// arrived, with these members. A member is written like [dispatch.Member.String]: a producer
// of this process without a group is written as its name. If they differ, WantFrom reports
// the difference with Errorf, so the test goes on.
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
