// SPDX-License-Identifier: Apache-2.0

// Package dcap verifies quotes of Intel SGX (version 3, 4 and 5) and TDX (version 4 and 5) offline.
//
// # What is trusted
//
// Intel's root, pinned by its bytes, and the clock. Nothing else: the quote, its certificates and all
// collateral may come from an attacker. A quote that verifies says that a processor of Intel with a PCK
// certificate that is not revoked signed the report; it does not say that nobody with hands on the machine
// attacked it.
//
// The method is Intel's, "Intel SGX DCAP Quote Verification Library" and "Intel TDX DCAP Quote Generation
// Library and Quote Verification Library". Where it leaves a choice, the stricter one is taken: every list
// of revocations must be at hand and in date, a revoked platform is refused, reserved bits are refused,
// PEM has one form. TDX's advice to relaunch is not computed: such a domain is OutOfDate.
package dcap

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// Config makes a Verifier.
type Config struct {
	Store Store // required
	// MinEvaluation is the smallest TCB evaluation data number that is accepted, so that an old but still
	// valid statement of Intel's cannot hide a recovery. 0 accepts all.
	MinEvaluation int
	// AllowDebug verifies debug enclaves too; the facts say so, and their assurance is 0.
	AllowDebug bool
	// Root is the DER of another root, for tests; nil means Intel's. The facts then say test.
	Root []byte
}

// Verifier verifies quotes. It is safe for concurrent use.
type Verifier struct {
	c    Config
	root *x509.Certificate
}

// New returns a Verifier.
func New(c Config) (*Verifier, error) {
	if c.Store == nil {
		return nil, errors.New("dcap: no collateral store")
	}
	der := c.Root
	if der == nil {
		der = intelRoot
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errors.New("dcap: root is no certificate")
	}
	if c.Root == nil && root.Subject.CommonName != rootName {
		return nil, errors.New("dcap: the embedded root is not Intel's")
	}
	return &Verifier{c: c, root: root}, nil
}

// Verify returns the facts of a quote; see Trim for one with padding. o.Nonce is compared with the whole
// report data, a shorter one as if zeros followed.
func (v *Verifier) Verify(ctx context.Context, evidence []byte, o attest.Options) (*attest.Facts, error) {
	q, err := parse(evidence)
	if err != nil {
		return nil, err
	}
	w := &window{now: o.Time()}
	tee := "sgx"
	if q.tee == teeTDX {
		tee = "tdx"
	}
	f := &attest.Facts{Kind: tee, Evidence: attest.Digest(evidence), Checked: w.now,
		Fresh: action.TriUnknown, Debug: action.TriUnknown, Test: action.TriOf(v.c.Root != nil && !bytes.Equal(v.c.Root, intelRoot))}

	chain, err := readChain("PCK chain", q.certs, 3)
	if err != nil {
		return nil, err
	}
	if err := checkChain("PCK chain", chain, v.root.Raw, w); err != nil {
		return nil, err
	}
	ca := map[string]string{processorName: "processor", platformName: "platform"}[chain[1].Subject.CommonName]
	if chain[0].Subject.CommonName != pckName || ca == "" {
		return nil, attest.Refuse(attest.Unproved, "PCK chain: %q of %q is no PCK certificate",
			action.Clip(chain[0].Subject.CommonName, 64), action.Clip(chain[1].Subject.CommonName, 64))
	}
	p, err := readPCK(chain[0])
	if err != nil {
		return nil, err
	}
	if err := q.check(chain[0].PublicKey.(*ecdsa.PublicKey)); err != nil {
		return nil, err
	}
	c, err := v.c.Store.Collateral(ctx, Key{TEE: tee, FMSPC: p.fmspc, CA: ca})
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, attest.Refuse(attest.Missing, "collateral: the store has none for this platform")
	}
	f.Collateral = c.Digest()
	t, id, err := v.collateral(c, chain, w)
	if err != nil {
		return nil, err
	}
	if f.TCB, err = v.grade(q, tee, p, t, id, w); err != nil {
		return nil, err
	}
	f.Until, f.Stated = w.until, w.stated
	if err := v.report(f, q, o); err != nil {
		return nil, err
	}
	return f, nil
}

// check verifies the three links inside a quote: PCK key, quoting enclave, attestation key, body.
func (q *quote) check(pck *ecdsa.PublicKey) error {
	if !verify(pck, q.qeReport, q.qeSigned) {
		return attest.Refuse(attest.Unproved, "quoting enclave: its report is not signed by the PCK key")
	}
	bound := sha256.Sum256(slices.Concat(q.key, q.qeAuth))
	if !bytes.Equal(readEnclave(q.qeReport).reportData, append(bound[:], make([]byte, 32)...)) {
		return attest.Refuse(attest.Unproved, "attestation key: not the one that the quoting enclave reports")
	}
	key, err := rawKey(q.key)
	if err != nil {
		return attest.RefuseFor(err, attest.Malformed, "attestation key")
	}
	if !verify(key, q.signed, q.signature) {
		return attest.Refuse(attest.Unproved, "quote: not signed by its attestation key")
	}
	return nil
}

