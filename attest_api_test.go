// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/sallyport/sallyport/gateway"
)

// TestAttestDocumentNamesExactlyOurRoutes holds docs/api/attest.yaml against what is served.
func TestAttestDocumentNamesExactlyOurRoutes(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromFile("docs/api/attest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var want, have []string
	s := &Sallyport{}
	for _, r := range slices.Concat([]gateway.Route{}, s.attestRoutes(), s.attestOperatorRoutes(), s.exchangeRoutes()) {
		want = append(want, r.Pattern)
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			have = append(have, method+" "+path)
		}
	}
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(want, have) {
		t.Errorf("the document has\n%s\nthe routes are\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
}
