package natsdispatch

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/seed-bb4b4d74/dispatch"
)

// A node mostly answers with the same members as in the call before. So the node gives the list of members
// a number, which stands for this list alone while the node runs, and tells an asker that remembers the list
// only the number. An asker that does not know the number asks the node for the names before it takes
// in the reply.

// lister numbers the lists of members of a node on one topic. It remembers the last list.
type lister struct {
	mu      sync.Mutex // guards the fields below
	members []dispatch.Member
	number  uint64
}

// numberOf returns the number of a list, and whether the list is the same as at the last call of numberOf.
func (l *lister) numberOf(members []dispatch.Member) (number uint64, again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if again = l.number > 0 && slices.Equal(members, l.members); !again {
		l.members = slices.Clone(members)
		l.number++
	}
	return l.number, again
}

// naming says how the members of a reply are named.
type naming struct {
	number  uint64 // of the list of members; 0: the list has none
	alone   bool   // the number is sent without the names
	members []dispatch.Member
}

// listOf returns how the members of the reply to a request are named.
func (n *Node) listOf(w *work, members []dispatch.Member) (l naming) {
	switch {
	case w.names == "" || w.out.head == nil || len(members) == 0: // the asker remembers no lists, or there are no members
		return l
	case mostOfAccept(members) > w.out.size-len(w.out.head): // an asker learns a list from one frame
		return l
	}
	var again bool
	l.members = members
	l.number, again = w.topic.lister.numberOf(members)
	l.alone = again && w.names == namesKnown
	return l
}

// spell sends the names of the list of a reply, outside of the sequence of its messages.
func (n *Node) spell(w *work) error {
	l := w.out.listed()
	if l.number == 0 {
		return nil
	}
	l.alone = false
	frame := appendList([]byte(kindNames), l, l.members)
	return n.emitUnnumbered(w.request.call, w.reply, append(frame, '\n'))
}

// emitUnnumbered sends a frame outside of the sequence of a reply.
func (n *Node) emitUnnumbered(call, reply string, frame []byte) error {
	body := appendHead(nil, n.node, n.epoch)
	body = append(body[:len(body)-1-seqDigits], unnumbered+"\n"...)
	body = append(body, frame...)
	var header nats.Header
	if n.sign != nil {
		header = make(nats.Header, 1)
		if err := n.setSignature(header, n.signedReply(call, body)); err != nil {
			return err
		}
	}
	return n.emit(reply, header, body)
}

// names is a list as an asker remembers it. It does not change.
type names struct {
	epoch   int64
	number  uint64
	members []dispatch.Member
}

// The values of Dispatch-Names, by which a request says which lists the asker remembers.
const (
	namesNumbered = "numbered" // the node has to number its list, so that the asker can remember it
	namesKnown    = "known"    // also, the asker remembers the lists of at least half of the nodes
)

// errNames reports that a reply has the number of a list that the asker does not know.
var errNames = errors.New("the list of members is not known")

// mostNames bounds the names that an asker remembers, of all nodes.
const mostNames = 1 << 18

// learn replaces the list of a node. If there would be too many names, it only forgets the old list.
func (t *table) learn(p place, l *names) {
	n := t.at(p)
	if n == nil || n.Epoch != l.epoch {
		return
	}
	t.unlearn(n)
	if t.names+len(l.members) <= mostNames {
		t.names += len(l.members)
		n.names.Store(l)
	} else {
		t.unnamed = true
	}
}

// unlearn forgets the list of a node.
func (t *table) unlearn(n *present) {
	if l := n.names.Swap(nil); l != nil {
		t.names -= len(l.members)
	}
}

// remembered is the list of a node, which is read without the lock of the table.
type remembered = atomic.Pointer[names]

// listsKnown returns the value of Dispatch-Names for a request to so many nodes. known is the number of nodes
// whose lists the asker remembers.
func listsKnown(known, nodes int) string {
	if 2*known >= nodes && nodes > 0 {
		return namesKnown
	}
	return namesNumbered
}

// named returns the members that a frame names. The caller must not change the members of a kindAll frame.
func (t *tally) named(f frame) ([]dispatch.Member, error) {
	switch {
	case f.list == 0:
		t.own(f.members)
		return f.members, nil
	case len(t.members) > 0 || t.accepted:
		return nil, fmt.Errorf("%w: a list is not the first thing that is said", ErrMalformed)
	case len(f.members) > 0:
		t.own(f.members)
		t.learned = &names{t.epoch, f.list, slices.Clone(f.members)}
		return f.members, nil
	case t.names == nil || t.names.epoch != t.epoch || t.names.number != f.list:
		return nil, errNames
	case f.kind == kindAll:
		return t.names.members, nil
	default:
		return slices.Clone(t.names.members), nil
	}
}

// spelled remembers the names of a list that the node has sent. The next message may have only the number of
// the list.
func (t *tally) spelled(f frame) {
	if len(f.members) == 0 {
		return
	}
	t.own(f.members)
	t.names = &names{t.epoch, f.list, f.members}
	t.learned = t.names
}

// askForNames asks a node for the names of its list.
func (q *inquiry) askForNames(t *tally) {
	t.nameless = true
	q.miss(t)
}
