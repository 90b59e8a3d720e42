// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/rego"
)

// notice takes a notification. One that cannot be read changes nothing.
func (s *server) notice(m *message) {
	var p struct {
		TextDocument struct {
			URI     string `json:"uri"`
			Version int64  `json:"version"`
			Text    string `json:"text"`
		} `json:"textDocument"`
		Changes []struct {
			Range *struct{} `json:"range"`
			Text  string    `json:"text"`
		} `json:"contentChanges"`
	}
	if !strings.HasPrefix(m.Method, "textDocument/") {
		return
	}
	if err := json.Unmarshal(m.Params, &p); err != nil || p.TextDocument.URI == "" {
		s.complain("%s: its parameters cannot be read", m.Method)
		return
	}
	doc := p.TextDocument
	switch m.Method {
	case "textDocument/didOpen":
		s.put(&document{uri: doc.URI, version: doc.Version, text: doc.Text})
	case "textDocument/didChange":
		if len(p.Changes) == 0 {
			return
		}
		last := p.Changes[len(p.Changes)-1]
		if last.Range != nil {
			s.complain("only whole texts are taken; %s is no longer followed", doc.URI)
			s.drop(doc.URI)
			return
		}
		s.put(&document{uri: doc.URI, version: doc.Version, text: last.Text})
	case "textDocument/didSave":
		s.mu.Lock()
		d := s.docs[doc.URI]
		s.mu.Unlock()
		if d != nil {
			s.touch(d.root)
		}
	case "textDocument/didClose":
		s.drop(doc.URI)
	}
}

// put takes a document as it is now.
func (s *server) put(d *document) {
	s.mu.Lock()
	old := s.docs[d.uri]
	size := s.bytes + len(d.text)
	if old != nil {
		size -= len(old.text)
		d.root, d.name = old.root, old.name
	}
	full := old == nil && len(s.docs) >= MaxDocuments || size > s.cfg.Bytes
	s.mu.Unlock()
	if full {
		s.complain("more than %d documents or %d bytes are open; %s is not followed", MaxDocuments, s.cfg.Bytes, d.uri)
		s.drop(d.uri)
		return
	}
	if old == nil {
		d.root, d.name = place(d.uri)
	}
	s.mu.Lock()
	s.docs[d.uri], s.bytes = d, size
	s.mu.Unlock()
	s.touch(d.root)
}

func (s *server) drop(uri string) {
	s.mu.Lock()
	d := s.docs[uri]
	if d != nil {
		s.bytes -= len(d.text)
		delete(s.docs, uri)
	}
	s.mu.Unlock()
	if d != nil {
		s.touch(d.root)
	}
}

// touch has a bundle linted.
func (s *server) touch(root string) {
	if root == "" {
		return
	}
	s.mu.Lock()
	s.dirty[root] = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// place finds the bundle of a document: the nearest folder from its own upwards with a manifest, and its name there.
func place(uri string) (root, name string) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "file" || u.Host != "" && u.Host != "localhost" || !filepath.IsAbs(u.Path) {
		return "", filepath.Base(uri)
	}
	at := filepath.Clean(u.Path)
	for dir := filepath.Dir(at); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, bundle.ManifestFile)); err == nil || filepath.Base(at) == bundle.ManifestFile && dir == filepath.Dir(at) {
			rel, err := filepath.Rel(dir, at)
			if err != nil {
				return "", filepath.Base(at)
			}
			return dir, filepath.ToSlash(rel)
		}
		if dir == filepath.Dir(dir) {
			return "", filepath.Base(at)
		}
	}
}

// lint lints bundles that changed and were then left alone, until ctx ends.
func (s *server) lint(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		if s.cfg.Quiet > 0 && !s.settle(ctx) {
			return
		}
		s.mu.Lock()
		roots := make([]string, 0, len(s.dirty))
		for root := range s.dirty {
			roots = append(roots, root)
		}
		clear(s.dirty)
		s.mu.Unlock()
		slices.Sort(roots)
		for _, root := range roots {
			s.publish(ctx, root)
		}
	}
}

// settle waits until nothing was touched for a while, and reports false if ctx ended.
func (s *server) settle(ctx context.Context) bool {
	t := time.NewTimer(s.cfg.Quiet)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-s.wake:
			t.Reset(s.cfg.Quiet)
		case <-t.C:
			return true
		}
	}
}

// publish lints one bundle and tells the client about each of its files: those with findings, those that had some, and
// those that are open.
func (s *server) publish(ctx context.Context, root string) {
	overlay, open := map[string][]byte{}, map[string]*document{}
	s.mu.Lock()
	for _, d := range s.docs {
		if d.root == root {
			overlay[d.name], open[d.name] = []byte(d.text), d
		}
	}
	s.mu.Unlock()
	r, err := s.cfg.Lint(ctx, root, overlay)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		s.complain("%s: %v", root, err)
		return
	}
	found := map[string][]rego.Finding{}
	for _, f := range r.Findings {
		if f.Waived == "" {
			found[f.File] = append(found[f.File], f)
		}
	}
	for name := range open {
		found[name] = append([]rego.Finding{}, found[name]...)
	}
	for name := range s.told[root] {
		if found[name] == nil {
			found[name] = []rego.Finding{}
		}
	}
	s.told[root] = map[string]bool{}
	names := make([]string, 0, len(found))
	for name, list := range found {
		names = append(names, name)
		if len(list) > 0 {
			s.told[root][name] = true
		}
	}
	slices.Sort(names)
	for _, name := range names {
		params := object{"uri": uriOf(root, name), "diagnostics": diagnostics(found[name], string(overlay[name]))}
		if d := open[name]; d != nil {
			params["uri"], params["version"] = d.uri, d.version
		}
		s.out.send(object{"method": "textDocument/publishDiagnostics", "params": params})
	}
}

func uriOf(root, name string) string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(root, filepath.FromSlash(name)))}).String()
}

// diagnostics puts findings in the protocol's form. Text is that of the file, "" if it is not open.
func diagnostics(found []rego.Finding, text string) []object {
	lines := strings.Split(text, "\n")
	out := make([]object, 0, len(found))
	for _, f := range found {
		line, from, to := max(f.Line, 1)-1, 0, 0
		if line < len(lines) {
			from, to = span(lines[line])
		}
		message := f.Text
		if f.Rule != "" {
			message = f.Rule + ": " + message
		}
		if f.Safe != "" {
			message += "\nSafe form: " + f.Safe
		}
		severity := 2
		if f.Error {
			severity = 1
		}
		out = append(out, object{
			"range":    object{"start": position{line, from}, "end": position{line, to}},
			"severity": severity, "code": f.Lint, "source": "sallyport", "message": message,
		})
	}
	return out
}

// span is from the first to the last character of a line that is no space, in UTF-16 units.
func span(line string) (from, to int) {
	line = strings.TrimRight(line, " \t\r")
	return len(line) - len(strings.TrimLeft(line, " \t")), len(utf16.Encode([]rune(line)))
}
