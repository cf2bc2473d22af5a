package natsdispatch

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// wireState is the state of a reply: the messages that the node has not sent, the accounts of both sides,
// and the messages that are on their way.
type wireState struct {
	left   []*message // messages that the node has not sent
	node   flow
	asker  intake
	heard  int        // messages that the asker has taken
	there  []*message // on their way to the asker
	back   []ack      // on their way to the node
	losses int        // how many losses may still happen
	sent   bool       // the asker has asked for a missing message
}

func (s wireState) clone() wireState {
	s.left, s.there, s.back = slices.Clone(s.left), slices.Clone(s.there), slices.Clone(s.back)
	s.node.kept = slices.Clone(s.node.kept)
	return s
}

func (s *wireState) key() string {
	kept := make([]uint64, len(s.node.kept))
	for i, m := range s.node.kept {
		kept[i] = m.seq
	}
	there := make([]uint64, len(s.there))
	for i, m := range s.there {
		there[i] = m.seq
	}
	return fmt.Sprint(len(s.left), s.node.granted, s.node.sent, kept, s.asker, s.heard, there, s.back, s.losses, s.sent)
}

// send lets the node send all messages that it may send.
func (s *wireState) send() {
	for len(s.left) > 0 && s.node.admits(s.left[0]) {
		m := *s.left[0]
		s.node.send(&m)
		s.there = append(s.there, &m)
		s.left = s.left[1:]
	}
}

// arrive lets the asker handle the first message on its way.
func (s *wireState) arrive() {
	m := s.there[0]
	s.there = s.there[1:]
	switch s.asker.order(m.seq) {
	case ahead:
		s.ask()
	case inOrder:
		s.sent = false
		s.heard++
		s.asker.take(len(m.body), m.values)
		if granted, due := s.asker.grant(s.asker.window); due {
			s.back = append(s.back, ack{kindAck, "c", s.asker.next, granted})
		}
	}
}

func (s *wireState) ask() {
	if !s.sent {
		s.sent = true
		s.back = append(s.back, ack{kindResume, "c", s.asker.next, s.asker.granted})
	}
}

// arriveBack lets the node handle the first line on its way.
func (s *wireState) arriveBack() {
	a := s.back[0]
	s.back = s.back[1:]
	s.node.acknowledge(a.next, a.granted)
	if a.kind == kindResume {
		s.there = append(s.there, s.node.kept...)
	}
	s.send()
}

// With every order of events and losses, the node never has more bytes on their way than the asker allows,
// keeps the messages that it may have to send again, and all messages arrive in order.
func TestCreditInEveryOrder(t *testing.T) {
	texts := [][]*message{
		{{body: make([]byte, 5)}, {body: make([]byte, 5), values: true}, {body: make([]byte, 5), values: true}, {body: make([]byte, 1)}},
		{{body: make([]byte, 3), values: true}, {body: make([]byte, 4), values: true}, {body: make([]byte, 5), values: true}, {body: make([]byte, 2), values: true}, {body: make([]byte, 1)}},
		{{body: make([]byte, 30)}, {body: make([]byte, 30)}},
	}
	const window = 10
	states := 0
	for i, text := range texts {
		first := wireState{left: text, losses: 3, node: flow{granted: window}, asker: intake{window: window, granted: window}}
		first.send()
		seen := map[string]bool{}
		todo := []wireState{first}
		for len(todo) > 0 {
			s := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if k := s.key(); seen[k] {
				continue
			} else {
				seen[k] = true
			}
			onTheWay := int64(0)
			for _, m := range s.node.kept {
				if m.seq >= s.asker.next && m.values {
					onTheWay += int64(len(m.body))
				}
			}
			if onTheWay > window || s.node.sent > s.asker.granted || s.node.waits > 2*window+60 {
				t.Fatalf("text %d: %d bytes are on their way, window %d: %+v", i, onTheWay, window, s)
			}
			if len(s.there) > 12 {
				continue // the node could send the same messages again without end
			}
			if len(s.there) > 0 {
				next := s.clone()
				next.arrive()
				todo = append(todo, next)
			}
			if len(s.back) > 0 {
				next := s.clone()
				next.arriveBack()
				todo = append(todo, next)
			}
			if s.losses > 0 && len(s.there)+len(s.back) > 0 { // the connection breaks: all messages on their way are lost
				next := s.clone()
				next.losses--
				next.there, next.back, next.sent = nil, nil, false
				next.ask()
				todo = append(todo, next)
				if len(s.there) > 0 { // one message is lost
					next := s.clone()
					next.losses--
					next.there = next.there[1:]
					todo = append(todo, next)
				}
			}
			if len(s.there)+len(s.back) == 0 && s.heard < len(text) {
				if s.losses == first.losses {
					t.Fatalf("text %d: it stands still without a loss: %+v", i, s)
				}
				next := s.clone() // in the end a reconnect or a pause makes the asker ask
				next.sent = false
				next.ask()
				todo = append(todo, next)
			}
		}
		states += len(seen)
	}
	if states < 200 {
		t.Errorf("only %d states", states)
	}
}

