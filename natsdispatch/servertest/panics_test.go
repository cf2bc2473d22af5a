package servertest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// numbered is an error whose method panics if the pointer is nil.
type numbered struct{ code int }

func (e *numbered) Error() string { return fmt.Sprint("code ", e.code) }

// A producer that returns a nil pointer as its error fails alone, as it does on the asker's own bus.
func TestErrorThatIsANilPointer(t *testing.T) {
	s := startServer(t)
	far, near := newBus(), newBus()
	var none *numbered
	produce(t, far, "bad", func(context.Context, string) (string, error) { return "v", none })
	produce(t, far, "good", echo("good"))
	serve(t, connect(t, s.ClientURL()), far, "far")
	join(t, connect(t, s.ClientURL()), near, []string{"far"})
	want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/bad failed", "far/good ok")
	want(t, ended(t, send(t, near, "x", dispatch.WithTargets("far/bad"))), dispatch.ReasonAllEnded, "far/bad failed")
}

// fussy is a value whose methods panic, or call runtime.Goexit, for some texts.
type fussy struct{ text string }

func (f *fussy) MarshalJSON() ([]byte, error) {
	f.stumble("write")
	return json.Marshal("fussy " + f.text)
}

func (f *fussy) UnmarshalJSON(b []byte) (err error) {
	if err = json.Unmarshal(b, &f.text); err == nil {
		f.text = strings.TrimPrefix(f.text, "fussy ")
		f.stumble("read")
	}
	return err
}

func (f *fussy) stumble(where string) {
	switch f.text {
	case where + " panics":
		panic("cannot " + where)
	case where + " exits":
		runtime.Goexit()
	}
}

// journal is a log that is read while it is written.
type journal struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) count(what string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), what)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

type fussyBus = dispatch.Dispatcher[fussy, fussy]

// gather sends a request, and returns the states of the members, and the errors.
func gather(t *testing.T, d *fussyBus, topic dispatch.Topic[fussy, fussy], text string) (states string, errs map[string]error) {
	t.Helper()
	call, err := d.Send(t.Context(), topic, fussy{text})
	if err != nil {
		t.Fatal(err)
	}
	receive(t, "the end of the call for "+text, call.Done())
	var all []string
	errs = make(map[string]error)
	for _, o := range call.Report().Outcomes {
		all = append(all, fmt.Sprint(o.Member, " ", o.State))
		errs[o.Member.String()] = o.Err
	}
	slices.Sort(all)
	return strings.Join(all, ", "), errs
}

