package main

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/examples/recipes"
	"github.com/seed-bb4b4d74/dispatch/examples/recipes/internal/shops"
)

// giveUp is much longer than any step of a test takes.
const giveUp = 3 * time.Minute

// scene is a gateway to three shops: a answers, b hangs, c fails.
type scene struct {
	t       *testing.T
	d       *dispatch.Dispatcher[string, float64]
	gateway *httptest.Server

	asked  chan struct{}        // b is asked
	left   chan struct{}        // the client of b has left
	answer chan struct{}        // closed to let b answer
	failed chan struct{}        // it is known that c has failed
	ended  chan dispatch.Report // of the call
	expire func()               // ends the time of the call
	wrap   func(r *http.Request) context.Context
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{
		t:      t,
		asked:  make(chan struct{}, 10),
		left:   make(chan struct{}, 10),
		answer: make(chan struct{}),
		failed: make(chan struct{}, 10),
		ended:  make(chan dispatch.Report, 10),
	}
	// A call lasts longer than a test waits, so that no test depends on its deadline.
	s.d = dispatch.New[string, float64](dispatch.WithTimeout(time.Hour), dispatch.WithObserver(dispatch.Observer{
		MemberEnd: func(_ context.Context, m dispatch.MemberInfo, _ dispatch.Outcome) {
			if m.Member.Name == "c" {
				s.failed <- struct{}{}
			}
		},
		CallEnd: func(_ context.Context, r dispatch.Report) { s.ended <- r },
	}))
	for i, shop := range []http.HandlerFunc{shops.Sells(12.5), s.hang, shops.Fails} {
		server := httptest.NewServer(shop)
		t.Cleanup(server.Close)
		if _, err := s.d.AddProducer(price, recipes.Fetch(http.DefaultClient, server.URL), dispatch.WithName("abc"[i:i+1])); err != nil {
			t.Fatal(err)
		}
	}
	h := handler(s.d)
	s.gateway = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.wrap != nil {
			r = r.WithContext(s.wrap(r))
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.gateway.Close)
	t.Cleanup(s.gateway.CloseClientConnections)
	t.Cleanup(func() { s.d.Close() }) // ends the calls, so that the servers can be closed
	return s
}

func (s *scene) hang(w http.ResponseWriter, r *http.Request) {
	s.asked <- struct{}{}
	select {
	case <-s.answer:
		shops.Sells(9.9)(w, r)
	case <-r.Context().Done():
		s.left <- struct{}{}
	}
}

// expires lets the test decide, with s.expire, when the deadline of a call comes.
func (s *scene) expires() {
	expired := make(chan struct{})
	s.expire = func() { close(expired) }
	s.wrap = func(r *http.Request) context.Context { return deadline{r.Context(), expired} }
}

// deadline is a context whose deadline comes when expired is closed. Nothing else ends it.
type deadline struct {
	context.Context
	expired <-chan struct{}
}

func (d deadline) Done() <-chan struct{} { return d.expired }

func (d deadline) Err() error {
	select {
	case <-d.expired:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// wait waits for an event.
func wait[T any](t *testing.T, what string, events <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-events:
	case <-time.After(giveUp):
		t.Fatalf("waited for %s, which did not come", what)
	}
	return v
}

// get asks the gateway.
func (s *scene) get(ctx context.Context, query, accept string) *http.Response {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	s.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.gateway.URL+"/prices"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// lines asks for the price of a lamp, and returns the lines of the stream as they come.
func (s *scene) lines(ctx context.Context, accept string) *bufio.Scanner {
	s.t.Helper()
	return bufio.NewScanner(s.get(ctx, "?item=lamp", accept).Body)
}

var elapsed = regexp.MustCompile(`"elapsed_ns":[1-9]\d*`)

// want compares the next lines with these. Each time in a line counts as 7 ns.
func want(t *testing.T, got *bufio.Scanner, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !got.Scan() {
			t.Fatalf("the stream has ended (%v), want %s", got.Err(), line)
		}
		if text := elapsed.ReplaceAllString(got.Text(), `"elapsed_ns":7`); text != line {
			t.Fatalf("got  %s\nwant %s", text, line)
		}
	}
}

// wantStates compares how the call and b have ended. The other shops always end in the same
// way.
func wantStates(t *testing.T, r dispatch.Report, reason dispatch.Reason, b dispatch.State) {
	t.Helper()
	var got []dispatch.State
	for _, o := range r.Outcomes {
		got = append(got, o.State)
	}
	if want := []dispatch.State{dispatch.StateOK, b, dispatch.StateFailed}; r.Reason != reason || !slices.Equal(got, want) {
		t.Errorf("the call has ended: %v, members %v; want %v, %v", r.Reason, got, reason, want)
	}
}
