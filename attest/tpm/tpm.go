// SPDX-License-Identifier: Apache-2.0

// Package tpm verifies quotes of TPM 2.0 chips with the log that explains them, and makes the challenge
// that enrols an attestation key.
//
// # What is proved
//
// That a key signed the registers, fresh for a nonce. That the key lives in a chip is proved once, by a
// Challenge; that the chip is a real one, by its endorsement certificate. Without both, the facts are worth
// a software key.
//
// Only registers 0 to 15 are accepted: a privileged process resets 16 and 23 (and later launches 17 to 22)
// and replays a good log after a bad run. Whoever is privileged can still restart the machine: the counts
// of resets and restarts are facts, to compare with those at enrolment.
package tpm

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

const (
	resettable = 16 // the first register that can be set back without a restart
	maxPublic  = 2048
	maxCert    = 16 << 10 // a huge key costs whoever checks it
	rsaHash    = crypto.SHA256
	// MaxEvidenceBytes bounds evidence.
	MaxEvidenceBytes = 2 << 20
)

// Evidence is the JSON form of a quote; byte strings are base64.
type Evidence struct {
	AK        Bytes             `json:"ak_public"` // TPMT_PUBLIC
	Quote     Bytes             `json:"quote"`     // TPMS_ATTEST
	Signature Bytes             `json:"signature"` // TPMT_SIGNATURE
	PCRs      map[string]string `json:"pcrs"`      // register number to value in hex, each that was quoted
	Log       []attest.Event    `json:"log"`
	EKChain   []Bytes           `json:"ek_chain"` // DER, leaf first; may be empty
}

// Bytes are base64 in JSON.
type Bytes = attest.Bytes

// Config makes a Verifier.
type Config struct {
	PCRs []int // exactly these registers are quoted, of 0 to 15; required
	// Unlogged are those of PCRs that the log need not explain: their values are told, not replayed.
	Unlogged []int
	// Enrolled returns the EK of the Challenge that the key with this name answered; a quote by another key
	// is refused. nil accepts any key, and the facts say that none is resident.
	Enrolled func(key string) (ek string, ok bool)
	Roots    *x509.CertPool // of the makers of chips; nil endorses none
}

// Verifier verifies quotes. It is safe for concurrent use if Enrolled is.
type Verifier struct {
	c         Config
	selection uint32
}

// New returns a Verifier.
func New(c Config) (*Verifier, error) {
	v := &Verifier{c: c}
	for _, p := range c.PCRs {
		if p < 0 || p >= resettable {
			return nil, fmt.Errorf("tpm: register %d can be set back without a restart", p)
		}
		v.selection |= 1 << p
	}
	if v.selection == 0 {
		return nil, errors.New("tpm: no registers")
	}
	for _, p := range c.Unlogged {
		if !slices.Contains(c.PCRs, p) {
			return nil, fmt.Errorf("tpm: register %d is not quoted", p)
		}
	}
	v.c.PCRs = slices.Compact(slices.Sorted(slices.Values(c.PCRs)))
	return v, nil
}

