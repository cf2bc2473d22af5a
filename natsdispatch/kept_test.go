package natsdispatch

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// keptWork is a reply that holds so many bytes.
func keptWork(s *store, call string, bytes int, ends time.Time) *work {
	w := &work{request: request{call: call}, ends: ends}
	w.out.init(1<<20, 1<<20, s, nil)
	w.out.withCredit(appendHead(nil, "n", 1), 1<<20)
	w.out.accept(memberOf("m"))
	w.out.result(memberOf("m"), make([]byte, bytes), nil)
	w.out.takeLocked()
	return w
}

// If a request of the same id is taken once more, because the node had to forget that it had it, its
// reply takes the place of the first one, which holds nothing any more.
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

// What is waited for is the end of the first reply that is kept, or that there are fewer.
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

// A reply that was given up before its time is not remembered until then.
func TestKeptSweepsWhatWasGivenUp(t *testing.T) {
	s := &store{most: most}
	var k kept
	a, b := keptWork(s, "a", 10, second(5)), keptWork(s, "b", 10, second(5))
	k.add(a)
	k.add(b)
	k.drop(a)
	if k.sweep(second(1)); k.order.Len() != 1 || k.calls["b"] != b {
		t.Errorf("%d replies are remembered, want the other one", k.order.Len())
	}
}

// Lines of a kind that a later version may bring are ignored.
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
