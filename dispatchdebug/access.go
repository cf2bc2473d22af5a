package dispatchdebug

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// fromThisMachine is who may see the page unless WithAuth says otherwise: those on
// this machine who asked for it by a name of this machine.
//
// The peer's address alone does not do. A page of any other site can have its own
// name resolved to 127.0.0.1, and then the browser lets it read what it finds there;
// but the browser tells that name as the Host. And a proxy on this machine asks on
// behalf of others: what it adds to say for whom is not believed, but that it is
// there is reason enough to refuse.
func fromThisMachine(r *http.Request) (view, sensitive bool) {
	ok := loopbackPeer(r.RemoteAddr) && loopbackHost(r.Host) && !proxied(r.Header)
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

func proxied(h http.Header) bool {
	return len(h["X-Forwarded-For"]) > 0 || len(h["Forwarded"]) > 0
}
