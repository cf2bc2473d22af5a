package natsdispatch

// This file has the accounts of a reply of version 2 of the protocol. A node has a flow: what it may send and
// has to keep. An asker has an intake: what it has taken, and what it allows the node to send. Neither of them
// has a clock, a lock or a connection.

// flow is the node's account of a reply.
type flow struct {
	granted int64      // bytes of messages with values that may be sent, counted from the beginning of the reply
	sent    int64      // bytes of messages with values that were sent
	next    uint64     // the number of the next message
	kept    []*message // messages that were sent and not acknowledged, in order; the last one has the number next-1
	waits   int64      // bytes of the messages in kept
}

// admits reports whether a message may be sent now. A message without values may always be sent.
func (f *flow) admits(m *message) bool { return !m.values || f.sent+int64(len(m.body)) <= f.granted }

// send notes that a message is sent, and gives the message its number.
func (f *flow) send(m *message) {
	m.seq = f.next
	f.next++
	f.kept = append(f.kept, m)
	f.waits += int64(len(m.body))
	if m.values {
		f.sent += int64(len(m.body))
	}
}

// acknowledge notes that the asker has taken all messages before next, and allows granted bytes, counted
// from the beginning of the reply. An acknowledgement that arrives after a newer one changes nothing.
func (f *flow) acknowledge(next uint64, granted int64) {
	f.granted = max(f.granted, granted)
	for len(f.kept) > 0 && f.kept[0].seq < next {
		f.waits -= int64(len(f.kept[0].body))
		f.kept[0] = nil
		f.kept = f.kept[1:]
	}
}

// intake is the asker's account of a reply.
type intake struct {
	next    uint64 // the number of the next message
	seen    uint64 // the number after the greatest one that has arrived, also if an earlier one is missing
	had     int64  // bytes of messages with values that were taken
	window  int64  // bytes that the node may send at first; 0: no message of version 2 has arrived
	granted int64  // bytes that the node was allowed to send, counted from the beginning of the reply
}

// order says whether a message is the next one.
type order int

const (
	inOrder order = iota
	again         // the message was taken before
	ahead         // an earlier message is missing
)

func (i *intake) order(seq uint64) order {
	i.seen = max(i.seen, seq+1)
	switch {
	case seq < i.next:
		return again
	case seq > i.next:
		return ahead
	default:
		return inOrder
	}
}

// take notes that the next message was taken.
func (i *intake) take(bytes int, values bool) {
	i.next++
	if values {
		i.had += int64(bytes)
	}
}

// lacks reports whether a message has arrived that was ahead, and was not taken since.
func (i *intake) lacks() bool { return i.next < i.seen }

// grant returns how many bytes the node may send, counted from the beginning of the reply, and whether the
// asker has to tell the node. If less than half of the window is left, the node may have stopped; then grant
// allows share more bytes, or a window if that is more.
func (i *intake) grant(share int64) (granted int64, due bool) {
	if i.granted-i.had >= i.window/2 {
		return i.granted, false
	}
	i.granted = i.had + max(share, i.window)
	return i.granted, true
}
