// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce/enforcetest"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/store/memory"
)

// bearer is the identity column as an authenticator.
type bearer struct{ *identity.Tokens }

func (b bearer) Authenticate(ctx context.Context, r *http.Request) (*gateway.Caller, error) {
	secret, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	p, err := b.Tokens.Authenticate(ctx, secret)
	if err != nil {
		return nil, gateway.ErrUnauthenticated
	}
	return &gateway.Caller{Subject: p.Subject, Name: p.Name}, nil
}

func TestRealTokensOpenWhatTheirScopesSay(t *testing.T) {
	var clock atomic.Int64
	clock.Store(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	st := memory.Open(memory.Config{})
	defer st.Close()
	ids, err := identity.Open(t.Context(), identity.Config{
		Store: st, Key: bytes.Repeat([]byte{7}, 32), Record: (&enforcetest.Log{}).Append, Now: func() time.Time { return time.UnixMilli(clock.Load()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ids.CreateAgent(t.Context(), identity.AgentSpec{ID: "bot", By: "test"}); err != nil {
		t.Fatal(err)
	}
	issue := func(ttl time.Duration, agent string, scopes ...action.Scope) (secret, id string) {
		secret, tok, err := ids.Issue(t.Context(), identity.TokenSpec{Name: "t", Agent: agent, Scopes: scopes, TTL: ttl, By: "test"})
		if err != nil {
			t.Fatal(err)
		}
		return secret, tok.ID
	}
	agent, _ := issue(time.Hour, "bot", action.ScopeAgent)
	short, _ := issue(time.Minute, "bot", action.ScopeAgent)
	withdrawn, id := issue(time.Hour, "bot", action.ScopeAgent)
	admin, _ := issue(time.Hour, "", action.ScopeAdmin, action.ScopeHost)
	if _, err := ids.Revoke(t.Context(), id, "test"); err != nil {
		t.Fatal(err)
	}
	clock.Add(2 * 60_000)
	forged := agent[:len(agent)-20] + strings.Repeat("a", 20)
	b := start(t, func(c *gateway.Config) { c.Auth = bearer{ids} })
	answers := map[string]bool{}
	for _, c := range []struct {
		name, token, target, body string
		status                    int
	}{
		{"a good token", agent, "/v1/actions", act("c", "read", `{}`), 200},
		{"an expired one", short, "/v1/actions", act("c", "read", `{}`), 401},
		{"a withdrawn one", withdrawn, "/v1/actions", act("c", "read", `{}`), 401},
		{"a forged one", forged, "/v1/actions", act("c", "read", `{}`), 401},
		{"a shortened one", agent[:40], "/v1/actions", act("c", "read", `{}`), 401},
		{"none", "", "/v1/actions", act("c", "read", `{}`), 401},
		{"an admin, who is no agent", admin, "/v1/actions", act("c", "read", `{}`), 403},
		{"an admin with host, who is no agent", admin, "/v1/sessions", `{"user_request":"x"}`, 403},
		{"an agent without host", agent, "/v1/sessions", `{"user_request":"x"}`, 403},
	} {
		code, body, _ := b.call(t, c.token, "POST", c.target, c.body)
		if code != c.status {
			t.Errorf("%s: %d %s", c.name, code, body)
		}
		if code == 401 {
			answers[body] = true
		}
	}
	if len(answers) != 1 {
		t.Errorf("wrong credentials can be told apart: %v", answers)
	}
	for _, secret := range []string{agent, short, withdrawn, forged} {
		if strings.Contains(b.records(), secret) {
			t.Error("a secret is recorded")
		}
	}
}
