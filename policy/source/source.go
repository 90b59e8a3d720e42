// SPDX-License-Identifier: Apache-2.0

// Package source fetches policy bundles from where they are published: a folder, an archive, an HTTP server, a git
// checkout, a registry.
//
// # What is trusted
//
// Nothing that is fetched: whoever can write to a source can withhold bundles, not change one, because signatures and
// sequence are checked by whoever takes the bundle. What comes back is bounded, and no redirect is followed to a
// weaker scheme.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/policy/bundle"
)

// LongPoll is how long an HTTP server is asked to wait with its answer while nothing is new.
const LongPoll = 50 * time.Second

// Config names one source.
type Config struct {
	// Source is "dir:FOLDER", "file:ARCHIVE", "git:CHECKOUT" or "git:CHECKOUT//FOLDER", "https://..." of an archive, or
	// "oci://HOST/REPOSITORY:TAG". http is for this machine only.
	Source string
	Token  string       // that an HTTP server or a registry knows us by; "NAME:SECRET" for a registry's token service; "" is none
	Client *http.Client // nil means one with a minute's limit
}

// Source is one source. It is for one goroutine.
type Source struct {
	kind, at, within string
	cfg              Config
	client           *http.Client
	etag             string
	repository       string // of a registry
	granted          string // what the registry's token service gave us to show, see answer
}

// Fetched is what a source has.
type Fetched struct {
	Bundle *bundle.Bundle // nil: nothing new since the last fetch
	From   string         // the source, with the commit or digest where it has one
}

// New reads a source's name.
func New(cfg Config) (*Source, error) {
	kind, rest, ok := strings.Cut(cfg.Source, ":")
	s := &Source{kind: kind, at: rest, cfg: cfg, client: cfg.Client}
	if s.client == nil {
		s.client = &http.Client{Timeout: LongPoll + 10*time.Second}
	}
	plain := *s.client
	plain.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > 3 || r.URL.Scheme != via[0].URL.Scheme {
			return errors.New("a redirect to another scheme, or too many")
		}
		return nil
	}
	s.client = &plain
	switch {
	case !ok:
	case kind == "git":
		s.at, s.within, _ = strings.Cut(rest, "//")
		if filepath.IsAbs(s.at) && (s.within == "" || filepath.IsLocal(s.within)) {
			return s, nil
		}
	case kind == "dir", kind == "file":
		if filepath.IsAbs(rest) {
			return s, nil
		}
	case kind == "https", kind == "http", kind == "oci":
		u, err := url.Parse(cfg.Source)
		if err != nil || u.Host == "" || u.User != nil || kind == "http" && !local(u.Hostname()) {
			break
		}
		if kind != "oci" {
			return s, nil
		}
		return s, s.registry(u)
	}
	return nil, fmt.Errorf("source %q: dir:/FOLDER, file:/ARCHIVE, git:/CHECKOUT//FOLDER, https://... or oci://HOST/REPOSITORY:TAG is wanted", cfg.Source)
}

func local(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }

// Polls reports whether Fetch itself waits for news, so that it may be called again at once.
func (s *Source) Polls() bool { return s.kind == "https" || s.kind == "http" }

// Fetch returns what the source has, or nothing if it says that it has not changed.
func (s *Source) Fetch(ctx context.Context) (f Fetched, err error) {
	f.From = s.cfg.Source
	var archive []byte
	switch s.kind {
	case "dir":
		f.Bundle, err = bundle.Open(s.at, nil)
		return f, err
	case "file":
		archive, err = readFile(s.at)
	case "git":
		var commit string
		archive, commit, err = s.git(ctx)
		f.From += "@" + commit
	case "oci":
		var digest string
		archive, digest, err = s.pull(ctx)
		f.From += "@" + digest
	default:
		archive, err = s.get(ctx)
	}
	if err == nil && archive != nil {
		f.Bundle, err = bundle.ReadArchive(archive)
	}
	if err != nil {
		return f, fmt.Errorf("source %q: %w", s.cfg.Source, err)
	}
	return f, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return bounded(f, bundle.MaxArchiveBytes)
}

func bounded(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("larger than %d bytes", most)
	}
	return data, err
}

// get asks an HTTP server, which may wait until the archive is another one than the last.
func (s *Source) get(ctx context.Context) ([]byte, error) {
	header := http.Header{}
	if s.etag != "" {
		header.Set("If-None-Match", s.etag)
		header.Set("Prefer", fmt.Sprintf("wait=%d", int(LongPoll.Seconds())))
	}
	resp, err := s.request(ctx, s.cfg.Source, header)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusNotModified:
		return nil, nil
	case http.StatusOK:
	default:
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	data, err := bounded(resp.Body, bundle.MaxArchiveBytes)
	if err == nil {
		s.etag = resp.Header.Get("ETag")
	}
	return data, err
}

func (s *Source) request(ctx context.Context, at string, header http.Header) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	r.Header = header
	switch {
	case s.granted != "":
		r.Header.Set("Authorization", s.granted)
	case s.kind == "oci" && strings.Contains(s.cfg.Token, ":"): // shown only to whom the registry names
	case s.cfg.Token != "":
		r.Header.Set("Authorization", "Bearer "+s.cfg.Token)
	}
	return s.client.Do(r)
}

// git takes what is committed at HEAD; what only lies in the working tree does not count. Neither hooks nor the
// configuration of the machine or user take part.
func (s *Source) git(ctx context.Context) (archive []byte, commit string, err error) {
	run := func(most int64, args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", s.at, "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"}, args...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C"}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		data, err := bounded(out, most)
		if err != nil {
			_ = cmd.Process.Kill()
		}
		if werr := cmd.Wait(); err == nil && werr != nil {
			err = fmt.Errorf("git %s: %w", args[0], werr)
		}
		return data, err
	}
	head, err := run(200, "rev-parse", "--verify", "HEAD^{commit}")
	if err != nil {
		return nil, "", err
	}
	commit = strings.TrimSpace(string(head))
	tree := commit
	if s.within != "" {
		tree += ":" + filepath.ToSlash(filepath.Clean(s.within))
	}
	archive, err = run(bundle.MaxArchiveBytes, "archive", "--format=tar", tree)
	return archive, commit, err
}
