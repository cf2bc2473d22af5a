package dispatch_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

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

// notes is a list of lines that may be written from anywhere.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *notes) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.lines)
}

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

var quietLogger = slog.New(slog.DiscardHandler)

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
