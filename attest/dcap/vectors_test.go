// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// vector reads a published file from beside the module, where it is kept with its source and licence, and
// skips the test where it is not there.
func vector(t testing.TB, name string) []byte {
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
	path := filepath.Join(dir, "..", "shared", "data", "attest", filepath.FromSlash(name))
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("published vector %s is not beside the module", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func published(t testing.TB, name string) *Collateral {
	t.Helper()
	c, err := ReadCollateral(vector(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func at(s string) func() time.Time {
	when, err := time.Parse(time.DateOnly, s)
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

func TestVerifyGradesPublishedQuotes(t *testing.T) {
	for _, c := range []struct {
		name, quote, collateral, day string
		code                         attest.Code
		status                       string
		advisories                   []string
		fmspc                        string
	}{
		{"an SGX quote of version 3", "dcap-qvl/sgx_quote", "dcap-qvl/sgx_quote_collateral.json", "2025-07-01",
			"", ConfigAndSW, []string{"INTEL-SA-00289", "INTEL-SA-00615"}, "00A067110000"},
		{"the same two months later", "dcap-qvl/sgx_quote", "dcap-qvl/sgx_quote_collateral.json", "2025-09-01", attest.Stale, "", nil, ""},
		{"the same a year earlier", "dcap-qvl/sgx_quote", "dcap-qvl/sgx_quote_collateral.json", "2024-07-01", attest.Stale, "", nil, ""},
		{"a TDX quote of version 4", "dcap-qvl/tdx_quote", "dcap-qvl/tdx_quote_collateral.json", "2025-07-01", "", UpToDate, nil, "B0C06F000000"},
		{"the same a year later", "dcap-qvl/tdx_quote", "dcap-qvl/tdx_quote_collateral.json", "2026-07-01", attest.Stale, "", nil, ""},
		{"a TDX quote of version 5 below every level", "dcap-qvl/tdx_quote_outdated", "dcap-qvl/tdx_quote_outdated_collateral.json", "2026-03-01", attest.Unproved, "", nil, ""},
		{"collateral of another platform", "dcap-qvl/tdx_quote", "dcap-qvl/tdx_quote_outdated_collateral.json", "2026-03-01", attest.Mismatch, "", nil, ""},
		{"collateral of SGX for TDX", "dcap-qvl/tdx_quote", "dcap-qvl/sgx_quote_collateral.json", "2025-07-01", attest.Mismatch, "", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := New(Config{Store: Fixed{published(t, c.collateral)}})
			if err != nil {
				t.Fatal(err)
			}
			f, err := v.Verify(context.Background(), Trim(vector(t, c.quote)), attest.Options{Now: at(c.day)})
			t.Logf("%v", err)
			if codeOf(err) != c.code {
				t.Fatalf("%v, want code %q", err, c.code)
			}
			if c.code != "" {
				if f != nil {
					t.Error("facts came with a refusal")
				}
				return
			}
			if f.TCB.Status != c.status || !slices.Equal(f.TCB.Advisories, c.advisories) || f.TCB.FMSPC != c.fmspc {
				t.Errorf("status %s advisories %v FMSPC %s", f.TCB.Status, f.TCB.Advisories, f.TCB.FMSPC)
			}
			if f.Debug != action.No || f.Test != action.No || f.Fresh != action.TriUnknown || f.Assurance() != 0 {
				t.Errorf("debug %s test %s fresh %s assurance %d", f.Debug, f.Test, f.Fresh, f.Assurance())
			}
		})
	}
}
