// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
)

// roleAuth proves whoever the header says, with the scopes of one role.
type roleAuth struct{}

func (roleAuth) Authenticate(_ context.Context, r *http.Request) (*gateway.Caller, error) {
	role := Role(r.Header.Get("Role"))
	if role == "" {
		return nil, gateway.ErrUnauthenticated
	}
	sub := action.NewQuery(action.Before).Subject
	sub.Tenant, sub.Scopes = "default", ScopesOf(role)
	return &gateway.Caller{Subject: sub, Name: "somebody"}, nil
}

// TestEachRoleCanDoExactlyItsOwn holds every operation of the operator API, as the listener has it, against x-roles
// of the document: for each of the roles, and for none, by asking.
func TestEachRoleCanDoExactlyItsOwn(t *testing.T) {
	doc, _ := document(t)
	b := start(t)
	routes, err := Routes(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	reached := errors.New("reached")
	for i := range routes {
		routes[i].Serve = func(http.ResponseWriter, *http.Request, *gateway.Caller) error {
			return gateway.Refuse(gateway.CodeState, "%v", reached)
		}
	}
	gate, err := gateway.New(gateway.Config{Auth: roleAuth{}, Malformed: func(context.Context, action.Door, string, string) {}})
	if err != nil {
		t.Fatal(err)
	}
	h, err := gate.Handler(routes...)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, rt := range routes {
		method, path, _ := strings.Cut(strings.Replace(rt.Pattern, "{path...}", "{path}", 1), " ")
		item := doc.Paths.Find(path)
		if item == nil || item.GetOperation(method) == nil {
			t.Errorf("%s is not in the document", rt.Pattern)
			continue
		}
		var want []string
		roles, _ := item.GetOperation(method).Extensions["x-roles"].([]any)
		for _, r := range roles {
			want = append(want, fmt.Sprint(r))
		}
		open := rt.Auth != nil
		if open != (len(want) == 0) {
			t.Errorf("%s: x-roles %v", rt.Pattern, want)
		}
		seen++
		for _, role := range append(Roles(), "", "nonesuch") {
			r := httptest.NewRequest(method, strings.NewReplacer("{", "", "}", "", "...", "").Replace(path), nil)
			r.Host = "localhost"
			r.Header.Set("Role", string(role))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			may := strings.Contains(w.Body.String(), reached.Error())
			if should := open || slices.Contains(want, string(role)); may != should {
				t.Errorf("%s as %q: %d, should be let through: %v", rt.Pattern, role, w.Code, should)
			}
		}
	}
	if seen < 40 {
		t.Errorf("only %d operations were tried", seen)
	}
}

// TestRolesAreKeptApart states what no role may combine.
func TestRolesAreKeptApart(t *testing.T) {
	for _, role := range Roles() {
		has := func(s action.Scope) bool { return slices.Contains(ScopesOf(role), s) }
		for _, apart := range [][2]action.Scope{{action.ScopeAdmin, action.ScopeApprover}, {action.ScopeAdmin, action.ScopePolicyApprover},
			{action.ScopeAuthor, action.ScopePolicyApprover}, {action.ScopeApprover, action.ScopePolicyApprover}, {action.ScopeAuditor, action.ScopeAdmin}} {
			if has(apart[0]) && has(apart[1]) {
				t.Errorf("%s has %s and %s", role, apart[0], apart[1])
			}
		}
		if has(action.ScopeAgent) || has(action.ScopeHost) || has("") {
			t.Errorf("%s may act", role)
		}
		sub := action.NewQuery(action.Before).Subject
		sub.Scopes = ScopesOf(role)
		if got := RolesOf(&gateway.Caller{Subject: sub}); !slices.Contains(got, role) || len(got) > 2 {
			t.Errorf("who has the scopes of %s has the roles %v", role, got)
		}
	}
	if len(ScopesOf("nonesuch")) != 0 || len(ScopesOf()) != 0 {
		t.Error("a role that nobody knows has scopes")
	}
}
