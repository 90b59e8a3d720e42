// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/attest/measure"
	"github.com/sallyport/sallyport/internal/attester"
)

// ownCertificate writes a certificate for 127.0.0.1 that nobody else signed, and its key.
func ownCertificate(t *testing.T) (cert, key string, trust *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key, trust = filepath.Join(dir, "c"), filepath.Join(dir, "k"), x509.NewCertPool()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	trust.AppendCertsFromPEM(text)
	for path, b := range map[string][]byte{cert: text, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key, trust
}

// TestDatabasesKnowLeases connects as an attested agent: with the lease's certificate in place of a password, and with
// the password that dies with the lease. An open connection is denied once the lease has ended.
func TestDatabasesKnowLeases(t *testing.T) {
	program := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(program, []byte("the program"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := measure.Spec{Executable: program, PCR: 13}
	events, err := measure.Take(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, trust := ownCertificate(t)
	h := open(t, func(c *sallyport.Config) {
		c.Gateway.Listen, c.Listen.TLS.Cert, c.Listen.TLS.Key = "127.0.0.1:0", cert, key
		c.Attest.Agents = []sallyport.AttestAgent{{Agent: "bot", SPIFFE: "spiffe://example.com/bot", Kinds: []string{"software"}, Assurance: 1,
			References: []sallyport.AttestReference{{Kind: events[0].Kind, Digests: []string{events[0].Digest}}}}}
	})
	log := attester.NewLog()
	if err := log.Begin(13); err != nil {
		t.Fatal(err)
	}
	if err := attester.NewWatch(spec, log).Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	agent, err := attester.New(attester.Config{URL: "https://" + h.open.Agents.Addr().String(), Token: h.token, Kind: "software", Log: log, TLS: &tls.Config{RootCAs: trust}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := agent.Renew(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	svid, err := agent.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	password, err := agent.Derived(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dial := func(password string, certs ...tls.Certificate) (*pgx.Conn, error) {
		cfg, err := pgx.ParseConfig(h.dsn("a"))
		if err != nil {
			t.Fatal(err)
		}
		cfg.Password, cfg.TLSConfig = password, &tls.Config{RootCAs: trust, ServerName: "127.0.0.1", Certificates: certs}
		c, err := pgx.ConnectConfig(t.Context(), cfg)
		if err == nil {
			t.Cleanup(func() { _ = c.Close(context.Background()) })
		}
		return c, err
	}
	count := func(c *pgx.Conn) error {
		var n int
		return c.QueryRow(t.Context(), "SELECT count(*) FROM accounts").Scan(&n)
	}
	byToken, err := dial(h.token)
	if err != nil {
		t.Fatal(err)
	}
	if err := count(byToken); err == nil {
		t.Error("without its lease the agent reads")
	}
	byPassword, err := dial(password)
	if err != nil {
		t.Fatal(err)
	}
	byCertificate, err := dial("", svid)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*pgx.Conn{"password": byPassword, "certificate": byCertificate} {
		if err := count(c); err != nil {
			t.Errorf("by %s: %v", name, err)
		}
	}
	if _, err := dial(""); err == nil {
		t.Error("nothing at all is taken for a certificate")
	}
	if _, err := dial(strings.Repeat("0", len(password))); err == nil {
		t.Error("a forged password is taken")
	}
	if _, err := h.EndLeases(t.Context(), func(x *lease.Lease) bool { return x.ID == l.ID }, lease.CodeEnded, "ops", "drill"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*pgx.Conn{"password": byPassword, "certificate": byCertificate} {
		if err := count(c); err == nil {
			t.Errorf("by %s after the lease ended", name)
		}
	}
}
