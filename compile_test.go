package dispatch_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A user's program, up to the statements in question. Everything that they need
// is declared in two versions, of which the other one's names end in S.
const program = `package user

import (
	"context"
	"iter"
	"log/slog"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/seed-bb4b4d74/dispatch"
)

var (
	_ = slog.Default
	_ = time.Second
	_ = semaphore.NewWeighted
)

var (
	ctx      context.Context
	d        *dispatch.Dispatcher[int, int]
	topic    dispatch.Topic[int, int]
	topicS   dispatch.Topic[int, string]
	topicR   dispatch.Topic[string, int]
	pattern  dispatch.Pattern[int, int]
	patternS dispatch.Pattern[int, string]
	patternR dispatch.Pattern[string, int]
)

func produce(context.Context, int) (int, error)             { return 0, nil }
func produceS(context.Context, int) (string, error)         { return "", nil }
func produceR(context.Context, string) (int, error)         { return 0, nil }
func listen(context.Context, dispatch.Result[int, int])     {}
func listenS(context.Context, dispatch.Result[int, string]) {}

func stream(context.Context, int) iter.Seq2[int, error]                 { return nil }
func streamS(context.Context, int) iter.Seq2[string, error]             { return nil }
func relay(_ context.Context, _ int, to *dispatch.Roster[int]) error    { return nil }
func relayS(_ context.Context, _ int, to *dispatch.Roster[string]) error { return nil }

type selector struct{}

func (selector) selects(func(int) int) (s struct{}, err error) { return }

type option struct{}

func (option) applyCall(any) error     { return nil }
func (option) applyBus(any) error      { return nil }
func (option) applyTopic(any) error    { return nil }
func (option) applyProducer(any) error { return nil }
func (option) applyListener(any) error { return nil }

func _() {
`

// imports are the packages that the program imports, type-checked from their
// sources once for all tests.
var imports = sync.OnceValues(func() (packages, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "user.go", program+"}", parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	source := importer.ForCompiler(fset, "source", nil)
	packages := make(packages)
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		if packages[path], err = source.Import(path); err != nil {
			return nil, err
		}
	}
	return packages, nil
})

type packages map[string]*types.Package

func (p packages) Import(path string) (*types.Package, error) { return p[path], nil }

// typeCheck returns the errors that a compiler would have for the statements.
func typeCheck(t *testing.T, statements string) []string {
	t.Helper()
	packages, err := imports()
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "user.go", program+statements+"\n}\n", parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var errs []string
	config := types.Config{
		Importer: packages,
		Error:    func(err error) { errs = append(errs, err.Error()) },
	}
	_, _ = config.Check("user", fset, []*ast.File{file}, nil)
	return errs
}

