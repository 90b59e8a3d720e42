// SPDX-License-Identifier: Apache-2.0

// Package oidc signs people in through an OpenID provider: the authorization code flow with PKCE (RFC 7636),
// state, nonce and the issuer in the answer (RFC 9207), and the refresh that tells whether somebody still is
// what he was.
//
// # Trust
//
// The provider's word is trusted over TLS, or over loopback, and for what it signs: who the person is and in
// which groups. What a browser carries between the start of a sign-in and its end is sealed under a key of this
// process, so that nobody who has not signed in makes us remember anything. A person whose groups the token
// does not hold whole is one whose groups are unknown; nothing here decides what that means.
package oidc

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/jose"
)

// The errors of this package. ErrAnswer never says more than a caller may know.
var (
	ErrProvider = errors.New("oidc: the provider does not answer as it should")
	ErrAnswer   = errors.New("oidc: this is not the end of a sign-in that began here")
	ErrRefused  = errors.New("oidc: the provider signed nobody in")
	ErrGone     = errors.New("oidc: the provider no longer vouches for the person")
	ErrBusy     = errors.New("oidc: too many sign-ins at once")
)

// Config is what a Provider needs. New requires Issuer and ClientID.
type Config struct {
	Issuer      string // iss, exactly; https, or http on loopback
	ClientID    string
	Secret      string   // "" makes us a public client, which PKCE alone guards
	Scopes      []string // asked for besides openid; nil means offline_access
	UserClaim   string   // names the person; "" means sub. Of email, the token must say that it is verified
	GroupsClaim string   // "" means groups

	Now    func() time.Time // nil means time.Now
	Rand   io.Reader        // nil means crypto/rand
	Client *http.Client     // nil means one with a bound of ten seconds; redirects are never followed
}

// Person is whom the provider signed in.
type Person struct {
	Issuer  string
	Subject string // sub
	Name    string // as Config.UserClaim says
	Groups  []string
	Known   bool      // the groups are whole; if not, Groups is nil
	Authn   time.Time // when he proved who he is; zero when unknown
	ACR     string    // level of the sign-in (acr); "" when unknown
	AMR     []string  // its methods (amr); nil when unknown
	Refresh string    // a secret with which Refresh asks again; "" if the provider gave none
}

// The bounds.
const (
	carryFor     = 10 * time.Minute // between start and end of a sign-in
	documentFor  = 10 * time.Minute // how long a discovery document is used
	documentMost = time.Hour        // how long one is used that cannot be fetched again
	againAfter   = 5 * time.Second  // between two attempts that fail
	answerBytes  = 64 << 10
	maxUsed      = 4096 // ends of sign-ins that are remembered, so that none is used twice
	exchanges    = 8    // at one time
	freshFor     = 10 * time.Minute
)

// Provider is one OpenID provider. Its methods are safe for concurrent use.
type Provider struct {
	cfg    Config
	aead   cipher.AEAD
	places chan struct{} // one for each exchange under way

	fetching sync.Mutex // held across a fetch of the document; taken before mu

	mu      sync.Mutex // guards below
	doc     *document
	fetched time.Time
	tried   time.Time
	issuers *identity.Issuers // for the document's keys
	used    map[string]time.Time
	order   []string // of used, oldest first
}

// document is what of a provider's configuration matters here.
type document struct {
	Issuer      string   `json:"issuer"`
	Authorize   string   `json:"authorization_endpoint"`
	Token       string   `json:"token_endpoint"`
	Keys        string   `json:"jwks_uri"`
	SaysIssuer  bool     `json:"authorization_response_iss_parameter_supported"`
	Challenges  []string `json:"code_challenge_methods_supported"`
	ByClaims    bool     `json:"claims_parameter_supported"`
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
}

