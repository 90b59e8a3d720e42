// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/internal/attester"
)

// TestLeasesComeWithCertificates uses the twin of the token: it opens what the lease opens, for as long.
func TestLeasesComeWithCertificates(t *testing.T) {
	b, _ := openSafe(t, nil, "payer", "other")
	a, other := b.attester("payer", nil), b.attester("other", nil)
	l, err := a.Renew(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	cert, err := a.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	leaf := cert.Leaf
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(l.Bundle)) {
		t.Fatalf("no roots: %q", l.Bundle)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://example.com/payer" || leaf.NotAfter.UnixMilli() > l.EndsMs {
		t.Errorf("%v until %s", leaf.URIs, leaf.NotAfter)
	}
	if got := b.pay(b.showing(cert, ""), "1"); got != "allow" {
		t.Errorf("by the certificate alone: %s", got)
	}
	if got := b.pay(b.showing(cert, l.Token), "2"); got != "allow" {
		t.Errorf("by the token that is bound to it: %s", got)
	}
	theirs, err := other.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	stranger := newCA(t, "example.com").sign("spiffe://example.com/payer", nil)
	for name, rt := range map[string]http.RoundTripper{
		"the token without a certificate":        withToken(l.Token),
		"the token with another's certificate":   b.showing(theirs, l.Token),
		"a certificate of the same name":         b.showing(stranger, ""),
		"the token with one of the same name":    b.showing(stranger, l.Token),
		"a certificate of nobody beside nothing": b.showing(newCA(t, "").sign("", nil), ""),
	} {
		if name == "the token without a certificate" {
			rt = overTLS(b.tls, rt)
		}
		if got := b.pay(rt, "3"); got != "401" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if _, err := b.EndLeases(t.Context(), func(x *lease.Lease) bool { return x.ID == l.ID }, lease.CodeEnded, "ops", "drill"); err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"certificate": "", "token": l.Token} {
		if got := b.pay(b.showing(cert, token), "4"+name); got != "deny" {
			t.Errorf("%s after the lease ended: %s", name, got)
		}
	}
}

// overTLS sends what rt would have sent over TLS.
func overTLS(c *tls.Config, rt http.RoundTripper) http.RoundTripper {
	return trip(func(r *http.Request) (*http.Response, error) {
		seen := r.Clone(r.Context())
		if w, ok := rt.(withToken); ok {
			seen.Header.Set("Authorization", "Bearer "+string(w))
		}
		return (&http.Transport{TLSClientConfig: c, DisableKeepAlives: true}).RoundTrip(seen)
	})
}

