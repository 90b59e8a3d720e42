// SPDX-License-Identifier: Apache-2.0

package keyless

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// Identity is somebody whose signatures count: who, and who proved it.
type Identity struct {
	Issuer  string `json:"issuer"`  // of the login, such as https://accounts.google.com
	Subject string `json:"subject"` // mail address or URI; a "*" at its end stands for any rest
}

// String names the identity in lists of accepted signers.
func (i Identity) String() string { return "keyless:" + i.Issuer + "#" + i.Subject }

func (i Identity) matches(issuer, subject string) bool {
	if i.Issuer == "" || i.Issuer != issuer {
		return false
	}
	if head, ok := strings.CutSuffix(i.Subject, "*"); ok {
		return head != "" && strings.HasPrefix(subject, head)
	}
	return i.Subject != "" && i.Subject == subject
}

// Verifier accepts signatures of identities under a trusted root. It is safe for concurrent use.
type Verifier struct {
	Root       *Root
	Identities []Identity
}

// Entry is what a bundle says of its place in the log.
type Entry struct {
	Index string `json:"logIndex"`
	Log   struct {
		ID string `json:"keyId"`
	} `json:"logId"`
	Kind struct {
		Kind    string `json:"kind"`
		Version string `json:"version"`
	} `json:"kindVersion"`
	Time    string `json:"integratedTime"` // seconds
	Promise *struct {
		Signed string `json:"signedEntryTimestamp"`
	} `json:"inclusionPromise"`
	Proof *struct {
		Index      string   `json:"logIndex"`
		Root       string   `json:"rootHash"`
		Size       string   `json:"treeSize"`
		Hashes     []string `json:"hashes"`
		Checkpoint struct {
			Envelope string `json:"envelope"`
		} `json:"checkpoint"`
	} `json:"inclusionProof"`
	Body string `json:"canonicalizedBody"`
}

// Signed is one signature with what came along.
type Signed struct {
	Certificate []byte // DER
	Entry       Entry
	Payload     []byte // what the envelope holds
	Signature   []byte
}

// Signer is who signed, and when the log took it.
type Signer struct {
	Identity Identity // the accepted one that matched
	Subject  string   // what the certificate names
	Issuer   string
	Key      *ecdsa.PublicKey
	Time     time.Time
}

// Verify returns who made s, or an *attest.Error. That the key in the certificate signed the envelope is for the caller to
// check: it knows what was signed.
func (v *Verifier) Verify(s *Signed) (*Signer, error) {
	leaf, err := x509.ParseCertificate(s.Certificate)
	if err != nil || len(s.Certificate) > 16<<10 {
		return nil, attest.Refuse(attest.Malformed, "bundle: certificate")
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, attest.Refuse(attest.Unsupported, "bundle: the certificate's key is not ECDSA")
	}
	when, err := v.logged(s)
	if err != nil {
		return nil, err
	}
	issuer, err := v.chain(leaf, when)
	if err != nil {
		return nil, err
	}
	if err := v.vouched(leaf, issuer, when); err != nil {
		return nil, err
	}
	out := &Signer{Key: key, Time: when}
	if out.Subject, out.Issuer, err = named(leaf); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(v.Identities, func(i Identity) bool { return i.matches(out.Issuer, out.Subject) })
	if i < 0 {
		return nil, attest.Refuse(attest.Unproved, "bundle: signed by %q, by the word of %q, who is not accepted", action.Clip(out.Subject, 200), action.Clip(out.Issuer, 200))
	}
	out.Identity = v.Identities[i]
	return out, nil
}

// chain verifies the certificate up to an authority of the root, at the time of the log, and returns its issuer.
func (v *Verifier) chain(leaf *x509.Certificate, when time.Time) (*x509.Certificate, error) {
	var last error
	for _, a := range v.Root.authorities {
		if !within(when, a.start, a.end) {
			continue
		}
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		for i, c := range a.certs {
			if i == len(a.certs)-1 {
				roots.AddCert(c)
			} else {
				between.AddCert(c)
			}
		}
		chains, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: when, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}})
		if err == nil && !leaf.IsCA {
			return chains[0][1], nil
		}
		last = err
	}
	return nil, attest.RefuseFor(last, attest.Unproved, "bundle: no authority of the trusted root made the certificate when the log took the entry")
}

// The extensions of Fulcio's that name who proved an identity: as it is, and as a DER string.
var (
	extIssuerRaw = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
	extIssuer    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
)

