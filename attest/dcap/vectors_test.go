// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
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

// TestPublishedQuotesAreIntels checks the quotes that come without collateral: format, chain to Intel's
// root, all signatures inside.
func TestPublishedQuotesAreIntels(t *testing.T) {
	for _, c := range []struct {
		name  string
		code  attest.Code
		fmspc string
	}{
		{"oasis-core/quote_v3_ecdsa_p256_pck_chain.bin", "", "00606A000000"},
		{"oasis-core/quote_v3_ecdsa_p256_eppid.bin", attest.Unsupported, ""},
		{"oasis-core/quote_v4_tdx_ecdsa_p256.bin", "", "C0806F000000"},
		{"oasis-core/quote_v4_tdx_ecdsa_p256_out_of_date.bin", "", "50806F000000"},
		{"oasis-core/quote_v4_tdx_ecdsa_p256_trailing.bin", attest.Malformed, ""},
		{"trustee/occlum_quote.dat", "", "00606A000000"},
		{"trustee/tdx_quote_4.dat", "", "50806F000000"},
		{"trustee/tdx_quote_5.dat", "", "90C06F000000"},
		{"trustee/tdx_quote_6.dat", attest.Malformed, ""},
		{"go-tdx-guest/tdx_prod_quote_SPR_E4.dat", attest.Malformed, ""},
		{"go-tdx-guest/quote_v5_sample.dat", "", ""},
		{"dcap-qvl/tdx_quote_outdated", "", "90C06F000000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := intels(vector(t, c.name), at("2026-03-01")())
			t.Logf("%+v %v", got, err)
			if codeOf(err) != c.code {
				t.Fatalf("%v, want %q", err, c.code)
			}
			if err == nil && c.fmspc != "" && got.fmspc != c.fmspc {
				t.Errorf("FMSPC %s, want %s", got.fmspc, c.fmspc)
			}
		})
	}
}

// intels does the part of Verify that needs no collateral.
func intels(b []byte, now time.Time) (*pck, error) {
	q, err := parse(b)
	if err != nil {
		return nil, err
	}
	chain, err := readChain("PCK chain", q.certs, 3)
	if err != nil {
		return nil, err
	}
	if err := checkChain("PCK chain", chain, intelRoot, &window{now: now}); err != nil {
		return nil, err
	}
	if err := q.check(chain[0].PublicKey.(*ecdsa.PublicKey)); err != nil {
		return nil, err
	}
	return readPCK(chain[0])
}

// TestPublishedDocumentsAreIntels checks documents that come without the rest, with the one signing
// certificate that Intel has.
func TestPublishedDocumentsAreIntels(t *testing.T) {
	v, err := New(Config{Store: Fixed{}})
	if err != nil {
		t.Fatal(err)
	}
	chain := vector(t, "oasis-core/tcb_info_v3_fmspc_00606A000000_certs.pem")
	for _, c := range []struct {
		name  string
		chain []byte
		code  attest.Code
	}{
		{"oasis-core/tcb_info_v3_fmspc_00606A000000.json", chain, ""},
		{"oasis-core/tcb_info_v3_fmspc_00606A000000.json", vector(t, "oasis-core/tcb_info_v3_fmspc_00606A000000_certs_bad.pem"), attest.Unproved},
		{"oasis-core/tcb_info_v3_tdx_fmspc_50806F000000.json", chain, ""},
		{"oasis-core/tcb_info_v3_tdx_fmspc_C0806F000000.json", chain, ""},
		{"oasis-core/qe_identity_v2.json", chain, ""},
		{"oasis-core/qe_identity_v2_tdx.json", chain, ""},
		{"trustee/tcbInfo.json", chain, ""},
		{"trustee/enclaveIdentity.json", chain, ""},
		{"go-tdx-guest/sample_tcbInfo_response", chain, ""},
		{"go-tdx-guest/sample_qeIdentity_response", chain, ""},
		{"go-tdx-guest/sample_tcbinfo_response_v5", chain, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc, sig, err := SplitResponse(vector(t, c.name))
			if err != nil {
				t.Fatal(err)
			}
			err = v.signed("document", c.chain, doc, sig, &x509.RevocationList{}, &window{now: at("2023-12-01")()})
			if codeOf(err) != c.code {
				t.Fatalf("%v, want %q", err, c.code)
			}
			if err := errors.Join(readSigned("a", doc, &tcbInfo{}), readSigned("b", doc, &qeIdentity{})); err == nil || len(err.(interface{ Unwrap() []error }).Unwrap()) != 1 {
				t.Errorf("not exactly one of the two documents: %v", err)
			}
		})
	}
}

func TestFolderFindsByKey(t *testing.T) {
	s := generated(t, 3, teeSGX)
	data, err := s.coll.Encode()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sgx-00A067110000-platform.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := New(Config{Store: Folder{dir}, Root: s.root})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(context.Background(), s.quote, attest.Options{Now: s.now}); err != nil {
		t.Error(err)
	}
	for _, k := range []Key{{"tdx", "00A067110000", "platform"}, {"sgx", "../x", "platform"}} {
		if _, err := (Folder{dir}).Collateral(context.Background(), k); codeOf(err) != attest.Missing && codeOf(err) != attest.Malformed {
			t.Errorf("%s: %v", k, err)
		}
	}
	if _, err := (Folder{filepath.Join(dir, "gone")}).Collateral(context.Background(), Key{}); codeOf(err) != attest.Missing {
		t.Errorf("no folder: %v", err)
	}
}
