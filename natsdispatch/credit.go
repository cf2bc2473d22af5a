package natsdispatch

// This file has the two ends of a reply of version 2 of the protocol: what a node may send and
// has to keep, and what an asker has had and lets the node send. Neither knows a clock, a lock
// or a connection.

// flow is the node's end of a reply.
type flow struct {
	granted int64      // bytes of messages with values that may be sent in all
	sent    int64      // bytes of such messages that were
	next    uint64     // the number of the next message
	kept    []*message // sent and not acknowledged, in order, the last one before next
	waits   int64      // bytes of those
}

// admits reports whether a message may be sent now. One without values always may.
func (f *flow) admits(m *message) bool { return !m.values || f.sent+int64(len(m.body)) <= f.granted }

// send takes in that a message is sent, and gives it its number.
func (f *flow) send(m *message) {
	m.seq = f.next
	f.next++
	f.kept = append(f.kept, m)
	f.waits += int64(len(m.body))
	if m.values {
		f.sent += int64(len(m.body))
	}
}

// acknowledge takes in that the asker has had all messages before next, and lets the node send
// so many bytes. What came before and says less changes nothing.
func (f *flow) acknowledge(next uint64, granted int64) {
	f.granted = max(f.granted, granted)
	for len(f.kept) > 0 && f.kept[0].seq < next {
		f.waits -= int64(len(f.kept[0].body))
		f.kept[0] = nil
		f.kept = f.kept[1:]
	}
}

// intake is the asker's end of a reply.
type intake struct {
	next    uint64 // the number of the next message
	seen    uint64 // the number after the last one that has come, also if an earlier one is missing
	had     int64  // bytes of messages with values that have come
	window  int64  // bytes that the node may send before it is told more; 0: none was named
	granted int64  // what the node was told
}

// order is how a message stands to those that have come before.
type order int

const (
	inOrder order = iota
	again         // it has come before
	ahead         // something before it is missing
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

// take takes in the next message.
func (i *intake) take(bytes int, values bool) {
	i.next++
	if values {
		i.had += int64(bytes)
	}
}

// lacks reports whether something has come that was ahead, and not again since.
func (i *intake) lacks() bool { return i.next < i.seen }

// grant returns how many bytes the node may send in all if it has this share from now on, and
// whether it has to be told: it may have stopped if less than half a window is left.
func (i *intake) grant(share int64) (granted int64, due bool) {
	if i.granted-i.had >= i.window/2 {
		return i.granted, false
	}
	i.granted = i.had + max(share, i.window)
	return i.granted, true
}
