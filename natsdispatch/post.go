package natsdispatch

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
)

// messageSize is how many bytes of frames fit into one message.
func (n *Node) messageSize() int {
	const headers = 4096   // at most, with a signature and an error
	const enough = 1 << 20 // more would only be held longer by everybody on the way
	return int(min(max(n.nc.MaxPayload()-headers, 1024), enough))
}

// post sends what comes into the outbox, until that is closed.
func (n *Node) post(w *work) {
	for messages := w.out.take(); messages != nil; messages = w.out.take() {
		for _, m := range messages {
			if err := n.reply(w, m); err != nil {
				n.counts.unsent.Add(1)
				if n.nc.IsConnected() {
					n.fail(fmt.Errorf("natsdispatch: node %s: reply: %w", n.node, err))
				}
			}
		}
	}
}

func (n *Node) reply(w *work, m message) error {
	s := sender{n.node, n.epoch, w.seq}
	w.seq++
	msg := &nats.Msg{Subject: w.msg.Reply, Header: s.header(), Data: m.body}
	if m.failure != (failure{}) {
		msg.Header[headerServiceError] = []string{headerText(m.failure.text)}
		msg.Header[headerServiceErrorCode] = []string{m.failure.serviceCode()}
	}
	if n.sign != nil {
		if err := setSignature(msg.Header, n.sign, n.signed(w.request.call, n.node, n.epoch, s.seq, m.body)); err != nil {
			return err
		}
	}
	return n.nc.PublishMsg(msg)
}

// headerText makes a text fit for a header.
func headerText(text string) string {
	const most = 256
	if len(text) > most {
		text = text[:most]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError {
			return ' '
		}
		return r
	}, text)
}