// TestLeasesOfCertificatesOfOthers gets a lease with a certificate of the agent's own, without any proof beside the
// handshake, and uses its token over that certificate (RFC 8705).
func TestLeasesOfCertificatesOfOthers(t *testing.T) {
	ca := newCA(t, "example.org")
	path := t.TempDir() + "/clients.pem"
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	b, _ := openSafe(t, func(c *sallyport.Config) {
		c.Listen.TLS.ClientCA = path
		c.Federation.SPIFFE.Agents = []sallyport.FederationAgent{{ID: "spiffe://example.org/payments", Agent: "payer"}, {ID: "spiffe://example.org/free", Agent: "free"}}
	}, "payer")
	b.agent("free")
	mine := ca.sign("spiffe://example.org/payments", nil)
	if got := b.pay(b.showing(mine, ""), "0"); got != "deny" {
		t.Errorf("an agent that needs a lease, without one: %s", got)
	}
	l := b.claimBy(mine)
	if got := b.pay(b.showing(mine, l.Token), "1"); got != "allow" {
		t.Errorf("under the lease: %s", got)
	}
	if got := b.pay(b.showing(ca.sign("spiffe://example.org/payments", nil), l.Token), "2"); got != "401" {
		t.Errorf("the token over another certificate of the same name: %s", got)
	}
	if got := b.pay(b.showing(ca.sign("spiffe://example.org/free", nil), ""), "3"); got != "allow" {
		t.Errorf("an agent that needs no lease: %s", got)
	}
	for name, cert := range map[string]tls.Certificate{
		"nobody's name": ca.sign("spiffe://example.org/nobody", nil),
		"no name":       ca.sign("", nil),
		"two names": ca.sign("spiffe://example.org/free", func(c *x509.Certificate) {
			c.URIs = append(c.URIs, &url.URL{Scheme: "spiffe", Host: "example.org", Path: "/x"})
		}),
		"it has ended":     ca.sign("spiffe://example.org/free", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		"it has not begun": ca.sign("spiffe://example.org/free", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }),
		"for servers":      ca.sign("spiffe://example.org/free", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }),
		"it may sign":      ca.sign("spiffe://example.org/free", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }),
	} {
		if got := b.pay(b.showing(cert, ""), "4"); got != "401" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// claimBy gets a lease over one connection that a certificate was shown on.
func (b *bank) claimBy(c tls.Certificate) sallyport.AttestLease {
	b.t.Helper()
	cfg := b.tls.Clone()
	cfg.Certificates = []tls.Certificate{c}
	a, err := attester.New(attester.Config{URL: b.url, Kind: "software", TLS: cfg, Certificate: &c, Log: b.measured()})
	if err != nil {
		b.t.Fatal(err)
	}
	l, err := a.Renew(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return sallyport.AttestLease{Lease: sallyport.Lease{ID: l.ID, EndsMs: l.EndsMs}, Token: l.Token}
}

// measured is a log of what the agent's files are now.
func (b *bank) measured() *attester.Log {
	b.t.Helper()
	log := attester.NewLog()
	if err := log.Begin(13); err != nil {
		b.t.Fatal(err)
	}
	if err := attester.NewWatch(b.spec(), log).Look(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	return log
}

// TestRelayedEvidenceIsRefused puts a machine between: it holds the agent's credential, opens its own connection to the
// owner and lets the good machine answer the challenge. The good machine's quote covers its own connection, which is
// the one to the relay. A relay of bytes is no party to the connection, and changes nothing.
func TestRelayedEvidenceIsRefused(t *testing.T) {
	s := newTPM(t, t.TempDir())
	b, ca := openSafe(t, func(c *sallyport.Config) { c.Attest.Agents[0].Kinds = []string{"tpm"} }, "payer")
	chip := s.chip("payer")
	log, err := attester.OpenLog(filepath.Join(t.TempDir(), "log"), chip)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	through := func(address, named string) error {
		a := b.measuring(attester.Config{URL: "https://" + address, Named: named, Token: b.token["payer"], Kind: "tpm", Chip: chip, Log: log, TLS: b.tls})
		_, err := a.Renew(t.Context())
		return err
	}
	a := b.measuring(attester.Config{URL: b.url, Token: b.token["payer"], Kind: "tpm", Chip: chip, Log: log, TLS: b.tls})
	if _, _, err := a.Enroll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Renew(t.Context()); err != nil {
		t.Fatalf("direct: %v", err)
	}
	owner := b.open.Agents.Addr().String()
	plain := bytesRelay(t, owner)
	if err := through(plain, "https://"+plain); err != nil {
		t.Errorf("through a relay of bytes: %v", err)
	}
	refused(t, "through a relay that ends TLS", through(b.relay(ca, func(s string) string { return s }), b.url), "nonce")
	refused(t, "through one that hides the binding", through(b.relay(ca, func(s string) string {
		return strings.Replace(s, `"binding":"tls-exporter"`, `"binding":""`, 1)
	}), b.url), "nonce")
}

// relay ends the agents' TLS and passes what they ask on over one connection of its own.
func (b *bank) relay(ca *testCA, change func(string) string) string {
	b.t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{ca.sign("", nil)}}
	up := &http.Transport{TLSClientConfig: b.tls, MaxConnsPerHost: 1}
	owner, err := url.Parse(b.url)
	if err != nil {
		b.t.Fatal(err)
	}
	srv.Config.Handler = &httputil.ReverseProxy{Transport: up, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(owner)
		r.Out.Host = owner.Host
	}, ModifyResponse: func(r *http.Response) error {
		text := change(readAll(b.t, r))
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		r.Header.Set("Content-Length", strconv.Itoa(len(text)))
		return nil
	}}
	srv.StartTLS()
	b.t.Cleanup(func() { srv.Close(); up.CloseIdleConnections() })
	return srv.Listener.Addr().String()
}

// bytesRelay passes the bytes of connections on.
func bytesRelay(t *testing.T, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			wg.Go(func() { _, _ = io.Copy(up, c); _ = up.Close() })
			wg.Go(func() { _, _ = io.Copy(c, up); _ = c.Close() })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}
