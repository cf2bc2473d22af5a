package dispatch

import "github.com/seed-bb4b4d74/dispatch/internal/inbox"

// endNotice tells an observer of the end of a call, if the observer is told nothing else of the call. It takes
// less memory than a feed.
type endNotice struct {
	inbox.Links
	delivery
	call *gathering

	// The call's lock guards the fields below.
	cut  bool // the observer is being drained, and is not told
	told bool // the observer is told, or was
}

// publishEndLocked adds the notices of a call that has ended to the deliveries, the first time it is called.
func (w *observing) publishEndLocked(ended *gathering, all *delivery) *delivery {
	if w == nil || w.published {
		return all
	}
	w.published = true
	for i := range w.notices {
		n := &w.notices[i]
		if n.cut || n.to.gone.Load() {
			continue
		}
		n.call, n.source, n.since = ended, n, ended.onBus(ended.course.Ended())
		n.link, all = all, &n.delivery
	}
	return all
}

// cutOffLocked makes a call that goes on end without a notice to the observer. If the notice is on its way, cutOffLocked returns a
// function that reports whether it has arrived.
func (w *observing) cutOffLocked(to *recipient) (delivered func() bool) {
	if w == nil {
		return nil
	}
	for i := range w.notices {
		n := &w.notices[i]
		switch {
		case n.to != to:
		case w.published:
			return n.isDelivered
		default:
			n.cut = true
		}
	}
	return nil
}

func (n *endNotice) isDelivered() bool {
	n.call.mu.Lock()
	defer n.call.mu.Unlock()
	return n.told || n.to.gone.Load()
}

// Take is part of inbox.Source.
func (n *endNotice) Take(int) (t inbox.Task, results int, more bool) { return n, 0, false }

// Fresh is part of inbox.Source.
func (n *endNotice) Fresh() int { return 0 }

// Drop is part of inbox.Source.
func (n *endNotice) Drop(int, bool) int { return 0 }

// Spent is part of inbox.Source.
func (n *endNotice) Spent() bool { return false }

// Release is part of inbox.Source.
func (n *endNotice) Release() {}

// Discard is part of inbox.Source.
func (n *endNotice) Discard() {}

// Run tells the observer, and does not repeat that if the hook unwinds the stack.
func (n *endNotice) Run() {
	n.call.mu.Lock()
	again := n.told
	n.told = true
	n.call.mu.Unlock()
	if !again && !n.to.gone.Load() {
		n.to.waitingSince(n.since)
		n.to.self.(*observer).end(n.call)
	}
}
