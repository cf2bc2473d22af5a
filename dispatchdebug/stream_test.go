package dispatchdebug

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// A client is a browser that reads at its own speed.
type client struct {
	takes func() error // called before the client takes what is written

	mu       sync.Mutex // guards the fields below
	got      strings.Builder
	deadline time.Time
}

func (c *client) Header() http.Header { return http.Header{} }
func (c *client) WriteHeader(int)     {}
func (c *client) Flush()              {}

func (c *client) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return nil
}

func (c *client) Write(p []byte) (int, error) {
	if c.takes != nil {
		if err := c.takes(); err != nil {
			return 0, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got.Write(p)
}

// documents returns the documents that have arrived so far.
func (c *client) documents(t *testing.T) (docs []document) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, line := range strings.Split(c.got.String(), "\n") {
		if data, ok := strings.CutPrefix(line, "data: "); ok && data != "{}" {
			var doc document
			if err := json.Unmarshal([]byte(data), &doc); err != nil {
				t.Fatal(err)
			}
			docs = append(docs, doc)
		}
	}
	return docs
}

// follow opens a stream, and returns a channel that is closed when it has ended.
func (b *bench) follow(ctx context.Context, c *client, parameters string) <-chan struct{} {
	ended := make(chan struct{})
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/events?"+parameters, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:40000", "localhost:8080"
	go func() {
		defer close(ended)
		b.h.ServeHTTP(c, r)
	}()
	synctest.Wait()
	return ended
}

func TestStreamTellsWhatIsNew(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("slow", after(900*time.Millisecond, "", nil))
		c := new(client)
		b.follow(b.t.Context(), c, "")
		want(t, "documents at first", len(c.documents(t)), 1)
		time.Sleep(10 * time.Second)
		want(t, "documents while nothing happens", len(c.documents(t)), 1)
		b.send()
		time.Sleep(lookAnyway + updateEvery - time.Millisecond)
		synctest.Wait()
		docs := c.documents(t)
		want(t, "in flight", docs[len(docs)-1].Calls.Total, 1)
		time.Sleep(time.Second)
		synctest.Wait()
		docs = c.documents(t)
		want(t, "after the end", docs[len(docs)-1].Calls.Total, 0)
		n := len(docs)
		time.Sleep(20 * time.Second)
		if more := len(c.documents(t)) - n; more < 1 || more > 6 {
			t.Errorf("%d documents in 20 s without news, want a few as the last minute moves on, and as a sign of life", more)
		}
		b.add("another", after(0, "", nil))
		time.Sleep(lookAnyway + updateEvery)
		docs = c.documents(t)
		want(t, "producers", docs[len(docs)-1].Topics.Rows[0].Producers, 2)
		want(t, "dropped", docs[len(docs)-1].Page.UpdatesDropped, 0)
	})
}

// Proxies that keep responses back are told not to.
func TestProxiesDoNotKeepTheStreamBack(t *testing.T) {
	h, _ := newHandler(t)
	w := ask(h, "/events", func(r *http.Request) { r.Method = http.MethodHead })
	want(t, "header", w.Header().Get("X-Accel-Buffering"), "no")
}

func TestASlowBrowserMissesUpdates(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("slow", after(time.Minute, "", nil))
		c := &client{takes: func() error { <-time.After(time.Second); return nil }}
		b.follow(b.t.Context(), c, "")
		b.send(dispatch.WithTimeout(time.Minute))
		time.Sleep(10 * time.Second)
		if got := b.data("").Page; got.UpdatesDropped < 10 || got.Viewers != 1 {
			t.Errorf("got %+v, want updates dropped", got)
		}
		if n := len(c.documents(t)); n > 5 {
			t.Errorf("it got %d documents", n)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if ahead := time.Until(c.deadline); ahead <= 0 || ahead > giveUpAfter {
			t.Errorf("the server gives up after %v", ahead)
		}
	})
}

func TestAStreamEnds(t *testing.T) {
	for name, end := range map[string]func(*bench, context.CancelFunc, chan error){
		"when the browser leaves":     func(_ *bench, cancel context.CancelFunc, _ chan error) { cancel() },
		"when the handler is closed":  func(b *bench, _ context.CancelFunc, _ chan error) { b.h.Close() },
		"when nothing can be sent":    func(_ *bench, _ context.CancelFunc, broken chan error) { broken <- errors.New("broken pipe") },
		"when it began after the end": func(b *bench, cancel context.CancelFunc, _ chan error) { b.h.Close(); cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.add("slow", after(time.Minute, "", nil))
				b.send(dispatch.WithTimeout(time.Minute)) // causes an update of the stream
				ctx, cancel := context.WithCancel(b.t.Context())
				defer cancel()
				broken := make(chan error, 1)
				ended := b.follow(ctx, &client{takes: func() error {
					select {
					case err := <-broken:
						return err
					default:
						return nil
					}
				}}, "")
				want(t, "viewers", b.data("").Page.Viewers, 1)
				end(b, cancel, broken)
				time.Sleep(time.Second)
				select {
				case <-ended:
				default:
					t.Error("it goes on")
				}
				want(t, "viewers", b.data("").Page.Viewers, 0)
			})
		})
	}
}

