// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// world makes evidence under a root of its own. Each case changes one thing before it is built.
type world struct {
	t       testing.TB
	now     time.Time
	product string
	leaf    x509.Certificate
	report  []byte
	serial  *big.Int // of the authority
	revoked *big.Int
	listEnd time.Time
	list    bool
	nonce   []byte
	after   func(e *Evidence)
	c       Config
}

var chipID = bytes.Repeat([]byte{0xc3, 0x17}, 32)

func newWorld(t testing.TB) *world {
	w := &world{t: t, now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), product: "Milan", serial: big.NewInt(7), revoked: big.NewInt(8),
		list: true, nonce: bytes.Repeat([]byte{5}, 64), after: func(*Evidence) {}}
	w.listEnd = w.now.AddDate(0, 1, 0)
	w.leaf = x509.Certificate{SerialNumber: big.NewInt(0), Subject: pkix.Name{CommonName: "SEV-VCEK"}, NotBefore: w.now.AddDate(-1, 0, 0), NotAfter: w.now.AddDate(1, 0, 0)}
	number := func(id asn1.ObjectIdentifier, n int) pkix.Extension {
		der, err := asn1.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		return pkix.Extension{Id: id, Value: der}
	}
	w.leaf.ExtraExtensions = []pkix.Extension{number(extBootloader, 4), number(extTEE, 1), number(extSNP, 22), number(extMicrocode, 211), {Id: extChip, Value: chipID}}
	w.report = make([]byte, reportBytes)
	binary.LittleEndian.PutUint32(w.report, 3)
	binary.LittleEndian.PutUint64(w.report[8:], 0x30000)
	binary.LittleEndian.PutUint32(w.report[0x34:], 1)
	copy(w.report[0x50:], w.nonce)
	copy(w.report[0x90:], bytes.Repeat([]byte{0xab}, 48))
	binary.LittleEndian.PutUint64(w.report[0x180:], 4|1<<8|22<<48|211<<56)
	copy(w.report[0x1a0:], chipID)
	return w
}

func key(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// build signs everything.
func (w *world) build() []byte {
	w.t.Helper()
	root, authority, own := key(w.t, elliptic.P256()), key(w.t, elliptic.P256()), key(w.t, elliptic.P384())
	make := func(tmpl, parent *x509.Certificate, k, by *ecdsa.PrivateKey) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &k.PublicKey, by)
		if err != nil {
			w.t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			w.t.Fatal(err)
		}
		return c
	}
	ca := func(name string, serial *big.Int) *x509.Certificate {
		return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: w.now.AddDate(-5, 0, 0), NotAfter: w.now.AddDate(5, 0, 0),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	}
	ark := ca("ARK-"+w.product, big.NewInt(1))
	arkCert := make(ark, ark, root, root)
	askCert := make(ca("SEV-"+w.product, w.serial), arkCert, authority, root)
	leaf := make(&w.leaf, askCert, own, authority)
	sum := sha512.Sum384(w.report[:signedBytes])
	r, s, err := ecdsa.Sign(rand.Reader, own, sum[:])
	if err != nil {
		w.t.Fatal(err)
	}
	put := func(at int, n *big.Int) {
		b := n.FillBytes(bytes.Repeat([]byte{0}, 72))
		slices.Reverse(b)
		copy(w.report[at:], b)
	}
	put(signedBytes, r)
	put(signedBytes+72, s)
	digest := sha256.Sum256(arkCert.Raw)
	if w.c.Roots == nil {
		w.c.Roots = map[string]string{w.product: hex.EncodeToString(digest[:])}
	}
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: w.now.AddDate(0, -1, 0), NextUpdate: w.listEnd,
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: w.revoked, RevocationTime: w.now.AddDate(0, -1, 0)}}}, arkCert, root)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.c.Revoked == nil {
		w.c.Revoked = func(product string) ([]byte, bool) { return list, w.list && product == w.product }
	}
	e := Evidence{Report: w.report, Chain: []attest.Bytes{leaf.Raw, askCert.Raw, arkCert.Raw}}
	w.after(&e)
	data, err := action.Canonical(e)
	if err != nil {
		w.t.Fatal(err)
	}
	return data
}

func (w *world) verify(data []byte) (*attest.Facts, error) {
	return New(w.c).Verify(w.t.Context(), data, attest.Options{Now: func() time.Time { return w.now }, Nonce: w.nonce})
}

func TestGeneratedReportsAreAccepted(t *testing.T) {
	w := newWorld(t)
	f, err := w.verify(w.build())
	if err != nil {
		t.Fatal(err)
	}
	if f.Fresh != action.Yes || f.Debug != action.No || f.Test != action.Yes || f.Assurance() != 0 || f.SNP.Reported != (attest.SNPVersion{Bootloader: 4, TEE: 1, SNP: 22, Microcode: 211}) ||
		!f.Until.Equal(w.listEnd) || f.SNP.Revocations != action.Yes || f.SNP.Measurement != hex.EncodeToString(bytes.Repeat([]byte{0xab}, 48)) {
		t.Errorf("%+v %+v", f, f.SNP)
	}
	if f.Test = action.No; f.Assurance() != 4 {
		t.Errorf("under AMD's root: worth %d", f.Assurance())
	}
	w = newWorld(t)
	w.list = false
	if f, err = w.verify(w.build()); err != nil || f.SNP.Revocations != action.TriUnknown {
		t.Errorf("without a list: %+v %v", f, err)
	}
	if f.Test = action.No; f.Assurance() != 0 {
		t.Error("what nobody looked at counts as good")
	}
}

func TestGeneratedReportsAreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   attest.Code
		change func(w *world)
	}{
		{"a guest that can be debugged", attest.Debug, func(w *world) { binary.LittleEndian.PutUint64(w.report[8:], 0x30000|1<<19) }},
		{"another nonce", attest.Replayed, func(w *world) { w.nonce = bytes.Repeat([]byte{6}, 64) }},
		{"an empty nonce", attest.Replayed, func(w *world) { w.nonce = []byte{} }},
		{"AMD's roots where ours signed", attest.Unproved, func(w *world) { w.c.Roots = amdRoots }},
		{"other firmware than the key's", attest.Mismatch, func(w *world) { w.report[0x180+6] = 23 }},
		{"another chip than the key's", attest.Mismatch, func(w *world) { w.report[0x1a0] ^= 1 }},
		{"a masked chip id", attest.Mismatch, func(w *world) { w.report[0x48] |= 2 }},
		{"a provider's key is claimed", attest.Mismatch, func(w *world) { w.report[0x48] |= 1 << 2 }},
		{"a key of another name", attest.Mismatch, func(w *world) { w.leaf.Subject.CommonName = "SEV-XCEK" }},
		{"a provider's key under the chips' authority", attest.Mismatch, func(w *world) { w.leaf.Subject.CommonName = "SEV-VLEK"; w.report[0x48] |= 1 << 2 }},
		{"a key without versions", attest.Mismatch, func(w *world) { w.leaf.ExtraExtensions = w.leaf.ExtraExtensions[4:] }},
		{"a key with two chips", attest.Mismatch, func(w *world) {
			w.leaf.ExtraExtensions = append(w.leaf.ExtraExtensions[:4], pkix.Extension{Id: extChip, Value: chipID[:8]})
		}},
		{"a key that expired", attest.Stale, func(w *world) { w.leaf.NotAfter = w.now.AddDate(0, 0, -1) }},
		{"a key of the future", attest.Stale, func(w *world) { w.leaf.NotBefore = w.now.AddDate(0, 0, 1) }},
		{"a revoked authority", attest.Revoked, func(w *world) { w.revoked = w.serial }},
		{"a list that expired", attest.Stale, func(w *world) { w.listEnd = w.now.AddDate(0, 0, -1) }},
		{"a list that is none", attest.Malformed, func(w *world) { w.c.Revoked = func(string) ([]byte, bool) { return []byte("list"), true } }},
		{"version 1", attest.Unsupported, func(w *world) { w.report[0] = 1 }},
		{"version 6", attest.Unsupported, func(w *world) { w.report[0] = 6 }},
		{"another algorithm", attest.Unsupported, func(w *world) { w.report[0x34] = 2 }},
		{"bytes behind the signature", attest.Malformed, func(w *world) { w.report[reportBytes-1] = 1 }},
		{"a report that is cut", attest.Malformed, func(w *world) { w.after = func(e *Evidence) { e.Report = e.Report[:reportBytes-1] } }},
		{"a chain of two", attest.Malformed, func(w *world) { w.after = func(e *Evidence) { e.Chain = e.Chain[:2] } }},
		{"the chain upside down", attest.Unproved, func(w *world) { w.after = func(e *Evidence) { slices.Reverse(e.Chain) } }},
		{"an authority that stands for the root", attest.Unproved, func(w *world) { w.after = func(e *Evidence) { e.Chain[2] = e.Chain[1] } }},
	} {
		w := newWorld(t)
		c.change(w)
		if f, err := w.verify(w.build()); codeOf(err) != c.code || f != nil {
			t.Errorf("%s: %v, want %q", c.name, err, c.code)
		}
	}
}

// TestNoByteIsFree flips a bit of every byte of report and certificates, and of the list of revocations.
func TestNoByteIsFree(t *testing.T) {
	w := newWorld(t)
	data := w.build()
	var e Evidence
	if err := action.Read(data, &e, action.Limits{}); err != nil {
		t.Fatal(err)
	}
	parts := append([]attest.Bytes{e.Report}, e.Chain...)
	for p, part := range parts {
		for i := range part {
			part[i] ^= 1
			data, err := action.Canonical(e)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.verify(data); err == nil {
				t.Errorf("part %d, byte %d is free", p, i)
			}
			part[i] ^= 1
		}
	}
	list, _ := w.c.Revoked(w.product)
	for i := range list {
		bad := bytes.Clone(list)
		bad[i] ^= 1
		w.c.Revoked = func(string) ([]byte, bool) { return bad, true }
		if _, err := w.verify(data); err == nil {
			t.Errorf("byte %d of the list is free", i)
		}
	}
}

func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	f.Add(w.build())
	f.Add([]byte(`{"report":"","chain":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		f, err := New(w.c).Verify(t.Context(), data, attest.Options{Now: func() time.Time { return w.now }})
		if (f == nil) == (err == nil) || err != nil && codeOf(err) == "" {
			t.Errorf("%+v %v", f, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	data := w.build()
	for b.Loop() {
		if _, err := w.verify(data); err != nil {
			b.Fatal(err)
		}
	}
}
