// SPDX-License-Identifier: Apache-2.0

// Package egresstest is a world of hosts on loopback for tests and benchmarks of the egress proxy: every name
// resolves to a public-looking address, and every such address leads to one handler, in plain and over TLS
// with a certificate for the name that was asked for.
package egresstest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Address is what names resolve to that nothing else was said of.
var Address = netip.MustParseAddr("203.0.114.7")

// World is hosts behind one handler. Its methods are safe for concurrent use.
type World struct {
	Roots *x509.CertPool // what clients of the hosts trust

	key     *ecdsa.PrivateKey
	ca      *x509.Certificate
	plain   net.Listener
	secure  net.Listener
	servers []*http.Server
	wg      sync.WaitGroup

	mu     sync.Mutex
	names  map[string][]netip.Addr     // guarded by mu
	looked []string                    // guarded by mu
	dialed []netip.AddrPort            // guarded by mu
	leaves map[string]*tls.Certificate // guarded by mu
}

// New starts a world. Close ends it.
func New(h http.Handler) (*World, error) {
	w := &World{Roots: x509.NewCertPool(), names: map[string][]netip.Addr{}, leaves: map[string]*tls.Certificate{}}
	if err := w.authority(); err != nil {
		return nil, err
	}
	var err error
	if w.plain, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if w.secure, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(err, w.plain.Close())
	}
	for _, l := range []net.Listener{w.plain, w.secure} {
		srv := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
			TLSConfig: &tls.Config{GetCertificate: w.certificate, MinVersion: tls.VersionTLS12}}
		w.servers = append(w.servers, srv)
		w.wg.Go(func() {
			if l == w.secure {
				_ = srv.ServeTLS(l, "", "")
				return
			}
			_ = srv.Serve(l)
		})
	}
	return w, nil
}

// Close ends the world and waits for its servers.
func (w *World) Close() {
	for _, s := range w.servers {
		_ = s.Close()
	}
	w.wg.Wait()
}

// Name says what a name resolves to from now on. No address means that it does not.
func (w *World) Name(name string, addrs ...netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names[name] = addrs
}

// Looked returns the names that were looked up.
func (w *World) Looked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.looked)
}

// Dialed returns the addresses that were dialled.
func (w *World) Dialed() []netip.AddrPort {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.dialed)
}

// LookupNetIP resolves a name.
func (w *World) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looked = append(w.looked, host)
	if a, ok := w.names[host]; ok {
		return slices.Clone(a), nil
	}
	return []netip.Addr{Address}, nil
}

// Dial connects to the plain server for port 80 and to the one with TLS for every other, whatever the address.
func (w *World) Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	w.dialed = append(w.dialed, to)
	w.mu.Unlock()
	l := w.secure
	if to.Port() == 80 {
		l = w.plain
	}
	return (&net.Dialer{}).DialContext(ctx, network, l.Addr().String())
}

// DialPort connects to the server behind a port without a note of it.
func (w *World) DialPort(ctx context.Context, port string) (net.Conn, error) {
	l := w.secure
	if port == "80" {
		l = w.plain
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
}

func (w *World) authority() (err error) {
	if w.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the world"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, w.key.Public(), w.key)
	if err != nil {
		return err
	}
	if w.ca, err = x509.ParseCertificate(der); err == nil {
		w.Roots.AddCert(w.ca)
	}
	return err
}

func (w *World) certificate(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.leaves[h.ServerName]; c != nil {
		return c, nil
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(int64(len(w.leaves)) + 2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: []string{h.ServerName}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, w.ca, w.key.Public(), w.key)
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: w.key}
	w.leaves[h.ServerName] = c
	return c, nil
}
