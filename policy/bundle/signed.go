// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/sallyport/sallyport/action"
)

// SignedFile is the signed manifest at the top of a bundle's folder. It is no part of what it signs.
const SignedFile = "sallyport-bundle.signed.json"

// PayloadType is the DSSE type of a Statement.
const PayloadType = "application/vnd.sallyport.bundle.v1+json"

// DiffPayloadType is the DSSE type of a report of what another bundle would have decided. A signature over one is none
// over the other: the type is part of what is signed.
const DiffPayloadType = "application/vnd.sallyport.policy-diff.v1+json"

// MaxSignatures bounds a signed manifest.
const MaxSignatures = 32

// ErrUntrusted is wrapped by every refusal of a bundle's signatures.
var ErrUntrusted = errors.New("bundle is not trusted")

// Results are what the cases of a bundle showed to whoever built it. Whoever puts it in force runs them again, and takes it only if
// they show the same.
type Results struct {
	Cases    int    `json:"cases"`
	Failed   int    `json:"failed"`
	Rules    int    `json:"rules"`
	Untested int    `json:"untested"` // rules that fired in no case
	Answers  string `json:"answers"`  // digest of every case's name with its verdict, rules and obligations
}

// Statement is what signers sign, in RFC 8785 form: all of it follows from the folder and this build.
type Statement struct {
	Format    string      `json:"format"`
	Name      string      `json:"name"`
	Sequence  int64       `json:"sequence"`
	Digest    string      `json:"digest"` // as in every decision, see Bundle.Digest
	Parent    string      `json:"parent"` // digest of the bundle before; "" is none
	NotBefore int64       `json:"not_before_ms"`
	Expires   int64       `json:"expires_ms"`
	Schema    string      `json:"schema"`
	Engines   []Evaluator `json:"engines"`
	Files     []listed    `json:"files"`
	Tests     Results     `json:"tests"`
}

// Signature is one signature of an Envelope.
type Signature struct {
	KeyID string `json:"keyid"` // see KeyID
	Role  string `json:"role"`  // author or approver; what the trust says of the key must agree
	Sig   string `json:"sig"`   // base64
}

// Envelope is SignedFile: a DSSE envelope.
type Envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     string      `json:"payload"` // base64
	Signatures  []Signature `json:"signatures"`
}

// Statement states the bundle for signers.
func (b *Bundle) Statement(schema string, engines []Evaluator) (Statement, error) {
	digest, err := b.Digest(schema, engines)
	if err != nil {
		return Statement{}, err
	}
	c := b.canonical(schema, engines)
	s := Statement{Format: "sallyport.bundle.signed.v1", Name: b.Manifest.Name, Sequence: b.Manifest.Sequence, Digest: digest,
		Parent: b.Manifest.Parent, Schema: schema, Engines: c.Engines, Files: c.Files}
	if !b.Manifest.NotBefore.IsZero() {
		s.NotBefore = b.Manifest.NotBefore.UnixMilli()
	}
	if !b.Manifest.Expires.IsZero() {
		s.Expires = b.Manifest.Expires.UnixMilli()
	}
	return s, nil
}

// Signed returns the content of SignedFile, nil if there is none. The caller must not change it.
func (b *Bundle) Signed() []byte { return b.signed }

// PAE is DSSE's pre-authentication encoding: what a signature is taken over.
func PAE(payloadType string, payload []byte) []byte {
	var b bytes.Buffer
	b.WriteString("DSSEv1 " + strconv.Itoa(len(payloadType)) + " " + payloadType + " " + strconv.Itoa(len(payload)) + " ")
	b.Write(payload)
	return b.Bytes()
}

// KeyID names a public key: "sha256:..." over its 32 bytes.
func KeyID(key ed25519.PublicKey) string { return Sum(key) }

// Seal makes an envelope without signatures.
func Seal(s Statement) (Envelope, error) { return seal(PayloadType, s) }

// SealReport makes an envelope of a report, any value with a canonical form, without signatures.
func SealReport(report any) (Envelope, error) { return seal(DiffPayloadType, report) }

