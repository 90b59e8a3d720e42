// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
)

// FederationConfig says whose word is proof of who a person or a workload is.
type FederationConfig struct {
	Issuers []FederationIssuer `yaml:"issuers" doc:"issuers of tokens of people (OpenID Connect) and of workloads (Kubernetes)"`
	SPIFFE  FederationSPIFFE   `yaml:"spiffe"`
}

// FederationIssuer is one trusted issuer.
type FederationIssuer struct {
	Issuer   string              `yaml:"issuer" doc:"the iss of its tokens"`
	Audience string              `yaml:"audience" doc:"the aud that a token must have to be for us"`
	Keys     string              `yaml:"keys" doc:"file or https address of its key set; default: as its OpenID configuration says"`
	Workload bool                `yaml:"workload" doc:"its tokens are projected service-account tokens of a cluster"`
	User     string              `yaml:"user_claim" doc:"claim that names the person; default sub"`
	Groups   string              `yaml:"groups_claim" doc:"claim with the person's groups; default groups"`
	Accounts []FederationAccount `yaml:"accounts" doc:"service accounts that are agents"`
	Clients  []FederationClient  `yaml:"clients" doc:"OAuth clients that are agents: MCP clients that get their tokens here, for the address of one MCP server each"`
}

// FederationAccount maps a service account to an agent.
type FederationAccount struct {
	Namespace string `yaml:"namespace" doc:"of the service account"`
	Account   string `yaml:"account" doc:"name of the service account"`
	Agent     string `yaml:"agent" doc:"id of the agent record"`
}

// federation is what the owner keeps of foreign identities.
type federation struct {
	tokens      *identity.Tokens
	issuers     *identity.Issuers
	delegations *identity.Delegations
	accesses    accesses
}

// openFederation wires foreign tokens and exchanges.
func (s *Sallyport) openFederation() error {
	var list []identity.Trusted
	for _, i := range s.Config.Federation.Issuers {
		t := identity.Trusted{Issuer: i.Issuer, Audience: i.Audience, Keys: i.Keys, Workload: i.Workload, UserClaim: i.User, GroupsClaim: i.Groups,
			Accounts: map[string]string{}, Clients: map[string]string{}}
		for _, a := range i.Accounts {
			t.Accounts[a.Namespace+"/"+a.Account] = a.Agent
		}
		for _, c := range i.Clients {
			t.Clients[c.Client] = c.Agent
		}
		list = append(list, t)
	}
	is, err := identity.NewIssuers(list, s.Ledger.Now, nil)
	if err != nil {
		return fmt.Errorf("federation: %w", err)
	}
	s.federation = &federation{tokens: s.Tokens, issuers: is, delegations: &identity.Delegations{Record: s.Ledger.Append}}
	return nil
}

// accountPrefix begins the credential id of a workload that came with its cluster's token.
const accountPrefix = "account:"

// workload proves an agent by its cluster's word. It is nobody unless its account has an agent record.
func (f *federation) workload(ctx context.Context, secret string) (*gateway.Caller, error) {
	w, err := f.issuers.Workload(ctx, secret)
	if err != nil {
		return nil, gateway.ErrUnauthenticated
	}
	a, err := f.tokens.Agent(w.Tenant, w.Agent)
	if err != nil {
		return nil, gateway.ErrUnauthenticated
	}
	sub := action.NewQuery(action.Before).Subject
	sub.ID, sub.Tenant, sub.Scopes = a.ID, a.Tenant, []action.Scope{action.ScopeAgent}
	sub.Channel.Credential, sub.Channel.CredID = action.CredentialToken, w.ID
	return &gateway.Caller{Subject: sub, Name: w.ID}, nil
}

// heldBase reports whether the credential that something rests on still holds. Each step back is to what existed
// before, so that it ends.
func (s *Sallyport) heldBase(sub *action.Subject) bool {
	switch sub.Channel.Credential {
	case action.CredentialToken:
		if strings.Contains(sub.Channel.CredID, ":") { // no token of ours has such an id
			return s.held(sub)
		}
		return !s.Tokens.Revoked(sub.Channel.CredID)
	case action.CredentialPeer:
		return true
	case action.CredentialDPoP, action.CredentialMTLS, action.CredentialSVID:
		return s.held(sub)
	}
	return false
}

// exchangeRoutes exchange an agent's credential for one that acts for a user, or that another agent acts by.
func (s *Sallyport) exchangeRoutes() []gateway.Route {
	return []gateway.Route{{Pattern: "POST /v1/token", Scopes: []action.Scope{action.ScopeAgent}, Serve: s.exchange}}
}

// The words of RFC 8693.
const (
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
	typeID        = "urn:ietf:params:oauth:token-type:id_token"
	typeJWT       = "urn:ietf:params:oauth:token-type:jwt"
)

// ExchangeAnswer is the answer of RFC 8693, section 2.2.1.
type ExchangeAnswer struct {
	Token     string `json:"access_token"`
	Issued    string `json:"issued_token_type"`
	Type      string `json:"token_type"`
	ExpiresIn int64  `json:"expires_in"`
	Scope     string `json:"scope"`
}

