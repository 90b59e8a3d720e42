// SPDX-License-Identifier: Apache-2.0

package nitro

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

func vector(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "attest", "nitro", name))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("published vector %s is not beside the module", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func codeOf(err error) attest.Code {
	var e *attest.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// TestPublishedDocuments verifies real documents at their own time: those of debug enclaves are refused, one of them
// although it is published as valid.
func TestPublishedDocuments(t *testing.T) {
	for _, c := range []struct {
		name  string
		code  attest.Code
		debug bool
	}{
		{"aws_nitro_document.cbor", "", false},
		{"aws_nitro_document_bad_sig.cbor", attest.Unproved, false},
		{"valid-attestation-doc-bytes", "", false},
		{"valid-attestation-doc-base64", attest.Debug, true},
		{"debug-mode-attestation-doc-bytes", attest.Debug, true},
	} {
		data := vector(t, c.name)
		if filepath.Ext(c.name) == "" && bytes.HasPrefix(data, []byte("hE")) {
			var err error
			if data, err = base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data))); err != nil {
				t.Fatal(err)
			}
		}
		var s signed
		var d document
		if err := errors.Join(cbor.Unmarshal(data, &s), cbor.Unmarshal(s.Payload, &d)); err != nil {
			t.Fatal(c.name, err)
		}
		then := time.UnixMilli(int64(d.Time))
		v, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := v.Verify(t.Context(), data, attest.Options{Now: func() time.Time { return then }})
		if codeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", c.name, err, c.code)
		}
		if c.code == "" && err == nil && (f.Debug != action.No || f.Test != action.No || f.Fresh != action.TriUnknown || len(f.Nitro.PCRs) != 16 || f.Assurance() != 0) {
			t.Errorf("%s: %+v %+v", c.name, f, f.Nitro)
		}
		if _, err := v.Verify(t.Context(), data, attest.Options{Now: func() time.Time { return then.AddDate(0, 0, 1) }}); codeOf(err) != attest.Stale {
			t.Errorf("%s a day later: %v", c.name, err)
		}
		if c.debug {
			v.c.AllowDebug = true
			if f, err := v.Verify(t.Context(), data, attest.Options{Now: func() time.Time { return then }}); err != nil || f.Debug != action.Yes {
				t.Errorf("%s, allowed: %v", c.name, err)
			}
		}
	}
}

// world makes documents under a root of its own.
type world struct {
	t         testing.TB
	now       time.Time
	doc       map[string]any
	leaf      x509.Certificate
	curve     elliptic.Curve
	protected []byte
	open      map[int]any
	nonce     []byte
	certs     func(bundle [][]byte) [][]byte
	after     func(b []byte) []byte
	c         Config
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), curve: elliptic.P384(), protected: protected, open: map[int]any{}, nonce: []byte("nonce"),
		certs: func(b [][]byte) [][]byte { return b }, after: func(b []byte) []byte { return b }}
	w.doc = map[string]any{"module_id": "i-1-enc2", "digest": "SHA384", "timestamp": uint64(w.now.UnixMilli()), "pcrs": map[int][]byte{0: bytes.Repeat([]byte{1}, 48), 1: bytes.Repeat([]byte{2}, 48)},
		"public_key": nil, "user_data": []byte("data"), "nonce": w.nonce}
	w.leaf = x509.Certificate{SerialNumber: big.NewInt(3), NotBefore: w.now.Add(-time.Hour), NotAfter: w.now.Add(2 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature}
	return w
}

func (w *world) build() []byte {
	w.t.Helper()
	fail := func(err error) {
		if err != nil {
			w.t.Helper()
			w.t.Fatal(err)
		}
	}
	k := func(c elliptic.Curve) *ecdsa.PrivateKey {
		out, err := ecdsa.GenerateKey(c, rand.Reader)
		fail(err)
		return out
	}
	root, middle, own := k(elliptic.P256()), k(elliptic.P256()), k(w.curve)
	ca := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: w.now.AddDate(-1, 0, 0), NotAfter: w.now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootDER, err := x509.CreateCertificate(rand.Reader, &ca, &ca, &root.PublicKey, root)
	fail(err)
	between := ca
	between.SerialNumber, between.Subject.CommonName = big.NewInt(2), "middle"
	middleDER, err := x509.CreateCertificate(rand.Reader, &between, &ca, &middle.PublicKey, root)
	fail(err)
	leafDER, err := x509.CreateCertificate(rand.Reader, &w.leaf, &between, &own.PublicKey, middle)
	fail(err)
	w.doc["certificate"], w.doc["cabundle"] = leafDER, w.certs([][]byte{rootDER, middleDER})
	mode, err := cbor.EncOptions{Sort: cbor.SortBytewiseLexical}.EncMode() // the same bytes each time
	fail(err)
	payload, err := mode.Marshal(w.doc)
	fail(err)
	sum := sha512.Sum384(structure(payload))
	r, s, err := ecdsa.Sign(rand.Reader, own, sum[:])
	fail(err)
	out, err := mode.Marshal([]any{w.protected, w.open, payload, append(r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48))...)})
	fail(err)
	if w.c.Root == nil {
		w.c.Root = rootDER
	}
	return w.after(out)
}

