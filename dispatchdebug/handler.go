package dispatchdebug

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A Handler serves the live page of one bus. Make one with [New]. A Handler is safe for concurrent
// use. After [Handler.Close] it still serves what it has recorded.
type Handler struct {
	config
	bus      *dispatch.Bus
	recorder *recorder
	observer *dispatch.Registration // nil if the bus was closed already

	closed         chan struct{}
	close          sync.Once
	updatesDropped atomic.Uint64

	mu      sync.Mutex // guards the fields below
	seen    *busView   // the newest snapshot, which requests share for a moment
	first   *busView   // what is known of listeners that panicked before the recording began
	viewers []*stream  // in the order in which they began
}

// New returns a handler that records what happens on the bus from now on. Register it for a path
// that ends in a slash:
//
//	http.Handle("/debug/dispatch/", dispatchdebug.New(bus))
//
// It panics if bus is nil or an option is invalid.
func New(bus *dispatch.Bus, opts ...Option) *Handler {
	if bus == nil {
		panic(errors.New("dispatchdebug: New: nil Bus"))
	}
	c, err := newConfig(opts)
	if err != nil {
		panic(err)
	}
	h := &Handler{config: c, bus: bus, recorder: newRecorder(c), closed: make(chan struct{})}
	h.first = &busView{panicked: newBusView(bus.Snapshot(), h.recorder.began, nil).panicked}
	// The only possible error is that the bus is closed, and the page says that.
	h.observer, _ = bus.Observe(h.recorder.observer())
	return h
}

// isHandler reports whether an observer was added by New.
func isHandler(o *dispatch.ObserverSnapshot) bool {
	_, file, _, ok := runtime.Caller(0)
	return ok && strings.HasPrefix(o.AddedAt, file+":")
}

// Close ends the recording and the streams to browsers. It does not wait for them. Further calls
// have no effect.
func (h *Handler) Close() {
	h.close.Do(func() {
		close(h.closed)
		if h.observer != nil {
			h.observer.Remove()
		}
	})
}

// ServeHTTP answers GET and HEAD requests for the page, for data.json, and for events, a stream of
// data.json. The package documentation describes the parameters.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	view, sensitive := h.auth(r)
	if !view {
		http.Error(w, "403 Forbidden: this page is shown only to requests from its own machine, to a local host name and without a proxy, or to requests that WithAuth or WithToken accepts.", http.StatusForbidden)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "405 Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	if h.exchangeToken(w, r) {
		return
	}
	q, err := parseQuery(r.URL.Query())
	if err != nil {
		http.Error(w, "400 Bad Request: "+err.Error(), http.StatusBadRequest)
		return
	}
	switch r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:] {
	case "":
		h.servePage(w, q, sensitive)
	case "data.json":
		header.Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(h.document(q, sensitive)) // an error means that the client has gone
	case "events":
		h.serveEvents(w, r, q, sensitive)
	default:
		http.NotFound(w, r)
	}
}

func (h *Handler) servePage(w http.ResponseWriter, q query, sensitive bool) {
	nonce := rand.Text()
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+nonce+"'; style-src 'nonce-"+nonce+
		"'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	doc := h.document(q, sensitive)
	if doc.Topic != nil && !doc.Topic.Known || doc.Call != nil && !doc.Call.Known {
		w.WriteHeader(http.StatusNotFound)
	}
	_ = page.Execute(w, newPageData(nonce, q, doc))
}

// document makes the document for q as of now.
func (h *Handler) document(q query, sensitive bool) *document {
	bus := h.look()
	v := &view{now: bus.taken, recorder: h.recorder, bus: bus, sensitive: sensitive}
	h.recorder.archive.catchUp()
	doc := v.document(q)
	doc.Page.Viewers, doc.Page.UpdatesDropped = h.viewing(), h.updatesDropped.Load()
	doc.Page.Recording = h.observer != nil && !h.isClosed() && bus.State != "closed"
	return doc
}

func (h *Handler) isClosed() bool {
	select {
	case <-h.closed:
		return true
	default:
		return false
	}
}

// look returns a snapshot that is at most a moment old. A snapshot of a large bus costs time, so
// several browsers share one.
func (h *Handler) look() *busView {
	const moment = 100 * time.Millisecond
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); h.seen == nil || now.Sub(h.seen.taken) >= moment {
		before, took := h.first, h.recorder.began
		if h.seen != nil {
			before, took = h.seen, h.seen.taken
		}
		h.seen = newBusView(h.bus.Snapshot(), now, before)
		h.recorder.archive.listenersPanicked(now, h.seen.panics, now.Sub(took) < time.Minute)
	}
	return h.seen
}

func parseQuery(values url.Values) (query, error) {
	q := query{
		Topic: values.Get("topic"), hasTopic: values.Has("topic"), hasCall: values.Has("call"),
		Search: cut(values.Get("q"), mostName), Sort: values.Get("sort"), All: values.Get("suspects") == "all",
		hasCalls: values.Has("calls"), Outcome: cut(values.Get("outcome"), mostName), Only: cut(values.Get("only"), mostName),
	}
	if q.hasCalls && q.Topic == "" {
		q.hasTopic = false // the form sends an empty field, which stands for all topics
	}
	if q.hasCall {
		id, err := strconv.ParseUint(values.Get("call"), 10, 64)
		if err != nil {
			return q, fmt.Errorf("call is not a number: %.40q", values.Get("call"))
		}
		q.Call = dispatch.CallID(id)
	}
	if over := values.Get("over"); over != "" {
		d, err := time.ParseDuration(over)
		if err != nil {
			return q, fmt.Errorf("over is not a duration such as 100ms: %.40q", over)
		}
		q.Over = d
	}
	if p := values.Get("page"); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil {
			return q, fmt.Errorf("page is not a number: %.40q", p)
		}
		q.Page = n
	}
	return q, nil
}

// values returns the query as the parameters of an address.
func (q query) values() url.Values {
	values := url.Values{}
	set := func(is bool, name, value string) {
		if is {
			values.Set(name, value)
		}
	}
	set(q.hasTopic, "topic", q.Topic)
	set(q.hasCall, "call", q.Call.String())
	set(q.Search != "", "q", q.Search)
	set(q.Sort != "" && (q.hasTopic || q.hasCall || q.Sort != "name"), "sort", q.Sort)
	set(q.All, "suspects", "all")
	set(q.hasCalls, "calls", "")
	set(q.Outcome != "", "outcome", q.Outcome)
	set(q.Over > 0, "over", q.Over.String())
	set(q.Only != "", "only", q.Only)
	set(q.Page > 1, "page", strconv.Itoa(q.Page))
	return values
}

// versions returns the version of package dispatch, or "devel" if the program does not know it, and
// that of Go.
var versions = sync.OnceValues(func() (module, language string) {
	const path = "github.com/seed-bb4b4d74/dispatch"
	module = "devel"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == path && m.Version != "" {
				module = m.Version
			}
		}
	}
	return module, runtime.Version()
})
