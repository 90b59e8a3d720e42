// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/attest/measure"
	"github.com/sallyport/sallyport/internal/attester"
	"github.com/sallyport/sallyport/ledger"
)

// measuredProgram is the file of an agent, what is expected of it, and a log that says what it is.
func measuredProgram(t *testing.T, id string) (sallyport.AttestAgent, *attester.Log) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(program, []byte("the program"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := measure.Spec{Executable: program, PCR: 13}
	events, err := measure.Take(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	a := sallyport.AttestAgent{Agent: id, SPIFFE: "spiffe://example.com/" + id, Kinds: []string{"software"}, Assurance: 1,
		References: []sallyport.AttestReference{{Kind: events[0].Kind, Digests: []string{events[0].Digest}}}}
	log := attester.NewLog()
	if err := log.Begin(13); err != nil {
		t.Fatal(err)
	}
	if err := attester.NewWatch(spec, log).Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a, log
}

// TestEgressKnowsLeases reaches the world as an attested agent: over TLS with the lease's certificate, and with the
// password that dies with the lease.
func TestEgressKnowsLeases(t *testing.T) {
	a, log := measuredProgram(t, "fetcher")
	ca, dir := newCA(t, ""), t.TempDir()
	x := openProxied(t, func(c *sallyport.Config) {
		c.Gateway.Listen = "127.0.0.1:0"
		c.Listen.TLS.Cert, c.Listen.TLS.Key = ca.write(ca.sign("", nil), dir)
		c.Attest.Agents = []sallyport.AttestAgent{a}
	})
	const page = "http://docs.example.org/a"
	if status, _, _ := fetch(t, x.client(false), "GET", page, ""); status != 403 {
		t.Fatalf("without a lease: %d", status)
	}
	trust := &tls.Config{RootCAs: ca.pool}
	agent, err := attester.New(attester.Config{URL: "https://" + x.open.Agents.Addr().String(), Token: x.token, Kind: "software", Log: log, TLS: trust})
	if err != nil {
		t.Fatal(err)
	}
	l, err := agent.Renew(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := agent.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	password, err := agent.Derived(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	over := func(scheme, password string, certs ...tls.Certificate) *http.Client {
		proxy := &url.URL{Scheme: scheme, Host: x.addr}
		if password != "" {
			proxy.User = url.UserPassword("agent", password)
		}
		pem, err := x.Egress.CA("default", x.agent)
		if err != nil {
			t.Fatal(err)
		}
		pool := ca.pool.Clone()
		pool.AppendCertsFromPEM(pem)
		return &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certs}}}
	}
	forged := []byte(password)
	forged[len(forged)-1] ^= 1
	for _, c := range []struct {
		name   string
		client *http.Client
		target string
		status int
	}{
		{"the password on this machine", over("http", password), page, 200},
		{"the password over TLS", over("https", password), page, 200},
		{"the password, in a tunnel", over("https", password), "https://docs.example.org/a", 200},
		{"the certificate", over("https", "", cert), page, 200},
		{"the certificate, in a tunnel", over("https", "", cert), "https://docs.example.org/a", 200},
		{"the agent's own token", over("https", x.token), page, 403},
		{"a certificate of the same name", over("https", "", newCA(t, "").sign("spiffe://example.com/fetcher", nil)), page, 407},
		{"a forged password", over("https", string(forged)), page, 407},
		{"a password of no lease", over("https", "spl_00000000000000000000000000000000_"+password[37:]), page, 407},
		{"nothing", over("https", ""), page, 407},
	} {
		if status, body, _ := fetch(t, c.client, "GET", c.target, ""); status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, status, body, c.status)
		}
	}
	levels := 0
	if err := x.Ledger.Records(t.Context(), func(e ledger.Entry) error {
		if e.Leaf.Kind == action.KindIntent && e.Leaf.Door == action.DoorEgress && e.Leaf.Assurance == 1 {
			levels++
		}
		return nil
	}); err != nil || levels != 5 {
		t.Errorf("%d records say the level, want 5 (%v)", levels, err)
	}
	b := &http.Client{Transport: overTLS(&tls.Config{RootCAs: ca.pool}, withToken(password))}
	if resp, err := b.Get("https://" + x.open.Agents.Addr().String() + "/v1/actions/none"); err != nil || resp.StatusCode != 401 {
		t.Errorf("the password at another door: %v %v", resp, err)
	}
	if _, err := x.EndLeases(t.Context(), func(o *lease.Lease) bool { return o.ID == l.ID }, lease.CodeEnded, "ops", "drill"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*http.Client{"password": over("http", password), "certificate": over("https", "", cert)} {
		if status, _, _ := fetch(t, c, "GET", page, ""); status != 403 {
			t.Errorf("the %s after the lease ended: %d", name, status)
		}
	}
	if _, err := agent.Derived(t.Context()); err == nil {
		t.Error("a lease that has ended is given a password")
	}
}
