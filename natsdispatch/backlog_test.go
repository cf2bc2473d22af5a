package natsdispatch

import (
	"errors"
	"testing"
)

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

// If a reply is finished while its members are to be stopped, nothing of it is dropped.
func TestBacklogOfAReplyThatIsFinished(t *testing.T) {
	o := new(outbox)
	o.init(1<<20, 1<<20, &store{most: most}, nil)
	o.withCredit(appendHead(nil, "n", 1), 1<<20)
	a := memberOf("a")
	o.accept(a)
	o.result(a, []byte("7"), nil)
	o.end(outcomeOf(a, 1))
	o.finish()
	waiting := o.waiting
	o.breakOff(a, errors.New("too much"))
	if all := o.takeLocked(); len(all) != 1 || len(all[0].body) != waiting {
		t.Errorf("%d messages are taken, want one with all %d bytes", len(all), waiting)
	}
}
