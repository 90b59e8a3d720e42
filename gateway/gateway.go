// SPDX-License-Identifier: Apache-2.0

// Package gateway is what all doors share: who is calling, how much they may send, and how a refusal
// looks on the wire.
package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/action"
)

// Caller is an authenticated peer. The subject is complete; a body may only narrow what Scopes allow.
type Caller struct {
	Subject action.Subject
	Name    string // for people: the token's or operator's name
	Peer    *Peer  // for a login that began on this machine: whom the kernel proved then; nil for others
	Walls   *Walls // what holds the program that calls; nil: nothing that the owner knows of

	SignIn SignIn // for people whom an identity provider signed in; zero for others

	Until time.Time // when a login of this caller ends at the latest; zero sets no bound
}

// SignIn is what an identity provider says of how somebody proved himself. It is of this login, not of the person: a
// stronger sign-in in one browser lends nothing to another.
type SignIn struct {
	ACR string    // level of the sign-in; "" when it was not said
	AMR []string  // methods
	At  time.Time // when he proved himself; zero when it was not said
}

// Anonymous proves nobody: its callers have no scope, and share a quota with whoever comes from the same place. It is
// for Route.Auth of what has to be there before anybody can be proved.
type Anonymous struct{ Tenant string }

// Authenticate implements Authenticator.
func (a Anonymous) Authenticate(_ context.Context, r *http.Request) (*Caller, error) {
	sub := action.NewQuery(action.Before).Subject
	sub.Tenant = a.Tenant
	return &Caller{Subject: sub, Name: "anonymous " + source(r)}, nil
}

// Has reports whether the caller holds scope s. Admin does not imply others.
func (c *Caller) Has(s action.Scope) bool {
	for _, t := range c.Subject.Scopes {
		if t == s {
			return true
		}
	}
	return false
}

// Authenticator turns a request into a caller: bearer token, client certificate, or the kernel's peer
// credentials of a unix socket. It returns ErrUnauthenticated for anything it cannot prove, and takes
// the same time for every wrong secret.
type Authenticator interface {
	Authenticate(ctx context.Context, r *http.Request) (*Caller, error)
}

// ErrUnauthenticated means that the request proves nobody.
var ErrUnauthenticated = errors.New("gateway: no valid credential")
