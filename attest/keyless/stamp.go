// SPDX-License-Identifier: Apache-2.0

package keyless

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha256" // crypto.SHA256
	_ "crypto/sha512" // crypto.SHA384 and crypto.SHA512
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/sallyport/sallyport/attest"
)

// maxStampBytes bounds a time stamp; those in use have less than 10 KB.
const maxStampBytes = 64 << 10

// What a time stamp is made of (RFC 3161, RFC 5652, RFC 5035).
var (
	oidSignedData   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidDigest       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidStampInfo    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidCertificates = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47} // signingCertificateV2
	oidUsages       = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// hashes are those that stamps may be made with, by the names of hash, ECDSA and RSA.
var hashes = map[string]crypto.Hash{
	"2.16.840.1.101.3.4.2.1": crypto.SHA256, "1.2.840.10045.4.3.2": crypto.SHA256, "1.2.840.113549.1.1.11": crypto.SHA256,
	"2.16.840.1.101.3.4.2.2": crypto.SHA384, "1.2.840.10045.4.3.3": crypto.SHA384, "1.2.840.113549.1.1.12": crypto.SHA384,
	"2.16.840.1.101.3.4.2.3": crypto.SHA512, "1.2.840.10045.4.3.4": crypto.SHA512, "1.2.840.113549.1.1.13": crypto.SHA512,
}

var granted = []byte{0x30, 3, 2, 1, 0} // PKIStatusInfo: granted, and nothing more

// times verifies time stamps of a message and returns what they say. Each must be of an authority of the root.
func (r *Root) times(stamps [][]byte, message []byte) ([]time.Time, error) {
	if len(stamps) > mostTimes {
		return nil, attest.Refuse(attest.Malformed, "bundle: %d time stamps", len(stamps))
	}
	var out []time.Time
	for _, der := range stamps {
		t, err := readStamp(der)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(r.stampers, func(a authority) bool {
			return bytes.Equal(a.certs[0].RawIssuer, t.issuer) && a.certs[0].SerialNumber.Cmp(t.serial) == 0 && within(t.time, a.start, a.end)
		})
		if i < 0 {
			return nil, attest.Refuse(attest.Unproved, "bundle: a time stamp of an authority that the trusted root does not know at that time")
		}
		if err := t.verify(r.stampers[i], message); err != nil {
			return nil, err
		}
		out = append(out, t.time)
	}
	return out, nil
}

// stamp is a time stamp as it was read: nothing of it is verified.
type stamp struct {
	time    time.Time
	imprint []byte      // of the message
	hash    crypto.Hash // that it was made with

	content    []byte // what holds time and imprint
	digest     crypto.Hash
	issuer     []byte // of the certificate that signed, DER
	serial     *big.Int
	certs      [][]byte // that came along
	attributes []byte   // what was signed, as a SET
	said       []byte   // digest of the content, in the attributes
	named      []byte   // digest of the certificate, in the attributes
	namedBy    crypto.Hash
	algorithm  string
	signature  []byte
}

func (t *stamp) verify(a authority, message []byte) error {
	leaf := a.certs[0]
	if !bytes.Equal(t.imprint, digestOf(t.hash, message)) {
		return attest.Refuse(attest.Mismatch, "bundle: a time stamp of something else")
	}
	for _, der := range t.certs {
		if !slices.ContainsFunc(a.certs, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, der) }) {
			return attest.Refuse(attest.Malformed, "bundle: a time stamp with certificates that are not of its authority")
		}
	}
	if !bytes.Equal(t.said, digestOf(t.digest, t.content)) || !bytes.Equal(t.named, digestOf(t.namedBy, leaf.Raw)) || !t.signedBy(leaf.PublicKey) {
		return attest.Refuse(attest.Unproved, "bundle: a time stamp that its authority did not sign")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(a.certs[len(a.certs)-1])
	for _, c := range a.certs[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: t.time, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}})
	// RFC 3161, 2.3: the certificate is for time stamps and nothing else, and says so critically.
	only := len(leaf.ExtKeyUsage) == 1 && len(leaf.UnknownExtKeyUsage) == 0
	for _, e := range leaf.Extensions {
		only = only && (!e.Id.Equal(oidUsages) || e.Critical)
	}
	if err != nil || !only {
		return attest.RefuseFor(err, attest.Unproved, "bundle: a time stamp by a certificate that is not for time stamps at that time")
	}
	return nil
}

