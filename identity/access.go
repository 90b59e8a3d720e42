// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"slices"

	"github.com/sallyport/sallyport/action"
)

// Access is what an OAuth access token proves: which client acts, for whom, and what it is bound to.
type Access struct {
	Agent   string
	Tenant  string
	Client  string
	Person  Person  // ID is "" where the client acts for nobody
	Confirm Confirm // the key or certificate that its holder must show; empty for a bearer's
}

// Access verifies an access token for one resource, and no other: the token must name it as audience (RFC 8707, and
// RFC 9068 where its type says so). The client must be an agent of the issuer's list.
func (is *Issuers) Access(ctx context.Context, text, resource string) (Access, error) {
	if resource == "" {
		return Access{}, ErrUnauthenticated
	}
	i, t, c, err := is.verify(ctx, text, false, resource)
	if err != nil {
		return Access{}, err
	}
	client := c.Client
	if client == "" {
		client = c.Party
	}
	agent, ok := i.Clients[client]
	if !ok || client == "" || c.Party != "" && c.Party != client || t.Header.Type == "id_token+jwt" {
		return Access{}, ErrUnauthenticated
	}
	a := Access{Agent: agent, Tenant: i.Tenant, Client: client, Confirm: c.Confirm}
	if a.Person, err = person(i, t, c); err != nil {
		return Access{}, err
	}
	if c.Subject == client { // the client itself: nobody has signed in
		a.Person = Person{Issuer: i.Issuer, Until: a.Person.Until, GroupsKnow: action.TriUnknown}
	}
	return a, nil
}

// AccessServers are the issuers that MCP clients get their tokens from.
func (is *Issuers) AccessServers() []string {
	var out []string
	for _, i := range is.list {
		if len(i.Clients) > 0 {
			out = append(out, i.Issuer)
		}
	}
	slices.Sort(out)
	return out
}
