package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

const nodesUsage = `[TOPIC] [FLAGS]

Nodes shows who serves the topic, or all topics: node, topic, state, members, versions of
the protocol, when it was heard last, and its requests in flight. TOPIC may be a pattern,
such as cell.* or cell.>. A ? is what a node does not tell.

The state is present; draining; twin, if several processes go by the same name; or gone,
for a node that was there and missed three beats, under --watch alone.

  --wait DURATION  how long nodes may take to answer  250ms
  --watch          go on, and show what changes
  --json           print JSON, one line for each node and topic; under --watch one line
                   for each change, whose event is came, changed, left, gone, came back
                   or started again

The exit status is 0 if a node is there, 2 if none is, 0 at the end of --watch, 64 if the
command is misused, 69 if there is no server, the server refuses or the connection is lost
for good, and 74 if the output cannot be written.
`

// view is what nodes reads from its arguments.
type view struct {
	connection
	pattern string
	wait    time.Duration
	watch   bool
	json    bool
}

func (p *program) nodes(ctx context.Context, args []string) (int, error) {
	v, err := p.parseNodes(args)
	if err != nil {
		return 0, err
	}
	ctx, broken := context.WithCancelCause(ctx)
	defer broken(nil)
	nc, err := p.connect(ctx, &v.connection, broken)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	ear, err := listenToPresence(nc, &v)
	if err != nil {
		return 0, err
	}
	var c census
	if err = ear.probe(); err == nil {
		err = nc.FlushTimeout(5 * time.Second)
	}
	if err != nil {
		return 0, fmt.Errorf("send a probe: %w", err)
	}
	if v.watch {
		return exitComplete, p.watch(ctx, ear, &c, v)
	}
	end := time.NewTimer(v.wait)
	defer end.Stop()
	for {
		select {
		case m := <-ear.messages:
			if a, ok := ear.announcement(m); ok {
				c.hear(a, time.Now())
			}
			continue
		case <-end.C:
		case <-ctx.Done():
		}
		break
	}
	if err := unavailable(ctx); err != nil {
		return 0, err
	}
	rows := c.rows(time.Now())
	if v.json {
		for _, r := range rows {
			printJSON(p.stdout, r)
		}
	} else if len(rows) > 0 {
		fmt.Fprint(p.stdout, table(rows, p.width))
	}
	if len(rows) == 0 {
		fmt.Fprintf(p.stderr, "no node serves %s\n", v.pattern)
		return exitNothing, nil
	}
	return exitComplete, nil
}

func (p *program) parseNodes(args []string) (v view, err error) {
	set := p.flags("nodes")
	v.addTo(set, p.getenv)
	durationVar(set, &v.wait, "wait", natsdispatch.DefaultDiscovery)
	set.BoolVar(&v.watch, "watch", false, "")
	set.BoolVar(&v.json, "json", false, "")
	others, err := parse(set, args)
	if err != nil {
		return v, err
	}
	v.pattern = ">"
	switch {
	case len(others) > 1:
		return v, misused("%q is too much: one topic or pattern is all", others[1])
	case len(others) == 1:
		v.pattern = others[0]
	}
	if v.wait <= 0 {
		return v, misused("--wait %v is not positive", v.wait)
	}
	return v, checkPattern(v.pattern)
}

// checkPattern returns an error if s is neither a topic nor a pattern of topics.
func checkPattern(s string) error {
	tokens := strings.Split(s, ".")
	for i, token := range tokens {
		if token == "*" || token == ">" && i == len(tokens)-1 {
			tokens[i] = "x"
		}
	}
	if !isTokens(strings.Join(tokens, "."), longestTopic) {
		return misused("%.300q is no topic and no pattern of topics", s)
	}
	return nil
}

// presenceEar receives announcements: the answers to its probes and, under --watch, all announcements of
// the space on matching topics.
type presenceEar struct {
	nc       *nats.Conn
	view     *view
	inbox    string
	messages chan *nats.Msg
}

func listenToPresence(nc *nats.Conn, v *view) (*presenceEar, error) {
	e := &presenceEar{nc: nc, view: v, inbox: nc.NewInbox(), messages: make(chan *nats.Msg, 1<<16)}
	subjects := []string{e.inbox}
	if v.watch {
		all := v.prefix + "." + v.space + ".presence.*"
		subjects = append(subjects, all+"."+v.pattern, all)
	}
	for _, subject := range subjects {
		if _, err := nc.ChanSubscribe(subject, e.messages); err != nil {
			return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
		}
	}
	return e, nil
}

// probe asks all nodes to announce themselves, with their members and the number of requests in flight.
func (e *presenceEar) probe() error {
	m := nats.NewMsg(e.view.prefix + "." + e.view.space + ".probe")
	m.Header, m.Reply, m.Data = nats.Header{"Dispatch-Detail": {"1"}}, e.inbox, []byte(e.view.pattern)
	return e.nc.PublishMsg(m)
}

