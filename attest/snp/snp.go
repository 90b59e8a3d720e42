// SPDX-License-Identifier: Apache-2.0

// Package snp verifies attestation reports of AMD SEV-SNP, offline: report, chip's or provider's certificate, AMD's
// chain and its list of revocations.
//
// # What is refused, and what is told
//
// Refused: a chain that does not end in one of AMD's roots for the product, a key whose certificate names another chip or
// other firmware versions than the report, a guest that its host may debug, and bytes that nothing signs and that are not
// zero. Told: versions of the firmware (AMD grades none of them), whether migration is allowed, and whether revocations
// were looked at. Without them the facts are worth nothing.
package snp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// The sizes of a report (SEV-SNP Firmware ABI Specification, revision 1.58, table 23) and of what carries it.
const (
	reportBytes      = 1184
	signedBytes      = 0x2a0
	MaxEvidenceBytes = 32 << 10
	mostCertBytes    = 4 << 10
	mostListBytes    = 1 << 20
)

// amdRoots are the SHA-256 of AMD's root certificates by product, from https://kdsintf.amd.com/vcek/v1/PRODUCT/cert_chain.
var amdRoots = map[string]string{
	"Milan": "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
	"Genoa": "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
	"Turin": "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
}

// Evidence is a report with its certificates: the key that signed, AMD's authority, AMD's root, in DER.
type Evidence struct {
	Report attest.Bytes   `json:"report"`
	Chain  []attest.Bytes `json:"chain"`
}

// Config makes a Verifier. The zero value is useful, but proves nothing: see Revoked.
type Config struct {
	// Revoked returns AMD's list of revocations for a product, in DER; false if it is not at hand, and then the facts
	// say that nobody looked. It comes from https://kdsintf.amd.com/vcek/v1/PRODUCT/crl.
	Revoked    func(product string) ([]byte, bool)
	Roots      map[string]string // SHA-256 of other roots by product, for tests; nil means AMD's. The facts then say test
	AllowDebug bool              // verify guests that can be debugged too; they are worth nothing
}

// Folder returns lists that lie in a folder as snp-PRODUCT.crl, read anew each time; "" has none.
func Folder(path string) func(product string) ([]byte, bool) {
	return func(product string) ([]byte, bool) {
		if path == "" {
			return nil, false
		}
		f, err := os.Open(filepath.Join(path, "snp-"+product+".crl"))
		if err != nil {
			return nil, false
		}
		defer func() { _ = f.Close() }() // opened to read
		b, err := io.ReadAll(io.LimitReader(f, mostListBytes))
		return b, err == nil
	}
}

// Verifier verifies reports. It is safe for concurrent use if Revoked is.
type Verifier struct{ c Config }

// New returns a Verifier.
func New(c Config) *Verifier { return &Verifier{c} }

// Verify returns the facts of an Evidence in JSON. The nonce of o must be the report's 64 bytes of data.
func (v *Verifier) Verify(_ context.Context, evidence []byte, o attest.Options) (*attest.Facts, error) {
	var e Evidence
	if err := action.Read(evidence, &e, action.Limits{Bytes: MaxEvidenceBytes}); err != nil {
		return nil, attest.RefuseFor(err, attest.Malformed, "evidence")
	}
	r, err := readReport(e.Report)
	if err != nil {
		return nil, err
	}
	now := o.Time()
	f := &attest.Facts{Kind: "snp", Evidence: attest.Digest(evidence), Checked: now, Fresh: action.TriUnknown,
		Debug: action.TriOf(r.policy>>19&1 == 1), Test: action.TriOf(v.c.Roots != nil), SNP: &r.facts}
	key, err := v.chain(&e, r, f)
	if err != nil {
		return nil, err
	}
	sum := sha512.Sum384(e.Report[:signedBytes])
	if !ecdsa.Verify(key, sum[:], r.r, r.s) {
		return nil, attest.Refuse(attest.Unproved, "report: not signed by the key")
	}
	if err := f.Settle(o, v.c.AllowDebug, r.data); err != nil {
		return nil, err
	}
	return f, nil
}

