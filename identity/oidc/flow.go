// SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/jose"
)

// Start is where a sign-in begins: URL is for the browser to go to, Carry for it to keep until it comes back.
// Carry is a secret of that browser; it tells nothing without our key.
type Start struct {
	URL   string
	Carry string
}

// carried is what a browser keeps, sealed.
type carried struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Redirect string `json:"redirect"`
	UntilMs  int64  `json:"until_ms"`
}

// How is what a sign-in asks of the provider. What came of it stands in Person: a provider may do less.
type How struct {
	Quiet  bool          // asks the person nothing: for one who signed in a moment ago
	ACR    string        // levels of which one is wished, the best first, separated by spaces; "" for any
	MaxAge time.Duration // how long ago the person may have proved himself; 0 for any, less than a second for now
}

// wishes asks a provider to say how it proved the person (OpenID Connect Core, section 5.5): many say so only when asked.
const wishes = `{"id_token":{"acr":null,"amr":null,"auth_time":null}}`

// Begin starts a sign-in that the provider answers at redirect.
func (p *Provider) Begin(ctx context.Context, redirect string, how How) (Start, error) {
	doc, _, err := p.document(ctx)
	if err != nil {
		return Start{}, err
	}
	var b [96]byte
	if _, err := io.ReadFull(p.cfg.Rand, b[:]); err != nil {
		return Start{}, err
	}
	c := carried{State: jose.Encode(b[:32]), Nonce: jose.Encode(b[32:64]), Verifier: jose.Encode(b[64:]), Redirect: redirect,
		UntilMs: p.cfg.Now().Add(carryFor).UnixMilli()}
	carry, err := p.seal(c)
	if err != nil {
		return Start{}, err
	}
	challenge := sha256.Sum256([]byte(c.Verifier))
	u, err := url.Parse(doc.Authorize)
	if err != nil {
		return Start{}, fmt.Errorf("%w: authorization_endpoint", ErrProvider)
	}
	q := u.Query()
	for k, v := range map[string]string{"response_type": "code", "client_id": p.cfg.ClientID, "redirect_uri": redirect,
		"scope": strings.Join(append([]string{"openid"}, p.cfg.Scopes...), " "), "state": c.State, "nonce": c.Nonce,
		"code_challenge": jose.Encode(challenge[:]), "code_challenge_method": "S256"} {
		q.Set(k, v)
	}
	if doc.ByClaims {
		q.Set("claims", wishes)
	}
	if how.Quiet {
		q.Set("prompt", "none")
	}
	if how.ACR != "" {
		q.Set("acr_values", how.ACR)
	}
	if how.MaxAge > 0 {
		q.Set("max_age", strconv.FormatInt(int64(how.MaxAge/time.Second), 10))
	}
	u.RawQuery = q.Encode()
	return Start{URL: u.String(), Carry: carry}, nil
}

// sealedFor is what the seal is bound to.
var sealedFor = []byte("sallyport sign-in 1")

func (p *Provider) seal(c carried) (string, error) {
	b, err := action.Canonical(c)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, p.aead.NonceSize())
	if _, err := io.ReadFull(p.cfg.Rand, nonce); err != nil {
		return "", err
	}
	return jose.Encode(p.aead.Seal(nonce, nonce, b, sealedFor)), nil
}

func (p *Provider) unseal(text string) (c carried, err error) {
	if len(text) > 2048 {
		return c, ErrAnswer
	}
	b, err := jose.Decode(text)
	if err != nil || len(b) < p.aead.NonceSize() {
		return c, ErrAnswer
	}
	n := p.aead.NonceSize()
	plain, err := p.aead.Open(nil, b[:n], b[n:], sealedFor)
	if err != nil || action.Read(plain, &c, action.Limits{}) != nil || p.cfg.Now().UnixMilli() >= c.UntilMs {
		return c, ErrAnswer
	}
	return c, nil
}

