// SPDX-License-Identifier: Apache-2.0

package svid

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

func TestIDsAreSpelledOneWay(t *testing.T) {
	for _, c := range []struct {
		name, text string
		ok         bool
	}{
		{"a workload", "spiffe://example.org/ns/a/sa/b", true},
		{"a trust domain", "spiffe://example.org", true},
		{"a path of any case", "spiffe://example.org/Billing_1.x", true},
		{"another scheme", "https://example.org/a", false},
		{"a scheme in capitals", "SPIFFE://example.org/a", false},
		{"a domain in capitals", "spiffe://Example.org/a", false},
		{"no domain", "spiffe:///a", false},
		{"a port", "spiffe://example.org:1/a", false},
		{"a user", "spiffe://a@example.org/a", false},
		{"a query", "spiffe://example.org/a?b", false},
		{"a fragment", "spiffe://example.org/a#b", false},
		{"an escape", "spiffe://example.org/%61", false},
		{"an empty step", "spiffe://example.org//a", false},
		{"a slash at the end", "spiffe://example.org/a/", false},
		{"a step back", "spiffe://example.org/a/../b", false},
		{"longer than the bound", "spiffe://example.org/" + strings.Repeat("a", maxID), false},
	} {
		id, err := ParseID(c.text)
		if (err == nil) != c.ok || c.ok && id.String() != c.text {
			t.Errorf("%s: %v %v", c.name, id, err)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("spiffe://example.org/a")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			return
		}
		if u, err := url.Parse(s); err != nil || u.Host != id.Domain || u.Path != id.Path || id.String() != s {
			t.Errorf("%q is read as %v, by others as %v (%v)", s, id, u, err)
		}
	})
}

func testKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestCertificatesEndWithTheirLease issues at a clock of its own.
func TestCertificatesEndWithTheirLease(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a := &Authority{Domain: "example.org", Now: func() time.Time { return now }}
	id := ID{"example.org", "/payer"}
	short, err := a.Issue(id, "l1", testKey(t).Public(), now.Add(time.Minute))
	if err != nil || !short.Expires.Equal(now.Add(time.Minute)) {
		t.Fatalf("%v %v", short.Expires, err)
	}
	long, err := a.Issue(id, "l2", testKey(t).Public(), now.Add(time.Hour))
	if err != nil || !long.Expires.Equal(now.Add(MaxLife)) {
		t.Fatalf("%v %v", long.Expires, err)
	}
	for name, bad := range map[string]func() error{
		"another trust domain": func() error {
			_, err := a.Issue(ID{"example.com", "/x"}, "l", testKey(t).Public(), now.Add(time.Minute))
			return err
		},
		"the trust domain itself": func() error {
			_, err := a.Issue(ID{"example.org", ""}, "l", testKey(t).Public(), now.Add(time.Minute))
			return err
		},
		"nobody":     func() error { _, err := a.Issue(id, "", testKey(t).Public(), now.Add(time.Minute)); return err },
		"it is over": func() error { _, err := a.Issue(id, "l", testKey(t).Public(), now); return err },
	} {
		if bad() == nil {
			t.Errorf("%s: it is issued", name)
		}
	}
	if h, ok := a.Holder(short.DER); !ok || h != "l1" {
		t.Errorf("%q %v", h, ok)
	}
	changed := bytes.Clone(short.DER)
	changed[len(changed)-1] ^= 1
	if _, ok := a.Holder(changed); ok {
		t.Error("a changed certificate is one of ours")
	}
	now = now.Add(time.Minute)
	if _, ok := a.Holder(short.DER); ok {
		t.Error("it outlives its time")
	}
	first, err := a.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(13 * time.Hour)
	if _, err := a.Issue(id, "l3", testKey(t).Public(), now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	both, err := a.Bundle()
	if err != nil || !bytes.HasPrefix(both, first) || len(both) <= len(first) {
		t.Errorf("a new root does not come beside the old one: %v", err)
	}
	if len(a.held) != 1 {
		t.Errorf("%d certificates are remembered", len(a.held))
	}
}

// TestRootsSpeakForOneTrustDomain signs for another one with the root's own key.
func TestRootsSpeakForOneTrustDomain(t *testing.T) {
	a := &Authority{Domain: "example.org"}
	if _, err := a.Bundle(); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.roots[0].cert)
	for host, ok := range map[string]bool{"example.org": true, "example.com": false, "evil-example.org": false} {
		template := &x509.Certificate{SerialNumber: a.roots[0].cert.SerialNumber, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Minute),
			URIs: []*url.URL{{Scheme: "spiffe", Host: host, Path: "/x"}}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, template, a.roots[0].cert, testKey(t).Public(), a.roots[0].key)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify([]*x509.Certificate{leaf}, pool, time.Now()); (err == nil) != ok {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// response is what a workload API would say.
func response(id string, chain, key, bundle []byte) []byte {
	var one []byte
	for n, v := range map[protowire.Number][]byte{1: []byte(id), 2: chain, 3: key, 4: bundle} {
		one = protowire.AppendBytes(protowire.AppendTag(one, n, protowire.BytesType), v)
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), one)
}

func TestResponsesOfTheAPIAreHeldTogether(t *testing.T) {
	a := &Authority{Domain: "example.org"}
	key := testKey(t)
	s, err := a.Issue(ID{"example.org", "/gw"}, "l", key.Public(), time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	strange, err := x509.MarshalPKCS8PrivateKey(testKey(t))
	if err != nil {
		t.Fatal(err)
	}
	good := response("spiffe://example.org/gw", s.DER, private, block.Bytes)
	for _, c := range []struct {
		name string
		data []byte
		ok   bool
	}{
		{"as it should be", good, true},
		{"fields that nobody knows", append(bytes.Clone(good), protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 7)...), true},
		{"another name", response("spiffe://example.org/other", s.DER, private, block.Bytes), false},
		{"another key", response("spiffe://example.org/gw", s.DER, strange, block.Bytes), false},
		{"no roots", response("spiffe://example.org/gw", s.DER, private, nil), false},
		{"no chain", response("spiffe://example.org/gw", nil, private, block.Bytes), false},
		{"cut off", good[:len(good)-3], false},
		{"nothing", nil, false},
	} {
		own, roots, err := readResponse(c.data)
		if (err == nil) != c.ok || c.ok && (own == nil || roots["example.org"] == nil) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func FuzzReadResponse(f *testing.F) {
	f.Add([]byte{})
	f.Add(response("spiffe://example.org/gw", []byte("c"), []byte("k"), []byte("b")))
	f.Fuzz(func(t *testing.T, b []byte) {
		own, roots, err := readResponse(b)
		if err == nil && (own == nil || len(roots) == 0) {
			t.Error("an answer that says nothing is taken")
		}
		if frame, err := readFrame(bytes.NewReader(b)); err == nil && len(frame) > len(b) {
			t.Error("more came out than went in")
		}
	})
}

func TestRefusalsOfTheAPI(t *testing.T) {
	for code, nobody := range map[string]bool{"7": true, "0": false, "14": false, "": false} {
		if err := ended(&http.Response{Header: http.Header{"Grpc-Status": {code}}}); errors.Is(err, errNobody) != nobody {
			t.Errorf("status %q: %v", code, err)
		}
	}
}

// TestARestartedAuthorityKnowsNoneOfTheOld is the stance on restarts: leases are gone with the process, and so is what
// signed for them. No list of withdrawn certificates is needed: none lives longer than five minutes, and none is known to
// another process.
func TestARestartedAuthorityKnowsNoneOfTheOld(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	before, after := &Authority{Domain: "example.org"}, &Authority{Domain: "example.org"}
	made, err := before.Issue(ID{Domain: "example.org", Path: "/agent/payer"}, "lease", key.Public(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if life := time.Until(made.Expires); life > MaxLife {
		t.Errorf("it lives for %s", life)
	}
	if who, ok := before.Holder(made.DER); !ok || who != "lease" {
		t.Errorf("held by %q", who)
	}
	if who, ok := after.Holder(made.DER); ok {
		t.Errorf("after a restart held by %q", who)
	}
	roots, err := after.Roots()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(made.DER)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(roots[0])
	if _, err := Verify([]*x509.Certificate{leaf}, pool, time.Now()); err == nil {
		t.Error("after a restart it leads to the new root")
	}
}

// BenchmarkCertificate is what a connection costs that shows a certificate of a lease, or of others. What was judged is remembered for 30 seconds.
func BenchmarkCertificate(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	a := &Authority{Domain: "example.org"}
	made, err := a.Issue(ID{Domain: "example.org", Path: "/agent/payer"}, "lease", key.Public(), time.Now().Add(time.Minute))
	if err != nil {
		b.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(made.DER)
	if err != nil {
		b.Fatal(err)
	}
	roots, err := a.Roots()
	if err != nil {
		b.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(roots[0])
	b.Run("of=lease", func(b *testing.B) {
		for b.Loop() {
			if _, ok := a.Holder(made.DER); !ok {
				b.Fatal("nobody's")
			}
		}
	})
	b.Run("of=others", func(b *testing.B) {
		for b.Loop() {
			if _, err := Verify([]*x509.Certificate{leaf}, pool, time.Now()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
