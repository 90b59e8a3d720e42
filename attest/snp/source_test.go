// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kds serves a product's chain and list as AMD does.
type kds struct {
	chain, crl []byte
}

func (k *kds) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/vcek/v1/Milan/cert_chain":
		_, _ = w.Write(k.chain)
	case "/vcek/v1/Milan/crl":
		_, _ = w.Write(k.crl)
	default:
		http.NotFound(w, r)
	}
}

// made is a product's root and authority, which sign lists.
type made struct {
	t     *testing.T
	now   time.Time
	chain []byte
	roots map[string]string
	list  func(issued, until time.Time) []byte
}

func makeKDS(t *testing.T) *made {
	m := &made{t: t, now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
	root, authority := key(t, elliptic.P256()), key(t, elliptic.P256())
	template := func(name string, n int64) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: name}, NotBefore: m.now.AddDate(-5, 0, 0), NotAfter: m.now.AddDate(5, 0, 0),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	}
	sign := func(c, parent *x509.Certificate, pub any) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, root)
		if err != nil {
			t.Fatal(err)
		}
		out, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	ark := template("ARK-Milan", 1)
	ark = sign(ark, ark, &root.PublicKey)
	ask := sign(template("SEV-Milan", 2), ark, &authority.PublicKey)
	for _, c := range []*x509.Certificate{ask, ark} {
		m.chain = append(m.chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	sum := sha256.Sum256(ark.Raw)
	m.roots = map[string]string{"Milan": hex.EncodeToString(sum[:])}
	m.list = func(issued, until time.Time) []byte {
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: issued, NextUpdate: until}, ark, root)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	return m
}

func TestFetchedListsAreVerifiedAndNeverOlder(t *testing.T) {
	m := makeKDS(t)
	day := func(n int) time.Time { return m.now.AddDate(0, 0, n) }
	good := m.list(day(-10), day(100))
	for _, c := range []struct {
		name string
		then kds
		code string
		took bool
	}{
		{"the same", kds{m.chain, good}, "", false},
		{"a newer one", kds{m.chain, m.list(day(-1), day(200))}, "", true},
		{"an older one", kds{m.chain, m.list(day(-11), day(300))}, "stale: list of revocations of Milan: older", false},
		{"one that has ended", kds{m.chain, m.list(day(-9), day(-1))}, "stale", false},
		{"one of the future", kds{m.chain, m.list(day(1), day(9))}, "stale", false},
		{"another root's", kds{makeKDS(t).chain, good}, "unproved", false},
		{"a list of another root", kds{m.chain, makeKDS(t).list(day(-1), day(9))}, "unproved", false},
		{"bytes behind it", kds{m.chain, append(bytes.Clone(good), 0)}, "malformed", false},
		{"a chain of one", kds{m.chain[:len(m.chain)/2], good}, "", false},
		{"too much", kds{bytes.Repeat([]byte{'x'}, 4*mostCertBytes+1), good}, "collateral: ", false},
	} {
		k := &kds{m.chain, good}
		srv := httptest.NewServer(k)
		s, v, dir := &Source{URL: srv.URL}, New(Config{Roots: m.roots}), t.TempDir()
		update := func() (bool, error) {
			l, err := s.Fetch(t.Context(), "Milan")
			if err != nil {
				return false, err
			}
			_, changed, err := v.Put(dir, "Milan", l, m.now)
			return changed, err
		}
		if changed, err := update(); !changed || err != nil {
			t.Fatal(c.name, changed, err)
		}
		*k = c.then
		changed, err := update()
		srv.Close()
		if changed != c.took || (err == nil) != (c.took || c.name == "the same") || err != nil && !strings.HasPrefix(err.Error(), c.code) {
			t.Errorf("%s: changed %v, %v", c.name, changed, err)
		}
		want := good
		if c.took {
			want = c.then.crl
		}
		if have, err := os.ReadFile(filepath.Join(dir, "snp-Milan.crl")); err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s: another list is there: %v", c.name, err)
		}
	}
	if _, err := (&Source{}).Fetch(t.Context(), "../Milan"); err == nil {
		t.Error("a product that is none")
	}
}
