// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/go-json-experiment/json"
)

// wrapper is ledger.Wrapper.
type wrapper interface {
	Name() string
	Wrap(key []byte) ([]byte, error)
	Unwrap(wrapped []byte) ([]byte, error)
}

// service is a transit engine: ciphertexts are numbers of a list.
func service(t *testing.T, token string) *httptest.Server {
	t.Helper()
	var kept []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in, out map[string]string
		if r.Header.Get("X-Vault-Token") != token || json.UnmarshalRead(r.Body, &in) != nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		switch r.URL.Path {
		case "/v1/transit/encrypt/sallyport":
			kept = append(kept, in["plaintext"])
			out = map[string]string{"ciphertext": "vault:v1:" + strings.Repeat("x", len(kept))}
		case "/v1/transit/decrypt/sallyport":
			x, ours := strings.CutPrefix(in["ciphertext"], "vault:v1:")
			n := len(x)
			if !ours || n == 0 || n > len(kept) {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			out = map[string]string{"plaintext": kept[n-1]}
		default:
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_ = json.MarshalWrite(w, map[string]any{"data": out})
	}))
	t.Cleanup(s.Close)
	return s
}

func identity(t *testing.T) string {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "identity.txt")
	if err := os.WriteFile(name, []byte("# a comment\n"+id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestEachWrapperGivesBackWhatItWrappedAndNothingElse(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	file := func(path string) wrapper {
		f, err := OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	aged := func(path string) wrapper {
		a, err := OpenAge(path)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	path, id, s := filepath.Join(t.TempDir(), "wrapping.key"), identity(t), service(t, "tok")
	for name, c := range map[string]struct{ one, again, other wrapper }{
		"file":    {file(path), file(path), file(filepath.Join(t.TempDir(), "other.key"))},
		"age":     {aged(id), aged(id), aged(identity(t))},
		"transit": {&Transit{URL: s.URL + "/v1/transit", Key: "sallyport", Token: "tok"}, &Transit{URL: s.URL + "/v1/transit/", Key: "sallyport", Token: "tok"}, &Transit{URL: s.URL + "/v1/transit", Key: "else", Token: "tok"}},
	} {
		wrapped, err := c.one.Wrap(key)
		if err != nil || bytes.Contains(wrapped, key) {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := c.again.Unwrap(wrapped); err != nil || !bytes.Equal(got, key) || c.one.Name() != c.again.Name() {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.other.Unwrap(wrapped); err == nil || c.other.Name() == c.one.Name() {
			t.Errorf("%s: another key unwraps it, or has its name", name)
		}
		for _, bad := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte{1}, 100)} {
			if _, err := c.one.Unwrap(bad); err == nil {
				t.Errorf("%s unwraps %q", name, bad)
			}
		}
	}
}

func TestTransitTakesNothingElseForAKey(t *testing.T) {
	s := service(t, "tok")
	foreign := base64.StdEncoding.EncodeToString([]byte("somebody else's secret"))
	r, err := http.NewRequest(http.MethodPost, s.URL+"/v1/transit/encrypt/sallyport", strings.NewReader(`{"plaintext":"`+foreign+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Vault-Token", "tok")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	ours := &Transit{URL: s.URL + "/v1/transit", Key: "sallyport", Token: "tok"}
	if _, err := ours.Unwrap([]byte("vault:v1:x")); err == nil {
		t.Error("another use of the same key is a tenant key")
	}
	for name, bad := range map[string]*Transit{
		"a wrong token":        {URL: s.URL + "/v1/transit", Key: "sallyport", Token: "passwd"},
		"a token in the clear": {URL: "http://vault.example/v1/transit", Key: "sallyport", Token: "passwd"},
		"a path for a key":     {URL: s.URL + "/v1/transit", Key: "../sys", Token: "passwd"},
		"nobody there":         {URL: "http://127.0.0.1:1", Key: "sallyport", Token: "passwd"},
		"no token":             {URL: s.URL + "/v1/transit", Key: "sallyport"},
	} {
		if _, err := bad.Wrap([]byte("k")); err == nil || strings.Contains(err.Error(), "passwd") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWrappingKeysAreChecked(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	good, err := OpenFile(filepath.Join(dir, "good"))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(good.path)
	for name, p := range map[string]string{"another file": write("a", "hello", 0o600), "one that others read": write("b", string(b), 0o644),
		"a short key": write("c", fileHead+"AAAA\n", 0o600), "no folder": filepath.Join(dir, "no", "such")} {
		if _, err := OpenFile(p); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	id, _ := os.ReadFile(identity(t))
	for name, p := range map[string]string{"no identity": write("d", "AGE-SECRET-KEY-1PASSWD", 0o600), "two": write("e", string(id)+string(id), 0o600), "none": filepath.Join(dir, "none")} {
		if _, err := OpenAge(p); err == nil || strings.Contains(err.Error(), "PASSWD") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
