// SPDX-License-Identifier: Apache-2.0

package modelsig

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/keyless"
)

// MaxBundleBytes bounds a signature file: a million files make about 200 MB, and nobody signs so many.
const MaxBundleBytes = 64 << 20

const (
	bundleType    = "application/vnd.dev.sigstore.bundle.v0.3+json"
	payloadType   = "application/vnd.in-toto+json"
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://model_signing/signature/v1.0"
	mostCerts     = 8
	mostCertBytes = 16 << 10 // a huge key costs whoever checks it
)

type bundle struct {
	MediaType string   `json:"mediaType"`
	Material  material `json:"verificationMaterial"`
	Envelope  struct {
		Payload    string `json:"payload"`
		Type       string `json:"payloadType"`
		Signatures []struct {
			Sig   string  `json:"sig"`
			KeyID *string `json:"keyid"`
		} `json:"signatures"`
	} `json:"dsseEnvelope"`
}

type material struct {
	Key *struct {
		Raw     string `json:"rawBytes"`
		Details string `json:"keyDetails"`
		Hint    string `json:"hint"`
	} `json:"publicKey"`
	Chain *struct {
		Certs []struct {
			Raw string `json:"rawBytes"`
		} `json:"certificates"`
	} `json:"x509CertificateChain"`
	Cert *struct {
		Raw string `json:"rawBytes"`
	} `json:"certificate"`
	Logs  []keyless.Entry `json:"tlogEntries"`
	Times *struct {
		Stamps []struct {
			Signed string `json:"signedTimestamp"`
		} `json:"rfc3161Timestamps"`
	} `json:"timestampVerificationData"` // of keyless bundles
}

// Signer is whose signature a bundle carries.
type Signer struct {
	Name    string // "sha256:..." of the public key (PKIX), or the accepted keyless identity
	Subject string // of the certificate; "" for a bare key
	Until   time.Time
	key     *ecdsa.PublicKey
}

// Open verifies the signature of a bundle by somebody whom c accepts, and returns the in-toto statement that was signed.
// Keyless signatures hold for ever, as of the time when the log took them; others hold while the certificate does.
func Open(c Config, data []byte, now time.Time) (payload []byte, s *Signer, err error) {
	v := &Verifier{c}
	var b bundle
	if err = action.Read(data, &b, action.Limits{Bytes: MaxBundleBytes}); err != nil {
		return nil, nil, attest.RefuseFor(err, attest.Malformed, "bundle")
	}
	bare := b.Material.Cert == nil
	switch {
	case b.MediaType != bundleType || b.Envelope.Type != payloadType:
		err = attest.Refuse(attest.Unsupported, "bundle: media type %q with a payload of %q", action.Clip(b.MediaType, 100), action.Clip(b.Envelope.Type, 100))
	case bare && (len(b.Material.Logs) != 0 || b.Material.Times != nil):
		err = attest.Refuse(attest.Unsupported, "bundle: a key or chain, and an entry of a log")
	case !bare && (b.Material.Key != nil || b.Material.Chain != nil || len(b.Material.Logs) != 1):
		err = attest.Refuse(attest.Malformed, "bundle: not one certificate with one log entry")
	case len(b.Envelope.Signatures) != 1:
		err = attest.Refuse(attest.Malformed, "bundle: %d signatures, expected 1", len(b.Envelope.Signatures))
	case bare && (b.Material.Key == nil) == (b.Material.Chain == nil):
		err = attest.Refuse(attest.Malformed, "bundle: neither or both of a key and a certificate")
	}
	if err != nil {
		return nil, nil, err
	}
	one := b.Envelope.Signatures[0]
	payload, ok1 := strictBase64(b.Envelope.Payload)
	sig, ok2 := strictBase64(one.Sig)
	if !ok1 || !ok2 || (one.KeyID != nil && *one.KeyID != "") {
		return nil, nil, attest.Refuse(attest.Malformed, "bundle: payload or signature")
	}
	switch {
	case !bare:
		s, err = v.keyless(&b.Material, payload, sig)
	case b.Material.Chain != nil:
		s, err = v.certified(&b.Material, now)
	default:
		s, err = v.keyed(&b.Material)
	}
	if err != nil {
		return nil, nil, err
	}
	if !verify(s.key, pae(payload), sig) {
		return nil, nil, attest.Refuse(attest.Unproved, "bundle: not signed by the key")
	}
	return payload, s, nil
}

func (v *Verifier) keyless(m *material, payload, sig []byte) (*Signer, error) {
	if v.c.Keyless == nil {
		return nil, attest.Refuse(attest.Unsupported, "bundle: signed without a key of its own (keyless), and no trusted root is given")
	}
	der, ok := strictBase64(m.Cert.Raw)
	if !ok {
		return nil, attest.Refuse(attest.Malformed, "bundle: certificate")
	}
	one := &keyless.Signed{Certificate: der, Entry: m.Logs[0], Payload: payload, Message: pae(payload), Signature: sig}
	if m.Times != nil {
		for _, s := range m.Times.Stamps {
			stamp, ok := strictBase64(s.Signed)
			if !ok {
				return nil, attest.Refuse(attest.Malformed, "bundle: time stamp")
			}
			one.Times = append(one.Times, stamp)
		}
	}
	k, err := v.c.Keyless.Verify(one)
	if err != nil {
		return nil, err
	}
	return &Signer{Name: k.Identity.String(), Subject: k.Subject, key: k.Key}, nil
}