// A value whose methods panic or call runtime.Goexit costs its member, or its request, and nothing else: it does
// not matter whether its producer is quick, on which side this is, and later calls are as before.
func TestValuesWhoseMethodsDoNotReturn(t *testing.T) {
	s := startServer(t)
	topic := dispatch.NewTopic[fussy, fussy]("cell.fussy", dispatch.WithTimeout(patience))
	near, logs := dispatch.New[fussy, fussy](), &journal{}
	var nodes []*natsdispatch.Node
	for name, pause := range map[string]time.Duration{"quick": 0, "slow": 20 * time.Millisecond} {
		far := dispatch.New[fussy, fussy]()
		for _, member := range []string{"bad", "good"} {
			if _, err := far.AddProducer(topic, func(_ context.Context, req fussy) (fussy, error) {
				time.Sleep(pause) // a node waits for quick producers, and writes all results at once
				if member == "good" {
					return fussy{"good"}, nil
				}
				return fussy{strings.TrimPrefix(req.text, "give ")}, nil
			}, dispatch.WithName(member)); err != nil {
				t.Fatal(err)
			}
		}
		node, err := natsdispatch.Serve(connect(t, s.ClientURL()), far, topic, natsdispatch.WithNode(name), loud(t), natsdispatch.WithLogger(logs.logger()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { node.Close() })
		nodes = append(nodes, node)
	}
	remote, err := natsdispatch.Join(connect(t, s.ClientURL()), near, topic, loud(t), natsdispatch.WithLogger(logs.logger()), natsdispatch.WithDiscovery(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remote.Close() })
	await(t, remote, "quick", "slow")

	const oneFails = "quick/bad failed, quick/good ok, slow/bad failed, slow/good ok"
	const refused = "quick/* failed, slow/* failed"
	for _, c := range []struct {
		request string
		want    string // empty: anything
		member  string
		is      error
		text    string
	}{
		{"give write panics", oneFails, "slow/bad", nil, "write a result as json: panic: cannot write"},
		{"give read panics", oneFails, "quick/bad", dispatch.ErrIncompatible, "panic: cannot read"},
		{"give read panics", oneFails, "slow/bad", dispatch.ErrIncompatible, "panic: cannot read"},
		{"read panics", refused, "quick/*", natsdispatch.ErrMalformed, "panic: cannot read"},
		{"read exits", refused, "slow/*", dispatch.ErrGoexit, "codec json"},
		{"write panics", "nats:dispatch.default failed", "nats:dispatch.default", nil, "panic: cannot write"},
		{"write exits", "", "nats:dispatch.default", dispatch.ErrGoexit, ""},
		{"give write exits", "", "", nil, ""},
		{"give read exits", "", "nats:dispatch.default", dispatch.ErrGoexit, ""},
	} {
		states, errs := gather(t, near, topic, c.request)
		if c.want != "" && states != c.want || strings.Contains(states, "bad ok") {
			t.Errorf("%q ends with %s, want %s", c.request, states, c.want)
		}
		if err := errs[c.member]; c.is != nil && !errors.Is(err, c.is) || c.text != "" && !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("%q: the error of %s is %v, want %v with %q", c.request, c.member, err, c.is, c.text)
		}
		if states, _ := gather(t, near, topic, "fine"); states != "quick/bad ok, quick/good ok, slow/bad ok, slow/good ok" {
			t.Errorf("after %q a call ends with %s", c.request, states)
		}
	}
	for _, n := range nodes {
		until(t, "the requests to end", func() bool { return n.Stats().InHand == 0 })
	}
	if n := remote.Stats(); n.Pending != 0 || n.InFlight != 0 {
		t.Errorf("the asker is left with %+v", n)
	}
	if n := near.Bus().Snapshot().Misuse; n != 0 {
		t.Errorf("rosters were misused %d times", n)
	}
	until(t, "the log", func() bool { return logs.count("natsdispatch.stack=") == 3 && logs.count("called runtime.Goexit") >= 4 })
	if logs.count("codec json panicked") < 6 || logs.count("panics_since_stack=1 ") == 0 {
		t.Errorf("logged: %s", &logs.text)
	}
}

// If the asker cannot go on with a call, it cancels the call on the nodes.
func TestNodesAreCanceledIfTheAskerDoesNotReturn(t *testing.T) {
	s := startServer(t)
	topic := dispatch.NewTopic[string, fussy]("cell.fussy", dispatch.WithTimeout(patience))
	near, far := dispatch.New[string, fussy](), dispatch.New[string, fussy]()
	begun, over := make(chan struct{}), make(chan error, 1)
	for name, p := range map[string]dispatch.Producer[string, fussy]{
		"quick": func(context.Context, string) (fussy, error) { <-begun; return fussy{"read exits"}, nil },
		"slow": func(ctx context.Context, _ string) (fussy, error) {
			close(begun)
			<-ctx.Done()
			over <- context.Cause(ctx)
			return fussy{}, ctx.Err()
		},
	} {
		if _, err := far.AddProducer(topic, p, dispatch.WithName(name)); err != nil {
			t.Fatal(err)
		}
	}
	node, err := natsdispatch.Serve(connect(t, s.ClientURL()), far, topic, natsdispatch.WithNode("far"), loud(t), unlogged)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	remote, err := natsdispatch.Join(connect(t, s.ClientURL()), near, topic, loud(t), unlogged)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remote.Close() })
	await(t, remote, "far")
	call, err := near.Send(t.Context(), topic, "x")
	if err != nil {
		t.Fatal(err)
	}
	receive(t, "the end of the call", call.Done())
	if err := receive(t, "the end of the producer", over); !errors.Is(err, dispatch.ErrGoexit) {
		t.Errorf("the producer is canceled with %v, want %v", err, dispatch.ErrGoexit)
	}
	for r := range call.Results() {
		t.Errorf("%v has a result that was not read: %q", r.From, r.Value.text)
	}
}

