// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/attest/measure"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/internal/attester"
)

// TestSessionsOfOneUserAreNothingToAnother has one agent with two users: what it read for one of them is neither reached
// through his session by the other, nor held against the other's.
func TestSessionsOfOneUserAreNothingToAnother(t *testing.T) {
	r := newRealm(t)
	b := openDrive(t, r, "groups", func(c *sallyport.Config) {
		c.Rights.Rules = nil
		c.Policy.Dir = bundle(t, "deny contains {\"id\": \"secret\", \"code\": \"secret\", \"reason\": \"A secret was read.\"} if {\n"+
			"\tinput.phase == \"before\"\n\tnot input.context.flow.session.secrecy in {\"public\", \"internal\"}\n}\n")
	})
	as := func(user string) *holder {
		h := newHolder(t, b.url)
		code, token := b.exchange(h, "Bearer "+b.token["payer"], url.Values{"subject_token": {r.person(t, user)}})
		if code != 200 {
			t.Fatal(code)
		}
		h.token = token
		return h
	}
	ann, bob, alone := as("ann"), as("bob"), withToken(b.token["payer"])
	_, annsOwn := b.post(ann, "/v1/sessions", `{}`)
	call := func(rt http.RoundTripper, id, session string) (int, string) {
		t.Helper()
		return b.post(rt, "/v1/actions", `{"call_id":"`+id+`","session":"`+session+`","tool":{"server":"drive","name":"read"},"arguments":{"id":"plan"}}`)
	}
	if before, after := b.call(ann, "reads", "read", `{"id":"plan"}`, `{"text":"`+awsKey+`"}`); before != "allow" || after != "allow" {
		t.Fatal(before, after)
	}
	for _, c := range []struct {
		name, session string
		rt            http.RoundTripper
		status        int
		want          string
	}{
		{"she goes on", "", ann, 200, "deny"},
		{"somebody else of the same agent", "", bob, 200, "allow"},
		{"the agent for nobody", "", alone, 200, "allow"},
		{"somebody else in her session", annsOwn, bob, 404, ""},
		{"the agent for nobody, in her session", annsOwn, alone, 404, ""},
		{"she in a session of hers that read nothing", annsOwn, ann, 200, "deny"},
	} {
		if status, got := call(c.rt, c.name, c.session); status != c.status || got != c.want {
			t.Errorf("%s: %d %q, want %d %q", c.name, status, got, c.status, c.want)
		}
	}
}

// TestAQuarantineEndsTheLease lets policy find something odd: the lease ends at once, and only its own.
func TestAQuarantineEndsTheLease(t *testing.T) {
	b := openBankWith(t, func(c *sallyport.Config) {
		c.Policy.Dir = bundle(t, "quarantine contains {\"id\": \"odd\", \"code\": \"odd\", \"reason\": \"Odd.\"} if {\n"+
			"\tinput.phase == \"before\"\n\tnot known\n}\n\nknown if input.action.arguments.payee == \"ann\"\n")
	}, nil, "payer", "other")
	a, other := b.attester("payer", nil), b.attester("other", nil)
	for _, x := range []*attester.Attester{a, other} {
		if _, err := x.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := b.pay(x, "1"); got != "allow" {
			t.Fatal(got)
		}
	}
	id := a.Lease().ID
	_, said := b.post(a, "/v1/actions", `{"call_id":"odd","tool":{"server":"bank","name":"send_payment"},"arguments":{"amount":5,"currency":"EUR","payee":"eve"}}`)
	if said != "quarantine" && said != "deny" {
		t.Errorf("something odd: %q", said)
	}
	codes, _ := b.records(action.KindAttestation, action.PartDetail)
	if !slices.ContainsFunc(codes, func(c string) bool { return strings.Contains(c, lease.CodeAnomaly) }) {
		t.Errorf("the lease %s did not end: %q", id, codes)
	}
	if n, err := b.EndLeases(t.Context(), func(l *lease.Lease) bool { return l.ID == id }, lease.CodeEnded, "ops", "drill"); n != 0 || err != nil {
		t.Errorf("the lease was still in force: %d %v", n, err)
	}
	if got := b.pay(a, "2"); got != "deny" {
		t.Errorf("under the lease that ended: %s", got)
	}
	_, reasons := b.records(action.KindDecision, action.PartExplanation)
	if last := reasons[len(reasons)-1]; !strings.Contains(last, "kernel.") {
		t.Errorf("it was denied for another reason: %s", last)
	}
	if got := b.pay(other, "2"); got != "allow" {
		t.Errorf("another agent: %s", got)
	}
}

