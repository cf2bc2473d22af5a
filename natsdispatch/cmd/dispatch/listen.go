package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const listenUsage = `TOPIC [FLAGS]

Listen prints the results that nodes publish, as they come. A node publishes its results
if it is served with natsdispatch.WithPublish. TOPIC may be a pattern, such as cell.* or
cell.>. If a number is missing among the results of a node, listen says so.

  --count N  end after N results
  --json     print JSON, one line for each result

The exit status is 0, 64 if the command is misused, 69 if there is no server, the server
refuses or the connection is lost for good, and 74 if the output cannot be written.
`

// hearing is what listen reads from its arguments.
type hearing struct {
	connection
	pattern string
	count   int
	json    bool
}

// published is a result that a node has published.
type published struct {
	Type   string          `json:"type"` // always result
	Node   string          `json:"node"`
	Topic  string          `json:"topic"`
	Member string          `json:"member"` // with its group, if it has one
	Call   string          `json:"call"`
	Epoch  int64           `json:"epoch"`
	Seq    uint64          `json:"seq"`
	Codec  string          `json:"codec"`
	Value  json.RawMessage `json:"value,omitempty"` // set if the codec is json and the value is JSON
	Bytes  []byte          `json:"bytes,omitempty"` // set otherwise
}

func (p *program) listen(ctx context.Context, args []string) (int, error) {
	h, err := p.parseListen(args)
	if err != nil {
		return 0, err
	}
	ctx, broken := context.WithCancelCause(ctx)
	defer broken(nil)
	nc, err := p.connect(ctx, &h.connection, broken)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	messages := make(chan *nats.Msg, 1<<16)
	subject := h.prefix + ".v1." + h.space + ".result.*." + h.pattern
	sub, err := nc.ChanSubscribe(subject, messages)
	if err == nil {
		err = nc.FlushTimeout(5 * time.Second)
	}
	if err != nil {
		return 0, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	fmt.Fprintf(p.stderr, "listening to %s\n", subject)
	next := make(map[life]uint64)
	for heard := 0; h.count == 0 || heard < h.count; {
		select {
		case <-ctx.Done():
			return exitComplete, unavailable(ctx)
		case m := <-messages:
			r, err := parsePublished(m, h)
			if err != nil {
				p.complain(fmt.Errorf("a message on %s: %w", m.Subject, err))
				continue
			}
			from := life{r.Node, r.Topic, r.Epoch}
			if due, known := next[from]; known && r.Seq > due {
				p.complain(fmt.Errorf("%s of node %s on %s did not arrive", plural(int(r.Seq-due), "result"), r.Node, r.Topic))
			}
			next[from] = max(next[from], r.Seq+1)
			p.printPublished(r, h.json)
			heard++
		}
	}
	return exitComplete, sub.Unsubscribe()
}

func (p *program) parseListen(args []string) (h hearing, err error) {
	set := p.flags("listen")
	h.addTo(set, p.getenv)
	set.IntVar(&h.count, "count", 0, "")
	set.BoolVar(&h.json, "json", false, "")
	others, err := parse(set, args)
	switch {
	case err != nil:
		return h, err
	case len(others) != 1:
		return h, misused("one topic or pattern is wanted, not %d", len(others))
	case h.count < 0:
		return h, misused("--count %d is negative", h.count)
	}
	h.pattern = others[0]
	return h, checkPattern(h.pattern)
}

// parsePublished reads a message that has a published result.
func parsePublished(m *nats.Msg, h hearing) (r published, err error) {
	word, topic, _ := strings.Cut(strings.TrimPrefix(m.Subject, h.prefix+".v1."+h.space+".result."), ".")
	if v := m.Header.Get("Dispatch-Version"); v != "1" {
		return r, fmt.Errorf("its version is %.20q", v)
	}
	r = published{Type: "result", Topic: topic, Call: m.Header.Get("Dispatch-Call"), Codec: m.Header.Get("Dispatch-Codec")}
	if r.Node, err = unescape(word); err != nil {
		return r, err
	}
	if r.Member, err = memberName(m.Header.Get("Dispatch-Member")); err != nil {
		return r, err
	}
	if r.Epoch, err = strconv.ParseInt(m.Header.Get("Dispatch-Epoch"), 10, 64); err != nil {
		return r, fmt.Errorf("its epoch: %w", err)
	}
	if r.Seq, err = strconv.ParseUint(m.Header.Get("Dispatch-Seq"), 10, 64); err != nil {
		return r, fmt.Errorf("its number: %w", err)
	}
	if r.Codec == "json" && json.Valid(m.Data) {
		r.Value = m.Data
	} else {
		r.Bytes = m.Data
	}
	return r, nil
}

func (p *program) printPublished(r published, asJSON bool) {
	if asJSON {
		printJSON(p.stdout, r)
		return
	}
	value := oneLine(r.Value)
	if r.Value == nil {
		value = fmt.Sprintf("(%s of %s)", plural(len(r.Bytes), "byte"), printable(r.Codec))
	}
	fmt.Fprintf(p.stdout, "%s %s %s/%s %s\n",
		time.Now().Format(time.TimeOnly), printable(r.Topic), printable(r.Node), printable(r.Member), value)
}
