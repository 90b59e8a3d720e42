// SPDX-License-Identifier: Apache-2.0

package svid

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"sync"
	"time"
)

// The lives of an Authority's certificates.
const (
	MaxLife   = 5 * time.Minute // of an SVID
	rootLife  = 24 * time.Hour
	rootSpare = 12 * time.Hour // before its end a root makes room for the next
	backdated = time.Minute    // for the clocks of peers
)

// Authority signs X.509-SVIDs of one trust domain. Its key is made in memory and is gone with the process; its
// root speaks for no other trust domain. It remembers what it signed: a certificate of its own is known by its
// bytes. The zero value with a Domain is ready. It is safe for concurrent use.
type Authority struct {
	Domain string           // the trust domain; required
	Now    func() time.Time // nil means time.Now
	Rand   io.Reader        // nil means crypto/rand

	mu    sync.Mutex // guards below
	roots []root     // the newest last; what has ended is dropped
	held  map[[sha256.Size]byte]issued
	sweep time.Time
}

type root struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

type issued struct {
	holder string
	until  time.Time
}

// SVID is a certificate that was issued.
type SVID struct {
	ID      ID
	DER     []byte
	Expires time.Time
}

// Issue signs a certificate for the holder's public key until the given time, at most MaxLife from now. The holder is
// whom Holder returns for it.
func (a *Authority) Issue(id ID, holder string, key crypto.PublicKey, until time.Time) (SVID, error) {
	if id.Domain != a.Domain || id.Path == "" || holder == "" {
		return SVID{}, fmt.Errorf("%w: %s is not of %q", ErrID, id, a.Domain)
	}
	now, random := a.now(), a.random()
	if end := now.Add(MaxLife); until.After(end) {
		until = end
	}
	if !now.Before(until) {
		return SVID{}, fmt.Errorf("%w: it would have ended", ErrCertificate)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	r, err := a.root(now)
	if err != nil {
		return SVID{}, err
	}
	serial, err := rand.Int(random, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return SVID{}, err
	}
	template := &x509.Certificate{SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{Organization: []string{"Sallyport"}},
		NotBefore: now.Add(-backdated), NotAfter: until, URIs: []*url.URL{{Scheme: "spiffe", Host: id.Domain, Path: id.Path}},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(random, template, r.cert, key, r.key)
	if err != nil {
		return SVID{}, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	if a.held == nil {
		a.held = map[[sha256.Size]byte]issued{}
	}
	if now.Sub(a.sweep) > MaxLife {
		for k, h := range a.held {
			if !now.Before(h.until) {
				delete(a.held, k)
			}
		}
		a.sweep = now
	}
	// Certificates count in whole seconds: what is beyond them is not part of its life.
	a.held[sha256.Sum256(der)] = issued{holder, until.Truncate(time.Second)}
	return SVID{id, der, until.Truncate(time.Second)}, nil
}

// Holder returns whom a certificate of ours was issued to, while it is in its time. Its signature need not be
// looked at: no other certificate has these bytes.
func (a *Authority) Holder(der []byte) (string, bool) {
	print := sha256.Sum256(der)
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	h, ok := a.held[print]
	if !ok || !now.Before(h.until) {
		return "", false
	}
	return h.holder, true
}

// Bundle returns the roots that certificates in force rest on, in PEM.
func (a *Authority) Bundle() ([]byte, error) {
	roots, err := a.Roots()
	var out []byte
	for _, c := range roots {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out, err
}

// Roots returns the roots that certificates in force rest on, the newest last.
func (a *Authority) Roots() ([]*x509.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.root(a.now()); err != nil {
		return nil, err
	}
	var out []*x509.Certificate
	for _, r := range a.roots {
		out = append(out, r.cert)
	}
	return out, nil
}

func (a *Authority) now() time.Time {
	if a.Now == nil {
		return time.Now()
	}
	return a.Now()
}

func (a *Authority) random() io.Reader {
	if a.Rand == nil {
		return rand.Reader
	}
	return a.Rand
}

// root returns the root that signs now; a.mu is held.
func (a *Authority) root(now time.Time) (root, error) {
	for len(a.roots) > 0 && !now.Before(a.roots[0].cert.NotAfter) {
		a.roots = a.roots[1:]
	}
	if n := len(a.roots); n > 0 && now.Before(a.roots[n-1].cert.NotAfter.Add(-rootSpare)) {
		return a.roots[n-1], nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), a.random())
	if err != nil {
		return root{}, err
	}
	serial, err := rand.Int(a.random(), new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return root{}, err
	}
	template := &x509.Certificate{SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{Organization: []string{"Sallyport"}, CommonName: "Sallyport leases"},
		NotBefore: now.Add(-backdated), NotAfter: now.Add(rootLife), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, URIs: []*url.URL{{Scheme: "spiffe", Host: a.Domain}},
		PermittedDNSDomainsCritical: true, PermittedURIDomains: []string{a.Domain}}
	der, err := x509.CreateCertificate(a.random(), template, template, key.Public(), key)
	if err != nil {
		return root{}, fmt.Errorf("%w: root: %w", ErrCertificate, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return root{}, err
	}
	a.roots = append(a.roots, root{cert, key})
	return a.roots[len(a.roots)-1], nil
}
