package natsdispatch

import (
	"fmt"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// An outbox collects the frames of one reply in messages, which become as full as possible until they are
// taken. Any number of goroutines put frames into the outbox, and one goroutine takes the messages and sends
// them. A goroutine that puts a result waits while more than mostWaiting bytes wait. Before the first wait,
// it starts the poster, if no goroutine takes messages yet.
//
// In version 2 of the protocol, messages with values are not taken before the asker has given
// credit for them. Frames without values need no credit, and overtake values that wait for credit.
type outbox struct {
	size   int    // bytes of a message, at most
	limit  int    // bytes of a value, at most
	head   []byte // what each message begins with; nil in version 1
	poster poster // nil if a goroutine takes messages; guarded by mu
	store  *store // counts the bytes of all outboxes of the node

	mu      sync.Mutex // guards the fields below
	ready   sync.Cond  // signaled when a message may be ready to take, and when the outbox is closed
	room    sync.Cond  // signaled when messages were taken, and when the outbox is closed
	flow    flow
	out     []*message // to be taken next, in the order of their numbers
	full    []*message // complete and behind out, without a number; credit may be missing
	current *message   // takes further frames, behind full; nil: there is none
	waiting int        // bytes of full and current
	list    naming     // of the members that are named first
	members []sent
	numbers map[dispatch.Member]int // of members, if there are many
	last    int                     // the number that numberLocked returned last
	results int                     // results that were put
	bytes   int64                   // bytes of these results
	stuck   func()                  // called once before a result waits; may be nil
	closed  bool
	dropped bool   // the outbox is abandoned
	scratch []byte // memory for a frame
	stored  int64  // bytes of this outbox that the store has counted

	stale      int    // beats for which the number of the next message was staleSince
	staleSince uint64 // the number of the next message at the last beat
}

// A poster starts a goroutine that takes messages and sends them. startPosting returns at once.
type poster interface{ startPosting() }

// message is one message of a reply. The node may have to send it again.
type message struct {
	body    []byte
	failure failure // the first failure in the body
	values  bool    // the body has values
	seq     uint64  // the number of the message
	// work.posting guards the fields below.
	header nats.Header
	posted bool // the message is signed, and the node has tried to publish it at least once
}

// sent is what was put into the outbox about one member.
type sent struct {
	who     dispatch.Member
	results int
	ended   bool // an end was put
	broken  bool // the member has failed because a result cannot be sent, even if its outcome is OK
}

const (
	mostWaiting   = 8 << 20 // bytes of full and current; a goroutine that has put a result waits while there are more
	frameOverhead = 64      // bytes of a frame besides its value, at most
)

func (o *outbox) init(size, limit int, store *store, poster poster) {
	o.size, o.limit, o.store, o.poster = size, limit, store, poster
	o.ready.L, o.room.L = &o.mu, &o.mu
}

// withCredit makes o the outbox of a reply of version 2, of which granted bytes may be sent at first. A
// message has at most half of them, or leastMessage bytes if that is more, so that one message can be on its
// way while the asker reads another one.
func (o *outbox) withCredit(head []byte, granted int64) {
	o.head, o.flow.granted = head, granted
	o.size = max(min(o.size, int(min(granted/2, most))), leastMessage)
}

// leastMessage is how many bytes a message may have, however small the credit is.
const leastMessage = 1024

// wants reports whether results of a member are still sent: the member is not broken, and the outbox is not
// closed.
func (o *outbox) wants(m dispatch.Member) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, known := o.findLocked(slot(m))
	return !o.closed && (!known || !o.members[n].broken)
}

