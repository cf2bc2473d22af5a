package dispatch

import "github.com/seed-bb4b4d74/dispatch/internal/calllog"

// follows yields what is in the log from the cursor on until the end of the call, each
// entry with the Seq that its result has. It reports whether it got there.
func (c *gathering) follows(at calllog.Cursor, yield func(e calllog.Entry, values any, seq int) bool) bool {
	for {
		entries, values, more := c.readOrWait(&at)
		for _, e := range entries {
			seq := at.Seq
			if e.Kind&calllog.Result != 0 {
				at.Seq++
			}
			if !yield(e, values, seq) {
				return false
			}
		}
		switch {
		case len(entries) > 0:
		case more == nil:
			return true
		default:
			<-more
		}
	}
}

// readOrWait takes entries at the cursor. If there are none it returns a channel that is
// closed when there are, or nil if the call has ended.
func (c *gathering) readOrWait(at *calllog.Cursor) (entries []calllog.Entry, values any, more <-chan struct{}) {
	const atOnce = 64
	c.mu.Lock()
	defer c.mu.Unlock()
	if entries, values = at.Take(atOnce); len(entries) > 0 || c.over() {
		return entries, values, nil
	}
	if c.more == nil {
		c.more = make(chan struct{})
	}
	return nil, nil, c.more
}