// After any losses, all messages arrive as soon as no more messages are lost.
func TestCreditEndsWell(t *testing.T) {
	for lost := range 1 << 12 {
		text := []*message{{body: make([]byte, 3), values: true}, {body: make([]byte, 4), values: true}, {body: make([]byte, 5), values: true}, {body: make([]byte, 2)}}
		s := wireState{left: text, node: flow{granted: 10}, asker: intake{window: 10, granted: 10}}
		s.send()
		for step := 0; s.heard < len(text); step++ {
			if step > 200 {
				t.Fatalf("losses %b: it does not come to an end: %+v", lost, s)
			}
			gone := step < 12 && lost>>step&1 == 1
			switch {
			case len(s.there) > 0 && gone:
				s.there = s.there[1:]
			case len(s.there) > 0:
				s.arrive()
			case len(s.back) > 0 && gone:
				s.back = s.back[1:]
			case len(s.back) > 0:
				s.arriveBack()
			default:
				s.sent = false
				s.ask()
			}
		}
		s.node.acknowledge(s.asker.next, s.asker.granted)
		if len(s.node.kept) != 0 || s.node.waits != 0 || len(s.left) != 0 {
			t.Fatalf("losses %b: the node keeps %d messages of %d bytes", lost, len(s.node.kept), s.node.waits)
		}
	}
}

func TestHead(t *testing.T) {
	head := appendHead(nil, "cell 7", 1790000000000000)
	body := append(slices.Clone(head), "final 0 0\n"...)
	setSeq(body, len(head), 42)
	if got, want := string(body), "v2 cell=207 1790000000000000 0000000042\nfinal 0 0\n"; got != want {
		t.Fatalf("written %q, want %q", got, want)
	}
	s, numbered, frames, err := cutHead(body)
	if s != (sender{node: "cell 7", epoch: 1790000000000000, seq: 42}) || !numbered || string(frames) != "final 0 0\n" || err != nil {
		t.Errorf("read %+v, %v, %q, %v", s, numbered, frames, err)
	}
	if s, numbered, frames, err := cutHead([]byte("v2 a 1 -\nforgotten\n")); s != (sender{node: "a", epoch: 1}) || numbered || string(frames) != "forgotten\n" || err != nil {
		t.Errorf("read %+v, %v, %q, %v", s, numbered, frames, err)
	}
	for _, bad := range []string{"", "v2 a 1 0", "v1 a 1 0\n", "v2\n", "v2  1 0\n", "v2 a 0 0\n", "v2 a -1 0\n", "v2 a x 0\n", "v2 a 1\n", "v2 a 1 x\n", "v2 a=4 1 0\n", "v2 a 1 0 1\n"} {
		if s, _, _, err := cutHead([]byte(bad)); err == nil {
			t.Errorf("%q is read as %+v", bad, s)
		}
	}
}

func TestAcks(t *testing.T) {
	for line, want := range map[string]ack{
		"ack i.5 7 100\n": {kindAck, "i.5", 7, 100}, "resume i.5 0 100\n": {kindResume, "i.5", 0, 100}, "done i.5\n": {kind: kindDone, call: "i.5"},
		"names i.5 0 100\n": {kindNames, "i.5", 0, 100},
	} {
		if got := string(want.append(nil)); got != line {
			t.Errorf("written %q, want %q", got, line)
		}
		if got, err := parseAck(line[:len(line)-1]); got != want || err != nil {
			t.Errorf("%q is read as %+v, %v", line, got, err)
		}
	}
	if got, err := parseAck("tell"); got.kind != kindTell || err != nil {
		t.Errorf("a tell is read as %+v, %v", got, err)
	}
	if got, err := parseAck("of tomorrow 1 2 3"); got != (ack{}) || err != nil {
		t.Errorf("what is not known is read as %+v, %v", got, err)
	}
	for _, bad := range []string{"ack i 1", "ack i 1 2 3", "ack i x 1", "ack i 1 x", "ack i -1 1", "done", "done i 1", "resume i", "names i 0"} {
		if a, err := parseAck(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, a)
		}
	}
	lines := []byte("done a\ndone b\ndone c\n")
	for most, want := range map[int]int{100: 21, 21: 21, 20: 14, 7: 7, 3: 7} {
		if got := cutLines(lines, most); got != want {
			t.Errorf("of lines %d bytes fit into %d, want %d", got, most, want)
		}
	}
}