// result puts a value, in pieces if the value is too large for one message. The member fails if the value is
// larger than limit, if the store has no room for it, or if err says that there is no value.
func (o *outbox) result(m dispatch.Member, value []byte, err error) {
	if err == nil && len(value) > o.limit {
		err = fmt.Errorf("%w: a result of %d bytes; WithMaxResult allows %d", ErrTooLarge, len(value), o.limit)
	}
	if err == nil {
		err = o.store.admit(len(value))
	}
	if err != nil {
		o.breakOff(m, err)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.numberLocked(m)
	if o.members[n].broken {
		return
	}
	rest := value
	for most := o.size - len(o.head) - frameOverhead; len(rest) > most; rest = rest[most:] {
		o.valueLocked(most, func(b []byte) []byte { return appendPart(b, n, rest[:most]) })
	}
	o.members[n].results++
	o.results++
	o.bytes += int64(len(value))
	o.valueLocked(len(rest), func(b []byte) []byte { return appendResult(b, n, rest, len(value)) })
}

// breakLocked puts the end of a member that has failed. If an end of the member was put before, the asker
// replaces it by this one.
func (o *outbox) breakLocked(n int, f failure) {
	o.members[n].ended, o.members[n].broken = true, true
	o.endLocked(n, o.members[n].results, f)
}

// valueLocked appends a frame with a value of size bytes, and then waits while too many bytes wait.
func (o *outbox) valueLocked(size int, frame func(b []byte) []byte) {
	size += frameOverhead
	o.makeRoomLocked(size)
	if o.current != nil && !o.current.values && o.isBeyondLocked(size) {
		o.cutLocked() // the frames in current need not wait for credit
	}
	if o.current == nil {
		o.openLocked(size + len(o.head))
	}
	before := len(o.current.body)
	o.current.body, o.current.values = frame(o.current.body), true
	o.addedLocked(len(o.current.body) - before)
	o.roomLocked()
}

// isBeyondLocked reports whether there is too little credit for the bytes that wait and n more bytes. In
// version 1 it returns false.
func (o *outbox) isBeyondLocked(n int) bool {
	return o.head != nil && o.flow.sent+int64(o.waiting+n) > o.flow.granted
}

// end puts the end of a member, unless an end of the member was put before.
func (o *outbox) end(outcome dispatch.Outcome) {
	f := failureOf(outcome)
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.numberLocked(outcome.Member)
	if !o.members[n].ended {
		o.members[n].ended = true
		o.endLocked(n, outcome.Results, f)
	}
}

func (o *outbox) endLocked(n, results int, f failure) {
	frame := appendEnd(o.scratch[:0], n, results, f)
	for len(frame) > o.size-len(o.head) && f.text != "" {
		f.text = cut(f.text, len(f.text)/2)
		frame = appendEnd(frame[:0], n, results, f)
	}
	m := o.appendLocked(frame)
	if m.failure == (failure{}) && f.state != dispatch.StateDeclined {
		m.failure = f
	}
}

// reject puts a reject, and closes the outbox. If members were named before, it puts the ends of those that
// have not ended, and the final.
func (o *outbox) reject(f failure) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.members) == 0 {
		o.appendLocked(appendReject(o.scratch[:0], f)).failure = f
		o.closeLocked()
		return
	}
	for n := range o.members {
		if !o.members[n].ended {
			o.breakLocked(n, f)
		}
	}
	o.finalLocked()
	o.closeLocked()
}

// taken says that a goroutine takes messages. stuck is called once, with mu held, before a result waits, and
// must not block.
func (o *outbox) taken(stuck func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.poster, o.stuck = nil, stuck
}

// finish puts the final, and closes the outbox.
func (o *outbox) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.finalLocked()
	o.closeLocked()
}

// finalLocked appends the final. It is the last frame, so it overtakes no other frame.
func (o *outbox) finalLocked() {
	o.scratch = appendFinal(o.scratch[:0], len(o.members), o.results)
	o.makeRoomLocked(len(o.scratch))
	if o.current == nil {
		o.openLocked(len(o.head) + len(o.scratch))
	}
	o.current.body = append(o.current.body, o.scratch...)
	o.addedLocked(len(o.scratch))
}

