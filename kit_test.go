package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch"
)

type (
	dispatcher = dispatch.Dispatcher[int, int]
	producer   = dispatch.Producer[int, int]
	listener   = dispatch.Listener[int, int]
	result     = dispatch.Result[int, int]
	inFlight   = dispatch.Call[int, int]
)

// Each test has a bus of its own, so that they may share topics.
var (
	ask   = dispatch.NewTopic[int, int]("kit.ask")
	other = dispatch.NewTopic[int, int]("kit.other")
)

// newDispatcher returns a dispatcher that logs to the journal: what a test did
// not expect to be logged is as wrong as what it did not expect to happen.
func newDispatcher(opts ...dispatch.BusOption) (*dispatcher, *journal) {
	j := new(journal)
	return dispatch.New[int, int](append([]dispatch.BusOption{dispatch.WithLogger(slog.New(j))}, opts...)...), j
}

func produce(t testing.TB, d *dispatcher, name string, p producer, opts ...dispatch.ProducerOption) *dispatch.Registration {
	t.Helper()
	r, err := d.AddProducer(ask, p, append(opts, dispatch.WithName(name))...)
	if err != nil {
		t.Fatalf("AddProducer(%s): %v", name, err)
	}
	return r
}

func listen(t testing.TB, d *dispatcher, l listener, opts ...dispatch.ListenerOption) *dispatch.Registration {
	t.Helper()
	r, err := d.AddListener(ask, l, opts...)
	if err != nil {
		t.Fatalf("AddListener: %v", err)
	}
	return r
}

func send(t testing.TB, d *dispatcher, opts ...dispatch.CallOption) *inFlight {
	t.Helper()
	return sendFrom(context.Background(), t, d, opts...)
}

func sendFrom(ctx context.Context, t testing.TB, d *dispatcher, opts ...dispatch.CallOption) *inFlight {
	t.Helper()
	c, err := d.Send(ctx, ask, 0, opts...)
	if err != nil {
		t.Fatalf("Send: %v", err)
	}
	return c
}

// ended sends a request and returns the report of the call once that has ended.
func ended(t testing.TB, d *dispatcher, opts ...dispatch.CallOption) dispatch.Report {
	t.Helper()
	c := send(t, d, opts...)
	<-c.Done()
	return c.Report()
}

// quick answers at once.
func quick(v int) producer {
	return func(context.Context, int) (int, error) { return v, nil }
}

// slow answers after d, unless its context ends before that.
func slow(d time.Duration, v int) producer {
	return func(ctx context.Context, _ int) (int, error) {
		select {
		case <-time.After(d):
			return v, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// deaf answers when it is released and does not look at its context.
func deaf(release <-chan struct{}, v int) producer {
	return func(context.Context, int) (int, error) {
		<-release
		return v, nil
	}
}

// patient waits for the end of its call.
func patient(ctx context.Context, _ int) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func failing(err error) producer {
	return func(context.Context, int) (int, error) { return 0, err }
}

func exiting(context.Context, int) (int, error) {
	runtime.Goexit()
	return 0, nil
}

func panicking(value any) producer {
	return func(context.Context, int) (int, error) { panic(value) }
}

func ignore(context.Context, result) {}

// told puts a report into words: the reason, then each member and how it ended.
func told(r dispatch.Report) string {
	words := make([]string, len(r.Outcomes))
	for i, o := range r.Outcomes {
		words[i] = fmt.Sprintf("%v %v", o.Member, o.State)
	}
	return fmt.Sprintf("%v: %s", r.Reason, strings.Join(words, ", "))
}

func expect(t testing.TB, r dispatch.Report, want string) {
	t.Helper()
	if got := told(r); got != want {
		t.Errorf("the call ended as\n\t%s\nwant\n\t%s", got, want)
	}
}

// outcomeOf returns the outcome of the member of this name.
func outcomeOf(t testing.TB, r dispatch.Report, name string) dispatch.Outcome {
	t.Helper()
	for _, o := range r.Outcomes {
		if o.Member.Name == name {
			return o
		}
	}
	t.Fatalf("no member %s in %s", name, told(r))
	panic("unreachable")
}

// events is a list of what happened, in order, that may be written from anywhere.
type events[T any] struct {
	mu   sync.Mutex
	list []T
}

func (e *events[T]) add(v T) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, v)
}

// take returns what happened since it was last called.
func (e *events[T]) take() []T {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.list
	e.list = nil
	return list
}

func (e *events[T]) all() []T {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.list)
}

// notes is a list of lines.
type notes struct{ events[string] }

func (n *notes) add(format string, args ...any) { n.events.add(fmt.Sprintf(format, args...)) }