func digestOf(h crypto.Hash, data []byte) []byte {
	w := h.New()
	w.Write(data)
	return w.Sum(nil)
}

func (t *stamp) signedBy(key any) bool {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		h, ok := hashes[t.algorithm]
		return ok && strings.HasPrefix(t.algorithm, "1.2.840.10045.") && ecdsa.VerifyASN1(k, digestOf(h, t.attributes), t.signature)
	case *rsa.PublicKey:
		h, ok := hashes[t.algorithm]
		if t.algorithm == "1.2.840.113549.1.1.1" { // of RSA, with the hash of the content
			h, ok = t.digest, true
		} else {
			ok = ok && strings.HasPrefix(t.algorithm, "1.2.840.113549.")
		}
		return ok && k.N.BitLen() >= 2048 && k.N.BitLen() <= 8192 && rsa.VerifyPKCS1v15(k, h, digestOf(h, t.attributes), t.signature) == nil
	}
	return false
}

var errStamp = attest.Refuse(attest.Malformed, "bundle: a time stamp that cannot be read")

// readStamp reads a TimeStampResp. What nobody signs in it must be what it has to be.
func readStamp(der []byte) (*stamp, error) {
	t := &stamp{}
	in := cryptobyte.String(der)
	var response, status, info, wrapped, data, content, wrappedContent, octets, signers cryptobyte.String
	var kind, of asn1.ObjectIdentifier
	var version int
	var algorithms cryptobyte.String
	explicit := cbasn1.Tag(0).Constructed().ContextSpecific()
	if len(der) > maxStampBytes || !in.ReadASN1(&response, cbasn1.SEQUENCE) || !in.Empty() ||
		!response.ReadASN1Element(&status, cbasn1.SEQUENCE) || !bytes.Equal(status, granted) ||
		!response.ReadASN1(&info, cbasn1.SEQUENCE) || !response.Empty() ||
		!info.ReadASN1ObjectIdentifier(&kind) || !kind.Equal(oidSignedData) || !info.ReadASN1(&wrapped, explicit) || !info.Empty() ||
		!wrapped.ReadASN1(&data, cbasn1.SEQUENCE) || !wrapped.Empty() ||
		!data.ReadASN1Integer(&version) || version != 3 || !data.ReadASN1(&algorithms, cbasn1.SET) ||
		!data.ReadASN1(&content, cbasn1.SEQUENCE) || !content.ReadASN1ObjectIdentifier(&of) || !of.Equal(oidStampInfo) ||
		!content.ReadASN1(&wrappedContent, explicit) || !content.Empty() ||
		!wrappedContent.ReadASN1(&octets, cbasn1.OCTET_STRING) || !wrappedContent.Empty() {
		return nil, errStamp
	}
	t.content = octets
	var certs cryptobyte.String
	var some bool
	if !data.ReadOptionalASN1(&certs, &some, explicit) || !data.ReadASN1(&signers, cbasn1.SET) || !data.Empty() {
		return nil, errStamp
	}
	for !certs.Empty() {
		var one cryptobyte.String
		if !certs.ReadASN1Element(&one, cbasn1.SEQUENCE) || len(t.certs) == mostTimes {
			return nil, errStamp
		}
		t.certs = append(t.certs, one)
	}
	if !t.readSigner(signers, algorithms) || !t.readInfo(octets) {
		return nil, errStamp
	}
	return t, nil
}

// readAlgorithm reads an identifier without parameters, or with none that say anything.
func readAlgorithm(in *cryptobyte.String) (string, bool) {
	var one, none cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !in.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&oid) {
		return "", false
	}
	if !one.Empty() && (!one.ReadASN1(&none, cbasn1.NULL) || !none.Empty() || !one.Empty()) {
		return "", false
	}
	return oid.String(), true
}

func readHash(in *cryptobyte.String) (crypto.Hash, bool) {
	name, ok := readAlgorithm(in)
	h, known := hashes[name]
	return h, ok && known && strings.HasPrefix(name, "2.16.")
}

