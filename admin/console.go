// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"strings"
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
	b, err := fs.ReadFile(root, name)
	kind := consoleTypes[name[max(strings.LastIndexByte(name, '.'), 0):]]
	if err != nil || kind == "" {
		next.ServeHTTP(w, r) // its refusal is the same as everywhere
		return
	}
	h := w.Header()
	for k, v := range consoleHeaders {
		h.Set(k, v)
	}
	sum := sha256.Sum256(b)
	h.Set("ETag", `"`+hex.EncodeToString(sum[:12])+`"`)
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(name, "assets/") { // their names change with what they hold
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(publicWrite))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}
