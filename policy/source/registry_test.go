// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/policy/bundle"
)

// realRegistry starts Docker's own registry on a port of this machine and returns its address. It ends with the test.
func realRegistry(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("docker-registry is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, dir := l.Addr().String(), t.TempDir()
	_ = l.Close()
	config := filepath.Join(dir, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n", filepath.Join(dir, "data"), addr)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		res, err := http.Get("http://" + addr + "/v2/")
		if err == nil {
			_ = res.Body.Close()
			return addr
		}
		if time.Since(began) > time.Minute {
			t.Fatal(err)
		}
	}
}

// push stores an archive as the manifest's one layer, as registries' clients do, and returns the manifest's digest.
func push(t *testing.T, addr, name, tag string, archive []byte) string {
	t.Helper()
	at := "http://" + addr + "/v2/" + name
	send := func(method, to, kind string, body []byte, want int) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, to, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		said, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Fatalf("%s %s: %d %s", method, to, res.StatusCode, said)
		}
		return res
	}
	blob := func(data []byte) string {
		t.Helper()
		to, err := url.Parse(send("POST", at+"/blobs/uploads/", "", nil, http.StatusAccepted).Header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		values := to.Query()
		values.Set("digest", bundle.Sum(data))
		to.RawQuery = values.Encode()
		send("PUT", to.String(), "application/octet-stream", data, http.StatusCreated)
		return bundle.Sum(data)
	}
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		ManifestType, blob([]byte("{}")), LayerType, blob(archive), len(archive))
	send("PUT", at+"/manifests/"+tag, ManifestType, []byte(manifest), http.StatusCreated)
	return bundle.Sum([]byte(manifest))
}

// TestFetchPullsFromDockersRegistry follows a tag that moves, from one bundle to the next, in a registry that others wrote.
func TestFetchPullsFromDockersRegistry(t *testing.T) {
	addr := realRegistry(t)
	s, err := New(Config{Source: "oci://" + addr + "/team/policy:stable"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "status 404") {
		t.Fatalf("an empty registry: %v", err)
	}
	for sequence := int64(1); sequence <= 2; sequence++ {
		digest := push(t, addr, "team/policy", "stable", archive(t, int(sequence)))
		if got, from := fetch(t, s); got != sequence || !strings.HasSuffix(from, "@"+digest) {
			t.Errorf("%d from %s, not %d from %s", got, from, sequence, digest)
		}
		if got, _ := fetch(t, s); got != 0 {
			t.Errorf("the same again: %d", got)
		}
	}
}
