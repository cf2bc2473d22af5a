package natsdispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// keptWork returns a reply whose result has so many bytes, and which was sent.
func keptWork(s *store, call string, bytes int, ends time.Time) *work {
	w := &work{request: request{call: call}, until: ends}
	w.out.init(1<<20, 1<<20, s, nil)
	w.out.withCredit(appendHead(nil, "n", 1), 1<<20)
	w.out.accept(memberOf("m"))
	w.out.result(memberOf("m"), make([]byte, bytes), nil)
	w.out.takeLocked()
	return w
}

// If a node answers a request with the same id again, because it had to forget the id, the new reply
// replaces the first one, which then holds no bytes.
func TestKeptOfTheSameID(t *testing.T) {
	s := &store{most: most}
	var k kept
	first, second := keptWork(s, "c", 1000, time.Time{}), keptWork(s, "c", 10, time.Time{})
	k.add(first)
	k.add(second)
	if holds := s.holds.Load(); holds >= 1000 {
		t.Errorf("%d bytes are held", holds)
	}
	if k.drop(first) || k.calls["c"] != second {
		t.Error("the second is given up for the first")
	}
	if n := k.shrink(func() bool { return true }); n != 1 || s.holds.Load() != 0 || k.order.Len() != 0 {
		t.Errorf("%d are given up, and %d bytes are held", n, s.holds.Load())
	}
}

// wait returns the earliest time until which a reply is kept, and a channel that is closed when
// a reply is given up.
func TestKeptWaits(t *testing.T) {
	s := &store{most: most}
	var k kept
	if _, _, wait := k.wait(); wait {
		t.Error("waits for nothing")
	}
	a, b := keptWork(s, "a", 10, second(5)), keptWork(s, "b", 10, second(3))
	k.add(a)
	k.add(b)
	ends, fewer, wait := k.wait()
	if !wait || !ends.Equal(second(3)) {
		t.Errorf("waits: %v, until %v", wait, ends)
	}
	k.sweep(second(4))
	select {
	case <-fewer:
	default:
		t.Error("the channel is open although there are fewer")
	}
	if ends, _, wait = k.wait(); !wait || !ends.Equal(second(5)) || k.order.Len() != 1 {
		t.Errorf("waits: %v, until %v", wait, ends)
	}
}

// A reply that is given up is not held until its time is over.
func TestKeptHoldsNothingThatWasGivenUp(t *testing.T) {
	s := &store{most: most}
	var k kept
	a, b := keptWork(s, "a", 10, second(5)), keptWork(s, "b", 10, second(5))
	k.add(a)
	k.add(b)
	if k.drop(a); k.order.Len() != 1 || k.order.Front().Value != b {
		t.Errorf("%d replies are held, want the other one", k.order.Len())
	}
	if k.sweep(second(1)); k.calls["b"] != b {
		t.Error("the other one is given up before its time is over")
	}
}

// WithMaxWaiting also bounds the replies for which no value was admitted one by one: refusals, and whole replies.
func TestKeptRepliesAreBounded(t *testing.T) {
	n := &Node{link: link{onError: func(error) {}}}
	n.store.most, n.store.make = 5000, n.makeRoom
	answer := map[string]func(o *outbox){
		"refused": func(o *outbox) {
			o.reject(failure{dispatch.StateRejected, "overloaded", strings.Repeat("x", 1000)})
		},
		"whole": func(o *outbox) { o.whole([]dispatch.Member{memberOf("m")}, make([]byte, 1000)) },
	}
	for how, put := range answer {
		for i := range 10 {
			w := &work{request: request{call: fmt.Sprint(how, i)}, last: time.Now().Add(time.Hour)}
			w.out.init(1<<20, 1<<20, &n.store, nil)
			w.out.withCredit(appendHead(nil, "n", 1), 1<<20)
			put(&w.out)
			w.out.takeLocked()
			n.done(w)
		}
		holds, newest := n.store.holds.Load(), n.kept.calls[how+"9"] != nil
		if holds > 5000 || !newest {
			t.Errorf("%s: %d bytes are held, and the newest reply is kept: %v; want at most 5000, and it is", how, holds, newest)
		}
	}
	if got := n.counts.givenUp.Load(); got < 10 {
		t.Errorf("%d are counted", got)
	}
}

