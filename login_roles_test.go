// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"slices"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/gateway"
)

// TestRolesOfWhatStandsBesideTheOperatorAPI is the table of the routes for people that docs/api/operator.yaml does not
// have; admin holds its own against x-roles.
func TestRolesOfWhatStandsBesideTheOperatorAPI(t *testing.T) {
	want := map[string][]admin.Role{
		"GET /v1/attest/leases":                    admin.Roles(),
		"GET /v1/attest/keys":                      admin.Roles(),
		"POST /v1/attest/leases/{id}/end":          {admin.Admin},
		"POST /v1/attest/keys/{name}/withdraw":     {admin.Admin},
		"POST /v1/attest/appraisals/{index}/again": {admin.Auditor},
		"POST /v1/ledger/entries/{index}/disclose": {admin.Auditor},
	}
	routes := (&Sallyport{}).moreForPeople()
	for _, rt := range routes {
		var may []admin.Role
		for _, role := range admin.Roles() {
			sub := action.NewQuery(action.Before).Subject
			sub.Scopes = admin.ScopesOf(role)
			if slices.ContainsFunc(rt.Scopes, (&gateway.Caller{Subject: sub}).Has) {
				may = append(may, role)
			}
		}
		if w, ok := want[rt.Pattern]; !ok || !slices.Equal(may, w) || rt.Auth != nil {
			t.Errorf("%s is open to %v", rt.Pattern, may)
		}
	}
	if len(routes) != len(want) {
		t.Errorf("%d routes, not %d", len(routes), len(want))
	}
}