// strict is a logger's handler that panics, or calls runtime.Goexit.
type strict struct{ slog.Handler }

func (strict) Handle(context.Context, slog.Record) error { panic("strict") }

// Functions of options that panic or call runtime.Goexit hold up nothing: calls are as they would be without
// them.
func TestFunctionsThatDoNotReturn(t *testing.T) {
	leave := map[string]func(){"panic": func() { panic("odd") }, "Goexit": runtime.Goexit}
	for what, leave := range leave {
		t.Run(what, func(t *testing.T) {
			s := startServer(t)
			far, near := newBus(), newBus()
			produce(t, far, "m", echo("m"))
			logs := &journal{}
			events := make(chan natsdispatch.NodeEvent, 100)
			onNode := natsdispatch.OnNode(func(e natsdispatch.NodeEvent) {
				events <- e
				leave()
			})
			errs := make(chan error, 100)
			onError := natsdispatch.WithErrorHandler(func(err error) {
				errs <- err
				leave()
			})
			trace := natsdispatch.WithTraceContext(
				func(context.Context, func(key, value string)) { leave() },
				func(context.Context, func(key string) string) context.Context { leave(); return nil },
			)
			log := natsdispatch.WithLogger(logs.logger())
			serve(t, connect(t, s.ClientURL()), far, "far", onNode, onError, trace, log, natsdispatch.WithBeat(20*time.Millisecond))
			nc := connect(t, s.ClientURL())
			join(t, nc, near, []string{"far"}, onNode, onError, trace, log)
			for range 2 {
				want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/m ok")
			}
			// A twin is an event and an error on both sides, after others that did not return.
			serve(t, connect(t, s.ClientURL()), newBus(), "far", quiet)
			until(t, "an event of a twin", func() bool { return receive(t, "an event", events).Kind == natsdispatch.NodeTwin })
			for !errors.Is(receive(t, "an error", errs), dispatch.ErrDuplicate) {
			}
			for _, name := range []string{"OnNode", "WithErrorHandler", "the inject", "the extract"} {
				until(t, name+" in the log", func() bool { return logs.count("func of "+name)+logs.count(name+" of WithTraceContext") > 0 })
			}
		})
	}
	t.Run("loggers", func(t *testing.T) {
		s := startServer(t)
		far, near := newBus(), newBus()
		produce(t, far, "m", echo("m"))
		log := natsdispatch.WithLogger(slog.New(strict{slog.DiscardHandler}))
		serve(t, connect(t, s.ClientURL()), far, "far", log)
		events := make(chan natsdispatch.NodeEvent, 100)
		join(t, connect(t, s.ClientURL()), near, []string{"far"}, log, natsdispatch.OnNode(func(e natsdispatch.NodeEvent) { events <- e }))
		receive(t, "an event", events)
		want(t, ended(t, send(t, near, "x")), dispatch.ReasonAllEnded, "far/m ok")
	})
	t.Run("signatures", func(t *testing.T) {
		s := startServer(t)
		logs := &journal{}
		sign := natsdispatch.WithSign(func([]byte) ([]byte, error) { panic("no pen") })
		verify := natsdispatch.WithVerify(func(string, []byte, []byte) error { panic("no glasses") })
		log := natsdispatch.WithLogger(logs.logger())
		serve(t, connect(t, s.ClientURL()), newBus(), "unsigned", sign, log, quiet)
		serve(t, connect(t, s.ClientURL()), newBus(), "far", log)
		remote := join(t, connect(t, s.ClientURL()), newBus(), nil, verify, log)
		until(t, "the announcement to be ignored", func() bool { return remote.Stats().Unverified > 0 })
		until(t, "the log", func() bool { return logs.count("WithSign panicked") > 0 && logs.count("WithVerify panicked") > 0 })
	})
}
