// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sallyport/sallyport/action"
	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

const maxURLBytes = 8192

// canonical is one URL or host, understood.
type canonical struct {
	scheme, host, path string
	port               int
	query              bool
	addr               netip.Addr // valid if the host is an address in any spelling
	ok                 bool
	plain              bool // no trick in the spelling: no user part, no odd address form, no encoded host
}

func (c canonical) origin() string {
	h := c.host
	if strings.Contains(h, ":") {
		h = "[" + h + "]"
	}
	return c.scheme + "://" + h + ":" + strconv.Itoa(c.port)
}

var defaultPorts = map[string]int{"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21, "ftps": 990, "ssh": 22,
	"sftp": 22, "scp": 22, "git": 9418, "postgres": 5432, "postgresql": 5432, "mysql": 3306, "redis": 6379, "rediss": 6379,
	"mongodb": 27017, "amqp": 5672, "amqps": 5671, "ldap": 389, "ldaps": 636, "smb": 445, "rsync": 873, "telnet": 23,
	"gopher": 70, "dict": 2628, "mqtt": 1883, "nats": 4222}

// canonicalURL reads a URL, or a bare "host[:port][/path]", the way a WHATWG browser and a strict RFC 3986
// reader would both read it; where they would go to different hosts it is not ok. Hosts come out in lower
// case punycode without a trailing dot; decimal, octal, hex and short forms of IPv4 come out as addresses.
func canonicalURL(raw string) canonical {
	var c canonical
	s := strings.Trim(raw, " ")
	if s == "" || len(s) > maxURLBytes || strings.ContainsFunc(s, func(r rune) bool { return r <= 0x20 || r == 0x7f || r == '\\' }) {
		return c
	}
	i := strings.Index(s, "://")
	switch {
	case i > 0 && schemeLike(s[:i]):
		c.scheme = strings.ToLower(s[:i])
	case strings.HasPrefix(s, "//"):
		s = "https:" + s
		c.scheme = "https"
	case opaqueScheme(s):
		return c
	default:
		s = "https://" + s
		c.scheme = ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return c
	}
	c.plain = u.User == nil
	host := u.Hostname()
	if strings.ContainsAny(host, "%") {
		return c
	}
	if c.host, c.addr, err = canonicalHost(host); err != nil {
		return c
	}
	if c.addr.IsValid() && !strings.EqualFold(c.host, host) {
		c.plain = false
	}
	if p := u.Port(); p != "" {
		if c.port, err = strconv.Atoi(p); err != nil || c.port < 0 || c.port > 65535 {
			return c
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return c
	} else if c.port = defaultPorts[c.scheme]; c.scheme == "" {
		c.port = 443
	}
	c.path, c.query, c.ok = action.Clip(u.EscapedPath(), 2048), u.RawQuery != "" || u.ForceQuery, true
	return c
}

func schemeLike(s string) bool {
	for i, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || i > 0 && (r >= '0' && r <= '9' || r == '+' || r == '-' || r == '.')) {
			return false
		}
	}
	return s != ""
}

// opaqueScheme recognises what is no host though it holds a colon: "data:", "javascript:", "mailto:",
// "http:host". A colon followed by a port is none.
func opaqueScheme(s string) bool {
	head, tail, ok := strings.Cut(s, ":")
	if !ok || !schemeLike(head) || strings.Contains(head, ".") {
		return false
	}
	port, _, _ := strings.Cut(tail, "/")
	if _, err := strconv.ParseUint(port, 10, 16); err == nil {
		return false
	}
	return true
}

type hostError string

func (e hostError) Error() string { return string(e) }

// canonicalHost returns the host in lower case punycode, or as an address if it is one in any form that
// a resolver accepts. A host that two readers could take for two is an error.
func canonicalHost(host string) (string, netip.Addr, error) {
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if strings.Contains(host, ":") {
		a, err := netip.ParseAddr(host)
		if err != nil || a.Zone() != "" {
			return "", netip.Addr{}, hostError("bad IPv6 address")
		}
		return a.Unmap().String(), a.Unmap(), nil
	}
	ascii, err := punycode(host)
	if err != nil {
		// Underscores are refused by IDNA but resolve: service records, Docker networks.
		if ascii = strings.ToLower(host); !hostLike(ascii) {
			return "", netip.Addr{}, hostError("bad host name")
		}
	}
	ascii = strings.ToLower(strings.TrimSuffix(ascii, "."))
	if ascii == "" || len(ascii) > 253 || strings.HasPrefix(ascii, ".") || strings.Contains(ascii, "..") || strings.HasSuffix(ascii, ".") {
		return "", netip.Addr{}, hostError("bad host name")
	}
	if a, isAddr, ok := looseIPv4(ascii); isAddr {
		if !ok {
			return "", netip.Addr{}, hostError("bad IPv4 address")
		}
		return a.String(), a, nil
	}
	return ascii, netip.Addr{}, nil
}

// CanonicalHost reads the host of a URL as canonicalHost does, for the door that dials it: what is judged and
// what is reached must be read alike.
func CanonicalHost(host string) (string, netip.Addr, error) {
	if strings.ContainsAny(host, "%") {
		return "", netip.Addr{}, hostError("bad host name")
	}
	return canonicalHost(host)
}