// abandon closes the outbox and drops its contents, which no asker waits for.
func (o *outbox) abandon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dropped = true
	o.emptyLocked()
	o.closeLocked()
}

func (o *outbox) emptyLocked() {
	o.out, o.full, o.current, o.waiting = nil, nil, nil, 0
	o.flow.kept, o.flow.waits = nil, 0
}

func (o *outbox) closeLocked() {
	o.closed = true
	o.countLocked()
	o.ready.Signal()
	o.room.Broadcast()
}

// appendLocked appends a frame without a value, and returns the message with the frame. The frame is in the
// memory of scratch.
func (o *outbox) appendLocked(frame []byte) *message {
	o.scratch = frame
	if o.isBeyondLocked(len(frame)) {
		return o.overtakeLocked(frame)
	}
	o.makeRoomLocked(len(frame))
	if o.current == nil {
		o.openLocked(len(o.head) + len(frame))
	}
	m := o.current
	m.body = append(m.body, frame...)
	o.addedLocked(len(frame))
	return m
}

// overtakeLocked appends a frame before the values that wait for credit, and behind all other frames.
func (o *outbox) overtakeLocked(frame []byte) *message {
	o.moveLocked()
	var m *message
	if n := len(o.out); n > 0 {
		m = o.out[n-1]
	}
	if m == nil || m.values || len(m.body)+len(frame) > o.size {
		m = o.outLocked(&message{body: slices.Clone(o.head)})
	}
	m.body = append(m.body, frame...)
	o.flow.waits += int64(len(frame))
	o.addedLocked(0)
	return m
}

// openLocked begins a message, with memory for room bytes.
func (o *outbox) openLocked(room int) {
	o.current = &message{body: append(make([]byte, 0, room), o.head...)}
	o.waiting += len(o.head)
}

// cutLocked completes the current message.
func (o *outbox) cutLocked() {
	o.full = append(o.full, o.current)
	o.current = nil
}

// makeRoomLocked completes the current message if the message has no room for n more bytes.
func (o *outbox) makeRoomLocked(n int) {
	if o.current != nil && len(o.current.body)+n > o.size {
		o.cutLocked()
	}
}

func (o *outbox) addedLocked(n int) {
	if o.closed {
		o.emptyLocked() // the outbox was abandoned
		return
	}
	o.waiting += n
	o.countLocked()
	o.ready.Signal()
}

// countLocked tells the store how many bytes this outbox holds now.
func (o *outbox) countLocked() {
	holds := int64(o.waiting)
	if o.head != nil {
		holds += o.flow.waits
	}
	o.store.add(holds - o.stored)
	o.stored = holds
}

// roomLocked waits while more than mostWaiting bytes wait. Before that it starts the poster or calls stuck.
func (o *outbox) roomLocked() {
	if o.waiting > mostWaiting && o.poster != nil {
		o.poster.startPosting()
		o.poster = nil
	}
	for o.waiting > mostWaiting && !o.closed {
		if o.stuck != nil {
			o.stuck()
			o.stuck = nil
		}
		o.room.Wait()
	}
}

// whole puts the whole reply of members that have one result each and have ended OK, as one frame. It puts
// nothing and returns false in version 1, if another frame was put before, if one message has no room for
// the frame, or if there is too little credit.
func (o *outbox) whole(members []dispatch.Member, array []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	size := len(array) + frameOverhead
	if !o.list.alone {
		size += mostOfAccept(members)
	}
	if o.head == nil || o.current != nil || o.flow.next > 0 || len(o.head)+size > o.size || o.isBeyondLocked(len(o.head)+size) {
		return false
	}
	o.openLocked(len(o.head) + size)
	before := len(o.current.body)
	o.current.body, o.current.values = appendAll(o.current.body, o.list, members, array), true
	o.addedLocked(len(o.current.body) - before)
	o.closeLocked()
	return true
}
