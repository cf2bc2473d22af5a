package dispatchdebug

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"
)

const (
	updateEvery  = 200 * time.Millisecond
	lookAnyway   = time.Second      // also when nothing was recorded: registrations are not
	keepAlive    = 15 * time.Second // without an update
	giveUpAfter  = 10 * time.Second // a browser that takes nothing
	mostViewers  = 32
	streamOpened = "retry: 1000\n\n"
)

// serveEvents sends the document again and again as it changes, until the browser
// leaves or the handler is closed. It makes a document when the browser is ready to
// take one, and never keeps any for it: whatever a browser is too slow for is counted
// and never made. So what a browser does is nobody's affair but this goroutine's.
func (h *Handler) serveEvents(w http.ResponseWriter, r *http.Request, q query, sensitive bool) {
	defer h.viewers.Add(-1)
	if h.viewers.Add(1) > mostViewers {
		http.Error(w, "503 Service Unavailable: too many pages are open", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	s := &stream{Handler: h, w: w, control: http.NewResponseController(w), q: q, sensitive: sensitive}
	if r.Method == http.MethodHead || s.send([]byte(streamOpened)) != nil {
		return
	}
	s.run(r.Context().Done())
}

type stream struct {
	*Handler
	w         http.ResponseWriter
	control   *http.ResponseController
	q         query
	sensitive bool

	seen     uint64    // the revision of the last document
	looked   time.Time // when it was made
	sent     time.Time // when something was sent last
	lastSent []byte    // the document, without what changes with time alone
}

func (s *stream) run(left <-chan struct{}) {
	ticker := time.NewTicker(updateEvery)
	defer ticker.Stop()
	for {
		began := time.Now()
		err := s.update(began)
		// What became due while the browser was not ready is not made up for.
		if missed := time.Since(began) / updateEvery; missed > 0 {
			s.updatesDropped.Add(uint64(missed))
			ticker.Reset(updateEvery)
		}
		if err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-left:
			return
		case <-s.closed:
			return
		}
	}
}

// update sends the document if there is something new in it.
func (s *stream) update(now time.Time) error {
	revision := s.recorder.revision.Load()
	if revision == s.seen && now.Sub(s.looked) < lookAnyway && s.recorder.quiet() {
		return nil
	}
	s.seen, s.looked = revision, now
	doc := s.document(s.q, s.sensitive)
	message, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	if fixed := withoutTime(doc); bytes.Equal(fixed, s.lastSent) {
		if now.Sub(s.sent) < keepAlive {
			return nil
		}
	} else {
		s.lastSent = fixed
	}
	s.sent = now
	return s.send([]byte("data: "), message, []byte("\n\n"))
}

// withoutTime gives a document without that which changes though nothing happens.
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

// send gives the browser its time, whatever the server's timeouts say.
func (s *stream) send(parts ...[]byte) error {
	// Where deadlines are not supported the server's own have to do.
	_ = s.control.SetWriteDeadline(time.Now().Add(giveUpAfter))
	for _, part := range parts {
		if _, err := s.w.Write(part); err != nil {
			return err
		}
	}
	return s.control.Flush()
}

// quiet reports whether no call is in flight.
func (r *recorder) quiet() bool {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		n := len(s.records)
		s.mu.Unlock()
		if n > 0 {
			return false
		}
	}
	return true
}
