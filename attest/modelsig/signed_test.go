// SPDX-License-Identifier: Apache-2.0

package modelsig

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/attest"
)

type m = map[string]any

// maker signs models as the Python library does.
type maker struct {
	t     testing.TB
	dir   string
	key   *ecdsa.PrivateKey
	shard int64
	alg   string
	names map[string]string // signed name for a file's, where it differs
	edit  func(statement, bundle m)
	cfg   Config
}

func newMaker(t testing.TB, files map[string]string) *maker {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mk := &maker{t: t, dir: t.TempDir(), key: k, alg: "sha256"}
	for name, text := range files {
		mk.write(name, text)
	}
	mk.cfg = Config{Path: mk.dir, Keys: []*ecdsa.PublicKey{&k.PublicKey}}
	return mk
}

func (mk *maker) write(name, text string) {
	mk.t.Helper()
	path := filepath.Join(mk.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		mk.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		mk.t.Fatal(err)
	}
}

func (mk *maker) resources() []m {
	mk.t.Helper()
	var out []m
	h := hashes[mk.alg]
	add := func(name string, data []byte) {
		sum := h()
		sum.Write(data)
		alg := mk.alg
		if mk.shard > 0 {
			alg += fmt.Sprintf("-sharded-%d", mk.shard)
		}
		out = append(out, m{"name": name, "algorithm": alg, "digest": hex.EncodeToString(sum.Sum(nil))})
	}
	var paths []string
	if err := filepath.Walk(mk.dir, func(p string, i os.FileInfo, err error) error {
		if err == nil && i.Mode().IsRegular() {
			paths = append(paths, p)
		}
		return err
	}); err != nil {
		mk.t.Fatal(err)
	}
	sort.Strings(paths)
	for _, p := range paths {
		data := file(mk.t, p)
		rel, _ := filepath.Rel(mk.dir, p)
		name := filepath.ToSlash(rel)
		if n, ok := mk.names[name]; ok {
			name = n
		}
		if mk.shard == 0 {
			add(name, data)
			continue
		}
		for at := int64(0); at < int64(len(data)); at += mk.shard {
			end := min(at+mk.shard, int64(len(data)))
			add(fmt.Sprintf("%s:%d:%d", name, at, end), data[at:end])
		}
	}
	return out
}

func (mk *maker) sign() []byte {
	mk.t.Helper()
	res := mk.resources()
	ser := m{"method": "files", "hash_type": mk.alg, "allow_symlinks": false, "ignore_paths": []string{"extra"}}
	if mk.shard > 0 {
		ser["method"], ser["shard_size"], ser["hash_type"] = "shards", mk.shard, fmt.Sprintf("%s-sharded-%d", mk.alg, mk.shard)
	}
	st := m{"_type": statementType, "predicateType": predicateType, "subject": []m{{"name": "model"}}, "predicate": m{"serialization": ser, "resources": res}}
	text, err := keyPEM(&mk.key.PublicKey)
	if err != nil {
		mk.t.Fatal(err)
	}
	hint := sha256.Sum256(text)
	b := m{"mediaType": bundleType, "verificationMaterial": m{"publicKey": m{"hint": hex.EncodeToString(hint[:])}, "tlogEntries": []m{}}}
	if mk.edit != nil {
		mk.edit(st, b)
	}
	if s := st["subject"].([]m)[0]; s["digest"] == nil {
		root := sha256.New()
		for _, r := range st["predicate"].(m)["resources"].([]m) {
			d, _ := hex.DecodeString(r["digest"].(string))
			root.Write(d)
		}
		s["digest"] = m{"sha256": hex.EncodeToString(root.Sum(nil))}
	}
	payload, err := json.Marshal(st)
	if err != nil {
		mk.t.Fatal(err)
	}
	sum := sha256.Sum256(pae(payload))
	sig, err := ecdsa.SignASN1(rand.Reader, mk.key, sum[:])
	if mk.key.Curve == elliptic.P384() {
		sum := sha512.Sum384(pae(payload))
		sig, err = ecdsa.SignASN1(rand.Reader, mk.key, sum[:])
	}
	if err != nil {
		mk.t.Fatal(err)
	}
	if b["dsseEnvelope"] == nil {
		b["dsseEnvelope"] = m{"payload": base64.StdEncoding.EncodeToString(payload), "payloadType": payloadType,
			"signatures": []m{{"sig": base64.StdEncoding.EncodeToString(sig), "keyid": ""}}}
	}
	out, err := json.Marshal(b)
	if err != nil {
		mk.t.Fatal(err)
	}
	return out
}

