// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// intelRoot is "Intel SGX Root CA", 2018-05-21 to 2049-12-31, as Intel publishes it at
// https://certificates.trustedservices.intel.com/IntelSGXRootCA.der, SHA-256
// 44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3.
//
//go:embed intel-sgx-root-ca.der
var intelRoot []byte

// The names of Intel's certificates.
const (
	rootName      = "Intel SGX Root CA"
	processorName = "Intel SGX PCK Processor CA"
	platformName  = "Intel SGX PCK Platform CA"
	pckName       = "Intel SGX PCK Certificate"
	signingName   = "Intel SGX TCB Signing"
)

// maxChainBytes bounds a chain in PEM and maxCRLBytes a revocation list; real ones have 4 and 7 KB.
const (
	maxChainBytes = 32 << 10
	maxCRLBytes   = 4 << 20
)

// window collects until when everything that was checked holds.
type window struct {
	now    time.Time
	until  time.Time
	stated time.Time // the oldest of the statements that are renewed every month
	lapsed bool      // windows may be over
}

// within refuses a thing whose window does not hold now.
func (w *window) within(what string, from, to time.Time) error {
	if !w.lapsed && (w.now.Before(from) || w.now.After(to)) {
		return attest.Refuse(attest.Stale, "%s: holds from %s to %s, not at %s", what,
			from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339), w.now.UTC().Format(time.RFC3339))
	}
	if w.until.IsZero() || to.Before(w.until) {
		w.until = to
	}
	return nil
}

// issued takes in when something was stated that is stated anew every month.
func (w *window) issued(at time.Time) {
	if w.stated.IsZero() || at.Before(w.stated) {
		w.stated = at
	}
}

// readChain reads exactly n certificates in the one canonical PEM form; a final zero byte, as quoting
// libraries write it, is allowed.
func readChain(what string, data []byte, n int) ([]*x509.Certificate, error) {
	if len(data) > maxChainBytes {
		return nil, attest.Refuse(attest.Malformed, "%s: %d bytes are more than %d", what, len(data), maxChainBytes)
	}
	data = bytes.TrimSuffix(data, []byte{0})
	var chain []*x509.Certificate
	var canonical []byte
	for rest := data; len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || len(chain) == n {
			return nil, attest.Refuse(attest.Malformed, "%s: not exactly %d certificates in PEM", what, n)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, attest.RefuseFor(err, attest.Malformed, "%s: certificate %d", what, len(chain)+1)
		}
		chain, canonical = append(chain, cert), append(canonical, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
	}
	if len(chain) != n || !bytes.Equal(canonical, data) {
		return nil, attest.Refuse(attest.Malformed, "%s: not exactly %d certificates in canonical PEM", what, n)
	}
	return chain, nil
}

// checkChain verifies leaf first, pinned root last: names, signatures, windows, uses.
func checkChain(what string, chain []*x509.Certificate, root []byte, w *window) error {
	return checkFrom(what, chain, root, 1, w)
}

// checkAuthorities is checkChain for a chain without a leaf.
func checkAuthorities(what string, chain []*x509.Certificate, root []byte, w *window) error {
	return checkFrom(what, chain, root, 0, w)
}

// checkFrom verifies a chain whose members from the index first on are authorities.
func checkFrom(what string, chain []*x509.Certificate, root []byte, first int, w *window) error {
	last := len(chain) - 1
	if !bytes.Equal(chain[last].Raw, root) {
		return attest.Refuse(attest.Unproved, "%s: does not end in the pinned root", what)
	}
	for i, c := range chain {
		name := what + ": " + strconv.Quote(action.Clip(c.Subject.CommonName, 64)) // nobody vouches for it yet
		issuer := chain[min(i+1, last)]
		switch {
		case !p256(c) || c.SignatureAlgorithm != x509.ECDSAWithSHA256:
			return attest.Refuse(attest.Unsupported, "%s: not ECDSA P-256 with SHA-256", name)
		case len(c.UnhandledCriticalExtensions) != 0:
			return attest.Refuse(attest.Unsupported, "%s: unknown critical extension %s", name, c.UnhandledCriticalExtensions[0])
		case !c.BasicConstraintsValid || c.IsCA != (i >= first):
			return attest.Refuse(attest.Unproved, "%s: authority where a leaf is expected, or a leaf where an authority is", name)
		case i >= first && c.KeyUsage&x509.KeyUsageCertSign == 0, i < first && c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
			return attest.Refuse(attest.Unproved, "%s: its key may not be used for this", name)
		case i >= first && (c.MaxPathLen > 0 || c.MaxPathLenZero) && i-first > c.MaxPathLen:
			return attest.Refuse(attest.Unproved, "%s: the path is longer than it allows", name)
		case !bytes.Equal(c.RawIssuer, issuer.RawSubject):
			return attest.Refuse(attest.Unproved, "%s: not issued by the next one", name)
		}
		if err := c.CheckSignatureFrom(issuer); err != nil {
			return attest.RefuseFor(err, attest.Unproved, "%s: signature", name)
		}
		if err := w.within(name, c.NotBefore, c.NotAfter); err != nil {
			return err
		}
	}
	return nil
}

func p256(c *x509.Certificate) bool {
	k, ok := c.PublicKey.(*ecdsa.PublicKey)
	return ok && k.Curve == elliptic.P256()
}

