package registry

import (
	"strconv"
	"strings"
)

// names has the names of the producers of one pair of types. Each is in one of the
// fields.
type names struct {
	given map[string]*tree[struct{}] // the subjects on which a name is in use; they do not overlap

	// Most producers have automatic names, and a tree for each would be too large.
	// Their numbers are in the order of the IDs.
	automatic list[*Entry]
}

// taken returns a subject on which the name of the entry is in use, if that
// overlaps the entry's selection, or else the empty string.
func (n *names) taken(e *Entry) (where string) {
	// An automatic name that is taken is rare. From then on it has a tree.
	i, j := n.automatic.search(number(e), number)
	if i < len(n.automatic) && n.automatic[i][j].Name == e.Name {
		same := n.automatic[i][j]
		n.remove(same)
		same.automatic = false
		n.add(same)
	}
	t := n.given[e.Name]
	if t == nil {
		return ""
	}
	for _, s := range e.Selection.subjects() {
		if !t.overlapping(s, 0, func(leaf *tree[struct{}]) bool { where = leaf.subject; return false }) {
			break
		}
	}
	return where
}

// number returns the number at the end of an automatic name.
func number(e *Entry) uint64 {
	n, _ := strconv.ParseUint(e.Name[strings.LastIndexByte(e.Name, '-')+1:], 10, 64)
	return n
}

func (n *names) add(e *Entry) {
	if e.automatic {
		n.automatic.add(e)
		return
	}
	t := n.given[e.Name]
	if t == nil {
		t = new(tree[struct{}])
		n.given[e.Name] = t
	}
	for _, s := range e.Selection.subjects() {
		t.leaf(s)
	}
}

func (n *names) remove(e *Entry) {
	if e.automatic {
		n.automatic.remove(e)
		return
	}
	t := n.given[e.Name]
	for _, s := range e.Selection.subjects() {
		t.remove(s, 0)
	}
	if t.empty() {
		delete(n.given, e.Name)
	}
}