// Verify returns the facts of an Evidence in JSON.
func (v *Verifier) Verify(_ context.Context, evidence []byte, o attest.Options) (*attest.Facts, error) {
	var e Evidence
	if err := action.Read(evidence, &e, action.Limits{Bytes: MaxEvidenceBytes}); err != nil {
		return nil, attest.RefuseFor(err, attest.Malformed, "evidence")
	}
	if len(e.AK) > maxPublic || len(e.Quote) > maxPublic || len(e.Signature) > maxPublic {
		return nil, attest.Refuse(attest.Malformed, "evidence: key, quote or signature is too long")
	}
	k, err := readKey(e.AK)
	if err != nil {
		return nil, err
	}
	if err := k.verify(e.Quote, e.Signature); err != nil {
		return nil, err
	}
	q, err := readQuote(e.Quote)
	if err != nil {
		return nil, err
	}
	p := &attest.Platform{Key: hex.EncodeToString(k.name), Resident: action.No, Endorsed: action.No, Replayed: action.TriUnknown, Log: e.Log,
		ResetCount: q.resets, Restarts: q.restart, Clock: q.clock, ClockSafe: q.safe, Firmware: fmt.Sprintf("%016x", q.firmware)}
	f := &attest.Facts{Kind: "tpm", Evidence: attest.Digest(evidence), Checked: o.Time(), Fresh: action.TriUnknown,
		Debug: action.TriUnknown, Test: action.TriUnknown, Platform: p}
	if o.Nonce != nil {
		if len(o.Nonce) == 0 || subtle.ConstantTimeCompare(o.Nonce, q.extra) != 1 {
			return nil, attest.Refuse(attest.Replayed, "quote: not over the nonce")
		}
		f.Fresh = action.Yes
	}
	if p.PCRs, err = v.registers(q, &e); err != nil {
		return nil, err
	}
	if len(v.c.Unlogged) < len(v.c.PCRs) {
		p.Replayed = action.Yes // registers() refused a log that does not explain them
	}
	if err := v.residence(f, &e); err != nil {
		return nil, err
	}
	return f, nil
}

// registers checks that exactly the asked registers were quoted, that the values hash to the quote, and
// that the log leads to them.
func (v *Verifier) registers(q *quote, e *Evidence) (map[int]string, error) {
	if q.selection != v.selection {
		return nil, attest.Refuse(attest.Mismatch, "quote: registers %024b, asked for %024b", q.selection, v.selection)
	}
	if len(e.PCRs) != len(v.c.PCRs) {
		return nil, attest.Refuse(attest.Malformed, "evidence: %d register values, %d are quoted", len(e.PCRs), len(v.c.PCRs))
	}
	replayed, err := replay(e.Log)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	out := map[int]string{}
	for _, n := range v.c.PCRs {
		text, ok := e.PCRs[strconv.Itoa(n)]
		value, err := digest32(text)
		if !ok || err != nil {
			return nil, attest.Refuse(attest.Malformed, "evidence: value of register %d", n)
		}
		h.Write(value[:])
		out[n] = text
		if slices.Contains(v.c.Unlogged, n) {
			continue
		}
		if replayed[n] != value {
			return nil, attest.Refuse(attest.Unproved, "log: does not lead to the value of register %d", n)
		}
		delete(replayed, n)
	}
	if len(replayed) != 0 {
		return nil, attest.Refuse(attest.Malformed, "log: speaks of registers that it need not explain")
	}
	if subtle.ConstantTimeCompare(h.Sum(nil), q.digest) != 1 {
		return nil, attest.Refuse(attest.Unproved, "quote: not over the register values")
	}
	return out, nil
}

// residence states whether the key is enrolled and its chip endorsed. A chain that does not verify is
// refused; none at all is a fact.
func (v *Verifier) residence(f *attest.Facts, e *Evidence) error {
	enrolled, ok := "", false
	if v.c.Enrolled != nil {
		if enrolled, ok = v.c.Enrolled(f.Platform.Key); !ok {
			return attest.Refuse(attest.Mismatch, "attestation key: %s is not enrolled", f.Platform.Key)
		}
	}
	f.Platform.Resident = action.TriOf(ok)
	if len(e.EKChain) == 0 || v.c.Roots == nil {
		return nil
	}
	end, err := readEndorsement(e.EKChain, v.c.Roots, f.Checked)
	if err != nil {
		return err
	}
	if ok && end.key != enrolled {
		return attest.Refuse(attest.Mismatch, "endorsement: not of the chip that the attestation key was enrolled with")
	}
	f.Platform.Endorsed, f.Platform.Maker, f.Test, f.Until = action.TriOf(ok), end.maker, action.TriOf(end.test), end.until
	return nil
}
