// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sallyport/sallyport/action"
)

var update = flag.Bool("update", false, "write the schemas anew")

func TestWrittenSchemasAreCurrent(t *testing.T) {
	j, err := WriteJSON()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"agent.v1.schema.json": j, "agent.v1.cedarschema": WriteCedar()} {
		if *update {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the types say (%v); renew it with: go test ./action/schema -update", name, err)
		}
	}
}

func TestJSONSchemaAgreesWithTheStrictReader(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(JSON))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("agent.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("agent.json")
	if err != nil {
		t.Fatal(err)
	}
	full := action.NewQuery(action.After)
	full.Action.Paths = []action.Path{{Inside: action.Yes, Traverse: action.No, Private: action.No, Exists: action.Yes, Access: action.EffectRead}}
	good, err := action.Canonical(full)
	if err != nil {
		t.Fatal(err)
	}
	for name, doc := range map[string][]byte{
		"the document of unknowns":  good,
		"an unknown member":         bytes.Replace(good, []byte(`"round":0`), []byte(`"round":0,"x":1`), 1),
		"a word off the list":       bytes.Replace(good, []byte(`"phase":"after"`), []byte(`"phase":"during"`), 1),
		"a float":                   bytes.Replace(good, []byte(`"round":0`), []byte(`"round":0.5`), 1),
		"a score beyond certainty":  bytes.Replace(good, []byte(`"risk_milli":1000`), []byte(`"risk_milli":1001`), 1),
		"arguments that are a list": bytes.Replace(good, []byte(`"arguments":{}`), []byte(`"arguments":[]`), 1),
	} {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
		if err != nil {
			t.Fatal(err)
		}
		schemaErr := s.Validate(v)
		_, readErr := action.ReadQuery(doc)
		if (schemaErr == nil) != (readErr == nil) {
			t.Errorf("%s: the schema says %v, the reader %v", name, schemaErr, readErr)
		}
		if (name == "the document of unknowns") != (readErr == nil) {
			t.Errorf("%s: %v", name, readErr)
		}
	}
}
