// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/modelsig"
	"github.com/sallyport/sallyport/attest/tpm"
)

// Again is an appraisal that was made once more, from its record.
type Again struct {
	Agent    string `json:"agent"`
	Lease    string `json:"lease"`
	TimeMs   int64  `json:"time_ms"`
	Kind     string `json:"kind"`
	Evidence string `json:"evidence"` // "holds", "does not hold: ...", or "none" for kinds without any
	Same     bool   `json:"same"`     // the policy in force now says what was said then
	Was      Result `json:"was"`
	Now      Result `json:"now"`
}

// Reappraise verifies recorded evidence as of its time, and appraises the recorded input under the policy in
// force. It grants and records nothing. Evidence that was refused before it could be weighed has no input; then
// only the evidence is looked at.
func (b *Book) Reappraise(ctx context.Context, a *Appraisal) (Again, error) {
	out := Again{Agent: a.Agent, Lease: a.Lease, TimeMs: a.TimeMs, Kind: a.Kind, Evidence: "none", Was: a.Result, Now: a.Result}
	if a.Format != 1 {
		return out, fmt.Errorf("lease: appraisal: format %d is unknown", a.Format)
	}
	if err := b.evidence(ctx, a); err != nil {
		out.Evidence = "does not hold: " + err.Error()
	} else if len(a.Evidence) > 0 {
		out.Evidence = "holds"
	}
	if a.Input == nil {
		out.Same = true
		return out, nil
	}
	var err error
	if out.Now, err = b.c.Appraise(ctx, *a.Input); err != nil {
		return out, fmt.Errorf("lease: appraisal: %w", err)
	}
	was, err := action.Canonical(out.Was)
	if err != nil {
		return out, err
	}
	now, err := action.Canonical(out.Now)
	if err != nil {
		return out, err
	}
	out.Same = string(was) == string(now)
	return out, nil
}

// evidence verifies recorded evidence, and a model's signature, at the time of the record.
func (b *Book) evidence(ctx context.Context, a *Appraisal) error {
	bind, err := hex.DecodeString(a.Bind)
	if err != nil {
		return attest.Refuse(attest.Malformed, "what the evidence is bound to")
	}
	at := func() time.Time { return time.UnixMilli(a.TimeMs) }
	if len(a.Sig) > 0 {
		if _, err := modelsig.Statement(b.c.Model, a.Sig, at()); err != nil {
			return err
		}
	}
	if len(a.Built) > 0 {
		if _, err := b.built(a.Built, at()); err != nil {
			return err
		}
	}
	o := attest.Options{Now: at, Nonce: bind}
	var v attest.Verifier
	switch a.Kind {
	case "tpm":
		if a.Input == nil {
			return attest.Refuse(attest.Missing, "the key that it was held against")
		}
		if v, err = tpm.New(tpm.Config{PCRs: a.Input.Agent.Registers, Roots: b.c.Roots,
			Enrolled: func(key string) (string, bool) { return a.Input.Enrolled, key == a.Input.Facts.Platform.Key }}); err != nil {
			return err
		}
	case "sgx", "tdx", "snp", "nitro":
		v, o.Nonce = b.c.Enclaves[a.Kind], reportData(a.Kind, bind)
	}
	if v == nil {
		if len(a.Evidence) > 0 {
			return attest.Refuse(attest.Missing, "a verifier of the kind %q", action.Clip(a.Kind, 32))
		}
		return nil
	}
	_, err = v.Verify(ctx, a.Evidence, o)
	return err
}