func (s *Sallyport) exchange(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	body, err := gateway.ReadBody(w, r, "application/x-www-form-urlencoded", 32<<10)
	if err != nil {
		return err
	}
	form, err := oneEach(string(body))
	if err != nil {
		return gateway.Refuse(gateway.CodeMalformed, "%v", err)
	}
	if form["grant_type"] != grantExchange {
		return gateway.Refuse(gateway.CodeInvalid, "grant_type is not %s", grantExchange)
	}
	x := identity.Exchange{Caller: c.Subject, Until: s.credentialUntil(r, &c.Subject), Agent: form["delegate"]}
	if x.Person, err = s.person(r.Context(), form); err != nil {
		return err
	}
	if x.Key, err = s.exchangeKey(r, c, form); err != nil {
		return err
	}
	if scope, ok := form["scope"]; ok {
		x.Scopes = []action.Scope{}
		for _, word := range strings.Fields(scope) {
			x.Scopes = append(x.Scopes, action.Scope(word))
		}
	}
	if x.Agent != "" {
		a, err := s.Tokens.Agent(c.Subject.Tenant, x.Agent)
		if err != nil {
			return gateway.Refuse(gateway.CodeNotFound, "there is no agent %q", action.Clip(x.Agent, 64))
		}
		x.Agent = a.ID
	}
	d, err := s.federation.delegations.Make(r.Context(), x)
	if errors.Is(err, identity.ErrMalformed) || errors.Is(err, identity.ErrFull) {
		return gateway.Refuse(gateway.CodeInvalid, "%v", err)
	}
	if err != nil {
		return err
	}
	token, err := s.exchangeToken(&d)
	if err != nil {
		return err
	}
	left := min(int64(time.Until(d.Until)/time.Second), int64(identity.BoundTTL/time.Second))
	return gateway.WriteJSON(w, http.StatusOK, ExchangeAnswer{Token: token, Issued: typeAccess, Type: "DPoP", ExpiresIn: left, Scope: words(d.Subject.Scopes)})
}

// oneEach reads a form in which no name stands twice.
func oneEach(body string) (map[string]string, error) {
	v, err := url.ParseQuery(body)
	if err != nil {
		return nil, errors.New("the body is no form")
	}
	out := map[string]string{}
	for name, values := range v {
		if len(values) != 1 {
			return nil, fmt.Errorf("%q stands twice", action.Clip(name, 64))
		}
		switch name {
		case "grant_type", "subject_token", "subject_token_type", "requested_token_type", "scope", "delegate", "delegate_jkt":
			out[name] = values[0]
		default:
			return nil, fmt.Errorf("%q is not a member", action.Clip(name, 64))
		}
	}
	return out, nil
}

// person verifies the user's token of an exchange.
func (s *Sallyport) person(ctx context.Context, form map[string]string) (*identity.Person, error) {
	text, ok := form["subject_token"]
	if !ok {
		return nil, nil
	}
	switch form["subject_token_type"] {
	case typeAccess, typeID, typeJWT:
	default:
		return nil, gateway.Refuse(gateway.CodeInvalid, "subject_token_type is none of access_token, id_token, jwt")
	}
	p, err := s.federation.issuers.Person(ctx, text)
	if err != nil {
		return nil, gateway.Refuse(gateway.CodeInvalid, "subject_token proves nobody")
	}
	if p.GroupsKnow != action.Yes {
		p.Groups = nil // what is not whole is not there: who asks for groups finds none
	}
	return &p, nil
}

// exchangeKey is the key that the result is bound to: the delegate's, the one that the caller has proved already,
// or the one of a proof that comes with the request.
func (s *Sallyport) exchangeKey(r *http.Request, c *gateway.Caller, form map[string]string) (string, error) {
	if form["delegate"] != "" {
		if k := form["delegate_jkt"]; len(k) == 43 {
			return k, nil
		}
		return "", gateway.Refuse(gateway.CodeInvalid, "delegate_jkt is not the thumbprint of a key")
	}
	if key := s.boundKey(c.Subject.Channel.CredID); key != "" {
		return key, nil
	}
	proof := r.Header.Values("DPoP")
	if leaf := shownCertificate(r.TLS, s.Ledger.Now()); len(proof) == 0 && leaf != nil && keyOf(leaf.PublicKey) != "" {
		return keyOf(leaf.PublicKey), nil // the handshake has proved that the caller holds it
	}
	if len(proof) != 1 {
		return "", gateway.Refuse(gateway.CodeInvalid, "the request carries no proof of possession (header DPoP)")
	}
	key, err := s.attest.proofs.Check(identity.Proof{Text: proof[0], Method: r.Method, URL: requestURL(r), Proxy: r.TLS == nil})
	if err != nil {
		return "", gateway.Refuse(gateway.CodeInvalid, "%v", err)
	}
	return key, nil
}

// boundKey is the key that a lease or an exchange is bound to; "" if there is none.
func (s *Sallyport) boundKey(credential string) string {
	if strings.HasPrefix(credential, identity.ExchangePrefix) {
		d, _ := s.federation.delegations.Get(credential)
		return d.Key
	}
	l, _ := s.attest.book.Known(strings.TrimPrefix(credential, lease.CredentialPrefix))
	return l.Key
}

// exchangeToken makes the token of an exchange: sub is the user, act the chain of agents.
func (s *Sallyport) exchangeToken(d *identity.Delegation) (string, error) {
	act := &identity.Acting{Subject: d.Subject.ID}
	for at, i := act, 0; i < len(d.Subject.Delegation); i++ {
		at.Actor = &identity.Acting{Subject: d.Subject.Delegation[i].ID}
		at = at.Actor
	}
	c := identity.Claims{Subject: d.Subject.User.ID, Actor: act, ID: d.ID, Confirm: identity.Confirm{JKT: d.Key}, Tenant: d.Subject.Tenant,
		Agent: d.Subject.ID, Scope: words(d.Subject.Scopes), Lease: identity.ExchangePrefix + d.ID}
	if c.Subject == "" || d.Subject.User.Verified != action.Yes {
		c.Subject, c.Actor = d.Subject.ID, act.Actor
	}
	c.Expires = secondsOf(d.Until)
	return s.attest.issuer.Issue(c)
}

func words(scopes []action.Scope) string {
	var out []string
	for _, sc := range scopes {
		out = append(out, string(sc))
	}
	return strings.Join(out, " ")
}
