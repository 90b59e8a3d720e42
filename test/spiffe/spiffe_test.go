// SPDX-License-Identifier: Apache-2.0

// Package spiffe holds our certificates, and our client of the workload API, against go-spiffe: its parser and its
// TLS read ours, and its server and client stand where a SPIRE agent and an agent of ours would.
package spiffe

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/svid"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func pkcs8(t *testing.T, k *ecdsa.PrivateKey) []byte {
	t.Helper()
	b, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTheirParserReadsOurs gives certificates of leases to go-spiffe.
func TestTheirParserReadsOurs(t *testing.T) {
	a := &svid.Authority{Domain: "example.org"}
	key := newKey(t)
	made, err := a.Issue(svid.ID{Domain: "example.org", Path: "/agent/payer"}, "lease", key.Public(), time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := x509svid.ParseRaw(made.DER, pkcs8(t, key))
	if err != nil {
		t.Fatal(err)
	}
	if theirs.ID.String() != "spiffe://example.org/agent/payer" {
		t.Errorf("id %s", theirs.ID)
	}
	pem, err := a.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	domain := spiffeid.RequireTrustDomainFromString("example.org")
	bundle, err := x509bundle.Parse(domain, pem)
	if err != nil {
		t.Fatal(err)
	}
	if id, _, err := x509svid.Verify(theirs.Certificates, bundle); err != nil || id != theirs.ID {
		t.Errorf("verified as %s: %v", id, err)
	}
	other, err := x509bundle.Parse(spiffeid.RequireTrustDomainFromString("example.com"), pem)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := x509svid.Verify(theirs.Certificates, other); err == nil {
		t.Error("it holds in another trust domain")
	}
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := tls.Server(server, tlsconfig.MTLSServerConfig(theirs, bundle, tlsconfig.AuthorizeMemberOf(domain))).Handshake(); err != nil {
			t.Error(err)
		}
	})
	if err := tls.Client(client, tlsconfig.MTLSClientConfig(theirs, bundle, tlsconfig.AuthorizeID(theirs.ID))).Handshake(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// api is a workload API as go-spiffe defines it, for one trust domain.
type api struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	t    *testing.T
	key  *ecdsa.PrivateKey
	root *x509.Certificate

	mu      sync.Mutex
	name    string // that everybody is; "" knows nobody
	changed chan struct{}
}

func serveAPI(t *testing.T) (*api, string) {
	t.Helper()
	a := &api{t: t, key: newKey(t), changed: make(chan struct{}), name: "spiffe://example.org/gateway"}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, URIs: []*url.URL{{Scheme: "spiffe", Host: "example.org"}}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "wl") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(srv, a)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() { srv.Stop(); wg.Wait() })
	return a, path
}

// become changes who the callers are from now on.
func (a *api) become(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.name = name
	close(a.changed)
	a.changed = make(chan struct{})
}

// svid signs a certificate for an id.
func (a *api) svid(id string) *workload.X509SVID {
	key := newKey(a.t)
	u, err := url.Parse(id)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{u},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return &workload.X509SVID{SpiffeId: id, X509Svid: der, X509SvidKey: pkcs8(a.t, key), Bundle: a.root.Raw}
}

func (a *api) FetchX509SVID(_ *workload.X509SVIDRequest, s grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	if md, _ := metadata.FromIncomingContext(s.Context()); len(md["workload.spiffe.io"]) != 1 || md["workload.spiffe.io"][0] != "true" {
		return status.Error(codes.InvalidArgument, "no security header")
	}
	for {
		a.mu.Lock()
		name, changed := a.name, a.changed
		a.mu.Unlock()
		if name == "" {
			return status.Error(codes.PermissionDenied, "no identity issued")
		}
		if err := s.Send(&workload.X509SVIDResponse{Svids: []*workload.X509SVID{a.svid(name)}, FederatedBundles: map[string][]byte{"spiffe://federated.example": a.root.Raw}}); err != nil {
			return err
		}
		select {
		case <-s.Context().Done():
			return nil
		case <-changed:
		}
	}
}

