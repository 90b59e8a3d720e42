// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/ledger"
)

// anyScope lets everybody in as a caller with one scope.
type anyScope action.Scope

// Authenticate returns that caller.
func (a anyScope) Authenticate(context.Context, *http.Request) (*gateway.Caller, error) {
	return &gateway.Caller{Name: "first", Subject: action.Subject{Tenant: "default", Scopes: []action.Scope{action.Scope(a)}}}, nil
}

// Two processes decide: what they agree on is carried out, and without the second one nothing is.
func TestTwoProcessesMustAgree(t *testing.T) {
	second := open(t, func(c *sallyport.Config) { c.Policy.Alone = true })
	key, err := second.DecideKey()
	if err != nil {
		t.Fatal(err)
	}
	handler, err := second.Agents(anyScope(action.ScopeAuthZEN))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(handler)
	defer srv.Close()
	first := open(t, func(c *sallyport.Config) { c.Policy.Second = sallyport.SecondConfig{URL: srv.URL, Key: key} })
	running(t, first)
	first.server("notes", readTool)
	sub, sess := first.agent("bot", "/work")
	got, err := first.Enforcer.Before(t.Context(), attempt(sub, sess, "notes", "read_note", `{"name":"a"}`))
	if err != nil || got.Verdict != action.Allow {
		t.Fatalf("%+v %v", got, err)
	}
	for _, path := range []string{"/v1/actions", "/v1/sessions", "/mcp/notes"} {
		res, err := http.Post(srv.URL+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("a decision point that is alone answers %s with %d", path, res.StatusCode)
		}
	}
	srv.Close()
	got, err = first.Enforcer.Before(t.Context(), attempt(sub, sess, "notes", "read_note", `{"name":"b"}`))
	if err != nil || got.Verdict != action.Deny {
		t.Fatalf("%+v %v", got, err)
	}
	want := map[string]bool{"kernel.pdp": true, "policy.disagreement": true}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = first.Ledger.Follow(ctx, 0, func(e ledger.Entry) error {
		for _, code := range e.Leaf.Codes {
			delete(want, code)
		}
		if len(want) == 0 {
			return errFound
		}
		return nil
	})
	if !errors.Is(err, errFound) {
		t.Fatalf("not on record: %v (%v)", want, err)
	}
}

var errFound = errors.New("found")

func TestSecondIsConfiguredWholeOrNotAtAll(t *testing.T) {
	for name, c := range map[string]sallyport.SecondConfig{
		"no key":                    {URL: "http://127.0.0.1:1"},
		"plain text over a network": {URL: "http://pdp.example.com", Key: "ed25519:" + strings.Repeat("A", 43) + "="},
		"no address":                {URL: "unix:/x", Key: "ed25519:" + strings.Repeat("A", 43) + "="},
		"a key that is none":        {URL: "https://pdp.example.com", Key: "ed25519:AAAA"},
	} {
		cfg := sallyport.PatientConfig()
		cfg.Data = t.TempDir()
		cfg.Policy.Second = c
		if s, err := sallyport.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "policy.second") {
			t.Errorf("%s: %v %v", name, s, err)
		}
	}
}
