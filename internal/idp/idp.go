// SPDX-License-Identifier: Apache-2.0

// Package idp is a small OpenID provider for tests: discovery, keys, the authorization code flow with PKCE and
// refresh tokens that rotate. It checks its clients as a real one does, and signs in whoever Login names without
// asking. Tests can spoil what it says.
package idp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/identity/jose"
)

// Provider is a provider at Server.URL. Fields may be changed under Lock while nobody is served.
type Provider struct {
	Server   *httptest.Server
	ClientID string
	Secret   string // "" for a public client
	Redirect string // the one address that may be answered; "" means any

	mu        sync.Mutex     // guards below
	Login     string         // sub of whoever is signed in; "" refuses
	Claims    map[string]any // beside the registered ones, of everybody
	NoRefresh bool           // gives no refresh tokens
	Down      bool           // answers 503

	Document func(map[string]any)               // spoils the configuration
	Token    func(claims map[string]any)        // spoils an id_token
	Answer   func(q url.Values)                 // spoils what the browser brings back
	Sign     func(claims map[string]any) string // signs an id_token in another way

	Refreshed int // how often a refresh token was honoured

	now     func() time.Time
	signer  jose.Signer
	codes   map[string]grant
	refresh map[string]grant
}

type grant struct {
	sub, redirect, challenge, nonce string
}

// New starts a provider on loopback that knows one client.
func New(clientID, secret string, now func() time.Time) *Provider {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	if now == nil {
		now = time.Now
	}
	p := &Provider{ClientID: clientID, Secret: secret, now: now, signer: jose.Signer{Key: key, ID: "k1"},
		codes: map[string]grant{}, refresh: map[string]grant{}, Claims: map[string]any{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.configuration)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.Down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	return p
}

// With changes the provider while it serves.
func (p *Provider) With(change func(*Provider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// Withdraw makes every refresh token worthless.
func (p *Provider) Withdraw() { p.With(func(p *Provider) { clear(p.refresh) }) }

func write(w http.ResponseWriter, status int, v any) {
	b, err := action.Canonical(v)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

func (p *Provider) configuration(w http.ResponseWriter, _ *http.Request) {
	at := p.Server.URL
	doc := map[string]any{"issuer": at, "authorization_endpoint": at + "/authorize", "token_endpoint": at + "/token", "jwks_uri": at + "/keys",
		"authorization_response_iss_parameter_supported": true, "code_challenge_methods_supported": []string{"S256"},
		"response_types_supported": []string{"code"}, "token_endpoint_auth_methods_supported": []string{"client_secret_basic"}}
	if p.Document != nil {
		p.Document(doc)
	}
	write(w, http.StatusOK, doc)
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	k, err := jose.KeyOf(p.signer.Key.Public())
	if err != nil {
		panic(err)
	}
	write(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{"kty": k.Kty, "crv": k.Crv, "x": k.X, "y": k.Y, "kid": "k1", "use": "sig", "alg": "ES256"}}})
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	redirect := q.Get("redirect_uri")
	if q.Get("client_id") != p.ClientID || p.Redirect != "" && redirect != p.Redirect {
		http.Error(w, "unknown client or redirect_uri", http.StatusBadRequest)
		return
	}
	back := url.Values{"state": {q.Get("state")}, "iss": {p.Server.URL}}
	switch {
	case q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43 ||
		!slices.Contains(strings.Fields(q.Get("scope")), "openid") || q.Get("nonce") == "":
		back.Set("error", "invalid_request")
	case p.Login == "" && q.Get("prompt") == "none":
		back.Set("error", "login_required")
	case p.Login == "":
		back.Set("error", "access_denied")
	default:
		code := secret()
		p.codes[code] = grant{sub: p.Login, redirect: redirect, challenge: q.Get("code_challenge"), nonce: q.Get("nonce")}
		back.Set("code", code)
	}
	if p.Answer != nil {
		p.Answer(back)
	}
	http.Redirect(w, r, redirect+"?"+back.Encode(), http.StatusFound)
}

func secret() string {
	var b [24]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err)
	}
	return jose.Encode(b[:])
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	id, given, basic := r.BasicAuth()
	if basic {
		id, _ = url.QueryUnescape(id)
		given, _ = url.QueryUnescape(given)
	} else {
		id, given = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	if id != p.ClientID || given != p.Secret {
		write(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	var g grant
	var ok bool
	switch r.PostFormValue("grant_type") {
	case "authorization_code":
		code := r.PostFormValue("code")
		g, ok = p.codes[code]
		delete(p.codes, code)
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		ok = ok && g.redirect == r.PostFormValue("redirect_uri") && jose.Encode(sum[:]) == g.challenge
	case "refresh_token":
		old := r.PostFormValue("refresh_token")
		g, ok = p.refresh[old]
		delete(p.refresh, old)
		g.nonce = ""
		if ok {
			p.Refreshed++
		}
	}
	if !ok {
		write(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	answer := map[string]any{"token_type": "Bearer", "expires_in": 300, "access_token": secret(), "id_token": p.idToken(g)}
	if !p.NoRefresh {
		next := secret()
		p.refresh[next] = g
		answer["refresh_token"] = next
	}
	write(w, http.StatusOK, answer)
}

func (p *Provider) idToken(g grant) string {
	now := p.now().Unix()
	claims := map[string]any{"iss": p.Server.URL, "aud": p.ClientID, "sub": g.sub, "iat": now, "exp": now + 300, "auth_time": now}
	if g.nonce != "" {
		claims["nonce"] = g.nonce
	}
	for k, v := range p.Claims {
		claims[k] = v
	}
	if p.Token != nil {
		p.Token(claims)
	}
	if p.Sign != nil {
		return p.Sign(claims)
	}
	text, err := p.signer.Sign("JWT", claims, false)
	if err != nil {
		panic(err)
	}
	return text
}
