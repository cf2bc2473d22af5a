package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

// verdictLine is a line that conformance prints as JSON.
type verdictLine struct {
	Type, Check, Verdict, Why, Expected, Got string
	Passed, Failed, Skipped                  int
}

// examine runs the suite, and returns the names of the checks that fail and of those that are skipped.
func examine(t *testing.T, status int, url, topic string, args ...string) (failed, skipped []string) {
	t.Helper()
	p := run(t, status, url, append([]string{"conformance", topic, "--json", "--quiet", "50ms"}, args...)...)
	lines := jsonLines[verdictLine](t, p.stdout())
	if one, two := len(checksOfVersion1())+1, len(checksOfVersion2())+1; len(lines) != one && len(lines) != two {
		t.Errorf("printed %d lines, want one for each check of a version and the sum: %d or %d", len(lines), one, two)
	}
	for _, l := range lines {
		switch l.Verdict {
		case "fail":
			failed = append(failed, l.Check)
		case "skip":
			skipped = append(skipped, l.Check)
		}
	}
	return failed, skipped
}

// pass checks that no check fails, and that exactly the checks of skip are skipped.
func pass(t *testing.T, url, topic string, skip []string, args ...string) {
	t.Helper()
	failed, skipped := examine(t, exitComplete, url, topic, append(args, "--patience", "30s")...)
	if len(failed) != 0 || !slices.Equal(skipped, skip) {
		t.Errorf("failed %q, skipped %q, want only %q to be skipped", failed, skipped, skip)
	}
}

func TestConformanceOfTheGoNode(t *testing.T) {
	type order struct {
		Slow  bool
		Large int
	}
	url := startServer(t, "")
	topic := dispatch.NewTopic[order, string]("cell.order")
	d := dispatch.New[order, string](dispatch.WithLogger(slog.New(slog.DiscardHandler)))
	defer d.Close()
	waits := func(ctx context.Context, o order) (string, error) {
		if o.Slow {
			<-ctx.Done()
			return "", context.Cause(ctx)
		}
		return strings.Repeat("x", o.Large), nil
	}
	for _, m := range []struct{ name, group string }{{"plain", ""}, {"a name: с", ""}, {"r1", "g 1"}, {"r2", "g 1"}, {"r", "g2"}} {
		opts := []dispatch.ProducerOption{dispatch.WithName(m.name)}
		if m.group != "" {
			opts = append(opts, dispatch.WithGroup(m.group))
		}
		if _, err := d.AddProducer(topic, waits, opts...); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.AddProducer(topic, func(context.Context, order) (string, error) { return "", errors.New("broken\n\"") }, dispatch.WithName("fails")); err != nil {
		t.Fatal(err)
	}
	node, err := natsdispatch.Serve(connect(t, url), d, dispatch.AnyOf(topic, dispatch.NewTopic[order, string]("cell.other")),
		natsdispatch.WithNode("cell 7"), natsdispatch.WithBeat(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	for _, protocol := range []string{"1", "2"} {
		pass(t, url, "cell.order", nil, "--slow", `{"Slow":true}`, "--large", `{"Large":1500000}`, "--protocol", protocol)
	}
}

// The agent in JavaScript needs Node.js and npm.
func TestConformanceOfTheAgentInJavaScript(t *testing.T) {
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("this machine lacks %s: the agent in JavaScript is not tested: %v", name, err)
		}
	}
	const agent = "../../examples/node-agent"
	dir := t.TempDir()
	files, err := filepath.Glob(agent + "/*.js*")
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no agent in %s: %v", agent, err)
	}
	for _, from := range append(files, agent+"/.npmrc") {
		body, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(from)), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	npm := exec.CommandContext(t.Context(), "npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	url := startServer(t, "")
	for _, protocol := range []string{"1", "2"} {
		t.Run("version "+protocol, func(t *testing.T) { conformsInJavaScript(t, url, dir, protocol) })
	}
}

func conformsInJavaScript(t *testing.T, url, dir, protocol string) {
	node := exec.Command("node", "agent.js", url, "oven-"+protocol, "100", protocol)
	node.Dir = dir
	var said strings.Builder
	node.Stdout, node.Stderr = &said, &said
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = node.Process.Kill() // the process may have ended
		_ = node.Wait()
		if t.Failed() {
			t.Logf("the agent said:\n%s", said.String())
		}
	})
	until(t, "the agent to be there", func() bool {
		return start(t, "", []string{"NATS_URL=" + url}, "nodes", "cell.measure").waited() == exitComplete
	})
	pass(t, url, "cell.measure", []string{
		"request: a path through the node's bus", "reject: other types", "group: left out of requests to all", "group: one member",
	}, "--slow", `{"Heat":1000000}`, "--large", `{"Pixels":3000000}`, "--node", "oven-"+protocol, "--protocol", protocol)
}

