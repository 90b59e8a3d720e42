// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
)

// FederationClient maps an OAuth client to an agent.
type FederationClient struct {
	Client string `yaml:"client" doc:"client_id of its access tokens"`
	Agent  string `yaml:"agent" doc:"id of the agent record"`
}

// oauthPrefix begins the credential id of an agent that came with an access token.
const oauthPrefix = "oauth:"

// metadataPath is where the metadata of our resources stands (RFC 9728, section 3).
const metadataPath = "/.well-known/oauth-protected-resource"

// accesses remembers the users of access tokens that were seen, until the newest of each ends.
type accesses struct {
	mu  sync.Mutex // guards below
	all map[string]identity.Person
}

// maxAccesses bounds the pairs of client and user that are remembered.
const maxAccesses = 16384

func (a *accesses) put(id string, p identity.Person, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if old, ok := a.all[id]; ok && old.Until.After(p.Until) {
		p.Until = old.Until
	}
	if a.all == nil {
		a.all = map[string]identity.Person{}
	}
	if len(a.all) >= maxAccesses {
		for k, o := range a.all {
			if !now.Before(o.Until) {
				delete(a.all, k)
			}
		}
	}
	if _, ok := a.all[id]; !ok && len(a.all) >= maxAccesses {
		return false
	}
	a.all[id] = p
	return true
}

func (a *accesses) get(id string) identity.Person {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[id]
}

// baseURL is our own address as the caller has asked for it. The gate has seen to it that the name is one of ours.
func (s *Sallyport) baseURL(r *http.Request) string {
	if u := s.Config.Gateway.PublicURL; u != "" {
		return strings.TrimSuffix(u, "/")
	}
	u := requestURL(r)
	return u.Scheme + "://" + strings.ToLower(u.Host)
}

// resourceOf is the identifier of the resource that a request is for (RFC 8707); "" if it is for none that access
// tokens are for.
func (s *Sallyport) resourceOf(r *http.Request) string {
	name, ok := strings.CutPrefix(r.URL.Path, "/mcp/")
	if !ok || name == "" || strings.Contains(name, "/") {
		return ""
	}
	return s.baseURL(r) + "/mcp/" + url.PathEscape(name)
}

// accessCaller proves an MCP client by an access token for exactly this resource. A token that is bound to a key or a
// certificate is nobody's without it. prove returns the key that the request proves possession of; nil for a bearer.
func (s *Sallyport) accessCaller(ctx context.Context, r *http.Request, token string, prove func() (string, error)) (*gateway.Caller, error) {
	a, err := s.federation.issuers.Access(ctx, token, s.resourceOf(r))
	if err != nil {
		return nil, gateway.ErrUnauthenticated
	}
	if (a.Confirm.JKT != "") != (prove != nil) {
		return nil, gateway.ErrUnauthenticated
	}
	if prove != nil {
		key, err := prove()
		if err != nil || subtle.ConstantTimeCompare([]byte(a.Confirm.JKT), []byte(key)) != 1 {
			return nil, gateway.ErrUnauthenticated
		}
	}
	if x := a.Confirm.X5T; x != "" {
		leaf := shownCertificate(r.TLS, s.Ledger.Now())
		if leaf == nil || subtle.ConstantTimeCompare([]byte(thumbprint(leaf.Raw)), []byte(x)) != 1 {
			return nil, gateway.ErrUnauthenticated
		}
	}
	rec, err := s.Tokens.Agent(a.Tenant, a.Agent)
	if err != nil {
		return nil, gateway.ErrUnauthenticated
	}
	id := oauthPrefix + url.PathEscape(a.Person.Issuer) + "/" + url.PathEscape(a.Client) + "/" + url.PathEscape(a.Person.ID)
	now := s.Ledger.Now()
	if !s.federation.accesses.put(id, a.Person, now) {
		return nil, gateway.ErrUnauthenticated
	}
	sub := action.NewQuery(action.Before).Subject
	sub.ID, sub.Tenant, sub.Scopes = rec.ID, rec.Tenant, []action.Scope{action.ScopeAgent}
	sub.Channel.Credential, sub.Channel.CredID = action.CredentialToken, id
	switch {
	case a.Confirm.X5T != "":
		sub.Channel.Credential = action.CredentialMTLS
	case a.Confirm.JKT != "":
		sub.Channel.Credential = action.CredentialDPoP
	}
	if p := a.Person; p.ID != "" {
		sub.User = action.User{ID: p.ID, Verified: action.Yes, AuthnAge: action.MaxNumber, Evidence: "oidc"}
		if p.GroupsKnow == action.Yes {
			sub.User.Groups = p.Groups // what is not whole is not there: who asks for groups finds none
		}
		if !p.Authn.IsZero() {
			sub.User.AuthnAge = max(int64(now.Sub(p.Authn)/time.Second), 0)
		}
	}
	return &gateway.Caller{Subject: sub, Name: a.Client}, nil
}

// challenge is what an MCP client that came without a valid token is told (RFC 9728, section 5.1).
func (s *Sallyport) challenge(r *http.Request) string {
	resource := s.resourceOf(r)
	if resource == "" || len(s.federation.issuers.AccessServers()) == 0 {
		return ""
	}
	base := s.baseURL(r)
	out := `Bearer realm="sallyport", resource_metadata="` + base + metadataPath + strings.TrimPrefix(resource, base) + `"`
	if len(r.Header.Values("Authorization")) > 0 {
		out += `, error="invalid_token"`
	}
	return out
}

// ResourceMetadata says where tokens for an MCP server behind us come from (RFC 9728, section 2).
type ResourceMetadata struct {
	Resource string   `json:"resource"`
	Servers  []string `json:"authorization_servers"`
	Methods  []string `json:"bearer_methods_supported"`
	Name     string   `json:"resource_name"`
	DPoP     []string `json:"dpop_signing_alg_values_supported"`
	Bound    bool     `json:"tls_client_certificate_bound_access_tokens"`
}

// anybody takes every caller for a stranger of his address, whose quota is his own.
type anybody struct{}

// Authenticate looks at no credential.
func (anybody) Authenticate(_ context.Context, r *http.Request) (*gateway.Caller, error) {
	sub := action.NewQuery(action.Before).Subject
	sub.Tenant = "default"
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = "socket"
	}
	return &gateway.Caller{Subject: sub, Name: "anybody at " + host}, nil
}

// metadataRoutes are served to anybody, because who has no token yet must learn where to get one. They say the same
// of every name: which servers there are is not told.
func (s *Sallyport) metadataRoutes() []gateway.Route {
	if len(s.federation.issuers.AccessServers()) == 0 {
		return nil
	}
	return []gateway.Route{{Pattern: "GET " + metadataPath + "/mcp/{server}", Door: action.DoorMCP, Auth: anybody{}, OwnOrigin: true,
		Serve: func(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
			return gateway.WriteJSON(w, http.StatusOK, ResourceMetadata{Resource: s.baseURL(r) + "/mcp/" + url.PathEscape(r.PathValue("server")),
				Servers: s.federation.issuers.AccessServers(), Methods: []string{"header"}, Name: "Sallyport", DPoP: []string{"ES256", "EdDSA"}, Bound: r.TLS != nil})
		}}}
}
