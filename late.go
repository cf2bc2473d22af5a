package dispatch

// lateHook is a registered OnLate.
type lateHook struct {
	recipient
	fn any // a func(Result, time.Duration) with the types of the selection
}

// attach and detach are parts of registrant. On a bus that is closed the hook is never
// called.
func (h *lateHook) attach(b *Bus) error { return b.hooks.add(h, nil) }
func (h *lateHook) detach(b *Bus)       { b.hooks.remove(h) }