// chain verifies the certificates and what they say of the chip, and returns the key that must have signed.
func (v *Verifier) chain(e *Evidence, r *report, f *attest.Facts) (*ecdsa.PublicKey, error) {
	if len(e.Chain) != 3 {
		return nil, attest.Refuse(attest.Malformed, "evidence: %d certificates, not 3", len(e.Chain))
	}
	var certs [3]*x509.Certificate
	for i, der := range e.Chain {
		c, err := x509.ParseCertificate(der)
		if err != nil || len(der) > mostCertBytes {
			return nil, attest.Refuse(attest.Malformed, "evidence: certificate %d", i)
		}
		certs[i] = c
	}
	leaf, authority, root := certs[0], certs[1], certs[2]
	if r.facts.Product = v.product(root); r.facts.Product == "" {
		return nil, attest.Refuse(attest.Unproved, "chain: does not end in a root of AMD's")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	between.AddCert(authority)
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: f.Checked, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		code := attest.Unproved
		if inv := (x509.CertificateInvalidError{}); errors.As(err, &inv) && inv.Reason == x509.Expired {
			code = attest.Stale
		}
		return nil, attest.RefuseFor(err, code, "chain")
	}
	if len(chains[0]) != 3 {
		return nil, attest.Refuse(attest.Malformed, "chain: not key, authority and root")
	}
	for _, c := range certs {
		if f.Until.IsZero() || c.NotAfter.Before(f.Until) {
			f.Until = c.NotAfter
		}
	}
	if err := v.revoked(authority, root, f); err != nil {
		return nil, err
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P384() || leaf.IsCA {
		return nil, attest.Refuse(attest.Unproved, "chain: its key is not on P-384")
	}
	return key, r.matches(leaf)
}

func (v *Verifier) product(root *x509.Certificate) string {
	known := v.c.Roots
	if known == nil {
		known = amdRoots
	}
	sum := sha256.Sum256(root.Raw)
	for product, digest := range known {
		if digest == hex.EncodeToString(sum[:]) {
			return product
		}
	}
	return ""
}

// revoked looks for AMD's authority on the list of its root.
func (v *Verifier) revoked(authority, root *x509.Certificate, f *attest.Facts) error {
	f.SNP.Revocations = action.TriUnknown
	if v.c.Revoked == nil {
		return nil
	}
	der, ok := v.c.Revoked(f.SNP.Product)
	if !ok {
		return nil
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil || len(list.Raw) != len(der) {
		return attest.Refuse(attest.Malformed, "list of revocations of %s", f.SNP.Product)
	}
	if err := list.CheckSignatureFrom(root); err != nil {
		return attest.RefuseFor(err, attest.Unproved, "list of revocations of %s", f.SNP.Product)
	}
	if f.Checked.Before(list.ThisUpdate) || list.NextUpdate.IsZero() || f.Checked.After(list.NextUpdate) {
		return attest.Refuse(attest.Stale, "list of revocations of %s: of %s to %s", f.SNP.Product, list.ThisUpdate.Format(time.DateOnly), list.NextUpdate.Format(time.DateOnly))
	}
	for _, e := range list.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(authority.SerialNumber) == 0 {
			return attest.Refuse(attest.Revoked, "chain: AMD has revoked its authority")
		}
	}
	if list.NextUpdate.Before(f.Until) {
		f.Until = list.NextUpdate
	}
	f.SNP.Revocations, f.Collateral, f.Stated = action.Yes, attest.Digest(der), list.ThisUpdate
	return nil
}

// report is what a report says.
type report struct {
	policy   uint64
	versions [4]uint64 // reported, committed, at launch, current
	signer   uint32
	masked   bool
	data     []byte
	chip     []byte
	r, s     *big.Int
	facts    attest.SNP
}

func readReport(b []byte) (*report, error) {
	if len(b) != reportBytes {
		return nil, attest.Refuse(attest.Malformed, "report: %d bytes, not %d", len(b), reportBytes)
	}
	u32, u64, le := binary.LittleEndian.Uint32, binary.LittleEndian.Uint64, func(at int) []byte {
		out := slices.Clone(b[at : at+72])
		slices.Reverse(out)
		return out
	}
	if n := u32(b); n < 2 || n > 5 {
		return nil, attest.Refuse(attest.Unsupported, "report: version %d", n)
	}
	if u32(b[0x34:]) != 1 {
		return nil, attest.Refuse(attest.Unsupported, "report: signature algorithm %d", u32(b[0x34:]))
	}
	for _, c := range b[signedBytes+144:] { // nothing signs these
		if c != 0 {
			return nil, attest.Refuse(attest.Malformed, "report: bytes behind its signature")
		}
	}
	h := func(from, to int) string { return hex.EncodeToString(b[from:to]) }
	r := &report{policy: u64(b[8:]), versions: [4]uint64{u64(b[0x180:]), u64(b[0x1e0:]), u64(b[0x1f0:]), u64(b[0x38:])}, signer: u32(b[0x48:]) >> 2 & 7, masked: u32(b[0x48:])>>1&1 == 1, data: b[0x50:0x90], chip: b[0x1a0:0x1e0],
		r: new(big.Int).SetBytes(le(signedBytes)), s: new(big.Int).SetBytes(le(signedBytes + 72))}
	r.facts = attest.SNP{Measurement: h(0x90, 0xc0), HostData: h(0xc0, 0xe0), ReportData: h(0x50, 0x90), ChipID: h(0x1a0, 0x1e0), FamilyID: h(0x10, 0x20), ImageID: h(0x20, 0x30),
		IDKey: h(0xe0, 0x110), AuthorKey: h(0x110, 0x140), GuestSVN: u32(b[4:]), VMPL: u32(b[0x30:]), Migration: action.TriOf(r.policy>>18&1 == 1), SMT: action.TriOf(r.policy>>16&1 == 1)}
	return r, nil
}

// milan splits the versions of Milan and Genoa, turin those of Turin.
func milan(v uint64) attest.SNPVersion {
	return attest.SNPVersion{Bootloader: int(v & 255), TEE: int(v >> 8 & 255), SNP: int(v >> 48 & 255), Microcode: int(v >> 56)}
}

func turin(v uint64) attest.SNPVersion {
	return attest.SNPVersion{FMC: int(v & 255), Bootloader: int(v >> 8 & 255), TEE: int(v >> 16 & 255), SNP: int(v >> 24 & 255), Microcode: int(v >> 56)}
}
