package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

const askUsage = `TOPIC [JSON] [FLAGS]

Ask sends a request to all nodes that serve the topic, prints each result as it comes,
and then how every member ended. The request is JSON, or is read from the input if it is
-; without it the request is null. The nodes' types are not known here and not compared.

  --timeout DURATION  how long the call may take               5s, NATS_TIMEOUT
  --quorum N          end the call when N members have answered
  --target MEMBER     ask only this member or group; may be repeated
  --discovery TIME    how long nodes may take to announce themselves, before the
                      request is sent                          250ms
  --json              print results, outcomes and report as JSON, one on each line

The exit status is 0 if all members or the quorum answered, 1 if some members answered,
2 if none did, 64 if the command is misused, 69 if there is no server or the server
refuses, and 74 if the output cannot be written.
`

// raw is JSON whose type is not known.
type raw = json.RawMessage

// question is what ask reads from its arguments.
type question struct {
	connection
	topic     dispatch.Topic[raw, raw]
	request   raw
	timeout   time.Duration
	discovery time.Duration
	quorum    int
	targets   []string
	json      bool
}

func (p *program) ask(ctx context.Context, args []string) (int, error) {
	q, err := p.parseAsk(ctx, args)
	switch {
	case err != nil && ctx.Err() != nil: // interrupted while it read the request
		return exitNothing, nil
	case err != nil:
		return 0, err
	}
	var refused atomic.Bool
	nc, err := p.connect(ctx, &q.connection, func(err error) {
		refused.Store(true)
		p.complain(err)
	})
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	floor := dispatch.New[raw, raw](dispatch.WithLogger(slog.New(slog.DiscardHandler)))
	defer floor.Close()
	remote, err := natsdispatch.Join(nc, floor, q.topic, natsdispatch.WithTypes(""), natsdispatch.WithDiscovery(q.discovery),
		natsdispatch.WithSpace(q.space), natsdispatch.WithPrefix(q.prefix), natsdispatch.WithErrorHandler(p.complain),
		natsdispatch.WithLogger(slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))))
	if err != nil {
		return 0, err
	}
	defer remote.Close()
	// The time of the call begins when the discovery is over, so that the call asks all nodes that have
	// announced themselves.
	wait(ctx, q.discovery)
	opts := []dispatch.CallOption{dispatch.WithTimeout(q.timeout)}
	if q.quorum > 0 {
		opts = append(opts, dispatch.WithQuorum(q.quorum))
	}
	if len(q.targets) > 0 {
		opts = append(opts, dispatch.WithTargets(q.targets...))
	}
	call, err := floor.Send(ctx, q.topic, q.request, opts...)
	if err != nil {
		return 0, misused("%v", err)
	}
	out := answers{to: p.stdout, json: q.json, width: p.width}
	results := 0
	for r := range call.Results() {
		results++
		out.result(r)
	}
	status := out.report(call.Report(), results)
	if status == exitNothing && refused.Load() {
		status = exitUnavailable
	}
	return status, nil
}

func (p *program) parseAsk(ctx context.Context, args []string) (q question, err error) {
	set := p.flags("ask")
	q.addTo(set, p.getenv)
	durationVar(set, &q.timeout, "timeout", 5*time.Second)
	durationVar(set, &q.discovery, "discovery", natsdispatch.DefaultDiscovery)
	set.IntVar(&q.quorum, "quorum", 0, "")
	set.BoolVar(&q.json, "json", false, "")
	set.Func("target", "", func(name string) error {
		q.targets = append(q.targets, name)
		return nil
	})
	if d := p.getenv("NATS_TIMEOUT"); d != "" {
		if err := set.Set("timeout", d); err != nil {
			return q, misused("NATS_TIMEOUT is %.60q: %v", d, err)
		}
	}
	others, err := parse(set, args)
	if err != nil {
		return q, err
	}
	switch {
	case len(others) == 0:
		return q, misused("the topic is missing")
	case len(others) > 2:
		return q, misused("%q is too much: topic and request are all", others[2])
	case q.timeout <= 0:
		return q, misused("--timeout %v is not positive", q.timeout)
	case q.discovery <= 0:
		return q, misused("--discovery %v is not positive", q.discovery)
	case q.quorum < 0:
		return q, misused("--quorum %d is negative", q.quorum)
	}
	if q.topic, err = dispatch.ParseTopic[raw, raw](others[0]); err != nil {
		return q, misused("%v", err)
	}
	q.request = raw("null")
	if len(others) == 2 {
		q.request = raw(others[1])
	}
	if string(q.request) == "-" {
		if q.request, err = whileWanted(ctx, func() (raw, error) { return io.ReadAll(p.stdin) }); err != nil {
			return q, misused("read the request: %v", err)
		}
	}
	if !json.Valid(q.request) {
		return q, misused("the request is no JSON: %.60q", q.request)
	}
	return q, nil
}

