// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"bufio"
	"bytes"
	"strings"
)

// A headError is a head that two readers could understand in two ways, or that nobody should send. Its text
// is the code under which it is counted.
type headError string

func (e headError) Error() string { return "egress: head: " + string(e) }

// peekHead waits for a whole head and checks it, without taking it from br, whose buffer must have room for
// headBytes. It reads nothing of what follows.
func peekHead(br *bufio.Reader) error {
	for n := 1; ; n = br.Buffered() + 1 {
		if n > headBytes {
			return headError("too_large")
		}
		if _, err := br.Peek(n); err != nil {
			return err
		}
		b, _ := br.Peek(br.Buffered())
		if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
			return checkHead(b[:i+2])
		}
		// A reader that takes a bare LF for the end of a line sees an end here that we do not see.
		if bytes.Contains(b, []byte("\n\n")) || bytes.Contains(b, []byte("\n\r\n")) && !bytes.Contains(b, []byte("\r\n\r\n")) {
			return headError("line_end")
		}
	}
}

// single are fields that frame a message, route it or prove who sends it: each at most once.
var single = map[string]bool{"host": true, "content-length": true, "transfer-encoding": true, "content-type": true, "content-encoding": true,
	"authorization": true, "proxy-authorization": true, "expect": true, "upgrade": true, "sec-websocket-key": true, "trailer": true}

// checkHead checks a request line and fields, each ended by CRLF.
func checkHead(head []byte) error {
	lines := strings.Split(strings.TrimSuffix(string(head), "\r\n"), "\r\n")
	method, rest, ok := strings.Cut(lines[0], " ")
	target, proto, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || !isToken(method) || target == "" || strings.ContainsFunc(lines[0], control) || strings.ContainsAny(target, " \\#") {
		return headError("request_line")
	}
	if proto != "HTTP/1.1" && proto != "HTTP/1.0" {
		return headError("version")
	}
	seen := map[string]string{}
	for _, l := range lines[1:] {
		name, value, ok := strings.Cut(l, ":")
		if !ok || !isToken(name) { // covers folded lines and space before the colon
			return headError("field")
		}
		if strings.ContainsFunc(value, func(r rune) bool { return control(r) && r != '\t' }) {
			return headError("field_value")
		}
		name, value = strings.ToLower(name), strings.Trim(value, " \t")
		if _, twice := seen[name]; twice && single[name] {
			return headError("duplicate_" + strings.ReplaceAll(name, "-", "_"))
		}
		seen[name] = value
		if len(lines) > 200 {
			return headError("too_many_fields")
		}
	}
	return checkFraming(target, proto, method, seen)
}

func checkFraming(target, proto, method string, seen map[string]string) error {
	te, chunked := seen["transfer-encoding"]
	cl, sized := seen["content-length"]
	host, hosted := seen["host"]
	switch {
	case chunked && sized:
		return headError("framing")
	case chunked && (!strings.EqualFold(te, "chunked") || proto != "HTTP/1.1"):
		return headError("transfer_encoding")
	case sized && (cl == "" || len(cl) > 18 || strings.Trim(cl, "0123456789") != ""):
		return headError("content_length")
	case seen["trailer"] != "":
		return headError("trailer")
	case seen["expect"] != "" && !strings.EqualFold(seen["expect"], "100-continue"):
		return headError("expect")
	case !hosted && proto == "HTTP/1.1":
		return headError("no_host")
	}
	if !hosted {
		return nil
	}
	authority, absolute := authorityOf(target)
	if method == "CONNECT" {
		authority, absolute = target, true
	}
	if absolute && !sameAuthority(authority, host) {
		return headError("host_mismatch")
	}
	return nil
}

// authorityOf takes the authority from a target in absolute form.
func authorityOf(target string) (string, bool) {
	_, rest, ok := strings.Cut(target, "://")
	if !ok || strings.HasPrefix(target, "/") {
		return "", false
	}
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		rest = rest[:i]
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	return rest, true
}

// sameAuthority compares as senders write it: case does not count, nor does a port that only one names, as
// some clients leave the default one out of the Host.
func sameAuthority(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if a == b {
		return true
	}
	ah, ap := cutPort(a)
	bh, bp := cutPort(b)
	return ah == bh && (ap == "" || bp == "") && (ap+bp == "80" || ap+bp == "443" || ap+bp == "")
}

// cutPort cuts the port off; an address of version 6 keeps its brackets.
func cutPort(s string) (host, port string) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.HasSuffix(s, "]") || strings.Contains(s[:i], ":") && !strings.HasSuffix(s[:i], "]") {
		return s, ""
	}
	return s[:i], s[i+1:]
}

func control(r rune) bool { return r < 0x20 || r == 0x7f }

func isToken(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return true
}

// checkPath refuses paths that a server may read as another one: dot segments, also encoded ones, and
// backslashes. Whoever means them sends them resolved.
func checkPath(escaped string) error {
	low := strings.ToLower(escaped)
	for _, enc := range []struct{ from, to string }{{"%25", "%"}, {"%2e", "."}, {"%2f", "/"}, {"%5c", "\\"}} {
		low = strings.ReplaceAll(low, enc.from, enc.to)
	}
	if strings.Contains(low, "\\") {
		return headError("path")
	}
	for _, seg := range strings.Split(low, "/") {
		if seg, _, _ = strings.Cut(seg, ";"); seg == "." || seg == ".." {
			return headError("path")
		}
	}
	return nil
}