func (v *Verifier) certified(m *material, now time.Time) (*Signer, error) {
	leaf, until, err := v.leaf(m, now)
	if err != nil {
		return nil, err
	}
	s, err := signerOf(leaf.PublicKey.(*ecdsa.PublicKey))
	if err == nil {
		s.Subject, s.Until = leaf.Subject.String(), until
	}
	return s, err
}

func (v *Verifier) keyed(m *material) (*Signer, error) {
	key, err := v.key(m)
	if err != nil {
		return nil, err
	}
	return signerOf(key)
}

func signerOf(key *ecdsa.PublicKey) (*Signer, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, attest.RefuseFor(err, attest.Malformed, "signer's key")
	}
	return &Signer{Name: attest.Digest(der), key: key}, nil
}

// pae is the pre-authentication encoding of DSSE v1.
func pae(payload []byte) []byte {
	return slices.Concat([]byte("DSSEv1 "+strconv.Itoa(len(payloadType))+" "+payloadType+" "+strconv.Itoa(len(payload))+" "), payload)
}

// verify checks an ASN.1 signature with the hash that goes with the key's curve.
func verify(key *ecdsa.PublicKey, msg, sig []byte) bool {
	switch key.Curve {
	case elliptic.P256():
		h := sha256.Sum256(msg)
		return ecdsa.VerifyASN1(key, h[:], sig)
	case elliptic.P384():
		h := sha512.Sum384(msg)
		return ecdsa.VerifyASN1(key, h[:], sig)
	case elliptic.P521():
		h := sha512.Sum512(msg)
		return ecdsa.VerifyASN1(key, h[:], sig)
	}
	return false
}

// key finds the accepted key that the bundle names, by its PEM (up to 1.0) or by the digest of it.
func (v *Verifier) key(m *material) (*ecdsa.PublicKey, error) {
	for _, k := range v.c.Keys {
		text, err := keyPEM(k)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		details := map[elliptic.Curve]string{elliptic.P256(): "PKIX_ECDSA_P256_SHA_256", elliptic.P384(): "PKIX_ECDSA_P384_SHA_384",
			elliptic.P521(): "PKIX_ECDSA_P521_SHA_512"}[k.Curve]
		byHint := m.Key.Raw == "" && m.Key.Details == "" && m.Key.Hint == hex.EncodeToString(sum[:])
		byText := m.Key.Hint == "" && m.Key.Raw == base64.StdEncoding.EncodeToString(text) && m.Key.Details == details
		if byHint || byText {
			return k, nil
		}
	}
	return nil, attest.Refuse(attest.Unproved, "bundle: signed by a key that is not accepted")
}

// leaf verifies the chain up to an accepted root, at time now: a bundle without a time stamp says nothing
// about when it was signed.
func (v *Verifier) leaf(m *material, now time.Time) (*x509.Certificate, time.Time, error) {
	if n := len(m.Chain.Certs); n == 0 || n > mostCerts {
		return nil, time.Time{}, attest.Refuse(attest.Malformed, "bundle: %d certificates", n)
	}
	if v.c.Roots == nil {
		return nil, time.Time{}, attest.Refuse(attest.Unproved, "bundle: signed with a certificate, and no authority is accepted")
	}
	var certs []*x509.Certificate
	between := x509.NewCertPool()
	for i, c := range m.Chain.Certs {
		der, ok := strictBase64(c.Raw)
		if !ok || len(der) > mostCertBytes {
			return nil, time.Time{}, attest.Refuse(attest.Malformed, "bundle: certificate %d", i)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, time.Time{}, attest.Refuse(attest.Malformed, "bundle: certificate %d", i)
		}
		certs = append(certs, cert)
		if i > 0 {
			between.AddCert(cert)
		}
	}
	leaf, name := certs[0], action.Clip(certs[0].Subject.String(), 200)
	if _, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, time.Time{}, attest.Refuse(attest.Unproved, "bundle: certificate of %q is not for ECDSA signatures", name)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: v.c.Roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}})
	if err != nil {
		code := attest.Unproved
		if inv, ok := err.(x509.CertificateInvalidError); ok && inv.Reason == x509.Expired {
			code = attest.Stale
		}
		return nil, time.Time{}, attest.RefuseFor(err, code, "bundle: certificate of %q", name)
	}
	// Each certificate of the bundle must stand in the chain: others are neither checked nor needed.
	for _, c := range certs {
		if !slices.ContainsFunc(chains[0], func(o *x509.Certificate) bool { return bytes.Equal(c.Raw, o.Raw) }) {
			return nil, time.Time{}, attest.Refuse(attest.Malformed, "bundle: certificate of %q is not part of the chain", action.Clip(c.Subject.String(), 200))
		}
	}
	until := leaf.NotAfter
	for _, c := range chains[0] {
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	return leaf, until, nil
}

func keyPEM(k *ecdsa.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return nil, attest.RefuseFor(err, attest.Malformed, "accepted key")
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

func strictBase64(s string) ([]byte, bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return b, err == nil && len(b) > 0 && base64.StdEncoding.EncodeToString(b) == s
}
