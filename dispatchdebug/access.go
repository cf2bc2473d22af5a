package dispatchdebug

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// fromThisMachine is who may see the page unless WithAuth or WithToken says otherwise:
// requests from this machine, by a name of this machine, that no proxy has passed on.
//
// The peer's address alone does not do. A page of any other site can have its own
// name resolved to 127.0.0.1, and then the browser lets it read what it finds there;
// but the browser tells that name as the Host. And a proxy on this machine asks on
// behalf of others: what it adds to say for whom is not believed, but that it is
// there is reason enough to refuse.
func fromThisMachine(r *http.Request) (view, sensitive bool) {
	ok := loopbackPeer(r.RemoteAddr) && loopbackHost(r.Host) && !proxied(r) && !crossSite(r)
	return ok, ok
}

func loopbackPeer(addr string) bool {
	peer, err := netip.ParseAddrPort(addr)
	return err == nil && peer.Addr().Unmap().IsLoopback()
}

func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

// What proxies add. Some add nothing, but speak HTTP/1.0, as nginx does by default, which
// no browser does. A proxy that does neither cannot be told from a browser.
var proxyHeaders = []string{"Forwarded", "Via", "X-Real-Ip", "Cf-Connecting-Ip", "True-Client-Ip", "X-Client-Ip", "X-Original-Host"}

func proxied(r *http.Request) bool {
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Forwarded") || slices.Contains(proxyHeaders, name) {
			return true
		}
	}
	return !r.ProtoAtLeast(1, 1)
}

// crossSite reports whether another site's page has made the browser ask.
func crossSite(r *http.Request) bool { return r.Header.Get("Sec-Fetch-Site") == "cross-site" }

const (
	tokenCookie = "dispatchdebug"
	leastToken  = 16
)

// hasToken lets in who has the token: in the header, in the cookie that a browser is given,
// or in the address.
func hasToken(token string) func(*http.Request) (view, sensitive bool) {
	want := sha256.Sum256([]byte(token))
	is := func(got string) bool {
		sum := sha256.Sum256([]byte(got))
		return subtle.ConstantTimeCompare(sum[:], want[:]) == 1
	}
	return func(r *http.Request) (view, sensitive bool) {
		bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		ok := is(bearer) || is(r.URL.Query().Get("token"))
		if c, err := r.Cookie(tokenCookie); err == nil {
			ok = ok || is(c.Value)
		}
		return ok, ok
	}
}

// exchangeToken gives a browser that has the token in the address a cookie in its place, so
// that it does not stay there. It reports whether that was all there was to do.
func (h *Handler) exchangeToken(w http.ResponseWriter, r *http.Request) bool {
	query := r.URL.Query()
	if h.token == "" || !query.Has("token") || !strings.HasSuffix(r.URL.Path, "/") {
		return false
	}
	http.SetCookie(w, &http.Cookie{
		Name: tokenCookie, Value: h.token, Path: r.URL.Path, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
	query.Del("token")
	w.Header().Set("Location", "?"+query.Encode())
	w.WriteHeader(http.StatusSeeOther)
	return true
}