// readCRL verifies a complete revocation list of issuer that is in date.
func readCRL(what string, der []byte, issuer *x509.Certificate, w *window) (*x509.RevocationList, error) {
	if len(der) == 0 {
		return nil, attest.Refuse(attest.Missing, "%s: not at hand", what)
	}
	if len(der) > maxCRLBytes {
		return nil, attest.Refuse(attest.Malformed, "%s: %d bytes are more than %d", what, len(der), maxCRLBytes)
	}
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, attest.RefuseFor(err, attest.Malformed, "%s", what)
	}
	if len(crl.Raw) != len(der) {
		return nil, attest.Refuse(attest.Malformed, "%s: bytes are left over", what)
	}
	for _, e := range crl.Extensions {
		// A critical extension narrows what the list covers (a delta, one distribution point).
		if e.Critical {
			return nil, attest.Refuse(attest.Unsupported, "%s: critical extension %s", what, e.Id)
		}
	}
	if !bytes.Equal(crl.RawIssuer, issuer.RawSubject) || crl.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return nil, attest.Refuse(attest.Unproved, "%s: not issued by %s", what, issuer.Subject.CommonName)
	}
	if err := crl.CheckSignatureFrom(issuer); err != nil {
		return nil, attest.RefuseFor(err, attest.Unproved, "%s: signature", what)
	}
	if crl.NextUpdate.IsZero() {
		return nil, attest.Refuse(attest.Malformed, "%s: without an end", what)
	}
	return crl, w.within(what, crl.ThisUpdate, crl.NextUpdate)
}

// notRevoked refuses certificates on the list.
func notRevoked(crl *x509.RevocationList, certs ...*x509.Certificate) error {
	for _, e := range crl.RevokedCertificateEntries {
		for _, c := range certs {
			if e.SerialNumber.Cmp(c.SerialNumber) == 0 {
				return attest.Refuse(attest.Revoked, "%s: serial number %x since %s", c.Subject.CommonName, c.SerialNumber, e.RevocationTime.UTC().Format(time.DateOnly))
			}
		}
	}
	return nil
}

// verify checks a signature of 64 bytes, r then s, over the SHA-256 of data.
func verify(key *ecdsa.PublicKey, data, sig []byte) bool {
	if len(sig) != 64 {
		return false
	}
	sum := sha256.Sum256(data)
	return ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
}

// rawKey reads a P-256 point of 64 bytes, x then y.
func rawKey(b []byte) (*ecdsa.PublicKey, error) {
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, b...))
}

// pck is what Intel writes into the extension of a PCK certificate.
type pck struct {
	components   [16]uint8
	pceSVN       uint16
	cpuSVN       []byte
	pceID, fmspc string // upper-case hex
	dynamic      action.Tri
	smt          action.Tri
}

var oidSGX = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

type attribute struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue
}

// attributes reads SEQUENCE OF SEQUENCE {OID below parent, value}, each at most once.
func attributes(der []byte, parent asn1.ObjectIdentifier) (map[int]asn1.RawValue, error) {
	var list []attribute
	if rest, err := asn1.Unmarshal(der, &list); err != nil || len(rest) != 0 {
		return nil, attest.Refuse(attest.Malformed, "PCK certificate: extension below %s", parent)
	}
	out := make(map[int]asn1.RawValue, len(list))
	for _, a := range list {
		n := len(parent)
		if len(a.ID) != n+1 || !a.ID[:n].Equal(parent) {
			return nil, attest.Refuse(attest.Malformed, "PCK certificate: %s is not below %s", a.ID, parent)
		}
		if _, twice := out[a.ID[n]]; twice {
			return nil, attest.Refuse(attest.Malformed, "PCK certificate: %s stands twice", a.ID)
		}
		out[a.ID[n]] = a.Value
	}
	return out, nil
}

func whole(v asn1.RawValue, out any) bool {
	rest, err := asn1.Unmarshal(v.FullBytes, out)
	return err == nil && len(rest) == 0
}

// readPCK reads the extension of a PCK certificate.
func readPCK(c *x509.Certificate) (*pck, error) {
	var ext []byte
	for _, e := range c.Extensions {
		if e.Id.Equal(oidSGX) {
			ext = e.Value
		}
	}
	if ext == nil {
		return nil, attest.Refuse(attest.Malformed, "PCK certificate: without Intel's extension")
	}
	top, err := attributes(ext, oidSGX)
	if err != nil {
		return nil, err
	}
	tcb, err := attributes(top[2].FullBytes, append(oidSGX[:len(oidSGX):len(oidSGX)], 2))
	if err != nil {
		return nil, err
	}
	p := &pck{dynamic: action.TriUnknown, smt: action.TriUnknown}
	var n int
	for i := range p.components {
		if !whole(tcb[i+1], &n) || n < 0 || n > 255 {
			return nil, attest.Refuse(attest.Malformed, "PCK certificate: TCB component %d", i+1)
		}
		p.components[i] = uint8(n)
	}
	if !whole(tcb[17], &n) || n < 0 || n > 0xffff || !whole(tcb[18], &p.cpuSVN) || len(p.cpuSVN) != 16 {
		return nil, attest.Refuse(attest.Malformed, "PCK certificate: PCESVN or CPUSVN")
	}
	p.pceSVN = uint16(n)
	var pceID, fmspc []byte
	if !whole(top[3], &pceID) || len(pceID) != 2 || !whole(top[4], &fmspc) || len(fmspc) != 6 {
		return nil, attest.Refuse(attest.Malformed, "PCK certificate: PCE-ID or FMSPC")
	}
	p.pceID, p.fmspc = upper(pceID), upper(fmspc)
	if top[7].FullBytes == nil {
		return p, nil
	}
	conf, err := attributes(top[7].FullBytes, append(oidSGX[:len(oidSGX):len(oidSGX)], 7))
	if err != nil {
		return nil, err
	}
	for i, to := range map[int]*action.Tri{1: &p.dynamic, 3: &p.smt} {
		var yes bool
		if whole(conf[i], &yes) {
			*to = action.TriOf(yes)
		}
	}
	return p, nil
}

func upper(b []byte) string { return string(bytes.ToUpper([]byte(hex.EncodeToString(b)))) }
