// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"io/fs"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
)

// Handler serves the published log as C2SP tlog-tiles under /log/: "/log/checkpoint" and "/log/tile/...".
// It checks no authority: the door that mounts it does. A partial tile that has grown since is served in
// the width that was asked for.
func (l *Log) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		path, ok := strings.CutPrefix(r.URL.Path, "/log/")
		if !ok || l.cfg.Tiles == "" {
			http.NotFound(w, r)
			return
		}
		if path == "checkpoint" {
			// With witnesses nobody is shown a head that they have not seen, once they have seen one.
			b, err := readFile(l.cfg.disk, filepath.Join(l.cfg.Tiles, fileWitnessed), 1<<20)
			if len(l.wit.list) == 0 || errors.Is(err, fs.ErrNotExist) {
				b, err = readFile(l.cfg.disk, filepath.Join(l.cfg.Tiles, "checkpoint"), 1<<20)
			}
			serve(w, r, b, err, "text/plain; charset=utf-8", "no-cache")
			return
		}
		level, n, width, ok := parseTilePath(path)
		if !ok {
			http.NotFound(w, r)
			return
		}
		b, err := readTile(l.cfg.disk, l.cfg.Tiles, level, n, width)
		serve(w, r, b, err, "application/octet-stream", "max-age=31536000, immutable")
	})
}

func serve(w http.ResponseWriter, r *http.Request, b []byte, err error, kind, cache string) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		http.NotFound(w, r)
	case err != nil:
		http.Error(w, "the log cannot be read", http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Header().Set("Cache-Control", cache)
		if r.Method == http.MethodGet {
			_, _ = w.Write(b) // the peer is gone if this errs
		}
	}
}
