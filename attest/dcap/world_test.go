// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/attest"
)

// world makes quotes and collateral as Intel does, under a root of its own. Tests change one thing in it
// and expect one verdict.
type world struct {
	t       testing.TB
	now     time.Time
	version uint16
	tee     uint32
	kind    uint16 // body type of version 5

	keys                   map[string]*ecdsa.PrivateKey
	root, ca, leaf, signer *x509.Certificate // templates
	by                     map[*x509.Certificate]*x509.Certificate
	ext                    []attribute // of the leaf
	tcbSVN                 [18]any     // components, PCESVN, CPUSVN
	rootGone, pckGone      []*big.Int
	rootCRL, pckCRL        *x509.RevocationList

	tcb, qe  map[string]any
	body     []byte
	qeReport []byte
	auth     []byte
	bind     bool // the quoting enclave reports the attestation key
	certKind uint16

	text  func(chain [][]byte) []byte // of the PCK chain in the quote
	after func(quote []byte, c *Collateral) []byte
	cfg   Config
	nonce []byte
	ders  [4][]byte // of the last build: root, authority, leaf, signer
}

type m = map[string]any

func newWorld(t testing.TB, version uint16, tee uint32) *world {
	w := &world{t: t, now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), version: version, tee: tee, kind: 1, bind: true, certKind: certPCKChain,
		keys: map[string]*ecdsa.PrivateKey{}, by: map[*x509.Certificate]*x509.Certificate{}, auth: bytes.Repeat([]byte{7}, 32)}
	for _, k := range []string{"root", "ca", "leaf", "signer", "attestation", "stranger"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		w.keys[k] = key
	}
	cert := func(serial int64, name string, isCA bool) *x509.Certificate {
		c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: w.now.AddDate(-1, 0, 0),
			NotAfter: w.now.AddDate(1, 0, 0), BasicConstraintsValid: true, IsCA: isCA, KeyUsage: x509.KeyUsageDigitalSignature}
		if isCA {
			c.KeyUsage, c.MaxPathLen = x509.KeyUsageCertSign|x509.KeyUsageCRLSign, -1
		}
		return c
	}
	w.root, w.ca = cert(1, rootName, true), cert(2, platformName, true)
	w.signer, w.leaf = cert(3, signingName, false), cert(4, pckName, false)
	w.by[w.root], w.by[w.ca], w.by[w.signer], w.by[w.leaf] = w.root, w.root, w.root, w.ca
	crl := func() *x509.RevocationList {
		return &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: w.now.AddDate(0, 0, -3), NextUpdate: w.now.AddDate(0, 0, 3)}
	}
	w.rootCRL, w.pckCRL = crl(), crl()
	for i := range 16 {
		w.tcbSVN[i] = 5
	}
	w.tcbSVN[16], w.tcbSVN[17] = 11, bytes.Repeat([]byte{5}, 16)
	w.documents()
	w.reports()
	return w
}

func (w *world) documents() {
	stamp := func(days int) string { return w.now.AddDate(0, 0, days).Format(time.RFC3339) }
	w.tcb = m{"id": "SGX", "version": 3, "issueDate": stamp(-2), "nextUpdate": stamp(2), "fmspc": "00a067110000", "pceId": "0000", "tcbType": 0,
		"tcbEvaluationDataNumber": 17, "tcbLevels": []m{w.level(5, 11, UpToDate), w.level(3, 9, OutOfDate, "INTEL-SA-00001")}}
	w.qe = m{"id": "QE", "version": 2, "issueDate": stamp(-2), "nextUpdate": stamp(2), "tcbEvaluationDataNumber": 17, "miscselect": "00000000",
		"miscselectMask": "FFFFFFFF", "attributes": "11000000000000000000000000000000", "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
		"mrsigner": hex.EncodeToString(bytes.Repeat([]byte{0x8c}, 32)), "isvprodid": 1, "tcbLevels": []m{
			{"tcb": m{"isvsvn": 8}, "tcbDate": "2026-03-01T00:00:00Z", "tcbStatus": UpToDate},
			{"tcb": m{"isvsvn": 6}, "tcbDate": "2025-03-01T00:00:00Z", "tcbStatus": OutOfDate, "advisoryIDs": []string{"INTEL-SA-00615"}}}}
	if w.tee == teeTDX {
		zeros := hex.EncodeToString(make([]byte, 48))
		mod := m{"mrsigner": zeros, "attributes": "0000000000000000", "attributesMask": "FFFFFFFFFFFFFFFF"}
		w.tcb["id"], w.tcb["tdxModule"] = "TDX", mod
		w.tcb["tdxModuleIdentities"] = []m{{"id": "TDX_01", "mrsigner": zeros, "attributes": "0000000000000000", "attributesMask": "FFFFFFFFFFFFFFFF",
			"tcbLevels": []m{{"tcb": m{"isvsvn": 4}, "tcbDate": "2026-02-01T00:00:00Z", "tcbStatus": UpToDate},
				{"tcb": m{"isvsvn": 2}, "tcbDate": "2024-02-01T00:00:00Z", "tcbStatus": OutOfDate, "advisoryIDs": []string{"INTEL-SA-01036"}}}}}
		w.qe["id"], w.qe["isvprodid"] = "TD_QE", 2
	}
}

