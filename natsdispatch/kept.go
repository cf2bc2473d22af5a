package natsdispatch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// kept are replies of version 2 that have been sent and of which the asker has not said yet that
// it has had them. The node's state guards them.
type kept struct {
	most  int64 // bytes of all of them
	calls map[string]*work
	order []*work // the oldest first; some may have been given up
	bytes int64
}

// add keeps a reply, and returns how many others had to be given up for it.
func (k *kept) add(w *work) (forgotten int) {
	w.keeps = w.out.weight()
	k.bytes += w.keeps
	k.calls[w.request.call] = w
	k.order = append(k.order, w)
	for k.bytes > k.most && len(k.order) > 0 {
		if k.drop(k.order[0]) {
			forgotten++
		}
		k.order[0] = nil
		k.order = k.order[1:]
	}
	return forgotten
}

// drop gives a reply up, and reports whether it was kept until now.
func (k *kept) drop(w *work) bool {
	if k.calls[w.request.call] != w {
		return false
	}
	delete(k.calls, w.request.call)
	k.bytes -= w.keeps
	return true
}

// sweep gives up those of which the time is over.
func (k *kept) sweep(now time.Time) {
	left := k.order[:0]
	for _, w := range k.order {
		switch {
		case k.calls[w.request.call] != w:
		case now.After(w.ends):
			k.drop(w)
		default:
			left = append(left, w)
		}
	}
	clear(k.order[len(left):])
	k.order = left
}

// hearAcks takes in what askers say of replies.
func (n *Node) hearAcks(m *nats.Msg) {
	for line := range strings.SplitSeq(strings.TrimSuffix(string(m.Data), "\n"), "\n") {
		a, err := parseAck(line)
		if err != nil {
			n.counts.malformed.Add(1)
			return
		}
		n.hearAck(a, m.Reply)
	}
}

func (n *Node) hearAck(a ack, reply string) {
	n.state.Lock()
	w := n.work[a.call]
	if w == nil {
		w = n.kept.calls[a.call]
	}
	if a.kind == kindDone && w != nil {
		n.kept.drop(w)
	}
	n.state.Unlock()
	switch {
	case a.kind == kindDone, w == nil && a.kind != kindResume:
	case w == nil:
		n.forgotten(a.call, reply)
	default:
		w.out.acknowledge(a.next, a.granted)
		if a.kind == kindResume {
			n.emitAgain(w, w.out.unheard())
			if w.out.isDone() {
				n.post(w) // if something was put that nobody else takes
			}
		}
	}
}

// longestReminder bounds the pauses between reminders after a reconnect.
const longestReminder = time.Second

// remind sends the last message once more of every reply that has some of which the asker has
// not said that it has had them. The node was without a connection: the asker asks for what it
// has missed when it sees that something is missing.
func (n *Node) remind() {
	n.state.Lock()
	all := slices.AppendSeq(slices.Collect(maps.Values(n.work)), maps.Values(n.kept.calls))
	n.state.Unlock()
	for _, w := range all {
		if messages := w.out.kept(); len(messages) > 0 {
			n.emitAgain(w, messages[len(messages)-1:])
		}
	}
}

// forgotten tells an asker that what it misses is not kept any more.
func (n *Node) forgotten(call, reply string) {
	if reply == "" {
		n.counts.malformed.Add(1)
		return
	}
	body := appendHead(nil, n.node, n.epoch)
	body = append(body[:len(body)-1-seqDigits], unnumbered+"\n"+kindForgotten+"\n"...)
	var header nats.Header
	var err error
	if n.sign != nil {
		header = make(nats.Header, 1)
		err = setSignature(header, n.sign, n.signedReply(call, body))
	}
	if err == nil {
		err = n.emit(reply, header, body)
	}
	if err != nil && n.nc.IsConnected() {
		n.fail(fmt.Errorf("natsdispatch: node %s: reply: %w", n.node, err))
	}
}

// isForgotten notes that replies were given up because too many are kept.
func (n *Node) isForgotten(replies int) {
	if replies > 0 && n.counts.givenUp.Add(uint64(replies)) == uint64(replies) {
		n.fail(fmt.Errorf("natsdispatch: node %s: replies of which the asker has not said that it has had them are more than WithMaxWaiting(%d) allows, and the oldest are given up; the rest is counted", n.node, n.kept.most))
	}
}
