// SPDX-License-Identifier: Apache-2.0

package svid

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestWithdrawnCertificatesAreRefused(t *testing.T) {
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	newKey := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	sign := func(c, parent *x509.Certificate, pub *ecdsa.PublicKey, by *ecdsa.PrivateKey) *x509.Certificate {
		c.NotBefore, c.NotAfter, c.BasicConstraintsValid = now.AddDate(0, -1, 0), now.AddDate(0, 1, 0), true
		der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, by)
		if err != nil {
			t.Fatal(err)
		}
		out, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	authority := func(name string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	}
	rootKey, middleKey, leafKey := newKey(), newKey(), newKey()
	root := authority("root")
	root = sign(root, root, &rootKey.PublicKey, rootKey)
	middle := sign(authority("middle"), root, &middleKey.PublicKey, rootKey)
	leaf := sign(&x509.Certificate{SerialNumber: big.NewInt(7), URIs: []*url.URL{{Scheme: "spiffe", Host: "e.org", Path: "/a"}}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, middle, &leafKey.PublicKey, middleKey)
	list := func(by *x509.Certificate, key *ecdsa.PrivateKey, until time.Time, gone ...int64) []byte {
		l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: until}
		for _, n := range gone {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: now})
		}
		der, err := x509.CreateRevocationList(rand.Reader, l, by, key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	}
	later, pool := now.Add(time.Hour), x509.NewCertPool()
	pool.AddCert(root)
	ofRoot, ofMiddle := list(root, rootKey, later), list(middle, middleKey, later, 8)
	stranger := newKey()
	for _, c := range []struct {
		name string
		file [][]byte
		ok   bool
	}{
		{"nobody was withdrawn", [][]byte{ofRoot, ofMiddle}, true},
		{"another one was", [][]byte{ofRoot, list(middle, middleKey, later, 8, 9)}, true},
		{"it was", [][]byte{ofRoot, list(middle, middleKey, later, 7)}, false},
		{"its authority was", [][]byte{list(root, rootKey, later, 2), ofMiddle}, false},
		{"by one of two lists", [][]byte{ofRoot, ofMiddle, list(middle, middleKey, later, 7)}, false},
		{"no list of the authority", [][]byte{ofRoot}, false},
		{"no list of the root", [][]byte{ofMiddle}, false},
		{"a list that has ended", [][]byte{ofRoot, list(middle, middleKey, now)}, false},
		{"a list that a stranger signed", [][]byte{ofRoot, list(middle, stranger, later)}, false},
		{"no list at all", nil, false},
		{"a certificate for a list", [][]byte{ofRoot, ofMiddle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})}, false},
	} {
		path := filepath.Join(t.TempDir(), "lists.pem")
		var text []byte
		for _, l := range c.file {
			text = append(text, l...)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := (&Withdrawn{Path: path}).Check([]*x509.Certificate{leaf, middle}, pool, now); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := (&Withdrawn{Path: "/does/not/exist"}).Check([]*x509.Certificate{leaf, middle}, pool, now); err == nil {
		t.Error("without its file")
	}
	path := filepath.Join(t.TempDir(), "lists.pem")
	w := &Withdrawn{Path: path}
	for i, gone := range []int64{8, 7, 8} {
		if err := os.WriteFile(path, slices.Concat(ofRoot, list(middle, middleKey, later, gone)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := w.Check([]*x509.Certificate{leaf, middle}, pool, now); (err == nil) != (gone == 8) {
				t.Errorf("file %d: %v", i, err)
			}
		}
	}
}