// level makes a level with one number for all components.
func (w *world) level(svn, pcesvn int, status string, advisories ...string) m {
	components := func() (out []m) {
		for range 16 {
			out = append(out, m{"svn": svn})
		}
		return out
	}
	tcb := m{"sgxtcbcomponents": components(), "pcesvn": pcesvn}
	if w.tee == teeTDX {
		tdx := components()
		tdx[1]["svn"] = 0 // the module's version, which its own identity grades
		tcb["tdxtcbcomponents"] = tdx
	}
	l := m{"tcb": tcb, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": status}
	if advisories != nil {
		l["advisoryIDs"] = advisories
	}
	return l
}

func (w *world) reports() {
	enclave := func(product uint16) []byte {
		b := make([]byte, enclaveBytes)
		b[48] = 0x11
		copy(b[128:], bytes.Repeat([]byte{0x8c}, 32))
		binary.LittleEndian.PutUint16(b[256:], product)
		binary.LittleEndian.PutUint16(b[258:], 8)
		return b
	}
	w.qeReport = enclave(1)
	w.body = enclave(9)
	copy(w.body[320:], "nonce")
	if w.tee == teeTDX {
		w.qeReport = enclave(2)
		w.body = make([]byte, td10Bytes)
		if w.version == 5 {
			w.kind, w.body = 3, make([]byte, td15Bytes)
		}
		copy(w.body, bytes.Repeat([]byte{5}, 16))
		w.body[1] = 1    // the module's version
		w.body[123] = 16 // SEPT_VE_DISABLE
		copy(w.body[520:], "nonce")
	}
}

func (w *world) sign(c *x509.Certificate) []byte {
	w.t.Helper()
	names := map[*x509.Certificate]string{w.root: "root", w.ca: "ca", w.signer: "signer", w.leaf: "leaf"}
	issuer := w.by[c]
	var pub any = &w.keys[names[c]].PublicKey
	if c.PublicKey != nil {
		pub = c.PublicKey
	}
	key := w.keys["stranger"]
	if issuer != nil {
		key = w.keys[names[issuer]]
	} else if issuer = w.root; c == w.leaf {
		issuer = w.ca // by name; the key is a stranger's
	}
	der, err := x509.CreateCertificate(rand.Reader, c, issuer, pub, key)
	if err != nil {
		w.t.Fatal(err)
	}
	return der
}

func raw(v any) asn1.RawValue {
	b, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return asn1.RawValue{FullBytes: b}
}

func below(parent asn1.ObjectIdentifier, n int) asn1.ObjectIdentifier {
	return append(slices.Clone(parent), n)
}

// extension makes Intel's part of a PCK certificate.
func (w *world) extension() []attribute {
	if w.ext != nil {
		return w.ext
	}
	two, seven := below(oidSGX, 2), below(oidSGX, 7)
	for i, v := range w.tcbSVN[:16] {
		if n, ok := v.(int); ok {
			w.tcbSVN[17].([]byte)[i] = byte(n)
		}
	}
	var tcb []attribute
	for i, v := range w.tcbSVN {
		tcb = append(tcb, attribute{below(two, i+1), raw(v)})
	}
	return []attribute{{below(oidSGX, 1), raw(make([]byte, 16))}, {two, raw(tcb)}, {below(oidSGX, 3), raw([]byte{0, 0})},
		{below(oidSGX, 4), raw([]byte{0, 0xa0, 0x67, 0x11, 0, 0})}, {below(oidSGX, 5), raw(asn1.Enumerated(1))},
		{seven, raw([]attribute{{below(seven, 1), raw(true)}, {below(seven, 3), raw(false)}})}}
}

func pems(chain ...[]byte) (out []byte) {
	for _, c := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	return out
}

func (w *world) crl(list *x509.RevocationList, gone []*big.Int, issuer *x509.Certificate, key string) []byte {
	w.t.Helper()
	for _, s := range gone {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: w.now.AddDate(0, 0, -9)})
	}
	parsed := *issuer
	parsed.SubjectKeyId = []byte{1}
	der, err := x509.CreateRevocationList(rand.Reader, list, &parsed, w.keys[key])
	if err != nil {
		w.t.Fatal(err)
	}
	return der
}

