// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

var update = flag.Bool("update", false, "write what is generated")

// clientTypes is where the console finds the answers of the operator API, as the document has them.
const clientTypes = "../console/src/lib/schema.ts"

// TestClientTypesAreCurrent holds the console's types against docs/api/operator.yaml, from which they are made; the
// console's own, narrower ones are held against these when it is built (console/src/lib/schema.check.ts).
func TestClientTypesAreCurrent(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromFile("../docs/api/operator.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("// SPDX-License-Identifier: Apache-2.0\n\n// Made from docs/api/operator.yaml by \"go test ./admin -run TestClientTypesAreCurrent -update\". Do not edit.\n")
	for _, name := range slices.Sorted(maps.Keys(doc.Components.Schemas)) {
		fmt.Fprintf(&b, "\nexport type %s = %s;\n", name, clientType(&openapi3.SchemaRef{Value: doc.Components.Schemas[name].Value}, ""))
	}
	if *update {
		if err := os.WriteFile(clientTypes, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(clientTypes)
	if err != nil || string(have) != b.String() {
		t.Errorf("%s is not what docs/api/operator.yaml says (%v); renew it with: go test ./admin -run TestClientTypesAreCurrent -update", clientTypes, err)
	}
}

// clientType is a schema in TypeScript.
func clientType(r *openapi3.SchemaRef, indent string) string {
	if r.Ref != "" {
		return r.Ref[strings.LastIndexByte(r.Ref, '/')+1:]
	}
	s := r.Value
	out := "unknown"
	switch {
	case len(s.Enum) > 0:
		words := []string{}
		for _, e := range s.Enum {
			words = append(words, fmt.Sprintf("%q", e))
		}
		out = strings.Join(words, " | ")
	case s.Type.Is("string"):
		out = "string"
	case s.Type.Is("integer"), s.Type.Is("number"):
		out = "number"
	case s.Type.Is("boolean"):
		out = "boolean"
	case s.Type.Is("array"):
		out = "Array<" + clientType(s.Items, indent) + ">"
	case len(s.AllOf) > 0:
		var all []string
		for _, p := range s.AllOf {
			all = append(all, clientType(p, indent))
		}
		out = strings.Join(all, " & ")
	case len(s.Properties) > 0:
		out = "{\n"
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			mark := "?"
			if slices.Contains(s.Required, name) {
				mark = ""
			}
			out += fmt.Sprintf("%s  %s%s: %s;\n", indent, name, mark, clientType(s.Properties[name], indent+"  "))
		}
		out += indent + "}"
	case s.AdditionalProperties.Schema != nil:
		out = "{ [name: string]: " + clientType(s.AdditionalProperties.Schema, indent) + " }"
	case s.Type.Is("object"):
		out = "{ [name: string]: unknown }"
	}
	if s.Nullable {
		out += " | null"
	}
	return out
}
