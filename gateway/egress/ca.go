// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"time"
)

// The bounds of the authorities, and the lives of their certificates. An authority is renewed when half of
// its life is over; a client that keeps an older certificate then has to fetch the new one.
const (
	maxAuthorities = 1024
	maxLeaves      = 1024 // of one authority; beyond them they are made anew
	caLife         = 30 * 24 * time.Hour
	leafLife       = 24 * time.Hour
)

var errAuthorities = errors.New("egress: too many agents have an authority")

// authority makes one certificate authority for each agent, in memory. What one agent trusts proves nothing
// to another.
type authority struct {
	cfg *Config

	mu  sync.Mutex
	all map[string]*agentCA // guarded by mu
}

type agentCA struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	pem   []byte
	until time.Time

	mu     sync.Mutex
	leaves map[string]*tls.Certificate // guarded by mu
}

func newAuthority(cfg *Config) *authority { return &authority{cfg: cfg, all: map[string]*agentCA{}} }

func (a *authority) of(tenant, agent string) (*agentCA, error) {
	key, now := tenant+"/"+agent, a.cfg.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if ca := a.all[key]; ca != nil && now.Before(ca.until) {
		return ca, nil
	}
	if len(a.all) >= maxAuthorities {
		for k, ca := range a.all {
			if !now.Before(ca.until) {
				delete(a.all, k)
			}
		}
		if len(a.all) >= maxAuthorities {
			return nil, errAuthorities
		}
	}
	ca, err := a.make(agent, now)
	if err != nil {
		return nil, fmt.Errorf("egress: authority: %w", err)
	}
	a.all[key] = ca
	return ca, nil
}

func (a *authority) make(agent string, now time.Time) (*agentCA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := serialNumber(a.cfg.Random)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Sallyport egress of " + agent},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caLife), IsCA: true, MaxPathLenZero: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: a.cfg.Intercept, ExcludedDNSDomains: a.cfg.Except,
	}
	if len(a.cfg.Intercept) > 0 { // named domains only: no address at all
		_, v4, _ := net.ParseCIDR("0.0.0.0/0")
		_, v6, _ := net.ParseCIDR("::/0")
		tmpl.ExcludedIPRanges = []*net.IPNet{v4, v6}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &agentCA{cert: cert, key: key, until: now.Add(caLife / 2), leaves: map[string]*tls.Certificate{},
		pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

// leaf returns a certificate for host, a name or an address.
func (ca *agentCA) leaf(random io.Reader, host string, now time.Time) (*tls.Certificate, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if c := ca.leaves[host]; c != nil && now.Before(c.Leaf.NotAfter.Add(-time.Hour)) {
		return c, nil
	}
	serial, err := serialNumber(random)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "Sallyport"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if a, err := netip.ParseAddr(host); err == nil {
		tmpl.IPAddresses = []net.IP{a.AsSlice()}
	} else {
		tmpl.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if len(ca.leaves) >= maxLeaves {
		clear(ca.leaves)
	}
	c := &tls.Certificate{Certificate: [][]byte{der, ca.cert.Raw}, PrivateKey: key, Leaf: parsed}
	ca.leaves[host] = c
	return c, nil
}

func serialNumber(random io.Reader) (*big.Int, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, err
	}
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:]), nil
}
