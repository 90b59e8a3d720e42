// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/identity/jose"
	"github.com/sallyport/sallyport/ledger"
)

// authServer is an OAuth authorization server at which everybody is ann.
type authServer struct {
	t   *testing.T
	key *ecdsa.PrivateKey
	url string

	mu      sync.Mutex
	codes   map[string]url.Values // what each code was asked for with
	granted []string              // resources
}

func newAuthServer(t *testing.T) *authServer {
	t.Helper()
	a := &authServer{t: t, codes: map[string]url.Values{}}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	a.url = srv.URL
	return a
}

func (a *authServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/.well-known/oauth-authorization-server":
		fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":"%[1]s/authorize","token_endpoint":"%[1]s/token","jwks_uri":"%[1]s/keys",
			"response_types_supported":["code"],"code_challenge_methods_supported":["S256"],"token_endpoint_auth_methods_supported":["client_secret_post"],
			"authorization_response_iss_parameter_supported":true}`, a.url)
	case "/keys":
		k, err := jose.KeyOf(a.key.Public())
		if err != nil {
			a.t.Error(err)
		}
		fmt.Fprintf(w, `{"keys":[{"kty":"EC","crv":"P-256","x":%q,"y":%q}]}`, k.X, k.Y)
	case "/token":
		if err := r.ParseForm(); err != nil {
			a.t.Error(err)
		}
		a.mu.Lock()
		asked := a.codes[r.Form.Get("code")]
		a.mu.Unlock()
		sum := sha256.Sum256([]byte(r.Form.Get("code_verifier")))
		if asked == nil || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || r.Form.Get("resource") != asked.Get("resource") {
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":300}`, a.token(asked.Get("resource"), nil))
	default:
		http.NotFound(w, r)
	}
}

// authorize is the browser: the user agrees.
func (a *authServer) authorize(_ context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
	u, err := url.Parse(args.URL)
	if err != nil {
		return nil, err
	}
	code := rand.Text()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.codes[code] = u.Query()
	a.granted = append(a.granted, u.Query().Get("resource"))
	return &auth.AuthorizationResult{Code: code, State: u.Query().Get("state"), Iss: a.url}, nil
}

// token makes an access token for a resource.
func (a *authServer) token(resource string, change func(map[string]any)) string {
	now := time.Now()
	c := map[string]any{"iss": a.url, "aud": resource, "sub": "ann", "client_id": "desk", "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "jti": rand.Text()}
	if change != nil {
		change(c)
	}
	text, err := jose.Signer{Key: a.key}.Sign("at+jwt", c, false)
	if err != nil {
		a.t.Fatal(err)
	}
	return text
}

// TestMCPClientsFindTheirWayIn lets the official client come without anything: it learns from the door where tokens
// come from, gets one for exactly this server, and acts for its user.
func TestMCPClientsFindTheirWayIn(t *testing.T) {
	as := newAuthServer(t)
	s := serveFilesWith(t, true, func(c *sallyport.Config) {
		c.Federation.Issuers = []sallyport.FederationIssuer{{Issuer: as.url, Keys: as.url + "/keys", Clients: []sallyport.FederationClient{{Client: "desk", Agent: "bot"}}}}
	})
	h, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{RedirectURL: "http://localhost:9/done", AuthorizationCodeFetcher: as.authorize,
		PreregisteredClient: &oauthex.ClientCredentials{ClientID: "desk", ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: "s"}}})
	if err != nil {
		t.Fatal(err)
	}
	cs, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(),
		&mcp.StreamableClientTransport{Endpoint: s.url, OAuthHandler: h, DisableStandaloneSSE: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cs.Close() }()
	if _, err := cs.ListTools(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(s.root, "note.txt")
	if res, err := cs.CallTool(t.Context(), &mcp.CallToolParams{Name: "write_file", Arguments: map[string]any{"path": note, "content": "one"}}); err != nil || res.IsError {
		t.Fatalf("%+v %v", res, err)
	}
	if len(as.granted) != 1 || as.granted[0] != s.url {
		t.Errorf("tokens were asked for %q", as.granted)
	}
	found := false
	if err := s.Ledger.Records(t.Context(), func(e ledger.Entry) error {
		if e.Leaf.Kind == action.KindIntent {
			data, err := s.Ledger.Payload(t.Context(), e.Index, action.PartInputBefore)
			if err != nil {
				return err
			}
			q, err := action.ReadQuery(data)
			if err != nil {
				return err
			}
			found = found || q.Subject.ID == "bot" && q.Subject.User.ID == "ann" && q.Subject.User.Verified == action.Yes && q.Subject.User.Evidence == "oidc"
		}
		return nil
	}); err != nil || !found {
		t.Errorf("no record of what the agent did for its user (%v)", err)
	}
}

