package natsdispatch

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// news tells the user of events, one at a time, on a goroutine that runs while there are events. put does
// not block, so it may be called under a lock.
type news struct {
	logger *slog.Logger    // nil: slog.Default(), read at each record
	onNode func(NodeEvent) // may be nil
	attrs  []slog.Attr     // logged with each event, to identify the Node or Remote

	mu      sync.Mutex // guards the fields below
	queue   []func()   // each tells one event
	missed  uint64     // events that were dropped beyond mostNews
	panics  panics
	telling bool // the goroutine runs
	ended   bool
	run     sync.WaitGroup // the goroutine that tells
}

// mostNews bounds the events that wait while the function or the logger blocks. It is greater than
// DefaultMaxNodes, so that an event of each node can wait.
const mostNews = 1 << 15

// panics counts the times that code of the user has panicked or called runtime.Goexit.
type panics struct {
	logged time.Time // when a stack was logged
	since  int       // how many there have been since
}

// panicInterval is how often the stack of a panic is logged, as on a bus.
const panicInterval = time.Minute

// put queues an event, unless too many events wait or end was called.
func (n *news) put(e NodeEvent) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.putLocked(func() {
		n.log(e.level(), e.String(), e.attrs()...)
		if n.onNode != nil {
			n.try("the func of OnNode", func() { n.onNode(e) })
		}
	})
}

// try calls code of the user. If the code panics or calls runtime.Goexit, this is logged.
func (n *news) try(what string, f func()) {
	if err := apart(f); err != nil {
		n.unwound(what, err)
	}
}

// unwound queues the log record of code of the user that has panicked or called runtime.Goexit.
func (n *news) unwound(what string, err error) {
	var text string
	attrs := []slog.Attr{}
	u, ok := err.(*unwound)
	if ok {
		text, attrs = what+" panicked", append(attrs, slog.String("value", u.text))
	} else {
		text = what + " called runtime.Goexit"
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := time.Now(); ok && now.Sub(n.panics.logged).Abs() < panicInterval {
		n.panics.since++
		attrs = append(attrs, slog.Int("panics_since_stack", n.panics.since))
	} else if ok {
		n.panics = panics{logged: now}
		attrs = append(attrs, slog.String("stack", string(u.stack)))
	}
	n.putLocked(func() { n.log(slog.LevelError, text, attrs...) })
}

func (n *news) putLocked(tell func()) {
	if n.ended {
		return
	}
	if len(n.queue) >= mostNews {
		n.missed++
		return
	}
	n.queue = append(n.queue, tell)
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

// take returns the event that is to be told next, or nil if none waits. Then the goroutine that tells ends.
func (n *news) take() (tell func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.telling = len(n.queue) > 0; !n.telling {
		n.queue = nil
		return nil
	}
	tell, n.queue[0] = n.queue[0], nil
	n.queue = n.queue[1:]
	return tell
}

func (n *news) tell() {
	for tell := n.take(); tell != nil; tell = n.take() {
		tell()
	}
}

// log logs a record. There is no other logger to tell if the logger panics or calls runtime.Goexit.
func (n *news) log(level slog.Level, text string, attrs ...slog.Attr) {
	logger := n.logger
	if logger == nil {
		logger = slog.Default()
	}
	group := slog.GroupAttrs("natsdispatch", append(attrs, n.attrs...)...)
	_ = apart(func() { logger.LogAttrs(context.Background(), level, "natsdispatch: "+text, group) })
}