// Finish ends a sign-in: query is what the provider sent the browser back to redirect with, carry what it kept.
// Of any number of calls for one sign-in at most one gets further than the seal.
func (p *Provider) Finish(ctx context.Context, redirect, carry string, query url.Values) (Person, error) {
	c, err := p.unseal(carry)
	if err != nil {
		return Person{}, err
	}
	for _, name := range []string{"state", "code", "iss", "error"} {
		if len(query[name]) > 1 {
			return Person{}, fmt.Errorf("%w: %s stands twice", ErrAnswer, name)
		}
	}
	doc, is, err := p.document(ctx)
	if err != nil {
		return Person{}, err
	}
	switch iss := query.Get("iss"); {
	case c.Redirect != redirect || subtle.ConstantTimeCompare([]byte(c.State), []byte(query.Get("state"))) != 1:
		return Person{}, ErrAnswer
	case iss != p.cfg.Issuer && (query.Has("iss") || doc.SaysIssuer):
		return Person{}, fmt.Errorf("%w: it comes from another issuer", ErrAnswer)
	case !p.first(c.State):
		return Person{}, fmt.Errorf("%w: it was used", ErrAnswer)
	case query.Has("error"):
		return Person{}, fmt.Errorf("%w: %q", ErrRefused, action.Clip(query.Get("error"), 64))
	case query.Get("code") == "":
		return Person{}, ErrAnswer
	}
	return p.exchange(ctx, doc, is, url.Values{"grant_type": {"authorization_code"}, "code": {query.Get("code")}, "redirect_uri": {redirect},
		"code_verifier": {c.Verifier}}, c.Nonce)
}

// first reports whether a state comes for the first time. The oldest are forgotten for the newest, which is when
// the provider still has each code once.
func (p *Provider) first(state string) bool {
	now := p.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.used[state]; ok {
		return false
	}
	for len(p.order) > 0 && (len(p.order) >= maxUsed || now.Sub(p.used[p.order[0]]) > carryFor) {
		delete(p.used, p.order[0])
		p.order = p.order[1:]
	}
	p.used[state], p.order = now, append(p.order, state)
	return true
}

// Refresh asks whether the provider still vouches for somebody, and in which groups he is now. ErrGone means that
// it does not; other errors that it could not be asked. What it returns takes the place of was.
func (p *Provider) Refresh(ctx context.Context, was Person) (Person, error) {
	if was.Refresh == "" {
		return Person{}, ErrGone
	}
	doc, is, err := p.document(ctx)
	if err != nil {
		return Person{}, err
	}
	now, err := p.exchange(ctx, doc, is, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {was.Refresh}}, "")
	if err != nil {
		return Person{}, err
	}
	if now.Issuer != was.Issuer || now.Subject != was.Subject || now.Name != was.Name {
		return Person{}, fmt.Errorf("%w: it vouches for somebody else", ErrGone)
	}
	if now.Refresh == "" {
		now.Refresh = was.Refresh
	}
	return now, nil
}

// answered is the answer of a token endpoint.
type answered struct {
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
	Error   string `json:"error"`
}

// exchange asks the token endpoint, and verifies the person that it names.
func (p *Provider) exchange(ctx context.Context, doc *document, is *identity.Issuers, form url.Values, nonce string) (Person, error) {
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	default:
		return Person{}, ErrBusy
	}
	post := !slices.Contains(doc.AuthMethods, "client_secret_basic") && slices.Contains(doc.AuthMethods, "client_secret_post")
	if p.cfg.Secret == "" || post {
		form.Set("client_id", p.cfg.ClientID)
	}
	if p.cfg.Secret != "" && post {
		form.Set("client_secret", p.cfg.Secret)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, doc.Token, strings.NewReader(form.Encode()))
	if err != nil {
		return Person{}, ErrProvider
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if p.cfg.Secret != "" && !post {
		r.SetBasicAuth(url.QueryEscape(p.cfg.ClientID), url.QueryEscape(p.cfg.Secret)) // RFC 6749, section 2.3.1
	}
	status, body, err := p.do(r)
	if err != nil {
		return Person{}, fmt.Errorf("%w: its token endpoint: %w", ErrProvider, err)
	}
	var a answered
	if action.Check(body, action.Limits{Bytes: answerBytes}) != nil || json.Unmarshal(body, &a) != nil {
		return Person{}, fmt.Errorf("%w: its token endpoint answers %d with something else than JSON", ErrProvider, status)
	}
	switch {
	case status == http.StatusBadRequest && a.Error == "invalid_grant":
		return Person{}, ErrGone
	case status != http.StatusOK:
		return Person{}, fmt.Errorf("%w: its token endpoint answers %d %q", ErrProvider, status, action.Clip(a.Error, 64))
	case a.ID == "":
		return Person{}, fmt.Errorf("%w: without an id_token", ErrGone)
	}
	who, err := p.verify(ctx, is, a.ID, nonce)
	who.Refresh = a.Refresh
	return who, err
}

