// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"crypto/subtle"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// simulators are manufacturer ids that no chip has: IBM's, which libtpms and so swtpm write. A certificate
// of one is a test, whoever signed it, and no setting changes that. Names with "swtpm" are treated alike.
var simulators = []string{"id:00001014"}

var (
	oidSAN   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidMaker = asn1.ObjectIdentifier{2, 23, 133, 2, 1}
	oidEKUse = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
)

// endorsement is what a chain of an endorsement key says.
type endorsement struct {
	key   string // EKDigest of the certified key
	maker string
	test  bool
	until time.Time
}

// readEndorsement verifies a chain, leaf first, against roots.
func readEndorsement(chain []Bytes, roots *x509.CertPool, now time.Time) (*endorsement, error) {
	if len(chain) > 6 {
		return nil, attest.Refuse(attest.Malformed, "endorsement: %d certificates", len(chain))
	}
	var certs []*x509.Certificate
	between := x509.NewCertPool()
	for i, der := range chain {
		if len(der) > maxCert {
			return nil, attest.Refuse(attest.Malformed, "endorsement: certificate %d is too long", i)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, attest.RefuseFor(err, attest.Malformed, "endorsement: certificate %d", i)
		}
		if certs = append(certs, c); i > 0 {
			between.AddCert(c)
		}
	}
	leaf := certs[0]
	e := &endorsement{}
	if err := e.names(leaf); err != nil {
		return nil, err
	}
	switch {
	case leaf.IsCA:
		return nil, attest.Refuse(attest.Unproved, "endorsement: the certificate is an authority's")
	case len(leaf.UnknownExtKeyUsage)+len(leaf.ExtKeyUsage) > 0 && !slices.ContainsFunc(leaf.UnknownExtKeyUsage, oidEKUse.Equal):
		return nil, attest.Refuse(attest.Unproved, "endorsement: the certificate is not for an endorsement key")
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		code := attest.Unproved
		var inv x509.CertificateInvalidError
		if errors.As(err, &inv) && inv.Reason == x509.Expired {
			code = attest.Stale
		}
		return nil, attest.RefuseFor(err, code, "endorsement")
	}
	e.until = leaf.NotAfter
	for _, c := range chains[0] {
		if c.NotAfter.Before(e.until) {
			e.until = c.NotAfter
		}
		e.test = e.test || strings.Contains(strings.ToLower(c.Subject.String()+c.Issuer.String()), "swtpm")
	}
	e.test = e.test || slices.Contains(simulators, e.maker)
	e.key = attest.Digest(leaf.RawSubjectPublicKeyInfo)
	return e, nil
}

// names reads the manufacturer from the subject's alternative name, which is critical in these
// certificates and holds a directory name that x509 leaves to its caller.
func (e *endorsement) names(c *x509.Certificate) error {
	for _, ext := range c.Extensions {
		if !ext.Id.Equal(oidSAN) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(ext.Value, &names); err != nil || len(rest) != 0 {
			return attest.Refuse(attest.Malformed, "endorsement: alternative name")
		}
		for _, n := range names {
			var rdns pkix.RDNSequence
			if n.Class != asn1.ClassContextSpecific || n.Tag != 4 {
				continue
			}
			if rest, err := asn1.Unmarshal(n.Bytes, &rdns); err != nil || len(rest) != 0 {
				return attest.Refuse(attest.Malformed, "endorsement: alternative name")
			}
			for _, set := range rdns {
				for _, a := range set {
					if s, ok := a.Value.(string); ok && a.Type.Equal(oidMaker) {
						e.maker = action.Clip(s, 64)
					}
				}
			}
		}
		c.UnhandledCriticalExtensions = slices.DeleteFunc(c.UnhandledCriticalExtensions, oidSAN.Equal)
	}
	return nil
}

// Challenge proves that an attestation key lives in the same chip as an endorsement key: only that chip
// can open it. It serves once.
type Challenge struct {
	Key        string // hex of the attestation key's name, for Config.Enrolled
	EK         string // EKDigest of the endorsement key
	Credential []byte // TPM2B_ID_OBJECT, for the chip
	Secret     []byte // TPM2B_ENCRYPTED_SECRET, for the chip
	answer     []byte
}

// NewChallenge makes a challenge for two public areas (TPMT_PUBLIC). It needs no TPM. It refuses an
// attestation key that could leave its chip. Whether the endorsement key belongs to a chip is for its
// certificate to say.
func NewChallenge(rand io.Reader, ekPublic, akPublic []byte) (*Challenge, error) {
	ak, err := readKey(akPublic)
	if err != nil {
		return nil, err
	}
	pub, err := readEK(ekPublic)
	if err != nil {
		return nil, err
	}
	ek, err := tpm2.ImportEncapsulationKey(pub)
	if err != nil {
		return nil, attest.RefuseFor(err, attest.Unsupported, "endorsement key")
	}
	c := &Challenge{Key: hex.EncodeToString(ak.name), answer: make([]byte, 32)}
	if c.EK, err = EKDigest(ekPublic); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(rand, c.answer); err != nil {
		return nil, err
	}
	object, secret, err := tpm2.CreateCredential(rand, ek, ak.name, c.answer)
	if err != nil {
		return nil, attest.RefuseFor(err, attest.Unsupported, "endorsement key")
	}
	c.Credential, c.Secret = sized(object), sized(secret)
	return c, nil
}

// Answered reports whether the chip opened the challenge. The challenge is spent either way.
func (c *Challenge) Answered(answer []byte) bool {
	want := c.answer
	c.answer = nil
	return len(want) == 32 && subtle.ConstantTimeCompare(want, answer) == 1
}

// EKDigest names an endorsement key: the digest of its PKIX form, as its certificate holds it.
func EKDigest(ekPublic []byte) (string, error) {
	pub, err := readEK(ekPublic)
	if err != nil {
		return "", err
	}
	k, err := tpm2.Pub(*pub)
	if err != nil {
		return "", attest.RefuseFor(err, attest.Malformed, "endorsement key")
	}
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return "", attest.RefuseFor(err, attest.Malformed, "endorsement key")
	}
	return attest.Digest(der), nil
}

// readEK reads a TPMT_PUBLIC and refuses all but restricted decryption keys that cannot leave their chip.
func readEK(b []byte) (*tpm2.TPMTPublic, error) {
	if len(b) > maxPublic {
		return nil, attest.Refuse(attest.Malformed, "endorsement key: %d bytes", len(b))
	}
	pub, err := tpm2.Unmarshal[tpm2.TPMTPublic](b)
	if err != nil {
		return nil, attest.RefuseFor(err, attest.Malformed, "endorsement key")
	}
	a := pub.ObjectAttributes
	if !bytes.Equal(tpm2.Marshal(pub), b) || !a.FixedTPM || !a.FixedParent || !a.SensitiveDataOrigin || !a.Restricted || !a.Decrypt || a.SignEncrypt {
		return nil, attest.Refuse(attest.Unproved, "endorsement key: not a restricted decryption key that stays in its chip")
	}
	return pub, nil
}

func sized(b []byte) []byte { return append([]byte{byte(len(b) >> 8), byte(len(b))}, b...) }
