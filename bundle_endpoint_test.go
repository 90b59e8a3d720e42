// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"crypto/x509"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/identity/svid"
)

// TestBundleEndpointTellsTheRootsOfLeases asks without any credential, and verifies an agent's certificate by the answer.
func TestBundleEndpointTellsTheRootsOfLeases(t *testing.T) {
	ask := func(b *bank) (int, string) {
		t.Helper()
		tr := &http.Transport{TLSClientConfig: b.tls, DisableKeepAlives: true}
		resp, err := (&http.Client{Transport: tr}).Get("https://" + b.open.Agents.Addr().String() + "/.well-known/spiffe/bundle.json")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	off, _ := openSafe(t, nil, "payer")
	if status, _ := ask(off); status != http.StatusUnauthorized && status != http.StatusNotFound {
		t.Errorf("not configured: %d", status)
	}
	b, _ := openSafe(t, func(c *sallyport.Config) { c.Attest.BundleEndpoint = true }, "payer")
	status, text := ask(b)
	var bundle sallyport.SPIFFEBundle
	if err := json.Unmarshal([]byte(text), &bundle); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s %v", status, text, err)
	}
	pool := x509.NewCertPool()
	for _, k := range bundle.Keys {
		der, err := base64.StdEncoding.DecodeString(k.X5C[0])
		if err != nil || k.Use != "x509-svid" || k.Type != "EC" || len(k.X5C) != 1 {
			t.Fatalf("%+v %v", k, err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		pool.AddCert(c)
	}
	if bundle.Sequence <= 0 || bundle.Refresh <= 0 || strings.Contains(text, `"d"`) {
		t.Errorf("%s", text)
	}
	own := b.attester("payer", nil)
	if _, err := own.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	cert, err := own.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	id, err := svid.Verify([]*x509.Certificate{cert.Leaf}, pool, time.Now())
	if err != nil || id.String() != "spiffe://example.com/payer" {
		t.Errorf("%s %v", id, err)
	}
}
