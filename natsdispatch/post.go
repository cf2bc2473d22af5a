package natsdispatch

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
)

// messageSize is how many bytes of frames fit into one message.
func (n *Node) messageSize() int {
	const headers = 4096   // at most, with a signature and an error
	const enough = 1 << 20 // more would only be held longer by all programs on the way
	return int(min(max(n.nc.MaxPayload()-headers, 1024), enough))
}

// post sends what comes into the outbox, until that is closed.
func (n *Node) post(w *work) {
	var timer *time.Timer
	stuck := func() { timer = time.AfterFunc(time.Until(w.ends), w.out.abandon) } // then there is no credit any more
	for messages := w.out.take(stuck); messages != nil; messages = w.out.take(stuck) {
		for _, m := range messages {
			if err := n.reply(w, m); err != nil {
				n.counts.unsent.Add(1)
				n.replyFails(err)
			}
		}
	}
	if timer != nil {
		timer.Stop()
	}
}

// replyFails reports that something of a reply was not sent, unless there is no connection.
func (n *Node) replyFails(err error) {
	if err != nil && n.nc.IsConnected() {
		n.fail(fmt.Errorf("natsdispatch: node %s: reply: %w", n.node, err))
	}
}

// reply sends a message for the first time. If there is no connection one of version 2 is not
// lost, because the asker asks for it again.
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
		if err := setSignature(header, n.sign, signed); err != nil {
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

// emitAgain sends messages once more, up to the first one that is on its way for the first time. Which
// ones that are is asked when no other can be sent before them.
func (n *Node) emitAgain(w *work, messages func() []*message) {
	w.posting.Lock()
	defer w.posting.Unlock()
	for _, m := range messages() {
		if !m.posted || n.emit(w.reply, m.header, m.body) != nil {
			return // it follows, or will be asked for once more
		}
	}
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
