// SPDX-License-Identifier: Apache-2.0

package keyless

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// token is a time stamp to be made. Its zero value is a good one, of the time of the world.
type token struct {
	after      time.Duration
	message    []byte
	status     int64
	by         *ecdsa.PrivateKey
	names      []byte // the certificate that the attributes name
	content    asn1.ObjectIdentifier
	extensions bool
	more       bool // attributes that nobody signed
	certs      [][]byte
	twice      bool // names its content's digest twice
	bare       bool // names no content's digest
}

var oidSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}

// newSecond is a world whose log is of the second version.
func newSecond(t testing.TB, kind string) *world {
	t.Helper()
	w := newWorld(t)
	w.kind, w.stamps = kind, []token{{}}
	var err error
	_, w.second, err = ed25519.GenerateKey(rand.Reader)
	w.must(err)
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	w.must(err)
	w.tsa = x509.Certificate{SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: "clock"}, NotBefore: w.now.AddDate(-1, 0, 0), NotAfter: w.now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: []pkix.Extension{{Id: oidUsages, Critical: true, Value: usage}}}
	return w
}

// clock is the certificate of the time-stamping authority, with its root.
func (w *world) clock() (leaf, root []byte) {
	if w.clocks != nil {
		return w.clocks[0], w.clocks[1]
	}
	tmpl := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clocks"}, NotBefore: w.now.AddDate(-1, 0, 0), NotAfter: w.now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	root, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, &w.caKey.PublicKey, w.caKey)
	w.must(err)
	leaf, err = x509.CreateCertificate(rand.Reader, &w.tsa, &tmpl, &w.tsaKey.PublicKey, w.caKey)
	w.must(err)
	w.clocks = [][]byte{leaf, root}
	return leaf, root
}

// seconds makes an entry of the second version, with its time stamps.
func (w *world) seconds(s *Signed) (raw, name []byte) {
	w.t.Helper()
	of := w.payload
	s.Message = append([]byte("encoded: "), w.payload...)
	if w.kind == "hashedrekord" {
		of = s.Message
	}
	sum := sha256.Sum256(of)
	about := map[string]any{"algorithm": "SHA2_256", "digest": base64.StdEncoding.EncodeToString(sum[:])}
	one := map[string]any{"content": base64.StdEncoding.EncodeToString(s.Signature), "verifier": map[string]any{"keyDetails": "PKIX_ECDSA_P256_SHA_256",
		"x509Certificate": map[string]any{"rawBytes": base64.StdEncoding.EncodeToString(s.Certificate)}}}
	spec := map[string]any{"dsseV002": map[string]any{"payloadHash": about, "signatures": []any{one}}}
	if w.kind == "hashedrekord" {
		spec = map[string]any{"hashedRekordV002": map[string]any{"data": about, "signature": one}}
	}
	body := map[string]any{"apiVersion": "0.0.2", "kind": w.kind, "spec": spec}
	w.body(body)
	raw, err := action.Canonical(body)
	w.must(err)
	id := sha256.Sum256(slices.Concat([]byte("log.example\n\x01"), w.second.Public().(ed25519.PublicKey)))
	e := &s.Entry
	e.Index, e.Body, e.Log.ID, e.Kind.Kind, e.Kind.Version = strconv.FormatInt(w.index, 10), base64.StdEncoding.EncodeToString(raw), base64.StdEncoding.EncodeToString(id[:]), w.kind, "0.0.2"
	w.must(json.Unmarshal([]byte(`{"inclusionProof":{}}`), e))
	leaf, _ := w.clock()
	for _, t := range w.stamps {
		if t.message == nil {
			t.message = s.Signature
		}
		s.Times = append(s.Times, w.token(t, leaf))
	}
	return raw, id[:]
}

func (w *world) secondRoot(f map[string]any) {
	der, err := x509.MarshalPKIXPublicKey(w.second.Public())
	w.must(err)
	id := sha256.Sum256(slices.Concat([]byte("log.example\n\x01"), w.second.Public().(ed25519.PublicKey)))
	valid := map[string]any{"start": w.now.AddDate(-1, 0, 0)}
	f["tlogs"] = []any{map[string]any{"baseUrl": "https://log.example", "publicKey": map[string]any{"rawBytes": base64.StdEncoding.EncodeToString(der), "keyDetails": "PKIX_ED25519", "validFor": valid},
		"logId": map[string]any{"keyId": base64.StdEncoding.EncodeToString(id[:])}}}
	var chain []any
	leaf, root := w.clock()
	for _, c := range [][]byte{leaf, root} {
		chain = append(chain, map[string]any{"rawBytes": base64.StdEncoding.EncodeToString(c)})
	}
	f["timestampAuthorities"] = []any{map[string]any{"certChain": map[string]any{"certificates": chain}, "validFor": valid}}
}

