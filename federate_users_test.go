// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest/lease"
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
