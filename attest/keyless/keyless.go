// SPDX-License-Identifier: Apache-2.0

package keyless

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"slices"
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
	Message     []byte // what was signed: the payload in its pre-authentication encoding
	Signature   []byte
	Times       [][]byte // time stamps of the signature (RFC 3161), DER
}

// mostTimes bounds the time stamps of a signature.
const mostTimes = 8

// Signer is who signed, and when: the earliest of the times that somebody vouches for.
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
	times, err := v.Root.times(s.Times, s.Signature)
	if err != nil {
		return nil, err
	}
	if times, err = v.logged(s, times); err != nil {
		return nil, err
	}
	when := slices.MinFunc(times, time.Time.Compare)
	for _, t := range times {
		issuer, err := v.chain(leaf, t)
		if err != nil {
			return nil, err
		}
		if err := v.vouched(leaf, issuer, when); err != nil {
			return nil, err
		}
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

// chain verifies the certificate up to an authority of the root, at a time when it was used, and returns its issuer.
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
	return nil, attest.RefuseFor(last, attest.Unproved, "bundle: no authority of the trusted root made the certificate for the time when it was used")
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
