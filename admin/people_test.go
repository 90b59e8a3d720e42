// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/tools"
)

func decode[T any](t testing.TB, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}

func TestApprovalsAreAnsweredAsTheyWereSeen(t *testing.T) {
	b := start(t)
	one, two := b.ask("a", 1), b.ask("b", 2)
	waiting := decode[list[approval.View]](t, b.want(200, "viewer", "GET", "/v1/approvals?state=pending&limit=1", ""))
	if len(waiting.Items) != 1 || waiting.Next == "" {
		t.Fatalf("the first page is %+v", waiting)
	}
	rest := decode[list[approval.View]](t, b.want(200, "viewer", "GET", "/v1/approvals?limit=1&cursor="+waiting.Next, ""))
	if len(rest.Items) != 1 || rest.Next != "" || rest.Items[0].ID == waiting.Items[0].ID {
		t.Fatalf("the second page is %+v", rest)
	}
	code, body, res := b.call("viewer", "GET", "/v1/approvals/"+one, "")
	if code != 200 || !strings.Contains(body, `"to\": \"\u003cb`) && !strings.Contains(body, `<b>x</b>`) {
		t.Fatalf("%d %s", code, body)
	}
	tag := res.Header.Get("ETag")
	b.want(403, "viewer", "POST", "/v1/approvals/"+one+"/approve", `{}`, "If-Match", tag)
	// A bearer token proves nobody: it is recorded and does not grant.
	v := decode[approval.View](t, b.want(202, "approver", "POST", "/v1/approvals/"+one+"/approve", `{"comment":"ok"}`, "If-Match", tag))
	if v.State != approval.Pending || v.Reason == "" || len(v.Answers) != 1 {
		t.Fatalf("after a bearer token it is %+v", v)
	}
	b.want(412, "operator", "POST", "/v1/approvals/"+one+"/approve", `{}`, "If-Match", tag)
	tag = fmt.Sprintf(`"%d"`, v.Revision)
	// The agent that asks holds an approver's token.
	b.want(403, "cheat", "POST", "/v1/approvals/"+one+"/approve", `{}`, "If-Match", tag)
	v = decode[approval.View](t, b.want(200, "operator", "POST", "/v1/approvals/"+one+"/approve", `{}`, "If-Match", tag))
	if v.State != approval.Granted || len(v.Answers) != 2 || v.Answers[1].Approver != "olga" || v.Answers[1].Channel != action.RankOperator {
		t.Fatalf("after an operator it is %+v", v)
	}
	b.want(409, "second", "POST", "/v1/approvals/"+one+"/deny", `{}`, "If-Match", fmt.Sprintf(`"%d"`, v.Revision))
	v = decode[approval.View](t, b.want(200, "second", "POST", "/v1/approvals/"+one+"/revoke", `{}`, "If-Match", fmt.Sprintf(`"%d"`, v.Revision)))
	if v.State != approval.Revoked {
		t.Fatalf("after a revocation it is %+v", v)
	}
	if err := b.desk.Consume(context.Background(), one, "a"); !errors.Is(err, enforce.ErrConsumed) {
		t.Fatalf("a revoked grant says %v", err)
	}
	_, _, res = b.call("viewer", "GET", "/v1/approvals/"+two, "")
	_, body, res = b.call("operator", "POST", "/v1/approvals/"+two+"/approve", `{}`, "If-Match", res.Header.Get("ETag"))
	if res.StatusCode != 202 {
		t.Fatalf("one of two: %s", body)
	}
	b.want(200, "second", "POST", "/v1/approvals/"+two+"/approve", `{}`, "If-Match", res.Header.Get("ETag"))
}

func TestActorsRankAsTheirChannelProves(t *testing.T) {
	for _, c := range []struct {
		name string
		ch   action.Channel
		want action.Rank
	}{
		{"a token over TCP", action.Channel{Credential: action.CredentialToken, UID: -1}, action.RankBearer},
		{"a token over the socket", action.Channel{Credential: action.CredentialToken, UID: 1000}, action.RankOperator},
		{"the kernel's word", action.Channel{Credential: action.CredentialPeer, UID: 0}, action.RankOperator},
		{"a certificate", action.Channel{Credential: action.CredentialMTLS, UID: -1}, action.RankOperator},
		{"nothing", action.Channel{UID: -1}, action.RankBearer},
	} {
		who := ActorOf(&gateway.Caller{Name: "n", Subject: action.Subject{ID: "bot", Channel: c.ch}})
		if who.Channel != c.want || who.HasUID != (c.ch.UID >= 0) || who.Agent != "bot" || who.ID != "n" {
			t.Errorf("%s: %+v", c.name, who)
		}
	}
}