// TestWrongProgramsDoNotCompile checks programs in pairs: they differ in one
// place, one of them is right, and the other has exactly one error, which says
// what is wrong.
func TestWrongProgramsDoNotCompile(t *testing.T) {
	tests := []struct {
		name, right, wrong string
		want               []string // parts of the error
	}{
		{
			name:  "request of another type",
			right: `d.Send(ctx, topic, 1)`,
			wrong: `d.Send(ctx, topic, "1")`,
			want:  []string{`cannot use "1"`, "as int value in argument to d.Send"},
		},
		{
			name:  "result used as another type",
			right: `v, _ := d.First(ctx, topic, 1); var _ int = v`,
			wrong: `v, _ := d.First(ctx, topic, 1); var _ string = v`,
			want:  []string{"cannot use v", "type int", "as string value"},
		},
		{
			name:  "producer with another result",
			right: `d.AddProducer(topic, func(context.Context, int) (int, error) { return 1, nil })`,
			wrong: `d.AddProducer(topic, func(context.Context, int) (int, error) { return "1", nil })`,
			want:  []string{`cannot use "1"`, "as int value in return statement"},
		},
		{
			name:  "producer of other results",
			right: `d.AddProducer(topic, produce)`,
			wrong: `d.AddProducer(topic, produceS)`,
			want:  []string{"cannot use produceS", "dispatch.Producer[int, int]"},
		},
		{
			name:  "producer for other requests",
			right: `d.AddProducer(topic, produce)`,
			wrong: `d.AddProducer(topic, produceR)`,
			want:  []string{"cannot use produceR", "dispatch.Producer[int, int]"},
		},
		{
			name:  "listener of other results",
			right: `d.AddListener(topic, listen)`,
			wrong: `d.AddListener(topic, listenS)`,
			want:  []string{"cannot use listenS", "dispatch.Listener[int, int]"},
		},
		{
			name:  "stream producer of other results",
			right: `d.AddStreamProducer(topic, stream)`,
			wrong: `d.AddStreamProducer(topic, streamS)`,
			want:  []string{"cannot use streamS", "dispatch.StreamProducer[int, int]"},
		},
		{
			name:  "stream producer in the place of a producer",
			right: `d.AddProducer(topic, produce)`,
			wrong: `d.AddProducer(topic, stream)`,
			want:  []string{"cannot use stream", "dispatch.Producer[int, int]"},
		},
		{
			name:  "relay of other results",
			right: `d.AddRelay(topic, relay)`,
			wrong: `d.AddRelay(topic, relayS)`,
			want:  []string{"cannot use relayS", "dispatch.Relay[int, int]"},
		},
		{
			name:  "OnLate of other results",
			right: `d.OnLate(func(dispatch.Result[int, int], time.Duration) {})`,
			wrong: `d.OnLate(func(dispatch.Result[int, string], time.Duration) {})`,
			want:  []string{"cannot use", "in argument to d.OnLate"},
		},
		{
			name:  "topic of other results in Send",
			right: `d.Send(ctx, topic, 1)`,
			wrong: `d.Send(ctx, topicS, 1)`,
			want:  []string{"cannot use topicS", "Topic[int, string]", "Topic[int, int] value in argument to d.Send"},
		},
		{
			name:  "topic of other requests in Gather",
			right: `d.Gather(ctx, topic, 1)`,
			wrong: `d.Gather(ctx, topicR, 1)`,
			want:  []string{"cannot use topicR", "Topic[string, int]", "Topic[int, int] value in argument to d.Gather"},
		},
		{
			name:  "topic of other results in Stream",
			right: `d.Stream(ctx, topic, 1)`,
			wrong: `d.Stream(ctx, topicS, 1)`,
			want:  []string{"cannot use topicS", "Topic[int, int] value in argument to d.Stream"},
		},
		{
			name:  "topic of other results in AddProducer",
			right: `d.AddProducer(topic, produce)`,
			wrong: `d.AddProducer(topicS, produce)`,
			want:  []string{"cannot use topicS", "Topic[int, string]", "Selector[int, int] value in argument to d.AddProducer"},
		},
		{
			name:  "topic of other requests in AddProducer",
			right: `d.AddProducer(topic, produce)`,
			wrong: `d.AddProducer(topicR, produce)`,
			want:  []string{"cannot use topicR", "Topic[string, int]", "Selector[int, int] value in argument to d.AddProducer"},
		},
		{
			name:  "topic of other results in AddListener",
			right: `d.AddListener(topic, listen)`,
			wrong: `d.AddListener(topicS, listen)`,
			want:  []string{"cannot use topicS", "Selector[int, int] value in argument to d.AddListener"},
		},
		{
			name:  "topics of other results",
			right: `d.AddListener(dispatch.AnyOf(topic, topic), listen)`,
			wrong: `d.AddListener(dispatch.AnyOf(topicS, topicS), listen)`,
			want:  []string{"cannot use dispatch.AnyOf(topicS, topicS)", "Topics[int, string]", "Selector[int, int]"},
		},
		{
			name:  "topics of several types",
			right: `dispatch.AnyOf(topic, topic)`,
			wrong: `dispatch.AnyOf(topic, topicS)`,
			want:  []string{"topicS", "Topic[int, string]"},
		},
		{
			name:  "pattern of other results",
			right: `d.AddProducer(pattern, produce)`,
			wrong: `d.AddProducer(patternS, produce)`,
			want:  []string{"cannot use patternS", "Pattern[int, string]", "Selector[int, int]"},
		},
		{
			name:  "pattern of other requests",
			right: `d.AddListener(pattern, listen)`,
			wrong: `d.AddListener(patternR, listen)`,
			want:  []string{"cannot use patternR", "Pattern[string, int]", "Selector[int, int]"},
		},
		{
			name:  "pattern in Send",
			right: `d.Send(ctx, topic, 1)`,
			wrong: `d.Send(ctx, pattern, 1)`,
			want:  []string{"cannot use pattern", "Topic[int, int] value in argument to d.Send"},
		},
		{
			name:  "name in the place of a topic",
			right: `d.Send(ctx, topic, 1)`,
			wrong: `d.Send(ctx, "topic", 1)`,
			want:  []string{`cannot use "topic"`, "Topic[int, int] value in argument to d.Send"},
		},
		{
			name:  "topic converted to other results",
			right: `_ = dispatch.Topic[int, int](topic)`,
			wrong: `_ = dispatch.Topic[int, string](topic)`,
			want:  []string{"cannot convert topic", "Topic[int, string]"},
		},
		{
			name:  "topic converted to other requests",
			right: `_ = dispatch.Topic[int, int](topic)`,
			wrong: `_ = dispatch.Topic[string, int](topic)`,
			want:  []string{"cannot convert topic", "Topic[string, int]"},
		},
		{
			name:  "pattern converted to other results",
			right: `_ = dispatch.Pattern[int, int](pattern)`,
			wrong: `_ = dispatch.Pattern[int, string](pattern)`,
			want:  []string{"cannot convert pattern", "Pattern[int, string]"},
		},
		{
			name:  "pattern converted to a topic",
			right: `_ = dispatch.Topic[int, int](topic)`,
			wrong: `_ = dispatch.Topic[int, int](pattern)`,
			want:  []string{"cannot convert pattern", "Topic[int, int]"},
		},
		{
			name:  "listener's option on Send",
			right: `d.Send(ctx, topic, 1, dispatch.WithQuorum(1))`,
			wrong: `d.Send(ctx, topic, 1, dispatch.OnDone(func(dispatch.Report) {}))`,
			want:  []string{"cannot use dispatch.OnDone", "CallOption", "missing method applyBus"},
		},
		{
			name:  "listener's option on AddProducer",
			right: `d.AddProducer(topic, produce, dispatch.WithName("p"))`,
			wrong: `d.AddProducer(topic, produce, dispatch.OnOutcome(func(dispatch.Outcome) {}))`,
			want:  []string{"cannot use dispatch.OnOutcome", "ProducerOption", "missing method applyProducer"},
		},
		{
			name:  "producer's option on AddListener",
			right: `d.AddListener(topic, listen, dispatch.WithName("l"))`,
			wrong: `d.AddListener(topic, listen, dispatch.WithSemaphore(semaphore.NewWeighted(1)))`,
			want:  []string{"cannot use dispatch.WithSemaphore", "ListenerOption", "missing method applyListener"},
		},
		{
			name:  "listener's option on AddStreamProducer",
			right: `d.AddStreamProducer(topic, stream, dispatch.WithMaxQueue(1))`,
			wrong: `d.AddStreamProducer(topic, stream, dispatch.WithMailbox(1, dispatch.DropOldest))`,
			want:  []string{"cannot use dispatch.WithMailbox", "ProducerOption", "missing method applyProducer"},
		},
		{
			name:  "producer's option on Send",
			right: `d.Send(ctx, topic, 1, dispatch.WithParallelism(1))`,
			wrong: `d.Send(ctx, topic, 1, dispatch.WithConcurrency(1))`,
			want:  []string{"cannot use dispatch.WithConcurrency", "CallOption", "missing method applyBus"},
		},
		{
			name:  "producer's option on a bus",
			right: `dispatch.NewBus(dispatch.WithTimeout(time.Second))`,
			wrong: `dispatch.NewBus(dispatch.WithName("bus"))`,
			want:  []string{"cannot use dispatch.WithName", "BusOption", "missing method applyBus"},
		},
		{
			name:  "bus's option on Send",
			right: `d.Send(ctx, topic, 1, dispatch.WithTimeout(time.Second))`,
			wrong: `d.Send(ctx, topic, 1, dispatch.WithLogger(slog.Default()))`,
			want:  []string{"cannot use dispatch.WithLogger", "CallOption", "missing method applyCall"},
		},
		{
			name:  "bus's option on a topic",
			right: `dispatch.NewTopic[int, int]("t", dispatch.WithTimeout(time.Second))`,
			wrong: `dispatch.NewTopic[int, int]("t", dispatch.WithMaxAbandoned(1))`,
			want:  []string{"cannot use dispatch.WithMaxAbandoned", "TopicOption", "missing method applyTopic"},
		},
		{
			name:  "producer's option on a topic",
			right: `dispatch.NewTopic[int, int]("t", dispatch.WithDefaults())`,
			wrong: `dispatch.NewTopic[int, int]("t", dispatch.WithGroup("g"))`,
			want:  []string{"cannot use dispatch.WithGroup", "TopicOption", "missing method applyTopic"},
		},
		{
			name:  "WithDefaults on AddProducer",
			right: `d.Send(ctx, topic, 1, dispatch.WithDefaults())`,
			wrong: `d.AddProducer(topic, produce, dispatch.WithDefaults())`,
			want:  []string{"cannot use dispatch.WithDefaults", "ProducerOption", "missing method applyProducer"},
		},
		{
			name:  "WithRetain on Send",
			right: `dispatch.NewTopic[int, int]("t", dispatch.WithRetain(1))`,
			wrong: `d.Send(ctx, topic, 1, dispatch.WithRetain(1))`,
			want:  []string{"cannot use dispatch.WithRetain", "CallOption", "missing method applyBus"},
		},
		{
			name:  "WithRetain on a bus",
			right: `dispatch.NewTopic[int, int]("t", dispatch.WithRetain(1))`,
			wrong: `dispatch.NewBus(dispatch.WithRetain(1))`,
			want:  []string{"cannot use dispatch.WithRetain", "BusOption", "missing method applyBus"},
		},
		{
			name:  "WithRetain on AddListener",
			right: `d.AddListener(topic, listen, dispatch.WithRetained())`,
			wrong: `d.AddListener(topic, listen, dispatch.WithRetain(1))`,
			want:  []string{"cannot use dispatch.WithRetain", "ListenerOption", "missing method applyListener"},
		},
		{
			name:  "WithRetained on a topic",
			right: `d.AddListener(topic, listen, dispatch.WithRetained())`,
			wrong: `dispatch.NewTopic[int, int]("t", dispatch.WithRetained())`,
			want:  []string{"cannot use dispatch.WithRetained", "TopicOption", "missing method applyTopic"},
		},
		{
			name:  "WithRetained on AddProducer",
			right: `d.AddListener(topic, listen, dispatch.WithRetained())`,
			wrong: `d.AddProducer(topic, produce, dispatch.WithRetained())`,
			want:  []string{"cannot use dispatch.WithRetained", "ProducerOption", "missing method applyProducer"},
		},
		{
			name:  "WithHedgeQuantile on AddProducer",
			right: `d.Send(ctx, topic, 1, dispatch.WithHedgeQuantile(0.95))`,
			wrong: `d.AddProducer(topic, produce, dispatch.WithHedgeQuantile(0.95))`,
			want:  []string{"cannot use dispatch.WithHedgeQuantile", "ProducerOption", "missing method applyProducer"},
		},
		{
			name:  "WithDefaults on AddListener",
			right: `dispatch.NewTopic[int, int]("t", dispatch.WithDefaults())`,
			wrong: `d.AddListener(topic, listen, dispatch.WithDefaults())`,
			want:  []string{"cannot use dispatch.WithDefaults", "ListenerOption", "missing method applyListener"},
		},
		{
			name:  "topic option made outside",
			right: `var _ dispatch.TopicOption = dispatch.WithQuorum(1)`,
			wrong: `var _ dispatch.TopicOption = option{}`,
			want:  []string{"cannot use option{}", "TopicOption", "unexported method applyTopic"},
		},
		{
			name:  "call's option on AddProducer",
			right: `d.AddProducer(topic, produce, dispatch.WithConcurrency(1))`,
			wrong: `d.AddProducer(topic, produce, dispatch.WithStall(time.Second))`,
			want:  []string{"cannot use dispatch.WithStall", "ProducerOption", "missing method applyProducer"},
		},
		{
			name:  "call's option on AddListener",
			right: `d.AddListener(topic, listen, dispatch.OnDone(func(dispatch.Report) {}))`,
			wrong: `d.AddListener(topic, listen, dispatch.WithFailFast())`,
			want:  []string{"cannot use dispatch.WithFailFast", "ListenerOption", "missing method applyListener"},
		},
		{
			name:  "majority on AddProducer",
			right: `d.AddProducer(topic, produce, dispatch.WithTimeout(time.Second))`,
			wrong: `d.AddProducer(topic, produce, dispatch.WithMajority())`,
			want:  []string{"cannot use dispatch.WithMajority", "ProducerOption", "missing method applyProducer"},
		},
		{
			name:  "required names on AddProducer",
			right: `d.Send(ctx, topic, 1, dispatch.WithMajority(), dispatch.WithRequired("p"))`,
			wrong: `d.AddProducer(topic, produce, dispatch.WithRequired("p"))`,
			want:  []string{"cannot use dispatch.WithRequired", "ProducerOption", "missing method applyProducer"},
		},
		{
			name:  "timeout on AddListener",
			right: `d.AddStreamProducer(topic, stream, dispatch.WithTimeout(time.Second))`,
			wrong: `d.AddListener(topic, listen, dispatch.WithTimeout(time.Second))`,
			want:  []string{"cannot use dispatch.WithTimeout", "ListenerOption", "missing method applyListener"},
		},
		{
			name:  "selector made outside",
			right: `var _ dispatch.Selector[int, int] = topic`,
			wrong: `var _ dispatch.Selector[int, int] = selector{}`,
			want:  []string{"cannot use selector{}", "Selector[int, int]", "unexported method selects"},
		},
		{
			name:  "call option made outside",
			right: `var _ dispatch.CallOption = dispatch.WithQuorum(1)`,
			wrong: `var _ dispatch.CallOption = option{}`,
			want:  []string{"cannot use option{}", "CallOption", "unexported method apply"},
		},
		{
			name:  "bus option made outside",
			right: `var _ dispatch.BusOption = dispatch.WithQuorum(1)`,
			wrong: `var _ dispatch.BusOption = option{}`,
			want:  []string{"cannot use option{}", "BusOption", "unexported method applyBus"},
		},
		{
			name:  "producer option made outside",
			right: `var _ dispatch.ProducerOption = dispatch.WithName("p")`,
			wrong: `var _ dispatch.ProducerOption = option{}`,
			want:  []string{"cannot use option{}", "ProducerOption", "unexported method applyProducer"},
		},
		{
			name:  "listener option made outside",
			right: `var _ dispatch.ListenerOption = dispatch.WithName("l")`,
			wrong: `var _ dispatch.ListenerOption = option{}`,
			want:  []string{"cannot use option{}", "ListenerOption", "unexported method applyListener"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if errs := typeCheck(t, tt.right); len(errs) > 0 {
				t.Fatalf("%s\ndoes not compile: %s", tt.right, strings.Join(errs, "\n"))
			}
			errs := typeCheck(t, tt.wrong)
			if len(errs) != 1 {
				t.Fatalf("%s\nhas %d errors, want one: %s", tt.wrong, len(errs), strings.Join(errs, "\n"))
			}
			for _, want := range tt.want {
				if !strings.Contains(errs[0], want) {
					t.Errorf("%s\nhas the error %s\nwhich does not say %q", tt.wrong, errs[0], want)
				}
			}
		})
	}
}

