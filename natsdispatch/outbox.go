package natsdispatch

import (
	"fmt"
	"slices"
	"sync"

	"github.com/seed-bb4b4d74/dispatch"
)

// An outbox collects the frames of one reply in messages that are as full as they can
// be by the time they are sent. Any number of goroutines put frames into it, one
// takes the messages out. Who puts results waits while too much is not taken, but not before
// somebody takes: the first time, start is called.
type outbox struct {
	size  int    // of a message, at most
	limit int    // of a value, at most
	start func() // has somebody take, and returns at once; nil if somebody does

	mu      sync.Mutex // guards what follows
	ready   sync.Cond  // there is something to take, or will never be
	room    sync.Cond  // something was taken
	full    []message
	current message
	waiting int // bytes that are to be taken
	members []sent
	numbers map[dispatch.Member]int // of members, if there are many
	last    int                     // the number that was asked for last
	results int
	closed  bool
	scratch []byte // a frame
}

// message is the body of one, and the first failure in it.
type message struct {
	body    []byte
	failure failure
}

// sent is what was said of one member.
type sent struct {
	who     dispatch.Member
	results int
	ended   bool
	broken  bool // it has ended for a reason that its outcome does not know
}

const (
	mostWaiting   = 8 << 20 // bytes that are held back from being sent; whoever has more waits
	frameOverhead = 64      // bytes of a frame besides its value, at most
)

func newOutbox(size, limit int, start func()) *outbox {
	o := &outbox{size: size, limit: limit, start: start}
	o.ready.L, o.room.L = &o.mu, &o.mu
	return o
}

// slot is the member without the name of the replica that answers for a group, which
// is not known from the beginning.
func slot(m dispatch.Member) dispatch.Member {
	if m.Group != "" && m.Node == "" {
		m.Name = ""
	}
	return m
}

// accept names members.
func (o *outbox) accept(members ...dispatch.Member) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.acceptLocked(members)
}

func (o *outbox) acceptLocked(members []dispatch.Member) {
	o.members = slices.Grow(o.members, len(members))
	for _, m := range members {
		o.members = append(o.members, sent{who: slot(m)})
	}
	if len(o.current.body) == 0 && len(members) <= few {
		o.current.body = make([]byte, 0, min(o.size, 128+64*len(members)))
	}
	if most := mostOfAccept(members); len(o.current.body)+most <= cap(o.current.body) {
		before := len(o.current.body)
		o.current.body = appendAccept(o.current.body, members)
		o.addedLocked(len(o.current.body) - before)
		return
	}
	for first := true; first || len(members) > 0; first = false {
		var n int
		o.scratch, n = appendAcceptWithin(o.scratch[:0], members, o.size)
		o.appendLocked(o.scratch)
		members = members[n:]
	}
}

// mostOfAccept bounds the size of an accept, in which each byte of a name may become three.
func mostOfAccept(members []dispatch.Member) int {
	n := len(kindAccept) + 1
	for _, m := range members {
		n += 3 * (len(m.Node) + len(m.Group) + len(m.Name) + 1)
	}
	return n
}

// numberLocked returns the number of a member, and names it if that is still to be done.
func (o *outbox) numberLocked(m dispatch.Member) int {
	m = slot(m)
	n, known := o.findLocked(m)
	if !known {
		n = len(o.members)
		o.acceptLocked([]dispatch.Member{m})
	}
	o.last = n
	return n
}

// few members are looked through. Mostly it is the one after the last that is looked for.
const few = 16

func (o *outbox) findLocked(m dispatch.Member) (n int, known bool) {
	for n := o.last; n < min(o.last+2, len(o.members)); n++ {
		if o.members[n].who == m {
			return n, true
		}
	}
	if len(o.members) <= few {
		n = slices.IndexFunc(o.members, func(s sent) bool { return s.who == m })
		return n, n >= 0
	}
	if o.numbers == nil {
		o.numbers = make(map[dispatch.Member]int, len(o.members))
	}
	for i := len(o.numbers); i < len(o.members); i++ {
		o.numbers[o.members[i].who] = i
	}
	n, known = o.numbers[m]
	return n, known
}

// result puts a value, in pieces if it is too large for one message. If it is too
// large at all, or err says that there is none, the member has failed by that.
func (o *outbox) result(m dispatch.Member, value []byte, err error) {
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
		// Its end may have been told before; to the asker this one comes in its place.
		o.members[n].ended, o.members[n].broken = true, true
		o.endLocked(n, o.members[n].results, failed(dispatch.StateFailed, err))
		return
	}
	rest := value
	for most := o.size - frameOverhead; len(rest) > most; rest = rest[most:] {
		o.appendLocked(appendPart(o.scratch[:0], n, rest[:most]))
		o.roomLocked()
	}
	o.makeRoomLocked(len(rest) + frameOverhead)
	before := len(o.current.body)
	o.current.body = appendResult(o.current.body, n, rest, len(value))
	o.members[n].results++
	o.results++
	o.addedLocked(len(o.current.body) - before)
	o.roomLocked()
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
	for len(frame) > o.size && f.text != "" {
		f.text = cut(f.text, len(f.text)/2)
		frame = appendEnd(frame[:0], n, results, f)
	}
	o.appendLocked(frame)
	if o.current.failure == (failure{}) && f.state != dispatch.StateDeclined {
		o.current.failure = f
	}
}

// reject puts why the request is not taken, and closes the outbox.
func (o *outbox) reject(f failure) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.appendLocked(appendReject(o.scratch[:0], f))
	o.current.failure = f
	o.closeLocked()
}

// taken says that somebody takes.
func (o *outbox) taken() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.start = nil
}

// finish puts that all has been said, and closes the outbox.
func (o *outbox) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.appendLocked(appendFinal(o.scratch[:0], len(o.members), o.results))
	o.closeLocked()
}

// abandon closes the outbox and empties it: nobody waits for what is in it.
func (o *outbox) abandon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.full, o.current, o.waiting = nil, message{}, 0
	o.closeLocked()
}

func (o *outbox) closeLocked() {
	o.closed = true
	o.ready.Signal()
	o.room.Broadcast()
}

// appendLocked appends a frame, which has scratch for its array.
func (o *outbox) appendLocked(frame []byte) {
	o.scratch = frame
	o.makeRoomLocked(len(frame))
	o.current.body = append(o.current.body, frame...)
	o.addedLocked(len(frame))
}

// makeRoomLocked begins another message if this one has no room for so many bytes.
func (o *outbox) makeRoomLocked(n int) {
	if len(o.current.body) > 0 && len(o.current.body)+n > o.size {
		o.full = append(o.full, o.current)
		o.current = message{}
	}
}

func (o *outbox) addedLocked(n int) {
	if o.closed {
		o.current = message{} // it was abandoned
		return
	}
	o.waiting += n
	o.ready.Signal()
}

// roomLocked waits until not too much waits to be taken.
func (o *outbox) roomLocked() {
	if o.waiting > mostWaiting && o.start != nil {
		o.start()
		o.start = nil
	}
	for o.waiting > mostWaiting && !o.closed {
		o.room.Wait()
	}
}

// take waits until there is something to send, and returns it. It returns nothing
// when all has been taken.
func (o *outbox) take() []message {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.waiting == 0 && !o.closed {
		o.ready.Wait()
	}
	all := o.full
	if len(o.current.body) > 0 {
		all = append(all, o.current)
	}
	o.full, o.current, o.waiting = nil, message{}, 0
	o.room.Broadcast()
	return all
}