// A cancel that finds the work among the open requests, and comes when the work has ended, gives up the kept
// reply.
func TestCancelThatComesWithTheEndOfTheWork(t *testing.T) {
	n := new(Node)
	n.store.most = most
	w := keptWork(&n.store, "c", 1000, time.Now().Add(time.Hour))
	n.done(w)
	if n.kept.calls["c"] != w {
		t.Fatal("the reply is not kept")
	}
	n.withdraw(w, context.Canceled)
	if holds := n.store.holds.Load(); len(n.kept.calls) != 0 || holds != 0 {
		t.Errorf("%d replies are kept, and %d bytes are held", len(n.kept.calls), holds)
	}
}

// A done that comes before the work has ended lets the node keep no reply, and a later resume brings none back.
func TestDoneThatComesBeforeTheEndOfTheWork(t *testing.T) {
	n := new(Node)
	n.store.most = most
	w := keptWork(&n.store, "c", 1000, time.Now().Add(time.Hour))
	n.work = map[string]*work{"c": w}
	n.hearAck(ack{kind: kindDone, call: "c"}, "")
	if !errors.Is(w.cause, context.Canceled) {
		t.Errorf("the work ends with %v", w.cause)
	}
	if messages := w.out.unheard(); len(messages) != 0 {
		t.Errorf("%d messages are sent again", len(messages))
	}
	n.done(w)
	if holds := n.store.holds.Load(); len(n.kept.calls) != 0 || holds != 0 {
		t.Errorf("%d replies are kept, and %d bytes are held", len(n.kept.calls), holds)
	}
}

// However many messages of a node arrive after the end of a call, the node is told once, and only if it speaks
// version 2 and the call was one of the asker.
func TestLateMessagesAreAnsweredOnce(t *testing.T) {
	r := &Remote{inbox: "_INBOX.abc", topics: []string{"cell.measure"}, last: 7}
	r.subjects = subjects{"dispatch", "default"}
	late := func(number int, head string, header nats.Header) {
		r.hear(&nats.Msg{Subject: fmt.Sprint("_INBOX.abc.", number), Header: header, Data: []byte(head), Sub: new(nats.Subscription)})
	}
	for range 3 {
		late(7, "v2 far 1 0\naccept m\n", nil)
		late(8, "v2 far 1 0\naccept m\n", nil)
		late(6, "accept m\n", sender{node: "near", epoch: 1}.header())
	}
	want := map[place][]byte{{"cell.measure", "far"}: []byte("done abc.7\n")}
	if !maps.EqualFunc(r.acked.lines, want, bytes.Equal) {
		t.Errorf("the nodes are told %q, want %q", r.acked.lines, want)
	}
	if got := r.counts.stray.Load(); got != 9 {
		t.Errorf("%d messages are stray, want 9", got)
	}
}

// takingNode is a node that takes in requests, and does not answer them.
func takingNode() *Node {
	n := &Node{epoch: 7, work: make(map[string]*work), inboxes: make(map[string]bool), seen: seen{most: 10}, next: make(chan *work, 10)}
	n.nc, n.maxBudget = new(nats.Conn), time.Hour
	return n
}

// A request that comes to one node again is for the process that has the boot id in the request. A node that drains
// neither runs it nor takes it for one that it has run: the next repetition has missed nothing, either.
func TestRepeatedRequestIsForOneProcess(t *testing.T) {
	for _, drained := range []bool{false, true} {
		n := takingNode()
		n.drained = drained
		for _, epoch := range []string{"8", "8", "7", "7"} {
			r := request{call: "c", codec: "json", budget: time.Second}
			h := r.header()
			h[headerVersion], h[headerEpoch] = []string{"2"}, []string{epoch}
			n.hearAcks(nil, &nats.Msg{Reply: "_INBOX.abc.7-", Data: append(appendRequest(nil, h), "1"...)})
		}
		want := uint64(1)
		if drained {
			want = 0
		}
		if requests, duplicates := n.counts.requests.Load(), n.counts.duplicates.Load(); requests != want || duplicates != want || len(n.work) != int(want) {
			t.Errorf("drained %t: %d requests and %d duplicates, want %d of each", drained, requests, duplicates, want)
		}
	}
}

