// SPDX-License-Identifier: Apache-2.0

package modelsig

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/attest"
)

// published returns the path of published vectors, which lie beside the module with their source and
// licence, and skips the test where they do not.
func published(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skip("no module root above the test")
		}
		dir = up
	}
	path := filepath.Join(dir, "..", "shared", "data", "attest", "model-signing", filepath.FromSlash(name))
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		t.Skipf("published vector %s is not beside the module", name)
	}
	return path
}

func file(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// model lays a published model into a folder of the same name, without the file that its signer ignored.
func model(t testing.TB, name string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(to, os.DirFS(published(t, name))); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(to, "ignore-me")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return to
}

func trusted(t testing.TB) Config {
	t.Helper()
	key, err := ReadKey(file(t, published(t, "keys/signing-key-pub.pem")))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(file(t, published(t, "keys/ca-cert.pem"))) {
		t.Fatal("no root")
	}
	return Config{Keys: []*ecdsa.PublicKey{key}, Roots: roots}
}

func at(day string) func() time.Time {
	when, err := time.Parse(time.DateOnly, day)
	if err != nil {
		panic(err)
	}
	return func() time.Time { return when }
}

func codeOf(err error) attest.Code {
	var e *attest.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func check(c Config, sig []byte, day string) (*attest.Facts, error) {
	v, err := New(c)
	if err != nil {
		return nil, err
	}
	return v.Verify(context.Background(), sig, attest.Options{Now: at(day)})
}

func TestVerifyAcceptsPublishedModels(t *testing.T) {
	for _, c := range []struct {
		name, file string
		files      int
		subject    string
	}{
		{"v0.3.1-elliptic-key", "signme-1", 1, ""},
		{"v1.0.0-elliptic-key", "signme-1", 1, ""},
		{"v1.0.1-elliptic-key", "", 2, ""},
		{"v1.1.0-elliptic-key", "", 2, ""},
		{"v0.3.1-certificate", "", 2, "CN=intermediate-ca"},
		{"v1.0.0-certificate", "", 2, "CN=intermediate-ca"},
		{"v1.0.1-certificate", "", 2, "CN=intermediate-ca"},
		{"v1.1.0-certificate", "", 2, "CN=intermediate-ca"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, dir := trusted(t), model(t, c.name)
			cfg.Path = filepath.Join(dir, c.file)
			sig := file(t, filepath.Join(dir, "model.sig"))
			f, err := check(cfg, sig, "2026-01-01")
			if err != nil {
				t.Fatal(err)
			}
			if f.Model.Files != c.files || f.Model.Subject != c.subject || f.ModelLevel() != 2 || f.Assurance() != 0 {
				t.Errorf("%+v level %d", f.Model, f.ModelLevel())
			}
			// The same with one byte of one file changed.
			victim := filepath.Join(dir, "signme-1")
			if err := os.Chmod(victim, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(victim, bytes.Replace(file(t, victim), []byte("s"), []byte("t"), 1), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := check(cfg, sig, "2026-01-01"); codeOf(err) != attest.Mismatch {
				t.Errorf("a changed file: %v", err)
			}
		})
	}
}

func TestVerifyRefusesPublishedModels(t *testing.T) {
	for _, c := range []struct {
		name, dir, day string
		code           attest.Code
	}{
		{"another statement and encoding", "v0.2.0-certificate", "2026-01-01", attest.Unproved},
		{"keyless", "v0.3.1-sigstore", "2026-01-01", attest.Unsupported},
		{"keyless", "v1.0.0-sigstore", "2026-01-01", attest.Unsupported},
		{"keyless", "v1.1.0-sigstore", "2026-01-01", attest.Unsupported},
		{"a file that only the signer ignores", "v1.1.0-elliptic-key", "2026-01-01", attest.Unproved},
		{"a certificate before its time", "v1.0.0-certificate", "2025-01-01", attest.Stale},
		{"a certificate after its time", "v1.0.0-certificate", "2036-01-01", attest.Stale},
	} {
		t.Run(c.name+" "+c.dir, func(t *testing.T) {
			cfg := trusted(t)
			cfg.Path = published(t, c.dir)
			f, err := check(cfg, file(t, filepath.Join(cfg.Path, "model.sig")), c.day)
			if codeOf(err) != c.code || f != nil {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
	t.Run("a key that is not accepted", func(t *testing.T) {
		cfg := trusted(t)
		cfg.Keys = nil
		cfg.Path = model(t, "v1.0.1-elliptic-key")
		if _, err := check(cfg, file(t, filepath.Join(cfg.Path, "model.sig")), "2026-01-01"); codeOf(err) != attest.Unproved {
			t.Error(err)
		}
	})
}

// every makes TestBundleSurvivesNoFlip try every byte instead of every fifth.
var every = flag.Bool("every", false, "flip every byte of bundles")

// TestBundleSurvivesNoFlip flips a bit of every byte of published bundles, and cuts them everywhere.
func TestBundleSurvivesNoFlip(t *testing.T) {
	for _, c := range []struct{ dir, file string }{{"v0.3.1-elliptic-key", "signme-1"}, {"v1.1.0-elliptic-key", ""}, {"v1.1.0-certificate", ""}} {
		cfg, dir := trusted(t), model(t, c.dir)
		cfg.Path = filepath.Join(dir, c.file)
		sig := file(t, filepath.Join(dir, "model.sig"))
		v, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var accepted []string
		step := 5
		if *every {
			step = 1
		}
		for i := 0; i < len(sig); i += step {
			bad := bytes.Clone(sig)
			bad[i] ^= 1 << (i % 8)
			payload, _, err := Open(v.c, bad, at("2026-01-01")())
			if err == nil {
				_, err = read(payload)
			}
			if err == nil {
				accepted = append(accepted, strings.TrimSpace(string(bad[max(0, i-8):min(len(bad), i+8)])))
			}
			if _, _, err := Open(v.c, sig[:i], at("2026-01-01")()); err == nil {
				t.Errorf("%s: cut at %d is accepted", c.dir, i)
			}
		}
		if len(accepted) != 0 {
			t.Errorf("%s: %d flips are accepted: %q", c.dir, len(accepted), accepted[:min(20, len(accepted))])
		}
	}
}