var weights = map[string]string{"config.json": "{}", "layers/a.safetensors": strings.Repeat("abc", 1000), "layers/b.safetensors": "b"}

func TestSignedModelsAreAccepted(t *testing.T) {
	for _, c := range []struct {
		name  string
		alg   string
		shard int64
	}{{"whole files", "sha256", 0}, {"shards", "sha256", 1000}, {"shards of a byte", "sha256", 1}, {"BLAKE2b", "blake2b", 0}, {"shards, BLAKE2b", "blake2b", 700}} {
		t.Run(c.name, func(t *testing.T) {
			mk := newMaker(t, weights)
			mk.alg, mk.shard = c.alg, c.shard
			sig := mk.sign()
			mk.write("model.sig", string(sig))
			mk.write(".git/HEAD", "ref")
			var last, calls atomic.Int64
			mk.cfg.Progress = func(done, total int64) { last.Store(total - done); calls.Add(1) }
			f, err := check(mk.cfg, sig, "2026-01-01")
			if err != nil {
				t.Fatal(err)
			}
			if f.Model.Files != 3 || f.Model.Bytes != 3003 || last.Load() != 0 || calls.Load() < 3 || len(f.Model.Pickle) != 0 ||
				f.Model.Types[".safetensors"] != 2 || !slices.Equal(f.Model.Ignored, []string{".git", "model.sig"}) {
				t.Errorf("%+v, %d bytes left after %d calls", f.Model, last.Load(), calls.Load())
			}
		})
	}
}

func TestPicklesAreToldByNameAndContent(t *testing.T) {
	mk := newMaker(t, map[string]string{"a.pkl": "x", "b.safetensors": "\x80\x04rest", "c.json": "{}", "d.PT": "x", "e.weights": "PK\x03\x04zip"})
	f, err := check(mk.cfg, mk.sign(), "2026-01-01")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a.pkl", "b.safetensors", "d.PT", "e.weights"}; !slices.Equal(f.Model.Pickle, want) {
		t.Errorf("%v, want %v", f.Model.Pickle, want)
	}
}