func TestTokensAreIssuedAndWithdrawn(t *testing.T) {
	b := start(t)
	a := decode[identity.Agent](t, b.want(200, "operator", "POST", "/v1/agents", `{"id":"mailer","owner":"ann"}`))
	if a.ID != "mailer" || a.By != "olga" {
		t.Fatalf("the agent is %+v", a)
	}
	if got := decode[list[identity.Agent]](t, b.want(200, "viewer", "GET", "/v1/agents?limit=200", "")); len(got.Items) < 2 || got.Next != "" {
		t.Errorf("the agents are %+v", got)
	}
	b.want(200, "viewer", "GET", "/v1/agents/mailer", "")
	for _, ttl := range []string{`3600`, `"1h"`, `"60m"`, `"7d"`, `null`} {
		body := b.want(200, "admin", "POST", "/v1/tokens", `{"name":"n","scopes":["viewer"],"ttl":`+ttl+`}`)
		got := decode[struct {
			Token string `json:"token"`
			ID    string `json:"id"`
		}](t, body)
		b.secret["new"] = got.Token
		b.want(200, "new", "GET", "/v1/approvals", "")
		if all := b.want(200, "admin", "GET", "/v1/tokens?limit=200", ""); strings.Contains(all, got.Token) || !strings.Contains(all, got.ID) {
			t.Fatal("the list tells the secret, or not the token")
		}
		b.want(200, "admin", "DELETE", "/v1/tokens/"+got.ID, "")
		b.want(401, "new", "GET", "/v1/approvals", "")
		b.want(200, "admin", "DELETE", "/v1/tokens/"+got.ID, "")
		for _, r := range b.book.records {
			for _, p := range r.Parts {
				if strings.Contains(string(p.Data), got.Token) {
					t.Fatal("the ledger holds the secret")
				}
			}
		}
	}
	for _, tok := range b.ids.List("other", "", 0) {
		b.want(404, "admin", "DELETE", "/v1/tokens/"+tok.ID, "")
		if b.ids.Revoked(tok.ID) {
			t.Fatal("another tenant's token was withdrawn")
		}
	}
}

func TestKillEndsWhatWaits(t *testing.T) {
	b := start(t)
	id := b.ask("a", 1)
	got := decode[killed](t, b.want(200, "admin", "POST", "/v1/kill", `{"scope":"agent","id":"bot","reason":"odd"}`))
	if got.Scope != identity.KillAgent || got.Revoked != 1 {
		t.Fatalf("the kill is %+v", got)
	}
	if v, _ := b.desk.Show(context.Background(), id); v.State != approval.Revoked {
		t.Fatalf("what waited is %s", v.State)
	}
	if got := decode[list[identity.Order]](t, b.want(200, "viewer", "GET", "/v1/kill", "")); len(got.Items) != 1 {
		t.Fatalf("in force are %+v", got)
	}
	b.want(403, "approver", "POST", "/v1/release", `{"scope":"agent","id":"bot"}`)
	b.want(200, "admin", "POST", "/v1/release", `{"scope":"agent","id":"bot"}`)
	b.want(200, "operator", "POST", "/v1/kill", `{"scope":"all"}`)
	if got := b.want(202, "operator", "POST", "/v1/release", `{"scope":"all"}`); !strings.Contains(got, `"second"`) {
		t.Fatalf("the first release says %s", got)
	}
	b.want(202, "operator", "POST", "/v1/release", `{"scope":"all"}`)
	b.want(200, "second", "POST", "/v1/release", `{"scope":"all"}`)
}

