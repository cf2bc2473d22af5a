package natsdispatch

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// ear is told what a tally has understood. It is a roster whose results are not
// read yet.
type ear interface {
	// expect says that the member is owed an outcome.
	expect(m dispatch.Member)
	// accept names members, in the place of an expected one unless that is the zero Member.
	// It replaces members that the call already has by the zero Member.
	accept(expected dispatch.Member, members []dispatch.Member)
	// result returns an error if the value cannot be read.
	result(m dispatch.Member, value []byte) error
	end(m dispatch.Member, err error)
	// all names members in the place of an expected one, each with one result and its end. The
	// error says that some cannot be read; then it has done nothing.
	all(expected dispatch.Member, members []dispatch.Member, array []byte) error
	// flush is called when what was said together is complete. Until then it may be kept.
	flush()
}

// tally keeps account of what one node has said to one request. It is told once
// how each member has ended, and not before the results have come that the node
// has counted. It is not safe for concurrent use.
type tally struct {
	node     string
	standIn  dispatch.Member // for all of the node, until its members are known
	expected dispatch.Member // in whose place they come; the zero Member if none is expected
	epoch    int64           // 0: not known yet
	hopeless error           // why it will not answer, known from the beginning
	stood    bool            // the one for all of it has ended
	twin     bool            // another process of this name has answered as well
	limit    int             // of the size of a value
	most     int             // of the members
	excess   int             // members beyond that
	next     uint64          // the number of the next message, in version 1
	in       intake          // in version 2; its window says which one it is
	heard    time.Time       // when the last message has come
	missing  bool            // something has to come again, for which the node is asked until it has
	looked   uint64          // the number of the next message when it was looked whether the node is to be asked
	names    *names          // its list, as far as the asker knows it; nil: it does not
	learned  *names          // the list that it has named now
	nameless bool            // it has said the number of a list that is not known, and is asked for the names
	accepted bool
	over     bool // there is nothing more to hear
	late     int  // members of which the node says that they are late
	members  []account
	to       ear
}

// account is what is known of one member.
type account struct {
	who     dispatch.Member
	results int     // that have come
	want    int     // that the node has counted, once ended
	failure failure // with which it has ended, once ended
	pieces  []byte  // of the value that is coming
	broken  bool    // of the value that is coming something is missing
	ended   bool
	closed  bool // ear knows its end, or need not know of it
}

// resolved reports whether all outcomes are known. A member that is late on the node is not
// resolved until the asker's deadline makes it late here, too.
func (t *tally) resolved() bool { return t.over && t.late == 0 }

// hear takes in a message. The error says what is malformed in it, after which the
// rest of the message is ignored.
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

// read takes in the frames of a message, and reports whether one of them has a value.
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
		// A later end takes the place of an earlier one that still waits for results.
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

// all takes in all that the node has to say, in one frame.
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
	// Something is wrong with it: the members with a wrong value have to be named.
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

// introduce names the members of an accept. An accept without members leaves the expected member
// where it is: others may be named later, or the final says that the request is for no member.
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

// endStandIn ends the one member that stands for all that are not known.
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

// result hands in the value that the frame completes.
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
	case lost: // it is not counted, and so found missing
	default:
		if err := t.to.result(m.who, value); err != nil {
			t.close(m, fmt.Errorf("%w: a result cannot be read: %w", dispatch.ErrIncompatible, err))
			return
		}
		m.results++
		t.settle(m)
	}
}

// settle tells how the member has ended if all its results have come.
func (t *tally) settle(m *account) {
	if m.ended && !m.closed && !m.failure.isLate() && m.results >= m.want {
		t.close(m, m.failure.error(t.node))
	}
}

func (t *tally) close(m *account, err error) {
	m.closed, m.pieces = true, nil
	t.to.end(m.who, err)
}

// finish takes in that the node has said all.
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
// members are unknown, one member stands in for them.
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

// giveUp ends all that has not ended because time is up.
func (t *tally) giveUp(err error) {
	for i := range t.members {
		if m := &t.members[i]; !m.closed {
			t.close(m, err)
		}
	}
}
