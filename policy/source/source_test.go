// SPDX-License-Identifier: Apache-2.0

package source

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sallyport/sallyport/policy/bundle"
)

const manifest = "version: 1\nname: pack\nsequence: %d\n"

func archive(t testing.TB, sequence int) []byte {
	t.Helper()
	b, err := bundle.Read(fstest.MapFS{bundle.ManifestFile: {Data: fmt.Appendf(nil, manifest, sequence)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := b.Archive()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func fetch(t *testing.T, s *Source) (int64, string) {
	t.Helper()
	f, err := s.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if f.Bundle == nil {
		return 0, f.From
	}
	return f.Bundle.Manifest.Sequence, f.From
}

func TestNewRefusesWhatIsNoSource(t *testing.T) {
	for _, name := range []string{"", "mine", "dir:relative", "file:relative", "git:relative", "git:/checkout//../../etc", "http://example.com/b.tar.gz", "https://",
		"https://user:secret@example.com/b", "oci://example.com/repo", "oci://example.com/../x:latest", "oci://example.com/Repo:latest",
		"oci://example.com/repo:latest?x=1", "ftp://example.com/b"} {
		if _, err := New(Config{Source: name}); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

func TestFetchReadsFoldersAndFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, bundle.ManifestFile), fmt.Appendf(nil, manifest, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "b.tar.gz")
	if err := os.WriteFile(file, archive(t, 4), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"dir:" + dir: 3, "file:" + file: 4} {
		s, err := New(Config{Source: name})
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := fetch(t, s); got != want {
			t.Errorf("%s: %d", name, got)
		}
	}
}

func TestFetchAsksHTTPForNewsOnly(t *testing.T) {
	sequence := 1
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tag := fmt.Sprintf("%q", fmt.Sprint(sequence))
		asked = append(asked, r.Header.Get("If-None-Match")+" "+r.Header.Get("Prefer")+" "+r.Header.Get("Authorization"))
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(archive(t, sequence))
	}))
	defer srv.Close()
	s, err := New(Config{Source: srv.URL + "/b.tar.gz", Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{1, 0, 2, 0} {
		if i == 2 {
			sequence = 2
		}
		if got, _ := fetch(t, s); got != want {
			t.Fatalf("fetch %d: %d, want %d", i, got, want)
		}
	}
	if asked[0] != "  Bearer secret" || asked[1] != `"1" wait=50 Bearer secret` {
		t.Fatalf("asked %q", asked)
	}
}

func TestFetchRefusesWhatAServerShouldNotSend(t *testing.T) {
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		want  string
	}{
		"an error":            {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "status 500"},
		"no archive":          {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "archive"},
		"more than its bound": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, bundle.MaxArchiveBytes+1)) }, "larger than"},
		"a way to other places": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "ftp://127.0.0.1/b", http.StatusFound)
		}, "scheme"},
		"a way in circles": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) }, "too many"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(c.serve)
			defer srv.Close()
			s, err := New(Config{Source: srv.URL})
			if err != nil {
				t.Fatal(err)
			}
			if f, err := s.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%+v %v", f, err)
			}
		})
	}
}

// registryOf serves one tag as the OCI distribution specification says.
func registryOf(manifest func() string, layer func() []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.Sum256(layer())
		switch r.URL.Path {
		case "/v2/team/policy/manifests/stable":
			if r.Header.Get("Accept") != ManifestType {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			w.Header().Set("Content-Type", ManifestType)
			_, _ = w.Write([]byte(manifest()))
		case "/v2/team/policy/blobs/sha256:" + hex.EncodeToString(sum[:]):
			_, _ = w.Write(layer())
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}
}

func TestFetchPullsFromARegistry(t *testing.T) {
	sequence, lie := 1, ""
	layer := func() []byte { return archive(t, sequence) }
	text := func() string {
		sum := bundle.Sum(layer())
		if lie == "digest" {
			sum = bundle.Sum(nil)
		}
		size := len(layer())
		if lie == "size" {
			size++
		}
		kind := LayerType
		if lie == "type" {
			kind = "application/octet-stream"
		}
		out := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`, ManifestType, kind, sum, size)
		if lie == "path" {
			out = strings.Replace(out, sum, "../../secret", 1)
		}
		return out
	}
	srv := httptest.NewServer(registryOf(text, layer))
	defer srv.Close()
	s, err := New(Config{Source: "oci://" + strings.TrimPrefix(srv.URL, "http://") + "/team/policy:stable"})
	if err != nil {
		t.Fatal(err)
	}
	got, from := fetch(t, s)
	if got != 1 || !strings.HasSuffix(from, "@"+bundle.Sum([]byte(text()))) {
		t.Fatalf("%d from %s", got, from)
	}
	if got, _ := fetch(t, s); got != 0 {
		t.Fatalf("again: %d", got)
	}
	sequence = 2
	for what, want := range map[string]string{"digest": "status 404", "size": "not what the manifest says", "type": "one layer of type", "path": "one layer of type"} {
		lie = what
		if _, err := s.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	lie = ""
	if got, _ := fetch(t, s); got != 2 {
		t.Fatalf("the next one: %d", got)
	}
}

func TestFetchTakesWhatGitHasCommitted(t *testing.T) {
	dir := t.TempDir()
	put := func(sequence int) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, "policy"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "policy", bundle.ManifestFile), fmt.Appendf(nil, manifest, sequence), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	put(1)
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "one")
	put(2) // not committed
	s, err := New(Config{Source: "git:" + dir + "//policy"})
	if err != nil {
		t.Fatal(err)
	}
	if got, from := fetch(t, s); got != 1 || !strings.HasSuffix(from, "@"+git("rev-parse", "HEAD")) {
		t.Fatalf("%d from %s", got, from)
	}
	git("commit", "-q", "-a", "-m", "two")
	if got, _ := fetch(t, s); got != 2 {
		t.Fatal(got)
	}
}