// bound acts by an exchanged token that is bound to the key of an agent's lease.
type bound struct {
	b     *bank
	a     *attester.Attester
	token string
}

func (x bound) RoundTrip(r *http.Request) (*http.Response, error) {
	proof, err := x.a.Prove(r.Method, x.b.url+r.URL.Path, x.token, "")
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "DPoP "+x.token)
	r.Header.Set("DPoP", proof)
	return http.DefaultTransport.RoundTrip(r)
}

// TestEffectiveRightsAreTheCutOfAll takes one thing away at a time: what the agent proves, what its user may, what the owner's
// policy permits, and the agent's standing. Each of them alone is enough to deny.
func TestEffectiveRightsAreTheCutOfAll(t *testing.T) {
	r := newRealm(t)
	files := &bank{dir: t.TempDir()}
	files.write("agent", "the program")
	files.write("model/weights", "the model")
	events, err := measure.Take(t.Context(), files.spec())
	if err != nil {
		t.Fatal(err)
	}
	acl := filepath.Join(t.TempDir(), "acl.json")
	if err := os.WriteFile(acl, []byte(`{"version":"7","made_ms":1700000000000,"objects":{"document:plan":{"viewer":{"users":["ann"]}}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	b := openDrive(t, r, "acl", func(c *sallyport.Config) {
		c.Rights.ACL = acl
		c.Policy.Dir = bundle(t, "deny contains {\"id\": \"rights\", \"code\": \"rights\", \"reason\": \"not the user's\"} if {\n"+
			"\tinput.subject.identity.rights.source != \"\"\n\tinput.subject.identity.rights.permitted != \"yes\"\n}\n\n"+
			"deny contains {\"id\": \"copies\", \"code\": \"copies\", \"reason\": \"no copies\"} if {\n\tinput.phase == \"before\"\n\tnot original\n}\n\n"+
			"original if input.action.arguments.copy == false\n")
		a := sallyport.AttestAgent{Agent: "payer", SPIFFE: "spiffe://example.com/payer", Kinds: []string{"software"}, Assurance: 1, Lease: time.Minute}
		for _, e := range events {
			a.References = append(a.References, sallyport.AttestReference{Kind: e.Kind, Digests: []string{"sha256:" + e.Digest}})
		}
		c.Attest.Agents = []sallyport.AttestAgent{a}
	})
	b.dir = files.dir
	a := b.attester("payer", nil)
	if _, err := a.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	as := func(user string) bound {
		t.Helper()
		code, token := b.exchange(a, "", url.Values{"subject_token": {r.person(t, user)}})
		if code != 200 {
			t.Fatalf("%s: %d", user, code)
		}
		return bound{b, a, token}
	}
	ann, bob := as("ann"), as("bob")
	check := func(name string, rt http.RoundTripper, copied, want string) {
		t.Helper()
		if got, _ := b.call(rt, name, "read", `{"id":"plan","copy":`+copied+`}`, `{}`); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	check("everything holds", ann, "false", "allow")
	check("a user without the right", bob, "false", "deny")
	check("what policy does not permit", ann, "true", "deny")
	check("neither", bob, "true", "deny")
	if n, err := b.EndLeases(t.Context(), func(l *lease.Lease) bool { return l.Agent == "payer" }, lease.CodeEnded, "ops", "drill"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	check("an agent that proves nothing", ann, "false", "deny")
	if _, err := a.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("for a user by the lease that ended", ann, "false", "deny")
	ann = as("ann")
	check("everything holds again", ann, "false", "allow")
	if _, err := b.Kill.Kill(t.Context(), identity.Actor{ID: "ops"}, identity.Target{Scope: identity.KillAgent, Tenant: "default", ID: "payer"}, "drill"); err != nil {
		t.Fatal(err)
	}
	check("an agent that was stopped", ann, "false", "deny")
}

// post sends JSON and returns the verdict, or else the id of what was made.
func (b *bank) post(rt http.RoundTripper, path, body string) (int, string) {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodPost, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := rt.RoundTrip(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	var out struct {
		ID       string `json:"id"`
		Decision struct {
			Effect string `json:"effect"`
		} `json:"decision"`
	}
	if err := json.Unmarshal(data, &out); err != nil {
		b.t.Fatal(err)
	}
	if out.Decision.Effect != "" {
		return resp.StatusCode, out.Decision.Effect
	}
	return resp.StatusCode, out.ID
}
