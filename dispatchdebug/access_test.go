package dispatchdebug

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-bb4b4d74/dispatch"
)

func newHandler(t *testing.T, opts ...Option) (*Handler, *dispatch.Bus) {
	t.Helper()
	bus := dispatch.NewBus()
	h := New(bus, opts...)
	t.Cleanup(func() {
		h.Close()
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	})
	return h, bus
}

// ask makes the handler answer a request from this machine, as changed by edit.
func ask(h http.Handler, target string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:40000", "localhost:8080"
	for _, e := range edit {
		e(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestWhoMaySee(t *testing.T) {
	h, _ := newHandler(t)
	for _, tc := range []struct {
		name, peer, host string
		header           string
		want             int
	}{
		{"IPv4", "127.0.0.1:4000", "127.0.0.1:8080", "", 200},
		{"any loopback address", "127.8.8.8:4000", "localhost", "", 200},
		{"IPv6", "[::1]:4000", "[::1]:8080", "", 200},
		{"IPv6 without port", "[::1]:4000", "[::1]", "", 200},
		{"IPv4 in IPv6", "[::ffff:127.0.0.1]:4000", "LOCALHOST:8080", "", 200},
		{"another machine", "192.0.2.1:4000", "localhost:8080", "", 403},
		{"a name that was made to point here", "127.0.0.1:4000", "evil.example:8080", "", 403},
		{"a name that begins like this machine", "127.0.0.1:4000", "localhost.evil.example", "", 403},
		{"an address of another machine", "127.0.0.1:4000", "192.0.2.1", "", 403},
		{"no host", "127.0.0.1:4000", "", "", 403},
		{"a peer without address", "@", "localhost", "", 403},
		{"through a proxy", "127.0.0.1:4000", "localhost", "X-Forwarded-For", 403},
		{"through a modern proxy", "127.0.0.1:4000", "localhost", "Forwarded", 403},
		{"through a proxy that tells the protocol", "127.0.0.1:4000", "localhost", "X-Forwarded-Proto", 403},
		{"through nginx with a header", "127.0.0.1:4000", "localhost", "X-Real-IP", 403},
		{"through a caching proxy", "127.0.0.1:4000", "localhost", "Via", 403},
		{"through Cloudflare", "127.0.0.1:4000", "localhost", "CF-Connecting-IP", 403},
		{"a remote peer that says it is local", "192.0.2.1:4000", "localhost", "X-Forwarded-For", 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, path := range []string{"/debug/dispatch/", "/debug/dispatch/data.json"} {
				w := ask(h, path, func(r *http.Request) {
					r.RemoteAddr, r.Host = tc.peer, tc.host
					if tc.header != "" {
						r.Header.Set(tc.header, "127.0.0.1")
					}
				})
				if w.Code != tc.want {
					t.Errorf("%s: got %d, want %d", path, w.Code, tc.want)
				}
				if w.Code == 403 && strings.Contains(w.Body.String(), "topics") {
					t.Errorf("%s: the refusal tells something", path)
				}
			}
		})
	}
}

// Requests from a page of another site, and from nginx with its default settings, are refused,
// even if only this one property shows where they come from.
func TestRequestsOnBehalfOfOthers(t *testing.T) {
	h, _ := newHandler(t)
	for name, edit := range map[string]func(*http.Request){
		"another site": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"HTTP/1.0":     func(r *http.Request) { r.Proto, r.ProtoMinor = "HTTP/1.0", 0 },
	} {
		if got := ask(h, "/data.json", edit).Code; got != 403 {
			t.Errorf("%s: got %d", name, got)
		}
	}
	for _, site := range []string{"none", "same-origin", "same-site"} {
		if got := ask(h, "/data.json", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", site) }).Code; got != 200 {
			t.Errorf("%s: got %d", site, got)
		}
	}
}

func TestWithToken(t *testing.T) {
	const token = "0123456789abcdef"
	h, _ := newHandler(t, WithToken(token))
	elsewhere := func(r *http.Request) { r.RemoteAddr, r.Host = "192.0.2.1:1", "ops.example" }
	if got := ask(h, "/data.json").Code; got != 403 {
		t.Errorf("without a token: got %d", got)
	}
	for _, wrong := range []string{"?token=", "?token=0123456789abcdeX", "?token=0123456789abcde"} {
		if got := ask(h, "/"+wrong, elsewhere).Code; got != 403 {
			t.Errorf("%s: got %d", wrong, got)
		}
	}
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	if got := ask(h, "/data.json", elsewhere, bearer); got.Code != 200 || !strings.Contains(got.Body.String(), `"sensitive":true`) {
		t.Errorf("with a header: got %d %.100s", got.Code, got.Body)
	}
	w := ask(h, "/debug/dispatch/?topic=a+b&token="+token, elsewhere)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "?topic=a+b" {
		t.Fatalf("with an address: got %d to %q", w.Code, w.Header().Get("Location"))
	}
	cookie := w.Result().Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
		t.Errorf("cookie: %+v", cookie)
	}
	if got := ask(h, "/debug/dispatch/data.json", elsewhere, func(r *http.Request) { r.AddCookie(cookie) }).Code; got != 200 {
		t.Errorf("with the cookie: got %d", got)
	}
	if got := ask(h, "/data.json?token="+token, elsewhere).Code; got != 200 {
		t.Errorf("data.json with an address: got %d", got)
	}
}

// A token may have any characters.
func TestTokensOfAnyCharacters(t *testing.T) {
	for _, token := range []string{
		"with space, and comma", "semi;colon;semi;colon", `quote"quote"quote"`, `back\slash\back\slash`, "späte Züge, früh", "\x00\xff\n=&%+?#/ 16 bytes",
	} {
		h, _ := newHandler(t, WithToken(token))
		server := httptest.NewServer(h)
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		browser := http.Client{Jar: jar}
		for _, address := range []string{"/?token=" + url.QueryEscape(token), "/data.json"} {
			w, err := browser.Get(server.URL + address)
			if err != nil {
				t.Fatal(err)
			}
			_ = w.Body.Close()
			if w.StatusCode != http.StatusOK {
				t.Errorf("%q: %s: got %s", token, address, w.Status)
			}
		}
		server.Close()
	}
}

func TestWithAuth(t *testing.T) {
	view, sensitive := true, false
	h, _ := newHandler(t, WithAuth(func(*http.Request) (bool, bool) { return view, sensitive }))
	elsewhere := func(r *http.Request) { r.RemoteAddr, r.Host = "192.0.2.1:1", "ops.example" }
	if got := ask(h, "/data.json", elsewhere); got.Code != 200 || !strings.Contains(got.Body.String(), `"sensitive":false`) {
		t.Errorf("got %d %.100s, want what is not sensitive", got.Code, got.Body)
	}
	sensitive = true
	if got := ask(h, "/data.json", elsewhere); !strings.Contains(got.Body.String(), `"sensitive":true`) {
		t.Errorf("got %.100s, want what is sensitive, too", got.Body)
	}
	view = false
	if got := ask(h, "/data.json"); got.Code != 403 {
		t.Errorf("got %d, want 403 even for this machine", got.Code)
	}
}

func TestOnlyGetAndHead(t *testing.T) {
	h, _ := newHandler(t)
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "ODD"} {
		w := ask(h, "/", func(r *http.Request) { r.Method = method })
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: got %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
	server := httptest.NewServer(h)
	defer server.Close()
	for _, path := range []string{"/", "/data.json", "/events"} {
		resp, err := http.Head(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != 200 || len(body) > 0 || err != nil {
			t.Errorf("HEAD %s: got %d with %d bytes, %v", path, resp.StatusCode, len(body), err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestHeaders(t *testing.T) {
	h, _ := newHandler(t)
	seen := map[string]bool{}
	for range 2 {
		w := ask(h, "/debug/dispatch/")
		policy := w.Header().Get("Content-Security-Policy")
		if seen[policy] {
			t.Error("the same nonce twice")
		}
		seen[policy] = true
		if !strings.HasPrefix(policy, "default-src 'none'; script-src 'nonce-") || strings.Contains(policy, "unsafe") {
			t.Errorf("policy: %s", policy)
		}
		_, rest, _ := strings.Cut(policy, "'nonce-")
		nonce, _, _ := strings.Cut(rest, "'")
		if len(nonce) < 20 || strings.Count(w.Body.String(), `nonce="`+nonce+`"`) != 2 {
			t.Errorf("the page does not have the nonce %q twice", nonce)
		}
	}
	for _, path := range []string{"/", "/data.json", "/nothing", "/?call=x"} {
		header := ask(h, path).Header()
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := header.Get(name); got != want {
				t.Errorf("%s: %s: got %q, want %q", path, name, got, want)
			}
		}
		if !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: no policy", path)
		}
	}
}

func TestPaths(t *testing.T) {
	h, _ := newHandler(t)
	for path, want := range map[string]int{
		"/": 200, "/debug/dispatch/": 200, "/debug/dispatch/data.json": 200,
		"/debug/dispatch/page.js": 404, "/debug/dispatch": 404, "/data.json/x": 404,
		"/?call=1": 404, "/?topic=a": 404, "/data.json?call=1": 200, "/data.json?topic=a": 200,
		"/?call=": 400, "/?call=-1": 400, "/?call=one": 400, "/?page=x": 400, "/?page=-7": 200, "/?sort=nonsense": 200,
	} {
		if got := ask(h, path).Code; got != want {
			t.Errorf("%s: got %d, want %d", path, got, want)
		}
	}
}

func TestNewPanicsOnWhatIsInvalid(t *testing.T) {
	bus := dispatch.NewBus()
	for name, f := range map[string]func(){
		"nil bus":       func() { New(nil) },
		"nil option":    func() { New(bus, nil) },
		"short token":   func() { New(bus, WithToken("0123456789abcde")) },
		"nil auth":      func() { New(bus, WithAuth(nil)) },
		"no calls":      func() { New(bus, WithRetention(0, 1<<20)) },
		"few bytes":     func() { New(bus, WithRetention(1, 1<<20-1)) },
		"no summarizer": func() { New(bus, WithSummarize(nil, 10)) },
		"no bytes":      func() { New(bus, WithSummarize(func(any) string { return "" }, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

// The cookie fits the address that the browser knows, also if a prefix of the path was stripped.
func TestTokenUnderAPrefix(t *testing.T) {
	const token = "0123456789abcdef"
	h, _ := newHandler(t, WithToken(token))
	for _, prefix := range []string{"", "/admin", "/admin/debug/dispatch", "/admin/debug/dispatch/"} {
		server := httptest.NewServer(http.StripPrefix(prefix, h))
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		browser := http.Client{Jar: jar}
		for _, address := range []string{"?token=" + token, "data.json"} {
			w, err := browser.Get(server.URL + "/admin/debug/dispatch/" + address)
			if err != nil {
				t.Fatal(err)
			}
			_ = w.Body.Close()
			if w.StatusCode != http.StatusOK || strings.Contains(w.Request.URL.RawQuery, token) {
				t.Errorf("without %q: %s: got %s from %s", prefix, address, w.Status, w.Request.URL)
			}
		}
		server.Close()
	}
}
