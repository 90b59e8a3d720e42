// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/attest/measure"
	"github.com/sallyport/sallyport/attest/tpm"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/internal/attester"
	"github.com/sallyport/sallyport/ledger"
)

// bank is an owner whose agents pay, and must be attested for it.
type bank struct {
	*house
	url   string
	open  *sallyport.Listeners
	tls   *tls.Config // of clients; nil where the doors speak plain HTTP
	dir   string      // of the agent's program and model
	token map[string]string
}

// openBank opens the doors. Every agent's program is the same file and its model the same folder.
func openBank(t *testing.T, change func(*sallyport.AttestAgent), agents ...string) *bank {
	t.Helper()
	return openBankWith(t, nil, change, agents...)
}

// openBankWith is openBank with more of the configuration.
func openBankWith(t *testing.T, more func(*sallyport.Config), change func(*sallyport.AttestAgent), agents ...string) *bank {
	t.Helper()
	b := &bank{dir: t.TempDir(), token: map[string]string{}}
	b.write("agent", "the program")
	b.write("model/weights", "the model")
	events, err := measure.Take(t.Context(), b.spec())
	if err != nil {
		t.Fatal(err)
	}
	b.house = open(t, func(c *sallyport.Config) {
		c.Gateway.Listen = "127.0.0.1:0"
		c.Policy.Dir = bundle(t, "")
		for _, id := range agents {
			a := sallyport.AttestAgent{Agent: id, SPIFFE: "spiffe://example.com/" + id, Kinds: []string{"software", "tpm"}, Assurance: 1, Lease: time.Minute}
			for _, e := range events {
				a.References = append(a.References, sallyport.AttestReference{Kind: e.Kind, Digests: []string{"sha256:" + e.Digest}})
			}
			if change != nil {
				change(&a)
			}
			c.Attest.Agents = append(c.Attest.Agents, a)
		}
		if more != nil {
			more(c)
		}
	})
	b.server("bank", payTool)
	b.serve()
	for _, id := range agents {
		if _, err := b.Tokens.CreateAgent(t.Context(), identity.AgentSpec{ID: id, By: "test"}); err != nil {
			t.Fatal(err)
		}
		if b.token[id], _, err = b.Tokens.Issue(t.Context(), identity.TokenSpec{Agent: id, Scopes: []action.Scope{action.ScopeAgent}, By: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b *bank) serve() {
	b.t.Helper()
	l, err := b.Listen()
	if err != nil {
		b.t.Fatal(err)
	}
	b.url, b.open = b.cfg.Scheme()+"://"+l.Agents.Addr().String(), l
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, job := range []func() error{func() error { return b.Run(ctx) }, func() error { return b.Serve(ctx, l) }} {
		wg.Go(func() {
			if err := job(); err != nil {
				b.t.Error(err)
			}
		})
	}
	b.t.Cleanup(func() { cancel(); wg.Wait() })
}

func (b *bank) write(name, text string) {
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		panic(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		panic(err)
	}
}

func (b *bank) spec() measure.Spec {
	return measure.Spec{Executable: filepath.Join(b.dir, "agent"), Model: filepath.Join(b.dir, "model"), PCR: 13}
}

// attester measures the agent's files, with a chip or without.
func (b *bank) attester(id string, chip *tpm.Chip) *attester.Attester {
	b.t.Helper()
	c := attester.Config{URL: b.url, Token: b.token[id], Kind: "software", Log: attester.NewLog(), TLS: b.tls}
	if chip != nil {
		var err error
		c.Kind, c.Chip = "tpm", chip
		if c.Log, err = attester.OpenLog(filepath.Join(b.t.TempDir(), "log.json"), chip); err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(func() { _ = c.Log.Close() })
	}
	return b.measuring(c)
}

func (b *bank) measuring(c attester.Config) *attester.Attester {
	b.t.Helper()
	if err := c.Log.Begin(13); err != nil {
		b.t.Fatal(err)
	}
	w := attester.NewWatch(b.spec(), c.Log)
	c.Refresh = func() error { return w.Look(context.Background()) }
	a, err := attester.New(c)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// pay asks for a payment over a transport and returns the verdict, or the status of a refusal.
func (b *bank) pay(rt http.RoundTripper, call string, header ...string) string {
	b.t.Helper()
	body := fmt.Sprintf(`{"call_id":%q,"tool":{"server":"bank","name":"send_payment"},"arguments":{"amount":5,"currency":"EUR","payee":"ann"}}`, call)
	r, err := http.NewRequest(http.MethodPost, b.url+"/v1/actions", strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := rt.RoundTrip(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	var out struct {
		Decision struct {
			Effect string `json:"effect"`
			Hint   string `json:"hint"`
		} `json:"decision"`
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Sprint(resp.StatusCode)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		b.t.Fatal(err)
	}
	return out.Decision.Effect
}

// records are the leaves of a kind with their codes, and what was sealed with them.
func (b *bank) records(kind action.Kind, part action.PartName) (codes []string, details []string) {
	b.t.Helper()
	err := b.Ledger.Records(context.Background(), func(e ledger.Entry) error {
		if e.Leaf.Kind != kind {
			return nil
		}
		codes = append(codes, strings.Join(e.Leaf.Codes, " "))
		data, err := b.Ledger.Payload(context.Background(), e.Index, part)
		details = append(details, string(data))
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return codes, details
}

// TestLosingTheGoodStateEndsPayments is the promise in one story: the model's file changes between two calls, and
// the next payment is denied at the next renewal, with the reason on record.
func TestLosingTheGoodStateEndsPayments(t *testing.T) {
	b := openBank(t, nil, "payer")
	a := b.attester("payer", nil)
	if got := b.pay(withToken(b.token["payer"]), "0"); got != "deny" {
		t.Fatalf("without a lease: %s", got)
	}
	l, err := a.Renew(t.Context())
	if err != nil || l.Assurance != 1 || l.Model != 0 {
		t.Fatalf("%+v %v", l, err)
	}
	if got := b.pay(a, "1"); got != "allow" {
		t.Fatalf("under a lease: %s", got)
	}
	if again, err := a.Renew(t.Context()); err != nil || again.ID != l.ID {
		t.Fatalf("renewal: %+v %v", again, err)
	}
	b.write("model/weights", "another model")
	if _, err := a.Renew(t.Context()); !errors.Is(err, attester.ErrRefused) || !strings.Contains(err.Error(), "model: measured, and no reference value") {
		t.Fatalf("a changed model: %v", err)
	}
	if got := b.pay(a, "2"); got != "deny" {
		t.Errorf("after the model changed: %s", got)
	}
	codes, details := b.records(action.KindAttestation, action.PartDetail)
	if want := []string{"self.measured", "attest.granted ear.warning", "attest.renewed ear.warning", "attest.refused ear.contraindicated"}; !slices.Equal(codes, want) {
		t.Errorf("attestation records %q", codes)
	}
	if !strings.Contains(details[3], "model: measured, and no reference value") {
		t.Errorf("the record gives no reason: %s", details[3])
	}
	_, decisions := b.records(action.KindDecision, action.PartExplanation)
	last := decisions[len(decisions)-1]
	if !strings.Contains(last, "kernel.lease") || !strings.Contains(last, "what it runs is not what it should be") {
		t.Errorf("the denial gives no reason: %s", last)
	}
	b.write("model/weights", "the model")
	b2 := b.attester("payer", nil) // the agent starts again with the good model
	if _, err := b2.Renew(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestStolenThingsOpenNothing tries the parts of a lease one by one.
func TestStolenThingsOpenNothing(t *testing.T) {
	b := openBank(t, nil, "payer", "other")
	a, thief := b.attester("payer", nil), b.attester("other", nil)
	if _, err := a.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := thief.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	token := a.Lease().Token
	proof := func(x *attester.Attester, method, url, ath, nonce string) string {
		p, err := x.Prove(method, url, ath, nonce)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	here := b.url + "/v1/actions"
	good := proof(a, "POST", here, token, "")
	for _, c := range []struct{ name, authorization, proof, want string }{
		{"the token as a bearer", "Bearer " + token, "", "401"},
		{"the token without a proof", "DPoP " + token, "", "401"},
		{"the token with another's proof", "DPoP " + token, proof(thief, "POST", here, token, ""), "401"},
		{"a proof for another method", "DPoP " + token, proof(a, "GET", here, token, ""), "401"},
		{"a proof for another path", "DPoP " + token, proof(a, "POST", b.url+"/v1/sessions", token, ""), "401"},
		{"a proof for another host", "DPoP " + token, proof(a, "POST", "http://evil.example/v1/actions", token, ""), "401"},
		{"a proof for another token", "DPoP " + token, proof(a, "POST", here, thief.Lease().Token, ""), "401"},
		{"a proof without a token", "DPoP " + token, proof(a, "POST", here, "", ""), "401"},
		{"a token that was changed", "DPoP " + token[:len(token)-2] + "AA", proof(a, "POST", here, token[:len(token)-2]+"AA", ""), "401"},
		{"all of it", "DPoP " + token, good, "allow"},
		{"all of it, once more", "DPoP " + token, good, "401"},
	} {
		if got := b.pay(http.DefaultTransport, c.name, "Authorization", c.authorization, "DPoP", c.proof); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if n, err := b.EndLeases(t.Context(), func(l *lease.Lease) bool { return l.Agent == "payer" }, lease.CodeEnded, "ops", "drill"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if got := b.pay(a, "ended"); got != "deny" {
		t.Errorf("an ended lease: %s", got)
	}
	if got := b.pay(thief, "own"); got != "allow" {
		t.Errorf("another's lease: %s", got)
	}
	if _, err := b.Tokens.Revoke(t.Context(), tokenID(t, b.house, b.token["other"]), "ops"); err != nil {
		t.Fatal(err)
	}
	if got := b.pay(thief, "revoked"); got != "deny" {
		t.Errorf("a lease whose credential was withdrawn: %s", got)
	}
}

func tokenID(t *testing.T, h *house, secret string) string {
	t.Helper()
	p, err := h.Tokens.Authenticate(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	return p.Subject.Channel.CredID
}
