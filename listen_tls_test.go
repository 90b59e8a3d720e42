// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/gateway"
)

// testCA signs what tests show each other.
type testCA struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newCA(t *testing.T, domain string) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}}
	if domain != "" {
		template.URIs = []*url.URL{{Scheme: "spiffe", Host: domain}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca := &testCA{t: t, key: key, pool: x509.NewCertPool()}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	ca.pool.AddCert(ca.cert)
	return ca
}

// sign makes a certificate for 127.0.0.1 or, with an id, for a workload.
func (ca *testCA) sign(id string, change func(*x509.Certificate)) tls.Certificate {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		ca.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true}
	if id == "" {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	} else {
		u, err := url.Parse(id)
		if err != nil {
			ca.t.Fatal(err)
		}
		template.URIs = []*url.URL{u}
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// write puts a certificate and its key into files.
func (ca *testCA) write(c tls.Certificate, dir string) (cert, key string) {
	ca.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		ca.t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			ca.t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			ca.t.Fatal(err)
		}
	}
	return cert, key
}

// openSafe is a bank whose doors speak TLS.
func openSafe(t *testing.T, more func(*sallyport.Config), agents ...string) (*bank, *testCA) {
	t.Helper()
	ca, dir := newCA(t, ""), t.TempDir()
	b := openBankWith(t, func(c *sallyport.Config) {
		c.Listen.TLS.Cert, c.Listen.TLS.Key = ca.write(ca.sign("", nil), dir)
		c.Admin.Listen = "127.0.0.1:0"
		if more != nil {
			more(c)
		}
	}, nil, agents...)
	b.tls = &tls.Config{RootCAs: ca.pool}
	return b, ca
}

// showing is a transport that shows a certificate, and a token if there is one.
func (b *bank) showing(c tls.Certificate, token string) http.RoundTripper {
	cfg := b.tls.Clone()
	cfg.Certificates = []tls.Certificate{c}
	return trip(func(r *http.Request) (*http.Response, error) {
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		t := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}
		return t.RoundTrip(r)
	})
}

type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestListenersSpeakHTTP2 lets an agent act over one connection that its certificate was shown on, many requests at once.
func TestListenersSpeakHTTP2(t *testing.T) {
	clients := newCA(t, "example.org")
	path := filepath.Join(t.TempDir(), "clients.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: clients.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	b, _ := openSafe(t, func(c *sallyport.Config) {
		c.Listen.TLS.ClientCA = path
		c.Federation.SPIFFE.Agents = []sallyport.FederationAgent{{ID: "spiffe://example.org/free", Agent: "free"}}
	}, "payer")
	b.agent("free")
	cfg := b.tls.Clone()
	cfg.Certificates = []tls.Certificate{clients.sign("spiffe://example.org/free", nil)}
	var dials atomic.Int64
	tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	defer tr.CloseIdleConnections()
	var protocol atomic.Value
	rt := trip(func(r *http.Request) (*http.Response, error) {
		resp, err := tr.RoundTrip(r)
		if err == nil {
			protocol.Store(resp.Proto)
		}
		return resp, err
	})
	if got := b.pay(rt, "first"); got != "allow" {
		t.Fatal(got)
	}
	before := dials.Load()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if got := b.pay(rt, fmt.Sprint("many", i)); got != "allow" {
				t.Error(got)
			}
		})
	}
	wg.Wait()
	if protocol.Load() != "HTTP/2.0" || dials.Load() != before {
		t.Errorf("%v over %d connections", protocol.Load(), dials.Load())
	}
}

// TestWithdrawnAgentsAreNobody gives authorities' lists: one agent's certificate stands on it, another's does not, and once
// there is no list in date nobody is let in.
func TestWithdrawnAgentsAreNobody(t *testing.T) {
	clients := newCA(t, "example.org")
	dir := t.TempDir()
	authorities, lists := filepath.Join(dir, "clients.pem"), filepath.Join(dir, "lists.pem")
	publish := func(until time.Time, gone ...*big.Int) {
		t.Helper()
		l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: until}
		for _, n := range gone {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: n, RevocationTime: time.Now()})
		}
		der, err := x509.CreateRevocationList(rand.Reader, l, clients.cert, clients.key)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(lists, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(authorities, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: clients.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	serial := func(n int64) tls.Certificate {
		return clients.sign("spiffe://example.org/free", func(c *x509.Certificate) { c.SerialNumber = big.NewInt(n) })
	}
	stays, withdrawn, late := serial(70), serial(71), serial(72)
	publish(time.Now().Add(time.Hour), big.NewInt(71))
	b, _ := openSafe(t, func(c *sallyport.Config) {
		c.Listen.TLS.ClientCA, c.Listen.TLS.ClientCRL = authorities, lists
		c.Federation.SPIFFE.Agents = []sallyport.FederationAgent{{ID: "spiffe://example.org/free", Agent: "free"}}
	}, "payer")
	b.agent("free")
	pay := func(c tls.Certificate, call string) string {
		cfg := b.tls.Clone()
		cfg.Certificates = []tls.Certificate{c}
		return b.pay(&http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}, call)
	}
	if got := pay(stays, "1"); got != "allow" {
		t.Errorf("a certificate that nobody withdrew: %s", got)
	}
	if got := pay(withdrawn, "2"); got != "401" {
		t.Errorf("a certificate that was withdrawn: %s", got)
	}
	publish(time.Now().Add(-time.Minute))
	if got := pay(late, "3"); got != "401" {
		t.Errorf("under a list that has ended: %s", got)
	}
}

