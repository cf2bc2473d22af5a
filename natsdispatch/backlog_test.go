package natsdispatch

import "testing"

// If the results of several replies wait, a reply with at least an equal share of them is large, and a
// reply with less is not.
func TestBacklogOfSeveralReplies(t *testing.T) {
	for _, c := range []struct {
		held, all, replies int64
		want               bool
	}{{10, 10, 1, true}, {5, 10, 2, true}, {4, 10, 2, false}, {6, 10, 2, true}, {1, 100, 3, false}, {98, 100, 3, true}} {
		var b backlog
		b.bytes.Store(c.all)
		b.replies.Store(c.replies)
		if got := b.isLarge(c.held); got != c.want {
			t.Errorf("%d of %d, in %d replies: %v", c.held, c.all, c.replies, got)
		}
	}
}
