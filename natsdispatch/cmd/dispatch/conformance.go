package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const conformanceUsage = `TOPIC [FLAGS]

Conformance tests whether the node that serves the topic keeps the wire protocol, by
asking it. It works with any node in any language. Give it a server or a space of its own:
all nodes of the topic get the requests.

  --node NAME       the node, if several serve the topic
  --request JSON    a request that every member answers at once     {}
  --slow JSON       a request on which at least one member works for longer than
                    --budget; without it, deadlines and cancels are not tested
  --budget TIME     the budget of slow requests                     1s
  --large JSON      a request that has a result larger than the server's max_payload;
                    without it, results in pieces are not tested
  --protocol N      the version of the protocol; otherwise the newest that both know
  --patience TIME   how long the node may take to say something     5s
  --quiet TIME      how long a silence is listened to               200ms
  --list            print the checks and the rules that they test
  --json            print JSON, one line for each check

The exit status is 0 if no check fails, 1 if one does or the command is interrupted, 2 if
the node is not there, 64 if the command is misused, 69 if there is no server, the server
refuses or the connection is lost for good, and 74 if the output cannot be written.
`

// suite has the checks of one version of the protocol.
type suite struct {
	version int
	checks  []check
}

// suites returns all suites, the newest version first.
func suites() []suite { return []suite{{2, checksOfVersion2()}, {1, checksOfVersion1()}} }

// check tests one rule of the protocol.
type check struct {
	name string
	rule string // the rule, as the protocol states it
	run  func(*examiner) error
}

// mismatch is the error of a check that has found a difference between what the protocol expects and what
// the node has sent.
type mismatch struct {
	expected, got string
	cause         error // nil if the node has sent something
}

func (m *mismatch) Unwrap() error { return m.cause }

func (m *mismatch) Error() string { return "expected " + m.expected + ", got " + m.got }

// wrong returns a mismatch. got is a format for args.
func wrong(expected, got string, args ...any) error {
	return &mismatch{expected: expected, got: fmt.Sprintf(got, args...)}
}

// skipped is the error of a check that cannot be made. Its text is the reason.
type skipped string

func (s skipped) Error() string { return string(s) }

// examination is what conformance reads from its arguments.
type examination struct {
	connection
	topic, node          string
	request, slow, large string
	protocol             int
	budget               time.Duration // of slow requests
	patience, quiet      time.Duration
	list, json           bool
}

func (p *program) conformance(ctx context.Context, args []string) (int, error) {
	x, err := p.parseConformance(args)
	if err != nil {
		return 0, err
	}
	if x.list {
		for _, s := range suites() {
			for _, c := range s.checks {
				fmt.Fprintf(p.stdout, "protocol %d  %s\n    %s\n", s.version, c.name, c.rule)
			}
		}
		return exitComplete, nil
	}
	ctx, broken := context.WithCancelCause(ctx)
	defer broken(nil)
	nc, err := p.connect(ctx, &x.connection, broken)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	e := &examiner{ctx: ctx, nc: nc, examination: x}
	if err := e.find(); err != nil && ctx.Err() != nil {
		return p.stopped(ctx, 0)
	} else if err != nil {
		fmt.Fprintf(p.stderr, "dispatch conformance: %s\n", printable(err.Error()))
		return exitNothing, nil
	}
	s, err := e.suite()
	if err != nil {
		fmt.Fprintf(p.stderr, "dispatch conformance: %s\n", printable(err.Error()))
		return exitPartial, nil
	}
	out := verdicts{p: p, json: x.json}
	out.begin(s.version, e.about)
	for _, c := range s.checks {
		err := c.run(e)
		if ctx.Err() != nil {
			out.end()
			return p.stopped(ctx, out.passed+out.failed+out.skipped)
		}
		out.check(c, err)
	}
	return out.end(), nil
}

// stopped returns the exit status after an interrupt. If the server is of no more use, it returns an error.
func (p *program) stopped(ctx context.Context, checks int) (int, error) {
	if err := unavailable(ctx); err != nil {
		return 0, err
	}
	fmt.Fprintf(p.stderr, "dispatch conformance: interrupted after %s\n", plural(checks, "check"))
	return exitPartial, nil
}

func (p *program) parseConformance(args []string) (x examination, err error) {
	set := p.flags("conformance")
	x.addTo(set, p.getenv)
	set.StringVar(&x.node, "node", "", "")
	set.StringVar(&x.request, "request", "{}", "")
	set.StringVar(&x.slow, "slow", "", "")
	set.StringVar(&x.large, "large", "", "")
	set.IntVar(&x.protocol, "protocol", 0, "")
	durationVar(set, &x.budget, "budget", time.Second)
	durationVar(set, &x.patience, "patience", 5*time.Second)
	durationVar(set, &x.quiet, "quiet", 200*time.Millisecond)
	set.BoolVar(&x.list, "list", false, "")
	set.BoolVar(&x.json, "json", false, "")
	others, err := parse(set, args)
	switch {
	case err != nil || x.list:
		return x, err
	case len(others) != 1:
		return x, misused("one topic is wanted, not %d", len(others))
	case x.budget <= 0 || x.patience <= 0 || x.quiet <= 0:
		return x, misused("--budget, --patience and --quiet have to be positive")
	}
	if x.topic = others[0]; !isTokens(x.topic, longestTopic) {
		return x, misused("%.300q is no topic", x.topic)
	}
	for flag, body := range map[string]string{"--request": x.request, "--slow": x.slow, "--large": x.large} {
		if body != "" && !json.Valid([]byte(body)) {
			return x, misused("%s is no JSON: %.60q", flag, body)
		}
	}
	return x, nil
}

