// SPDX-License-Identifier: Apache-2.0

package keyless

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

const (
	workflow = "https://code.example/org/repo/.ci/release.yml@refs/tags/v1"
	login    = "https://login.example"
)

// world is a Sigstore of its own: an authority, a log of certificates and a log.
type world struct {
	t        testing.TB
	now      time.Time
	leaf     x509.Certificate
	subject  string
	issuer   string
	payload  []byte
	stamp    bool // the certificate carries a time stamp
	body     func(b map[string]any)
	entry    func(e *Entry)
	root     func(f map[string]any)
	siblings [][]byte // of the proof, from below
	index    int64
	size     int64

	kind   string // of an entry of the second version; "" makes one of the first
	second ed25519.PrivateKey
	tsa    x509.Certificate
	stamps []token
	clocks [][]byte // what was made of tsa, and its root

	logKey, ctKey, caKey, own, tsaKey *ecdsa.PrivateKey
	rootJSON                          []byte
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), subject: workflow, issuer: login, payload: []byte(`{"statement":1}`), stamp: true,
		body: func(map[string]any) {}, entry: func(*Entry) {}, root: func(map[string]any) {}, index: 2, size: 3,
		logKey: newKey(t), ctKey: newKey(t), caKey: newKey(t), own: newKey(t), tsaKey: newKey(t)}
	other := sha256.Sum256([]byte("two leaves to the left"))
	w.siblings = [][]byte{other[:]}
	w.leaf = x509.Certificate{SerialNumber: big.NewInt(9), NotBefore: w.now.Add(-time.Minute), NotAfter: w.now.Add(9 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
	return w
}

func (w *world) must(err error) {
	if err != nil {
		w.t.Helper()
		w.t.Fatal(err)
	}
}

func public(t testing.TB, k *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func sign(t testing.TB, k *ecdsa.PrivateKey, msg []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(msg)
	sig, err := ecdsa.SignASN1(rand.Reader, k, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// certificate makes the leaf: first without time stamps, for the log of certificates to sign, then with.
func (w *world) certificate(ca *x509.Certificate) []byte {
	tmpl := w.leaf
	if w.subject != "" {
		u, err := url.Parse(w.subject)
		w.must(err)
		tmpl.URIs = []*url.URL{u}
	}
	issuer, err := asn1.MarshalWithParams(w.issuer, "utf8")
	w.must(err)
	tmpl.ExtraExtensions = append([]pkix.Extension{{Id: extIssuer, Value: issuer}}, w.leaf.ExtraExtensions...)
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, ca, &w.own.PublicKey, w.caKey)
	w.must(err)
	if !w.stamp {
		return der
	}
	bare, err := x509.ParseCertificate(der)
	w.must(err)
	parent := sha256.Sum256(ca.RawSubjectPublicKeyInfo)
	ms := uint64(w.now.UnixMilli())
	msg := append(binary.BigEndian.AppendUint64([]byte{0, 0}, ms), 0, 1)
	msg = append(msg, parent[:]...)
	n := len(bare.RawTBSCertificate)
	msg = append(append(msg, byte(n>>16), byte(n>>8), byte(n)), bare.RawTBSCertificate...)
	sig := sign(w.t, w.ctKey, append(msg, 0, 0))
	id := sha256.Sum256(public(w.t, w.ctKey))
	sct := append(binary.BigEndian.AppendUint64(append([]byte{0}, id[:]...), ms), 0, 0, 4, 3)
	sct = append(binary.BigEndian.AppendUint16(sct, uint16(len(sig))), sig...)
	list := append(binary.BigEndian.AppendUint16(nil, uint16(len(sct))), sct...)
	list = append(binary.BigEndian.AppendUint16(nil, uint16(len(list))), list...)
	octets, err := asn1.Marshal(list)
	w.must(err)
	tmpl.ExtraExtensions = append(tmpl.ExtraExtensions, pkix.Extension{Id: extSCT, Value: octets})
	der, err = x509.CreateCertificate(rand.Reader, &tmpl, ca, &w.own.PublicKey, w.caKey)
	w.must(err)
	return der
}

// build makes a signed entry and the trusted root that it answers to.
func (w *world) build() *Signed {
	w.t.Helper()
	tmpl := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: w.now.AddDate(-1, 0, 0), NotAfter: w.now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, &w.caKey.PublicKey, w.caKey)
	w.must(err)
	ca, err := x509.ParseCertificate(caDER)
	w.must(err)
	s := &Signed{Certificate: w.certificate(ca), Payload: w.payload, Signature: sign(w.t, w.own, w.payload)}

	e := &s.Entry
	var raw, id []byte
	var logSigns func(msg []byte) []byte
	if w.kind == "" {
		raw, id = w.first(s)
		logSigns = func(msg []byte) []byte { return sign(w.t, w.logKey, msg) }
	} else {
		raw, id = w.seconds(s)
		logSigns = func(msg []byte) []byte { return ed25519.Sign(w.second, msg) }
	}
	leaf := sha256.Sum256(append([]byte{0}, raw...))
	root := leaf[:]
	for _, h := range w.siblings {
		root = node(h, root)
		e.Proof.Hashes = append(e.Proof.Hashes, base64.StdEncoding.EncodeToString(h))
	}
	e.Proof.Index, e.Proof.Size, e.Proof.Root = strconv.FormatInt(w.index, 10), strconv.FormatInt(w.size, 10), base64.StdEncoding.EncodeToString(root)
	text := "log.example\n" + e.Proof.Size + "\n" + e.Proof.Root + "\n"
	e.Proof.Checkpoint.Envelope = text + "\n— log.example " + base64.StdEncoding.EncodeToString(append(id[:4:4], logSigns([]byte(text))...)) + "\n"
	w.entry(e)

	key := func(k *ecdsa.PrivateKey) map[string]any {
		der := public(w.t, k)
		id := sha256.Sum256(der)
		return map[string]any{"publicKey": map[string]any{"rawBytes": base64.StdEncoding.EncodeToString(der), "keyDetails": "PKIX_ECDSA_P256_SHA_256",
			"validFor": map[string]any{"start": w.now.AddDate(-1, 0, 0)}}, "logId": map[string]any{"keyId": base64.StdEncoding.EncodeToString(id[:])}}
	}
	f := map[string]any{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "tlogs": []any{key(w.logKey)}, "ctlogs": []any{key(w.ctKey)},
		"certificateAuthorities": []any{map[string]any{"certChain": map[string]any{"certificates": []any{map[string]any{"rawBytes": base64.StdEncoding.EncodeToString(caDER)}}},
			"validFor": map[string]any{"start": w.now.AddDate(-1, 0, 0)}}}}
	if w.kind != "" {
		w.secondRoot(f)
	}
	w.root(f)
	w.rootJSON, err = json.Marshal(f)
	w.must(err)
	return s
}

// first makes an entry of the first version.
func (w *world) first(s *Signed) (raw, name []byte) {
	w.t.Helper()
	sum := sha256.Sum256(w.payload)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate})
	body := map[string]any{"apiVersion": "0.0.1", "kind": "dsse", "spec": map[string]any{
		"envelopeHash": hashed{"sha256", hex.EncodeToString(sum[:])}, "payloadHash": hashed{"sha256", hex.EncodeToString(sum[:])},
		"signatures": []any{map[string]string{"signature": base64.StdEncoding.EncodeToString(s.Signature), "verifier": base64.StdEncoding.EncodeToString(cert)}}}}
	w.body(body)
	raw, err := action.Canonical(body)
	w.must(err)
	id := sha256.Sum256(public(w.t, w.logKey))
	e := &s.Entry
	e.Index, e.Time, e.Body = "100", strconv.FormatInt(w.now.Unix(), 10), base64.StdEncoding.EncodeToString(raw)
	e.Log.ID, e.Kind.Kind, e.Kind.Version = base64.StdEncoding.EncodeToString(id[:]), "dsse", "0.0.1"
	promise, err := action.Canonical(map[string]any{"body": e.Body, "integratedTime": w.now.Unix(), "logID": hex.EncodeToString(id[:]), "logIndex": 100})
	w.must(err)
	w.must(json.Unmarshal([]byte(`{"inclusionPromise":{"signedEntryTimestamp":"`+base64.StdEncoding.EncodeToString(sign(w.t, w.logKey, promise))+`"},"inclusionProof":{}}`), e))
	return raw, id[:]
}

func (w *world) verify(s *Signed, accepted ...Identity) (*Signer, error) {
	w.t.Helper()
	root, err := ReadRoot(w.rootJSON)
	w.must(err)
	return (&Verifier{Root: root, Identities: accepted}).Verify(s)
}

// node is RFC 6962's hash of two, written out: the verifier takes a library's.
func node(left, right []byte) []byte {
	sum := sha256.Sum256(append(append([]byte{1}, left...), right...))
	return sum[:]
}
