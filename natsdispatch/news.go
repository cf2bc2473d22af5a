package natsdispatch

import (
	"context"
	"log/slog"
	"sync"
)

// news tells the user of events, one after another, on a goroutine that is there while there
// are any. To put an event takes no time, so it may be done under a lock.
type news struct {
	logger *slog.Logger    // nil: that of slog.Default, as it is by then
	onNode func(NodeEvent) // may be nil
	attrs  []slog.Attr     // which tell this side from others

	mu      sync.Mutex // guards what follows
	events  []NodeEvent
	missed  uint64 // beyond mostNews
	telling bool
	ended   bool
	run     sync.WaitGroup // the goroutine that tells
}

// mostNews bounds the events that wait for a function or a logger that blocks: more than one for
// each node that is known by default.
const mostNews = 1 << 15

// put has an event told.
func (n *news) put(e NodeEvent) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return
	}
	if len(n.events) >= mostNews {
		n.missed++
		return
	}
	n.events = append(n.events, e)
	if !n.telling {
		n.telling = true
		n.run.Go(n.tell)
	}
}

// end waits until all has been told. What is put later is not.
func (n *news) end() {
	n.mu.Lock()
	n.ended = true
	n.mu.Unlock()
	n.run.Wait()
}

// count returns how many events were not told because too many waited.
func (n *news) count() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.missed
}

// take returns the events that wait. If there are none, the goroutine that tells ends.
func (n *news) take() []NodeEvent {
	n.mu.Lock()
	defer n.mu.Unlock()
	events := n.events
	n.events = nil
	n.telling = events != nil
	return events
}

func (n *news) tell() {
	for events := n.take(); events != nil; events = n.take() {
		for _, e := range events {
			n.log(e.level(), e.String(), e.attrs()...)
			if n.onNode != nil {
				n.onNode(e)
			}
		}
	}
}

func (n *news) log(level slog.Level, text string, attrs ...slog.Attr) {
	logger := n.logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.LogAttrs(context.Background(), level, "natsdispatch: "+text, slog.GroupAttrs("natsdispatch", append(attrs, n.attrs...)...))
}