// readSigner reads the one signer, who is named by issuer and number.
func (t *stamp) readSigner(signers, algorithms cryptobyte.String) bool {
	var one, who, issuer, attributes, sig cryptobyte.String
	var version int
	var ok, same bool
	t.serial = new(big.Int)
	if !signers.ReadASN1(&one, cbasn1.SEQUENCE) || !signers.Empty() || !one.ReadASN1Integer(&version) || version != 1 ||
		!one.ReadASN1(&who, cbasn1.SEQUENCE) || !who.ReadASN1Element(&issuer, cbasn1.SEQUENCE) || !who.ReadASN1Integer(t.serial) || !who.Empty() {
		return false
	}
	t.issuer = issuer
	if t.digest, ok = readHash(&one); !ok {
		return false
	}
	for !algorithms.Empty() {
		h, ok := readHash(&algorithms)
		if same = ok && h == t.digest; !same {
			return false
		}
	}
	tag := cbasn1.Tag(0).Constructed().ContextSpecific()
	if !same || !one.ReadASN1Element(&attributes, tag) {
		return false
	}
	if t.algorithm, ok = readAlgorithm(&one); !ok || !one.ReadASN1(&sig, cbasn1.OCTET_STRING) || !one.Empty() {
		return false
	}
	t.signature = sig
	t.attributes = slices.Clone(attributes)
	t.attributes[0] = byte(cbasn1.SET) // RFC 5652, 5.4: signed as a set
	var inside cryptobyte.String
	return attributes.ReadASN1(&inside, tag) && t.readAttributes(inside)
}

func (t *stamp) readAttributes(in cryptobyte.String) bool {
	var seen []string
	for !in.Empty() {
		var one, values cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !in.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&oid) || !one.ReadASN1(&values, cbasn1.SET) || !one.Empty() || slices.Contains(seen, oid.String()) {
			return false
		}
		seen = append(seen, oid.String())
		ok := true
		switch {
		case oid.Equal(oidContentType):
			var of asn1.ObjectIdentifier
			ok = values.ReadASN1ObjectIdentifier(&of) && of.Equal(oidStampInfo) && values.Empty()
		case oid.Equal(oidDigest):
			var sum cryptobyte.String
			ok = values.ReadASN1(&sum, cbasn1.OCTET_STRING) && values.Empty()
			t.said = sum
		case oid.Equal(oidCertificates):
			ok = t.readNamed(values)
		}
		if !ok {
			return false
		}
	}
	return slices.Contains(seen, oidContentType.String()) && len(t.said) > 0 && len(t.named) > 0
}

// readNamed reads which certificate signed: the first of the list (RFC 5035).
func (t *stamp) readNamed(values cryptobyte.String) bool {
	var list, certs, one, sum cryptobyte.String
	if !values.ReadASN1(&list, cbasn1.SEQUENCE) || !values.Empty() || !list.ReadASN1(&certs, cbasn1.SEQUENCE) || !certs.ReadASN1(&one, cbasn1.SEQUENCE) {
		return false
	}
	t.namedBy = crypto.SHA256 // where nothing else is said
	if one.PeekASN1Tag(cbasn1.SEQUENCE) {
		var ok bool
		if t.namedBy, ok = readHash(&one); !ok {
			return false
		}
	}
	ok := one.ReadASN1(&sum, cbasn1.OCTET_STRING)
	t.named = sum
	return ok
}

// readInfo reads what was stamped, and when. Its own accuracy is not looked at, and extensions are refused.
func (t *stamp) readInfo(content cryptobyte.String) bool {
	var info, policy, imprint, serial, when, sum cryptobyte.String
	var version int
	var ok bool
	if !content.ReadASN1(&info, cbasn1.SEQUENCE) || !content.Empty() || !info.ReadASN1Integer(&version) || version != 1 ||
		!info.ReadASN1(&policy, cbasn1.OBJECT_IDENTIFIER) || !info.ReadASN1(&imprint, cbasn1.SEQUENCE) {
		return false
	}
	if t.hash, ok = readHash(&imprint); !ok || !imprint.ReadASN1(&sum, cbasn1.OCTET_STRING) || !imprint.Empty() {
		return false
	}
	t.imprint = sum
	if !info.ReadASN1(&serial, cbasn1.INTEGER) || !info.ReadASN1(&when, cbasn1.GeneralizedTime) || info.PeekASN1Tag(cbasn1.Tag(1).Constructed().ContextSpecific()) {
		return false
	}
	for !info.Empty() {
		var part cryptobyte.String
		var tag cbasn1.Tag
		if !info.ReadAnyASN1(&part, &tag) || tag == cbasn1.Tag(1).Constructed().ContextSpecific() {
			return false
		}
	}
	at, err := time.Parse("20060102150405Z", string(when)) // fractions of a second may follow the seconds
	t.time = at
	return err == nil
}