// A node that drains still sends a reply again that it keeps.
func TestDrainedNodeRepeatsWhatItKeeps(t *testing.T) {
	n := takingNode()
	n.drained, n.store.most = true, most
	n.kept.add(keptWork(&n.store, "c", 10, time.Now().Add(time.Hour)))
	if again := n.take(&work{request: request{call: "c", budget: time.Second, window: 1}}, time.Now()); !again || len(n.work) != 0 {
		t.Errorf("again: %t, works on %d requests; want true, and none", again, len(n.work))
	}
}

// An asker repeats a request until its deadline, which is a little later than the end of the first budget. The node
// does not run the repetition.
func TestRequestIsNotRunAgainAfterItsBudget(t *testing.T) {
	n := takingNode()
	for _, c := range []struct{ budget, at time.Duration }{{time.Second, 0}, {10 * time.Millisecond, 1009 * time.Millisecond}} {
		n.take(&work{request: request{call: "c", budget: c.budget, window: 1}}, second(0).Add(c.at))
		delete(n.work, "c") // it has ended
	}
	if requests, duplicates := n.counts.requests.Load(), n.counts.duplicates.Load(); requests != 1 || duplicates != 1 {
		t.Errorf("%d requests and %d duplicates, want one of each", requests, duplicates)
	}
}

// Lines of a kind that a later version may have are ignored.
func TestLinesOfAnUnknownKindAreIgnored(t *testing.T) {
	n := new(Node)
	n.hearAcks(nil, &nats.Msg{Data: []byte("pause c 3\nack c 1 100\n")})
	if got := n.counts.malformed.Load(); got != 0 {
		t.Errorf("%d messages are malformed", got)
	}
	n.hearAcks(nil, &nats.Msg{Data: []byte("ack c x\n")})
	if got := n.counts.malformed.Load(); got != 1 {
		t.Errorf("%d messages are malformed, want 1", got)
	}
}

// The budget of a request ends before the call of the asker, which may ask until then for what is missing.
func TestRepliesAreKeptUntilTheCallEnds(t *testing.T) {
	n, now := new(Node), second(1)
	n.maxBudget = time.Minute
	for _, left := range []time.Duration{time.Microsecond, 9 * time.Millisecond, 200 * time.Millisecond, time.Second, time.Hour} {
		budget := left - margin(left)
		ends, last := n.timesOf(budget, now)
		if early := now.Add(left).Sub(last).Abs(); early > time.Microsecond {
			t.Errorf("with %v left, the call ends in %v for the node", left, last.Sub(now))
		}
		if want := min(budget, time.Minute); ends.Sub(now) != want {
			t.Errorf("with %v left, the work ends in %v, want %v", left, ends.Sub(now), want)
		}
	}
}

// A node gives up a reply when the call of the asker ends. If WithMaxBudget has cut the budget, it waits as long
// as it may work for an asker that takes in nothing.
func TestRepliesAreGivenUp(t *testing.T) {
	n := new(Node)
	n.maxBudget = 3 * time.Second
	for _, c := range []struct{ ends, last, now, want int }{{2, 2, 0, 2}, {2, 2, 1, 2}, {3, 10, 0, 6}, {3, 10, 4, 7}, {3, 10, 9, 10}} {
		if at := n.giveUpAt(&work{ends: second(c.ends), last: second(c.last)}, second(c.now)); !at.Equal(second(c.want)) {
			t.Errorf("work until %d, call until %d, nothing is taken in since %d: given up at %v, want %d", c.ends, c.last, c.now, at, c.want)
		}
	}
}
