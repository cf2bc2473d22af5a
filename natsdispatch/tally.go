package natsdispatch

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// ear is told what a tally has read. It is like a roster, but its results are still written by the codec.
type ear interface {
	// expect adds an expected member.
	expect(m dispatch.Member)
	// accept names members, which replace the expected one unless this is the zero Member.
	// In the slice it replaces members that were named before by the zero Member.
	accept(expected dispatch.Member, members []dispatch.Member)
	// result returns an error if the value cannot be read.
	result(m dispatch.Member, value []byte) error
	end(m dispatch.Member, err error)
	// all names members, which replace the expected one, each with one result and its end. array is a JSON
	// array of the results. If all returns an error, it cannot read the results, and has done nothing.
	all(expected dispatch.Member, members []dispatch.Member, array []byte) error
	// flush passes on all that the ear was told. Before flush, the ear may keep it.
	flush()
}

// tally is the account of the reply of one node to one request. It tells its ear once how each member has
// ended: when all results that the node has counted have arrived, or when the reply is over. It is not safe
// for concurrent use.
type tally struct {
	node     string
	standIn  dispatch.Member // the member for all members of the node whose names are not known
	expected dispatch.Member // the member that the node's members replace; the zero Member: none
	epoch    int64           // the boot id of the node; 0: not known yet
	speaks2  bool            // the node is known to speak version 2
	left     bool            // the process with this boot id has left
	hopeless error           // why the node will not answer, if this is known before the request
	stood    bool            // standIn has ended
	twin     bool            // another process has the name, and the report shows this
	limit    int             // bytes of a value, at most
	most     int             // members, at most
	excess   int             // members beyond most
	next     uint64          // the number of the next message, in version 1
	in       intake          // in version 2; its window is 0 in version 1
	heard    time.Time       // when the last message has arrived
	missing  bool            // a message is missing, for which the node is asked until it arrives
	looked   uint64          // the number of the next message when the asker last decided whether to ask for it
	names    *names          // the list of members that the asker remembers; nil: none
	learned  *names          // the list of members that this reply has named; nil: none
	nameless bool            // the reply has the number of an unknown list, and the node is asked for the names
	accepted bool            // the node has accepted the request
	over     bool            // the rest of the reply does not count
	late     int             // members that are late on the node
	members  []account
	to       ear
}

// account is what a tally knows of one member.
type account struct {
	who     dispatch.Member
	results int     // that have arrived
	want    int     // results that the node has counted; valid if ended
	failure failure // how the member has ended; valid if ended
	pieces  []byte  // the parts of the current value that have arrived
	broken  bool    // a part of the current value is missing, or the value is too large
	ended   bool    // an end of the member has arrived
	closed  bool    // the ear was told the end of the member, or the member was named before
}

// resolved reports whether all outcomes are known. A member that is late on the node is not
// resolved until the asker's deadline makes it late here, too.
func (t *tally) resolved() bool { return t.over && t.late == 0 }

// hear handles a message of version 1. The error says what is malformed in the message; hear ignores the rest
// of a malformed message.
func (t *tally) hear(seq uint64, body []byte) (duplicate bool, err error) {
	if seq < t.next {
		return true, nil
	}
	if seq > t.next {
		for i := range t.members {
			if m := &t.members[i]; len(m.pieces) > 0 {
				m.pieces, m.broken = nil, true // the next piece may belong to another value
			}
		}
	}
	t.next = seq + 1
	_, err = t.read(body)
	return false, err
}

// read handles the frames of a message, and reports whether one of them has a value.
func (t *tally) read(body []byte) (values bool, err error) {
	for f, err := range frames(body) {
		values = values || f.value != nil
		if t.over {
			continue
		}
		if err == nil {
			err = t.take(f)
		}
		if err != nil {
			return values, err
		}
	}
	return values, nil
}

func (t *tally) take(f frame) error {
	switch f.kind {
	case kindAccept:
		members, err := t.named(f)
		if err != nil {
			return err
		}
		t.accepted = true
		t.introduce(members)
		return nil
	case kindNames:
		t.spelled(f)
		return nil
	case kindReject:
		if !t.accepted {
			t.fail(f.failure.error(t.node))
		}
		return nil
	case kindFinal:
		t.finish(f.count)
		return nil
	case kindAll:
		return t.all(f)
	case kindForgotten:
		t.fail(fmt.Errorf("%w: %s has given up what is missing", dispatch.ErrLost, t.node))
		return nil
	}
	if f.member >= len(t.members) && f.member < len(t.members)+t.excess {
		return nil
	}
	if f.member >= len(t.members) {
		return fmt.Errorf("%w: %s of member %d of %d", ErrMalformed, f.kind, f.member, len(t.members))
	}
	m := &t.members[f.member]
	if m.closed {
		return nil
	}
	switch f.kind {
	case kindPart:
		t.piece(m, f.value)
	case kindResult:
		t.result(m, f)
	case kindEnd:
		// A later end replaces an earlier one that still waits for results.
		if m.ended = true; m.failure.isLate() {
			t.late--
		}
		m.want, m.failure = f.results, f.failure
		if m.failure.isLate() {
			t.late++
		}
		t.settle(m)
	}
	return nil
}