func TestListenersSpeakTLSOnly(t *testing.T) {
	b, ca := openSafe(t, nil, "payer")
	for name, addr := range map[string]string{"agents": b.open.Agents.Addr().String(), "people": b.open.People.Addr().String()} {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: b.tls, DisableKeepAlives: true}}
		resp, err := c.Get("https://" + addr + "/healthz")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if resp.StatusCode != 200 || resp.TLS.Version != tls.VersionTLS13 {
			t.Errorf("%s: %d, version %x", name, resp.StatusCode, resp.TLS.Version)
		}
		_ = resp.Body.Close()
		old := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool, MaxVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
		if resp, err := old.Get("https://" + addr + "/healthz"); err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s: TLS 1.2 is spoken", name)
		}
		plain, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(plain, "GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n", addr)
		answer, err := http.ReadResponse(bufio.NewReader(plain), nil)
		if err == nil && answer.StatusCode == 200 {
			t.Errorf("%s: plain HTTP is answered", name)
		}
		_ = plain.Close()
	}
}

// TestCertificatesAreReloaded replaces the files, first by broken ones.
func TestCertificatesAreReloaded(t *testing.T) {
	ca, dir := newCA(t, ""), t.TempDir()
	now := time.Now()
	first, second := ca.sign("", nil), ca.sign("", nil)
	cert, key := ca.write(first, dir)
	var failed []error
	k := gateway.KeyPair{Cert: cert, Key: key, Now: func() time.Time { return now }, Failed: func(err error) { failed = append(failed, err) }}
	serves := func(want tls.Certificate) bool {
		got, err := k.Certificate()
		return err == nil && string(got.Certificate[0]) == string(want.Certificate[0])
	}
	if !serves(first) {
		t.Fatal("the first is not served")
	}
	if err := os.WriteFile(cert, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !serves(first) || len(failed) != 0 {
		t.Error("files are looked at with each handshake")
	}
	now = now.Add(2 * time.Second)
	if !serves(first) || len(failed) != 1 {
		t.Errorf("a broken file: %v", failed)
	}
	now = now.Add(2 * time.Second)
	if !serves(first) || len(failed) != 1 {
		t.Errorf("told more than once: %v", failed)
	}
	ca.write(second, dir)
	now = now.Add(2 * time.Second)
	if !serves(second) || len(failed) != 1 {
		t.Errorf("the new one is not served: %v", failed)
	}
	gone := gateway.KeyPair{Cert: filepath.Join(dir, "none"), Key: key}
	if _, err := gone.Certificate(); err == nil {
		t.Error("there never was one, and no error")
	}
}

func TestPlainListenersStayOnLoopback(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*sallyport.Config)
		refuse string
	}{
		{"loopback", func(*sallyport.Config) {}, ""},
		{"everywhere", func(c *sallyport.Config) { c.Gateway.Listen = "0.0.0.0:7117" }, "gateway.listen"},
		{"no host at all", func(c *sallyport.Config) { c.Admin.Listen = ":7118" }, "admin.listen"},
		{"a name", func(c *sallyport.Config) { c.Egress.Listen = "gateway.example:7119" }, "egress.listen"},
		{"plainly said", func(c *sallyport.Config) { c.Gateway.Listen, c.Listen.Plain = "0.0.0.0:7117", true }, ""},
		{"with a certificate", func(c *sallyport.Config) {
			c.Gateway.Listen, c.Listen.TLS.Cert, c.Listen.TLS.Key = "0.0.0.0:7117", "/c", "/k"
		}, ""},
		{"a certificate without its key", func(c *sallyport.Config) { c.Listen.TLS.Cert = "/c" }, "go together"},
		{"authorities without TLS", func(c *sallyport.Config) { c.Listen.TLS.ClientCA = "/c" }, "client_ca"},
	} {
		cfg := sallyport.DefaultConfig()
		cfg.Data = "/nowhere"
		c.change(&cfg)
		err := sallyport.CheckConfig(&cfg)
		if (err == nil) != (c.refuse == "") || err != nil && !strings.Contains(err.Error(), c.refuse) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// readAll is a body, read and closed.
func readAll(t testing.TB, resp *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return string(data)
}
