package dispatchdebug

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"
)

const (
	updateEvery  = 200 * time.Millisecond
	lookAnyway   = 400 * time.Millisecond // also when nothing was recorded: calls in flight are not
	keepAlive    = 15 * time.Second       // without an update
	giveUpAfter  = 10 * time.Second       // a browser that takes nothing
	mostViewers  = 32
	streamOpened = "retry: 1000\n\n"
	endedEvent   = "event: ended\ndata: {}\n\n"
)

// serveEvents sends the document each time it has changed, until the browser leaves or the handler
// is closed. It makes a document only when the browser is ready to take it. Updates that a browser
// is too slow for are counted and not made. So a slow browser affects only this goroutine.
func (h *Handler) serveEvents(w http.ResponseWriter, r *http.Request, q query, sensitive bool) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // some proxies keep a response until it is whole, or until much has come
	s := &stream{Handler: h, w: w, control: http.NewResponseController(w), q: q, sensitive: sensitive, letGo: make(chan struct{})}
	if r.Method == http.MethodHead {
		return
	}
	h.enter(s)
	defer h.leave(s)
	switch err := s.send([]byte(streamOpened)); {
	case errors.Is(err, http.ErrNotSupported): // nothing arrives before the end of the response, so the browser has to ask again
		_ = s.update(time.Now())
	case err == nil:
		s.run(r.Context().Done())
	}
}

// enter adds a viewer. If there are too many, the one that has taken nothing for longest is removed.
func (h *Handler) enter(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.took = time.Now()
	if len(h.viewers) >= mostViewers {
		idle := slices.MinFunc(h.viewers, func(a, b *stream) int { return a.took.Compare(b.took) })
		h.viewers = slices.DeleteFunc(h.viewers, func(v *stream) bool { return v == idle })
		close(idle.letGo)
		_ = idle.control.SetWriteDeadline(time.Now()) // it may be in the middle of a write
	}
	h.viewers = append(h.viewers, s)
}

func (h *Handler) leave(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.viewers = slices.DeleteFunc(h.viewers, func(v *stream) bool { return v == s })
}

func (h *Handler) viewing() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.viewers)
}

type stream struct {
	*Handler
	w         http.ResponseWriter
	control   *http.ResponseController
	q         query
	sensitive bool
	letGo     chan struct{} // closed when another viewer replaces this one
	took      time.Time     // when it last took what was sent; guarded by Handler.mu

	seen     uint64    // the revision of the last document
	looked   time.Time // when it was made
	sent     time.Time // when something was sent last
	lastSent []byte    // the document, without what changes with time alone
	known    bool      // the call that was asked for has been sent
	lost     time.Time // since when it is in no document any more; zero if it is
	ended    bool      // the document of the call that was asked for does not change any more
}

func (s *stream) run(left <-chan struct{}) {
	ticker := time.NewTicker(updateEvery)
	defer ticker.Stop()
	for {
		began := time.Now()
		err := s.update(began)
		// Updates that became due while the browser was not ready are skipped.
		if missed := time.Since(began) / updateEvery; missed > 0 {
			s.updatesDropped.Add(uint64(missed))
			ticker.Reset(updateEvery)
		}
		if err != nil || s.ended {
			return
		}
		select {
		case <-ticker.C:
		case <-left:
			return
		case <-s.letGo:
			_ = s.send([]byte("event: replaced\ndata: {}\n\n"))
			return
		case <-s.closed:
			return
		}
	}
}

// update sends the document if there is something new in it.
func (s *stream) update(now time.Time) error {
	revision := s.recorder.revision.Load()
	if revision == s.seen && now.Sub(s.looked) < lookAnyway && s.quiet() {
		return nil
	}
	s.seen, s.looked = revision, now
	doc := s.document(s.q, s.sensitive)
	if doc.Call != nil {
		if s.known && !doc.Call.Known {
			// The event of its end is on its way, or was missed.
			if s.lost.IsZero() {
				s.lost = now
			}
			if s.ended = now.Sub(s.lost) >= returnsUnnoted; s.ended {
				return s.send([]byte(endedEvent))
			}
			return nil
		}
		s.lost = time.Time{}
		s.known, s.ended = doc.Call.Known, doc.Call.settled(doc.Now)
	}
	message, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	if fixed := withoutTime(doc); bytes.Equal(fixed, s.lastSent) && !s.ended {
		if now.Sub(s.sent) < keepAlive {
			return nil
		}
	} else {
		s.lastSent = fixed
	}
	s.sent = now
	after := "\n\n"
	if s.ended {
		after += endedEvent
	}
	return s.send([]byte("data: "), message, []byte(after))
}

// settled reports whether a call has ended and all of its runs have returned. Then its document
// does not change any more.
func (c *callPart) settled(now time.Time) bool {
	if !c.Known || c.InFlight || now.Sub(c.Started.Add(c.Elapsed)) < returnsUnnoted {
		return false
	}
	for i := range c.Rows {
		for _, b := range c.Rows[i].Bars {
			if b.Open {
				return false
			}
		}
	}
	return true
}

// withoutTime returns the document as JSON, without the fields that change when nothing happens.
func withoutTime(doc *document) []byte {
	fixed := *doc
	fixed.Now, fixed.Bus.Uptime, fixed.Page.RecordingFor = time.Time{}, 0, 0
	fixed.Page.UpdatesDropped = 0
	b, err := json.Marshal(fixed)
	if err != nil {
		return nil
	}
	return b
}

// send writes to the browser. Its deadline replaces the timeouts of the server.
func (s *stream) send(parts ...[]byte) error {
	// If deadlines are not supported, those of the server apply.
	_ = s.control.SetWriteDeadline(time.Now().Add(giveUpAfter))
	for _, part := range parts {
		if _, err := s.w.Write(part); err != nil {
			return err
		}
	}
	err := s.control.Flush()
	s.mu.Lock()
	s.took = time.Now()
	s.mu.Unlock()
	return err
}

// quiet reports whether no call was in flight at the last look.
func (h *Handler) quiet() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen == nil || len(h.seen.Calls) == 0
}
