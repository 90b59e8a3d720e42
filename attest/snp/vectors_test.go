// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// vector reads a published file from beside the module, and skips the test where it is not there.
func vector(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "attest", filepath.FromSlash(name)))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("published vector %s is not beside the module", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// amd reads AMD's published chain of a product from testdata: authority, then root.
func amd(t *testing.T, name string) (out []attest.Bytes) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		out = append(out, b.Bytes)
	}
	return out
}

func codeOf(err error) attest.Code {
	var e *attest.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func day(s string) func() time.Time {
	when, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return func() time.Time { return when }
}

// TestPublishedReports verifies real reports of a chip's and a provider's key.
func TestPublishedReports(t *testing.T) {
	for _, c := range []struct {
		name, report, key, chain, day string
		code                          attest.Code
		kind                          string
	}{
		{"a chip's key", "test-report.bin", "test-vcek.der", "milan-vcek.pem", "2024-01-01", "", "vcek"},
		{"before the key was made", "test-report.bin", "test-vcek.der", "milan-vcek.pem", "2022-01-01", attest.Stale, ""},
		{"a provider's key", "test-vlek-report.bin", "test-vlek.der", "milan-vlek.pem", "2025-06-01", "", "vlek"},
		{"a provider's key that expired", "test-vlek-report.bin", "test-vlek.der", "milan-vlek.pem", "2026-06-01", attest.Stale, ""},
		{"a provider's key under the chips' authority", "test-vlek-report.bin", "test-vlek.der", "milan-vcek.pem", "2025-06-01", attest.Unproved, ""},
		{"another chip's key", "test-report.bin", "test-vcek-invalid-new.der", "milan-vcek.pem", "2024-01-01", "any", ""},
		{"another key", "test-report.bin", "test-vcek-invalid-legacy.der", "milan-vcek.pem", "2024-01-01", "any", ""},
		{"a report of another key", "test-vlek-report.bin", "test-vcek.der", "milan-vcek.pem", "2025-06-01", attest.Mismatch, ""},
	} {
		e := Evidence{Report: vector(t, "trustee/snp/"+c.report), Chain: append([]attest.Bytes{vector(t, "trustee/snp/"+c.key)}, amd(t, c.chain)...)}
		data, err := action.Canonical(e)
		if err != nil {
			t.Fatal(err)
		}
		f, err := New(Config{}).Verify(t.Context(), data, attest.Options{Now: day(c.day)})
		if code := codeOf(err); code != c.code && (c.code != "any" || code == "") {
			t.Errorf("%s: %v, want %q", c.name, err, c.code)
		}
		if c.code != "" || err != nil {
			continue
		}
		if f.SNP.Key != c.kind || f.SNP.Product != "Milan" || f.Debug != action.No || f.Test != action.No || f.SNP.Revocations != action.TriUnknown || f.Assurance() != 0 {
			t.Errorf("%s: %+v %+v", c.name, f, f.SNP)
		}
	}
}