// waited waits until the process ends, and returns its exit status.
func (p *process) waited() int {
	<-p.ended
	return p.status
}

func TestConformanceOfANodeByHand(t *testing.T) {
	url := startServer(t, "")
	f := &fake{t: t, nc: connect(t, url), name: "oven 2", topic: "cell.measure"}
	f.start()
	pass(t, url, "cell.measure", []string{
		"request: a path through the node's bus", "reply: parts", "reject: other types", "deadline: late, and final", "cancel: silence",
		"cancel: for another node", "group: left out of requests to all", "group: one member",
	})
}

// For each fault, the checks of the rule that the fault breaks fail.
func TestConformanceFindsFaults(t *testing.T) {
	url := startServer(t, "")
	for fault, found := range map[string][]string{
		"":                        nil,
		"epoch of nanoseconds":    {"presence: fields"},
		"no beat_ms":              {"presence: fields"},
		"hello to probes":         {"presence: fields"},
		"epoch of the moment":     {"presence: seq and epoch", "reply: headers", "the node is still there"},
		"seq stands still":        {"presence: seq and epoch"},
		"exact probes only":       {"presence: a pattern in a probe"},
		"answers all probes":      {"presence: a probe for another topic"},
		"no beats":                {"presence: beats"},
		"beats for another topic": {"presence: beats"},
		"no fault of many topics": nil,
		"no beats for all topics": {"presence: beats"},
		"beats of another epoch":  {"presence: beats"},
		"beats of an old edition": {"presence: beats"},
		"a tell is not answered":  {"presence: beats"},

		"rejects headers that it does not know": {"request: headers that are not known"},
		"ignores targets":                       {"request: one target", "request: an unknown target"},
		"rejects unknown targets":               {"request: an unknown target"},
		"runs a call twice":                     {"request: the same call twice", "cancel: before its request"},
		"answers without budget":                {"request: no budget"},
		"answers any type":                      {"request: an unknown type"},
		"any path":                              {"request: a path through the node's bus"},

		"no version in replies":         {"reply: headers"},
		"another epoch in replies":      {"reply: headers"},
		"seq from 1":                    {"reply: headers"},
		"no accept":                     {"reply: accept is the first frame", "reply: members"},
		"speaks after the final":        {"reply: final is the last frame"},
		"member out of range":           {"reply: members"},
		"a member twice":                {"reply: members", "reply: every member ends", "reply: counts"},
		"no ends":                       {"reply: every member ends"},
		"an end counts too few":         {"reply: counts"},
		"final counts too many results": {"reply: counts"},
		"final counts too few members":  {"reply: counts"},
		"values are no JSON":            {"reply: values"},
		"total is too large":            {"reply: values"},
		"no parts":                      {"reply: parts"},
		"parts are lost":                {"reply: parts"},

		"any version":        {"reject: another version"},
		"any codec":          {"reject: another codec", "reject: the headers of NATS services"},
		"any types":          {"reject: other types"},
		"any budget":         {"reject: a budget that is no number"},
		"any call":           {"reject: a call that is no id"},
		"any body":           {"reject: a body that the codec cannot read"},
		"any hops":           {"reject: too many hops"},
		"no service headers": {"reject: the headers of NATS services"},

		"late is failed":           {"deadline: late, and final", "cancel: for another node"},
		"speaks after a cancel":    {"cancel: silence"},
		"ignores cancels":          {"cancel: silence", "cancel: before its request"},
		"hears cancels for others": {"cancel: for another node"},
		"forgets cancels":          {"cancel: before its request"},

		"groups in requests to all": {"group: left out of requests to all"},
		"all in requests to groups": {"group: one member"},

		// These faults break every reply.
		"no line feed at the end": {"reply: members", "reject: another version", "group: one member"},
		"members are not escaped": {"reply: members"},
		"a number that is none":   {"reply: members"},
		"a state of its own":      {"reply: members"},
		"a code of its own":       {"reply: members"},
		"a text without quotes":   {"reply: members"},
		"rejects after accepting": {"reply: members"},
		"no final":                {"reply: members"},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			topic := "cell." + strings.ReplaceAll("x"+fault, " ", "_")
			url := url
			if fault == "answers all probes" {
				url = startServer(t, "") // so that this node does not answer the requests of other cases
			}
			f := &fake{t: t, nc: connect(t, url), name: "oven 2 of " + topic, topic: topic, fault: fault, rich: true}
			f.start()
			status, patience, budget := exitPartial, "2s", "200ms"
			switch fault {
			case "", "no fault of many topics":
				status, patience, budget = exitComplete, "30s", "1s"
			case "no final":
				patience = "100ms" // every check waits this long
			}
			failed, skipped := examine(t, status, url, topic, "--slow", `{"Slow":true}`, "--large", `{"Large":true}`, "--patience", patience, "--budget", budget)
			if found == nil && len(failed)+len(skipped) != 0 {
				t.Errorf("without a fault %q fail and %q are skipped", failed, skipped)
			}
			for _, name := range found {
				if !slices.Contains(failed, name) {
					t.Errorf("the check %q does not fail; these do: %q", name, failed)
				}
			}
		})
	}
}

