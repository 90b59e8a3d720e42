// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"
)

// dist is the console as it was built from console/; test/console proves it current.
//
//go:embed all:console/dist
var dist embed.FS

// consoleHeaders are of every file of the console. Nothing may run or style the page but its own files,
// no text can become script or markup (Trusted Types, with no policy allowed), nobody may frame it, and it
// reaches nothing but this address.
var consoleHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), display-capture=(), " +
		"publickey-credentials-get=(self), publickey-credentials-create=(self)",
}

// consoleTypes are the only kinds of file that the console has.
var consoleTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml", ".woff2": "font/woff2",
}

// consolePath is where the console is.
const consolePath = "/console/"

// Console serves the files of the console below /console/ to everybody, and leaves everything else to next.
// The files are the same for all and hold nothing that is not in the repository: whoever reads them has to
// log in before any route tells him anything.
func Console(next http.Handler) http.Handler {
	root, err := fs.Sub(dist, "console/dist")
	if err != nil {
		panic(err) // the path is a constant
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ours := strings.CutPrefix(r.URL.Path, consolePath)
		switch {
		case r.URL.Path == "/console" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
			http.Redirect(w, r, consolePath, http.StatusPermanentRedirect)
		case !ours || r.Method != http.MethodGet && r.Method != http.MethodHead:
			next.ServeHTTP(w, r)
		default:
			serveConsole(w, r, root, name, next)
		}
	})
}

func serveConsole(w http.ResponseWriter, r *http.Request, root fs.FS, name string, next http.Handler) {
	if name == "" {
		name = "index.html"
	}
	kind := consoleTypes[name[max(strings.LastIndexByte(name, '.'), 0):]]
	f := packed(root, name)
	if f == nil || kind == "" {
		next.ServeHTTP(w, r) // its refusal is the same as everywhere
		return
	}
	h := w.Header()
	for k, v := range consoleHeaders {
		h.Set(k, v)
	}
	b, tag := f.plain, f.tag
	h.Set("Vary", "Accept-Encoding")
	if f.gzip != nil && takesGzip(r) {
		b, tag = f.gzip, tag+"-gzip"
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", `"`+tag+`"`)
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(name, "assets/") { // their names change with what they hold
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(publicWrite))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// file is one file of the console as it is served. gzip is nil where that is not smaller.
type file struct {
	plain, gzip []byte
	tag         string
}

// files are those that were asked for, by name: each is packed once. What is served there is the same for everybody and
// holds no secret, so that its length under compression tells nothing.
var files sync.Map

func packed(root fs.FS, name string) *file {
	if f, ok := files.Load(name); ok {
		return f.(*file)
	}
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return nil
	}
	sum := sha256.Sum256(b)
	f := &file{plain: b, tag: hex.EncodeToString(sum[:12])}
	var z bytes.Buffer
	g := gzip.NewWriter(&z)
	if _, err := g.Write(b); err == nil && g.Close() == nil && z.Len() < len(b) {
		f.gzip = z.Bytes()
	}
	files.Store(name, f)
	return f
}

// takesGzip reports whether a browser said that it takes gzip; one that sets a weight gets the plain file.
func takesGzip(r *http.Request) bool {
	for _, v := range r.Header["Accept-Encoding"] {
		for e := range strings.SplitSeq(v, ",") {
			if strings.TrimSpace(e) == "gzip" {
				return true
			}
		}
	}
	return false
}