// PrivateAddr reports whether a is anything but a public unicast address.
func PrivateAddr(a netip.Addr) bool { return privateAddr(a) }

// punycode is IDNA's lookup form. A name whose form is not its own form is refused: two readers would
// look up two names.
func punycode(host string) (string, error) {
	if !utf8.ValidString(host) {
		return "", hostError("not UTF-8")
	}
	ascii, err := idna.Lookup.ToASCII(host)
	if err != nil {
		return "", err
	}
	if again, err := idna.Lookup.ToASCII(ascii); err != nil || again != ascii {
		return "", hostError("unstable name")
	}
	return ascii, nil
}

func hostLike(s string) bool {
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.') {
			return false
		}
	}
	return s != ""
}

// looseIPv4 reads what inet_aton reads: one to four parts, each decimal, octal (0 in front) or hex (0x).
// isAddr is true for any host whose last label is a number: WHATWG refuses the ones that do not parse.
func looseIPv4(host string) (a netip.Addr, isAddr, ok bool) {
	parts := strings.Split(host, ".")
	if _, err := looseNumber(parts[len(parts)-1]); err != nil {
		return a, false, false
	}
	if len(parts) > 4 {
		return a, true, false
	}
	var v uint64
	for i, p := range parts {
		n, err := looseNumber(p)
		if err != nil {
			return a, true, false
		}
		if i < len(parts)-1 {
			if n > 255 {
				return a, true, false
			}
			v |= n << (24 - 8*i)
			continue
		}
		if n >= 1<<(8*(5-len(parts))) {
			return a, true, false
		}
		v |= n
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true, true
}

func looseNumber(s string) (uint64, error) {
	switch {
	case strings.HasPrefix(s, "0x"):
		if s == "0x" {
			return 0, nil
		}
		return strconv.ParseUint(s[2:], 16, 33)
	case len(s) > 1 && s[0] == '0':
		if n, err := strconv.ParseUint(s[1:], 8, 33); err == nil {
			return n, nil
		}
	}
	return strconv.ParseUint(s, 10, 33)
}

var sharedSpace = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("fec0::/10"), netip.MustParsePrefix("2001::/32"),
}

// privateAddr reports whether a is anything but a public unicast address, metadata services included.
// Tunnel and translation prefixes count as private: they can carry any IPv4 address.
func privateAddr(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range sharedSpace {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// privateHost judges a host by its spelling; where a public-looking name resolves to is not known here.
func privateHost(c canonical) action.Tri {
	if c.addr.IsValid() {
		return action.TriOf(privateAddr(c.addr))
	}
	labels := strings.Split(c.host, ".")
	switch last := labels[len(labels)-1]; {
	case len(labels) == 1, last == "localhost", last == "local", last == "internal", last == "lan", last == "home",
		last == "corp", last == "intranet", last == "localdomain", strings.HasSuffix(c.host, ".home.arpa"):
		return action.Yes
	}
	for _, suffix := range []string{"nip.io", "sslip.io", "xip.io", "localtest.me", "lvh.me", "vcap.me", "lacolhost.com"} {
		if c.host == suffix || strings.HasSuffix(c.host, "."+suffix) {
			return action.TriUnknown // resolves to whatever address the name spells
		}
	}
	return action.No
}

// url states the facts of one URL argument; understood is false if its host could not be told, and then
// Host is empty.
func urlFacts(pointer, raw string) (action.URL, canonical) {
	c := canonicalURL(raw)
	u := action.URL{Pointer: pointer, Query: action.TriUnknown, Private: action.TriUnknown}
	if !c.ok {
		return u, c
	}
	u.Scheme, u.Host, u.Port, u.Path = c.scheme, c.host, c.port, c.path
	u.Query, u.Private = action.TriOf(c.query), privateHost(c)
	if c.addr.IsValid() {
		u.Addrs = []string{c.addr.String()}
	} else if d, err := publicsuffix.EffectiveTLDPlusOne(c.host); err == nil {
		u.Domain = d
	} else {
		u.Domain = c.host
	}
	u.Account = account(c)
	return u, c
}

// manyTenants are services where the host says nothing about whose page it is: the first path element
// or the host's own first label does.
var manyTenants = map[string]bool{"github.com": true, "gitlab.com": true, "bitbucket.org": true, "raw.githubusercontent.com": true,
	"gist.github.com": true, "medium.com": true, "x.com": true, "twitter.com": true, "huggingface.co": true, "pastebin.com": true,
	"docs.google.com": true, "drive.google.com": true, "storage.googleapis.com": true, "s3.amazonaws.com": true, "t.me": true,
	"discord.com": true, "hooks.slack.com": true, "api.telegram.org": true, "npmjs.com": true, "hub.docker.com": true, "reddit.com": true}

func account(c canonical) string {
	if manyTenants[c.host] {
		if s := split(c.path); len(s) > 0 {
			return action.Clip(s[0], 128)
		}
		return ""
	}
	for _, suffix := range []string{".s3.amazonaws.com", ".blob.core.windows.net", ".web.app", ".firebaseio.com", ".supabase.co"} {
		if a, ok := strings.CutSuffix(c.host, suffix); ok {
			return a
		}
	}
	return ""
}