func TestModelsThatDifferAreRefused(t *testing.T) {
	predicate := func(st m) m { return st["predicate"].(m) }
	resources := func(st m) []m { return predicate(st)["resources"].([]m) }
	for _, c := range []struct {
		name   string
		code   attest.Code
		before func(mk *maker)
		after  func(mk *maker)
	}{
		{"a changed file", attest.Mismatch, nil, func(mk *maker) { mk.write("layers/b.safetensors", "c") }},
		{"a longer file", attest.Mismatch, nil, func(mk *maker) { mk.write("layers/b.safetensors", "bb") }},
		{"a missing file", attest.Mismatch, nil, func(mk *maker) { _ = os.Remove(filepath.Join(mk.dir, "config.json")) }},
		{"a file more", attest.Unproved, nil, func(mk *maker) { mk.write("layers/c.bin", "") }},
		{"a file more that the signer ignores", attest.Unproved, nil, func(mk *maker) { mk.write("extra", "") }},
		{"a file below a folder with an ignored name", attest.Unproved, nil, func(mk *maker) { mk.write("layers/.git/x", "") }},
		{"another text as signature in the folder", attest.Unproved, nil, func(mk *maker) { mk.write("model.sig", "code") }},
		{"a link", attest.Unproved, nil, func(mk *maker) { _ = os.Symlink("config.json", filepath.Join(mk.dir, "link")) }},
		{"a link in place of a file", attest.Unproved, nil, func(mk *maker) {
			p := filepath.Join(mk.dir, "config.json")
			_ = os.Rename(p, filepath.Join(mk.t.TempDir(), "x"))
			_ = os.Symlink("layers/a.safetensors", p)
		}},
		{"a name that differs only in case", attest.Unproved, nil, func(mk *maker) { mk.write("Config.json", "{}") }},
		{"a name with a line break", attest.Unproved, nil, func(mk *maker) { mk.write("a\nb", "") }},
		{"a name that turns its direction", attest.Unproved, nil, func(mk *maker) { mk.write("a\u202eb", "") }},
		{"too many files", attest.Unsupported, nil, func(mk *maker) { mk.cfg.MaxFiles = 2 }},
		{"a single file where a folder was signed", attest.Mismatch, nil, func(mk *maker) { mk.cfg.Path = filepath.Join(mk.dir, "config.json") }},
		{"a model that is not there", attest.Missing, nil, func(mk *maker) { mk.cfg.Path = filepath.Join(mk.dir, "gone") }},
		{"another key", attest.Unproved, nil, func(mk *maker) { mk.cfg.Keys = newMaker(mk.t, nil).cfg.Keys }},
		{"a path that leads out", attest.Malformed, func(mk *maker) { mk.names = map[string]string{"config.json": "../config.json"} }, nil},
		{"a path from the root", attest.Malformed, func(mk *maker) { mk.names = map[string]string{"config.json": "/etc/passwd"} }, nil},
		{"a path with a detour", attest.Malformed, func(mk *maker) { mk.names = map[string]string{"config.json": "a/../config.json"} }, nil},
		{"a path of another system", attest.Malformed, func(mk *maker) { mk.names = map[string]string{"config.json": `..\config.json`} }, nil},
		{"two signed names that differ only in case", attest.Malformed, func(mk *maker) {
			mk.names = map[string]string{"config.json": "LAYERS/A.safetensors", "layers/a.safetensors": "layers/a.safetensors"}
		}, nil},
		{"a file that is signed twice", attest.Malformed, func(mk *maker) { mk.names = map[string]string{"config.json": "layers/b.safetensors"} }, nil},
		{"another root digest", attest.Unproved, func(mk *maker) {
			mk.edit = func(st, _ m) { st["subject"].([]m)[0]["digest"] = m{"sha256": strings.Repeat("0", 64)} }
		}, nil},
		{"a hash that is broken", attest.Unsupported, func(mk *maker) {
			mk.edit = func(st, _ m) { predicate(st)["serialization"].(m)["hash_type"] = "md5" }
		}, nil},
		{"a file of another hash", attest.Malformed, func(mk *maker) { mk.edit = func(st, _ m) { resources(st)[0]["algorithm"] = "md5" } }, nil},
		{"a digest that is short", attest.Malformed, func(mk *maker) { mk.edit = func(st, _ m) { resources(st)[0]["digest"] = "00" } }, nil},
		{"no files", attest.Malformed, func(mk *maker) { mk.edit = func(st, _ m) { predicate(st)["resources"] = []m{} } }, nil},
		{"another method", attest.Unsupported, func(mk *maker) { mk.edit = func(st, _ m) { predicate(st)["serialization"].(m)["method"] = "none" } }, nil},
		{"another predicate", attest.Unsupported, func(mk *maker) { mk.edit = func(st, _ m) { st["predicateType"] = "https://slsa.dev/provenance/v1" } }, nil},
		{"a member that nobody knows", attest.Malformed, func(mk *maker) { mk.edit = func(st, _ m) { st["unless"] = 1 } }, nil},
		{"a gap between shards", attest.Malformed, func(mk *maker) {
			mk.shard = 1000
			mk.edit = func(st, _ m) {
				r := resources(st)
				i := slices.IndexFunc(r, func(x m) bool { return strings.HasPrefix(x["name"].(string), "layers/a.safetensors:1000") })
				predicate(st)["resources"] = slices.Delete(r, i, i+1)
			}
		}, nil},
		{"the last shard cut off", attest.Mismatch, func(mk *maker) {
			mk.shard = 1000
			mk.edit = func(st, _ m) {
				r := resources(st)
				i := slices.IndexFunc(r, func(x m) bool { return strings.HasPrefix(x["name"].(string), "layers/a.safetensors:2000") })
				predicate(st)["resources"] = slices.Delete(r, i, i+1)
			}
		}, nil},
		{"a shard without numbers", attest.Malformed, func(mk *maker) {
			mk.shard = 1000
			mk.edit = func(st, _ m) { resources(st)[0]["name"] = "config.json:+0:2" }
		}, nil},
		{"no signature", attest.Malformed, func(mk *maker) {
			mk.edit = func(_, b m) {
				b["dsseEnvelope"] = m{"payload": "e30=", "payloadType": payloadType, "signatures": []m{}}
			}
		}, nil},
		{"a payload of another type", attest.Unsupported, func(mk *maker) {
			mk.edit = func(_, b m) {
				b["dsseEnvelope"] = m{"payload": "e30=", "payloadType": "text/plain", "signatures": []m{{"sig": "e30="}}}
			}
		}, nil},
		{"neither key nor certificate", attest.Malformed, func(mk *maker) {
			mk.edit = func(_, b m) { b["verificationMaterial"] = m{} }
		}, nil},
		{"an entry of a log", attest.Unsupported, func(mk *maker) {
			mk.edit = func(_, b m) { b["verificationMaterial"].(m)["tlogEntries"] = []m{{"logIndex": "1"}} }
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			mk := newMaker(t, weights)
			if c.before != nil {
				c.before(mk)
			}
			sig := mk.sign()
			if c.after != nil {
				c.after(mk)
			}
			f, err := check(mk.cfg, sig, "2026-01-01")
			if codeOf(err) != c.code || f != nil {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
}

func TestCertificatesAreCheckedForTheirUse(t *testing.T) {
	now := at("2026-01-01")()
	for _, c := range []struct {
		name string
		code attest.Code
		edit func(leaf *x509.Certificate)
	}{
		{"for signing code", "", func(*x509.Certificate) {}},
		{"for servers", attest.Unproved, func(l *x509.Certificate) { l.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }},
		{"not for signatures", attest.Unproved, func(l *x509.Certificate) { l.KeyUsage = x509.KeyUsageKeyAgreement }},
		{"that expired", attest.Stale, func(l *x509.Certificate) { l.NotAfter = now.AddDate(0, 0, -1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			mk := newMaker(t, weights)
			ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0),
				IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
			leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "signer"}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(0, 1, 0),
				KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
			c.edit(leaf)
			rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &ca.PublicKey, ca)
			if err != nil {
				t.Fatal(err)
			}
			leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, &mk.key.PublicKey, ca)
			if err != nil {
				t.Fatal(err)
			}
			mk.edit = func(_, b m) {
				b["verificationMaterial"] = m{"x509CertificateChain": m{"certificates": []m{{"rawBytes": base64.StdEncoding.EncodeToString(leafDER)}}}}
			}
			parsed, err := x509.ParseCertificate(rootDER)
			if err != nil {
				t.Fatal(err)
			}
			mk.cfg.Keys, mk.cfg.Roots = nil, x509.NewCertPool()
			mk.cfg.Roots.AddCert(parsed)
			f, err := check(mk.cfg, mk.sign(), "2026-01-01")
			if codeOf(err) != c.code {
				t.Fatalf("%v, want %q", err, c.code)
			}
			if err == nil && (f.Model.Subject != "CN=signer" || !f.Until.Equal(leaf.NotAfter)) {
				t.Errorf("%+v until %s", f.Model, f.Until)
			}
		})
	}
}

func TestVerifyStopsAndBindsNoNonce(t *testing.T) {
	mk := newMaker(t, weights)
	sig := mk.sign()
	v, err := New(mk.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := v.Verify(ctx, sig, attest.Options{}); codeOf(err) != attest.Stopped {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := v.Verify(context.Background(), sig, attest.Options{Nonce: []byte("n")}); codeOf(err) != attest.Replayed {
		t.Errorf("with a nonce: %v", err)
	}
	if _, err := New(Config{Path: "x"}); err == nil {
		t.Error("a verifier that accepts no signer")
	}
}

func FuzzBundle(f *testing.F) {
	mk := newMaker(f, weights)
	sig := mk.sign()
	f.Add(sig)
	f.Add([]byte(`{"mediaType":"` + bundleType + `"}`))
	v, err := New(mk.cfg)
	if err != nil {
		f.Fatal(err)
	}
	now := time.Unix(1.7e9, 0)
	f.Fuzz(func(t *testing.T, b []byte) {
		payload, s, err := Open(v.c, b, now)
		if err == nil && (s == nil || len(payload) == 0) {
			t.Error("opened without a key or a payload")
		}
	})
}

func FuzzStatement(f *testing.F) {
	mk := newMaker(f, weights)
	for _, shard := range []int64{0, 1000} {
		mk.shard = shard
		mk.edit = func(st, _ m) {
			b, err := json.Marshal(st)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(bytes.Clone(b))
		}
		mk.sign()
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := read(b)
		if err != nil {
			return
		}
		for p := range got.files {
			if !plain(p) || strings.Contains(p, "..") && filepath.IsAbs(p) {
				t.Errorf("a path that leads elsewhere: %q", p)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for _, shard := range []int64{0, 8 << 20} {
		b.Run(fmt.Sprintf("shard=%d", shard), func(b *testing.B) {
			mk := newMaker(b, map[string]string{"w.safetensors": strings.Repeat("0123456789abcdef", 4<<20)})
			mk.shard = shard
			sig := mk.sign()
			v, err := New(mk.cfg)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(64 << 20)
			for b.Loop() {
				if _, err := v.Verify(context.Background(), sig, attest.Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMeasure hashes weights as they are loaded, on one core.
func BenchmarkMeasure(b *testing.B) {
	const size = 192 << 20
	path := filepath.Join(b.TempDir(), "weights.safetensors")
	if err := os.WriteFile(path, bytes.Repeat([]byte("weights!"), size/8), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, hash := range []string{"sha256", "blake3"} {
		b.Run("hash="+hash, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				if _, err := Measure(b.Context(), Config{Path: path, Hash: hash, Workers: 1}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
