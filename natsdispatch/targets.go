package natsdispatch

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/seed-bb4b4d74/dispatch"
)

// targets are the names of dispatch.WithTargets in a request. They find the names of a member without a
// comparison of each name with each member.
type targets struct {
	names  map[string]bool
	slashy []string // the names that have a slash, sorted: those of the replicas of a group are next to each other
}

func newTargets(names []string) targets {
	t := targets{names: make(map[string]bool, len(names))}
	for _, name := range names {
		if t.names[name] {
			continue
		}
		t.names[name] = true
		if strings.Contains(name, "/") {
			t.slashy = append(t.slashy, name)
		}
	}
	slices.Sort(t.slashy)
	return t
}

// of yields the names that may stand for the member of a node.
func (t targets) of(m dispatch.Member, node string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, name := range [...]string{m.Name, m.Group, node + "/" + m.Name, node + "/" + m.Group, node + "/*"} {
			if t.names[name] && !yield(name) {
				return
			}
		}
		if m.Group == "" {
			return
		}
		for _, group := range [...]string{m.Group, node + "/" + m.Group} {
			first, _ := slices.BinarySearch(t.slashy, group+"/")
			for _, name := range t.slashy[first:] {
				if !strings.HasPrefix(name, group+"/") {
					break
				}
				if !yield(name) {
					return
				}
			}
		}
	}
}

// meant returns the names of the members that the request is for; all says that it is for all members. A
// request to a group is for this group alone. A request to all nodes is for a group only if a target names
// the node and the group, or all members of the node.
func (w *work) meant(node string) (names []string, all bool) {
	members := w.topic.bus.members()
	if w.targets == nil {
		others := func(m dispatch.Member) bool { return m.Group != w.group }
		if w.group == "" && !slices.ContainsFunc(members, others) {
			w.all = members
			return nil, true
		}
		for _, m := range members {
			if m.Group == w.group {
				names = append(names, cmp.Or(m.Group, m.Name))
			}
		}
		return names, false
	}
	targets := newTargets(w.targets)
	for _, m := range members {
		for target := range targets.of(m, node) {
			here, ours := strings.CutPrefix(target, node+"/")
			switch {
			case m.Group != w.group && (w.group != "" || !ours):
			case ours && m.Group != "" && strings.HasPrefix(here, m.Group+"/"):
				names = append(names, here) // one replica
			case m.Matches(target), ours && (here == "*" || m.Matches(here)):
				names = append(names, cmp.Or(m.Group, m.Name))
			}
		}
	}
	return names, false
}

// ownersLocked returns the nodes that the targets are for, if each of the targets begins with the name of a
// known node and a slash. Otherwise it returns nil: a target may be the name of a member of any node.
func (r *Remote) ownersLocked(topic string, targets []string) map[string]bool {
	if targets == nil {
		return nil
	}
	owners := make(map[string]bool)
	for _, target := range targets {
		owned := false
		for i := range min(len(target), longestNode+1) {
			if target[i] != '/' {
				continue
			}
			if name := target[:i]; r.table.at(place{topic, name}) != nil || slices.Contains(r.expected, name) {
				owners[name], owned = true, true
			}
		}
		if !owned {
			return nil
		}
	}
	return owners
}

// isFor reports whether the targets may be members of the node.
func (q *inquiry) isFor(node string) bool { return q.owners == nil || q.owners[node] }