// count returns how many lines contain the text.
func (n *notes) count(text string) (count int) {
	for _, line := range n.all() {
		if strings.Contains(line, text) {
			count++
		}
	}
	return count
}

// keepDiary adds a listener that writes down everything it is called with.
func keepDiary(t testing.TB, d *dispatcher, opts ...dispatch.ListenerOption) *notes {
	t.Helper()
	n := new(notes)
	listen(t, d, func(_ context.Context, r result) { n.add("result %v=%d", r.From, r.Value) }, append(opts,
		dispatch.OnOutcome(func(o dispatch.Outcome) { n.add("outcome %v %v", o.Member, o.State) }),
		dispatch.OnDone(func(r dispatch.Report) { n.add("done %v", r.Reason) }))...)
	return n
}

// journal is a slog.Handler that keeps what is logged, one line a record.
type journal struct{ notes }

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler       { return j }
func (j *journal) WithGroup(string) slog.Handler            { return j }
func (j *journal) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	fmt.Fprintf(&line, "%v %s", r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&line, " %v", a)
		return true
	})
	j.add("%s", line.String())
	return nil
}

// nothing fails the test if something was logged.
func (j *journal) nothing(t testing.TB) {
	t.Helper()
	for _, line := range j.all() {
		t.Errorf("unexpectedly logged: %.500s", line)
	}
}

// eventually waits, on real processors, for something that other goroutines are
// about to bring about. What never comes true is left to the test's timeout.
func eventually(condition func() bool) {
	for !condition() {
		runtime.Gosched()
	}
}

// bubble runs a subtest in virtual time. Producers that are late have a day to
// return; what is left then fails the test.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			defer time.Sleep(24 * time.Hour)
			f(t)
		})
	})
}

// must returns v. An error where none can be is a panic: it fails the test
// and shows the line.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// quiet returns a dispatcher on a bus of its own whose log is discarded.
func quiet[Req, Res any](opts ...dispatch.BusOption) *dispatch.Dispatcher[Req, Res] {
	return dispatch.New[Req, Res](append(opts, dispatch.WithLogger(slog.New(slog.DiscardHandler)))...)
}

// answerAfter returns a producer that gives v after d, whatever its context says.
func answerAfter[Req, Res any](v Res, d time.Duration) dispatch.Producer[Req, Res] {
	return func(context.Context, Req) (Res, error) {
		time.Sleep(d)
		return v, nil
	}
}

// hear returns a listener that notes the values of its results.
func hear[Req, Res any](to *events[Res]) dispatch.Listener[Req, Res] {
	return func(_ context.Context, r dispatch.Result[Req, Res]) { to.add(r.Value) }
}

// states gives for each member of a report, in order, its name and how it
// ended, as in "a ok b late".
func states(r dispatch.Report) string {
	var words []string
	for _, o := range r.Outcomes {
		words = append(words, o.Member.String(), o.State.String())
	}
	return strings.Join(words, " ")
}

// memberNames gives the names of the members of a call, sorted.
func memberNames[Req, Res any](c *dispatch.Call[Req, Res]) []string {
	names := []string{}
	for _, o := range c.Report().Outcomes {
		names = append(names, o.Member.Name)
	}
	slices.Sort(names)
	return names
}

func ordered(s []string) []string { return slices.Sorted(slices.Values(s)) }

