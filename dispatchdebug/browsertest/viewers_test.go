package browsertest

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchdebug"
)

// A tab that was closed leaves no stream and no goroutine.
func TestClosedTab(t *testing.T) {
	s := cell(t)
	waitFor(t, "the scene to be at rest", func() bool { return streams() == 0 })
	for range 3 {
		t.Run("", func(t *testing.T) {
			tb := newTab(t, wide)
			tb.open(s.address)
			tb.updated()
			if n := s.data("").Page.Viewers; n != 1 {
				t.Errorf("%d viewers", n)
			}
			if streams() == 0 {
				t.Error("the goroutine of the stream is not found")
			}
		})
	}
	waitFor(t, "the streams to end", func() bool { return s.data("").Page.Viewers == 0 && streams() == 0 })
}

// No call waits for a browser that opens the stream and reads nothing. Its updates are dropped,
// and counted.
func TestUnreadStream(t *testing.T) {
	s := newScene(t)
	for i := range 400 { // so that a document is larger than what the kernel keeps for a reader
		s.produce(fmt.Sprintf("topic-%d.%s", i, strings.Repeat("n", 200)), takes(0))
	}
	s.produce("quick", takes(0))
	without := median(s)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /debug/dispatch/events HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if status, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil || !strings.Contains(status, "200") {
		t.Fatalf("%q, %v", status, err)
	}
	waitFor(t, "updates to be dropped", func() bool {
		s.call("quick")
		return s.data("").Page.Dropped > 0
	})
	with := median(s)
	t.Logf("a call takes %v, and %v with an unread stream", without, with)
	if with > 100*without+100*time.Millisecond {
		t.Errorf("a call takes %v, without an unread stream %v", with, without)
	}
}

// median is that of the times that a hundred quick calls take.
func median(s *scene) time.Duration {
	times := make([]time.Duration, 101)
	for i := range times {
		began := time.Now()
		s.call("quick")
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	return times[len(times)/2]
}

var bars = flag.Bool("bars", false, "measure at length what looking costs, for figures that can be published")

// TestBars prints which of the bars for the page are met. It fails only if one is exceeded by
// far, because other programs share the machine.
func TestBars(t *testing.T) {
	rounds := 3
	if *bars {
		rounds = 60
	}
	t.Run("calls with the page open", func(t *testing.T) {
		for _, work := range []struct {
			name      string
			producers int
			each      producer
			calls     int
		}{
			{"1 quick producer", 1, quick, 400},
			{"10 quick producers", 10, quick, 200},
			{"100 quick producers", 100, quick, 40},
			{"10 producers of 1 ms", 10, takes(time.Millisecond), 20},
		} {
			s := newScene(t)
			for i := range work.producers {
				s.produce("work", work.each, dispatch.WithName(fmt.Sprint("p", i)))
			}
			bare := newBare(t, work.producers, work.each)
			tb := newTab(t, wide)
			tb.open(s.address)
			tb.updated()
			best := map[string]time.Duration{}
			measure := func(name string, bus *scene) {
				began := time.Now()
				for range work.calls {
					bus.call("work")
				}
				if d := time.Since(began) / time.Duration(work.calls); best[name] == 0 || d < best[name] {
					best[name] = d
				}
			}
			for range rounds {
				tb.do(chromedp.Navigate(s.address))
				tb.updated()
				measure("open", s)
				tb.do(chromedp.Navigate("about:blank"))
				waitFor(t, "the stream to end", func() bool { return s.data("").Page.Viewers == 0 })
				measure("closed", s)
				measure("bare", bare)
			}
			ratio := float64(best["open"]) / float64(best["closed"])
			t.Logf("%-22s page open %v, closed %v, ratio %.2f (bar 1.3); no handler %v, ratio %.2f",
				work.name, best["open"], best["closed"], ratio, best["bare"], float64(best["closed"])/float64(best["bare"]))
			if ratio > 13 {
				t.Errorf("with the page open a call takes %.1f times as long", ratio)
			}
		}
	})
	t.Run("data.json of 10,000 topics", func(t *testing.T) {
		s := newScene(t)
		for i := range 10_000 {
			topic := fmt.Sprintf("line-%04d.measure", i)
			s.produce(topic, quick)
			s.call(topic)
		}
		for _, parameters := range []string{"", "?page=50", "?sort=p99&page=100", "?q=line-00"} {
			var best time.Duration
			pace := time.NewTicker(110 * time.Millisecond) // so that each makes its own snapshot
			defer pace.Stop()
			for range rounds {
				<-pace.C
				began := time.Now()
				resp, err := http.Get(s.address + "data.json" + parameters)
				if err != nil {
					t.Fatal(err)
				}
				n, err := io.Copy(io.Discard, resp.Body)
				if err != nil || n < 10_000 {
					t.Fatalf("%d bytes, %v", n, err)
				}
				if err := resp.Body.Close(); err != nil {
					t.Fatal(err)
				}
				if d := time.Since(began); best == 0 || d < best {
					best = d
				}
			}
			t.Logf("data.json%-20s %v (bar 100ms)", parameters, best.Round(100*time.Microsecond))
			if best > 10*time.Second {
				t.Errorf("a page takes %v", best)
			}
		}
	})
}

// closeAfterTabs closes a server when the tabs that are opened after this are closed.
func closeAfterTabs(t *testing.T, server *httptest.Server) {
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
}

// A page whose stream is answered with an error tries again, and continues when the stream
// works.
func TestReconnects(t *testing.T) {
	s := cell(t)
	refusals := 2
	var refused sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refused.Lock()
		refuse := strings.HasSuffix(r.URL.Path, "/events") && refusals > 0
		if refuse {
			refusals--
		}
		refused.Unlock()
		if refuse {
			http.Error(w, "502 Bad Gateway", http.StatusBadGateway)
			return
		}
		s.handler.ServeHTTP(w, r)
	}))
	closeAfterTabs(t, server)
	tb := newTab(t, wide)
	tb.open(server.URL + "/")
	tb.wait("document.getElementById('live').dataset.live === 'lost'")
	tb.updated()
	tb.wait("document.getElementById('live').dataset.live === 'live'")
	tb.forget() // the console reports the 502
}

