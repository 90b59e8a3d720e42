// SPDX-License-Identifier: Apache-2.0

// Package nitro verifies attestation documents of AWS Nitro Enclaves, offline and without AWS's services.
//
// # What a document says
//
// Which image runs in an enclave (registers 0 to 2), in which role and parent (3, 4), signed by how (8), and what the
// enclave itself put in: a nonce, a public key and data. Its signature is COSE_Sign1 with ES384 by a certificate that
// leads to AWS's root and lives about three hours: a live verifier that finds it expired refuses it, and one that
// replays a record brings the record's clock. An enclave in debug mode has a register 0 of zeros: its host reads its
// memory, and it is refused.
package nitro

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"math/big"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// MaxDocumentBytes bounds a document: AWS's have 4 to 6 KiB, with user data up to 16 KiB.
const MaxDocumentBytes = 32 << 10

const (
	mostCerts     = 8
	mostCertBytes = 4 << 10
	mostRegisters = 32
)

// awsRoot is the SHA-256 of the certificate "aws.nitro-enclaves", 2019-10-28 to 2049-10-28, as AWS publishes it at
// https://docs.aws.amazon.com/enclaves/latest/user/verify-root.html.
const awsRoot = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"

// protected is the only protected header there is: {1: -35}, ES384.
var protected = []byte{0xa1, 0x01, 0x38, 0x22}

// Config makes a Verifier. The zero value is useful.
type Config struct {
	Root       []byte // DER of another root, for tests; nil means AWS's. The facts then say test
	AllowDebug bool   // verify enclaves in debug mode too; they are worth nothing
}

// Verifier verifies documents. It is safe for concurrent use.
type Verifier struct {
	c    Config
	root [sha256.Size]byte
	read cbor.DecMode
}

// New returns a Verifier.
func New(c Config) (*Verifier, error) {
	v := &Verifier{c: c}
	var err error
	if v.read, err = (cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		MaxNestedLevels: 6, MaxArrayElements: 16, MaxMapPairs: mostRegisters}).DecMode(); err != nil {
		return nil, err
	}
	if c.Root != nil {
		v.root = sha256.Sum256(c.Root)
		return v, nil
	}
	b, err := hex.DecodeString(awsRoot)
	if err != nil {
		return nil, err
	}
	v.root = [sha256.Size]byte(b)
	return v, nil
}

// signed is COSE_Sign1, without its tag.
type signed struct {
	_         struct{} `cbor:",toarray"`
	Protected []byte
	Open      map[int]cbor.RawMessage
	Payload   []byte
	Signature []byte
}

type document struct {
	Module      string         `cbor:"module_id"`
	Digest      string         `cbor:"digest"`
	Time        uint64         `cbor:"timestamp"` // milliseconds
	PCRs        map[int][]byte `cbor:"pcrs"`
	Certificate []byte         `cbor:"certificate"`
	Bundle      [][]byte       `cbor:"cabundle"` // the root first
	PublicKey   []byte         `cbor:"public_key"`
	UserData    []byte         `cbor:"user_data"`
	Nonce       []byte         `cbor:"nonce"`
}

