// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/identity/jose"
	"github.com/sallyport/sallyport/internal/attester"
)

// people reads a route of the people's listener as the operator who set the owner up.
func (b *bank) people(path string, out any) {
	b.t.Helper()
	token, err := os.ReadFile(filepath.Join(b.cfg.Data, "tokens", "admin"))
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodGet, b.cfg.Scheme()+"://"+b.open.People.Addr().String()+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := (&http.Transport{TLSClientConfig: b.tls, DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		b.t.Fatal(err)
	}
	text := readAll(b.t, resp)
	if resp.StatusCode != http.StatusOK || json.Unmarshal([]byte(text), out) != nil {
		b.t.Fatalf("%s: %d %s", path, resp.StatusCode, text)
	}
}

// TestPeopleSeeLevelsAndWhyTheyWereLost reads what the console shows: the level on the request that was allowed, none
// on the one that was denied, and the reason beside the agent and in the record.
func TestPeopleSeeLevelsAndWhyTheyWereLost(t *testing.T) {
	b, _ := openSafe(t, nil, "payer")
	a := b.attester("payer", nil)
	if _, err := a.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.pay(a, "1"); got != "allow" {
		t.Fatal(got)
	}
	levels := func() [2]int {
		t.Helper()
		var sessions struct {
			Items []struct {
				Agent     string `json:"agent"`
				Assurance int    `json:"assurance"`
				Model     int    `json:"model"`
			} `json:"items"`
		}
		b.indexed()
		b.people("/v1/sessions?agent=payer", &sessions)
		if len(sessions.Items) != 1 {
			t.Fatalf("sessions: %+v", sessions.Items)
		}
		return [2]int{sessions.Items[0].Assurance, sessions.Items[0].Model}
	}
	if got := levels(); got != [2]int{1, 0} {
		t.Errorf("the session's levels: %v", got)
	}
	b.write("model/weights", "another model")
	if _, err := a.Renew(t.Context()); !errors.Is(err, attester.ErrRefused) {
		t.Fatalf("a changed model: %v", err)
	}
	if got := b.pay(a, "2"); got != "deny" {
		t.Fatal(got)
	}
	var leases struct {
		Items []struct {
			Agent string   `json:"agent"`
			Live  bool     `json:"live"`
			Ended string   `json:"ended"`
			Why   []string `json:"why"`
		} `json:"items"`
	}
	b.people("/v1/attest/leases", &leases)
	if len(leases.Items) != 1 || leases.Items[0].Live || leases.Items[0].Ended != "attest.refused" || !strings.Contains(fmt.Sprint(leases.Items[0].Why), "model: measured, and no reference value") {
		t.Errorf("leases: %+v", leases.Items)
	}
	var records struct {
		Items []struct {
			Kind      string `json:"kind"`
			Verdict   string `json:"verdict"`
			Assurance int    `json:"assurance"`
			Reason    string `json:"reason"`
		} `json:"items"`
	}
	b.indexed()
	b.people("/v1/records?agent=payer", &records)
	allowed, denied := false, false
	for _, r := range records.Items {
		allowed = allowed || r.Kind == "intent" && r.Assurance == 1
		denied = denied || r.Kind == "decision" && r.Verdict == "deny" && r.Assurance == 0 && strings.Contains(r.Reason, "what it runs is not what it should be")
	}
	if !allowed || !denied {
		t.Errorf("records: %+v", records.Items)
	}
	if got := levels(); got != [2]int{0, 0} {
		t.Errorf("the session's levels after the denial: %v", got)
	}
}

// TestTheTokenOfALeaseSaysItsLevels reads what peers read in it: who, bound to which key, on what grounds, for how long.
func TestTheTokenOfALeaseSaysItsLevels(t *testing.T) {
	b := openBank(t, nil, "payer")
	a := b.attester("payer", nil)
	l, err := a.Renew(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(l.Token, ".")
	if len(parts) != 3 {
		t.Fatal(l.Token)
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Subject string `json:"sub"`
		Confirm struct {
			JKT string `json:"jkt"`
		} `json:"cnf"`
		Assurance *int   `json:"assurance"`
		Model     *int   `json:"model"`
		Lease     string `json:"lease"`
		Issued    int64  `json:"iat"`
		Ends      int64  `json:"exp"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	key, err := a.Thumbprint()
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject != "spiffe://example.com/payer" || c.Confirm.JKT != key || c.Lease != l.ID || c.Assurance == nil || *c.Assurance != 1 || c.Model == nil || *c.Model != 0 ||
		c.Ends-c.Issued > 300 || c.Ends <= c.Issued {
		t.Errorf("%s", data)
	}
}

// indexed waits until the view of the log is whole.
func (b *bank) indexed() {
	b.t.Helper()
	if size := b.Ledger.Checkpoint().Size; size > 0 {
		if err := b.Index.Wait(b.t.Context(), size-1); err != nil {
			b.t.Fatal(err)
		}
	}
}

// TestOneChallengeOneLease hands the same evidence in many times at once, each with a proof of its own.
func TestOneChallengeOneLease(t *testing.T) {
	b := openBank(t, nil, "payer")
	a := b.attester("payer", nil)
	var ch attester.Challenge
	if err := a.Call(t.Context(), http.MethodPost, "/v1/attest/challenges", "", struct{}{}, &ch); err != nil {
		t.Fatal(err)
	}
	log := b.measured().Events()
	var granted atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			proof, err := a.Prove(http.MethodPost, b.url+"/v1/attest/leases", "", jose.Encode(ch.Nonce))
			if err != nil {
				t.Error(err)
				return
			}
			var l attester.Lease
			if a.Call(t.Context(), http.MethodPost, "/v1/attest/leases", proof, map[string]any{"challenge": ch.ID, "lease": "", "kind": "software", "evidence": "",
				"log": log, "model_signature": ""}, &l) == nil {
				granted.Add(1)
			}
		})
	}
	wg.Wait()
	if granted.Load() != 1 {
		t.Errorf("one challenge gave %d leases", granted.Load())
	}
}

// TestExportersNameOneConnection compares both ends of two connections.
func TestExportersNameOneConnection(t *testing.T) {
	ca := newCA(t, "")
	server := &tls.Config{Certificates: []tls.Certificate{ca.sign("", nil)}, MinVersion: tls.VersionTLS13}
	ends := func() (ours, theirs string) {
		l, err := tls.Listen("tcp", "127.0.0.1:0", server)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			if err := c.(*tls.Conn).Handshake(); err != nil {
				t.Error(err)
				return
			}
			s := c.(*tls.Conn).ConnectionState()
			b, err := attest.Exporter(&s)
			if err != nil {
				t.Error(err)
			}
			theirs = string(b)
		})
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: ca.pool})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		s := c.ConnectionState()
		b, err := attest.Exporter(&s)
		if err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		return string(b), theirs
	}
	a1, a2 := ends()
	b1, b2 := ends()
	if a1 != a2 || b1 != b2 || a1 == b1 || len(a1) != 32 {
		t.Errorf("%x %x, %x %x", a1, a2, b1, b2)
	}
}