// A viewer above the limit replaces the one that has taken nothing for the longest time.
func TestTooManyViewers(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("slow", after(time.Hour, "", nil))
		b.send(dispatch.WithTimeout(time.Hour))
		var ends []<-chan struct{}
		clients := make([]*client, mostViewers)
		for i := range clients {
			clients[i] = new(client)
			if i == 7 {
				stuck := make(chan struct{})
				defer close(stuck)
				clients[i].takes = func() error { <-stuck; return nil }
			}
			ends = append(ends, b.follow(b.t.Context(), clients[i], ""))
		}
		time.Sleep(5*time.Second + updateEvery/2) // the new one takes its updates at other times than the others
		c := new(client)
		b.follow(b.t.Context(), c, "")
		want(t, "documents of the new one", len(c.documents(t)), 1)
		want(t, "viewers", b.data("").Page.Viewers, mostViewers)
		clients[7].mu.Lock()
		cutOff := !clients[7].deadline.After(time.Now())
		clients[7].mu.Unlock()
		want(t, "the one that takes nothing is cut off", cutOff, true)
		time.Sleep(12*lookAnyway + updateEvery/4) // the new one has just taken an update
		b.follow(b.t.Context(), new(client), "")
		time.Sleep(updateEvery)
		ended := 0
		for i, end := range ends {
			select {
			case <-end:
				ended++
				want(t, "last words", strings.HasSuffix(clients[i].got.String(), "event: replaced\ndata: {}\n\n"), true)
			default:
			}
		}
		want(t, "others that had to go", ended, 1)
	})
}

// A call that has ended is not streamed, and a call that a page shows is kept.
func TestAnEndedCallIsNotStreamed(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("slow", after(500*time.Millisecond, "", nil))
		c := b.send()
		browser := new(client)
		ended := b.follow(b.t.Context(), browser, "call="+c.ID().String())
		time.Sleep(5 * time.Second)
		select {
		case <-ended:
		default:
			t.Error("the stream goes on")
		}
		docs := browser.documents(t)
		if last := docs[len(docs)-1].Call; last.InFlight || last.Elapsed != 500*time.Millisecond {
			t.Errorf("the last document: %+v", last)
		}
		want(t, "last words", strings.HasSuffix(browser.got.String(), "event: ended\ndata: {}\n\n"), true)
		for range 100 {
			b.call() // all in the same bucket
		}
		want(t, "kept", b.data("call="+c.ID().String()).Call.Known, true)
	})
}

// A call is sent, answered and reported while a browser reads nothing.
func TestCallsDoNotWaitForABrowser(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("quick", after(time.Millisecond, "", nil))
		release := make(chan struct{})
		b.follow(b.t.Context(), &client{takes: func() error { <-release; return errors.New("gone") }}, "")
		began := time.Now()
		for range 100 {
			b.call()
		}
		want(t, "time", time.Since(began), 100*time.Millisecond)
		want(t, "sends", b.data("").Topics.Rows[0].Sends, 100)
		close(release)
	})
}

// A call that a page shows while it is in flight is kept when it ends, however many others end after it.
func TestACallThatIsShownIsKeptWhenItEnds(t *testing.T) {
	for name, takes := range map[string]time.Duration{"with details": 500 * time.Millisecond, "plain": 40 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.add("slow", after(takes, "", nil))
				b.call()
				c := b.send()
				browser := new(client)
				ended := b.follow(b.t.Context(), browser, "call="+c.ID().String())
				for range 30 {
					b.send()
				}
				time.Sleep(10 * time.Second)
				select {
				case <-ended:
				default:
					t.Error("the stream goes on")
				}
				docs := browser.documents(t)
				if last := docs[len(docs)-1].Call; last.InFlight || !last.Known {
					t.Errorf("the last document: %+v", last)
				}
			})
		})
	}
}

// The stream of a call ends with the call, also if the event of the end was missed.
func TestAStreamEndsIfTheEndOfTheCallWasMissed(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("slow", after(500*time.Millisecond, "", nil))
		browser := new(client)
		ended := b.follow(b.t.Context(), browser, "call="+b.send().ID().String())
		b.h.observer.Remove()
		time.Sleep(10 * time.Second)
		select {
		case <-ended:
		default:
			t.Error("the stream goes on")
		}
		want(t, "last words", strings.HasSuffix(browser.got.String(), "event: ended\ndata: {}\n\n"), true)
	})
}

// unflushed is the writer of a middleware that cannot flush.
type unflushed struct{ w *httptest.ResponseRecorder }

func (u unflushed) Header() http.Header         { return u.w.Header() }
func (u unflushed) WriteHeader(code int)        { u.w.WriteHeader(code) }
func (u unflushed) Write(p []byte) (int, error) { return u.w.Write(p) }

// If nothing can be flushed, a response has one document, and the browser asks again.
func TestAStreamThatCannotBeFlushed(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("site", after(0, "", nil))
		b.call()
		r := httptest.NewRequestWithContext(b.t.Context(), http.MethodGet, "/events", nil)
		r.RemoteAddr, r.Host = "127.0.0.1:40000", "localhost:8080"
		u := unflushed{httptest.NewRecorder()}
		b.h.ServeHTTP(u, r)
		want(t, "documents", strings.Count(u.w.Body.String(), "\ndata: {\"version\":"), 1)
		want(t, "viewers", b.h.viewing(), 0)
	})
}