// all handles a frame with the whole reply of the node.
func (t *tally) all(f frame) error {
	members, err := t.named(f)
	if err != nil {
		return err
	}
	t.accepted = true
	if len(members) <= t.most && len(f.value) <= t.limit && len(t.members) == 0 && t.to.all(t.expected, members, f.value) == nil {
		t.over, t.expected = true, dispatch.Member{}
		return nil
	}
	// A value cannot be read, or something is too large. Find out which members have failed.
	var values []json.RawMessage
	if err := json.Unmarshal(f.value, &values); err != nil || len(values) != len(members) {
		return fmt.Errorf("%w: %d values of %d members: %w", ErrMalformed, len(values), len(members), err)
	}
	first := len(t.members)
	t.introduce(slices.Clone(members))
	for i := first; i < len(t.members); i++ {
		if m := &t.members[i]; !m.closed {
			m.ended, m.want = true, 1
			t.result(m, frame{value: values[i-first], size: len(values[i-first])})
		}
	}
	t.finish(len(t.members) + t.excess)
	return nil
}

// own sets the node's name in the node's own members.
func (t *tally) own(members []dispatch.Member) {
	for i := range members {
		if members[i].Node == "" {
			members[i].Node = t.node
		}
	}
}

// introduce names the members of an accept. An accept without members does not replace the expected
// member: members may be named later, or the final says that the request is for no member.
func (t *tally) introduce(members []dispatch.Member) {
	if len(members) == 0 && !t.over {
		return
	}
	if room := t.most - len(t.members); len(members) > room {
		t.excess += len(members) - room
		members = members[:room]
	}
	t.to.accept(t.expected, members)
	t.expected = dispatch.Member{}
	t.members = slices.Grow(t.members, len(members))
	for _, m := range members {
		t.members = append(t.members, account{who: m, closed: m == dispatch.Member{}})
	}
}

// excuse ends the reply of a node that is not asked: the report has no member of it.
func (t *tally) excuse() {
	t.over = true
	t.introduce(nil)
}

// endStandIn ends the one member for all members that are not known.
func (t *tally) endStandIn(err error) {
	if t.stood {
		return
	}
	t.stood = true
	if t.expected != t.standIn {
		one := []dispatch.Member{t.standIn}
		t.to.accept(t.expected, one)
		if one[0] != t.standIn {
			return
		}
	}
	t.expected = dispatch.Member{}
	t.to.end(t.standIn, err)
}

// piece keeps a part of a value, unless it becomes too large.
func (t *tally) piece(m *account, part []byte) {
	if m.broken || len(part) > t.limit-len(m.pieces) {
		m.pieces, m.broken = nil, true
		return
	}
	m.pieces = append(m.pieces, part...)
}

// result tells the ear the value that the frame completes.
func (t *tally) result(m *account, f frame) {
	value := f.value
	if len(m.pieces) > 0 {
		value = append(m.pieces, f.value...)
	}
	lost := m.broken || len(value) != f.size
	m.pieces, m.broken = nil, false
	switch {
	case f.size > t.limit:
		t.close(m, fmt.Errorf("%w: a result of %d bytes; WithMaxResult allows %d", ErrTooLarge, f.size, t.limit))
	case lost: // the value is not counted, so finish finds that a result is missing
	default:
		if err := t.to.result(m.who, value); err != nil {
			t.close(m, fmt.Errorf("%w: a result cannot be read: %w", dispatch.ErrIncompatible, err))
			return
		}
		m.results++
		t.settle(m)
	}
}

// settle tells the ear how the member has ended, if all results of the member have arrived.
func (t *tally) settle(m *account) {
	if m.ended && !m.closed && !m.failure.isLate() && m.results >= m.want {
		t.close(m, m.failure.error(t.node))
	}
}

func (t *tally) close(m *account, err error) {
	m.closed, m.pieces = true, nil
	t.to.end(m.who, err)
}

// finish handles the end of the reply, in which the node has counted its members.
func (t *tally) finish(members int) {
	t.over = true
	for i := range t.members {
		switch m := &t.members[i]; {
		case m.closed, m.failure.isLate():
		case m.ended:
			t.close(m, fmt.Errorf("%w: %d of %d results of %v", dispatch.ErrLost, m.want-m.results, m.want, m.who))
		default:
			t.close(m, fmt.Errorf("%w: how %v has ended", dispatch.ErrLost, m.who))
		}
	}
	if t.excess > 0 {
		t.endStandIn(fmt.Errorf("%w: %s has %d members; WithMaxMembers allows %d", ErrTooLarge, t.node, len(t.members)+t.excess, t.most))
	} else if missing := members - len(t.members); missing > 0 {
		t.endStandIn(fmt.Errorf("%w: the names of %d members of %s", dispatch.ErrLost, missing, t.node))
	} else if t.expected != (dispatch.Member{}) {
		t.introduce(nil) // the request is for no member
	}
}

// fail ends all members that have not ended, because the node will send no more. If its
// members are not known, fail ends standIn.
func (t *tally) fail(err error) {
	if t.over {
		return
	}
	t.over = true
	if !t.accepted || t.expected != (dispatch.Member{}) {
		t.endStandIn(err)
	}
	t.late = 0
	for i := range t.members {
		if m := &t.members[i]; !m.closed {
			t.close(m, err)
		}
	}
}

// giveUp ends all members that have not ended, because the deadline has passed.
func (t *tally) giveUp(err error) {
	for i := range t.members {
		if m := &t.members[i]; !m.closed {
			t.close(m, err)
		}
	}
}