func (w *world) verify(data []byte) (*attest.Facts, error) {
	v, err := New(w.c)
	if err != nil {
		w.t.Fatal(err)
	}
	return v.Verify(w.t.Context(), data, attest.Options{Now: func() time.Time { return w.now }, Nonce: w.nonce})
}

func TestGeneratedDocumentsAreAccepted(t *testing.T) {
	w := newWorld(t)
	f, err := w.verify(w.build())
	if err != nil {
		t.Fatal(err)
	}
	if f.Fresh != action.Yes || f.Debug != action.No || f.Test != action.Yes || f.Assurance() != 0 || !f.Until.Equal(w.leaf.NotAfter) || f.Nitro.UserData != "64617461" {
		t.Errorf("%+v %+v", f, f.Nitro)
	}
	if f.Test = action.No; f.Assurance() != 4 {
		t.Errorf("under AWS's root: worth %d", f.Assurance())
	}
}

func TestGeneratedDocumentsAreRefused(t *testing.T) {
	stranger := newWorld(t)
	stranger.build()
	for _, c := range []struct {
		name   string
		code   attest.Code
		change func(w *world)
	}{
		{"an enclave in debug mode", attest.Debug, func(w *world) { w.doc["pcrs"] = map[int][]byte{0: make([]byte, 48)} }},
		{"no register 0", attest.Malformed, func(w *world) { w.doc["pcrs"] = map[int][]byte{1: bytes.Repeat([]byte{1}, 48)} }},
		{"a short register", attest.Malformed, func(w *world) { w.doc["pcrs"] = map[int][]byte{0: {1}} }},
		{"a register of another number", attest.Malformed, func(w *world) {
			w.doc["pcrs"] = map[int][]byte{0: bytes.Repeat([]byte{1}, 48), 40: bytes.Repeat([]byte{1}, 48)}
		}},
		{"another nonce", attest.Replayed, func(w *world) { w.nonce = []byte("another") }},
		{"no nonce in it", attest.Replayed, func(w *world) { w.doc["nonce"] = nil }},
		{"an empty nonce", attest.Replayed, func(w *world) { w.nonce, w.doc["nonce"] = []byte{}, []byte{} }},
		{"a stranger's root", attest.Unproved, func(w *world) { w.c.Root = stranger.c.Root }},
		{"no certificates", attest.Unproved, func(w *world) { w.certs = func([][]byte) [][]byte { return [][]byte{} } }},
		{"the root alone", attest.Unproved, func(w *world) { w.certs = func(b [][]byte) [][]byte { return b[:1] } }},
		{"a certificate that nothing needs", attest.Malformed, func(w *world) { w.certs = func(b [][]byte) [][]byte { return append(b, stranger.c.Root) } }},
		{"a certificate that expired", attest.Stale, func(w *world) { w.leaf.NotAfter = w.now.Add(-time.Second) }},
		{"a certificate of the future", attest.Stale, func(w *world) { w.leaf.NotBefore = w.now.Add(time.Second) }},
		{"a certificate that may not sign", attest.Unproved, func(w *world) { w.leaf.KeyUsage = x509.KeyUsageKeyEncipherment }},
		{"a certificate of another curve", attest.Unproved, func(w *world) { w.curve = elliptic.P256() }},
		{"another algorithm", attest.Malformed, func(w *world) { w.protected = []byte{0xa1, 0x01, 0x26} }},
		{"an unsigned header", attest.Malformed, func(w *world) { w.open = map[int]any{4: "key"} }},
		{"another digest", attest.Malformed, func(w *world) { w.doc["digest"] = "SHA256" }},
		{"a field that nobody knows", attest.Malformed, func(w *world) { w.doc["extra"] = 1 }},
		{"a field in another case", attest.Malformed, func(w *world) { w.doc["Nonce"] = []byte("nonce") }},
		{"a byte behind it", attest.Malformed, func(w *world) { w.after = func(b []byte) []byte { return append(b, 0) } }},
		{"a tag before it", attest.Malformed, func(w *world) { w.after = func(b []byte) []byte { return append([]byte{0xd2}, b...) } }},
		{"a document that is cut", attest.Malformed, func(w *world) { w.after = func(b []byte) []byte { return b[:len(b)-1] } }},
		{"too much", attest.Malformed, func(w *world) { w.doc["user_data"] = make([]byte, MaxDocumentBytes) }},
	} {
		w := newWorld(t)
		c.change(w)
		if f, err := w.verify(w.build()); codeOf(err) != c.code || f != nil {
			t.Errorf("%s: %v, want %q", c.name, err, c.code)
		}
	}
}

func TestNoByteIsFree(t *testing.T) {
	w := newWorld(t)
	data := w.build()
	for i := range data {
		data[i] ^= 1
		if _, err := w.verify(data); err == nil {
			t.Errorf("byte %d is free", i)
		}
		data[i] ^= 1
	}
}

func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	f.Add(w.build())
	f.Add([]byte{0x84, 0x44})
	f.Fuzz(func(t *testing.T, data []byte) {
		w.t = t
		w.nonce = nil
		f, err := w.verify(data)
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
