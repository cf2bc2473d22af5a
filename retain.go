package dispatch

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/seed-bb4b4d74/dispatch/internal/calllog"
	"github.com/seed-bb4b4d74/dispatch/internal/inbox"
	"github.com/seed-bb4b4d74/dispatch/internal/registry"
	"github.com/seed-bb4b4d74/dispatch/internal/subject"
)

// retention keeps the last results of topics under WithRetain, as long as anything is
// registered on them.
//
// Its lock makes each of these one step: a call looks for new listeners, writes a result to
// its log and keeps it; a listener takes what is kept and is registered. So the listener gets each
// result once, kept or live. The lock may be taken under that of a call, and the registry's
// under it.
type retention struct {
	mu     sync.Mutex // guards the fields below
	topics map[retainKey]*ring
	kept   uint64 // results so far
}

// retainKey tells topics apart: another topic may have had the name before.
type retainKey struct {
	name  string
	types registry.Types
}

func keyOf(t *registry.Topic) retainKey { return retainKey{t.Name, t.Types} }

// retained is a result that is kept. It keeps its call in memory, and not the pages of the log
// that come after its own.
type retained struct {
	call   replayed
	entry  calllog.Entry
	values any
	seq    int
	nth    uint64 // its place among all that the bus has kept
}

// replayed is the call of a result that is kept, as the retention sees it.
type replayed interface {
	// replay calls a listener with the result.
	replay(to *listener, x *retained)
	// drops returns what tells observers that the listener's inbox has dropped the result, or
	// nil if none wants to know.
	drops(from *listener, x *retained) func()
}

// ring has the last results of a topic.
type ring struct {
	topic *registry.Topic
	most  int
	kept  []retained
	first int // where the oldest is
}

func (r *ring) add(x retained) {
	if len(r.kept) < r.most {
		r.kept = append(r.kept, x)
		return
	}
	r.kept[r.first] = x
	r.first = (r.first + 1) % r.most
}

// grow makes room for n results, if that is more than there was.
func (r *ring) grow(n int) {
	if n > r.most {
		r.kept, r.first, r.most = r.all(), 0, n
	}
}

// all returns the results, the oldest first.
func (r *ring) all() []retained { return slices.Concat(r.kept[r.first:], r.kept[:r.first]) }

// keepLocked keeps a result of a topic. leads reports whether anything is registered on it.
func (r *retention) keepLocked(topic *topicSpec, leads func(*registry.Topic) bool, x retained) {
	to := r.topics[keyOf(&topic.Topic)]
	if to == nil {
		if !leads(&topic.Topic) {
			return // the last registration has been removed meanwhile
		}
		to = &ring{topic: &topic.Topic}
		if r.topics == nil {
			r.topics = make(map[retainKey]*ring)
		}
		r.topics[keyOf(&topic.Topic)] = to
	}
	r.kept++
	x.nth = r.kept
	to.grow(topic.retains())
	to.add(x)
}

// addAfterRetained registers a listener that first gets what is kept, and then what is
// recorded from now on.
func (b *Bus) addAfterRetained(l *listener) error {
	r := &b.retention
	r.mu.Lock()
	f := r.feedLocked(l)
	if f != nil {
		l.inbox.Preload(f)
	}
	err := b.registry.AddListener(l)
	r.mu.Unlock()
	if err != nil || f == nil {
		return err
	}
	if l.inbox.Wake() {
		l.watchFrom(f.since)
		l.start()
	}
	l.tellDropped()
	return nil
}

// feedLocked returns what is kept for a listener, or nil.
func (r *retention) feedLocked(l *listener) *retainedFeed {
	var kept []retained
	for to := range r.ringsLocked(l.entry.Selection) {
		kept = append(kept, to.all()...)
	}
	if len(kept) == 0 {
		return nil
	}
	slices.SortFunc(kept, func(a, b retained) int { return cmp.Compare(a.nth, b.nth) })
	return &retainedFeed{to: l, kept: kept, fresh: len(kept), since: l.bus.sinceEpoch(time.Now())}
}

// ringsLocked ranges over what is kept of the topics that are selected.
func (r *retention) ringsLocked(s *registry.Selection) func(yield func(*ring) bool) {
	return func(yield func(*ring) bool) {
		for _, t := range s.Topics {
			if to := r.topics[keyOf(t)]; to != nil && !yield(to) {
				return
			}
		}
		if s.Pattern == "" {
			return
		}
		for key, to := range r.topics {
			if key.types == *s.Types && subject.Overlap(s.Pattern, key.name) && !yield(to) {
				return
			}
		}
	}
}

// release lets go of the results of topics on which nothing is registered, now that this
// selection has been removed.
func (r *retention) release(leads func(*registry.Topic) bool, s *registry.Selection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.topics) == 0 {
		return
	}
	for to := range r.ringsLocked(s) {
		if !leads(to.topic) {
			delete(r.topics, keyOf(to.topic))
		}
	}
}

// releaseAll lets go of everything.
func (r *retention) releaseAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.topics = nil
}

// retainedFeed is the source from which a listener gets what was kept when it was
// registered.
type retainedFeed struct {
	inbox.Links
	to    *listener
	since time.Duration // since the bus was made

	// The inbox's lock guards the fields below.
	kept  []retained
	fresh int // not yet counted
}

// Take is part of inbox.Source.
func (f *retainedFeed) Take(n int) (t inbox.Task, results int, more bool) {
	n = min(n, len(f.kept))
	if n == 0 || f.to.gone.Load() {
		f.kept = nil
		return nil, 0, false
	}
	taken := &retainedBatch{f.to, f.since, f.kept[:n]}
	f.kept = f.kept[n:]
	return taken, n, len(f.kept) > 0
}

// Fresh is part of inbox.Source.
func (f *retainedFeed) Fresh() (fresh int) {
	fresh, f.fresh = f.fresh, 0
	return fresh
}

// Drop is part of inbox.Source.
func (f *retainedFeed) Drop(n int, oldest bool) int {
	n = min(n, len(f.kept))
	drops := f.kept[:n]
	if oldest {
		f.kept = f.kept[n:]
	} else {
		drops, f.kept = f.kept[len(f.kept)-n:], f.kept[:len(f.kept)-n]
	}
	for _, x := range drops {
		if tell := x.call.drops(f.to, &x); tell != nil {
			f.to.noteDropped(tell)
		}
	}
	return n
}

// Spent is part of inbox.Source.
func (f *retainedFeed) Spent() bool { return len(f.kept) == 0 }

// Release is part of inbox.Source.
func (f *retainedFeed) Release() {}

// Discard is part of inbox.Source.
func (f *retainedFeed) Discard() {}

// retainedBatch is a part of what was kept, on its way to the listener.
type retainedBatch struct {
	to    *listener
	since time.Duration
	left  []retained
}

// Run calls the listener. When it is called again, after a callback that has unwound the
// stack, it continues behind that callback.
func (b *retainedBatch) Run() {
	defer b.to.begins(b.since)()
	for len(b.left) > 0 {
		x := b.left[0]
		if b.left = b.left[1:]; b.to.silenced() {
			continue
		}
		b.to.waitingSince(b.since)
		b.to.delivered.Add(1)
		x.call.replay(b.to, &x)
	}
}