// wait waits until the duration has passed or the context ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// answers prints the results and the report of a call.
type answers struct {
	to    io.Writer
	json  bool
	width int
}

func (a answers) result(r dispatch.Result[raw, raw]) {
	if a.json {
		a.line(struct {
			Type    string          `json:"type"`
			Member  dispatch.Member `json:"member"`
			Seq     int             `json:"seq"`
			Elapsed time.Duration   `json:"elapsed_ns"`
			Value   raw             `json:"value"`
		}{"result", r.From, r.Seq, r.Elapsed, r.Value})
		return
	}
	fmt.Fprintf(a.to, "%s %s\n", printable(r.From.String()), oneLine(r.Value))
}

// report prints how the call and its members ended, and returns the exit status of the command.
func (a answers) report(r dispatch.Report, results int) int {
	slices.SortStableFunc(r.Outcomes, func(x, y dispatch.Outcome) int { return strings.Compare(x.Member.String(), y.Member.String()) })
	status, word := verdict(r, results)
	if !a.json {
		if results > 0 {
			fmt.Fprintln(a.to)
		}
		for _, line := range waterfall(r, a.width) {
			fmt.Fprintln(a.to, line)
		}
		fmt.Fprintf(a.to, "%s: %s\n", word, summary(r))
		return status
	}
	for _, o := range r.Outcomes {
		text := ""
		if o.Err != nil {
			text = o.Err.Error()
		}
		a.line(struct {
			Type    string          `json:"type"`
			Member  dispatch.Member `json:"member"`
			State   dispatch.State  `json:"state"`
			Results int             `json:"results"`
			Began   time.Duration   `json:"began_ns"`
			Elapsed time.Duration   `json:"elapsed_ns"`
			Error   string          `json:"error,omitempty"`
		}{"outcome", o.Member, o.State, o.Results, o.Began, o.Elapsed, text})
	}
	text := ""
	if err := r.Err(); err != nil {
		text = err.Error()
	}
	a.line(struct {
		Type     string          `json:"type"`
		Verdict  string          `json:"verdict"`
		Reason   dispatch.Reason `json:"reason"`
		Answered int             `json:"answered"`
		Members  int             `json:"members"`
		Results  int             `json:"results"`
		Elapsed  time.Duration   `json:"elapsed_ns"`
		Error    string          `json:"error,omitempty"`
	}{"report", word, r.Reason, answered(r), len(r.Outcomes), results, r.Elapsed, text})
	return status
}

func (a answers) line(v any) { printJSON(a.to, v) }

// printJSON prints a value on its own line.
func printJSON(to io.Writer, v any) {
	line, err := json.Marshal(v)
	if err != nil { // does not happen: each value was read as JSON
		line = fmt.Appendf(nil, `{"type":"error","error":%q}`, err)
	}
	fmt.Fprintf(to, "%s\n", line)
}

// verdict returns the exit status of the command, and a word for how complete the results are.
func verdict(r dispatch.Report, results int) (status int, word string) {
	switch {
	case r.Err() == nil:
		return exitComplete, "complete"
	case results > 0:
		return exitPartial, "partial"
	default:
		return exitNothing, "nothing"
	}
}

// answered counts the members that answered or declined.
func answered(r dispatch.Report) (n int) {
	for _, o := range r.Outcomes {
		if o.State == dispatch.StateOK || o.State == dispatch.StateDeclined {
			n++
		}
	}
	return n
}

func summary(r dispatch.Report) string {
	if len(r.Outcomes) == 0 && r.Reason == dispatch.ReasonNoProducers {
		return fmt.Sprintf("no node serves %s", r.Topic)
	}
	return fmt.Sprintf("%d of %s answered; %s after %s", answered(r), plural(len(r.Outcomes), "member"), r.Reason, short(r.Elapsed))
}