// announcement reads a message. It reports false if the message is not an announcement, or is on the
// subject of another node or topic.
func (e *presenceEar) announcement(m *nats.Msg) (a announcement, ok bool) {
	if m.Header.Get("Status") != "" {
		return a, false // the server says that there are no responders
	}
	a, err := parseAnnouncement(m.Data)
	own := e.view.prefix + "." + e.view.space + ".presence." + escape(a.Node) + "." + a.Topic
	return a, err == nil && (m.Subject == e.inbox || m.Subject == own)
}

// beat reads a message. It reports false if the message is not a beat of a node for all of its topics.
func (e *presenceEar) beat(m *nats.Msg) (b beat, ok bool) {
	b, err := parseBeat(m.Data)
	return b, err == nil && m.Subject == e.view.prefix+"."+e.view.space+".presence."+escape(b.Node)
}

// watch shows changes until ctx ends. It sends a probe every two seconds, the default interval of beats,
// because beats tell neither members nor requests in flight.
func (p *program) watch(ctx context.Context, ear *presenceEar, c *census, v view) error {
	ask := time.NewTicker(defaultBeat)
	defer ask.Stop()
	draw := time.NewTicker(drawEvery)
	defer draw.Stop()
	for {
		var changes []change
		select {
		case <-ctx.Done():
			return unavailable(ctx)
		case m := <-ear.messages:
			if b, ok := ear.beat(m); ok {
				c.beat(b, time.Now())
			} else if a, ok := ear.announcement(m); ok {
				changes = c.hear(a, time.Now())
			}
		case <-ask.C:
			_ = ear.probe() // which fails without a connection; the next one may not
		case <-draw.C:
			if !ear.nc.IsConnected() {
				c.excuse(time.Now())
			}
			changes = c.expire(time.Now())
			if p.terminal && !v.json {
				p.draw(c.rows(time.Now()), v.pattern)
			}
		}
		if !p.terminal || v.json {
			p.printChanges(changes, c, v.json)
		}
	}
}

// drawEvery is the interval between two tables on the terminal, and between two checks for missed beats.
const drawEvery = 500 * time.Millisecond

// draw clears the terminal and prints the table.
func (p *program) draw(rows []row, pattern string) {
	var b bytes.Buffer
	b.WriteString("\x1b[H\x1b[2J")
	fmt.Fprintf(&b, "%s  %s\n\n", time.Now().Format(time.TimeOnly), pattern)
	b.WriteString(table(rows, p.width))
	_, _ = p.stdout.Write(b.Bytes()) // the terminal may be closed
}

func (p *program) printChanges(changes []change, c *census, asJSON bool) {
	for _, ch := range changes {
		if !asJSON {
			fmt.Fprintf(p.stdout, "%s %s %s %s\n", time.Now().Format(time.TimeOnly), printable(ch.node), printable(ch.topic), ch.what)
			continue
		}
		event := struct {
			Event string `json:"event"`
			row
		}{Event: ch.what, row: row{Node: ch.node, Topic: ch.topic, Epoch: ch.epoch, State: "left"}}
		for _, r := range c.rows(time.Now()) {
			if (life{r.Node, r.Topic, r.Epoch}) == ch.life {
				event.row = r
			}
		}
		printJSON(p.stdout, event)
	}
}

// table returns the rows as aligned columns of text.
func table(rows []row, width int) string {
	lines := [][]string{{"NODE", "TOPIC", "STATE", "VERSION", "HEARD", "IN FLIGHT", "MEMBERS"}}
	for _, r := range rows {
		inFlight, members := "?", "?"
		if r.InFlight != nil {
			inFlight = strconv.Itoa(*r.InFlight)
		}
		if r.Count != nil {
			members = strconv.Itoa(*r.Count)
			if len(r.Members) > 0 {
				members += ": " + strings.Join(r.Members, ", ")
			}
		}
		versions := make([]string, len(r.Versions))
		for i, v := range r.Versions {
			versions[i] = strconv.Itoa(v)
		}
		lines = append(lines, []string{
			printable(r.Node), printable(r.Topic), r.State, strings.Join(versions, ","), short(r.Heard) + " ago", inFlight, printable(members),
		})
	}
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, text := range line {
			widths[i] = max(widths[i], longest([]string{text}))
		}
	}
	var b strings.Builder
	for _, line := range lines {
		for i, text := range line {
			line[i] = padded(text, widths[i])
		}
		b.WriteString(cut(strings.TrimRight(strings.Join(line, "  "), " "), width) + "\n")
	}
	return b.String()
}

// cut shortens a line to the width, in columns.
func cut(line string, width int) string {
	if runes := []rune(line); len(runes) > width {
		return string(runes[:max(width-1, 0)]) + "…"
	}
	return line
}