// After a restart of the program the page is loaded again: the numbers of its calls begin at 1 again.
func TestAPageIsLoadedAgainAfterARestart(t *testing.T) {
	inFlight := func(topic string) *scene {
		s := newScene(t)
		s.produce(topic, takes(time.Hour))
		if id := s.send(topic, dispatch.WithTimeout(time.Hour)).ID(); id != 1 {
			t.Fatalf("the first call has the number %v", id)
		}
		return s
	}
	var serving sync.Mutex
	handler := inFlight("cell.measure").handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serving.Lock()
		h := handler
		serving.Unlock()
		h.ServeHTTP(w, r)
	}))
	closeAfterTabs(t, server)
	tb := newTab(t, wide)
	tb.open(server.URL + "/?call=1")
	tb.wait("document.querySelector('.facts bdi')?.textContent === 'cell.measure'")
	tb.updated()
	tb.wait("performance.now() > 2000") // the programs do not begin at the same time
	restarted := inFlight("another.topic")
	serving.Lock()
	handler = restarted.handler
	serving.Unlock()
	server.CloseClientConnections()
	tb.wait("document.querySelector('.facts bdi')?.textContent === 'another.topic'")
	tb.forget() // the console reports the connections that were closed
}

// The page of a topic that was not known shows the topic when it is.
func TestATopicThatBecomesKnownIsShown(t *testing.T) {
	s := newScene(t)
	tb := newTab(t, wide)
	tb.open(s.address + "?topic=cell.measure")
	tb.wait("document.querySelector('.empty')?.checkVisibility()")
	s.produce("cell.measure", takes(time.Millisecond), dispatch.WithName("site-1"))
	tb.wait("document.querySelector('.members tbody bdi')?.textContent === 'site-1'")
	tb.forget() // the console reports the 404
}

// A stream that breaks without a sign is noticed, and another one is opened.
func TestABrokenStreamIsNoticed(t *testing.T) {
	s := cell(t)
	var broken sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hang := false
		if strings.HasSuffix(r.URL.Path, "/events") {
			broken.Do(func() { hang = true })
		}
		if !hang {
			s.handler.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	closeAfterTabs(t, server)
	tb := newTab(t, wide)
	// Long times pass quickly in this tab.
	command(tb, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
		Source: `const later = setTimeout; window.setTimeout = (f, ms) => later(f, ms > 30000 ? ms / 100 : ms);`,
	})
	tb.open(server.URL + "/")
	tb.wait("document.getElementById('live').dataset.live === 'live'")
}

// A link with the token on a page of another site, such as a wiki, opens the page, and so does a link without the token
// later. The page cannot be read or framed by the other site.
func TestALinkWithATokenOnAnotherSite(t *testing.T) {
	const token = "0123456789abcdef"
	s := newScene(t, dispatchdebug.WithToken(token))
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<link rel="icon" href="data:,"><a id="with" href="%s?token=%s">with</a> <a id="without" href="%[1]s">without</a>`, s.address, token)
	}))
	closeAfterTabs(t, other)
	tb := newTab(t, wide)
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "evil.test", 1)
	for _, link := range []string{"with", "without"} {
		tb.open(elsewhere)
		eval[chromedp.Void](tb, "document.getElementById('"+link+"').click()")
		tb.wait("document.getElementById('who')?.checkVisibility()")
		tb.updated()
	}
}