// New checks c. It fetches nothing yet.
func New(c Config) (*Provider, error) {
	u, err := url.Parse(c.Issuer)
	switch {
	case err != nil || !identity.SafeURL(c.Issuer) || u.RawQuery != "":
		return nil, fmt.Errorf("oidc: issuer %q is no https address (or http on loopback)", c.Issuer)
	case c.ClientID == "":
		return nil, errors.New("oidc: a client id is required")
	}
	c.UserClaim, c.GroupsClaim = cmp.Or(c.UserClaim, "sub"), cmp.Or(c.GroupsClaim, "groups")
	if c.Scopes == nil {
		c.Scopes = []string{"offline_access"}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	client := http.Client{Timeout: 10 * time.Second}
	if c.Client != nil {
		client = *c.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Client = &client
	p := &Provider{cfg: c, places: make(chan struct{}, exchanges), used: map[string]time.Time{}}
	key := make([]byte, 32)
	if _, err := io.ReadFull(c.Rand, key); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	p.aead, err = cipher.NewGCM(block)
	return p, err
}

// document returns the provider's configuration, fetched anew now and then.
func (p *Provider) document(ctx context.Context) (*document, *identity.Issuers, error) {
	now := p.cfg.Now()
	if doc, is, again := p.held(now); !again {
		return doc, is, unless(doc)
	}
	p.fetching.Lock()
	defer p.fetching.Unlock()
	old, oldIssuers, again := p.held(now)
	if !again {
		return old, oldIssuers, unless(old)
	}
	p.mu.Lock()
	p.tried = now
	p.mu.Unlock()
	doc, err := p.fetch(ctx)
	if err != nil {
		if old != nil {
			return old, oldIssuers, nil
		}
		return nil, nil, err
	}
	is := oldIssuers
	if old == nil || old.Keys != doc.Keys {
		is, err = identity.NewIssuers([]identity.Trusted{{Issuer: p.cfg.Issuer, Audience: p.cfg.ClientID, Keys: doc.Keys,
			UserClaim: p.cfg.UserClaim, GroupsClaim: p.cfg.GroupsClaim}}, p.cfg.Now, p.get)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrProvider, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doc, p.fetched, p.issuers = doc, now, is
	return doc, is, nil
}

func unless(doc *document) error {
	if doc == nil {
		return fmt.Errorf("%w: it did not a moment ago", ErrProvider)
	}
	return nil
}

// held returns what may be used, nil if there is nothing, and whether it should be fetched again now.
func (p *Provider) held(now time.Time) (doc *document, is *identity.Issuers, again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.doc != nil && now.Sub(p.fetched) < documentMost {
		doc, is = p.doc, p.issuers
	}
	again = doc == nil || now.Sub(p.fetched) > documentFor
	return doc, is, again && (p.tried.IsZero() || now.Sub(p.tried) >= againAfter)
}

func (p *Provider) fetch(ctx context.Context) (*document, error) {
	data, err := p.get(ctx, strings.TrimSuffix(p.cfg.Issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, fmt.Errorf("%w: its configuration: %w", ErrProvider, err)
	}
	doc := &document{}
	if err := jose.Object(data, doc); err != nil || doc.Issuer != p.cfg.Issuer {
		return nil, fmt.Errorf("%w: its configuration is another issuer's, or not readable", ErrProvider)
	}
	if doc.Challenges != nil && !slices.Contains(doc.Challenges, "S256") {
		return nil, fmt.Errorf("%w: it knows no PKCE with S256", ErrProvider)
	}
	for name, u := range map[string]string{"authorization_endpoint": doc.Authorize, "token_endpoint": doc.Token, "jwks_uri": doc.Keys} {
		if !identity.SafeURL(u) || strings.HasPrefix(u, "http://") && strings.HasPrefix(p.cfg.Issuer, "https://") {
			return nil, fmt.Errorf("%w: %s is no https address", ErrProvider, name)
		}
	}
	return doc, nil
}

// get fetches a document of the provider.
func (p *Provider) get(ctx context.Context, u string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	status, body, err := p.do(r)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	return body, err
}

// do sends r, and reads an answer of a bounded size.
func (p *Provider) do(r *http.Request) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	r.Header.Set("Accept", "application/json")
	resp, err := p.cfg.Client.Do(r.WithContext(ctx))
	if err != nil {
		return 0, nil, errors.New("no answer") // the cause quotes the address
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytes+1))
	if err != nil || len(body) > answerBytes {
		return 0, nil, errors.New("the answer breaks off or is too long")
	}
	return resp.StatusCode, body, nil
}
