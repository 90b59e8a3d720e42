// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"errors"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

func tpmFacts() *Facts {
	return &Facts{Kind: "tpm", Evidence: "sha256:e", Checked: time.Unix(1000, 0), Until: time.Unix(2000, 0), Fresh: action.Yes, Debug: action.TriUnknown, Test: action.No,
		Platform: &Platform{Resident: action.Yes, Endorsed: action.Yes, Replayed: action.Yes}}
}

func TestAssuranceNeedsEveryFact(t *testing.T) {
	if got := tpmFacts().Assurance(); got != 3 {
		t.Fatalf("all of a TPM's facts are worth %d", got)
	}
	for _, c := range []struct {
		name   string
		change func(f *Facts)
		want   int
	}{
		{"not fresh", func(f *Facts) { f.Fresh = action.TriUnknown }, 0},
		{"freshness not stated", func(f *Facts) { f.Fresh = "" }, 0},
		{"a test", func(f *Facts) { f.Test = action.Yes }, 1},
		{"test not stated", func(f *Facts) { f.Test = "" }, 1},
		{"not resident", func(f *Facts) { f.Platform.Resident = action.TriUnknown }, 1},
		{"not endorsed", func(f *Facts) { f.Platform.Endorsed = action.No }, 1},
		{"not replayed", func(f *Facts) { f.Platform.Replayed = "" }, 1},
		{"no platform", func(f *Facts) { f.Platform = nil }, 0},
		{"another kind", func(f *Facts) { f.Kind = "tdx" }, 0},
		{"a model", func(f *Facts) { f.Kind = "model" }, 0},
	} {
		f := tpmFacts()
		if c.change(f); f.Assurance() != c.want {
			t.Errorf("%s: worth %d, want %d", c.name, f.Assurance(), c.want)
		}
	}
	if (*Facts)(nil).Assurance() != 0 || (&Facts{}).Assurance() != 0 || (*Facts)(nil).ModelLevel() != 0 || (&Facts{Kind: "model", Model: &Model{}}).ModelLevel() != 0 {
		t.Error("nothing is worth something")
	}
}

func TestAttestationStatesOnlyWhatHolds(t *testing.T) {
	a := tpmFacts().Attestation(time.Unix(1060, 0))
	if a.State != action.StateKnown || a.Kind != "tpm" || a.Assurance != 3 || a.AgeS != 60 || a.Evidence != "sha256:e" || a.LeaseS != 0 || a.Executable != "unknown" {
		t.Errorf("%+v", a)
	}
	for name, now := range map[string]time.Time{"after its end": time.Unix(2001, 0), "before it was checked": time.Unix(999, 0)} {
		if a := tpmFacts().Attestation(now); a.State != action.StateUnknown || a.Assurance != 0 {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if a := (*Facts)(nil).Attestation(time.Unix(1, 0)); a.State != action.StateUnknown {
		t.Errorf("nothing: %+v", a)
	}
	m := &Facts{Kind: "model", Checked: time.Unix(1000, 0), Model: &Model{Signer: "sha256:k", Digest: "sha256:d", Files: 1}}
	if a := m.Attestation(time.Unix(1000, 0)); a.Kind != "none" || a.Model != 2 || a.Weights != "sha256:d" || a.Assurance != 0 || a.Debug != action.TriUnknown {
		t.Errorf("a model: %+v", a)
	}
}

// FuzzAssuranceIsMonotone takes facts away: the level never rises.
func FuzzAssuranceIsMonotone(f *testing.F) {
	f.Add(uint16(0), uint16(1))
	f.Fuzz(func(t *testing.T, have, drop uint16) {
		build := func(bits uint16) *Facts {
			tri := func(i int, v action.Tri) action.Tri {
				if bits>>i&1 == 1 {
					return v
				}
				return action.TriUnknown
			}
			f := &Facts{Kind: []string{"tpm", "sgx", "snp", "nitro"}[bits>>14], Fresh: tri(0, action.Yes), Debug: tri(1, action.No), Test: tri(2, action.No)}
			if bits>>3&1 == 1 {
				f.TCB = &TCB{}
			}
			if bits>>4&1 == 1 {
				f.TD, f.Enclave = &TD{}, &Enclave{}
			}
			if bits>>9&1 == 1 {
				f.SNP, f.Nitro = &SNP{Revocations: tri(10, action.Yes)}, &Nitro{PCRs: map[int]string{}}
				if bits>>11&1 == 1 {
					f.Nitro.PCRs[0] = "ab"
				}
			}
			if bits>>5&1 == 1 {
				f.Platform = &Platform{Resident: tri(6, action.Yes), Endorsed: tri(7, action.Yes), Replayed: tri(8, action.Yes)}
			}
			return f
		}
		drop &= 1<<14 - 1 // the kind stays
		if more, less := build(have).Assurance(), build(have&^drop).Assurance(); less > more {
			t.Errorf("%b without %b rises from %d to %d", have, drop, more, less)
		}
	})
}

func TestErrorsCarryTheirCode(t *testing.T) {
	cause := errors.New("cause")
	err := RefuseFor(cause, Stale, "CRL of %s", "x")
	var e *Error
	if !errors.As(err, &e) || e.Code != Stale || !errors.Is(err, cause) || err.Error() != "stale: CRL of x: cause" {
		t.Errorf("%v", err)
	}
	if Digest([]byte("ab"), []byte("c")) == Digest([]byte("a"), []byte("bc")) {
		t.Error("digests of parts run together")
	}
}