// suite returns the suite of the version that --protocol gives, and otherwise of the newest version that
// both the node and this program know.
func (e *examiner) suite() (suite, error) {
	for _, s := range suites() {
		if e.protocol == s.version || e.protocol == 0 && slices.Contains(e.about.Versions, s.version) {
			return s, nil
		}
	}
	if e.protocol != 0 {
		return suite{}, fmt.Errorf("there are no checks of version %d of the protocol", e.protocol)
	}
	return suite{}, fmt.Errorf("node %s knows the versions %v of the protocol, and there are checks of none of them", e.about.Node, e.about.Versions)
}

// verdicts prints and counts the results of the checks.
type verdicts struct {
	p                       *program
	json                    bool
	passed, failed, skipped int
}

func (v *verdicts) begin(version int, about announcement) {
	if !v.json {
		fmt.Fprintf(v.p.stdout, "protocol %d, node %s on %s\n", version, printable(about.Node), printable(about.Topic))
	}
}

func (v *verdicts) check(c check, err error) {
	word, why := "pass", ""
	var m *mismatch
	var s skipped
	switch {
	case err == nil:
		v.passed++
	case errors.As(err, &s):
		word, why = "skip", string(s)
		v.skipped++
	case !errors.As(err, &m):
		m = &mismatch{expected: "an exchange of messages", got: err.Error()}
		fallthrough
	default:
		word = "FAIL"
		v.failed++
	}
	if v.json {
		line := struct {
			Type     string `json:"type"`
			Check    string `json:"check"`
			Verdict  string `json:"verdict"` // pass, fail or skip
			Rule     string `json:"rule"`
			Why      string `json:"why,omitempty"`
			Expected string `json:"expected,omitempty"`
			Got      string `json:"got,omitempty"`
		}{Type: "check", Check: c.name, Verdict: strings.ToLower(word), Rule: c.rule, Why: why}
		if m != nil {
			line.Expected, line.Got = m.expected, m.got
		}
		printJSON(v.p.stdout, line)
		return
	}
	fmt.Fprintf(v.p.stdout, "%s  %s\n", word, c.name)
	if m != nil {
		fmt.Fprintf(v.p.stdout, "      rule      %s\n      expected  %s\n      got       %s\n", c.rule, m.expected, printable(m.got))
	}
	if why != "" {
		fmt.Fprintf(v.p.stdout, "      %s\n", why)
	}
}

// end prints the counts and returns the exit status.
func (v *verdicts) end() int {
	if v.json {
		printJSON(v.p.stdout, struct {
			Type    string `json:"type"`
			Passed  int    `json:"passed"`
			Failed  int    `json:"failed"`
			Skipped int    `json:"skipped"`
		}{"sum", v.passed, v.failed, v.skipped})
	} else {
		fmt.Fprintf(v.p.stdout, "%d passed, %d failed, %d skipped\n", v.passed, v.failed, v.skipped)
	}
	if v.failed > 0 {
		return exitPartial
	}
	return exitComplete
}

// examiner sends the requests of the checks to one node.
type examiner struct {
	examination
	ctx    context.Context
	nc     *nats.Conn
	about  announcement // the announcement that find has received
	asked  int
	nobody string // a name that no member has
}

// find waits for the announcement of the node that --node names, or of the only node of the topic.
func (e *examiner) find() error {
	e.nobody = "nobody-" + nats.NewInbox()[len(nats.InboxPrefix):]
	found := make(map[string]announcement)
	inbox, err := e.probe(e.topic)
	if err != nil {
		return err
	}
	defer inbox.close()
	end := time.Now().Add(e.patience)
	for len(found) == 0 || e.node == "" && time.Now().Before(end) {
		m, err := inbox.next(time.Until(end))
		if err != nil {
			break
		}
		if a, err := parseAnnouncement(m.Data); err == nil && (e.node == "" || a.Node == e.node) {
			found[a.Node] = a
		}
		if len(found) == 1 { // other nodes may answer later
			end = time.Now().Add(e.quiet)
		}
	}
	switch {
	case len(found) == 0 && e.node != "":
		return fmt.Errorf("node %s does not answer a probe for %s", e.node, e.topic)
	case len(found) == 0:
		return fmt.Errorf("no node answers a probe for %s", e.topic)
	case len(found) > 1:
		names := make([]string, 0, len(found))
		for name := range found {
			names = append(names, name)
		}
		slices.Sort(names)
		return fmt.Errorf("%d nodes serve %s: choose one with --node: %s", len(found), e.topic, strings.Join(names, ", "))
	}
	for _, a := range found {
		e.about = a
	}
	return nil
}
