package natsdispatch

import (
	"fmt"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// An outbox collects the frames of one reply in messages that are as full as they can
// be by the time they are sent. Any number of goroutines put frames into it, one
// takes the messages out. A goroutine that puts results waits while too much is not taken. The
// first time, it starts the poster, if no goroutine takes yet.
//
// In version 2 of the protocol messages with values are not taken before the asker has given
// credit for them. What decides the call does not wait for that, and overtakes them.
type outbox struct {
	size   int    // of a message, at most
	limit  int    // of a value, at most
	head   []byte // what each message begins with; nil in version 1
	poster poster // nil if a goroutine takes
	store  *store // for what all outboxes of the node hold

	mu      sync.Mutex // guards what follows
	ready   sync.Cond  // there may be something to take, or will never be
	room    sync.Cond  // something was taken
	flow    flow
	out     []*message // to be taken, in the order of their numbers
	full    []*message // before them, with credit or without
	current *message
	waiting int    // bytes of full and current
	list    naming // of the members that are named first
	members []sent
	numbers map[dispatch.Member]int // of members, if there are many
	last    int                     // the number that was asked for last
	results int
	bytes   int64  // of them
	stuck   func() // called once before a result waits; may be nil
	closed  bool
	scratch []byte // a frame
	stored  int64  // bytes of this one that the store knows of

	stale      int    // beats since nothing was sent
	staleSince uint64 // the number of the message that was to be sent next then
}

// A poster starts a goroutine that takes, and returns at once.
type poster interface{ startPosting() }

// message is the body of one, and the first failure in it.
type message struct {
	body    []byte
	failure failure
	values  bool // it has values
	seq     uint64
	// The lock under which messages are published guards what follows.
	header nats.Header
	posted bool // it is signed, and was published at least once
}

// sent is what was said of one member.
type sent struct {
	who     dispatch.Member
	results int
	ended   bool
	broken  bool // it has ended for a reason that its outcome does not know
}

const (
	mostWaiting   = 8 << 20 // bytes that are held back from being sent; a result beyond that waits
	frameOverhead = 64      // bytes of a frame besides its value, at most
)

func (o *outbox) init(size, limit int, store *store, poster poster) {
	o.size, o.limit, o.store, o.poster = size, limit, store, poster
	o.ready.L, o.room.L = &o.mu, &o.mu
}

// withCredit makes it the outbox of a reply of version 2, of which so many bytes may be sent
// at first. No message takes more than half of that, so that one can be on its way while
// another one is read.
func (o *outbox) withCredit(head []byte, granted int64) {
	o.head, o.flow.granted = head, granted
	o.size = max(min(o.size, int(min(granted/2, most))), leastMessage)
}

// leastMessage is what a message may take however small the credit is.
const leastMessage = 1024

// wants reports whether results of a member are still sent: it has not failed, and the asker waits for the
// reply.
func (o *outbox) wants(m dispatch.Member) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, known := o.findLocked(slot(m))
	return !o.closed && (!known || !o.members[n].broken)
}

// result puts a value, in pieces if it is too large for one message. If it is too
// large at all, or err says that there is none, the member has failed by that.
func (o *outbox) result(m dispatch.Member, value []byte, err error) {
	if err == nil {
		err = o.store.admit(len(value))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.numberLocked(m)
	if o.members[n].broken {
		return
	}
	if err == nil && len(value) > o.limit {
		err = fmt.Errorf("%w: a result of %d bytes; WithMaxResult allows %d", ErrTooLarge, len(value), o.limit)
	}
	if err != nil {
		o.breakLocked(n, err)
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

// breakLocked puts that a member has failed. Its end may have been told before; to the asker this one
// comes in its place.
func (o *outbox) breakLocked(n int, err error) {
	o.members[n].ended, o.members[n].broken = true, true
	o.endLocked(n, o.members[n].results, failed(dispatch.StateFailed, err))
}

// valueLocked appends a frame with a value of so many bytes, and waits until there is room
// for another one.
func (o *outbox) valueLocked(size int, frame func(b []byte) []byte) {
	size += frameOverhead
	o.makeRoomLocked(size)
	if o.current != nil && !o.current.values && o.isBeyondLocked(size) {
		o.cutLocked() // what is in it need not wait for credit
	}
	if o.current == nil {
		o.openLocked(size + len(o.head))
	}
	before := len(o.current.body)
	o.current.body, o.current.values = frame(o.current.body), true
	o.addedLocked(len(o.current.body) - before)
	o.roomLocked()
}

// isBeyondLocked reports whether so many more bytes are more than there is credit for, with
// all that waits.
func (o *outbox) isBeyondLocked(n int) bool {
	return o.head != nil && o.flow.sent+int64(o.waiting+n) > o.flow.granted
}

// end puts how a member has ended, unless that was said before.
func (o *outbox) end(outcome dispatch.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.numberLocked(outcome.Member)
	if !o.members[n].ended {
		o.members[n].ended = true
		o.endLocked(n, outcome.Results, failureOf(outcome))
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

// reject puts why the request is not taken, and closes the outbox.
func (o *outbox) reject(f failure) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.appendLocked(appendReject(o.scratch[:0], f)).failure = f
	o.closeLocked()
}

// taken says that a goroutine takes. The func is called once before a result waits for that, and must not
// wait for anything.
func (o *outbox) taken(stuck func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.poster, o.stuck = nil, stuck
}

// finish puts that all has been said, and closes the outbox.
func (o *outbox) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.finalLocked()
	o.closeLocked()
}

// finalLocked appends the final, which is the last frame and so overtakes nothing.
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

// appendLocked appends a frame without a value, which has scratch for its array, and returns
// the message that it is in.
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

// overtakeLocked appends a frame to what goes before values that wait, and behind all else.
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

// openLocked begins a message.
func (o *outbox) openLocked(room int) {
	o.current = &message{body: append(make([]byte, 0, room), o.head...)}
	o.waiting += len(o.head)
}

// cutLocked completes the present message.
func (o *outbox) cutLocked() {
	o.full = append(o.full, o.current)
	o.current = nil
}

// makeRoomLocked begins another message if this one has no room for so many bytes.
func (o *outbox) makeRoomLocked(n int) {
	if o.current != nil && len(o.current.body)+n > o.size {
		o.cutLocked()
	}
}

func (o *outbox) addedLocked(n int) {
	if o.closed {
		o.emptyLocked() // it was abandoned
		return
	}
	o.waiting += n
	o.countLocked()
	o.ready.Signal()
}

// countLocked tells the store how much this one holds now.
func (o *outbox) countLocked() {
	holds := int64(o.waiting)
	if o.head != nil {
		holds += o.flow.waits
	}
	o.store.add(holds - o.stored)
	o.stored = holds
}

// roomLocked waits until not too much waits to be taken.
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

// whole puts all that there is to say of members that have a result each and have ended well. It
// puts nothing if that is not the first message, does not fit into one, or takes more credit
// than there is.
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
