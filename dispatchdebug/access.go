package dispatchdebug

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// fromThisMachine is the default rule: it accepts requests from this machine, to a local host
// name, that no proxy has forwarded.
//
// The peer's address alone is not enough. Another site can have its name resolved to 127.0.0.1,
// and then the browser lets the site's scripts read the page; but the browser sends this name as
// the Host. And a proxy on this machine forwards requests of other machines. What its headers say
// about them is not trusted, but their presence is enough to refuse.
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

// proxyHeaders are headers that proxies add. Some proxies, such as nginx by default, add none but
// use HTTP/1.0, which browsers do not. A proxy that does neither looks like a browser.
var proxyHeaders = []string{"Forwarded", "Via", "X-Real-Ip", "Cf-Connecting-Ip", "True-Client-Ip", "X-Client-Ip", "X-Original-Host"}

func proxied(r *http.Request) bool {
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Forwarded") || slices.Contains(proxyHeaders, name) {
			return true
		}
	}
	return !r.ProtoAtLeast(1, 1)
}

// crossSite reports whether a page of another site made the browser send the request.
func crossSite(r *http.Request) bool { return r.Header.Get("Sec-Fetch-Site") == "cross-site" }

const (
	tokenCookie = "dispatchdebug"
	leastToken  = 16
)

// hasToken accepts requests with the token in the header, in the cookie, or in the address.
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
			value, err := base64.RawURLEncoding.DecodeString(c.Value)
			ok = ok || err == nil && is(string(value))
		}
		return ok, ok
	}
}

// exchangeToken answers a request of a browser with the token in the address: it sets the cookie and
// redirects to the address without the token. It reports whether it has answered.
func (h *Handler) exchangeToken(w http.ResponseWriter, r *http.Request) bool {
	query := r.URL.Query()
	if h.token == "" || !query.Has("token") || r.URL.Path != "" && !strings.HasSuffix(r.URL.Path, "/") {
		return false
	}
	// A strict cookie would not be sent when a link on another site leads here, not even after the redirect. The page only
	// shows, and other sites cannot read it. Without a path, a cookie is for the directory that the browser has asked
	// for, also if a prefix was stripped. Not all characters of a token can be in a cookie.
	http.SetCookie(w, &http.Cookie{
		Name: tokenCookie, Value: base64.RawURLEncoding.EncodeToString([]byte(h.token)), HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil,
	})
	query.Del("token")
	w.Header().Set("Location", "?"+query.Encode())
	w.WriteHeader(http.StatusSeeOther)
	return true
}
