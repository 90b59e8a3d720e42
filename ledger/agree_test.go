// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// python runs the verifier that shares no line with this package.
func python(t *testing.T, args ...string) (ok bool, out string) {
	t.Helper()
	exe, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	b, err := exec.CommandContext(t.Context(), exe, append([]string{filepath.Join("..", "docs", "verify", "verify.py")}, args...)...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 5 || bytes.Contains(b, []byte("Traceback"))) {
		t.Fatalf("%v: %s", err, b)
	}
	return err == nil, string(b)
}

// node runs the verifier for browsers. It reports false for there where there is no Node that can.
func node(t *testing.T, args ...string) (ok bool, out string, there bool) {
	t.Helper()
	exe, err := exec.LookPath("node")
	if err != nil {
		t.Log("there is no Node: the verifier for browsers is not compared")
		return false, "", false
	}
	if v, err := exec.CommandContext(t.Context(), exe, "--version").Output(); err != nil || len(v) < 3 || v[0] != 'v' || v[1] < '2' || v[2] == '.' {
		return false, "", false // older than 20, without Ed25519
	}
	b, err := exec.CommandContext(t.Context(), exe, append([]string{filepath.Join("..", "docs", "verify", "verify.mjs")}, args...)...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 5 || bytes.Contains(b, []byte("    at "))) {
		t.Fatalf("%v: %s", err, b)
	}
	return err == nil, string(b), true
}