// token makes a time stamp, in DER.
func (w *world) token(t token, leaf []byte) []byte {
	w.t.Helper()
	hash := func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidSHA256) })
	}
	sum := func(data []byte) []byte { s := sha256.Sum256(data); return s[:] }
	explicit := cbasn1.Tag(0).Constructed().ContextSpecific()
	var info cryptobyte.Builder
	info.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 3})
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { hash(b); b.AddASN1OctetString(sum(t.message)) })
		b.AddASN1Int64(4711)
		b.AddASN1GeneralizedTime(w.now.Add(t.after))
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1Int64(1) }) // accuracy
		b.AddASN1Int64(9)                                                             // nonce
		if t.extensions {
			b.AddASN1(cbasn1.Tag(1).Constructed().ContextSpecific(), func(*cryptobyte.Builder) {})
		}
	})
	if t.names == nil {
		t.names = leaf
	}
	if t.content == nil {
		t.content = oidStampInfo
	}
	if t.by == nil {
		t.by = w.tsaKey
	}
	attribute := func(b *cryptobyte.Builder, oid asn1.ObjectIdentifier, f cryptobyte.BuilderContinuation) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oid); b.AddASN1(cbasn1.SET, f) })
	}
	content := info.BytesOrPanic()
	inside := func(b *cryptobyte.Builder) {
		attribute(b, oidContentType, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(t.content) })
		for range map[bool]int{true: 2, false: 1}[t.twice] {
			if !t.bare {
				attribute(b, oidDigest, func(b *cryptobyte.Builder) { b.AddASN1OctetString(sum(content)) })
			}
		}
		attribute(b, oidCertificates, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1OctetString(sum(t.names)) })
				})
			})
		})
	}
	var attributes cryptobyte.Builder
	attributes.AddASN1(cbasn1.SET, inside)
	signature := sign(w.t, t.by, attributes.BytesOrPanic())
	certificate, err := x509.ParseCertificate(leaf)
	w.must(err)
	var out cryptobyte.Builder
	out.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1Int64(t.status) })
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidSignedData)
			b.AddASN1(explicit, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1Int64(3)
					b.AddASN1(cbasn1.SET, hash)
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(oidStampInfo)
						b.AddASN1(explicit, func(b *cryptobyte.Builder) { b.AddASN1OctetString(content) })
					})
					if t.certs != nil {
						b.AddASN1(explicit, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(t.certs, nil)) })
					}
					b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
						b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
							b.AddASN1Int64(1)
							b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
								b.AddBytes(certificate.RawIssuer)
								b.AddASN1BigInt(certificate.SerialNumber)
							})
							hash(b)
							b.AddASN1(explicit, inside)
							b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
								b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2})
							})
							b.AddASN1OctetString(signature)
							if t.more {
								b.AddASN1(cbasn1.Tag(1).Constructed().ContextSpecific(), inside)
							}
						})
					})
				})
			})
		})
	})
	return out.BytesOrPanic()
}

func TestEntriesWithoutATimeNeedTimeStamps(t *testing.T) {
	for _, kind := range []string{"dsse", "hashedrekord"} {
		w := newSecond(t, kind)
		w.stamps = []token{{after: time.Minute}, {after: time.Second}}
		s := w.build()
		got, err := w.verify(s, anyRelease)
		if err != nil || got.Subject != workflow || !got.Time.Equal(w.now.Add(time.Second)) {
			t.Errorf("%s: %+v %v", kind, got, err)
		}
	}
	w := newWorld(t)
	s := w.build()
	w2 := newSecond(t, "dsse")
	leaf, _ := w2.clock()
	s.Times = [][]byte{w2.token(token{message: s.Signature}, leaf)}
	if _, err := w.verify(s, anyRelease); codeOf(err) != attest.Unproved {
		t.Errorf("an entry with a time of its own, and a time stamp of a stranger: %v", err)
	}
}

