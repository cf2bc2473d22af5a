package main

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
)

// hand is a request as a program without a library makes it: responders subscribe to a subject; the asker
// makes an inbox, publishes the request, and counts the replies. The asker has to know how many responders
// there are, and cannot tell which of them have not answered.
type hand struct {
	nc      *nats.Conn
	subject string
	check   func(replies [][]byte) error
}

// newBytesByHand returns a side whose responders answer with bytes that are ready. It measures NATS alone.
func newBytesByHand(s *servers) (side, error) {
	ready, err := json.Marshal([producers]int{})
	if err != nil {
		return nil, err
	}
	h := &hand{subject: "hand.bytes", check: func([][]byte) error { return nil }}
	return h, h.start(s, func([]byte) ([]byte, error) { return ready, nil })
}

// newValuesByHand returns a side whose responders read the request, call their producers, and send the
// values as one array, which the asker reads.
func newValuesByHand(s *servers) (side, error) {
	h := &hand{subject: "hand.values", check: func(replies [][]byte) error {
		sum := 0
		for _, reply := range replies {
			var values []int
			if err := json.Unmarshal(reply, &values); err != nil {
				return err
			}
			for _, v := range values {
				sum += v
			}
		}
		if sum != total(nodes) {
			return fmt.Errorf("the values add up to %d, not %d", sum, total(nodes))
		}
		return nil
	}}
	return h, h.start(s, func(data []byte) ([]byte, error) {
		var req int
		if err := json.Unmarshal(data, &req); err != nil {
			return nil, err
		}
		values := make([]int, producers)
		for i := range values {
			values[i] = produce(i, req)
		}
		return json.Marshal(values)
	})
}

func (h *hand) start(s *servers, answer func(req []byte) ([]byte, error)) error {
	for range nodes {
		nc, err := s.connect()
		if err != nil {
			return err
		}
		if _, err := nc.Subscribe(h.subject, func(m *nats.Msg) {
			if reply, err := answer(m.Data); err == nil {
				_ = m.Respond(reply) // a lost reply shows, because the asker counts the replies
			}
		}); err != nil {
			return err
		}
		if err := nc.Flush(); err != nil {
			return err
		}
	}
	var err error
	if h.nc, err = s.connect(); err != nil {
		return err
	}
	// In a cluster, the other servers learn of the subscriptions a moment later.
	return wait("the responders", func() bool { return h.call() == nil })
}

func (h *hand) call() error {
	req, err := json.Marshal(request)
	if err != nil {
		return err
	}
	inbox := h.nc.NewInbox()
	sub, err := h.nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // an error means that the connection is closed
	if err := h.nc.PublishRequest(h.subject, inbox, req); err != nil {
		return err
	}
	replies := make([][]byte, nodes)
	for i := range replies {
		m, err := sub.NextMsg(patience)
		if err != nil {
			return err
		}
		replies[i] = m.Data
	}
	return h.check(replies)
}