func equal[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func mustDrain(t *testing.T, r *dispatch.Registration) {
	t.Helper()
	if err := r.Drain(t.Context()); err != nil {
		t.Errorf("Drain of %s: %v", r.Name(), err)
	}
}

// atRest fails the test if the bus has anything under way or waiting. It
// shuts the bus down.
func atRest(t *testing.T, b *dispatch.Bus) {
	t.Helper()
	synctest.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Shutdown(ctx); err != nil {
		t.Errorf("the bus is not at rest: %v", err)
	}
}

var errBroken = errors.New("broken")

// sameCall fails the test unless a listener that was there all the time was told
// of the call what the report says: each member once, results before outcomes,
// the end last.
func sameCall(t testing.TB, r dispatch.Report, diary *notes) {
	t.Helper()
	if problem := disagreement(r, diary, false); problem != "" {
		t.Errorf("the call ended as\n\t%s\n%s in\n\t%q", told(r), problem, diary.all())
	}
}

// disagreement says how what a listener was told differs from the report. If the
// bus was closed meanwhile, results may be missing.
func disagreement(r dispatch.Report, diary *notes, closed bool) string {
	lines := diary.all()
	if len(lines) == 0 || lines[len(lines)-1] != fmt.Sprint("done ", r.Reason) || diary.count("done") != 1 {
		return "not one end at the end"
	}
	results := 0
	for _, o := range r.Outcomes {
		at := slices.Index(lines, fmt.Sprintf("outcome %v %v", o.Member, o.State))
		if at < 0 || diary.count(fmt.Sprintf("outcome %v ", o.Member)) != 1 {
			return fmt.Sprintf("not one outcome of %v", o.Member)
		}
		if o.State != dispatch.StateOK || closed && diary.count(fmt.Sprintf("result %v=", o.Member)) == 0 {
			continue
		}
		results++
		if at == 0 || !strings.HasPrefix(lines[at-1], fmt.Sprintf("result %v=", o.Member)) {
			return fmt.Sprintf("the result of %v is not just before its outcome", o.Member)
		}
	}
	if got := diary.count("result"); got != results {
		return fmt.Sprintf("%d results, not %d", got, results)
	}
	return ""
}

// slowly does what p does after d.
func slowly(d time.Duration, p producer) producer {
	return func(ctx context.Context, req int) (int, error) {
		time.Sleep(d)
		return p(ctx, req)
	}
}

// sameReport fails the test unless both reports say the same.
func sameReport(t testing.TB, a, b dispatch.Report) {
	t.Helper()
	if diff := cmp.Diff(fullText(a), fullText(b)); diff != "" {
		t.Errorf("the report has changed:\n%s", diff)
	}
}

// fullText gives all that a report says.
func fullText(r dispatch.Report) string {
	errs := make([]string, len(r.Outcomes))
	for i, o := range r.Outcomes {
		errs[i] = fmt.Sprint(o.Err)
	}
	return fmt.Sprintf("%+v %q %v", r, errs, r.Err())
}

func wantLines(t testing.TB, got []string, want ...string) {
	t.Helper()
	equal(t, "told", got, want)
}

// onProcessors runs a test once as it is and once on a single processor, where a
// goroutine that is started runs only when another gives way.
func onProcessors(t *testing.T, test func(t *testing.T)) {
	for _, n := range []int{runtime.GOMAXPROCS(0), 1} {
		t.Run(fmt.Sprint("procs=", n), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
			test(t)
		})
	}
}

func expectState(t testing.TB, r dispatch.Report, name string, want dispatch.State) {
	t.Helper()
	if got := outcomeOf(t, r, name).State; got != want {
		t.Errorf("%s is %v, want %v", name, got, want)
	}
}

func opts(o ...dispatch.CallOption) []dispatch.CallOption { return o }

type streamer = dispatch.StreamProducer[int, int]

func addStream(t testing.TB, d *dispatcher, name string, p streamer, opts ...dispatch.ProducerOption) *dispatch.Registration {
	t.Helper()
	r, err := d.AddStreamProducer(ask, p, append(opts, dispatch.WithName(name))...)
	if err != nil {
		t.Fatalf("AddStreamProducer(%s): %v", name, err)
	}
	return r
}

// yielding yields these values at once.
func yielding(values ...int) streamer { return ticking(0, values...) }

// ticking yields these values, each after d, and ends when yield returns false.
func ticking(d time.Duration, values ...int) streamer {
	return func(context.Context, int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for _, v := range values {
				if time.Sleep(d); !yield(v, nil) {
					return
				}
			}
		}
	}
}

// full reports whether the bus has no place for another call.
func full(t testing.TB, d *dispatcher) bool {
	t.Helper()
	c, err := d.Send(context.Background(), other, 0, dispatch.WithNoWait())
	if err == nil {
		<-c.Done()
		synctest.Wait()
		return false
	}
	if !errors.Is(err, dispatch.ErrOverloaded) || c != nil {
		t.Errorf("Send: %v", err)
	}
	return true
}

// big is a result whose memory can be seen to be let go of.
type big struct{ _ [1 << 10]byte }

type (
	relay  = dispatch.Relay[int, int]
	roster = *dispatch.Roster[int]
)

func addRelay(t testing.TB, d *dispatcher, name string, r relay) *dispatch.Registration {
	t.Helper()
	reg, err := d.AddRelay(ask, r, dispatch.WithName(name))
	if err != nil {
		t.Fatalf("AddRelay(%s): %v", name, err)
	}
	return reg
}

// far is a member on another node.
func far(name string) dispatch.Member { return dispatch.Member{Node: "far", Name: name} }

// reachable counts what is still reachable, once that is no more than some number. A
// goroutine that has done its work may take its time to let go of it on a busy machine.
func reachable[T any](made []weak.Pointer[T], most int) (kept int) {
	for range 500 {
		runtime.GC()
		kept = 0
		for _, p := range made {
			if p.Value() != nil {
				kept++
			}
		}
		if kept <= most {
			break
		}
		runtime.Gosched()
	}
	return kept
}

// stalling is an error whose text is not there before release is closed.
type stalling struct{ release <-chan struct{} }

func (s stalling) Error() string { <-s.release; return "stalling" }
