// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// checkHost refuses a Host header that a rebound DNS name would send. A page in a browser on this machine
// can reach a loopback listener under a name of its own; it cannot forge the Host header. Accepted are
// loopback names on loopback connections, the very address that was connected to, and configured hosts.
// Nothing in a browser reaches a unix socket, so there any host will do.
func (g *Gate) checkHost(r *http.Request) error {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local != nil && local.Network() == "unix" {
		return nil
	}
	name := strings.ToLower(hostname(r.Host))
	if slices.Contains(g.hosts, name) {
		return nil
	}
	at, known := addrOf(local)
	if ip, err := netip.ParseAddr(name); err == nil {
		if ip = ip.Unmap(); ip == at || ip.IsLoopback() && (!known || at.IsLoopback()) {
			return nil
		}
	} else if (name == "localhost" || name == "localhost.") && (!known || at.IsLoopback()) {
		return nil
	}
	return Refuse(CodeHost, "the Host header is not one of ours")
}

// checkOrigin refuses whatever a web page sends, unless its origin is configured or, where pages of ours
// are served or the route says so, it is one of them.
func (g *Gate) checkOrigin(r *http.Request, own bool) error {
	refused := Refuse(CodeOrigin, "requests from this web page are not accepted")
	switch values := r.Header["Origin"]; {
	case len(values) > 1:
		return refused
	case len(values) == 1:
		if slices.Contains(g.cfg.Origins, values[0]) || (own || g.cfg.SameOrigin) && ownOrigin(r, values[0]) {
			return nil
		}
		return refused
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return nil
	}
	// A link from elsewhere may open a page of ours; it carries no Origin and can only read.
	if g.cfg.SameOrigin && r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" {
		return nil
	}
	return refused
}

// ownOrigin compares with the Host header, which checkHost has accepted before.
func ownOrigin(r *http.Request, origin string) bool {
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return strings.EqualFold(origin, scheme+r.Host)
}

func hostname(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}

func addrOf(a net.Addr) (netip.Addr, bool) {
	if a == nil {
		return netip.Addr{}, false
	}
	ap, err := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap().WithZone(""), err == nil
}

// source names where a request came from, without its port; of IPv6 only the network, because one machine
// has as many addresses as it likes.
func source(r *http.Request) string {
	if p, ok := PeerFrom(r.Context()); ok {
		return "uid:" + itoa(p.UID)
	}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		if ip := ap.Addr().Unmap().WithZone(""); ip.Is4() || ip.IsLoopback() {
			return ip.String()
		} else if net, err := ip.Prefix(64); err == nil {
			return net.String()
		}
	}
	return "unknown"
}

// remote says whether r came over anything but loopback or a unix socket.
func remote(r *http.Request) action.Tri {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		return action.No
	}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return action.TriUnknown
	}
	return action.TriOf(!ap.Addr().Unmap().IsLoopback())
}