// until waits for what other goroutines do; the test's own deadline bounds it.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-t.Context().Done():
			t.Fatalf("%s does not come", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestOurClientFollowsTheAPI is told who it is, then that it is another, then that it is nobody.
func TestOurClientFollowsTheAPI(t *testing.T) {
	a, path := serveAPI(t)
	w := &svid.Workload{Socket: path}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.Run(ctx, func(error) {}) })
	defer wg.Wait()
	defer cancel()
	is := func(name string) func() bool {
		return func() bool {
			c, err := w.Certificate()
			return err == nil && c.Leaf.URIs[0].String() == name
		}
	}
	until(t, "the first certificate", is("spiffe://example.org/gateway"))
	a.become("spiffe://example.org/other")
	until(t, "the second certificate", is("spiffe://example.org/other"))
	c, err := w.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	if id, err := svid.Verify([]*x509.Certificate{c.Leaf}, w.Roots(c.Leaf), time.Now()); err != nil || id.String() != "spiffe://example.org/other" {
		t.Errorf("%v %v", id, err)
	}
	a.become("")
	until(t, "that we are nobody", func() bool { _, err := w.Certificate(); return err != nil && w.Roots(c.Leaf) == nil })
}

// TestAgentsOfATrustDomainAct runs a whole owner on certificates of the API: its listener shows one, and agents that
// show theirs are the agents of the configuration.
func TestAgentsOfATrustDomainAct(t *testing.T) {
	a, path := serveAPI(t)
	cfg := sallyport.DefaultConfig()
	cfg.Data = filepath.Join(t.TempDir(), "d")
	cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes = "127.0.0.1:0", "none", 8<<20
	cfg.Attest.TrustDomain, cfg.Attest.BundleEndpoint = "leases.example", true
	cfg.Federation.SPIFFE = sallyport.FederationSPIFFE{Socket: "unix://" + path, Agents: []sallyport.FederationAgent{{ID: "spiffe://example.org/payer", Agent: "payer"}}}
	s, err := sallyport.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, job := range []func() error{func() error { return s.Run(ctx) }, func() error { return s.Serve(ctx, l) }} {
		wg.Go(func() {
			if err := job(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Tokens.CreateAgent(ctx, identity.AgentSpec{ID: "payer", By: "test"}); err != nil {
		t.Fatal(err)
	}
	bundle := x509bundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString("example.org"), []*x509.Certificate{a.root})
	asks := func(id string) (int, string) {
		made := a.svid(id)
		mine, err := x509svid.ParseRaw(made.X509Svid, made.X509SvidKey)
		if err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{TLSClientConfig: tlsconfig.MTLSClientConfig(mine, bundle, tlsconfig.AuthorizeID(spiffeid.RequireFromString("spiffe://example.org/gateway"))), DisableKeepAlives: true}
		var resp *http.Response
		until(t, "the owner's certificate", func() bool {
			resp, err = (&http.Client{Transport: tr}).Post("https://"+l.Agents.Addr().String()+"/v1/sessions", "application/json", bytes.NewReader([]byte("{}")))
			return err == nil
		})
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode, string(text)
	}
	if status, text := asks("spiffe://example.org/payer"); status != 200 {
		t.Errorf("an agent of the configuration: %d %s", status, text)
	}
	if status, text := asks("spiffe://example.org/stranger"); status != 401 {
		t.Errorf("a workload that is no agent: %d %s", status, text)
	}
	// Their client of SPIFFE federation, in the profile https_spiffe, reads the roots of our leases.
	leases := spiffeid.RequireTrustDomainFromString("leases.example")
	told, err := federation.FetchBundle(t.Context(), leases, "https://"+l.Agents.Addr().String()+"/.well-known/spiffe/bundle.json",
		federation.WithSPIFFEAuth(bundle, spiffeid.RequireFromString("spiffe://example.org/gateway")))
	if err != nil {
		t.Fatal(err)
	}
	if seq, ok := told.SequenceNumber(); len(told.X509Authorities()) != 1 || !ok || seq == 0 || told.TrustDomain() != leases {
		t.Errorf("their client read %d roots, sequence %d", len(told.X509Authorities()), seq)
	}
	source, err := workloadapi.NewX509Source(t.Context(), workloadapi.WithClientOptions(workloadapi.WithAddr("unix://"+path)))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if mine, err := source.GetX509SVID(); err != nil || mine.ID.String() != "spiffe://example.org/gateway" {
		t.Errorf("their own client: %v %v", mine, err)
	}
}