func TestToolsAreRegisteredAndApproved(t *testing.T) {
	b := start(t)
	body := `{"tools":[{"name":"pay","description":"Pays","input_schema":{"type":"object"},"output":{"type":"object"},"annotations":{"readOnlyHint":false}}]}`
	b.want(403, "viewer", "PUT", "/v1/tools/bank", body)
	got := decode[list[tools.Pin]](t, b.want(200, "tool-admin", "PUT", "/v1/tools/bank", body))
	if len(got.Items) != 1 || got.Items[0].State != action.DefinitionApproved || got.Items[0].Server != "bank" {
		t.Fatalf("registered are %+v", got)
	}
	raw, err := tools.ReadDefinition([]byte(`{"name":"pay","description":"Pays","inputSchema":{"type":"object"},"outputSchema":{"type":"object"},"annotations":{"readOnlyHint":false}}`))
	if err != nil {
		t.Fatal(err)
	}
	seen, err := b.cfg.Tools.Observe(context.Background(), tools.Upstream{Server: "bank", Transport: tools.API}, []tools.Definition{raw})
	if err != nil || seen[0].Digest != got.Items[0].Digest {
		t.Errorf("the same definition has another digest by another way: %v", err)
	}
	own := tools.Upstream{Server: "fs", Transport: tools.Stdio, Command: []string{"fs"}}
	seen, err = b.cfg.Tools.Observe(context.Background(), own, []tools.Definition{raw})
	if err != nil {
		t.Fatal(err)
	}
	b.want(409, "tool-admin", "PUT", "/v1/tools/fs", body)
	b.want(412, "tool-admin", "POST", "/v1/tools/fs/approve", `{"name":"pay","digest":"sha256:0"}`)
	b.want(200, "tool-admin", "POST", "/v1/tools/fs/approve", `{"name":"pay","digest":"`+seen[0].Digest+`"}`)
	if got := decode[list[tools.Pin]](t, b.want(200, "viewer", "GET", "/v1/tools?server=fs", "")); len(got.Items) != 1 ||
		got.Items[0].State != action.DefinitionApproved {
		t.Errorf("listed are %+v", got)
	}
}

func TestViewsGoThrough(t *testing.T) {
	b := start(t)
	b.ask("a", 1)
	for _, path := range []string{"/v1/sessions", "/v1/sessions/s1", "/v1/sessions/s1/steps", "/v1/records", "/v1/records?q=mail", "/v1/alerts",
		"/v1/policies", "/v1/records?kind=approval&since=0&until=9007199254740991&verdict=allow&session=s1"} {
		for _, as := range []string{"viewer", "auditor"} {
			_, body, res := b.call(as, "GET", path, "")
			if res.StatusCode != http.StatusOK || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s as %s: %d %s", path, as, res.StatusCode, body)
			}
		}
	}
}

func TestEverythingIsStoppedWithASignatureOnceAnybodyHasAKey(t *testing.T) {
	b := start(t, func(c *Config) {})
	key, _ := b.enrol("operator")
	ticket := b.ask("a", 1)
	b.want(403, "operator", "POST", "/v1/kill", `{"scope":"all"}`)
	if v, err := b.desk.Show(t.Context(), ticket); err != nil || v.State != approval.Pending {
		t.Fatalf("a refused kill leaves the request %s, %v", v.State, err)
	}
	ch, c := b.toSign("operator", "/v1/kill/challenge", `{"scope":"all"}`)
	signed := func(scope string) string {
		return encode(t, map[string]any{"scope": scope, "challenge": ch.ID, "passkey": key.Get(c)})
	}
	b.want(403, "second", "POST", "/v1/kill", signed("all"))
	b.want(403, "operator", "POST", "/v1/release", signed("all")) // signed to kill
	b.want(403, "operator", "POST", "/v1/kill", signed("tenant"))
	got := b.want(200, "operator", "POST", "/v1/kill", signed("all"))
	if !strings.Contains(got, `"passkey":true`) {
		t.Fatalf("the order is %s", got)
	}
	b.want(403, "operator", "POST", "/v1/kill", signed("all")) // a challenge is answered once
	if v, err := b.desk.Show(t.Context(), ticket); err != nil || v.State != approval.Revoked {
		t.Fatalf("a kill leaves the request %s, %v", v.State, err)
	}
}

func TestKillOfAnAgentWithdrawsItsTokens(t *testing.T) {
	b := start(t)
	b.want(422, "operator", "POST", "/v1/kill", `{"scope":"tenant","tokens":true}`)
	b.want(200, "cheat", "GET", "/v1/approvals", "")
	got := decode[killed](t, b.want(200, "operator", "POST", "/v1/kill", `{"scope":"agent","id":"bot","tokens":true}`))
	if got.Tokens != 2 {
		t.Fatalf("%d tokens were withdrawn", got.Tokens)
	}
	b.want(401, "cheat", "GET", "/v1/approvals", "")
}