// verify checks an id_token: signature, issuer, audience and times as every token's, and what only an id_token has.
func (p *Provider) verify(ctx context.Context, is *identity.Issuers, text, nonce string) (Person, error) {
	who, err := is.Person(ctx, text)
	if err != nil {
		if errors.Is(err, identity.ErrUnauthenticated) && err != identity.ErrUnauthenticated {
			return Person{}, fmt.Errorf("%w: %w", ErrProvider, err) // its keys could not be had
		}
		return Person{}, fmt.Errorf("%w: its id_token does not hold", ErrAnswer)
	}
	t, err := jose.Parse(text)
	if err != nil {
		return Person{}, ErrAnswer
	}
	var c struct {
		Subject  string        `json:"sub"`
		Aud      jose.Audience `json:"aud"`
		Party    string        `json:"azp"`
		Nonce    *string       `json:"nonce"`
		Verified *bool         `json:"email_verified"`
		Issued   *jose.Seconds `json:"iat"`
	}
	if jose.Object(t.Payload, &c) != nil || c.Subject == "" || len(c.Subject) > 255 || c.Issued == nil {
		return Person{}, ErrAnswer
	}
	said := ""
	if c.Nonce != nil {
		said = *c.Nonce
	}
	same := subtle.ConstantTimeCompare([]byte(said), []byte(nonce)) == 1
	switch {
	case !same && nonce != "": // a refreshed token may repeat the old nonce or leave it out
		return Person{}, fmt.Errorf("%w: nonce", ErrAnswer)
	case c.Party != "" && c.Party != p.cfg.ClientID, len(c.Aud) > 1 && c.Party == "":
		return Person{}, fmt.Errorf("%w: azp", ErrAnswer)
	case p.cfg.Now().Sub(c.Issued.Time()) > freshFor:
		return Person{}, fmt.Errorf("%w: an old id_token", ErrAnswer)
	case p.cfg.UserClaim == "email" && (c.Verified == nil || !*c.Verified):
		return Person{}, fmt.Errorf("%w: the address is not verified", ErrAnswer)
	}
	level, methods := strength(t.Payload)
	return Person{Issuer: who.Issuer, ACR: level, AMR: methods, Subject: c.Subject, Name: who.ID, Groups: who.Groups, Known: who.GroupsKnow == action.Yes,
		Authn: who.Authn}, nil
}

// maxMethods bounds the methods of one sign-in.
const maxMethods = 16

// strength reads acr and amr. What is not of the form that OpenID Connect gives them is not there: it proves nothing.
func strength(payload []byte) (level string, methods []string) {
	var c struct {
		ACR jsontext.Value `json:"acr"`
		AMR jsontext.Value `json:"amr"`
	}
	if jose.Object(payload, &c) != nil {
		return "", nil
	}
	plain := func(s string) bool {
		return s != "" && len(s) <= 256 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
	}
	if json.Unmarshal(c.ACR, &level) != nil || !plain(level) {
		level = ""
	}
	if json.Unmarshal(c.AMR, &methods) != nil || len(methods) > maxMethods || slices.ContainsFunc(methods, func(m string) bool { return !plain(m) }) {
		methods = nil
	}
	return level, methods
}