// Verify returns the facts of a document. The nonce of o must be the document's.
func (v *Verifier) Verify(_ context.Context, evidence []byte, o attest.Options) (*attest.Facts, error) {
	if len(evidence) > MaxDocumentBytes {
		return nil, attest.Refuse(attest.Malformed, "document: more than %d bytes", MaxDocumentBytes)
	}
	var s signed
	if err := v.read.Unmarshal(evidence, &s); err != nil {
		return nil, attest.RefuseFor(err, attest.Malformed, "document")
	}
	if !bytes.Equal(s.Protected, protected) || len(s.Open) != 0 || len(s.Signature) != 96 {
		return nil, attest.Refuse(attest.Malformed, "document: headers or signature")
	}
	var d document
	if err := v.read.Unmarshal(s.Payload, &d); err != nil {
		return nil, attest.RefuseFor(err, attest.Malformed, "document: payload")
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	now := o.Time()
	leaf, until, err := v.chain(&d, now)
	if err != nil {
		return nil, err
	}
	sum := sha512.Sum384(structure(s.Payload))
	if !ecdsa.Verify(leaf, sum[:], new(big.Int).SetBytes(s.Signature[:48]), new(big.Int).SetBytes(s.Signature[48:])) {
		return nil, attest.Refuse(attest.Unproved, "document: not signed by its certificate")
	}
	f := &attest.Facts{Kind: "nitro", Evidence: attest.Digest(evidence), Checked: now, Until: until, Fresh: action.TriUnknown,
		Debug: action.TriOf(blank(d.PCRs[0])), Test: action.TriOf(v.c.Root != nil), Nitro: &attest.Nitro{Module: action.Clip(d.Module, 200),
			Time: time.UnixMilli(int64(d.Time)).UTC(), PCRs: map[int]string{}, UserData: hex.EncodeToString(d.UserData), PublicKey: hex.EncodeToString(d.PublicKey)}}
	for n, p := range d.PCRs {
		f.Nitro.PCRs[n] = hex.EncodeToString(p)
	}
	if err := f.Settle(o, v.c.AllowDebug, d.Nonce); err != nil {
		return nil, err
	}
	return f, nil
}

func (d *document) check() error {
	if d.Digest != "SHA384" || d.Module == "" || d.Time == 0 || d.Time > 1<<50 || len(d.UserData) > 16<<10 || len(d.PublicKey) > 1024 || len(d.Nonce) > 1024 {
		return attest.Refuse(attest.Malformed, "document: its digest, name, time or data")
	}
	if _, ok := d.PCRs[0]; !ok || len(d.PCRs) > mostRegisters {
		return attest.Refuse(attest.Malformed, "document: its registers")
	}
	for n, p := range d.PCRs {
		if n < 0 || n >= mostRegisters || len(p) != sha512.Size384 {
			return attest.Refuse(attest.Malformed, "document: register %d", n)
		}
	}
	return nil
}

func blank(p []byte) bool { return len(bytes.Trim(p, "\x00")) == 0 }

// chain verifies the certificates up to the root, at time now.
func (v *Verifier) chain(d *document, now time.Time) (*ecdsa.PublicKey, time.Time, error) {
	if n := len(d.Bundle); n == 0 || n > mostCerts || sha256.Sum256(d.Bundle[0]) != v.root {
		return nil, time.Time{}, attest.Refuse(attest.Unproved, "document: its certificates do not lead to the root")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	var certs []*x509.Certificate
	for i, der := range append(d.Bundle[:len(d.Bundle):len(d.Bundle)], d.Certificate) {
		c, err := x509.ParseCertificate(der)
		if err != nil || len(der) > mostCertBytes {
			return nil, time.Time{}, attest.Refuse(attest.Malformed, "document: certificate %d", i)
		}
		certs = append(certs, c)
	}
	roots.AddCert(certs[0])
	for _, c := range certs[1 : len(certs)-1] {
		between.AddCert(c)
	}
	leaf := certs[len(certs)-1]
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P384() || leaf.IsCA || leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, time.Time{}, attest.Refuse(attest.Unproved, "document: its certificate is not for ES384 signatures")
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		code := attest.Unproved
		if inv := (x509.CertificateInvalidError{}); errors.As(err, &inv) && inv.Reason == x509.Expired {
			code = attest.Stale
		}
		return nil, time.Time{}, attest.RefuseFor(err, code, "document: certificate")
	}
	if len(chains[0]) != len(certs) { // a certificate that nothing needs is not checked by anything
		return nil, time.Time{}, attest.Refuse(attest.Malformed, "document: certificates beside the chain")
	}
	until := leaf.NotAfter
	for _, c := range chains[0] {
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	return key, until, nil
}

// structure is what COSE_Sign1 signs: ["Signature1", protected, empty, payload].
func structure(payload []byte) []byte {
	out := append([]byte{0x84, 0x6a}, "Signature1"...)
	out = append(append(append(out, 0x44), protected...), 0x40)
	n := len(payload)
	switch { // the head of a byte string in its shortest form
	case n < 24:
		out = append(out, 0x40|byte(n))
	case n < 1<<8:
		out = append(out, 0x58, byte(n))
	default:
		out = append(out, 0x59, byte(n>>8), byte(n))
	}
	return append(out, payload...)
}