// Frames without values overtake values that wait for credit, and the final comes last.
func TestOutboxWithCredit(t *testing.T) {
	o := new(outbox)
	o.init(1<<20, 1<<20, &store{most: most}, nil)
	head := appendHead(nil, "n", 1)
	o.withCredit(head, 3000)
	a, b, c := memberOf("a"), memberOf("b"), memberOf("c")
	o.accept(a, b)
	value := make([]byte, 4000)
	for i := range value {
		value[i] = 'x'
	}
	o.result(a, value, nil)
	o.end(outcomeOf(b, 0))
	o.accept(c)
	o.end(outcomeOf(c, 0))
	o.end(outcomeOf(a, 1))
	kindsOf := func(messages []*message) (kinds [][]string) {
		for _, m := range messages {
			if len(m.body) > 1500 {
				t.Errorf("a message of %d bytes is more than half of the credit", len(m.body))
			}
			_, _, rest, err := cutHead(m.body)
			if err != nil {
				t.Fatal(err)
			}
			of := []string{}
			for f, err := range frames(rest) {
				if err != nil {
					t.Fatal(err)
				}
				of = append(of, f.kind)
			}
			kinds = append(kinds, of)
		}
		return kinds
	}
	compare := func(what string, want string) {
		t.Helper()
		if got := fmt.Sprint(kindsOf(o.takeLocked())); got != want {
			t.Errorf("%s: taken %s, want %s", what, got, want)
		}
	}
	compare("at first", "[[accept] [part] [part] [end accept end end]]")
	o.finish()
	compare("without credit", "[]")
	o.acknowledge(4, 6000)
	compare("with credit", "[[result final]]")
	if o.waiting != 0 || !o.isDone() || len(o.flow.kept) != 1 {
		t.Errorf("%d bytes wait, done: %v, kept: %d", o.waiting, o.isDone(), len(o.flow.kept))
	}
}

func memberOf(name string) dispatch.Member { return dispatch.Member{Name: name} }

func outcomeOf(m dispatch.Member, results int) dispatch.Outcome {
	return dispatch.Outcome{Member: m, State: dispatch.StateOK, Results: results}
}

func TestLines(t *testing.T) {
	h := nats.Header{"Dispatch-Call": {"i.5"}, "Dispatch-Targets": {""}, "traceparent": {"a\nb\r\n\nc"}}
	body := append(appendRequest(nil, h), "\n\nwhat is asked"...)
	if got, want := string(body), "v2 request\nDispatch-Call: i.5\nDispatch-Targets: \ntraceparent: a b   c\n\n\n\nwhat is asked"; got != want {
		t.Fatalf("written %q, want %q", got, want)
	}
	said, payload := cutRequest(&nats.Msg{Data: body})
	if string(payload) != "\n\nwhat is asked" || said.Get("Dispatch-Call") != "i.5" || said.Get("Dispatch-Codec") != "" ||
		len(said.Values("Dispatch-Targets")) != 1 || said.Values("Dispatch-Codec") != nil || getTrace(said, "Traceparent") != "a b   c" {
		t.Errorf("read %q with %q", payload, said)
	}
	for _, m := range []*nats.Msg{{Data: []byte("v2 request\nDispatch-Call: x\n")}, {Data: body, Header: nats.Header{"Dispatch-Type": {"cancel"}}}, {Data: []byte("v2 requests\n\n")}, {}} {
		if said, payload := cutRequest(m); said.Get("Dispatch-Call") != "" || !bytes.Equal(payload, m.Data) {
			t.Errorf("%q is read as %q with %q", m.Data, payload, said)
		}
	}
}

// An acknowledgement that arrives after a newer one changes nothing.
func TestCreditIsNotTakenBack(t *testing.T) {
	f := flow{granted: 10}
	for range 3 {
		f.send(&message{body: make([]byte, 1)})
	}
	f.acknowledge(2, 100)
	f.acknowledge(1, 50)
	if f.granted != 100 || len(f.kept) != 1 || f.waits != 1 {
		t.Errorf("%+v", f)
	}
}

// The name of a member does not wait for credit that a value needs.
func TestOutboxSendsNamesBeforeValues(t *testing.T) {
	o := new(outbox)
	o.init(1<<20, 1<<20, &store{most: most}, nil)
	head := appendHead(nil, "n", 1)
	o.withCredit(head, 3000)
	a, b := memberOf("a"), memberOf("b")
	o.accept(a)
	for range 2 {
		o.result(a, make([]byte, 1300), nil)
		o.takeLocked()
	}
	o.accept(b)
	o.result(b, make([]byte, 300), nil)
	all := o.takeLocked()
	if len(all) != 1 || all[0].values || !bytes.HasSuffix(all[0].body, []byte("accept b\n")) {
		t.Errorf("%d messages are taken, want the name alone", len(all))
	}
	o.acknowledge(3, 6000)
	if all := o.takeLocked(); len(all) != 1 || !all[0].values {
		t.Errorf("with credit %d messages are taken, want the value", len(all))
	}
}
