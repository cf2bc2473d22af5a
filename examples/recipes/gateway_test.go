package recipes_test

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchtest"
	"github.com/seed-bb4b4d74/dispatch/examples/recipes"
)

// serve makes the gateway serve one request, and returns the response.
func serve(t *testing.T, d *dispatch.Dispatcher[string, float64], header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header = header
	w := httptest.NewRecorder()
	recipes.Gateway(d, price, func(*http.Request) (string, error) { return "lamp", nil }).ServeHTTP(w, r)
	return w
}

func TestTheClientChoosesTheFormat(t *testing.T) {
	const events, lines = "text/event-stream", "application/x-ndjson"
	for _, tt := range []struct {
		accept []string
		want   string
	}{
		{nil, lines},
		{[]string{""}, lines},
		{[]string{"*/*"}, lines},
		{[]string{"text/event-stream"}, events},
		{[]string{"Text/Event-Stream; q=0.9"}, events},
		{[]string{"text/html, text/event-stream"}, events},
		{[]string{"text/html", "text/event-stream"}, events},
		{[]string{"text/event-streams, ;"}, lines},
	} {
		t.Run(strings.Join(tt.accept, "|"), func(t *testing.T) {
			w := serve(t, dispatch.New[string, float64](), http.Header{"Accept": tt.accept})
			if got := w.Header().Get("Content-Type"); got != tt.want || w.Header().Get("Vary") != "Accept" {
				t.Errorf("the type is %q, want %q, and varies with %q", got, tt.want, w.Header().Get("Vary"))
			}
			if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Accel-Buffering") != "no" {
				t.Errorf("the headers are %v", w.Header())
			}
			if !strings.Contains(w.Body.String(), "no producers") || !w.Flushed {
				t.Errorf("the end is %q, flushed: %v", w.Body, w.Flushed)
			}
		})
	}
}

func TestAValueThatJSONCannotHave(t *testing.T) {
	d := dispatch.New[string, float64]()
	dispatchtest.Produce(t, d, price, dispatchtest.Answer[string](math.NaN()), dispatch.WithName("shop"))
	line, end, _ := strings.Cut(serve(t, d, nil).Body.String(), "\n")
	if want := `{"result":{"from":"shop","value":null,"error":"json: unsupported value: NaN"}}`; line != want {
		t.Errorf("the result is %s, want %s", line, want)
	}
	if !strings.Contains(end, `"reason":"all ended"`) || !strings.Contains(end, `"missing":[]`) {
		t.Errorf("the end is %s", end)
	}
}

func TestWhoDeclinesIsNotMissing(t *testing.T) {
	d := dispatch.New[string, float64]()
	dispatchtest.Produce(t, d, price, declines)
	if got := serve(t, d, nil).Body.String(); !strings.Contains(got, `"missing":[]`) {
		t.Errorf("the end is %s", got)
	}
}

func TestWhatCannotBeAsked(t *testing.T) {
	open, closed := dispatch.New[string, float64](), dispatch.New[string, float64]()
	closed.Close()
	for _, tt := range []struct {
		name string
		d    *dispatch.Dispatcher[string, float64]
		err  error // of ask
		want int
	}{
		{"a bad request", open, errors.New("which item?"), http.StatusBadRequest},
		{"a bus that is closed", closed, nil, http.StatusServiceUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			ask := func(*http.Request) (string, error) { return "", tt.err }
			recipes.Gateway(tt.d, price, ask).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
			if w.Code != tt.want {
				t.Errorf("the status is %d, want %d: %s", w.Code, tt.want, w.Body)
			}
		})
	}
}

func TestTheClientIsServedBeforeTheFirstResult(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := dispatch.New[string, float64]()
		dispatchtest.Produce(t, d, price, hangs)
		ctx, leave := context.WithCancel(t.Context())
		defer leave() // the bubble then waits for the handler
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
		go recipes.Gateway(d, price, func(*http.Request) (string, error) { return "lamp", nil }).ServeHTTP(w, r)
		synctest.Wait()
		if !w.Flushed || w.Body.Len() > 0 {
			t.Errorf("flushed: %v, body %q", w.Flushed, w.Body)
		}
	})
}

// stuck is the response to a client that reads nothing: a write blocks until its deadline.
type stuck struct {
	header   http.Header
	deadline time.Time
}

func (s *stuck) Header() http.Header                 { return s.header }
func (s *stuck) WriteHeader(int)                     {}
func (s *stuck) Flush()                              {}
func (s *stuck) SetWriteDeadline(at time.Time) error { s.deadline = at; return nil }

func (s *stuck) Write([]byte) (int, error) {
	time.Sleep(time.Until(s.deadline))
	return 0, os.ErrDeadlineExceeded
}

func TestAClientThatTakesNothing(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := dispatch.New[string, float64]()
		dispatchtest.Produce(t, d, price, answers, dispatch.WithName("quick"))
		dispatchtest.Produce(t, d, price, hangs, dispatch.WithName("hangs"))
		// Package http ends the context of a request when its handler returns.
		ctx, end := context.WithCancel(t.Context())
		defer end()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
		began := time.Now()
		recipes.Gateway(d, price, func(*http.Request) (string, error) { return "lamp", nil }).ServeHTTP(&stuck{header: http.Header{}}, r)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("it was let go after %v, want 10s", took)
		}
	})
}