func TestEntriesOfTheSecondVersionAreRefused(t *testing.T) {
	stranger := newKey(t)
	part := func(b map[string]any, names ...string) map[string]any {
		for _, n := range names {
			b = b[n].(map[string]any)
		}
		return b
	}
	signature := func(b map[string]any) map[string]any {
		return part(b, "spec", "dsseV002")["signatures"].([]any)[0].(map[string]any)
	}
	stamp := func(change token) func(w *world) { return func(w *world) { w.stamps = []token{change} } }
	usages := func(critical bool, of ...asn1.ObjectIdentifier) func(w *world) {
		return func(w *world) {
			der, err := asn1.Marshal(of)
			w.must(err)
			w.tsa.ExtraExtensions = []pkix.Extension{{Id: oidUsages, Critical: critical, Value: der}}
		}
	}
	stamping, serving := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}
	for _, c := range []struct {
		name   string
		code   attest.Code
		change func(w *world)
	}{
		{"no time stamp", attest.Missing, func(w *world) { w.stamps = nil }},
		{"nine time stamps", attest.Malformed, func(w *world) { w.stamps = make([]token, 9) }},
		{"a time stamp of something else", attest.Mismatch, stamp(token{message: []byte("else")})},
		{"a time stamp before the certificate", attest.Unproved, stamp(token{after: -2 * time.Minute})},
		{"a time stamp after the certificate", attest.Unproved, stamp(token{after: 10 * time.Minute})},
		{"one of two after the certificate", attest.Unproved, func(w *world) { w.stamps = []token{{}, {after: 10 * time.Minute}} }},
		{"a time stamp that was not granted", attest.Malformed, stamp(token{status: 2})},
		{"a time stamp that a stranger signed", attest.Unproved, stamp(token{by: stranger})},
		{"a time stamp that names another certificate", attest.Unproved, stamp(token{names: []byte("another")})},
		{"a time stamp that signs other content", attest.Malformed, stamp(token{content: oidSignedData})},
		{"a time stamp with two digests", attest.Malformed, stamp(token{twice: true})},
		{"a time stamp without a digest", attest.Malformed, stamp(token{bare: true})},
		{"a time stamp with extensions", attest.Malformed, stamp(token{extensions: true})},
		{"a time stamp with something unsigned", attest.Malformed, stamp(token{more: true})},
		{"a time stamp with a certificate of somebody's", attest.Malformed, stamp(token{certs: [][]byte{{0x30, 0}}})},
		{"an authority for servers", attest.Unproved, usages(true, serving)},
		{"an authority for servers too", attest.Unproved, usages(true, stamping, serving)},
		{"an authority that is not bound to time stamps", attest.Unproved, usages(false, stamping)},
		{"an authority that had ended", attest.Unproved, func(w *world) { w.tsa.NotAfter = w.now.Add(-time.Second) }},
		{"an authority that nobody knows", attest.Unproved, func(w *world) { w.root = func(f map[string]any) { f["timestampAuthorities"] = []any{} } }},
		{"an authority that was closed before", attest.Unproved, func(w *world) {
			w.root = func(f map[string]any) {
				f["timestampAuthorities"].([]any)[0].(map[string]any)["validFor"] = map[string]any{"start": w.now.AddDate(-1, 0, 0), "end": w.now.Add(-time.Hour)}
			}
		}},
		{"a log that was closed before", attest.Unproved, func(w *world) { w.root = func(f map[string]any) { closed(f, "tlogs", w.now) } }},
		{"a promise", attest.Malformed, func(w *world) {
			w.entry = func(e *Entry) {
				w.must(json.Unmarshal([]byte(`{"inclusionPromise":{"signedEntryTimestamp":"AAAA"}}`), e))
			}
		}},
		{"a time of its own", attest.Malformed, func(w *world) { w.entry = func(e *Entry) { e.Time = "1" } }},
		{"two indexes", attest.Malformed, func(w *world) { w.entry = func(e *Entry) { e.Index = "1" } }},
		{"the first version by name", attest.Malformed, func(w *world) { w.entry = func(e *Entry) { e.Kind.Version = "0.0.1" } }},
		{"the other kind by name", attest.Malformed, func(w *world) { w.entry = func(e *Entry) { e.Kind.Kind = "hashedrekord" } }},
		{"an entry of both kinds", attest.Malformed, func(w *world) {
			w.body = func(b map[string]any) { b["spec"].(map[string]any)["hashedRekordV002"] = map[string]any{} }
		}},
		{"an entry of another payload", attest.Mismatch, func(w *world) {
			w.body = func(b map[string]any) { part(b, "spec", "dsseV002", "payloadHash")["digest"] = "AAAA" }
		}},
		{"an entry by another hash", attest.Mismatch, func(w *world) {
			w.body = func(b map[string]any) { part(b, "spec", "dsseV002", "payloadHash")["algorithm"] = "SHA2_512" }
		}},
		{"an entry of another signature", attest.Mismatch, func(w *world) { w.body = func(b map[string]any) { signature(b)["content"] = "AAAA" } }},
		{"an entry of another certificate", attest.Mismatch, func(w *world) {
			w.body = func(b map[string]any) { part(signature(b), "verifier", "x509Certificate")["rawBytes"] = "AAAA" }
		}},
		{"an entry of no signature", attest.Mismatch, func(w *world) {
			w.body = func(b map[string]any) { part(b, "spec", "dsseV002")["signatures"] = []any{} }
		}},
		{"a checkpoint of another log", attest.Mismatch, func(w *world) {
			w.entry = func(e *Entry) {
				head := "other.example\n" + e.Proof.Size + "\n" + e.Proof.Root + "\n"
				id, _ := base64.StdEncoding.DecodeString(e.Log.ID)
				e.Proof.Checkpoint.Envelope = head + "\n— log.example " + base64.StdEncoding.EncodeToString(append(slices.Clone(id[:4]), ed25519.Sign(w.second, []byte(head))...)) + "\n"
			}
		}},
	} {
		w := newSecond(t, "dsse")
		c.change(w)
		if got, err := w.verify(w.build(), anyRelease); codeOf(err) != c.code || got != nil {
			t.Errorf("%s: %+v %v, want %q", c.name, got, err, c.code)
		}
	}
}

