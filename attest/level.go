// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"time"

	"github.com/sallyport/sallyport/action"
)

// Assurance returns what the facts are worth, 0 to 4: 0 nothing, 1 a key in software or a simulator,
// 2 a measurement by the process that started the agent, 3 a TPM key that is resident in an endorsed chip
// and whose registers replay, 4 an enclave or trust domain. A fact that is missing or unknown never raises
// the level; how good a platform must be (its TCB status, its age) is for policy. That the measuring process
// is ours is for whoever makes facts of the kind "supervisor" to know.
func (f *Facts) Assurance() int {
	if f == nil || f.Fresh != action.Yes {
		return 0
	}
	switch {
	case f.TD != nil && f.Kind == "tdx", f.Enclave != nil && f.Kind == "sgx":
		if f.Debug == action.No && f.Test == action.No && f.TCB != nil {
			return 4
		}
	case f.SNP != nil && f.Kind == "snp":
		if f.Debug == action.No && f.Test == action.No && f.SNP.Revocations == action.Yes {
			return 4
		}
	case f.Nitro != nil && f.Kind == "nitro":
		if f.Debug == action.No && f.Test == action.No && f.Nitro.PCRs[0] != "" {
			return 4
		}
	case f.Platform != nil && f.Kind == "tpm":
		p := f.Platform
		if f.Test == action.No && p.Resident == action.Yes && p.Endorsed == action.Yes && p.Replayed == action.Yes {
			return 3
		}
		return 1
	case f.Kind == "supervisor":
		if len(f.Measured) > 0 {
			return 2
		}
		return 1
	case f.Kind == "software":
		return 1
	}
	return 0
}

// ModelLevel returns what the facts are worth about a model's weights, 0 or 2: 2 is a signed manifest whose
// every file was hashed.
func (f *Facts) ModelLevel() int {
	if f == nil || f.Kind != "model" || f.Model == nil || f.Model.Signer == "" || f.Model.Files == 0 {
		return 0
	}
	return 2
}

// Attestation writes the facts in the words of a decision at time now. The appraisal (executable,
// configuration, hardware), the lease and whether one is needed are stated by others and stay unknown.
func (f *Facts) Attestation(now time.Time) action.Attestation {
	a := action.UnknownAttestation()
	if f == nil || f.Checked.IsZero() || (!f.Until.IsZero() && now.After(f.Until)) || now.Before(f.Checked) {
		return a
	}
	a.State, a.Evidence = action.StateKnown, f.Evidence
	a.AgeS = int64(now.Sub(f.Checked) / time.Second)
	if f.Debug != "" {
		a.Debug = f.Debug
	}
	a.Assurance, a.Model = f.Assurance(), f.ModelLevel()
	if f.Kind != "model" {
		a.Kind = f.Kind
	}
	if f.TCB != nil {
		a.TCB, a.Advisory = f.TCB.Status, f.TCB.Advisories
	}
	if f.Model != nil {
		a.Weights = f.Model.Digest
	}
	return a
}
