package registry

import (
	"strings"

	"github.com/seed-bb4b4d74/dispatch/internal/subject"
)

// A tree maps subjects, which are names of topics and patterns, to values. It
// branches at each token, as the subscriptions of a NATS server do, so that the
// patterns that match a name are found along its tokens.
//
// The zero tree is empty. A tree that holds a single subject is a leaf, however
// many tokens the subject has, because most branches never hold a second one.
type tree[V any] struct {
	value   V                   // of the subject, if this is a leaf
	subject string              // empty if this is not a leaf
	below   map[string]*tree[V] // by token, "*" and ">" among them; by "" where a subject ends
}

func (t *tree[V]) empty() bool { return t.subject == "" && t.below == nil }

// leaf returns the leaf of the subject, which it adds if it is not there.
func (t *tree[V]) leaf(s string) *tree[V] {
	for at := 0; t.subject != s; {
		if t.empty() {
			t.subject = s
			break
		}
		if t.subject != "" {
			lower := *t
			key, _ := token(t.subject, at)
			*t = tree[V]{below: map[string]*tree[V]{key: &lower}}
		}
		key, next := token(s, at)
		if t.below[key] == nil {
			t.below[key] = new(tree[V])
		}
		t, at = t.below[key], next
	}
	return t
}

// remove removes a subject, which must be in the tree. The tree is that below the
// first at bytes of the subject.
func (t *tree[V]) remove(s string, at int) {
	if t.subject != "" {
		*t = tree[V]{}
		return
	}
	key, next := token(s, at)
	t.below[key].remove(s, next)
	if t.below[key].empty() {
		delete(t.below, key)
	}
	if len(t.below) == 0 {
		t.below = nil
	}
}

// overlapping calls visit with each leaf whose subject overlaps s, and stops if
// visit returns false. It reports whether it reached the end. The tree is that
// below the first at bytes of the subjects.
func (t *tree[V]) overlapping(s string, at int, visit func(*tree[V]) bool) bool {
	if t.subject != "" {
		return !subject.Overlap(t.subject, s) || visit(t)
	}
	// The branches taken need not all overlap, because each leaf is compared.
	key, next := token(s, at)
	if key == "*" || key == ">" {
		if key == ">" {
			next = at
		}
		for _, b := range t.below {
			if !b.overlapping(s, next, visit) {
				return false
			}
		}
		return true
	}
	for _, key := range [...]string{key, "*", ">"} {
		if b := t.below[key]; b != nil && !b.overlapping(s, next, visit) {
			return false
		}
	}
	return true
}

// token returns the token of s that begins at a byte, and where the next one
// begins. The token after the last is empty.
func token(s string, at int) (key string, next int) {
	if at > len(s) {
		return "", at
	}
	key, _, _ = strings.Cut(s[at:], ".")
	return key, at + len(key) + 1
}