// TestNoByteOfTimeStampsIsFree flips each bit of a time stamp, and cuts it everywhere.
func TestNoByteOfTimeStampsIsFree(t *testing.T) {
	w := newSecond(t, "dsse")
	s := w.build()
	if _, err := w.verify(s, anyRelease); err != nil {
		t.Fatal(err)
	}
	root, err := ReadRoot(w.rootJSON)
	if err != nil {
		t.Fatal(err)
	}
	good := s.Times[0]
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if _, err := root.times([][]byte{bad}, s.Signature); err == nil {
				t.Errorf("byte %d, bit %d is free", i, bit)
			}
		}
		if _, err := root.times([][]byte{good[:i]}, s.Signature); err == nil {
			t.Errorf("cut at %d", i)
		}
	}
}

// TestTimeStampsOfOpenSSLAreUnderstood lets another implementation make them, by keys of both kinds.
func TestTimeStampsOfOpenSSLAreUnderstood(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %q: %v: %s", args, err, out)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("message", "a signature")
	write("serial", "01\n")
	write("conf", "[req]\ndistinguished_name=dn\n[dn]\n[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n[clock]\nextendedKeyUsage=critical,timeStamping\nkeyUsage=digitalSignature\n"+
		"[tsa]\nserial=serial\ndefault_policy=1.2.3\ndigests=sha256,sha512\nsigner_digest=sha512\ness_cert_id_alg=sha256\nordering=yes\ntsa_name=yes\naccuracy=secs:1\n")
	for _, kind := range [][]string{{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"}, {"-newkey", "rsa:2048"}} {
		run(append([]string{"req", "-x509", "-nodes", "-config", "conf", "-extensions", "ca", "-subj", "/CN=root", "-days", "9", "-keyout", "ca.key", "-out", "ca.pem"}, kind...)...)
		run(append([]string{"req", "-x509", "-nodes", "-config", "conf", "-extensions", "clock", "-subj", "/CN=clock", "-days", "8", "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "tsa.key", "-out", "tsa.pem"}, kind...)...)
		for _, asks := range [][]string{{"-sha256"}, {"-sha512", "-cert"}} {
			run(append([]string{"ts", "-query", "-data", "message", "-out", "query"}, asks...)...)
			run("ts", "-reply", "-config", "conf", "-section", "tsa", "-queryfile", "query", "-signer", "tsa.pem", "-inkey", "tsa.key", "-out", "reply")
			stamp, err := os.ReadFile(filepath.Join(dir, "reply"))
			if err != nil {
				t.Fatal(err)
			}
			r := &Root{stampers: []authority{{}}}
			for _, name := range []string{"tsa.pem", "ca.pem"} {
				text, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				b, _ := pem.Decode(text)
				c, err := x509.ParseCertificate(b.Bytes)
				if err != nil {
					t.Fatal(err)
				}
				r.stampers[0].certs = append(r.stampers[0].certs, c)
			}
			got, err := r.times([][]byte{stamp}, []byte("a signature"))
			if err != nil || len(got) != 1 || time.Since(got[0]).Abs() > time.Hour {
				t.Errorf("%v %v: %v %v", kind, asks, got, err)
			}
			if _, err := r.times([][]byte{stamp}, []byte("another")); codeOf(err) != attest.Mismatch {
				t.Errorf("%v %v of something else: %v", kind, asks, err)
			}
		}
	}
}

func FuzzStamp(f *testing.F) {
	w := newSecond(f, "dsse")
	s := w.build()
	f.Add(s.Times[0])
	root, err := ReadRoot(w.rootJSON)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		got, err := root.times([][]byte{der}, s.Signature)
		if (err == nil) != (len(got) == 1) || err != nil && codeOf(err) == "" {
			t.Errorf("%v %v", got, err)
		}
		if err == nil && !bytes.Equal(der, s.Times[0]) {
			t.Error("another time stamp is accepted")
		}
	})
}