// TestTokensForOtherResourcesAreRefused tries tokens of the right issuer that are not for this.
func TestTokensForOtherResourcesAreRefused(t *testing.T) {
	as := newAuthServer(t)
	s := serveFilesWith(t, true, func(c *sallyport.Config) {
		c.Federation.Issuers = []sallyport.FederationIssuer{{Issuer: as.url, Audience: "people", Keys: as.url + "/keys", Clients: []sallyport.FederationClient{{Client: "desk", Agent: "bot"}, {Client: "ghost", Agent: "ghost"}}}}
	})
	set := func(k string, v any) func(map[string]any) { return func(c map[string]any) { c[k] = v } }
	ask := func(path, authorization string) *http.Response {
		t.Helper()
		r, err := http.NewRequest("POST", strings.Replace(s.url, "/mcp/files", path, 1), strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, resp)
		return resp
	}
	other := newAuthServer(t)
	base := strings.TrimSuffix(s.url, "/mcp/files")
	for _, c := range []struct {
		name, path, token string
		ok                bool
	}{
		{"for this server", "/mcp/files", as.token(s.url, nil), true},
		{"for this server among others", "/mcp/files", as.token("", set("aud", []string{"x", s.url})), true},
		{"for another server of ours", "/mcp/files", as.token(base+"/mcp/mail", nil), false},
		{"for us as a whole", "/mcp/files", as.token(base, nil), false},
		{"for this server, with a slash more", "/mcp/files", as.token(s.url+"/", nil), false},
		{"for people", "/mcp/files", as.token("people", nil), false},
		{"for this server, at another route", "/v1/sessions", as.token(s.url, nil), false},
		{"of a client that is no agent", "/mcp/files", as.token(s.url, set("client_id", "stranger")), false},
		{"of a client whose agent has no record", "/mcp/files", as.token(s.url, set("client_id", "ghost")), false},
		{"of two clients", "/mcp/files", as.token(s.url, set("azp", "other")), false},
		{"of no client", "/mcp/files", as.token(s.url, set("client_id", "")), false},
		{"it has ended", "/mcp/files", as.token(s.url, set("exp", time.Now().Add(-time.Second).Unix())), false},
		{"of another issuer of the same name", "/mcp/files", other.token(s.url, set("iss", as.url)), false},
		{"bound to a key, as a bearer's", "/mcp/files", as.token(s.url, set("cnf", map[string]string{"jkt": "x"})), false},
		{"bound to a certificate, without it", "/mcp/files", as.token(s.url, set("cnf", map[string]string{"x5t#S256": "x"})), false},
	} {
		resp := ask(c.path, "Bearer "+c.token)
		if (resp.StatusCode != 401) != c.ok {
			t.Errorf("%s: %d", c.name, resp.StatusCode)
		}
		told := resp.Header.Get("WWW-Authenticate")
		if !c.ok && c.path == "/mcp/files" && told != `Bearer realm="sallyport", resource_metadata="`+base+`/.well-known/oauth-protected-resource/mcp/files", error="invalid_token"` {
			t.Errorf("%s: told %q", c.name, told)
		}
	}
	if resp := ask("/mcp/files", "DPoP "+as.token(s.url, nil)); resp.StatusCode != 401 {
		t.Errorf("a bearer's token as a bound one: %d", resp.StatusCode)
	}
	for path, want := range map[string]int{"/.well-known/oauth-protected-resource/mcp/files": 200, "/.well-known/oauth-protected-resource/mcp/there-is-none": 200,
		"/.well-known/oauth-protected-resource": 401, "/.well-known/oauth-protected-resource/mcp/files/x": 401} {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		if text := readAll(t, resp); resp.StatusCode != want || want == 200 && !strings.Contains(text, `"authorization_servers":["`+as.url+`"]`) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, text)
		}
	}
}
