// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"slices"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
)

// Role is what a person is here, as an identity provider's groups say. What a role may do is what its scopes open:
// the table of routes is the one place where that is checked, and x-roles in docs/api/operator.yaml says it per operation.
type Role string

// The roles. Nobody who has one may do what belongs to another: who makes agents and tokens does not approve what
// they do, and who writes a policy does not put it in force, unless he is both by the provider's word.
const (
	Viewer         Role = "viewer"
	Approver       Role = "approver"
	PolicyAuthor   Role = "policy-author"
	PolicyApprover Role = "policy-approver"
	Auditor        Role = "auditor"
	Admin          Role = "admin"
)

// roleScopes is in the order in which roles are shown.
var roleScopes = []struct {
	role   Role
	scopes []action.Scope
}{
	{Viewer, []action.Scope{action.ScopeViewer}},
	{Approver, []action.Scope{action.ScopeViewer, action.ScopeApprover}},
	{PolicyAuthor, []action.Scope{action.ScopeViewer, action.ScopeAuthor}},
	{PolicyApprover, []action.Scope{action.ScopeViewer, action.ScopePolicyApprover}},
	{Auditor, []action.Scope{action.ScopeViewer, action.ScopeAuditor}},
	{Admin, []action.Scope{action.ScopeViewer, action.ScopeAdmin, action.ScopeToolAdmin, action.ScopeTenantData}},
}

// Roles are all roles.
func Roles() []Role {
	out := make([]Role, 0, len(roleScopes))
	for _, r := range roleScopes {
		out = append(out, r.role)
	}
	return out
}

// ScopesOf are the scopes of some roles, sorted. An unknown role has none.
func ScopesOf(roles ...Role) []action.Scope {
	var out []action.Scope
	for _, r := range roleScopes {
		if slices.Contains(roles, r.role) {
			out = append(out, r.scopes...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// RolesOf are the roles all of whose scopes a caller has.
func RolesOf(c *gateway.Caller) []Role {
	out := []Role{}
	for _, r := range roleScopes {
		if !slices.ContainsFunc(r.scopes, func(s action.Scope) bool { return !c.Has(s) }) {
			out = append(out, r.role)
		}
	}
	return out
}