// TestRightProgramCompiles uses everything that the wrong programs misuse, with
// no type argument at any call site.
func TestRightProgramCompiles(t *testing.T) {
	const program = `
	measure := dispatch.NewTopic[int, string]("cell.measure", dispatch.WithTimeout(4*time.Second), dispatch.WithQuorum(2))
	bus := dispatch.NewBus(dispatch.WithLogger(slog.Default()), dispatch.WithMaxAbandoned(1), dispatch.WithFailFast())
	d := dispatch.On[int, string](bus)
	p, err := d.AddProducer(measure, func(ctx context.Context, n int) (string, error) { return "", ctx.Err() },
		dispatch.WithName("p"), dispatch.WithConcurrency(1), dispatch.WithSemaphore(semaphore.NewWeighted(1)))
	if err != nil {
		return
	}
	defer p.Remove()
	l, err := d.AddListener(dispatch.AnyOf(measure, topicS), func(_ context.Context, r dispatch.Result[int, string]) { _ = r.Value + "" },
		dispatch.WithName("l"), dispatch.OnOutcome(func(dispatch.Outcome) {}), dispatch.OnDone(func(dispatch.Report) {}))
	if err != nil {
		return
	}
	defer l.Remove()
	if _, err := d.AddProducer(dispatch.NewPattern[int, string]("cell.>"), produceS); err != nil {
		return
	}
	if _, err := d.AddStreamProducer(measure, streamS); err != nil {
		return
	}
	if _, err := d.AddRelay(measure, relayS); err != nil {
		return
	}
	call, err := d.Send(ctx, measure, 1, dispatch.WithTimeout(time.Second), dispatch.WithParallelism(2))
	if err != nil {
		return
	}
	for r := range call.Results() {
		var _ string = r.Value
		var _ *dispatch.Call[int, string] = r.Call
	}
	for r, err := range d.Stream(ctx, measure, 1, dispatch.WithStall(time.Second)) {
		_, _ = r.Value + "", err
	}
	answers, err := d.Gather(ctx, topicS, 1)
	_, _ = append(answers, ""), err
	_ = d.Close()`
	if errs := typeCheck(t, program); len(errs) > 0 {
		t.Error(strings.Join(errs, "\n"))
	}
}
