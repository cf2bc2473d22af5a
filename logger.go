package dispatch

import (
	"context"
	"log/slog"
	"time"
)

// mostLogs bounds what waits for a logger that blocks.
const mostLogs = 1024

// panicInterval is how often the stack of a registration's panics is logged.
const panicInterval = time.Minute

// log hands an event to the logger, which gets it on a goroutine of its own.
func (h *hub) log(level slog.Level, msg string, attrs ...slog.Attr) {
	if h.logs.inbox.Stats().Queued >= mostLogs {
		return
	}
	logger := h.logger
	if logger == nil {
		logger = slog.Default()
	}
	h.logs.tell(&event{call: func() {
		logger.LogAttrs(context.Background(), level, msg, slog.GroupAttrs("dispatch", attrs...))
	}})
}

// panics counts the panics of one registration. The lock of the logger's inbox guards it.
type panics struct {
	logged time.Time // when a stack was logged
	since  int       // how many panics there have been since
}

// unwound logs that user code has panicked, or has called runtime.Goexit if the value is nil.
// It returns false if the panic has to end the process.
func (h *hub) unwound(kind string, r *Registration, value any, stack []byte) (contained bool) {
	if value != nil && h.panicCrash {
		return false
	}
	if r == &h.logs.Registration {
		return true // there is no other logger to tell
	}
	attrs := []slog.Attr{slog.String(kind, r.Name()), slog.String("topic", r.entry.Selection.String()), slog.String("added_at", r.addedAt())}
	if stack == nil {
		h.log(slog.LevelError, kind+" called runtime.Goexit", attrs...)
		return true
	}
	what, now := slog.String("stack", string(stack)), time.Now()
	h.logs.inbox.Locked(func() {
		if r.panics != nil && now.Sub(r.panics.logged).Abs() < panicInterval {
			r.panics.since++
			what = slog.Int("panics_since_stack", r.panics.since)
			return
		}
		r.panics = &panics{logged: now}
	})
	h.log(slog.LevelError, kind+" panicked", append(attrs, slog.Any("value", value), what)...)
	return true
}
