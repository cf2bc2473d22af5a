package natsdispatch

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
)

// messageSize returns how many bytes of frames a message may have.
func (n *Node) messageSize() int {
	const headers = 4096   // bytes, at most, with a signature and an error
	const enough = 1 << 20 // a larger message would only stay longer in the memory of the programs on its way
	return int(min(max(n.nc.MaxPayload()-headers, 1024), enough))
}

// post sends the messages of the outbox until the outbox is closed and all messages have been taken.
func (n *Node) post(w *work) {
	w.out.takeAll(func() time.Time { return n.giveUpAt(w, time.Now()) }, func(m *message) {
		if err := n.reply(w, m); err != nil {
			n.counts.unsent.Add(1)
			n.replyFails(err)
		}
	})
}

// replyFails reports that a message of a reply was not sent, unless err is nil or there is no connection.
func (n *Node) replyFails(err error) {
	if err != nil && n.nc.IsConnected() {
		n.fail(fmt.Errorf("natsdispatch: node %s: reply: %w", n.node, err))
	}
}

// reply sends a message for the first time. If there is no connection, reply returns no error for a message
// of version 2, because the asker asks for this message again.
func (n *Node) reply(w *work, m *message) error {
	header := nats.Header(nil)
	if w.out.head == nil {
		header = sender{node: n.node, epoch: n.epoch, seq: m.seq}.header()
		if m.failure != (failure{}) {
			header[headerServiceError] = []string{headerText(m.failure.text)}
			header[headerServiceErrorCode] = []string{m.failure.serviceCode()}
		}
	}
	if n.sign != nil {
		signed := n.signed(w.request.call, n.node, n.epoch, m.seq, m.body)
		if w.out.head != nil {
			signed = n.signedReply(w.request.call, m.body)
			header = make(nats.Header, 1)
		}
		if err := n.setSignature(header, signed); err != nil {
			return err
		}
	}
	w.posting.Lock()
	defer w.posting.Unlock()
	m.header, m.posted = header, true
	err := n.emit(w.reply, header, m.body)
	if w.out.head != nil && !n.nc.IsConnected() {
		return nil
	}
	return err
}

func (n *Node) emit(subject string, header nats.Header, body []byte) error {
	if header == nil {
		return n.nc.Publish(subject, body)
	}
	return n.nc.PublishMsg(&nats.Msg{Subject: subject, Header: header, Data: body})
}

// emitAgain sends messages again, up to the first one that was not sent before. It calls the function
// messages with posting held, so that no other message is sent before them.
func (n *Node) emitAgain(w *work, messages func() []*message) {
	w.posting.Lock()
	defer w.posting.Unlock()
	for _, m := range messages() {
		if !m.posted || n.emit(w.reply, m.header, m.body) != nil {
			return // the message will be sent, or the asker asks for it again
		}
	}
}

// headerText cuts a text, and replaces the characters that a header cannot have by blanks.
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
