package natsdispatch

import (
	"slices"

	"github.com/seed-bb4b4d74/dispatch"
)

// slot returns the member as a reply names it: without the name of the replica that answers for a group of
// the node, because this name is not known from the beginning.
func slot(m dispatch.Member) dispatch.Member {
	if m.Group != "" && m.Node == "" {
		m.Name = ""
	}
	return m
}

// setList sets how the first members are named.
func (o *outbox) setList(l naming) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = l
}

// listed returns how the first members are named.
func (o *outbox) listed() naming {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.list
}

// accept puts an accept of the members.
func (o *outbox) accept(members ...dispatch.Member) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.acceptLocked(members)
}

func (o *outbox) acceptLocked(members []dispatch.Member) {
	isFirst := len(o.members) == 0
	o.members = slices.Grow(o.members, len(members))
	for _, m := range members {
		o.members = append(o.members, sent{who: slot(m)})
	}
	var l naming
	if isFirst {
		l = o.list
	}
	if o.current == nil && len(members) <= few {
		o.openLocked(min(o.size, 128+64*len(members)))
		if l.alone || len(o.current.body)+mostOfAccept(members) <= cap(o.current.body) {
			before := len(o.current.body)
			o.current.body = appendAccept(o.current.body, l, members)
			o.addedLocked(len(o.current.body) - before)
			return
		}
	}
	if l.number > 0 {
		o.appendLocked(appendAccept(o.scratch[:0], l, members))
		return
	}
	for first := true; first || len(members) > 0; first = false {
		var n int
		o.scratch, n = appendAcceptWithin(o.scratch[:0], members, o.size-len(o.head))
		o.appendLocked(o.scratch)
		members = members[n:]
	}
}

// mostOfAccept returns an upper bound for the bytes of an accept. Escaping may turn each byte of a name into
// three.
func mostOfAccept(members []dispatch.Member) int {
	const number = len(" @18446744073709551615")
	n := len(kindAccept) + number + 1
	for _, m := range members {
		n += 3 * (len(m.Node) + len(m.Group) + len(m.Name) + 1)
	}
	return n
}

// numberLocked returns the number of a member. If the member was not named before, numberLocked puts an accept
// of the member.
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

// few is how many members findLocked searches one after another; if there are more, it uses a map. It first
// tries the last member that was found and the next one, which are mostly searched for.
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