func seal(payloadType string, v any) (Envelope, error) {
	payload, err := action.Canonical(v)
	if err != nil {
		return Envelope{}, err
	}
	return Envelope{PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(payload)}, nil
}

// Sign adds a signature by key. A key signs once.
func (e *Envelope) Sign(key ed25519.PrivateKey, role string) error {
	payload, err := e.payload()
	if err != nil {
		return err
	}
	id := KeyID(key.Public().(ed25519.PublicKey))
	switch {
	case role != Author && role != Approver:
		return fmt.Errorf("role %q is neither author nor approver", action.Clip(role, 32))
	case slices.ContainsFunc(e.Signatures, func(s Signature) bool { return s.KeyID == id }):
		return fmt.Errorf("key %s has signed already", id)
	case len(e.Signatures) >= MaxSignatures:
		return fmt.Errorf("more than %d signatures", MaxSignatures)
	}
	sig := ed25519.Sign(key, PAE(e.PayloadType, payload))
	e.Signatures = append(e.Signatures, Signature{KeyID: id, Role: role, Sig: base64.StdEncoding.EncodeToString(sig)})
	return nil
}

func (e *Envelope) payload() ([]byte, error) {
	if e.PayloadType != PayloadType && e.PayloadType != DiffPayloadType {
		return nil, fmt.Errorf("payload type %q is neither %q nor %q", action.Clip(e.PayloadType, 64), PayloadType, DiffPayloadType)
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(e.Payload)
	if err != nil {
		return nil, errors.New("payload is no base64")
	}
	return payload, nil
}

// ReadEnvelope reads SignedFile strictly. It checks no signature.
func ReadEnvelope(data []byte) (Envelope, error) {
	var e Envelope
	if err := action.Read(data, &e, action.Limits{}); err != nil {
		return Envelope{}, fmt.Errorf("%s: %w", SignedFile, err)
	}
	if len(e.Signatures) > MaxSignatures {
		return Envelope{}, fmt.Errorf("%s: more than %d signatures", SignedFile, MaxSignatures)
	}
	return e, nil
}

// Tested is what the envelope says of the cases. It checks nothing.
func (e *Envelope) Tested() (Results, error) {
	var s Statement
	payload, err := e.payload()
	if err == nil {
		err = action.Read(payload, &s, action.Limits{})
	}
	return s.Tests, err
}

// Matches reports whether the envelope states exactly want, whatever it says of the cases, which take running; the error names
// the first difference. Nothing that the envelope names is ever opened.
func (e *Envelope) Matches(want Statement) error {
	payload, err := e.payload()
	if err == nil && e.PayloadType != PayloadType {
		err = fmt.Errorf("payload type %q is not %q", action.Clip(e.PayloadType, 64), PayloadType)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUntrusted, SignedFile, err)
	}
	var got Statement
	if err := action.Read(payload, &got, action.Limits{}); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUntrusted, SignedFile, err)
	}
	want.Tests = got.Tests
	exact, err := action.Canonical(want)
	if err != nil {
		return err
	}
	if bytes.Equal(payload, exact) {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrUntrusted, difference(&got, &want))
}

func difference(got, want *Statement) string {
	have := map[string]listed{}
	for _, f := range want.Files {
		have[f.Path] = f
	}
	for _, f := range got.Files {
		if !validName(f.Path) || !known(f.Path) {
			return fmt.Sprintf("the manifest names %q, which has no place in a bundle", action.Clip(f.Path, maxName))
		}
		switch is, ok := have[f.Path]; {
		case !ok:
			return fmt.Sprintf("file %q of the manifest is missing, or named twice", f.Path)
		case is != f:
			return fmt.Sprintf("file %q differs from the manifest", f.Path)
		}
		delete(have, f.Path)
	}
	for _, f := range want.Files {
		if _, extra := have[f.Path]; extra {
			return fmt.Sprintf("file %q is not in the manifest", f.Path)
		}
	}
	if got.Schema != want.Schema || !slices.Equal(got.Engines, want.Engines) {
		return fmt.Sprintf("it was signed for engines %v, and this build has %v", got.Engines, want.Engines)
	}
	return "the manifest is not the one that build makes of this folder"
}