func TestConformanceChoosesItsNode(t *testing.T) {
	url := startServer(t, "")
	p := run(t, exitNothing, url, "conformance", "cell.measure", "--patience", "10ms")
	if !strings.Contains(p.stderr(), "no node answers a probe for cell.measure") {
		t.Errorf("said %q", p.stderr())
	}
	for _, name := range []string{"one", "two"} {
		f := &fake{t: t, nc: connect(t, url), name: name, topic: "cell.measure"}
		f.start()
	}
	p = run(t, exitNothing, url, "conformance", "cell.measure", "--quiet", "2s")
	if !strings.Contains(p.stderr(), "2 nodes serve cell.measure: choose one with --node: one, two") {
		t.Errorf("said %q", p.stderr())
	}
	p = run(t, exitComplete, url, "conformance", "cell.measure", "--node", "two", "--patience", "30s", "--quiet", "50ms")
	if !strings.HasPrefix(p.stdout(), "protocol 1, node two on cell.measure\npass  presence: fields\n") || !strings.Contains(p.stdout(), "skip  cancel: silence\n      it needs --slow\n") {
		t.Errorf("printed %q", p.stdout())
	}
	p = run(t, exitPartial, url, "conformance", "cell.measure", "--node", "two", "--protocol", "7")
	if !strings.Contains(p.stderr(), "there are no checks of version 7") {
		t.Errorf("said %q", p.stderr())
	}
}

// An interrupt ends the command at once, also while a check waits. This check has not failed.
func TestConformanceIsInterrupted(t *testing.T) {
	url := startServer(t, "")
	f := &fake{t: t, nc: connect(t, url), name: "oven", topic: "cell.measure", fault: "no final"}
	f.start()
	p := start(t, "", []string{"NATS_URL=" + url}, "conformance", "cell.measure", "--patience", "1h")
	p.says("presence: beats")
	p.interrupt()
	p.ends(exitPartial)
	if out := p.stdout(); strings.Contains(out, "FAIL") || !strings.Contains(out, " 0 failed, ") || !strings.Contains(p.stderr(), "interrupted after ") {
		t.Errorf("printed %q and %q", out, p.stderr())
	}
}

// A failure names what was expected, what the node has sent, and the rule that this breaks.
func TestConformanceExplainsFailures(t *testing.T) {
	url := startServer(t, "")
	f := &fake{t: t, nc: connect(t, url), name: "oven", topic: "cell.measure", fault: "any hops"}
	f.start()
	p := run(t, exitPartial, url, "conformance", "cell.measure", "--patience", "30s", "--quiet", "50ms")
	const want = `FAIL  reject: too many hops
      rule      Above 64 hops a request is rejected with too-deep.
      expected  reject … too-deep …, and nothing else
      got       accept thermometer lamp | result 0 5 5 | rumour about 1 2 3 | end 0 1 ok | result 1 5 5 | rumour about 1 2 3 | end 1 1 ok | final 2 2
`
	if !strings.Contains(p.stdout(), want) || !strings.Contains(p.stdout(), " passed, 1 failed, 8 skipped\n") {
		t.Errorf("printed\n%s\nwithout\n%s", p.stdout(), want)
	}
	failed, _ := examine(t, exitPartial, url, "cell.measure", "--protocol", "2", "--patience", "300ms") // a version that the node does not know
	if n := len(failed); n != 8 {
		t.Errorf("%d checks fail: %q, want those of version 2 and the one", n, failed)
	}
	p = start(t, "", nil, "conformance", "--list").ends(exitComplete)
	for _, c := range checksOfVersion1() {
		if !strings.Contains(p.stdout(), fmt.Sprintf("protocol 1  %s\n    %s\n", c.name, c.rule)) {
			t.Errorf("the list has no %q", c.name)
		}
	}
}