func (w *world) raw(key string, data []byte) []byte {
	sum := sha256.Sum256(data)
	r, s, err := ecdsa.Sign(rand.Reader, w.keys[key], sum[:])
	if err != nil {
		w.t.Fatal(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func (w *world) json(v any) []byte {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// build makes the quote, the collateral and the root.
func (w *world) build() ([]byte, *Collateral) {
	w.t.Helper()
	ext, err := asn1.Marshal(w.extension())
	if err != nil {
		w.t.Fatal(err)
	}
	w.leaf.ExtraExtensions = append(w.leaf.ExtraExtensions, pkix.Extension{Id: oidSGX, Value: ext})
	w.ders = [4][]byte{w.sign(w.root), w.sign(w.ca), w.sign(w.leaf), w.sign(w.signer)}
	root, ca, leaf := w.ders[0], w.ders[1], w.ders[2]
	c := w.again()
	if w.cfg.Root == nil {
		w.cfg.Root = root
	}
	text := append(pems(leaf, ca, root), 0)
	if w.text != nil {
		text = w.text([][]byte{leaf, ca, root})
	}
	q := w.quote(text)
	if w.after != nil {
		q = w.after(q, c)
	}
	return q, c
}

// again makes collateral by the certificates of the last build.
func (w *world) again() *Collateral {
	w.t.Helper()
	root, ca, signer := w.ders[0], w.ders[1], w.ders[3]
	c := &Collateral{PCKCRLChain: pems(ca, root), TCBInfoChain: pems(signer, root), QEIdentityChain: pems(signer, root),
		RootCRL: w.crl(w.rootCRL, w.rootGone, w.root, "root"), PCKCRL: w.crl(w.pckCRL, w.pckGone, w.ca, "ca"),
		TCBInfo: w.json(w.tcb), QEIdentity: w.json(w.qe)}
	c.TCBInfoSignature, c.QEIdentitySignature = w.raw("signer", c.TCBInfo), w.raw("signer", c.QEIdentity)
	return c
}

func (w *world) quote(chain []byte) []byte {
	le := binary.LittleEndian
	head := make([]byte, headerBytes)
	le.PutUint16(head, w.version)
	le.PutUint16(head[2:], keyP256)
	le.PutUint32(head[4:], w.tee)
	copy(head[12:], qeVendor)
	if w.version == 5 {
		head = le.AppendUint32(le.AppendUint16(head, w.kind), uint32(len(w.body)))
	}
	signed := append(head, w.body...)
	point, err := w.keys["attestation"].PublicKey.Bytes()
	if err != nil {
		w.t.Fatal(err)
	}
	if w.bind {
		bound := sha256.Sum256(slices.Concat(point[1:], w.auth))
		copy(w.qeReport[320:], bound[:])
	}
	inner := slices.Concat(w.qeReport, w.raw("leaf", w.qeReport), le.AppendUint16(nil, uint16(len(w.auth))), w.auth,
		le.AppendUint16(nil, w.certKind), le.AppendUint32(nil, uint32(len(chain))), chain)
	sig := append(w.raw("attestation", signed), point[1:]...)
	if w.version >= 4 {
		sig = le.AppendUint32(le.AppendUint16(sig, certQEReport), uint32(len(inner)))
	}
	sig = append(sig, inner...)
	return append(le.AppendUint32(signed, uint32(len(sig))), sig...)
}

func (w *world) verify() (*attest.Facts, error) {
	w.t.Helper()
	q, c := w.build()
	w.cfg.Store = Fixed{c}
	v, err := New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return v.Verify(context.Background(), q, attestOptions(w))
}

func attestOptions(w *world) attest.Options {
	return attest.Options{Now: func() time.Time { return w.now }, Nonce: w.nonce}
}