// agree holds a bundle against both.
func agree(t *testing.T, name string, bundle []byte, key string, want *bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bundle.tar")
	if err := os.WriteFile(file, bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(context.Background(), Source{File: file}, Options{Vkey: key})
	ok, out := python(t, file, "--key", key)
	if ok != (err == nil) {
		t.Errorf("%s: here %v %v, python %v: %s", name, err, r, ok, out)
	}
	if got, out, there := node(t, file, "--key", key); there && got != ok {
		t.Errorf("%s: python %v, node %v: %s", name, ok, got, out)
	}
	if want != nil && *want != ok {
		t.Errorf("%s: accepted %v, wanted %v: %s", name, ok, *want, out)
	}
}

// craft signs a log of any leaves.
func craft(t *testing.T, leaves ...string) (bundle []byte, key string) {
	t.Helper()
	k, err := openKeyring(newMemDisk(), "/keys", "default", "craft.example/log", rand.NewChaCha8([32]byte{1}), true)
	if err != nil {
		t.Fatal(err)
	}
	var tr tree
	var entries []byte
	for _, leaf := range leaves {
		tr.add(leafHash([]byte(leaf)))
		entries = appendBundle(entries, []byte(leaf))
	}
	cp, err := signCheckpoint(k.signer, tr.size, tr.root())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range []struct {
		name string
		data []byte
	}{{"format", []byte(bundleFormat)}, {"vkey", []byte(k.vkey)}, {"checkpoint", cp.Note}, {tilePath(levelEntries, 0, len(leaves)), entries}} {
		if err := w.WriteHeader(&tar.Header{Name: m.name, Mode: 0o600, Size: int64(len(m.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), k.vkey
}

func TestOtherVerifiersAgreeOnLeaves(t *testing.T) {
	yes, no := true, false
	one := `{"_v":1,"kind":"session","seq":1,"session":"s"}`
	h := leafHash([]byte(one))
	prev := base64url.EncodeToString(h[:])
	for _, try := range []struct {
		name   string
		want   *bool
		leaves []string
	}{
		{"one leaf", &yes, []string{one}},
		{"a chain of two", &yes, []string{one, `{"_v":1,"kind":"alert","prev":"` + prev + `","seq":2,"session":"s"}`}},
		{"a wrong sequence", &no, []string{one, `{"_v":1,"kind":"alert","prev":"` + prev + `","seq":3,"session":"s"}`}},
		{"another record before it", &no, []string{one, `{"_v":1,"kind":"alert","prev":"` + strings.Repeat("A", 43) + `","seq":2,"session":"s"}`}},
		{"two intents of one action", &no, []string{`{"_v":1,"action":"a","kind":"intent","seq":1,"session":"s"}`, `{"_v":1,"action":"a","kind":"intent","seq":1,"session":"t"}`}},
		{"two accesses of one action", &yes, []string{`{"_v":1,"action":"a","kind":"access","seq":1,"session":"s"}`, `{"_v":1,"action":"a","kind":"access","seq":1,"session":"t"}`}},
		{"members out of order", &no, []string{`{"_v":1,"seq":1,"kind":"session"}`}},
		{"a member twice", &no, []string{`{"_v":1,"kind":"session","kind":"session","seq":1}`}},
		{"an unknown member", &no, []string{`{"_v":1,"kind":"session","note":"x","seq":1}`}},
		{"a zero member", &no, []string{`{"_v":1,"count":0,"kind":"session","seq":1}`}},
		{"an empty string", &no, []string{`{"_v":1,"call":"","kind":"session","seq":1}`}},
		{"a float", &no, []string{`{"_v":1,"count":1.0,"kind":"session","seq":1}`}},
		{"a number above 2^53", &no, []string{`{"_v":1,"count":9007199254740993,"kind":"session","seq":1}`}},
		{"an escape", &no, []string{`{"_v":1,"call":"\u0041","kind":"session","seq":1}`}},
		{"a false", &no, []string{`{"_v":1,"enforced":false,"kind":"session","seq":1}`}},
		{"a number for true", &no, []string{`{"_v":1,"enforced":1,"kind":"session","seq":1}`}},
		{"an empty list", &no, []string{`{"_v":1,"codes":[],"kind":"session","seq":1}`}},
		{"an empty text in a list", &yes, []string{`{"_v":1,"codes":[""],"kind":"session","seq":1}`}},
		{"a space", &no, []string{`{"_v":1, "kind":"session","seq":1}`}},
		{"an unknown kind", &no, []string{`{"_v":1,"kind":"rumour","seq":1}`}},
		{"another format", &no, []string{`{"_v":2,"kind":"session","seq":1}`}},
		{"bytes beyond ASCII", &no, []string{"{\"_v\":1,\"call\":\"\xc3\xa9\",\"kind\":\"session\",\"seq\":1}"}},
		{"no JSON", &no, []string{`hello`}},
		{"nothing", &no, []string{``}},
		{"an epoch that opens on nothing", &no, []string{`{"_v":1,"codes":["epoch.opened","x","y"],"epoch":2,"kind":"key","seq":1}`}},
	} {
		bundle, key := craft(t, try.leaves...)
		agree(t, try.name, bundle, key, try.want)
	}
}

func TestOtherVerifiersAgreeOnBundlesAndTiles(t *testing.T) {
	yes := true
	_, cfg := closedLog(t, 300)
	l := mustOpen(t, cfg)
	var b bytes.Buffer
	if err := l.Export(t.Context(), &b, ExportOptions{Actor: "auditor", Open: func(i uint64, _ *Leaf, p action.PartName) bool { return i%40 == 0 && p == action.PartArguments }}); err != nil {
		t.Fatal(err)
	}
	key := l.Vkey()
	mustClose(t, l)
	agree(t, "the bundle as it is", b.Bytes(), key, &yes)
	random := rand.New(rand.NewPCG(1, 2))
	for range 24 {
		changed := bytes.Clone(b.Bytes())
		at := random.IntN(len(changed))
		changed[at] ^= 1 << random.IntN(8)
		agree(t, fmt.Sprintf("byte %d", at), changed, key, nil)
	}
	for _, n := range []int{0, 512, 1024, 4096, b.Len() / 2, b.Len() - 3000} {
		agree(t, fmt.Sprintf("cut at %d", n), b.Bytes()[:n], key, nil)
	}
	web := httptest.NewServer(http.FileServer(http.Dir(cfg.Tiles)))
	defer web.Close()
	both := func(name, tiles, url, key string) bool {
		r, err := Verify(t.Context(), Source{URL: url}, Options{Vkey: key})
		ok, out := python(t, tiles, "--key", key)
		if ok != (err == nil) {
			t.Errorf("%s: here %v %v, python %v: %s", name, err, r, ok, out)
		}
		if got, out, there := node(t, tiles, "--key", key); there && got != ok {
			t.Errorf("%s: python %v, node %v: %s", name, ok, got, out)
		}
		return ok
	}
	if !both("tiles", cfg.Tiles, web.URL, key) {
		t.Error("the tiles as they are do not verify")
	}
	err := filepath.WalkDir(cfg.Tiles, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == fileWitnessed {
			return err
		}
		was, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		changed := bytes.Clone(was)
		changed[random.IntN(len(changed))] ^= 4
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			return err
		}
		if both("a flipped bit in "+path, cfg.Tiles, web.URL, key) {
			t.Errorf("a flipped bit in %s passes", path)
		}
		return os.WriteFile(path, was, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "golden-1")
	vkey, err := os.ReadFile(filepath.Join(golden, "keys", "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	goldenWeb := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(golden, "tiles"))))
	defer goldenWeb.Close()
	if !both("the golden log", filepath.Join(golden, "tiles"), goldenWeb.URL, strings.TrimSpace(string(vkey))) {
		t.Error("the golden log does not verify")
	}
}

// TestBrowserVerifierChecksWhatOthersKept holds the verifier for browsers against kept checkpoints, cosignatures
// and proofs.
func TestBrowserVerifierChecksWhatOthersKept(t *testing.T) {
	_, cfg := closedLog(t, 70)
	_, other := closedLog(t, 70)
	l := mustOpen(t, cfg)
	key, older := l.Vkey(), l.Checkpoint().Note
	fillLog(t, l, 70, 30)
	cp := l.Checkpoint()
	proof, err := l.Prove(t.Context(), 42)
	if err != nil {
		t.Fatal(err)
	}
	e, err := l.Read(42)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	foreign, err := os.ReadFile(filepath.Join(other.Tiles, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	fork, err := signCheckpoint(l.keys.signer, 70, leafHash([]byte("another history")))
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.NewChaCha8([32]byte{7}))
	if err != nil {
		t.Fatal(err)
	}
	body, _, _ := strings.Cut(string(cp.Note), "\n\n")
	signature := binary.BigEndian.AppendUint64(nil, 1_790_000_000)
	signature = append(signature, ed25519.Sign(private, []byte("cosignature/v1\ntime 1790000000\n"+body+"\n"))...)
	vkey := append([]byte{4}, public...)
	number := sha256.Sum256(append([]byte("w.example\n"), vkey...))
	witness := fmt.Sprintf("w.example+%x+%s", number[:4], base64.StdEncoding.EncodeToString(vkey))
	cosigned := fmt.Sprintf("%s— w.example %s\n", cp.Note, base64.StdEncoding.EncodeToString(append(number[:4:4], signature...)))
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	otherLeaf := bytes.Replace(e.Raw, []byte(`"kind":"intent"`), []byte(`"kind":"alert"`), 1)
	for _, c := range []struct {
		name string
		want bool
		args []string
	}{
		{"nothing asked for", true, []string{cfg.Tiles, "--key", key}},
		{"a checkpoint from earlier", true, []string{cfg.Tiles, "--key", key, "--old", write("older", older)}},
		{"a checkpoint of another history", false, []string{cfg.Tiles, "--key", key, "--old", write("fork", fork.Note)}},
		{"a checkpoint of another log", false, []string{cfg.Tiles, "--key", key, "--old", write("foreign", foreign)}},
		{"a witness that did not sign", false, []string{cfg.Tiles, "--key", key, "--witness", witness}},
		{"a proof", true, []string{write("proof", proof.Marshal()), "--key", key, "--leaf", write("leaf", e.Raw)}},
		{"a proof of another leaf", false, []string{write("proof", proof.Marshal()), "--key", key, "--leaf", write("other", otherLeaf)}},
		{"a proof that was cut", false, []string{write("cut", bytes.Replace(proof.Marshal(), []byte("index 42"), []byte("index 43"), 1)), "--key", key, "--leaf", write("leaf", e.Raw)}},
		{"a key of another log", false, []string{cfg.Tiles, "--key", strings.Replace(key, "test.example", "best.example", 1)}},
	} {
		ok, out, there := node(t, c.args...)
		if there && ok != c.want {
			t.Errorf("%s: %v: %s", c.name, ok, out)
		}
	}
	if err := os.WriteFile(filepath.Join(cfg.Tiles, "checkpoint"), []byte(cosigned), 0o600); err != nil {
		t.Fatal(err)
	}
	if ok, out, there := node(t, cfg.Tiles, "--key", key, "--witness", witness); there && !ok {
		t.Errorf("a witness that signed: %s", out)
	}
	if ok, out, there := node(t, cfg.Tiles, "--key", key, "--witness", strings.Replace(witness, "w.example", "v.example", 1)); there && ok {
		t.Errorf("a witness of another name: %s", out)
	}
}