// collateral verifies everything that Intel states, and that no certificate was revoked.
func (v *Verifier) collateral(c *Collateral, pckChain []*x509.Certificate, w *window) (*tcbInfo, *qeIdentity, error) {
	rootCRL, err := readCRL("root CRL", c.RootCRL, v.root, w)
	if err != nil {
		return nil, nil, err
	}
	crlChain, err := readChain("PCK CRL chain", c.PCKCRLChain, 2)
	if err != nil {
		return nil, nil, err
	}
	// The list must be that of the authority in the quote's own chain, which is verified already.
	if !bytes.Equal(crlChain[0].Raw, pckChain[1].Raw) || !bytes.Equal(crlChain[1].Raw, v.root.Raw) {
		return nil, nil, attest.Refuse(attest.Mismatch, "PCK CRL chain: not the authority that issued the PCK certificate")
	}
	pckCRL, err := readCRL("PCK CRL", c.PCKCRL, pckChain[1], w)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(notRevoked(rootCRL, pckChain[1], v.root), notRevoked(pckCRL, pckChain[0])); err != nil {
		return nil, nil, err
	}
	w.issued(pckCRL.ThisUpdate)
	t, id := &tcbInfo{}, &qeIdentity{}
	return t, id, v.documents(c, rootCRL, w, t, id)
}

// documents verifies what Intel states and signs, and reads it.
func (v *Verifier) documents(c *Collateral, rootCRL *x509.RevocationList, w *window, t *tcbInfo, id *qeIdentity) error {
	for _, d := range []struct {
		what             string
		chain, data, sig []byte
		to               any
	}{
		{"TCB info", c.TCBInfoChain, c.TCBInfo, c.TCBInfoSignature, t},
		{"QE identity", c.QEIdentityChain, c.QEIdentity, c.QEIdentitySignature, id},
	} {
		if err := v.signed(d.what, d.chain, d.data, d.sig, rootCRL, w); err != nil {
			return err
		}
		if err := readSigned(d.what, d.data, d.to); err != nil {
			return err
		}
	}
	return nil
}

// signed verifies a document of Intel's over its exact bytes.
func (v *Verifier) signed(what string, chain, data, sig []byte, rootCRL *x509.RevocationList, w *window) error {
	if len(data) == 0 {
		return attest.Refuse(attest.Missing, "%s: not at hand", what)
	}
	certs, err := readChain(what+" chain", chain, 2)
	if err != nil {
		return err
	}
	if err := checkChain(what+" chain", certs, v.root.Raw, w); err != nil {
		return err
	}
	if certs[0].Subject.CommonName != signingName {
		return attest.Refuse(attest.Unproved, "%s: signed by %q", what, action.Clip(certs[0].Subject.CommonName, 64))
	}
	if err := notRevoked(rootCRL, certs[0]); err != nil {
		return err
	}
	if !verify(certs[0].PublicKey.(*ecdsa.PublicKey), data, sig) {
		return attest.Refuse(attest.Unproved, "%s: signature", what)
	}
	return nil
}

// grade merges the levels of processor, quoting enclave and TDX module.
func (v *Verifier) grade(q *quote, tee string, p *pck, t *tcbInfo, id *qeIdentity, w *window) (*attest.TCB, error) {
	if err := t.check(tee, p, w); err != nil {
		return nil, err
	}
	qe, err := id.check(tee, readEnclave(q.qeReport), w)
	if err != nil {
		return nil, err
	}
	evaluation := min(t.Evaluation, id.Evaluation)
	if evaluation < v.c.MinEvaluation {
		return nil, attest.Refuse(attest.Stale, "collateral: evaluation data number %d, at least %d is asked for", evaluation, v.c.MinEvaluation)
	}
	var svn []byte
	var mod *grade
	if tee == "tdx" {
		r := tdReport{q.body, q.td15}
		svn = r.tcbSVN()
		if mod, err = t.module(r); err != nil {
			return nil, err
		}
	}
	plat, err := t.platform(p, svn)
	if err != nil {
		return nil, err
	}
	out := &attest.TCB{Platform: plat.Status, QE: qe.Status, Evaluation: evaluation, FMSPC: p.fmspc, PCEID: p.pceID,
		CPUSVN: upper(p.cpuSVN), PCESVN: int(p.pceSVN), Dynamic: p.dynamic, SMT: p.smt}
	out.Status, out.Date, out.Advisories = plat.Status, plat.Date, slices.Clone(plat.Advisories)
	parts := []grade{qe}
	if mod != nil {
		out.Module = mod.Status
		parts = append(parts, *mod)
	}
	for _, g := range parts {
		if out.Status, err = merge(out.Status, g.Status); err != nil {
			return nil, err
		}
		out.Date = earlier(out.Date, g.Date)
		out.Advisories = append(out.Advisories, g.Advisories...)
	}
	slices.Sort(out.Advisories)
	out.Advisories = slices.Compact(out.Advisories)
	if out.Status == RevokedTCB {
		return nil, attest.Refuse(attest.Revoked, "platform: Intel revoked its TCB level of %s", out.Date.Format(time.DateOnly))
	}
	return out, nil
}

// report tells what the report says, refusing debug and a foreign nonce.
func (v *Verifier) report(f *attest.Facts, q *quote, o attest.Options) error {
	debug := true
	if q.tee == teeTDX {
		r := tdReport{q.body, q.td15}
		if err := r.check(); err != nil {
			return err
		}
		debug, f.TD = r.debug(), r.facts()
	} else {
		r := readEnclave(q.body)
		if r.attributes[0]&enclaveInit == 0 {
			return attest.Refuse(attest.Unproved, "enclave: not initialised")
		}
		debug, f.Enclave = r.debug(), r.facts()
	}
	f.Debug = action.TriOf(debug)
	if n := len(o.Nonce); n > 0 && n < reportDataSize {
		o.Nonce = append(slices.Clone(o.Nonce), make([]byte, reportDataSize-n)...) // shorter ones stand before zeros
	}
	return f.Settle(o, v.c.AllowDebug, q.reportData)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
