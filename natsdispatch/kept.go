package natsdispatch

import (
	"bytes"
	"container/list"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// store counts how many bytes all replies of a node hold: replies that wait to be sent, and replies of
// version 2 that were sent and that the asker has not acknowledged.
type store struct {
	most  int64            // bytes
	holds atomic.Int64     // bytes
	make  func(room int64) // gives up sent replies until there are room bytes; nil if the store never becomes full
}

func (s *store) add(bytes int64) { s.holds.Add(bytes) }

// admit returns an error if there is no room for a value of so many bytes.
func (s *store) admit(bytes int) error {
	if s.holds.Load()+int64(bytes) <= s.most {
		return nil
	}
	s.make(int64(bytes))
	if holds := s.holds.Load(); holds+int64(bytes) > s.most {
		return fmt.Errorf("%w: replies that askers have not taken in hold %d bytes; WithMaxWaiting allows %d", dispatch.ErrOverloaded, holds, s.most)
	}
	return nil
}

// kept holds the replies of version 2 that were sent and that the asker has not acknowledged. Node.state
// guards it.
type kept struct {
	calls map[string]*work // by the id of the call
	order list.List        // of these *work, the oldest first
	fewer chan struct{}    // closed when a reply is given up; nil: no goroutine waits for this
}

// add keeps a reply, and gives up the kept reply to a request with the same id, if there is one.
func (k *kept) add(w *work) {
	if k.calls == nil {
		k.calls = make(map[string]*work)
	}
	if old := k.calls[w.request.call]; old != nil {
		k.drop(old)
	}
	k.calls[w.request.call] = w
	w.place = k.order.PushBack(w)
}

// drop gives up a reply, and reports whether the reply was kept until now.
func (k *kept) drop(w *work) bool {
	if k.calls[w.request.call] != w {
		return false
	}
	delete(k.calls, w.request.call)
	k.order.Remove(w.place)
	w.out.abandon()
	if k.fewer != nil {
		close(k.fewer)
		k.fewer = nil
	}
	return true
}

// wait returns the earliest time until which a reply is kept, and a channel that is closed when
// a reply is given up. It reports whether any reply is kept.
func (k *kept) wait() (ends time.Time, fewer <-chan struct{}, any bool) {
	for _, w := range k.calls {
		if !any || w.until.Before(ends) {
			any, ends = true, w.until
		}
	}
	if any && k.fewer == nil {
		k.fewer = make(chan struct{})
	}
	return ends, k.fewer, any
}

// awaitAcks waits until no reply is kept: the askers have acknowledged the replies, or the budgets have passed.
func (n *Node) awaitAcks(ctx context.Context) error {
	for {
		n.state.Lock()
		n.kept.sweep(time.Now())
		ends, fewer, wait := n.kept.wait()
		n.state.Unlock()
		if !wait {
			return nil
		}
		over := time.NewTimer(time.Until(ends) + time.Millisecond)
		select {
		case <-fewer:
		case <-over.C:
		case <-n.cut:
			return errClosedConnection
		case <-ctx.Done():
			return endOf(ctx)
		}
		over.Stop()
	}
}

// shrink gives up the oldest replies while tooMuch returns true, and returns how many.
func (k *kept) shrink(tooMuch func() bool) (forgotten int) {
	for k.order.Len() > 0 && tooMuch() {
		k.drop(k.order.Front().Value.(*work))
		forgotten++
	}
	return forgotten
}

// makeRoom gives up the oldest kept replies until the store has room for so many bytes.
func (n *Node) makeRoom(bytes int64) {
	n.state.Lock()
	forgotten := n.kept.shrink(func() bool { return n.store.holds.Load()+bytes > n.store.most })
	n.state.Unlock()
	if forgotten > 0 && n.counts.givenUp.Add(uint64(forgotten)) == uint64(forgotten) {
		n.fail(fmt.Errorf("natsdispatch: node %s: replies hold more than WithMaxWaiting(%d) allows, and the oldest that were sent are given up; the rest is counted", n.node, n.store.most))
	}
}

// sweep gives up the replies whose time has passed.
func (k *kept) sweep(now time.Time) {
	for _, w := range k.calls {
		if now.After(w.until) {
			k.drop(w)
		}
	}
}

// hearAlone handles a request that an asker has sent to this node alone: one that it has sent before, or one to a
// group. It is for the process with this boot id: another one may have run the request when it was sent first.
func (n *Node) hearAlone(s *served, m *nats.Msg) {
	said, _ := cutRequest(m)
	if said.Get(headerEpoch) != strconv.FormatInt(n.epoch, 10) {
		return
	}
	group, err := unescape(said.Get(headerGroup))
	if err != nil {
		group = "" // the request is refused as malformed
	}
	n.hear(s, group, m)
}

// hearAcks handles the messages of an asker to this node alone: a request, or lines, which
// are acknowledgements and requests for an announcement.
func (n *Node) hearAcks(s *served, m *nats.Msg) {
	if bytes.HasPrefix(m.Data, requestWord) {
		n.hearAlone(s, m)
		return
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(m.Data), "\n"), "\n") {
		a, err := parseAck(line)
		if err != nil {
			n.counts.malformed.Add(1)
			return
		}
		switch a.kind {
		case "": // a kind of a later version
		case kindTell:
			n.tell(s, m.Reply)
		default:
			n.hearAck(a, m.Reply)
		}
	}
}

func (n *Node) hearAck(a ack, reply string) {
	n.state.Lock()
	w := n.work[a.call]
	if w == nil {
		w = n.kept.calls[a.call]
	}
	n.state.Unlock()
	switch {
	case a.kind == kindDone && w != nil:
		if !w.out.isDone() {
			n.counts.cancelled.Add(1)
		}
		n.withdraw(w, context.Canceled)
	case a.kind == kindDone, w == nil && a.kind == kindAck:
	case w == nil:
		n.forgotten(a.call, reply)
	default:
		w.out.acknowledge(a.next, a.granted)
		if a.kind == kindAck && !w.out.keeps() {
			n.state.Lock()
			n.kept.drop(w)
			n.state.Unlock()
		}
		if a.kind == kindNames {
			n.replyFails(n.spell(w))
		}
		if a.kind != kindAck {
			n.emitAgain(w, w.out.unheard)
			if w.out.isDone() {
				n.post(w) // unheard may have put a message that no other goroutine takes
			}
		}
	}
}

// longestReminder bounds the pauses between reminders after a reconnect.
const longestReminder = time.Second

// remind sends the last message of unacknowledged replies again: of all such replies after the node was
// without a connection, and otherwise of the replies of which nothing was sent since the last beat, but not
// with every beat. The asker then asks for missing messages, and acknowledges the others.
func (n *Node) remind(all bool) {
	n.state.Lock()
	works := slices.AppendSeq(slices.Collect(maps.Values(n.work)), maps.Values(n.kept.calls))
	n.state.Unlock()
	for _, w := range works {
		n.emitAgain(w, func() []*message { return w.out.unacknowledged(all) })
	}
}

// forgotten tells an asker that the node does not keep the missing messages any more.
func (n *Node) forgotten(call, reply string) {
	if reply == "" {
		n.counts.malformed.Add(1)
		return
	}
	n.replyFails(n.emitUnnumbered(call, reply, []byte(kindForgotten+"\n")))
}
