// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// checkRemote refuses addresses that a hello may not name, and quotes none: they may hold secrets.
func checkRemote(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || len(raw) > 2048 || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "":
		return errors.New("the address is no http or https URL with a host")
	case u.User != nil || strings.Contains(raw, "#"):
		return errors.New("the address holds a user, a password or a fragment")
	case u.RawQuery != "":
		return errors.New("the address holds a query")
	}
	return nil
}

// ToldURL is what the owner is told of an address: without its query, which may hold a secret. What stays is
// the question mark, so that it is another address than the one without. It errs on an address that no
// server may be reached under.
func ToldURL(raw string) (string, error) {
	told, _, query := strings.Cut(raw, "?")
	if err := checkRemote(told); err != nil {
		return "", err
	}
	if query {
		told += "?"
	}
	return told, nil
}

// RemoteName derives a server's name from its URL: its host, in the letters that a tool key takes.
func RemoteName(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "server"
	}
	return nameOf(u.Host)
}

// ours are headers that the protocol or the connection sets itself.
var ours = []string{"Accept", "Connection", "Content-Length", "Content-Type", "Host", "Keep-Alive", "Last-Event-Id", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent"}

// ReadHeaders reads a file of headers, "Name: value" each on a line, blank lines and lines that begin with
// "#" left out. The file must be its user's own: it holds credentials. Errors quote names, never values.
func ReadHeaders(path string) (http.Header, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("mcp: headers: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("mcp: headers: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > 64<<10 {
		return nil, fmt.Errorf("mcp: headers: %q is no file of at most 64 KiB", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("mcp: headers: %q is open to others (mode %04o)", path, info.Mode().Perm())
	}
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	if int64(n) != info.Size() {
		return nil, fmt.Errorf("mcp: headers: %w", err)
	}
	out, err := parseHeaders(string(b))
	if err != nil {
		return nil, fmt.Errorf("mcp: headers: %q: %w", path, err)
	}
	return out, nil
}

func parseHeaders(text string) (http.Header, error) {
	out := http.Header{}
	for i, l := range strings.Split(text, "\n") {
		if l = strings.TrimSpace(l); l == "" || l[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(l, ":")
		value = strings.TrimSpace(value)
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("line %d is not NAME: VALUE", i+1)
		}
		name = http.CanonicalHeaderKey(name)
		if slices.Contains(ours, name) || strings.HasPrefix(name, "Mcp-") {
			return nil, fmt.Errorf("line %d: %s is set by the protocol", i+1, name)
		}
		out[name] = append(out[name], value)
	}
	return out, nil
}

// Exposed reports whether requests to the address would carry headers in the clear beyond this machine.
func Exposed(raw string, header http.Header) bool {
	u, err := url.Parse(raw)
	if err != nil || len(header) == 0 || u.Scheme == "https" {
		return err != nil
	}
	host := u.Hostname()
	ip := net.ParseIP(host)
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// httpError says what a status means to whoever set the relay up.
func httpError(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Sprintf("the server refuses the credential (status %d); it is read from --header-file", status)
	case http.StatusNotFound:
		return "the server knows no such address or session (status 404)"
	}
	return fmt.Sprintf("the server answered with status %d and no message", status)
}

// plain is an error without the address, which may hold a secret.
func plain(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return err.Error()
}
