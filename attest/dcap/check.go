// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// Stated is how new collateral is, by the word of its signers.
type Stated struct {
	TCBEvaluation int       `json:"tcb_evaluation"` // Intel's number of the TCB info
	QEEvaluation  int       `json:"qe_evaluation"`  // and of the QE identity
	TCBInfo       time.Time `json:"tcb_info"`       // when each was issued
	QEIdentity    time.Time `json:"qe_identity"`
	PCKCRL        time.Time `json:"pck_crl"`
	RootCRL       time.Time `json:"root_crl"`
	Until         time.Time `json:"until"` // the first end of a window
}

// Older reports what of s was stated before its like in other; "" if nothing was. Collateral that is older in one part
// could bring back a revoked key or a platform's old grade.
func (s Stated) Older(other Stated) string {
	switch {
	case s.TCBEvaluation < other.TCBEvaluation, s.TCBInfo.Before(other.TCBInfo):
		return "TCB info"
	case s.QEEvaluation < other.QEEvaluation, s.QEIdentity.Before(other.QEIdentity):
		return "QE identity"
	case s.PCKCRL.Before(other.PCKCRL):
		return "PCK CRL"
	case s.RootCRL.Before(other.RootCRL):
		return "root CRL"
	}
	return ""
}

// Check verifies collateral without a quote, for the platforms that k names: signatures, chains to the root, windows at
// the time now, and that it is about them.
func (v *Verifier) Check(k Key, c *Collateral, now time.Time) (Stated, error) {
	return v.check(k, c, &window{now: now})
}

// Lapsed is Check for collateral whose windows may be over, to compare others with it.
func (v *Verifier) Lapsed(k Key, c *Collateral) (Stated, error) {
	return v.check(k, c, &window{lapsed: true})
}

func (v *Verifier) check(k Key, c *Collateral, w *window) (Stated, error) {
	var out Stated
	chain, err := readChain("PCK CRL chain", c.PCKCRLChain, 2)
	if err != nil {
		return out, err
	}
	ca := chain[0]
	if want := map[string]string{"processor": processorName, "platform": platformName}[k.CA]; want == "" || ca.Subject.CommonName != want {
		return out, attest.Refuse(attest.Mismatch, "PCK CRL chain: %q, not the authority for %q", action.Clip(ca.Subject.CommonName, 64), k.CA)
	}
	if err := checkAuthorities("PCK CRL chain", chain, v.root.Raw, w); err != nil {
		return out, err
	}
	rootCRL, err := readCRL("root CRL", c.RootCRL, v.root, w)
	if err != nil {
		return out, err
	}
	pckCRL, err := readCRL("PCK CRL", c.PCKCRL, ca, w)
	if err != nil {
		return out, err
	}
	if err := notRevoked(rootCRL, ca, v.root); err != nil {
		return out, err
	}
	t, id := &tcbInfo{}, &qeIdentity{}
	if err := v.documents(c, rootCRL, w, t, id); err != nil {
		return out, err
	}
	if err := t.check(k.TEE, &pck{fmspc: k.FMSPC, pceID: t.PCEID}, w); err != nil {
		return out, err
	}
	if err := id.about(k.TEE, w); err != nil {
		return out, err
	}
	return Stated{TCBEvaluation: t.Evaluation, QEEvaluation: id.Evaluation, TCBInfo: t.Issued, QEIdentity: id.Issued,
		PCKCRL: pckCRL.ThisUpdate, RootCRL: rootCRL.ThisUpdate, Until: w.until}, nil
}