// named reads the one name of a certificate and who proved it.
func named(leaf *x509.Certificate) (subject, issuer string, err error) {
	names := slices.Clone(leaf.EmailAddresses)
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	raw := ""
	for _, e := range leaf.Extensions {
		switch {
		case e.Id.Equal(extIssuerRaw):
			raw = string(e.Value)
		case e.Id.Equal(extIssuer):
			if rest, err := asn1.UnmarshalWithParams(e.Value, &issuer, "utf8"); err != nil || len(rest) > 0 {
				return "", "", attest.Refuse(attest.Malformed, "bundle: the certificate's issuer of identity")
			}
		}
	}
	if issuer == "" {
		issuer = raw
	}
	if len(names) != 1 || len(leaf.DNSNames)+len(leaf.IPAddresses) > 0 || issuer == "" || raw != "" && raw != issuer {
		return "", "", attest.Refuse(attest.Malformed, "bundle: the certificate does not name one identity and its issuer")
	}
	return names[0], issuer, nil
}

// body is an entry of the kind dsse, version 0.0.1.
type body struct {
	API  string `json:"apiVersion"`
	Kind string `json:"kind"`
	Spec struct {
		Envelope hashed `json:"envelopeHash"`
		Payload  hashed `json:"payloadHash"`
		Signed   []struct {
			Signature string `json:"signature"`
			Verifier  string `json:"verifier"`
		} `json:"signatures"`
	} `json:"spec"`
}

type hashed struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"`
}

// logged verifies that a log of the root holds an entry of this signature, and returns when it took it.
func (v *Verifier) logged(s *Signed) (time.Time, error) {
	e := &s.Entry
	if e.Kind.Kind != "dsse" || e.Kind.Version != "0.0.1" {
		return time.Time{}, attest.Refuse(attest.Unsupported, "bundle: log entry of kind %q %q", action.Clip(e.Kind.Kind, 40), action.Clip(e.Kind.Version, 40))
	}
	raw, err1 := base64.StdEncoding.Strict().DecodeString(e.Body)
	id, err2 := base64.StdEncoding.Strict().DecodeString(e.Log.ID)
	seconds, err3 := strconv.ParseInt(e.Time, 10, 62)
	index, err4 := strconv.ParseInt(e.Index, 10, 62)
	if err1 != nil || err2 != nil || len(id) != 32 || err3 != nil || err4 != nil || e.Promise == nil || e.Proof == nil {
		return time.Time{}, attest.Refuse(attest.Malformed, "bundle: the log entry, its promise or its proof")
	}
	when := time.Unix(seconds, 0)
	log, ok := v.Root.logs[[32]byte(id)]
	if !ok || !within(when, log.start, log.end) {
		return time.Time{}, attest.Refuse(attest.Unproved, "bundle: of a log that the trusted root does not know at that time")
	}
	if err := s.matches(raw); err != nil {
		return time.Time{}, err
	}
	promise, err := action.Canonical(map[string]any{"body": e.Body, "integratedTime": seconds, "logID": hex.EncodeToString(id), "logIndex": index})
	if err != nil {
		return time.Time{}, err
	}
	set, err := base64.StdEncoding.Strict().DecodeString(e.Promise.Signed)
	if err != nil || !signedBy(log.key, promise, set) {
		return time.Time{}, attest.Refuse(attest.Unproved, "bundle: the log did not promise the entry at this time")
	}
	return when, e.included(log.key, id, raw)
}

// matches holds an entry of the log against the signature.
func (s *Signed) matches(raw []byte) error {
	var b body
	if err := action.Read(raw, &b, action.Limits{Bytes: 1 << 20}); err != nil {
		return attest.RefuseFor(err, attest.Malformed, "bundle: log entry")
	}
	sum := sha256.Sum256(s.Payload)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate})
	if b.API != "0.0.1" || b.Kind != "dsse" || b.Spec.Payload != (hashed{"sha256", hex.EncodeToString(sum[:])}) || len(b.Spec.Signed) != 1 ||
		b.Spec.Signed[0].Signature != base64.StdEncoding.EncodeToString(s.Signature) {
		return attest.Refuse(attest.Mismatch, "bundle: the log entry is of another signature")
	}
	if v, err := base64.StdEncoding.Strict().DecodeString(b.Spec.Signed[0].Verifier); err != nil || !bytes.Equal(v, cert) {
		return attest.Refuse(attest.Mismatch, "bundle: the log entry is of another certificate")
	}
	return nil
}
