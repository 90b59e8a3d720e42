// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/examples/notes"
	"github.com/sallyport/sallyport/gateway"
)

// names is an authenticator that believes the bearer token to be the caller's name.
type names struct{}

func (names) Authenticate(_ context.Context, r *http.Request) (*gateway.Caller, error) {
	name, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, gateway.ErrUnauthenticated
	}
	s := testPeer.Subject
	s.ID, s.Scopes, s.Channel.Credential, s.Channel.CredID = name, []action.Scope{action.ScopeAgent}, action.CredentialToken, name
	return &gateway.Caller{Subject: s, Name: name}, nil
}

// bearer adds a token to every request.
type bearer struct {
	token string
	count int
}

func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	b.count++
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return http.DefaultTransport.RoundTrip(r)
}

// door serves the HTTP door before an upstream.
func door(t testing.TB, g *Gate, upstream http.Handler) string {
	t.Helper()
	up := httptest.NewServer(upstream)
	t.Cleanup(up.Close)
	h, err := NewHTTP(HTTPConfig{Gate: g, Upstream: func(_ context.Context, _ *gateway.Caller, name string) (HTTPUpstream, bool) {
		return HTTPUpstream{Upstream: Upstream{Name: name, URL: up.URL + "/mcp"}, Header: http.Header{"X-Stored": {"secret"}}}, name == "notes"
	}})
	if err != nil {
		t.Fatal(err)
	}
	gate, err := gateway.New(gateway.Config{Auth: names{}, Malformed: g.cfg.Enforcer.Malformed, Door: action.DoorMCP})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := gate.Handler(h.Routes()...)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(nil)
	front.Config = gateway.Server(handler)
	front.Start()
	t.Cleanup(front.Close)
	return front.URL + "/mcp/notes"
}

func notesUpstream(t testing.TB, stateless bool, check func(*http.Request)) http.Handler {
	s, err := notes.Server(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	inner := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, &sdk.StreamableHTTPOptions{Stateless: stateless})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if check != nil {
			check(r)
		}
		inner.ServeHTTP(w, r)
	})
}

func dial(t testing.TB, url, name, version string, o *sdk.ClientOptions) *sdk.ClientSession {
	t.Helper()
	var so *sdk.ClientSessionOptions
	if version != "" {
		so = &sdk.ClientSessionOptions{ProtocolVersion: version}
	}
	cs, err := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, o).Connect(context.Background(),
		&sdk.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: &bearer{token: name}}, DisableStandaloneSSE: true}, so)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cs.Close() })
	return cs
}

func TestHTTPOfficialClientGetsWhatPolicyLetsThrough(t *testing.T) {
	for _, version := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(version, func(t *testing.T) {
			p := newPath()
			p.verdicts["delete_note"] = action.Deny
			p.verdicts["send_note"] = action.Ask
			url := door(t, newGate(t, p, nil), notesUpstream(t, version == "2026-07-28", func(r *http.Request) {
				if r.Header.Get("Authorization") != "" || r.Header.Get("X-Stored") != "secret" {
					t.Errorf("the upstream got the caller's credential, or not its own: %v", r.Header)
				}
			}))
			cs := dial(t, url, "alice", version, nil)
			if v := cs.InitializeResult().ProtocolVersion; v != version {
				t.Fatalf("negotiated %s", v)
			}
			if s, bad := call(t, cs, "write_note", map[string]any{"name": "todo", "text": "milk"}); bad {
				t.Fatalf("write: %s", s)
			}
			if s, bad := call(t, cs, "read_note", map[string]any{"name": "todo"}); bad || s != "milk" {
				t.Fatalf("read: %q %v", s, bad)
			}
			if s, bad := call(t, cs, "delete_note", map[string]any{"name": "todo"}); !bad || !strings.Contains(s, "Not this one.") {
				t.Fatalf("a denied call answered %q, error %v", s, bad)
			}
			if s, bad := call(t, cs, "send_note", map[string]any{"name": "todo", "to": "a@b.example"}); !bad || !strings.Contains(s, "Ticket") {
				t.Fatalf("an asked call answered %q", s)
			}
			if n := p.count(methodCall); n != 4 {
				t.Errorf("%d calls were judged", n)
			}
		})
	}
}

// send posts one raw message with headers as pairs.
func send(t testing.TB, url, name, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Authorization", "Bearer "+name)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}
