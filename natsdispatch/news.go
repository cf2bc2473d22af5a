package natsdispatch

import (
	"context"
	"log/slog"
	"sync"
)

// news tells the user of events, one at a time, on a goroutine that runs while there are events. put does
// not block, so it may be called under a lock.
type news struct {
	logger *slog.Logger    // nil: slog.Default(), read at each record
	onNode func(NodeEvent) // may be nil
	attrs  []slog.Attr     // logged with each event, to identify the Node or Remote

	mu      sync.Mutex // guards the fields below
	events  []NodeEvent
	missed  uint64 // events that were dropped beyond mostNews
	telling bool   // the goroutine runs
	ended   bool
	run     sync.WaitGroup // the goroutine that tells
}

// mostNews bounds the events that wait while the function or the logger blocks. It is greater than
// DefaultMaxNodes, so that an event of each node can wait.
const mostNews = 1 << 15

// put queues an event, unless too many events wait or end was called.
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

// end waits until all queued events have been told. Later events are dropped.
func (n *news) end() {
	n.mu.Lock()
	n.ended = true
	n.mu.Unlock()
	n.run.Wait()
}

// count returns how many events were dropped because too many waited.
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
